/** DDI 0487 D8.6 and IHI 0070 §13.1: the combination tables, typed in. MAIR bytes: outer nibble, inner nibble. */
import { describe, expect, test } from 'vitest';
import {
  combineAttributes,
  combineHints,
  combineShareability,
  consistentShareability,
  isStage2Device,
  normalizeAttributes,
} from './attributes.ts';

const nGnRnE = 0x00;
const nGnRE = 0x04;
const nGRE = 0x08;
const GRE = 0x0c;
const NC = 0x44;
const WT = 0xbb;
const WB = 0xff;
const FWB = 16;

describe('stage 1 with stage 2, S2FWB=0', () => {
  /** Table D8-97: the stronger Device type; MemAttr[1:0] with MemAttr[3:2]=0. */
  test.each([
    [WB, 0b0000, nGnRnE],
    [WB, 0b0011, GRE],
    [NC, 0b0010, nGRE],
    [nGnRE, 0b0011, nGnRE],
    [GRE, 0b0001, nGnRE],
    [nGnRnE, 0b0011, nGnRnE],
    [nGRE, 0b1111, nGRE],
    [nGnRE, 0b0101, nGnRE],
  ])('0x%s and MemAttr %i give 0x%s', (first, memAttr, result) => {
    expect(combineAttributes(first, memAttr)).toBe(result);
  });

  /** Table D8-98, at both levels. */
  test.each([
    [NC, 0b1111, NC],
    [WB, 0b0101, NC],
    [WT, 0b1010, WT],
    [WT, 0b1111, WT],
    [WB, 0b1010, WT],
    [WB, 0b1111, WB],
    [0xf4, 0b1111, 0xf4],
    [WB, 0b0111, 0x4f],
    [WB, 0b1001, 0xb4],
    [WB, 0b1110, 0xfb],
  ])('0x%s and MemAttr %i give 0x%s', (first, memAttr, result) => {
    expect(combineAttributes(first, memAttr)).toBe(result);
  });

  test('allocation hints come from stage 1; where it does not cache, they are read and write allocate (D8.6.3)', () => {
    expect(combineAttributes(0xee, 0b1111)).toBe(0xee);
    expect(combineAttributes(0xee, 0b1010)).toBe(0xaa);
    expect(combineAttributes(0x55, 0b1111)).toBe(0x55);
  });

  test('reserved MemAttr encodings are Device-nGnRnE', () => {
    for (const memAttr of [0b0100, 0b1000, 0b1100]) expect(combineAttributes(WB, memAttr)).toBe(nGnRnE);
  });
});

/** Tables D8-100 and D8-101. */
describe('stage 1 with stage 2, S2FWB=1', () => {
  test.each([
    [WB, 0b000, nGnRnE],
    [WB, 0b011, GRE],
    [nGnRE, 0b011, nGnRE],
    [GRE, 0b101, GRE],
    [NC, 0b101, NC],
    [WT, 0b101, NC],
    [WB, 0b101, NC],
    [nGnRnE, 0b110, WB],
    [nGRE, 0b110, WB],
    [GRE, 0b110, WB],
    [NC, 0b110, WB],
    [WT, 0b110, WB],
    [WB, 0b110, WB],
    [nGRE, 0b111, nGRE],
    [NC, 0b111, NC],
    [WT, 0b111, WT],
    [WB, 0b111, WB],
  ])('0x%s and MemAttr[2:0] %i give 0x%s', (first, memAttr, result) => {
    expect(combineAttributes(first, FWB | memAttr)).toBe(result);
    expect(combineAttributes(first, FWB | 8 | memAttr)).toBe(result);
  });

  test('a forced Write-Back keeps the hints of stage 1 where it caches', () => {
    expect(combineAttributes(0xaa, FWB | 0b110)).toBe(0xee);
  });
});

test('tables meet Device memory where stage 2 says so', () => {
  for (const memAttr of [0b0000, 0b0001, 0b0010, 0b0011, 0b0100, 0b1000]) expect(isStage2Device(memAttr)).toBe(true);
  for (const memAttr of [0b0101, 0b0110, 0b1010, 0b1111]) expect(isStage2Device(memAttr)).toBe(false);
  for (const memAttr of [0b000, 0b001, 0b010, 0b011]) expect(isStage2Device(FWB | memAttr)).toBe(true);
  for (const memAttr of [0b101, 0b110, 0b111]) expect(isStage2Device(FWB | memAttr)).toBe(false);
});

/** Table D8-103; 0 Non-shareable, 2 Outer, 3 Inner. */
test.each([
  [2, 0, 2],
  [2, 3, 2],
  [3, 2, 2],
  [3, 3, 3],
  [3, 0, 3],
  [0, 2, 2],
  [0, 3, 3],
  [0, 0, 0],
])('shareability %i with %i gives %i', (first, second, result) => {
  expect(combineShareability(first, second)).toBe(result);
});

test('Device and Non-cacheable are Outer Shareable whatever the tables say (§13.1.7)', () => {
  for (const attributes of [nGnRnE, GRE, NC]) expect(consistentShareability(attributes, 3)).toBe(2);
  expect(consistentShareability(WB, 3)).toBe(3);
  expect(consistentShareability(WB, 0)).toBe(0);
  expect(consistentShareability(WB, 1)).toBe(0);
});

test('MAIR values are output as they are, reserved ones as §5.4 MAIR0 says', () => {
  for (const attributes of [nGnRnE, nGnRE, nGRE, GRE, NC, WT, WB, 0x77, 0x4f]) {
    expect(normalizeAttributes(attributes)).toBe(attributes);
  }
  const reserved = [
    [0x01, nGnRnE],
    [0x06, nGnRE],
    [0x0b, nGRE],
    [0x0f, GRE],
    [0x40, 0x43],
    [0xa0, 0xa3],
    [0xf0, 0xf3],
  ] as const;
  for (const [attributes, meaning] of reserved) expect(normalizeAttributes(attributes)).toBe(meaning);
});

test('incoming hints: no-allocate and transient win, and only cacheable types have hints (§13.4.2)', () => {
  expect(combineHints(WB, 0xee)).toBe(0xee);
  expect(combineHints(WB, 0x77)).toBe(0x77);
  expect(combineHints(0xee, 0xdd)).toBe(0xcc);
  expect(combineHints(WT, NC)).toBe(WT);
  expect(combineHints(NC, 0xee)).toBe(NC);
  expect(combineHints(nGnRE, 0xee)).toBe(nGnRE);
});
