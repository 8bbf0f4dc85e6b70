/**
 * The pages that faults mapped, in the order in which they were mapped or renewed, and the limit on them. Faults reserve room before
 * they map, so that the limit holds however many are in flight.
 */
import { assert } from '../assert.ts';
import type { Mapping } from './mapping.ts';

const INITIAL_SLOTS = 1024;

export class Residency {
  #limit = Number.POSITIVE_INFINITY;
  #pages = 0;
  #reserved = 0;
  #peak = 0;
  /** A doubly linked list in arrays; slot 0 is its head and its tail. */
  #next = new Int32Array(INITIAL_SLOTS);
  #previous = new Int32Array(INITIAL_SLOTS);
  #page = new Int32Array(INITIAL_SLOTS);
  readonly #mapping: (Mapping | null)[] = [null];
  /** 1 for pages that are unsettled. */
  #unsettled = new Uint8Array(INITIAL_SLOTS);
  #unused = 0;
  /** How many there are, and a slot before which there is none; 0: none at all. */
  #unsettledPages = 0;
  #firstUnsettled = 0;

  /** Most pages at one time; Infinity: no limit. */
  get limitPages(): number {
    return this.#limit;
  }

  set limitPages(pages: number) {
    assert(pages >= 1, `a residency limit of ${pages} pages`);
    this.#limit = pages;
  }

  get pages(): number {
    return this.#pages;
  }

  get peakPages(): number {
    return this.#peak;
  }

  /** Nothing is mapped, nor about to be. */
  get idle(): boolean {
    return this.#pages + this.#reserved === 0;
  }

  /** Pages beyond the limit if `more` were reserved as well. */
  excess(more: number): number {
    return this.#pages + this.#reserved + more - this.#limit;
  }

  reserve(count: number): void {
    this.#reserved += count;
  }

  unreserve(count: number): void {
    assert(count <= this.#reserved, 'no more is given back than was reserved');
    this.#reserved -= count;
  }

  /** A page was mapped: it is the youngest now. */
  add(mapping: Mapping, page: number): void {
    const slots = mapping.faults?.residencySlots;
    assert(slots !== undefined && slots[page] === 0, 'the page is not resident yet');
    const slot = this.#take();
    this.#page[slot] = page;
    this.#mapping[slot] = mapping;
    this.#append(slot);
    this.#unsettled[slot] = 1;
    this.#unsettledPages += 1;
    if (this.#firstUnsettled === 0) this.#firstUnsettled = slot;
    slots[page] = slot;
    this.#pages += 1;
    if (this.#pages > this.#peak) this.#peak = this.#pages;
  }

  remove(mapping: Mapping, page: number): void {
    const slots = mapping.faults?.residencySlots;
    const slot = slots?.[page] ?? 0;
    assert(slots !== undefined && slot > 0, 'the page is resident');
    this.settleOne(slot);
    this.#unlink(slot);
    slots[page] = 0;
    this.#mapping[slot] = null;
    this.#next[slot] = this.#unused;
    this.#unused = slot;
    this.#pages -= 1;
  }

  /** The page of `slot` becomes the youngest. */
  renew(slot: number): void {
    assert(slot > 0 && this.#mapping[slot] !== null, 'the residency slot is in use');
    this.settleOne(slot);
    if (this.#previous[0] === slot) return;
    this.#unlink(slot);
    this.#append(slot);
  }

  /** Pages that were neither settled nor renewed since they were mapped. */
  get unsettledPages(): number {
    return this.#unsettledPages;
  }

  isUnsettled(slot: number): boolean {
    return this.#unsettled[slot] === 1;
  }

  settleOne(slot: number): void {
    this.#unsettledPages -= this.#unsettled[slot] ?? 0;
    this.#unsettled[slot] = 0;
  }

  /**
   * Where more than `most` pages are unsettled, settles the oldest of them until `left` are left, and calls `met` for each.
   */
  settle(most: number, left: number, met: (mapping: Mapping, page: number) => void): void {
    if (this.#unsettledPages <= most) return;
    while (this.#unsettledPages > left) {
      const slot = this.#firstUnsettled;
      this.#firstUnsettled = this.after(slot);
      if (this.#unsettled[slot] === 0) continue;
      this.settleOne(slot);
      met(this.mappingAt(slot), this.pageAt(slot));
    }
  }

  /** Slot of the oldest page, or 0. */
  get oldest(): number {
    return this.#next[0] ?? 0;
  }

  /** The slot that follows `slot` in age, or 0. */
  after(slot: number): number {
    return this.#next[slot] ?? 0;
  }

  pageAt(slot: number): number {
    return this.#page[slot] ?? 0;
  }

  mappingAt(slot: number): Mapping {
    const mapping = this.#mapping[slot];
    assert(mapping !== null && mapping !== undefined, 'the residency slot is in use');
    return mapping;
  }

  #append(slot: number): void {
    const last = this.#previous[0] ?? 0;
    this.#previous[slot] = last;
    this.#next[slot] = 0;
    this.#next[last] = slot;
    this.#previous[0] = slot;
  }

  #unlink(slot: number): void {
    const next = this.#next[slot] ?? 0;
    const previous = this.#previous[slot] ?? 0;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    if (this.#firstUnsettled === slot) this.#firstUnsettled = next;
  }

  #take(): number {
    if (this.#unused !== 0) {
      const slot = this.#unused;
      this.#unused = this.#next[slot] ?? 0;
      return slot;
    }
    const slot = this.#mapping.length;
    if (slot === this.#page.length) {
      this.#next = grown(this.#next);
      this.#previous = grown(this.#previous);
      this.#page = grown(this.#page);
      const unsettled = new Uint8Array(this.#page.length);
      unsettled.set(this.#unsettled);
      this.#unsettled = unsettled;
    }
    this.#mapping.push(null);
    return slot;
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}
