import { describe, expect, test } from 'vitest';
import { GiB, MiB, PAGE } from '../../test/support/host.ts';
import { dmaMap, dmaUnmap, int32, vfioFixture } from '../../test/support/vfio.ts';
import { Errno } from '../errno.ts';
import { encode } from '../layout/struct.ts';
import { Process } from './process.ts';
import {
  CapDmaAvail,
  CapIovaRange,
  CapMigration,
  DmaUnmap,
  Extension,
  InfoCapHeader,
  Ioctl,
  IommuInfo,
  IovaRange,
} from './uapi.layout.ts';
import { CapIopf, DmaRange, ExtensionIoctl, VFIO_DMA_MAP_FLAG_STATIC, VFIO_IOPF } from './uapi-extensions.layout.ts';

const IOVA = 0x4000_0000;
const { EINVAL, EEXIST, ENOSPC, ENOENT, ENOTTY, ENODEV, ENOMEM, EFAULT, EBUSY, EBADF } = Errno;

describe('containers and groups', () => {
  test('answer in the order in which user space must ask', () => {
    const { process, run } = vfioFixture();
    const container = run(process.open('/dev/vfio/vfio'));
    const ioctl = (fd: number, request: number, argument: DataView | number) =>
      run(process.ioctl(fd, request, argument));
    expect(ioctl(container, Ioctl.VFIO_GET_API_VERSION, 0)).toBe(0);
    expect(ioctl(container, Ioctl.VFIO_SET_IOMMU, 1)).toBe(EINVAL);
    expect(ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(0, IOVA, PAGE))).toBe(EINVAL);
    expect(run(process.open('/dev/vfio/7'))).toBe(ENOENT);
    const group = run(process.open('/dev/vfio/1'));
    expect(run(process.open('/dev/vfio/1'))).toBe(EBUSY);
    expect(ioctl(group, Ioctl.VFIO_GROUP_UNSET_CONTAINER, 0)).toBe(EINVAL);
    expect(ioctl(group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, text('0000:01:00.0'))).toBe(EINVAL);
    expect(ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(99))).toBe(EBADF);
    expect(ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(group))).toBe(EINVAL);
    expect(ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container))).toBe(0);
    expect(ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container))).toBe(EINVAL);
    const status = new DataView(new ArrayBuffer(8));
    status.setUint32(0, 8, true);
    expect(ioctl(group, Ioctl.VFIO_GROUP_GET_STATUS, status)).toBe(0);
    expect(status.getUint32(4, true)).toBe(3);
    expect(ioctl(container, Ioctl.VFIO_SET_IOMMU, 77)).toBe(ENODEV);
    expect(ioctl(container, Ioctl.VFIO_SET_IOMMU, Extension.VFIO_TYPE1v2_IOMMU)).toBe(0);
    expect(ioctl(container, Ioctl.VFIO_SET_IOMMU, Extension.VFIO_TYPE1v2_IOMMU)).toBe(EINVAL);
    expect(ioctl(container, 0x3bff, 0)).toBe(ENOTTY);
    expect(ioctl(group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, text('0000:09:00.0'))).toBe(ENODEV);
    const device = ioctl(group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, text('0000:01:00.0'));
    expect(device).toBeGreaterThan(group);
    expect(ioctl(group, Ioctl.VFIO_GROUP_UNSET_CONTAINER, 0)).toBe(EBUSY);
    run(process.close(device));
    expect(ioctl(group, Ioctl.VFIO_GROUP_UNSET_CONTAINER, 0)).toBe(0);
    expect(ioctl(99, Ioctl.VFIO_GET_API_VERSION, 0)).toBe(EBADF);
  });

  test('refuse by the rules of Linux 6.1', () => {
    const { process, run, setUp, iommu } = vfioFixture({ groups: 2 });
    const ioctl = (fd: number, request: number, argument: DataView | number) =>
      run(process.ioctl(fd, request, argument));
    const { container, group } = run(setUp());
    const second = run(process.open('/dev/vfio/2'));
    const event = process.eventfd(() => {});
    // A descriptor is looked up before the state of the group, and so is the name of a device.
    expect(ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(99))).toBe(EBADF);
    expect(ioctl(second, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(-1))).toBe(EBADF);
    expect(ioctl(second, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(event))).toBe(EINVAL);
    expect(ioctl(second, Ioctl.VFIO_GROUP_GET_DEVICE_FD, text('0000:01:00.0'))).toBe(ENODEV);
    const endless = new DataView(new Uint8Array(4096).fill(0x41).buffer);
    expect(ioctl(group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, endless)).toBe(EINVAL);
    expect(ioctl(group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, new DataView(new ArrayBuffer(0)))).toBe(EFAULT);
    // Numbers that are extensions and no IOMMU; VFIO_UPDATE_VADDR is one of a container with an IOMMU alone.
    const other = run(process.open('/dev/vfio/vfio'));
    expect(ioctl(second, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(other))).toBe(0);
    expect([9, VFIO_IOPF, 10, 8].map((type) => ioctl(other, Ioctl.VFIO_SET_IOMMU, type))).toEqual([
      EINVAL,
      EINVAL,
      ENODEV,
      ENODEV,
    ]);
    iommu.createDomain = () => {
      throw new RangeError('all VMIDs are in use');
    };
    expect(ioctl(other, Ioctl.VFIO_SET_IOMMU, 6)).toBe(Errno.EIO);
    expect(ioctl(container, Ioctl.VFIO_SET_IOMMU, 9)).toBe(EINVAL);
  });

  test('a group is not attached while a mapping has no virtual address', () => {
    const { process, run, setUp, space, map, unmap } = vfioFixture({ groups: 2 });
    const { container } = run(setUp());
    const at = space.mmap(PAGE);
    run(map(container, at, IOVA, PAGE));
    expect(run(unmap(container, IOVA, PAGE, 4))).toBe(0);
    const group = run(process.open('/dev/vfio/2'));
    const attach = () => run(process.ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container)));
    expect(attach()).toBe(EBUSY);
    expect(run(map(container, at, IOVA, PAGE, 4))).toBe(0);
    expect(attach()).toBe(0);
  });

  test('extensions are those of the kernel and ours', () => {
    const { process, run, setUp } = vfioFixture();
    const { container } = run(setUp());
    const extension = (n: number) => run(process.ioctl(container, Ioctl.VFIO_CHECK_EXTENSION, n));
    expect([1, 3, 6, 9, 10, VFIO_IOPF].map(extension)).toEqual([1, 1, 1, 1, 1, 1]);
    expect([0, 2, 4, 5, 7, 8, 11, 199, 201].map(extension)).toEqual(new Array(9).fill(0));
  });

  test('the container lives while its group does, whatever is closed first', () => {
    const { process, run, setUp, map, space, vfio, io } = withIo();
    const { container, group } = run(setUp());
    expect(run(map(container, space.mmap(PAGE), IOVA, PAGE))).toBe(0);
    run(process.close(container));
    expect(vfio.containers.length).toBe(1);
    expect(io().pinned.value).toBe(PAGE);
    run(process.close(group));
    expect(vfio.containers.length).toBe(0);
    vfio.checkAtRest();
  });
});

function withIo() {
  const fixture = vfioFixture();
  return { ...fixture, io: () => fixture.type1().io };
}

function text(name: string): DataView {
  return new DataView(Uint8Array.from([...name].map((letter) => letter.charCodeAt(0)).concat(0)).buffer);
}

describe('VFIO_IOMMU_MAP_DMA', () => {
  function mapped() {
    const fixture = vfioFixture({ defaults: { dmaEntryLimit: 3 } });
    const { container } = fixture.run(fixture.setUp());
    const at = fixture.space.mmap(16 * PAGE);
    const map = (view: DataView) => fixture.run(fixture.process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, view));
    expect(map(dmaMap(at, IOVA, 4 * PAGE))).toBe(0);
    return { ...fixture, at, container, mapView: map };
  }

  test.each<[string, (at: number) => DataView, number]>([
    ['argsz below 32', (at) => withArgsz(dmaMap(at, 0, PAGE), 31), EINVAL],
    ['an unknown flag', (at) => dmaMap(at, 0, PAGE, 0x13), EINVAL],
    ['neither READ nor WRITE nor VADDR', (at) => dmaMap(at, 0, PAGE, 0), EINVAL],
    ['VADDR with READ', (at) => dmaMap(at, IOVA, 4 * PAGE, 5), EINVAL],
    ['size 0', (at) => dmaMap(at, 0, 0), EINVAL],
    ['iova not aligned', (at) => dmaMap(at, 1, PAGE), EINVAL],
    ['vaddr not aligned', (at) => dmaMap(at + 8, 0, PAGE), EINVAL],
    ['size not aligned', (at) => dmaMap(at, 0, PAGE + 1), EINVAL],
    ['iova + size wraps', (at) => raw(at, 0xffff_ffff_ffff_f000n, 0x2000n), EINVAL],
    // The end is 0 then, and the kernel finds no mapping in the way, nor one whose address could be set.
    ['up to 2^64, over a mapping', () => raw(0, BigInt(IOVA), 2n ** 64n - BigInt(IOVA)), EINVAL],
    ['VADDR up to 2^64, over a mapping', () => raw(0, BigInt(IOVA), 2n ** 64n - BigInt(IOVA), 4), ENOENT],
    ['up to the page below 2^64, over a mapping', () => raw(0, BigInt(IOVA), 2n ** 64n - BigInt(IOVA + PAGE)), EEXIST],
    ['vaddr + size wraps', () => raw(0xffff_ffff_ffff_f000n, 0n, 0x2000n), EINVAL],
    ['overlap at the start', (at) => dmaMap(at, IOVA - PAGE, 2 * PAGE), EEXIST],
    ['overlap at the end', (at) => dmaMap(at, IOVA + 3 * PAGE, 2 * PAGE), EEXIST],
    ['overlap around', (at) => dmaMap(at, IOVA - PAGE, 8 * PAGE), EEXIST],
    ['beyond the last iova', (at) => dmaMap(at, 2 ** 39, PAGE), EINVAL],
    ['far beyond the last iova', (at) => raw(at, 1n << 60n, 0x1000n), EINVAL],
    ['the reserved MSI window', (at) => dmaMap(at, 0x0800_0000, PAGE), EINVAL],
    ['across the reserved MSI window', (at) => dmaMap(at, 0x07ff_f000, 2 * PAGE), EINVAL],
    ['memory that the process does not have', (at) => dmaMap(at + 15 * PAGE, 0, 2 * PAGE), EFAULT],
    ['addresses that no process has', () => raw(0xffff_0000_0000_0000n, 0n, 0x1000n), EFAULT],
    ['VADDR where nothing is mapped', (at) => dmaMap(at, 0, PAGE, 4), ENOENT],
    ['VADDR of a mapping that has its address', (at) => dmaMap(at, IOVA, 4 * PAGE, 4), EINVAL],
  ])('%s', (_what, argument, errno) => {
    const { mapView, at, type1, host } = mapped();
    const free = host.allocator.pinnedFrames;
    expect(mapView(argument(at))).toBe(errno);
    expect(type1().io.mappings.count).toBe(1);
    expect(host.allocator.pinnedFrames).toBe(free);
  });

  test('the number of mappings is limited', () => {
    const { mapView, at } = mapped();
    expect(mapView(dmaMap(at, 0, PAGE))).toBe(0);
    expect(mapView(dmaMap(at, PAGE, PAGE))).toBe(0);
    expect(mapView(dmaMap(at, 2 * PAGE, PAGE))).toBe(ENOSPC);
  });

  test('a pointer to too little memory, or none', () => {
    const { process, run, container } = mapped();
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, 4096))).toBe(EFAULT);
    const short = new DataView(new ArrayBuffer(16));
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, short))).toBe(EFAULT);
  });

  test('RLIMIT_MEMLOCK holds for all pinned pages together, and a refusal changes nothing', () => {
    const { run, setUp, space, map, unmap, type1, host, tearDown } = vfioFixture({ lockLimitBytes: 8 * PAGE });
    const { container } = run(setUp());
    const at = space.mmap(16 * PAGE);
    expect(run(map(container, at, 0, 6 * PAGE))).toBe(0);
    expect(run(map(container, at, MiB, 3 * PAGE))).toBe(ENOMEM);
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([6, 6]);
    expect(run(map(container, at, MiB, 2 * PAGE))).toBe(0);
    expect([space.locked.pages, type1().io.pinned.value]).toEqual([8, 8 * PAGE]);
    expect(run(unmap(container, 0, 6 * PAGE))).toBe(0);
    expect(space.locked.pages).toBe(2);
    run(tearDown());
  });

  test.each([
    ['a hole before it', 4, EFAULT],
    ['a hole behind it', 12, ENOMEM],
  ])('RLIMIT_MEMLOCK and %s', (_where, holeAt, errno) => {
    const { run, setUp, space, map, host, tearDown } = vfioFixture({ lockLimitBytes: 8 * PAGE });
    const { container } = run(setUp());
    const at = space.mmap(16 * PAGE);
    run(space.munmap(at + holeAt * PAGE, PAGE));
    expect(run(map(container, at, IOVA, 16 * PAGE))).toBe(errno);
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([0, 0]);
    run(tearDown());
  });

  test('what faults needs memory for its state, and a mapping beyond all bounds is refused', () => {
    const { run, setUp, space, map, enableIopf, tearDown } = vfioFixture();
    const { container } = run(setUp());
    run(enableIopf(container));
    const at = space.mmap(PAGE);
    expect(run(map(container, at, IOVA, 2 ** 38 + PAGE))).toBe(ENOMEM);
    expect(run(map(container, at, IOVA, 2 ** 30))).toBe(0);
    run(tearDown());
  });

  test('what the host has no memory for is refused whole', () => {
    const { run, setUp, space, map, host, tearDown } = vfioFixture({ memoryBytes: MiB, swapBytes: 0 });
    const { container } = run(setUp());
    expect(run(map(container, space.mmap(2 * MiB), 0, 2 * MiB))).toBe(ENOMEM);
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([0, 0]);
    run(tearDown());
  });
});

test('16 GiB are pinned and mapped in large blocks, at the cost of each page, within seconds of real time', () => {
  const { run, setUp, space, map, clock, latency, iommu, type1 } = vfioFixture({
    memoryBytes: 18 * GiB,
    profile: 'kunpeng920',
  });
  const { container } = run(setUp());
  const at = space.mmap(16 * GiB);
  const start = clock.now;
  expect(run(map(container, at, IOVA, 16 * GiB))).toBe(0);
  const pages = 2 ** 22;
  expect(clock.now - start).toBe(
    pages * (latency.pageAllocate + latency.pagePin + latency.pageMap) + latency.systemCall,
  );
  const [domain] = iommu.domains;
  expect(domain?.leafCount(PAGE)).toBe(0);
  expect((domain?.leafCount(2 * MiB) ?? 0) * 2 + (domain?.leafCount(GiB) ?? 0) * 1024).toBe(16 * 1024);
  expect(type1().io.pinned.peak).toBe(16 * GiB);
});

describe('VFIO_IOMMU_UNMAP_DMA', () => {
  function three(type: number = Extension.VFIO_TYPE1v2_IOMMU) {
    const fixture = vfioFixture();
    const { container } = fixture.run(fixture.setUp(type));
    const at = fixture.space.mmap(16 * PAGE);
    for (const n of [0, 1, 3]) expect(fixture.run(fixture.map(container, at, IOVA + 2 * n * PAGE, 2 * PAGE))).toBe(0);
    const unmap = (view: DataView) => fixture.run(fixture.process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, view));
    const sizeOf = (view: DataView) => DmaUnmap.SIZE_LOW.get(view);
    return { ...fixture, container, unmapView: unmap, sizeOf };
  }

  test.each<[string, DataView]>([
    ['argsz below 24', withArgsz(dmaUnmap(IOVA, PAGE), 23)],
    ['an unknown flag', dmaUnmap(IOVA, 2 * PAGE, 8)],
    ['size 0', dmaUnmap(IOVA, 0)],
    ['misaligned iova', dmaUnmap(IOVA + 1, 2 * PAGE)],
    ['misaligned size', dmaUnmap(IOVA, PAGE + 1)],
    ['wrapping', encode(DmaUnmap, { ARGSZ: 24, IOVA_LOW: 0xffff_f000, IOVA_HIGH: 0xffff_ffff, SIZE_LOW: 0x2000 })],
    ['the middle of a mapping', dmaUnmap(IOVA + PAGE, PAGE)],
    ['the first half of a mapping', dmaUnmap(IOVA, PAGE)],
    ['a range that ends in a mapping', dmaUnmap(IOVA, 3 * PAGE)],
    ['ALL with a range', dmaUnmap(IOVA, PAGE, 2)],
    ['GET_DIRTY_BITMAP with ALL', dmaUnmap(0, 0, 3)],
    ['GET_DIRTY_BITMAP with argsz below 48', dmaUnmap(IOVA, 2 * PAGE, 1)],
  ])('%s', (_what, view) => {
    const { unmapView, type1 } = three();
    expect(unmapView(view)).toBe(EINVAL);
    expect(type1().io.mappings.count).toBe(3);
  });

  test('takes whole mappings and says how many bytes', () => {
    const { unmapView, sizeOf, type1, host } = three();
    const range = dmaUnmap(IOVA - PAGE, 5 * PAGE + PAGE);
    expect([unmapView(range), sizeOf(range)]).toEqual([0, 4 * PAGE]);
    expect(type1().io.mappings.count).toBe(1);
    const nothing = dmaUnmap(0, PAGE);
    expect([unmapView(nothing), sizeOf(nothing)]).toEqual([0, 0]);
    const all = dmaUnmap(0, 0, 2);
    expect([unmapView(all), sizeOf(all)]).toEqual([0, 2 * PAGE]);
    expect(host.allocator.pinnedFrames).toBe(0);
  });

  test('of a v1 container stops at a mapping that begins earlier, and takes whole what it reaches', () => {
    const { unmapView, sizeOf } = three(Extension.VFIO_TYPE1_IOMMU);
    const inside = dmaUnmap(IOVA + PAGE, 3 * PAGE);
    expect([unmapView(inside), sizeOf(inside)]).toEqual([0, 0]);
    const cover = dmaUnmap(IOVA, PAGE);
    expect([unmapView(cover), sizeOf(cover)]).toEqual([0, 2 * PAGE]);
  });
});

describe('VFIO_IOMMU_GET_INFO', () => {
  function info(argsz: number, bytes = argsz) {
    const fixture = vfioFixture();
    const { container } = fixture.run(fixture.setUp());
    const view = new DataView(new ArrayBuffer(bytes));
    view.setUint32(0, argsz, true);
    const status = fixture.run(fixture.process.ioctl(container, Ioctl.VFIO_IOMMU_GET_INFO, view));
    return { view, status };
  }

  test('says what it needs where there is no room, then gives the chain', () => {
    expect(info(15, 32).status).toBe(EINVAL);
    const short = info(24);
    expect(short.status).toBe(0);
    expect([IommuInfo.FLAGS.get(short.view), IommuInfo.CAP_OFFSET.get(short.view)]).toEqual([3, 0]);
    const needed = IommuInfo.ARGSZ.get(short.view);
    const { view } = info(needed);
    expect(IommuInfo.IOVA_PGSIZES_LOW.get(view)).toBe(0x4020_1000);
    const seen: number[] = [];
    for (let at = IommuInfo.CAP_OFFSET.get(view); at !== 0; at = InfoCapHeader.NEXT.get(view, at)) {
      const id = InfoCapHeader.ID.get(view, at);
      seen.push(id);
      if (id === 2) expect(CapMigration.PGSIZE_BITMAP_LOW.get(view, at)).toBe(4096);
      if (id === 3) expect(CapDmaAvail.AVAIL.get(view, at)).toBe(65_535);
      if (id === 200) expect(CapIopf.FLAGS.get(view, at)).toBe(6);
      if (id !== 1) continue;
      expect(CapIovaRange.NR_IOVAS.get(view, at)).toBe(2);
      expect(IovaRange.END_LOW.get(view, at + 16)).toBe(0x07ff_ffff);
      expect(IovaRange.START_LOW.get(view, at + 32)).toBe(0x0810_0000);
      expect([IovaRange.END_LOW.get(view, at + 32), IovaRange.END_HIGH.get(view, at + 32)]).toEqual([
        0xffff_ffff, 0x7f,
      ]);
    }
    expect(seen).toEqual([2, 3, 1, 200]);
    expect(IommuInfo.CAP_OFFSET.get(view)).toBe(24);
  });

  test.each([
    ['no room for the first members', 16, 8],
    ['room for the place of the chain that is not there', 24, 16],
    ['room for a chain that is not there', 4096, 64],
  ])('says of %s that it is no memory', (_what, argsz, bytes) => {
    expect(info(argsz, bytes).status).toBe(EFAULT);
  });
});

describe('VFIO_UPDATE_VADDR', () => {
  test('a mapping gets a new address while the device goes on', () => {
    const { run, setUp, host, space, map, unmap, enableIopf, device, scheduler, memory, container } = (() => {
      const fixture = vfioFixture();
      const { container } = fixture.run(fixture.setUp());
      return { ...fixture, container };
    })();
    void setUp;
    run(enableIopf(container));
    const shared = host.createShared(4 * PAGE);
    const old = space.mapShared(shared);
    run(space.store(old, new Uint8Array(4 * PAGE).fill(5)));
    run(map(container, old, IOVA, 4 * PAGE));
    run(device.access(IOVA / PAGE, true));
    expect(run(unmap(container, IOVA, 4 * PAGE, 4))).toBe(0);
    expect(run(unmap(container, IOVA, 4 * PAGE, 4))).toBe(EINVAL);
    const next = space.mapShared(shared);
    run(space.munmap(old, 4 * PAGE));
    const waiting = scheduler.spawn('dma', device.access(IOVA / PAGE + 1, true));
    scheduler.run();
    expect(waiting.done).toBe(false);
    expect(run(map(container, next, IOVA, 4 * PAGE, 4))).toBe(0);
    const seen = new Uint8Array(1);
    memory.read(waiting.result as number, seen);
    expect(seen[0]).toBe(5);
  });
});

test.each(['static', 'faultable', 'pinned in part'] as const)('VFIO_UPDATE_VADDR by another process: %s', (kind) => {
  const { run, setUp, host, vfio, process, space, latency, unmap, map, enableIopf, device, tearDown } = vfioFixture();
  const { container } = run(setUp());
  if (kind !== 'static') run(enableIopf(container));
  const shared = host.createShared(4 * PAGE);
  run(map(container, space.mapShared(shared), IOVA, 4 * PAGE));
  const range = encode(DmaRange, { ARGSZ: 24, IOVA_LOW: IOVA, SIZE_LOW: PAGE });
  if (kind === 'pinned in part') run(process.ioctl(container, ExtensionIoctl.VFIO_IOMMU_PIN_DMA, range));
  const pinned = { static: 4, faultable: 0, 'pinned in part': 1 }[kind];
  const file = process.file(container);
  if (typeof file === 'number') throw new Error('a container');
  /** What becomes of the program after exec, with the descriptor kept. */
  const successor = (lockLimitBytes: number) => {
    const next = host.createSpace({ name: 'next', lockLimitBytes });
    const other = new Process({ vfio, space: next, latency });
    const fd = other.install(file);
    const at = next.mapShared(shared);
    return { next, status: () => run(other.ioctl(fd, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(at, IOVA, 4 * PAGE, 4))) };
  };
  expect(run(unmap(container, IOVA, 4 * PAGE, 4))).toBe(0);
  const poor = successor(0);
  expect(poor.status()).toBe(pinned > 0 ? ENOMEM : 0);
  const rich = successor(4 * PAGE);
  if (pinned > 0) expect(rich.status()).toBe(0);
  const owner = pinned > 0 ? rich.next : poor.next;
  expect([space.locked.pages, owner.locked.pages]).toEqual([0, pinned]);
  run(space.munmap(space.areas.all[0]?.start ?? 0, 4 * PAGE));
  expect(typeof run(device.access(IOVA / PAGE + 1, true))).toBe('number');
  for (const { next } of [poor, rich]) run(next.exit());
  run(tearDown());
  expect(owner.locked.pages).toBe(0);
});

describe('static and faultable mappings', () => {
  test('live in one container', () => {
    const { run, setUp, space, map, enableIopf, device, type1, host, tearDown } = vfioFixture();
    const { container } = run(setUp());
    run(enableIopf(container));
    const at = space.mmap(8 * PAGE);
    run(map(container, at, IOVA, 4 * PAGE, 3 | VFIO_DMA_MAP_FLAG_STATIC));
    run(map(container, at + 4 * PAGE, IOVA + 4 * PAGE, 4 * PAGE));
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([4, 4]);
    for (let page = 0; page < 8; page++) expect(typeof run(device.access(IOVA / PAGE + page, true))).toBe('number');
    expect(type1().io.counters).toMatchObject({ groups: 4, pages: 4 });
    run(tearDown());
  });
});

function withArgsz(view: DataView, argsz: number): DataView {
  view.setUint32(0, argsz, true);
  return view;
}

function raw(vaddr: number | bigint, iova: bigint, size: bigint, flags = 3): DataView {
  const view = dmaMap(0, 0, 0, flags);
  view.setBigUint64(8, BigInt(vaddr), true);
  view.setBigUint64(16, iova, true);
  view.setBigUint64(24, size, true);
  return view;
}
