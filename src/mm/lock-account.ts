/** Locked-memory accounting of a process against RLIMIT_MEMLOCK. */
import { assert } from '../assert.ts';

export class LockAccount {
  readonly limitPages: number;
  #pages = 0;
  #peak = 0;

  /** `limitPages` may be Infinity, as for a process with CAP_IPC_LOCK. */
  constructor(limitPages: number) {
    assert(limitPages >= 0, `a limit of ${limitPages} pages`);
    this.limitPages = limitPages;
  }

  get pages(): number {
    return this.#pages;
  }

  get peakPages(): number {
    return this.#peak;
  }

  /** Pages that may still be charged. */
  get room(): number {
    return this.limitPages - this.#pages;
  }

  /** Charges `count` pages, or changes nothing and returns false where that would pass the limit. */
  charge(count: number): boolean {
    if (count > this.room) return false;
    this.#pages += count;
    if (this.#pages > this.#peak) this.#peak = this.#pages;
    return true;
  }

  uncharge(count: number): void {
    assert(count <= this.#pages, `${count} pages are uncharged, ${this.#pages} were charged`);
    this.#pages -= count;
  }
}
