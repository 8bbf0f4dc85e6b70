import { describe, expect, test } from 'vitest';
import { PAGE } from '../../test/support/host.ts';
import { type VfioFixtureOptions, vfioFixture } from '../../test/support/vfio.ts';
import type { Steps } from '../sim/task.ts';
import { premapAligned } from './premap.ts';

const IOVA = 0x4000_0000;
const FIRST = IOVA / PAGE;

/** A container that faults, `pages` pages at IOVA, and room for `limit`. */
function limited(pages: number, limit: number, options: VfioFixtureOptions = {}) {
  const fixture = vfioFixture({ ...options, defaults: { ...options.defaults, residencyLimitBytes: limit * PAGE } });
  const { run, space, process } = fixture;
  const { container } = run(fixture.setUp());
  run(fixture.enableIopf(container));
  const at = space.mmap(pages * PAGE);
  expect(run(fixture.map(container, at, IOVA, pages * PAGE))).toBe(0);
  const { io } = fixture.type1();
  const faults = io.mappings.at(IOVA)?.faults;
  if (faults === null || faults === undefined) throw new Error('the mapping faults');
  return {
    ...fixture,
    container,
    process,
    at,
    io,
    touch: (...list: number[]) => {
      for (const page of list) expect(typeof run(fixture.device.access(FIRST + page, true))).toBe('number');
    },
    /** Pages that are mapped. */
    resident: () => Array.from({ length: pages }, (_, page) => page).filter((page) => faults.mapped.test(page)),
    mapping: () => {
      const mapping = io.mappings.at(IOVA);
      if (mapping === null) throw new Error('the mapping is there');
      return mapping;
    },
  };
}

describe('without access state', () => {
  test('those mapped longest ago go, used or not', () => {
    const { touch, io, run, resident } = limited(64, 16);
    for (let page = 0; page < 8; page++) touch(page, 0);
    expect(run(io.evict(2))).toBe(2);
    expect(resident()).toEqual([2, 3, 4, 5, 6, 7]);
  });
});

describe('with access state', () => {
  const hardware = true;

  test('the first turn takes the marks of mapping, the oldest goes', () => {
    const { touch, io, run, resident } = limited(64, 16, { hardware });
    touch(0, 1, 2, 3);
    expect(run(io.evict(1))).toBe(1);
    expect(resident()).toEqual([1, 2, 3]);
  });

  test('after that, what was accessed stays and what was not goes', () => {
    const { touch, io, run, resident } = limited(64, 16, { hardware });
    touch(0, 1, 2, 3, 4, 5);
    run(io.evict(1));
    touch(1, 3);
    expect(run(io.evict(2))).toBe(2);
    expect(resident()).toEqual([1, 3, 5]);
    touch(5);
    expect(run(io.evict(1))).toBe(1);
    expect(resident()).toEqual([3, 5]);
  });

  test('a page in a warm translation cache is seen again, because what was cleared is flushed with the victims', () => {
    const { touch, io, run, resident, device } = limited(64, 16, { hardware });
    touch(0, 1, 2, 3);
    const [domain] = device.iommu.domains;
    const flushes = domain?.flushes ?? 0;
    run(io.evict(1));
    expect((domain?.flushes ?? 0) - flushes).toBe(1);
    expect(device.cache.size).toBe(0);
    touch(1);
    run(io.evict(1));
    expect(resident()).toEqual([1, 3]);
  });

  test('a block is one thing: accessed in one page, all of it stays; not accessed, all of it goes', () => {
    const policy = () => premapAligned(512);
    const { run, container, io, space, map, device } = limited(1, 8192, { hardware, defaults: { policy } });
    const other = 0x8000_0000;
    const at = space.mmap(2048 * PAGE);
    run(space.store(at, new Uint8Array(2048 * PAGE)));
    expect(run(map(container, at, other, 2048 * PAGE))).toBe(0);
    const page = other / PAGE;
    for (const block of [0, 1, 2]) run(device.access(page + block * 512 + 17, true));
    expect(io.domain.translate(other)?.size).toBe(512 * PAGE);
    const mapped = () => io.mappings.at(other)?.faults?.mapped;
    expect(run(io.evict(1))).toBe(512);
    run(device.access(page + 512 + 300, false));
    expect(run(io.evict(1))).toBe(512);
    expect([0, 512, 1024].map((first) => mapped()?.test(first))).toEqual([false, true, false]);
    expect(mapped()?.count()).toBe(512);
  });

  test('pages used once go before those used again, whatever came first', () => {
    const { touch, io, run, resident } = limited(64, 8, { hardware });
    // All marks are those of mapping, but the youngest page may not have been used yet.
    touch(0, 1, 2, 3, 4, 5, 6, 7);
    run(io.evict(4));
    expect(resident()).toEqual([4, 5, 6, 7]);
    touch(4, 5, 10, 11);
    run(io.evict(2));
    expect(resident()).toEqual([4, 5, 10, 11]);
    touch(4, 5, 12, 13);
    // Pages 10 and 11 were used once each; 4 and 5, older, again and again.
    run(io.evict(2));
    expect(resident()).toEqual([4, 5, 12, 13]);
  });

  test('a host page of several leaves was accessed where one of them was', () => {
    const { touch, io, run, mapping } = limited(64, 64, { hardware, blocks: false, pageBytes: 4 * PAGE });
    const mapped = () => [0, 1, 2, 3].filter((page) => mapping().faults?.mapped.test(page));
    touch(0, 4, 8, 12);
    run(io.evict(1));
    touch(4 + 3);
    expect(run(io.evict(1))).toBe(1);
    expect(mapped()).toEqual([1, 3]);
    expect(run(io.evict(1))).toBe(1);
    expect(mapped()).toEqual([1]);
  });
});

describe.each([false, true])('pinned pages, access state: %s', (hardware) => {
  test('are passed over; the next candidate goes', () => {
    const { touch, io, run, resident, mapping } = limited(64, 16, { hardware });
    touch(0, 1, 2, 3, 4);
    mapping().pinCounts.set(0, 1);
    mapping().pinCounts.set(2, 1);
    expect(run(io.evict(2))).toBe(2);
    expect(resident()).toEqual([0, 2, 4]);
    mapping().pinCounts.clear();
  });

  test('are never counted as room: nothing goes where all are pinned, and nobody turns for ever', () => {
    const { touch, io, run, resident, mapping } = limited(64, 16, { hardware });
    touch(0, 1, 2);
    for (const page of [0, 1, 2]) mapping().pinCounts.set(page, 1);
    expect(run(io.evict(1))).toBe(0);
    expect(resident()).toEqual([0, 1, 2]);
    mapping().pinCounts.clear();
  });

  test('a fault that found only pinned pages goes on once one of them goes', () => {
    const { touch, io, run, resident, mapping, scheduler, device, space, at } = limited(64, 2, { hardware });
    touch(0, 1);
    for (const page of [0, 1]) mapping().pinCounts.set(page, 1);
    const waiting = scheduler.spawn('dma', device.access(FIRST + 9, true));
    scheduler.run();
    expect(waiting.done).toBe(false);
    mapping().pinCounts.clear();
    function* reclaim(): Steps {
      yield* space.swapOut(at, PAGE);
    }
    run(reclaim());
    scheduler.run();
    expect(waiting.done).toBe(true);
    expect(resident()).toEqual([1, 9]);
    expect(io.residency.pages).toBe(2);
  });
});
