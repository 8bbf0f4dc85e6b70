/**
 * A guest's stage 1 walked in software (IHI 0070 §3.4, §5.4; DDI 0487 §D8.2, §D8.3), through the host's stage 2. A page
 * request says only that an access did not get through: here the driver finds out at which stage.
 *
 * Descriptors with 52-bit addresses of 4 and 16 KiB tables (CD.DS) are not read: such a fault counts as the guest's.
 */
import { CHUNK_BYTES, type Memory } from '../../hw/memory.ts';
import { type GuestTables, type PageFault, Protection } from '../core.ts';
import { CD, L1CD } from '../spec/cd.layout.ts';
import { S1Fmt } from '../spec/ste.layout.ts';
import { DESCRIPTOR_BYTES, LEAF_LEVEL, VALID } from './descriptors.ts';
import type { PageTable } from './page-table.ts';

/** How a walk ended: stage 1 does not let the access through, stage 2 has not the table, or there is an output. */
export const WalkEnd = { STAGE_1: 0, TABLE: 1, OUTPUT: 2 } as const;
export type WalkEnd = (typeof WalkEnd)[keyof typeof WalkEnd];

/** log2 of the granules that TG0 and TG1 name; 0 is reserved (§5.4). */
const TG0_SHIFT = [12, 16, 14, 0] as const;
const TG1_SHIFT = [0, 14, 12, 16] as const;
const IPS_BITS = [32, 36, 40, 42, 44, 48, 52, 52] as const;

// Bits of a stage 1 descriptor; those above 31 are counted from 32.
const TABLE_OR_PAGE = 2;
const UNPRIVILEGED = 1 << 6;
const READ_ONLY = 1 << 7;
const ACCESSED = 1 << 10;
const DIRTY_MODIFIER = 1 << (51 - 32);
const PRIVILEGED_NO_EXECUTE = 1 << (53 - 32);
const UNPRIVILEGED_NO_EXECUTE = 1 << (54 - 32);
const TABLE_PRIVILEGED_ONLY = 1 << (61 - 32);
const TABLE_READ_ONLY = 1 << (62 - 32);
const TABLE_UNPRIVILEGED_NO_EXECUTE = 1 << (60 - 32);
const TABLE_PRIVILEGED_NO_EXECUTE = 1 << (59 - 32);

const PAGE = 4096;
const TWO_32 = 2 ** 32;

export class GuestWalk {
  readonly #memory: Memory;
  readonly #stage2: PageTable;
  readonly #tables: GuestTables;
  /** The guest page that stage 2 has to have: of the table, or of the output. */
  page = 0;
  /** What stage 1 allows at the output. */
  protection = 0;
  #low = 0;
  #high = 0;

  constructor(memory: Memory, stage2: PageTable, tables: GuestTables) {
    this.#memory = memory;
    this.#stage2 = stage2;
    this.#tables = tables;
  }

  /** Walks for an access; {@link page} and {@link protection} say more. */
  walk(pasid: number, access: PageFault): WalkEnd {
    const index = this.#contextIndex(pasid);
    if (index === 'bypass') return this.#output(access.page * PAGE, Protection.READ | Protection.WRITE);
    if (index < 0) return WalkEnd.STAGE_1;
    const address = this.#contextAddress(index);
    if (address < 0) return address === MISSING ? WalkEnd.TABLE : WalkEnd.STAGE_1;
    const context = this.#host(address);
    if (context < 0) return WalkEnd.TABLE;
    return this.#walkContext(this.#memory.readView(context), context % CHUNK_BYTES, access);
  }

  /** Index of the context descriptor; -1 for an access that stage 1 does not take (§5.2: S1DSS). */
  #contextIndex(pasid: number): number | 'bypass' {
    const { contextBits, withoutPasid } = this.#tables;
    if (pasid >= 0) {
      const taken = withoutPasid === 'translate' ? 1 : 0;
      return contextBits > 0 && pasid >= taken && pasid < 2 ** contextBits ? pasid : -1;
    }
    if (contextBits === 0 || withoutPasid === 'translate') return 0;
    return withoutPasid === 'bypass' ? 'bypass' : -1;
  }

  /** Guest physical address of a context descriptor, {@link INVALID} or {@link MISSING}. */
  #contextAddress(index: number): number {
    const { contextTable, contextBits, contextFormat } = this.#tables;
    const size = CD.$.byteLength;
    if (contextFormat === S1Fmt.LINEAR) return alignedDown(contextTable, size * 2 ** contextBits) + index * size;
    const leafBits = contextFormat === S1Fmt.TWO_LEVEL_4K ? 6 : 10;
    const bytes = Math.max(64, 2 ** (contextBits - leafBits) * L1CD.$.byteLength);
    const at = this.#host(alignedDown(contextTable, bytes) + Math.floor(index / 2 ** leafBits) * L1CD.$.byteLength);
    if (at < 0) return MISSING;
    const view = this.#memory.readView(at);
    if (L1CD.V.get(view, at % CHUNK_BYTES) === 0) return INVALID;
    const leaf = alignedDown(L1CD.L2Ptr.get(view, at % CHUNK_BYTES) * PAGE, 2 ** leafBits * size);
    return leaf + (index % 2 ** leafBits) * size;
  }

  #walkContext(cd: DataView, at: number, access: PageFault): WalkEnd {
    if (CD.V.get(cd, at) === 0 || CD.AA64.get(cd, at) === 0 || CD.DS.get(cd, at) === 1) return WalkEnd.STAGE_1;
    // Bit 55 chooses the table; without TBI the bits above must be equal to it (§5.4: TBI0, TBI1).
    const upper = Math.floor(access.page / 2 ** 43) % 2 === 1;
    const ignoresTop = (upper ? CD.TBI1 : CD.TBI0).get(cd, at) === 1;
    const top = Math.floor(access.page / 2 ** 44);
    if (!ignoresTop && top !== (upper ? 0xff : 0)) return WalkEnd.STAGE_1;
    if ((upper ? CD.EPD1 : CD.EPD0).get(cd, at) === 1) return WalkEnd.STAGE_1;
    const inputBits = 64 - (upper ? CD.T1SZ : CD.T0SZ).get(cd, at);
    const shift = upper ? (TG1_SHIFT[CD.TG1.get(cd, at)] ?? 0) : (TG0_SHIFT[CD.TG0.get(cd, at)] ?? 0);
    const pages = 2 ** (inputBits - 12);
    const page = (access.page % 2 ** 44) - (upper ? 2 ** 44 - pages : 0);
    if (shift === 0 || inputBits <= shift || page < 0 || page >= pages) return WalkEnd.STAGE_1;
    const indexBits = shift - 3;
    const startLevel = 4 - Math.ceil((inputBits - shift) / indexBits);
    const startShift = shift + (LEAF_LEVEL - startLevel) * indexBits;
    const startBytes = 2 ** (inputBits - startShift) * DESCRIPTOR_BYTES;
    let table = alignedDown((upper ? CD.TTB1 : CD.TTB0).get(cd, at) * 16, startBytes);
    let tableLimits = 0;
    const hierarchical = (upper ? CD.HAD1 : CD.HAD0).get(cd, at) === 0;
    for (let level = startLevel; level <= LEAF_LEVEL; level++) {
      const span = 2 ** (shift + (LEAF_LEVEL - level) * indexBits);
      const entry = Math.floor((page * PAGE) / span);
      const index = level === startLevel ? entry : entry % 2 ** indexBits;
      if (!this.#read(table + index * DESCRIPTOR_BYTES)) return WalkEnd.TABLE;
      if ((this.#low & VALID) === 0) return WalkEnd.STAGE_1;
      const isTable = (this.#low & TABLE_OR_PAGE) !== 0;
      if (level === LEAF_LEVEL ? !isTable : !isTable && !mayBeBlock(shift, level)) return WalkEnd.STAGE_1;
      if (level === LEAF_LEVEL || !isTable) {
        const base = Math.floor(this.#address(shift) / span) * span;
        const output = base + ((page * PAGE) % span);
        if (output >= 2 ** (IPS_BITS[CD.IPS.get(cd, at)] ?? 0)) return WalkEnd.STAGE_1;
        return this.#leaf(cd, at, access, output, tableLimits);
      }
      if (hierarchical) tableLimits |= this.#high;
      table = this.#address(shift);
    }
    return WalkEnd.STAGE_1;
  }

  /** Whether the leaf read last lets the access through (DDI 0487 §D8.4). */
  #leaf(cd: DataView, at: number, access: PageFault, output: number, tableLimits: number): WalkEnd {
    const updates = CD.HA.get(cd, at) === 1;
    if ((this.#low & ACCESSED) === 0 && !updates && CD.AFFD.get(cd, at) === 0) return WalkEnd.STAGE_1;
    const dirtyable = updates && CD.HD.get(cd, at) === 1 && (this.#high & DIRTY_MODIFIER) !== 0;
    const readOnly = ((this.#low & READ_ONLY) !== 0 && !dirtyable) || (tableLimits & TABLE_READ_ONLY) !== 0;
    const open = (this.#low & UNPRIVILEGED) !== 0 && (tableLimits & TABLE_PRIVILEGED_ONLY) === 0;
    const noExecute = access.privileged
      ? (this.#high & PRIVILEGED_NO_EXECUTE) | (tableLimits & TABLE_PRIVILEGED_NO_EXECUTE)
      : (this.#high & UNPRIVILEGED_NO_EXECUTE) | (tableLimits & TABLE_UNPRIVILEGED_NO_EXECUTE);
    if (!open && !access.privileged) return WalkEnd.STAGE_1;
    if ((access.write && readOnly) || (access.execute && noExecute !== 0)) return WalkEnd.STAGE_1;
    const write = readOnly ? 0 : Protection.WRITE;
    return this.#output(output, Protection.READ | write | (noExecute === 0 ? Protection.EXECUTE : 0));
  }

  #output(address: number, protection: number): WalkEnd {
    this.page = Math.floor(address / PAGE);
    this.protection = protection;
    return WalkEnd.OUTPUT;
  }

  /** Reads a descriptor at a guest physical address; false where stage 2 has no page for it. */
  #read(address: number): boolean {
    const at = this.#host(address);
    if (at < 0) return false;
    this.#low = this.#memory.read32(at);
    this.#high = this.#memory.read32(at + 4);
    return true;
  }

  /** Host address of a guest physical one; {@link MISSING} notes the page. */
  #host(address: number): number {
    const found = this.#stage2.translate(address);
    if (found !== null && (found.protection & Protection.READ) !== 0 && this.#memory.contains(found.physical, 64)) {
      return found.physical;
    }
    this.page = Math.floor(address / PAGE);
    return MISSING;
  }

  #address(shift: number): number {
    const low = (this.#low & ~(2 ** shift - 1)) >>> 0;
    const top = shift === 16 ? ((this.#low >>> 12) & 0xf) * 2 ** 48 : 0;
    return top + (this.#high & 0xffff) * TWO_32 + low;
  }
}

/** Tables are aligned to their size: what lies below in a pointer plays no part (IHI 0070 §5.2 S1Fmt, §5.4 TTB0). */
const alignedDown = (address: number, bytes: number): number => address - (address % bytes);

const INVALID = -1;
const MISSING = -2;

/** Levels above the last that hold blocks: 1 and 2 with 4 KiB tables, 2 with the others (without 52-bit formats). */
function mayBeBlock(shift: number, level: number): boolean {
  return level === 2 || (shift === 12 && level === 1);
}
