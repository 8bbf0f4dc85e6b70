/**
 * An address space of a host process: areas with protections, pages made present on first touch, CPU accesses, and pages
 * lent to devices. Who holds a page here either pins it or is told by its notifier before the page goes away.
 */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import { Access, Area } from './area.ts';
import type { HostMemory } from './host-memory.ts';
import { LockAccount } from './lock-account.ts';
import type { SpaceNotifier } from './notifier.ts';
import { copyPage, fillPage, migratePage, mustCopy } from './page-fault.ts';
import { PageState, type PageStore } from './page-store.ts';
import { swapOut } from './reclaim.ts';

/** Where mmap places areas; they grow upwards and are never reused, so that a stale address is seen. */
const MMAP_BASE = 0x7000_0000_0000;
/** End of user addresses (48-bit virtual addresses). */
export const USER_END = 0x1_0000_0000_0000;
/** A block of pages taken at once where all of it is asked for and nothing was touched. */
const BLOCK_ORDER = 9;
const BLOCK_PAGES = 2 ** BLOCK_ORDER;

export interface AddressSpaceOptions {
  readonly name: string;
  /** RLIMIT_MEMLOCK in bytes; null: no limit. */
  readonly lockLimitBytes?: number | null;
}

export interface MmapOptions {
  /** {@link Access} bits; by default readable and writable. */
  readonly protection?: number;
  /** Fixed page-aligned address; by default the kernel chooses. */
  readonly address?: number;
}

/** How a page is going to be used by who acquires it. */
export interface Acquisition {
  readonly write: boolean;
  /** The page is kept for long: a frame shared with a copied address space is replaced even for reading. */
  readonly longTerm: boolean;
}

export class AddressSpace {
  readonly name: string;
  readonly host: HostMemory;
  readonly pageBytes: number;
  /** Locked memory against RLIMIT_MEMLOCK. */
  readonly locked: LockAccount;
  /** Sorted by address; no two overlap. */
  readonly #areas: Area[] = [];
  readonly #notifiers: SpaceNotifier[] = [];
  #next = MMAP_BASE;
  #resident = 0;
  #residentPeak = 0;
  #gone = false;

  constructor(host: HostMemory, options: AddressSpaceOptions) {
    this.host = host;
    this.name = options.name;
    this.pageBytes = host.pageBytes;
    const limit = options.lockLimitBytes ?? null;
    this.locked = new LockAccount(limit === null ? Number.POSITIVE_INFINITY : Math.floor(limit / host.pageBytes));
  }

  /** Whether the process has exited: nothing can be mapped or touched any more. */
  get gone(): boolean {
    return this.#gone;
  }

  get residentPages(): number {
    return this.#resident;
  }

  get residentBytesPeak(): number {
    return this.#residentPeak * this.pageBytes;
  }

  get areas(): readonly Area[] {
    return this.#areas;
  }

  /** For page stores: pages of this space became present or went. */
  residentChanged(change: number): void {
    this.#resident += change;
    if (this.#resident > this.#residentPeak) this.#residentPeak = this.#resident;
  }

  addNotifier(notifier: SpaceNotifier): void {
    assert(!this.#notifiers.includes(notifier), `${notifier.name} is registered`);
    this.#notifiers.push(notifier);
  }

  removeNotifier(notifier: SpaceNotifier): void {
    const index = this.#notifiers.indexOf(notifier);
    assert(index >= 0, `${notifier.name} is not registered`);
    this.#notifiers.splice(index, 1);
  }

  get notifierCount(): number {
    return this.#notifiers.length;
  }

  /** For {@link HostMemory.invalidate}. */
  *notify(start: number, end: number): Steps {
    for (const notifier of [...this.#notifiers]) yield* notifier.invalidate(start, end);
  }

  /** Private anonymous memory: its address, -EINVAL or -EEXIST for a bad fixed address, -ENOMEM without room. */
  mmap(length: number, options: MmapOptions = {}): number {
    if (!(length > 0 && length <= USER_END)) return Errno.EINVAL;
    const pages = Math.ceil(length / this.pageBytes);
    const address = this.#place(pages * this.pageBytes, options.address);
    if (address < 0) return address;
    this.#insert(address, this.host.createStore(pages, false), 0, pages, options.protection);
    return address;
  }

  /** Shows memory from {@link HostMemory.createShared}; results as {@link mmap}. */
  mapShared(store: PageStore, options: MmapOptions = {}): number {
    assert(store.shared, 'only shared memory is mapped twice');
    const address = this.#place(store.pageCount * this.pageBytes, options.address);
    if (address < 0) return address;
    this.#insert(address, store, 0, store.pageCount, options.protection);
    return address;
  }

  /** Removes what lies in `[address, address + length)`; users of the pages are told first. 0 or -EINVAL. */
  *munmap(address: number, length: number): Steps<number> {
    const end = address + Math.ceil(length / this.pageBytes) * this.pageBytes;
    if (address % this.pageBytes !== 0 || !(length > 0) || end > USER_END) return Errno.EINVAL;
    const removed = this.#cut(address, end);
    for (const area of removed) {
      area.removed = true;
      this.#areas.splice(this.#areas.indexOf(area), 1);
    }
    for (const area of removed) yield* this.#discard(area);
    return Errno.OK;
  }

  /** Changes protections; where rights are lost, users of the pages are told. 0, -EINVAL or -ENOMEM over a hole. */
  *protect(address: number, length: number, protection: number): Steps<number> {
    const end = address + Math.ceil(length / this.pageBytes) * this.pageBytes;
    if (address % this.pageBytes !== 0 || !(length > 0) || end > USER_END) return Errno.EINVAL;
    const areas = this.#cut(address, end);
    if (areas.reduce((bytes, area) => bytes + area.end - area.start, 0) !== end - address) return Errno.ENOMEM;
    for (const area of areas) {
      const loses = (area.protection & ~protection) !== 0;
      area.protection = protection;
      if (loses) yield* this.notify(area.start, area.end);
    }
    return Errno.OK;
  }

  /** The area that holds `address`, by binary search. */
  find(address: number): Area | undefined {
    let low = 0;
    let high = this.#areas.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const area = this.#areas[middle];
      if (area === undefined) return undefined;
      if (address < area.start) high = middle - 1;
      else if (address >= area.end) low = middle + 1;
      else return area;
    }
    return undefined;
  }

  /**
   * Makes up to `count` pages from `address` on present and pins each; their frames go to `frames`. The number of pages
   * acquired, which is less than `count` where a later page failed; or, where the first failed, -EFAULT (no area, or
   * its protection forbids it) or -ENOMEM. Give the pages back with {@link release}.
   */
  *acquire(address: number, count: number, use: Acquisition, frames: Int32Array): Steps<number> {
    const { allocator } = this.host;
    let done = 0;
    while (done < count) {
      const at = address + done * this.pageBytes;
      const area = this.find(at);
      if (area === undefined || !permits(area, use.write)) return done > 0 ? done : Errno.EFAULT;
      const index = area.indexOf(at);
      if (count - done >= BLOCK_PAGES && this.#fillBlock(area, at, index, frames, done)) {
        const cost = this.host.latency.pageAllocate * BLOCK_PAGES;
        if (cost > 0) yield cost;
        done += BLOCK_PAGES;
        continue;
      }
      const write = use.write || use.longTerm;
      const ready = this.#ready(area.store, index, write);
      const status = ready >= 0 ? ready : yield* this.#settle(area.store, index);
      if (status === Errno.EAGAIN) continue;
      if (status < 0) return done > 0 ? done : status;
      allocator.pin(status);
      frames[done] = status;
      done += 1;
    }
    return done;
  }

  /** The frame that `address` shows at this moment, or -1 where there is none or it is about to change. */
  frameAt(address: number): number {
    const area = this.find(address);
    if (area === undefined) return -1;
    const index = area.indexOf(address);
    return area.store.isBusy(index) ? -1 : area.store.frame(index);
  }

  /** Unpins `count` frames of `frames` from `from` on. */
  release(frames: Int32Array, from: number, count: number): void {
    for (let index = from; index < from + count; index++) this.host.allocator.unpin(frames[index] ?? -1);
  }

  /** A CPU's reads of `[address, address + target.length)`. 0, -EFAULT or -ENOMEM. */
  *load(address: number, target: Uint8Array): Steps<number> {
    return yield* this.#access(address, target, false);
  }

  /** A CPU's writes. 0, -EFAULT or -ENOMEM; what lies before the failing page is written. */
  *store(address: number, source: Uint8Array): Steps<number> {
    return yield* this.#access(address, source, true);
  }

  /** Writes the pages of the range to swap, as reclaim would; pages in use are left alone. The number written out. */
  *swapOut(address: number, length: number): Steps<number> {
    let count = 0;
    for (let at = address; at < address + length; at += this.pageBytes) {
      const area = this.find(at);
      if (area === undefined) continue;
      const { store } = area;
      const index = area.indexOf(at);
      const frame = store.frame(index);
      if (frame < 0 || store.isBusy(index) || this.host.allocator.pins(frame) > 0) continue;
      if (this.host.swap.freeSlots === 0) break;
      yield* swapOut(this.host, store, index, 1);
      count += 1;
    }
    return count;
  }

  /** Moves the page at `address` to another frame. 0, -EFAULT, -ENOENT (not present), -EBUSY (in use) or -ENOMEM. */
  *migrate(address: number): Steps<number> {
    const area = this.find(address);
    if (area === undefined) return Errno.EFAULT;
    return yield* migratePage(this.host, area.store, area.indexOf(address));
  }

  /**
   * A copy of this address space that shares frames until one side writes. Device mappings of private pages are revoked,
   * because their writes would reach both; pinned pages are copied at once. Null without memory for those copies.
   */
  *fork(name: string): Steps<AddressSpace | null> {
    const { limitPages } = this.locked;
    const lockLimitBytes = limitPages === Number.POSITIVE_INFINITY ? null : limitPages * this.pageBytes;
    const child = this.host.createSpace({ name, lockLimitBytes });
    child.#next = this.#next;
    for (const area of [...this.#areas]) {
      const { store, start, first, pageCount, protection } = area;
      if (store.shared) {
        child.#insert(start, store, first, pageCount, protection);
      } else {
        const copy = this.host.createStore(pageCount, false);
        child.#insert(start, copy, 0, pageCount, protection);
        if (!(yield* this.#share(area, copy))) {
          yield* child.exit();
          return null;
        }
      }
    }
    return child;
  }

  /** Ends the address space: all its areas go, as at the exit of a process. */
  *exit(): Steps {
    this.#gone = true;
    for (let area = this.#areas[0]; area !== undefined; area = this.#areas[0]) {
      yield* this.munmap(area.start, area.end - area.start);
    }
    this.host.spaces.delete(this);
  }

  /** The page's frame where it can be used without any wait, else -1. */
  #ready(store: PageStore, index: number, write: boolean): number {
    const frame = store.frame(index);
    if (frame < 0 || store.isBusy(index) || (write && mustCopy(this.host, store, index))) return -1;
    store.states[index] = (store.states[index] ?? 0) | PageState.REFERENCED;
    return frame;
  }

  /** Makes the page usable: -EAGAIN after that or a wait, when the area must be looked up again; or -ENOMEM. */
  *#settle(store: PageStore, index: number): Steps<number> {
    if (store.isBusy(index)) {
      yield this.host.pagesChanged;
      return Errno.EAGAIN;
    }
    const missing = store.frame(index) < 0;
    const status = yield* missing ? fillPage(this.host, store, index) : copyPage(this.host, store, index);
    return status < 0 ? status : Errno.EAGAIN;
  }

  /** Fills a whole aligned, untouched block with adjacent frames, pinned; false where it is not one or memory is short. */
  #fillBlock(area: Area, at: number, index: number, frames: Int32Array, done: number): boolean {
    if ((at / this.pageBytes) % BLOCK_PAGES !== 0 || index + BLOCK_PAGES > area.first + area.pageCount) return false;
    if (!area.store.untouched(index, BLOCK_PAGES)) return false;
    const frame = this.host.tryAllocateBlock(BLOCK_ORDER);
    if (frame < 0) return false;
    area.store.setBlock(index, frame, BLOCK_PAGES);
    for (let page = 0; page < BLOCK_PAGES; page++) {
      this.host.allocator.pin(frame + page);
      frames[done + page] = frame + page;
    }
    return true;
  }

  *#access(address: number, data: Uint8Array, write: boolean): Steps<number> {
    const { allocator, memory, latency } = this.host;
    for (let done = 0; done < data.length; ) {
      const at = address + done;
      const area = this.find(at);
      if (area === undefined || !permits(area, write)) return Errno.EFAULT;
      const index = area.indexOf(at);
      if (area.store.frame(index) < 0 && latency.cpuFault > 0) {
        yield latency.cpuFault;
        if (this.find(at) !== area) continue;
      }
      const ready = this.#ready(area.store, index, write);
      const status = ready >= 0 ? ready : yield* this.#settle(area.store, index);
      if (status === Errno.EAGAIN) continue;
      if (status < 0) return status;
      const offset = at % this.pageBytes;
      const count = Math.min(data.length - done, this.pageBytes - offset);
      const physical = allocator.addressOf(status) + offset;
      if (write) memory.write(physical, data, done, count);
      else memory.read(physical, data, done, count);
      done += count;
    }
    return Errno.OK;
  }

  /** Frees the pages of an area that is no longer found; frames that are pinned live on until they are unpinned. */
  *#discard(area: Area): Steps {
    const { store, first } = area;
    const end = first + area.pageCount;
    for (let index = first; index < end; index++) while (store.isBusy(index)) yield this.host.pagesChanged;
    yield* this.notify(area.start, area.end);
    store.areas.delete(area);
    let resident = 0;
    for (let index = first; index < end; index++) if (store.frame(index) >= 0) resident += 1;
    this.residentChanged(-resident);
    if (!store.shared) this.#freePages(store, first, end);
    else if (store.areas.size === 0) this.#freePages(store, 0, store.pageCount);
    if (store.areas.size === 0) this.host.stores.delete(store);
  }

  #freePages(store: PageStore, first: number, end: number): void {
    for (let index = first; index < end; index++) {
      const frame = store.frame(index);
      const slot = store.slot(index);
      if (frame < 0 && slot < 0) continue;
      store.clear(index);
      if (frame >= 0) this.host.allocator.put(frame);
      else this.host.swap.free(slot);
    }
  }

  /** Shares the pages of a private area with its copy in a forked address space. */
  *#share(area: Area, copy: PageStore): Steps<boolean> {
    const { allocator, swap, memory } = this.host;
    const { store, first, pageCount } = area;
    for (let page = 0; page < pageCount; page++) {
      const index = first + page;
      while (store.isBusy(index)) yield this.host.pagesChanged;
      if (store.entries[index] !== 0) store.setBusy(index);
    }
    yield* this.notify(area.start, area.end);
    let complete = true;
    for (let page = 0; page < pageCount; page++) {
      const index = first + page;
      if (!store.isBusy(index)) continue;
      const frame = store.frame(index);
      if (frame < 0) {
        swap.share(store.slot(index));
        copy.setSlot(page, store.slot(index));
      } else if (allocator.pins(frame) > 0) {
        const own = yield* this.host.allocateFrame();
        if (own >= 0) {
          const bytes = new Uint8Array(this.pageBytes);
          memory.read(allocator.addressOf(frame), bytes);
          memory.write(allocator.addressOf(own), bytes);
          copy.setFrame(page, own);
        } else {
          complete = false;
        }
      } else {
        allocator.get(frame);
        copy.setFrame(page, frame);
        copy.setCopyOnWrite(page, true);
        store.setCopyOnWrite(index, true);
      }
      this.host.settled(store, index);
    }
    return complete;
  }

  #place(bytes: number, fixed: number | undefined): number {
    if (fixed !== undefined) {
      if (fixed < 0 || fixed % this.pageBytes !== 0 || fixed + bytes > USER_END) return Errno.EINVAL;
      const taken = this.#areas.some((area) => area.start < fixed + bytes && fixed < area.end);
      return taken ? Errno.EEXIST : fixed;
    }
    const alignment = bytes >= 2 ** 30 ? 2 ** 30 : bytes >= 2 ** 21 ? 2 ** 21 : this.pageBytes;
    for (;;) {
      const address = Math.ceil(this.#next / alignment) * alignment;
      if (address + bytes > USER_END) return Errno.ENOMEM;
      const taken = this.#areas.find((area) => area.start < address + bytes && address < area.end);
      // A guard page below each area, so that running over the end of one is seen.
      this.#next = (taken === undefined ? address + bytes : taken.end) + this.pageBytes;
      if (taken === undefined) return address;
    }
  }

  #insert(address: number, store: PageStore, first: number, pages: number, protection = Access.READ | Access.WRITE) {
    const area = new Area(this, address, address + pages * this.pageBytes, store, first, protection);
    const index = this.#areas.findIndex((other) => other.start > address);
    this.#areas.splice(index < 0 ? this.#areas.length : index, 0, area);
  }

  /** The areas of `[start, end)`, split where the range cuts them. */
  #cut(start: number, end: number): Area[] {
    for (const edge of [start, end]) {
      const area = this.find(edge);
      if (area === undefined || area.start === edge) continue;
      const rest = area.splitAt(edge);
      this.#areas.splice(this.#areas.indexOf(area) + 1, 0, rest);
    }
    return this.#areas.filter((area) => area.start >= start && area.end <= end);
  }
}

function permits(area: Area, write: boolean): boolean {
  const needed = write ? Access.WRITE : Access.READ;
  return (area.protection & needed) === needed;
}
