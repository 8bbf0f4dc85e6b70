/** Workloads: programs of the guest that drive its device. A workload is a generator, like every guest CPU. */
import type { Clock } from '../sim/clock.ts';
import type { Log } from '../sim/log.ts';
import type { Random } from '../sim/random.ts';
import type { Steps } from '../sim/task.ts';
import type { GuestMemory } from './guest-memory.ts';

/** One AES-256-CTR operation; addresses are what the device uses, which are guest-physical addresses. */
export interface CryptoOperation {
  readonly source: number;
  readonly destination: number;
  /** Bytes. */
  readonly length: number;
  /** Bytes of the stream that come before this operation. */
  readonly streamOffset: number;
}

export interface CryptoCompletion {
  readonly ok: boolean;
  /** Name of the device's status, e.g. `SOURCE_FAULT`. */
  readonly status: string;
  /** Bytes that the device says it wrote. */
  readonly processed: number;
}

/** What the guest's driver offers to programs. Completions come in the order of posting. */
export interface CryptoDevice {
  /** Most operations that may be posted and not reaped. */
  readonly capacity: number;
  /** Sets key (32 bytes) and initial counter block (16 bytes) for the operations that follow; none may be in flight. */
  setKey(key: Uint8Array, iv: Uint8Array): Steps;
  post(operation: CryptoOperation): Steps;
  /** Waits for the oldest operation in flight. */
  reap(): Steps<CryptoCompletion>;
}

export interface WorkloadContext {
  readonly device: CryptoDevice;
  readonly memory: GuestMemory;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Log;
  /** Told after each operation how many bytes of the output have been checked. */
  readonly progress?: (doneBytes: number, totalBytes: number) => void;
}

export interface WorkloadResult {
  /** Bytes of output that were right. */
  readonly bytes: number;
  /** Virtual nanoseconds from the first doorbell to the last completion reaped. */
  readonly virtualNs: number;
  readonly output: WorkloadOutput;
  /** What went wrong, in words; null when every byte was right. */
  readonly failure: string | null;
}

export interface WorkloadOutput {
  /** Over the output in stream order, lower-case hexadecimal. */
  readonly sha256: string;
  readonly keyHex: string;
  readonly ivHex: string;
  /** Every byte equals what the host's own cipher made of the same input, and nothing beside it was written. */
  readonly verified: boolean;
}

export interface Workload {
  readonly name: string;
  run(context: WorkloadContext): Steps<WorkloadResult>;
}

export function workload(name: string, run: (context: WorkloadContext) => Steps<WorkloadResult>): Workload {
  return { name, run };
}
