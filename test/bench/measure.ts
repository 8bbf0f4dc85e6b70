/** One line of the benchmark: a figure measured in this run beside its budget. */
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

/**
 * Nanoseconds of one call of `operation`: the least of many samples after warm-up, because what else the machine does only
 * adds. A call should be a batch, so that the least is still a mean.
 */
export async function nanoseconds(operation: () => unknown): Promise<number> {
  const { min } = await measure(operation, { min_cpu_time: 400e6, warmup_samples: 5 });
  return min;
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
