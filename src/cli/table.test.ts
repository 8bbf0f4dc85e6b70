import { expect, test } from 'vitest';
import type { RunReport } from '../scenario/report.ts';
import { formatBytes, formatDirtyLogs, formatNs, formatTable } from './table.ts';

const faulting: RunReport = {
  mode: 'pri',
  virtualNs: 15_700_123,
  readyNs: 1,
  bytes: 104_857_600,
  throughputMBps: 6678.772,
  slowdown: 0.22878,
  faults: { groups: 1025, pages: 1025, duplicate: 0, stale: 0, upgrade: 0, invalid: 0, failed: 0 },
  retries: { repeated: 0, exhausted: 0 },
  guestFaults: 0,
  dirtyLog: null,
  faultLatencyNs: { p50: 3450, p99: 10_512.4, max: 11_000 },
  pinnedBytesPeak: 0,
  residentBytesPeak: 4_198_400,
  output: { sha256: '0123456789abcdef'.repeat(4), keyHex: '', ivHex: '', verified: true },
  invariants: { checked: 100, violated: 0 },
};
const still: RunReport = {
  ...faulting,
  mode: 'static',
  slowdown: 0,
  throughputMBps: 8660,
  faults: { ...faulting.faults, groups: 0, pages: 0 },
  retries: { repeated: 0, exhausted: 0 },
  guestFaults: 0,
  faultLatencyNs: { p50: 0, p99: 0, max: 0 },
  pinnedBytesPeak: 2 ** 30,
};
const failed: RunReport = {
  ...still,
  mode: 'stall',
  virtualNs: 0,
  throughputMBps: 0,
  slowdown: null,
  pinnedBytesPeak: 12,
  output: { sha256: null, keyHex: null, ivHex: null, verified: false },
};

test('there is one aligned row per mode, with units, and a dash where there is no figure', () => {
  const table = formatTable({ scenario: 's', seed: 1, runs: [still, faulting, failed] });
  expect(table).toBe(
    [
      'mode       time  throughput  slowdown  faults      p50       p99  pinned   resident  sha256        verified',
      'static  15.7 ms   8660 MB/s     0.0 %       0        -         -   1 GiB  4.004 MiB  0123456789ab  yes',
      'pri     15.7 ms   6679 MB/s    22.9 %    1025  3.45 µs  10.51 µs     0 B  4.004 MiB  0123456789ab  yes',
      'stall         -           -         -       0        -         -    12 B  4.004 MiB  -             NO',
      '',
    ].join('\n'),
  );
});

test('it stays within 120 columns with the widest figures, and is plain text', () => {
  const wide: RunReport = {
    ...faulting,
    virtualNs: 99_990_000_000,
    throughputMBps: 10_660.5,
    slowdown: -0.9999,
    faults: { ...faulting.faults, pages: 1_000_000 },
    retries: { repeated: 0, exhausted: 0 },
    guestFaults: 0,
    faultLatencyNs: { p50: 999_900, p99: 999_900, max: 999_900 },
    pinnedBytesPeak: 1023.9 * 2 ** 20,
    residentBytesPeak: 1023.9 * 2 ** 20,
  };
  const table = formatTable({ scenario: 's', seed: 1, runs: [wide] });
  expect(Math.max(...table.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence is what it looks for.
  expect(table).not.toMatch(/\x1b/);
});

test('an output that verified does not hide a broken invariant', () => {
  const table = formatTable({
    scenario: 's',
    seed: 1,
    runs: [{ ...faulting, invariants: { checked: 5, violated: 1 } }],
  });
  expect(table).toMatch(/NO$/m);
});

test.each([
  [0, '0 ns'],
  [999, '999 ns'],
  [1000, '1 µs'],
  [12_345, '12.35 µs'],
  [999_999, '1000 µs'],
  [12_108_267, '12.11 ms'],
  [61_234_000_000, '61.23 s'],
])('%i ns reads %s', (ns, text) => {
  expect(formatNs(ns)).toBe(text);
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [1_048_576, '1 MiB'],
  [1_234_567, '1.177 MiB'],
  [2 ** 40, '1 TiB'],
])('%i bytes read %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test('what the dirty logs said has a table of its own, where there was one', () => {
  const logged = { ...faulting, dirtyLog: { rounds: 23, pages: 8388, lastPages: 290 } };
  const report = { scenario: 's', seed: 1, runs: [still, logged] };
  expect(formatDirtyLogs(report)).toBe(
    '\nmode  log read  pages reported  at rest\npri   23 times            8388      290\n',
  );
  expect(formatDirtyLogs({ ...report, runs: [still] })).toBe('');
});
