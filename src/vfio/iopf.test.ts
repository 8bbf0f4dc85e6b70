import { describe, expect, test } from 'vitest';
import { MiB, PAGE } from '../../test/support/host.ts';
import { dmaUnmap, type VfioFixtureOptions, vfioFixture } from '../../test/support/vfio.ts';
import { Errno } from '../errno.ts';
import { encode } from '../layout/struct.ts';
import type { Steps } from '../sim/task.ts';
import { Ioctl } from './uapi.layout.ts';
import { DmaRange, ExtensionIoctl, IopfConfig, IopfMode, PremapPolicyKind } from './uapi-extensions.layout.ts';

const IOVA = 0x4000_0000;
const FIRST = IOVA / PAGE;
const { EINVAL, EBUSY, ENODEV, ENOMEM, ENOENT, ENOSPC, EACCES, EFAULT, EIO } = Errno;

function container(options: VfioFixtureOptions = {}) {
  const fixture = vfioFixture(options);
  const { container: fd } = fixture.run(fixture.setUp());
  const ioctl = (request: number, argument: DataView | number) =>
    fixture.run(fixture.process.ioctl(fd, request, argument));
  const { io } = fixture.type1();
  return {
    ...fixture,
    fd,
    io,
    ioctl,
    disable: () => ioctl(ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0),
    range: (request: number, iova: number, size: number, flags = 0) =>
      ioctl(request, encode(DmaRange, { ARGSZ: 24, FLAGS: flags, IOVA_LOW: iova, SIZE_LOW: size })),
    mapped: () => io.mappings.at(IOVA)?.faults?.mapped.count() ?? -1,
    /** `pages` pages of new memory at IOVA. */
    memory(pages: number, flags = 3): number {
      const at = fixture.space.mmap(pages * PAGE);
      expect(fixture.run(fixture.map(fd, at, IOVA, pages * PAGE, flags))).toBe(0);
      return at;
    },
  };
}

describe('VFIO_IOMMU_ENABLE_IOPF', () => {
  test('takes a mode that every device has, once', () => {
    const { run, enableIopf, fd, type1, device } = container();
    expect(run(enableIopf(fd, 3))).toBe(EINVAL);
    expect(run(enableIopf(fd, IopfMode.PRI))).toBe(0);
    expect(device.faultsBy).not.toBe(null);
    expect(run(enableIopf(fd, IopfMode.PRI))).toBe(EBUSY);
    expect(type1().faults.enabled).toBe(true);
  });

  test('a device that cannot leaves everything as it was, whatever was enabled before it', () => {
    const { run, enableIopf, fd, iommu, backends, type1 } = container({ devices: 3 });
    const last = backends[2]?.iommu;
    if (last !== undefined) iommu.refuseFaults = last;
    expect(run(enableIopf(fd))).toBe(EIO);
    expect(backends.map((backend) => backend.iommu.faultsBy)).toEqual([null, null, null]);
    expect([...iommu.domains][0]?.handler).toBe(null);
    expect(type1().faults.enabled).toBe(false);
  });

  test('another owner of the faults keeps them', () => {
    const { run, enableIopf, fd, device, disable } = container();
    const owner = {};
    device.faultsBy = owner;
    expect(run(enableIopf(fd))).toBe(EBUSY);
    expect(disable()).toBe(0);
    expect(device.faultsBy).toBe(owner);
  });

  test('ENODEV where a device has no page requests', () => {
    const fixture = vfioFixture();
    Object.assign(fixture.device, { pri: false });
    const { container: fd } = fixture.run(fixture.setUp());
    expect(fixture.run(fixture.enableIopf(fd, IopfMode.PRI))).toBe(ENODEV);
    expect(fixture.run(fixture.enableIopf(fd, IopfMode.ANY))).toBe(0);
  });

  test('a group attached later is enabled too', () => {
    const { run, enableIopf, fd, process, backends } = container({ groups: 2 });
    run(enableIopf(fd));
    const second = run(process.open('/dev/vfio/2'));
    const argument = new DataView(new ArrayBuffer(4));
    argument.setInt32(0, fd, true);
    expect(run(process.ioctl(second, Ioctl.VFIO_GROUP_SET_CONTAINER, argument))).toBe(0);
    expect(backends[1]?.iommu.faultsBy).not.toBe(null);
    run(process.close(second));
    expect(backends[1]?.iommu.faultsBy).toBe(null);
    expect(backends[0]?.iommu.faultsBy).not.toBe(null);
  });
});

describe('conversion', () => {
  test('mappings made before are un-pinned, un-charged and tracked, and stay mapped', () => {
    const { run, enableIopf, fd, memory, space, host, io, device, mapped, tearDown } = container();
    const at = memory(64);
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([64, 64]);
    expect(run(enableIopf(fd))).toBe(0);
    expect([space.locked.pages, host.allocator.pinnedFrames, mapped()]).toEqual([0, 0, 64]);
    run(device.access(FIRST + 5, true));
    expect(io.counters.groups).toBe(0);
    expect(run(space.swapOut(at, 64 * PAGE))).toBe(64);
    expect(mapped()).toBe(0);
    expect(typeof run(device.access(FIRST + 5, true))).toBe('number');
    expect(io.counters.pages).toBe(1);
    run(tearDown());
  });

  test('pages that only the pin kept alive are taken from the device', () => {
    const { run, enableIopf, fd, memory, space, host, device, mapped, tearDown } = container();
    const at = memory(16);
    run(device.access(FIRST + 3, true));
    run(space.munmap(at + 2 * PAGE, 2 * PAGE));
    expect(host.allocator.pinnedFrames).toBe(16);
    run(enableIopf(fd));
    expect([mapped(), host.allocator.frameCount - host.allocator.freeFrames]).toEqual([14, 14]);
    expect(run(device.access(FIRST + 3, true))).toBe('invalid');
    run(tearDown());
  });

  test('keeps within the residency limit', () => {
    const { run, enableIopf, fd, memory, io } = container({ defaults: { residencyLimitBytes: 8 * PAGE } });
    memory(64);
    run(enableIopf(fd));
    expect(io.residency.pages).toBeLessThanOrEqual(8);
  });

  test('back again: everything is pinned and charged, and no fault comes any more', () => {
    const { run, enableIopf, fd, memory, space, host, device, io, disable, iommu, tearDown } = container();
    run(enableIopf(fd));
    memory(32);
    run(device.access(FIRST + 1, true));
    expect(disable()).toBe(0);
    expect([space.locked.pages, host.allocator.pinnedFrames, io.residency.pages]).toEqual([32, 32, 0]);
    expect([...iommu.domains][0]?.handler).toBe(null);
    for (let page = 0; page < 32; page++) expect(typeof run(device.access(FIRST + page, true))).toBe('number');
    expect(io.counters.groups).toBe(1);
    expect(disable()).toBe(0);
    run(tearDown());
  });

  test('back again beyond the lock limit fails and changes nothing', () => {
    const { run, enableIopf, fd, space, map, host, device, type1, disable, tearDown } = container({
      lockLimitBytes: 40 * PAGE,
    });
    run(enableIopf(fd));
    const at = space.mmap(64 * PAGE);
    run(map(fd, at, IOVA, 32 * PAGE));
    run(map(fd, at + 32 * PAGE, IOVA + MiB, 32 * PAGE));
    expect(disable()).toBe(ENOMEM);
    expect([space.locked.pages, host.allocator.pinnedFrames, type1().faults.enabled]).toEqual([0, 0, true]);
    expect(typeof run(device.access(FIRST + 256, true))).toBe('number');
    run(tearDown());
  });

  test.each([1, 2, 3, 4, 5, 6])('to and fro while the device goes on, seed %i', (seed) => {
    const fixture = container({ profile: 'kunpeng920', seed, defaults: { workers: 2 } });
    const { scheduler, process, fd, memory, device, run, tearDown } = fixture;
    memory(64);
    function* switching(): Steps {
      for (let round = 0; round < 5; round++) {
        expect(yield* process.ioctl(fd, Ioctl.VFIO_IOMMU_ENABLE_IOPF, 0)).toBe(0);
        yield 20_000;
        expect(yield* process.ioctl(fd, ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0)).toBe(0);
      }
    }
    function* dma(start: number): Steps {
      for (let step = 0; step < 200; step++) {
        yield 700;
        // While it is off, a page that is just being pinned aborts the access.
        yield* device.access(FIRST + ((start + step * 7) % 64), step % 3 === 0);
      }
    }
    const tasks = [scheduler.spawn('switch', switching()), scheduler.spawn('a', dma(0)), scheduler.spawn('b', dma(9))];
    scheduler.run();
    expect(tasks.every((task) => task.done)).toBe(true);
    run(tearDown());
  });
});

describe('VFIO_IOMMU_PREFAULT_DMA', () => {
  const PREFAULT = ExtensionIoctl.VFIO_IOMMU_PREFAULT_DMA;

  test('maps a range as faults would, in blocks, and then none comes', () => {
    const { run, enableIopf, fd, memory, range, device, io, iommu } = container();
    run(enableIopf(fd));
    memory(1024);
    expect(range(PREFAULT, IOVA + PAGE, 1023 * PAGE, 3)).toBe(0);
    expect([...iommu.domains][0]?.leafCount(2 * MiB)).toBe(1);
    for (let page = 1; page < 1024; page += 50) run(device.access(FIRST + page, true));
    expect(io.counters).toMatchObject({ groups: 0, premapped: 1023 });
  });

  test('for reading leaves pages read-only, for writing upgrades them', () => {
    const { run, enableIopf, fd, memory, range, io } = container();
    run(enableIopf(fd));
    memory(4);
    expect(range(PREFAULT, IOVA, 4 * PAGE, 1)).toBe(0);
    expect(io.domain.translate(IOVA)?.protection).toBe(1);
    expect(range(PREFAULT, IOVA, 4 * PAGE, 2)).toBe(0);
    expect(io.domain.translate(IOVA + 3 * PAGE)?.protection).toBe(3);
  });

  test.each<[string, number, number, number, number]>([
    ['no rights asked for', IOVA, PAGE, 0, EINVAL],
    ['an unknown flag', IOVA, PAGE, 4, EINVAL],
    ['size 0', IOVA, 0, 1, EINVAL],
    ['off a page', IOVA + 1, PAGE, 1, EINVAL],
    ['beyond the mapping', IOVA + 3 * PAGE, 2 * PAGE, 1, ENOENT],
    ['nowhere', 0, PAGE, 1, ENOENT],
    ['writing what is read-only', IOVA, PAGE, 2, EACCES],
  ])('%s', (_what, iova, size, flags, errno) => {
    const { run, enableIopf, fd, memory, range } = container();
    run(enableIopf(fd));
    memory(4, 1);
    expect(range(PREFAULT, iova, size, flags)).toBe(errno);
  });

  test('-ENOSPC beyond the residency limit, -EFAULT over memory that is gone', () => {
    const { run, enableIopf, fd, memory, range, space } = container({ defaults: { residencyLimitBytes: 8 * PAGE } });
    run(enableIopf(fd));
    const at = memory(16);
    expect(range(PREFAULT, IOVA, 9 * PAGE, 1)).toBe(ENOSPC);
    run(space.munmap(at + PAGE, PAGE));
    expect(range(PREFAULT, IOVA, 4 * PAGE, 1)).toBe(EFAULT);
  });
});

describe('VFIO_IOMMU_PIN_DMA', () => {
  const { VFIO_IOMMU_PIN_DMA: PIN, VFIO_IOMMU_UNPIN_DMA: UNPIN } = ExtensionIoctl;

  test('pages are mapped, charged, never reclaimed, and fault only after the last unpin', () => {
    const { run, enableIopf, fd, memory, range, space, host, device, io, tearDown } = container();
    run(enableIopf(fd));
    const at = memory(16);
    run(device.access(FIRST + 2, false));
    expect(range(PIN, IOVA + 2 * PAGE, 4 * PAGE)).toBe(0);
    expect(range(PIN, IOVA + 3 * PAGE, PAGE)).toBe(0);
    expect([space.locked.pages, host.allocator.pinnedFrames, io.pinned.value]).toEqual([4, 4, 4 * PAGE]);
    expect(run(space.swapOut(at, 16 * PAGE))).toBe(0);
    run(device.access(FIRST + 2, true));
    expect(io.counters).toMatchObject({ groups: 1, upgrade: 0 });
    expect(range(UNPIN, IOVA + 2 * PAGE, 4 * PAGE)).toBe(0);
    expect(space.locked.pages).toBe(1);
    expect(range(UNPIN, IOVA + 2 * PAGE, 2 * PAGE)).toBe(EINVAL);
    expect(range(UNPIN, IOVA + 3 * PAGE, PAGE)).toBe(0);
    expect([space.locked.pages, host.allocator.pinnedFrames, io.pinned.value]).toEqual([0, 0, 0]);
    run(device.access(FIRST + 3, true));
    expect(io.counters.groups).toBe(2);
    run(tearDown());
  });

  test('counts against the lock limit, and a refusal pins nothing', () => {
    const { run, enableIopf, fd, memory, range, space, host, tearDown } = container({ lockLimitBytes: 3 * PAGE });
    run(enableIopf(fd));
    memory(16);
    expect(range(PIN, IOVA, 2 * PAGE)).toBe(0);
    expect(range(PIN, IOVA + PAGE, 4 * PAGE)).toBe(ENOMEM);
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([2, 2]);
    expect(range(UNPIN, IOVA, 2 * PAGE)).toBe(0);
    run(tearDown());
  });

  test('is undone by unmapping, and survives conversion both ways', () => {
    const { run, enableIopf, fd, memory, range, space, unmap, disable, tearDown } = container();
    run(enableIopf(fd));
    memory(16);
    expect(range(PIN, IOVA, 4 * PAGE)).toBe(0);
    expect(disable()).toBe(0);
    expect(space.locked.pages).toBe(16);
    expect(run(enableIopf(fd))).toBe(0);
    expect(space.locked.pages).toBe(4);
    expect(run(unmap(fd, IOVA, 16 * PAGE))).toBe(0);
    expect(space.locked.pages).toBe(0);
    run(tearDown());
  });

  test('within a block the neighbours can go and the pinned page stays', () => {
    const { run, enableIopf, fd, memory, range, space, device, io, tearDown } = container();
    run(enableIopf(fd));
    const at = memory(512);
    expect(range(PIN, IOVA + 100 * PAGE, PAGE)).toBe(0);
    expect(range(ExtensionIoctl.VFIO_IOMMU_PREFAULT_DMA, IOVA, 512 * PAGE, 3)).toBe(0);
    run(device.access(FIRST + 100, true));
    expect(run(space.swapOut(at, 512 * PAGE))).toBe(511);
    run(device.access(FIRST + 100, true));
    expect(io.counters.groups).toBe(0);
    run(tearDown());
  });
});

describe('VFIO_IOMMU_CONFIGURE_IOPF', () => {
  const CONFIGURE = ExtensionIoctl.VFIO_IOMMU_CONFIGURE_IOPF;

  test('changes policy, limit and workers of a running container', () => {
    const { run, enableIopf, fd, memory, ioctl, device, io, type1 } = container();
    run(enableIopf(fd));
    memory(64);
    const policy = { POLICY: PremapPolicyKind.ALIGNED, PAGES: 8, RESIDENCY_LIMIT_LOW: 32 * PAGE, WORKERS: 3 };
    expect(ioctl(CONFIGURE, encode(IopfConfig, { ARGSZ: 32, FLAGS: 5, ...policy }))).toBe(0);
    run(device.access(FIRST + 9, true));
    expect([io.counters.premapped, type1().handler.workers, io.residency.limitPages]).toEqual([
      7,
      3,
      Number.POSITIVE_INFINITY,
    ]);
    for (let page = 0; page < 64; page++) run(device.access(FIRST + page, true));
    expect(ioctl(CONFIGURE, encode(IopfConfig, { ARGSZ: 32, FLAGS: 2, ...policy }))).toBe(0);
    expect(io.residency.pages).toBe(32);
  });

  test.each<[string, Parameters<typeof encode<typeof IopfConfig>>[1]]>([
    ['argsz', { ARGSZ: 31 }],
    ['an unknown flag', { ARGSZ: 32, FLAGS: 8 }],
    ['an unknown policy', { ARGSZ: 32, FLAGS: 1, POLICY: 4, PAGES: 1 }],
    ['a policy of no pages', { ARGSZ: 32, FLAGS: 1, POLICY: 1, PAGES: 0 }],
    ['a policy of too many pages', { ARGSZ: 32, FLAGS: 1, POLICY: 1, PAGES: 262_145 }],
    ['a limit below a page', { ARGSZ: 32, FLAGS: 2, RESIDENCY_LIMIT_LOW: 4095 }],
    ['too many workers', { ARGSZ: 32, FLAGS: 4, WORKERS: 65 }],
  ])('%s', (_what, values) => {
    expect(container().ioctl(CONFIGURE, encode(IopfConfig, values))).toBe(EINVAL);
  });
});

test('M4: what cannot be revoked blocks the device before the page is freed', () => {
  const { run, enableIopf, fd, memory, space, device, iommu, host } = container();
  run(enableIopf(fd));
  const at = memory(4);
  run(device.access(FIRST, true));
  [...iommu.domains][0]?.stuck.add(FIRST);
  const before = host.allocator.freeFrames;
  run(space.munmap(at, 4 * PAGE));
  expect(host.allocator.freeFrames).toBe(before + 1);
  expect(run(device.access(FIRST, true))).toBe('aborted');
});

test('M6: one notifier serves all mappings of an address space', () => {
  const { run, enableIopf, fd, space, map, ioctl } = container();
  run(enableIopf(fd));
  const at = space.mmap(64 * PAGE);
  for (let n = 0; n < 64; n++) run(map(fd, at + n * PAGE, IOVA + n * PAGE, PAGE));
  for (let n = 0; n < 64; n++) run(map(fd, at + n * PAGE, IOVA + MiB + n * PAGE, PAGE));
  expect(space.notifierCount).toBe(1);
  expect(ioctl(Ioctl.VFIO_IOMMU_UNMAP_DMA, dmaUnmap(0, 0, 2))).toBe(0);
  expect(space.notifierCount).toBe(0);
});

test('M1: revoking again and again takes its gather state from a pool', () => {
  const { run, enableIopf, fd, memory, space, device, iommu } = container();
  run(enableIopf(fd));
  const at = memory(64);
  for (let page = 0; page < 64; page++) {
    run(device.access(FIRST + page, true));
    run(space.swapOut(at + page * PAGE, PAGE));
  }
  expect([...iommu.domains][0]?.gathers).toBeLessThanOrEqual(2);
});

test('a page mapped at two addresses is taken away from both', () => {
  const { run, enableIopf, fd, space, map, device, io, tearDown } = container();
  run(enableIopf(fd));
  const at = space.mmap(PAGE);
  run(map(fd, at, IOVA, PAGE));
  run(map(fd, at, IOVA + MiB, PAGE));
  expect(run(device.access(FIRST, true))).toBe(run(device.access(FIRST + 256, true)));
  run(space.swapOut(at, PAGE));
  expect(io.counters.invalidated).toBe(2);
  run(tearDown());
});

test('a fork takes writable pages back, and each side keeps its own bytes', () => {
  const { run, enableIopf, fd, memory, space, device, host, io } = container();
  run(enableIopf(fd));
  const at = memory(2);
  run(device.access(FIRST, true));
  const child = run(space.fork('child'));
  expect(io.counters.invalidated).toBe(1);
  const physical = run(device.access(FIRST, true));
  host.memory.write32(physical as number, 0x55);
  const seen = new Uint8Array(4);
  run(child?.load(at, seen) ?? space.load(at, seen));
  expect([...seen]).toEqual([0, 0, 0, 0]);
  run(space.load(at, seen));
  expect([...seen]).toEqual([0x55, 0, 0, 0]);
});
