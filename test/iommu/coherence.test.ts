/**
 * Invalidations are sufficient: the SMMU keeps what it is not told to forget, so after a flush every page must translate
 * as the tables say, whatever was cached before. Random maps, unmaps and permission changes, caches kept warm.
 */
import { expect, test } from 'vitest';
import type { FeatureOptions } from '../../src/iommu/smmuv3/features.ts';
import { Random } from '../../src/sim/random.ts';
import { DATA, driverBoard } from './driver-board.ts';

interface Case {
  readonly stage: 1 | 2;
  readonly granule: 4096 | 16384 | 65536;
  readonly nested?: boolean;
  readonly features?: FeatureOptions;
}

const CASES: readonly Case[] = [
  ...([1, 2] as const).flatMap((stage) => ([4096, 16384, 65536] as const).map((granule) => ({ stage, granule }))),
  { stage: 1, granule: 4096, features: { RIL: 0 } },
  { stage: 2, granule: 4096, features: { RIL: 0 } },
  { stage: 1, granule: 16384, features: { RIL: 0 } },
  { stage: 1, granule: 4096, features: { BBML: 0, ArchMinorRev: 1 } },
  { stage: 1, granule: 4096, nested: true },
  { stage: 2, granule: 4096, nested: true },
];

test.each(CASES)('%o', ({ stage, granule, nested = false, features = {} }) => {
  const board = driverBoard({ smmu: { features } });
  const random = new Random(`coherence ${stage} ${granule} ${nested} ${JSON.stringify(features)}`);
  const fn = board.function(8, { ats: true });
  const below = nested ? board.driver.createDomain({ stage: 2, granule }) : null;
  const top = board.attached(fn, below === null ? { stage, granule } : { stage: 1, granule, parent: below });
  const domain = stage === 2 && below !== null ? below : top;
  const block = domain.pageSizes[1] ?? 16 * granule;
  const blockPages = block / granule;
  const window = 3 * blockPages;
  // The stage that does not change maps everything to itself.
  if (below !== null) {
    const steady = domain === below ? top : below;
    const from = domain === below ? 0 : DATA;
    expect(steady.map(from, from, domain === below ? window * granule : 0x800_0000, 3)).toBe(0);
  }
  const pagesPerGranule = granule / 4096;
  const probe = (page: number, write: boolean): number =>
    board.smmu.translateAccess(fn.streamId, -1, page * pagesPerGranule, write);
  const spots = Array.from({ length: 60 }, () => random.below(window));

  const gather = domain.newGather();
  for (let step = 0; step < 150; step++) {
    const count = random.chance(0.3) ? blockPages : 1 + random.below(40);
    const start = random.chance(0.3) ? random.below(3) * blockPages : random.below(window);
    const iova = start * granule;
    const size = Math.min(count, window - start) * granule;
    const slots = Math.floor((0x800_0000 - size) / granule);
    for (const spot of spots) probe(spot, false);
    switch (random.below(4)) {
      case 0:
      case 1: {
        const physical = DATA + (size === block && random.chance(0.7) ? 0 : random.below(Math.max(1, slots)) * granule);
        if (physical + size <= 0x5000_0000) domain.map(iova, physical, size, random.chance(0.5) ? 3 : 1);
        break;
      }
      case 2:
        expect(domain.unmap(iova, size, gather)).toBeGreaterThanOrEqual(0);
        break;
      default:
        expect(domain.protect(iova, size, random.chance(0.5) ? 3 : 1, gather)).toBe(0);
    }
    if (random.chance(0.3)) continue;
    board.run(domain.flush(gather));
    for (const spot of [start, start + size / granule - 1, ...spots]) {
      const expected = domain.translate(spot * granule);
      const page = expected === null ? -1 : expected.physical / 4096;
      expect(probe(spot, false), `page ${spot} at step ${step}`).toBe(page);
      const writable = expected !== null && (expected.protection & 2) !== 0;
      expect(probe(spot, true), `write to page ${spot} at step ${step}`).toBe(writable ? page : -1);
    }
  }
  expect(board.driver.counters.flushes).toBeGreaterThan(10);
  expect(board.driver.counters.commandErrors).toBe(0);
});

test('one flush waits once, and few commands cover a large range', () => {
  const board = driverBoard();
  const fn = board.function(8, { ats: true });
  const domain = board.attached(fn);
  domain.map(0x1000, DATA, 0x77_f000, 3);
  const before = { ...board.driver.counters };
  const gather = domain.newGather();
  domain.unmap(0x1000, 0x77_f000, gather);
  board.run(domain.flush(gather));
  expect(board.driver.counters.flushes - before.flushes).toBe(1);
  // Emptied tables forbid level hints; still each run of leaves of one size takes a handful of range commands.
  expect(board.driver.counters.commands - before.commands).toBeLessThan(16);
});
