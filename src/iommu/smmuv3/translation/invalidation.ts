/** TLB invalidation as the commands define it (IHI 0070 §4.4, §3.17). */
import { StreamWorld } from './context.ts';
import { type Tlb, TlbKey } from './tlb.ts';

/** Operands of CMD_TLBI_*_VA, *_VAA and S2_IPA, decoded. Reused by its owner. */
export class AddressRange {
  world: StreamWorld = StreamWorld.EL1;
  /** Counts in the EL1 world and for S2_IPA. */
  vmid = 0;
  /** -1 for *_VAA. */
  asid = -1;
  /** Address bits 63:12 (IPA: 51:12). */
  page = 0;
  /** Leaf=1 leaves cached table descriptors alone. There are none here, so that it changes nothing. */
  leaf = false;
  /** 0: one address, and NUM, SCALE and TTL are not looked at. 1, 2, 3: 4, 16, 64 KiB. */
  TG = 0;
  NUM = 0;
  SCALE = 0;
  TTL = 0;
}

const TWO_32 = 2 ** 32;
/** Bit n is VA[n + 12]: VA[55] chooses the half, VA[51:12] is the page in it. */
const HALF_BIT = 2 ** 43;
const PAGES = 2 ** 40;
const { GLOBAL, WORLD_MASK, WORLD_SHIFT, SHARED_SET, UPPER, VALID } = TlbKey;
/** Where an entry's origin begins in its attribute word: of stage 1 and of stage 2 (see tlb.ts). */
const STAGE_1 = 10;
const STAGE_2 = 20;
const EVERY_VMID = 0;
const EXACT_VMID = 0xffff;

/** Invalidates entries of both TLBs. Every method looks at each entry at most once, or tries fewer keys than that. */
export class TlbInvalidation {
  readonly #tlb: Tlb;
  readonly #ipaTlb: Tlb;
  readonly #DS: boolean;
  /** Bits of the VMID that must match. */
  #vmidMask = EXACT_VMID;

  constructor(tlb: Tlb, ipaTlb: Tlb, DS: boolean) {
    this.#tlb = tlb;
    this.#ipaTlb = ipaTlb;
    this.#DS = DS;
  }

  /** CR0.VMW (§3.17.6): 1 to 4 low bits of VMIDs are ignored; other values compare all. */
  setVmidWildcard(mode: number): void {
    this.#vmidMask = mode >= 1 && mode <= 4 ? EXACT_VMID & (-1 << mode) : EXACT_VMID;
  }

  all(): void {
    this.#tlb.clear();
    this.#ipaTlb.clear();
  }

  /** Entries of VAs of a world, and of the VMID where one is given. */
  byWorld(world: StreamWorld, vmid = -1): void {
    const mask = vmid < 0 ? EVERY_VMID : this.#vmidMask;
    const key = (world << WORLD_SHIFT) | VALID;
    this.#tlb.removeMatching(WORLD_MASK | VALID, key, mask << 16, ((vmid & mask) << 16) | 0);
  }

  /** Entries of IPAs, of the VMID where one is given. */
  stage2(vmid = -1): void {
    const mask = vmid < 0 ? EVERY_VMID : this.#vmidMask;
    this.#ipaTlb.removeMatching(VALID, VALID, mask << 16, ((vmid & mask) << 16) | 0);
  }

  /** Non-global entries of an ASID. */
  byAsid(world: StreamWorld, vmid: number, asid: number): void {
    const mask = world === StreamWorld.EL1 ? this.#vmidMask : EVERY_VMID;
    const key = (world << WORLD_SHIFT) | VALID;
    const tag = ((vmid & mask) << 16) | asid;
    this.#tlb.removeMatching(WORLD_MASK | VALID | GLOBAL, key, (mask << 16) | 0xffff, tag);
  }

  /** Entries of stage 1 that translate an address of the range; with an ASID, those of it and global ones. */
  byAddress(range: AddressRange): void {
    const tlb = this.#tlb;
    const isEl1 = range.world === StreamWorld.EL1;
    // The EL2 world has no ASIDs: its entries carry none, and the operand is ignored (§4.4.2.8).
    const asid = range.world === StreamWorld.EL2 ? 0 : range.asid;
    const upper = range.world !== StreamWorld.EL2 && Math.floor(range.page / HALF_BIT) % 2 === 1 ? UPPER : 0;
    const key = (range.world << WORLD_SHIFT) | VALID | upper;
    const first = range.page % PAGES;
    const last = this.#lastPage(range, first);
    const vmid = isEl1 ? range.vmid : 0;
    // Keys can be tried only if they are few and complete; splinters answer for addresses outside themselves.
    const isExact = asid >= 0 && tlb.splinters === 0 && (!isEl1 || this.#vmidMask === EXACT_VMID);
    if (isExact && this.#keyCount(first, last, tlb.sizes) * (tlb.globals > 0 ? 3 : 1) <= tlb.used) {
      const vmidTag = (vmid << 16) | 0;
      this.#tryKeys(tlb, range, first, last, key, vmidTag | asid, STAGE_1);
      if (tlb.globals > 0) {
        this.#tryKeys(tlb, range, first, last, key | GLOBAL, vmidTag, STAGE_1);
        this.#tryKeys(tlb, range, first, last, key | GLOBAL | SHARED_SET, vmidTag, STAGE_1);
      }
      return;
    }
    this.#scan(tlb, range, first, last, key, isEl1 ? this.#vmidMask : EVERY_VMID, vmid, asid, STAGE_1);
  }

  /** Entries that hold stage 2 alone and translate an IPA of the range (§4.4.3.1). */
  byIpa(range: AddressRange): void {
    const tlb = this.#ipaTlb;
    const first = range.page % PAGES;
    const last = this.#lastPage(range, first);
    if (this.#vmidMask === EXACT_VMID && this.#keyCount(first, last, tlb.sizes) <= tlb.used) {
      this.#tryKeys(tlb, range, first, last, VALID, (range.vmid << 16) | 0, STAGE_2);
      return;
    }
    this.#scan(tlb, range, first, last, VALID, this.#vmidMask, range.vmid, -1, STAGE_2);
  }

  /** Last page of the range, inside the half it begins in: ranges do not wrap (§4.4.1.1). */
  #lastPage(range: AddressRange, first: number): number {
    if (range.TG === 0) return first;
    const granulePages = 4 ** (range.TG - 1);
    const count = (range.NUM + 1) * 2 ** Math.min(range.SCALE, 39) * granulePages;
    return Math.min(first + count, PAGES) - 1;
  }

  #keyCount(first: number, last: number, sizes: number): number {
    let count = 0;
    for (let left = sizes; left !== 0; left &= left - 1) {
      const size = (left & -left) >>> 0;
      count += Math.floor(last / size) - Math.floor(first / size) + 1;
    }
    return count;
  }

  #tryKeys(
    tlb: Tlb,
    range: AddressRange,
    first: number,
    last: number,
    key: number,
    tag: number,
    originShift: number,
  ): void {
    for (let left = tlb.sizes; left !== 0; left &= left - 1) {
      const bit = left & -left;
      const size = bit >>> 0;
      for (let page = first - (first % size); page <= last; page += size) {
        const at = tlb.find(page | 0, key | Math.floor(page / TWO_32), tag, bit);
        if (at >= 0 && this.#matchesHint(tlb, range, at, originShift)) tlb.remove(at);
      }
    }
  }

  #scan(
    tlb: Tlb,
    range: AddressRange,
    first: number,
    last: number,
    key: number,
    vmidMask: number,
    vmid: number,
    asid: number,
    originShift: number,
  ): void {
    for (let at = tlb.next(-1); at >= 0; at = tlb.next(at)) {
      const sized = tlb.key(at);
      if ((sized & (WORLD_MASK | VALID | UPPER)) !== key) continue;
      const tag = tlb.tag(at);
      if (((tag >>> 16) & vmidMask) !== (vmid & vmidMask)) continue;
      if (asid >= 0 && (sized & GLOBAL) === 0 && (tag & 0xffff) !== asid) continue;
      // What counts is the range of the leaf, of which the entry may be a splinter (D8.17, R_LGSCG).
      const leaf = (tlb.attributes(at) >>> (originShift + 5)) & 31;
      const size = 2 ** Math.max(tlb.pages(at), leaf);
      const page = (sized & 0xff) * TWO_32 + (tlb.pageLow(at) >>> 0);
      const start = page - (page % size);
      if (start <= last && start + size > first && this.#matchesHint(tlb, range, at, originShift)) tlb.remove(at);
    }
  }

  /** Whether TG and TTL, if given, are those of the walk that made the entry: only then must it go (§4.4.1.1). */
  #matchesHint(tlb: Tlb, range: AddressRange, at: number, originShift: number): boolean {
    const { TG } = range;
    if (TG === 0) return true;
    const origin = tlb.attributes(at) >>> originShift;
    if (((origin >>> 3) & 3) !== TG) return false;
    const isReserved = TG === 2 && range.TTL === 1 && !this.#DS;
    return range.TTL === 0 || isReserved || (origin & 7) === range.TTL + 1;
  }
}
