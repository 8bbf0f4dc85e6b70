/** Context descriptors: which are ILLEGAL (IHI 0070 §5.4.2), and what the legal ones say (§5.4). */
import type { Field } from '../../layout/field.ts';
import { CD } from '../spec/cd.layout.ts';
import { type Features, granuleSupported, powerOfTwo } from './features.ts';
import { effectiveAddressBits, isWide, type StreamConfiguration, txszInRange } from './ste.ts';
import { StructureSource } from './structure-source.ts';
import { type Stage2, StreamWorld, type TableRegion, TranslationContext } from './translation/context.ts';

/** 32-bit words of a CD that hold fields of ours: up to MAIR1. */
const CD_WORDS = 8;
const TWO_48 = 2 ** 48;

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
  readonly TTB: Field;
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
  TTB: CD.TTB0,
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
  TTB: CD.TTB1,
};

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
  readonly #source = new StructureSource(CD_WORDS);
  /** The STE it was decoded for, and that one's version. */
  #stream: StreamConfiguration | null = null;
  #streamVersion = 0;

  /**
   * Fills this object from the CD at byte `at` of `view`, reached through `stream`. Fetching again what did not change
   * costs a comparison.
   */
  decode(view: DataView, at: number, stream: StreamConfiguration, features: Features): void {
    const elsewhere = this.#stream !== stream || this.#streamVersion !== stream.version;
    if (!this.#source.changes(view, at) && !elsewhere) return;
    this.#stream = stream;
    this.#streamVersion = stream.version;
    this.#decode(view, at, stream, features);
  }

  #decode(view: DataView, at: number, stream: StreamConfiguration, features: Features): void {
    const context = this.context;
    context.world = stream.world;
    // In EL2 without E2H there is one region, TTB0, and EPD0 counts as 0 (§5.4.1).
    const hyp = context.world === StreamWorld.EL2;
    this.illegal = cdIllegal(view, at, stream, features, hyp);
    if (this.illegal) return;
    this.A = CD.A.get(view, at) === 1;
    this.R = CD.R.get(view, at) === 1;
    this.S = CD.S.get(view, at) === 1;
    context.vmid = stream.vmid;
    context.asid = hyp ? 0 : CD.ASID.get(view, at);
    context.ASET = CD.ASET.get(view, at) === 1;
    context.stage1Enabled = true;
    context.stage2Enabled = stream.stage2;
    const stage1 = context.stage1;
    const ds = CD.DS.get(view, at) === 1;
    decodeRegion(stage1.lower, LOWER, view, at, features, ds, !hyp && CD.EPD0.get(view, at) === 1);
    decodeRegion(stage1.upper, UPPER, view, at, features, ds, hyp || CD.EPD1.get(view, at) === 1);
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
    if (stream.stage2) copyStage2(context.stage2, stream.withoutStage1.stage2);
    context.derive();
  }
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
  // What EPD disables may hold anything: the range check of the input still needs no table (§5.4.1.1).
  if (off) return;
  const granuleBits = fields.granuleBits[fields.TG.get(view, at)] ?? 12;
  region.granuleBits = granuleBits;
  region.inputBits = 64 - fields.TSZ.get(view, at);
  region.wide = isWide(granuleBits, ds, features);
  region.hierarchyDisabled = features.HAD === 1 && fields.HAD.get(view, at) === 1;
  region.unprivilegedForbidden = features.E0PD === 1 && fields.E0PD.get(view, at) === 1;
  region.shareability = fields.SH.get(view, at);
  // TTB is in units of 16 bytes; bits 55:52 are RES0 for VMSAv8-64.
  region.base = (fields.TTB.get(view, at) % TWO_48) * 16;
}

function copyStage2(to: Stage2, from: Stage2): void {
  const { tables } = from;
  to.tables.base = tables.base;
  to.tables.granuleBits = tables.granuleBits;
  to.tables.inputBits = tables.inputBits;
  to.tables.wide = tables.wide;
  to.tables.startLevel = tables.startLevel;
  to.tables.shareability = tables.shareability;
  to.outputBits = from.outputBits;
  to.accessFlagFaultDisabled = from.accessFlagFaultDisabled;
  to.hardwareAccess = from.hardwareAccess;
  to.hardwareDirty = from.hardwareDirty;
  to.S2PTW = from.S2PTW;
  to.S2FWB = from.S2FWB;
  to.bigEndian = from.bigEndian;
}

/** Whether the CD is ILLEGAL, V=0 included (§5.4.2 CdIllegal, Non-secure, v3.1 and later). */
function cdIllegal(view: DataView, at: number, stream: StreamConfiguration, features: Features, hyp: boolean): boolean {
  if (CD.V.get(view, at) === 0) return true;
  const stalls = CD.S.get(view, at) === 1;
  if (stream.S1STALLD && stalls) return true;
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
  if (!hyp && features.ASID16 === 0 && CD.ASID.get(view, at) > 0xff) return true;
  if (!lowerOff && regionIllegal(LOWER, view, at, features)) return true;
  return !upperOff && regionIllegal(UPPER, view, at, features);
}

function regionIllegal(fields: RegionFields, view: DataView, at: number, features: Features): boolean {
  const granuleBits = fields.granuleBits[fields.TG.get(view, at)] ?? 0;
  if (granuleBits === 0 || !granuleSupported(features, granuleBits)) return true;
  const ds = features.DS === 1 && CD.DS.get(view, at) === 1;
  const large = granuleBits === 16 || ds;
  const least = features.VAX > 0 && large ? 12 : 16;
  if (!txszInRange(fields.TSZ.get(view, at), granuleBits, least, features)) return true;
  const outputBits = effectiveAddressBits(CD.IPS.get(view, at), features);
  return fields.TTB.get(view, at) % TWO_48 >= powerOfTwo(Math.min(outputBits, large ? 52 : 48) - 4);
}
