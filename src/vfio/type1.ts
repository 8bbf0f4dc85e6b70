/**
 * A type1 IOMMU: the rules by which user space maps memory for the devices of a container. Calls that change anything
 * follow one another (`#operations`); faults and revocations never wait for them.
 */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import { Protection } from '../iommu/core.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import { Mutex } from '../sim/locks.ts';
import type { Steps } from '../sim/task.ts';
import { Bitmap } from './bitmap.ts';
import type { DeviceBackend } from './device-backend.ts';
import { type Environment, MSI_IOVA_BASE, MSI_IOVA_BYTES } from './environment.ts';
import { DeviceFaultHandler } from './fault-handler.ts';
import { GuestTableSlot } from './guest-table.ts';
import { IoAddressSpace } from './io-address-space.ts';
import { type FaultSwitch, newFaultSwitch } from './iopf.ts';
import { FAULTABLE_PAGES_MAX, Mapping } from './mapping.ts';
import { pinPages, unpinPages } from './pinning.ts';
import { revokePages } from './revocation.ts';
import { pinnedRanges, unpinRange } from './selective-pinning.ts';

export interface MapRequest {
  readonly space: AddressSpace;
  readonly vaddr: number;
  readonly iova: number;
  readonly size: number;
  /** Protection bits of src/iommu/core.ts. */
  readonly protection: number;
  /** Pin and map at once although the container faults. */
  readonly static: boolean;
  /** Whether a process can have anything at these addresses. */
  readonly reachable: boolean;
}

export interface UnmapRequest {
  readonly iova: number;
  readonly size: number;
  readonly all: boolean;
}

/** Who wants to know what an unmap request unmaps. */
export interface UnmapReport {
  /** Told of the mappings before anything happens to them; an errno stops the request. */
  prepare(mappings: readonly Mapping[]): Steps<number>;
  /** Told of each mapping once no access uses it any more. */
  gone(mapping: Mapping): void;
}

/** A range of usable I/O virtual addresses; `last` is inclusive. */
export interface IovaRange {
  readonly start: number;
  readonly last: number;
}

export class Type1 {
  readonly name: string;
  readonly io: IoAddressSpace;
  readonly handler: DeviceFaultHandler;
  readonly faults: FaultSwitch;
  /** A guest's tables over those of the container. */
  readonly guestTable: GuestTableSlot;
  /** False for VFIO_TYPE1_IOMMU, whose unmap follows older rules. */
  readonly v2: boolean;
  readonly devices = new Set<DeviceBackend>();
  readonly #environment: Environment;
  readonly #operations: Mutex;
  #entriesLeft: number;
  #msiMapped = false;
  #released = false;

  /** `nesting`: a guest's tables may come first. */
  constructor(environment: Environment, name: string, v2: boolean, nesting = false) {
    const { scheduler, iommu, latency, log, invariants, watches, pinned, defaults, host } = environment;
    const domain = iommu.createDomain(environment.domain);
    this.name = name;
    this.v2 = v2;
    this.#environment = environment;
    this.#operations = new Mutex(scheduler, `operations of ${name}`);
    this.#entriesLeft = defaults.dmaEntryLimit;
    const { pageBytes } = host;
    const parts = { scheduler, latency, log, invariants, watches, pinned };
    this.io = new IoAddressSpace({ name, iommu, domain, pageBytes, ...parts });
    this.io.policy = defaults.policy();
    if (defaults.residencyLimitBytes !== null) this.setResidencyLimit(defaults.residencyLimitBytes);
    this.handler = new DeviceFaultHandler(this.io);
    this.handler.workers = defaults.workers;
    this.faults = newFaultSwitch(this.io, this.handler, () => this.guestTable.bound);
    this.guestTable = new GuestTableSlot(this.io, this.faults, nesting);
  }

  /** Mappings that may still be made. */
  get entriesLeft(): number {
    return this.#entriesLeft;
  }

  /** Bit n: pages of 2^n bytes. Sizes below a host page are not offered. */
  get pageSizes(): readonly number[] {
    const sizes = this.io.domain.pageSizes.filter((size) => size >= this.io.pageBytes);
    return sizes.includes(this.io.pageBytes) ? sizes : [this.io.pageBytes, ...sizes];
  }

  get iovaRanges(): readonly IovaRange[] {
    const last = this.io.domain.lastIova;
    const ranges = [
      { start: 0, last: Math.min(MSI_IOVA_BASE - 1, last) },
      { start: MSI_IOVA_BASE + MSI_IOVA_BYTES, last },
    ];
    return ranges.filter((range) => range.start < range.last);
  }

  /** At most so many bytes mapped on demand; 0: no limit. */
  setResidencyLimit(bytes: number): void {
    const pages = bytes === 0 ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(bytes / this.io.pageBytes));
    this.io.residency.limitPages = pages;
  }

  /** Runs `steps` with no other operation of this container between them. -ENODEV once the IOMMU was released. */
  *exclusively(steps: () => Steps<number>): Steps<number> {
    yield* this.#operations.lock();
    const result = this.#released ? Errno.ENODEV : yield* steps();
    this.#operations.unlock();
    return result;
  }

  /** Attaches the functions of a group, all or none. 0, what the IOMMU answered, -EBUSY while a mapping has no virtual address. */
  *attach(devices: readonly DeviceBackend[]): Steps<number> {
    const self = this;
    return yield* this.exclusively(function* (): Steps<number> {
      if (self.io.mappings.all().some((mapping) => mapping.vaddrInvalid)) return Errno.EBUSY;
      for (const [index, device] of devices.entries()) {
        const status = yield* self.#attachOne(device);
        if (status === Errno.OK) continue;
        for (const attached of devices.slice(0, index).reverse()) yield* self.#detachOne(attached);
        return status;
      }
      return Errno.OK;
    });
  }

  *detach(devices: readonly DeviceBackend[]): Steps {
    const self = this;
    yield* this.exclusively(function* (): Steps<number> {
      for (const device of [...devices].reverse()) yield* self.#detachOne(device);
      return Errno.OK;
    });
  }

  /** VFIO_IOMMU_MAP_DMA. 0; -EEXIST, -ENOSPC, -EINVAL, -EFAULT or -ENOMEM. */
  *map(request: MapRequest): Steps<number> {
    return yield* this.exclusively(() => this.#map(request));
  }

  /** VFIO_IOMMU_UNMAP_DMA: bytes unmapped, -EINVAL, or what `report` answered. */
  *unmap(request: UnmapRequest, report?: UnmapReport): Steps<number> {
    return yield* this.exclusively(() => this.#unmap(request, report));
  }

  /**
   * The mappings that an unmap request means; null where it would cut one in two. v1 containers stop at a mapping that
   * begins below the range, and take one that reaches beyond it whole.
   */
  covered(request: UnmapRequest): readonly Mapping[] | null {
    const { iova, size, all } = request;
    const end = all ? Number.POSITIVE_INFINITY : iova + size;
    const mappings = this.io.mappings.within(iova, end);
    if (!this.v2) return (mappings[0]?.start ?? iova) < iova ? [] : mappings;
    const cut = !all && mappings.some((mapping) => mapping.start < iova || mapping.end > end);
    return cut ? null : mappings;
  }

  /** A mapping in the way of a new one, as Linux 6.1 looks for it: the end of a range up to 2^64 is 0, and meets none. */
  overlapping(iova: number, size: number): Mapping | null {
    return iova + size === 2 ** 64 ? null : this.io.mappings.first(iova, iova + size);
  }

  /** Maps the MSI doorbell for the devices: the I/O virtual address of the doorbell register, or an errno. */
  enableMsi(): number {
    const granule = this.io.domain.pageSizes[0] ?? this.io.pageBytes;
    const offset = this.#environment.msiDoorbell % granule;
    if (!this.#msiMapped) {
      const protection = Protection.READ | Protection.WRITE | Protection.DEVICE;
      const status = this.io.domain.map(MSI_IOVA_BASE, this.#environment.msiDoorbell - offset, granule, protection);
      if (status !== Errno.OK) return status;
      this.#msiMapped = true;
    }
    return MSI_IOVA_BASE + offset;
  }

  /** VFIO_IOMMU_DISABLE_IOPF; as {@link FaultSwitch.disable}. The stage of a guest goes on to fault. */
  *disableFaults(): Steps<number> {
    return yield* this.exclusively(() => this.faults.disable());
  }

  /** Ends it: no device may be attached. */
  *release(): Steps {
    yield* this.exclusively(() => this.#release());
  }

  *#release(): Steps<number> {
    this.#released = true;
    assert(this.devices.size === 0, `${this.name} has devices`);
    const { io } = this;
    yield* this.handler.drain();
    yield* this.faults.release();
    yield* this.guestTable.release();
    this.handler.workers = 0;
    for (const mapping of io.mappings.all()) yield* this.#remove(mapping);
    if (this.#msiMapped) {
      const gather = io.takeGather();
      io.domain.unmap(MSI_IOVA_BASE, io.domain.pageSizes[0] ?? io.pageBytes, gather);
      yield* io.flush(gather);
    }
    const { pages } = io.residency;
    io.invariants.check('balance', pages === 0, () => `${pages} pages of ${this.name} are still mapped`);
    io.invariants.check('balance', io.pinned.value === 0, () => `${io.pinned.value} bytes of ${this.name} are pinned`);
    io.iommu.freeDomain(io.domain);
    this.#environment.retired.add(io.counters);
    return Errno.OK;
  }

  *#attachOne(device: DeviceBackend): Steps<number> {
    const { io } = this;
    // Before it is attached: it may fault at once, and its faults name it by its number.
    this.devices.add(device);
    io.devices.add(device.iommu);
    const attached = yield* io.iommu.attach(this.guestTable.domain, device.iommu);
    const own = attached === Errno.OK ? yield* this.faults.attached(device.iommu) : attached;
    const enabled = own === Errno.OK ? yield* this.guestTable.attached(device.iommu) : own;
    if (enabled !== Errno.OK) yield* this.#detachOne(device);
    return enabled;
  }

  *#detachOne(device: DeviceBackend): Steps {
    const { io } = this;
    yield* this.guestTable.detaching(device.iommu);
    yield* this.faults.detaching(device.iommu);
    yield* io.iommu.detach(this.guestTable.domain, device.iommu);
    this.guestTable.detached(device.iommu);
    io.leaving.delete(device.iommu);
    this.devices.delete(device);
    io.devices.delete(device.iommu);
  }

  *#map(request: MapRequest): Steps<number> {
    const { io } = this;
    const { space, vaddr, iova, size, protection } = request;
    if (this.overlapping(iova, size) !== null) return Errno.EEXIST;
    if (this.#entriesLeft === 0) return Errno.ENOSPC;
    const usable = this.iovaRanges.some((range) => iova >= range.start && iova + size - 1 <= range.last);
    if (!usable) return Errno.EINVAL;
    if (space.gone) return Errno.ENODEV;
    if (!request.reachable) return Errno.EFAULT;
    const faultable = this.faults.enabled && !request.static;
    if (faultable && size / io.pageBytes > FAULTABLE_PAGES_MAX) return Errno.ENOMEM;
    const id = io.mappings.nextId();
    const mapping = new Mapping(io.scheduler, { id, iova, size, vaddr, protection, space, faultable });
    if (faultable) {
      io.watches.add(io, mapping);
    } else {
      const status = yield* pinPages(io, mapping, 0, mapping.pageCount);
      if (status !== Errno.OK) return status;
    }
    mapping.staticByRequest = request.static;
    if (io.dirtyLogging) mapping.dirty = new Bitmap(mapping.pageCount);
    this.#entriesLeft -= 1;
    yield* io.insert(mapping);
    this.#log('vfio.map', mapping);
    return Errno.OK;
  }

  *#unmap(request: UnmapRequest, report?: UnmapReport): Steps<number> {
    const mappings = this.covered(request);
    if (mappings === null) return Errno.EINVAL;
    const prepared = report === undefined ? Errno.OK : yield* report.prepare(mappings);
    if (prepared < 0) return prepared;
    let bytes = 0;
    for (const mapping of mappings) {
      yield* this.#remove(mapping);
      report?.gone(mapping);
      bytes += mapping.size;
    }
    return bytes;
  }

  *#remove(mapping: Mapping): Steps {
    const { io } = this;
    yield* io.remove(mapping);
    mapping.dying = true;
    if (mapping.vaddrInvalid) yield* this.handler.resume();
    if (mapping.faults === null) {
      yield* unpinPages(io, mapping, 0, mapping.pageCount);
    } else {
      yield* revokePages(io, mapping, 0, mapping.pageCount);
      for (const [first, end] of pinnedRanges(mapping)) yield* unpinRange(io, mapping, mapping.faults, first, end);
      io.watches.remove(mapping);
    }
    yield* mapping.release();
    this.#entriesLeft += 1;
    this.#log('vfio.unmap', mapping);
  }

  #log(event: string, mapping: Mapping): void {
    const { log, name } = this.io;
    if (!log.isLevelEnabled('info')) return;
    const { iova, size, vaddr, protection } = mapping;
    log.info({ event, container: name, iova, size, vaddr, protection, faultable: mapping.faults !== null });
  }
}
