/** A device file: information, regions, interrupts and reset of one PCI function. */
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import { write64 } from './arguments.ts';
import type { DeviceBackend } from './device-backend.ts';
import { DeviceConfig } from './device-config.ts';
import { DeviceInterrupts } from './device-interrupts.ts';
import type { Environment } from './environment.ts';
import { type Caller, type IoctlArgument, structure, type VfioFile } from './files.ts';
import type { Type1 } from './type1.ts';
import {
  DEVICE_INFO_BYTES_MIN,
  DeviceFlags,
  DeviceInfo,
  Ioctl,
  IrqInfo,
  IrqSet,
  PciIrq,
  PciRegion,
  REGION_STRIDE,
  RegionFlags,
  RegionInfo,
} from './uapi.layout.ts';

const MSIX_ENTRY_BYTES = 16;

/** What a device tells of its closing; its group implements it. */
export interface DeviceOwner {
  deviceReleased(device: Device): Steps;
}

export class Device implements VfioFile {
  readonly name: string;
  readonly backend: DeviceBackend;
  readonly #owner: DeviceOwner;
  readonly #environment: Environment;
  readonly #config: DeviceConfig;
  readonly #interrupts: DeviceInterrupts;
  readonly #type1: Type1;
  readonly #data = new DataView(new ArrayBuffer(8));
  #descriptors = 0;

  constructor(environment: Environment, backend: DeviceBackend, owner: DeviceOwner, type1: Type1) {
    this.name = backend.name;
    this.backend = backend;
    this.#owner = owner;
    this.#environment = environment;
    this.#config = new DeviceConfig(backend);
    this.#type1 = type1;
    this.#interrupts = new DeviceInterrupts(backend, type1);
  }

  /** The first descriptor: the function starts from reset, without DMA. */
  *opened(): Steps {
    this.#descriptors = 1;
    this.#config.setBusMaster(false);
    yield* this.backend.reset();
    this.#config.reset();
    this.#type1.io.errorListeners.set(this.backend.iommu, () => this.#interrupts.signalError());
    this.#log('vfio.open');
  }

  openedAgain(): void {
    this.#descriptors += 1;
  }

  /** A descriptor was closed; with the last one the function stops. */
  *release(): Steps {
    this.#descriptors -= 1;
    if (this.#descriptors > 0) return;
    this.#config.setBusMaster(false);
    this.#interrupts.disable();
    this.#type1.io.errorListeners.delete(this.backend.iommu);
    yield* this.backend.reset();
    this.#log('vfio.close');
    yield* this.#owner.deviceReleased(this);
  }

  *ioctl(caller: Caller, request: number, argument: IoctlArgument): Steps<number> {
    switch (request) {
      case Ioctl.VFIO_DEVICE_GET_INFO:
        return withStructure(argument, DEVICE_INFO_BYTES_MIN, (view) => this.#info(view));
      case Ioctl.VFIO_DEVICE_GET_REGION_INFO:
        return withStructure(argument, RegionInfo.$.byteLength, (view) => this.#regionInfo(view));
      case Ioctl.VFIO_DEVICE_GET_IRQ_INFO:
        return withStructure(argument, IrqInfo.$.byteLength, (view) => this.#interrupts.info(view));
      case Ioctl.VFIO_DEVICE_SET_IRQS:
        return withStructure(argument, IrqSet.$.byteLength, (view) => this.#interrupts.set(caller, view));
      case Ioctl.VFIO_DEVICE_RESET: {
        // As pci_try_reset_function does, which saves and restores the function's state around the reset.
        const restore = this.#config.save();
        yield* this.backend.reset();
        restore();
        this.#interrupts.restore();
        this.#log('vfio.reset');
        return Errno.OK;
      }
      default:
        return Errno.ENOTTY;
    }
  }

  /** Bytes read, or -EINVAL beyond the region (-EFAULT beyond configuration space), -EIO where the function aborts. */
  *pread(target: DataView, offset: number): Steps<number> {
    const { mmioRead } = this.#environment.latency;
    let accesses = 0;
    const done = this.#transfer(target.byteLength, offset, (region, at, size, index) => {
      accesses += 1;
      if (!this.#readOne(region, at, size)) return false;
      for (let byte = 0; byte < size; byte++) target.setUint8(index + byte, this.#data.getUint8(byte));
      return true;
    });
    if (accesses > 0 && mmioRead > 0) yield mmioRead * accesses;
    return done;
  }

  /** Bytes written, or an errno as for {@link pread}. */
  *pwrite(source: DataView, offset: number): Steps<number> {
    const { mmioWrite } = this.#environment.latency;
    let accesses = 0;
    const done = this.#transfer(source.byteLength, offset, (region, at, size, index) => {
      accesses += 1;
      for (let byte = 0; byte < size; byte++) this.#data.setUint8(byte, source.getUint8(index + byte));
      return this.#writeOne(region, at, size);
    });
    if (accesses > 0 && mmioWrite > 0) yield mmioWrite * accesses;
    return done;
  }

  #info(view: DataView): number {
    if (DeviceInfo.ARGSZ.get(view) < DEVICE_INFO_BYTES_MIN) return Errno.EINVAL;
    const withOffset = DeviceInfo.ARGSZ.get(view) >= DeviceInfo.$.byteLength;
    if (withOffset && view.byteLength < DeviceInfo.$.byteLength) return Errno.EFAULT;
    DeviceInfo.FLAGS.set(view, 0, DeviceFlags.PCI | DeviceFlags.RESET);
    DeviceInfo.NUM_REGIONS.set(view, 0, PciRegion.COUNT);
    DeviceInfo.NUM_IRQS.set(view, 0, PciIrq.COUNT);
    if (withOffset) DeviceInfo.CAP_OFFSET.set(view, 0, 0);
    return Errno.OK;
  }

  #regionInfo(view: DataView): number {
    if (RegionInfo.ARGSZ.get(view) < RegionInfo.$.byteLength) return Errno.EINVAL;
    const index = RegionInfo.INDEX.get(view);
    // There is no VGA region.
    if (index >= PciRegion.VGA) return Errno.EINVAL;
    const size = this.#regionBytes(index);
    RegionInfo.FLAGS.set(view, 0, size > 0 ? RegionFlags.READ | RegionFlags.WRITE : 0);
    RegionInfo.CAP_OFFSET.set(view, 0, 0);
    write64(RegionInfo.SIZE_LOW, RegionInfo.SIZE_HIGH, view, 0, size);
    write64(RegionInfo.OFFSET_LOW, RegionInfo.OFFSET_HIGH, view, 0, index * REGION_STRIDE);
    return Errno.OK;
  }

  #regionBytes(region: number): number {
    if (region === PciRegion.CONFIG) return this.backend.configBytes;
    return region <= PciRegion.BAR5 ? (this.backend.barBytes[region] ?? 0) : 0;
  }

  /** Cuts a transfer into naturally aligned accesses; stops at the first that fails. */
  #transfer(
    length: number,
    offset: number,
    access: (region: number, at: number, size: 1 | 2 | 4 | 8, index: number) => boolean,
  ): number {
    if (!Number.isSafeInteger(offset) || offset < 0) return Errno.EINVAL;
    if (length === 0) return 0;
    const region = Math.floor(offset / REGION_STRIDE);
    const start = offset % REGION_STRIDE;
    const bytes = this.#regionBytes(region);
    // Configuration space is all or nothing; other regions are cut where they end (vfio_pci_config.c, vfio_pci_rdwr.c).
    if (region === PciRegion.CONFIG && start + length > bytes) return Errno.EFAULT;
    if (start >= bytes) return Errno.EINVAL;
    const end = Math.min(bytes, start + length);
    const widest = region === PciRegion.CONFIG ? 4 : 8;
    for (let at = start; at < end; ) {
      const size = accessSize(at, end - at, widest);
      if (!access(region, at, size, at - start)) return Errno.EIO;
      at += size;
    }
    return end - start;
  }

  #readOne(region: number, at: number, size: 1 | 2 | 4 | 8): boolean {
    if (region === PciRegion.CONFIG) {
      this.#data.setUint32(0, size === 8 ? 0 : this.#config.read(at, size), true);
      return true;
    }
    if (this.#isVectorTable(region, at)) {
      for (let byte = 0; byte < size; byte++) this.#data.setUint8(byte, 0xff);
      return true;
    }
    return this.backend.readBar(region, at, size, this.#data);
  }

  #writeOne(region: number, at: number, size: 1 | 2 | 4 | 8): boolean {
    if (region === PciRegion.CONFIG) {
      const value = this.#data.getUint32(0, true);
      if (size !== 8) this.#config.write(at, size, size === 4 ? value : value & (2 ** (8 * size) - 1));
      return true;
    }
    return this.#isVectorTable(region, at) || this.backend.writeBar(region, at, size, this.#data);
  }

  /** Reads of the MSI-X table give ones and writes are dropped, as in vfio_pci_rdwr.c. */
  #isVectorTable(region: number, at: number): boolean {
    const { msix } = this.backend;
    if (msix === null || region !== msix.tableBar) return false;
    return at >= msix.tableOffset && at < msix.tableOffset + msix.vectors * MSIX_ENTRY_BYTES;
  }

  #log(event: string): void {
    this.#environment.log.info({ event, device: this.name });
  }
}

function withStructure(argument: IoctlArgument, bytes: number, act: (view: DataView) => number): number {
  const view = structure(argument, bytes);
  return view === null ? Errno.EFAULT : act(view);
}

function accessSize(at: number, left: number, widest: 4 | 8): 1 | 2 | 4 | 8 {
  if (widest === 8 && at % 8 === 0 && left >= 8) return 8;
  if (at % 4 === 0 && left >= 4) return 4;
  return at % 2 === 0 && left >= 2 ? 2 : 1;
}
