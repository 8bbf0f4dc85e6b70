/** Context descriptors: which are ILLEGAL (IHI 0070 §5.4.2), and what the legal ones say (§5.4). */
import type { Field } from '../../layout/field.ts';
import { CD } from '../spec/cd.layout.ts';
import { type Features, granuleSupported } from './features.ts';
import { effectiveAddressBits, isWide, type StreamConfiguration, tableBits, txszInRange } from './ste.ts';
import { Difference, StructureSource } from './structure-source.ts';
import { TableAddress } from './table-address.ts';
import { StreamWorld, type TableRegion, TranslationContext } from './translation/context.ts';

/** 32-bit words of a CD that hold fields of ours: up to MAIR1. */
const CD_WORDS = 8;
const { NONE, KIND } = Difference;

/** The fields of one half of a CD: TTB0's or TTB1's. TG0 and TG1 encode granules differently. */
interface RegionFields {
  readonly TSZ: Field;
  readonly TG: Field;
  readonly granuleBits: readonly number[];
  readonly EPD: Field;
  readonly TBI: Field;
  readonly HAD: Field;
  readonly E0PD: Field;
  readonly SH: Field;
  readonly TTB: TableAddress;
}

const LOWER: RegionFields = {
  TSZ: CD.T0SZ,
  TG: CD.TG0,
  granuleBits: [12, 16, 14, 0],
  EPD: CD.EPD0,
  TBI: CD.TBI0,
  HAD: CD.HAD0,
  E0PD: CD.E0PD0,
  SH: CD.SH0,
  TTB: new TableAddress(CD.TTB0),
};
const UPPER: RegionFields = {
  TSZ: CD.T1SZ,
  TG: CD.TG1,
  granuleBits: [0, 14, 12, 16],
  EPD: CD.EPD1,
  TBI: CD.TBI1,
  HAD: CD.HAD1,
  E0PD: CD.E0PD1,
  SH: CD.SH1,
  TTB: new TableAddress(CD.TTB1),
};

/** What remembers the words of CDs, for a cache of so many slots. */
export const contextSource = (slots: number): StructureSource =>
  new StructureSource(CD_WORDS, [CD.ASID, CD.TTB0, CD.TTB1], slots);

/** A decoded CD. One object serves one slot of the configuration cache and is refilled in place. */
export class ContextDescriptor {
  /** The StreamID and the index in its CD table; -1 when it holds nothing. */
  streamId = -1;
  index = 0;
  /** Epoch of the STE it was reached through. */
  epoch = 0;
  /** V=0 or ILLEGAL: every use is C_BAD_CD. */
  illegal = true;
  A = false;
  R = false;
  S = false;
  readonly context = new TranslationContext();
  readonly #source: StructureSource;
  readonly #slot: number;
  /** V=0, or ILLEGAL for a reason other than its particulars. */
  #illegalKind = true;
  /** TTB0 and TTB1 are addresses of so many bits, ASID a number of so many: 0 where it plays no part. */
  #lowerBits = 0;
  #upperBits = 0;
  #asidBits = 0;
  /** What the STE has to do with the kind: StreamWorld and S1STALLD; -1 before the first decoding. */
  #world = -1;
  #S1STALLD = false;

  /** Slot `slot` of a cache, whose words `source` remembers; by default a cache of one. */
  constructor(source = contextSource(1), slot = 0) {
    this.#source = source;
    this.#slot = slot;
  }

  /**
   * Fills this object from the CD at byte `at` of `view`, reached through `stream`. Fetching again what did not change
   * costs a comparison, and a CD of the same kind as the one before little more. `features` are always the same.
   */
  decode(view: DataView, at: number, stream: StreamConfiguration, features: Features): void {
    const difference = this.#source.take(view, at, this.#slot);
    const { world, S1STALLD } = stream;
    const context = this.context;
    if (difference === KIND || this.#world !== world || this.#S1STALLD !== S1STALLD) {
      this.#world = world;
      this.#S1STALLD = S1STALLD;
      this.#decodeKind(view, at, features);
    } else if (difference === NONE && context.vmid === stream.vmid && context.stage2 === stream.withoutStage1.stage2) {
      if (context.stage2Enabled === stream.stage2) return;
    }
    this.illegal = this.#illegalKind || !this.#decodeParticulars(view, at, stream);
  }

  /** Where the tables are, ASID and VMID: false when one of them is out of range, which makes the CD ILLEGAL. */
  #decodeParticulars(view: DataView, at: number, stream: StreamConfiguration): boolean {
    const context = this.context;
    const { lower, upper } = context.stage1;
    context.vmid = stream.vmid;
    context.stage2Enabled = stream.stage2;
    context.stage2 = stream.withoutStage1.stage2;
    if (this.#asidBits > 0) {
      context.asid = CD.ASID.get(view, at);
      if (context.asid >>> this.#asidBits !== 0) return false;
    }
    if (this.#lowerBits > 0 && !place(lower, LOWER, view, at, this.#lowerBits)) return false;
    if (this.#upperBits > 0 && !place(upper, UPPER, view, at, this.#upperBits)) return false;
    context.rekey();
    return true;
  }

  #decodeKind(view: DataView, at: number, features: Features): void {
    const context = this.context;
    // In EL2 without E2H there is one region, TTB0, and EPD0 counts as 0 (§5.4.1).
    const hyp = this.#world === StreamWorld.EL2;
    this.#illegalKind = kindIllegal(view, at, this.#S1STALLD, features, hyp);
    if (this.#illegalKind) return;
    context.world = this.#world as StreamWorld;
    this.A = CD.A.get(view, at) === 1;
    this.R = CD.R.get(view, at) === 1;
    this.S = CD.S.get(view, at) === 1;
    this.#asidBits = hyp ? 0 : features.ASID16 === 1 ? 16 : 8;
    context.asid = 0;
    context.ASET = CD.ASET.get(view, at) === 1;
    context.stage1Enabled = true;
    const stage1 = context.stage1;
    const ds = CD.DS.get(view, at) === 1;
    decodeRegion(stage1.lower, LOWER, view, at, features, ds, !hyp && CD.EPD0.get(view, at) === 1);
    decodeRegion(stage1.upper, UPPER, view, at, features, ds, hyp || CD.EPD1.get(view, at) === 1);
    // E0PD is RES0 where there is no unprivileged side (§5.4 E0PD0).
    if (hyp) stage1.lower.unprivilegedForbidden = false;
    stage1.outputBits = effectiveAddressBits(CD.IPS.get(view, at), features);
    stage1.accessFlagFaultDisabled = CD.AFFD.get(view, at) === 1;
    stage1.hardwareAccess = features.HTTU > 0 && CD.HA.get(view, at) === 1;
    stage1.hardwareDirty = features.HTTU > 1 && stage1.hardwareAccess && CD.HD.get(view, at) === 1;
    stage1.WXN = CD.WXN.get(view, at) === 1;
    // PAN and EPAN need an unprivileged side; UWXN is for VMSAv8-32 alone (§5.4).
    stage1.PAN = !hyp && CD.PAN.get(view, at) === 1;
    stage1.EPAN = features.EPAN === 1 && CD.EPAN.get(view, at) === 1;
    stage1.bigEndian = CD.ENDI.get(view, at) === 1;
    stage1.MAIR0 = CD.MAIR0.get(view, at);
    stage1.MAIR1 = CD.MAIR1.get(view, at);
    const { lower, upper, outputBits } = stage1;
    this.#lowerBits = lower.disabled ? 0 : tableBits(outputBits, isLarge(LOWER, view, at, features));
    this.#upperBits = upper.disabled ? 0 : tableBits(outputBits, isLarge(UPPER, view, at, features));
    context.derive();
  }
}

/** Takes TTB0 or TTB1, an address of `bits`; false when it has more. */
function place(region: TableRegion, fields: RegionFields, view: DataView, at: number, bits: number): boolean {
  region.tableLow = fields.TTB.low(view, at);
  region.tableHigh = fields.TTB.high(view, at);
  region.rebase();
  return region.tableHigh >>> (bits - 32) === 0;
}

function decodeRegion(
  region: TableRegion,
  fields: RegionFields,
  view: DataView,
  at: number,
  features: Features,
  ds: boolean,
  off: boolean,
): void {
  region.disabled = off;
  region.topByteIgnored = fields.TBI.get(view, at) === 1;
  region.hierarchyDisabled = features.HAD === 1 && fields.HAD.get(view, at) === 1;
  region.unprivilegedForbidden = features.E0PD === 1 && fields.E0PD.get(view, at) === 1;
  // What EPD disables may hold anything: the range check of the input still needs no table (§5.4.1.1).
  if (off) return;
  const granuleBits = fields.granuleBits[fields.TG.get(view, at)] ?? 12;
  region.granuleBits = granuleBits;
  region.inputBits = 64 - fields.TSZ.get(view, at);
  region.wide = isWide(granuleBits, ds, features);
  region.shareability = fields.SH.get(view, at);
}

/** Whether a region may have 52-bit addresses as far as the CD goes: 64 KiB granules, or DS. */
function isLarge(fields: RegionFields, view: DataView, at: number, features: Features): boolean {
  return fields.granuleBits[fields.TG.get(view, at)] === 16 || (features.DS === 1 && CD.DS.get(view, at) === 1);
}

/**
 * Whether the CD is ILLEGAL, V=0 included, whatever its particulars are (§5.4.2 CdIllegal, Non-secure, v3.1 and later).
 */
function kindIllegal(view: DataView, at: number, S1STALLD: boolean, features: Features, hyp: boolean): boolean {
  if (CD.V.get(view, at) === 0) return true;
  const stalls = CD.S.get(view, at) === 1;
  if (S1STALLD && stalls) return true;
  if (features.TERM_MODEL === 1 && CD.A.get(view, at) === 0) return true;
  if (features.STALL_MODEL === 0b01 && stalls) return true;
  if (features.STALL_MODEL === 0b10 && !stalls) return true;
  const lowerOff = !hyp && CD.EPD0.get(view, at) === 1;
  const upperOff = hyp || CD.EPD1.get(view, at) === 1;
  const big = CD.ENDI.get(view, at) === 1;
  if (!lowerOff || !upperOff) {
    if (features.TTENDIAN === 0b10 && big) return true;
    if (features.TTENDIAN === 0b11 && !big) return true;
  }
  // AA64=0 is VMSAv8-32, which IDR0.TTF does not announce.
  if (CD.AA64.get(view, at) === 0) return true;
  const access = CD.HA.get(view, at) === 1;
  const dirty = CD.HD.get(view, at) === 1;
  if ((access || dirty) && features.HTTU === 0b00) return true;
  if (dirty && features.HTTU === 0b01) return true;
  if (!lowerOff && regionIllegal(LOWER, view, at, features)) return true;
  return !upperOff && regionIllegal(UPPER, view, at, features);
}

function regionIllegal(fields: RegionFields, view: DataView, at: number, features: Features): boolean {
  const granuleBits = fields.granuleBits[fields.TG.get(view, at)] ?? 0;
  if (granuleBits === 0 || !granuleSupported(features, granuleBits)) return true;
  const least = features.VAX > 0 && isLarge(fields, view, at, features) ? 12 : 16;
  return !txszInRange(fields.TSZ.get(view, at), granuleBits, least, features);
}
