/**
 * Access and dirty state that the SMMU keeps in the leaves of a table (IHI 0070 §3.13; DDI 0487 §D8.5): AF says that a
 * leaf was used, and a leaf with DBM that forbids writing (writable-clean) is made to allow it (writable-dirty) by the
 * first write. The SMMU does both by compare-and-exchange, on its own, between any two steps of the driver; here a
 * descriptor is read and written in one step, as the kernel's atomic operations do it.
 *
 * What a TLB or an ATC holds of a leaf lets accesses through without a look at the leaf. So whoever clears state has the
 * translations forgotten before it is believed: ATCs too, since a device that was granted writing says nothing when it
 * writes (§3.13.7.1).
 */
import { Errno } from '../../errno.ts';
import { CHUNK_BYTES } from '../../hw/memory.ts';
import type { AccessTracking, DirtyTracking, Gather, WrittenRanges } from '../core.ts';
import { DESCRIPTOR_BYTES, LEAF_LEVEL, VALID } from './descriptors.ts';
import { type DomainGather, ownGather } from './gather.ts';
import type { Table, TableTree } from './table-tree.ts';

/** While tracking is on the table has no blocks: what is reported is exact to the page. */
export class DirtyState implements DirtyTracking {
  readonly #tree: TableTree;

  constructor(tree: TableTree) {
    this.#tree = tree;
  }

  get enabled(): boolean {
    return this.#tree.format.bornClean;
  }

  enable(gather: Gather): number {
    // Blocks that were split may be cached, whether there was memory for all or not.
    const own = ownGather(gather);
    own.addAll();
    if (!this.#tree.splitAll()) return Errno.ENOMEM;
    this.#tree.format.bornClean = true;
    for (const table of this.#tree.all) {
      if (table.level !== LEAF_LEVEL || table.used === 0) continue;
      const { tableEntries } = this.#tree;
      const entries = table.parent === null ? this.#tree.shape.rootEntries : tableEntries;
      // A root may be several tables in a row.
      for (let first = 0; first < entries; first += tableEntries) {
        this.#clean(table, first, Math.min(tableEntries, entries - first), 0, null, own);
      }
    }
    return Errno.OK;
  }

  /** Leaves that are clean stay so: the first write makes them dirty, and nobody asks. */
  disable(): void {
    this.#tree.format.bornClean = false;
  }

  readAndClear(iova: number, size: number, written: WrittenRanges, gather: Gather): number {
    const tree = this.#tree;
    const own = ownGather(gather);
    if (!this.enabled || !tree.isRange(iova, size)) return Errno.EINVAL;
    const end = iova + size;
    for (let at = iova; at < end; ) {
      const table = tree.deepest(at);
      const span = tree.spanOf(table.level);
      const start = Math.floor(at / span) * span;
      const first = tree.indexOf(table.level, at);
      const count = tree.run(table, first, end - start, span);
      if (table.level === LEAF_LEVEL && table.used > 0) this.#clean(table, first, count, start, written, own);
      at = start + count * span;
    }
    return Errno.OK;
  }

  /** Makes `count` pages from entry `first`, which map `start` and on, clean, and tells `written` which were dirty. */
  #clean(
    table: Table,
    first: number,
    count: number,
    start: number,
    written: WrittenRanges | null,
    gather: DomainGather,
  ): void {
    const { arena, format, shape } = this.#tree;
    const from = table.physical + first * DESCRIPTOR_BYTES;
    const view = arena.memory.writeView(from);
    let offset = from & (CHUNK_BYTES - 1);
    for (let entry = 0; entry < count; entry++, offset += DESCRIPTOR_BYTES) {
      const low = view.getUint32(offset, true);
      if ((low & VALID) === 0 || !format.isDirty(low, view.getUint32(offset + 4, true))) continue;
      view.setUint32(offset, format.cleanLow(low), true);
      if (written === null) continue;
      const iova = start + entry * shape.granule;
      written.noteWritten(iova, shape.granule);
      gather.add(iova, shape.granule, shape.granule);
    }
  }
}

export class AccessState implements AccessTracking {
  readonly #tree: TableTree;

  constructor(tree: TableTree) {
    this.#tree = tree;
  }

  testAndClear(iova: number, gather: Gather): number {
    const tree = this.#tree;
    if (iova < 0 || iova >= tree.limit) return 0;
    const table = tree.deepest(iova);
    const at = table.physical + tree.indexOf(table.level, iova) * DESCRIPTOR_BYTES;
    const low = tree.arena.memory.read32(at);
    if ((low & VALID) === 0 || !tree.format.isAccessed(low)) return 0;
    tree.arena.memory.write32(at, tree.format.unaccessedLow(low));
    const span = tree.spanOf(table.level);
    gather.add(Math.floor(iova / span) * span, span, span);
    return span;
  }
}
