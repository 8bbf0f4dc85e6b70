/** One bit field of a little-endian structure, read and written in place. */
import { AssertionError, assert } from '../assert.ts';

/** A single bit, or `[msb, lsb]`, counted from bit 0 of the whole structure as the specifications print it. */
export type BitRange = number | readonly [msb: number, lsb: number];

const WORD_BITS = 32;
const TWO_32 = 2 ** 32;

/**
 * A field of up to 53 bits inside at most two adjacent 32-bit words, so that its value is an exact number.
 * `get` and `set` work on a `DataView` at the byte offset of the structure and allocate nothing.
 */
export class Field {
  readonly name: string;
  readonly msb: number;
  readonly lsb: number;
  readonly width: number;
  /** Largest value that fits: 2^width - 1. */
  readonly max: number;
  readonly #byte: number;
  readonly #shift: number;
  readonly #lowMask: number;
  readonly #lowBits: number;
  readonly #highMask: number;
  readonly #lowScale: number;

  constructor(name: string, range: BitRange) {
    const [msb, lsb] = typeof range === 'number' ? [range, range] : range;
    assert(Number.isInteger(msb) && Number.isInteger(lsb) && msb >= lsb && lsb >= 0, `${name}: bits [${msb}:${lsb}]`);
    const width = msb - lsb + 1;
    assert(width <= 53, `${name}: a field of ${width} bits is not exact in a number; split it`);
    const word = Math.floor(lsb / WORD_BITS);
    assert(Math.floor(msb / WORD_BITS) - word <= 1, `${name}: bits [${msb}:${lsb}] span three words; split it`);
    this.name = name;
    this.msb = msb;
    this.lsb = lsb;
    this.width = width;
    this.max = 2 ** width - 1;
    this.#byte = word * 4;
    this.#shift = lsb % WORD_BITS;
    const lowBits = Math.min(width, WORD_BITS - this.#shift);
    this.#lowBits = lowBits;
    this.#lowMask = (2 ** lowBits - 1) >>> 0;
    this.#highMask = width > lowBits ? (2 ** (width - lowBits) - 1) >>> 0 : 0;
    this.#lowScale = 2 ** lowBits;
  }

  /** The field's value in the structure that starts at byte `at` of `view`. */
  get(view: DataView, at = 0): number {
    const low = ((view.getUint32(at + this.#byte, true) >>> this.#shift) & this.#lowMask) >>> 0;
    if (this.#highMask === 0) return low;
    return low + ((view.getUint32(at + this.#byte + 4, true) & this.#highMask) >>> 0) * this.#lowScale;
  }

  /** Writes `value` into the structure that starts at byte `at` of `view`; other bits keep their value. */
  set(view: DataView, at: number, value: number): void {
    if (!this.#fits(value)) this.#refuse(value);
    const byte = at + this.#byte;
    const low = this.width > this.#lowBits ? value % this.#lowScale : value;
    view.setUint32(byte, (view.getUint32(byte, true) & ~(this.#lowMask << this.#shift)) | (low << this.#shift), true);
    if (this.#highMask === 0) return;
    const high = Math.floor(value / this.#lowScale);
    view.setUint32(byte + 4, (view.getUint32(byte + 4, true) & ~this.#highMask) | high, true);
  }

  /** The field's value inside a single 32-bit word, for registers held as numbers. Field must lie in bits 31:0. */
  of(word: number): number {
    return ((word >>> this.#shift) & this.#lowMask) >>> 0;
  }

  /** `value` placed at the field's bits of a 32-bit word; zero elsewhere. */
  in32(value: number): number {
    if (!this.#fits(value) || this.msb >= WORD_BITS) this.#refuse(value);
    return (value << this.#shift) >>> 0;
  }

  /** Bits of the field inside a 32-bit word. */
  get mask32(): number {
    return this.msb < WORD_BITS ? (this.#lowMask << this.#shift) >>> 0 : 0;
  }

  /** Whether a one-bit field goes from 0 to 1 between two values of a 32-bit register. */
  rises(previous: number, next: number): boolean {
    return this.of(previous) === 0 && this.of(next) === 1;
  }

  /** Whether a one-bit field goes from 1 to 0 between two values of a 32-bit register. */
  falls(previous: number, next: number): boolean {
    return this.of(previous) === 1 && this.of(next) === 0;
  }

  #fits(value: number): boolean {
    return value >= 0 && value <= this.max && Number.isInteger(value);
  }

  /** Apart, so that the message is built only when it is needed. */
  #refuse(value: number): never {
    throw new AssertionError(`${this.name}: ${value} needs 0..${this.max}`);
  }
}

/** Splits a number below 2^64 (exact below 2^53) into 32-bit halves. */
export const low32 = (value: number): number => value >>> 0;
export const high32 = (value: number): number => Math.floor(value / TWO_32) >>> 0;
/** Joins 32-bit halves; exact while `high` is below 2^21. */
export const join32 = (low: number, high: number): number => high * TWO_32 + low;
