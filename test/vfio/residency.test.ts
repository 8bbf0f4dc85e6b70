/**
 * Which pages go under a residency limit, on the whole machine: with the access state of the SMMU a working set stays while
 * a stream passes by; without it, the order of mapping decides.
 */
import { describe, expect, test } from 'vitest';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { FIRST } from '../review/exhibit/board.ts';
import { machine } from '../review/machine.ts';
import { PAGE } from '../support/host.ts';

type Httu = 'none' | 'access' | 'dirty';
type Mode = 'stall' | 'pri';

const GRANULES = { '4KiB': 1, '16KiB': 4, '64KiB': 16 } as const;
type Granule = keyof typeof GRANULES;

/** Faults that the accesses of `order` take with room for `limit` host pages. */
function faults(
  mode: Mode,
  httu: Httu,
  limit: number,
  pages: number,
  order: readonly number[],
  granule: Granule = '4KiB',
) {
  const scale = GRANULES[granule];
  const board = machine({ mode, scenario: { iommu: { httu, granule } } });
  const { run, dma, io } = board;
  board.enableIopf();
  board.type1().setResidencyLimit(limit * scale * PAGE);
  board.memory(pages * scale);
  function* use(): Steps {
    for (const [step, page] of order.entries()) {
      const ending = yield* dma(FIRST + page * scale, step % 3 === 0);
      if (ending !== 'DONE') throw new Error(`page ${page}: ${ending}`);
    }
  }
  run(use());
  expect(io.residency.peakPages).toBeLessThanOrEqual(limit);
  expect(io.residency.pages).toBeLessThanOrEqual(limit);
  const { pages: count } = io.counters;
  board.tearDown();
  return count;
}

/** Eight pages used all the time, and a stream of pages used once, one of them after each round over the eight. */
function hotSet(rounds: number): { readonly order: readonly number[]; readonly pages: number } {
  const order: number[] = [];
  for (let round = 0; round < rounds; round++) order.push(0, 1, 2, 3, 4, 5, 6, 7, 8 + round);
  return { order, pages: 8 + rounds };
}

describe.each(['stall', 'pri'] as const)('%s', (mode) => {
  test('a hot set stays: its pages fault once, where oldest first has them fault again and again', () => {
    const { order, pages } = hotSet(120);
    const least = pages;
    const oldestFirst = faults(mode, 'none', 16, pages, order);
    const leastRecentlyUsed = faults(mode, 'dirty', 16, pages, order);
    expect(oldestFirst).toBeGreaterThan(least + 60);
    expect(leastRecentlyUsed).toBeLessThan(least + 16);
    // Access flags are all that it takes.
    expect(faults(mode, 'access', 16, pages, order)).toBe(leastRecentlyUsed);
  });

  test.each(Object.keys(GRANULES) as Granule[])('with pages of %s', (granule) => {
    const { order, pages } = hotSet(40);
    expect(faults(mode, 'dirty', 12, pages, order, granule)).toBeLessThan(
      faults(mode, 'none', 12, pages, order, granule),
    );
  });

  test('where every page is used as often as any other it makes no difference to the number of faults', () => {
    const order = Array.from({ length: 200 }, (_, step) => step % 40);
    expect(faults(mode, 'dirty', 16, 40, order)).toBe(faults(mode, 'none', 16, 40, order));
  });

  test.each([1, 2, 3])('random accesses, some pages far more often than others: fewer faults, seed %i', (seed) => {
    const random = new Random(`residency ${seed}`);
    const order = Array.from({ length: 800 }, () => Math.floor(64 * (random.below(1024) / 1024) ** 5));
    const oldestFirst = faults(mode, 'none', 20, 64, order);
    expect(faults(mode, 'dirty', 20, 64, order)).toBeLessThan(oldestFirst);
  });
});
