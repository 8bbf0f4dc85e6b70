/** The mappings of a container by I/O virtual address: no two overlap. Look-up, insertion and removal take O(log n). */
import { assert } from '../assert.ts';
import { IntervalTree } from './interval-tree.ts';
import type { Mapping } from './mapping.ts';

export class Mappings {
  readonly #tree = new IntervalTree<Mapping>();
  #nextId = 1;

  get count(): number {
    return this.#tree.size;
  }

  /** A number for a new mapping. */
  nextId(): number {
    return this.#nextId++;
  }

  /** The mapping that holds `iova`, or null. */
  at(iova: number): Mapping | null {
    return this.#tree.first(iova, iova + 1);
  }

  /** The first mapping that meets `[start, end)`, or null. */
  first(start: number, end: number): Mapping | null {
    return this.#tree.first(start, end);
  }

  /** All mappings that meet `[start, end)`, by address. */
  within(start: number, end: number): Mapping[] {
    const out: Mapping[] = [];
    this.#tree.collect(start, end, out);
    return out;
  }

  all(): Mapping[] {
    return this.#tree.all();
  }

  insert(mapping: Mapping): void {
    assert(this.first(mapping.start, mapping.end) === null, 'mappings do not overlap');
    this.#tree.insert(mapping);
  }

  remove(mapping: Mapping): void {
    this.#tree.remove(mapping);
  }
}
