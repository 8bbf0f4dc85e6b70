/**
 * Turning on-demand paging of a container on and off. The handler is in place before the first device may fault, and
 * leaves after the last one stopped; mappings made before are converted.
 */
import { Errno } from '../errno.ts';
import type { IommuDevice } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import { logConverted } from './dirty-log.ts';
import type { DeviceFaultHandler } from './fault-handler.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import { type Mapping, newFaultState } from './mapping.ts';
import { pinPages, unpinMapped, unpinPages } from './pinning.ts';
import { revokePages } from './revocation.ts';
import { unpinnedRanges } from './selective-pinning.ts';
import { IopfMode } from './uapi-extensions.layout.ts';

export interface FaultSwitch {
  readonly enabled: boolean;
  /** 0; -EBUSY when on already or a device's faults belong to somebody else; -ENODEV when a device cannot; -EINVAL. */
  enable(mode: number): Steps<number>;
  /** Pins and maps everything, then stops faults. 0 (also when off); or -ENOMEM, -EFAULT, -EBUSY (an address is being changed), and all goes on. */
  disable(): Steps<number>;
  /** A device was attached: lets it fault where the others do. */
  attached(device: IommuDevice): Steps<number>;
  /** The device's faults wait for no address any more, until it is taken out of `IoAddressSpace.leaving`. */
  leaving(device: IommuDevice): Steps;
  /** A device is about to be detached: its faults wait for nothing any more, and no new ones come. */
  detaching(device: IommuDevice): Steps;
  /** No device is left. */
  release(): Steps;
}

/** `guestStage`: whether the devices translate by a guest's stage first, which goes on to fault when ours does not. */
export function newFaultSwitch(
  io: IoAddressSpace,
  handler: DeviceFaultHandler,
  guestStage: () => boolean,
): FaultSwitch {
  return new Switch(io, handler, guestStage);
}

class Switch implements FaultSwitch {
  readonly #io: IoAddressSpace;
  readonly #handler: DeviceFaultHandler;
  readonly #guestStage: () => boolean;
  #mode: number | null = null;

  constructor(io: IoAddressSpace, handler: DeviceFaultHandler, guestStage: () => boolean) {
    this.#io = io;
    this.#handler = handler;
    this.#guestStage = guestStage;
  }

  get enabled(): boolean {
    return this.#mode !== null;
  }

  *enable(mode: number): Steps<number> {
    if (mode !== IopfMode.ANY && mode !== IopfMode.STALL && mode !== IopfMode.PRI) return Errno.EINVAL;
    if (this.enabled) return Errno.EBUSY;
    const io = this.#io;
    io.setFaultHandler(this.#handler);
    this.#mode = mode;
    const enabled: IommuDevice[] = [];
    for (const device of io.devices) {
      const status = yield* this.attached(device);
      if (status === Errno.OK) {
        enabled.push(device);
        continue;
      }
      yield* this.#stop(enabled.reverse());
      return status;
    }
    for (const mapping of io.mappings.all()) {
      if (mapping.faults === null && !mapping.staticByRequest) yield* makeFaultable(io, mapping);
    }
    io.log.info({ event: 'vfio.iopf', container: io.name, enabled: true, request: mode });
    return Errno.OK;
  }

  *disable(): Steps<number> {
    if (!this.enabled) return Errno.OK;
    const io = this.#io;
    const converted: Mapping[] = [];
    if (io.mappings.all().some((mapping) => mapping.vaddrInvalid)) return Errno.EBUSY;
    for (const mapping of io.mappings.all()) {
      if (mapping.faults === null) continue;
      const status = yield* makeStatic(io, mapping);
      if (status === Errno.OK) {
        converted.push(mapping);
        continue;
      }
      for (const earlier of converted) yield* makeFaultable(io, earlier);
      return status;
    }
    yield* this.#stop([...io.devices]);
    io.log.info({ event: 'vfio.iopf', container: io.name, enabled: false });
    return Errno.OK;
  }

  *attached(device: IommuDevice): Steps<number> {
    if (this.#mode === null) return Errno.OK;
    const pri = this.#mode === IopfMode.PRI || (this.#mode === IopfMode.ANY && device.pri);
    if (pri ? !device.pri : !device.stall) return Errno.ENODEV;
    return yield* this.#io.iommu.enableFaults(device, this, pri ? 'pri' : 'stall');
  }

  *leaving(device: IommuDevice): Steps {
    this.#io.leaving.add(device);
    yield* this.#handler.resume();
  }

  *detaching(device: IommuDevice): Steps {
    yield* this.leaving(device);
    const status = yield* this.#io.iommu.disableFaults(device, this);
    // While they are off here, its faults may be somebody else's.
    if (status !== Errno.OK && this.enabled)
      this.#io.log.warn({ event: 'vfio.disableFaults', device: device.name, errno: status });
  }

  *release(): Steps {
    if (this.enabled) yield* this.#stop([]);
  }

  /**
   * No device faults any more, every group is answered, then the handler goes. Under a guest's stage all that stays until
   * the guest's goes: to stop it would be to wait for the guest's answers, and nothing of ours faults any more.
   */
  *#stop(devices: readonly IommuDevice[]): Steps {
    if (this.#guestStage()) {
      yield* this.#handler.drain();
      this.#mode = null;
      return;
    }
    for (const device of devices) yield* this.detaching(device);
    yield* this.#handler.drain();
    this.#io.setFaultHandler(null);
    this.#mode = null;
    for (const device of devices) this.#io.leaving.delete(device);
  }
}

/**
 * A static mapping becomes one that is tracked: un-pinned, un-charged, its pages stay mapped until the host wants them.
 * What a user of the device pinned stays pinned.
 */
function* makeFaultable(io: IoAddressSpace, mapping: Mapping): Steps {
  const faults = newFaultState(mapping.pageCount);
  faults.mapped.setRange(0, mapping.pageCount);
  faults.writable.setRange(0, mapping.pageCount);
  mapping.faults = faults;
  io.watches.add(io, mapping);
  for (const [first, end] of unpinnedRanges(mapping)) {
    for (let page = first; page < end; page++) io.residency.add(mapping, page);
    yield* unpinMapped(io, mapping, first, end);
  }
  if (io.logsByFaults) yield* logConverted(io, mapping);
  const excess = io.residency.excess(0);
  if (excess > 0) yield* io.evict(excess);
}

/** A tracked mapping becomes static. Its faults wait meanwhile. */
function* makeStatic(io: IoAddressSpace, mapping: Mapping): Steps<number> {
  const held = yield* mapping.faulting.lock(0, mapping.pageCount);
  yield* revokePages(io, mapping, 0, mapping.pageCount);
  const pinned: [number, number][] = [];
  let status: number = Errno.OK;
  for (const [first, end] of unpinnedRanges(mapping)) {
    status = yield* pinPages(io, mapping, first, end);
    if (status !== Errno.OK) break;
    pinned.push([first, end]);
  }
  if (status === Errno.OK) {
    io.watches.remove(mapping);
    mapping.faults = null;
  } else {
    for (const [first, end] of pinned) yield* unpinPages(io, mapping, first, end);
  }
  mapping.faulting.unlock(held);
  return status;
}
