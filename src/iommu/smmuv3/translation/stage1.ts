/** Stage 1: from a VA to the output of its leaf; stage 2 for table addresses. DDI 0487 D8.4.1, D8.5; IHI 0070 §5.4. */
import type { Memory } from '../../../hw/memory.ts';
import { EventType, FaultClass } from '../../spec/events.layout.ts';
import { normalizeAttributes } from './attributes.ts';
import { ContextFlag, RegionFlag, StageFlag, type TableRegion, type TranslationContext } from './context.ts';
import { stage1Abort, stage1Fault } from './fault.ts';
import type { Outcome } from './outcome.ts';
import { PRIVILEGED_READ, PRIVILEGED_WRITE, stage1Permissions, WRITES } from './permissions.ts';
import type { Stage2Translation } from './stage2.ts';
import { Walk, WalkEnd } from './walk.ts';

/** Descriptor bits: AF, AP[2], nG and nT in the low word, DBM in the high word. */
const AF = 1 << 10;
const AP2 = 1 << 7;
const NG = 1 << 11;
const NT = 1 << 16;
const DBM = 1 << 19;

// Hot code reads constants of its own module only: the engine cannot fold imported ones.
const { ABORT, DENIED, INVALID, LEAF } = WalkEnd;
const { TTD } = FaultClass;
const { STAGE_2 } = ContextFlag;
const { HIERARCHY_DISABLED } = RegionFlag;
const { HARDWARE_ACCESS, HARDWARE_DIRTY, ACCESS_FLAG_FAULT_DISABLED } = StageFlag;
const WRITE_BITS = WRITES;
const READ_AND_WRITE = PRIVILEGED_READ | PRIVILEGED_WRITE;

/** {@link Stage1Translation.update} found another descriptor in memory: the walk starts again. */
export const RETRY = -1;

/** Walks stage 1; the fields are the last leaf. Pages are pairs of low 32 and high 8 bits. */
export class Stage1Translation {
  pageLow = 0;
  pageHigh = 0;
  /** Permissions granted now, see permissions.ts. */
  granted = 0;
  /** Permissions granted once the page is dirty: more than `granted` for a writable-clean page. */
  grantable = 0;
  /** AF where the descriptor has it 0 and hardware is to set it; else 0. */
  unaccessed = 0;

  readonly #memory: Memory;
  readonly #stage2: Stage2Translation;
  /** nT where it counts: at BBML=1, as BBML=2 ignores it (§3.21.1.3). */
  readonly #uncached: number;
  readonly #walk: Walk;

  constructor(memory: Memory, stage2: Stage2Translation, BBML: number) {
    this.#memory = memory;
    this.#stage2 = stage2;
    this.#uncached = BBML === 1 ? NT : 0;
    this.#walk = new Walk(BBML);
  }

  // Of the leaf that the last walk found.

  get level(): number {
    return this.#walk.level;
  }

  /** log2 of the pages that the leaf, or its contiguous group, holds for; `low` is the page that was walked. */
  pages(region: TableRegion, low: number): number {
    return this.#walk.leafPages(region, low, this.pageLow);
  }

  /** Memory attributes in MAIR format. */
  attributes(context: TranslationContext): number {
    const index = (this.#walk.low >>> 2) & 7;
    const attributes = index < 4 ? context.stage1.MAIR0 : context.stage1.MAIR1;
    return normalizeAttributes((attributes >>> ((index & 3) << 3)) & 0xff);
  }

  shareability(region: TableRegion): number {
    return region.highBits === 1 ? region.shareability : (this.#walk.low >>> 8) & 3;
  }

  /** nG, as a bit. */
  get notGlobal(): number {
    return this.#walk.low & NG;
  }

  /** Origin for TLB entries. */
  origin(region: TableRegion): number {
    return this.#walk.origin(region);
  }

  /** Whether a TLB may hold it, AF and dirty state aside. */
  get cacheable(): boolean {
    const { level, low } = this.#walk;
    return (low & this.#uncached) === 0 || level === 3;
  }

  /**
   * Walks `region` for the VA page `low`, `high` (upper bits of TTB1 addresses removed) and reads the leaf. Returns 0, or
   * the event, described in `outcome`. `mode` is for stage 2.
   */
  walk(
    context: TranslationContext,
    region: TableRegion,
    low: number,
    high: number,
    mode: number,
    outcome: Outcome,
  ): EventType | 0 {
    const walk = this.#walk;
    let addresses: Stage2Translation | null = null;
    if ((context.flags & STAGE_2) !== 0) {
      addresses = this.#stage2;
      addresses.beginDescriptors(context, mode, outcome);
    }
    const end = walk.run(region, this.#memory, low, high, addresses);
    outcome.steps += walk.steps;
    if (end === LEAF) return this.#readLeaf(context, region, low, outcome);
    if (end === DENIED) return outcome.event;
    if (end === ABORT) return stage1Abort(outcome, walk);
    return stage1Fault(outcome, end === INVALID ? EventType.F_TRANSLATION : EventType.F_ADDR_SIZE, walk.level);
  }

  #readLeaf(context: TranslationContext, region: TableRegion, low: number, outcome: Outcome): EventType | 0 {
    const { stage1 } = context;
    const walk = this.#walk;
    const { flags } = stage1;
    const unaccessed = ~walk.low & AF;
    this.unaccessed = unaccessed;
    if (unaccessed !== 0 && (flags & HARDWARE_ACCESS) === 0) {
      if ((flags & ACCESS_FLAG_FAULT_DISABLED) === 0) return stage1Fault(outcome, EventType.F_ACCESS, walk.level);
      this.unaccessed = 0;
    }
    const hierarchy = (region.flags & HIERARCHY_DISABLED) === 0 ? walk.hierarchy : 0;
    const isClean = (flags & HARDWARE_DIRTY) !== 0 && (walk.high & DBM) !== 0 && (walk.low & AP2) !== 0;
    // A writable-clean page is read as a dirty one, so that it is no more executable than it will be (D8.5.2.2).
    this.grantable = stage1Permissions(stage1.permissionRow, walk.low, walk.high, hierarchy, isClean);
    this.granted = isClean ? this.grantable & ~WRITE_BITS : this.grantable;
    this.pageLow = walk.leafPageLow(low);
    this.pageHigh = walk.leafPageHigh();
    return 0;
  }

  /**
   * Sets AF if it was clear, and makes the page dirty if `dirty`, in the descriptor that the last walk read (§3.13.2,
   * §3.13.3). Returns 0, the event of a stage 2 fault, or {@link RETRY}.
   */
  update(
    context: TranslationContext,
    region: TableRegion,
    dirty: boolean,
    mode: number,
    outcome: Outcome,
  ): EventType | 0 | typeof RETRY {
    const walk = this.#walk;
    const low = (walk.low | AF) & (dirty ? ~AP2 : ~0);
    if ((context.flags & STAGE_2) !== 0) {
      const { pageLow, pageHigh } = walk;
      const event = this.#stage2.translate(context, pageLow, pageHigh, READ_AND_WRITE, mode, TTD, outcome);
      if (event !== 0) return event;
    }
    if (!walk.update(this.#memory, region, low, walk.high)) return RETRY;
    this.unaccessed = 0;
    if (dirty) this.granted = this.grantable;
    return 0;
  }

  /** The answer to updates that never agree with memory. */
  abort(outcome: Outcome): EventType {
    return stage1Abort(outcome, this.#walk);
  }
}
