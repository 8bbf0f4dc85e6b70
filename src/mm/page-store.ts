/**
 * The pages behind an area of an address space, in typed arrays, so that a large area costs what it touches. A store is
 * private to one address space, or shared by all that map it.
 */
import { assert } from '../assert.ts';
import type { Area } from './area.ts';

/** Pages counted together, so that scans skip what is empty. */
const CHUNK_PAGES = 512;

/** State bits of a page. */
export const PageState = {
  /** Its entry is about to change; only the task that set the bit may touch it. */
  BUSY: 1,
  /** Its frame may be shared with a copy of the address space: a write takes a copy first. */
  COPY_ON_WRITE: 2,
  /** Used since reclaim last looked. */
  REFERENCED: 4,
} as const;

export class PageStore {
  readonly pageCount: number;
  readonly shared: boolean;
  /** Frame plus one; minus (swap slot plus one); zero where nothing was touched. */
  readonly entries: Int32Array;
  /** {@link PageState} bits. */
  readonly states: Uint8Array;
  /** Areas that show this store. */
  readonly areas = new Set<Area>();
  /** Pages that have a frame. */
  residentPages = 0;
  readonly #residentInChunk: Int32Array;

  constructor(pageCount: number, shared: boolean) {
    this.pageCount = pageCount;
    this.shared = shared;
    this.entries = new Int32Array(pageCount);
    this.states = new Uint8Array(pageCount);
    this.#residentInChunk = new Int32Array(Math.ceil(pageCount / CHUNK_PAGES));
  }

  /** The area that shows page `index`, or undefined once none does. */
  areaOf(index: number): Area | undefined {
    for (const area of this.areas) {
      if (!area.removed && index >= area.first && index < area.first + area.pageCount) return area;
    }
    return undefined;
  }

  /** Pages of `[start, end)` that have a frame. */
  residentIn(start: number, end: number): number {
    let count = 0;
    for (let page = this.nextResident(start, end); page < end; page = this.nextResident(page + 1, end)) count += 1;
    return count;
  }

  /** The first page of `[index, end)` that has anything or is about to change, or `end`. */
  nextTouched(index: number, end: number): number {
    for (let page = index; page < end; page++) {
      if (this.entries[page] !== 0 || this.states[page] !== 0) return page;
    }
    return end;
  }

  /** The first page of `[index, end)` that has a frame, or `end`. Skips by whole chunks what was never touched. */
  nextResident(index: number, end = this.pageCount): number {
    for (let page = index; page < end; ) {
      if (page % CHUNK_PAGES === 0 && this.#residentInChunk[page / CHUNK_PAGES] === 0) page += CHUNK_PAGES;
      else if ((this.entries[page] ?? 0) > 0) return page;
      else page += 1;
    }
    return end;
  }

  isBusy(index: number): boolean {
    return ((this.states[index] ?? 0) & PageState.BUSY) !== 0;
  }

  setBusy(index: number): void {
    assert(!this.isBusy(index), 'the page is not busy yet');
    this.states[index] = (this.states[index] ?? 0) | PageState.BUSY;
  }

  clearBusy(index: number): void {
    assert(this.isBusy(index), 'the page is busy');
    this.states[index] = (this.states[index] ?? 0) & ~PageState.BUSY;
  }

  /** Nothing was ever here, and nothing is about to be. */
  isUntouched(index: number): boolean {
    return this.entries[index] === 0 && this.states[index] === 0;
  }

  isCopyOnWrite(index: number): boolean {
    return ((this.states[index] ?? 0) & PageState.COPY_ON_WRITE) !== 0;
  }

  setCopyOnWrite(index: number, on: boolean): void {
    const state = this.states[index] ?? 0;
    this.states[index] = on ? state | PageState.COPY_ON_WRITE : state & ~PageState.COPY_ON_WRITE;
  }

  /** The page's frame, or -1. */
  frame(index: number): number {
    const entry = this.entries[index] ?? 0;
    return entry > 0 ? entry - 1 : -1;
  }

  /** The page's swap slot, or -1. */
  slot(index: number): number {
    const entry = this.entries[index] ?? 0;
    return entry < 0 ? -entry - 1 : -1;
  }

  setFrame(index: number, frame: number): void {
    if ((this.entries[index] ?? 0) <= 0) this.#resident(index, 1, 1);
    this.entries[index] = frame + 1;
  }

  setSlot(index: number, slot: number): void {
    if ((this.entries[index] ?? 0) > 0) this.#resident(index, 1, -1);
    this.entries[index] = -slot - 1;
  }

  /** Forgets the page: untouched again. */
  clear(index: number): void {
    if ((this.entries[index] ?? 0) > 0) this.#resident(index, 1, -1);
    this.entries[index] = 0;
    this.states[index] = 0;
  }

  /** Whether nothing was ever touched in `[start, start + count)`. */
  untouched(start: number, count: number): boolean {
    for (let index = start; index < start + count; index++) {
      if (this.entries[index] !== 0 || this.states[index] !== 0) return false;
    }
    return true;
  }

  /** Gives `count` untouched pages adjacent frames. */
  setBlock(start: number, frame: number, count: number): void {
    for (let index = 0; index < count; index++) this.entries[start + index] = frame + index + 1;
    this.#resident(start, count, 1);
  }

  #resident(start: number, count: number, sign: 1 | -1): void {
    this.residentPages += sign * count;
    for (let page = start; page < start + count; ) {
      const chunk = Math.floor(page / CHUNK_PAGES);
      const end = Math.min(start + count, (chunk + 1) * CHUNK_PAGES);
      this.#residentInChunk[chunk] = (this.#residentInChunk[chunk] ?? 0) + sign * (end - page);
      page = end;
    }
    for (const area of this.areas) {
      const seen = Math.min(start + count, area.first + area.pageCount) - Math.max(start, area.first);
      if (seen > 0) area.space.residentChanged(sign * seen);
    }
  }
}
