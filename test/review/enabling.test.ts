/** Patch 5, VFIO_IOMMU_ENABLE_IOPF: enabling, its undoing, and what was mapped before. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/errno.ts';
import { encode } from '../../src/layout/struct.ts';
import type { Steps } from '../../src/sim/task.ts';
import { Process } from '../../src/vfio/process.ts';
import { InfoCapHeader, Ioctl, IommuInfo } from '../../src/vfio/uapi.layout.ts';
import {
  CapIopf,
  CapIopfFlags,
  ExtensionIoctl,
  IOMMU_INFO_CAP_IOPF,
  VFIO_IOPF,
} from '../../src/vfio/uapi-extensions.layout.ts';
import { driverBoard } from '../iommu/driver-board.ts';
import { FakeDevice } from '../support/fake-iommu.ts';
import { PAGE } from '../support/host.ts';
import { dmaMap } from '../support/vfio.ts';
import { delayed } from './delayed.ts';
import { exhibit, FIRST, IOVA } from './exhibit/board.ts';
import { RfcContainer } from './exhibit/container.ts';
import { NullDereference } from './exhibit/lifetime.ts';
import { machine } from './machine.ts';
import { container, demand } from './ours.ts';

describe('E1 whose memory', () => {
  test('E1 exhibit: it listens to one address space, and another one takes its pages unheard', () => {
    const board = exhibit();
    const { run, container: box, space, host, device } = board;
    const other = host.createSpace({ name: 'other' });
    run(box.enableIopf(space));
    const at = other.mmap(4 * PAGE);
    run(box.map(other, at, IOVA, 4 * PAGE));
    run(device.access(FIRST, true));
    expect(other.notifierCount).toBe(0);
    run(other.munmap(at, 4 * PAGE));
    expect(() => run(device.access(FIRST, true))).toThrow(/reaches a freed page/);
  });

  test('E1 ours: each mapping belongs to its own, and several serve one container', () => {
    const board = machine();
    board.enableIopf();
    const first = board.memory(4);
    const { platform, run, container: fd, process, dma, io } = board;
    const space = platform.host.createSpace({ name: 'other' });
    const other = new Process({ vfio: platform.vfio, space, latency: platform.latency });
    const file = process.file(fd);
    if (typeof file === 'number') throw new Error('a container');
    const shared = other.install(file);
    const second = space.mmap(4 * PAGE);
    expect(run(other.ioctl(shared, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(second, IOVA + 4 * PAGE, 4 * PAGE)))).toBe(0);
    for (const page of [1, 5]) expect(run(dma(FIRST + page, true))).toBe('DONE');
    expect([process.space.notifierCount, space.notifierCount]).toEqual([1, 1]);
    run(space.munmap(second, 4 * PAGE));
    expect([run(dma(FIRST + 5, true)), run(dma(FIRST + 1, true))]).toEqual(['INVALID', 'DONE']);
    run(process.space.munmap(first, 4 * PAGE));
    expect(io.counters.invalidated).toBe(2);
    board.tearDown();
  });
});

describe('E2 the order of enabling', () => {
  test('E2 exhibit: a fault between registration and listing finds nobody, and is never answered', () => {
    const board = exhibit();
    const { scheduler, container: box, iommu, space, run } = board;
    // Two devices in one group: the first may fault while the second is being enabled, and the group is listed after both.
    const pair = ['a', 'b'].map((name) => new FakeDevice(iommu, name));
    run(box.attachGroup(50, pair));
    const enabling = scheduler.spawn('enable', box.enableIopf(space));
    const [early] = pair;
    if (early === undefined) throw new Error('two devices');
    const fault = scheduler.spawn('fault', delayed(25, iommu.fault(early, FIRST, true)));
    scheduler.run();
    expect([enabling.result, fault.done, iommu.responses.length]).toEqual([0, false, 0]);
  });

  test('E2 ours: the handler is there before the first device may fault, and goes after the last one stopped', () => {
    const board = container({ devices: 3 });
    const { iommu, run, enableIopf, fd, ioctl, backends, memory } = board;
    memory(4);
    const [domain] = iommu.domains;
    const order: string[] = [];
    const [enable, disable] = [iommu.enableFaults.bind(iommu), iommu.disableFaults.bind(iommu)];
    iommu.enableFaults = function* (...of) {
      order.push(domain?.handler === null ? 'enabled without a handler' : 'enabled');
      return yield* enable(...of);
    };
    iommu.disableFaults = function* (...of) {
      const status = yield* disable(...of);
      order.push(domain?.handler === null ? 'disabled without a handler' : 'disabled');
      return status;
    };
    run(enableIopf(fd));
    expect(ioctl(ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0)).toBe(0);
    expect(order).toEqual(['enabled', 'enabled', 'enabled', 'disabled', 'disabled', 'disabled']);
    expect([domain?.handler, backends.map((backend) => backend.iommu.faultsBy)]).toEqual([null, [null, null, null]]);
  });

  test.each([1, 2, 3, 4, 5, 6])(
    'E2 ours: faults at every moment of enabling and disabling are answered, seed %i',
    (seed) => {
      for (let delayNs = 0; delayNs < 400; delayNs += 20) {
        const board = container({ seed, profile: 'kunpeng920', defaults: { workers: seed % 3 } });
        board.memory(4);
        const { scheduler, iommu, device, process, fd } = board;
        const switching = scheduler.spawn(
          'switch',
          (function* (): Steps {
            yield* process.ioctl(fd, Ioctl.VFIO_IOMMU_ENABLE_IOPF, 0);
            yield* process.ioctl(fd, ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0);
          })(),
        );
        const fault = scheduler.spawn('fault', delayed(delayNs, iommu.fault(device, FIRST + 1, true)));
        scheduler.run();
        expect([switching.done, fault.done, scheduler.stuck().length]).toEqual([true, true, 0]);
      }
    },
  );

  test.skip('E2 waiting: every interleaving of enabling and disabling with faults', () => {});
});

describe('E3 unregistering with faults pending', () => {
  test('E3 exhibit: it fails, a warning says so, and the handler outlives the device', () => {
    const board = exhibit();
    board.demand(4);
    const { run, reporting, device, domain, clock, container: box } = board;
    const pages = [{ page: FIRST, read: true, write: true, execute: false, privileged: false }];
    // Its answer has no PASID, so the request stays pending (H10).
    const group = { device, domain, pasid: 7, origin: 'pri' as const, index: 1, pages, receivedNs: clock.now };
    run(reporting.handle(group));
    run(box.detachGroup(device.streamId));
    expect(box.warnings).toEqual(['the handler stays registered']);
    expect(reporting.parameterOf(device).handler).not.toBe(null);
  });

  test('E3 ours: no new faults, then answers for those in flight, then the rest', () => {
    const board = machine({ profile: 'kunpeng920' });
    board.enableIopf();
    board.memory(64);
    const { scheduler, dma, process, group, device, container: fd, platform } = board;
    // Closing resets the function, which forgets its transfers: nobody tells those who wait for them.
    for (let page = 0; page < 16; page++) scheduler.spawn('dma', dma(FIRST + page, true), { daemon: true });
    const close = scheduler.spawn('close', delayed(3000, closeAll(process, [device, group, fd])));
    scheduler.run();
    expect(close.done).toBe(true);
    const { groups, succeeded, invalid, failed, cancelled } = platform.driver.counters;
    expect(succeeded + invalid + failed + cancelled).toBe(groups);
    expect(groups).toBeGreaterThan(0);
    expect(platform.hardware.smmu.outstandingStalls).toBe(0);
    board.tearDown();
  });
});

describe('E4 undoing', () => {
  test('E4 exhibit: a fault of a device that is enabled already waits for the lock, and undoing waits for the fault', () => {
    const board = exhibit({ groups: 3 });
    const { scheduler, devices, container: box, space, iommu } = board;
    const [first, , last] = devices;
    if (first === undefined || last === undefined) throw new Error('three devices');
    iommu.refuseFaults = last;
    const enabling = scheduler.spawn('enable', box.enableIopf(space));
    const fault = scheduler.spawn('fault', delayed(15, iommu.fault(first, FIRST, true)));
    scheduler.run();
    expect([enabling.done, fault.done]).toEqual([false, false]);
    expect(
      scheduler
        .stuck()
        .map(({ waitingOn }) => waitingOn?.name)
        .sort(),
    ).toEqual([`fault parameter of ${first.name}`, 'the lock of a container']);
  });

  test('E4 ours: every step undone, in reverse, whichever device refuses', () => {
    for (const refuses of [0, 1, 2]) {
      const { run, enableIopf, fd, iommu, backends, type1, memory, space, host } = container({ devices: 3 });
      memory(8);
      iommu.refuseFaults = backends[refuses]?.iommu ?? null;
      const undone: string[] = [];
      const disable = iommu.disableFaults.bind(iommu);
      iommu.disableFaults = function* (device, owner) {
        undone.push(device.name);
        return yield* disable(device, owner);
      };
      expect(run(enableIopf(fd))).toBe(Errno.EIO);
      expect(undone).toEqual(
        backends
          .slice(0, refuses)
          .map(({ name }) => name)
          .reverse(),
      );
      expect([...iommu.domains][0]?.handler).toBe(null);
      expect([type1().faults.enabled, space.locked.pages, host.allocator.pinnedFrames]).toEqual([false, 8, 8]);
    }
  });
});

describe('E5 counting enabled devices', () => {
  test('E5 exhibit: how many were enabled must be known, because disabling twice is an error', () => {
    const board = exhibit();
    const { run, reporting, device, container: box, space } = board;
    run(box.enableIopf(space));
    run(box.disableDevice(device));
    expect(box.warnings).toEqual([]);
    run(box.disableDevice(device));
    expect([box.warnings, run(reporting.disableFeature(device))]).toEqual([['the feature stays on'], Errno.EINVAL]);
  });

  test('E5 ours: disabling is idempotent, in the driver and in the container', () => {
    const board = driverBoard();
    const fn = board.function(8, { stall: true });
    board.attached(fn);
    for (let again = 0; again < 3; again++) expect(board.run(board.driver.disableFaults(fn.device, board))).toBe(0);
    const { ioctl } = demand(4);
    for (let again = 0; again < 3; again++) expect(ioctl(ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0)).toBe(0);
  });
});

describe('E6 another user of the device', () => {
  test("E6 exhibit: the feature is nobody's: whoever disables it takes it from the others", () => {
    const { run, reporting, device, container: box, space } = exhibit();
    run(box.enableIopf(space));
    expect(reporting.parameterOf(device).feature).toBe(true);
    // The other user, which never enabled it.
    expect(run(reporting.disableFeature(device))).toBe(Errno.OK);
    expect(reporting.parameterOf(device).feature).toBe(false);
  });

  test("E6 ours: only the owner's disable takes effect", () => {
    const board = machine({ mode: 'stall' });
    board.enableIopf();
    board.memory(4);
    const { run, platform, io, dma } = board;
    const [device] = [...io.devices];
    if (device === undefined) throw new Error('a device');
    expect(run(platform.driver.enableFaults(device, {}, 'stall'))).toBe(Errno.EBUSY);
    expect(run(platform.driver.disableFaults(device, {}))).toBe(Errno.EBUSY);
    expect(run(dma(FIRST, true))).toBe('DONE');
    board.tearDown();
    // The other way round: VFIO neither takes faults over nor away.
    const other = machine({ mode: 'stall' });
    const [taken] = [...other.io.devices];
    if (taken === undefined) throw new Error('a device');
    const owner = {};
    expect(other.run(other.platform.driver.enableFaults(taken, owner, 'stall'))).toBe(0);
    expect(other.enableIopf()).toBe(Errno.EBUSY);
    expect(other.ioctl(ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0)).toBe(0);
    expect(other.run(other.platform.driver.enableFaults(taken, owner, 'stall'))).toBe(0);
    expect(other.run(other.platform.driver.disableFaults(taken, owner))).toBe(0);
    other.tearDown();
  });
});

describe('E7 mappings made before', () => {
  test('E7 exhibit: they keep their pins for ever and have no bitmap', () => {
    const board = exhibit();
    const { run, space, host, container: box, device } = board;
    board.memory(16);
    run(box.enableIopf(space));
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([16, 16]);
    expect(() => run(device.iommu.fault(device, FIRST, true))).toThrow(NullDereference);
    const other = exhibit();
    other.memory(16);
    other.run(other.container.enableIopf(other.space));
    expect(() => other.run(other.container.unmap(IOVA))).toThrow(NullDereference);
    expect(other.host.allocator.pinnedFrames).toBe(16);
  });

  test('E7 ours: they are un-pinned, un-charged and tracked, and stay mapped', () => {
    const board = machine();
    const at = board.memory(64);
    const { run, space, host, io, dma } = board;
    expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([64, 64]);
    expect(board.enableIopf()).toBe(0);
    expect([space.locked.pages, host.allocator.pinnedFrames, io.pinned.value]).toEqual([0, 0, 0]);
    expect(io.mappings.at(IOVA)?.faults?.mapped.count()).toBe(64);
    expect(run(dma(FIRST + 9, true))).toBe('DONE');
    expect(io.counters.groups).toBe(0);
    expect(run(space.swapOut(at, 64 * PAGE))).toBe(64);
    expect(run(dma(FIRST + 9, true))).toBe('DONE');
    expect(io.counters.pages).toBe(1);
    board.tearDown();
  });
});

test('E8 ours: VFIO_CHECK_EXTENSION and a capability of VFIO_IOMMU_GET_INFO announce it', () => {
  // The exhibit has a request number and nothing else: user space tries it and sees.
  const board = machine();
  expect(board.ioctl(Ioctl.VFIO_CHECK_EXTENSION, VFIO_IOPF)).toBe(1);
  const flags = (): number => {
    const info = encode(IommuInfo, { ARGSZ: 256 });
    const view = new DataView(new ArrayBuffer(256));
    new Uint8Array(view.buffer).set(new Uint8Array(info.buffer));
    expect(board.ioctl(Ioctl.VFIO_IOMMU_GET_INFO, view)).toBe(0);
    let at = IommuInfo.CAP_OFFSET.get(view);
    while (at !== 0 && InfoCapHeader.ID.get(view, at) !== IOMMU_INFO_CAP_IOPF) at = InfoCapHeader.NEXT.get(view, at);
    return at === 0 ? -1 : CapIopf.FLAGS.get(view, at);
  };
  expect(flags()).toBe(CapIopfFlags.PRI);
  board.enableIopf();
  expect(flags()).toBe(CapIopfFlags.PRI | CapIopfFlags.ENABLED);
  board.tearDown();
});

describe('E9 results', () => {
  test('E9 exhibit: -1 from a device that was not enabled reads as EPERM', () => {
    const { run, container: box, device } = exhibit();
    expect(run(box.disableDevice(device, { enabled: 0 }))).toBe(Errno.EPERM);
  });

  test('E9 ours: errno by the reason', () => {
    const { run, enableIopf, fd, ioctl, device } = container();
    expect(run(enableIopf(fd, 9))).toBe(Errno.EINVAL);
    Object.assign(device, { pri: false });
    expect(run(enableIopf(fd, 2))).toBe(Errno.ENODEV);
    expect(run(enableIopf(fd, 1))).toBe(0);
    expect(run(enableIopf(fd, 1))).toBe(Errno.EBUSY);
    expect(ioctl(ExtensionIoctl.VFIO_IOMMU_PREFAULT_DMA, 0)).toBe(Errno.EFAULT);
    expect(ioctl(0x3bff, 0)).toBe(Errno.ENOTTY);
  });
});

describe('E10 disabling', () => {
  test('E10 exhibit: there is no way back', () => {
    expect(Object.getOwnPropertyNames(RfcContainer.prototype).filter((name) => /^disableIopf/.test(name))).toEqual([]);
  });

  test('E10 ours: it drains, then pins and maps what user space has, with DMA running', () => {
    const board = machine({ profile: 'kunpeng920' });
    board.enableIopf();
    board.memory(64);
    const { scheduler, dma, space, host, io, process, container: fd } = board;
    const transfers = Array.from({ length: 24 }, (_, page) => scheduler.spawn('dma', dma(FIRST + page, true)));
    const disabling = scheduler.spawn(
      'disable',
      delayed(4000, process.ioctl(fd, ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0)),
    );
    scheduler.run();
    expect(disabling.result).toBe(0);
    expect(transfers.every((transfer) => transfer.done)).toBe(true);
    expect([space.locked.pages, host.allocator.pinnedFrames, io.residency.pages]).toEqual([64, 64, 0]);
    const before = board.platform.driver.counters.groups;
    expect(board.run(dma(FIRST + 60, true))).toBe('DONE');
    expect(board.platform.driver.counters.groups).toBe(before);
    board.tearDown();
  });

  test('E10 ours: or it fails and changes nothing', () => {
    const board = machine({ scenario: { host: { memory: '32MiB', swap: '32MiB', lockLimit: '128KiB' } } });
    board.enableIopf();
    board.memory(64);
    const { run, dma, space, host } = board;
    expect(run(dma(FIRST, true))).toBe('DONE');
    expect(board.ioctl(ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0)).toBe(Errno.ENOMEM);
    expect([space.locked.pages, host.allocator.pinnedFrames, board.type1().faults.enabled]).toEqual([0, 0, true]);
    expect(run(dma(FIRST + 1, true))).toBe('DONE');
    board.tearDown();
  });
});

describe('E11 a group attached later', () => {
  test('E11 ours: what was faulted in is there for it, and nothing else is mapped', () => {
    const board = demand(16, { groups: 2 });
    const { run, process, fd, device, backends, io, host } = board;
    run(device.access(FIRST, true));
    const second = run(process.open('/dev/vfio/2'));
    const argument = new DataView(new ArrayBuffer(4));
    argument.setInt32(0, fd, true);
    expect(run(process.ioctl(second, Ioctl.VFIO_GROUP_SET_CONTAINER, argument))).toBe(0);
    expect([io.mappings.at(IOVA)?.faults?.mapped.count(), host.allocator.pinnedFrames]).toEqual([1, 0]);
    const late = backends[1]?.iommu;
    if (late === undefined) throw new Error('two devices');
    expect(run(late.access(FIRST, true))).toBeTypeOf('number');
    expect(io.counters.groups).toBe(1);
    expect(run(late.access(FIRST + 1, true))).toBeTypeOf('number');
    expect(io.counters.groups).toBe(2);
  });
});

function* closeAll(process: Process, descriptors: readonly number[]): Steps {
  for (const descriptor of descriptors) yield* process.close(descriptor);
}
