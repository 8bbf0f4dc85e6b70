/**
 * An I/O address space that is filled on demand: one page table, the mappings that say what belongs where, and what
 * faults, revocations and pinning share. type1 containers are one user of it.
 *
 * Locks. `lock` guards the set of mappings and is held for a look-up or a change only. A fault holds its page in
 * `Mapping.faulting`; who takes pages away holds them in `Mapping.revoking` until no cached translation is left. The two
 * do not wait for each other: a revocation marks the tickets of the faults it meets, and these start over. So a fault may
 * wait for host memory, whose reclaim may revoke any page, without a deadlock.
 */
import { assert } from '../assert.ts';
import type { FaultHandler, Gather, Iommu, IommuDevice, IommuDomain } from '../iommu/core.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { Invariants } from '../sim/invariants.ts';
import { RwLock } from '../sim/locks.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import { type Scheduler, type Steps, WaitQueue } from '../sim/task.ts';
import { FaultCounters, Gauge } from './counters.ts';
import { DeviceSet } from './device-set.ts';
import { evict } from './eviction.ts';
import type { SpaceWatches } from './invalidation.ts';
import type { Mapping } from './mapping.ts';
import { Mappings } from './mappings.ts';
import { type PremapPolicy, premapNone } from './premap.ts';
import { Residency } from './residency.ts';
import { revokePages } from './revocation.ts';

/** Pages taken back at once when the residency limit is reached, so that one flush serves several faults. */
const EVICTION_BATCH = 32;

export interface IoAddressSpaceOptions {
  readonly name: string;
  readonly iommu: Iommu;
  readonly domain: IommuDomain;
  readonly scheduler: Scheduler;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  readonly watches: SpaceWatches;
  /** What the bytes pinned here are part of. */
  readonly pinned: Gauge;
  /** Size of a host page: the unit of everything here. */
  readonly pageBytes: number;
}

export class IoAddressSpace {
  readonly name: string;
  readonly iommu: Iommu;
  readonly domain: IommuDomain;
  readonly scheduler: Scheduler;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  readonly watches: SpaceWatches;
  readonly pageBytes: number;
  readonly lock: RwLock;
  readonly mappings = new Mappings();
  readonly residency = new Residency();
  readonly counters = new FaultCounters();
  /** Bytes pinned for devices. */
  readonly pinned: Gauge;
  readonly devices = new DeviceSet();
  /** Devices that are being detached: their faults wait for nothing any more. */
  readonly leaving = new Set<IommuDevice>();
  /** Who is told when an access of a device failed for good. */
  readonly errorListeners = new Map<IommuDevice, () => void>();
  policy: PremapPolicy = premapNone;
  /** Pages that are written get marked: by hardware where the domain has that, else see {@link logsByFaults}. */
  dirtyLogging = false;
  readonly #gathers: Gather[] = [];
  readonly #roomChanged: WaitQueue;

  constructor(options: IoAddressSpaceOptions) {
    const { name, iommu, domain, scheduler, latency, log, invariants, watches, pageBytes } = options;
    const granule = domain.pageSizes[0] ?? 0;
    assert(granule > 0 && pageBytes % granule === 0, `host pages of ${pageBytes} bytes, tables of ${granule}`);
    this.name = name;
    this.iommu = iommu;
    this.domain = domain;
    this.scheduler = scheduler;
    this.latency = latency;
    this.log = log;
    this.invariants = invariants;
    this.watches = watches;
    this.pinned = new Gauge(options.pinned);
    this.pageBytes = pageBytes;
    this.lock = new RwLock(scheduler, `mappings of ${name}`);
    this.#roomChanged = new WaitQueue(scheduler, `room in ${name}`);
  }

  /** Write faults mark pages; nothing is mapped writable that was not written. */
  get logsByFaults(): boolean {
    return this.dirtyLogging && this.domain.dirty === null;
  }

  setFaultHandler(handler: FaultHandler | null): void {
    this.domain.setFaultHandler(handler);
  }

  /** Gather state from a pool, because revoking must not allocate. Give it back with {@link flushed}. */
  takeGather(): Gather {
    return this.#gathers.pop() ?? this.domain.newGather();
  }

  /** Waits until nothing gathered is cached any more. */
  *flush(gather: Gather): Steps {
    if (!gather.empty) yield* this.domain.flush(gather);
    gather.reset();
    this.#gathers.push(gather);
  }

  /** The mapping at `iova` with a reference, or null. Costs `costNs` with the set locked. */
  *lookUp(iova: number, costNs: number): Steps<Mapping | null> {
    if (!this.lock.tryLockRead()) yield* this.lock.lockRead();
    if (costNs > 0) yield costNs;
    const mapping = this.mappings.at(iova);
    mapping?.get();
    this.lock.unlockRead();
    return mapping;
  }

  /** The mapping at `iova`, or null; undefined where the set is about to change. */
  lookUpNow(iova: number): Mapping | null | undefined {
    if (!this.lock.tryLockRead()) return undefined;
    const mapping = this.mappings.at(iova);
    this.lock.unlockRead();
    return mapping;
  }

  *insert(mapping: Mapping): Steps {
    yield* this.lock.lockWrite();
    this.mappings.insert(mapping);
    this.lock.unlockWrite();
  }

  *remove(mapping: Mapping): Steps {
    yield* this.lock.lockWrite();
    this.mappings.remove(mapping);
    this.lock.unlockWrite();
  }

  /** Reserves `count` pages of residency where there is room now; whether there is. */
  tryReserve(count: number): boolean {
    const { residency } = this;
    // With nothing else mapped or under way it goes ahead, should the limit have been lowered meanwhile.
    if (residency.excess(count) > 0 && !residency.idle) return false;
    residency.reserve(count);
    return true;
  }

  /** Reserves `count` pages, taking others back where the limit asks for it: eviction.ts chooses. */
  *reserve(count: number): Steps {
    const { residency } = this;
    while (!this.tryReserve(count)) {
      const spare = Math.min(EVICTION_BATCH, Math.floor(residency.limitPages / 8));
      const evicted = yield* this.evict(Math.max(residency.excess(count), spare));
      // Everything is reserved by faults in flight, which will map, or pinned: once that changes something can go.
      if (evicted === 0 && residency.excess(count) > 0 && !residency.idle) yield this.#roomChanged;
    }
  }

  /** Ends a reservation: what was mapped is counted as resident by now. */
  unreserve(count: number): void {
    this.residency.unreserve(count);
    this.roomChanged();
  }

  /** There may be room by now, or something that can go. */
  roomChanged(): void {
    this.#roomChanged.wakeAll();
  }

  /** Takes at least `count` pages back, if there are as many: how many. */
  evict(count: number): Steps<number> {
    return evict(this, count);
  }

  /** The memory of a faultable mapping is found at `vaddr` of `space` from now on; its pages fault again. */
  *moveMapping(mapping: Mapping, space: AddressSpace, vaddr: number): Steps {
    yield* revokePages(this, mapping, 0, mapping.pageCount);
    this.watches.remove(mapping);
    mapping.space = space;
    mapping.vaddr = vaddr;
    this.watches.add(this, mapping);
  }

  /** Makes every device of this space abort: the last resort where a translation cannot be taken back. */
  *block(reason: string): Steps {
    for (const device of this.devices) {
      this.log.error({ event: 'vfio.block', container: this.name, device: device.name, reason });
      yield* this.iommu.block(device);
    }
  }
}
