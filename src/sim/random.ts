/** Deterministic chance: xoshiro128** (Blackman and Vigna), seeded by name so that parts do not disturb each other. */
import { assert } from '../assert.ts';

/** FNV-1a over UTF-16 code units, then a finaliser: spreads short names over 32 bits. */
function hash(text: string, start: number): number {
  let h = (start ^ 0x811c9dc5) >>> 0;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const rotl = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

export class Random {
  readonly #seed: string;
  readonly #state: Int32Array;

  constructor(seed: number | string) {
    this.#seed = String(seed);
    this.#state = Int32Array.from([1, 2, 3, 4], (n) => hash(this.#seed, n));
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1;
  }

  /** An independent stream named `name`; the same name gives the same stream, whatever was drawn from this one. */
  fork(name: string): Random {
    return new Random(`${this.#seed}/${name}`);
  }

  /** An integer in 0..2^32-1. */
  next32(): number {
    const s = this.#state;
    const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = s;
    const result = Math.imul(rotl(Math.imul(s1, 5), 7), 9) >>> 0;
    const x2 = s2 ^ s0;
    const x3 = s3 ^ s1;
    s[0] = s0 ^ x3;
    s[1] = s1 ^ x2;
    s[2] = x2 ^ (s1 << 9);
    s[3] = rotl(x3, 11);
    return result;
  }

  /** An integer in 0..limit-1. */
  below(limit: number): number {
    assert(Number.isSafeInteger(limit) && limit > 0, `${limit} is no count of choices`);
    if (limit <= 2 ** 32) return Math.floor((this.next32() / 2 ** 32) * limit);
    return (this.next32() * 2 ** 21 + (this.next32() >>> 11)) % limit;
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next32() < probability * 2 ** 32;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    assert(item !== undefined, 'pick needs an item');
    return item;
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i += 4) {
      const word = this.next32();
      for (let byte = 0; byte < 4 && i + byte < length; byte++) out[i + byte] = word >>> (8 * byte);
    }
    return out;
  }
}
