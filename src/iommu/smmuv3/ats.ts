/** ATS translation requests (IHI 0070 §3.9.1.2, §13.6, §13.7): what the endpoint is told, and what is recorded. */
import { Completion, NO_PASID, type TranslationRequest } from '../../hw/pcie/tlp.ts';
import { powerOfTwo } from '../../layout/power-of-two.ts';
import type { Latency } from '../../sim/profile.ts';
import type { Trace } from '../../sim/trace.ts';
import { EventType } from '../spec/events.layout.ts';
import { PmcgEvent } from '../spec/pmcg.layout.ts';
import { Eats } from '../spec/ste.layout.ts';
import type { Configuration } from './configuration.ts';
import type { Control } from './control.ts';
import type { EventQueue } from './event-queue.ts';
import { configurationEvent, translationEvent, translationRequestForbidden } from './events.ts';
import { type Features, outputAddressBits, smallestGranuleBits } from './features.ts';
import type { Pmcg } from './pmcg.ts';
import { overridePrivilege, translationRelated } from './transactions.ts';
import { Access, Outcome, Permission, Purpose } from './translation/outcome.ts';
import type { Translator } from './translation/translator.ts';

export interface AtsOptions {
  readonly features: Features;
  readonly control: Control;
  readonly configuration: Configuration;
  readonly translator: Translator;
  readonly events: EventQueue;
  readonly latency: Latency;
  readonly trace: Trace;
  readonly monitor: Pmcg;
}

/** INSTCFG values that change what Exe and R mean (§13.7.1). */
const INSTCFG_DATA = 2;
const INSTCFG_INSTRUCTION = 3;

export class Ats {
  readonly #options: AtsOptions;
  readonly #access = new Access();
  readonly #outcome = new Outcome();
  readonly #pageLimit: number;
  readonly #unitPages: number;

  constructor(options: AtsOptions) {
    this.#options = options;
    this.#pageLimit = 2 ** (outputAddressBits(options.features) - 12);
    this.#unitPages = 2 ** (smallestGranuleBits(options.features) - 12);
  }

  /** Answers a translation request in place. */
  translate(request: TranslationRequest): void {
    const { answer } = request;
    const { configuration, latency, trace } = this.#options;
    answer.global = false;
    answer.untranslatedOnly = false;
    // Priv is returned as it was asked, whatever PRIVCFG made of it (§13.7.1).
    answer.privileged = request.pasid !== NO_PASID && request.privileged;
    this.#outcome.steps = 0;
    this.#outcome.hit = false;
    configuration.fetches = 0;
    configuration.walkSteps = 0;
    const status = this.#resolve(request);
    answer.status = status;
    if (status !== Completion.SUCCESS) this.#denied(request);
    const steps = this.#outcome.steps + configuration.walkSteps;
    request.latencyNs += latency.tlbHit + configuration.fetches * latency.configurationFetch + steps * latency.walkStep;
    const { monitor } = this.#options;
    if (monitor.active) {
      monitor.countTranslation(request.requesterId, configuration.fetches, steps, this.#outcome.steps > 0);
      monitor.count(PmcgEvent.PCIE_ATS_TRANS_RQ, request.requesterId, 1);
    }
    if (answer.read || answer.write) trace.record('ats.hit', request.requesterId, request.page, answer.pages);
    else trace.record('ats.miss', request.requesterId, request.page, status);
  }

  #resolve(request: TranslationRequest): Completion {
    const { features, control, configuration } = this.#options;
    if (features.ATS === 0) return Completion.UNSUPPORTED_REQUEST;
    if (!control.SMMUEN) return this.#forbidden(request);
    const streamEvent = configuration.findStream(request.requesterId);
    if (streamEvent !== 0) return this.#configurationError(request, streamEvent);
    const stream = configuration.stream;
    if (stream.aborts) return Completion.UNSUPPORTED_REQUEST;
    if (stream.EATS === Eats.DISABLED) return this.#forbidden(request);
    const access = this.#access;
    access.page = request.page;
    access.offset = 0;
    access.read = true;
    access.write = !request.noWrite;
    access.instruction = stream.INSTCFG === INSTCFG_INSTRUCTION;
    access.privileged = overridePrivilege(request.pasid !== NO_PASID && request.privileged, stream.PRIVCFG);
    access.purpose = Purpose.ATS;
    const event = configuration.findContext(request.pasid);
    if (event !== 0) {
      if (translationRelated(event)) return this.#denied(request);
      return this.#configurationError(request, event);
    }
    return this.#page(request);
  }

  /** Configuration is good: translates the first page; the answer covers the whole leaf it lies in. */
  #page(request: TranslationRequest): Completion {
    const { configuration, translator } = this.#options;
    const { stream, context } = configuration;
    if (!context.stage1Enabled && request.page >= this.#pageLimit) return this.#denied(request);
    if (!context.stage1Enabled && !context.stage2Enabled) return this.#identity(request);
    const outcome = this.#outcome;
    const event = translator.translate(context, this.#access, outcome);
    if (event !== 0) {
      if (translationRelated(event)) return this.#denied(request);
      return this.#translationError(request, event);
    }
    this.#grant(request, outcome, stream.INSTCFG);
    const { answer } = request;
    if (!answer.read && !answer.write) return this.#denied(request);
    // Split-stage completions carry the IPA: stage 1's output, or the input where stage 1 is skipped (§13.6.3, §13.6.5).
    const split = stream.EATS === Eats.SPLIT_STAGE;
    const intermediate = context.stage1Enabled ? outcome.ipaPage : request.page;
    this.#cover(request, split ? intermediate : outcome.page, outcome.sizeBits);
    return Completion.SUCCESS;
  }

  /** Stage 1 is skipped and there is no stage 2: everything is itself (§13.6.4). */
  #identity(request: TranslationRequest): Completion {
    const { answer } = request;
    answer.read = true;
    answer.write = true;
    answer.execute = false;
    this.#cover(request, request.page, outputAddressBits(this.#options.features));
    return Completion.SUCCESS;
  }

  /** §13.7.1, line by line, but for W where NW=1. */
  #grant(request: TranslationRequest, outcome: Outcome, instcfg: number): void {
    const { answer } = request;
    const readable = (outcome.permissions & Permission.READ) !== 0;
    const executable = (outcome.permissions & Permission.EXECUTE) !== 0;
    const asked = request.pasid !== NO_PASID && request.execute;
    if (instcfg === INSTCFG_INSTRUCTION) {
      answer.read = executable;
      answer.execute = asked && executable;
    } else {
      answer.read = readable;
      answer.execute = asked && readable && (instcfg === INSTCFG_DATA || executable);
    }
    // A request with NW=1 marked the page accessed for its read alone: without that, W would leave AF clear (§13.7).
    const writable = (outcome.permissions & Permission.WRITE) !== 0;
    answer.write = writable && (answer.read || !request.noWrite);
  }

  /** Page and size of the answer: the aligned block of 2^sizeBits bytes that both pages lie in. */
  #cover(request: TranslationRequest, page: number, sizeBits: number): void {
    const pages = powerOfTwo(sizeBits - 12);
    // The remainder of a number that may be large is slow.
    request.answer.page = pages === 1 ? page : page - (page % pages);
    request.answer.pages = pages;
  }

  /** Success with R=W=0, of the size of one STU (§3.9.1.2); also what a failed completion carries. */
  #denied(request: TranslationRequest): Completion {
    const { answer } = request;
    answer.page = 0;
    answer.pages = this.#unitPages;
    answer.read = false;
    answer.write = false;
    answer.execute = false;
    return Completion.SUCCESS;
  }

  /** ATS is off for the stream: UR and F_BAD_ATS_TREQ (§7.3.6). */
  #forbidden(request: TranslationRequest): Completion {
    const { events, control, configuration } = this.#options;
    translationRequestForbidden(events.view, request.requesterId, request.pasid);
    events.record(control.SMMUEN && configuration.stream.MEV, request.latencyNs);
    return Completion.UNSUPPORTED_REQUEST;
  }

  #configurationError(request: TranslationRequest, event: EventType): Completion {
    const { events, control, configuration } = this.#options;
    if (event === EventType.F_WALK_EABT || event === EventType.F_TLB_CONFLICT) {
      return this.#translationError(request, event, configuration.stage2Fault);
    }
    const recorded = control.REC_CFG_ATS && (event !== EventType.C_BAD_STREAMID || control.RECINVSID);
    if (recorded) {
      const { fetchAddress, badSubstream, stream } = configuration;
      configurationEvent(events.view, event, request.requesterId, request.pasid, fetchAddress, badSubstream);
      events.record(event > EventType.C_BAD_STE && stream.MEV, request.latencyNs);
    }
    return Completion.COMPLETER_ABORT;
  }

  /** F_WALK_EABT and F_TLB_CONFLICT: Completer Abort, recorded if CR2.REC_CFG_ATS=1. */
  #translationError(request: TranslationRequest, event: EventType, outcome = this.#outcome): Completion {
    const { events, control, configuration } = this.#options;
    if (control.REC_CFG_ATS) {
      translationEvent(events.view, event, request.requesterId, request.pasid, this.#access, outcome);
      events.record(configuration.stream.MEV, request.latencyNs);
    }
    return Completion.COMPLETER_ABORT;
  }
}
