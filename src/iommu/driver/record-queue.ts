/** The consumer side of the event queue and of the PRI queue (IHI 0070 §3.5, §7.4, §8.1). */
import { assert } from '../../assert.ts';
import type { Mmio } from '../../hw/bus.ts';
import { CHUNK_BYTES, type Memory } from '../../hw/memory.ts';
import { type Scheduler, type Steps, WaitQueue } from '../../sim/task.ts';
import { EVENTQ_BASE } from '../spec/registers.layout.ts';

/** What is done with the records; `Work` is what one record asks of the queue's thread. */
export interface RecordSink<Work> {
  /**
   * Reads the record at byte `at` of `view`; null when nothing more is to be done. The slot is given back afterwards.
   * The record was not in the queue before `notBeforeNs`.
   */
  take(view: DataView, at: number, notBeforeNs: number): Work | null;
  serve(work: Work): Steps;
  /** Records were lost. */
  overflowed(): void;
  /** Writes of records were aborted: some are lost, without a word in the queue. */
  aborted(): void;
}

export interface RecordQueueOptions<Work> {
  readonly name: string;
  readonly mmio: Mmio;
  readonly memory: Memory;
  readonly scheduler: Scheduler;
  /** Offsets of the queue's registers; both output queues have the same layout (§6.3.29, §6.3.95, §6.3.96). */
  readonly registers: { readonly base: number; readonly producer: number; readonly consumer: number };
  /** Physical address, aligned to the queue's size. */
  readonly address: number;
  readonly recordBytes: number;
  /** log2 of the number of records. */
  readonly sizeBits: number;
  readonly sink: RecordSink<Work>;
  /**
   * When an overflow is acknowledged: the event queue at the first look (§7.4), the PRI queue when everything before the
   * loss has been taken (§8.1.1). Aborted writes are told likewise; at once means that what the queue holds is thrown
   * away, since it may be invalid (§7.2.2).
   */
  readonly acknowledge: 'at once' | 'when empty';
  /** From the interrupt handler's wake-up until the thread runs. */
  readonly threadWakeNs: number;
  /** One read of the producer index. */
  readonly mmioReadNs: number;
}

/** OVFLG and OVACKFLG. */
const OVERFLOW = 2 ** 31;

/** Indexes count records over all time; the registers show their low bits with the wrap bit above (§3.5.1). */
export class RecordQueue<Work> {
  readonly #options: RecordQueueOptions<Work>;
  readonly #entries: number;
  readonly #indexMask: number;
  readonly #work: WaitQueue;
  readonly #progress: WaitQueue;
  #pending = false;
  #aborted = false;
  #produced = 0;
  #consumed = 0;
  #handled = 0;
  /** OVFLG as last seen, and as acknowledged: 0 or {@link OVERFLOW}. */
  #overflowSeen = 0;
  #overflowAcknowledged = 0;
  #overflows = 0;
  /** When the queue was last seen empty. */
  #emptyNs = 0;

  constructor(options: RecordQueueOptions<Work>) {
    const bytes = Math.max(32, options.recordBytes * 2 ** options.sizeBits);
    assert(options.address % bytes === 0, `the ${options.name} is aligned to its size`);
    this.#options = options;
    this.#entries = 2 ** options.sizeBits;
    this.#indexMask = this.#entries * 2 - 1;
    this.#work = new WaitQueue(options.scheduler, `${options.name} interrupt`);
    this.#progress = new WaitQueue(options.scheduler, `${options.name} to drain`);
  }

  get entries(): number {
    return this.#entries;
  }

  /** Records taken so far. */
  get records(): number {
    return this.#consumed;
  }

  /** How often records were lost. */
  get overflows(): number {
    return this.#overflows;
  }

  /** Programs base and indexes while the queue is disabled (§6.3.29). */
  program(): void {
    const { mmio, registers, address, sizeBits } = this.#options;
    const data = new DataView(new ArrayBuffer(8));
    EVENTQ_BASE.ADDR.set(data, 0, address / 32);
    EVENTQ_BASE.WA.set(data, 0, 1);
    EVENTQ_BASE.LOG2SIZE.set(data, 0, sizeBits);
    mmio.write64(registers.base, data);
    mmio.write32(registers.producer, 0);
    mmio.write32(registers.consumer, 0);
  }

  /** The interrupt handler: there may be work. */
  readonly interrupt = (): void => {
    this.#pending = true;
    this.#work.wakeAll();
  };

  /** Writes of records were aborted (GERROR.EVENTQ_ABT_ERR, PRIQ_ABT_ERR). Nothing in it waits. */
  noteAborted(): void {
    this.#aborted = true;
    this.interrupt();
  }

  /** The body of the queue's thread; it never ends. */
  *thread(): Steps {
    for (;;) {
      while (!this.#pending) yield this.#work;
      this.#pending = false;
      if (this.#options.threadWakeNs > 0) yield this.#options.threadWakeNs;
      yield* this.#takeAll();
    }
  }

  /**
   * Waits until the thread has dealt with every record that the SMMU has published so far. Never call it from the
   * thread itself, nor with a lock held that a handler needs.
   */
  *drain(): Steps {
    this.#look();
    const target = this.#produced;
    if (this.#handled >= target) return;
    this.interrupt();
    while (this.#handled < target) yield this.#progress;
  }

  *#takeAll(): Steps {
    const { memory, sink, address, recordBytes } = this.#options;
    for (;;) {
      if (this.#options.mmioReadNs > 0) yield this.#options.mmioReadNs;
      this.#look();
      if (this.#isSpoilt) this.#discard();
      if (this.#consumed === this.#produced) {
        if (this.#aborted) {
          this.#aborted = false;
          sink.aborted();
        }
        if (!this.#acknowledgeOverflow()) return;
        continue;
      }
      while (this.#consumed < this.#produced && !this.#isSpoilt) {
        const at = address + (this.#consumed % this.#entries) * recordBytes;
        const work = sink.take(memory.readView(at), at % CHUNK_BYTES, this.#emptyNs);
        this.#consumed += 1;
        // The slot goes back before the answer: an answer returns a credit, whose request may need the slot (§8).
        this.#giveBack();
        if (work !== null) yield* sink.serve(work);
        this.#handled += 1;
        this.#progress.wakeAll();
      }
    }
  }

  /** Reads the producer index and its overflow flag. */
  #look(): void {
    const producer = this.#options.mmio.read32(this.#options.registers.producer);
    const shown = producer & this.#indexMask;
    this.#produced += (shown - (this.#produced & this.#indexMask)) & this.#indexMask;
    assert(this.#produced - this.#consumed <= this.#entries, `the ${this.#options.name} holds no more than its size`);
    if (this.#produced === this.#consumed) this.#emptyNs = this.#options.scheduler.clock.now;
    this.#overflowSeen = producer >= OVERFLOW ? OVERFLOW : 0;
    if (this.#options.acknowledge === 'at once') this.#acknowledgeOverflow();
  }

  /** What the queue holds may be invalid. */
  get #isSpoilt(): boolean {
    return this.#aborted && this.#options.acknowledge === 'at once';
  }

  #discard(): void {
    this.#consumed = this.#produced;
    this.#giveBack();
    this.#handled = this.#consumed;
    this.#progress.wakeAll();
  }

  #acknowledgeOverflow(): boolean {
    if (this.#overflowSeen === this.#overflowAcknowledged) return false;
    this.#overflows += 1;
    this.#options.sink.overflowed();
    this.#overflowAcknowledged = this.#overflowSeen;
    this.#giveBack();
    return true;
  }

  #giveBack(): void {
    const index = this.#consumed & this.#indexMask;
    this.#options.mmio.write32(this.#options.registers.consumer, index + this.#overflowAcknowledged);
  }
}
