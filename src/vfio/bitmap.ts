/** A fixed number of bits in 32-bit words; zero at first. Large ones cost what they touch. */
import { assert } from '../assert.ts';

export class Bitmap {
  readonly size: number;
  readonly #words: Uint32Array;

  constructor(size: number) {
    assert(Number.isInteger(size) && size >= 0, `a bitmap of ${size} bits`);
    this.size = size;
    this.#words = new Uint32Array(Math.ceil(size / 32));
  }

  test(bit: number): boolean {
    return ((this.#words[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0;
  }

  set(bit: number): void {
    assert(bit >= 0 && bit < this.size, 'the bit is inside the bitmap');
    this.#words[bit >>> 5] = (this.#words[bit >>> 5] ?? 0) | (1 << (bit & 31));
  }

  clear(bit: number): void {
    assert(bit >= 0 && bit < this.size, 'the bit is inside the bitmap');
    this.#words[bit >>> 5] = (this.#words[bit >>> 5] ?? 0) & ~(1 << (bit & 31));
  }

  setRange(start: number, end: number): void {
    this.#range(start, end, true);
  }

  clearRange(start: number, end: number): void {
    this.#range(start, end, false);
  }

  /** The first set bit in `[from, end)`, or `end`. */
  findNextSet(from: number, end = this.size): number {
    return this.#find(from, end, 0);
  }

  /** The first clear bit in `[from, end)`, or `end`. */
  findNextClear(from: number, end = this.size): number {
    return this.#find(from, end, 0xffff_ffff);
  }

  /** One more than the last set bit in `[start, before)`, or `start`: where a clear run that ends at `before` begins. */
  findClearRunStart(before: number, start = 0): number {
    for (let bit = before; bit > start; ) {
      if ((bit & 31) === 0 && bit - 32 >= start && this.#words[(bit >>> 5) - 1] === 0) bit -= 32;
      else if (this.test(bit - 1)) return bit;
      else bit -= 1;
    }
    return start;
  }

  /** Set bits in `[start, end)`. */
  count(start = 0, end = this.size): number {
    let total = 0;
    for (let bit = start; bit < end; ) {
      const last = Math.min(end, (Math.floor(bit / 32) + 1) * 32);
      total += ones((this.#words[bit >>> 5] ?? 0) & mask(bit, last));
      bit = last;
    }
    return total;
  }

  /** Copies `[start, start + count)` to `target` as little-endian bytes, lowest bit first, from bit `at` on. */
  copyTo(target: Uint8Array, at: number, start: number, count: number): void {
    for (let bit = this.findNextSet(start, start + count); bit < start + count; ) {
      const place = at + bit - start;
      target[place >>> 3] = (target[place >>> 3] ?? 0) | (1 << (place & 7));
      bit = this.findNextSet(bit + 1, start + count);
    }
  }

  #find(from: number, end: number, skipped: number): number {
    for (let bit = from; bit < end; ) {
      const word = ((this.#words[bit >>> 5] ?? 0) ^ skipped) >>> (bit & 31);
      if (word !== 0) return Math.min(end, bit + 31 - Math.clz32(word & -word));
      bit = (Math.floor(bit / 32) + 1) * 32;
    }
    return end;
  }

  #range(start: number, end: number, on: boolean): void {
    assert(start >= 0 && start <= end && end <= this.size, 'the bits are inside the bitmap');
    const words = this.#words;
    for (let bit = start; bit < end; ) {
      if ((bit & 31) === 0 && end - bit >= 32) {
        const whole = Math.floor((end - bit) / 32);
        words.fill(on ? 0xffff_ffff : 0, bit >>> 5, (bit >>> 5) + whole);
        bit += whole * 32;
      } else {
        const last = Math.min(end, (Math.floor(bit / 32) + 1) * 32);
        const bits = mask(bit, last);
        const word = words[bit >>> 5] ?? 0;
        words[bit >>> 5] = on ? word | bits : word & ~bits;
        bit = last;
      }
    }
  }
}

/** Bits `start..end` (at most one word, `end` exclusive) inside their word. */
function mask(start: number, end: number): number {
  const width = end - start;
  return width === 32 ? 0xffff_ffff : ((1 << width) - 1) << (start & 31);
}

function ones(word: number): number {
  let n = word - ((word >>> 1) & 0x5555_5555);
  n = (n & 0x3333_3333) + ((n >>> 2) & 0x3333_3333);
  return Math.imul((n + (n >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
