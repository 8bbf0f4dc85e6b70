/** Tables for people: a report with one row per mode, and whatever else comes in columns. Plain text. */
import Table from 'cli-table3';
import type { RunReport, ScenarioReport } from '../scenario/report.ts';

const HEAD = [
  'mode',
  'time',
  'throughput',
  'slowdown',
  'faults',
  'p50',
  'p99',
  'pinned',
  'resident',
  'sha256',
  'verified',
] as const;

const NONE = '-';
const DIGEST_DIGITS = 12;

const EMPTY_FRAME = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** The table of a report, about 110 columns wide, with a line break at its end. */
export function formatTable(report: ScenarioReport): string {
  const aligned = HEAD.map((name) => (name === 'mode' || name === 'sha256' || name === 'verified' ? 'left' : 'right'));
  return formatColumns(HEAD, report.runs.map(row), aligned);
}

const DIRTY_HEAD = ['mode', 'log read', 'pages reported', 'at rest'] as const;

/** The table of what the dirty logs said: pages in all readings together, and in the last. Empty where there was none. */
export function formatDirtyLogs({ runs }: ScenarioReport): string {
  const rows = runs.flatMap(({ mode, dirtyLog }) =>
    dirtyLog === null ? [] : [[mode, `${dirtyLog.rounds} times`, String(dirtyLog.pages), String(dirtyLog.lastPages)]],
  );
  return rows.length === 0 ? '' : `\n${formatColumns(DIRTY_HEAD, rows, ['left', 'right', 'right', 'right'])}`;
}

/** Columns under their heads, with a line break at the end. */
export function formatColumns(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  aligned: readonly ('left' | 'right')[],
): string {
  const table = new Table({
    head: [...head],
    chars: EMPTY_FRAME,
    colAligns: [...aligned],
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  table.push(...rows.map((cells) => [...cells]));
  const lines = table.toString().split('\n');
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

function row(run: RunReport): string[] {
  const { faults, faultLatencyNs: latency, output, invariants } = run;
  return [
    run.mode,
    output.sha256 === null ? NONE : formatNs(run.virtualNs),
    run.throughputMBps === 0 ? NONE : `${significant(run.throughputMBps)} MB/s`,
    run.slowdown === null ? NONE : `${(run.slowdown * 100).toFixed(1)} %`,
    String(faults.pages),
    faults.groups === 0 ? NONE : formatNs(latency.p50),
    faults.groups === 0 ? NONE : formatNs(latency.p99),
    formatBytes(run.pinnedBytesPeak),
    formatBytes(run.residentBytesPeak),
    output.sha256?.slice(0, DIGEST_DIGITS) ?? NONE,
    output.verified && invariants.violated === 0 ? 'yes' : 'NO',
  ];
}

const TIME_UNITS: readonly [number, string][] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
];

/** Virtual time with four digits that count. */
export function formatNs(ns: number): string {
  const [scale, unit] = TIME_UNITS.find(([least]) => ns >= least) ?? [1, 'ns'];
  return `${significant(ns / scale)} ${unit}`;
}

const SIZE_UNITS: readonly [number, string][] = [
  [2 ** 40, 'TiB'],
  [2 ** 30, 'GiB'],
  [2 ** 20, 'MiB'],
  [2 ** 10, 'KiB'],
];

export function formatBytes(bytes: number): string {
  const unit = SIZE_UNITS.find(([least]) => bytes >= least);
  return unit === undefined ? `${bytes} B` : `${significant(bytes / unit[0])} ${unit[1]}`;
}

/** At most four digits that count, no exponent, no zeros at the end of a fraction. */
function significant(value: number): string {
  if (value >= 1000) return String(Math.round(value));
  return String(Number(value.toPrecision(4)));
}
