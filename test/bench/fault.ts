/**
 * A whole page fault, request to retry, through every layer: operations on cold pages beside the same on warm ones. The
 * time is that of the processor in this program, so that others on the machine do not count.
 */
import { assert } from '../../src/assert.ts';
import { NO_LOGS } from '../../src/cli/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { runScenario } from '../../src/scenario/run.ts';
import { type Mode, type Scenario, ScenarioSchema } from '../../src/scenario/schema.ts';
import { type Line, line } from './measure.ts';

const BUDGET_NS = 5000;
const PAGES_PER_BUFFER = 1024;
const BUFFERS = 8;
/** Rounds, and how many there may be before a figure over its budget is believed. */
const ROUNDS = 6;
const MOST_ROUNDS = 24;

/** User and system time together: how the kernel splits them is a guess by ticks, their sum is exact. */
function processorMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Operations over eight pairs of buffers in turn: each pair faults at its first use and never again. */
function scenario(): Scenario {
  const parsed = ScenarioSchema.parse({
    profile: 'zero',
    guest: { memory: '256MiB' },
    host: { memory: '1GiB', swap: 0 },
    device: { atcEntries: 4 * BUFFERS * PAGES_PER_BUFFER },
    workload: {
      kind: 'sec',
      times: 2 * BUFFERS,
      messageLength: PAGES_PER_BUFFER * 4096,
      buffers: BUFFERS,
      queueDepth: 1,
    },
  });
  return { ...parsed, name: 'bench' };
}

/** Processor nanoseconds that a fault adds: the quickest cold operation less the quickest warm one, by its pages. */
function faultNs(mode: Mode): number {
  let cold = Number.POSITIVE_INFINITY;
  let warm = Number.POSITIVE_INFINITY;
  const figure = () => (cold - warm) / (2 * PAGES_PER_BUFFER);
  for (let round = 0; round < ROUNDS || (round < MOST_ROUNDS && figure() > BUDGET_NS); round++) {
    const ends: number[] = [];
    const { report, failure } = runScenario(scenario(), mode, {
      createMachine: createPlatform,
      logs: NO_LOGS.logs(mode),
      progress: () => ends.push(processorMicroseconds()),
    });
    assert(failure === null && report.output.verified, `a run that is right: ${failure}`);
    assert(report.faults.pages >= 2 * BUFFERS * PAGES_PER_BUFFER, 'every page faults once');
    const lasted = ends.slice(1).map((end, index) => (end - (ends[index] ?? end)) * 1000);
    cold = Math.min(cold, ...lasted.slice(0, BUFFERS - 1));
    warm = Math.min(warm, ...lasted.slice(BUFFERS - 1, -1));
  }
  return figure();
}

export function faultLines(mode: 'stall' | 'pri'): Line[] {
  return [line(`whole page fault, ${mode === 'pri' ? 'PRI' : mode}`, faultNs(mode), BUDGET_NS)];
}
