/** The memory of a host: its frames, its swap, and the address spaces that use them. */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import type { Memory } from '../hw/memory.ts';
import type { Invariants } from '../sim/invariants.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import { type Scheduler, type Steps, WaitQueue } from '../sim/task.ts';
import { AddressSpace, type AddressSpaceOptions } from './address-space.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageStore } from './page-store.ts';
import { Reclaimer } from './reclaim.ts';
import { SwapSpace } from './swap.ts';

/** Callers that hold {@link HostMemory.briefPinPages} at one time hold all of memory. */
const BRIEF_PIN_SHARE = 16;

export interface HostMemoryOptions {
  readonly scheduler: Scheduler;
  readonly memory: Memory;
  /** Range of RAM that holds pages, in bytes; by default all of it. */
  readonly base?: number;
  readonly size?: number;
  /** Size of a page: 4096 (default), 16384 or 65536. */
  readonly pageBytes?: number;
  readonly swapBytes: number;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
}

export class HostMemory {
  readonly scheduler: Scheduler;
  readonly memory: Memory;
  readonly allocator: PageAllocator;
  readonly swap: SwapSpace;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  readonly pageBytes: number;
  /** Woken when a page stops being busy. */
  readonly pagesChanged: WaitQueue;
  readonly stores = new Set<PageStore>();
  readonly spaces = new Set<AddressSpace>();
  /** Below this many free frames, who allocates a page reclaims first; the rest is kept for page tables. */
  readonly reserveFrames: number;
  /** Pages that one caller may hold for a moment, a power of two: several at once leave memory to others. */
  readonly briefPinPages: number;
  readonly #reclaimer: Reclaimer;
  readonly #page: Uint8Array;

  constructor(options: HostMemoryOptions) {
    const { scheduler, memory, base = memory.base, size = memory.size, pageBytes = 4096 } = options;
    this.scheduler = scheduler;
    this.memory = memory;
    this.latency = options.latency;
    this.log = options.log;
    this.invariants = options.invariants;
    this.pageBytes = pageBytes;
    this.allocator = new PageAllocator({ memory, base, size, pageBytes });
    this.swap = new SwapSpace(options.swapBytes, pageBytes);
    this.pagesChanged = new WaitQueue(scheduler, 'a busy page');
    this.reserveFrames = Math.min(4096, Math.ceil(this.allocator.frameCount / 64));
    this.briefPinPages = 2 ** Math.floor(Math.log2(Math.max(1, this.allocator.frameCount / BRIEF_PIN_SHARE)));
    this.#page = new Uint8Array(pageBytes);
    this.#reclaimer = new Reclaimer(this);
  }

  /** Pages read from and written to swap so far, and reclaim runs. */
  readonly counters = { swappedIn: 0, swappedOut: 0, copied: 0, migrated: 0 };

  /** A new, empty address space. */
  createSpace(options: AddressSpaceOptions): AddressSpace {
    const space = new AddressSpace(this, options);
    this.spaces.add(space);
    return space;
  }

  /** Memory that several address spaces can map with {@link AddressSpace.mapShared}; freed with its last area. */
  createShared(length: number): PageStore {
    assert(length > 0 && length % this.pageBytes === 0, `shared memory of ${length} bytes`);
    return this.createStore(length / this.pageBytes, true);
  }

  createStore(pageCount: number, shared: boolean): PageStore {
    const store = new PageStore(pageCount, shared);
    this.stores.add(store);
    return store;
  }

  /** As {@link allocateFrame} where that takes no time; -EAGAIN where it must be waited for. */
  tryAllocateFrame(): number {
    const { allocator, latency } = this;
    if (latency.pageAllocate > 0 || allocator.freeFrames <= this.reserveFrames) return Errno.EAGAIN;
    const frame = allocator.allocateFrame();
    if (frame < 0) return Errno.ENOMEM;
    this.memory.fill(allocator.addressOf(frame), this.pageBytes, 0);
    return frame;
  }

  /** A zeroed frame with one reference, reclaiming others where memory is short; -ENOMEM when nothing can go. */
  *allocateFrame(): Steps<number> {
    const { allocator, latency } = this;
    if (allocator.freeFrames <= this.reserveFrames) {
      const least = this.reserveFrames / 2;
      yield* this.#reclaimer.reclaim(allocator.freeFrames <= least);
      if (allocator.freeFrames <= least) return Errno.ENOMEM;
    }
    const frame = allocator.allocateFrame();
    if (frame < 0) return Errno.ENOMEM;
    this.memory.fill(allocator.addressOf(frame), this.pageBytes, 0);
    if (latency.pageAllocate > 0) yield latency.pageAllocate;
    return frame;
  }

  /** 2^order adjacent zeroed frames taken at once, or -1 when memory is short or in pieces. Costs are the caller's. */
  tryAllocateBlock(order: number): number {
    const { allocator } = this;
    if (allocator.freeFrames - 2 ** order <= this.reserveFrames) return -1;
    const frame = allocator.allocateBlock(order);
    if (frame >= 0) this.memory.fill(allocator.addressOf(frame), this.pageBytes * 2 ** order, 0);
    return frame;
  }

  /** Tells every user of `count` pages of a store from `first` on that they go away, and waits for them. */
  *invalidate(store: PageStore, first: number, count: number): Steps {
    for (const area of store.areas) {
      const start = Math.max(first, area.first);
      const end = Math.min(first + count, area.first + area.pageCount);
      if (start < end) yield* area.space.notify(area.addressOf(start), area.addressOf(end));
    }
  }

  copyFrame(from: number, to: number): void {
    this.memory.read(this.allocator.addressOf(from), this.#page);
    this.memory.write(this.allocator.addressOf(to), this.#page);
  }

  /** Ends the change of a page that {@link PageStore.setBusy} began. */
  settled(store: PageStore, index: number): void {
    store.clearBusy(index);
    this.pagesChanged.wakeAll();
  }

  /** Checks that nothing is pinned or charged: for the end of a run, when every device mapping is gone. */
  checkAtRest(): void {
    const { pinnedFrames } = this.allocator;
    this.invariants.check('balance', pinnedFrames === 0, () => `${pinnedFrames} frames are still pinned`);
    for (const space of this.spaces) {
      const { pages } = space.locked;
      this.invariants.check('balance', pages === 0, () => `${space.name} is still charged ${pages} locked pages`);
    }
  }
}
