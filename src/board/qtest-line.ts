/**
 * One line of the qtest protocol, cut into words where it lies: bytes in, numbers out, nothing allocated. Numbers are
 * those of C's strtoul with base 0: decimal, 0x hexadecimal, 0 octal, at most 64 bits, negative ones wrapped.
 */

const TWO_32 = 2 ** 32;
const BLANK = 0x20;
const MINUS = 0x2d;
const ZERO = 0x30;
/** What {@link digit} gives for a character that is none. */
const NO_DIGIT = 99;
/** No command has more words. */
const MAX_WORDS = 8;

function digit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : NO_DIGIT;
}

export class QtestLine {
  #bytes: Uint8Array = new Uint8Array(0);
  readonly #starts = new Int32Array(MAX_WORDS);
  readonly #ends = new Int32Array(MAX_WORDS);
  /** Words of the line, at most eight; further ones are not looked at. */
  count = 0;
  /** Halves of the number that {@link number} read. */
  low = 0;
  high = 0;

  /** Takes `bytes[start, end)`, a line without its newline; a trailing carriage return does not count. */
  take(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes;
    this.count = 0;
    let at = start;
    const last = end > start && bytes[end - 1] === 0x0d ? end - 1 : end;
    while (this.count < MAX_WORDS) {
      while (at < last && bytes[at] === BLANK) at += 1;
      if (at >= last) return;
      this.#starts[this.count] = at;
      while (at < last && bytes[at] !== BLANK) at += 1;
      this.#ends[this.count] = at;
      this.count += 1;
    }
  }

  start(word: number): number {
    return this.#starts[word] ?? 0;
  }

  length(word: number): number {
    return word < this.count ? (this.#ends[word] ?? 0) - (this.#starts[word] ?? 0) : 0;
  }

  /** The byte at `offset` of `word`. */
  byte(word: number, offset: number): number {
    return this.#bytes[(this.#starts[word] ?? 0) + offset] ?? 0;
  }

  /** Whether `word` is `name`. */
  is(word: number, name: string): boolean {
    if (this.length(word) !== name.length) return false;
    const start = this.#starts[word] ?? 0;
    for (let at = 0; at < name.length; at++) if (this.#bytes[start + at] !== name.charCodeAt(at)) return false;
    return true;
  }

  /**
   * Reads the hexadecimal digits of `word` from its third character on into `target`, two a byte, at most `length` bytes,
   * and fills up with zeros. A last single digit does not count. False when a character is no digit.
   */
  hexInto(word: number, target: Uint8Array, length: number): boolean {
    const bytes = this.#bytes;
    let at = (this.#starts[word] ?? 0) + 2;
    const end = this.#ends[word] ?? 0;
    let byte = 0;
    for (; byte < length && at + 1 < end; byte++, at += 2) {
      const high = digit(bytes[at] ?? 0);
      const low = digit(bytes[at + 1] ?? 0);
      if (high + low >= NO_DIGIT) return false;
      target[byte] = high * 16 + low;
    }
    target.fill(0, byte, length);
    return true;
  }

  /** The word as text, one character a byte, cut to `limit`. */
  text(word: number, limit = 64): string {
    if (word >= this.count) return '';
    const start = this.#starts[word] ?? 0;
    const end = Math.min(this.#ends[word] ?? 0, start + limit);
    return String.fromCharCode(...this.#bytes.subarray(start, end));
  }

  /** The bytes of a word, in place. */
  bytes(word: number): Uint8Array {
    return this.#bytes.subarray(this.#starts[word] ?? 0, this.#ends[word] ?? 0);
  }

  /** Reads `word` as a number into {@link low} and {@link high}; false when it is missing or no 64-bit number. */
  number(word: number): boolean {
    this.low = 0;
    this.high = 0;
    if (word >= this.count) return false;
    let at = this.#starts[word] ?? 0;
    const end = this.#ends[word] ?? 0;
    const bytes = this.#bytes;
    const negative = bytes[at] === MINUS;
    if (negative) at += 1;
    let base = 10;
    if (bytes[at] === ZERO && at + 1 < end) {
      base = 8;
      at += 1;
      if (((bytes[at] ?? 0) | 0x20) === 0x78) {
        base = 16;
        at += 1;
      }
    }
    if (at >= end) return false;
    let low = 0;
    let high = 0;
    for (; at < end; at++) {
      const value = digit(bytes[at] ?? 0);
      if (value >= base) return false;
      low = low * base + value;
      high = high * base + Math.floor(low / TWO_32);
      low %= TWO_32;
      if (high >= TWO_32) return false;
    }
    if (negative) {
      low = -low;
      high = -high - (low === 0 ? 0 : 1);
    }
    this.low = low >>> 0;
    this.high = high >>> 0;
    return true;
  }

  /** The number last read, exact below 2^53. */
  get value(): number {
    return this.high * TWO_32 + this.low;
  }
}
