/** Stream table entries: which are ILLEGAL (IHI 0070 §5.2.2), and what the legal ones say (§5.2). */
import { Eats, S1Dss, S1Fmt, STE, SteConfig } from '../spec/ste.layout.ts';
import type { Control } from './control.ts';
import { ADDRESS_BITS, type Features, granuleSupported, outputAddressBits, powerOfTwo } from './features.ts';
import { Difference, StructureSource } from './structure-source.ts';
import { TableAddress } from './table-address.ts';
import { type Stage2, StreamWorld, TranslationContext } from './translation/context.ts';

/** 32-bit words of an STE that hold fields of ours: up to S2TTB. */
const STE_WORDS = 8;
/** S1ContextPtr is in units of 64 bytes. */
const CONTEXT_UNIT = 2 ** STE.S1ContextPtr.lsb;
const S2_TABLE = new TableAddress(STE.S2TTB);
const { NONE, KIND } = Difference;

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

/** What remembers the words of STEs, for a cache of so many slots. */
export const streamSource = (slots: number): StructureSource =>
  new StructureSource(STE_WORDS, [STE.S1ContextPtr, STE.S2VMID, STE.S2TTB], slots);

/** A decoded STE. One object serves one slot of the configuration cache and is refilled in place. */
export class StreamConfiguration {
  /** The StreamID whose STE this is; -1 when it holds nothing. */
  streamId = -1;
  /** Distinguishes every fetch: a cached CD belongs to the STE it was reached through. */
  epoch = 0;
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
  /** The stream without stage 1: stage 2 alone, or bypass. */
  readonly withoutStage1 = new TranslationContext();
  readonly #source: StructureSource;
  readonly #slot: number;
  /** V=0, or ILLEGAL for a reason other than its particulars. */
  #illegalKind = true;
  /** S1ContextPtr and S2TTB are addresses of so many bits, S2VMID a number of so many: 0 where it plays no part. */
  #contextBits = 0;
  #tableBits = 0;
  #vmidBits = 0;
  /** CR0.ATSCHK and CR2.E2H at the time of decoding. */
  #atschk = false;
  #e2h = false;

  /** Slot `slot` of a cache, whose words `source` remembers; by default a cache of one. */
  constructor(source = streamSource(1), slot = 0) {
    this.#source = source;
    this.#slot = slot;
  }

  get world(): StreamWorld {
    return this.withoutStage1.world;
  }

  get vmid(): number {
    return this.withoutStage1.vmid;
  }

  /**
   * Fills this object from the STE at byte `at` of `view`. Fetching again what did not change costs a comparison, and an
   * STE of the same kind as the one before little more. `features` are always the same.
   */
  decode(view: DataView, at: number, features: Features, control: Control): void {
    const difference = this.#source.take(view, at, this.#slot);
    const switched = this.#atschk !== control.ATSCHK || this.#e2h !== control.E2H;
    if (difference === NONE && !switched) return;
    if (difference === KIND || switched) {
      this.#atschk = control.ATSCHK;
      this.#e2h = control.E2H;
      this.#illegalKind = kindIllegal(view, at, features);
      if (!this.#illegalKind) this.#decodeKind(view, at, features, control);
    }
    this.illegal = this.#illegalKind || !this.#decodeParticulars(view, at);
  }

  /** Where the tables are, and the VMID: false when one of them is out of range, which makes the STE ILLEGAL. */
  #decodeParticulars(view: DataView, at: number): boolean {
    if (this.aborts) return true;
    const context = this.withoutStage1;
    if (this.stage1) {
      this.contextTable = STE.S1ContextPtr.get(view, at) * CONTEXT_UNIT;
      if (this.contextTable >= powerOfTwo(this.#contextBits)) return false;
    }
    if (this.#vmidBits > 0) {
      context.vmid = STE.S2VMID.get(view, at);
      if (context.vmid >>> this.#vmidBits !== 0) return false;
    }
    if (this.stage2) {
      const { tables } = context.stage2;
      tables.tableLow = S2_TABLE.low(view, at);
      tables.tableHigh = S2_TABLE.high(view, at);
      if (tables.tableHigh >>> (this.#tableBits - 32) !== 0) return false;
      tables.rebase();
    }
    context.rekey();
    return true;
  }

  #decodeKind(view: DataView, at: number, features: Features, control: Control): void {
    const config = STE.Config.get(view, at);
    this.Config = config;
    this.aborts = config < SteConfig.BYPASS;
    this.MEV = STE.MEV.get(view, at) === 1;
    this.PPAR = features.PPS === 0 && STE.PPAR.get(view, at) === 1;
    if (this.aborts) return;
    this.stage1 = (config & 1) !== 0;
    this.stage2 = (config & 2) !== 0;
    this.EATS = effectiveEats(view, at, features, control, config);
    this.PRIVCFG = features.ATTR_PERMS_OVR === 1 ? STE.PRIVCFG.get(view, at) : 0;
    this.INSTCFG = features.ATTR_PERMS_OVR === 1 ? STE.INSTCFG.get(view, at) : 0;
    if (this.stage1) this.#decodeStage1(view, at, features);
    this.#decodeRegime(view, at, features, control);
  }

  #decodeStage1(view: DataView, at: number, features: Features): void {
    const substreams = features.SSIDSIZE > 0 ? STE.S1CDMax.get(view, at) : 0;
    this.S1CDMax = substreams;
    this.S1Fmt = substreams > 0 ? STE.S1Fmt.get(view, at) : S1Fmt.LINEAR;
    if (this.S1Fmt > S1Fmt.TWO_LEVEL_64K) this.S1Fmt = S1Fmt.LINEAR;
    this.S1DSS = substreams > 0 ? STE.S1DSS.get(view, at) : S1Dss.TERMINATE;
    if (this.S1DSS > S1Dss.SUBSTREAM_0) this.S1DSS = S1Dss.TERMINATE;
    // IAS equals OAS without VMSAv8-32, so one size serves PA and IPA (§3.4.3).
    this.#contextBits = outputAddressBits(features);
    this.S1STALLD = STE.S1STALLD.get(view, at) === 1;
  }

  #decodeRegime(view: DataView, at: number, features: Features, control: Control): void {
    const context = this.withoutStage1;
    const hyp = !strwUnused(features, this.Config) && STE.STRW.get(view, at) !== 0;
    if (!hyp) context.world = StreamWorld.EL1;
    else context.world = control.E2H ? StreamWorld.EL2_E2H : StreamWorld.EL2;
    const hasVmid = features.S2P === 1 && this.Config !== SteConfig.BYPASS && !hyp;
    this.#vmidBits = hasVmid ? (features.VMID16 === 1 ? 16 : 8) : 0;
    context.vmid = 0;
    context.asid = 0;
    context.stage1Enabled = false;
    context.stage2Enabled = this.stage2;
    this.S2S = this.stage2 && STE.S2S.get(view, at) === 1;
    this.S2R = this.stage2 && STE.S2R.get(view, at) === 1;
    if (this.stage2) {
      decodeStage2(context.stage2, view, at, features);
      this.#tableBits = tableBits(context.stage2.outputBits, isLarge(view, at, features));
    }
    context.derive();
  }
}

/** STE.STRW plays no part: no stage 1 or EL2 in the implementation, stage 2 on, or bypass (§5.2.2 IgnoreSTESTRW). */
function strwUnused(features: Features, config: number): boolean {
  return features.S1P === 0 || features.Hyp === 0 || config >= SteConfig.STAGE_2 || config === SteConfig.BYPASS;
}

function effectiveEats(view: DataView, at: number, features: Features, control: Control, config: number): number {
  if (features.ATS === 0 || config === SteConfig.BYPASS) return Eats.DISABLED;
  const eats = STE.EATS.get(view, at);
  // Split-stage needs CR0.ATSCHK=1; 0b11 needs the DPT, which is not modelled (§5.2 EATS).
  if (eats === Eats.SPLIT_STAGE) return control.ATSCHK ? eats : Eats.DISABLED;
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
function isLarge(view: DataView, at: number, features: Features): boolean {
  return S2_GRANULE_BITS[STE.S2TG.get(view, at)] === 16 || (features.DS === 1 && STE.S2DS.get(view, at) === 1);
}

function stage2StartLevel(view: DataView, at: number, granuleBits: number, features: Features): number {
  const extended = granuleBits === 12 && features.DS === 1 && STE.S2DS.get(view, at) === 1;
  const sl0 = STE.S2SL0.get(view, at) + (extended ? 4 * STE.S2SL0_2.get(view, at) : 0);
  return START_LEVELS[granuleBits]?.[sl0] ?? RESERVED_LEVEL;
}

function decodeStage2(stage2: Stage2, view: DataView, at: number, features: Features): void {
  const granuleBits = S2_GRANULE_BITS[STE.S2TG.get(view, at)] ?? 0;
  const tables = stage2.tables;
  tables.granuleBits = granuleBits;
  tables.inputBits = 64 - STE.S2T0SZ.get(view, at);
  tables.wide = isWide(granuleBits, STE.S2DS.get(view, at) === 1, features);
  tables.startLevel = stage2StartLevel(view, at, granuleBits, features);
  tables.shareability = STE.S2SH0.get(view, at);
  stage2.outputBits = effectiveAddressBits(STE.S2PS.get(view, at), features);
  stage2.accessFlagFaultDisabled = STE.S2AFFD.get(view, at) === 1;
  stage2.hardwareAccess = features.HTTU > 0 && STE.S2HA.get(view, at) === 1;
  stage2.hardwareDirty = features.HTTU > 1 && stage2.hardwareAccess && STE.S2HD.get(view, at) === 1;
  stage2.S2PTW = STE.S2PTW.get(view, at) === 1;
  stage2.S2FWB = features.FWB === 1 && STE.S2FWB.get(view, at) === 1;
  stage2.bigEndian = STE.S2ENDI.get(view, at) === 1;
}

/**
 * Whether the STE is ILLEGAL, V=0 included, whatever its particulars are (§5.2.2 SteIllegal, Non-secure, v3.1 and later).
 */
function kindIllegal(view: DataView, at: number, features: Features): boolean {
  if (STE.V.get(view, at) === 0) return true;
  const config = STE.Config.get(view, at);
  if (config < SteConfig.BYPASS) return false;
  const stage1 = (config & 1) !== 0;
  const stage2 = (config & 2) !== 0;
  if (stage1 && features.S1P === 0) return true;
  if (stage2 && features.S2P === 0) return true;
  if (eatsIllegal(view, at, features, config)) return true;
  const world = strwUnused(features, config) ? 0 : STE.STRW.get(view, at);
  if ((world & 1) !== 0) return true;
  if (stage1 && stage1Illegal(view, at, features)) return true;
  return stage2 && stage2Illegal(view, at, features);
}

function eatsIllegal(view: DataView, at: number, features: Features, config: number): boolean {
  if (features.ATS === 0 || config === SteConfig.BYPASS) return false;
  const eats = STE.EATS.get(view, at);
  if (eats === Eats.DISABLED) return false;
  const stalls = STE.S2S.get(view, at) === 1;
  if (eats === Eats.SPLIT_STAGE) return config !== SteConfig.NESTED || stalls || features.NS1ATS === 1;
  // Without DPT, which is not modelled, 0b11 is reserved and acts as 0b00 (§5.2 EATS).
  return eats === Eats.ENABLED && stalls && config >= SteConfig.STAGE_2;
}

function stage1Illegal(view: DataView, at: number, features: Features): boolean {
  if (features.STALL_MODEL !== 0 && STE.S1STALLD.get(view, at) === 1) return true;
  if (features.SSIDSIZE === 0) return false;
  const substreams = STE.S1CDMax.get(view, at);
  if (substreams > features.SSIDSIZE) return true;
  const format = STE.S1Fmt.get(view, at);
  return substreams > 0 && features.CD2L === 0 && (format === 1 || format === 2);
}

function stage2Illegal(view: DataView, at: number, features: Features): boolean {
  const stalls = STE.S2S.get(view, at) === 1;
  if (features.STALL_MODEL === 0b01 && stalls) return true;
  if (features.STALL_MODEL === 0b10 && !stalls) return true;
  // S2AA64=0 is VMSAv8-32, which IDR0.TTF does not announce; nothing below is judged for it.
  if (STE.S2AA64.get(view, at) === 0) return true;
  const access = STE.S2HA.get(view, at) === 1;
  const dirty = STE.S2HD.get(view, at) === 1;
  if ((access || dirty) && features.HTTU === 0b00) return true;
  if (dirty && features.HTTU === 0b01) return true;
  const granuleBits = S2_GRANULE_BITS[STE.S2TG.get(view, at)] ?? 0;
  if (granuleBits === 0 || !granuleSupported(features, granuleBits)) return true;
  const big = STE.S2ENDI.get(view, at) === 1;
  if (features.TTENDIAN === 0b10 && big) return true;
  if (features.TTENDIAN === 0b11 && !big) return true;
  const ds = features.DS === 1 && STE.S2DS.get(view, at) === 1;
  const t0sz = STE.S2T0SZ.get(view, at);
  const least = Math.max(granuleBits === 16 || ds ? 12 : 16, 64 - outputAddressBits(features));
  if (!txszInRange(t0sz, granuleBits, least, features)) return true;
  return startLevelIllegal(stage2StartLevel(view, at, granuleBits, features), 64 - t0sz, granuleBits, ds, features);
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
