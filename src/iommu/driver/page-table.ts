/**
 * One translation table in memory, written as the kernel's own: without a lock. Tasks are cooperative and nothing here
 * yields, so that each call is atomic to every other task, as the kernel's compare-and-exchange on single descriptors
 * makes it; each descriptor is written as one 64-bit word.
 */
import { assert } from '../../assert.ts';
import { Errno } from '../../errno.ts';
import { CHUNK_BYTES } from '../../hw/memory.ts';
import type { Translation, WrittenRanges } from '../core.ts';
import { DESCRIPTOR_BYTES, type DescriptorFormat, type Geometry, LEAF_LEVEL, VALID } from './descriptors.ts';
import type { DomainGather } from './gather.ts';
import type { TableArena } from './table-memory.ts';
import { type Table, TableTree } from './table-tree.ts';

export class PageTable {
  readonly shape: Geometry;
  /** Its tables. */
  readonly tree: TableTree;
  readonly #arena: TableArena;
  readonly #format: DescriptorFormat;
  readonly #limit: number;
  readonly #physicalLimit: number;
  /** The leaf table used last, and the range it spans: neighbouring pages are mapped one after the other. */
  #recent: Table | null = null;
  #recentStart = 0;
  #recentEnd = 0;

  /**
   * `dirtyState`: hardware may keep it (§3.13.3).
   *
   * @throws RangeError when there is no memory for the root.
   */
  constructor(shape: Geometry, arena: TableArena, physicalBits: number, dirtyState = false) {
    this.shape = shape;
    this.tree = new TableTree(shape, arena, dirtyState);
    this.#arena = arena;
    this.#format = this.tree.format;
    this.#limit = 2 ** shape.inputBits;
    this.#physicalLimit = 2 ** physicalBits;
  }

  /** Address of the root as TTB0 or S2TTB takes it. */
  get rootAddress(): number {
    return this.#arena.walkerAddress(this.tree.root.physical);
  }

  /** Leaf sizes, ascending. */
  get pageSizes(): readonly number[] {
    return this.shape.leafLevels.map((level) => this.tree.spanOf(level)).reverse();
  }

  get lastAddress(): number {
    return this.#limit - 1;
  }

  /** As `IommuDomain.map`: 0 or a negative errno. On -ENOMEM some empty tables may stay, for the next attempt. */
  map(iova: number, physical: number, size: number, protection: number): number {
    const granule = this.shape.granule;
    if (((iova | physical | size) & (granule - 1)) !== 0 || size <= 0 || iova < 0 || physical < 0) return Errno.EINVAL;
    if (iova + size > this.#limit || physical + size > this.#physicalLimit) return Errno.EINVAL;
    if ((protection & 3) === 0) return Errno.EINVAL;
    if (size === granule) return this.#mapPage(iova, physical, protection);
    if (!this.#isFree(iova, size)) return Errno.EEXIST;
    if (!this.#populate(iova, physical, size)) return Errno.ENOMEM;
    for (let done = 0; done < size; ) {
      const level = this.#levelFor(iova + done, physical + done, size - done);
      done += this.#writeLeaves(iova + done, physical + done, size - done, level, protection);
    }
    return Errno.OK;
  }

  /** As `IommuDomain.unmap`: bytes unmapped, or -EINVAL off the granule or the range. */
  unmap(iova: number, size: number, gather: DomainGather, written: WrittenRanges | null = null): number {
    if (!this.tree.isRange(iova, size)) return Errno.EINVAL;
    let unmapped = 0;
    for (let at = iova; at < iova + size; ) {
      const table = this.tree.deepest(at);
      const span = this.tree.spanOf(table.level);
      const start = Math.floor(at / span) * span;
      const first = this.tree.indexOf(table.level, at);
      const count = this.tree.run(table, first, iova + size - start, span);
      if (table.used > 0) unmapped += this.#clear(table, first, count, start, span, gather, written);
      at = start + count * span;
    }
    return unmapped;
  }

  /** As `IommuDomain.protect`: 0 or a negative errno. */
  protect(iova: number, size: number, protection: number, gather: DomainGather): number {
    if (!this.tree.isRange(iova, size) || (protection & 3) === 0) return Errno.EINVAL;
    const end = iova + size;
    if (!this.tree.splitAt(iova, gather) || (end < this.#limit && !this.tree.splitAt(end, gather))) return Errno.ENOMEM;
    for (let at = iova; at < end; ) {
      const table = this.tree.deepest(at);
      const span = this.tree.spanOf(table.level);
      const start = Math.floor(at / span) * span;
      const first = this.tree.indexOf(table.level, at);
      const count = this.tree.run(table, first, end - start, span);
      if (table.used > 0) this.#reprotect(table, first, count, start, span, protection, gather);
      at = start + count * span;
    }
    return Errno.OK;
  }

  translate(iova: number): Translation | null {
    if (iova < 0 || iova >= this.#limit) return null;
    const table = this.tree.deepest(iova);
    const at = table.physical + this.tree.indexOf(table.level, iova) * DESCRIPTOR_BYTES;
    const low = this.#arena.memory.read32(at);
    if ((low & VALID) === 0) return null;
    const high = this.#arena.memory.read32(at + 4);
    const size = this.tree.spanOf(table.level);
    return {
      physical: this.#format.address(low, high) + (iova - Math.floor(iova / size) * size),
      protection: this.#format.protection(low, high),
      size,
    };
  }

  /** Frees what the gather of `epoch` retired, unless it was taken into use again. */
  release(tables: Table[], epoch: number): void {
    this.tree.release(tables, epoch);
  }

  /** Frees everything. Nothing may walk the table any more. */
  destroy(): void {
    this.#recent = null;
    this.tree.destroy();
  }

  #mapPage(iova: number, physical: number, protection: number): number {
    let table = this.#recent;
    if (table === null || table.retiredBy !== 0 || iova < this.#recentStart || iova >= this.#recentEnd) {
      const found = this.tree.tableFor(iova, LEAF_LEVEL);
      if (typeof found === 'number') return found;
      table = found;
      const span = this.tree.spanOf(LEAF_LEVEL) * this.tree.tableEntries;
      this.#recent = table;
      this.#recentStart = Math.floor(iova / span) * span;
      this.#recentEnd = this.#recentStart + span;
    }
    const at = table.physical + this.tree.indexOf(LEAF_LEVEL, iova) * DESCRIPTOR_BYTES;
    const view = this.#arena.memory.writeView(at);
    const offset = at & (CHUNK_BYTES - 1);
    if ((view.getUint32(offset, true) & VALID) !== 0) return Errno.EEXIST;
    view.setUint32(offset, this.#format.leafLow(physical, LEAF_LEVEL, protection), true);
    view.setUint32(offset + 4, this.#format.leafHigh(physical, protection), true);
    table.used += 1;
    return Errno.OK;
  }

  /** Whether nothing is mapped in the range. */
  #isFree(iova: number, size: number): boolean {
    for (let at = iova; at < iova + size; ) {
      const table = this.tree.deepest(at);
      const span = this.tree.spanOf(table.level);
      const start = Math.floor(at / span) * span;
      const first = this.tree.indexOf(table.level, at);
      const count = this.tree.run(table, first, iova + size - start, span);
      const from = table.physical + first * DESCRIPTOR_BYTES;
      const view = this.#arena.memory.readView(from);
      let offset = from & (CHUNK_BYTES - 1);
      for (let entry = 0; entry < count; entry++, offset += DESCRIPTOR_BYTES) {
        if ((view.getUint32(offset, true) & VALID) !== 0) return false;
      }
      at = start + count * span;
    }
    return true;
  }

  /** Makes every table that mapping the range needs; false when there is no memory for one. */
  #populate(iova: number, physical: number, size: number): boolean {
    for (let done = 0; done < size; ) {
      const level = this.#levelFor(iova + done, physical + done, size - done);
      const table = this.tree.tableFor(iova + done, level);
      if (typeof table === 'number') return false;
      const span = this.tree.spanOf(level);
      done += this.tree.run(table, this.tree.indexOf(level, iova + done), size - done, span) * span;
    }
    return true;
  }

  /** The level of the largest leaf that may start at `iova`: no table stands in its place, even one about to be freed. */
  #levelFor(iova: number, physical: number, size: number): number {
    // Dirty state is kept page by page.
    if (this.#format.bornClean) return LEAF_LEVEL;
    for (const level of this.shape.leafLevels) {
      const span = this.tree.spanOf(level);
      if (size < span || iova % span !== 0 || physical % span !== 0) continue;
      if (level === LEAF_LEVEL || !this.tree.standsBelow(iova, level)) return level;
    }
    return LEAF_LEVEL;
  }

  /** Writes leaves of one level up to the end of their table; the bytes mapped. */
  #writeLeaves(iova: number, physical: number, size: number, level: number, protection: number): number {
    const table = this.tree.tableFor(iova, level);
    assert(typeof table !== 'number', 'the tables were made before');
    const span = this.tree.spanOf(level);
    const first = this.tree.indexOf(level, iova);
    const count = this.tree.run(table, first, size, span);
    const from = table.physical + first * DESCRIPTOR_BYTES;
    const view = this.#arena.memory.writeView(from);
    let offset = from & (CHUNK_BYTES - 1);
    for (let entry = 0, address = physical; entry < count; entry++, address += span, offset += DESCRIPTOR_BYTES) {
      view.setUint32(offset, this.#format.leafLow(address, level, protection), true);
      view.setUint32(offset + 4, this.#format.leafHigh(address, protection), true);
    }
    table.used += count;
    return count * span;
  }

  /** Clears `count` entries from `first`, which map `start` and on; the bytes that were mapped. */
  #clear(
    table: Table,
    first: number,
    count: number,
    start: number,
    span: number,
    gather: DomainGather,
    written: WrittenRanges | null,
  ): number {
    const from = table.physical + first * DESCRIPTOR_BYTES;
    const view = this.#arena.memory.writeView(from);
    let offset = from & (CHUNK_BYTES - 1);
    let cleared = 0;
    for (let entry = 0; entry < count; entry++, offset += DESCRIPTOR_BYTES) {
      const low = view.getUint32(offset, true);
      if ((low & VALID) === 0) continue;
      // Read and cleared as one: no update by hardware comes between.
      if (written !== null && this.#format.isDirty(low, view.getUint32(offset + 4, true))) {
        written.noteWritten(start + entry * span, span);
      }
      view.setUint32(offset, 0, true);
      view.setUint32(offset + 4, 0, true);
      gather.add(start + entry * span, span, span);
      cleared += 1;
    }
    table.used -= cleared;
    if (table.used === 0) this.tree.retire(table, gather);
    return cleared * span;
  }

  #reprotect(
    table: Table,
    first: number,
    count: number,
    start: number,
    span: number,
    protection: number,
    gather: DomainGather,
  ): void {
    const from = table.physical + first * DESCRIPTOR_BYTES;
    const view = this.#arena.memory.writeView(from);
    let offset = from & (CHUNK_BYTES - 1);
    for (let entry = 0; entry < count; entry++, offset += DESCRIPTOR_BYTES) {
      const low = view.getUint32(offset, true);
      if ((low & VALID) === 0) continue;
      const high = view.getUint32(offset + 4, true);
      const nextLow = this.#format.withPermissionsLow(low, high, protection) >>> 0;
      const nextHigh = this.#format.withPermissionsHigh(high, protection) >>> 0;
      if (nextLow === low && nextHigh === high) continue;
      view.setUint32(offset, nextLow, true);
      view.setUint32(offset + 4, nextHigh, true);
      gather.add(start + entry * span, span, span);
    }
  }
}
