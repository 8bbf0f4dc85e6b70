/** A process with a device behind a fake IOMMU, as tests of VFIO want it, and its ioctls in a line each. */

import { encode } from '../../src/layout/struct.ts';
import type { Steps } from '../../src/sim/task.ts';
import type { DeviceBackend } from '../../src/vfio/device-backend.ts';
import type { ContainerDefaults } from '../../src/vfio/environment.ts';
import { Process } from '../../src/vfio/process.ts';
import type { Type1 } from '../../src/vfio/type1.ts';
import { DmaMap, DmaUnmap, Extension, Ioctl } from '../../src/vfio/uapi.layout.ts';
import { Vfio } from '../../src/vfio/vfio.ts';
import { FakeDevice, FakeIommu } from './fake-iommu.ts';
import { FakeNestingIommu } from './fake-nesting.ts';
import { type HostFixtureOptions, hostFixture } from './host.ts';

export interface VfioFixtureOptions extends HostFixtureOptions {
  readonly blocks?: boolean;
  /** The IOMMU keeps access and dirty state. */
  readonly hardware?: boolean;
  /** The IOMMU lets guests translate first. */
  readonly nesting?: boolean;
  readonly devices?: number;
  readonly groups?: number;
  readonly lockLimitBytes?: number | null;
  readonly defaults?: Partial<ContainerDefaults>;
}

/** A function with one 4 KiB BAR, an MSI-X table in BAR 2, and nothing behind them but bytes. */
export class FakeBackend implements DeviceBackend {
  readonly name: string;
  readonly iommu: FakeDevice;
  readonly configBytes = 4096;
  readonly barBytes = [4096, 0, 4096, 0, 0, 0];
  readonly msix = { vectors: 2, tableBar: 2, tableOffset: 0 };
  readonly config = new DataView(new ArrayBuffer(4096));
  readonly bars = [new DataView(new ArrayBuffer(4096)), null, new DataView(new ArrayBuffer(4096))];
  readonly vectors: ((() => void) | null)[] = [null, null];
  doorbell = 0;
  resets = 0;

  constructor(name: string, iommu: FakeDevice) {
    this.name = name;
    this.iommu = iommu;
    this.config.setUint32(0, 0xfa17_1d0f, true);
    this.config.setUint32(0x10, 0x1000_0000, true);
    this.config.setUint32(0x18, 0x1000_1000, true);
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    if (size === 1) return this.config.getUint8(offset);
    return size === 2 ? this.config.getUint16(offset, true) : this.config.getUint32(offset, true);
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    if (size === 1) this.config.setUint8(offset, value);
    else if (size === 2) this.config.setUint16(offset, value, true);
    else this.config.setUint32(offset, value, true);
  }

  readBar(bar: number, offset: number, size: 1 | 2 | 4 | 8, data: DataView): boolean {
    for (let byte = 0; byte < size; byte++) data.setUint8(byte, this.bars[bar]?.getUint8(offset + byte) ?? 0);
    return true;
  }

  writeBar(bar: number, offset: number, size: 1 | 2 | 4 | 8, data: DataView): boolean {
    for (let byte = 0; byte < size; byte++) this.bars[bar]?.setUint8(offset + byte, data.getUint8(byte));
    return true;
  }

  connectVector(index: number, handler: (() => void) | null, doorbell: number): void {
    this.vectors[index] = handler;
    this.doorbell = doorbell;
  }

  *reset(): Steps {
    this.resets += 1;
  }
}

export function vfioFixture(options: VfioFixtureOptions = {}) {
  const fixture = hostFixture(options);
  const { host, scheduler, latency, log, invariants } = fixture;
  const Kind = options.nesting === true ? FakeNestingIommu : FakeIommu;
  const { blocks = true, hardware = false } = options;
  const iommu: FakeIommu = new Kind(scheduler, (page) => host.allocator.isPageLive(page), blocks, hardware);
  const vfio = new Vfio({
    scheduler,
    iommu,
    host,
    latency,
    log,
    invariants,
    domain: { stage: 1 },
    msiDoorbell: 0x0802_0040,
    ...(options.defaults === undefined ? {} : { defaults: options.defaults }),
  });
  const groups = options.groups ?? 1;
  const backends: FakeBackend[] = [];
  for (let group = 0; group < groups; group++) {
    const members: FakeBackend[] = [];
    for (let index = 0; index < (options.devices ?? 1); index++) {
      const name = `0000:${String(group + 1).padStart(2, '0')}:00.${index}`;
      members.push(new FakeBackend(name, new FakeDevice(iommu, name)));
    }
    vfio.addGroup(group + 1, members);
    backends.push(...members);
  }
  const space = host.createSpace({ name: 'vmm', lockLimitBytes: options.lockLimitBytes ?? null });
  const process = new Process({ vfio, space, latency });
  const [backend] = backends;
  if (backend === undefined) throw new Error('a fixture has a device');

  return {
    ...fixture,
    iommu,
    vfio,
    backends,
    backend,
    device: backend.iommu,
    space,
    process,
    /** Opens a container with group 1 in it and an IOMMU set: container and group descriptors. */
    *setUp(type: number = Extension.VFIO_TYPE1v2_IOMMU): Steps<{ container: number; group: number }> {
      const container = yield* process.open('/dev/vfio/vfio');
      const group = yield* process.open('/dev/vfio/1');
      yield* process.ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container));
      const status = yield* process.ioctl(container, Ioctl.VFIO_SET_IOMMU, type);
      if (status !== 0) throw new Error(`VFIO_SET_IOMMU: ${status}`);
      return { container, group };
    },
    /** The type1 state behind the only container. */
    type1(): Type1 {
      const type1 = vfio.containers[0]?.type1;
      if (type1 === undefined || type1 === null) throw new Error('no IOMMU is set');
      return type1;
    },
    map(container: number, vaddr: number, iova: number, size: number, flags = 3): Steps<number> {
      return process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(vaddr, iova, size, flags));
    },
    unmap(container: number, iova: number, size: number, flags = 0): Steps<number> {
      return process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, dmaUnmap(iova, size, flags));
    },
    enableIopf(container: number, mode = 0): Steps<number> {
      return process.ioctl(container, Ioctl.VFIO_IOMMU_ENABLE_IOPF, mode);
    },
    /** Closes everything and checks that nothing is left. */
    *tearDown(): Steps {
      yield* process.exit();
      vfio.checkAtRest();
      host.checkAtRest();
      if (iommu.domains.size > 0) throw new Error('domains are left');
      if (host.allocator.freeFrames !== host.allocator.frameCount) throw new Error('frames are left');
    },
  };
}

export function int32(value: number): DataView {
  const view = new DataView(new ArrayBuffer(4));
  view.setInt32(0, value, true);
  return view;
}

export function dmaMap(vaddr: number, iova: number, size: number, flags = 3): DataView {
  return encode(DmaMap, {
    ARGSZ: 32,
    FLAGS: flags,
    VADDR_LOW: vaddr % 2 ** 32,
    VADDR_HIGH: Math.floor(vaddr / 2 ** 32),
    IOVA_LOW: iova % 2 ** 32,
    IOVA_HIGH: Math.floor(iova / 2 ** 32),
    SIZE_LOW: size % 2 ** 32,
    SIZE_HIGH: Math.floor(size / 2 ** 32),
  });
}

export function dmaUnmap(iova: number, size: number, flags = 0): DataView {
  return encode(DmaUnmap, {
    ARGSZ: 24,
    FLAGS: flags,
    IOVA_LOW: iova % 2 ** 32,
    IOVA_HIGH: Math.floor(iova / 2 ** 32),
    SIZE_LOW: size % 2 ** 32,
    SIZE_HIGH: Math.floor(size / 2 ** 32),
  });
}
