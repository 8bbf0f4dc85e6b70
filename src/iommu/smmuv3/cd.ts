/** Context descriptors: which are ILLEGAL (IHI 0070 §5.4.2), and what the legal ones say (§5.4). */
import type { Field } from '../../layout/field.ts';
import { CD } from '../spec/cd.layout.ts';
import { type Features, granuleSupported } from './features.ts';
import { effectiveAddressBits, isWide, type StreamConfiguration, tableBits, txszInRange } from './ste.ts';
import { type DecodedStructure, StructureCache } from './structure-cache.ts';
import { TableAddress } from './table-address.ts';
import { StreamWorld, type TableRegion, TranslationContext } from './translation/context.ts';

/** ASID is the upper half of a word. */
const ASID_WORD = 1;
const ASID_SHIFT = 16;

// Circumstances of a CD, above StreamWorld.
const WORLD_MASK = 3;
const STALLS_DISABLED = 4;
const NESTED = 8;

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

/** What the meaning of a CD depends on beside its words: the STE that it is reached through. */
export const contextCircumstances = ({ world, S1STALLD, stage2 }: StreamConfiguration): number =>
  world | (S1STALLD ? STALLS_DISABLED : 0) | (stage2 ? NESTED : 0);

/** A cache of so many CDs. */
export const contextCache = (slots: number, features: Features): StructureCache<ContextDescriptor> =>
  new StructureCache(slots, [CD.ASID, CD.TTB0, CD.TTB1], () => new ContextDescriptor(features));

/** A decoded CD. */
export class ContextDescriptor implements DecodedStructure {
  /** V=0 or ILLEGAL: every use is C_BAD_CD. */
  illegal = true;
  A = false;
  R = false;
  S = false;
  readonly context = new TranslationContext();
  readonly #features: Features;
  /** V=0, or ILLEGAL for a reason other than its particulars. */
  #illegalKind = true;
  /** TTB0 and TTB1 are addresses of so many bits, ASID a number of so many: 0 where it plays no part. */
  #lowerBits = 0;
  #upperBits = 0;
  #asidBits = 0;

  constructor(features: Features) {
    this.#features = features;
  }

  /** Takes what the CD has from its STE: call after the particulars. */
  reachThrough({ withoutStage1 }: StreamConfiguration): void {
    const context = this.context;
    context.vmid = withoutStage1.vmid;
    if (context.stage2 !== withoutStage1.stage2) context.stage2 = withoutStage1.stage2;
    context.retag();
  }

  decodeParticulars(words: Int32Array, at: number): void {
    this.illegal = this.#illegalKind || !this.#takeParticulars(words, at);
  }

  /** Where the tables are, and the ASID: false when one of them is out of range, which makes the CD ILLEGAL. */
  #takeParticulars(words: Int32Array, at: number): boolean {
    const context = this.context;
    const { lower, upper } = context.stage1;
    if (this.#asidBits > 0) {
      context.asid = (words[at + ASID_WORD] ?? 0) >>> ASID_SHIFT;
      if (context.asid >>> this.#asidBits !== 0) return false;
    }
    if (this.#lowerBits > 0 && !place(lower, LOWER, words, at, this.#lowerBits)) return false;
    return this.#upperBits === 0 || place(upper, UPPER, words, at, this.#upperBits);
  }

  decodeKind(view: DataView, circumstances: number): void {
    const features = this.#features;
    const context = this.context;
    const world = (circumstances & WORLD_MASK) as StreamWorld;
    // In EL2 without E2H there is one region, TTB0, and EPD0 counts as 0 (§5.4.1).
    const hyp = world === StreamWorld.EL2;
    this.#illegalKind = kindIllegal(view, (circumstances & STALLS_DISABLED) !== 0, features, hyp);
    if (this.#illegalKind) return;
    context.world = world;
    this.A = CD.A.get(view) === 1;
    this.R = CD.R.get(view) === 1;
    this.S = CD.S.get(view) === 1;
    this.#asidBits = hyp ? 0 : features.ASID16 === 1 ? 16 : 8;
    context.asid = 0;
    context.ASET = CD.ASET.get(view) === 1;
    context.stage1Enabled = true;
    context.stage2Enabled = (circumstances & NESTED) !== 0;
    const stage1 = context.stage1;
    const ds = CD.DS.get(view) === 1;
    decodeRegion(stage1.lower, LOWER, view, features, ds, !hyp && CD.EPD0.get(view) === 1);
    decodeRegion(stage1.upper, UPPER, view, features, ds, hyp || CD.EPD1.get(view) === 1);
    // E0PD is RES0 where there is no unprivileged side (§5.4 E0PD0).
    if (hyp) stage1.lower.unprivilegedForbidden = false;
    stage1.outputBits = effectiveAddressBits(CD.IPS.get(view), features);
    stage1.accessFlagFaultDisabled = CD.AFFD.get(view) === 1;
    stage1.hardwareAccess = features.HTTU > 0 && CD.HA.get(view) === 1;
    stage1.hardwareDirty = features.HTTU > 1 && stage1.hardwareAccess && CD.HD.get(view) === 1;
    stage1.WXN = CD.WXN.get(view) === 1;
    // PAN and EPAN need an unprivileged side; UWXN is for VMSAv8-32 alone (§5.4).
    stage1.PAN = !hyp && CD.PAN.get(view) === 1;
    stage1.EPAN = features.EPAN === 1 && CD.EPAN.get(view) === 1;
    stage1.bigEndian = CD.ENDI.get(view) === 1;
    stage1.MAIR0 = CD.MAIR0.get(view);
    stage1.MAIR1 = CD.MAIR1.get(view);
    const { lower, upper, outputBits } = stage1;
    this.#lowerBits = lower.disabled ? 0 : tableBits(outputBits, isLarge(LOWER, view, features));
    this.#upperBits = upper.disabled ? 0 : tableBits(outputBits, isLarge(UPPER, view, features));
    context.deriveStage1();
  }
}

/** Takes TTB0 or TTB1, an address of `bits`; false when it has more. */
function place(region: TableRegion, fields: RegionFields, words: Int32Array, at: number, bits: number): boolean {
  region.tableLow = fields.TTB.low(words, at);
  region.tableHigh = fields.TTB.high(words, at);
  region.rebase();
  return region.tableHigh >>> (bits - 32) === 0;
}

function decodeRegion(
  region: TableRegion,
  fields: RegionFields,
  view: DataView,
  features: Features,
  ds: boolean,
  off: boolean,
): void {
  region.disabled = off;
  region.topByteIgnored = fields.TBI.get(view) === 1;
  region.hierarchyDisabled = features.HAD === 1 && fields.HAD.get(view) === 1;
  region.unprivilegedForbidden = features.E0PD === 1 && fields.E0PD.get(view) === 1;
  // What EPD disables may hold anything: the range check of the input still needs no table (§5.4.1.1).
  if (off) return;
  const granuleBits = fields.granuleBits[fields.TG.get(view)] ?? 12;
  region.granuleBits = granuleBits;
  region.inputBits = 64 - fields.TSZ.get(view);
  region.wide = isWide(granuleBits, ds, features);
  region.shareability = fields.SH.get(view);
}

/** Whether a region may have 52-bit addresses as far as the CD goes: 64 KiB granules, or DS. */
function isLarge(fields: RegionFields, view: DataView, features: Features): boolean {
  return fields.granuleBits[fields.TG.get(view)] === 16 || (features.DS === 1 && CD.DS.get(view) === 1);
}

/**
 * Whether the CD is ILLEGAL, V=0 included, whatever its particulars are (§5.4.2 CdIllegal, Non-secure, v3.1 and later).
 */
function kindIllegal(view: DataView, S1STALLD: boolean, features: Features, hyp: boolean): boolean {
  if (CD.V.get(view) === 0) return true;
  const stalls = CD.S.get(view) === 1;
  if (S1STALLD && stalls) return true;
  if (features.TERM_MODEL === 1 && CD.A.get(view) === 0) return true;
  if (features.STALL_MODEL === 0b01 && stalls) return true;
  if (features.STALL_MODEL === 0b10 && !stalls) return true;
  const lowerOff = !hyp && CD.EPD0.get(view) === 1;
  const upperOff = hyp || CD.EPD1.get(view) === 1;
  const big = CD.ENDI.get(view) === 1;
  if (!lowerOff || !upperOff) {
    if (features.TTENDIAN === 0b10 && big) return true;
    if (features.TTENDIAN === 0b11 && !big) return true;
  }
  // AA64=0 is VMSAv8-32, which IDR0.TTF does not announce.
  if (CD.AA64.get(view) === 0) return true;
  const access = CD.HA.get(view) === 1;
  const dirty = CD.HD.get(view) === 1;
  if ((access || dirty) && features.HTTU === 0b00) return true;
  if (dirty && features.HTTU === 0b01) return true;
  if (!lowerOff && regionIllegal(LOWER, view, features)) return true;
  return !upperOff && regionIllegal(UPPER, view, features);
}

function regionIllegal(fields: RegionFields, view: DataView, features: Features): boolean {
  const granuleBits = fields.granuleBits[fields.TG.get(view)] ?? 0;
  if (granuleBits === 0 || !granuleSupported(features, granuleBits)) return true;
  const least = features.VAX > 0 && isLarge(fields, view, features) ? 12 : 16;
  return !txszInRange(fields.TSZ.get(view), granuleBits, least, features);
}
