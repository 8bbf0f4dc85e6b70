/**
 * Address translation: TLB look-up, walks of one or two stages, permissions, hardware update of descriptors.
 * IHI 0070 §3.3, §3.4, §3.13; DDI 0487 D8.
 *
 * Nothing here allocates per translation. An access that hits does one or two hash look-ups; a walk (two-stage-walk.ts)
 * reads descriptors in place. Big-endian tables work; whether they are announced (IDR0.TTENDIAN) is the owner's choice.
 */
import type { Memory } from '../../../hw/memory.ts';
import { EventType, FaultClass } from '../../spec/events.layout.ts';
import {
  combineAttributes,
  combineShareability,
  consistentShareability,
  MemoryAttribute,
  normalizeAttributes,
} from './attributes.ts';
import { ContextFlag, RegionFlag, StreamWorld, type TableRegion, type TranslationContext } from './context.ts';
import { stage1Fault } from './fault.ts';
import { type AddressRange, TlbInvalidation } from './invalidation.ts';
import { type Access, type Outcome, Permission } from './outcome.ts';
import { Mode, Stage2Translation } from './stage2.ts';
import { Grant, Tlb, TlbKey } from './tlb.ts';
import { TwoStageWalk, withHints } from './two-stage-walk.ts';

export interface TranslatorOptions {
  readonly memory: Memory;
  /** IDR5.OAS in bits: 32, 36, 40, 42, 44, 48 or 52. */
  readonly outputBits: number;
  /** IDR3.XNX: stage 2 XN has two bits. */
  readonly XNX: boolean;
  /** IDR3.BBML. Below 2, overlapping entries of different sizes give F_TLB_CONFLICT; at 1, nT keeps a block uncached. */
  readonly BBML: 0 | 1 | 2;
  /** IDR5.DS: TTL=1 with TG of 16 KiB means level 1. */
  readonly DS?: boolean;
  /** Entries of the TLB of VAs, and as many of that of IPAs: a power of two, 16 to 2^20. */
  readonly tlbEntries?: number;
}

// Hot code reads constants of its own module only: the engine cannot fold imported ones.
const TWO_32 = 2 ** 32;
const { READ, WRITE, EXECUTE } = Permission;
const { IN } = FaultClass;
const { PROBE, UPDATE } = Mode;
const { WRITABLE_LATER } = Grant;
const { UPPER } = TlbKey;
const { EL1, EL2, EL2_E2H } = StreamWorld;
const { STAGE_1, STAGE_2, TWO_RANGES } = ContextFlag;
const { TOP_BYTE_IGNORED, UNPRIVILEGED_FORBIDDEN, DISABLED } = RegionFlag;
const { WRITE_BACK } = MemoryAttribute;
const DEFAULT_TLB_ENTRIES = 8192;

/** Whether an input page lies outside the range of its region; `high` is without what TBI ignores. */
const isOutside = (region: TableRegion, isUpper: boolean, low: number, high: number): boolean =>
  (isUpper
    ? (~high & region.outsideHigh) | (~low & region.outsideLow)
    : (high & region.outsideHigh) | (low & region.outsideLow)) !== 0;

export class Translator {
  /** Entries of VAs. */
  readonly tlb: Tlb;
  /** Entries of IPAs: of streams with stage 2 alone, and of what stage 1 walks and outputs. */
  readonly ipaTlb: Tlb;
  readonly #walk: TwoStageWalk;
  /** Of IPAs that come from outside. */
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
    this.#walk = new TwoStageWalk(memory, this.tlb, this.ipaTlb, XNX, BBML);
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
    if (
      isOutside(region, isUpper, low, high) ||
      ((region.flags & UNPRIVILEGED_FORBIDDEN) !== 0 && !access.privileged)
    ) {
      return stage1Fault(outcome, EventType.F_TRANSLATION, 0);
    }
    const { tlb } = this;
    const position = (isUpper ? UPPER : 0) | (high & 0xff);
    let at = tlb.find(low, context.key | position, context.tag, tlb.sizes);
    if (at < 0 && tlb.globals > 0) at = tlb.find(low, context.globalKey | position, context.vmidTag, tlb.sizes);
    if (at < 0) return this.#walk.translate(context, region, access, low, position, outcome);
    if (this.#conflicts !== 0 && this.#isAmbiguous(context, at, low, position)) {
      return stage1Fault(outcome, EventType.F_TLB_CONFLICT, 0);
    }
    const grant = tlb.grant(at);
    const granted = (grant >>> (8 + access.privilegeShift)) & 7;
    const lacking = access.need & ~granted;
    if (lacking !== 0) {
      // What is cached of a writable-clean page may be stale: its descriptor is read again (D8.5.2.1, R_SGJBL).
      if ((lacking & WRITE) !== 0 && (grant & WRITABLE_LATER) !== 0) {
        this.#forget(context, low, position);
        return this.#walk.translate(context, region, access, low, position, outcome);
      }
      if (!access.isProbe) return this.#permissionFault(at, access, lacking, low, outcome);
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
    const forbidden = access.privileged ? DISABLED : DISABLED | UNPRIVILEGED_FORBIDDEN;
    if (isOutside(region, isUpper, low, high) || (region.flags & forbidden) !== 0) {
      return stage1Fault(outcome, EventType.F_TRANSLATION, 0);
    }
    return this.#walk.translateStage1(context, region, access, low, high & 0xff, outcome);
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

  /** Removes what answers for a page: at BBML=2 that may be entries of several sizes, and the walk enters one of them anew. */
  #forget(context: TranslationContext, low: number, position: number): void {
    const { tlb } = this;
    tlb.removeAll(low, context.key | position, context.tag);
    tlb.removeAll(low, context.globalKey | position, context.vmidTag);
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
    const own = (grant >>> (14 + access.privilegeShift)) & 7;
    const isStage1 = (access.need & ~own) !== 0;
    const origin = tlb.attributes(at) >>> (isStage1 ? 10 : 20);
    outcome.hit = true;
    stage1Fault(outcome, EventType.F_PERMISSION, (origin & 7) - 1);
    const denied = isStage1 ? access.need & ~own : lacking;
    outcome.RnW = (denied & WRITE) === 0;
    if (!isStage1) {
      outcome.stage2 = true;
      outcome.setIpa(tlb.ipaLow(at) | (low & ((1 << tlb.pages(at)) - 1)), grant >>> 24);
    }
    return EventType.F_PERMISSION;
  }

  /** Fills the outcome from the entry at index `at`. */
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
    const shift = access.privilegeShift;
    const mode = (access.isProbe ? PROBE : 0) | (access.mayUpdate ? UPDATE : 0);
    const need = access.need << shift;
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
