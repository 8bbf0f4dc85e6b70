/**
 * The seam between a run and the machine it runs on. `platform.ts` builds a {@link Machine} from a scenario; `run.ts` and
 * the guest see nothing of it but this.
 */
import type { GuestBoard } from './guest/board.ts';
import type { HostProcess } from './guest/host-process.ts';
import type { Mode, Scenario } from './scenario/schema.ts';
import type { Clock } from './sim/clock.ts';
import type { Invariants } from './sim/invariants.ts';
import type { LogOf } from './sim/log.ts';
import type { Latency } from './sim/profile.ts';
import type { Scheduler, Steps } from './sim/task.ts';
import type { Trace } from './sim/trace.ts';

export interface MachineOptions {
  readonly scenario: Scenario;
  /**
   * `static`: the guest's memory is pinned and mapped at once. `stall`, `pri`: how the device faults. `sva`: the host
   * process uses the device itself.
   */
  readonly mode: Mode;
  /** Gives the layers their loggers, once the machine has its clock; called exactly once. */
  readonly logs: (clock: Clock) => LogOf;
  /** How many transactions the trace keeps: by default none. */
  readonly traceEntries?: number;
}

/** Builds a machine that has just come out of reset: nothing is open, nothing mapped. */
export type MachineFactory = (options: MachineOptions) => Machine;

export interface Machine {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly invariants: Invariants;
  readonly latency: Latency;
  readonly logOf: LogOf;
  readonly trace: Trace;
  /** What the device writes, where the scenario has its dirty log read; else null. */
  readonly deviceWrites: DeviceWrites | null;
  /** The host process in which the virtual machine runs. */
  readonly process: HostProcess;
  /** The device's IOMMU group: `/dev/vfio/GROUP`. */
  readonly groupNumber: number;
  /** What VFIO_GROUP_GET_DEVICE_FD takes, e.g. `0000:01:00.0`. */
  readonly deviceName: string;
  /**
   * The host's own board, in mode `sva` only: `memoryBytes` bytes of the process are shared with the device.
   *
   * @throws VmmError when they cannot be.
   */
  shareDevice(memoryBytes: number): Steps<SharedBoard>;
  counters(): MachineCounters;
  /**
   * Called once after the virtual machine closed all it had opened and every task came to rest: checks the invariants
   * that hold then (no pin, no mapping, no accounting, no pending group left).
   *
   * @throws InvariantViolation
   */
  checkAtRest(): void;
}

/** What the device wrote, as it saw itself: nothing of it comes from translation tables. */
export interface DeviceWrites {
  /** Pages written since this was last called, as the device names them: I/O virtual addresses divided by 4096. */
  take(): ReadonlySet<number>;
  /** Accesses that failed: writing was perhaps granted to them, and then nothing written. */
  readonly failed: number;
}

/** A board whose memory is a process's: drivers and workloads run on it as on a guest's. */
export interface SharedBoard extends GuestBoard {
  /** What the device's accesses must carry. */
  readonly pasid: number;
  /** Ends the sharing and frees the memory. */
  stop(): Steps;
}

/** What a run counted since reset. Sizes are bytes, instants and latencies virtual nanoseconds. */
export interface MachineCounters {
  readonly faults: FaultCounters;
  readonly retries: RetryCounters;
  /** One number per answered group: from the device's request (or its stalled access) to the answer. Any order. */
  readonly faultLatenciesNs: ArrayLike<number>;
  /** Most memory pinned for the device at one time. */
  readonly pinnedBytesPeak: number;
  /** Most memory of the process present at one time. */
  readonly residentBytesPeak: number;
}

/** Faults that had to be taken again, as the device saw it: page requests only, because the SMMU retries what it stalls. */
export interface RetryCounters {
  /**
   * Pages that were not there although the answer was Success: the SMMU gave it for a full queue, or the host took the page
   * back before the device came to use it.
   */
  readonly repeated: number;
  /** Accesses given up after as many as the device makes. */
  readonly exhausted: number;
}

export interface FaultCounters {
  /** Answered groups. A stalled access is a group of one page. */
  readonly groups: number;
  /** Pages mapped because the device asked for them; those that pre-mapping added are not among them. */
  readonly pages: number;
  /** Requests for a page that another request was just having mapped. */
  readonly duplicate: number;
  /** Requests for a page that was mapped already: the device's cached translation was older. */
  readonly stale: number;
  /** Requests to write a page that was mapped read-only. */
  readonly upgrade: number;
  /** Groups answered INVALID. */
  readonly invalid: number;
  /** Groups answered FAILURE. */
  readonly failed: number;
}
