/** SMMUs as they come: whatever one announces, no row fails. */
import { expect, test } from 'vitest';
import { faultlineSubject } from '../../src/conformance/faultline-subject.ts';
import { count, runRow, type Target } from '../../src/conformance/run.ts';
import type { FeatureValues } from '../../src/conformance/subject.ts';
import { ROWS } from '../../src/conformance/suite.ts';

test.each<[name: string, preset: string, changes: FeatureValues, passed: number]>([
  ['full', 'full', {}, 2400],
  ['wide', 'wide', {}, 2300],
  ['minimal', 'minimal', {}, 800],
  ['stage 2 alone', 'full', { S1P: 0 }, 1200],
  ['stage 1 alone, no ATS, no stalls', 'full', { S2P: 0, ATS: 0, STALL_MODEL: 1 }, 1300],
  ['small queues, few streams', 'full', { CMDQS: 3, EVENTQS: 3, PRIQS: 3, SIDSIZE: 4 }, 2300],
  ['single entries, one stream', 'full', { CMDQS: 0, EVENTQS: 0, PRIQS: 0, SIDSIZE: 0 }, 200],
  ['one stream', 'full', { SIDSIZE: 0 }, 600],
  ['faults that always stall', 'full', { STALL_MODEL: 2 }, 2000],
  ['two SubstreamIDs', 'full', { SSIDSIZE: 1 }, 2300],
  ['one stall at a time', 'full', { STALL_MAX: 1 }, 2400],
  ['64 KiB granules, big-endian tables', 'full', { GRAN4K: 0, GRAN16K: 0, TTENDIAN: 3 }, 900],
  [
    '32-bit addresses, no update of flags, small identifiers',
    'full',
    { OAS: 0, HTTU: 0, ASID16: 0, VMID16: 0, SSIDSIZE: 5 },
    1500,
  ],
])('%s', (_name, preset, changes, passed) => {
  const target: Target = { subject: faultlineSubject, preset, changes, fixed: true };
  const results = ROWS.map((row) => runRow(row, target));
  const failures = results
    .filter(({ verdict }) => verdict === 'failed')
    .map(({ row, expected, got }) => [row.id, expected, got]);
  expect(failures).toEqual([]);
  expect(count(results).passed).toBeGreaterThan(passed);
});
