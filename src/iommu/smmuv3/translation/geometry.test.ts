/** DDI 0487 D8.2: the tables of initial look-up levels, typed in. */
import { describe, expect, test } from 'vitest';
import {
  contiguousBits,
  firstBlockLevel,
  levelShift,
  stage1StartLevel,
  stage2StartFits,
  stage2StartLevel,
} from './geometry.ts';

/** Granule, level, first and last TxSZ: Tables D8-18, D8-28, D8-37. */
const STAGE_1_START = [
  [12, -1, 12, 15],
  [12, 0, 16, 24],
  [12, 1, 25, 33],
  [12, 2, 34, 42],
  [12, 3, 43, 48],
  [14, 0, 12, 16],
  [14, 1, 17, 27],
  [14, 2, 28, 38],
  [14, 3, 39, 48],
  [16, 1, 12, 21],
  [16, 2, 22, 34],
  [16, 3, 35, 47],
] as const;

describe('stage 1 start level', () => {
  test.each(STAGE_1_START)('granule %i bits: level %i for TxSZ %i to %i', (granule, level, first, last) => {
    for (let TxSZ = first; TxSZ <= last; TxSZ++)
      expect(stage1StartLevel(granule, 64 - TxSZ), `TxSZ ${TxSZ}`).toBe(level);
  });
});

/** Granule, S2DS, S2SL0_2, S2SL0, level: Tables D8-19, D8-29, D8-38. */
const STAGE_2_LEVELS = [
  [12, false, 0, 0, 2],
  [12, false, 0, 1, 1],
  [12, false, 0, 2, 0],
  [12, false, 0, 3, 3],
  [12, true, 0, 0, 2],
  [12, true, 1, 0, -1],
  [12, true, 1, 1, undefined],
  [12, true, 1, 2, undefined],
  [12, true, 1, 3, undefined],
  [14, false, 0, 0, 3],
  [14, false, 0, 1, 2],
  [14, false, 0, 2, 1],
  [14, false, 0, 3, undefined],
  [14, true, 0, 3, 0],
  [16, false, 0, 0, 3],
  [16, false, 0, 1, 2],
  [16, false, 0, 2, 1],
  [16, false, 0, 3, undefined],
] as const;

test.each(STAGE_2_LEVELS)('stage 2, granule %i, DS %s, SL2 %i, SL0 %i starts at %s', (granule, DS, SL2, SL0, level) => {
  expect(stage2StartLevel(granule, SL0, SL2, DS, true)).toBe(level);
});

test('with 4 KiB granules, stage 2 starts at level 3 only where small tables are supported', () => {
  expect(stage2StartLevel(12, 3, 0, false, false)).toBeUndefined();
  expect(stage2StartLevel(12, 3, 0, false, true)).toBe(3);
});

/** Granule, level, T0SZ of one table, T0SZ of 2 to 16 tables: Tables D8-20 to D8-24, D8-30 to D8-33, D8-39 to D8-41. */
const STAGE_2_START = [
  [12, -1, [12, 15], []],
  [12, 0, [16, 24], [15, 14, 13, 12]],
  [12, 1, [25, 33], [24, 23, 22, 21]],
  [12, 2, [34, 42], [33, 32, 31, 30]],
  [12, 3, [43, 48], [42, 41, 40, 39]],
  [14, 0, [12, 16], []],
  [14, 1, [17, 27], [16, 15, 14, 13]],
  [14, 2, [28, 38], [27, 26, 25, 24]],
  [14, 3, [39, 48], [38, 37, 36, 35]],
  [16, 1, [12, 21], []],
  [16, 2, [22, 34], [21, 20, 19, 18]],
  [16, 3, [35, 47], [34, 33, 32, 31]],
] as const;

test.each(STAGE_2_START)(
  'stage 2, granule %i, level %i takes exactly the sizes of its table',
  (granule, level, one, many) => {
    for (let T0SZ = 12; T0SZ <= (granule === 16 ? 47 : 48); T0SZ++) {
      const fits = (T0SZ >= one[0] && T0SZ <= one[1]) || many.some((size) => size === T0SZ);
      expect(stage2StartFits(granule, 64 - T0SZ, level), `T0SZ ${T0SZ}`).toBe(fits);
    }
  },
);

/** Granule, level, size of a leaf in bits: Tables D8-17, D8-27, D8-36. */
test.each([
  [12, -1, 48],
  [12, 0, 39],
  [12, 1, 30],
  [12, 2, 21],
  [12, 3, 12],
  [14, 0, 47],
  [14, 1, 36],
  [14, 2, 25],
  [14, 3, 14],
  [16, 1, 42],
  [16, 2, 29],
  [16, 3, 16],
])('granule %i, level %i resolves from bit %i', (granule, level, shift) => {
  expect(levelShift(granule, level)).toBe(shift);
});

test.each([
  [12, false, 1],
  [12, true, 0],
  [14, false, 2],
  [14, true, 1],
  [16, false, 2],
  [16, true, 1],
])('granule %i, 52-bit %s: blocks from level %i', (granule, wide, level) => {
  expect(firstBlockLevel(granule, wide)).toBe(level);
});

/** Table D8-104; the last three are RES0 (R_HMQXG). */
test.each([
  [12, 1, 34],
  [12, 2, 25],
  [12, 3, 16],
  [14, 2, 30],
  [14, 3, 21],
  [16, 2, 34],
  [16, 3, 21],
  [12, 0, 39],
  [14, 1, 36],
  [16, 1, 42],
])('granule %i, level %i: a contiguous group has 2^%i bytes', (granule, level, bits) => {
  expect(contiguousBits(granule, level)).toBe(bits);
});
