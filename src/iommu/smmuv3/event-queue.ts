/**
 * The event queue (IHI 0070 §7.2 to §7.4): which records are written, merged, discarded or held back, and what software is
 * told. Builds no record itself; `events.ts` does.
 */
import { BusStatus } from '../../hw/bus.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Invariants } from '../../sim/invariants.ts';
import type { Log } from '../../sim/log.ts';
import { EVENT_BYTES, EventRecord } from '../spec/events.layout.ts';
import { EVENTQ_CONS, EVENTQ_PROD, GERROR } from '../spec/registers.layout.ts';
import type { Control } from './control.ts';
import { isStalled } from './events.ts';
import type { Interrupts } from './interrupts.ts';
import { advance, type Queue } from './queue.ts';
import type { RegisterFile } from './register-file.ts';

/** Every record ends in one of these. */
export interface EventCounts {
  /** Records that faults produced. */
  produced: number;
  written: number;
  /** Stood for by the record before (§7.3.1). */
  merged: number;
  /** Dropped while the queue was full; software sees OVFLG. */
  overflowed: number;
  /** Dropped while EVENTQEN=0 or an abort was unacknowledged. */
  dropped: number;
  /** Lost to an external abort of their own write; software sees EVENTQ_ABT_ERR. */
  aborted: number;
}

export interface EventQueueOptions {
  readonly clock: Clock;
  readonly registers: RegisterFile;
  readonly control: Control;
  readonly interrupts: Interrupts;
  readonly queue: Queue;
  readonly invariants: Invariants;
  readonly log: Log;
  /** Two equal events further apart than this are not merged (§7.3.1). */
  readonly mergeWindowNs: number;
  /** Between the write of a record and its interrupt. */
  readonly recordWriteNs: number;
}

const { EVENTQ_ABT_ERR } = GERROR;

const noCounts = (): EventCounts => ({ produced: 0, written: 0, merged: 0, overflowed: 0, dropped: 0, aborted: 0 });

export class EventQueue {
  readonly #options: EventQueueOptions;
  readonly #control: Control;
  readonly #interrupts: Interrupts;
  readonly #queue: Queue;
  /** Whether records are logged. Asked once: the level is that of a run, and asking costs as much as a record's copy. */
  readonly #logged: boolean;
  /** The record to be written next: fill it, then call {@link record}. */
  readonly view = new DataView(new ArrayBuffer(EVENT_BYTES));
  readonly #last = new DataView(new ArrayBuffer(EVENT_BYTES));
  #lastIndex = 0;
  #lastAtNs = 0;
  /** Whether the last record may stand for others. */
  #merges = false;
  #counts = noCounts();
  readonly #balance = (): string => {
    const { produced, written, merged, overflowed, dropped, aborted } = this.#counts;
    return `${produced} records, of which ${written} written, ${merged} merged, ${overflowed + dropped + aborted} lost`;
  };

  constructor(options: EventQueueOptions) {
    this.#options = options;
    this.#control = options.control;
    this.#interrupts = options.interrupts;
    this.#queue = options.queue;
    this.#logged = options.log.isLevelEnabled('debug');
  }

  get counts(): Readonly<EventCounts> {
    return this.#counts;
  }

  reset(): void {
    this.#counts = noCounts();
    this.#merges = false;
  }

  /** Enabled, not full, no unacknowledged abort (§7.2.1). */
  get writable(): boolean {
    return this.#control.EVENTQEN && !this.#queue.full && !this.#interrupts.active(EVENTQ_ABT_ERR);
  }

  /**
   * Records the event in {@link view}. `mergeable` says that STE.MEV allows merging; a stall record never merges. The
   * caller keeps a stalled transaction whose record was discarded. `elapsedNs` is what the transaction spent on its way
   * until now: the interrupt cannot come sooner.
   */
  record(mergeable: boolean, elapsedNs = 0): void {
    const counts = this.#counts;
    const stall = isStalled(this.view);
    // A stalled transaction without a record is retried later and counts then (§7.2.1).
    if (stall && !this.writable) return;
    counts.produced += 1;
    const merges = mergeable === true && !stall;
    if (merges && this.#mergesWithLast()) {
      counts.merged += 1;
    } else {
      this.#write(merges, elapsedNs);
    }
    this.#settle();
  }

  #write(mergeable: boolean, elapsedNs: number): void {
    const queue = this.#queue;
    const interrupts = this.#interrupts;
    const counts = this.#counts;
    if (this.#control.EVENTQEN !== true || interrupts.active(EVENTQ_ABT_ERR)) {
      counts.dropped += 1;
      return;
    }
    const index = queue.prod;
    const used = queue.usedUpTo(index);
    if (used >= queue.entries) {
      counts.overflowed += 1;
      this.#overflow();
      return;
    }
    if (queue.push(this.view, index) !== BusStatus.OK) {
      counts.aborted += 1;
      interrupts.raise(EVENTQ_ABT_ERR);
      return;
    }
    counts.written += 1;
    if (mergeable) this.#remember(index);
    else this.#merges = false;
    if (this.#logged === true) this.#log(index);
    if (used === 0) interrupts.eventQueue(elapsedNs + this.#options.recordWriteNs);
  }

  #log(index: number): void {
    const { view } = this;
    const stalled = isStalled(view);
    this.#options.log.debug({
      event: 'smmuv3.event',
      type: EventRecord.EventNumber.get(view),
      streamId: EventRecord.StreamID.get(view),
      substreamId: EventRecord.SSV.get(view) === 1 ? EventRecord.SubstreamID.get(view) : -1,
      page: EventRecord.INPUT_PAGE.get(view),
      stag: stalled ? EventRecord.STAG.get(view) : -1,
      index,
    });
  }

  /** Toggles OVFLG unless an overflow is unacknowledged (§7.4). */
  #overflow(): void {
    const { registers, log } = this.#options;
    const prod = registers.get(EVENTQ_PROD);
    const acknowledged = EVENTQ_CONS.OVACKFLG.of(registers.get(EVENTQ_CONS));
    if (EVENTQ_PROD.OVFLG.of(prod) !== acknowledged) return;
    registers.set(EVENTQ_PROD, (prod ^ EVENTQ_PROD.OVFLG.mask32) >>> 0);
    log.warn({ event: 'smmuv3.eventOverflow', lost: this.#counts.overflowed });
  }

  /** The record before is still unread, recent, and equal but for InputAddr[11:0] (§7.3.1). */
  #mergesWithLast(): boolean {
    const { clock, queue, mergeWindowNs, control } = this.#options;
    if (!this.#merges || !control.EVENTQEN || clock.now - this.#lastAtNs > mergeWindowNs) return false;
    if (queue.empty || advance(this.#lastIndex, queue.log2) !== queue.prod) return false;
    for (let byte = 0; byte < EVENT_BYTES; byte += 4) {
      const ignored = byte === 16 ? 0xfff : 0;
      const difference = this.view.getUint32(byte, true) ^ this.#last.getUint32(byte, true);
      if ((difference & ~ignored) !== 0) return false;
    }
    return true;
  }

  #remember(index: number): void {
    for (let byte = 0; byte < EVENT_BYTES; byte += 4) this.#last.setUint32(byte, this.view.getUint32(byte, true), true);
    this.#lastIndex = index;
    this.#lastAtNs = this.#options.clock.now;
    this.#merges = true;
  }

  #settle(): void {
    const { produced, written, merged, overflowed, dropped, aborted } = this.#counts;
    const settled = produced === written + merged + overflowed + dropped + aborted;
    this.#options.invariants.check('no-lost-event', settled, this.#balance);
  }
}
