/** Address translation: TLB look-up, table walks, permissions, hardware update. IHI 0070 §3, DDI 0487 D8. */
import type { Memory } from '../../../hw/memory.ts';
import type { EventType } from '../../spec/events.layout.ts';
import type { StreamWorld, TranslationContext } from './context.ts';
import type { AddressRange } from './invalidation.ts';
import type { Access, Outcome } from './outcome.ts';

export interface TranslatorOptions {
  readonly memory: Memory;
  /** IDR5.OAS in bits: 32, 36, 40, 42, 44, 48 or 52. */
  readonly outputBits: number;
  /** IDR3.XNX: stage 2 XN has two bits. */
  readonly XNX: boolean;
  /** IDR3.BBML. Below 2, overlapping entries of different sizes give F_TLB_CONFLICT. */
  readonly BBML: 0 | 1 | 2;
  /** TLB entries: a power of two, at least 16. */
  readonly tlbEntries?: number;
}

export class Translator {
  constructor(options: TranslatorOptions) {
    void options;
  }

  /** Translates one access. Returns 0, or the number of the event that describes the fault; `outcome` has the rest. */
  translate(context: TranslationContext, access: Access, outcome: Outcome): EventType | 0 {
    void [context, access, outcome];
    throw new Error('follows in the next commit');
  }

  /**
   * Translates the IPA of a CD or level 1 CD through stage 2 (§3.3.2): a read whose faults have CLASS=CD. `ipaPage` is
   * IPA bits 51:12. Only the stage 2 part of `context` is used.
   */
  translateDescriptorAddress(context: TranslationContext, ipaPage: number, outcome: Outcome): EventType | 0 {
    void [context, ipaPage, outcome];
    throw new Error('follows in the next commit');
  }

  /**
   * Stage 1 alone, VA to IPA, for split-stage ATS (§13.6.3) and ATOS requests for stage 1 (§9.1.3). Where stage 2 is
   * enabled it translates the table fetches (its faults have CLASS=TTD) but not the result. `outcome.page` is the IPA,
   * `permissions`, `sizeBits` and `attributes` are those of stage 1. Need not use the TLB.
   */
  translateStage1(context: TranslationContext, access: Access, outcome: Outcome): EventType | 0 {
    void [context, access, outcome];
    throw new Error('follows in the next commit');
  }

  /** CR0.VMW (§6.3.9.2): how many low VMID bits invalidations by VMID ignore is `mode`: 0 none, 1 to 4 as the register. */
  setVmidWildcard(mode: number): void {
    void mode;
  }

  /** Everything, as at reset and for CMD_TLBI_NSNH_ALL together with EL2_ALL. */
  invalidateAll(): void {}
  /** CMD_TLBI_NSNH_ALL: every NS-EL1 entry, stage 1 and 2, all VMIDs. */
  invalidateNonHyp(): void {}
  /** CMD_TLBI_NH_ALL: stage 1 entries (and combined ones) of a VMID. */
  invalidateStage1(vmid: number): void {
    void vmid;
  }
  /** CMD_TLBI_S12_VMALL: entries of both stages of a VMID. */
  invalidateVm(vmid: number): void {
    void vmid;
  }
  /** CMD_TLBI_EL2_ALL. */
  invalidateHyp(): void {}
  /** CMD_TLBI_NH_ASID and EL2_ASID: non-global entries of an ASID. */
  invalidateAsid(world: StreamWorld, vmid: number, asid: number): void {
    void [world, vmid, asid];
  }
  /** CMD_TLBI_NH_VA, NH_VAA, EL2_VA, EL2_VAA. */
  invalidateAddress(range: AddressRange): void {
    void range;
  }
  /** CMD_TLBI_S2_IPA. */
  invalidateIpa(range: AddressRange): void {
    void range;
  }
}
