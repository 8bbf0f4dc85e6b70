/** The record of a run: single transactions, by name, with up to three numbers. Cheap enough to leave on in tests. */
import type { Clock } from './clock.ts';

export interface TraceEntry {
  readonly t: number;
  readonly name: string;
  readonly values: readonly [number, number, number];
}

/** Keeps the last `capacity` entries; a capacity of 0 records nothing. */
export class Trace {
  readonly #clock: Clock;
  readonly #capacity: number;
  readonly #names: string[];
  readonly #numbers: Float64Array;
  #count = 0;
  /** Where the next entry goes. */
  #next = 0;

  constructor(clock: Clock, capacity: number) {
    this.#clock = clock;
    this.#capacity = capacity;
    // Filled, so that it stays a plain array.
    this.#names = new Array<string>(capacity).fill('');
    this.#numbers = new Float64Array(capacity * 4);
  }

  record(name: string, a = 0, b = 0, c = 0): void {
    if (this.#capacity === 0) return;
    const slot = this.#next;
    this.#next = slot + 1 === this.#capacity ? 0 : slot + 1;
    this.#names[slot] = name;
    const at = slot * 4;
    this.#numbers[at] = this.#clock.now;
    this.#numbers[at + 1] = a;
    this.#numbers[at + 2] = b;
    this.#numbers[at + 3] = c;
    this.#count += 1;
  }

  /** Entries, oldest first. */
  entries(): TraceEntry[] {
    const kept = Math.min(this.#count, this.#capacity);
    return Array.from({ length: kept }, (_, index) => {
      const slot = (this.#count - kept + index) % this.#capacity;
      const [t = 0, a = 0, b = 0, c = 0] = this.#numbers.subarray(slot * 4, slot * 4 + 4);
      return { t, name: this.#names[slot] ?? '', values: [a, b, c] };
    });
  }

  names(): string[] {
    return this.entries().map((entry) => entry.name);
  }
}
