/**
 * Commands (IHI 0070 chapter 4): chooses by opcode, checks what the command may not ask, and hands the operands to the part
 * that acts. CMD_SYNC is the command queue's own.
 */
import { Completion, NO_PASID, ResponseCode } from '../../hw/pcie/tlp.ts';
import {
  ATC_INV,
  CFGI_CD,
  CFGI_STE,
  CFGI_STE_RANGE,
  Command,
  CommandError,
  Opcode,
  PREFETCH_ADDR,
  PREFETCH_CONFIG,
  PRI_RESP,
  PriResponse,
  RESUME,
  STALL_TERM,
  TLBI_NH_VA,
  TLBI_S2_IPA,
} from '../spec/commands.layout.ts';
import type { AtcInvalidations } from './atc-invalidations.ts';
import type { Configuration } from './configuration.ts';
import type { Control } from './control.ts';
import type { Features } from './features.ts';
import type { PageRequests } from './page-requests.ts';
import type { Pmcg } from './pmcg.ts';
import type { Stalls } from './stalls.ts';
import { StreamWorld } from './translation/context.ts';
import { AddressRange } from './translation/invalidation.ts';
import { Access, Outcome, Purpose } from './translation/outcome.ts';
import type { Translator } from './translation/translator.ts';

export interface CommandsOptions {
  readonly features: Features;
  readonly control: Control;
  readonly configuration: Configuration;
  readonly translator: Translator;
  readonly stalls: Stalls;
  readonly invalidations: AtcInvalidations;
  readonly pageRequests: PageRequests;
  readonly monitor: Pmcg;
}

/** CMD_ATC_INV.Size that means everything; more is illegal (§4.5.1). */
const SIZE_ALL = 52;
/** CMD_CFGI_STE_RANGE.Range that means everything: CMD_CFGI_ALL. */
const RANGE_ALL = 31;
/** TG of a TLBI command: 16 KiB. */
const TG_16K = 0b10;
/** Translations one prefetch does at most, so that it ends in reasonable time (§4.2.2). */
const PREFETCH_LIMIT = 32;

/** CMD_PRI_RESP.Resp to the code of the message. */
const RESPONSE_CODES: Readonly<Record<number, ResponseCode>> = {
  [PriResponse.FAILURE]: ResponseCode.RESPONSE_FAILURE,
  [PriResponse.INVALID]: ResponseCode.INVALID_REQUEST,
  [PriResponse.SUCCESS]: ResponseCode.SUCCESS,
};

/** SSec: the StreamID is Secure. Illegal on this queue, whatever the SMMU supports (§4.1.6). */
const secure = (view: DataView, at: number): boolean => CFGI_STE.SSec.get(view, at) === 1;

export class Commands {
  readonly #options: CommandsOptions;
  readonly #range = new AddressRange();
  readonly #access = new Access();
  readonly #outcome = new Outcome();

  constructor(options: CommandsOptions) {
    this.#options = options;
    this.#access.purpose = Purpose.PREFETCH;
  }

  /** Carries out the command at byte `at` of `view`. */
  execute(view: DataView, at: number): CommandError {
    switch (Command.Opcode.get(view, at)) {
      case Opcode.PREFETCH_CONFIG:
        return this.#prefetchConfiguration(view, at);
      case Opcode.PREFETCH_ADDR:
        return this.#prefetchAddresses(view, at);
      case Opcode.CFGI_STE:
        return this.#forgetStream(view, at);
      case Opcode.CFGI_STE_RANGE:
        return this.#forgetStreams(view, at);
      case Opcode.CFGI_CD:
        return this.#forgetContext(view, at);
      case Opcode.CFGI_CD_ALL:
        return this.#forgetContexts(view, at);
      case Opcode.TLBI_NH_ALL:
      case Opcode.TLBI_NH_ASID:
      case Opcode.TLBI_NH_VA:
      case Opcode.TLBI_NH_VAA:
        return this.#invalidateGuest(view, at);
      case Opcode.TLBI_EL2_ALL:
      case Opcode.TLBI_EL2_ASID:
      case Opcode.TLBI_EL2_VA:
      case Opcode.TLBI_EL2_VAA:
        return this.#invalidateHyp(view, at);
      case Opcode.TLBI_S12_VMALL:
      case Opcode.TLBI_S2_IPA:
        return this.#invalidateStage2(view, at);
      case Opcode.TLBI_NSNH_ALL:
        this.#options.translator.invalidateNonHyp();
        return CommandError.NONE;
      case Opcode.ATC_INV:
        return this.#invalidateAtc(view, at);
      case Opcode.PRI_RESP:
        return this.#answerGroup(view, at);
      case Opcode.RESUME:
        return this.#resume(view, at);
      case Opcode.STALL_TERM:
        return this.#terminateStalls(view, at);
      default:
        // Reserved, Secure, EL3, MPAM, DPT and IMPLEMENTATION DEFINED opcodes: nothing here knows them.
        return CommandError.ILL;
    }
  }

  #prefetchConfiguration(view: DataView, at: number): CommandError {
    if (secure(view, at)) return CommandError.ILL;
    // Faults of a prefetch are silent (§4.2).
    if (this.#options.control.SMMUEN) this.#find(PREFETCH_CONFIG.StreamID.get(view, at), view, at);
    return CommandError.NONE;
  }

  /** The configuration that a prefetch names: 0, or the event that nobody is told of. */
  #find(streamId: number, view: DataView, at: number): number {
    const { configuration, monitor } = this.#options;
    const event = configuration.find(streamId, this.#substream(view, at));
    if (monitor.active) monitor.countAccesses(streamId, configuration.fetches, configuration.walkSteps);
    return event;
  }

  #prefetchAddresses(view: DataView, at: number): CommandError {
    if (secure(view, at)) return CommandError.ILL;
    const { control, configuration, translator, monitor } = this.#options;
    if (!control.SMMUEN) return CommandError.NONE;
    const streamId = PREFETCH_ADDR.StreamID.get(view, at);
    if (this.#find(streamId, view, at) !== 0) return CommandError.NONE;
    const { context, stream } = configuration;
    if (stream.aborts || !(context.stage1Enabled || context.stage2Enabled)) return CommandError.NONE;
    const first = PREFETCH_ADDR.Addr.get(view, at);
    const stride = 2 ** PREFETCH_ADDR.Stride.get(view, at);
    const count = Math.min(2 ** PREFETCH_ADDR.Size.get(view, at), PREFETCH_LIMIT);
    for (let step = 0; step < count && first + step * stride < 2 ** 52; step++) {
      this.#access.page = first + step * stride;
      translator.translate(context, this.#access, this.#outcome);
      if (monitor.active) monitor.countAccesses(streamId, 0, this.#outcome.steps);
    }
    return CommandError.NONE;
  }

  /** The SubstreamID of a prefetch; where substreams are not supported, SSV counts as 0 (§4.2). */
  #substream(view: DataView, at: number): number {
    const given = PREFETCH_CONFIG.SSV.get(view, at) === 1 && this.#options.features.SSIDSIZE > 0;
    return given ? PREFETCH_CONFIG.SubstreamID.get(view, at) : NO_PASID;
  }

  #forgetStream(view: DataView, at: number): CommandError {
    if (secure(view, at)) return CommandError.ILL;
    this.#options.configuration.forgetStream(CFGI_STE.StreamID.get(view, at), CFGI_STE.Leaf.get(view, at) === 1);
    return CommandError.NONE;
  }

  #forgetStreams(view: DataView, at: number): CommandError {
    if (secure(view, at)) return CommandError.ILL;
    const { configuration } = this.#options;
    const range = CFGI_STE_RANGE.Range.get(view, at);
    if (range === RANGE_ALL) {
      configuration.forgetAll();
      return CommandError.NONE;
    }
    const count = 2 ** (range + 1);
    const streamId = CFGI_STE_RANGE.StreamID.get(view, at);
    configuration.forgetStreams(streamId - (streamId % count), count);
    return CommandError.NONE;
  }

  #forgetContext(view: DataView, at: number): CommandError {
    if (this.#options.features.S1P === 0 || secure(view, at)) return CommandError.ILL;
    this.#options.configuration.forgetContext(
      CFGI_CD.StreamID.get(view, at),
      CFGI_CD.SubstreamID.get(view, at),
      CFGI_CD.Leaf.get(view, at) === 1,
    );
    return CommandError.NONE;
  }

  #forgetContexts(view: DataView, at: number): CommandError {
    if (this.#options.features.S1P === 0 || secure(view, at)) return CommandError.ILL;
    this.#options.configuration.forgetContexts(CFGI_CD.StreamID.get(view, at));
    return CommandError.NONE;
  }

  /** CMD_TLBI_NH_*: the NS-EL1 regime (§4.4.2). */
  #invalidateGuest(view: DataView, at: number): CommandError {
    const { features, translator } = this.#options;
    if (features.S1P === 0) return CommandError.ILL;
    // Without stage 2 there are no VMIDs: entries carry 0.
    const vmid = features.S2P === 1 ? TLBI_NH_VA.VMID.get(view, at) : 0;
    const asid = TLBI_NH_VA.ASID.get(view, at);
    switch (Command.Opcode.get(view, at)) {
      case Opcode.TLBI_NH_ALL:
        translator.invalidateStage1(vmid);
        return CommandError.NONE;
      case Opcode.TLBI_NH_ASID:
        translator.invalidateAsid(StreamWorld.EL1, vmid, asid);
        return CommandError.NONE;
      case Opcode.TLBI_NH_VA:
        if (this.#rangeReserved(view, at)) return CommandError.ILL;
        translator.invalidateAddress(this.#addressRange(view, at, StreamWorld.EL1, vmid, asid));
        return CommandError.NONE;
      default:
        if (this.#rangeReserved(view, at)) return CommandError.ILL;
        translator.invalidateAddress(this.#addressRange(view, at, StreamWorld.EL1, vmid, -1));
        return CommandError.NONE;
    }
  }

  /** CMD_TLBI_EL2_*: CR2.E2H picks the regime (§4.4.2.8, §4.4.2.9). */
  #invalidateHyp(view: DataView, at: number): CommandError {
    const { features, translator, control } = this.#options;
    if (features.Hyp === 0) return CommandError.ILL;
    const world = control.E2H ? StreamWorld.EL2_E2H : StreamWorld.EL2;
    const asid = control.E2H ? TLBI_NH_VA.ASID.get(view, at) : -1;
    switch (Command.Opcode.get(view, at)) {
      case Opcode.TLBI_EL2_ALL:
        translator.invalidateHyp();
        return CommandError.NONE;
      case Opcode.TLBI_EL2_ASID:
        translator.invalidateAsid(StreamWorld.EL2_E2H, 0, TLBI_NH_VA.ASID.get(view, at));
        return CommandError.NONE;
      case Opcode.TLBI_EL2_VA:
        if (this.#rangeReserved(view, at)) return CommandError.ILL;
        translator.invalidateAddress(this.#addressRange(view, at, world, 0, asid));
        return CommandError.NONE;
      default:
        if (this.#rangeReserved(view, at)) return CommandError.ILL;
        translator.invalidateAddress(this.#addressRange(view, at, world, 0, -1));
        return CommandError.NONE;
    }
  }

  #invalidateStage2(view: DataView, at: number): CommandError {
    const { features, translator } = this.#options;
    if (features.S2P === 0) return CommandError.ILL;
    const vmid = TLBI_S2_IPA.VMID.get(view, at);
    if (Command.Opcode.get(view, at) === Opcode.TLBI_S12_VMALL) {
      translator.invalidateVm(vmid);
    } else {
      if (this.#rangeReserved(view, at)) return CommandError.ILL;
      const range = this.#addressRange(view, at, StreamWorld.EL1, vmid, -1);
      range.page = TLBI_S2_IPA.Address.get(view, at);
      translator.invalidateIpa(range);
    }
    return CommandError.NONE;
  }

  /** A granule without a range or a level says nothing: NUM=0, SCALE=0 and TTL=0 are reserved with it (§4.4.1.1). */
  #rangeReserved(view: DataView, at: number): boolean {
    const { features } = this.#options;
    const granule = TLBI_NH_VA.TG.get(view, at);
    if (features.RIL === 0 || granule === 0) return false;
    const level = TLBI_NH_VA.TTL.get(view, at);
    // TTL=1 with 16 KiB counts as 0 where level 1 has no blocks.
    const any = level === 0 || (level === 1 && granule === TG_16K && features.DS === 0);
    return any && TLBI_NH_VA.NUM.get(view, at) === 0 && this.#scale(view, at) === 0;
  }

  /** SCALE, whose bit 5 exists with DS only; values above 39 act as 39 (§4.4.1.1). */
  #scale(view: DataView, at: number): number {
    const scale = TLBI_NH_VA.SCALE.get(view, at);
    return Math.min(this.#options.features.DS === 1 ? scale : scale % 32, 39);
  }

  #addressRange(view: DataView, at: number, world: StreamWorld, vmid: number, asid: number): AddressRange {
    const { features } = this.#options;
    const range = this.#range;
    range.world = world;
    range.vmid = vmid;
    range.asid = asid;
    range.page = TLBI_NH_VA.Address.get(view, at);
    range.leaf = TLBI_NH_VA.Leaf.get(view, at) === 1;
    range.TG = features.RIL === 1 ? TLBI_NH_VA.TG.get(view, at) : 0;
    range.NUM = TLBI_NH_VA.NUM.get(view, at);
    range.SCALE = this.#scale(view, at);
    range.TTL = TLBI_NH_VA.TTL.get(view, at);
    return range;
  }

  #invalidateAtc(view: DataView, at: number): CommandError {
    const { features, control, invalidations } = this.#options;
    const size = ATC_INV.Size.get(view, at);
    if (features.ATS === 0 || size > SIZE_ALL) return CommandError.ILL;
    if (!control.SMMUEN) return CommandError.NONE;
    const given = ATC_INV.SSV.get(view, at) === 1 && features.SSIDSIZE > 0;
    const all = size === SIZE_ALL;
    const pages = 2 ** size;
    const page = ATC_INV.Address.get(view, at);
    invalidations.send(ATC_INV.StreamID.get(view, at), {
      page: all ? 0 : page - (page % pages),
      pages: all ? Number.POSITIVE_INFINITY : pages,
      pasid: given ? ATC_INV.SubstreamID.get(view, at) : NO_PASID,
      // Global is ignored without a PASID.
      global: given && ATC_INV.Global.get(view, at) === 1,
    });
    return CommandError.NONE;
  }

  #answerGroup(view: DataView, at: number): CommandError {
    const { features, control, pageRequests } = this.#options;
    const code = RESPONSE_CODES[PRI_RESP.Resp.get(view, at)];
    if (features.PRI === 0 || code === undefined) return CommandError.ILL;
    if (!control.SMMUEN) return CommandError.NONE;
    const given = PRI_RESP.SSV.get(view, at) === 1 && features.SSIDSIZE > 0;
    pageRequests.respond(
      PRI_RESP.StreamID.get(view, at),
      PRI_RESP.PRGIndex.get(view, at),
      code,
      given ? PRI_RESP.SubstreamID.get(view, at) : NO_PASID,
    );
    return CommandError.NONE;
  }

  #resume(view: DataView, at: number): CommandError {
    const { features, stalls } = this.#options;
    if (features.STALL_MODEL === 0b01 || secure(view, at)) return CommandError.ILL;
    const aborts = features.TERM_MODEL === 1 || RESUME.Ab.get(view, at) === 1;
    stalls.resume(
      RESUME.StreamID.get(view, at),
      RESUME.STAG.get(view, at),
      RESUME.Ac.get(view, at) === 1,
      aborts ? Completion.COMPLETER_ABORT : Completion.SUCCESS,
    );
    return CommandError.NONE;
  }

  #terminateStalls(view: DataView, at: number): CommandError {
    const { features, stalls } = this.#options;
    if (features.STALL_MODEL === 0b01 || secure(view, at)) return CommandError.ILL;
    stalls.terminateStream(STALL_TERM.StreamID.get(view, at));
    return CommandError.NONE;
  }
}
