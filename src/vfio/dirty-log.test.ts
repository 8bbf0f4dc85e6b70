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

const MECHANISMS = [
  ['by write faults', { hardware: false }],
  ['by hardware', { hardware: true }],
] as const;

describe.each(MECHANISMS)(
  'in a container that faults, the log holds exactly the pages written, %s',
  (_how, mechanism) => {
    test('also those that were writable before it began, and not those only read', () => {
      const { run, device, flag, dirty } = logged(64, mechanism);
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
      const { run, device, flag, dirty } = logged(64, { ...mechanism, defaults: { policy: () => premapNext(16) } });
      flag(START);
      run(device.access(FIRST + 4, true));
      run(device.access(FIRST + 6, true));
      expect(run(dirty())).toEqual([4, 6]);
    });

    test('pages that the host took away meanwhile are not forgotten', () => {
      const { run, device, flag, dirty, space, at } = logged(64, mechanism);
      flag(START);
      run(device.access(FIRST + 7, true));
      run(space.swapOut(at, 64 * PAGE));
      run(device.access(FIRST + 7, false));
      expect(run(dirty())).toEqual([7]);
    });

    test('unmapping with the bitmap reports what was written until then', () => {
      const fixture = logged(64, mechanism);
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

    test.each([1, 2, 3, 4, 5, 6, 7, 8])('with devices writing all the time, under memory pressure, seed %i', (seed) => {
      const fixture = logged(256, {
        ...mechanism,
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
  },
);

describe('by write faults', () => {
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
});

/** Pins or unpins a page. */
function pin(page: number): DataView {
  const view = new DataView(new ArrayBuffer(24));
  view.setUint32(0, 24, true);
  view.setBigUint64(8, BigInt(IOVA + page * PAGE), true);
  view.setBigUint64(16, BigInt(PAGE), true);
  return view;
}

describe('by hardware', () => {
  const hardware = true;

  test('what is pinned and never faults has an exact log as well', () => {
    const fixture = logged(1024, { hardware, iopf: false });
    const { run, device, flag, dirty, process, container, bitmapAt, type1 } = fixture;
    // The whole is one block and then some: it is split, so that pages can be told apart.
    run(device.access(FIRST + 1, true));
    expect(flag(START)).toBe(0);
    expect(run(dirty())).toEqual([]);
    for (const page of [0, 511, 512, 1023]) run(device.access(FIRST + page, true));
    run(device.access(FIRST + 7, false));
    expect(run(dirty())).toEqual([0, 511, 512, 1023]);
    run(device.access(FIRST + 511, true));
    const unmap = new DataView(new ArrayBuffer(48));
    const fields: [number, bigint][] = [
      [8, BigInt(IOVA)],
      [16, BigInt(1024 * PAGE)],
      [24, BigInt(PAGE)],
      [32, 128n],
      [40, BigInt(bitmapAt)],
    ];
    unmap.setUint32(0, 48, true);
    unmap.setUint32(4, 1, true);
    for (const [at, value] of fields) unmap.setBigUint64(at, value, true);
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, unmap))).toBe(0);
    expect(run(bitsAt(fixture, bitmapAt, 128))).toEqual([511]);
    expect(type1().io.pinned.value).toBe(0);
  });

  test('no page faults because of the log', () => {
    const { run, device, flag, dirty, type1 } = logged(64, { hardware, defaults: { policy: () => premapNext(16) } });
    for (let page = 0; page < 32; page++) run(device.access(FIRST + page, true));
    const { groups } = type1().io.counters;
    flag(START);
    for (let round = 0; round < 3; round++) {
      for (let page = round; page < 32; page += 3) run(device.access(FIRST + page, true));
      expect(run(dirty())).toHaveLength(Math.ceil((32 - round) / 3));
    }
    expect(type1().io.counters).toMatchObject({ groups, upgrade: 0 });
  });

  test('pages keep their state when they are pinned, unpinned, converted and mapped anew', () => {
    const { run, device, flag, dirty, process, container, map, space } = logged(16, { hardware });
    flag(START);
    run(device.access(FIRST + 1, true));
    expect(run(process.ioctl(container, ExtensionIoctl.VFIO_IOMMU_PIN_DMA, pin(1)))).toBe(0);
    expect(run(process.ioctl(container, ExtensionIoctl.VFIO_IOMMU_PIN_DMA, pin(2)))).toBe(0);
    expect(run(dirty())).toEqual([1]);
    run(device.access(FIRST + 2, true));
    expect(run(process.ioctl(container, ExtensionIoctl.VFIO_IOMMU_UNPIN_DMA, pin(2)))).toBe(0);
    run(device.access(FIRST + 3, true));
    run(process.ioctl(container, ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0));
    run(device.access(FIRST + 4, true));
    run(process.ioctl(container, Ioctl.VFIO_IOMMU_ENABLE_IOPF, 0));
    expect(run(dirty())).toEqual([2, 3, 4]);
    const more = space.mmap(64 * PAGE);
    expect(run(map(container, more, IOVA + 64 * PAGE, 64 * PAGE))).toBe(0);
    run(device.access(FIRST + 65, true));
    expect(run(dirty(IOVA + 64 * PAGE, 64 * PAGE))).toEqual([1]);
    expect(run(dirty())).toEqual([]);
  });

  test('a bitmap that cannot be delivered loses nothing', () => {
    const { run, device, flag, dirty, call, space } = logged(16, { hardware });
    flag(START);
    run(device.access(FIRST + 5, true));
    const gone = space.mmap(PAGE);
    run(space.munmap(gone, PAGE));
    expect(run(call(getBitmap(IOVA, 16 * PAGE, PAGE, 8, gone)))).toBe(EFAULT);
    expect(run(dirty())).toEqual([5]);
  });

  test('without memory to split blocks there is no log, and all goes on', () => {
    const { run, device, flag, dirty, iommu } = logged(16, { hardware, iopf: false });
    const [domain] = iommu.domains;
    if (domain?.dirty == null) throw new Error('the domain keeps dirty state');
    const enable = domain.dirty.enable;
    domain.dirty.enable = () => Errno.ENOMEM;
    expect(flag(START)).toBe(Errno.ENOMEM);
    expect(run(dirty())).toBe(EINVAL);
    domain.dirty.enable = enable;
    run(device.access(FIRST + 5, true));
    expect(flag(START)).toBe(0);
    run(device.access(FIRST + 6, true));
    expect(run(dirty())).toEqual([6]);
  });
});

/** VFIO_IOMMU_UNMAP_DMA with the bitmap; `bytes` of the argument are there. */
function unmapping(iova: number, size: number, bitmapAt: number, bytes = 48): DataView {
  const view = new DataView(new ArrayBuffer(48));
  view.setUint32(0, 48, true);
  view.setUint32(4, 1, true);
  const values = [iova, size, PAGE, 8, bitmapAt];
  for (const [index, value] of values.entries()) view.setBigUint64(8 + 8 * index, BigInt(value), true);
  return new DataView(view.buffer, 0, bytes);
}

describe('the bitmap in memory', () => {
  const NOWHERE = 0x1000;

  test('is left alone where nothing is mapped', () => {
    const { run, flag, call, process, container } = logged(64);
    flag(START);
    const empty = IOVA + 64 * PAGE;
    expect(run(call(getBitmap(empty, 64 * PAGE, PAGE, 8, NOWHERE)))).toBe(0);
    const unmap = unmapping(empty, 64 * PAGE, NOWHERE);
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, unmap))).toBe(0);
    expect(unmap.getBigUint64(16, true)).toBe(0n);
  });

  test('is used in the words of mappings alone', () => {
    const { run, flag, call, device, space } = logged(64);
    flag(START);
    run(device.access(FIRST + 9, true));
    // The second word is the last of a page that is there; the third is nowhere.
    const at = space.mmap(2 * PAGE);
    run(space.munmap(at + PAGE, PAGE));
    const second = at + PAGE - 8;
    expect(run(call(getBitmap(IOVA - 64 * PAGE, 192 * PAGE, PAGE, 24, second - 8)))).toBe(0);
    const word = new Uint8Array(8);
    run(space.load(second, word));
    expect([...word]).toEqual([0, 2, 0, 0, 0, 0, 0, 0]);
    run(device.access(FIRST + 9, true));
    expect(run(call(getBitmap(IOVA - 64 * PAGE, 192 * PAGE, PAGE, 24, second)))).toBe(EFAULT);
  });

  test('keeps what it had before a mapping in its word, and has zeros after it', () => {
    const { run, flag, call, device, container, map, space, bitmapAt } = logged(10);
    flag(START);
    const more = space.mmap(7 * PAGE);
    expect(run(map(container, more, IOVA + 20 * PAGE, 7 * PAGE))).toBe(0);
    for (const page of [1, 9, 20, 26]) run(device.access(FIRST + page, true));
    run(space.store(bitmapAt, new Uint8Array(24).fill(0xff)));
    // Bits 5 to 14 and 25 to 31 are of mappings: 6, 14, 25 and 31 are set; 0 to 4 stay; what is between and after is zero.
    expect(run(call(getBitmap(IOVA - 5 * PAGE, 150 * PAGE, PAGE, 24, bitmapAt)))).toBe(0);
    const bits = new Uint8Array(24);
    run(space.load(bitmapAt, bits));
    expect([...bits.subarray(0, 8)]).toEqual([0x5f, 0x40, 0, 0x82, 0, 0, 0, 0]);
    expect([...bits.subarray(8)]).toEqual(new Array(16).fill(0xff));
  });

  test('is used likewise when its pages are unmapped', () => {
    const { run, flag, process, container, device, space, bitmapAt } = logged(10);
    flag(START);
    run(device.access(FIRST + 3, true));
    run(space.store(bitmapAt, new Uint8Array(16).fill(0xff)));
    const unmap = unmapping(IOVA - 4 * PAGE, 128 * PAGE, bitmapAt);
    unmap.setBigUint64(32, 16n, true);
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, unmap))).toBe(0);
    const bits = new Uint8Array(16);
    run(space.load(bitmapAt, bits));
    expect([...bits]).toEqual([0x8f, 0, 0, 0, 0, 0, 0, 0, ...new Array(8).fill(0xff)]);
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

  test.each<[string, bigint, bigint]>([
    ['ends at 2^64', 0xffff_ffff_ffff_f000n, 0x1000n],
    ['ends at 2^64 and holds the mapping', 0x4000_0000n, 0xffff_ffff_c000_0000n],
    ['wraps', 0xffff_ffff_ffff_f000n, 0x2000n],
  ])('of GET_BITMAP: a range that %s', (_what, iova, size) => {
    const { run, flag, call, bitmapAt } = logged(64);
    flag(START);
    const view = getBitmap(0, 0, PAGE, 0x1000_0000, bitmapAt);
    view.setBigUint64(8, iova, true);
    view.setBigUint64(16, size, true);
    expect(run(call(view))).toBe(EINVAL);
  });

  test.each<[string, (bitmapAt: number) => DataView, number]>([
    ['misaligned, and too short for a bitmap', () => unmapping(IOVA + 1, 64 * PAGE, 0, 40), EFAULT],
    ['of no bytes, and too short for a bitmap', () => unmapping(IOVA, 0, 0, 40), EFAULT],
    ['misaligned', (at) => unmapping(IOVA + 1, 64 * PAGE, at), EINVAL],
    ['part of a mapping, and a bitmap that is not there', () => unmapping(IOVA, 32 * PAGE, 0x1000), EINVAL],
    ['a bitmap that is not there', () => unmapping(IOVA, 64 * PAGE, 0x1000), EFAULT],
  ])('of unmapping with the bitmap: %s', (_what, view, errno) => {
    const { run, flag, process, container, bitmapAt, type1 } = logged(64);
    flag(START);
    expect(run(process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, view(bitmapAt)))).toBe(errno);
    expect(type1().io.mappings.count).toBe(1);
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
