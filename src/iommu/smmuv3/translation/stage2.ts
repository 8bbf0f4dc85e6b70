/** Stage 2: from an IPA to a physical address. DDI 0487 D8.4.2, D8.5, D8.6.5; IHI 0070 §3.4, §5.2, §13.4.3. */
import { assert } from '../../../assert.ts';
import type { Memory } from '../../../hw/memory.ts';
import { EventType, FaultClass } from '../../spec/events.layout.ts';
import { isStage2Device } from './attributes.ts';
import { type Stage2, StageFlag, type TranslationContext } from './context.ts';
import { stage2Abort, stage2Fault } from './fault.ts';
import type { Outcome } from './outcome.ts';
import { PRIVILEGED_READ, stage2Permissions, WRITES } from './permissions.ts';
import { Grant, type Tlb, TlbKey } from './tlb.ts';
import { type DescriptorAddresses, Walk, WalkEnd } from './walk.ts';

/** Descriptor bits: AF, S2AP[1] and nT in the low word, DBM in the high word. */
const AF = 1 << 10;
const S2AP1 = 1 << 7;
const NT = 1 << 16;
const DBM = 1 << 19;

const PROBE = 1;
const UPDATE = 2;

/** How a stage treats what it finds: bits. */
export const Mode = {
  /** Lacking permissions are data, not a fault (ATS). */
  PROBE,
  /** AF and dirty state may be written. */
  UPDATE,
} as const;

// Hot code reads constants of its own module only: the engine cannot fold imported ones.
const { ABORT, INVALID, LEAF } = WalkEnd;
const { WRITABLE_LATER } = Grant;
const { VALID } = TlbKey;
const { IN, TTD } = FaultClass;
const { HARDWARE_ACCESS, HARDWARE_DIRTY, ACCESS_FLAG_FAULT_DISABLED, S2PTW, S2FWB } = StageFlag;
const READ = PRIVILEGED_READ;
const WRITE_BITS = WRITES;

/** Translates IPAs; the fields are the last answer. Pages are pairs of low 32 and high 8 bits. */
export class Stage2Translation implements DescriptorAddresses {
  pageLow = 0;
  pageHigh = 0;
  /** log2 of the pages that the answer holds for. */
  pages = 0;
  /** Permissions granted now, see permissions.ts. */
  granted = 0;
  /** Grant.WRITABLE_LATER where the page is writable-clean: a write would be granted after an update. Else 0. */
  writableLater = 0;
  /** MemAttr[3:0] with S2FWB in bit 4. */
  memAttr = 0;
  shareability = 0;
  /** Origin for TLB entries. */
  origin = 0;
  /** Whether a TLB may hold what was found, as 0 or 1. */
  cacheable = 1;

  /** What descriptor addresses are translated for. */
  #context: TranslationContext | null = null;
  #mode = 0;
  #outcome: Outcome | null = null;
  readonly #memory: Memory;
  readonly #tlb: Tlb;
  readonly #XNX: boolean;
  /** nT where it counts: at BBML=1, as BBML=2 ignores it (§3.21.1.3). */
  readonly #uncached: number;
  /** Whether overlapping entries are a fault (BBML below 2), as 0 or 1. */
  readonly #conflicts: number;
  readonly #walk: Walk;

  /** `tlb` is that of IPAs. */
  constructor(memory: Memory, tlb: Tlb, XNX: boolean, BBML: number) {
    this.#memory = memory;
    this.#tlb = tlb;
    this.#XNX = XNX;
    this.#uncached = BBML === 1 ? NT : 0;
    this.#walk = new Walk(BBML);
    this.#conflicts = BBML < 2 ? 1 : 0;
  }

  /** Says for whom {@link translateForRead} works from now on. */
  beginDescriptors(context: TranslationContext, mode: number, outcome: Outcome): void {
    this.#context = context;
    this.#mode = mode;
    this.#outcome = outcome;
  }

  translateForRead(pageLow: number, pageHigh: number): boolean {
    const context = this.#context;
    const outcome = this.#outcome;
    assert(context !== null && outcome !== null, 'beginDescriptors comes first');
    return this.translate(context, pageLow, pageHigh, READ, this.#mode, TTD, outcome) === 0;
  }

  /**
   * Translates the IPA page `low`, `high` for an access that needs `need` (permission bits). `faultClass` says what the
   * IPA is of. Returns 0, or the event, described in `outcome`.
   */
  translate(
    context: TranslationContext,
    low: number,
    high: number,
    need: number,
    mode: number,
    faultClass: number,
    outcome: Outcome,
  ): EventType | 0 {
    const { tables } = context.stage2;
    const ttRnW = (need & WRITE_BITS) === 0;
    if (((high & tables.outsideHigh) | (low & tables.outsideLow)) !== 0) {
      return this.#fault(outcome, EventType.F_TRANSLATION, 0, faultClass, ttRnW, low, high);
    }
    const tlb = this.#tlb;
    const key = VALID | high;
    const at = tlb.find(low, key, context.vmidTag, tlb.sizes);
    if (at >= 0) {
      if (this.#conflicts !== 0 && tlb.isAmbiguous(at, low, key, context.vmidTag, tlb.sizes)) {
        return this.#fault(outcome, EventType.F_TLB_CONFLICT, 0, faultClass, ttRnW, low, high);
      }
      this.#load(at, low);
      const lacking = need & ~this.granted;
      if ((lacking & WRITE_BITS) === 0 || this.writableLater === 0) {
        if ((lacking !== 0 && (mode & PROBE) === 0) || this.#isForbiddenDevice(context.stage2, faultClass)) {
          const level = ((this.origin & 7) - 1) | 0;
          return this.#fault(outcome, EventType.F_PERMISSION, level, faultClass, ttRnW, low, high, lacking);
        }
        return 0;
      }
      // What is cached of a writable-clean page may be stale: its descriptor is read again (D8.5.2.1, R_SGJBL).
      tlb.removeAll(low, key, context.vmidTag);
    }
    return this.#translateByWalk(context, low, high, need, mode, faultClass, outcome);
  }

  #translateByWalk(
    context: TranslationContext,
    low: number,
    high: number,
    need: number,
    mode: number,
    faultClass: number,
    outcome: Outcome,
  ): EventType | 0 {
    const { stage2 } = context;
    const { tables } = stage2;
    const walk = this.#walk;
    const ttRnW = (need & WRITE_BITS) === 0;
    const end = walk.run(tables, this.#memory, low, high, null);
    outcome.steps += walk.steps;
    if (end !== LEAF) {
      if (end === ABORT) {
        outcome.setIpa(low, high);
        return stage2Abort(outcome, walk, faultClass);
      }
      const event = end === INVALID ? EventType.F_TRANSLATION : EventType.F_ADDR_SIZE;
      return this.#fault(outcome, event, walk.level, faultClass, ttRnW, low, high);
    }
    const { flags } = stage2;
    let newLow = walk.low;
    if ((newLow & AF) === 0) {
      if ((flags & HARDWARE_ACCESS) !== 0) newLow |= AF;
      else if ((flags & ACCESS_FLAG_FAULT_DISABLED) === 0) {
        return this.#fault(outcome, EventType.F_ACCESS, walk.level, faultClass, ttRnW, low, high);
      }
    }
    const isClean = (flags & HARDWARE_DIRTY) !== 0 && (walk.high & DBM) !== 0 && (walk.low & S2AP1) === 0;
    let granted = stage2Permissions(walk.low, walk.high, this.#XNX);
    const grantable = isClean ? granted | WRITE_BITS : granted;
    this.memAttr = ((walk.low >>> 2) & 15) | (flags & S2FWB);
    const lacking = need & ~grantable;
    if ((lacking !== 0 && (mode & PROBE) === 0) || this.#isForbiddenDevice(stage2, faultClass)) {
      return this.#fault(outcome, EventType.F_PERMISSION, walk.level, faultClass, ttRnW, low, high, lacking);
    }
    this.writableLater = isClean ? WRITABLE_LATER : 0;
    if (isClean && (need & WRITE_BITS) !== 0) {
      newLow |= S2AP1;
      granted = grantable;
      this.writableLater = 0;
    }
    this.granted = granted;
    let cacheable = walk.level === 3 || (walk.low & this.#uncached) === 0;
    if (newLow !== walk.low) {
      // A probe that is granted nothing does not access the page (§13.7).
      if ((need & granted) !== 0 && (mode & UPDATE) !== 0) {
        const isDone = walk.update(this.#memory, tables, newLow, walk.high);
        assert(isDone, 'nothing comes between the read and the update of a stage 2 descriptor');
      } else cacheable = false;
    }
    this.cacheable = cacheable ? 1 : 0;
    this.pageLow = walk.leafPageLow(low);
    this.pageHigh = walk.leafPageHigh();
    this.pages = walk.leafPages(tables, low, this.pageLow);
    this.shareability = tables.highBits === 1 ? tables.shareability : (walk.low >>> 8) & 3;
    this.origin = walk.origin(tables);
    if (cacheable) this.#store(context, low, high);
    return 0;
  }

  #isForbiddenDevice(stage2: Stage2, faultClass: number): boolean {
    return (stage2.flags & S2PTW) !== 0 && faultClass !== IN && isStage2Device(this.memAttr);
  }

  #load(at: number, low: number): void {
    const tlb = this.#tlb;
    const grant = tlb.grant(at);
    const attributes = tlb.attributes(at);
    this.pages = tlb.pages(at);
    this.pageLow = tlb.outputLow(at) | (low & ((1 << this.pages) - 1));
    this.pageHigh = grant & 0xff;
    this.granted = (grant >>> 8) & 63;
    this.writableLater = grant & WRITABLE_LATER;
    this.memAttr = attributes & 31;
    this.shareability = (attributes >>> 8) & 3;
    this.origin = (attributes >>> 20) & 0x3ff;
    this.cacheable = 1;
  }

  #store(context: TranslationContext, low: number, high: number): void {
    const grant = this.pageHigh | (this.granted << 8) | this.writableLater;
    const attributes = this.memAttr | (this.shareability << 8) | (this.origin << 20);
    this.#tlb.insert(low, VALID | high, context.vmidTag, this.pages, this.pageLow, grant, attributes, 0);
  }

  #fault(
    outcome: Outcome,
    event: EventType,
    level: number,
    faultClass: number,
    ttRnW: boolean,
    low: number,
    high: number,
    lacking = 0,
  ): EventType {
    outcome.setIpa(low, high);
    // Of an update, which reads and writes, the write is what stage 2 denied unless it denied the read alone.
    const isRead = event === EventType.F_PERMISSION && lacking !== 0 ? (lacking & WRITE_BITS) === 0 : ttRnW;
    if (event === EventType.F_PERMISSION && faultClass === IN) outcome.RnW = isRead;
    return stage2Fault(outcome, event, level, faultClass, isRead);
  }
}
