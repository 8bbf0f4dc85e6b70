/**
 * Reads translation tables: descriptors from memory, level by level, down to a leaf (DDI 0487 D8.2, D8.3). A walk knows
 * nothing of permissions. Addresses are pairs of 32-bit halves, pages pairs of low 32 and high 8 bits.
 */
import { CHUNK_BYTES, type Memory } from '../../../hw/memory.ts';
import { RegionFlag, type TableRegion } from './context.ts';
import { contiguousBits } from './geometry.ts';

const LEAF = 0;
const INVALID = 1;
const BEYOND = 2;
const ABORT = 3;
const DENIED = 4;
/** How a walk ended: at a leaf; at an invalid descriptor; at an output beyond the output size of the stage; at an
 * external abort; at a table whose address the other stage denied. */
export const WalkEnd = { LEAF, INVALID, BEYOND, ABORT, DENIED } as const;
export type WalkEnd = (typeof WalkEnd)[keyof typeof WalkEnd];

// Hot code reads constants of its own module only: the engine cannot fold imported ones.
const TWO_32 = 2 ** 32;
const CHUNK_MASK = CHUNK_BYTES - 1;
const { BIG_ENDIAN } = RegionFlag;
/** In the high word of a leaf. */
const CONTIGUOUS = 1 << 20;

/** Stage 2 as a stage 1 walk needs it: to translate the addresses of descriptors. */
export interface DescriptorAddresses {
  /** Output page of the last translation. */
  readonly pageLow: number;
  readonly pageHigh: number;
  /** Translates an IPA page to read a descriptor there; false when that faulted. */
  translateForRead(pageLow: number, pageHigh: number): boolean;
}

/** Where a walk ended. Reused. */
export class Walk {
  /** Level of the last descriptor. */
  level = 0;
  /** Its words. */
  low = 0;
  high = 0;
  /** Upper words of the table descriptors above it, ORed: the hierarchical attributes. */
  hierarchy = 0;
  /** Page of its address in the address space of the tables. */
  pageLow = 0;
  pageHigh = 0;
  /** Lowest input address bit that its level resolves: the leaf's size. */
  shift = 0;
  /** Its output address, in halves. */
  outputLow = 0;
  outputHigh = 0;
  /** Its physical byte address, in halves. */
  physicalLow = 0;
  physicalHigh = 0;
  /** Descriptors fetched. */
  steps = 0;

  readonly #contiguous: number;

  /** At BBML=1 overlapping entries are a fault, but a change of the Contiguous bit alone is none: it is ignored (§3.21.1.2). */
  constructor(BBML: number) {
    this.#contiguous = BBML === 1 ? 0 : CONTIGUOUS;
  }

  /**
   * Walks `region` for the input page `pageLow`, `pageHigh`. Where tables have intermediate addresses, `addresses`
   * translates them; else it is null. One descriptor a level: at most five.
   */
  run(
    region: TableRegion,
    memory: Memory,
    pageLow: number,
    pageHigh: number,
    addresses: DescriptorAddresses | null,
  ): WalkEnd {
    const bigEndian = (region.flags & BIG_ENDIAN) !== 0;
    let level = region.startLevel;
    let shift = region.startShift;
    let mask = region.startMask;
    let outputLow = region.baseLow;
    let outputHigh = region.baseHigh;
    let hierarchy = 0;
    let end: WalkEnd = LEAF;
    for (;;) {
      const position = shift - 12;
      const index =
        position < 32
          ? ((pageLow >>> position) | ((pageHigh << (31 - position)) << 1)) & mask
          : (pageHigh >>> (position - 32)) & mask;
      let physicalLow = outputLow | (index << 3);
      let physicalHigh = outputHigh;
      if (addresses !== null) {
        const offset = physicalLow & 0xfff;
        this.pageLow = (physicalLow >>> 12) | (physicalHigh << 20);
        this.pageHigh = physicalHigh >>> 12;
        if (!addresses.translateForRead(this.pageLow, this.pageHigh)) {
          end = DENIED;
          break;
        }
        physicalLow = (addresses.pageLow << 12) | offset;
        physicalHigh = (addresses.pageLow >>> 20) | (addresses.pageHigh << 12);
      }
      const view = memory.readViewOf(physicalLow, physicalHigh);
      if (view === null) {
        this.physicalLow = physicalLow;
        this.physicalHigh = physicalHigh;
        end = ABORT;
        break;
      }
      const at = physicalLow & CHUNK_MASK;
      const low = bigEndian ? view.getInt32(at | 4, false) : view.getInt32(at, true);
      const high = bigEndian ? view.getInt32(at, false) : view.getInt32(at | 4, true);
      outputHigh = high & 0xffff;
      const { highBits } = region;
      if (highBits !== 0)
        outputHigh |= highBits === 1 ? (high & 0x3_0000) | ((low & 0x300) << 10) : (low & 0xf000) << 4;
      // Bits 1:0: 3 is a table, at level 3 a page; 1 is a block where the level has them (D8.3, Table D8-48).
      if ((low & 3) !== 3 || level === 3) {
        const isLeaf = level === 3 ? (low & 3) === 3 : (low & 3) === 1 && level >= region.blockLevel;
        if (!isLeaf) end = INVALID;
        outputLow = shift < 32 ? low & (-1 << shift) : 0;
        if (shift > 32) outputHigh &= -1 << (shift - 32);
        if (isLeaf && outputHigh >>> (region.outputBits - 32) !== 0) end = BEYOND;
        this.low = low;
        this.high = high;
        this.physicalLow = physicalLow;
        this.physicalHigh = physicalHigh;
        break;
      }
      if (outputHigh >>> (region.outputBits - 32) !== 0) {
        end = BEYOND;
        break;
      }
      outputLow = low & region.tableMask;
      hierarchy |= high;
      level += 1;
      shift -= region.levelBits;
      mask = region.levelMask;
    }
    this.level = level;
    this.shift = shift;
    this.hierarchy = hierarchy;
    this.outputLow = outputLow;
    this.outputHigh = outputHigh;
    this.steps = level - region.startLevel + (end === DENIED ? 0 : 1);
    return end;
  }

  /** Physical byte address of the descriptor. */
  get physical(): number {
    return this.physicalHigh * TWO_32 + (this.physicalLow >>> 0);
  }

  /** Output page of the leaf for input page `pageLow`: bits 31:0. */
  leafPageLow(pageLow: number): number {
    const base = (this.outputLow >>> 12) | (this.outputHigh << 20);
    return base | (pageLow & ((1 << (this.shift - 12)) - 1));
  }

  /** Output page of the leaf, bits 39:32. No leaf is larger than 2^32 pages. */
  leafPageHigh(): number {
    return this.outputHigh >>> 12;
  }

  /**
   * log2 of the pages that one entry may hold for this leaf: of the contiguous group if the descriptor claims one that
   * its own output fits into, which keeps what is cached consistent with a descriptor (D8.7.1).
   */
  leafPages(region: TableRegion, pageLow: number, outputPageLow: number): number {
    const own = this.shift - 12;
    if ((this.high & this.#contiguous) === 0) return own;
    const group = contiguousBits(region.granuleBits, this.level) - 12;
    if (group > region.outputBits - 12) return own;
    return ((pageLow ^ outputPageLow) & ((1 << group) - 1)) === 0 ? group : own;
  }

  /** Where a TLB entry comes from, for one stage (see tlb.ts): level + 1, granule code, log2 of the leaf's pages. */
  origin(region: TableRegion): number {
    return (this.level + 1) | (((region.granuleBits - 10) >>> 1) << 3) | ((this.shift - 12) << 5);
  }

  /** Writes `low` and `high` to the leaf if it still has the words that were read: the atomic update of D8.5. */
  update(memory: Memory, region: TableRegion, low: number, high: number): boolean {
    const bigEndian = (region.flags & BIG_ENDIAN) !== 0;
    const view = memory.writeView(this.physical);
    const at = this.physical & CHUNK_MASK;
    const oldLow = bigEndian ? view.getInt32(at | 4, false) : view.getInt32(at, true);
    const oldHigh = bigEndian ? view.getInt32(at, false) : view.getInt32(at | 4, true);
    if (oldLow !== this.low || oldHigh !== this.high) return false;
    if (bigEndian) {
      view.setInt32(at, high, false);
      view.setInt32(at | 4, low, false);
    } else {
      view.setInt32(at, low, true);
      view.setInt32(at | 4, high, true);
    }
    this.low = low;
    this.high = high;
    return true;
  }
}
