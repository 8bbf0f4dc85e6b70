/** Reclaim under pressure: a second-chance clock over all pages; victims are revoked, written to swap, then freed. */
import type { Steps } from '../sim/task.ts';
import type { HostMemory } from './host-memory.ts';
import { PageState, type PageStore } from './page-store.ts';

/** Pages freed by one reclaim, so that revoking is paid for a batch. */
const BATCH_PAGES = 32;
/** Calls that a search without success stands for: where nearly all is pinned, each search looks at all of it. */
const CALLS_PER_FUTILE_SEARCH = 256;

export class Reclaimer {
  readonly #host: HostMemory;
  #store: PageStore | null = null;
  #index = 0;
  /** Calls left until the next search. */
  #pause = 0;

  constructor(host: HostMemory) {
    this.#host = host;
  }

  /**
   * Frees up to a batch of pages: how many. Pages in use by others at this moment are passed over. After a search that
   * found nothing only an urgent call searches, or one after many.
   */
  *reclaim(urgent: boolean): Steps<number> {
    if (!urgent && this.#pause > 0) {
      this.#pause -= 1;
      return 0;
    }
    let freed = 0;
    // Two turns of the clock: the first may only take the second chances away.
    let turns = this.#host.stores.size * 2 + 1;
    while (freed < BATCH_PAGES && turns > 0 && this.#host.swap.freeSlots > 0) {
      const store = this.#current();
      if (store === null) break;
      const first = this.#victim(store);
      if (first < 0) {
        this.#advance();
        turns -= 1;
        continue;
      }
      const most = Math.min(BATCH_PAGES - freed, this.#host.swap.freeSlots);
      let count = 1;
      while (count < most && this.#victim(store, first + count) >= 0) count += 1;
      freed += yield* swapOut(this.#host, store, first, count);
    }
    this.#pause = freed > 0 ? 0 : CALLS_PER_FUTILE_SEARCH;
    if (freed > 0 && this.#host.log.isLevelEnabled('debug'))
      this.#host.log.debug({ event: 'mm.reclaim', pages: freed });
    return freed;
  }

  /** The next page that may go, which is now behind the hand; -1 at the end of the store. `only`: that page or none. */
  #victim(store: PageStore, only = -1): number {
    while (this.#index < store.pageCount) {
      const index = store.nextResident(this.#index);
      if (only >= 0 && index !== only) return -1;
      this.#index = index + 1;
      if (index === store.pageCount) return -1;
      if (this.#mayGo(store, index)) return index;
      if (only >= 0) return -1;
    }
    return -1;
  }

  #mayGo(store: PageStore, index: number): boolean {
    const frame = store.frame(index);
    if (store.isBusy(index) || this.#host.allocator.pins(frame) > 0 || store.areaOf(index) === undefined) return false;
    const state = store.states[index] ?? 0;
    if ((state & PageState.REFERENCED) === 0) return true;
    store.states[index] = state & ~PageState.REFERENCED;
    return false;
  }

  #current(): PageStore | null {
    const { stores } = this.#host;
    if (this.#store === null || !stores.has(this.#store)) {
      this.#store = stores.values().next().value ?? null;
      this.#index = 0;
    }
    return this.#store;
  }

  #advance(): void {
    const stores = [...this.#host.stores];
    const at = this.#store === null ? -1 : stores.indexOf(this.#store);
    this.#store = stores[(at + 1) % stores.length] ?? null;
    this.#index = 0;
  }
}

/** Writes `count` adjacent resident pages of a store to swap: how many frames that freed. */
export function* swapOut(host: HostMemory, store: PageStore, first: number, count: number): Steps<number> {
  const { allocator, swap, latency } = host;
  for (let index = first; index < first + count; index++) store.setBusy(index);
  yield* host.invalidate(store, first, count);
  let freed = 0;
  for (let index = first; index < first + count; index++) {
    const slot = swap.allocate();
    if (slot >= 0) {
      const frame = store.frame(index);
      host.memory.read(allocator.addressOf(frame), swap.write(slot));
      store.setSlot(index, slot);
      store.setCopyOnWrite(index, false);
      host.counters.swappedOut += 1;
      if (latency.swapOut > 0) yield latency.swapOut;
      if (allocator.put(frame)) freed += 1;
    }
    host.settled(store, index);
  }
  if (host.log.isLevelEnabled('debug')) host.log.debug({ event: 'mm.swapOut', page: first, pages: count, freed });
  return freed;
}
