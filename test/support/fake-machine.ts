/** A machine of fakes: enough for the command line and the runner to do a whole run. */
import { VirtualMachine } from '../../src/guest/virtual-machine.ts';
import type { Machine, MachineCounters, MachineFactory, MachineOptions } from '../../src/machine.ts';
import { Clock } from '../../src/sim/clock.ts';
import { Invariants } from '../../src/sim/invariants.ts';
import { latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { Scheduler } from '../../src/sim/task.ts';
import { Trace } from '../../src/sim/trace.ts';
import { FakeVfio, type FakeVfioOptions } from './fake-vfio.ts';

const NO_FAULTS = { groups: 0, pages: 0, duplicate: 0, stale: 0, upgrade: 0, invalid: 0, failed: 0 };

export interface FakeMachineOptions {
  readonly vfio?: (mode: string) => Partial<FakeVfioOptions>;
  readonly counters?: (mode: string) => Partial<MachineCounters>;
  /** Runs once the machine is built, for instance to break it. */
  readonly built?: (machine: Machine, options: MachineOptions) => void;
}

export function fakeMachines(options: FakeMachineOptions = {}): MachineFactory {
  return (given) => {
    const { scenario, mode } = given;
    const clock = new Clock();
    const profile = PROFILES[scenario.profile];
    if (profile === undefined) throw new Error('no such profile');
    const invariants = new Invariants();
    const logOf = given.logs(clock);
    const trace = new Trace(clock, given.traceEntries ?? 0);
    trace.record('ats.miss', 8, 0x700, 0);
    trace.record('dma.write', 8, 0x701, 4096);
    const memoryBytes = scenario.guest.memory;
    const process = new FakeVfio({ clock, memoryBytes, ...options.vfio?.(mode) });
    const machine: Machine = {
      clock,
      scheduler: new Scheduler({ clock }),
      invariants,
      latency: latencyOf(profile),
      logOf,
      trace,
      deviceWrites: null,
      process,
      groupNumber: 5,
      deviceName: '0000:01:00.0',
      shareDevice: function* (bytes) {
        const board = yield* VirtualMachine.start({
          process,
          groupNumber: 5,
          deviceName: '0000:01:00.0',
          memoryBytes: bytes,
          faults: null,
          log: logOf('guest'),
        });
        return Object.assign(board, { pasid: 1 });
      },
      counters: () => ({
        faults: NO_FAULTS,
        retries: { repeated: 0, exhausted: 0 },
        faultLatenciesNs: [],
        pinnedBytesPeak: memoryBytes,
        residentBytesPeak: memoryBytes,
        ...options.counters?.(mode),
      }),
      checkAtRest: () => {
        invariants.check('balance', process.mapped === 0 && process.descriptors.size === 0, () => 'something is open');
        logOf('sim').info({ event: 'sim.rest' });
      },
    };
    options.built?.(machine, given);
    return machine;
  };
}
