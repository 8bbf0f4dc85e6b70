/** Where a structure holds the address of a table: in halves, as walks use them. */
import type { Field } from '../../layout/field.ts';

/** Address bits 55:52 are RES0 for VMSAv8-64. */
const HIGH_BITS = 0xf_ffff;

/** A pointer field of a 64-bit word, whose bits have the positions that they have in the address. */
export class TableAddress {
  readonly #byte: number;
  readonly #lowMask: number;

  constructor(field: Field) {
    this.#byte = Math.floor(field.lsb / 64) * 8;
    this.#lowMask = -1 << (field.lsb % 64);
  }

  /** Address bits 31:0 of the structure at byte `at` of `view`. */
  low(view: DataView, at: number): number {
    return view.getInt32(at + this.#byte, true) & this.#lowMask;
  }

  /** Address bits 51:32. */
  high(view: DataView, at: number): number {
    return view.getInt32(at + this.#byte + 4, true) & HIGH_BITS;
  }
}
