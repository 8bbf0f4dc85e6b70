/** Patch 4, pre-mapping: more pages than asked for. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/errno.ts';
import { premapNext } from '../../src/vfio/premap.ts';
import { PAGE } from '../support/host.ts';
import { exhibit, FIRST, IOVA } from './exhibit/board.ts';
import { machine } from './machine.ts';
import { demand } from './ours.ts';

describe('P1 function first, then speed', () => {
  test('P1 exhibit: 512 pages with every fault, wanted or not', () => {
    const board = exhibit({ premapPages: 512 });
    board.demand(2048);
    board.run(board.device.access(FIRST + 3, true));
    expect(board.mapping().bitmap?.count()).toBe(512);
    expect(board.space.residentPages).toBe(512);
  });

  test('P1 ours: off unless asked for, and asked for by an amount', () => {
    const plain = machine();
    plain.enableIopf();
    plain.memory(64);
    expect(plain.run(plain.dma(FIRST + 3, true))).toBe('DONE');
    expect(plain.io.counters).toMatchObject({ pages: 1, premapped: 0 });
    plain.tearDown();
    const { run, device, io } = demand(64, { defaults: { policy: () => premapNext(16) } });
    run(device.access(FIRST + 3, true));
    expect(io.counters).toMatchObject({ pages: 1, premapped: 15 });
  });
});

describe('P2 a batch of which a part fails', () => {
  test('P2 exhibit: with these failures its pins balance too; the leak that was read into it does not show', () => {
    const board = exhibit({ premapPages: 64 });
    const at = board.demand(64);
    const { run, device, space, host, domain } = board;
    run(space.munmap(at + 40 * PAGE, PAGE));
    run(device.access(FIRST, true));
    expect([host.allocator.pinnedFrames, board.mapping().bitmap?.count()]).toEqual([0, 40]);
    // Something in the way of the table.
    domain.map(IOVA + 50 * PAGE, 2 ** 30, PAGE, 3);
    run(device.access(FIRST + 41, true));
    expect(host.allocator.pinnedFrames).toBe(0);
  });

  test('P2 ours: whatever page of a batch cannot be had, no pin is left and the page asked for is there', () => {
    for (const hole of [1, 8, 31, 62]) {
      const board = machine();
      board.enableIopf();
      board.io.policy = premapNext(64);
      const at = board.memory(64);
      const { run, space, dma, host } = board;
      run(space.munmap(at + hole * PAGE, PAGE));
      expect(run(dma(FIRST, true))).toBe('DONE');
      expect(host.allocator.pinnedFrames).toBe(0);
      board.tearDown();
    }
    // The table refuses in the middle of a batch: memory for tables ran out.
    const { run, device, iommu, host, io, tearDown } = demand(64, { defaults: { policy: () => premapNext(64) } });
    const [domain] = iommu.domains;
    const map = domain?.map.bind(domain);
    let left = 1;
    if (domain !== undefined && map !== undefined) {
      domain.map = (...of) => (left-- > 0 ? Errno.ENOMEM : map(...of));
    }
    expect(typeof run(device.access(FIRST, true))).toBe('number');
    expect([host.allocator.pinnedFrames, io.residency.pages > 0]).toEqual([0, true]);
    run(tearDown());
  });
});
