/**
 * Address translation: TLB look-up, walks of one or two stages, permissions, hardware update of descriptors.
 * IHI 0070 §3.3, §3.4, §3.13; DDI 0487 D8.
 *
 * Nothing here allocates per translation. An access that hits does one or two hash look-ups; a walk reads descriptors
 * in place. Big-endian tables work; whether they are announced (IDR0.TTENDIAN) is the owner's choice.
 */
import type { Memory } from '../../../hw/memory.ts';
import { EventType, FaultClass } from '../../spec/events.layout.ts';
import {
  combineAttributes,
  combineHints,
  combineShareability,
  consistentShareability,
  MemoryAttribute,
  normalizeAttributes,
} from './attributes.ts';
import { ContextFlag, RegionFlag, StreamWorld, type TableRegion, type TranslationContext } from './context.ts';
import { stage1Fault } from './fault.ts';
import { type AddressRange, TlbInvalidation } from './invalidation.ts';
import { type Access, type Outcome, Permission, Purpose } from './outcome.ts';
import { WRITES } from './permissions.ts';
import { RETRY, Stage1Translation } from './stage1.ts';
import { Mode, Stage2Translation } from './stage2.ts';
import { Grant, Tlb, TlbKey } from './tlb.ts';

export interface TranslatorOptions {
  readonly memory: Memory;
  /** IDR5.OAS in bits: 32, 36, 40, 42, 44, 48 or 52. */
  readonly outputBits: number;
  /** IDR3.XNX: stage 2 XN has two bits. */
  readonly XNX: boolean;
  /** IDR3.BBML. Below 2, overlapping entries of different sizes give F_TLB_CONFLICT; from 1, nT keeps a block uncached. */
  readonly BBML: 0 | 1 | 2;
  /** IDR5.DS: TTL=1 with TG of 16 KiB means level 1. */
  readonly DS?: boolean;
  /** Entries of the TLB of VAs, and as many of that of IPAs: a power of two, 16 to 2^20. */
  readonly tlbEntries?: number;
}

// Hot code reads constants of its own module only: the engine cannot fold imported ones.
const TWO_32 = 2 ** 32;
const { READ, WRITE, EXECUTE } = Permission;
const { ATS, PREFETCH } = Purpose;
const { IN } = FaultClass;
const { PROBE, UPDATE } = Mode;
const { NOT_GLOBAL, WRITABLE_LATER } = Grant;
const { UPPER } = TlbKey;
const { EL1, EL2, EL2_E2H } = StreamWorld;
const { STAGE_1, STAGE_2, TWO_RANGES } = ContextFlag;
const { TOP_BYTE_IGNORED, UNPRIVILEGED_FORBIDDEN, DISABLED } = RegionFlag;
const WRITE_BITS = WRITES;
const { WRITE_BACK } = MemoryAttribute;
const DEFAULT_TLB_ENTRIES = 8192;
/** A retry follows an update that does not happen twice: no translation needs this many. */
const MAX_ATTEMPTS = 64;

// Booleans of an access are compared with true, which the engine does in one step.

/** Where the permission bits of the privilege of an access begin: privileged ones are bits 2:0, the others bits 5:3. */
const privilegeShift = (access: Access): number => (access.privileged === true ? 0 : 3);

/** What an access needs, as {@link Permission} bits. Writes are data (§13.1.2): an access that fetches does not write. */
function needOf(access: Access): number {
  const read = access.instruction === true ? EXECUTE : READ;
  return (access.read === true ? read : 0) | (access.write === true ? WRITE : 0);
}

/** An attribute word with the allocation hints of the incoming access. */
const withHints = (word: number, incoming: number): number => (word & ~0xff) | combineHints(word & 0xff, incoming);

const isProbe = (access: Access): boolean => access.purpose === ATS || access.purpose === PREFETCH;

export class Translator {
  /** Entries of VAs. */
  readonly tlb: Tlb;
  /** Entries of IPAs: of streams with stage 2 alone, and of what stage 1 walks and outputs. */
  readonly ipaTlb: Tlb;
  readonly #stage1: Stage1Translation;
  /** Of outputs of stage 1; stage 1 has its own for descriptors. */
  readonly #stage2: Stage2Translation;
  readonly #invalidation: TlbInvalidation;
  readonly #outputBits: number;
  /** Pages of the physical address space. */
  readonly #outputPages: number;
  /** Whether overlapping entries are a fault (BBML below 2), as 0 or 1. */
  readonly #conflicts: number;

  constructor(options: TranslatorOptions) {
    const { memory, outputBits, XNX, BBML, DS = false, tlbEntries = DEFAULT_TLB_ENTRIES } = options;
    this.tlb = new Tlb(tlbEntries);
    this.ipaTlb = new Tlb(tlbEntries);
    this.#stage2 = new Stage2Translation(memory, this.ipaTlb, XNX, BBML);
    const descriptors = new Stage2Translation(memory, this.ipaTlb, XNX, BBML);
    this.#stage1 = new Stage1Translation(memory, descriptors, BBML);
    this.#invalidation = new TlbInvalidation(this.tlb, this.ipaTlb, DS);
    this.#outputBits = outputBits;
    this.#outputPages = 2 ** (outputBits - 12);
    this.#conflicts = BBML < 2 ? 1 : 0;
  }

  /** Translates one access. Returns 0, or the number of the event that describes the fault; `outcome` has the rest. */
  translate(context: TranslationContext, access: Access, outcome: Outcome): EventType | 0 {
    this.#begin(access, outcome);
    const { flags } = context;
    if ((flags & STAGE_1) === 0) return this.#translateIpa(context, access, outcome);
    const { page } = access;
    const low = page | 0;
    let high = (page / TWO_32) | 0;
    const { stage1 } = context;
    // VA[55] chooses the range (D8.2.4).
    const isUpper = (flags & TWO_RANGES) !== 0 && (high & 0x800) !== 0;
    const region = isUpper ? stage1.upper : stage1.lower;
    if ((region.flags & TOP_BYTE_IGNORED) !== 0) high = isUpper ? high | 0xff000 : high & 0xfff;
    const outside = isUpper
      ? (~high & region.outsideHigh) | (~low & region.outsideLow)
      : (high & region.outsideHigh) | (low & region.outsideLow);
    if (outside !== 0 || ((region.flags & UNPRIVILEGED_FORBIDDEN) !== 0 && !access.privileged)) {
      return stage1Fault(outcome, EventType.F_TRANSLATION, 0);
    }
    const { tlb } = this;
    const position = (isUpper ? UPPER : 0) | (high & 0xff);
    let at = tlb.find(low, context.key | position, context.tag, tlb.sizes);
    if (at < 0 && tlb.globals > 0) at = tlb.find(low, context.globalKey | position, context.vmidTag, tlb.sizes);
    if (at < 0) return this.#translateByWalk(context, region, access, low, position, outcome);
    if (this.#conflicts !== 0 && this.#isAmbiguous(context, at, low, position)) {
      return stage1Fault(outcome, EventType.F_TLB_CONFLICT, 0);
    }
    const grant = tlb.grant(at);
    const granted = (grant >>> (8 + privilegeShift(access))) & 7;
    const lacking = needOf(access) & ~granted;
    if (lacking !== 0) {
      // What is cached of a writable-clean page may be stale: its descriptor is read again (D8.5.2.1, R_SGJBL).
      if ((lacking & WRITE) !== 0 && (grant & WRITABLE_LATER) !== 0) {
        tlb.remove(at);
        return this.#translateByWalk(context, region, access, low, position, outcome);
      }
      if (!isProbe(access)) return this.#permissionFault(at, access, lacking, low, outcome);
    }
    outcome.hit = true;
    this.#answer(at, access, low, grant, granted, outcome);
    return 0;
  }

  /**
   * Stage 1 alone, VA to IPA, for ATOS requests of that type (§9.1.3). Where stage 2 is enabled it translates the table
   * fetches (its faults have CLASS=TTD) but not the result: `outcome.page` is the IPA. Goes past the TLB of stage 1.
   */
  translateStage1(context: TranslationContext, access: Access, outcome: Outcome): EventType | 0 {
    this.#begin(access, outcome);
    const low = access.page | 0;
    let high = (access.page / TWO_32) | 0;
    const isUpper = (context.flags & TWO_RANGES) !== 0 && (high & 0x800) !== 0;
    const region = isUpper ? context.stage1.upper : context.stage1.lower;
    if ((region.flags & TOP_BYTE_IGNORED) !== 0) high = isUpper ? high | 0xff000 : high & 0xfff;
    const outside = isUpper
      ? (~high & region.outsideHigh) | (~low & region.outsideLow)
      : (high & region.outsideHigh) | (low & region.outsideLow);
    const forbidden = access.privileged ? DISABLED : DISABLED | UNPRIVILEGED_FORBIDDEN;
    if (outside !== 0 || (region.flags & forbidden) !== 0) {
      return stage1Fault(outcome, EventType.F_TRANSLATION, 0);
    }
    return this.#walkStage1Only(context, region, access, low, high & 0xff, outcome);
  }

  /**
   * Stage 2 alone, IPA to PA (`access.page` is the IPA), whatever stage 1 is: ATOS requests of that type (§9.1.3) and
   * translated transactions of split-stage ATS (§13.6.3). Faults have CLASS=IN.
   */
  translateStage2(context: TranslationContext, access: Access, outcome: Outcome): EventType | 0 {
    this.#begin(access, outcome);
    return this.#translateIpa(context, access, outcome);
  }

  /**
   * Translates the IPA of a CD or level 1 CD through stage 2 (§3.3.2): a read whose faults have CLASS=CD. `ipaPage` is
   * IPA bits 51:12. Only the stage 2 part of `context` is used. `update` is false for ATOS with HTTUI=1.
   */
  translateDescriptorAddress(
    context: TranslationContext,
    ipaPage: number,
    outcome: Outcome,
    update = true,
  ): EventType | 0 {
    outcome.event = 0;
    outcome.steps = 0;
    outcome.hit = false;
    outcome.RnW = true;
    const low = ipaPage | 0;
    const mode = update ? UPDATE : 0;
    const stage2 = this.#stage2;
    const high = (ipaPage / TWO_32) | 0;
    const event = stage2.translate(context, low, high, READ, mode, FaultClass.CD, outcome);
    if (event !== 0) return event;
    outcome.hit = outcome.steps === 0;
    outcome.page = stage2.pageHigh * TWO_32 + (stage2.pageLow >>> 0);
    outcome.sizeBits = stage2.pages + 12;
    outcome.permissions = stage2.granted & 7;
    const attributes = combineAttributes(WRITE_BACK, stage2.memAttr);
    outcome.attributeWord = attributes | (consistentShareability(attributes, stage2.shareability) << 8);
    return 0;
  }

  /** CR0.VMW (§6.3.9): invalidations by VMID ignore that many low bits, 1 to 4; other values compare all. */
  setVmidWildcard(mode: number): void {
    this.#invalidation.setVmidWildcard(mode);
  }

  /** Everything, as at reset. */
  invalidateAll(): void {
    this.#invalidation.all();
  }

  /** CMD_TLBI_NSNH_ALL: every NS-EL1 entry, stage 1 and 2, all VMIDs. */
  invalidateNonHyp(): void {
    this.#invalidation.byWorld(EL1);
    this.#invalidation.stage2();
  }

  /** CMD_TLBI_NH_ALL: entries of a VMID that hold stage 1. */
  invalidateStage1(vmid: number): void {
    this.#invalidation.byWorld(EL1, vmid);
  }

  /** CMD_TLBI_S12_VMALL: entries of both stages of a VMID. */
  invalidateVm(vmid: number): void {
    this.#invalidation.byWorld(EL1, vmid);
    this.#invalidation.stage2(vmid);
  }

  /** CMD_TLBI_EL2_ALL: NS-EL2 and NS-EL2-E2H. */
  invalidateHyp(): void {
    this.#invalidation.byWorld(EL2);
    this.#invalidation.byWorld(EL2_E2H);
  }

  /** CMD_TLBI_NH_ASID and EL2_ASID: non-global entries of an ASID. */
  invalidateAsid(world: StreamWorld, vmid: number, asid: number): void {
    this.#invalidation.byAsid(world, vmid, asid);
  }

  /** CMD_TLBI_NH_VA, NH_VAA, EL2_VA, EL2_VAA. */
  invalidateAddress(range: AddressRange): void {
    this.#invalidation.byAddress(range);
  }

  /** CMD_TLBI_S2_IPA: combined entries stay, as §4.4.3.1 permits, until stage 1 is invalidated. */
  invalidateIpa(range: AddressRange): void {
    this.#invalidation.byIpa(range);
  }

  #begin(access: Access, outcome: Outcome): void {
    outcome.event = 0;
    outcome.steps = 0;
    outcome.hit = false;
    outcome.RnW = !access.write;
  }

  #isAmbiguous(context: TranslationContext, at: number, low: number, position: number): boolean {
    const { tlb } = this;
    const { sizes } = tlb;
    if (tlb.isAmbiguous(at, low, context.key | position, context.tag, sizes)) return true;
    if (tlb.globals === 0) return false;
    const other = tlb.find(low, context.globalKey | position, context.vmidTag, sizes);
    return other >= 0 && other !== at;
  }

  /** A fault of a cached entry: of stage 1 if it denies by itself. */
  #permissionFault(at: number, access: Access, lacking: number, low: number, outcome: Outcome): EventType {
    const { tlb } = this;
    const grant = tlb.grant(at);
    const own = (grant >>> (14 + privilegeShift(access))) & 7;
    const isStage1 = (needOf(access) & ~own) !== 0;
    const origin = tlb.attributes(at) >>> (isStage1 ? 10 : 20);
    outcome.hit = true;
    stage1Fault(outcome, EventType.F_PERMISSION, (origin & 7) - 1);
    const denied = isStage1 ? needOf(access) & ~own : lacking;
    outcome.RnW = (denied & WRITE) === 0;
    if (!isStage1) {
      outcome.stage2 = true;
      outcome.setIpa(tlb.ipaLow(at) | (low & ((1 << tlb.pages(at)) - 1)), grant >>> 24);
    }
    return EventType.F_PERMISSION;
  }

  /** Fills the outcome from the entry at byte offset `at`. */
  #answer(at: number, access: Access, low: number, grant: number, granted: number, outcome: Outcome): void {
    const { tlb } = this;
    const attributes = tlb.attributes(at);
    const pages = tlb.pages(at);
    const inside = low & ((1 << pages) - 1);
    outcome.page = (grant & 0xff) * TWO_32 + ((tlb.outputLow(at) | inside) >>> 0);
    outcome.ipaLow = tlb.ipaLow(at) | inside;
    outcome.grantWord = grant;
    outcome.attributeWord = access.attributes === WRITE_BACK ? attributes : withHints(attributes, access.attributes);
    outcome.sizeBits = pages + 12;
    outcome.permissions = granted;
  }

  #translateByWalk(
    context: TranslationContext,
    region: TableRegion,
    access: Access,
    low: number,
    position: number,
    outcome: Outcome,
  ): EventType | 0 {
    if ((region.flags & DISABLED) !== 0) return stage1Fault(outcome, EventType.F_TRANSLATION, 0);
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const event = this.#attempt(context, region, access, low, position, outcome);
      if (event !== RETRY) return event;
    }
    return this.#stage1.abort(outcome);
  }

  /** One walk of all stages. */
  #attempt(
    context: TranslationContext,
    region: TableRegion,
    access: Access,
    low: number,
    position: number,
    outcome: Outcome,
  ): EventType | 0 | typeof RETRY {
    const stage1 = this.#stage1;
    const stage2 = this.#stage2;
    const isProbing = isProbe(access);
    const mayUpdate = access.update === true && access.purpose !== PREFETCH;
    const mode = mayUpdate ? UPDATE : 0;
    let event = stage1.walk(context, region, low, position & 0xff, mode, outcome);
    if (event !== 0) return event;
    const shift = privilegeShift(access);
    const need = needOf(access) << shift;
    const lacking = need & ~stage1.grantable;
    if (lacking !== 0 && !isProbing) return this.#stage1PermissionFault(lacking, outcome);
    // From here on, what stage 1 can grant of what is wanted; a probe that is granted nothing ends (§3.9.1.2).
    const wanted = need & stage1.grantable;
    if (wanted === 0) {
      this.#answerNothing(outcome);
      return 0;
    }
    let allowed = wanted;
    let cacheable = stage1.cacheable;
    if ((context.flags & STAGE_2) !== 0) {
      const stage2Mode = isProbing ? mode | PROBE : mode;
      const { pageLow, pageHigh } = stage1;
      event = stage2.translate(context, pageLow, pageHigh, wanted, stage2Mode, IN, outcome);
      if (event !== 0) return event;
      allowed = wanted & stage2.granted;
      cacheable &&= stage2.cacheable !== 0;
    }
    // Only an access that both stages let write makes the page dirty; only one that is let through marks it accessed.
    const makesDirty = (allowed & WRITE_BITS & ~stage1.granted) !== 0;
    if (allowed !== 0 && (stage1.unaccessed !== 0 || makesDirty)) {
      if (mayUpdate) {
        const result = stage1.update(context, region, makesDirty, mode, outcome);
        if (result !== 0) return result;
      } else {
        // ATOS with HTTUI=1 answers as if the descriptor had been updated, and leaves no trace (chapter 9).
        if (makesDirty && !isProbing) stage1.granted = stage1.grantable;
        cacheable = false;
      }
    }
    this.#finish(context, region, access, low, position, cacheable && stage1.unaccessed === 0, outcome);
    return 0;
  }

  /** Answers from the last walk, and keeps the answer in the TLB if it may be cached. */
  #finish(
    context: TranslationContext,
    region: TableRegion,
    access: Access,
    low: number,
    position: number,
    cacheable: boolean,
    outcome: Outcome,
  ): void {
    const stage1 = this.#stage1;
    let { pageLow, pageHigh, granted } = stage1;
    let pages = stage1.pages(region, low);
    let attributes = stage1.attributes(context);
    let shareability = stage1.shareability(region);
    let origin = stage1.origin(region) << 10;
    let later = granted !== stage1.grantable ? WRITABLE_LATER : 0;
    if ((context.flags & STAGE_2) !== 0) {
      const stage2 = this.#stage2;
      pageLow = stage2.pageLow;
      pageHigh = stage2.pageHigh;
      if (stage2.pages < pages) pages = stage2.pages;
      granted &= stage2.granted;
      later |= stage2.writableLater;
      attributes = combineAttributes(attributes, stage2.memAttr);
      shareability = combineShareability(shareability, stage2.shareability);
      origin |= stage2.origin << 20;
    }
    // The EL2 world has no ASIDs; its entries are kept as non-global ones of ASID 0.
    const isGlobal = stage1.notGlobal === 0 && (context.flags & TWO_RANGES) !== 0;
    const notGlobal = isGlobal || (context.flags & TWO_RANGES) === 0 ? 0 : NOT_GLOBAL;
    const grant = pageHigh | (granted << 8) | (stage1.granted << 14) | later | notGlobal | (stage1.pageHigh << 24);
    const word = attributes | (consistentShareability(attributes, shareability) << 8) | origin;
    if (cacheable === true) {
      const key = (isGlobal ? context.globalKey : context.key) | position;
      const tag = isGlobal ? context.vmidTag : context.tag;
      this.tlb.insert(low, key, tag, pages, pageLow, grant, word, stage1.pageLow);
    }
    outcome.page = pageHigh * TWO_32 + (pageLow >>> 0);
    outcome.ipaLow = stage1.pageLow;
    outcome.grantWord = grant;
    outcome.attributeWord = access.attributes === WRITE_BACK ? word : withHints(word, access.attributes);
    outcome.sizeBits = pages + 12;
    outcome.permissions = (granted >>> privilegeShift(access)) & 7;
  }

  /** A probe that stage 1 grants nothing: no output, and stage 2 is not asked. */
  #answerNothing(outcome: Outcome): void {
    outcome.page = 0;
    outcome.setIpa(0, 0);
    outcome.attributeWord = 0;
    outcome.sizeBits = 12;
    outcome.permissions = 0;
  }

  #walkStage1Only(
    context: TranslationContext,
    region: TableRegion,
    access: Access,
    low: number,
    high: number,
    outcome: Outcome,
  ): EventType | 0 {
    const stage1 = this.#stage1;
    const mode = access.update ? UPDATE : 0;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const event = stage1.walk(context, region, low, high, mode, outcome);
      if (event !== 0) return event;
      const need = needOf(access) << privilegeShift(access);
      const lacking = need & ~stage1.grantable;
      if (lacking !== 0) return this.#stage1PermissionFault(lacking, outcome);
      const makesDirty = (need & WRITE_BITS & ~stage1.granted) !== 0;
      if (access.update && (stage1.unaccessed !== 0 || makesDirty)) {
        const result = stage1.update(context, region, makesDirty, mode, outcome);
        if (result === RETRY) continue;
        if (result !== 0) return result;
      }
      const attributes = stage1.attributes(context);
      outcome.page = stage1.pageHigh * TWO_32 + (stage1.pageLow >>> 0);
      outcome.setIpa(stage1.pageLow, stage1.pageHigh);
      if ((context.flags & TWO_RANGES) !== 0 && stage1.notGlobal !== 0) outcome.grantWord |= NOT_GLOBAL;
      outcome.attributeWord = attributes | (consistentShareability(attributes, stage1.shareability(region)) << 8);
      outcome.sizeBits = stage1.pages(region, low) + 12;
      outcome.permissions = ((makesDirty ? stage1.grantable : stage1.granted) >>> privilegeShift(access)) & 7;
      return 0;
    }
    return stage1.abort(outcome);
  }

  #stage1PermissionFault(lacking: number, outcome: Outcome): EventType {
    outcome.RnW = (lacking & WRITE_BITS) === 0;
    return stage1Fault(outcome, EventType.F_PERMISSION, this.#stage1.level);
  }

  /** Without stage 1: the input is the IPA, or with no stage at all the output (§3.4). */
  #translateIpa(context: TranslationContext, access: Access, outcome: Outcome): EventType | 0 {
    const { page } = access;
    // The IPA size is the physical one, as VMSAv8-32 is not implemented.
    if (page >= this.#outputPages) return stage1Fault(outcome, EventType.F_ADDR_SIZE, 0);
    const high = (page / TWO_32) | 0;
    outcome.setIpa(page | 0, high);
    if ((context.flags & STAGE_2) === 0) {
      const attributes = normalizeAttributes(access.attributes);
      outcome.page = page;
      outcome.attributeWord = attributes | (consistentShareability(attributes, access.shareability) << 8);
      outcome.sizeBits = this.#outputBits;
      outcome.permissions = READ | WRITE | EXECUTE;
      return 0;
    }
    const stage2 = this.#stage2;
    const shift = privilegeShift(access);
    const mayUpdate = access.update === true && access.purpose !== PREFETCH;
    const mode = (isProbe(access) ? PROBE : 0) | (mayUpdate ? UPDATE : 0);
    const need = needOf(access) << shift;
    const event = stage2.translate(context, page | 0, high, need, mode, IN, outcome);
    if (event !== 0) return event;
    outcome.hit = outcome.steps === 0;
    outcome.page = stage2.pageHigh * TWO_32 + (stage2.pageLow >>> 0);
    outcome.sizeBits = stage2.pages + 12;
    outcome.permissions = (stage2.granted >>> shift) & 7;
    const attributes = combineAttributes(access.attributes, stage2.memAttr);
    const shareability = combineShareability(access.shareability, stage2.shareability);
    outcome.attributeWord = attributes | (consistentShareability(attributes, shareability) << 8);
    return 0;
  }
}
