/**
 * The dirty bitmap in the memory of the process that asks, as the kernel treats it: words of 64 bits, of which only those
 * that hold pages of a mapping are read and written. What a mapping's first word has for pages before it stays; what its
 * last word has for pages after it becomes zero, unless the next mapping says otherwise.
 */
import { Errno } from '../errno.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { Steps } from '../sim/task.ts';
import type { Mapping } from './mapping.ts';

const WORD_BITS = 64;
const WORD_BYTES = 8;

export class UserBitmap {
  /** Bit n, lowest of a byte first, is page n of the range that was asked for. */
  readonly bits: Uint8Array;
  readonly #space: AddressSpace;
  readonly #address: number;
  /** Runs of bytes that mappings have pages in: starts and ends in turn, ascending. */
  readonly #runs: number[] = [];

  constructor(space: AddressSpace, address: number, bytes: number) {
    this.#space = space;
    this.#address = address;
    this.bits = new Uint8Array(bytes);
  }

  /**
   * Reads the words of these mappings, which ascend, and writes them back, so that {@link store} finds them there.
   * `place`: the bit of a mapping's first page. 0, or -EFAULT.
   */
  *prepare(mappings: readonly Mapping[], place: (mapping: Mapping) => number): Steps<number> {
    for (const mapping of mappings) {
      const first = place(mapping);
      const end = Math.ceil((first + mapping.pageCount) / WORD_BITS) * WORD_BYTES;
      this.#addRun(Math.floor(first / WORD_BITS) * WORD_BYTES, end);
    }
    const reached = yield* this.#each((address, part) => this.#reach(address, part));
    if (reached < 0) return reached;
    for (const mapping of mappings) this.#clearAfter(place(mapping) + mapping.pageCount);
    return Errno.OK;
  }

  /** 0, or -EFAULT. */
  *store(): Steps<number> {
    return yield* this.#each((address, part) => this.#space.store(address, part));
  }

  *#reach(address: number, part: Uint8Array): Steps<number> {
    const loaded = yield* this.#space.load(address, part);
    return loaded < 0 ? loaded : yield* this.#space.store(address, part);
  }

  *#each(access: (address: number, part: Uint8Array) => Steps<number>): Steps<number> {
    for (let index = 0; index < this.#runs.length; index += 2) {
      const first = this.#runs[index] ?? 0;
      const status = yield* access(this.#address + first, this.bits.subarray(first, this.#runs[index + 1]));
      // Whatever the reason, as for the kernel's own copies.
      if (status < 0) return Errno.EFAULT;
    }
    return Errno.OK;
  }

  /** Adds `[first, end)`; it begins at or after the start of the last run. */
  #addRun(first: number, end: number): void {
    const last = this.#runs.length - 1;
    if (last > 0 && first <= (this.#runs[last] ?? 0)) this.#runs[last] = end;
    else this.#runs.push(first, end);
  }

  /** Clears what is left of the word from `bit` on. */
  #clearAfter(bit: number): void {
    const end = Math.ceil(bit / WORD_BITS) * WORD_BYTES;
    if (bit % 8 !== 0) this.bits[bit >>> 3] = (this.bits[bit >>> 3] ?? 0) & ((1 << (bit & 7)) - 1);
    this.bits.fill(0, Math.ceil(bit / 8), end);
  }
}
