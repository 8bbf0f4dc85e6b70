/**
 * What happens when the TLB does not answer: a walk of stage 1, stage 2 for its output, permissions, the update of the
 * stage 1 descriptor, and the entry that keeps the answer. IHI 0070 §3.13, §7.3.22; DDI 0487 D8.15.
 */
import type { Memory } from '../../../hw/memory.ts';
import { EventType, FaultClass } from '../../spec/events.layout.ts';
import {
  combineAttributes,
  combineHints,
  combineShareability,
  consistentShareability,
  MemoryAttribute,
} from './attributes.ts';
import { ContextFlag, RegionFlag, type TableRegion, type TranslationContext } from './context.ts';
import { stage1Fault } from './fault.ts';
import type { Access, Outcome } from './outcome.ts';
import { WRITES } from './permissions.ts';
import { RETRY, Stage1Translation } from './stage1.ts';
import { Mode, Stage2Translation } from './stage2.ts';
import { Grant, type Tlb } from './tlb.ts';

// Hot code reads constants of its own module only: the engine cannot fold imported ones.
const TWO_32 = 2 ** 32;
const { IN } = FaultClass;
const { PROBE, UPDATE } = Mode;
const { NOT_GLOBAL, WRITABLE_LATER } = Grant;
const { STAGE_2, TWO_RANGES } = ContextFlag;
const { DISABLED } = RegionFlag;
const WRITE_BITS = WRITES;
const { WRITE_BACK } = MemoryAttribute;
/** A retry follows an update that does not happen twice: no translation needs this many. */
const MAX_ATTEMPTS = 64;

/** An attribute word with the allocation hints of the incoming access. */
export const withHints = (word: number, incoming: number): number =>
  (word & ~0xff) | combineHints(word & 0xff, incoming);

/** Translates VAs by walks. */
export class TwoStageWalk {
  readonly #tlb: Tlb;
  readonly #stage1: Stage1Translation;
  /** Of outputs of stage 1; stage 1 has its own for descriptors. */
  readonly #stage2: Stage2Translation;

  constructor(memory: Memory, tlb: Tlb, ipaTlb: Tlb, XNX: boolean, BBML: number) {
    this.#tlb = tlb;
    this.#stage2 = new Stage2Translation(memory, ipaTlb, XNX, BBML);
    this.#stage1 = new Stage1Translation(memory, new Stage2Translation(memory, ipaTlb, XNX, BBML), BBML);
  }

  /**
   * Translates the VA page `low` of `region`; `position` is its key without StreamWorld: bits 39:32 and VA[55]. Returns 0,
   * or the event, described in `outcome`.
   */
  translate(
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
    const { isProbe, mayUpdate } = access;
    const mode = mayUpdate ? UPDATE : 0;
    let event = stage1.walk(context, region, low, position & 0xff, mode, outcome);
    if (event !== 0) return event;
    const shift = access.privilegeShift;
    const need = access.need << shift;
    const lacking = need & ~stage1.grantable;
    if (lacking !== 0 && !isProbe) return this.#stage1PermissionFault(lacking, outcome);
    // From here on, what stage 1 can grant of what is wanted; a probe that is granted nothing ends (§3.9.1.2).
    const wanted = need & stage1.grantable;
    if (wanted === 0) {
      this.#answerNothing(outcome);
      return 0;
    }
    let allowed = wanted;
    let cacheable = stage1.cacheable;
    if ((context.flags & STAGE_2) !== 0) {
      const stage2Mode = isProbe ? mode | PROBE : mode;
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
        if (makesDirty && !isProbe) stage1.granted = stage1.grantable;
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
      this.#tlb.insert(low, key, tag, pages, pageLow, grant, word, stage1.pageLow);
    }
    outcome.page = pageHigh * TWO_32 + (pageLow >>> 0);
    outcome.ipaLow = stage1.pageLow;
    outcome.grantWord = grant;
    outcome.attributeWord = access.attributes === WRITE_BACK ? word : withHints(word, access.attributes);
    outcome.sizeBits = pages + 12;
    outcome.permissions = (granted >>> access.privilegeShift) & 7;
  }

  /** A probe that stage 1 grants nothing: no output, and stage 2 is not asked. */
  #answerNothing(outcome: Outcome): void {
    outcome.page = 0;
    outcome.setIpa(0, 0);
    outcome.attributeWord = 0;
    outcome.sizeBits = 12;
    outcome.permissions = 0;
  }

  /** Stage 1 alone, VA to IPA: nothing is looked up in the TLB, and nothing kept. */
  translateStage1(
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
      const need = access.need << access.privilegeShift;
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
      outcome.permissions = ((makesDirty ? stage1.grantable : stage1.granted) >>> access.privilegeShift) & 7;
      return 0;
    }
    return stage1.abort(outcome);
  }

  #stage1PermissionFault(lacking: number, outcome: Outcome): EventType {
    outcome.RnW = (lacking & WRITE_BITS) === 0;
    return stage1Fault(outcome, EventType.F_PERMISSION, this.#stage1.level);
  }
}
