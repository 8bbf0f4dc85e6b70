/** What is asked of the translator and what it answers; both objects are reused, so that no translation allocates. */
import type { EventType } from '../../spec/events.layout.ts';

/** Why an address is translated. It decides what faults and what hardware updates happen. */
export const Purpose = {
  /** A transaction: faults are reported, HTTU updates happen. */
  TRANSACTION: 0,
  /**
   * An ATS translation request (§3.9.1, §13.7): lacking permission is no fault; the answer carries what is permitted.
   * `write` says the request has NW=0. HTTU follows §3.13.
   */
  ATS: 1,
  /** A GATOS/VATOS request (§9.1): as a transaction; `update` of the access gives ATOS_ADDR.HTTUI inverted. */
  ATOS: 2,
  /** CMD_PREFETCH_ADDR or a speculative request: fills the TLB, updates nothing, faults are not for the record. */
  PREFETCH: 3,
} as const;
export type Purpose = (typeof Purpose)[keyof typeof Purpose];

/** One access, after STE.INSTCFG and PRIVCFG and after the rule that writes are never instruction fetches. */
export class Access {
  /** Input address bits 63:12, an exact number. */
  page = 0;
  /** Input address bits 11:0. Plays no part in translation. */
  offset = 0;
  read = true;
  write = false;
  instruction = false;
  privileged = false;
  purpose: Purpose = Purpose.TRANSACTION;
  /** Whether AF and dirty state may be written (ATOS: HTTUI=0). */
  update = true;
}

/** Permissions as data: what the answer allows for the privilege of the access. */
export const Permission = { READ: 1, WRITE: 2, EXECUTE: 4 } as const;

export class Outcome {
  /** 0, or the event: F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION, F_WALK_EABT, F_TLB_CONFLICT. */
  event: EventType | 0 = 0;

  // Valid when event is 0.
  /** Output address bits 51:12. */
  page = 0;
  /** The answer holds for the naturally aligned 2^sizeBits bytes around the address: 12..52. */
  sizeBits = 12;
  /** Bits of {@link Permission} for the privilege of the access. For ATS, WRITE already follows the dirty state rules. */
  permissions = 0;
  /** Combined memory attribute in MAIR format (D8.6), 0x00..0xFF. */
  attributes = 0;
  /** Combined shareability, as descriptors encode it: 0 none, 2 outer, 3 inner. */
  shareability = 0;
  /** nG: the stage 1 leaf is not global (ATS Global bit). */
  notGlobal = false;

  // Valid when event is not 0.
  /** S2: the fault is a stage 2 fault. */
  stage2 = false;
  /** FaultClass: what was being translated. */
  faultClass = 2;
  /** IPA bits 51:12 of a stage 2 fault. */
  ipaPage = 0;
  /** TTRnW: direction of the table access that a stage 2 fault of CLASS TTD reports; true is a read. */
  ttRnW = true;
  /** F_WALK_EABT: physical byte address of the descriptor that aborted. */
  fetchAddress = 0;
  /** Level at which the fault struck, -1..3. The architecture does not record it; logs do. */
  level = 0;

  // Always valid.
  /** Descriptor fetches done, for latency and event counters. */
  steps = 0;
  /** Whether the TLB answered. */
  hit = false;
}
