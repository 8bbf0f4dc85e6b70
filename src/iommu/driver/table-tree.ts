/**
 * The tables of one address space: a tree of {@link Table} objects that shadows those in memory (never the leaves).
 * Walking it touches memory only at the end, and the count of valid entries tells when a table may go.
 */
import { assert } from '../../assert.ts';
import { Errno } from '../../errno.ts';
import { CHUNK_BYTES } from '../../hw/memory.ts';
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

export class TableTree {
  readonly shape: Geometry;
  readonly arena: TableArena;
  readonly format: DescriptorFormat;
  readonly root: Table;
  /** Input addresses are below. */
  readonly limit: number;
  /** Entries of every table but the root. */
  readonly tableEntries: number;
  readonly #all = new Set<Table>();
  /** log2 of the bytes that an entry spans, by level. */
  readonly #shifts: readonly number[];
  /** The same in bytes. */
  readonly #spans: readonly number[];

  /** @throws RangeError when there is no memory for the root. */
  constructor(shape: Geometry, arena: TableArena, dirtyState: boolean) {
    this.shape = shape;
    this.arena = arena;
    this.format = new DescriptorFormat(shape.stage, shape.granule, dirtyState);
    this.tableEntries = shape.granule / DESCRIPTOR_BYTES;
    this.limit = 2 ** shape.inputBits;
    this.#shifts = [0, 1, 2, 3].map((level) => levelShift(shape, level));
    this.#spans = this.#shifts.map((shift) => 2 ** shift);
    const physical = arena.allocate(this.#rootBytes);
    if (physical < 0) throw new RangeError(`no memory for a translation table of ${this.#rootBytes} bytes`);
    this.root = new Table(physical, shape.startLevel, null, 0, shape.rootEntries);
    this.#all.add(this.root);
  }

  /** Every table, those about to be freed included. */
  get all(): Iterable<Table> {
    return this.#all;
  }

  isRange(iova: number, size: number): boolean {
    return iova >= 0 && size > 0 && ((iova | size) & (this.shape.granule - 1)) === 0 && iova + size <= this.limit;
  }

  /**
   * Entries to look at together: in a leaf table all up to `bytes` or its end, or that of the concatenated table (a root
   * may be several); above, the one where {@link deepest} stopped, since a table may hang at the next.
   */
  run(table: Table, first: number, bytes: number, span: number): number {
    if (table.level !== LEAF_LEVEL) return 1;
    return Math.min(this.tableEntries - (first & (this.tableEntries - 1)), Math.ceil(bytes / span));
  }

  /** Frees what the gather of `epoch` retired, unless it was taken into use again. */
  release(tables: Table[], epoch: number): void {
    for (const table of tables) {
      if (table.retiredBy !== epoch || !this.#all.delete(table)) continue;
      const siblings = table.parent?.children;
      if (siblings !== null && siblings !== undefined && siblings[table.index] === table) siblings[table.index] = null;
      this.arena.free(table.physical, this.shape.granule);
    }
    tables.length = 0;
  }

  /** Frees everything. Nothing may walk the table any more. */
  destroy(): void {
    for (const table of this.#all) {
      this.arena.free(table.physical, table === this.root ? this.#rootBytes : this.shape.granule);
    }
    this.#all.clear();
  }

  /** A root of fewer than eight entries still takes 64 bytes: TTB0 has no bits for less. */
  get #rootBytes(): number {
    return Math.max(64, this.shape.rootEntries * DESCRIPTOR_BYTES);
  }

  /** Whether a table below `level` stands in the place of a leaf for `iova`. */
  standsBelow(iova: number, level: number): boolean {
    let table: Table | null | undefined = this.root;
    while (table !== null && table !== undefined && table.level <= level) {
      table = table.children?.[this.indexOf(table.level, iova)];
    }
    return table !== null && table !== undefined;
  }

  /** Takes an empty table out of its parent. It stays at hand until it is freed, so that it can be taken into use again. */
  retire(table: Table, gather: DomainGather): void {
    const { parent } = table;
    if (parent === null || table.retiredBy !== 0) return;
    writeWord64(this.arena.memory, parent.physical + table.index * DESCRIPTOR_BYTES, 0, 0);
    table.retiredBy = gather.epoch;
    gather.retire(table);
    parent.used -= 1;
    if (parent.used === 0) this.retire(parent, gather);
  }

  /** Makes `iova` the start of a leaf by splitting the blocks across it; false without memory. */
  splitAt(iova: number, gather: DomainGather): boolean {
    for (;;) {
      const table = this.deepest(iova);
      const span = this.spanOf(table.level);
      if (table.level === LEAF_LEVEL || iova % span === 0) return true;
      const index = this.indexOf(table.level, iova);
      const at = table.physical + index * DESCRIPTOR_BYTES;
      const low = this.arena.memory.read32(at);
      if ((low & VALID) === 0) return true;
      if (!this.split(table, index, low, this.arena.memory.read32(at + 4))) return false;
      gather.add(Math.floor(iova / span) * span, span, span);
    }
  }

  /**
   * Puts a table of equal parts in the place of a block. Only done where the SMMU resolves the change of size itself
   * (BBML 2, §3.21.1.3): elsewhere no blocks are made.
   */
  split(table: Table, index: number, low: number, high: number): boolean {
    const level = table.level + 1;
    const physical = this.arena.allocate(this.shape.granule);
    if (physical < 0) return false;
    const span = this.spanOf(level);
    const view = this.arena.memory.writeView(physical);
    let offset = physical & (CHUNK_BYTES - 1);
    for (let part = 0; part < this.tableEntries; part++, offset += DESCRIPTOR_BYTES) {
      view.setUint32(offset, this.format.partLow(low, high, part * span, level), true);
      view.setUint32(offset + 4, this.format.partHigh(low, high, part * span), true);
    }
    const child = new Table(physical, level, table, index, this.tableEntries);
    child.used = this.tableEntries;
    assert(table.children !== null && table.children[index] === null, 'no table stands where a block is');
    table.children[index] = child;
    this.#all.add(child);
    this.#link(table, child);
    return true;
  }

  /** Splits every block down to pages; false when memory ran out on the way. The whole of it is to be forgotten then. */
  splitAll(): boolean {
    // Tables that come in on the way are met by the iteration as well.
    for (const table of this.#all) {
      const { children } = table;
      if (children === null || table.used === 0 || table.retiredBy !== 0) continue;
      for (let index = 0; index < children.length; index++) {
        const child = children[index] ?? null;
        if (child !== null && child.retiredBy === 0) continue;
        const at = table.physical + index * DESCRIPTOR_BYTES;
        const low = this.arena.memory.read32(at);
        if ((low & VALID) !== 0 && !this.split(table, index, low, this.arena.memory.read32(at + 4))) return false;
      }
    }
    return true;
  }

  /** The table whose entry for `iova` has no table below: a leaf, a block or nothing. */
  deepest(iova: number): Table {
    let table = this.root;
    while (table.children !== null) {
      const child = table.children[this.indexOf(table.level, iova)];
      if (child === null || child === undefined || child.retiredBy !== 0) break;
      table = child;
    }
    return table;
  }

  /** The table of `level` for `iova`, made if need be: -EEXIST under a block, -ENOMEM without memory. */
  tableFor(iova: number, level: number): Table | number {
    let table = this.root;
    while (table.level < level) {
      const index = this.indexOf(table.level, iova);
      const { children } = table;
      assert(children !== null, 'a table above the leaf level has children');
      let child: Table | null = children[index] ?? null;
      if (child === null || child.retiredBy !== 0) {
        if ((this.arena.memory.read32(table.physical + index * DESCRIPTOR_BYTES) & VALID) !== 0) return Errno.EEXIST;
        if (child === null) {
          const physical = this.arena.allocate(this.shape.granule);
          if (physical < 0) return Errno.ENOMEM;
          child = new Table(physical, table.level + 1, table, index, this.tableEntries);
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
    const address = this.arena.walkerAddress(child.physical);
    const at = parent.physical + child.index * DESCRIPTOR_BYTES;
    writeWord64(this.arena.memory, at, this.format.tableLow(address), this.format.tableHigh(address));
  }

  /** Bytes that an entry of a table of `level` spans. */
  spanOf(level: number): number {
    return this.#spans[level] ?? 0;
  }

  indexOf(level: number, iova: number): number {
    const shift = this.#shifts[level] ?? 0;
    const mask = (level === this.shape.startLevel ? this.shape.rootEntries : this.tableEntries) - 1;
    const high = Math.floor(iova / TWO_32);
    if (shift >= 32) return (high >>> (shift - 32)) & mask;
    return ((iova >>> shift) | (high << (32 - shift))) & mask;
  }
}
