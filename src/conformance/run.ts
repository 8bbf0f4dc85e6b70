/** Runs rows against a subject and counts what came of them. */
import { Bench } from './bench/bench.ts';
import { holds } from './bench/registers.ts';
import { Mismatch, NotAnnounced } from './check.ts';
import type { Row } from './row.ts';
import type { FeatureValues, Subject } from './subject.ts';

export type Verdict = 'passed' | 'failed' | 'not announced';

export interface RowResult {
  readonly row: Row;
  readonly verdict: Verdict;
  /** Of a failure. */
  readonly expected: string;
  readonly got: string;
}

/** The features of the SMMU under test. */
export interface Target {
  readonly subject: Subject;
  readonly preset: string;
  readonly changes: FeatureValues;
  /**
   * Whether these are the features of one given SMMU. Otherwise each row gets an SMMU that announces what the row needs, as
   * far as the subject can build one.
   */
  readonly fixed: boolean;
}

const result = (row: Row, verdict: Verdict, expected = '', got = ''): RowResult => ({ row, verdict, expected, got });

/** The changes that make of `base` what the row needs. */
function wanted(row: Row, base: FeatureValues, changes: FeatureValues): FeatureValues {
  const needs = Object.entries(row.features).map(([name, value]) => [
    name,
    value === 'positive' ? base[name] || 1 : value,
  ]);
  return { ...changes, ...Object.fromEntries(needs) };
}

/** @throws RangeError when the subject cannot build `target` at all. */
export function runRow(row: Row, target: Target): RowResult {
  const base = target.subject.features(target.preset, target.changes);
  if (typeof base === 'string') throw new RangeError(base);
  const features = target.fixed ? base : target.subject.features(target.preset, wanted(row, base, target.changes));
  if (typeof features !== 'string' && holds(row.features, features))
    return attempt(row, row.check, new Bench(target.subject, features), 'passed');
  if (row.absent === null) return result(row, 'not announced');
  return attempt(row, row.absent, new Bench(target.subject, base), 'not announced');
}

function attempt(row: Row, check: Row['check'], bench: Bench, success: Verdict): RowResult {
  try {
    check(bench);
    return result(row, success);
  } catch (error) {
    if (error instanceof NotAnnounced) return result(row, 'not announced');
    if (error instanceof Mismatch) return result(row, 'failed', error.expected, error.got);
    if (error instanceof Error) return result(row, 'failed', 'no exception', `${error.name}: ${error.message}`);
    throw error;
  }
}

export interface Count {
  readonly rows: number;
  readonly passed: number;
  readonly failed: number;
  readonly notAnnounced: number;
}

export function count(results: readonly RowResult[]): Count {
  const of = (verdict: Verdict) => results.filter((entry) => entry.verdict === verdict).length;
  return { rows: results.length, passed: of('passed'), failed: of('failed'), notAnnounced: of('not announced') };
}
