/** The record of a run: single transactions, which are too many to log. */
import type { Clock } from './clock.ts';

/** What is recorded, and what the detail of each is. */
export const TRANSACTIONS = {
  /** The device reads or writes within a page; recorded as it takes effect. */
  'dma.read': 'bytes',
  'dma.write': 'bytes',
  /** An ATS translation request that was granted something: how many pages. */
  'ats.hit': 'pages',
  /** One that was granted nothing: its completion status (PCIe §2.2.9). */
  'ats.miss': 'status',
  /** A page request message at the SMMU, and the response to its group: without a page. */
  'pri.request': 'group',
  'pri.response': 'group',
  /** A transaction that faults: its event (IHI 0070 §7.3), or -1 where it leaves none. */
  'smmuv3.fault': 'event',
} as const;
export type Transaction = keyof typeof TRANSACTIONS;

export interface TraceEntry {
  /** Virtual nanoseconds. */
  readonly t: number;
  readonly transaction: Transaction;
  readonly streamId: number;
  /** Address divided by 4096, -1 for none. */
  readonly page: number;
  /** See {@link TRANSACTIONS}. */
  readonly detail: number;
}

/** Numbers of an entry. */
const NUMBERS = 4;

/** Keeps the last `capacity` entries; a capacity of 0 records nothing. */
export class Trace {
  readonly #clock: Clock;
  readonly #capacity: number;
  readonly #transactions: Transaction[];
  readonly #numbers: Float64Array;
  #count = 0;
  /** Where the next entry goes. */
  #next = 0;

  constructor(clock: Clock, capacity: number) {
    this.#clock = clock;
    this.#capacity = capacity;
    // Filled, so that it stays a plain array.
    this.#transactions = new Array<Transaction>(capacity).fill('dma.read');
    this.#numbers = new Float64Array(capacity * NUMBERS);
  }

  /** Whether anything is recorded. */
  get active(): boolean {
    return this.#capacity > 0;
  }

  record(transaction: Transaction, streamId: number, page: number, detail: number): void {
    if (this.#capacity === 0) return;
    const slot = this.#next;
    this.#next = slot + 1 === this.#capacity ? 0 : slot + 1;
    this.#transactions[slot] = transaction;
    const at = slot * NUMBERS;
    this.#numbers[at] = this.#clock.now;
    this.#numbers[at + 1] = streamId;
    this.#numbers[at + 2] = page;
    this.#numbers[at + 3] = detail;
    this.#count += 1;
  }

  /** Entries, oldest first. */
  entries(): TraceEntry[] {
    const kept = Math.min(this.#count, this.#capacity);
    return Array.from({ length: kept }, (_, index) => {
      const slot = (this.#count - kept + index) % this.#capacity;
      const [t = 0, streamId = 0, page = 0, detail = 0] = this.#numbers.subarray(slot * NUMBERS);
      return { t, transaction: this.#transactions[slot] ?? 'dma.read', streamId, page, detail };
    });
  }
}
