/** Virtual time. Every instant in Faultline is a number of nanoseconds since the run began. */
import { assert } from '../assert.ts';

/** A callback that waits for its instant; `cancel` forgets it. */
export interface Timer {
  readonly at: number;
  cancel(): void;
}

/** How many entries of a heap were cancelled and are still in it. */
interface Tally {
  cancelled: number;
}

/** Fewer cancelled entries than this are not worth a sweep. */
const SWEEP_FROM = 1024;

class Entry implements Timer {
  readonly at: number;
  readonly sequence: number;
  readonly #tally: Tally;
  /** Null once it has run or was cancelled. */
  callback: (() => void) | null;

  constructor(at: number, sequence: number, callback: () => void, tally: Tally) {
    this.at = at;
    this.sequence = sequence;
    this.callback = callback;
    this.#tally = tally;
  }

  cancel(): void {
    if (this.callback === null) return;
    this.callback = null;
    this.#tally.cancelled += 1;
  }

  before(other: Entry): boolean {
    return this.at < other.at || (this.at === other.at && this.sequence < other.sequence);
  }
}

/** Orders callbacks by time, then by the order in which they were scheduled. */
export class Clock {
  #now = 0;
  #sequence = 0;
  readonly #heap: Entry[] = [];
  readonly #tally: Tally = { cancelled: 0 };

  /** Virtual nanoseconds since the run began; an integer. */
  get now(): number {
    return this.#now;
  }

  /** Calls `callback` once, `delayNs` (rounded up to a whole nanosecond) from now. */
  after(delayNs: number, callback: () => void): Timer {
    assert(delayNs >= 0 && delayNs < Number.MAX_SAFE_INTEGER, `a delay is not negative: ${delayNs}`);
    const entry = new Entry(this.#now + Math.ceil(delayNs), this.#sequence++, callback, this.#tally);
    if (this.#tally.cancelled > SWEEP_FROM && this.#tally.cancelled * 2 > this.#heap.length) this.#sweep();
    this.#push(entry);
    return entry;
  }

  /** The instant of the next callback, or Infinity. */
  get next(): number {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      if (first.callback !== null) return first.at;
      this.#pop();
      this.#tally.cancelled -= 1;
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Moves time to the next callback and runs it; false when there is none at or before `limitNs`. */
  fireNext(limitNs = Number.POSITIVE_INFINITY): boolean {
    if (this.next > limitNs) return false;
    const entry = this.#pop();
    if (entry === undefined || entry.callback === null) return false;
    this.#now = entry.at;
    const { callback } = entry;
    entry.callback = null;
    callback();
    return true;
  }

  /** Moves time to `instantNs` without running anything; no callback may be due before it. */
  advanceTo(instantNs: number): void {
    assert(instantNs >= this.#now && this.next >= instantNs, 'time never skips a callback');
    this.#now = instantNs;
  }

  /** Forgets cancelled entries: time-outs are set far ahead and nearly all of them are cancelled. */
  #sweep(): void {
    const heap = this.#heap;
    let kept = 0;
    for (const entry of heap) if (entry.callback !== null) heap[kept++] = entry;
    heap.length = kept;
    // A sorted array is a heap.
    heap.sort((a, b) => (a.before(b) ? -1 : 1));
    this.#tally.cancelled = 0;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || above.before(entry)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || first === last) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      let below = heap[child];
      const right = heap[child + 1];
      if (right !== undefined && below !== undefined && right.before(below)) {
        child += 1;
        below = right;
      }
      if (below === undefined || last.before(below)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}
