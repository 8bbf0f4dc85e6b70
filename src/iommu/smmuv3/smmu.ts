/**
 * An SMMUv3, Non-secure state (IHI 0070 G.b): two register pages on the bus, the translation agent behind a root complex.
 * This file joins the parts and carries out the register writes that have effects.
 */

import { type AccessSize, type Bus, BusStatus, type MmioDevice } from '../../hw/bus.ts';
import type {
  Completion,
  Fabric,
  MemoryRequest,
  PageRequestMessage,
  TranslationAgent,
  TranslationRequest,
} from '../../hw/pcie/tlp.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Invariants } from '../../sim/invariants.ts';
import type { Log } from '../../sim/log.ts';
import type { Latency } from '../../sim/profile.ts';
import type { Random } from '../../sim/random.ts';
import type { Trace } from '../../sim/trace.ts';
import { COMMAND_BYTES } from '../spec/commands.layout.ts';
import { EVENT_BYTES, EventType } from '../spec/events.layout.ts';
import { PAGE_REQUEST_BYTES } from '../spec/page-requests.layout.ts';
import {
  CMDQ_BASE,
  CMDQ_CONS,
  CMDQ_PROD,
  CR0,
  CR0ACK,
  CR2,
  EVENTQ_BASE,
  EVENTQ_CONS,
  EVENTQ_PROD,
  GATOS_CTRL,
  GBPA,
  GERROR,
  GERRORN,
  IRQ_CTRL,
  IRQ_CTRLACK,
  PRIQ_BASE,
  PRIQ_CONS,
  PRIQ_PROD,
} from '../spec/registers.layout.ts';
import { AtcInvalidations } from './atc-invalidations.ts';
import { Atos } from './atos.ts';
import { Ats } from './ats.ts';
import { CommandQueue } from './command-queue.ts';
import { Commands } from './commands.ts';
import { Configuration } from './configuration.ts';
import { Control } from './control.ts';
import { type EventCounts, EventQueue } from './event-queue.ts';
import { configurationEvent } from './events.ts';
import { type FeatureOptions, type Features, featuresOf, outputAddressBits } from './features.ts';
import { type InterruptLines, Interrupts } from './interrupts.ts';
import { type PageRequestCounts, PageRequests, PparCheck } from './page-requests.ts';
import { Pmcg } from './pmcg.ts';
import { Queue } from './queue.ts';
import { RegisterFile } from './register-file.ts';
import { Stalls } from './stalls.ts';
import { Transactions } from './transactions.ts';
import { Translator } from './translation/translator.ts';

/** A minute: what PCIe gives an endpoint to complete an invalidation (PCIe §10.3.1). */
const ATC_INVALIDATE_TIMEOUT_NS = 60_000_000_000;
/** Equal events within a microsecond may become one record. */
const EVENT_MERGE_WINDOW_NS = 1000;

export interface SmmuOptions {
  readonly clock: Clock;
  readonly bus: Bus;
  /** How invalidate requests and page group responses reach the endpoints. */
  readonly fabric: Fabric;
  readonly lines: InterruptLines;
  readonly latency: Latency;
  readonly invariants: Invariants;
  readonly log: Log;
  readonly trace: Trace;
  /** Draws what the architecture leaves UNKNOWN at reset; without it such bits are 0. */
  readonly random?: Random;
  readonly features?: FeatureOptions;
  readonly atcInvalidateTimeoutNs?: number;
  readonly eventMergeWindowNs?: number;
  /** Whether duplicates of a stall are held without a record (§3.12.2.1); true unless given. */
  readonly suppressDuplicateStalls?: boolean;
  /** A WFE wake-up event (CMD_SYNC with CS=SIG_SEV). */
  readonly sendEvent?: () => void;
  readonly tlbEntries?: number;
}

export class Smmu implements MmioDevice, TranslationAgent {
  readonly name = 'smmuv3';
  readonly features: Features;
  /** Its performance monitor: a page of {@link PMCG_BYTES} that the board places where it likes. */
  readonly pmcg: Pmcg;
  readonly #log: Log;
  readonly #registers: RegisterFile;
  readonly #control = new Control();
  readonly #translator: Translator;
  readonly #configuration: Configuration;
  readonly #interrupts: Interrupts;
  readonly #commandRing: Queue;
  readonly #eventRing: Queue;
  readonly #pageRing: Queue;
  readonly #events: EventQueue;
  readonly #stalls: Stalls;
  readonly #transactions: Transactions;
  readonly #ats: Ats;
  readonly #pageRequests: PageRequests;
  readonly #invalidations: AtcInvalidations;
  readonly #commandQueue: CommandQueue;
  readonly #atos: Atos;

  /** @throws AssertionError when the features contradict each other or are not modelled. */
  constructor(options: SmmuOptions) {
    const features = featuresOf(options.features);
    const { bus, clock, log, latency, invariants, trace, fabric } = options;
    const control = this.#control;
    this.features = features;
    this.#log = log;
    const registers = new RegisterFile({
      features,
      ...(options.random === undefined ? {} : { random: options.random }),
    });
    this.#registers = registers;
    this.#translator = new Translator({
      memory: bus.memory,
      outputBits: outputAddressBits(features),
      XNX: features.XNX === 1,
      BBML: features.BBML as 0 | 1 | 2,
      DS: features.DS === 1,
      ...(options.tlbEntries === undefined ? {} : { tlbEntries: options.tlbEntries }),
    });
    const translator = this.#translator;
    const configuration = new Configuration({ registers, control, features, bus, translator });
    this.#configuration = configuration;
    const interrupts = new Interrupts({ clock, registers, bus, lines: options.lines, features, log });
    this.#interrupts = interrupts;
    this.#commandRing = new Queue({
      registers,
      bus,
      layout: { base: CMDQ_BASE, prod: CMDQ_PROD, cons: CMDQ_CONS },
      entryBytes: COMMAND_BYTES,
      maxLog2: features.CMDQS,
    });
    this.#eventRing = new Queue({
      registers,
      bus,
      layout: { base: EVENTQ_BASE, prod: EVENTQ_PROD, cons: EVENTQ_CONS },
      entryBytes: EVENT_BYTES,
      maxLog2: features.EVENTQS,
    });
    this.#pageRing = new Queue({
      registers,
      bus,
      layout: { base: PRIQ_BASE, prod: PRIQ_PROD, cons: PRIQ_CONS },
      entryBytes: PAGE_REQUEST_BYTES,
      maxLog2: features.PRIQS,
    });
    const monitor = new Pmcg({
      clock,
      bus,
      features,
      ...(options.lines.monitor === undefined ? {} : { line: options.lines.monitor }),
    });
    this.pmcg = monitor;
    const recordWriteNs = latency.recordWrite;
    const events = new EventQueue({
      clock,
      registers,
      control,
      interrupts,
      queue: this.#eventRing,
      invariants,
      log,
      mergeWindowNs: options.eventMergeWindowNs ?? EVENT_MERGE_WINDOW_NS,
      recordWriteNs,
    });
    this.#events = events;
    const stalls = new Stalls({
      limit: features.STALL_MAX,
      suppressDuplicates: options.suppressDuplicateStalls ?? true,
      retry: (request) => this.#transactions.again(request),
      end: (request, status) => this.#transactions.end(request, status),
      invariants,
      log,
    });
    this.#stalls = stalls;
    this.#transactions = new Transactions({
      features,
      registers,
      control,
      configuration,
      translator,
      events,
      stalls,
      bus,
      latency,
      trace,
      monitor,
    });
    this.#ats = new Ats({ features, control, configuration, translator, events, latency, trace, monitor });
    this.#pageRequests = new PageRequests({
      features,
      registers,
      control,
      interrupts,
      queue: this.#pageRing,
      fabric,
      invariants,
      log,
      trace,
      recordWriteNs,
      ppar: (streamId) => this.#checkPpar(streamId),
    });
    this.#invalidations = new AtcInvalidations({
      clock,
      fabric,
      log,
      timeoutNs: options.atcInvalidateTimeoutNs ?? ATC_INVALIDATE_TIMEOUT_NS,
      settled: () => this.#commandQueue.invalidationsSettled(),
    });
    const commands = new Commands({
      features,
      control,
      configuration,
      translator,
      stalls,
      invalidations: this.#invalidations,
      pageRequests: this.#pageRequests,
      monitor,
    });
    this.#commandQueue = new CommandQueue({
      clock,
      features,
      registers,
      control,
      interrupts,
      queue: this.#commandRing,
      commands,
      invalidations: this.#invalidations,
      log,
      commandNs: latency.commandFetch,
      sendEvent: options.sendEvent ?? (() => {}),
    });
    this.#atos = new Atos({ clock, features, registers, configuration, translator, latency, monitor });
    this.#connect();
    this.#refresh();
  }

  /** Transactions that have no response yet because they stalled. */
  get outstandingStalls(): number {
    return this.#stalls.outstanding;
  }

  /** What became of every event record since reset. */
  get eventCounts(): Readonly<EventCounts> {
    return this.#events.counts;
  }

  /** What became of every page request since reset. */
  get pageRequestCounts(): Readonly<PageRequestCounts> {
    return this.#pageRequests.counts;
  }

  /** Commands consumed since reset. */
  get commandsConsumed(): number {
    return this.#commandQueue.consumed;
  }

  /** Back to the state after power-on. Stalled transactions end with an abort. */
  reset(): void {
    this.#stalls.terminateAll();
    this.#registers.reset();
    this.#stalls.reset();
    this.#events.reset();
    this.#pageRequests.reset();
    this.#invalidations.reset();
    this.#commandQueue.reset();
    this.#atos.reset();
    this.pmcg.reset();
    this.#configuration.forgetAll();
    this.#translator.invalidateAll();
    this.#refresh();
  }

  readRegister(offset: number, size: AccessSize, data: DataView): BusStatus {
    this.#registers.read(offset, size, data);
    return BusStatus.OK;
  }

  writeRegister(offset: number, size: AccessSize, data: DataView): BusStatus {
    this.#registers.write(offset, size, data);
    return BusStatus.OK;
  }

  memory(request: MemoryRequest): Completion {
    return this.#transactions.memory(request);
  }

  translate(request: TranslationRequest): void {
    this.#ats.translate(request);
  }

  pageRequest(message: PageRequestMessage): void {
    this.#pageRequests.receive(message);
  }

  /**
   * The translation of an untranslated access alone: the output page, or -1 when it would fault. Nothing is recorded or
   * charged; caches fill as usual.
   */
  translateAccess(streamId: number, pasid: number, page: number, write: boolean): number {
    return this.#transactions.translateAccess(streamId, pasid, page, write);
  }

  /** Registers whose writes do something. */
  #connect(): void {
    const registers = this.#registers;
    registers.onWrite(CR0, (next, previous) => this.#writeControl(next, previous));
    registers.onWrite(CR2, () => this.#control.refresh(registers));
    registers.onWrite(IRQ_CTRL, (next) => {
      registers.set(IRQ_CTRLACK, next);
      this.#interrupts.enablesChanged();
    });
    // The update is complete before software can look (§6.3.14.1).
    registers.onWrite(GBPA, (next) => registers.set(GBPA, (next & ~GBPA.Update.mask32) >>> 0));
    registers.onWrite(GERRORN, (next, previous) => this.#acknowledge(next, previous));
    registers.onWrite(CMDQ_PROD, () => {
      this.#commandRing.refresh();
      this.#commandQueue.kick();
    });
    registers.onWrite(CMDQ_CONS, () => this.#commandRing.refresh());
    registers.onWrite(CMDQ_BASE, () => this.#commandRing.configure());
    registers.onWrite(EVENTQ_BASE, () => this.#eventRing.configure());
    registers.onWrite(PRIQ_BASE, () => this.#pageRing.configure());
    registers.onWrite(GATOS_CTRL, (next) => {
      if (GATOS_CTRL.RUN.of(next) === 1) this.#atos.run();
    });
    registers.onWrite(EVENTQ_PROD, () => this.#eventRing.refresh());
    registers.onWrite(EVENTQ_CONS, () => {
      this.#eventRing.refresh();
      this.#resumeRecording();
    });
    registers.onWrite(PRIQ_PROD, () => this.#pageRing.refresh());
    registers.onWrite(PRIQ_CONS, () => this.#pageRing.refresh());
  }

  /** Derived state, after the registers changed as a whole. */
  #refresh(): void {
    this.#control.refresh(this.#registers);
    this.#interrupts.enablesChanged();
    this.#interrupts.refresh();
    this.#commandRing.configure();
    this.#eventRing.configure();
    this.#pageRing.configure();
    this.#configuration.configure();
    this.#translator.setVmidWildcard(this.#control.VMW);
  }

  /** CR0: every update completes at once (§6.3.9). */
  #writeControl(next: number, previous: number): void {
    const registers = this.#registers;
    if (next !== previous) this.#log.info({ event: 'smmuv3.control', CR0: next, previous });
    if (CR0.SMMUEN.rises(previous, next)) this.#configuration.configure();
    if (CR0.CMDQEN.rises(previous, next)) this.#commandRing.configure();
    if (CR0.EVENTQEN.rises(previous, next)) this.#eventRing.configure();
    if (CR0.PRIQEN.rises(previous, next)) this.#pageRing.configure();
    registers.set(CR0ACK, next);
    this.#control.refresh(registers);
    this.#translator.setVmidWildcard(this.#control.VMW);
    if (CR0.SMMUEN.falls(previous, next)) {
      this.#stalls.terminateAll();
      this.#atos.abandon();
    }
    if (CR0.CMDQEN.falls(previous, next)) this.#commandQueue.disable();
    if (CR0.EVENTQEN.rises(previous, next)) this.#resumeRecording();
    if (CR0.CMDQEN.rises(previous, next)) this.#commandQueue.kick();
  }

  /** GERRORN: what an error had stopped goes on (§7.1, §7.2.1). */
  #acknowledge(next: number, previous: number): void {
    const toggled = next ^ previous;
    this.#interrupts.refresh();
    if (GERROR.EVENTQ_ABT_ERR.of(toggled) === 1) this.#resumeRecording();
    if (GERROR.CMDQ_ERR.of(toggled) === 1) this.#commandQueue.kick();
  }

  #resumeRecording(): void {
    if (this.#stalls.unrecorded) this.#stalls.queueWritable(() => this.#events.writable);
  }

  /** STE.PPAR for an automatic response (§8.1). */
  #checkPpar(streamId: number): PparCheck {
    const configuration = this.#configuration;
    const event = configuration.findStream(streamId);
    if (this.pmcg.active) this.pmcg.countAccesses(streamId, configuration.fetches, 0);
    const { stream, fetchAddress } = configuration;
    if (event === 0) return stream.PPAR ? PparCheck.WITH_PASID : PparCheck.WITHOUT_PASID;
    const { REC_CFG_ATS, RECINVSID } = this.#control;
    if (REC_CFG_ATS && (event !== EventType.C_BAD_STREAMID || RECINVSID)) {
      configurationEvent(this.#events.view, event, streamId, -1, fetchAddress, 0);
      this.#events.record(false);
    }
    return PparCheck.NO_STE;
  }
}
