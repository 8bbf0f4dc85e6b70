/**
 * Memory transactions (IHI 0070 §3.3, §3.9.1.3, §3.12): configuration, translation, and what a fault does to the
 * transaction, to the event queue and to the endpoint.
 */
import { type Bus, BusStatus } from '../../hw/bus.ts';
import { AddressType, Completion, type MemoryRequest, NO_PASID } from '../../hw/pcie/tlp.ts';
import type { Latency } from '../../sim/profile.ts';
import type { Trace } from '../../sim/trace.ts';
import { EventType } from '../spec/events.layout.ts';
import { PmcgEvent } from '../spec/pmcg.layout.ts';
import { GBPA } from '../spec/registers.layout.ts';
import { Eats } from '../spec/ste.layout.ts';
import type { Configuration } from './configuration.ts';
import type { Control } from './control.ts';
import type { EventQueue } from './event-queue.ts';
import { bypassSizeEvent, configurationEvent, markStalled, translatedForbidden, translationEvent } from './events.ts';
import { type Features, outputAddressBits } from './features.ts';
import type { Pmcg } from './pmcg.ts';
import type { RegisterFile } from './register-file.ts';
import type { Stalls } from './stalls.ts';
import { Access, Outcome } from './translation/outcome.ts';
import type { Translator } from './translation/translator.ts';

export interface TransactionsOptions {
  readonly features: Features;
  readonly registers: RegisterFile;
  readonly control: Control;
  readonly configuration: Configuration;
  readonly translator: Translator;
  readonly events: EventQueue;
  readonly stalls: Stalls;
  readonly bus: Bus;
  readonly latency: Latency;
  readonly trace: Trace;
  readonly monitor: Pmcg;
}

/** The transaction ends with an abort and leaves no record: STE.Config=0b0xx, GBPA.ABORT=1. */
const SILENT = -1;
type Verdict = EventType | 0 | typeof SILENT;

/** Where an event arose: it decides the shape of the record and who chooses between stall and termination. */
const Origin = { CONFIGURATION: 0, CONTEXT_FETCH: 1, BYPASS: 2, TRANSLATION: 3, TRANSLATED: 4 } as const;
type Origin = (typeof Origin)[keyof typeof Origin];

/** STE.PRIVCFG and INSTCFG (§5.2). */
const PRIVCFG_UNPRIVILEGED = 2;
const PRIVCFG_PRIVILEGED = 3;
const INSTCFG_DATA = 2;
const INSTCFG_INSTRUCTION = 3;

/** PRIVCFG applied to an incoming attribute. */
export function overridePrivilege(incoming: boolean, cfg: number): boolean {
  if (cfg === PRIVCFG_UNPRIVILEGED) return false;
  return cfg === PRIVCFG_PRIVILEGED ? true : incoming;
}

/** INSTCFG applied to an incoming attribute: it concerns reads alone. */
export function overrideInstruction(incoming: boolean, cfg: number, write: boolean): boolean {
  if (write || cfg === INSTCFG_DATA) return false;
  return cfg === INSTCFG_INSTRUCTION ? true : incoming;
}

/** The four faults that may stall, be silent, or read as zero (§3.12). */
export function translationRelated(event: number): boolean {
  return event >= EventType.F_TRANSLATION && event <= EventType.F_PERMISSION;
}

export class Transactions {
  readonly #options: TransactionsOptions;
  // What every transaction touches, beside the options.
  readonly #control: Control;
  readonly #configuration: Configuration;
  readonly #translator: Translator;
  readonly #events: EventQueue;
  readonly #monitor: Pmcg;
  readonly #bus: Bus;
  readonly #trace: Trace;
  readonly #hitNs: number;
  readonly #fetchNs: number;
  readonly #stepNs: number;
  readonly #accessNs: number;
  readonly #access = new Access();
  readonly #outcome = new Outcome();
  /** Pages that an address within the OAS (and the IAS, which is the same) may have. */
  readonly #pageLimit: number;
  #origin: Origin = Origin.CONFIGURATION;

  constructor(options: TransactionsOptions) {
    this.#options = options;
    this.#control = options.control;
    this.#configuration = options.configuration;
    this.#translator = options.translator;
    this.#events = options.events;
    this.#monitor = options.monitor;
    this.#bus = options.bus;
    this.#trace = options.trace;
    this.#hitNs = options.latency.tlbHit;
    this.#fetchNs = options.latency.configurationFetch;
    this.#stepNs = options.latency.walkStep;
    this.#accessNs = options.latency.memoryAccess;
    this.#pageLimit = 2 ** (outputAddressBits(options.features) - 12);
  }

  /** A memory read or write; PENDING while it is stalled. */
  memory(request: MemoryRequest): Completion {
    const access = this.#access;
    access.page = request.page;
    access.offset = request.offset;
    // Booleans of objects are compared with true, which the engine does in one step.
    const write = request.write === true;
    access.read = !write;
    access.write = write;
    access.instruction = request.execute === true && !write;
    access.privileged = request.privileged;
    const translated = request.addressType === AddressType.TRANSLATED;
    const verdict = translated
      ? this.#translated(request.requesterId, request.pasid)
      : this.#untranslated(request.requesterId, request.pasid);
    request.latencyNs += this.#cost();
    if (this.#monitor.active === true) this.#count(request.requesterId, translated);
    if (verdict === 0) return this.#perform(request);
    this.#trace.record('smmuv3.fault', request.requesterId, request.page, verdict);
    if (verdict === SILENT) return Completion.COMPLETER_ABORT;
    return this.#fault(request, verdict);
  }

  /** Like {@link memory}, for a transaction that was held: its requester is told. */
  again(request: MemoryRequest): void {
    const status = this.memory(request);
    if (status !== Completion.PENDING) request.completed(status);
  }

  /** Ends a held transaction; SUCCESS is RAZ/WI. */
  end(request: MemoryRequest, status: Completion): void {
    if (status === Completion.SUCCESS) readAsZero(request);
    request.completed(status);
  }

  /**
   * Translation alone, as an untranslated data access: the output page, or -1 when it would fault. Records nothing and
   * never stalls.
   */
  translateAccess(streamId: number, pasid: number, page: number, write: boolean): number {
    const access = this.#access;
    access.page = page;
    access.offset = 0;
    access.read = !write;
    access.write = write;
    access.instruction = false;
    access.privileged = false;
    return this.#untranslated(streamId, pasid) === 0 ? this.#outcome.page : -1;
  }

  #untranslated(streamId: number, pasid: number): Verdict {
    const configuration = this.#configuration;
    const outcome = this.#outcome;
    outcome.steps = 0;
    outcome.hit = false;
    this.#origin = Origin.CONFIGURATION;
    const access = this.#access;
    if (this.#control.SMMUEN !== true) {
      configuration.fetches = 0;
      configuration.walkSteps = 0;
      outcome.page = access.page;
      const refused = GBPA.ABORT.of(this.#options.registers.get(GBPA)) === 1 || access.page >= this.#pageLimit;
      return refused ? SILENT : 0;
    }
    const event = configuration.find(streamId, pasid);
    if (event !== 0) {
      if (event >= EventType.F_WALK_EABT && event <= EventType.F_TLB_CONFLICT) this.#origin = Origin.CONTEXT_FETCH;
      this.#override();
      return event;
    }
    if (configuration.stream.aborts === true) return SILENT;
    this.#override();
    const { context } = configuration;
    if (context.stage1Enabled !== true) {
      if (access.page >= this.#pageLimit) {
        this.#origin = Origin.BYPASS;
        return EventType.F_ADDR_SIZE;
      }
      if (context.stage2Enabled !== true) {
        outcome.page = access.page;
        return 0;
      }
    }
    this.#origin = Origin.TRANSLATION;
    return this.#translator.translate(context, access, outcome);
  }

  /** An ATS Translated transaction (§3.9.1.3). */
  #translated(streamId: number, pasid: number): Verdict {
    const { control, configuration, features } = this.#options;
    const access = this.#access;
    const outcome = this.#outcome;
    outcome.steps = 0;
    outcome.hit = false;
    outcome.page = access.page;
    configuration.fetches = 0;
    configuration.walkSteps = 0;
    this.#origin = Origin.TRANSLATED;
    if (features.ATS === 0) return SILENT;
    if (features.PASIDTT === 0 || pasid === NO_PASID) {
      access.instruction = false;
      access.privileged = false;
    }
    if (!control.SMMUEN) return EventType.F_TRANSL_FORBIDDEN;
    if (!control.ATSCHK) return access.page < this.#pageLimit ? 0 : SILENT;
    const event = configuration.findStream(streamId);
    if (event !== 0) return event;
    const stream = configuration.stream;
    if (stream.aborts) return SILENT;
    if (stream.EATS === Eats.DISABLED) return EventType.F_TRANSL_FORBIDDEN;
    if (features.PASIDTT === 1) {
      const substreamEvent = configuration.checkSubstream(pasid);
      if (substreamEvent !== 0) return substreamEvent;
    }
    if (stream.EATS !== Eats.SPLIT_STAGE) return access.page < this.#pageLimit ? 0 : SILENT;
    this.#override();
    if (access.page >= this.#pageLimit) {
      this.#origin = Origin.BYPASS;
      return EventType.F_ADDR_SIZE;
    }
    this.#origin = Origin.TRANSLATION;
    return this.#translator.translate(stream.withoutStage1, access, outcome);
  }

  #override(): void {
    const { overrides, PRIVCFG, INSTCFG } = this.#configuration.stream;
    if (overrides !== true) return;
    const access = this.#access;
    access.privileged = overridePrivilege(access.privileged, PRIVCFG);
    access.instruction = overrideInstruction(access.instruction, INSTCFG, access.write);
  }

  /** Nanoseconds that configuration and translation took. */
  #cost(): number {
    const configuration = this.#configuration;
    const steps = this.#outcome.steps + configuration.walkSteps;
    return this.#hitNs + configuration.fetches * this.#fetchNs + steps * this.#stepNs;
  }

  #count(streamId: number, translated: boolean): void {
    const { configuration, monitor } = this.#options;
    const { steps } = this.#outcome;
    // Whatever asked no table for its translation was answered by the TLB, or asked nothing of it (§10.3).
    monitor.countTranslation(streamId, configuration.fetches, steps + configuration.walkSteps, steps > 0);
    if (translated) monitor.count(PmcgEvent.PCIE_ATS_TRANS_PASSED, streamId, 1);
  }

  #perform(request: MemoryRequest): Completion {
    const bus = this.#bus;
    request.latencyNs += this.#accessNs;
    if (request.length === 0) return Completion.SUCCESS;
    const address = this.#outcome.page * 4096 + request.offset;
    const status = request.write
      ? bus.write(address, request.data, request.dataOffset, request.length)
      : bus.read(address, request.data, request.dataOffset, request.length);
    // Aborts beyond the SMMU are no SMMU events (§3.12): nothing answered at the address.
    return status === BusStatus.OK ? Completion.SUCCESS : Completion.UNSUPPORTED_REQUEST;
  }

  #fault(request: MemoryRequest, event: EventType): Completion {
    const configuration = this.#configuration;
    const events = this.#events;
    const streamId = request.requesterId;
    const origin = this.#origin;
    const translated = request.addressType === AddressType.TRANSLATED;
    if (event === EventType.F_TRANSL_FORBIDDEN) {
      translatedForbidden(events.view, streamId, this.#access);
      events.record(this.#control.SMMUEN && configuration.stream.MEV, request.latencyNs);
      return Completion.COMPLETER_ABORT;
    }
    if (origin === Origin.BYPASS) {
      bypassSizeEvent(events.view, streamId, this.#pasidOf(request), this.#access);
      events.record(configuration.stream.MEV, request.latencyNs);
      return Completion.COMPLETER_ABORT;
    }
    if (origin === Origin.CONFIGURATION || origin === Origin.TRANSLATED) {
      const { REC_CFG_ATS, RECINVSID } = this.#control;
      const recorded = translated ? REC_CFG_ATS : event !== EventType.C_BAD_STREAMID || RECINVSID;
      if (recorded) this.#recordConfiguration(event, request);
      return Completion.COMPLETER_ABORT;
    }
    return this.#translationFault(request, event);
  }

  #recordConfiguration(event: EventType, request: MemoryRequest): void {
    const events = this.#events;
    const { fetchAddress, badSubstream, stream } = this.#configuration;
    const pasid = this.#pasidOf(request);
    configurationEvent(events.view, event, request.requesterId, pasid, fetchAddress, badSubstream);
    // Before a valid STE is found there is no MEV to allow merging (§7.3.1 would permit it).
    events.record(event > EventType.C_BAD_STE && stream.MEV, request.latencyNs);
  }

  /** A fault of translation, the CD's included: stalls, or ends as CD.A, R and STE.S2R say (§5.5). */
  #translationFault(request: MemoryRequest, event: EventType): Completion {
    const events = this.#events;
    const configuration = this.#configuration;
    const { stream, descriptor } = configuration;
    const access = this.#access;
    const outcome = this.#origin === Origin.CONTEXT_FETCH ? configuration.stage2Fault : this.#outcome;
    const configurable = translationRelated(event);
    const stage2 = outcome.stage2 === true;
    const translated = request.addressType === AddressType.TRANSLATED;
    translationEvent(events.view, event, request.requesterId, this.#pasidOf(request), access, outcome);
    // Split-stage ATS excludes S2S=1, so a Translated transaction never stalls.
    const stalling = configurable && !translated && (stage2 ? stream.S2S === true : descriptor?.S === true);
    if (stalling) {
      const stag = this.#options.stalls.hold(request, access.privileged, access.instruction, events.writable);
      if (stag >= 0) {
        markStalled(events.view, stag);
        events.record(false, request.latencyNs);
      }
      return Completion.PENDING;
    }
    const recorded = !configurable || (stage2 ? stream.S2R === true : descriptor?.R === true);
    if (recorded) events.record(stream.MEV, request.latencyNs);
    const aborts = !configurable || stage2 || descriptor?.A !== false;
    if (aborts) return Completion.COMPLETER_ABORT;
    readAsZero(request);
    return Completion.SUCCESS;
  }

  /** The SubstreamID as the event shows it: without PASIDTT a Translated transaction has none. */
  #pasidOf(request: MemoryRequest): number {
    const hidden = request.addressType === AddressType.TRANSLATED && this.#options.features.PASIDTT === 0;
    return hidden ? NO_PASID : request.pasid;
  }
}

/** RAZ/WI: a read gets zeros, a write is dropped. */
function readAsZero(request: MemoryRequest): void {
  if (!request.write) request.data.fill(0, request.dataOffset, request.dataOffset + request.length);
}
