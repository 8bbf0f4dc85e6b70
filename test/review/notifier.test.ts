/** Patch 3, the MMU notifier: the host takes pages back that devices use. */
import { describe, expect, test } from 'vitest';
import { Bitmap } from '../../src/vfio/bitmap.ts';
import { premapAligned } from '../../src/vfio/premap.ts';
import { DmaMapFlags, DmaUnmapFlags } from '../../src/vfio/uapi.layout.ts';
import { MiB, PAGE } from '../support/host.ts';
import { exhibit, FIRST, IOVA } from './exhibit/board.ts';
import { machine } from './machine.ts';
import { demand } from './ours.ts';

describe('M1 state of an invalidation', () => {
  test('M1 exhibit: allocated by every call', () => {
    const board = exhibit();
    const at = board.demand(64);
    const before = board.domain.gathers;
    for (let round = 0; round < 10; round++) {
      board.run(board.device.access(FIRST + round, true));
      board.run(board.space.swapOut(at + round * PAGE, PAGE));
    }
    expect([board.container.effort.allocations, board.domain.gathers - before]).toEqual([10, 10]);
  });

  test('M1 ours: taken from a pool', () => {
    const { run, device, space, at, iommu } = demand(64);
    const take = (page: number): void => {
      run(device.access(FIRST + page, true));
      run(space.swapOut(at + page * PAGE, PAGE));
    };
    take(0);
    const [domain] = iommu.domains;
    const before = domain?.gathers;
    for (let page = 1; page < 40; page++) take(page);
    expect(domain?.gathers).toBe(before);
  });
});

describe('M2 looking for what is mapped', () => {
  test('M2 exhibit: bit by bit over the whole range', () => {
    const pages = 8192;
    const board = exhibit({ memoryBytes: 64 * MiB });
    const at = board.demand(pages);
    board.run(board.device.access(FIRST + 8000, true));
    board.run(board.space.munmap(at, pages * PAGE));
    expect(board.container.effort.bits).toBeGreaterThanOrEqual(pages);
  });

  test('M2 ours: the bitmap finds the next set and the next clear bit, in words', () => {
    const bitmap = new Bitmap(8192);
    bitmap.setRange(8000, 8003);
    const first = bitmap.findNextSet(0);
    expect([first, bitmap.findNextClear(first), bitmap.findNextSet(8003)]).toEqual([8000, 8003, 8192]);
    const { run, device, space, at, io } = demand(8192);
    run(device.access(FIRST + 8000, true));
    run(space.munmap(at, 8192 * PAGE));
    expect([io.counters.invalidated, io.mappings.at(IOVA)?.faults?.mapped.count()]).toEqual([1, 0]);
  });
});

describe('M3 the IOMMU unmaps more than asked', () => {
  test('M3 exhibit: a warning, the bitmap keeps what the tables lost, and the device faults for ever', () => {
    const board = exhibit({ premapPages: 512 });
    const at = board.demand(512);
    const { run, device, container, domain, space } = board;
    run(device.access(FIRST, true));
    expect(domain.leafCount(2 * MiB)).toBe(1);
    run(space.swapOut(at + 5 * PAGE, PAGE));
    expect(container.warnings).toEqual([`${2 * MiB} bytes were unmapped, not 4096`]);
    expect([board.mapping().bitmap?.count(), domain.translate(IOVA)]).toEqual([512, null]);
    expect(() => run(device.access(FIRST + 6, true))).toThrow(/faults for ever/);
  });

  test('M3 ours: what was really unmapped counts, tables and bitmap agree, the rest faults again', () => {
    const board = machine();
    expect(board.enableIopf()).toBe(0);
    board.type1().io.policy = premapAligned(512);
    const at = board.memory(512);
    const { run, io, space, dma, platform } = board;
    expect(run(dma(FIRST, true))).toBe('DONE');
    expect(io.domain.translate(IOVA)?.size).toBe(2 * MiB);
    expect(run(space.swapOut(at + 5 * PAGE, PAGE))).toBe(1);
    const mapped = io.mappings.at(IOVA)?.faults?.mapped;
    for (let page = 0; page < 512; page++) {
      expect(mapped?.test(page)).toBe(io.domain.translate(IOVA + page * PAGE) !== null);
    }
    expect(run(dma(FIRST + 6, true))).toBe('DONE');
    expect(run(dma(FIRST + 5, true))).toBe('DONE');
    expect(platform.invariants.counts.violated).toBe(0);
    board.tearDown();
  });
});

describe('M4 what cannot be taken back', () => {
  test('M4 exhibit: a warning, and the device goes on into a page that was freed', () => {
    const board = exhibit();
    const at = board.demand(4);
    const { run, device, domain, space, container } = board;
    run(device.access(FIRST, true));
    domain.stuck.add(FIRST);
    run(space.munmap(at, 4 * PAGE));
    expect(container.warnings).toHaveLength(1);
    expect(() => run(device.access(FIRST, true))).toThrow(/reaches a freed page/);
  });

  test('M4 ours: the stream is blocked before the page is freed', () => {
    const { run, device, space, at, iommu, host } = demand(4);
    run(device.access(FIRST, true));
    [...iommu.domains][0]?.stuck.add(FIRST);
    const free = host.allocator.freeFrames;
    run(space.munmap(at, 4 * PAGE));
    expect(host.allocator.freeFrames).toBe(free + 1);
    expect([device.blocked, run(device.access(FIRST, true))]).toEqual([true, 'aborted']);
  });

  test('M4 ours: on the machine, memory goes while DMA runs, and no access reaches a freed page', () => {
    const board = machine({ profile: 'kunpeng920' });
    board.enableIopf();
    const at = board.memory(32);
    const { scheduler, space, dma, platform, io } = board;
    const transfers = Array.from({ length: 32 }, (_, page) => scheduler.spawn('dma', dma(FIRST + page, true)));
    scheduler.spawn('munmap', space.munmap(at, 32 * PAGE));
    scheduler.run();
    expect(transfers.every((transfer) => transfer.done)).toBe(true);
    expect([platform.invariants.counts.violated, io.residency.pages]).toEqual([0, 0]);
    expect(board.run(dma(FIRST, true))).toBe('INVALID');
    board.tearDown();
  });
});

describe('M5 an invalidation that cannot go on', () => {
  test('M5 exhibit: the container is closed while an address is missing: it returns with the lock', () => {
    const board = exhibit();
    const at = board.demand(4);
    const { scheduler, container, space } = board;
    board.run(container.invalidateVaddr(board.mapping()));
    scheduler.spawn('munmap', space.munmap(at, PAGE));
    scheduler.run();
    container.closeFile();
    expect(() => scheduler.run()).toThrow(/ended while it held the lock of a container/);
  });

  test('M5 ours: it needs no address of user space, so it never waits for one', () => {
    const { run, fd, unmap, device, space, at, tearDown, scheduler } = demand(4);
    run(device.access(FIRST, true));
    expect(run(unmap(fd, IOVA, 4 * PAGE, DmaUnmapFlags.VADDR))).toBe(0);
    run(space.munmap(at, 4 * PAGE));
    expect(run(device.iommu.fault(device, FIRST + 700, true))).toBe('invalid');
    expect(scheduler.stuck()).toEqual([]);
    run(tearDown());
  });
});

describe('M6 notifiers of one address space', () => {
  test('M6 exhibit: one for each container, each looking through all its mappings', () => {
    const board = exhibit();
    const { run, space } = board;
    const containers = [board.container, ...Array.from({ length: 15 }, () => board.newContainer(1).container)];
    for (const container of containers) run(container.enableIopf(space));
    expect(space.notifierCount).toBe(16);
    const at = space.mmap(64 * PAGE);
    for (let page = 0; page < 64; page++) {
      run(board.container.map(space, at + page * PAGE, IOVA + page * PAGE, PAGE));
    }
    run(space.munmap(at, PAGE));
    expect(board.container.effort.mappings).toBe(64);
  });

  test('M6 ours: one for all, with an index by address', () => {
    const board = demand(4, { groups: 16 });
    const { run, space, map, enableIopf, fd } = board;
    const at = space.mmap(64 * PAGE);
    for (let page = 0; page < 64; page++) {
      expect(run(map(fd, at + page * PAGE, IOVA + MiB + page * PAGE, PAGE, DmaMapFlags.READ))).toBe(0);
    }
    for (let group = 2; group <= 16; group++) {
      const other = board.openContainer(group);
      run(enableIopf(other));
      run(map(other, at, IOVA, 64 * PAGE));
    }
    expect(space.notifierCount).toBe(1);
    run(board.device.access(FIRST + 256 + 7, false));
    run(space.munmap(at + 7 * PAGE, PAGE));
    expect(board.io.counters.invalidated).toBe(1);
  });
});

describe('M7 superpages', () => {
  test('M7 exhibit: pre-mapping made a block; the page-wise invalidation of a part of it loses count', () => {
    const board = exhibit({ premapPages: 512 });
    const at = board.demand(512);
    board.run(board.device.access(FIRST, true));
    board.run(board.space.swapOut(at + 100 * PAGE, 8 * PAGE));
    const lost = board.mapping().bitmap?.count() ?? 0;
    expect(lost).toBe(512);
    expect(board.domain.translate(IOVA)).toBe(null);
  });

  test('M7 ours: blocks where the policy allows; a part of one takes the block, and no other', () => {
    const board = machine();
    board.enableIopf();
    board.type1().io.policy = premapAligned(512);
    const at = board.memory(1024);
    const { run, dma, io, space } = board;
    for (const page of [0, 512]) expect(run(dma(FIRST + page, true))).toBe('DONE');
    expect(run(space.swapOut(at + 100 * PAGE, 8 * PAGE))).toBe(8);
    const mapped = io.mappings.at(IOVA)?.faults?.mapped;
    expect([mapped?.count(0, 512), mapped?.count(512, 1024)]).toEqual([0, 512]);
    expect(io.domain.translate(IOVA + 2 * MiB)?.size).toBe(2 * MiB);
    expect(run(dma(FIRST + 100, true))).toBe('DONE');
    board.tearDown();
  });
});
