/** What a run reports: the object that `--json` prints, and the figures in it. */
import type { FaultCounters, MachineCounters, RetryCounters } from '../machine.ts';
import type { Mode } from './schema.ts';

export interface ScenarioReport {
  readonly scenario: string;
  readonly seed: number;
  readonly runs: readonly RunReport[];
}

/** One mode. Times are virtual nanoseconds, sizes bytes. */
export interface RunReport {
  readonly mode: Mode;
  /** From the first doorbell to the last completion reaped. */
  readonly virtualNs: number;
  /** From the start of the virtual machine's set-up until the guest's driver has its device running. */
  readonly readyNs: number;
  /** Output bytes that were right. */
  readonly bytes: number;
  /** Millions of bytes per virtual second; 0 when no time passed, as under the profile `zero`. */
  readonly throughputMBps: number;
  /** Part of the static run's throughput that was lost: 1 - throughput / static throughput; null without a static run. */
  readonly slowdown: number | null;
  readonly faults: FaultCounters;
  readonly retries: RetryCounters;
  /** Pages that the guest mapped at its own stage of translation because the device asked for them. */
  readonly guestFaults: number;
  /** What the dirty log reported; null where it was off. */
  readonly dirtyLog: DirtyLogReport | null;
  /** From the device's request to the answer, one sample for each group; 0 when there was none. */
  readonly faultLatencyNs: LatencySummary;
  readonly pinnedBytesPeak: number;
  readonly residentBytesPeak: number;
  readonly output: OutputReport;
  readonly invariants: { readonly checked: number; readonly violated: number };
}

export interface DirtyLogReport {
  /** How often it was read. */
  readonly rounds: number;
  /** Pages of all rounds together, and of the last, with the device stopped. */
  readonly pages: number;
  readonly lastPages: number;
}

export interface LatencySummary {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface OutputReport {
  /** Over the whole output stream; null when the guest never came to produce one. */
  readonly sha256: string | null;
  readonly keyHex: string | null;
  readonly ivHex: string | null;
  readonly verified: boolean;
}

/** Nearest-rank percentiles: each figure is a latency that occurred. */
export function summarise(samples: ArrayLike<number>): LatencySummary {
  const sorted = Float64Array.from(samples).sort();
  const rank = (part: number) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? 0;
  return { p50: rank(0.5), p99: rank(0.99), max: rank(1) };
}

/** Millions of bytes per second, to a thousandth. */
export function throughputMBps(bytes: number, ns: number): number {
  return ns === 0 ? 0 : Math.round((bytes / ns) * 1e6) / 1e3;
}

/** Fills in each run's slowdown against the static run; runs that failed and runs that took no time have none. */
export function withSlowdown(runs: readonly RunReport[]): RunReport[] {
  const rate = (run: RunReport) => (run.output.verified && run.virtualNs > 0 ? run.bytes / run.virtualNs : 0);
  const base = runs.filter(({ mode }) => mode === 'static').map(rate)[0] ?? 0;
  return runs.map((run) => {
    const slowdown = base > 0 && rate(run) > 0 ? Math.round((1 - rate(run) / base) * 1e6) / 1e6 : null;
    return { ...run, slowdown };
  });
}

/** Whether every output was right and every invariant held. */
export function succeeded(runs: readonly RunReport[]): boolean {
  return runs.length > 0 && runs.every(({ output, invariants }) => output.verified && invariants.violated === 0);
}

/** The report's view of a machine's counters. */
export function machineFigures(
  counters: MachineCounters,
): Pick<RunReport, 'faults' | 'retries' | 'faultLatencyNs' | 'pinnedBytesPeak' | 'residentBytesPeak'> {
  const { groups, pages, duplicate, stale, upgrade, invalid, failed } = counters.faults;
  return {
    faults: { groups, pages, duplicate, stale, upgrade, invalid, failed },
    retries: counters.retries,
    faultLatencyNs: summarise(counters.faultLatenciesNs),
    pinnedBytesPeak: counters.pinnedBytesPeak,
    residentBytesPeak: counters.residentBytesPeak,
  };
}
