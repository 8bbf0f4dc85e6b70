/** Patch 6, no static pinning: what counts against the lock limit, and which pages are dirty. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/errno.ts';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { DirtyPagesFlags, Ioctl } from '../../src/vfio/uapi.layout.ts';
import { ExtensionIoctl } from '../../src/vfio/uapi-extensions.layout.ts';
import { PAGE } from '../support/host.ts';
import { exhibit, FIRST, IOVA } from './exhibit/board.ts';
import { machine } from './machine.ts';
import { demand } from './ours.ts';

const { VFIO_IOMMU_PIN_DMA: PIN, VFIO_IOMMU_UNPIN_DMA: UNPIN } = ExtensionIoctl;

describe('S1 the lock limit', () => {
  test('S1 ours: what a driver pins is charged, what was faulted in is not', () => {
    const board = machine({ scenario: { host: { memory: '32MiB', swap: '32MiB', lockLimit: '16KiB' } } });
    board.enableIopf();
    board.memory(64);
    const { run, dma, space, io } = board;
    for (let page = 0; page < 16; page++) expect(run(dma(FIRST + page, true))).toBe('DONE');
    expect([space.locked.pages, io.residency.pages]).toEqual([0, 16]);
    expect(board.range(PIN, IOVA + 20 * PAGE, 3 * PAGE)).toBe(0);
    expect(space.locked.pages).toBe(3);
    expect(board.range(PIN, IOVA + 30 * PAGE, 2 * PAGE)).toBe(Errno.ENOMEM);
    expect(space.locked.pages).toBe(3);
    expect(board.range(UNPIN, IOVA + 20 * PAGE, 3 * PAGE)).toBe(0);
    expect([space.locked.pages, io.pinned.value]).toEqual([0, 0]);
    board.tearDown();
  });

  test('S1 exhibit: charges them as well, once the caller knows that IOPF is on', () => {
    const board = exhibit();
    board.demand(8);
    const { run, container, device, space } = board;
    run(device.access(FIRST, true));
    expect(space.locked.pages).toBe(0);
    expect(run(container.pinPage(device.streamId, IOVA + PAGE))).toBe(0);
    expect(space.locked.pages).toBe(1);
  });
});

describe('S2 which pages are dirty', () => {
  test('S2 exhibit: all of them', () => {
    const board = exhibit();
    board.demand(64);
    board.run(board.device.access(FIRST + 3, true));
    expect(board.container.dirtyPages(board.mapping()).filter((dirty) => dirty)).toHaveLength(64);
  });

  test.each([
    ['stall', 'none'],
    ['stall', 'dirty'],
    ['pri', 'none'],
    ['pri', 'dirty'],
    ['static', 'dirty'],
  ] as const)('S2 ours: exactly those that the device wrote, by its own log: %s, HTTU: %s', (mode, httu) => {
    const board = machine({ mode, scenario: { iommu: { httu } } });
    if (mode !== 'static') board.enableIopf();
    board.memory(128);
    const { run, dma, process, container, space } = board;
    const bits = space.mmap(PAGE);
    const random = new Random('dirty');
    const written = new Set<number>();
    function* use(times: number): Steps {
      for (let time = 0; time < times; time++) {
        const page = random.below(128);
        const write = random.chance(0.4);
        const ending = yield* dma(FIRST + page, write);
        if (ending !== 'DONE') throw new Error(ending);
        if (write) written.add(page);
      }
    }
    function* dirty(): Steps<number[]> {
      const status = yield* process.ioctl(container, Ioctl.VFIO_IOMMU_DIRTY_PAGES, request(bits, 128));
      if (status !== 0) throw new Error(`VFIO_IOMMU_DIRTY_PAGES: ${status}`);
      const map = new Uint8Array(16);
      yield* space.load(bits, map);
      return Array.from({ length: 128 }, (_, page) => page).filter((page) => ((map[page >> 3] ?? 0) >> (page & 7)) & 1);
    }
    run(use(60));
    written.clear();
    expect(board.ioctl(Ioctl.VFIO_IOMMU_DIRTY_PAGES, header(8, DirtyPagesFlags.START))).toBe(0);
    for (let round = 0; round < 4; round++) {
      run(use(30));
      expect(run(dirty())).toEqual([...written].sort((a, b) => a - b));
      written.clear();
    }
    expect(run(dirty())).toEqual([]);
    board.tearDown();
  });
});

describe('S3 only the access that faulted', () => {
  test('S3 exhibit: a read maps with every right of the mapping', () => {
    const board = exhibit();
    board.demand(4);
    board.run(board.device.access(FIRST, false));
    expect(board.domain.translate(IOVA)?.protection).toBe(3);
  });

  test.each(['stall', 'pri'] as const)('S3 ours: a read maps read-only, a later write upgrades, %s', (mode) => {
    const board = machine({ mode });
    board.enableIopf();
    board.memory(4);
    const { run, dma, io } = board;
    expect(run(dma(FIRST, false))).toBe('DONE');
    expect(io.domain.translate(IOVA)?.protection).toBe(1);
    expect(run(dma(FIRST, true))).toBe('DONE');
    expect(io.domain.translate(IOVA)?.protection).toBe(3);
    expect(io.counters).toMatchObject({ groups: 2, pages: 1, upgrade: 1 });
    board.tearDown();
  });

  test('S3 ours: a page only read is not dirty', () => {
    const { run, device, ioctl, process, fd, space } = demand(8);
    ioctl(Ioctl.VFIO_IOMMU_DIRTY_PAGES, header(8, DirtyPagesFlags.START));
    run(device.access(FIRST + 1, false));
    run(device.access(FIRST + 2, true));
    const bits = space.mmap(PAGE);
    run(process.ioctl(fd, Ioctl.VFIO_IOMMU_DIRTY_PAGES, request(bits, 8)));
    const map = new Uint8Array(1);
    run(space.load(bits, map));
    expect(map[0]).toBe(0b100);
  });
});

function header(argsz: number, flags: number, bytes = argsz): DataView {
  const view = new DataView(new ArrayBuffer(bytes));
  view.setUint32(0, argsz, true);
  view.setUint32(4, flags, true);
  return view;
}

/** struct vfio_iommu_type1_dirty_bitmap with _get, offsets of linux/vfio.h. */
function request(bitmap: number, pages: number): DataView {
  const view = header(48, DirtyPagesFlags.GET_BITMAP);
  view.setBigUint64(8, BigInt(IOVA), true);
  view.setBigUint64(16, BigInt(pages * PAGE), true);
  view.setBigUint64(24, BigInt(PAGE), true);
  view.setBigUint64(32, BigInt(Math.ceil(pages / 64) * 8), true);
  view.setBigUint64(40, BigInt(bitmap), true);
  return view;
}
