/**
 * What all fact tables share. They hold what the specifications say (names, positions, values, section numbers) and a short
 * note in our own words; the section is the authority. They were taken down apart from `src/iommu/spec`, so that a slip in
 * one shows against the other. Corrections against the first notes are listed in `README.md`.
 */

/** `[msb, lsb]`, counted from bit 0 of the whole structure. */
export type Bits = readonly [msb: number, lsb: number];

/** Any value above 0. */
export const POSITIVE = 'positive';

/** What ID register fields must hold, by name. */
export type FeatureCondition = Readonly<Record<string, number | typeof POSITIVE>>;

/** A bit field of a structure in memory. */
export interface FieldFact {
  readonly name: string;
  readonly bits: Bits;
  readonly section?: string;
  /** Without these features the field is RES0. */
  readonly present?: FeatureCondition;
  readonly meaning?: string;
}
