/**
 * An address space of a host process: areas with protections, pages made present on first touch, CPU accesses, and pages
 * lent to devices. Who holds a page here either pins it or is told by its notifier before the page goes away.
 */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import { Access, Area } from './area.ts';
import { AreaList, USER_END } from './area-list.ts';
import { forkSpace } from './fork.ts';
import type { HostMemory } from './host-memory.ts';
import { LockAccount } from './lock-account.ts';
import type { SpaceNotifier } from './notifier.ts';
import { copyPage, fillPage, migratePage, mustCopy, tryFillPage } from './page-fault.ts';
import { PageState, type PageStore } from './page-store.ts';
import { swapOut } from './reclaim.ts';

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
  /** For mm alone. */
  readonly areas: AreaList;
  readonly #notifiers: SpaceNotifier[] = [];
  #resident = 0;
  #residentPeak = 0;
  #gone = false;

  constructor(host: HostMemory, options: AddressSpaceOptions) {
    this.host = host;
    this.name = options.name;
    this.pageBytes = host.pageBytes;
    this.areas = new AreaList(host.pageBytes);
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
    return this.#show(pages, options, () => this.host.createStore(pages, false));
  }

  /** Shows memory from {@link HostMemory.createShared}; results as {@link mmap}. */
  mapShared(store: PageStore, options: MmapOptions = {}): number {
    assert(store.shared, 'only shared memory is mapped twice');
    const address = this.#show(store.pageCount, options, () => store);
    if (address >= 0) this.residentChanged(store.residentPages);
    return address;
  }

  /** Removes what lies in `[address, address + length)`; users of the pages are told first. 0 or -EINVAL. */
  *munmap(address: number, length: number): Steps<number> {
    const bytes = Math.ceil(length / this.pageBytes) * this.pageBytes;
    if (!this.areas.isRange(address, bytes)) return Errno.EINVAL;
    const removed = this.areas.cut(address, address + bytes);
    for (const area of removed) {
      area.removed = true;
      this.areas.remove(area);
    }
    for (const area of removed) yield* this.#discard(area);
    return Errno.OK;
  }

  /** Changes protections; where rights are lost, users of the pages are told. 0, -EINVAL or -ENOMEM over a hole. */
  *protect(address: number, length: number, protection: number): Steps<number> {
    const bytes = Math.ceil(length / this.pageBytes) * this.pageBytes;
    if (!this.areas.isRange(address, bytes)) return Errno.EINVAL;
    const areas = this.areas.cut(address, address + bytes);
    if (areas.reduce((sum, area) => sum + area.end - area.start, 0) !== bytes) return Errno.ENOMEM;
    const losing = areas.filter((area) => (area.protection & ~protection) !== 0);
    for (const area of areas) area.protection = protection;
    for (const { start, end } of losing) yield* this.notify(start, end);
    return Errno.OK;
  }

  /** The area that holds `address`. */
  find(address: number): Area | undefined {
    return this.areas.find(address);
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
      const { store } = area;
      let frame = this.#ready(store, index, use.write || use.longTerm);
      if (frame < 0) {
        const status = yield* store.isUntouched(index) ? fillPage(this.host, store, index) : this.#settle(store, index);
        if (status < 0 && status !== Errno.EAGAIN) return done > 0 ? done : status;
        // The page may have gone again, or its area changed, while this waited.
        frame = this.find(at) === area ? this.#ready(store, area.indexOf(at), use.write || use.longTerm) : -1;
        if (frame < 0 || !permits(area, use.write)) continue;
      }
      allocator.pin(frame);
      frames[done] = frame;
      done += 1;
    }
    return done;
  }

  /** As {@link acquire} for one page where that takes no time: its frame, -EFAULT or -ENOMEM; -EAGAIN where a wait is needed. */
  acquireNow(address: number, use: Acquisition): number {
    const area = this.find(address);
    if (area === undefined || !permits(area, use.write)) return Errno.EFAULT;
    const frame = this.#ready(area.store, area.indexOf(address), use.write || use.longTerm);
    if (frame >= 0) this.host.allocator.pin(frame);
    return frame;
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

  /** A copy that shares frames until one side writes; null without memory for what must be copied at once. */
  *fork(name: string): Steps<AddressSpace | null> {
    return yield* forkSpace(this, name);
  }

  /** Ends the address space: all its areas go, as at the exit of a process. */
  *exit(): Steps {
    this.#gone = true;
    for (let area = this.areas.all[0]; area !== undefined; area = this.areas.all[0]) {
      yield* this.munmap(area.start, area.end - area.start);
    }
  }

  /** The page's frame where it can be used without any wait; -EAGAIN where one is needed; or -ENOMEM. */
  #ready(store: PageStore, index: number, write: boolean): number {
    if (store.isBusy(index)) return Errno.EAGAIN;
    const present = store.frame(index);
    const frame = present >= 0 ? present : tryFillPage(this.host, store, index);
    if (frame < 0) return frame;
    if (write && mustCopy(this.host, store, index)) return Errno.EAGAIN;
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
      const status = ready !== Errno.EAGAIN ? ready : yield* this.#settle(area.store, index);
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
    for (let index = store.nextTouched(first, end); index < end; index = store.nextTouched(index + 1, end)) {
      while (store.isBusy(index)) yield this.host.pagesChanged;
    }
    yield* this.notify(area.start, area.end);
    store.areas.delete(area);
    this.residentChanged(-store.residentIn(first, end));
    if (!store.shared) this.#freePages(store, first, end);
    else if (store.areas.size === 0) this.#freePages(store, 0, store.pageCount);
    if (store.areas.size === 0) this.host.stores.delete(store);
  }

  #freePages(store: PageStore, first: number, end: number): void {
    for (let index = store.nextTouched(first, end); index < end; index = store.nextTouched(index + 1, end)) {
      const frame = store.frame(index);
      const slot = store.slot(index);
      if (frame < 0 && slot < 0) continue;
      store.clear(index);
      if (frame >= 0) this.host.allocator.put(frame);
      else this.host.swap.free(slot);
    }
  }

  /** A new area that shows all of a store. */
  #show(pages: number, options: MmapOptions, store: () => PageStore): number {
    if (this.#gone) return Errno.ENOMEM;
    const address = this.areas.place(pages * this.pageBytes, options.address);
    if (address < 0) return address;
    const { protection = Access.READ | Access.WRITE } = options;
    this.areas.insert(new Area(this, address, address + pages * this.pageBytes, store(), 0, protection));
    return address;
  }
}

function permits(area: Area, write: boolean): boolean {
  const needed = write ? Access.WRITE : Access.READ;
  return (area.protection & needed) === needed;
}
