/** What was unmapped and may still be cached. */
import { assert } from '../../assert.ts';
import type { Gather } from '../core.ts';
import type { Table } from './table-tree.ts';

/** More separate ranges than this are invalidated as the whole address space. */
const MOST_RANGES = 32;
/** The last ranges, to which neighbours are added: a device that reads one buffer and writes another makes two in turn. */
const MERGED_RANGES = 4;

/**
 * Ranges with the leaf size that each held, and tables that were emptied: they are freed after the invalidation, since
 * until then the SMMU may hold pointers to them. Adding allocates nothing.
 */
export class DomainGather implements Gather {
  readonly starts = new Float64Array(MOST_RANGES);
  readonly sizes = new Float64Array(MOST_RANGES);
  readonly leafSizes = new Float64Array(MOST_RANGES);
  readonly tables: Table[] = [];
  readonly #nextEpoch: () => number;
  #count = 0;
  #everything = false;
  #epoch: number;

  constructor(nextEpoch: () => number) {
    this.#nextEpoch = nextEpoch;
    this.#epoch = nextEpoch();
  }

  /** Ranges gathered, unless {@link everything}. */
  get count(): number {
    return this.#count;
  }

  /** The whole address space is meant: there were too many ranges to keep apart, or {@link addAll}. */
  get everything(): boolean {
    return this.#everything;
  }

  get empty(): boolean {
    return this.#count === 0 && !this.#everything;
  }

  /** Names the tables retired since the last reset. */
  get epoch(): number {
    return this.#epoch;
  }

  add(iova: number, size: number, leafSize: number): void {
    const oldest = this.#count - MERGED_RANGES;
    for (let index = this.#count - 1; index >= 0 && index >= oldest; index--) {
      if (this.leafSizes[index] !== leafSize) continue;
      const start = this.starts[index] ?? 0;
      const length = this.sizes[index] ?? 0;
      if (start + length === iova) {
        this.sizes[index] = length + size;
        return;
      }
      if (iova + size === start) {
        this.starts[index] = iova;
        this.sizes[index] = length + size;
        return;
      }
    }
    if (this.#count === MOST_RANGES) {
      this.#everything = true;
      return;
    }
    this.starts[this.#count] = iova;
    this.sizes[this.#count] = size;
    this.leafSizes[this.#count] = leafSize;
    this.#count += 1;
  }

  addAll(): void {
    this.#everything = true;
  }

  retire(table: Table): void {
    this.tables.push(table);
  }

  reset(): void {
    assert(this.tables.length === 0, 'emptied tables are freed by a flush, not forgotten');
    this.#count = 0;
    this.#everything = false;
    this.#epoch = this.#nextEpoch();
  }
}

/** A gather as this driver made it. */
export function ownGather(gather: Gather): DomainGather {
  assert(gather instanceof DomainGather, 'a gather comes from newGather');
  return gather;
}
