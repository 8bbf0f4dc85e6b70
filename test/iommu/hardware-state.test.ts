/**
 * Access and dirty state that the SMMU keeps and the driver reads (IHI 0070 §3.13): a function reads and writes at random
 * through the SMMU, by itself and by ATS, while the driver maps, unmaps, protects and clears. What is told written is what
 * was written, page by page.
 */
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import type { IommuDomain } from '../../src/iommu/core.ts';
import type { FeatureOptions } from '../../src/iommu/smmuv3/features.ts';
import { Random } from '../../src/sim/random.ts';
import { DATA, type DriverBoard, driverBoard, type TestFunction } from './driver-board.ts';

const { SUCCESS } = Completion;
const RW = 3;
const READ = 1;

interface Case {
  readonly stage: 1 | 2;
  readonly granule: 4096 | 16384 | 65536;
  readonly nested?: boolean;
  readonly features?: FeatureOptions;
}

const CASES: readonly Case[] = [
  ...([1, 2] as const).flatMap((stage) => ([4096, 16384, 65536] as const).map((granule) => ({ stage, granule }))),
  ...([1, 2] as const).flatMap((stage) =>
    ([4096, 16384, 65536] as const).map((granule) => ({ stage, granule, nested: true })),
  ),
  { stage: 1, granule: 4096, features: { RIL: 0 } },
  { stage: 2, granule: 4096, features: { BBML: 0, ArchMinorRev: 1 } },
];

const WINDOW = 96;

interface Setting {
  readonly board: DriverBoard;
  readonly fn: TestFunction;
  /** The domain whose state is looked at; the function's addresses are its own. */
  readonly domain: IommuDomain;
}

function setUp({ stage, granule, nested = false, features = {} }: Case): Setting {
  const board = driverBoard({ smmu: { features } });
  const fn = board.function(8, { ats: true });
  const below = nested ? board.driver.createDomain({ stage: 2, granule }) : null;
  const top = board.attached(fn, below === null ? { stage, granule } : { stage: 1, granule, parent: below });
  const domain = stage === 2 && below !== null ? below : top;
  if (below !== null) {
    const steady = domain === below ? top : below;
    const from = domain === below ? 0 : DATA;
    expect(steady.map(from, from, domain === below ? WINDOW * granule : 0x800_0000, RW)).toBe(0);
  }
  return { board, fn, domain };
}

test.each(CASES)('the pages told written are the pages written: %o', (given) => {
  const { board, fn, domain } = setUp(given);
  const { granule } = given;
  const { dirty } = domain;
  if (dirty === null) throw new Error('dirty state is announced');
  const random = new Random(`hardware state ${JSON.stringify(given)}`);
  const pagesPerGranule = granule / 4096;
  const mapped = new Map<number, number>();
  /** Pages that were written, or for which the function may write without asking, since they were last told. */
  const model = new Set<number>();
  const told = new Set<number>();
  const sink = {
    noteWritten(iova: number, size: number): void {
      expect([iova % granule, size]).toEqual([0, granule]);
      told.add(iova / granule);
    },
  };
  /** What the function's ATC would hold: pages that it may write. */
  const granted = new Set<number>();
  const gather = domain.newGather();
  const flush = () => {
    fn.invalidations.length = 0;
    board.run(domain.flush(gather));
    for (const { page, pages } of fn.invalidations) {
      for (const held of granted) {
        const first = held * pagesPerGranule;
        if (first + pagesPerGranule > page && first < page + pages) granted.delete(held);
      }
    }
  };
  /** Compares what is told of the whole window with the model; both start over. */
  const compare = (step: number) => {
    expect(dirty.readAndClear(0, WINDOW * granule, sink, gather)).toBe(0);
    expect(
      [...told].sort((a, b) => a - b),
      `step ${step}`,
    ).toEqual([...model].sort((a, b) => a - b));
    // Before the flush a write may go past what was cleared, by a cached translation: its page was just told.
    const between = new Set([...told].filter((page) => mapped.get(page) === RW && random.chance(0.5)));
    for (const page of between) expect(fn.access(page * pagesPerGranule, { write: true }).status).toBe(SUCCESS);
    flush();
    expect([...granted].filter((page) => told.has(page))).toEqual([]);
    model.clear();
    told.clear();
    dirty.readAndClear(0, WINDOW * granule, sink, gather);
    expect([...told].filter((page) => !between.has(page))).toEqual([]);
    flush();
    told.clear();
  };
  domain.map(0, DATA, 16 * granule, RW);
  for (let page = 0; page < 16; page++) mapped.set(page, RW);
  expect(fn.access(3 * pagesPerGranule, { write: true }).status).toBe(SUCCESS);
  expect(dirty.enable(gather)).toBe(0);
  flush();

  for (let step = 0; step < 400; step++) {
    const page = random.below(WINDOW);
    const wire = page * pagesPerGranule + random.below(pagesPerGranule);
    const protection = mapped.get(page) ?? 0;
    const write = random.chance(0.5);
    switch (random.below(8)) {
      case 0:
      case 1: {
        const { status } = fn.access(wire, { write });
        const allowed = write ? protection === RW : protection !== 0;
        expect(status === SUCCESS, `access of page ${page} at step ${step}`).toBe(allowed);
        if (allowed && write) model.add(page);
        break;
      }
      case 2: {
        const answer = fn.translate(wire, { noWrite: !write });
        expect(answer.read, `translation of page ${page} at step ${step}`).toBe(protection !== 0);
        if (write) expect(answer.write).toBe(protection === RW);
        // §3.13.7.1: granted is as good as written, and only a request with NW = 0 makes a page dirty.
        if (write && answer.write) model.add(page);
        if (answer.write) {
          expect(model.has(page), 'no grant of a clean page').toBe(true);
          granted.add(page);
        }
        break;
      }
      case 3: {
        const count = 1 + random.below(6);
        const to = random.chance(0.6) ? RW : READ;
        const free =
          page + count <= WINDOW && Array.from({ length: count }, (_, i) => page + i).every((p) => !mapped.has(p));
        const status = domain.map(page * granule, DATA + page * granule, Math.min(count, WINDOW - page) * granule, to);
        if (free) expect(status).toBe(0);
        if (status === 0) for (let p = page; p < Math.min(page + count, WINDOW); p++) mapped.set(p, to);
        break;
      }
      case 4: {
        const count = Math.min(1 + random.below(4), WINDOW - page);
        domain.unmap(page * granule, count * granule, gather, sink);
        for (let p = page; p < page + count; p++) mapped.delete(p);
        flush();
        break;
      }
      case 5: {
        const count = Math.min(1 + random.below(4), WINDOW - page);
        const to = random.chance(0.5) ? RW : READ;
        // What can be written no more loses its state: it is told before.
        dirty.readAndClear(page * granule, count * granule, sink, gather);
        expect(domain.protect(page * granule, count * granule, to, gather)).toBe(0);
        for (let p = page; p < page + count; p++) if (mapped.has(p)) mapped.set(p, to);
        flush();
        break;
      }
      case 6:
        // A device that was granted writing writes without a word: the page is known to be dirty.
        for (const held of granted) expect(model.has(held), `grant of page ${held} at step ${step}`).toBe(true);
        break;
      default:
        if (random.chance(0.3)) compare(step);
    }
  }
  compare(400);
  expect(board.driver.counters.commandErrors).toBe(0);
});

describe('what is announced decides', () => {
  test.each<[number, boolean, boolean]>([
    [0, false, false],
    [1, true, false],
    [2, true, true],
  ])('IDR0.HTTU = %i', (HTTU, access, dirty) => {
    const { domain, board, fn } = setUp({ stage: 1, granule: 4096, features: { HTTU } });
    expect([domain.access !== null, domain.dirty !== null]).toEqual([access, dirty]);
    domain.map(0x5000, DATA, 4096, RW);
    expect(fn.access(5, { write: true }).status).toBe(SUCCESS);
    expect(board.driver.counters.commandErrors).toBe(0);
  });

  test('not where the SMMU does not see the memory coherently', () => {
    const { domain, fn } = setUp({ stage: 2, granule: 4096, features: { COHACC: 0 } });
    expect([domain.access, domain.dirty]).toEqual([null, null]);
    domain.map(0x5000, DATA, 4096, RW);
    expect(fn.access(5, { write: true }).status).toBe(SUCCESS);
  });
});

test.each(CASES)('a leaf is accessed once it is used again after the flush, by itself or by ATS: %o', (given) => {
  const { board, fn, domain } = setUp(given);
  const { granule } = given;
  const wire = (page: number) => (page * granule) / 4096;
  const { access } = domain;
  if (access === null) throw new Error('access state is announced');
  const gather = domain.newGather();
  domain.map(0, DATA, 8 * granule, RW);
  for (let page = 0; page < 8; page++) {
    expect(fn.access(wire(page)).status).toBe(SUCCESS);
    expect(access.testAndClear(page * granule, gather)).toBeGreaterThanOrEqual(granule);
  }
  // Cached still: not seen.
  fn.access(wire(0));
  expect(access.testAndClear(0, gather)).toBe(0);
  board.run(domain.flush(gather));
  expect(fn.invalidations.length).toBeGreaterThan(0);
  fn.access(wire(1));
  fn.access(wire(2), { write: true });
  fn.translate(wire(3), { noWrite: true });
  const seen = Array.from({ length: 8 }, (_, page) => access.testAndClear(page * granule, gather) > 0);
  expect(seen).toEqual([false, true, true, true, false, false, false, false]);
  board.run(domain.flush(gather));
});

test('with ATS: a request for reading leaves the page clean and grants reading, one for writing makes it dirty', () => {
  const { board, fn, domain } = setUp({ stage: 1, granule: 4096 });
  const { dirty } = domain;
  if (dirty === null) throw new Error('dirty state is announced');
  const gather = domain.newGather();
  domain.map(0x5000, DATA, 4096, RW);
  dirty.enable(gather);
  board.run(domain.flush(gather));
  const told: number[] = [];
  const sink = { noteWritten: (iova: number) => void told.push(iova) };
  expect(fn.translate(5, { noWrite: true })).toMatchObject({ read: true, write: false });
  dirty.readAndClear(0x5000, 4096, sink, gather);
  expect([told, gather.empty]).toEqual([[], true]);
  expect(fn.translate(5)).toMatchObject({ read: true, write: true });
  fn.invalidations.length = 0;
  dirty.readAndClear(0x5000, 4096, sink, gather);
  expect(told).toEqual([0x5000]);
  board.run(domain.flush(gather));
  // The grant is taken back: the next write asks again.
  expect(fn.invalidations).toEqual([{ page: 5, pages: 1, pasid: -1, global: false }]);
});
