/**
 * Latency profiles: what each step costs in virtual nanoseconds, with the source of the number. Functional effects take
 * place at the instant a step begins; what waits for the step waits for its cost.
 */

/** Every cost in Faultline. Units are nanoseconds unless the name says otherwise. */
export const COSTS = {
  link: 'a TLP from endpoint to root complex, or back',
  mmioRead: 'a register read by a CPU, to completion',
  mmioWrite: 'a posted register write by a CPU',
  memoryAccess: 'root complex to memory and back, for a DMA that needs no translation',
  tlbHit: 'SMMU: look-up that hits',
  configurationFetch: 'SMMU: fetch of one STE, CD or level 1 descriptor',
  walkStep: 'SMMU: fetch of one translation table descriptor',
  recordWrite: 'SMMU: write of one event or page request record',
  commandFetch: 'SMMU: fetch and execution of one command',
  commandSync: 'driver: CMD_SYNC from issue to observed completion, no invalidation outstanding',
  interrupt: 'interrupt line or MSI to the first instruction of its handler',
  threadWake: 'a kernel thread made runnable until it runs',
  faultHandler: 'device fault handler: look-up, checks and bookkeeping of one group',
  svaFaultHandler: 'a fault of a shared address space: look-up, checks and bookkeeping of one group',
  pageAllocate: 'a fresh zeroed host page',
  pagePin: 'pinning one page that is present',
  pageMap: 'one page-table entry written',
  pageUnmap: 'one page-table entry cleared',
  pageAge: 'the access flag of one page-table entry tested and cleared',
  swapIn: 'a page read back from swap',
  swapOut: 'a page written to swap',
  cpuFault: 'a first touch by a CPU, without the page allocation',
  systemCall: 'entry and exit of a system call',
  deviceSetup: 'accelerator: descriptor fetched until its data flows',
  guestOperation: 'guest driver: posting or reaping one operation',
} as const;
export type Cost = keyof typeof COSTS;

export interface CostValue {
  readonly ns: number;
  /** Where the number comes from. */
  readonly source: string;
}

export interface LatencyProfile {
  readonly name: string;
  readonly description: string;
  readonly costs: Readonly<Record<Cost, CostValue>>;
  /** Sustained throughput of the accelerator; 0 means unbounded. */
  readonly acceleratorBytesPerSecond: number;
}

/** Costs as plain numbers, for the parts that spend them. */
export type Latency = Readonly<Record<Cost, number>> & { readonly acceleratorBytesPerSecond: number };

export function latencyOf(profile: LatencyProfile): Latency {
  const costs = Object.entries(profile.costs).map(([cost, value]) => [cost, value.ns]);
  return { ...Object.fromEntries(costs), acceleratorBytesPerSecond: profile.acceleratorBytesPerSecond } as Latency;
}
