/**
 * The dirty log on the whole machine: a device writes at random while the host reclaims, mappings come and go, pages are
 * pinned, and a copy of the memory is kept up by nothing but the log, as a migration does it. In the end the copy is equal.
 */
import { describe, expect, test } from 'vitest';
import { encode } from '../../src/layout/struct.ts';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { DirtyPagesFlags, Ioctl } from '../../src/vfio/uapi.layout.ts';
import { DmaRange, ExtensionIoctl } from '../../src/vfio/uapi-extensions.layout.ts';
import { FIRST, IOVA } from '../review/exhibit/board.ts';
import { machine } from '../review/machine.ts';
import { PAGE } from '../support/host.ts';
import { dmaMap } from '../support/vfio.ts';

const PAGES = 48;
const SCALES = { '4KiB': 1, '16KiB': 4, '64KiB': 16 } as const;

interface Case {
  readonly mode: 'static' | 'stall' | 'pri';
  readonly httu: 'none' | 'dirty';
  readonly granule: keyof typeof SCALES;
  readonly stage: 1 | 2;
}

const CASES: readonly Case[] = (['static', 'stall', 'pri'] as const).flatMap((mode) =>
  (['none', 'dirty'] as const).flatMap((httu) =>
    (['4KiB', '16KiB', '64KiB'] as const).flatMap((granule) =>
      ([1, 2] as const).map((stage) => ({ mode, httu, granule, stage })),
    ),
  ),
);

function logged({ mode, httu, granule, stage }: Case, profile: 'zero' | 'kunpeng920' = 'zero') {
  const scale = SCALES[granule];
  const host = { memory: '64MiB', swap: '64MiB' };
  const board = machine({ mode, profile, scenario: { host, iommu: { httu, granule, stage } } });
  const { process, container, space } = board;
  const pageBytes = scale * PAGE;
  if (mode !== 'static') expect(board.enableIopf()).toBe(0);
  const at = board.memory(PAGES * scale);
  const bitmapAt = space.mmap(pageBytes);
  const request = (code: number, view: DataView | number): Steps<number> => process.ioctl(container, code, view);
  /** Set bits of the bitmap in the process's memory. */
  function* bits(): Steps<number[]> {
    const map = new Uint8Array(8);
    yield* space.load(bitmapAt, map);
    return Array.from({ length: PAGES }, (_, page) => page).filter((page) => ((map[page >> 3] ?? 0) >> (page & 7)) & 1);
  }
  function bitmap(header: DataView, offset: number): DataView {
    header.setBigUint64(offset, BigInt(pageBytes), true);
    header.setBigUint64(offset + 8, 8n, true);
    header.setBigUint64(offset + 16, BigInt(bitmapAt), true);
    return header;
  }
  function range(argsz: number, flags: number, at: number, bytes: number): DataView {
    const view = new DataView(new ArrayBuffer(bytes));
    view.setUint32(0, argsz, true);
    view.setUint32(4, flags, true);
    view.setBigUint64(at, BigInt(IOVA), true);
    view.setBigUint64(at + 8, BigInt(PAGES * pageBytes), true);
    return view;
  }
  return {
    ...board,
    scale,
    pageBytes,
    at,
    *flag(flags: number): Steps {
      expect(yield* request(Ioctl.VFIO_IOMMU_DIRTY_PAGES, range(8, flags, 8, 24))).toBe(0);
    },
    *dirty(): Steps<number[]> {
      const view = bitmap(range(48, DirtyPagesFlags.GET_BITMAP, 8, 48), 24);
      expect(yield* request(Ioctl.VFIO_IOMMU_DIRTY_PAGES, view)).toBe(0);
      return yield* bits();
    },
    /** Unmaps everything: the pages written until then. */
    *unmapAll(): Steps<number[]> {
      expect(yield* request(Ioctl.VFIO_IOMMU_UNMAP_DMA, bitmap(range(48, 1, 8, 48), 24))).toBe(0);
      return yield* bits();
    },
    *mapAll(): Steps {
      expect(yield* request(Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(at, IOVA, PAGES * pageBytes))).toBe(0);
    },
    *pin(code: number, page: number): Steps<number> {
      const view = encode(DmaRange, { ARGSZ: 24, FLAGS: 0, IOVA_LOW: IOVA + page * pageBytes, SIZE_LOW: pageBytes });
      return yield* request(code, view);
    },
    /** A page of the process's memory. */
    *read(page: number): Steps<Uint8Array> {
      const bytes = new Uint8Array(pageBytes);
      expect(yield* space.load(at + page * pageBytes, bytes)).toBe(0);
      return bytes;
    },
    /** Somewhere in a host page, as a page of the device. */
    within: (page: number, part: number) => FIRST + page * scale + (part % scale),
  };
}

test.each(CASES)('the log holds exactly the pages written, whatever happens between: %o', (given) => {
  const board = logged(given);
  const { run, dma, space, at, pageBytes } = board;
  const exact = given.httu === 'dirty' || given.mode !== 'static';
  const random = new Random(`exact ${JSON.stringify(given)}`);
  const everything = Array.from({ length: PAGES }, (_, page) => page);
  const written = new Set<number>();
  const pinned = new Map<number, number>();
  const { VFIO_IOMMU_PIN_DMA, VFIO_IOMMU_UNPIN_DMA } = ExtensionIoctl;
  const expected = () => {
    if (!exact) return everything;
    // What is pinned cannot be watched but by hardware.
    const unwatched = given.httu === 'none' ? pinned.keys() : [];
    return [...new Set([...written, ...unwatched])].sort((a, b) => a - b);
  };
  function* program(): Steps {
    yield* dma(board.within(3, 1), true);
    yield* board.flag(DirtyPagesFlags.START);
    for (let step = 0; step < 160; step++) {
      const page = random.below(PAGES);
      switch (random.below(10)) {
        case 0:
          expect(yield* board.dirty(), `step ${step}`).toEqual(expected());
          written.clear();
          break;
        case 1:
          yield* space.swapOut(at + page * pageBytes, Math.min(8, PAGES - page) * pageBytes);
          break;
        case 2: {
          if (!random.chance(0.3)) break;
          expect(yield* board.unmapAll(), `unmapping at step ${step}`).toEqual(expected());
          written.clear();
          pinned.clear();
          yield* board.mapAll();
          break;
        }
        case 3: {
          if (given.mode === 'static') break;
          const count = pinned.get(page) ?? 0;
          if (count === 0 && pinned.size < 6) {
            expect(yield* board.pin(VFIO_IOMMU_PIN_DMA, page)).toBe(0);
            pinned.set(page, 1);
          } else if (count > 0) {
            expect(yield* board.pin(VFIO_IOMMU_UNPIN_DMA, page)).toBe(0);
            pinned.delete(page);
            if (given.httu === 'none') written.add(page);
          }
          break;
        }
        default: {
          const write = random.chance(0.5);
          expect(yield* dma(board.within(page, random.below(16)), write)).toBe('DONE');
          if (write) written.add(page);
        }
      }
    }
    expect(yield* board.dirty()).toEqual(expected());
    yield* board.flag(DirtyPagesFlags.STOP);
    for (const page of pinned.keys()) expect(yield* board.pin(VFIO_IOMMU_UNPIN_DMA, page)).toBe(0);
  }
  run(program());
  board.tearDown();
});

describe('a copy kept up by the log alone', () => {
  test.each(CASES)('is the memory in the end, with devices writing all the time: %o', (given) => {
    const board = logged(given, 'kunpeng920');
    const { run, dma, scheduler, space, at, pageBytes } = board;
    const random = new Random(`copy ${JSON.stringify(given)}`);
    const copy = new Map<number, Uint8Array>();
    let writing = 3;
    function* device(): Steps {
      for (let step = 0; step < 40; step++) {
        yield random.below(4000);
        const data = new Uint8Array(random.bytes(8));
        const write = random.chance(0.6);
        expect(yield* dma(board.within(random.below(PAGES), random.below(16)), write, 1, data)).toBe('DONE');
      }
      writing -= 1;
    }
    function* reclaim(): Steps {
      while (writing > 0) {
        yield random.below(15_000);
        yield* space.swapOut(at + random.below(PAGES) * pageBytes, pageBytes);
      }
    }
    function* migrate(): Steps {
      yield* board.flag(DirtyPagesFlags.START);
      for (let page = 0; page < PAGES; page++) copy.set(page, yield* board.read(page));
      for (let last = false; !last; ) {
        last = writing === 0;
        for (const page of yield* board.dirty()) copy.set(page, yield* board.read(page));
        yield 3000;
      }
    }
    const tasks = [migrate(), reclaim(), device(), device(), device()].map((steps) => scheduler.spawn('test', steps));
    scheduler.run();
    expect(tasks.every((task) => task.done)).toBe(true);
    for (let page = 0; page < PAGES; page++) {
      expect(Buffer.compare(copy.get(page) ?? Buffer.alloc(0), run(board.read(page))), `page ${page}`).toBe(0);
    }
    board.tearDown();
  });
});

test.each(['stall', 'pri'] as const)('%s: where hardware keeps the log, no page faults because of it', (mode) => {
  const counts = (['none', 'dirty'] as const).map((httu) => {
    const board = logged({ mode, httu, granule: '4KiB', stage: 1 });
    function* program(): Steps {
      for (let page = 0; page < PAGES; page++) yield* board.dma(board.within(page, 0), true);
      yield* board.flag(DirtyPagesFlags.START);
      for (let round = 0; round < 4; round++) {
        for (let page = 0; page < PAGES; page++) yield* board.dma(board.within(page, 0), true);
        expect(yield* board.dirty()).toHaveLength(PAGES);
      }
    }
    board.run(program());
    const { pages, upgrade } = board.io.counters;
    board.tearDown();
    return { pages, upgrade };
  });
  expect(counts).toEqual([
    { pages: PAGES, upgrade: 4 * PAGES },
    { pages: PAGES, upgrade: 0 },
  ]);
});
