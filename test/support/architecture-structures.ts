/** What the bits of an STE and a CD say, after IHI 0070 §5.2 and §5.4 and DDI 0487 J1.1.4: for architecture-model.ts. */

export interface ArchitectureFeatures {
  readonly OAS: number;
  readonly VAX: number;
  readonly DS: number;
  readonly STT: number;
  readonly HTTU: number;
  readonly HAD: number;
  readonly E0PD: number;
  readonly EPAN: number;
  readonly FWB: number;
  readonly XNX: number;
  readonly BBML: number;
  readonly TTENDIAN: number;
  readonly granules: readonly number[];
}

export const slice = (value: bigint, msb: number, lsb: number): bigint =>
  (value >> BigInt(lsb)) & ((1n << BigInt(msb - lsb + 1)) - 1n);
export const field = (value: bigint, msb: number, lsb = msb): number => Number(slice(value, msb, lsb));
export const flag = (value: bigint, position: number): boolean => slice(value, position, position) === 1n;
/** Bits of an OAS, IPS or S2PS. */
export const sizeOf = (encoding: number): number => [32, 36, 40, 42, 44, 48, 52, 52][encoding] ?? 52;

export interface Stage {
  readonly granule: number;
  readonly inputBits: number;
  readonly startLevel: number;
  readonly outputBits: number;
  readonly table: bigint;
  /** DS; and whether 64 KiB descriptors have 52 bits. */
  readonly ds: boolean;
  readonly lpa: boolean;
  readonly sh: number;
  readonly big: boolean;
  readonly HA: boolean;
  readonly HD: boolean;
  readonly AFFD: boolean;
}

/** AArch64.S1StartLevel. */
const startOf = (granule: number, inputBits: number): number =>
  3 - Math.floor((inputBits - 1 - granule) / (granule - 3));

const TG0: Readonly<Record<number, number>> = { 0: 12, 1: 16, 2: 14 };
const TG1: Readonly<Record<number, number>> = { 1: 14, 2: 12, 3: 16 };

function sizesIllegal(f: ArchitectureFeatures, granule: number, ds: boolean, TSZ: number, least52: number): boolean {
  if (!f.granules.includes(granule)) return true;
  const most = f.STT === 0 ? 39 : granule === 16 ? 47 : 48;
  return TSZ > most || TSZ < (granule === 16 || ds ? least52 : 16);
}

/** TTB aligned to its table, 64 bytes at least with 52-bit output; undefined when it is out of range. */
function tableOf(base: bigint, stage: Omit<Stage, 'table'>): bigint | undefined {
  const most = stage.granule === 16 || stage.ds ? stage.outputBits : Math.min(48, stage.outputBits);
  if (base >> BigInt(most) !== 0n) return undefined;
  const top = stage.inputBits - (stage.granule + (3 - stage.startLevel) * (stage.granule - 3)) + 3;
  const align = BigInt(Math.max(top, stage.outputBits === 52 ? 6 : 0));
  return (base >> align) << align;
}

export type Stage2 = Stage & { readonly PTW: boolean; readonly FWB: boolean };

/** Stage 2 of an STE; undefined is ILLEGAL. */
export function stage2Of(ste: bigint, f: ArchitectureFeatures): Stage2 | undefined {
  const granule = TG0[field(ste, 175, 174)] ?? 0;
  const ds = f.DS === 1 && flag(ste, 195);
  const T0SZ = field(ste, 165, 160);
  const [HA, HD] = [flag(ste, 184), flag(ste, 183)];
  if (!flag(ste, 179) || (HA && f.HTTU === 0) || (HD && f.HTTU < 2)) return undefined;
  const big = flag(ste, 180);
  if ((big && f.TTENDIAN === 2) || (!big && f.TTENDIAN === 3)) return undefined;
  const oas = sizeOf(f.OAS);
  if (sizesIllegal(f, granule, ds, T0SZ, 12) || T0SZ < 64 - oas) return undefined;
  const SL0 = field(ste, 167, 166);
  const SL2 = ds && granule === 12 && flag(ste, 194) ? 1 : 0;
  let level: number;
  if (granule === 12) {
    if (SL2 === 1 && SL0 !== 0) return undefined;
    level = SL2 === 1 ? -1 : ([2, 1, 0, 3][SL0] ?? 0);
    if ((level === -1 && oas < 52) || (level === 0 && oas < 44) || (level === 3 && f.STT === 0)) return undefined;
  } else {
    level = 3 - SL0;
    if (granule === 14 && ((level === 0 && (!ds || oas < 52)) || (level === 1 && oas < 42))) return undefined;
    if (granule === 16 && (level === 0 || (level === 1 && oas < 44))) return undefined;
  }
  const inputBits = 64 - T0SZ;
  const least = (3 - level) * (granule - 3) + granule + 1;
  if (inputBits < least || inputBits > least + (granule - 3 - 1) + 4) return undefined;
  const shape = {
    granule,
    inputBits,
    startLevel: level,
    outputBits: Math.min(sizeOf(field(ste, 178, 176)), oas),
    ds: ds && granule !== 16,
    lpa: oas === 52,
    sh: field(ste, 173, 172),
    big,
    HA,
    HD: HA && HD,
    AFFD: flag(ste, 181),
    PTW: flag(ste, 182),
    FWB: f.FWB === 1 && flag(ste, 89),
  };
  const table = tableOf(slice(ste, 243, 196) << 4n, shape);
  return table === undefined ? undefined : { ...shape, table };
}

/** EPD makes a region null. */
export interface Stage1 {
  readonly lower: Stage | null;
  readonly upper: Stage | null;
  readonly cd: bigint;
  readonly ranges: boolean;
}

/** Stage 1 of a CD; undefined is ILLEGAL, and a region that EPD disables is null. */
export function stage1Of(cd: bigint, ranges: boolean, f: ArchitectureFeatures): Stage1 | undefined {
  const off0 = ranges && flag(cd, 14);
  const off1 = !ranges || flag(cd, 30);
  const big = flag(cd, 15);
  if ((!off0 || !off1) && ((big && f.TTENDIAN === 2) || (!big && f.TTENDIAN === 3))) return undefined;
  const [HA, HD] = [flag(cd, 43), flag(cd, 42)];
  if (!flag(cd, 31) || !flag(cd, 41) || ((HA || HD) && f.HTTU === 0) || (HD && f.HTTU < 2)) return undefined;
  const outputBits = Math.min(sizeOf(field(cd, 34, 32)), sizeOf(f.OAS));
  const ds = f.DS === 1 && flag(cd, 186);
  const region = (off: boolean, TSZ: number, granule: number, sh: number, base: bigint): Stage | null | undefined => {
    if (off) return null;
    if (sizesIllegal(f, granule, ds, TSZ, f.VAX === 0 ? 16 : 12)) return undefined;
    const inputBits = 64 - TSZ;
    const shape = {
      granule,
      inputBits,
      startLevel: startOf(granule, inputBits),
      outputBits,
      ds: ds && granule !== 16,
      lpa: f.OAS === 6,
      sh,
      big,
      HA,
      HD: HA && HD,
      AFFD: flag(cd, 35),
    };
    const table = tableOf(base, shape);
    return table === undefined ? undefined : { ...shape, table };
  };
  const lower = region(off0, field(cd, 5, 0), TG0[field(cd, 7, 6)] ?? 0, field(cd, 13, 12), slice(cd, 115, 68) << 4n);
  const upper = region(
    off1,
    field(cd, 21, 16),
    TG1[field(cd, 23, 22)] ?? 0,
    field(cd, 29, 28),
    slice(cd, 179, 132) << 4n,
  );
  return lower === undefined || upper === undefined ? undefined : { lower, upper, cd, ranges };
}
