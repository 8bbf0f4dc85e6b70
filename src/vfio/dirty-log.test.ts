import { describe, expect, test } from 'vitest';
import { PAGE } from '../../test/support/host.ts';
import { type VfioFixtureOptions, vfioFixture } from '../../test/support/vfio.ts';
import { Errno } from '../errno.ts';
import { Random } from '../sim/random.ts';
import type { Steps } from '../sim/task.ts';
import { premapNext } from './premap.ts';
import { Extension, Ioctl } from './uapi.layout.ts';
import { ExtensionIoctl } from './uapi-extensions.layout.ts';

const IOVA = 0x4000_0000;
const FIRST = IOVA / PAGE;
const { EINVAL, EACCES, EFAULT } = Errno;
const START = 1;
const STOP = 2;
const GET = 4;

function logged(pages: number, options: VfioFixtureOptions & { iopf?: boolean; type?: number } = {}) {
  const fixture = vfioFixture(options);
  const { run, space, process } = fixture;
  const { container } = run(fixture.setUp(options.type));
  if (options.iopf ?? true) run(fixture.enableIopf(container));
  const at = space.mmap(pages * PAGE);
  expect(run(fixture.map(container, at, IOVA, pages * PAGE))).toBe(0);
  const bitmapAt = space.mmap(64 * PAGE);
  const call = (view: DataView) => process.ioctl(container, Ioctl.VFIO_IOMMU_DIRTY_PAGES, view);
  return {
    ...fixture,
    container,
    at,
    bitmapAt,
    call,
    flag: (flags: number) => run(call(header(8, flags))),
    /** The pages of `[iova, iova + size)` reported as written. */
    *dirty(iova = IOVA, size = pages * PAGE): Steps<number[] | number> {
      const bytes = Math.ceil(size / PAGE / 64) * 8;
      const status = yield* call(getBitmap(iova, size, PAGE, bytes, bitmapAt));
      if (status < 0) return status;
      return yield* bitsAt(fixture, bitmapAt, bytes);
    },
  };
}

function* bitsAt(fixture: ReturnType<typeof vfioFixture>, address: number, bytes: number): Steps<number[]> {
  const bits = new Uint8Array(bytes);
  yield* fixture.space.load(address, bits);
  return Array.from({ length: bytes * 8 }, (_, bit) => bit).filter((bit) => ((bits[bit >> 3] ?? 0) >> (bit & 7)) & 1);
}

function header(argsz: number, flags: number, bytes = argsz): DataView {
  const view = new DataView(new ArrayBuffer(bytes));
  view.setUint32(0, argsz, true);
  view.setUint32(4, flags, true);
  return view;
}

function getBitmap(iova: number, size: number, pgsize: number, bytes: number, address: number): DataView {
  const view = header(48, GET);
  view.setBigUint64(8, BigInt(iova), true);
  view.setBigUint64(16, BigInt(size), true);
  view.setBigUint64(24, BigInt(pgsize), true);
  view.setBigUint64(32, BigInt(bytes), true);
  view.setBigUint64(40, BigInt(address), true);
  return view;
}

describe('in a container that faults, the log holds exactly the pages written', () => {
  test('also those that were writable before it began, and not those only read', () => {
    const { run, device, flag, dirty } = logged(64);
    for (const page of [1, 2, 3]) run(device.access(FIRST + page, true));
    expect(flag(START)).toBe(0);
    expect(run(dirty())).toEqual([]);
    run(device.access(FIRST + 2, true));
    run(device.access(FIRST + 3, false));
    run(device.access(FIRST + 9, true));
    run(device.access(FIRST + 10, false));
    expect(run(dirty())).toEqual([2, 9]);
    expect(run(dirty())).toEqual([]);
    run(device.access(FIRST + 2, true));
    expect(run(dirty())).toEqual([2]);
    expect(flag(STOP)).toBe(0);
  });

  test('pre-mapped neighbours of a written page do not count', () => {
    const { run, device, flag, dirty } = logged(64, { defaults: { policy: () => premapNext(16) } });
    flag(START);
    run(device.access(FIRST + 4, true));
    run(device.access(FIRST + 6, true));
    expect(run(dirty())).toEqual([4, 6]);
  });

  test('pages that the host took away meanwhile are not forgotten', () => {
    const { run, device, flag, dirty, space, at } = logged(64);
    flag(START);
    run(device.access(FIRST + 7, true));
    run(space.swapOut(at, 64 * PAGE));
    run(device.access(FIRST + 7, false));
    expect(run(dirty())).toEqual([7]);
  });

  test('unmapping with the bitmap reports what was written until then', () => {
    const fixture = logged(64);
    const { run, device, flag, process, container, bitmapAt } = fixture;
    flag(START);
    run(device.access(FIRST + 63, true));
    const view = new DataView(new ArrayBuffer(48));
    view.setUint32(0, 48, true);
    view.setUint32(4, 1, true);
    view.setBigUint64(8, BigInt(IOVA), true);
    view.setBigUint64(16, BigInt(64 * PAGE), true);
    view.setBigUint64(24, BigInt(PAGE), true);
    view.setBigUint64(32, 8n, true);
    view.setBigUint64(40, BigInt(bitmapAt), true);
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, view))).toBe(0);
    expect(Number(view.getBigUint64(16, true))).toBe(64 * PAGE);
    expect(run(bitsAt(fixture, bitmapAt, 8))).toEqual([63]);
  });

  test('a mapping converted while the log runs counts as written once, then by its faults', () => {
    const { run, device, flag, dirty, process, container } = logged(16, { iopf: false });
    flag(START);
    expect(run(dirty())).toEqual(Array.from({ length: 16 }, (_, page) => page));
    run(process.ioctl(container, Ioctl.VFIO_IOMMU_ENABLE_IOPF, 0));
    expect(run(dirty())).toHaveLength(16);
    run(device.access(FIRST + 3, true));
    expect(run(dirty())).toEqual([3]);
  });

  test('pinned pages cannot be watched and always count', () => {
    const { run, flag, dirty, process, container } = logged(16);
    flag(START);
    const view = new DataView(new ArrayBuffer(24));
    view.setUint32(0, 24, true);
    view.setBigUint64(8, BigInt(IOVA + 2 * PAGE), true);
    view.setBigUint64(16, BigInt(PAGE), true);
    expect(run(process.ioctl(container, ExtensionIoctl.VFIO_IOMMU_PIN_DMA, view))).toBe(0);
    expect(run(dirty())).toEqual([2]);
    expect(run(dirty())).toEqual([2]);
    run(process.ioctl(container, ExtensionIoctl.VFIO_IOMMU_UNPIN_DMA, view));
    expect(run(dirty())).toEqual([2]);
    expect(run(dirty())).toEqual([]);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])('with devices writing all the time, under memory pressure, seed %i', (seed) => {
    const fixture = logged(256, {
      profile: 'kunpeng920',
      seed,
      memoryBytes: 2 ** 20,
      defaults: { workers: 3, policy: () => premapNext(4) },
    });
    const { scheduler, device, call, dirty, run, tearDown } = fixture;
    const random = new Random(seed);
    const reported = new Set<number>();
    let writing = 3;
    function* dma(): Steps {
      for (let step = 0; step < 150; step++) {
        yield random.below(3000);
        const outcome = yield* device.access(FIRST + random.below(256), random.chance(0.4));
        expect(typeof outcome).toBe('number');
      }
      writing -= 1;
    }
    function* reading(): Steps {
      expect(yield* call(header(8, START))).toBe(0);
      device.written.clear();
      for (let last = false; !last; ) {
        last = writing === 0;
        const pages = yield* dirty();
        if (typeof pages === 'number') throw new Error(`errno ${pages}`);
        for (const page of pages) reported.add(page + FIRST);
        yield 20_000;
      }
    }
    const tasks = [scheduler.spawn('log', reading()), ...[1, 2, 3].map((n) => scheduler.spawn(`dma ${n}`, dma()))];
    scheduler.run();
    expect(tasks.every((task) => task.done)).toBe(true);
    expect(device.written.size).toBeGreaterThan(50);
    // A write between the start of the log and the return of the call may be in either account.
    for (const page of device.written) expect(reported.has(page)).toBe(true);
    expect([...reported].filter((page) => !device.written.has(page)).length).toBeLessThanOrEqual(3);
    run(tearDown());
  });
});

describe('arguments', () => {
  test.each<[string, DataView | number, number]>([
    ['argsz below 8', header(7, START, 8), EINVAL],
    ['no flag', header(8, 0), EINVAL],
    ['two flags', header(8, START | STOP), EINVAL],
    ['an unknown flag', header(8, 8), EINVAL],
    ['no structure', 5, EFAULT],
    ['GET_BITMAP before START', getBitmap(IOVA, 64 * PAGE, PAGE, 8, 0x7000_0000_0000), EINVAL],
  ])('%s', (_what, view, errno) => {
    const { run, process, container } = logged(64);
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_DIRTY_PAGES, view))).toBe(errno);
  });

  test.each<[string, (bitmapAt: number) => DataView, number]>([
    ['short argsz', () => header(40, GET, 48), EINVAL],
    ['another page size', (at) => getBitmap(IOVA, 64 * PAGE, 2 * PAGE, 8, at), EINVAL],
    ['size 0', (at) => getBitmap(IOVA, 0, PAGE, 8, at), EINVAL],
    ['off a page', (at) => getBitmap(IOVA + 8, 64 * PAGE, PAGE, 8, at), EINVAL],
    ['too small a bitmap', (at) => getBitmap(IOVA, 64 * PAGE, PAGE, 7, at), EINVAL],
    ['too large a bitmap', (at) => getBitmap(IOVA, 64 * PAGE, PAGE, 0x1000_0001, at), EINVAL],
    ['part of a mapping', (at) => getBitmap(IOVA, 32 * PAGE, PAGE, 8, at), EINVAL],
    ['a bitmap that is not there', () => getBitmap(IOVA, 64 * PAGE, PAGE, 8, 0x1000), EFAULT],
    ['a bitmap beyond user space', (at) => getBitmap(IOVA, 64 * PAGE, PAGE, 8, 2 ** 52 + at), EINVAL],
  ])('of GET_BITMAP: %s', (_what, view, errno) => {
    const { run, flag, call, bitmapAt } = logged(64);
    flag(START);
    expect(run(call(view(bitmapAt)))).toBe(errno);
  });

  test('starting twice and stopping twice is fine', () => {
    const { flag } = logged(4);
    expect([STOP, START, START, STOP, STOP].map(flag)).toEqual([0, 0, 0, 0, 0]);
  });

  test('a v1 container has no log', () => {
    const { flag } = logged(4, { type: Extension.VFIO_TYPE1_IOMMU });
    expect(flag(START)).toBe(EACCES);
  });
});
