/** A VFIO PCI device as a VMM uses it: its regions by pread and pwrite, its MSI-X vectors as event descriptors. */
import { encodeInto } from '../layout/struct.ts';
import type { Steps } from '../sim/task.ts';
import {
  DeviceFlags,
  DeviceInfo,
  Ioctl,
  IrqInfo,
  IrqInfoFlags,
  IrqSet,
  IrqSetFlags,
  PciIrq,
  PciRegion,
  RegionInfo,
} from '../vfio/uapi.layout.ts';
import type { GuestAccessSize } from './board.ts';
import type { HostProcess } from './host-process.ts';
import { withSize } from './vfio-container.ts';
import { succeeded, VmmError } from './vmm-error.ts';

const TWO_32 = 2 ** 32;

interface Region {
  /** 0 where the device has no such region. */
  readonly bytes: number;
  readonly offset: number;
}

export class VfioDevice {
  readonly #process: HostProcess;
  readonly #descriptor: number;
  readonly #regions: Region[] = [];
  #vectors = 0;

  private constructor(process: HostProcess, descriptor: number) {
    this.#process = process;
    this.#descriptor = descriptor;
  }

  /** Asks what the device behind `descriptor` has. @throws VmmError when it is no PCI device with MSI-X. */
  static *query(process: HostProcess, descriptor: number): Steps<VfioDevice> {
    const device = new VfioDevice(process, descriptor);
    const info = withSize(DeviceInfo, {});
    yield* device.#call('VFIO_DEVICE_GET_INFO', Ioctl.VFIO_DEVICE_GET_INFO, info);
    if ((DeviceInfo.FLAGS.get(info) & DeviceFlags.PCI) === 0) throw new VmmError('the VFIO device is no PCI device');
    for (let index = 0; index <= PciRegion.CONFIG; index++) device.#regions.push(yield* device.#region(index));
    const interrupts = withSize(IrqInfo, { INDEX: PciIrq.MSIX });
    yield* device.#call('VFIO_DEVICE_GET_IRQ_INFO', Ioctl.VFIO_DEVICE_GET_IRQ_INFO, interrupts);
    if ((IrqInfo.FLAGS.get(interrupts) & IrqInfoFlags.EVENTFD) !== 0) device.#vectors = IrqInfo.COUNT.get(interrupts);
    return device;
  }

  /** MSI-X vectors. */
  get vectors(): number {
    return this.#vectors;
  }

  /** Bytes of BAR `index`, 0 where there is none. */
  barBytes(index: number): number {
    return this.#regions[index]?.bytes ?? 0;
  }

  /** One access within a region; beyond its end a read gives all ones and a write is lost, as on the bus. */
  *read(region: number, offset: number, size: GuestAccessSize): Steps<number> {
    const at = this.#position(region, offset, size);
    const target = new DataView(new ArrayBuffer(4));
    if (at === null) return 2 ** (8 * size) - 1;
    const part = new DataView(target.buffer, 0, size);
    succeeded(yield* this.#process.pread(this.#descriptor, part, at), `pread of region ${region}`);
    return target.getUint32(0, true);
  }

  *write(region: number, offset: number, size: GuestAccessSize, value: number): Steps {
    const at = this.#position(region, offset, size);
    if (at === null) return;
    const source = new DataView(new ArrayBuffer(4));
    source.setUint32(0, value, true);
    const part = new DataView(source.buffer, 0, size);
    succeeded(yield* this.#process.pwrite(this.#descriptor, part, at), `pwrite of region ${region}`);
  }

  /** Signals `descriptors[n]` on vector n; an empty list turns MSI-X off. */
  *setVectors(descriptors: readonly number[]): Steps {
    const argument = new DataView(new ArrayBuffer(IrqSet.$.byteLength + descriptors.length * 4));
    const data = descriptors.length === 0 ? IrqSetFlags.DATA_NONE : IrqSetFlags.DATA_EVENTFD;
    encodeInto(IrqSet, argument, 0, {
      ARGSZ: argument.byteLength,
      FLAGS: data + IrqSetFlags.ACTION_TRIGGER,
      INDEX: PciIrq.MSIX,
      START: 0,
      COUNT: descriptors.length,
    });
    for (const [vector, descriptor] of descriptors.entries()) {
      argument.setInt32(IrqSet.$.byteLength + vector * 4, descriptor, true);
    }
    yield* this.#call('VFIO_DEVICE_SET_IRQS', Ioctl.VFIO_DEVICE_SET_IRQS, argument);
  }

  *reset(): Steps {
    yield* this.#call('VFIO_DEVICE_RESET', Ioctl.VFIO_DEVICE_RESET, 0);
  }

  *#region(index: number): Steps<Region> {
    const info = withSize(RegionInfo, { INDEX: index });
    yield* this.#call('VFIO_DEVICE_GET_REGION_INFO', Ioctl.VFIO_DEVICE_GET_REGION_INFO, info);
    return {
      bytes: RegionInfo.SIZE_HIGH.get(info) * TWO_32 + RegionInfo.SIZE_LOW.get(info),
      offset: RegionInfo.OFFSET_HIGH.get(info) * TWO_32 + RegionInfo.OFFSET_LOW.get(info),
    };
  }

  #position(region: number, offset: number, size: number): number | null {
    const found = this.#regions[region];
    return found !== undefined && offset >= 0 && offset + size <= found.bytes ? found.offset + offset : null;
  }

  *#call(name: string, request: number, argument: DataView | number): Steps {
    succeeded(yield* this.#process.ioctl(this.#descriptor, request, argument), name);
  }
}
