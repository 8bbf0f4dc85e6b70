/**
 * What translation needs from an STE and a CD, decoded once (IHI 0070 G.b §5.2, §5.4).
 *
 * A context is a reused object: its owner writes the fields below and calls {@link TranslationContext.derive}; a
 * configuration cache may refill the same object later. Nothing here judges: an STE or CD that is ILLEGAL never
 * becomes a context. Granules and sizes are in bits (12, 14, 16; 48 means a range of 2^48 bytes), addresses are byte
 * addresses below 2^52.
 */
import { firstBlockLevel, levelShift, stage1StartLevel } from './geometry.ts';
import { stage1PermissionRow } from './permissions.ts';
import { TlbKey } from './tlb.ts';

/** StreamWorld (§3.3.4): the regime a stream belongs to, and the first key of every TLB entry. */
export const StreamWorld = { EL1: 0, EL2: 1, EL2_E2H: 2 } as const;
export type StreamWorld = (typeof StreamWorld)[keyof typeof StreamWorld];

/**
 * Derived flags. Hot code tests these numbers rather than the boolean fields: the engine compares a boolean from a field
 * with every falsy value there is.
 */
export const ContextFlag = { STAGE_1: 1, STAGE_2: 2, TWO_RANGES: 4 } as const;
export const RegionFlag = {
  TOP_BYTE_IGNORED: 1,
  UNPRIVILEGED_FORBIDDEN: 2,
  DISABLED: 4,
  HIERARCHY_DISABLED: 8,
  BIG_ENDIAN: 16,
} as const;
export const StageFlag = {
  HARDWARE_ACCESS: 1,
  HARDWARE_DIRTY: 2,
  ACCESS_FLAG_FAULT_DISABLED: 4,
  S2PTW: 8,
  S2FWB: 16,
} as const;

/** The flags that a CD and an STE have in common. */
function updateFlags(stage: Stage1 | Stage2): number {
  return (
    (stage.hardwareAccess ? StageFlag.HARDWARE_ACCESS : 0) |
    (stage.hardwareAccess && stage.hardwareDirty ? StageFlag.HARDWARE_DIRTY : 0) |
    (stage.accessFlagFaultDisabled ? StageFlag.ACCESS_FLAG_FAULT_DISABLED : 0)
  );
}

const TWO_32 = 2 ** 32;

/** One tree of translation tables: TTB0 or TTB1 of stage 1, or stage 2. */
export class TableRegion {
  /** Halves of {@link base}; after they change, {@link rebase}. */
  tableLow = 0;
  tableHigh = 0;
  /** TG0, TG1 or S2TG: 12, 14 or 16. */
  granuleBits = 12;
  /** 64 - TxSZ: 16 to 52. */
  inputBits = 48;
  /** CD.DS or STE.S2DS; with 64 KiB granules, whether 52-bit output addresses apply (IDR5.OAS of at least 52 bits). */
  wide = false;
  /** Level of the first look-up, -1..3. Derived for stage 1; stage 2 takes it from S2SL0 and S2SL0_2. */
  startLevel = 0;

  /** EPD0 or EPD1: walks are disabled; always false at stage 2. */
  disabled = false;
  /** TBI0 or TBI1: bits 63:56 of the input are ignored. */
  topByteIgnored = false;
  /** HAD0 or HAD1: APTable, PXNTable, UXNTable are ignored. */
  hierarchyDisabled = false;
  /** E0PD0 or E0PD1: unprivileged accesses take a translation fault. */
  unprivilegedForbidden = false;
  /** CD.SH0 or SH1, STE.S2SH0: the shareability of leaves when `wide` with 4 or 16 KiB granules. */
  shareability = 0;

  // Derived.
  /** Address bits 31:0 that the start-level table may have. */
  baseMask = -1;
  /** Address of the start-level table, in halves. */
  baseLow = 0;
  baseHigh = 0;
  /** Lowest input address bit that indexes the start-level table. */
  startShift = 39;
  /** Entries of the start-level table (all concatenated tables together), minus 1. */
  startMask = 511;
  /** Bits of the input page (low 32, high 20) that must be zero, or one for TTB1. */
  outsideLow = 0;
  outsideHigh = 0;
  /** Bits that one full table resolves, and the mask of its index. */
  levelBits = 9;
  levelMask = 511;
  /** Bits 31:0 of the address of a table in a descriptor. */
  tableMask = -4096;
  /** First level at which blocks exist. */
  blockLevel = 1;
  /** How output address bits 51:48 are found: 0 nowhere, 1 bits 49:48 and 9:8, 2 bits 15:12. */
  highBits: 0 | 1 | 2 = 0;
  /** Output bits of the stage, at least 32. */
  outputBits = 48;
  /** Bits of {@link RegionFlag}. */
  flags = 0;

  /** TTB0, TTB1 or S2TTB: a byte address. Bits below the alignment of the start-level table are ignored. */
  get base(): number {
    return this.tableHigh * TWO_32 + (this.tableLow >>> 0);
  }

  set base(address: number) {
    this.tableLow = address | 0;
    this.tableHigh = (address / TWO_32) | 0;
  }

  /** Completes the derived fields; `startLevel` first. */
  derive(outputBits: number, bigEndian: boolean): void {
    const granuleBits = this.granuleBits;
    this.outputBits = outputBits;
    this.flags =
      (this.topByteIgnored ? RegionFlag.TOP_BYTE_IGNORED : 0) |
      (this.unprivilegedForbidden ? RegionFlag.UNPRIVILEGED_FORBIDDEN : 0) |
      (this.disabled ? RegionFlag.DISABLED : 0) |
      (this.hierarchyDisabled ? RegionFlag.HIERARCHY_DISABLED : 0) |
      (bigEndian ? RegionFlag.BIG_ENDIAN : 0);
    this.levelBits = granuleBits - 3;
    this.levelMask = (1 << (granuleBits - 3)) - 1;
    this.tableMask = -1 << granuleBits;
    this.blockLevel = firstBlockLevel(granuleBits, this.wide);
    this.highBits = this.wide ? (granuleBits === 16 ? 2 : 1) : 0;
    this.startShift = levelShift(granuleBits, this.startLevel);
    const resolved = this.inputBits - this.startShift;
    this.startMask = resolved > 0 ? (1 << resolved) - 1 : 0;
    // The table is aligned to its size, and to 64 bytes where addresses have 52 bits (§5.4 TTB0, §5.2 S2TTB).
    const alignBits = resolved > 0 ? resolved + 3 : 3;
    const aligned = outputBits === 52 && alignBits < 6 ? 6 : alignBits;
    this.baseMask = -(1 << aligned);
    this.rebase();
    // A disabled TTBx has no size: addresses in its half may hit, and fault only when they miss (§5.4 EPD0). No half is
    // larger than 2^52, and no entry keeps the bits above.
    const pageBits = this.inputBits - 12;
    this.outsideLow = !this.disabled && pageBits < 32 ? -1 << pageBits : 0;
    this.outsideHigh = this.disabled ? 0xfff00 : pageBits > 32 ? 0xfffff & (-1 << (pageBits - 32)) : 0xfffff;
  }

  /** As {@link derive}, when nothing but {@link base} has changed. */
  rebase(): void {
    this.baseLow = this.tableLow & this.baseMask;
    this.baseHigh = this.tableHigh;
  }
}

/** Stage 1: a CD. UWXN is ignored with VMSAv8-64 tables (§5.4), so it is not here. */
export class Stage1 {
  readonly lower = new TableRegion();
  /** Plays no part in the EL2 world, which has one range. */
  readonly upper = new TableRegion();
  /** Effective IPS: output bits of stage 1, already capped by OAS. */
  outputBits = 48;
  /** CD.AFFD: descriptors with AF=0 do not fault. */
  accessFlagFaultDisabled = false;
  /** CD.HA and CD.HD, false where IDR0.HTTU does not announce them; HD counts only with HA. */
  hardwareAccess = false;
  hardwareDirty = false;
  WXN = false;
  PAN = false;
  EPAN = false;
  /** CD.ENDI with IDR0.TTENDIAN announcing it. */
  bigEndian = false;
  /** CD.MAIR0 and MAIR1, four attributes of 8 bits each. */
  MAIR0 = 0;
  MAIR1 = 0;

  // Derived.
  /** Row of the permission table. */
  permissionRow = 0;
  /** Bits of {@link StageFlag}. */
  flags = 0;
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
  /** STE.S2ENDI with IDR0.TTENDIAN announcing it. */
  bigEndian = false;

  /** Derived: bits of {@link StageFlag}. */
  flags = 0;
}

/** The configuration of one stream or substream. Both stages off is bypass. */
export class TranslationContext {
  world: StreamWorld = StreamWorld.EL1;
  /** STE.S2VMID; 0 in EL2 worlds or where stage 2 is not implemented. */
  vmid = 0;
  /** CD.ASID; 0 without stage 1. The EL2 world has no ASIDs and ignores it. */
  asid = 0;
  /** CD.ASET: global entries of the two sets do not match each other (§3.17.1). */
  ASET = false;
  /** STE.Config and S1DSS choose. */
  stage1Enabled = false;
  stage2Enabled = false;
  readonly stage1 = new Stage1();
  /** The CDs of a stream share that of their STE. */
  stage2 = new Stage2();

  // Derived: the TLB keys of this context, see tlb.ts.
  /** VMID in bits 31:16, ASID in bits 15:0. */
  tag = 0;
  /** VMID alone: stage 2 and global entries. */
  vmidTag = 0;
  /** Key bits of stage 1 entries, non-global and global. */
  key = 0;
  globalKey = 0;
  /** Bits of {@link ContextFlag}. */
  flags = 0;

  /** Completes the derived fields after the others were written. */
  derive(): void {
    if (this.stage2Enabled) this.#deriveStage2();
    this.deriveStage1();
  }

  /** As {@link derive}, when stage 2 is that of another context. */
  deriveStage1(): void {
    const world = this.world;
    this.key = (world << TlbKey.WORLD_SHIFT) | TlbKey.VALID;
    this.globalKey = this.key | TlbKey.GLOBAL | (this.ASET ? 0 : TlbKey.SHARED_SET);
    const twoRanges = world !== StreamWorld.EL2;
    this.flags =
      (this.stage1Enabled ? ContextFlag.STAGE_1 : 0) |
      (this.stage2Enabled ? ContextFlag.STAGE_2 : 0) |
      (twoRanges ? ContextFlag.TWO_RANGES : 0);
    this.retag();
    if (!this.stage1Enabled) return;
    const { stage1 } = this;
    const { lower, upper } = stage1;
    lower.startLevel = stage1StartLevel(lower.granuleBits, lower.inputBits);
    lower.derive(stage1.outputBits, stage1.bigEndian);
    if (twoRanges) {
      upper.startLevel = stage1StartLevel(upper.granuleBits, upper.inputBits);
      upper.derive(stage1.outputBits, stage1.bigEndian);
    }
    stage1.flags = updateFlags(stage1);
    stage1.permissionRow = stage1PermissionRow(twoRanges, stage1.WXN, twoRanges && stage1.PAN, stage1.EPAN);
  }

  /** As {@link derive}, when nothing but {@link vmid} and {@link asid} has changed. */
  retag(): void {
    const { world } = this;
    this.vmidTag = world === StreamWorld.EL1 ? (this.vmid << 16) | 0 : 0;
    this.tag = this.vmidTag | (world === StreamWorld.EL2 ? 0 : this.asid);
  }

  #deriveStage2(): void {
    const { stage2 } = this;
    stage2.tables.derive(stage2.outputBits, stage2.bigEndian);
    stage2.flags = updateFlags(stage2) | (stage2.S2PTW ? StageFlag.S2PTW : 0) | (stage2.S2FWB ? StageFlag.S2FWB : 0);
  }
}
