/** What every part of VFIO is given, and the options a host administrator would set. */
import type { DomainOptions, Iommu } from '../iommu/core.ts';
import type { HostMemory } from '../mm/host-memory.ts';
import type { Invariants } from '../sim/invariants.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import type { Scheduler } from '../sim/task.ts';
import type { FaultCounters, Gauge } from './counters.ts';
import type { SpaceWatches } from './invalidation.ts';
import type { PremapPolicy } from './premap.ts';

/** Where MSI doorbells appear in every I/O address space: arm-smmu's MSI_IOVA_BASE and MSI_IOVA_LENGTH. */
export const MSI_IOVA_BASE = 0x0800_0000;
export const MSI_IOVA_BYTES = 0x10_0000;

/** Defaults of new containers; user space may change them by VFIO_IOMMU_CONFIGURE_IOPF. */
export interface ContainerDefaults {
  /** A fresh policy for each container, because some keep a history. */
  readonly policy: () => PremapPolicy;
  /** Bytes mapped on demand at one time; null: no limit. */
  readonly residencyLimitBytes: number | null;
  /** Threads of the fault work queue; 0: groups are handled on the thread that reads the IOMMU's queue. */
  readonly workers: number;
  /** Mappings per container. */
  readonly dmaEntryLimit: number;
}

export interface Environment {
  readonly scheduler: Scheduler;
  readonly iommu: Iommu;
  readonly host: HostMemory;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  readonly watches: SpaceWatches;
  /** Bytes pinned by all containers. */
  readonly pinned: Gauge;
  /** What containers counted that are gone. */
  readonly retired: FaultCounters;
  readonly defaults: ContainerDefaults;
  /** Stage and granule of the page tables. */
  readonly domain: DomainOptions;
  /** Physical address of the MSI doorbell register. */
  readonly msiDoorbell: number;
}
