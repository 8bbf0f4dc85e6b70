/** A whole page fault, request to retry, through every layer, as real time: a cold run less a warm one, per fault. */
import { assert } from '../../src/assert.ts';
import { NO_LOGS } from '../../src/cli/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { runScenario } from '../../src/scenario/run.ts';
import { type Mode, type Scenario, ScenarioSchema } from '../../src/scenario/schema.ts';
import { type Line, line } from './measure.ts';

const BUDGET_NS = 5000;
const ROUNDS = 5;

/** `pages` pages of 4 KiB, touched by one operation of the accelerator for each pair. */
function scenario(pages: number): Scenario {
  const parsed = ScenarioSchema.parse({
    profile: 'zero',
    guest: { memory: '256MiB' },
    host: { memory: '1GiB', swap: 0 },
    workload: { kind: 'sec', times: 1, messageLength: (pages / 2) * 4096, buffers: 1 },
  });
  return { name: 'bench', ...parsed };
}

/** Real nanoseconds of a run, and the pages that faulted in it. */
function run(pages: number, mode: Mode): { ns: number; faults: number } {
  const start = process.hrtime.bigint();
  const { report, failure } = runScenario(scenario(pages), mode, {
    createMachine: createPlatform,
    logs: NO_LOGS.logs(mode),
  });
  const ns = Number(process.hrtime.bigint() - start);
  assert(failure === null && report.output.verified, `a run that is right: ${failure}`);
  return { ns, faults: report.faults.pages };
}

/** The same work with and without faults, in turn; the smallest difference is the least disturbed one. */
function faultNs(mode: Mode): number {
  const pages = 16_384;
  run(pages, mode);
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const faulting = run(pages, mode);
    const pinned = run(pages, 'static');
    least = Math.min(least, (faulting.ns - pinned.ns) / faulting.faults);
  }
  return least;
}

export async function faultLines(): Promise<Line[]> {
  return [
    line('whole page fault, stall', faultNs('stall'), BUDGET_NS),
    line('whole page fault, PRI', faultNs('pri'), BUDGET_NS),
  ];
}
