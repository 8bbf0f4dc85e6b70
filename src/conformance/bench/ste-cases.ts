/** STEs that are legal but for one thing. */
import { Mismatch } from '../check.ts';
import type { FeatureValues } from '../subject.ts';
import { type Bench, VA } from './bench.ts';
import { eventName } from './event-record.ts';
import { CONFIG, type SteValues } from './streams.ts';
import type { Granule } from './tables.ts';

export type Base = 'bypass' | 'stage 1' | 'stage 2' | 'nested' | 'abort';

export interface Case {
  readonly base: Base;
  /** Fields that make it ILLEGAL; or, as a function of the features, what they are. */
  readonly ste: SteValues | ((b: Bench) => SteValues);
  /** What else differs from the defaults, in the legal STE too. */
  readonly legal?: SteValues;
  readonly features?: FeatureValues;
  readonly name?: string;
  readonly granule?: Granule;
  /** The condition depends on features alone: there is no legal neighbour. */
  readonly noNeighbour?: true;
}

export const LEGAL_SID = 9;
export const ILLEGAL_SID = 8;

/** A legal STE, from structures that exist whatever the features say. */
export function baseOf(b: Bench, { base, legal = {}, granule }: Case): SteValues {
  const stage1 = (): SteValues => ({ S1ContextPtr: b.newCd(b.cdFields(b.tables(), null)) / 64 });
  const stage2 = (): SteValues => {
    const { tables, fields } = b.stage2Tables(granule === undefined ? {} : { granule });
    b.identity(tables);
    return fields;
  };
  switch (base) {
    case 'abort':
      return { Config: CONFIG.ABORT, ...legal };
    case 'bypass':
      return { Config: CONFIG.BYPASS, ...legal };
    case 'stage 1':
      return { Config: CONFIG.STAGE_1, ...stage1(), ...legal };
    case 'stage 2':
      return { Config: CONFIG.STAGE_2, ...stage2(), ...legal };
    default:
      return { Config: CONFIG.NESTED, ...stage2(), ...stage1(), ...legal };
  }
}

/** @throws Mismatch when the STE of `sid` gives C_BAD_STE. */
export function accepted(b: Bench, sid: number): void {
  b.access({ va: VA, sid });
  const names = b.events.take().map(eventName);
  if (names.includes('C_BAD_STE')) throw new Mismatch('a legal STE', 'no C_BAD_STE', 'C_BAD_STE');
}

export const STALLS: FeatureValues = { STALL_MODEL: 0 };
export const NO_STALLS: FeatureValues = { STALL_MODEL: 1 };
