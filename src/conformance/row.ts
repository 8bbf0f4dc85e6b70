/** One row of the suite: a statement of the specification and a check that fails where an SMMU does otherwise. */
import type { Bench } from './bench/bench.ts';
import type { FeatureCondition } from './facts/fact.ts';

export interface Row {
  /** Unique; the section and a name, as `7.3.13/stalled-read`. */
  readonly id: string;
  /** `7.3.13` of IHI 0070, or `D8.3.1.2` of DDI 0487. */
  readonly section: string;
  readonly title: string;
  /** What the SMMU has to announce; the suite builds one that does where it may choose. */
  readonly features: FeatureCondition;
  /** @throws Mismatch, or NotAnnounced where a fixture needs more than is announced. */
  readonly check: (bench: Bench) => void;
  /** What the specification wants of an SMMU that does not announce them. */
  readonly absent: ((bench: Bench) => void) | null;
}

export interface RowOptions {
  readonly features?: FeatureCondition;
  readonly absent?: (bench: Bench) => void;
}

export function row(
  section: string,
  name: string,
  title: string,
  check: (bench: Bench) => void,
  options: RowOptions = {},
): Row {
  return {
    id: `${section}/${name.replaceAll(' ', '-')}`,
    section,
    title,
    check,
    features: options.features ?? {},
    absent: options.absent ?? null,
  };
}
