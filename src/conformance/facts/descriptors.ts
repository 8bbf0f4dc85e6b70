/** VMSAv8-64 translation tables (DDI 0487 M.a.a D8.2 to D8.7): levels, sizes, permissions, contiguous groups. */
import type { FeatureCondition } from './fact.ts';

export type GranuleName = '4KB' | '16KB' | '64KB';

export interface LevelFact {
  readonly level: number;
  /** Input address bits that index a full table of this level. */
  readonly index: readonly [msb: number, lsb: number];
  readonly section: string;
  /** Size of a block in bits; null where the level has none. */
  readonly block: number | null;
  /** What makes blocks of this level exist. */
  readonly blockNeeds?: FeatureCondition;
}

/** 52-bit output addresses for every granule. */
const WIDE = { OAS: 6, VAX: 1, DS: 1 } as const;
const LPA = { OAS: 6 } as const;

/** Tables D8-16, D8-26, D8-35. Bits 51:48 are used with 52-bit addresses alone. */
export const LEVELS: Readonly<Record<GranuleName, readonly LevelFact[]>> = {
  '4KB': [
    { level: 0, index: [47, 39], section: 'D8.2.8', block: 39, blockNeeds: WIDE },
    { level: 1, index: [38, 30], section: 'D8.2.8', block: 30 },
    { level: 2, index: [29, 21], section: 'D8.2.8', block: 21 },
    { level: 3, index: [20, 12], section: 'D8.2.8', block: 12 },
  ],
  '16KB': [
    { level: 1, index: [46, 36], section: 'D8.2.9', block: 36, blockNeeds: WIDE },
    { level: 2, index: [35, 25], section: 'D8.2.9', block: 25 },
    { level: 3, index: [24, 14], section: 'D8.2.9', block: 14 },
  ],
  '64KB': [
    { level: 1, index: [47, 42], section: 'D8.2.10', block: 42, blockNeeds: LPA },
    { level: 2, index: [41, 29], section: 'D8.2.10', block: 29 },
    { level: 3, index: [28, 16], section: 'D8.2.10', block: 16 },
  ],
};

export interface StartFact {
  readonly level: number;
  /** First and last TxSZ that start there. */
  readonly TxSZ: readonly [first: number, last: number];
  readonly needs?: FeatureCondition;
}

const STT = { STT: 1 } as const;

/** Tables D8-18, D8-28, D8-37. */
export const STAGE_1_START: Readonly<Record<GranuleName, readonly StartFact[]>> = {
  '4KB': [
    { level: -1, TxSZ: [12, 15], needs: WIDE },
    { level: 0, TxSZ: [16, 24] },
    { level: 1, TxSZ: [25, 33] },
    { level: 2, TxSZ: [34, 39] },
    { level: 2, TxSZ: [40, 42], needs: STT },
    { level: 3, TxSZ: [43, 48], needs: STT },
  ],
  '16KB': [
    { level: 0, TxSZ: [12, 15], needs: WIDE },
    { level: 0, TxSZ: [16, 16] },
    { level: 1, TxSZ: [17, 27] },
    { level: 2, TxSZ: [28, 38] },
    { level: 3, TxSZ: [39, 39] },
    { level: 3, TxSZ: [40, 48], needs: STT },
  ],
  '64KB': [
    { level: 1, TxSZ: [12, 15], needs: { OAS: 6, VAX: 1 } },
    { level: 1, TxSZ: [16, 21] },
    { level: 2, TxSZ: [22, 34] },
    { level: 3, TxSZ: [35, 39] },
    { level: 3, TxSZ: [40, 47], needs: STT },
  ],
};

export interface Stage2StartFact {
  readonly level: number;
  readonly T0SZ: readonly [first: number, last: number];
  /** Concatenated tables by T0SZ. */
  readonly concatenated: readonly { readonly tables: number; readonly T0SZ: number }[];
}

/** Tables D8-20 to D8-24, D8-30 to D8-33, D8-39 to D8-41. T0SZ below 16 needs 52-bit addresses, above 39 STT. */
export const STAGE_2_START: Readonly<Record<GranuleName, readonly Stage2StartFact[]>> = {
  '4KB': [
    { level: -1, T0SZ: [12, 15], concatenated: [] },
    {
      level: 0,
      T0SZ: [16, 24],
      concatenated: [
        { tables: 2, T0SZ: 15 },
        { tables: 4, T0SZ: 14 },
        { tables: 8, T0SZ: 13 },
        { tables: 16, T0SZ: 12 },
      ],
    },
    {
      level: 1,
      T0SZ: [25, 33],
      concatenated: [
        { tables: 2, T0SZ: 24 },
        { tables: 4, T0SZ: 23 },
        { tables: 8, T0SZ: 22 },
        { tables: 16, T0SZ: 21 },
      ],
    },
    {
      level: 2,
      T0SZ: [34, 42],
      concatenated: [
        { tables: 2, T0SZ: 33 },
        { tables: 4, T0SZ: 32 },
        { tables: 8, T0SZ: 31 },
        { tables: 16, T0SZ: 30 },
      ],
    },
    {
      level: 3,
      T0SZ: [43, 48],
      concatenated: [
        { tables: 2, T0SZ: 42 },
        { tables: 4, T0SZ: 41 },
        { tables: 8, T0SZ: 40 },
        { tables: 16, T0SZ: 39 },
      ],
    },
  ],
  '16KB': [
    { level: 0, T0SZ: [12, 16], concatenated: [] },
    {
      level: 1,
      T0SZ: [17, 27],
      concatenated: [
        { tables: 2, T0SZ: 16 },
        { tables: 4, T0SZ: 15 },
        { tables: 8, T0SZ: 14 },
        { tables: 16, T0SZ: 13 },
      ],
    },
    {
      level: 2,
      T0SZ: [28, 38],
      concatenated: [
        { tables: 2, T0SZ: 27 },
        { tables: 4, T0SZ: 26 },
        { tables: 8, T0SZ: 25 },
        { tables: 16, T0SZ: 24 },
      ],
    },
    {
      level: 3,
      T0SZ: [39, 48],
      concatenated: [
        { tables: 2, T0SZ: 38 },
        { tables: 4, T0SZ: 37 },
        { tables: 8, T0SZ: 36 },
        { tables: 16, T0SZ: 35 },
      ],
    },
  ],
  '64KB': [
    { level: 1, T0SZ: [12, 21], concatenated: [] },
    {
      level: 2,
      T0SZ: [22, 34],
      concatenated: [
        { tables: 2, T0SZ: 21 },
        { tables: 4, T0SZ: 20 },
        { tables: 8, T0SZ: 19 },
        { tables: 16, T0SZ: 18 },
      ],
    },
    {
      level: 3,
      T0SZ: [35, 47],
      concatenated: [
        { tables: 2, T0SZ: 34 },
        { tables: 4, T0SZ: 33 },
        { tables: 8, T0SZ: 32 },
        { tables: 16, T0SZ: 31 },
      ],
    },
  ],
};

export interface PermissionFact {
  readonly UXN: 0 | 1;
  readonly PXN: 0 | 1;
  /** AP[2:1]. */
  readonly AP: 0b00 | 0b01 | 0b10 | 0b11;
  /** null: of either value. */
  readonly WXN: 0 | 1 | null;
  readonly privileged: string;
  readonly unprivileged: string;
}

/** Table D8-65: stage 1 permissions of regimes with two privilege levels. */
export const PERMISSIONS: readonly PermissionFact[] = [
  { UXN: 0, PXN: 0, AP: 0b00, WXN: 0, privileged: 'RWX', unprivileged: 'X' },
  { UXN: 0, PXN: 0, AP: 0b00, WXN: 1, privileged: 'RW', unprivileged: 'X' },
  { UXN: 0, PXN: 0, AP: 0b01, WXN: 0, privileged: 'RW', unprivileged: 'RWX' },
  { UXN: 0, PXN: 0, AP: 0b01, WXN: 1, privileged: 'RW', unprivileged: 'RW' },
  { UXN: 0, PXN: 0, AP: 0b10, WXN: null, privileged: 'RX', unprivileged: 'X' },
  { UXN: 0, PXN: 0, AP: 0b11, WXN: null, privileged: 'RX', unprivileged: 'RX' },
  { UXN: 0, PXN: 1, AP: 0b00, WXN: null, privileged: 'RW', unprivileged: 'X' },
  { UXN: 0, PXN: 1, AP: 0b01, WXN: 0, privileged: 'RW', unprivileged: 'RWX' },
  { UXN: 0, PXN: 1, AP: 0b01, WXN: 1, privileged: 'RW', unprivileged: 'RW' },
  { UXN: 0, PXN: 1, AP: 0b10, WXN: null, privileged: 'R', unprivileged: 'X' },
  { UXN: 0, PXN: 1, AP: 0b11, WXN: null, privileged: 'R', unprivileged: 'RX' },
  { UXN: 1, PXN: 0, AP: 0b00, WXN: 0, privileged: 'RWX', unprivileged: '' },
  { UXN: 1, PXN: 0, AP: 0b00, WXN: 1, privileged: 'RW', unprivileged: '' },
  { UXN: 1, PXN: 0, AP: 0b01, WXN: null, privileged: 'RW', unprivileged: 'RW' },
  { UXN: 1, PXN: 0, AP: 0b10, WXN: null, privileged: 'RX', unprivileged: '' },
  { UXN: 1, PXN: 0, AP: 0b11, WXN: null, privileged: 'RX', unprivileged: 'R' },
  { UXN: 1, PXN: 1, AP: 0b00, WXN: null, privileged: 'RW', unprivileged: '' },
  { UXN: 1, PXN: 1, AP: 0b01, WXN: null, privileged: 'RW', unprivileged: 'RW' },
  { UXN: 1, PXN: 1, AP: 0b10, WXN: null, privileged: 'R', unprivileged: '' },
  { UXN: 1, PXN: 1, AP: 0b11, WXN: null, privileged: 'R', unprivileged: 'R' },
];

/** Table D8-76. */
export const S2AP = [
  { value: 0b00, access: '' },
  { value: 0b01, access: 'R' },
  { value: 0b10, access: 'W' },
  { value: 0b11, access: 'RW' },
] as const;

/** Table D8-78: XN[1:0], bits [54:53], with IDR3.XNX. */
export const S2XN = [
  { value: 0b00, privileged: true, unprivileged: true },
  { value: 0b01, privileged: false, unprivileged: true },
  { value: 0b10, privileged: false, unprivileged: false },
  { value: 0b11, privileged: true, unprivileged: false },
] as const;

/** Table D8-104: neighbours that a contiguous group has. */
export const CONTIGUOUS: readonly {
  readonly granule: GranuleName;
  readonly level: number;
  readonly entries: number;
}[] = [
  { granule: '4KB', level: 1, entries: 16 },
  { granule: '4KB', level: 2, entries: 16 },
  { granule: '4KB', level: 3, entries: 16 },
  { granule: '16KB', level: 2, entries: 32 },
  { granule: '16KB', level: 3, entries: 128 },
  { granule: '64KB', level: 2, entries: 32 },
  { granule: '64KB', level: 3, entries: 32 },
];
