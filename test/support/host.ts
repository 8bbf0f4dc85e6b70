/** A small host for tests of mm and vfio: a scheduler, RAM and swap, and a silent log. */
import { pino } from 'pino';
import { Memory } from '../../src/hw/memory.ts';
import { HostMemory } from '../../src/mm/host-memory.ts';
import { Clock } from '../../src/sim/clock.ts';
import { Invariants } from '../../src/sim/invariants.ts';
import { type Latency, latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { Random } from '../../src/sim/random.ts';
import { Scheduler, type Steps } from '../../src/sim/task.ts';

export const MiB = 2 ** 20;
export const GiB = 2 ** 30;
export const PAGE = 4096;

export interface HostFixtureOptions {
  readonly memoryBytes?: number;
  readonly swapBytes?: number;
  readonly pageBytes?: number;
  readonly profile?: string;
  /** Makes the scheduler choose among runnable tasks at random. */
  readonly seed?: number;
}

export function hostFixture(options: HostFixtureOptions = {}) {
  const { memoryBytes = 64 * MiB, swapBytes = 64 * MiB, pageBytes = 4096, profile = 'zero', seed } = options;
  const clock = new Clock();
  const random = seed === undefined ? null : new Random(seed);
  const scheduler = new Scheduler(random === null ? { clock } : { clock, choose: (count) => random.below(count) });
  const invariants = new Invariants();
  const log = pino({ level: 'silent' });
  const chosen = PROFILES[profile];
  if (chosen === undefined) throw new Error(`no profile ${profile}`);
  const latency: Latency = latencyOf(chosen);
  const memory = new Memory(2 ** 30, memoryBytes);
  const host = new HostMemory({ scheduler, memory, swapBytes, pageBytes, latency, log, invariants });
  return {
    clock,
    scheduler,
    invariants,
    log,
    latency,
    memory,
    host,
    /** Runs one task to its end, and everything else to rest; its result. */
    run<T>(steps: Steps<T>): T {
      const task = scheduler.spawn('test', steps);
      scheduler.run();
      if (!task.done)
        throw new Error(`stuck: ${scheduler.stuck().map((stuck) => `${stuck.name} on ${stuck.waitingOn?.name}`)}`);
      return task.result;
    },
  };
}
