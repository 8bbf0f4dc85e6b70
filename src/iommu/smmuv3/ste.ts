/** Stream table entries: which are ILLEGAL (IHI 0070 §5.2.2), and what the legal ones say (§5.2). */
import { Eats, S1Dss, S1Fmt, STE, SteConfig } from '../spec/ste.layout.ts';
import type { Control } from './control.ts';
import { ADDRESS_BITS, type Features, granuleSupported, outputAddressBits } from './features.ts';
import { type DecodedStructure, StructureCache } from './structure-cache.ts';
import { TableAddress } from './table-address.ts';
import { type Stage2, StreamWorld, TranslationContext } from './translation/context.ts';

const CONTEXT_TABLE = new TableAddress(STE.S1ContextPtr, 56);
const VMID_WORD = STE.S2VMID.lsb / 32;
const S2_TABLE = new TableAddress(STE.S2TTB);

const TWO_32 = 2 ** 32;
const ATSCHK = 1;
const E2H = 2;

/** S2TG to granule bits; 0 is reserved. */
const S2_GRANULE_BITS = [12, 16, 14, 0] as const;

/**
 * Start level by S2TG and S2SL0 (with S2SL0_2 above it for 4 KiB), as VTCR_EL2.SL0 and SL2 encode it (DDI 0487
 * D8.2.5). -2 is reserved.
 */
const RESERVED_LEVEL = -2;
const START_LEVELS: Readonly<Record<number, readonly number[]>> = {
  12: [2, 1, 0, 3, -1, RESERVED_LEVEL, RESERVED_LEVEL, RESERVED_LEVEL],
  14: [3, 2, 1, 0],
  16: [3, 2, 1, RESERVED_LEVEL],
};

/** What the meaning of an STE depends on beside its words: CR0.ATSCHK and CR2.E2H when it is fetched. */
export const streamCircumstances = (control: Control): number =>
  (control.ATSCHK ? ATSCHK : 0) | (control.E2H ? E2H : 0);

/** A cache of so many STEs. */
export const streamCache = (slots: number, features: Features): StructureCache<StreamConfiguration> =>
  new StructureCache(slots, [STE.S1ContextPtr, STE.S2VMID, STE.S2TTB], () => new StreamConfiguration(features));

/** A decoded STE. */
export class StreamConfiguration implements DecodedStructure {
  /** V=0 or ILLEGAL: every use is C_BAD_STE. */
  illegal = true;
  Config = 0;
  /** Config, as what a transaction does first. */
  aborts = true;
  stage1 = false;
  stage2 = false;
  /** The effective value: CR0.ATSCHK and absent features are accounted for. */
  EATS: number = Eats.DISABLED;
  /** Effective values: linear, 0 and TERMINATE where substreams are off. */
  S1Fmt: number = S1Fmt.LINEAR;
  S1CDMax = 0;
  S1DSS: number = S1Dss.TERMINATE;
  /** Byte address of the CD or CD table; an IPA with stage 2. */
  contextTable = 0;
  S1STALLD = false;
  PPAR = false;
  MEV = false;
  S2S = false;
  S2R = false;
  /** 0 where IDR1.ATTR_PERMS_OVR=0. */
  PRIVCFG = 0;
  INSTCFG = 0;
  /** Whether one of them changes what comes in. */
  overrides = false;
  /** The stream without stage 1: stage 2 alone, or bypass. */
  readonly withoutStage1 = new TranslationContext();
  readonly #features: Features;
  /** V=0, or ILLEGAL for a reason other than its particulars. */
  #illegalKind = true;
  /** Bits 31:0 of S1ContextPtr that are not RES0: the table is aligned to its size. */
  #contextMask = -1;
  /** S1ContextPtr and S2TTB are addresses of so many bits, S2VMID a number of so many: 0 where it plays no part. */
  #contextBits = 0;
  #tableBits = 0;
  #vmidBits = 0;

  constructor(features: Features) {
    this.#features = features;
  }

  get world(): StreamWorld {
    return this.withoutStage1.world;
  }

  get vmid(): number {
    return this.withoutStage1.vmid;
  }

  decodeKind(view: DataView, circumstances: number): void {
    const features = this.#features;
    this.#illegalKind = kindIllegal(view, features);
    if (this.#illegalKind) return;
    const config = STE.Config.get(view);
    this.Config = config;
    this.aborts = config < SteConfig.BYPASS;
    this.MEV = STE.MEV.get(view) === 1;
    this.PPAR = features.PPS === 0 && STE.PPAR.get(view) === 1;
    if (this.aborts) return;
    this.stage1 = (config & 1) !== 0;
    this.stage2 = (config & 2) !== 0;
    this.EATS = effectiveEats(view, features, (circumstances & ATSCHK) !== 0, config);
    this.PRIVCFG = features.ATTR_PERMS_OVR === 1 ? STE.PRIVCFG.get(view) : 0;
    this.INSTCFG = features.ATTR_PERMS_OVR === 1 ? STE.INSTCFG.get(view) : 0;
    this.overrides = this.PRIVCFG !== 0 || this.INSTCFG !== 0;
    if (this.stage1) this.#decodeStage1(view, features);
    this.#decodeRegime(view, features, (circumstances & E2H) !== 0);
  }

  decodeParticulars(words: Int32Array, at: number): void {
    this.illegal = this.#illegalKind || !this.#takeParticulars(words, at);
  }

  /** Where the tables are, and the VMID: false when one of them is out of range, which makes the STE ILLEGAL. */
  #takeParticulars(words: Int32Array, at: number): boolean {
    if (this.aborts) return true;
    const context = this.withoutStage1;
    if (this.stage1) {
      const high = CONTEXT_TABLE.high(words, at);
      this.contextTable = high * TWO_32 + ((CONTEXT_TABLE.low(words, at) & this.#contextMask) >>> 0);
      if (high >>> (this.#contextBits - 32) !== 0) return false;
    }
    if (this.#vmidBits > 0) {
      context.vmid = (words[at + VMID_WORD] ?? 0) & STE.S2VMID.max;
      if (context.vmid >>> this.#vmidBits !== 0) return false;
    }
    if (this.stage2) {
      const { tables } = context.stage2;
      tables.tableLow = S2_TABLE.low(words, at);
      tables.tableHigh = S2_TABLE.high(words, at);
      if (tables.tableHigh >>> (this.#tableBits - 32) !== 0) return false;
      tables.rebase();
    }
    context.retag();
    return true;
  }

  #decodeStage1(view: DataView, features: Features): void {
    const substreams = features.SSIDSIZE > 0 ? STE.S1CDMax.get(view) : 0;
    this.S1CDMax = substreams;
    this.S1Fmt = substreams > 0 ? STE.S1Fmt.get(view) : S1Fmt.LINEAR;
    if (this.S1Fmt > S1Fmt.TWO_LEVEL_64K) this.S1Fmt = S1Fmt.LINEAR;
    this.#contextMask = -1 << contextTableBits(this.S1Fmt, substreams);
    this.S1DSS = substreams > 0 ? STE.S1DSS.get(view) : S1Dss.TERMINATE;
    if (this.S1DSS > S1Dss.SUBSTREAM_0) this.S1DSS = S1Dss.TERMINATE;
    // IAS equals OAS without VMSAv8-32, so one size serves PA and IPA (§3.4.3).
    this.#contextBits = outputAddressBits(features);
    this.S1STALLD = STE.S1STALLD.get(view) === 1;
  }

  #decodeRegime(view: DataView, features: Features, e2h: boolean): void {
    const context = this.withoutStage1;
    const hyp = !strwUnused(features, this.Config) && STE.STRW.get(view) !== 0;
    if (!hyp) context.world = StreamWorld.EL1;
    else context.world = e2h ? StreamWorld.EL2_E2H : StreamWorld.EL2;
    const hasVmid = features.S2P === 1 && this.Config !== SteConfig.BYPASS && !hyp;
    this.#vmidBits = hasVmid ? (features.VMID16 === 1 ? 16 : 8) : 0;
    context.vmid = 0;
    context.asid = 0;
    context.stage1Enabled = false;
    context.stage2Enabled = this.stage2;
    this.S2S = this.stage2 && STE.S2S.get(view) === 1;
    this.S2R = this.stage2 && STE.S2R.get(view) === 1;
    if (this.stage2) {
      decodeStage2(context.stage2, view, features);
      this.#tableBits = tableBits(context.stage2.outputBits, isLarge(view, features));
    }
    context.derive();
  }
}

/** log2 of the bytes of a table of 2^`log2` CDs, or of its first level, which has 64 at least (§5.2 S1Fmt). */
function contextTableBits(format: number, log2: number): number {
  if (format === S1Fmt.LINEAR) return log2 + 6;
  return Math.max(log2 + 3 - (format === S1Fmt.TWO_LEVEL_4K ? 6 : 10), 6);
}

/** STE.STRW plays no part: no stage 1 or EL2 in the implementation, stage 2 on, or bypass (§5.2.2 IgnoreSTESTRW). */
function strwUnused(features: Features, config: number): boolean {
  return features.S1P === 0 || features.Hyp === 0 || config >= SteConfig.STAGE_2 || config === SteConfig.BYPASS;
}

function effectiveEats(view: DataView, features: Features, atschk: boolean, config: number): number {
  if (features.ATS === 0 || config === SteConfig.BYPASS) return Eats.DISABLED;
  const eats = STE.EATS.get(view);
  // Split-stage needs CR0.ATSCHK=1; 0b11 needs the DPT, which is not modelled (§5.2 EATS).
  if (eats === Eats.SPLIT_STAGE) return atschk ? eats : Eats.DISABLED;
  return eats === Eats.ENABLED ? eats : Eats.DISABLED;
}

/** Effective S2PS or IPS: capped by the OAS. */
export function effectiveAddressBits(encoding: number, features: Features): number {
  return Math.min(ADDRESS_BITS[encoding] ?? 52, outputAddressBits(features));
}

/** Whether 52-bit descriptors are in use: DS for small granules, always possible with 64 KiB (§5.4 DS). */
export function isWide(granuleBits: number, ds: boolean, features: Features): boolean {
  return granuleBits === 16 ? outputAddressBits(features) >= 52 : ds && features.DS === 1;
}

/** Lowest and highest TxSZ of VMSAv8-64 (§5.2.2 STES2T0SZInvalid, §5.4.2 CDTxSZInvalid); `least` depends on the stage. */
export function txszInRange(txsz: number, granuleBits: number, least: number, features: Features): boolean {
  let most = 39;
  if (features.STT === 1) most = granuleBits === 16 ? 47 : 48;
  return txsz >= least && txsz <= most;
}

/**
 * Bits of a table's address: the effective output size, which small granules without DS cap at 48 (§5.2.2
 * STES2TTBInvalid, §5.4.2 CDTTBInvalid).
 */
export const tableBits = (outputBits: number, large: boolean): number => Math.min(outputBits, large ? 52 : 48);

/** Whether stage 2 may have 52-bit addresses as far as the STE goes: 64 KiB granules, or DS. */
function isLarge(view: DataView, features: Features): boolean {
  return S2_GRANULE_BITS[STE.S2TG.get(view)] === 16 || (features.DS === 1 && STE.S2DS.get(view) === 1);
}

function stage2StartLevel(view: DataView, granuleBits: number, features: Features): number {
  const extended = granuleBits === 12 && features.DS === 1 && STE.S2DS.get(view) === 1;
  const sl0 = STE.S2SL0.get(view) + (extended ? 4 * STE.S2SL0_2.get(view) : 0);
  return START_LEVELS[granuleBits]?.[sl0] ?? RESERVED_LEVEL;
}

function decodeStage2(stage2: Stage2, view: DataView, features: Features): void {
  const granuleBits = S2_GRANULE_BITS[STE.S2TG.get(view)] ?? 0;
  const tables = stage2.tables;
  tables.granuleBits = granuleBits;
  tables.inputBits = 64 - STE.S2T0SZ.get(view);
  tables.wide = isWide(granuleBits, STE.S2DS.get(view) === 1, features);
  tables.startLevel = stage2StartLevel(view, granuleBits, features);
  tables.shareability = STE.S2SH0.get(view);
  stage2.outputBits = effectiveAddressBits(STE.S2PS.get(view), features);
  stage2.accessFlagFaultDisabled = STE.S2AFFD.get(view) === 1;
  stage2.hardwareAccess = features.HTTU > 0 && STE.S2HA.get(view) === 1;
  stage2.hardwareDirty = features.HTTU > 1 && stage2.hardwareAccess && STE.S2HD.get(view) === 1;
  stage2.S2PTW = STE.S2PTW.get(view) === 1;
  stage2.S2FWB = features.FWB === 1 && STE.S2FWB.get(view) === 1;
  stage2.bigEndian = STE.S2ENDI.get(view) === 1;
}

/**
 * Whether the STE is ILLEGAL, V=0 included, whatever its particulars are (§5.2.2 SteIllegal, Non-secure, v3.1 and later).
 */
function kindIllegal(view: DataView, features: Features): boolean {
  if (STE.V.get(view) === 0) return true;
  const config = STE.Config.get(view);
  if (config < SteConfig.BYPASS) return false;
  const stage1 = (config & 1) !== 0;
  const stage2 = (config & 2) !== 0;
  if (stage1 && features.S1P === 0) return true;
  if (stage2 && features.S2P === 0) return true;
  if (eatsIllegal(view, features, config)) return true;
  const world = strwUnused(features, config) ? 0 : STE.STRW.get(view);
  if ((world & 1) !== 0) return true;
  if (stage1 && stage1Illegal(view, features)) return true;
  return stage2 && stage2Illegal(view, features);
}

function eatsIllegal(view: DataView, features: Features, config: number): boolean {
  if (features.ATS === 0 || config === SteConfig.BYPASS) return false;
  const eats = STE.EATS.get(view);
  if (eats === Eats.DISABLED) return false;
  const stalls = STE.S2S.get(view) === 1;
  if (eats === Eats.SPLIT_STAGE) return config !== SteConfig.NESTED || stalls || features.NS1ATS === 1;
  // Without DPT, which is not modelled, 0b11 is reserved and acts as 0b00 (§5.2 EATS).
  return eats === Eats.ENABLED && stalls && config >= SteConfig.STAGE_2;
}

function stage1Illegal(view: DataView, features: Features): boolean {
  if (features.STALL_MODEL !== 0 && STE.S1STALLD.get(view) === 1) return true;
  if (features.SSIDSIZE === 0) return false;
  const substreams = STE.S1CDMax.get(view);
  if (substreams > features.SSIDSIZE) return true;
  const format = STE.S1Fmt.get(view);
  return substreams > 0 && features.CD2L === 0 && (format === 1 || format === 2);
}

function stage2Illegal(view: DataView, features: Features): boolean {
  const stalls = STE.S2S.get(view) === 1;
  if (features.STALL_MODEL === 0b01 && stalls) return true;
  if (features.STALL_MODEL === 0b10 && !stalls) return true;
  // S2AA64=0 is VMSAv8-32, which IDR0.TTF does not announce; nothing below is judged for it.
  if (STE.S2AA64.get(view) === 0) return true;
  const access = STE.S2HA.get(view) === 1;
  const dirty = STE.S2HD.get(view) === 1;
  if ((access || dirty) && features.HTTU === 0b00) return true;
  if (dirty && features.HTTU === 0b01) return true;
  const granuleBits = S2_GRANULE_BITS[STE.S2TG.get(view)] ?? 0;
  if (granuleBits === 0 || !granuleSupported(features, granuleBits)) return true;
  const big = STE.S2ENDI.get(view) === 1;
  if (features.TTENDIAN === 0b10 && big) return true;
  if (features.TTENDIAN === 0b11 && !big) return true;
  const ds = features.DS === 1 && STE.S2DS.get(view) === 1;
  const t0sz = STE.S2T0SZ.get(view);
  const least = Math.max(granuleBits === 16 || ds ? 12 : 16, 64 - outputAddressBits(features));
  if (!txszInRange(t0sz, granuleBits, least, features)) return true;
  return startLevelIllegal(stage2StartLevel(view, granuleBits, features), 64 - t0sz, granuleBits, ds, features);
}

/** S2SL0 that is reserved, or does not fit S2T0SZ and S2TG (DDI 0487 J1 AArch64.S2InvalidSL, S2InconsistentSL). */
function startLevelIllegal(
  level: number,
  inputBits: number,
  granuleBits: number,
  ds: boolean,
  features: Features,
): boolean {
  const physicalBits = outputAddressBits(features);
  if (level === RESERVED_LEVEL) return true;
  if (granuleBits === 12) {
    if (level === -1 && physicalBits < 52) return true;
    if (level === 0 && physicalBits < 44) return true;
    if (level === 3 && features.STT === 0) return true;
  } else if (granuleBits === 14) {
    if (level === 0 && (!ds || physicalBits < 52)) return true;
    if (level === 1 && physicalBits < 42) return true;
  } else if (level === 1 && physicalBits < 44) {
    return true;
  }
  const stride = granuleBits - 3;
  // At least one bit, at most one table's bits and 4 of concatenation, are resolved at the start level.
  const least = (3 - level) * stride + granuleBits + 1;
  return inputBits < least || inputBits > least + stride - 1 + 4;
}
