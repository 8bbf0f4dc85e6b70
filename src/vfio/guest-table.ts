/**
 * A guest's own stage over a container's: while it is bound, the container's devices translate by the guest's tables first.
 * Faults of the guest's stage go to its fault queue, those of the container's stage to the device fault handler as before.
 */
import { Errno } from '../errno.ts';
import type { GuestTables, Iommu, IommuDevice, IommuDomain, NestingIommu } from '../iommu/core.ts';
import { type Steps, WaitQueue } from '../sim/task.ts';
import type { FaultQueue } from './fault-queue.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultSwitch } from './iopf.ts';

interface Binding {
  readonly domain: IommuDomain;
  readonly queue: FaultQueue | null;
}

export class GuestTableSlot {
  readonly #io: IoAddressSpace;
  readonly #iommu: NestingIommu | null;
  /** The container's own faults. They and the guest's have one owner, so that either may be enabled first. */
  readonly #faults: FaultSwitch;
  #bound: Binding | null = null;
  /** Invalidations under way: they hold no lock, because a guest may need one before it answers a fault. */
  #invalidating = 0;
  readonly #invalidated: WaitQueue;

  /** `nesting`: whether the container was made for it. */
  constructor(io: IoAddressSpace, faults: FaultSwitch, nesting: boolean) {
    this.#io = io;
    this.#faults = faults;
    this.#invalidated = new WaitQueue(io.scheduler, `invalidations of the guest of ${io.name}`);
    this.#iommu = nesting && isNesting(io.iommu) ? io.iommu : null;
  }

  /** Whether the container and its IOMMU can do it. */
  get possible(): boolean {
    return this.#iommu !== null;
  }

  get bound(): boolean {
    return this.#bound !== null;
  }

  /** What the container's devices are attached to. */
  get domain(): IommuDomain {
    return this.#bound?.domain ?? this.#io.domain;
  }

  /**
   * 0; -EOPNOTSUPP in another type of container, -EBUSY when bound or while a mapping has no virtual address (faults that
   * wait for one would have to be refused), -EINVAL for tables that the IOMMU cannot use or the queue of another container.
   */
  *bind(tables: GuestTables, queue: FaultQueue | null): Steps<number> {
    const io = this.#io;
    if (this.#iommu === null) return Errno.EOPNOTSUPP;
    if (queue !== null && queue.io !== io) return Errno.EINVAL;
    if (this.#bound !== null || io.mappings.all().some((mapping) => mapping.vaddrInvalid)) return Errno.EBUSY;
    const domain = this.#createDomain(this.#iommu, tables);
    if (domain === null) return Errno.EINVAL;
    domain.setFaultHandler(queue);
    const bound = { domain, queue };
    this.#bound = bound;
    const moved: IommuDevice[] = [];
    for (const device of io.devices) {
      const status = yield* this.#move(device, bound);
      if (status === Errno.OK) {
        moved.push(device);
        continue;
      }
      for (const other of moved.reverse()) yield* this.#moveBack(other, bound);
      this.#bound = null;
      while (this.#invalidating > 0) yield this.#invalidated;
      io.iommu.freeDomain(domain);
      return status;
    }
    io.log.info({ event: 'vfio.guestTable', container: io.name, bound: true, contextTable: tables.contextTable });
    return Errno.OK;
  }

  /** 0, also when nothing is bound. */
  *unbind(): Steps<number> {
    const bound = this.#bound;
    if (bound === null) return Errno.OK;
    const io = this.#io;
    this.#bound = null;
    let result: number = Errno.OK;
    for (const device of io.devices) {
      const status = yield* this.#moveBack(device, bound);
      if (status !== Errno.OK) result = status;
    }
    while (this.#invalidating > 0) yield this.#invalidated;
    io.iommu.freeDomain(bound.domain);
    if (!this.#faults.enabled) io.setFaultHandler(null);
    io.log.info({ event: 'vfio.guestTable', container: io.name, bound: false, contextTable: 0 });
    return result;
  }

  /** Carries out the guest's commands: how many; -EINVAL when nothing is bound. */
  *invalidate(commands: DataView): Steps<number> {
    if (this.#bound === null || this.#iommu === null) return Errno.EINVAL;
    const { devices } = this.#io;
    this.#invalidating += 1;
    const done = yield* this.#iommu.invalidateGuest(this.#bound.domain, commands, (number) => devices.at(number));
    this.#invalidating -= 1;
    this.#invalidated.wakeAll();
    return done;
  }

  /** A device was attached to {@link domain}: the guest's stage may fault. */
  *attached(device: IommuDevice): Steps<number> {
    if (this.#bound === null || !asks(this.#bound, device)) return Errno.OK;
    return yield* this.#io.iommu.enableFaults(device, this.#faults, 'pri');
  }

  /** A device is about to be detached: what it waits for at the guest's stage is answered. */
  *detaching(device: IommuDevice): Steps {
    if (this.#bound !== null) yield* this.#leave(device, this.#bound);
  }

  detached(device: IommuDevice): void {
    this.#bound?.queue?.left(device);
  }

  /** The last device has gone, and the container goes. */
  *release(): Steps {
    const bound = this.#bound;
    this.#bound = null;
    while (this.#invalidating > 0) yield this.#invalidated;
    if (bound !== null) this.#io.iommu.freeDomain(bound.domain);
  }

  *#move(device: IommuDevice, bound: Binding): Steps<number> {
    const { iommu, domain } = this.#io;
    yield* iommu.detach(domain, device);
    const attached = yield* iommu.attach(bound.domain, device);
    const status = attached === Errno.OK ? yield* this.attached(device) : attached;
    if (status !== Errno.OK) yield* this.#moveBack(device, bound);
    return status;
  }

  /** Also where it never came to be attached: then there is nothing to detach it from. */
  *#moveBack(device: IommuDevice, bound: Binding): Steps<number> {
    const { iommu, leaving } = this.#io;
    yield* this.#leave(device, bound);
    yield* this.#faults.leaving(device);
    yield* iommu.detach(bound.domain, device);
    leaving.delete(device);
    bound.queue?.left(device);
    const status = yield* iommu.attach(this.#io.domain, device);
    if (status !== Errno.OK) this.#io.log.error({ event: 'vfio.lost', device: device.name, errno: status });
    return status;
  }

  /** What waits for the guest is answered, and faults end that only the guest's stage kept on. */
  *#leave(device: IommuDevice, { queue }: Binding): Steps {
    if (queue !== null) yield* queue.leaving(device);
    if (!this.#faults.enabled) yield* this.#io.iommu.disableFaults(device, this.#faults);
  }

  #createDomain(iommu: NestingIommu, tables: GuestTables): IommuDomain | null {
    try {
      return iommu.createGuestDomain(this.#io.domain, tables);
    } catch (error) {
      if (error instanceof RangeError) return null;
      throw error;
    }
  }
}

function isNesting(iommu: Iommu): iommu is NestingIommu {
  return 'createGuestDomain' in iommu;
}

/**
 * Whether the guest's stage makes the function send page requests. Stalls are the matter of the guest's own context
 * descriptors.
 */
function asks({ queue }: Binding, device: IommuDevice): boolean {
  return queue !== null && device.pri && !device.stall;
}
