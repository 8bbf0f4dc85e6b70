/**
 * The host takes pages back: one notifier per address space, with an index from its virtual addresses to the faultable
 * mappings of all containers.
 */
import { assert } from '../assert.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { SpaceNotifier } from '../mm/notifier.ts';
import type { Steps } from '../sim/task.ts';
import { type Interval, IntervalTree } from './interval-tree.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { Mapping } from './mapping.ts';
import { revokePages } from './revocation.ts';

/** A mapping by virtual address. */
class Watched implements Interval {
  readonly id: number;
  readonly start: number;
  readonly end: number;
  readonly io: IoAddressSpace;
  readonly mapping: Mapping;

  constructor(id: number, io: IoAddressSpace, mapping: Mapping) {
    this.id = id;
    this.start = mapping.vaddr;
    this.end = mapping.vaddr + mapping.size;
    this.io = io;
    this.mapping = mapping;
  }
}

class SpaceWatch implements SpaceNotifier {
  readonly name: string;
  readonly tree = new IntervalTree<Watched>();
  /** Lists for {@link invalidate}, reused: it must not allocate, and several may run at the same time. */
  readonly #lists: Watched[][] = [];

  constructor(name: string) {
    this.name = name;
  }

  *invalidate(start: number, end: number): Steps {
    const list = this.#lists.pop() ?? [];
    this.tree.collect(start, end, list);
    for (const watched of list) watched.mapping.get();
    for (const { io, mapping, start: base } of list) {
      const first = Math.max(0, Math.floor((start - base) / io.pageBytes));
      const last = Math.min(mapping.pageCount, Math.ceil((end - base) / io.pageBytes));
      const pages = yield* revokePages(io, mapping, first, last);
      io.counters.invalidated += pages;
      if (pages > 0 && io.log.isLevelEnabled('debug')) {
        io.log.debug({ event: 'vfio.invalidate', container: io.name, iova: mapping.iovaOf(first), pages });
      }
      mapping.put();
    }
    list.length = 0;
    this.#lists.push(list);
  }
}

/** The notifiers of all address spaces that devices use on demand. */
export class SpaceWatches {
  readonly #watches = new Map<AddressSpace, SpaceWatch>();
  readonly #entries = new Map<Mapping, Watched>();
  #nextId = 1;

  /** Address spaces with a notifier. */
  get count(): number {
    return this.#watches.size;
  }

  /** From now on the mapping hears of every page that its address space takes back. */
  add(io: IoAddressSpace, mapping: Mapping): void {
    assert(!this.#entries.has(mapping), `mapping ${mapping.id} is watched`);
    let watch = this.#watches.get(mapping.space);
    if (watch === undefined) {
      watch = new SpaceWatch(`device mappings of ${mapping.space.name}`);
      this.#watches.set(mapping.space, watch);
      mapping.space.addNotifier(watch);
    }
    const entry = new Watched(this.#nextId++, io, mapping);
    this.#entries.set(mapping, entry);
    watch.tree.insert(entry);
  }

  /** The mapping has no page left that its address space could take back. */
  remove(mapping: Mapping): void {
    const entry = this.#entries.get(mapping);
    const watch = this.#watches.get(mapping.space);
    assert(entry !== undefined && watch !== undefined, `mapping ${mapping.id} is not watched`);
    this.#entries.delete(mapping);
    watch.tree.remove(entry);
    if (watch.tree.size > 0) return;
    this.#watches.delete(mapping.space);
    mapping.space.removeNotifier(watch);
  }

  has(mapping: Mapping): boolean {
    return this.#entries.has(mapping);
  }
}
