/** Where a structure holds the address of a table: in halves, as walks use them. */
import type { Field } from '../../layout/field.ts';

/** Bits of an address that translation tables lie at: 55:52 are RES0 for VMSAv8-64. */
const ADDRESS_BITS = 52;

/** A pointer field of a 64-bit word, whose bits have the positions that they have in the address. */
export class TableAddress {
  readonly #word: number;
  readonly #lowMask: number;
  readonly #highMask: number;

  /** Of the field, the address bits below `bits` (33 to 63). */
  constructor(field: Field, bits = ADDRESS_BITS) {
    this.#word = Math.floor(field.lsb / 64) * 2;
    this.#lowMask = -1 << (field.lsb % 64);
    this.#highMask = 2 ** (bits - 32) - 1;
  }

  /** Address bits 31:0 of the structure at index `at` of `words`. */
  low(words: Int32Array, at: number): number {
    return (words[at + this.#word] ?? 0) & this.#lowMask;
  }

  /** Address bits from 32 on. */
  high(words: Int32Array, at: number): number {
    return (words[at + this.#word + 1] ?? 0) & this.#highMask;
  }
}
