/**
 * The translation lookaside buffer: a fixed number of entries, found by hash, replaced round robin.
 *
 * An entry maps one naturally aligned range, as large as its leaf (or group of contiguous leaves) allows. There is one
 * TLB of VAs, whose entries go all the way to physical addresses where both stages translate, and one of IPAs. Which
 * addresses, ASIDs and VMIDs an entry answers for is IHI 0070 §3.17. Nothing is dropped but by replacement or
 * invalidation, so that a missing invalidation shows.
 *
 * An entry is eight 32-bit words:
 *   0  page bits 31:0, aligned to the range
 *   1  key: page bits 39:32 (7:0), VA[55] (8), StreamWorld (10:9), log2 of the pages of the range (15:11), valid (16),
 *      global (17), shared set of ASIDs (18)
 *   2  tag: VMID (31:16), ASID (15:0)
 *   3  output page bits 31:0
 *   4  output page bits 39:32 (7:0), granted permissions (13:8), stage 1's own (19:14), may become writable (20),
 *      not global (21), IPA page bits 39:32 (31:24)
 *   5  attributes (7:0), shareability (9:8), origin (31:10)
 *   6  IPA page bits 31:0
 *   7  next entry of the same bucket
 * Attributes are in MAIR format; in stage 2 entries they are MemAttr and S2FWB.
 * The origin is, for invalidation hints: of stage 1, level + 1 (12:10), granule code (14:13), log2 pages (19:15); of
 * stage 2, level + 1 (22:20), granule code (24:23), log2 pages (29:25).
 */
import { assert } from '../../../assert.ts';

// Constants of hot code stay inside their module: the engine cannot fold an imported or exported one. Words are
// addressed with `|`, as entries are aligned: an addition would be checked for overflow.
const ENTRY_SHIFT = 3;
const ENTRY_WORDS = 1 << ENTRY_SHIFT;
const KEY = 1;
const TAG = 2;
const OUTPUT = 3;
const GRANT = 4;
const ATTRIBUTES = 5;
const IPA = 6;
const NEXT = 7;

const UPPER = 1 << 8;
const WORLD_SHIFT = 9;
const WORLD_MASK = 3 << WORLD_SHIFT;
const PAGES_SHIFT = 11;
const VALID = 1 << 16;
const GLOBAL = 1 << 17;
const SHARED_SET = 1 << 18;

/** Parts of the key. Entries of IPAs have VALID and the page alone. */
export const TlbKey = { UPPER, WORLD_SHIFT, WORLD_MASK, VALID, GLOBAL, SHARED_SET } as const;

/** Flags of the grant word. */
export const Grant = { WRITABLE_LATER: 1 << 20, NOT_GLOBAL: 1 << 21 } as const;

const MIX = 0x9e37_79b1 | 0;
const END = -1;

/** log2 of the pages of the stage 1 leaf that an entry comes from; 0 for entries of stage 2. */
const leafPages = (attributes: number): number => (attributes >>> 15) & 31;

export class Tlb {
  readonly #words: Int32Array;
  readonly capacity: number;
  /** Sizes in use, bit n for ranges of 2^n pages. */
  sizes = 0;
  /** Global entries. */
  globals = 0;
  /** Entries that cover less than their stage 1 leaf, because stage 2 maps smaller pages. */
  splinters = 0;
  readonly #heads: Int32Array;
  readonly #bucketShift: number;
  /** How many entries have each size. */
  readonly #sizes = new Uint32Array(32);
  /** Slots below have been used; those that are free again form a list. */
  #used = 0;
  #free = END;
  /** Next slot to replace once all are in use. */
  #oldest = 0;
  #live = 0;

  constructor(capacity: number) {
    const bits = Math.log2(capacity);
    assert(Number.isInteger(bits) && bits >= 4 && bits <= 20, `TLB of ${capacity} entries: a power of two, 16 to 2^20`);
    this.capacity = capacity;
    this.#words = new Int32Array(capacity * ENTRY_WORDS);
    // Two buckets an entry keep chains short.
    this.#heads = new Int32Array(capacity * 2);
    this.#bucketShift = 32 - bits - 1;
    this.#empty();
  }

  /** Entries that may answer. */
  get size(): number {
    return this.#live;
  }

  /** Upper bound of the entries that a scan looks at. */
  get used(): number {
    return this.#used;
  }

  // Words of the entry at index `at`.

  pageLow(at: number): number {
    return this.#words[at] ?? 0;
  }

  key(at: number): number {
    return this.#words[at | KEY] ?? 0;
  }

  tag(at: number): number {
    return this.#words[at | TAG] ?? 0;
  }

  outputLow(at: number): number {
    return this.#words[at | OUTPUT] ?? 0;
  }

  grant(at: number): number {
    return this.#words[at | GRANT] ?? 0;
  }

  attributes(at: number): number {
    return this.#words[at | ATTRIBUTES] ?? 0;
  }

  ipaLow(at: number): number {
    return this.#words[at | IPA] ?? 0;
  }

  /** log2 of the pages that the entry covers. */
  pages(at: number): number {
    return ((this.#words[at | KEY] ?? 0) >>> PAGES_SHIFT) & 31;
  }

  /**
   * Index of the first word of the entry for page `low` (bits 31:0) under `key` (which has the upper bits, without the
   * size) and `tag`, or -1. `sizes` are the sizes to try, smallest first.
   */
  find(low: number, key: number, tag: number, sizes: number): number {
    const words = this.#words;
    const heads = this.#heads;
    const bucketShift = this.#bucketShift;
    const seed = Math.imul(tag ^ key, MIX);
    for (let left = sizes; left !== 0; left &= left - 1) {
      const shift = 31 - Math.clz32(left & -left);
      const index = low >>> shift;
      const page = index << shift;
      const sized = key | (shift << PAGES_SHIFT);
      let slot = heads[Math.imul(index ^ seed, MIX) >>> bucketShift] ?? END;
      while (slot >= 0) {
        const at = slot << ENTRY_SHIFT;
        if ((words[at] ?? 0) === page && (words[at | KEY] ?? 0) === sized && (words[at | TAG] ?? 0) === tag) {
          return at;
        }
        slot = words[at | NEXT] ?? 0;
      }
    }
    return END;
  }

  /** Whether an entry of another size than the one at index `at` answers as well. */
  isAmbiguous(at: number, low: number, key: number, tag: number, sizes: number): boolean {
    const shift = ((this.#words[at | KEY] ?? 0) >>> PAGES_SHIFT) & 31;
    const others = sizes & ~(1 << shift);
    return others !== 0 && this.find(low, key, tag, others) >= 0;
  }

  /**
   * Enters what the range of 2^`pages` pages around `low` maps to; the last four are words of the entry. The caller has
   * looked for such an entry and found none, of any size: two of one key would outlive an invalidation that looks for one.
   * When no slot is free, the entry of the next slot in turn makes room.
   */
  insert(
    low: number,
    key: number,
    tag: number,
    pages: number,
    outputLow: number,
    grant: number,
    attributes: number,
    ipaLow: number,
  ): void {
    const words = this.#words;
    let slot = this.#free;
    if (slot >= 0) this.#free = words[(slot << ENTRY_SHIFT) | NEXT] ?? 0;
    else if (this.#used < this.capacity) slot = this.#used++;
    else slot = this.#replaceOldest();
    const at = slot << ENTRY_SHIFT;
    const index = low >>> pages;
    const bucket = Math.imul(index ^ Math.imul(tag ^ key, MIX), MIX) >>> this.#bucketShift;
    words[at] = index << pages;
    words[at | KEY] = key | (pages << PAGES_SHIFT);
    words[at | TAG] = tag | 0;
    words[at | NEXT] = this.#heads[bucket] ?? END;
    this.#heads[bucket] = slot;
    this.#live += 1;
    if ((key & GLOBAL) !== 0) this.globals += 1;
    this.#count(pages, 1);
    words[at | OUTPUT] = (outputLow >>> pages) << pages;
    words[at | GRANT] = grant | 0;
    words[at | ATTRIBUTES] = attributes | 0;
    words[at | IPA] = (ipaLow >>> pages) << pages;
    if (leafPages(attributes) > pages) this.splinters += 1;
  }

  /**
   * Index of the first word of the entry after the one at `at`, -1 to begin; -1 when there is none. Entries may go
   * meanwhile.
   */
  next(at: number): number {
    const words = this.#words;
    const end = this.#used * ENTRY_WORDS;
    for (let slot = at < 0 ? 0 : at + ENTRY_WORDS; slot < end; slot += ENTRY_WORDS) {
      if (((words[slot | KEY] ?? 0) & VALID) !== 0) return slot;
    }
    return END;
  }

  /** Removes the entry at index `at`. */
  remove(at: number): void {
    const slot = at >>> ENTRY_SHIFT;
    this.#unlink(slot);
    this.#words[at | KEY] = 0;
    this.#words[at | NEXT] = this.#free;
    this.#free = slot;
    if (this.#live === 0) {
      this.#used = 0;
      this.#free = END;
      this.#oldest = 0;
    }
  }

  /** Removes every entry that answers for page `low` under `key` and `tag`, of whatever size. */
  removeAll(low: number, key: number, tag: number): void {
    for (let at = this.find(low, key, tag, this.sizes); at >= 0; at = this.find(low, key, tag, this.sizes)) {
      this.remove(at);
    }
  }

  /** Removes the entries whose masked key and tag have these values; looks at every used slot once. */
  removeMatching(keyMask: number, key: number, tagMask: number, tag: number): void {
    const words = this.#words;
    for (let at = this.#used * ENTRY_WORDS - ENTRY_WORDS; at >= 0; at -= ENTRY_WORDS) {
      if (((words[at | KEY] ?? 0) & keyMask) !== key) continue;
      if (((words[at | TAG] ?? 0) & tagMask) === tag) this.remove(at);
    }
  }

  /** Removes everything. */
  clear(): void {
    for (let at = 0; at < this.#used * ENTRY_WORDS; at += ENTRY_WORDS) this.#words[at | KEY] = 0;
    this.#empty();
  }

  /** Makes room in the slot that is next in turn. */
  #replaceOldest(): number {
    const slot = this.#oldest;
    this.#oldest = slot + 1 === this.capacity ? 0 : slot + 1;
    this.#unlink(slot);
    return slot;
  }

  #empty(): void {
    this.#heads.fill(END);
    this.#sizes.fill(0);
    this.sizes = 0;
    this.globals = 0;
    this.splinters = 0;
    this.#used = 0;
    this.#free = END;
    this.#oldest = 0;
    this.#live = 0;
  }

  #unlink(slot: number): void {
    const words = this.#words;
    const at = slot << ENTRY_SHIFT;
    const sized = words[at | KEY] ?? 0;
    const shift = (sized >>> PAGES_SHIFT) & 31;
    const key = sized & ~(31 << PAGES_SHIFT);
    const page = (words[at] ?? 0) >>> shift;
    const seed = Math.imul((words[at | TAG] ?? 0) ^ key, MIX);
    const bucket = Math.imul(page ^ seed, MIX) >>> this.#bucketShift;
    const next = words[at | NEXT] ?? 0;
    let before = this.#heads[bucket] ?? END;
    if (before === slot) {
      this.#heads[bucket] = next;
    } else {
      for (;;) {
        assert(before >= 0, 'a TLB entry is in the chain of its bucket');
        const following = words[(before << ENTRY_SHIFT) | NEXT] ?? 0;
        if (following === slot) break;
        before = following;
      }
      words[(before << ENTRY_SHIFT) | NEXT] = next;
    }
    this.#live -= 1;
    if ((key & GLOBAL) !== 0) this.globals -= 1;
    if (leafPages(words[at | ATTRIBUTES] ?? 0) > shift) this.splinters -= 1;
    this.#count(shift, -1);
  }

  /** A size comes into use with its first entry and goes with its last. */
  #count(pages: number, change: number): void {
    const before = this.#sizes[pages] ?? 0;
    this.#sizes[pages] = before + change;
    if ((before | (before + change)) === 1) this.sizes ^= 1 << pages;
  }
}
