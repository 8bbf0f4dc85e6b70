/**
 * VMSAv8-64 tables in memory, written the long way round: 64-bit words as bigints, index bits computed from the
 * granule. It shares nothing with the translator it tests.
 */
import { CHUNK_BYTES, type Memory } from '../../src/hw/memory.ts';

/** Bits of a descriptor, as DDI 0487 D8.3 numbers them. */
export const bit = (number: number): bigint => 1n << BigInt(number);

export const VALID_TABLE = 0b11n;
export const PAGE = 0b11n;
export const BLOCK = 0b01n;
export const ACCESSED = bit(10);
export const NOT_GLOBAL = bit(11);
export const READ_ONLY = bit(7);
export const USER = bit(6);
export const DIRTY_MODIFIER = bit(51);
export const CONTIGUOUS = bit(52);
export const PXN = bit(53);
export const UXN = bit(54);
/** Stage 2: S2AP read and write, MemAttr Normal Write-Back. */
export const S2_READ = bit(6);
export const S2_WRITE = bit(7);
export const S2_NORMAL = 0b1111n << 2n;

export interface Region {
  /** Address of the first table. */
  readonly root: number;
  readonly granuleBits: number;
  readonly startLevel: number;
}

/** Writes tables into `memory`, taking space for new ones from `nextTable` upwards. */
export class PageTables {
  readonly #memory: Memory;
  #nextTable: number;
  /** Physical address from the address of a table, where tables live behind stage 2. */
  readonly #physical: (address: number) => number;

  constructor(memory: Memory, nextTable: number, physical: (address: number) => number = (address) => address) {
    this.#memory = memory;
    this.#nextTable = nextTable;
    this.#physical = physical;
  }

  /** Room for a table of `bytes`, aligned to its size, or to 64 KiB where that is less. */
  allocate(bytes = CHUNK_BYTES): number {
    const align = Math.max(bytes, CHUNK_BYTES);
    const address = Math.ceil(this.#nextTable / align) * align;
    this.#nextTable = address + align;
    return address;
  }

  read(address: number): bigint {
    const physical = this.#physical(address);
    return this.#memory.readView(physical).getBigUint64(physical % CHUNK_BYTES, true);
  }

  write(address: number, descriptor: bigint): void {
    const physical = this.#physical(address);
    this.#memory.writeView(physical).setBigUint64(physical % CHUNK_BYTES, descriptor, true);
  }

  /**
   * Address of the descriptor of `input` at `level`; missing tables above it are made. `attributes` go into new table
   * descriptors.
   */
  descriptor(region: Region, input: bigint, level: number, attributes = 0n): number {
    const { granuleBits, startLevel } = region;
    const levelBits = granuleBits - 3;
    let table = region.root;
    for (let at = startLevel; ; at++) {
      const shift = BigInt(granuleBits + levelBits * (3 - at));
      // The first table may be larger than others (concatenation): the caller's input is as wide as the region.
      const mask = at === startLevel ? bit(52) - 1n : bit(levelBits) - 1n;
      const address = table + Number((input >> shift) & mask) * 8;
      if (at === level) return address;
      if ((this.read(address) & 1n) === 0n) this.write(address, BigInt(this.allocate()) | VALID_TABLE | attributes);
      table = Number(this.read(address) & 0x0000_ffff_ffff_f000n);
    }
  }

  /** Maps `input` at `level` (3: a page) to `output` with `attributes`; returns the address of the descriptor. */
  map(region: Region, input: bigint, output: bigint, attributes: bigint, level = 3): number {
    const address = this.descriptor(region, input, level);
    this.write(address, output | attributes | (level === 3 ? PAGE : BLOCK));
    return address;
  }
}
