/** Runs a scenario in one mode: a machine, a virtual machine on it, the workload, and what came of it. */

import { AssertionError } from '../assert.ts';
import { AcceleratorDriver } from '../guest/accelerator-driver.ts';
import type { GuestBoard } from '../guest/board.ts';
import type { DirtyPageLog } from '../guest/dirty-page-log.ts';
import { GUEST_PAGE_BYTES, type GuestMemory } from '../guest/guest-memory.ts';
import { IommuDriver, iommuTableBytes } from '../guest/iommu-driver.ts';
import type { FaultSettings } from '../guest/vfio-container.ts';
import type { VirtualIommu } from '../guest/virtual-iommu.ts';
import { VirtualMachine } from '../guest/virtual-machine.ts';
import { VmmError } from '../guest/vmm-error.ts';
import type { WorkloadResult } from '../guest/workload.ts';
import { type SecOptions, sec, secBufferBytes } from '../guest/workloads/sec.ts';
import { DESCRIPTOR_BYTES } from '../hw/devices/accelerator.layout.ts';
import type { Machine, MachineFactory } from '../machine.ts';
import type { Clock } from '../sim/clock.ts';
import { InvariantViolation } from '../sim/invariants.ts';
import type { Log, LogOf } from '../sim/log.ts';
import { Random } from '../sim/random.ts';
import type { Steps } from '../sim/task.ts';
import type { TraceEntry } from '../sim/trace.ts';
import { IopfMode, PremapPolicyKind } from '../vfio/uapi-extensions.layout.ts';
import { startDirtyLog } from './dirty-log.ts';
import { InputError } from './input-error.ts';
import { formatSize } from './quantity.ts';
import { machineFigures, type RunReport, throughputMBps } from './report.ts';
import type { Mode, Scenario } from './schema.ts';

export interface RunOptions {
  readonly createMachine: MachineFactory;
  readonly logs: (clock: Clock) => LogOf;
  /** The workload's input, whole; left out, data comes from the seed. */
  readonly input?: Uint8Array;
  /** Told how many bytes of the output are checked. */
  readonly progress?: (doneBytes: number, totalBytes: number) => void;
  /** How many of its last transactions the run keeps: by default none. */
  readonly traceEntries?: number;
}

export interface RunOutcome {
  /** `slowdown` is null: see `withSlowdown`. */
  readonly report: RunReport;
  /** Why the run failed, in words; null when every byte was right and every invariant held. */
  readonly failure: string | null;
  /** The last transactions, oldest first: as many as were asked for. */
  readonly trace: readonly TraceEntry[];
}

const PREMAP_POLICIES = {
  next: PremapPolicyKind.NEXT,
  aligned: PremapPolicyKind.ALIGNED,
  stride: PremapPolicyKind.STRIDE,
} as const;

/** What the guest tells of its run as it goes, so that a run that breaks off still has figures. */
interface Progress {
  readyNs: number;
  guestFaults: number;
  dirtyLog: DirtyPageLog | null;
  result: WorkloadResult | null;
  failure: string | null;
}

/** @throws InputError when guest memory cannot hold what the workload needs. */
export function checkMemory(scenario: Scenario, input?: Uint8Array): void {
  const { guest, device, workload } = scenario;
  const ring = Math.ceil((device.ringEntries * DESCRIPTOR_BYTES) / GUEST_PAGE_BYTES) * GUEST_PAGE_BYTES;
  const used = ring + secBufferBytes(secOptions(scenario, input));
  const needed = used + (scenario.iommu.nested ? iommuTableBytes(used) : 0);
  if (needed <= guest.memory) return;
  throw new InputError(
    `guest.memory: ${formatSize(guest.memory)} cannot hold the ring of ${device.ringEntries} descriptors and ` +
      `${workload.buffers} buffer pairs of ${formatSize(workload.messageLength)}; expected at least ${formatSize(needed)}`,
  );
}

/** Runs to the end, closes everything and checks what must hold then. Scenario and mode decide all; see `RunOptions`. */
export function runScenario(scenario: Scenario, mode: Mode, options: RunOptions): RunOutcome {
  const machine = options.createMachine({
    scenario,
    mode,
    logs: options.logs,
    ...(options.traceEntries === undefined ? {} : { traceEntries: options.traceEntries }),
  });
  const seen: Progress = { readyNs: 0, guestFaults: 0, dirtyLog: null, result: null, failure: null };
  try {
    const { scheduler } = machine;
    const main = scheduler.spawn('vmm', runMachine(scenario, mode, machine, options, seen));
    const ended = scheduler.run({ until: () => main.done, limitNs: scenario.timeLimit });
    if (!ended && machine.clock.next < Number.POSITIVE_INFINITY) {
      seen.failure = `not done when timeLimit passed: ${describeStuck(machine)}`;
    } else {
      machine.invariants.check('locks-released', ended, () => describeStuck(machine));
      scheduler.run({ limitNs: scenario.timeLimit });
      machine.invariants.check('locks-released', scheduler.stuck().length === 0, () => describeStuck(machine));
      machine.checkAtRest();
    }
  } catch (error) {
    if (!(error instanceof InvariantViolation || error instanceof AssertionError)) throw error;
    seen.failure = error.message;
  }
  return {
    report: report(mode, machine, seen),
    failure: seen.failure ?? seen.result?.failure ?? null,
    trace: machine.trace.entries(),
  };
}

/** The process that runs the virtual machine, or uses the device itself, from its start to its end. */
function* runMachine(scenario: Scenario, mode: Mode, machine: Machine, options: RunOptions, seen: Progress): Steps {
  const { clock, scheduler, latency, logOf } = machine;
  const log = logOf('guest');
  const start = clock.now;
  let board: (GuestBoard & { stop(): Steps }) | null = null;
  try {
    const shared = mode === 'sva' ? yield* machine.shareDevice(scenario.guest.memory) : null;
    const guest = shared === null ? yield* startVirtualMachine(scenario, mode, machine, log) : null;
    board = guest ?? shared;
    if (board === null) return;
    const iommu = guest?.iommu == null ? null : yield* startIommu(mode, machine, guest.memory, guest.iommu);
    const device = yield* AcceleratorDriver.start({
      board,
      scheduler,
      log,
      ringEntries: scenario.device.ringEntries,
      operationNs: latency.guestOperation,
      ...(shared === null ? {} : { pasid: shared.pasid }),
      ...(iommu === null
        ? {}
        : {
            dmaAddress: (address) => iommu.dmaAddress(address),
            keepMapped: (address, bytes) => iommu.keepMapped(address, bytes),
          }),
    });
    seen.readyNs = clock.now - start;
    if (guest !== null) seen.dirtyLog = yield* startDirtyLog(scenario, mode, machine, guest, iommu);
    seen.result = yield* sec(secOptions(scenario, options.input)).run({
      device,
      memory: board.memory,
      random: new Random(scenario.seed).fork('workload'),
      clock,
      log,
      ...(options.progress === undefined ? {} : { progress: options.progress }),
    });
    yield* device.stop();
    if (seen.dirtyLog !== null) yield* seen.dirtyLog.finish();
    if (iommu !== null) yield* iommu.stop();
    seen.guestFaults = iommu?.pages ?? 0;
  } catch (error) {
    if (!(error instanceof VmmError)) throw error;
    seen.failure = error.message;
    log.error({ event: 'guest.failed', reason: error.message });
  }
  if (board !== null) yield* board.stop();
}

function startVirtualMachine(scenario: Scenario, mode: Mode, machine: Machine, log: Log): Steps<VirtualMachine> {
  return VirtualMachine.start({
    process: machine.process,
    groupNumber: machine.groupNumber,
    deviceName: machine.deviceName,
    memoryBytes: scenario.guest.memory,
    faults: mode === 'stall' || mode === 'pri' ? faultSettings(scenario, mode) : null,
    nested: scenario.iommu.nested,
    log,
  });
}

/** The guest's own stage of translation: all mapped where nothing may fault, else page by page as the device asks. */
function startIommu(mode: Mode, machine: Machine, memory: GuestMemory, iommu: VirtualIommu): Steps<IommuDriver> {
  const { scheduler, latency, logOf } = machine;
  return IommuDriver.start({
    memory,
    iommu,
    faulting: mode === 'stall' || mode === 'pri' ? mode : 'none',
    scheduler,
    log: logOf('guest'),
    // The guest's kernel is the host's: the same code, the same costs.
    wakeNs: latency.interrupt + latency.threadWake,
    groupNs: latency.faultHandler,
    mapNs: latency.pageMap,
  });
}

function faultSettings({ vfio }: Scenario, mode: 'stall' | 'pri'): FaultSettings {
  return {
    mode: mode === 'stall' ? IopfMode.STALL : IopfMode.PRI,
    policy: vfio.premapPages === 1 ? PremapPolicyKind.NONE : PREMAP_POLICIES[vfio.premapPolicy],
    premapPages: vfio.premapPages,
    residencyLimitBytes: vfio.residencyLimit,
    workers: vfio.handling === 'inline' ? 0 : vfio.workers,
  };
}

function secOptions(scenario: Scenario, input: Uint8Array | undefined): SecOptions {
  return { ...scenario.workload, ...(input === undefined ? {} : { input }) };
}

function describeStuck(machine: Machine): string {
  const waits = machine.scheduler
    .stuck()
    .map((task) => `${task.name} waits${task.waitingOn === null ? '' : ` for ${task.waitingOn.name}`}`);
  return `at ${machine.clock.now} ns, ${waits.join('; ')}`;
}

function report(mode: Mode, machine: Machine, seen: Progress): RunReport {
  const { result } = seen;
  const { checked, violated } = machine.invariants.counts;
  return {
    mode,
    virtualNs: result?.virtualNs ?? 0,
    readyNs: seen.readyNs,
    bytes: result?.bytes ?? 0,
    throughputMBps: throughputMBps(result?.bytes ?? 0, result?.virtualNs ?? 0),
    slowdown: null,
    ...machineFigures(machine.counters()),
    guestFaults: seen.guestFaults,
    dirtyLog: seen.dirtyLog?.figures ?? null,
    output: {
      sha256: result?.output.sha256 ?? null,
      keyHex: result?.output.keyHex ?? null,
      ivHex: result?.output.ivHex ?? null,
      verified: result?.output.verified === true && seen.failure === null,
    },
    invariants: { checked, violated },
  };
}
