/** Patch 7, selective faulting: pages that a device must never fault on. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/errno.ts';
import { ExtensionIoctl, VFIO_DMA_MAP_FLAG_STATIC } from '../../src/vfio/uapi-extensions.layout.ts';
import { PAGE } from '../support/host.ts';
import { exhibit, FIRST, IOVA } from './exhibit/board.ts';
import { machine } from './machine.ts';

const { VFIO_IOMMU_PIN_DMA: PIN, VFIO_IOMMU_UNPIN_DMA: UNPIN } = ExtensionIoctl;

describe('V1 which mappings may fault', () => {
  test('V1 exhibit: all of the container, or none', () => {
    const board = exhibit();
    board.demand(4);
    const at = board.space.mmap(4 * PAGE);
    board.run(board.container.map(board.space, at, IOVA + 64 * PAGE, 4 * PAGE));
    expect(board.domain.translate(IOVA + 64 * PAGE)).toBe(null);
    expect(board.host.allocator.pinnedFrames).toBe(0);
  });

  test('V1 ours: user space says with each mapping', () => {
    const board = machine();
    board.enableIopf();
    board.memory(4);
    board.memory(4, 3 | VFIO_DMA_MAP_FLAG_STATIC, IOVA + 64 * PAGE);
    const { run, dma, io, host } = board;
    expect([io.domain.translate(IOVA), host.allocator.pinnedFrames]).toEqual([null, 4]);
    expect(run(dma(FIRST + 64, true))).toBe('DONE');
    expect(io.counters.groups).toBe(0);
    expect(run(dma(FIRST, true))).toBe('DONE');
    expect(io.counters.groups).toBe(1);
    board.tearDown();
  });
});

describe('V2 pages that a driver pinned', () => {
  test('V2 exhibit: they are not mapped and fault; every other page is refused from then on', () => {
    const board = exhibit();
    board.demand(8);
    const { run, container, device, domain, iommu } = board;
    expect(run(container.pinPage(device.streamId, IOVA + 3 * PAGE))).toBe(0);
    expect(domain.translate(IOVA + 3 * PAGE)).toBe(null);
    expect(run(iommu.fault(device, FIRST + 3, true))).toBe('success');
    // The letter of the patch: outside of what was pinned, the answer is INVALID. Its text says the opposite.
    expect(run(device.access(FIRST + 5, true))).toBe('invalid');
    board.mapping().unpinAll();
  });

  test.each(['stall', 'pri'] as const)(
    'V2 ours: pinning maps, so they never fault, and the others do as before, %s',
    (mode) => {
      const board = machine({ mode });
      board.enableIopf();
      const at = board.memory(16);
      const { run, dma, io, space } = board;
      expect(board.range(PIN, IOVA + 3 * PAGE, 2 * PAGE)).toBe(0);
      for (const page of [3, 4]) expect(run(dma(FIRST + page, true))).toBe('DONE');
      expect(io.counters.groups).toBe(0);
      expect(run(dma(FIRST + 5, true))).toBe('DONE');
      expect(io.counters.groups).toBe(1);
      // The host takes what it can, and not these.
      expect(run(space.swapOut(at, 16 * PAGE))).toBe(1);
      expect(run(dma(FIRST + 4, false))).toBe('DONE');
      expect(io.counters.groups).toBe(1);
      expect(board.range(UNPIN, IOVA + 3 * PAGE, 2 * PAGE)).toBe(0);
      expect(run(dma(FIRST + 3, true))).toBe('DONE');
      expect(io.counters.groups).toBe(2);
      board.tearDown();
    },
  );
});

test('V3 ours: they count against the limit, and nothing is pinned beyond it', () => {
  const board = machine({ scenario: { host: { memory: '32MiB', swap: '32MiB', lockLimit: '8KiB' } } });
  board.enableIopf();
  board.memory(8);
  const { space, host } = board;
  expect(board.range(PIN, IOVA, 2 * PAGE)).toBe(0);
  expect(board.range(PIN, IOVA + 2 * PAGE, PAGE)).toBe(Errno.ENOMEM);
  expect([space.locked.pages, host.allocator.pinnedFrames]).toEqual([2, 2]);
  // Pinned twice is charged once.
  expect(board.range(PIN, IOVA, PAGE)).toBe(0);
  expect(space.locked.pages).toBe(2);
  board.tearDown();
});
