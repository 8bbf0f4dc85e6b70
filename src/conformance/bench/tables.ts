/** Translation tables in memory, built as DDI 0487 D8.2 and D8.3 draw them. */
import type { Word } from '../bits.ts';
import type { Ram } from './ram.ts';

export type Granule = '4KB' | '16KB' | '64KB';
export const GRANULES: readonly Granule[] = ['4KB', '16KB', '64KB'];
export const GRANULE_BITS: Readonly<Record<Granule, number>> = { '4KB': 12, '16KB': 14, '64KB': 16 };

/** Leaf attributes without the type: stage 1 nG, AF, SH inner, AP[1] (all may read and write), MAIR index 0. */
export const LEAF_1 = 0xf40n;
/** Stage 2: AF, SH inner, S2AP read and write, MemAttr Write-Back. */
export const LEAF_2 = 0x7fcn;

/** Descriptor bits used by name in rows. */
export const BIT = {
  VALID: 1n,
  TABLE: 2n,
  AP1: 1n << 6n,
  AP2: 1n << 7n,
  AF: 1n << 10n,
  nG: 1n << 11n,
  nT: 1n << 16n,
  DBM: 1n << 51n,
  CONTIGUOUS: 1n << 52n,
  PXN: 1n << 53n,
  UXN: 1n << 54n,
  PXNTable: 1n << 59n,
  UXNTable: 1n << 60n,
  /** APTable[1:0] = 0b01 and 0b10. */
  APTable_NO_USER: 1n << 61n,
  APTable_NO_WRITE: 1n << 62n,
} as const;

/** Lowest input address bit that a table of `level` indexes. */
export function levelShift(granule: Granule, level: number): number {
  const bits = GRANULE_BITS[granule];
  return bits + (3 - level) * (bits - 3);
}

/** First level of a stage 1 walk: as many levels as the input needs. */
export function startLevel(granule: Granule, inputBits: number): number {
  const bits = GRANULE_BITS[granule];
  return 4 - Math.max(1, Math.ceil((inputBits - bits) / (bits - 3)));
}

export interface TableShape {
  readonly granule: Granule;
  readonly inputBits: number;
  /** Stage 1 derives it from `inputBits`. */
  readonly startLevel?: number;
  /** 52-bit descriptors: CD.DS or STE.S2DS, or 64 KiB granules with an OAS of 52 bits. */
  readonly wide?: boolean;
  readonly bigEndian?: boolean;
  /** Leaf attributes used unless others are given. */
  readonly leaf: bigint;
}

export class Tables {
  readonly granule: Granule;
  readonly inputBits: number;
  readonly startLevel: number;
  readonly bigEndian: boolean;
  readonly base: number;
  readonly #ram: Ram;
  readonly #shape: TableShape;

  constructor(ram: Ram, shape: TableShape) {
    this.#ram = ram;
    this.#shape = shape;
    this.granule = shape.granule;
    this.inputBits = shape.inputBits;
    this.bigEndian = shape.bigEndian ?? false;
    this.startLevel = shape.startLevel ?? startLevel(shape.granule, shape.inputBits);
    const bytes = 2 ** (shape.inputBits - levelShift(shape.granule, this.startLevel)) * 8;
    this.base = ram.allocate(Math.max(bytes, 64));
  }

  /** Bytes that a leaf of `level` covers. */
  leafBytes(level: number): number {
    return 2 ** levelShift(this.granule, level);
  }

  /** Physical address of the descriptor for `va` at `level`; tables above it are made. */
  entry(va: Word, level: number): number {
    const input = BigInt.asUintN(this.inputBits, BigInt(va));
    let table = this.base;
    for (let at = this.startLevel; ; at++) {
      const shift = BigInt(levelShift(this.granule, at));
      const width = at === this.startLevel ? 52n : BigInt(GRANULE_BITS[this.granule] - 3);
      const index = Number(BigInt.asUintN(Number(width), input >> shift));
      const address = table + index * 8;
      if (at === level) return address;
      table = this.#next(address);
    }
  }

  get(va: Word, level: number): bigint {
    return this.#load(this.entry(va, level));
  }

  /** Writes the descriptor for `va` at `level` as it is. */
  set(va: Word, level: number, descriptor: bigint): void {
    this.#store(this.entry(va, level), descriptor);
  }

  /** Maps the leaf of `level` that holds `va` to `pa`. */
  map(va: Word, pa: number, attributes: bigint = this.#shape.leaf, level = 3): this {
    this.set(va, level, this.leaf(pa, attributes, level));
    return this;
  }

  /** A leaf descriptor. */
  leaf(pa: number, attributes: bigint = this.#shape.leaf, level = 3): bigint {
    return this.address(pa, attributes) | (level === 3 ? 3n : 1n);
  }

  /** The address bits of a descriptor, with `attributes`. */
  address(pa: number, attributes = 0n): bigint {
    const output = BigInt(pa);
    if (this.#shape.wide !== true) return output | attributes;
    const low = BigInt.asUintN(48, output);
    if (this.granule === '64KB') return low | ((output >> 48n) << 12n) | attributes;
    // With DS, bits 9:8 are address bits 51:50 and no shareability.
    return BigInt.asUintN(50, output) | ((output >> 50n) << 8n) | (attributes & ~0x300n);
  }

  #next(address: number): number {
    const descriptor = this.#load(address);
    if ((descriptor & 3n) === 3n) return this.#tableAt(descriptor);
    const bytes = 2 ** GRANULE_BITS[this.granule];
    const table = this.#ram.allocate(bytes);
    this.#store(address, BigInt(table) | 3n);
    return table;
  }

  /** Tables of the bench lie below 2^48. */
  #tableAt(descriptor: bigint): number {
    const bits = BigInt(GRANULE_BITS[this.granule]);
    return Number((BigInt.asUintN(48, descriptor) >> bits) << bits);
  }

  #load(address: number): bigint {
    const word = this.#ram.read64(address);
    return this.bigEndian ? swap(word) : word;
  }

  #store(address: number, descriptor: bigint): void {
    this.#ram.write64(address, this.bigEndian ? swap(descriptor) : descriptor);
  }
}

function swap(word: bigint): bigint {
  let swapped = 0n;
  for (let byte = 0n; byte < 8n; byte++) swapped = (swapped << 8n) | ((word >> (byte * 8n)) & 0xffn);
  return swapped;
}
