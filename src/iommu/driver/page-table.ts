/**
 * One translation table in memory, written as the kernel's own: without a lock. Tasks are cooperative and nothing here
 * yields, so that each call is atomic to every other task, as the kernel's compare-and-exchange on single descriptors
 * makes it; each descriptor is written as one 64-bit word.
 *
 * A tree of {@link Table} objects shadows the tables (never the leaves): walking it touches memory only at the end, and
 * the count of valid entries tells when a table may go.
 */
import { assert } from '../../assert.ts';
import { Errno } from '../../errno.ts';
import { CHUNK_BYTES } from '../../hw/memory.ts';
import type { Translation } from '../core.ts';
import { DESCRIPTOR_BYTES, DescriptorFormat, type Geometry, LEAF_LEVEL, levelShift, VALID } from './descriptors.ts';
import type { DomainGather } from './gather.ts';
import { type TableArena, writeWord64 } from './table-memory.ts';

const TWO_32 = 2 ** 32;

/** One table of descriptors. */
export class Table {
  readonly physical: number;
  readonly level: number;
  readonly parent: Table | null;
  /** Index in the parent. */
  readonly index: number;
  /** Tables below, by index; null in leaf tables. */
  readonly children: (Table | null)[] | null;
  /** Valid entries. */
  used = 0;
  /** Epoch of the gather that will free it, since it was emptied; 0 while it is in use. */
  retiredBy = 0;

  constructor(physical: number, level: number, parent: Table | null, index: number, entries: number) {
    this.physical = physical;
    this.level = level;
    this.parent = parent;
    this.index = index;
    this.children = level === LEAF_LEVEL ? null : new Array<Table | null>(entries).fill(null);
  }
}

export class PageTable {
  readonly shape: Geometry;
  readonly #arena: TableArena;
  readonly #format: DescriptorFormat;
  readonly #root: Table;
  readonly #all = new Set<Table>();
  readonly #tableEntries: number;
  readonly #limit: number;
  readonly #physicalLimit: number;
  /** log2 of the bytes that an entry spans, by level. */
  readonly #shifts: readonly number[];
  /** The same in bytes. */
  readonly #spans: readonly number[];
  /** The leaf table used last, and the range it spans: neighbouring pages are mapped one after the other. */
  #recent: Table | null = null;
  #recentStart = 0;
  #recentEnd = 0;

  /** @throws RangeError when there is no memory for the root. */
  constructor(shape: Geometry, arena: TableArena, physicalBits: number) {
    this.shape = shape;
    this.#arena = arena;
    this.#format = new DescriptorFormat(shape.stage, shape.granule);
    this.#tableEntries = shape.granule / DESCRIPTOR_BYTES;
    this.#limit = 2 ** shape.inputBits;
    this.#physicalLimit = 2 ** physicalBits;
    this.#shifts = [0, 1, 2, 3].map((level) => levelShift(shape, level));
    this.#spans = this.#shifts.map((shift) => 2 ** shift);
    const physical = arena.allocate(this.#rootBytes);
    if (physical < 0) throw new RangeError(`no memory for a translation table of ${this.#rootBytes} bytes`);
    this.#root = new Table(physical, shape.startLevel, null, 0, shape.rootEntries);
    this.#all.add(this.#root);
  }

  /** Address of the root as TTB0 or S2TTB takes it. */
  get rootAddress(): number {
    return this.#arena.walkerAddress(this.#root.physical);
  }

  /** Leaf sizes, ascending. */
  get pageSizes(): readonly number[] {
    return this.shape.leafLevels.map((level) => this.#spanOf(level)).reverse();
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
  unmap(iova: number, size: number, gather: DomainGather): number {
    if (!this.#isRange(iova, size)) return Errno.EINVAL;
    let unmapped = 0;
    for (let at = iova; at < iova + size; ) {
      const table = this.#deepest(at);
      const span = this.#spanOf(table.level);
      const start = Math.floor(at / span) * span;
      const first = this.#indexOf(table.level, at);
      const count = this.#run(table, first, iova + size - start, span);
      if (table.used > 0) unmapped += this.#clear(table, first, count, start, span, gather);
      at = start + count * span;
    }
    return unmapped;
  }

  /** As `IommuDomain.protect`: 0 or a negative errno. */
  protect(iova: number, size: number, protection: number, gather: DomainGather): number {
    if (!this.#isRange(iova, size) || (protection & 3) === 0) return Errno.EINVAL;
    const end = iova + size;
    if (!this.#splitAt(iova, gather) || (end < this.#limit && !this.#splitAt(end, gather))) return Errno.ENOMEM;
    for (let at = iova; at < end; ) {
      const table = this.#deepest(at);
      const span = this.#spanOf(table.level);
      const start = Math.floor(at / span) * span;
      const first = this.#indexOf(table.level, at);
      const count = this.#run(table, first, end - start, span);
      if (table.used > 0) this.#reprotect(table, first, count, start, span, protection, gather);
      at = start + count * span;
    }
    return Errno.OK;
  }

  translate(iova: number): Translation | null {
    if (iova < 0 || iova >= this.#limit) return null;
    const table = this.#deepest(iova);
    const at = table.physical + this.#indexOf(table.level, iova) * DESCRIPTOR_BYTES;
    const low = this.#arena.memory.read32(at);
    if ((low & VALID) === 0) return null;
    const high = this.#arena.memory.read32(at + 4);
    const size = this.#spanOf(table.level);
    return {
      physical: this.#format.address(low, high) + (iova - Math.floor(iova / size) * size),
      protection: this.#format.protection(low, high),
      size,
    };
  }

  /** Frees what the gather of `epoch` retired, unless it was taken into use again. */
  release(tables: Table[], epoch: number): void {
    for (const table of tables) {
      if (table.retiredBy !== epoch || !this.#all.delete(table)) continue;
      if (this.#recent === table) this.#recent = null;
      const siblings = table.parent?.children;
      if (siblings !== null && siblings !== undefined && siblings[table.index] === table) siblings[table.index] = null;
      this.#arena.free(table.physical, this.shape.granule);
    }
    tables.length = 0;
  }

  /** Frees everything. Nothing may walk the table any more. */
  destroy(): void {
    this.#recent = null;
    for (const table of this.#all) {
      this.#arena.free(table.physical, table === this.#root ? this.#rootBytes : this.shape.granule);
    }
    this.#all.clear();
  }

  /** A root of fewer than eight entries still takes 64 bytes: TTB0 has no bits for less. */
  get #rootBytes(): number {
    return Math.max(64, this.shape.rootEntries * DESCRIPTOR_BYTES);
  }

  #isRange(iova: number, size: number): boolean {
    return iova >= 0 && size > 0 && ((iova | size) & (this.shape.granule - 1)) === 0 && iova + size <= this.#limit;
  }

  #mapPage(iova: number, physical: number, protection: number): number {
    let table = this.#recent;
    if (table === null || table.retiredBy !== 0 || iova < this.#recentStart || iova >= this.#recentEnd) {
      const found = this.#tableFor(iova, LEAF_LEVEL);
      if (typeof found === 'number') return found;
      table = found;
      const span = this.#spanOf(LEAF_LEVEL) * this.#tableEntries;
      this.#recent = table;
      this.#recentStart = Math.floor(iova / span) * span;
      this.#recentEnd = this.#recentStart + span;
    }
    const at = table.physical + this.#indexOf(LEAF_LEVEL, iova) * DESCRIPTOR_BYTES;
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
      const table = this.#deepest(at);
      const span = this.#spanOf(table.level);
      const start = Math.floor(at / span) * span;
      const first = this.#indexOf(table.level, at);
      const count = this.#run(table, first, iova + size - start, span);
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

  /**
   * Entries to look at together: in a leaf table all up to `bytes` or its end; above, the one where {@link #deepest}
   * stopped, since a table may hang at the next.
   */
  #run(table: Table, first: number, bytes: number, span: number): number {
    return table.level === LEAF_LEVEL ? Math.min(this.#tableEntries - first, Math.ceil(bytes / span)) : 1;
  }

  /** Makes every table that mapping the range needs; false when there is no memory for one. */
  #populate(iova: number, physical: number, size: number): boolean {
    for (let done = 0; done < size; ) {
      const level = this.#levelFor(iova + done, physical + done, size - done);
      const table = this.#tableFor(iova + done, level);
      if (typeof table === 'number') return false;
      const span = this.#spanOf(level);
      done += this.#run(table, this.#indexOf(level, iova + done), size - done, span) * span;
    }
    return true;
  }

  /** The level of the largest leaf that may start at `iova`: no table stands in its place, even one about to be freed. */
  #levelFor(iova: number, physical: number, size: number): number {
    for (const level of this.shape.leafLevels) {
      const span = this.#spanOf(level);
      if (size < span || iova % span !== 0 || physical % span !== 0) continue;
      if (level === LEAF_LEVEL || !this.#standsBelow(iova, level)) return level;
    }
    return LEAF_LEVEL;
  }

  #standsBelow(iova: number, level: number): boolean {
    let table: Table | null | undefined = this.#root;
    while (table !== null && table !== undefined && table.level <= level) {
      table = table.children?.[this.#indexOf(table.level, iova)];
    }
    return table !== null && table !== undefined;
  }

  /** Writes leaves of one level up to the end of their table; the bytes mapped. */
  #writeLeaves(iova: number, physical: number, size: number, level: number, protection: number): number {
    const table = this.#tableFor(iova, level);
    assert(typeof table !== 'number', 'the tables were made before');
    const span = this.#spanOf(level);
    const first = this.#indexOf(level, iova);
    const count = this.#run(table, first, size, span);
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
  #clear(table: Table, first: number, count: number, start: number, span: number, gather: DomainGather): number {
    const from = table.physical + first * DESCRIPTOR_BYTES;
    const view = this.#arena.memory.writeView(from);
    let offset = from & (CHUNK_BYTES - 1);
    let cleared = 0;
    for (let entry = 0; entry < count; entry++, offset += DESCRIPTOR_BYTES) {
      if ((view.getUint32(offset, true) & VALID) === 0) continue;
      view.setUint32(offset, 0, true);
      view.setUint32(offset + 4, 0, true);
      gather.add(start + entry * span, span, span);
      cleared += 1;
    }
    table.used -= cleared;
    if (table.used === 0) this.#retire(table, gather);
    return cleared * span;
  }

  /** Takes an empty table out of its parent. It stays at hand until it is freed, so that it can be taken into use again. */
  #retire(table: Table, gather: DomainGather): void {
    const { parent } = table;
    if (parent === null || table.retiredBy !== 0) return;
    writeWord64(this.#arena.memory, parent.physical + table.index * DESCRIPTOR_BYTES, 0, 0);
    table.retiredBy = gather.epoch;
    gather.retire(table);
    parent.used -= 1;
    if (parent.used === 0) this.#retire(parent, gather);
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
      const nextLow = this.#format.withPermissionsLow(low, protection) >>> 0;
      const nextHigh = this.#format.withPermissionsHigh(high, protection) >>> 0;
      if (nextLow === low && nextHigh === high) continue;
      view.setUint32(offset, nextLow, true);
      view.setUint32(offset + 4, nextHigh, true);
      gather.add(start + entry * span, span, span);
    }
  }

  /** Makes `iova` the start of a leaf by splitting the blocks across it; false without memory. */
  #splitAt(iova: number, gather: DomainGather): boolean {
    for (;;) {
      const table = this.#deepest(iova);
      const span = this.#spanOf(table.level);
      if (table.level === LEAF_LEVEL || iova % span === 0) return true;
      const index = this.#indexOf(table.level, iova);
      const at = table.physical + index * DESCRIPTOR_BYTES;
      const low = this.#arena.memory.read32(at);
      if ((low & VALID) === 0) return true;
      if (!this.#split(table, index, low, this.#arena.memory.read32(at + 4))) return false;
      gather.add(Math.floor(iova / span) * span, span, span);
    }
  }

  /**
   * Puts a table of equal parts in the place of a block. Only done where the SMMU resolves the change of size itself
   * (BBML 2, §3.21.1.3): elsewhere no blocks are made.
   */
  #split(table: Table, index: number, low: number, high: number): boolean {
    const level = table.level + 1;
    const physical = this.#arena.allocate(this.shape.granule);
    if (physical < 0) return false;
    const span = this.#spanOf(level);
    const view = this.#arena.memory.writeView(physical);
    let offset = physical & (CHUNK_BYTES - 1);
    for (let part = 0; part < this.#tableEntries; part++, offset += DESCRIPTOR_BYTES) {
      view.setUint32(offset, this.#format.partLow(low, high, part * span, level), true);
      view.setUint32(offset + 4, this.#format.partHigh(low, high, part * span), true);
    }
    const child = new Table(physical, level, table, index, this.#tableEntries);
    child.used = this.#tableEntries;
    assert(table.children !== null && table.children[index] === null, 'no table stands where a block is');
    table.children[index] = child;
    this.#all.add(child);
    this.#link(table, child);
    return true;
  }

  /** The table whose entry for `iova` has no table below: a leaf, a block or nothing. */
  #deepest(iova: number): Table {
    let table = this.#root;
    while (table.children !== null) {
      const child = table.children[this.#indexOf(table.level, iova)];
      if (child === null || child === undefined || child.retiredBy !== 0) break;
      table = child;
    }
    return table;
  }

  /** The table of `level` for `iova`, made if need be: -EEXIST under a block, -ENOMEM without memory. */
  #tableFor(iova: number, level: number): Table | number {
    let table = this.#root;
    while (table.level < level) {
      const index = this.#indexOf(table.level, iova);
      const { children } = table;
      assert(children !== null, 'a table above the leaf level has children');
      let child: Table | null = children[index] ?? null;
      if (child === null || child.retiredBy !== 0) {
        if ((this.#arena.memory.read32(table.physical + index * DESCRIPTOR_BYTES) & VALID) !== 0) return Errno.EEXIST;
        if (child === null) {
          const physical = this.#arena.allocate(this.shape.granule);
          if (physical < 0) return Errno.ENOMEM;
          child = new Table(physical, table.level + 1, table, index, this.#tableEntries);
          children[index] = child;
          this.#all.add(child);
        }
        child.retiredBy = 0;
        table.used += 1;
        this.#link(table, child);
      }
      table = child;
    }
    return table;
  }

  #link(parent: Table, child: Table): void {
    const address = this.#arena.walkerAddress(child.physical);
    const at = parent.physical + child.index * DESCRIPTOR_BYTES;
    writeWord64(this.#arena.memory, at, this.#format.tableLow(address), this.#format.tableHigh(address));
  }

  #spanOf(level: number): number {
    return this.#spans[level] ?? 0;
  }

  #indexOf(level: number, iova: number): number {
    const shift = this.#shifts[level] ?? 0;
    const mask = (level === this.shape.startLevel ? this.shape.rootEntries : this.#tableEntries) - 1;
    const high = Math.floor(iova / TWO_32);
    if (shift >= 32) return (high >>> (shift - 32)) & mask;
    return ((iova >>> shift) | (high << (32 - shift))) & mask;
  }
}
