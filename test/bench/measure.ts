/** One line of the benchmark: a figure measured in this run beside its budget. */
import { setTimeout } from 'node:timers/promises';
import { measure } from 'mitata';

export interface Line {
  readonly name: string;
  readonly measuredNs: number;
  readonly budgetNs: number;
  /** measured / budget: at most 1 is within the budget. */
  readonly ratio: number;
  /** Heap bytes that one operation left behind, where that is measured. */
  readonly allocatedBytes?: number;
}

/** How often a figure over its budget is measured again, and how long after. */
const ATTEMPTS = 12;
const PAUSE_MS = 1000;

/**
 * Nanoseconds of one call of `operation`: the least of many samples after warm-up, because what else the machine does only
 * adds. A call should be a batch, so that the least is still a mean. Other work can slow a machine for seconds: as long as
 * the least is above `budgetNs`, more samples are taken later, a dozen times at most.
 */
export async function nanoseconds(operation: () => unknown, budgetNs = Number.POSITIVE_INFINITY): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt === 0 || (attempt < ATTEMPTS && least > budgetNs); attempt++) {
    if (attempt > 0) await setTimeout(PAUSE_MS);
    const { min } = await measure(operation, { min_cpu_time: 400e6, warmup_samples: 5 });
    least = Math.min(least, min);
  }
  return least;
}

export function line(name: string, measuredNs: number, budgetNs: number, allocatedBytes?: number): Line {
  const round = (value: number) => Number(value.toPrecision(4));
  const figures = {
    name,
    measuredNs: round(measuredNs),
    budgetNs: round(budgetNs),
    ratio: round(measuredNs / budgetNs),
  };
  return allocatedBytes === undefined ? figures : { ...figures, allocatedBytes: round(allocatedBytes) };
}
