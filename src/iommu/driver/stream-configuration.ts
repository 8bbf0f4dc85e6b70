/** What a device's STE and CDs must say, and how they come to say it (IHI 0070 §5.2, §5.4). */
import { assert } from '../../assert.ts';
import type { Memory } from '../../hw/memory.ts';
import type { Steps } from '../../sim/task.ts';
import { CD } from '../spec/cd.layout.ts';
import { Eats, S1Dss, STE, SteConfig } from '../spec/ste.layout.ts';
import type { CommandQueue } from './command-queue.ts';
import { GRANULE_CODE, MAIR0, startLevelCode } from './descriptors.ts';
import type { SmmuDevice } from './device.ts';
import type { SmmuDomain } from './domain.ts';
import { stepTowards, UpdateStep } from './entry-update.ts';
import { GuestDomain } from './guest-domain.ts';
import type { Invalidation } from './invalidation.ts';
import { PagedDomain } from './paged-domain.ts';
import { type Features, hardwareState, StallModel } from './probe.ts';
import type { StreamTable } from './stream-table.ts';

/** Cacheability of the SMMU's own accesses: write-back, read and write allocate. */
const WRITE_BACK = 1;
const INNER_SHAREABLE = 3;
const USE_INCOMING = 1;
const GUEST_DSS = { abort: S1Dss.TERMINATE, bypass: S1Dss.BYPASS, translate: S1Dss.SUBSTREAM_0 } as const;

/** First words that make the rest mean nothing: V = 0, or for an STE also Config = 0b0xx. */
const STE_ABORTS = STE.V.in32(1);
const isSteInert = (firstLow: number): boolean => STE.V.of(firstLow) === 0 || STE.Config.of(firstLow) < 4;
const isCdInert = (firstLow: number): boolean => CD.V.of(firstLow) === 0;

export interface StreamConfigurationOptions {
  readonly memory: Memory;
  readonly features: Features;
  readonly streams: StreamTable;
  readonly queue: CommandQueue;
  readonly invalidation: Invalidation;
}

export class StreamConfiguration {
  readonly #memory: Memory;
  readonly #features: Features;
  readonly #streams: StreamTable;
  readonly #queue: CommandQueue;
  readonly #invalidation: Invalidation;
  readonly #ste = new DataView(new ArrayBuffer(STE.$.byteLength));
  readonly #cd = new DataView(new ArrayBuffer(CD.$.byteLength));

  constructor(options: StreamConfigurationOptions) {
    this.#memory = options.memory;
    this.#features = options.features;
    this.#streams = options.streams;
    this.#queue = options.queue;
    this.#invalidation = options.invalidation;
  }

  /** Gives the stream a valid entry that aborts; false without memory. */
  introduce(device: SmmuDevice): boolean {
    const entry = this.#streams.entry(device.streamId);
    if (entry < 0) return false;
    this.#memory.write32(entry, STE_ABORTS);
    return true;
  }

  /**
   * Makes the STE say what the device's state asks for, and waits until the SMMU goes by it. The state is looked at anew
   * at every step: whoever changes it in the meantime, to block the stream for one, is not overwritten.
   */
  *applyStream(device: SmmuDevice): Steps {
    for (let step: UpdateStep = UpdateStep.CHANGED, first = true; first || step !== UpdateStep.DONE; first = false) {
      this.#composeSte(device);
      const entry = this.#streams.entry(device.streamId);
      step = stepTowards(this.#memory, entry, this.#ste, isSteInert, STE_ABORTS);
      if (step === UpdateStep.DONE && !first) return;
      const batch = this.#queue.batch();
      batch.configureStream(device.streamId, false);
      yield* this.#invalidation.complete(batch, null);
    }
  }

  /** Makes the CD of a PASID (0 for accesses without one) describe `domain`; false without memory. */
  *applyContext(device: SmmuDevice, substreamId: number, domain: PagedDomain): Steps<boolean> {
    const { contexts } = device;
    const entry = contexts === null ? -1 : contexts.entry(substreamId);
    if (entry < 0) return false;
    for (;;) {
      this.#composeCd(device, domain);
      const reachable = !isSteInert(this.#memory.read32(this.#streams.entry(device.streamId)));
      let step = stepTowards(this.#memory, entry, this.#cd, isCdInert, 0);
      // No STE points here yet: the SMMU reads the descriptor only when all of it is there (§3.21.3.1).
      while (!reachable && step !== UpdateStep.DONE) step = stepTowards(this.#memory, entry, this.#cd, isCdInert, 0);
      if (step === UpdateStep.DONE) return true;
      yield* this.#forgetContext(device, substreamId);
    }
  }

  /** Makes accesses with a PASID (0: without one) find no valid CD. */
  *removeContext(device: SmmuDevice, substreamId: number): Steps {
    const entry = device.contexts?.entry(substreamId) ?? -1;
    if (entry < 0) return;
    this.#memory.fill(entry, 8, 0);
    yield* this.#forgetContext(device, substreamId);
  }

  *#forgetContext(device: SmmuDevice, substreamId: number): Steps {
    const batch = this.#queue.batch();
    batch.configureContext(device.streamId, substreamId, false);
    yield* this.#invalidation.complete(batch, null);
  }

  #composeSte(device: SmmuDevice): void {
    const ste = this.#ste;
    clear(ste);
    STE.V.set(ste, 0, 1);
    if (device.blocked || device.endingStalls || !device.attached) return;
    const own = device.domain;
    const below = own === null ? stageBelow(device) : own.stage === 2 ? own : own.parent;
    const stage1 = own?.stage === 1 || device.pasids.size > 0;
    const config = stage1 ? (below === null ? SteConfig.STAGE_1 : SteConfig.NESTED) : SteConfig.STAGE_2;
    STE.Config.set(ste, 0, config);
    STE.SHCFG.set(ste, 0, USE_INCOMING);
    if (wantsAts(device)) STE.EATS.set(ste, 0, Eats.ENABLED);
    if (device.pasidBits > 0 && device.responsePasid) STE.PPAR.set(ste, 0, 1);
    if (own instanceof GuestDomain) this.#composeGuest(device, own);
    else if (stage1) this.#composeStage1(device, own);
    if (below instanceof PagedDomain) this.#composeStage2(device, below, stage1);
  }

  /** The guest's part of the STE, as it wrote it in its own (§4.3.7: re-shadowed). */
  #composeGuest(device: SmmuDevice, domain: GuestDomain): void {
    const ste = this.#ste;
    const { contextTable, contextBits, contextFormat, withoutPasid } = domain.tables;
    STE.S1ContextPtr.set(ste, 0, contextTable / 64);
    STE.S1CDMax.set(ste, 0, contextBits);
    STE.S1Fmt.set(ste, 0, contextFormat);
    if (contextBits > 0) STE.S1DSS.set(ste, 0, GUEST_DSS[withoutPasid]);
    this.#composeStage1Common(device);
  }

  #composeStage1(device: SmmuDevice, own: SmmuDomain | null): void {
    const ste = this.#ste;
    const { contexts } = device;
    assert(contexts !== null, `${device.name} has context descriptors`);
    STE.S1ContextPtr.set(ste, 0, contexts.baseAddress / 64);
    STE.S1CDMax.set(ste, 0, contexts.bits);
    STE.S1Fmt.set(ste, 0, contexts.format);
    if (contexts.bits > 0) {
      const without = own === null ? S1Dss.TERMINATE : own.stage === 1 ? S1Dss.SUBSTREAM_0 : S1Dss.BYPASS;
      STE.S1DSS.set(ste, 0, without);
    }
    this.#composeStage1Common(device);
  }

  #composeStage1Common(device: SmmuDevice): void {
    const ste = this.#ste;
    STE.S1CIR.set(ste, 0, WRITE_BACK);
    STE.S1COR.set(ste, 0, WRITE_BACK);
    STE.S1CSH.set(ste, 0, INNER_SHAREABLE);
    if (this.#features.stallModel === StallModel.BOTH && !device.stall) STE.S1STALLD.set(ste, 0, 1);
  }

  #composeStage2(device: SmmuDevice, domain: PagedDomain, nested: boolean): void {
    const ste = this.#ste;
    const { shape, rootAddress } = domain.table;
    STE.S2VMID.set(ste, 0, domain.vmid);
    STE.S2T0SZ.set(ste, 0, 64 - shape.inputBits);
    STE.S2SL0.set(ste, 0, startLevelCode(shape));
    STE.S2IR0.set(ste, 0, WRITE_BACK);
    STE.S2OR0.set(ste, 0, WRITE_BACK);
    STE.S2SH0.set(ste, 0, INNER_SHAREABLE);
    STE.S2TG.set(ste, 0, GRANULE_CODE[shape.granule]);
    STE.S2PS.set(ste, 0, this.#features.outputSizeCode);
    STE.S2AA64.set(ste, 0, 1);
    const { accessState, dirtyState } = hardwareState(this.#features);
    if (accessState) STE.S2HA.set(ste, 0, 1);
    if (dirtyState) STE.S2HD.set(ste, 0, 1);
    STE.S2R.set(ste, 0, 1);
    if (this.#stalls(device)) STE.S2S.set(ste, 0, 1);
    if (nested) STE.S2PTW.set(ste, 0, 1);
    STE.S2TTB.set(ste, 0, rootAddress / 16);
  }

  #composeCd(device: SmmuDevice, domain: PagedDomain): void {
    const cd = this.#cd;
    const { shape, rootAddress } = domain.table;
    clear(cd);
    CD.V.set(cd, 0, 1);
    CD.T0SZ.set(cd, 0, 64 - shape.inputBits);
    CD.TG0.set(cd, 0, GRANULE_CODE[shape.granule]);
    CD.IR0.set(cd, 0, WRITE_BACK);
    CD.OR0.set(cd, 0, WRITE_BACK);
    CD.SH0.set(cd, 0, INNER_SHAREABLE);
    CD.EPD1.set(cd, 0, 1);
    CD.IPS.set(cd, 0, this.#features.outputSizeCode);
    CD.AA64.set(cd, 0, 1);
    const { accessState, dirtyState } = hardwareState(this.#features);
    if (accessState) CD.HA.set(cd, 0, 1);
    if (dirtyState) CD.HD.set(cd, 0, 1);
    CD.A.set(cd, 0, 1);
    CD.R.set(cd, 0, 1);
    if (this.#stalls(device)) CD.S.set(cd, 0, 1);
    CD.ASET.set(cd, 0, 1);
    CD.ASID.set(cd, 0, domain.tag);
    CD.TTB0.set(cd, 0, rootAddress / 16);
    CD.MAIR0.set(cd, 0, MAIR0);
  }

  #stalls(device: SmmuDevice): boolean {
    return device.faultMode === 'stall' || this.#features.stallModel === StallModel.STALL;
  }
}

/** Whether the device is to use ATS: not while its untranslated accesses may stall (§5.2: EATS and S2S exclude each other). */
export function wantsAts(device: SmmuDevice): boolean {
  return device.ats && device.attached && !device.blocked && device.faultMode !== 'stall';
}

function stageBelow(device: SmmuDevice): SmmuDomain | null {
  for (const domain of device.pasids.values()) return domain.parent;
  return null;
}

function clear(view: DataView): void {
  for (let word = 0; word < view.byteLength; word += 4) view.setUint32(word, 0, true);
}
