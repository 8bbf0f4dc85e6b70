/**
 * A type 1 container as the eight patches leave it: the exhibit of the review. Its faults, mappings and invalidations all
 * take one lock; what a fault finds on its way there is nobody's. Behaviour as the patches have it, defects included.
 */
import { Errno } from '../../../src/errno.ts';
import {
  FaultResponse,
  type Gather,
  type Iommu,
  type IommuDevice,
  type IommuDomain,
  Protection,
} from '../../../src/iommu/core.ts';
import type { AddressSpace } from '../../../src/mm/address-space.ts';
import type { SpaceNotifier } from '../../../src/mm/notifier.ts';
import { Mutex } from '../../../src/sim/locks.ts';
import type { Latency } from '../../../src/sim/profile.ts';
import { type Scheduler, type Steps, WaitQueue } from '../../../src/sim/task.ts';
import { type FaultReporting, Report, type ReportedFault } from './fault-reporting.ts';
import { type GroupList, IopfGroup } from './group-list.ts';
import { Allocation, follow } from './lifetime.ts';
import { PAGE_BYTES, RfcMapping } from './mapping.ts';
import { mapBatches } from './premap.ts';

export interface RfcHost {
  readonly scheduler: Scheduler;
  readonly latency: Latency;
  readonly iommu: Iommu;
  readonly reporting: FaultReporting;
  readonly groups: GroupList;
}

export interface RfcOptions {
  readonly domain: IommuDomain;
  /** How many of the eight patches are applied: the bitmap of a mapping comes with the sixth. All, by default. */
  readonly patches?: number;
  /** IOPF_PREMAP_LEN; 512 in the patch, 1 for the first column of the letter's figures. */
  readonly premapPages?: number;
  readonly nested?: boolean;
  /** vfio_device_ops.transfer: gives a level 1 fault to the guest. */
  readonly transfer?: (device: IommuDevice, fault: ReportedFault) => Steps<number>;
  /** Takes a device off the domain. The kernel of the time waits for no fault there. */
  readonly detachDevice: (device: IommuDevice) => Steps;
}

interface AttachedGroup {
  readonly number: number;
  readonly devices: readonly IommuDevice[];
}

export class RfcContainer extends Allocation implements SpaceNotifier {
  readonly name = 'the notifier of a container';
  readonly host: RfcHost;
  readonly domain: IommuDomain;
  readonly lock: Mutex;
  readonly warnings: string[] = [];
  readonly mappings: RfcMapping[] = [];
  readonly premapPages: number;
  iopfEnabled = false;
  /** The container's file is open. */
  open = true;
  /** Gather state allocated by invalidations, mappings they looked at, bits they tested one by one. */
  readonly effort = { allocations: 0, mappings: 0, bits: 0 };
  readonly #options: RfcOptions;
  readonly #attached: AttachedGroup[] = [];
  readonly #vaddrChanged: WaitQueue;
  #vaddrInvalidCount = 0;
  #space: AddressSpace | null = null;

  constructor(host: RfcHost, options: RfcOptions) {
    super('a container');
    this.host = host;
    this.domain = options.domain;
    this.#options = options;
    this.premapPages = options.premapPages ?? 512;
    this.lock = new Mutex(host.scheduler, 'the lock of a container');
    this.#vaddrChanged = new WaitQueue(host.scheduler, 'a new virtual address');
  }

  /** VFIO_IOMMU_MAP_DMA: with IOPF on, nothing but a note and a bitmap. */
  *map(space: AddressSpace, vaddr: number, iova: number, size: number, protection = 3): Steps<number> {
    yield* this.lock.lock();
    const mapping = new RfcMapping(space, vaddr, iova, size, protection);
    if (this.iopfEnabled && (this.#options.patches ?? 8) >= 6) mapping.allocateBitmap();
    this.mappings.push(mapping);
    const status = this.iopfEnabled ? Errno.OK : yield* mapping.pinAndMap(this.domain);
    this.lock.unlock();
    return status;
  }

  /** VFIO_IOMMU_UNMAP_DMA of one whole mapping. */
  *unmap(iova: number): Steps<number> {
    yield* this.lock.lock();
    const at = this.mappings.findIndex((mapping) => mapping.iova === iova);
    const [mapping] = this.mappings.splice(at, 1);
    if (at < 0 || mapping === undefined) {
      this.lock.unlock();
      return Errno.EINVAL;
    }
    // With IOPF on there is nothing to unpin, says the patch.
    if (!this.iopfEnabled) yield* mapping.unmapAndUnpin(this.domain);
    else yield* this.#unmapPartial(mapping, mapping.iova, mapping.iova + mapping.size);
    mapping.free();
    this.lock.unlock();
    return Errno.OK;
  }

  /** VFIO_IOMMU_ENABLE_IOPF. Devices may fault before their groups can be found. */
  *enableIopf(caller: AddressSpace, mode: 'stall' | 'pri' = 'pri'): Steps<number> {
    yield* this.lock.lock();
    this.#space = caller;
    caller.addNotifier(this);
    let enabledDevices = 0;
    let status: number = Errno.OK;
    for (const group of this.#attached) {
      for (const device of group.devices) {
        status = yield* this.#enableDevice(device, mode);
        if (status !== Errno.OK) break;
        enabledDevices += 1;
      }
      if (status !== Errno.OK) break;
      yield* this.host.groups.link(new IopfGroup(group.number, this));
    }
    if (status === Errno.OK) this.iopfEnabled = true;
    else yield* this.#unwind(enabledDevices);
    this.lock.unlock();
    return status;
  }

  *attachGroup(number: number, devices: readonly IommuDevice[], mode: 'stall' | 'pri' = 'pri'): Steps<number> {
    yield* this.lock.lock();
    for (const device of devices) yield* this.host.iommu.attach(this.domain, device);
    this.#attached.push({ number, devices });
    if (this.iopfEnabled) {
      for (const device of devices) yield* this.#enableDevice(device, mode);
      yield* this.host.groups.link(new IopfGroup(number, this));
    }
    this.lock.unlock();
    return Errno.OK;
  }

  /** The way back in the same order as the way there: what a fault needs goes first. */
  *detachGroup(number: number): Steps {
    yield* this.lock.lock();
    const at = this.#attached.findIndex((group) => group.number === number);
    const [group] = this.#attached.splice(at, 1);
    if (this.iopfEnabled) {
      const entry = follow(yield* this.host.groups.find(number), 'the entry of the group');
      yield* this.host.groups.unlink(entry);
      entry.free();
      for (const device of group?.devices ?? []) yield* this.disableDevice(device);
    }
    for (const device of group?.devices ?? []) yield* this.#options.detachDevice(device);
    this.lock.unlock();
  }

  /** The container goes; whoever waits for its lock is not asked. */
  *release(): Steps {
    for (const mapping of [...this.mappings]) yield* this.unmap(mapping.iova);
    if (this.iopfEnabled) this.#space?.removeNotifier(this);
    this.free();
  }

  /** dev_disable_iopf, with or without the count of devices that were enabled. Failures are worth a warning. */
  *disableDevice(device: IommuDevice, count: { enabled: number } | null = null): Steps<number> {
    if (count !== null && count.enabled <= 0) return -1;
    const { reporting } = this.host;
    if ((yield* reporting.unregister(device)) !== Errno.OK) this.warnings.push('the handler stays registered');
    if ((yield* reporting.disableFeature(device)) !== Errno.OK) this.warnings.push('the feature stays on');
    if (count !== null) count.enabled -= 1;
    return Errno.OK;
  }

  /** vfio_iommu_type1_dma_map_iopf: serves one reported page. */
  *handleFault(entry: IopfGroup, fault: ReportedFault, device: IommuDevice): Steps<number> {
    const { latency, reporting } = this.host;
    this.use();
    yield* this.lock.lock();
    this.use();
    entry.use();
    if (latency.faultHandler > 0) yield latency.faultHandler;
    const code = yield* this.#serve(entry, fault);
    this.lock.unlock();
    yield* reporting.respond(device, { index: fault.index, code });
    return Errno.OK;
  }

  /** mn_invalidate_range: looks at every mapping of the container. */
  *invalidate(start: number, end: number): Steps {
    yield* this.lock.lock();
    if ((yield* this.#waitAllValid()) < 0) {
      this.warnings.push('nobody can say what is mapped');
      // As in the patch: the lock stays held.
      return;
    }
    for (const mapping of this.mappings) {
      this.effort.mappings += 1;
      if (end <= mapping.vaddr || start >= mapping.vaddr + mapping.size) continue;
      const from = Math.max(start, mapping.vaddr) - mapping.vaddr + mapping.iova;
      const to = Math.min(end, mapping.vaddr + mapping.size) - mapping.vaddr + mapping.iova;
      yield* this.#unmapPartial(mapping, from, to);
    }
    this.lock.unlock();
  }

  /** VFIO_DMA_UNMAP_FLAG_VADDR. */
  *invalidateVaddr(mapping: RfcMapping): Steps {
    yield* this.lock.lock();
    mapping.vaddrInvalid = true;
    this.#vaddrInvalidCount += 1;
    this.lock.unlock();
  }

  /** The container's file is closed while somebody waits for an address. */
  closeFile(): void {
    this.open = false;
    this.#vaddrChanged.wakeAll();
  }

  /** vfio_pin_pages by a vendor driver: pinned and accounted, not mapped, and noted with the group. */
  *pinPage(group: number, iova: number): Steps<number> {
    yield* this.lock.lock();
    const mapping = this.#find(iova);
    const status = mapping === null ? Errno.EINVAL : yield* mapping.pinOne(iova);
    const entry = yield* this.host.groups.find(group);
    if (status === Errno.OK && entry !== null) {
      entry.pinnedPages.set(iova / PAGE_BYTES, 1);
      entry.selective = true;
    }
    this.lock.unlock();
    return status;
  }

  /** The dirty bitmap of a mapping, a flag for each page: with IOPF on, every page is dirty. */
  dirtyPages(mapping: RfcMapping): boolean[] {
    return new Array<boolean>(mapping.pageCount).fill(this.iopfEnabled);
  }

  *#serve(entry: IopfGroup, fault: ReportedFault): Steps<FaultResponse> {
    const iova = fault.page * PAGE_BYTES;
    if (entry.selective && !entry.pinnedPages.has(fault.page)) return FaultResponse.INVALID;
    if ((yield* this.#waitAllValid()) < 0) return FaultResponse.INVALID;
    const mapping = this.#find(iova);
    if (mapping === null) return FaultResponse.INVALID;
    const wanted = (fault.read ? Protection.READ : 0) | (fault.write ? Protection.WRITE : 0);
    if ((mapping.protection & wanted) !== wanted) return FaultResponse.INVALID;
    const page = mapping.pageOf(iova);
    const bitmap = follow(mapping.bitmap, 'iopf_mapped_bitmap');
    if (bitmap.test(page)) return FaultResponse.SUCCESS;
    let count = 1;
    while (page + count < mapping.pageCount && count < this.premapPages && !bitmap.test(page + count)) count += 1;
    const mapped = yield* mapBatches(this, mapping, page, count);
    return mapped > 0 ? FaultResponse.SUCCESS : FaultResponse.INVALID;
  }

  #find(iova: number): RfcMapping | null {
    return this.mappings.find((mapping) => iova >= mapping.iova && iova < mapping.iova + mapping.size) ?? null;
  }

  /** vfio_wait_all_valid: gives the lock up while it waits, and has it when it fails as well. */
  *#waitAllValid(): Steps<number> {
    while (this.#vaddrInvalidCount > 0) {
      this.lock.unlock();
      yield this.#vaddrChanged;
      yield* this.lock.lock();
      if (!this.open) return Errno.EFAULT;
    }
    return Errno.OK;
  }

  *#enableDevice(device: IommuDevice, mode: 'stall' | 'pri'): Steps<number> {
    const { reporting } = this.host;
    const feature = yield* reporting.enableFeature(device, mode);
    if (feature !== Errno.OK) return feature;
    const flags = this.#options.nested === true ? Report.NESTED_L2 : Report.FLAT;
    const status = yield* reporting.register(device, (fault, of) => this.#deviceFault(fault, of), flags);
    if (status !== Errno.OK) yield* reporting.disableFeature(device);
    return status;
  }

  /** dev -> group -> container, and by then to the lock. */
  *#deviceFault(fault: ReportedFault, device: IommuDevice): Steps<number> {
    if (this.#options.nested === true && !fault.level2) {
      return yield* this.#options.transfer?.(device, fault) ?? constant(Errno.EOPNOTSUPP);
    }
    if (fault.type !== 'page request') return Errno.EOPNOTSUPP;
    const group = this.#attached.find((each) => each.devices.includes(device))?.number ?? -1;
    const entry = yield* this.host.groups.find(group);
    if (entry === null) return Errno.ENODEV;
    // Nothing is held here, and a thread may be stopped anywhere.
    yield 0;
    entry.use();
    return yield* entry.container.handleFault(entry, fault, device);
  }

  /** Undoes enabling until a device answers anything but 0, as the first beyond the count does. */
  *#unwind(enabled: number): Steps {
    const count = { enabled };
    unwinding: for (const group of this.#attached) {
      const entry = yield* this.host.groups.find(group.number);
      if (entry !== null) {
        yield* this.host.groups.unlink(entry);
        entry.free();
      }
      for (const device of group.devices) {
        if ((yield* this.disableDevice(device, count)) !== Errno.OK) break unwinding;
      }
    }
    this.#space?.removeNotifier(this);
    this.#space = null;
  }

  *#unmapPartial(mapping: RfcMapping, start: number, end: number): Steps {
    const gather: Gather = this.domain.newGather();
    this.effort.allocations += 1;
    const bitmap = follow(mapping.bitmap, 'iopf_mapped_bitmap');
    for (let at = start; at < end; ) {
      const first = mapping.pageOf(at);
      let count = 0;
      while (at + count * PAGE_BYTES < end) {
        this.effort.bits += 1;
        if (!bitmap.test(first + count)) break;
        count += 1;
      }
      if (count > 0) {
        const bytes = this.domain.unmap(at, count * PAGE_BYTES, gather);
        if (bytes !== count * PAGE_BYTES) {
          this.warnings.push(`${bytes} bytes were unmapped, not ${count * PAGE_BYTES}`);
          break;
        }
        bitmap.clearRange(first, first + count);
      }
      at += (count + 1) * PAGE_BYTES;
    }
    yield* this.domain.flush(gather);
  }
}

function* constant(value: number): Steps<number> {
  return value;
}
