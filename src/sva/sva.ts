/**
 * Shared virtual addressing: processes share their address spaces with devices. A process has one PASID and one table,
 * whatever number of devices it is bound to; the first device makes them and the last one ends them.
 */
import { Errno } from '../errno.ts';
import type { DomainOptions, Iommu, IommuDevice, IommuDomain } from '../iommu/core.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { Invariants } from '../sim/invariants.ts';
import { Mutex } from '../sim/locks.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import type { Scheduler, Steps } from '../sim/task.ts';
import { SvaCounters } from './counters.ts';
import { SvaFaultHandler } from './fault-handler.ts';
import { SharedSpace } from './shared-space.ts';

export interface SvaOptions {
  readonly scheduler: Scheduler;
  readonly iommu: Iommu;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  /** Page size of the tables: the host's. */
  readonly granule: NonNullable<DomainOptions['granule']>;
  /** Threads of the fault work queue; 0: groups are served on the thread that reads the IOMMU's queue. */
  readonly workers: number;
}

export class Sva {
  readonly counters = new SvaCounters();
  readonly #options: SvaOptions;
  readonly #handler: SvaFaultHandler;
  readonly #spaces = new Map<AddressSpace, SharedSpace>();
  readonly #bonds = new Map<IommuDevice, number>();
  readonly #changes: Mutex;

  constructor(options: SvaOptions) {
    const { scheduler, latency, log, invariants, workers, iommu } = options;
    this.#options = options;
    this.#changes = new Mutex(scheduler, 'shared address spaces');
    this.#handler = new SvaFaultHandler({
      scheduler,
      latency,
      log,
      invariants,
      counters: this.counters,
      workers,
      respond: (group, response) => iommu.respond(group, response),
    });
  }

  /** Pages of `space` that devices can reach without a fault. */
  mappedPages(space: AddressSpace): number {
    return this.#spaces.get(space)?.mappedPages ?? 0;
  }

  /**
   * Lets `device` use the addresses of `space` under the PASID that is the result. -ENODEV where the device has no PASIDs
   * or cannot fault, -EBUSY where it is bound to the space or somebody else enabled its faults, -ENOSPC without a PASID,
   * -ENOMEM without memory, -EINVAL where the device's translations leave no room for another table.
   */
  *bind(device: IommuDevice, space: AddressSpace): Steps<number> {
    yield* this.#changes.lock();
    const result = yield* this.#bind(device, space);
    this.#changes.unlock();
    return result;
  }

  /**
   * Ends it. The device must not use the PASID any more; what it still has in flight is answered first. Nothing where
   * they are not bound.
   */
  *unbind(device: IommuDevice, space: AddressSpace): Steps {
    yield* this.#changes.lock();
    const shared = this.#spaces.get(space);
    if (shared?.devices.has(device)) {
      yield* this.#detach(shared, device);
      yield* this.#dropUnused(shared);
    }
    this.#changes.unlock();
  }

  /** Checks that nothing is left: for the end of a run. */
  checkAtRest(): void {
    const { invariants } = this.#options;
    const { size } = this.#spaces;
    invariants.check('balance', size === 0, () => `${size} address spaces are still shared`);
    const { pending } = this.#handler;
    invariants.check('one-response', pending === 0, () => `${pending} groups of shared address spaces have no answer`);
  }

  *#bind(device: IommuDevice, space: AddressSpace): Steps<number> {
    if (device.pasidBits === 0 || !(device.stall || device.pri)) return Errno.ENODEV;
    if (space.gone) return Errno.ENODEV;
    const shared = this.#spaces.get(space) ?? this.#share(space, device);
    if (typeof shared === 'number') return shared;
    if (shared.devices.has(device)) return Errno.EBUSY;
    const status = yield* this.#attach(shared, device);
    if (status !== Errno.OK) yield* this.#dropUnused(shared);
    return status === Errno.OK ? shared.pasid : status;
  }

  /** The table of a process, and its PASID; or an errno. */
  #share(space: AddressSpace, device: IommuDevice): SharedSpace | number {
    const pasid = this.#freePasid();
    if (pasid >= 2 ** device.pasidBits) return Errno.ENOSPC;
    const domain = this.#createDomain();
    if (domain === null) return Errno.ENOMEM;
    const shared = new SharedSpace({ ...this.#options, space, pasid, domain, counters: this.counters });
    domain.setFaultHandler(this.#handler.of(shared));
    this.#spaces.set(space, shared);
    return shared;
  }

  /** Faults are on before the first access may miss: the handler is there. */
  *#attach(shared: SharedSpace, device: IommuDevice): Steps<number> {
    const { iommu, log } = this.#options;
    if (shared.pasid >= 2 ** device.pasidBits) return Errno.ENOSPC;
    const mode = device.stall ? 'stall' : 'pri';
    const enabled = yield* iommu.enableFaults(device, this, mode);
    if (enabled !== Errno.OK) return enabled;
    const status = yield* iommu.attachPasid(shared.domain, device, shared.pasid);
    if (status !== Errno.OK) {
      if (!this.#bonds.has(device)) yield* iommu.disableFaults(device, this);
      return status;
    }
    shared.devices.add(device);
    this.#bonds.set(device, (this.#bonds.get(device) ?? 0) + 1);
    log.info({ event: 'sva.bind', space: shared.space.name, device: device.name, pasid: shared.pasid, mode });
    return Errno.OK;
  }

  /** New faults of the PASID stop, those in flight get their answers, then the table is out of the device's reach. */
  *#detach(shared: SharedSpace, device: IommuDevice): Steps {
    const { iommu, log } = this.#options;
    yield* iommu.detachPasid(device, shared.pasid);
    shared.devices.delete(device);
    const left = (this.#bonds.get(device) ?? 0) - 1;
    if (left > 0) this.#bonds.set(device, left);
    else {
      this.#bonds.delete(device);
      yield* iommu.disableFaults(device, this);
    }
    log.info({ event: 'sva.unbind', space: shared.space.name, device: device.name, pasid: shared.pasid });
  }

  *#dropUnused(shared: SharedSpace): Steps {
    if (shared.devices.size > 0) return;
    yield* this.#handler.drain(shared);
    this.#spaces.delete(shared.space);
    yield* shared.release();
  }

  /** The lowest PASID that no process has; 0 stands for accesses without one. */
  #freePasid(): number {
    const used = new Set([...this.#spaces.values()].map((shared) => shared.pasid));
    let pasid = 1;
    while (used.has(pasid)) pasid += 1;
    return pasid;
  }

  /** Null where the IOMMU has no room for another table. */
  #createDomain(): IommuDomain | null {
    try {
      return this.#options.iommu.createDomain({ stage: 1, granule: this.#options.granule });
    } catch (error) {
      if (error instanceof RangeError) return null;
      throw error;
    }
  }
}
