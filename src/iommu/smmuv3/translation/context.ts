/**
 * What translation needs from an STE and a CD, decoded once (IHI 0070 G.b §5.2, §5.4).
 *
 * A context is a reused object: its owner writes the fields below and calls {@link TranslationContext.derive}; a
 * configuration cache may refill the same object later. Nothing here judges: an STE or CD that is ILLEGAL never
 * becomes a context. Granules and sizes are in bits (12, 14, 16; 48 means a range of 2^48 bytes), addresses are byte
 * addresses below 2^52.
 */

/** StreamWorld (§3.3.4): the regime a stream belongs to, and the first key of every TLB entry. */
export const StreamWorld = { EL1: 0, EL2: 1, EL2_E2H: 2 } as const;
export type StreamWorld = (typeof StreamWorld)[keyof typeof StreamWorld];

/** One tree of translation tables: TTB0 or TTB1 of stage 1, or stage 2. */
export class TableRegion {
  /** TTB0, TTB1 or S2TTB: a byte address. Bits below the alignment of the start-level table are ignored. */
  base = 0;
  /** TG0, TG1 or S2TG: 12, 14 or 16. */
  granuleBits = 12;
  /** 64 - TxSZ. */
  inputBits = 48;
  /** CD.DS or STE.S2DS; with 64 KiB granules, whether 52-bit output addresses apply (IDR5.OAS of at least 52 bits). */
  wide = false;
  /** Level of the first look-up, -1..3. Derived for stage 1, given by S2SL0 and S2SL0_2 for stage 2. */
  startLevel = 0;

  /** EPD0 or EPD1: walks are disabled; always false at stage 2. */
  disabled = false;
  /** TBI0 or TBI1: bits 63:56 of the input are ignored. */
  topByteIgnored = false;
  /** HAD0 or HAD1: APTable, PXNTable, UXNTable are ignored. */
  hierarchyDisabled = false;
  /** E0PD0 or E0PD1: unprivileged accesses take a translation fault. */
  unprivilegedForbidden = false;
  /** CD.SH0 or SH1, STE.S2SH0: the shareability of walks, and of leaves when `wide` with 4 or 16 KiB granules. */
  shareability = 0;

  // Derived by derive().
  /** First byte of the start-level table, aligned as D8.2.5.2 rules. */
  tableBase = 0;
  /** Lowest input address bit that indexes the start-level table. */
  startShift = 39;
  /** Entries of the start-level table (all concatenated tables together), minus 1. */
  startMask = 511;
}

/** Stage 1: a CD. */
export class Stage1 {
  readonly lower = new TableRegion();
  readonly upper = new TableRegion();
  /** Effective IPS: output bits of stage 1, already capped by OAS (or IAS when nested, §3.4). */
  outputBits = 48;
  /** CD.AFFD: descriptors with AF=0 do not fault. */
  accessFlagFaultDisabled = false;
  /** CD.HA and CD.HD, false where IDR0.HTTU does not announce them. */
  hardwareAccess = false;
  hardwareDirty = false;
  WXN = false;
  UWXN = false;
  PAN = false;
  EPAN = false;
  /** CD.ENDI with IDR0.TTENDIAN announcing it. */
  bigEndian = false;
  /** CD.MAIR0 and MAIR1, four attributes of 8 bits each. */
  MAIR0 = 0;
  MAIR1 = 0;
}

/** Stage 2: an STE's stage 2 fields. */
export class Stage2 {
  readonly tables = new TableRegion();
  /** Effective S2PS, capped by OAS. */
  outputBits = 48;
  /** STE.S2AFFD, S2HA, S2HD. */
  accessFlagFaultDisabled = false;
  hardwareAccess = false;
  hardwareDirty = false;
  /** STE.S2PTW: a stage 1 table or CD fetch that stage 2 maps as Device memory takes a permission fault. */
  S2PTW = false;
  /** STE.S2FWB where IDR3.FWB announces it. */
  S2FWB = false;
  bigEndian = false;
}

/** The configuration of one stream or substream. Both stages off is bypass. */
export class TranslationContext {
  world: StreamWorld = StreamWorld.EL1;
  /** STE.S2VMID; 0 in EL2 worlds or without stage 2 in the implementation. */
  vmid = 0;
  /** CD.ASID; 0 without stage 1 and in EL2 without E2H. CD.ASET concerns broadcast invalidation only, which we lack. */
  asid = 0;
  /** STE.Config and S1DSS choose. */
  stage1Enabled = false;
  stage2Enabled = false;
  readonly stage1 = new Stage1();
  readonly stage2 = new Stage2();

  // Derived by derive(): the key words that every TLB entry of this context carries.
  /** VMID in bits 31:16, ASID in bits 15:0. */
  tag = 0;
  /** World and stages, at the position the TLB key has them. */
  kind = 0;

  /** Completes the derived fields after the others were written. */
  derive(): void {
    throw new Error('follows in the next commit');
  }
}
