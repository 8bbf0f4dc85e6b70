/** The PRI queue (IHI 0070 chapter 8): page requests in, group responses out, and the ones the SMMU sends by itself. */
import { BusStatus } from '../../hw/bus.ts';
import { type Fabric, NO_PASID, type PageRequestMessage, ResponseCode } from '../../hw/pcie/tlp.ts';
import type { Invariants } from '../../sim/invariants.ts';
import type { Log } from '../../sim/log.ts';
import type { Trace } from '../../sim/trace.ts';
import { PAGE_REQUEST_BYTES, PageRequestRecord } from '../spec/page-requests.layout.ts';
import { GERROR, PRIQ_CONS, PRIQ_IRQ_CFG2, PRIQ_PROD } from '../spec/registers.layout.ts';
import type { Control } from './control.ts';
import type { Features } from './features.ts';
import type { Interrupts } from './interrupts.ts';
import type { Queue } from './queue.ts';
import type { RegisterFile } from './register-file.ts';

/** What the STE says of the PASID on automatic responses. */
export const PparCheck = { WITH_PASID: 0, WITHOUT_PASID: 1, NO_STE: 2 } as const;
export type PparCheck = (typeof PparCheck)[keyof typeof PparCheck];

export interface PageRequestsOptions {
  readonly features: Features;
  readonly registers: RegisterFile;
  readonly control: Control;
  readonly interrupts: Interrupts;
  readonly queue: Queue;
  readonly fabric: Fabric;
  readonly invariants: Invariants;
  readonly log: Log;
  readonly trace: Trace;
  readonly recordWriteNs: number;
  /** Looks STE.PPAR up, recording what CR2 asks for (§8.1). */
  readonly ppar: (streamId: number) => PparCheck;
}

/** Every page request ends in one of the last five. */
export interface PageRequestCounts {
  received: number;
  queued: number;
  /** Dropped by overflow: answered by the SMMU if the group ended, silently otherwise. */
  overflowAnswered: number;
  overflowSilent: number;
  /** Refused with Response Failure: queue off, or in error. */
  refused: number;
  /** Stop markers that found no place. */
  markersDropped: number;
}

/** In the trace, where a page would stand. */
const NO_PAGE = -1;
/** pino's number for `debug`. */
const LOG_DEBUG = 20;

const noCounts = (): PageRequestCounts => ({
  received: 0,
  queued: 0,
  overflowAnswered: 0,
  overflowSilent: 0,
  refused: 0,
  markersDropped: 0,
});

export class PageRequests {
  readonly #options: PageRequestsOptions;
  readonly #view = new DataView(new ArrayBuffer(PAGE_REQUEST_BYTES));
  #counts = noCounts();

  constructor(options: PageRequestsOptions) {
    this.#options = options;
  }

  get counts(): Readonly<PageRequestCounts> {
    return this.#counts;
  }

  reset(): void {
    this.#counts = noCounts();
  }

  /** A page request message or stop marker arrived. */
  receive(message: PageRequestMessage): void {
    this.#counts.received += 1;
    this.#options.trace.record('pri.request', message.requesterId, message.page, message.groupIndex);
    this.#take(message);
    const { received, queued, overflowAnswered, overflowSilent, refused, markersDropped } = this.#counts;
    this.#options.invariants.check(
      'one-response',
      received === queued + overflowAnswered + overflowSilent + refused + markersDropped,
      () => `${received} page requests, not all of them queued, answered or dropped by rule`,
    );
  }

  /** CMD_PRI_RESP: sends a group response. */
  respond(streamId: number, groupIndex: number, code: ResponseCode, pasid: number): void {
    const { fabric, log, trace } = this.#options;
    log.debug({ event: 'smmuv3.groupResponse', streamId, group: groupIndex, code, substreamId: pasid });
    trace.record('pri.response', streamId, NO_PAGE, groupIndex);
    fabric.pageGroupResponse(streamId, { groupIndex, code, pasid });
  }

  #take(message: PageRequestMessage): void {
    const { control, interrupts, queue, features } = this.#options;
    const counts = this.#counts;
    const pasid = features.SSIDSIZE > 0 ? message.pasid : NO_PASID;
    // Without a PASID the same bits are a page request (chapter 8).
    const marker = pasid !== NO_PASID && message.last && !message.read && !message.write;
    if (!control.PRIQEN || interrupts.active(GERROR.PRIQ_ABT_ERR)) {
      this.#refuse(message, marker);
      return;
    }
    if (this.#overflowed || queue.full) {
      this.#overflow();
      if (marker) counts.markersDropped += 1;
      else if (message.last) this.#answerOverflow(message, pasid);
      else counts.overflowSilent += 1;
      if (message.last && this.#lastOnly) this.#interrupt();
      return;
    }
    this.#encode(message, pasid);
    const wasEmpty = queue.empty;
    if (queue.push(this.#view) !== BusStatus.OK) {
      interrupts.raise(GERROR.PRIQ_ABT_ERR);
      this.#refuse(message, marker);
      return;
    }
    counts.queued += 1;
    if (this.#options.log.levelVal <= LOG_DEBUG) this.#logRequest(message, pasid);
    if (this.#lastOnly ? message.last : wasEmpty) this.#interrupt();
  }

  #logRequest(message: PageRequestMessage, pasid: number): void {
    const { requesterId, page, read, write, last, groupIndex } = message;
    this.#options.log.debug({
      event: 'smmuv3.pageRequest',
      streamId: requesterId,
      substreamId: pasid,
      page,
      read,
      write,
      last,
      group: groupIndex,
    });
  }

  get #overflowed(): boolean {
    const { registers } = this.#options;
    return PRIQ_PROD.OVFLG.of(registers.get(PRIQ_PROD)) !== PRIQ_CONS.OVACKFLG.of(registers.get(PRIQ_CONS));
  }

  get #lastOnly(): boolean {
    return PRIQ_IRQ_CFG2.LO.of(this.#options.registers.get(PRIQ_IRQ_CFG2)) === 1;
  }

  /** Enters the overflow condition unless it is there already (§8.1). */
  #overflow(): void {
    if (this.#overflowed) return;
    const { registers, log } = this.#options;
    registers.set(PRIQ_PROD, (registers.get(PRIQ_PROD) ^ PRIQ_PROD.OVFLG.mask32) >>> 0);
    log.warn({ event: 'smmuv3.pageRequestOverflow' });
  }

  /** Queue off or in error: Response Failure without a PASID, for every request but no marker (§8.2). */
  #refuse(message: PageRequestMessage, marker: boolean): void {
    if (marker) {
      this.#counts.markersDropped += 1;
      return;
    }
    this.#counts.refused += 1;
    this.#autoRespond(message, ResponseCode.RESPONSE_FAILURE, NO_PASID);
  }

  /** The end of a group was dropped by overflow (§8.1). */
  #answerOverflow(message: PageRequestMessage, pasid: number): void {
    this.#counts.overflowAnswered += 1;
    if (pasid === NO_PASID || this.#options.features.PPS === 1) {
      this.#autoRespond(message, ResponseCode.SUCCESS, pasid);
      return;
    }
    const check = this.#options.ppar(message.requesterId);
    if (check === PparCheck.NO_STE) this.#autoRespond(message, ResponseCode.RESPONSE_FAILURE, NO_PASID);
    else this.#autoRespond(message, ResponseCode.SUCCESS, check === PparCheck.WITH_PASID ? pasid : NO_PASID);
  }

  #autoRespond(message: PageRequestMessage, code: ResponseCode, pasid: number): void {
    const { fabric, log, trace } = this.#options;
    log.info({
      event: 'smmuv3.autoResponse',
      streamId: message.requesterId,
      group: message.groupIndex,
      code,
      substreamId: pasid,
    });
    trace.record('pri.response', message.requesterId, NO_PAGE, message.groupIndex);
    fabric.pageGroupResponse(message.requesterId, { groupIndex: message.groupIndex, code, pasid });
  }

  #encode(message: PageRequestMessage, pasid: number): void {
    const view = this.#view;
    for (let byte = 0; byte < PAGE_REQUEST_BYTES; byte += 4) view.setUint32(byte, 0, true);
    PageRequestRecord.StreamID.set(view, 0, message.requesterId);
    if (pasid !== NO_PASID) {
      PageRequestRecord.SSV.set(view, 0, 1);
      PageRequestRecord.SubstreamID.set(view, 0, pasid);
      PageRequestRecord.X.set(view, 0, message.execute ? 1 : 0);
      PageRequestRecord.Priv.set(view, 0, message.privileged ? 1 : 0);
    }
    PageRequestRecord.R.set(view, 0, message.read ? 1 : 0);
    PageRequestRecord.W.set(view, 0, message.write ? 1 : 0);
    PageRequestRecord.Last.set(view, 0, message.last ? 1 : 0);
    PageRequestRecord.PRGIndex.set(view, 0, message.groupIndex);
    PageRequestRecord.PageAddress.set(view, 0, message.page);
  }

  #interrupt(): void {
    this.#options.interrupts.priorityQueue(this.#options.recordWriteNs);
  }
}
