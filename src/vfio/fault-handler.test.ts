import { describe, expect, test } from 'vitest';
import { MiB, PAGE } from '../../test/support/host.ts';
import { vfioFixture } from '../../test/support/vfio.ts';
import { FaultResponse } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import { premapAligned, premapNext } from './premap.ts';

const IOVA = 0x4000_0000;
const FIRST = IOVA / PAGE;

/** A container with IOPF on and `pages` pages mapped at IOVA, which nobody touched. */
function demand(pages: number, options: Parameters<typeof vfioFixture>[0] = {}) {
  const fixture = vfioFixture(options);
  const at = fixture.space.mmap(pages * PAGE);
  const { container } = fixture.run(fixture.setUp());
  expect(fixture.run(fixture.enableIopf(container))).toBe(0);
  expect(fixture.run(fixture.map(container, at, IOVA, pages * PAGE))).toBe(0);
  return { ...fixture, at, container, io: fixture.type1().io, counters: fixture.type1().io.counters };
}

describe('a fault', () => {
  test('maps one page of memory that nobody had touched, and is counted once', () => {
    const { run, device, counters, space, io, tearDown } = demand(16);
    expect(space.residentPages).toBe(0);
    expect(typeof run(device.access(FIRST + 3, true))).toBe('number');
    run(device.access(FIRST + 3, true));
    expect(counters).toMatchObject({ groups: 1, pages: 1, duplicate: 0, stale: 0, upgrade: 0, invalid: 0, failed: 0 });
    expect([space.residentPages, io.residency.pages, io.pinned.value]).toEqual([1, 1, 0]);
    run(tearDown());
  });

  test('sees the bytes that the process wrote, also after they were on swap', () => {
    const { run, device, space, at, memory, counters } = demand(4);
    run(space.store(at + PAGE, new Uint8Array(PAGE).fill(7)));
    for (let round = 0; round < 2; round++) {
      const physical = run(device.access(FIRST + 1, false));
      const seen = new Uint8Array(PAGE);
      memory.read(physical as number, seen);
      expect(seen.every((byte) => byte === 7)).toBe(true);
      expect(run(space.swapOut(at, 4 * PAGE))).toBe(1);
    }
    expect(counters.pages).toBe(2);
    expect(counters.invalidated).toBe(2);
  });

  test('for reading maps read-only; a write upgrades, once', () => {
    const { run, device, counters, io } = demand(4);
    run(device.access(FIRST, false));
    expect(io.domain.translate(IOVA)?.protection).toBe(1);
    run(device.access(FIRST, true));
    expect(io.domain.translate(IOVA)?.protection).toBe(3);
    run(device.access(FIRST, true));
    expect(counters).toMatchObject({ groups: 2, pages: 1, upgrade: 1 });
  });

  test('outside every mapping, or against its rights, is answered INVALID', () => {
    const { run, device, counters, container, map, space } = demand(4);
    expect(run(device.access(FIRST + 4, false))).toBe(FaultResponse.INVALID);
    const more = space.mmap(PAGE);
    expect(run(map(container, more, IOVA + 2 * MiB, PAGE, 1))).toBe(0);
    expect(run(device.access(FIRST + 512, true))).toBe(FaultResponse.INVALID);
    expect(typeof run(device.access(FIRST + 512, false))).toBe('number');
    expect(counters).toMatchObject({ groups: 3, invalid: 2, pages: 1 });
  });

  test('on memory that the process does not have is answered INVALID', () => {
    const { run, device, space, at, counters } = demand(4);
    run(space.munmap(at + PAGE, PAGE));
    expect(run(device.access(FIRST + 1, false))).toBe(FaultResponse.INVALID);
    expect(typeof run(device.access(FIRST + 2, false))).toBe('number');
    expect(counters.invalid).toBe(1);
  });

  test('that the host has no memory for is answered FAILURE', () => {
    const { run, device, counters } = demand(1024, { memoryBytes: MiB, swapBytes: 0 });
    let response: unknown = 0;
    for (let page = 0; page < 256 && typeof response === 'number'; page++)
      response = run(device.access(FIRST + page, true));
    expect(response).toBe(FaultResponse.FAILURE);
    expect(counters.failed).toBe(1);
  });
});

describe('pages that are mapped already', () => {
  test('requests for one page that are in flight together: one maps, the others are duplicates', () => {
    const { scheduler, device, counters, iommu } = demand(4, { profile: 'kunpeng920', defaults: { workers: 4 } });
    const tasks = [1, 2, 3].map((n) => scheduler.spawn(`fault ${n}`, iommu.fault(device, FIRST, true)));
    scheduler.run();
    expect(tasks.map((task) => task.result)).toEqual(['success', 'success', 'success']);
    expect(counters).toMatchObject({ groups: 3, pages: 1, duplicate: 2, stale: 0 });
  });

  test('a request long after the answer had a stale translation, which is flushed', () => {
    const { run, device, counters, io, iommu, clock } = demand(4, { profile: 'kunpeng920' });
    run(device.access(FIRST, false));
    run(iommu.fault(device, FIRST, true));
    expect(counters.upgrade).toBe(1);
    device.cache.set(FIRST, { physical: io.domain.translate(IOVA)?.physical ?? 0, protection: 1 });
    clock.advanceTo(clock.now + 1000);
    expect(run(device.access(FIRST, true))).toBeTypeOf('number');
    expect(counters).toMatchObject({ pages: 1, upgrade: 1, stale: 1, duplicate: 0 });
  });
});

test('faults on different pages are served side by side', () => {
  const elapsed = (workers: number) => {
    const { scheduler, device, iommu, clock } = demand(64, { profile: 'kunpeng920', defaults: { workers } });
    const start = clock.now;
    for (let page = 0; page < 64; page++) scheduler.spawn(`fault ${page}`, iommu.fault(device, FIRST + page, true));
    scheduler.run();
    return clock.now - start;
  };
  const one = elapsed(1);
  expect(one / elapsed(2)).toBeGreaterThan(1.8);
  expect(one / elapsed(4)).toBeGreaterThan(3.6);
});

describe('pre-mapping', () => {
  test('next: one fault maps the page and those that follow, up to a mapped one', () => {
    const { run, device, counters, io } = demand(64, { defaults: { policy: () => premapNext(16) } });
    run(device.access(FIRST + 20, true));
    run(device.access(FIRST + 10, true));
    expect(counters).toMatchObject({ pages: 2, premapped: 15 + 9 });
    const mapped = io.mappings.at(IOVA)?.faults?.mapped;
    expect([mapped?.findNextSet(0), mapped?.findNextClear(10)]).toEqual([10, 36]);
  });

  test('aligned: a whole 2 MiB block becomes one block of the page table', () => {
    const { run, device, counters, iommu } = demand(1024, { defaults: { policy: () => premapAligned(512) } });
    run(device.access(FIRST + 700, true));
    expect(counters).toMatchObject({ groups: 1, pages: 1, premapped: 511 });
    const [domain] = iommu.domains;
    expect([domain?.leafCount(2 * MiB), domain?.leafCount(PAGE)]).toEqual([1, 0]);
  });

  test('a hole in the memory costs the extras, not the page', () => {
    const { run, device, space, at, counters } = demand(64, { defaults: { policy: () => premapAligned(64) } });
    run(space.munmap(at + 8 * PAGE, PAGE));
    expect(typeof run(device.access(FIRST + 20, true))).toBe('number');
    expect(counters).toMatchObject({ pages: 1, invalid: 0 });
  });
});

describe('blocks', () => {
  test('taking one page of a block away takes the block, and the rest faults again', () => {
    const { run, device, space, at, counters, io, tearDown } = demand(512, {
      defaults: { policy: () => premapAligned(512) },
    });
    run(device.access(FIRST, true));
    expect(run(space.swapOut(at + 5 * PAGE, PAGE))).toBe(1);
    expect(io.mappings.at(IOVA)?.faults?.mapped.count()).toBe(0);
    expect(io.residency.pages).toBe(0);
    expect(typeof run(device.access(FIRST + 6, true))).toBe('number');
    expect(counters.pages).toBe(2);
    run(tearDown());
  });
});

describe('residency', () => {
  test('never passes its limit; the pages mapped longest ago go, and fault again', () => {
    const { run, device, counters, io, tearDown } = demand(256, { defaults: { residencyLimitBytes: 16 * PAGE } });
    for (let round = 0; round < 3; round++) {
      for (let page = 0; page < 64; page++) run(device.access(FIRST + page, true));
    }
    expect(counters.pages).toBe(192);
    expect(io.residency.peakPages).toBe(16);
    run(tearDown());
    expect(counters.evicted).toBeGreaterThanOrEqual(176);
  });

  test('holds with many faults in flight and a pre-map policy that wants more than the limit', () => {
    const { scheduler, device, io, run, tearDown } = demand(512, {
      profile: 'kunpeng920',
      defaults: { residencyLimitBytes: 8 * PAGE, workers: 8, policy: () => premapNext(64) },
    });
    const tasks = Array.from({ length: 100 }, (_, n) =>
      scheduler.spawn(`dma ${n}`, device.access(FIRST + ((n * 37) % 512), true)),
    );
    scheduler.run();
    expect(tasks.every((task) => task.done && typeof task.result === 'number')).toBe(true);
    expect(io.residency.peakPages).toBeLessThanOrEqual(8);
    run(tearDown());
  });
});

test('under memory pressure pages are taken from the device and come back with their bytes', () => {
  const { scheduler, device, memory, counters, run, tearDown, host } = demand(1024, {
    memoryBytes: 2 * MiB,
    swapBytes: 16 * MiB,
    profile: 'kunpeng920',
    defaults: { workers: 4 },
  });
  function* dma(start: number): Steps {
    for (let round = 0; round < 2; round++) {
      for (let page = start; page < 1024; page += 4) {
        const physical = yield* device.access(FIRST + page, true);
        if (typeof physical !== 'number') throw new Error(`page ${page}: ${physical}`);
        if (round > 0) expect(memory.read32(physical)).toBe(page);
        memory.write32(physical, page);
      }
    }
  }
  const tasks = [0, 1, 2, 3].map((start) => scheduler.spawn(`dma ${start}`, dma(start)));
  scheduler.run();
  expect(tasks.every((task) => task.done)).toBe(true);
  expect(counters.invalidated).toBeGreaterThan(500);
  expect(host.counters.swappedIn).toBeGreaterThan(400);
  run(tearDown());
});

describe('teardown with faults in flight', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('unmapping answers every fault, seed %i', (seed) => {
    const { scheduler, device, iommu, container, unmap, run, tearDown } = demand(64, {
      profile: 'kunpeng920',
      seed,
      defaults: { workers: 3 },
    });
    const faults = Array.from({ length: 64 }, (_, page) =>
      scheduler.spawn(`fault ${page}`, iommu.fault(device, FIRST + page, true)),
    );
    const unmapping = scheduler.spawn(
      'unmap',
      (function* (): Steps<number> {
        yield 700 * seed;
        return yield* unmap(container, IOVA, 64 * PAGE);
      })(),
    );
    scheduler.run();
    expect(unmapping.result).toBe(0);
    expect(faults.every((fault) => fault.done)).toBe(true);
    expect(iommu.responses.length).toBe(64);
    expect(scheduler.stuck()).toEqual([]);
    run(tearDown());
  });

  test.each([1, 2, 3, 4])('a process that exits leaves nothing behind, seed %i', (seed) => {
    const { scheduler, device, iommu, process, vfio, host } = demand(64, {
      profile: 'kunpeng920',
      seed,
      defaults: { workers: 3 },
    });
    const faults = Array.from({ length: 32 }, (_, page) =>
      scheduler.spawn(`fault ${page}`, iommu.fault(device, FIRST + page, true)),
    );
    const exiting = scheduler.spawn(
      'exit',
      (function* (): Steps {
        yield 1500 * seed;
        yield* process.exit();
      })(),
    );
    scheduler.run();
    expect(exiting.done).toBe(true);
    expect(faults.every((fault) => fault.done)).toBe(true);
    vfio.checkAtRest();
    host.checkAtRest();
    expect(host.allocator.freeFrames).toBe(host.allocator.frameCount);
  });
});

describe('races with the host', () => {
  test('a page that the process unmaps while its neighbours are read from swap is not mapped', () => {
    const { scheduler, run, device, space, at, counters, tearDown } = demand(8, {
      profile: 'kunpeng920',
      defaults: { policy: () => premapNext(8) },
    });
    run(space.store(at, new Uint8Array(8 * PAGE).fill(1)));
    run(space.swapOut(at + PAGE, 7 * PAGE));
    const fault = scheduler.spawn('dma', device.access(FIRST, true));
    const unmapping = scheduler.spawn(
      'munmap',
      (function* (): Steps<number> {
        yield 30_000;
        return yield* space.munmap(at, PAGE);
      })(),
    );
    scheduler.run();
    expect([unmapping.result, fault.result]).toEqual([0, FaultResponse.INVALID]);
    expect(counters.premapped).toBe(0);
    run(tearDown());
  });

  test('a fork while a page is being mapped for writing keeps the device out of the shared frame', () => {
    const { scheduler, run, device, space, at, memory, tearDown } = demand(8, {
      profile: 'kunpeng920',
      defaults: { policy: () => premapNext(8) },
    });
    run(space.store(at, new Uint8Array(8 * PAGE).fill(1)));
    run(space.swapOut(at + PAGE, 7 * PAGE));
    const fault = scheduler.spawn('dma', device.access(FIRST, true));
    const forking = scheduler.spawn(
      'fork',
      (function* () {
        yield 30_000;
        return yield* space.fork('child');
      })(),
    );
    scheduler.run();
    memory.write32(fault.result as number, 0x0909_0909);
    const seen = new Uint8Array(4);
    const child = forking.result;
    run(child?.load(at, seen) ?? space.load(at, seen));
    expect([...seen]).toEqual([1, 1, 1, 1]);
    run(space.load(at, seen));
    expect([...seen]).toEqual([9, 9, 9, 9]);
    if (child !== null) run(child.exit());
    run(tearDown());
  });

  test('a page that is being evicted is not freed before the eviction has flushed it', () => {
    const { scheduler, run, device, space, at, io, iommu, tearDown } = demand(8, { profile: 'kunpeng920' });
    run(device.access(FIRST, true));
    for (const domain of iommu.domains) domain.flushNs = 1_000_000;
    function* dma(): Steps {
      // The cached translation serves until the flush is over, and must reach a live page until then.
      for (let step = 0; step < 100; step++) {
        yield 10_000;
        if (device.cache.has(FIRST)) yield* device.access(FIRST, true);
      }
    }
    const tasks = [scheduler.spawn('evict', io.evict(1)), scheduler.spawn('swap', space.swapOut(at, PAGE))];
    scheduler.spawn('dma', dma());
    scheduler.run();
    expect(tasks.map((task) => task.result)).toEqual([1, 1]);
    expect(space.residentPages).toBe(0);
    run(tearDown());
  });
});
