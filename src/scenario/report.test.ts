import { expect, test } from 'vitest';
import { type RunReport, succeeded, summarise, throughputMBps, withSlowdown } from './report.ts';

function run(values: Partial<RunReport>): RunReport {
  return {
    mode: 'static',
    virtualNs: 1000,
    readyNs: 10,
    bytes: 8660,
    throughputMBps: 8660,
    slowdown: null,
    faults: { groups: 0, pages: 0, duplicate: 0, stale: 0, upgrade: 0, invalid: 0, failed: 0 },
    retries: { repeated: 0, exhausted: 0 },
    guestFaults: 0,
    dirtyLog: null,
    faultLatencyNs: { p50: 0, p99: 0, max: 0 },
    pinnedBytesPeak: 0,
    residentBytesPeak: 0,
    output: { sha256: '00', keyHex: '00', ivHex: '00', verified: true },
    invariants: { checked: 1, violated: 0 },
    ...values,
  };
}
const wrong = { sha256: '00', keyHex: '00', ivHex: '00', verified: false };

test.each([
  ['nothing', [], { p50: 0, p99: 0, max: 0 }],
  ['one', [7], { p50: 7, p99: 7, max: 7 }],
  ['two', [9, 3], { p50: 3, p99: 9, max: 9 }],
  ['1..100 shuffled', Array.from({ length: 100 }, (_, n) => ((n * 37) % 100) + 1), { p50: 50, p99: 99, max: 100 }],
  ['1..1000', Array.from({ length: 1000 }, (_, n) => n + 1), { p50: 500, p99: 990, max: 1000 }],
])('percentiles of %s are ranks that occurred', (_what, samples, expected) => {
  expect(summarise(samples)).toEqual(expected);
});

test('samples are not reordered', () => {
  const samples = [3, 1, 2];
  summarise(samples);
  expect(samples).toEqual([3, 1, 2]);
});

test('throughput is in millions of bytes a second', () => {
  expect(throughputMBps(104_857_600, 12_108_266)).toBe(8660.001);
  expect(throughputMBps(1, 3)).toBe(333.333);
  expect(throughputMBps(1000, 0)).toBe(0);
});

test('slowdown is the part of the static throughput that was lost, in whatever order the modes ran', () => {
  const runs = withSlowdown([
    run({ mode: 'pri', virtualNs: 2000 }),
    run({ mode: 'static' }),
    run({ mode: 'stall', virtualNs: 1250 }),
  ]);
  expect(runs.map(({ slowdown }) => slowdown)).toEqual([0.5, 0, 0.2]);
});

test.each([
  ['no static run', [run({ mode: 'pri' })], [null]],
  ['a static run that failed', [run({ output: wrong }), run({ mode: 'pri' })], [null, null]],
  ['a run that failed', [run({}), run({ mode: 'pri', output: wrong })], [0, null]],
  ['runs that take no time', [run({ virtualNs: 0 }), run({ mode: 'pri', virtualNs: 0 })], [null, null]],
])('with %s there is nothing to compare', (_what, runs, expected) => {
  expect(withSlowdown(runs).map(({ slowdown }) => slowdown)).toEqual(expected);
});

test('only verified outputs and intact invariants are a success', () => {
  expect(succeeded([run({}), run({})])).toBe(true);
  expect(succeeded([run({}), run({ output: wrong })])).toBe(false);
  expect(succeeded([run({ invariants: { checked: 9, violated: 1 } })])).toBe(false);
  expect(succeeded([])).toBe(false);
});
