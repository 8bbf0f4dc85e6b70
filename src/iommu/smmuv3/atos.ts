/** Address translation operations (IHI 0070 chapter 9): GATOS registers in, GATOS_PAR out. Records nothing, never stalls. */
import { NO_PASID } from '../../hw/pcie/tlp.ts';
import type { Clock, Timer } from '../../sim/clock.ts';
import type { Latency } from '../../sim/profile.ts';
import { EventType, FaultClass } from '../spec/events.layout.ts';
import { GATOS_ADDR, GATOS_CTRL, GATOS_PAR, GATOS_PAR_FAULT, GATOS_SID } from '../spec/registers.layout.ts';
import type { Configuration } from './configuration.ts';
import { type Features, outputAddressBits, smallestGranuleBits } from './features.ts';
import type { Pmcg } from './pmcg.ts';
import type { RegisterFile } from './register-file.ts';
import { translationRelated } from './transactions.ts';
import type { TranslationContext } from './translation/context.ts';
import { Access, Outcome, Purpose } from './translation/outcome.ts';
import type { Translator } from './translation/translator.ts';

export interface AtosOptions {
  readonly clock: Clock;
  readonly features: Features;
  readonly registers: RegisterFile;
  readonly configuration: Configuration;
  readonly translator: Translator;
  readonly latency: Latency;
  readonly monitor: Pmcg;
}

/** GATOS_ADDR.TYPE (§9.1.3). */
const Type = { STAGE_1: 1, STAGE_2: 2, BOTH: 3 } as const;

/** FAULTCODE values that are no events (§9.1.5). */
const FaultCode = { INTERNAL_ERR: 0xfd, INV_STAGE: 0xfe, INV_REQ: 0xff } as const;

/** GATOS_PAR.REASON (§6.3.40). */
const Reason = { STAGE_1: 0, CONTEXT: 1, TABLE: 2, INPUT: 3 } as const;
const REASONS: Readonly<Record<number, number>> = {
  [FaultClass.CD]: Reason.CONTEXT,
  [FaultClass.TTD]: Reason.TABLE,
  [FaultClass.IN]: Reason.INPUT,
};

/** Normal memory, Write-Back, in MAIR format. */
const WRITE_BACK = 0xff;
/** Shareability of Device memory in a result (§9.1.4). */
const OUTER_SHAREABLE = 2;

export class Atos {
  readonly #options: AtosOptions;
  readonly #access = new Access();
  readonly #outcome = new Outcome();
  readonly #pageLimit: number;
  readonly #result = new DataView(new ArrayBuffer(8));
  #running: Timer | null = null;

  constructor(options: AtosOptions) {
    this.#options = options;
    this.#pageLimit = 2 ** (outputAddressBits(options.features) - 12);
    this.#access.purpose = Purpose.ATOS;
  }

  reset(): void {
    this.#running?.cancel();
    this.#running = null;
  }

  /** GATOS_CTRL.RUN was set: the result is there, and RUN clear, when the look-up's time is over. */
  run(): void {
    const { clock, latency, configuration, registers, monitor } = this.#options;
    this.#outcome.steps = 0;
    configuration.fetches = 0;
    configuration.walkSteps = 0;
    this.#resolve();
    const steps = this.#outcome.steps + configuration.walkSteps;
    if (monitor.active) {
      monitor.countAccesses(registers.field(GATOS_SID, GATOS_SID.STREAMID), configuration.fetches, steps);
    }
    const costNs = latency.tlbHit + configuration.fetches * latency.configurationFetch + steps * latency.walkStep;
    if (costNs === 0) {
      this.#publish();
      return;
    }
    // Looked up again at the end: an invalidation that completed meanwhile leaves nothing stale in the result (§9).
    this.#running = clock.after(costNs, () => {
      this.#resolve();
      this.#publish();
    });
  }

  /** SMMUEN went to 0: a look-up under way ends with INTERNAL_ERR (§9.1.1). */
  abandon(): void {
    if (this.#running === null) return;
    this.reset();
    this.#fail(FaultCode.INTERNAL_ERR, Reason.STAGE_1, 0);
    this.#publish();
  }

  #publish(): void {
    const { registers } = this.#options;
    this.#running = null;
    registers.set64(GATOS_PAR, this.#result.getUint32(0, true), this.#result.getUint32(4, true));
    registers.set(GATOS_CTRL, 0);
  }

  /** Leaves the value of GATOS_PAR in the result: whether it is an address. */
  #resolve(): boolean {
    const { features, registers, configuration } = this.#options;
    const type = registers.field(GATOS_ADDR, GATOS_ADDR.TYPE);
    const given = registers.field(GATOS_SID, GATOS_SID.SSID_VALID) === 1;
    if (!requestValid(type, given, features)) return this.#fail(FaultCode.INV_REQ, Reason.STAGE_1, 0);
    const streamEvent = configuration.findStream(registers.field(GATOS_SID, GATOS_SID.STREAMID));
    if (streamEvent !== 0) return this.#fail(streamEvent, Reason.STAGE_1, 0);
    const stream = configuration.stream;
    const stage1 = !stream.aborts && stream.stage1;
    const stage2 = !stream.aborts && stream.stage2;
    if (((type & Type.STAGE_1) !== 0 && !stage1) || ((type & Type.STAGE_2) !== 0 && !stage2)) {
      return this.#fail(FaultCode.INV_STAGE, Reason.STAGE_1, 0);
    }
    this.#readAccess();
    if (type === Type.STAGE_2) return this.#translateWith(stream.withoutStage1, type);
    configuration.hardwareUpdate = this.#access.update;
    const event = configuration.findContext(given ? registers.field(GATOS_SID, GATOS_SID.SUBSTREAMID) : NO_PASID);
    configuration.hardwareUpdate = true;
    if (event !== 0) return this.#contextFault(event, type);
    return this.#translateWith(configuration.context, type);
  }

  /** The properties of the access come from GATOS_ADDR alone; STE overrides play no part (§9.1.3). */
  #readAccess(): void {
    const { registers } = this.#options;
    const access = this.#access;
    const write = registers.field(GATOS_ADDR, GATOS_ADDR.RnW) === 0;
    access.page = registers.field(GATOS_ADDR, GATOS_ADDR.ADDR);
    access.read = !write;
    access.write = write;
    access.instruction = !write && registers.field(GATOS_ADDR, GATOS_ADDR.InD) === 1;
    access.privileged = registers.field(GATOS_ADDR, GATOS_ADDR.PnU) === 1;
    access.update = registers.field(GATOS_ADDR, GATOS_ADDR.HTTUI) === 0;
  }

  #translateWith(context: TranslationContext, type: number): boolean {
    const { translator, features } = this.#options;
    const access = this.#access;
    const outcome = this.#outcome;
    if (!context.stage1Enabled && access.page >= this.#pageLimit) {
      return this.#fail(EventType.F_ADDR_SIZE, Reason.STAGE_1, 0);
    }
    // S1DSS skips stage 1: the input itself, of a size and with attributes that are ours to choose (§9.1.3).
    if (!context.stage1Enabled && type === Type.STAGE_1) {
      return this.#succeed(access.page, smallestGranuleBits(features), WRITE_BACK, OUTER_SHAREABLE);
    }
    const event =
      type === Type.STAGE_1
        ? translator.translateStage1(context, access, outcome)
        : translator.translate(context, access, outcome);
    if (event !== 0) return this.#translationFault(event, type, outcome);
    return this.#succeed(outcome.page, outcome.sizeBits, outcome.attributes, outcome.shareability);
  }

  /** An event of the CD look-up. */
  #contextFault(event: EventType, type: number): boolean {
    const { configuration } = this.#options;
    const throughStage2 = translationRelated(event) || event === EventType.F_WALK_EABT;
    if (!throughStage2) return this.#fail(event, Reason.STAGE_1, 0);
    // A request for stage 1 alone is not shown stage 2: the fetch failed, that is all (§9.1.4).
    if (type === Type.STAGE_1) return this.#fail(EventType.F_CD_FETCH, Reason.STAGE_1, 0);
    return this.#translationFault(event, type, configuration.stage2Fault);
  }

  #translationFault(event: EventType, type: number, outcome: Outcome): boolean {
    // One of the faults that name neither stage nor address, but in a request for stage 2 alone (§9.1.4).
    if (event === EventType.F_TLB_CONFLICT && type !== Type.STAGE_2) return this.#fail(event, Reason.STAGE_1, 0);
    const reason = outcome.stage2 ? (REASONS[outcome.faultClass] ?? Reason.INPUT) : Reason.STAGE_1;
    if (type === Type.STAGE_1 && outcome.stage2) return this.#fail(EventType.F_WALK_EABT, Reason.STAGE_1, 0);
    const shown = type === Type.BOTH && outcome.stage2 && translationRelated(event);
    return this.#fail(event, reason, shown ? outcome.ipaPage : 0);
  }

  #fail(code: number, reason: number, page: number): boolean {
    const view = this.#result;
    clear(view);
    GATOS_PAR_FAULT.FAULT.set(view, 0, 1);
    GATOS_PAR_FAULT.REASON.set(view, 0, reason);
    GATOS_PAR_FAULT.FAULTCODE.set(view, 0, code);
    GATOS_PAR_FAULT.FADDR.set(view, 0, page);
    return false;
  }

  #succeed(page: number, sizeBits: number, attributes: number, shareability: number): boolean {
    const view = this.#result;
    clear(view);
    const pages = 2 ** (sizeBits - 12);
    // Larger than a page: the lowest set bit N of the address says 2^(N+1) bytes (§6.3.40).
    const address = page - (page % pages) + (pages > 1 ? pages / 2 : 0);
    GATOS_PAR.ADDR.set(view, 0, address);
    GATOS_PAR.Size.set(view, 0, pages > 1 ? 1 : 0);
    const device = attributes < 0x10;
    GATOS_PAR.SH.set(view, 0, device ? OUTER_SHAREABLE : shareability);
    GATOS_PAR.ATTR.set(view, 0, attributes);
    return true;
  }
}

/** Requests that no stream could satisfy are INV_REQ before anything is fetched (§9.1.3). */
function requestValid(type: number, substreamGiven: boolean, features: Features): boolean {
  if (type === Type.STAGE_1) return features.S1P === 1;
  if (type === Type.STAGE_2) return features.S2P === 1 && !substreamGiven;
  return type === Type.BOTH && features.S1P === 1 && features.S2P === 1;
}

function clear(view: DataView): void {
  view.setUint32(0, 0, true);
  view.setUint32(4, 0, true);
}
