/**
 * Address translation cache of an endpoint (PCIe Base §10.1.3): translations by PASID and page, each for an aligned
 * power of two of pages. Entries live in typed arrays; a look-up allocates nothing.
 */

import { assert } from '../../../assert.ts';
import { powerOfTwo } from '../../../layout/power-of-two.ts';
import { NO_PASID, type TranslationCompletion } from '../tlp.ts';

/** What a cached translation allows, as bits. */
export const Permission = { READ: 1, WRITE: 2, EXECUTE: 4, PRIVILEGED: 8 } as const;
/** Flag beside the permissions: the address must be accessed untranslated (PCIe §10.2.3.4). */
export const UNTRANSLATED_ONLY = 32;
/**
 * Whether a translation with these flags serves an access that needs these permissions. What is granted to privileged mode
 * says nothing of the other mode, nor the reverse (PCIe §10.2.3, IHI 0070 §13.7).
 */
export const grants = (flags: number, need: number): boolean => (flags & (need | Permission.PRIVILEGED)) === need;

/** Tag of entries that serve every PASID. */
const ANY_PASID = -2;
const NONE = -1;
const SIZES = 53;

export interface TranslationCacheOptions {
  /** Entries; 0 caches nothing. */
  readonly capacity: number;
  /** Which entry makes room. Defaults to `lru`. */
  readonly replacement?: 'lru' | 'fifo';
}

/** The flags of a translation completion. */
export function flagsOf(answer: TranslationCompletion): number {
  return (
    (answer.read ? Permission.READ : 0) |
    (answer.write ? Permission.WRITE : 0) |
    (answer.execute ? Permission.EXECUTE : 0) |
    (answer.privileged ? Permission.PRIVILEGED : 0) |
    (answer.untranslatedOnly ? UNTRANSLATED_ONLY : 0)
  );
}

/** Where an answer sends `page`: it may name any page of the block that it translates. */
export function translatedPage(answer: TranslationCompletion, page: number): number {
  return answer.page - (answer.page % answer.pages) + (page % answer.pages);
}

export class TranslationCache {
  readonly capacity: number;
  readonly #lru: boolean;
  readonly #hashMask: number;
  /** First entry of each hash bucket. */
  readonly #buckets: Int32Array;
  /** Next entry of the same bucket; next free entry for free ones. */
  readonly #chain: Int32Array;
  readonly #live: Uint8Array;
  /** Live entries from the last filled (FIFO) or used (LRU) to the first, linked both ways. */
  readonly #older: Int32Array;
  readonly #newer: Int32Array;
  #newest = NONE;
  #oldest = NONE;
  readonly #pasid: Int32Array;
  /** First page that an entry translates, and the page it translates to. */
  readonly #from: Float64Array;
  readonly #to: Float64Array;
  /** log2 of the pages of an entry. */
  readonly #order: Uint8Array;
  readonly #flags: Uint8Array;
  /** Live entries of each order, and the orders in use. */
  readonly #ofOrder = new Int32Array(SIZES);
  #orders: number[] = [];
  #globals = 0;
  #free = NONE;
  #size = 0;

  constructor(options: TranslationCacheOptions) {
    const { capacity } = options;
    assert(Number.isInteger(capacity) && capacity >= 0 && capacity <= 2 ** 20, `an ATC of ${capacity} entries`);
    this.capacity = capacity;
    this.#lru = (options.replacement ?? 'lru') === 'lru';
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(capacity, 1) * 2));
    this.#hashMask = buckets - 1;
    this.#buckets = new Int32Array(buckets);
    this.#chain = new Int32Array(capacity);
    this.#pasid = new Int32Array(capacity);
    this.#from = new Float64Array(capacity);
    this.#to = new Float64Array(capacity);
    this.#order = new Uint8Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#live = new Uint8Array(capacity);
    this.#older = new Int32Array(capacity);
    this.#newer = new Int32Array(capacity);
    this.clear();
  }

  /** Live entries. */
  get size(): number {
    return this.#size;
  }

  /** The entry that translates `page` for `pasid` (or {@link NO_PASID}); -1 when there is none. */
  lookup(pasid: number, page: number): number {
    const orders = this.#orders;
    for (let index = 0; index < orders.length; index++) {
      const order = orders[index] ?? 0;
      const from = order === 0 ? page : page - (page % powerOfTwo(order));
      let entry = this.#find(pasid, from, order);
      if (entry < 0 && this.#globals > 0 && pasid !== NO_PASID) entry = this.#find(ANY_PASID, from, order);
      if (entry < 0) continue;
      if (this.#lru && entry !== this.#newest) {
        this.#unlink(entry);
        this.#link(entry);
      }
      return entry;
    }
    return NONE;
  }

  /** Permission bits of an entry, and {@link UNTRANSLATED_ONLY}. */
  flags(entry: number): number {
    return this.#flags[entry] ?? 0;
  }

  /** The page that `page` translates to by an entry from {@link lookup}. */
  translate(entry: number, page: number): number {
    return page - (this.#from[entry] ?? 0) + (this.#to[entry] ?? 0);
  }

  /** Keeps the answer to a translation request for `page`; what it overlaps with the same tag is replaced. */
  insert(pasid: number, page: number, answer: TranslationCompletion): void {
    if (this.capacity === 0) return;
    const tag = answer.global && pasid !== NO_PASID ? ANY_PASID : pasid;
    const order = Math.log2(answer.pages);
    assert(Number.isInteger(order), 'a translation covers a power of two of pages');
    const from = page - (page % answer.pages);
    this.#drop(from, answer.pages, tag, false);
    if (this.#free === NONE) this.#remove(this.#oldest);
    const entry = this.#free;
    this.#free = this.#chain[entry] ?? NONE;
    this.#pasid[entry] = tag;
    this.#from[entry] = from;
    this.#to[entry] = translatedPage(answer, from);
    this.#order[entry] = order;
    this.#flags[entry] = flagsOf(answer);
    const bucket = this.#hash(tag, from, order);
    this.#chain[entry] = this.#buckets[bucket] ?? NONE;
    this.#buckets[bucket] = entry;
    this.#live[entry] = 1;
    this.#link(entry);
    this.#count(order, 1);
    if (tag === ANY_PASID) this.#globals += 1;
    this.#size += 1;
  }

  /**
   * Forgets what meets `pages` pages from `page` (Infinity: all). `global` takes every PASID (PCIe §10.3.8). A request for
   * one PASID also takes entries that serve every PASID.
   */
  invalidate(page: number, pages: number, pasid: number, global: boolean): void {
    this.#drop(page, pages, pasid, global);
    if (this.#globals > 0 && pasid !== NO_PASID) this.#drop(page, pages, ANY_PASID, false);
  }

  /** Forgets everything. */
  clear(): void {
    this.#buckets.fill(NONE);
    for (let entry = 0; entry < this.capacity; entry++) this.#chain[entry] = entry + 1;
    if (this.capacity > 0) this.#chain[this.capacity - 1] = NONE;
    this.#free = this.capacity > 0 ? 0 : NONE;
    this.#live.fill(0);
    this.#newest = NONE;
    this.#oldest = NONE;
    this.#ofOrder.fill(0);
    this.#orders = [];
    this.#globals = 0;
    this.#size = 0;
  }

  #drop(page: number, pages: number, pasid: number, global: boolean): void {
    if (this.#size === 0) return;
    // Few pages: look each up. Many: look at each entry.
    if (!global && pages * this.#orders.length <= this.capacity) {
      // Removal replaces the list of orders; this one stays as it is.
      for (const order of this.#orders) {
        const step = powerOfTwo(order);
        for (let from = page - (page % step); from < page + pages; from += step) {
          const entry = this.#find(pasid, from, order);
          if (entry >= 0) this.#remove(entry);
        }
      }
      return;
    }
    const end = page + pages;
    for (let entry = 0; entry < this.capacity; entry++) {
      if (this.#live[entry] === 0) continue;
      const from = this.#from[entry] ?? 0;
      const tag = this.#pasid[entry] ?? 0;
      const meets = from < end && page < from + powerOfTwo(this.#order[entry] ?? 0);
      if (meets && (global ? tag !== NO_PASID : tag === pasid)) this.#remove(entry);
    }
  }

  /** Makes an entry the newest. */
  #link(entry: number): void {
    this.#older[entry] = this.#newest;
    this.#newer[entry] = NONE;
    if (this.#newest === NONE) this.#oldest = entry;
    else this.#newer[this.#newest] = entry;
    this.#newest = entry;
  }

  #unlink(entry: number): void {
    const older = this.#older[entry] ?? NONE;
    const newer = this.#newer[entry] ?? NONE;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
  }

  #hash(pasid: number, from: number, order: number): number {
    const high = (from / 2 ** 32) | 0;
    const mixed = Math.imul(
      (from | 0) ^ Math.imul(high + order, 0x85eb_ca6b) ^ Math.imul(pasid, 0xc2b2_ae35),
      0x9e37_79b1,
    );
    return (mixed >>> 12) & this.#hashMask;
  }

  #find(pasid: number, from: number, order: number): number {
    let entry = this.#buckets[this.#hash(pasid, from, order)] ?? NONE;
    while (entry !== NONE) {
      if (this.#from[entry] === from && this.#pasid[entry] === pasid && this.#order[entry] === order) return entry;
      entry = this.#chain[entry] ?? NONE;
    }
    return NONE;
  }

  #remove(entry: number): void {
    const order = this.#order[entry] ?? 0;
    const tag = this.#pasid[entry] ?? 0;
    const bucket = this.#hash(tag, this.#from[entry] ?? 0, order);
    if (this.#buckets[bucket] === entry) {
      this.#buckets[bucket] = this.#chain[entry] ?? NONE;
    } else {
      let before = this.#buckets[bucket] ?? NONE;
      while (this.#chain[before] !== entry) before = this.#chain[before] ?? NONE;
      this.#chain[before] = this.#chain[entry] ?? NONE;
    }
    this.#live[entry] = 0;
    this.#unlink(entry);
    this.#chain[entry] = this.#free;
    this.#free = entry;
    this.#count(order, -1);
    if (tag === ANY_PASID) this.#globals -= 1;
    this.#size -= 1;
  }

  #count(order: number, change: 1 | -1): void {
    const count = (this.#ofOrder[order] ?? 0) + change;
    this.#ofOrder[order] = count;
    if (change === 1 && count === 1) this.#orders.push(order);
    else if (count === 0) this.#orders = this.#orders.filter((other) => other !== order);
  }
}
