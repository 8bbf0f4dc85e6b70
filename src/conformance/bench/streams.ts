/** STEs and CDs in memory, and streams that translate, from as little as a row wants to say. */
import { encodeFields, type Word } from '../bits.ts';
import { CD_FIELDS } from '../facts/cd-fields.ts';
import { STE_FIELDS } from '../facts/ste-fields.ts';
import type { Granule } from './tables.ts';

export type SteField = (typeof STE_FIELDS)[number]['name'];
export type CdField = (typeof CD_FIELDS)[number]['name'];
export type SteValues = Partial<Readonly<Record<SteField, Word>>>;
export type CdValues = Partial<Readonly<Record<CdField, Word>>>;

export const STE_BYTES = 64;
export const CD_BYTES = 64;

/** STE.Config (§5.2). */
export const CONFIG = { ABORT: 0b000, BYPASS: 0b100, STAGE_1: 0b101, STAGE_2: 0b110, NESTED: 0b111 } as const;

/** TG0 and S2TG, TG1 (§5.4, §5.2): the two halves of a CD encode granules differently. */
export const TG0: Readonly<Record<Granule, number>> = { '4KB': 0b00, '64KB': 0b01, '16KB': 0b10 };
export const TG1: Readonly<Record<Granule, number>> = { '16KB': 0b01, '4KB': 0b10, '64KB': 0b11 };

/** S2SL0 by granule and start level (DDI 0487 D8.2, VTCR_EL2.SL0). Level -1 needs S2SL0_2 too. */
export const SL0: Readonly<Record<Granule, Readonly<Record<number, number>>>> = {
  '4KB': { [-1]: 0b00, 0: 0b10, 1: 0b01, 2: 0b00, 3: 0b11 },
  '16KB': { 0: 0b11, 1: 0b10, 2: 0b01, 3: 0b00 },
  '64KB': { 1: 0b10, 2: 0b01, 3: 0b00 },
};

export const encodeSte = (values: SteValues): Uint8Array => encodeFields(STE_FIELDS, STE_BYTES, { V: 1, ...values });

export const encodeCd = (values: CdValues): Uint8Array => encodeFields(CD_FIELDS, CD_BYTES, values);

/** TTB0 and S2TTB hold address bits 51:4. */
export const ttb = (address: number): number => address / 16;

/** A CD that translates the lower half with 4 KiB pages and 48 bits; faults abort and are recorded. */
export const CD_DEFAULTS: CdValues = {
  V: 1,
  AA64: 1,
  T0SZ: 16,
  TG0: TG0['4KB'],
  IPS: 0b110,
  EPD1: 1,
  A: 1,
  R: 1,
  ASID: 1,
  SH0: 3,
  MAIR0: 0xff,
};

/** Stage 2 fields of an STE for 4 KiB pages; faults are recorded. */
export const STAGE_2_DEFAULTS: SteValues = {
  S2AA64: 1,
  S2PS: 0b110,
  S2R: 1,
  S2VMID: 1,
  S2SH0: 3,
};

/** Input bits and start level of a stage 2 that rows need not choose. */
export const STAGE_2_SHAPE: Readonly<Record<Granule, { readonly inputBits: number; readonly startLevel: number }>> = {
  '4KB': { inputBits: 39, startLevel: 1 },
  '16KB': { inputBits: 36, startLevel: 2 },
  '64KB': { inputBits: 39, startLevel: 2 },
};
