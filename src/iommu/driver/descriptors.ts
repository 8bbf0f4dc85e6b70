/** Translation table geometry and VMSAv8-64 descriptors (DDI 0487 §D8.2, §D8.3; IHI 0070 §3.4). */
import { assert } from '../../assert.ts';
import { Protection } from '../core.ts';
import type { Granule } from './probe.ts';

export const LEAF_LEVEL = 3;
export const DESCRIPTOR_BYTES = 8;

/** Memory types of CD.MAIR0, by AttrIndx: Normal non-cacheable, Normal write-back, Device-nGnRE. */
export const MAIR0 = 0x0004_ff44;
const ATTRIBUTE_INDEX = { CACHED: 1, DEVICE: 2 } as const;

/** Shape of one translation table. */
export interface Geometry {
  readonly stage: 1 | 2;
  readonly granule: Granule;
  /** log2 of the granule. */
  readonly granuleShift: number;
  /** Bits of input address resolved by a full table. */
  readonly indexBits: number;
  readonly inputBits: number;
  readonly startLevel: number;
  /** Entries of the root, which for stage 2 may be several tables in a row (§D8.2.2). */
  readonly rootEntries: number;
  /** Levels that may hold blocks, the one with the largest first, then {@link LEAF_LEVEL}. */
  readonly leafLevels: readonly number[];
}

/** `inputBits` is 64 - TxSZ. Stage 2 roots of up to 16 entries are concatenated tables of the next level. */
export function geometry(stage: 1 | 2, granule: Granule, inputBits: number, blocks: boolean): Geometry {
  const granuleShift = Math.log2(granule);
  const indexBits = granuleShift - 3;
  assert(inputBits > granuleShift && inputBits <= 52, `an input address of ${inputBits} bits`);
  let startLevel = 4 - Math.ceil((inputBits - granuleShift) / indexBits);
  let rootBits = inputBits - shiftOf(granuleShift, startLevel);
  if (stage === 2 && rootBits <= 4 && startLevel < LEAF_LEVEL) {
    startLevel += 1;
    rootBits += indexBits;
  }
  const blockLevels = granule === 4096 ? [1, 2] : [2];
  const leafLevels = blocks ? blockLevels.filter((level) => level >= startLevel) : [];
  return {
    stage,
    granule,
    granuleShift,
    indexBits,
    inputBits,
    startLevel,
    rootEntries: 2 ** rootBits,
    leafLevels: [...leafLevels, LEAF_LEVEL],
  };
}

function shiftOf(granuleShift: number, level: number): number {
  return granuleShift + (LEAF_LEVEL - level) * (granuleShift - 3);
}

/** log2 of the bytes that one entry of a table of `level` spans. */
export function levelShift(shape: Geometry, level: number): number {
  return shiftOf(shape.granuleShift, level);
}

/** TG0 and S2TG (§5.2, §5.4): TG1 differs. */
export const GRANULE_CODE: Readonly<Record<Granule, number>> = { 4096: 0, 65536: 1, 16384: 2 };

/** TG of a ranged TLBI (§4.4.1.1). */
export const TLBI_GRANULE_CODE: Readonly<Record<Granule, number>> = { 4096: 1, 16384: 2, 65536: 3 };

/** STE.S2SL0 (§5.2): counted from level 2 with 4 KiB tables, from level 3 otherwise. */
export function startLevelCode(shape: Geometry): number {
  return (shape.granule === 4096 ? 2 : 3) - shape.startLevel;
}

// Halves of a descriptor. Bits 63:32 are counted from 32.
export const VALID = 1;
const TABLE_OR_PAGE = 0b11;
const BLOCK = 0b01;
const AF = 1 << 10;
const INNER_SHAREABLE = 3 << 8;
const OUTER_SHAREABLE = 2 << 8;

const S1_UNPRIVILEGED = 1 << 6;
const S1_READ_ONLY = 1 << 7;
const S1_NOT_GLOBAL = 1 << 11;
const S1_INDEX_SHIFT = 2;
const S1_NO_EXECUTE_HIGH = (1 << (53 - 32)) | (1 << (54 - 32));

const S2_READ = 1 << 6;
const S2_WRITE = 1 << 7;
const S2_CACHED = 0xf << 2;
const S2_DEVICE = 0x1 << 2;
const S2_NO_EXECUTE_HIGH = 1 << (54 - 32);

/** Dirty bit modifier (IHI 0070 §3.13.3): a write may make what is read-only writable. */
const DBM_HIGH = 1 << (51 - 32);

/** Bits of a leaf that say what it may be used for; the rest is its address, type, memory type and history. */
const S1_PERMISSION_LOW = S1_UNPRIVILEGED | S1_READ_ONLY;
const S2_PERMISSION_LOW = S2_READ | S2_WRITE;
const ADDRESS_LOW = 0xffff_f000;
const ADDRESS_HIGH = 0xffff;

const TWO_32 = 2 ** 32;

/** Low halves of leaves by {@link Protection}, without address and type. */
function lowAttributes(stage: 1 | 2): Int32Array {
  return Int32Array.from({ length: 16 }, (_, protection) => {
    const device = (protection & Protection.DEVICE) !== 0;
    const shared = AF | (device ? OUTER_SHAREABLE : INNER_SHAREABLE);
    if (stage === 2) {
      const read = protection & Protection.READ ? S2_READ : 0;
      const write = protection & Protection.WRITE ? S2_WRITE : 0;
      return shared | read | write | (device ? S2_DEVICE : S2_CACHED);
    }
    const index = device ? ATTRIBUTE_INDEX.DEVICE : ATTRIBUTE_INDEX.CACHED;
    const readOnly = protection & Protection.WRITE ? 0 : S1_READ_ONLY;
    return shared | S1_UNPRIVILEGED | S1_NOT_GLOBAL | readOnly | (index << S1_INDEX_SHIFT);
  });
}

function highAttributes(stage: 1 | 2, dirtyState: boolean): Int32Array {
  const never = stage === 1 ? S1_NO_EXECUTE_HIGH : S2_NO_EXECUTE_HIGH;
  return Int32Array.from({ length: 16 }, (_, protection) => {
    const modifier = dirtyState && (protection & Protection.WRITE) !== 0 ? DBM_HIGH : 0;
    return modifier | (protection & Protection.EXECUTE ? 0 : never);
  });
}

/** The descriptors of one stage and granule, as pairs of 32-bit halves. */
export class DescriptorFormat {
  /** What becomes writable begins writable-clean, not writable-dirty (§3.13.3). */
  bornClean = false;
  readonly #stage: 1 | 2;
  readonly #wideAddress: boolean;
  readonly #addressMask: number;
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  readonly #permissionLow: number;
  readonly #permissionHigh: number;
  readonly #executeHigh: number;

  /** `dirtyState`: hardware may make the leaves that allow writing dirty. */
  constructor(stage: 1 | 2, granule: Granule, dirtyState = false) {
    this.#stage = stage;
    this.#low = lowAttributes(stage);
    this.#high = highAttributes(stage, dirtyState);
    this.#permissionLow = stage === 1 ? S1_PERMISSION_LOW : S2_PERMISSION_LOW;
    this.#executeHigh = stage === 1 ? S1_NO_EXECUTE_HIGH : S2_NO_EXECUTE_HIGH;
    this.#permissionHigh = this.#executeHigh | DBM_HIGH;
    // With 64 KiB, bits 51:48 of an output address are in bits 15:12 of the descriptor (§D8.3.1).
    this.#wideAddress = granule === 65536;
    this.#addressMask = this.#wideAddress ? 0xffff_0000 : ADDRESS_LOW;
  }

  /** Low half of a leaf; `physical` is aligned to what the leaf spans. */
  leafLow(physical: number, level: number, protection: number): number {
    const type = level === LEAF_LEVEL ? TABLE_OR_PAGE : BLOCK;
    const attributes = this.#low[protection] ?? 0;
    const low = ((physical >>> 0) & this.#addressMask) | this.#topAddress(physical) | attributes | type;
    return this.bornClean && (protection & Protection.WRITE) !== 0 ? this.cleanLow(low) : low;
  }

  leafHigh(physical: number, protection: number): number {
    return (Math.floor(physical / TWO_32) & ADDRESS_HIGH) | (this.#high[protection] ?? 0);
  }

  tableLow(address: number): number {
    return ((address >>> 0) & this.#addressMask) | this.#topAddress(address) | TABLE_OR_PAGE;
  }

  tableHigh(address: number): number {
    return Math.floor(address / TWO_32) & ADDRESS_HIGH;
  }

  /** Output address of a leaf. */
  address(low: number, high: number): number {
    const top = this.#wideAddress ? ((low >>> 12) & 0xf) * 2 ** 48 : 0;
    return top + (high & ADDRESS_HIGH) * TWO_32 + ((low & this.#addressMask) >>> 0);
  }

  /** {@link Protection} of a leaf, clean or dirty. Stage 1 has no mapping that can be written and not read. */
  protection(low: number, high: number): number {
    const execute = (high & this.#executeHigh) === 0 ? Protection.EXECUTE : 0;
    const write = this.#isWritable(low, high) ? Protection.WRITE : 0;
    if (this.#stage === 2) {
      const read = low & S2_READ ? Protection.READ : 0;
      const device = (low & S2_CACHED) === S2_DEVICE ? Protection.DEVICE : 0;
      return read | write | execute | device;
    }
    const device = ((low >>> S1_INDEX_SHIFT) & 7) === ATTRIBUTE_INDEX.DEVICE ? Protection.DEVICE : 0;
    return Protection.READ | write | execute | device;
  }

  /** Whether hardware, or the mapping itself, made the leaf writable-dirty. */
  isDirty(low: number, high: number): boolean {
    if ((high & DBM_HIGH) === 0) return false;
    return this.#stage === 1 ? (low & S1_READ_ONLY) === 0 : (low & S2_WRITE) !== 0;
  }

  /** The low half of a leaf that allows writing, writable-clean. */
  cleanLow(low: number): number {
    return this.#stage === 1 ? low | S1_READ_ONLY : low & ~S2_WRITE;
  }

  isAccessed(low: number): boolean {
    return (low & AF) !== 0;
  }

  unaccessedLow(low: number): number {
    return low & ~AF;
  }

  /** A leaf's low half with the permissions of `protection`; memory type and address stay, and dirty state where it has one. */
  withPermissionsLow(low: number, high: number, protection: number): number {
    const next = (low & ~this.#permissionLow) | ((this.#low[protection] ?? 0) & this.#permissionLow);
    if ((protection & Protection.WRITE) === 0) return next;
    const clean = this.#isWritable(low, high) ? !this.#isWritable(low, 0) : this.bornClean;
    return clean ? this.cleanLow(next) : next;
  }

  withPermissionsHigh(high: number, protection: number): number {
    return (high & ~this.#permissionHigh) | ((this.#high[protection] ?? 0) & this.#permissionHigh);
  }

  /** The low half of a block's part: what the block maps `offset` bytes in, as a leaf of `level`. */
  partLow(low: number, high: number, offset: number, level: number): number {
    const address = this.address(low, high) + offset;
    const attributes = low & ~this.#addressMask & ~(this.#wideAddress ? 0xf000 : 0) & ~TABLE_OR_PAGE;
    const type = level === LEAF_LEVEL ? TABLE_OR_PAGE : BLOCK;
    return ((address >>> 0) & this.#addressMask) | this.#topAddress(address) | attributes | type;
  }

  partHigh(low: number, high: number, offset: number): number {
    return (Math.floor((this.address(low, high) + offset) / TWO_32) & ADDRESS_HIGH) | (high & ~ADDRESS_HIGH);
  }

  #isWritable(low: number, high: number): boolean {
    if ((high & DBM_HIGH) !== 0) return true;
    return this.#stage === 1 ? (low & S1_READ_ONLY) === 0 : (low & S2_WRITE) !== 0;
  }

  #topAddress(address: number): number {
    return this.#wideAddress ? (Math.floor(address / 2 ** 48) & 0xf) << 12 : 0;
  }
}
