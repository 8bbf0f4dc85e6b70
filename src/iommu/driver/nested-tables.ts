/**
 * Tables that the SMMU reads through stage 2: those of a nested stage 1 domain and its context descriptors. They live in
 * a window in the upper half of the IPA space, as far as every table can point, at the host physical address plus half
 * that space: mapped read-only, but writable where the SMMU keeps state in stage 1 leaves, whose updates stage 2 must let
 * through (§3.13.5).
 */
import { Protection } from '../core.ts';
import type { PageTable } from './page-table.ts';
import type { TableMemory } from './table-memory.ts';

/** Tables of 4 and 16 KiB granules reach no further, whatever the granule of stage 2 (DDI 0487 §D8.3.1). */
const TABLE_ADDRESS_BITS = 48;

export class NestedTableMemory implements TableMemory {
  readonly #source: TableMemory;
  readonly #parent: PageTable;
  readonly #protection: number;
  /** Added to a physical address to get its IPA. */
  readonly offset: number;
  /** Freed tables by size. Their window stays mapped, so that stage 2 never needs an invalidation for them. */
  readonly #free = new Map<number, number[]>();
  readonly #owned: { readonly physical: number; readonly bytes: number }[] = [];

  constructor(source: TableMemory, parent: PageTable, updated: boolean) {
    this.#source = source;
    this.#parent = parent;
    this.#protection = updated ? Protection.READ | Protection.WRITE : Protection.READ;
    this.offset = 2 ** (Math.min(parent.shape.inputBits, TABLE_ADDRESS_BITS) - 1);
  }

  allocate(bytes: number, alignment: number): number {
    const granule = this.#parent.shape.granule;
    const rounded = Math.ceil(bytes / granule) * granule;
    const ready = this.#free.get(rounded)?.findIndex((physical) => physical % alignment === 0) ?? -1;
    if (ready >= 0) return this.#free.get(rounded)?.splice(ready, 1)[0] ?? -1;
    const physical = this.#source.allocate(rounded, Math.max(alignment, granule));
    if (physical < 0) return -1;
    if (
      physical + rounded > this.offset ||
      this.#parent.map(this.offset + physical, physical, rounded, this.#protection) !== 0
    ) {
      this.#source.free(physical, rounded);
      return -1;
    }
    this.#owned.push({ physical, bytes: rounded });
    return physical;
  }

  free(physical: number, bytes: number): void {
    const granule = this.#parent.shape.granule;
    const rounded = Math.ceil(bytes / granule) * granule;
    const list = this.#free.get(rounded) ?? [];
    list.push(physical);
    this.#free.set(rounded, list);
  }

  /** Gives everything back; the parent's table is gone. */
  destroy(): void {
    for (const { physical, bytes } of this.#owned) this.#source.free(physical, bytes);
    this.#owned.length = 0;
    this.#free.clear();
  }
}
