/** What is asked of the translator and what it answers; both objects are reused, so that no translation allocates. */
import { type EventType, FaultClass } from '../../spec/events.layout.ts';
import { MemoryAttribute } from './attributes.ts';
import { Grant } from './tlb.ts';

const TWO_32 = 2 ** 32;

const READ = 1;
const WRITE = 2;
const EXECUTE = 4;
/** Permissions as data: what the answer allows for the privilege of the access. */
export const Permission = { READ, WRITE, EXECUTE } as const;

const ATS = 1;
const PREFETCH = 3;
/** Why an address is translated. It decides what faults and what hardware updates happen. */
export const Purpose = {
  /** A transaction: faults are reported, HTTU updates happen. */
  TRANSACTION: 0,
  /**
   * An ATS translation request (§3.9.1.2, §13.7): lacking permission is no fault; the answer carries what is permitted,
   * and F_PERMISSION remains for stage 2 of a table fetch. `write` says that the request has NW=0: only then is a
   * writable-clean page made dirty (§3.13.7). `instruction` says that STE.INSTCFG makes every read a fetch.
   */
  ATS,
  /** A GATOS request (§9.1): as a transaction; `update` is the opposite of ATOS_ADDR.HTTUI. */
  ATOS: 2,
  /** CMD_PREFETCH_ADDR: fills the TLB as far as it can without a hardware update. Faults are not for the record. */
  PREFETCH,
} as const;
export type Purpose = (typeof Purpose)[keyof typeof Purpose];

/** One access, after STE.INSTCFG and PRIVCFG and after the rule that writes are never instruction fetches (§13.1.2). */
export class Access {
  /** Input address bits 63:12, an exact number. */
  page = 0;
  /** Input address bits 11:0. Plays no part in translation. */
  offset = 0;
  /** An atomic access reads and writes. */
  read = true;
  write = false;
  instruction = false;
  privileged = false;
  purpose: Purpose = Purpose.TRANSACTION;
  /** Whether AF and dirty state may be written. False only for ATOS with HTTUI=1. */
  update = true;
  /**
   * Incoming memory attributes (MAIR format) and shareability, after STE.MTCFG, MemAttr, ALLOCCFG and SHCFG (§13.1.3,
   * §13.1.4). They count where stage 1 does not translate; where it does, their allocation hints count.
   */
  attributes: number = MemoryAttribute.WRITE_BACK;
  shareability = 0;

  // Booleans are compared with true, which the engine does in one step.

  /** What the access needs, as {@link Permission} bits. Writes are data (§13.1.2): what fetches does not write. */
  get need(): number {
    const read = this.instruction === true ? EXECUTE : READ;
    return (this.read === true ? read : 0) | (this.write === true ? WRITE : 0);
  }

  /** Where the permission bits of its privilege begin: privileged ones are bits 2:0, the others bits 5:3. */
  get privilegeShift(): number {
    return this.privileged === true ? 0 : 3;
  }

  /** Whether lacking permissions are data, not a fault. */
  get isProbe(): boolean {
    return this.purpose === ATS || this.purpose === PREFETCH;
  }

  /** Whether descriptors may be updated for it. */
  get mayUpdate(): boolean {
    return this.update === true && this.purpose !== PREFETCH;
  }
}

export class Outcome {
  /** 0, or the event: F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION, F_WALK_EABT, F_TLB_CONFLICT. */
  event: EventType | 0 = 0;

  // Valid when event is 0.
  /** Output address bits 51:12. */
  page = 0;
  /** The answer holds for the naturally aligned 2^sizeBits bytes around the address: 12 to 52. */
  sizeBits = 12;
  /**
   * Bits of {@link Permission} for the privilege of the access. WRITE is there only if the page is dirty already, or
   * was made so by this access.
   */
  permissions = 0;
  /** The two words that the getters below read: they are words of a TLB entry (see tlb.ts). */
  grantWord = 0;
  attributeWord = 0;

  // Valid when event is not 0.
  /** S2: the fault is a stage 2 fault. */
  stage2 = false;
  /** What was being translated (§7.3.13). */
  faultClass: number = FaultClass.IN;
  /** TTRnW: whether the table access that stage 2 denied was a read. Valid for F_PERMISSION with CLASS=TTD. */
  ttRnW = true;
  /** RnW of the record, with the rule for atomic accesses (§13.1.1). */
  RnW = true;
  /** F_WALK_EABT: physical byte address of the descriptor that aborted. */
  fetchAddress = 0;
  /** Level at which the fault struck, -1..3. The architecture does not record it; logs do. */
  level = 0;

  // Always valid.
  /** Descriptor fetches done, for latency and event counters. */
  steps = 0;
  /** Whether the TLB answered without a walk. */
  hit = false;

  /** IPA bits 43:12. */
  ipaLow = 0;

  /** Memory attributes of the output in MAIR format. */
  get attributes(): number {
    return this.attributeWord & 0xff;
  }

  /** Shareability of the output, as descriptors encode it: 0 none, 2 outer, 3 inner. */
  get shareability(): number {
    return (this.attributeWord >>> 8) & 3;
  }

  /** nG of the stage 1 leaf; false without stage 1. */
  get notGlobal(): boolean {
    return (this.grantWord & Grant.NOT_GLOBAL) !== 0;
  }

  /**
   * IPA bits 51:12: of a stage 2 fault, what was being translated; where both stages translated, the output of stage 1,
   * as split-stage ATS wants it.
   */
  get ipaPage(): number {
    return (this.grantWord >>> 24) * TWO_32 + (this.ipaLow >>> 0);
  }

  /** Sets {@link ipaPage} to the page `low` (bits 31:0), `high`. */
  setIpa(low: number, high: number): void {
    this.ipaLow = low;
    this.grantWord = high << 24;
  }
}
