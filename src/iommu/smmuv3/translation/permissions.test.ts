/** DDI 0487 D8.4: the permission tables, typed in. */
import { describe, expect, test } from 'vitest';
import { stage1PermissionRow, stage1Permissions, stage2Permissions } from './permissions.ts';

/** Permission bits from a string such as 'RWX/R': privileged, then unprivileged. */
function bits(text: string): number {
  const [privileged = '', unprivileged = ''] = text.split('/');
  const half = (part: string) =>
    (part.includes('R') ? 1 : 0) | (part.includes('W') ? 2 : 0) | (part.includes('X') ? 4 : 0);
  return half(privileged) | (half(unprivileged) << 3);
}

/** UXN, PXN, AP[2:1], WXN (both where it does not matter), permissions: Table D8-65. */
const TWO_LEVELS: readonly (readonly [number, number, number, readonly number[], string])[] = [
  [0, 0, 0b00, [0], 'RWX/X'],
  [0, 0, 0b00, [1], 'RW/X'],
  [0, 0, 0b01, [0], 'RW/RWX'],
  [0, 0, 0b01, [1], 'RW/RW'],
  [0, 0, 0b10, [0, 1], 'RX/X'],
  [0, 0, 0b11, [0, 1], 'RX/RX'],
  [0, 1, 0b00, [0, 1], 'RW/X'],
  [0, 1, 0b01, [0], 'RW/RWX'],
  [0, 1, 0b01, [1], 'RW/RW'],
  [0, 1, 0b10, [0, 1], 'R/X'],
  [0, 1, 0b11, [0, 1], 'R/RX'],
  [1, 0, 0b00, [0], 'RWX/'],
  [1, 0, 0b00, [1], 'RW/'],
  [1, 0, 0b01, [0, 1], 'RW/RW'],
  [1, 0, 0b10, [0, 1], 'RX/'],
  [1, 0, 0b11, [0, 1], 'RX/R'],
  [1, 1, 0b00, [0, 1], 'RW/'],
  [1, 1, 0b01, [0, 1], 'RW/RW'],
  [1, 1, 0b10, [0, 1], 'R/'],
  [1, 1, 0b11, [0, 1], 'R/R'],
];

/** XN, AP[2], WXN, permissions: Table D8-66. */
const ONE_LEVEL: readonly (readonly [number, number, readonly number[], string])[] = [
  [0, 0, [0], 'RWX/RWX'],
  [0, 0, [1], 'RW/RW'],
  [0, 1, [0, 1], 'RX/RX'],
  [1, 0, [0, 1], 'RW/RW'],
  [1, 1, [0, 1], 'R/R'],
];

const leafLow = (AP: number) => AP << 6;
const leafHigh = (UXN: number, PXN: number) => (UXN << 22) | (PXN << 21);
const tableHigh = (fields: { PXNTable?: number; UXNTable?: number; APTable?: number }) =>
  ((fields.PXNTable ?? 0) << 27) | ((fields.UXNTable ?? 0) << 28) | ((fields.APTable ?? 0) << 29);

describe('stage 1', () => {
  test.each(TWO_LEVELS)('two privilege levels: UXN %i, PXN %i, AP %i, WXN %j give %s', (UXN, PXN, AP, WXNs, text) => {
    for (const WXN of WXNs) {
      const row = stage1PermissionRow(true, WXN === 1, false, false);
      expect(stage1Permissions(row, leafLow(AP), leafHigh(UXN, PXN), 0, false)).toBe(bits(text));
      expect(stage1Permissions(row, leafLow(AP), 0, tableHigh({ UXNTable: UXN, PXNTable: PXN }), false)).toBe(
        bits(text),
      );
    }
  });

  test.each(ONE_LEVEL)('one privilege level: XN %i, AP[2] %i, WXN %j give %s', (XN, AP2, WXNs, text) => {
    for (const WXN of WXNs) {
      for (const AP1 of [0, 1]) {
        for (const PXN of [0, 1]) {
          const row = stage1PermissionRow(false, WXN === 1, false, false);
          expect(stage1Permissions(row, leafLow((AP2 << 1) | AP1), leafHigh(XN, PXN), 0, false)).toBe(bits(text));
        }
      }
    }
  });

  /** Table D8-64, on a leaf that grants everything but privileged execution of user-writable memory. */
  test.each([
    [0b00, 'RW/RWX'],
    [0b01, 'RWX/X'],
    [0b10, 'RX/RX'],
    [0b11, 'RX/X'],
  ])('APTable %i leaves %s', (APTable, text) => {
    const row = stage1PermissionRow(true, false, false, false);
    expect(stage1Permissions(row, leafLow(0b01), 0, tableHigh({ APTable }), false)).toBe(bits(text));
  });

  test('with one privilege level, APTable[0] and PXNTable mean nothing', () => {
    const row = stage1PermissionRow(false, false, false, false);
    expect(stage1Permissions(row, leafLow(0b01), 0, tableHigh({ APTable: 0b01, PXNTable: 1 }), false)).toBe(
      bits('RWX/RWX'),
    );
    expect(stage1Permissions(row, leafLow(0b01), 0, tableHigh({ APTable: 0b11 }), false)).toBe(bits('RX/RX'));
  });

  /** D8.4.5.1: AP, UXN, EPAN, permissions with PAN=1. */
  test.each([
    [0b01, 0, false, '/RWX'],
    [0b11, 0, false, 'X/RX'],
    [0b00, 0, false, 'RWX/X'],
    [0b00, 0, true, 'X/X'],
    [0b00, 1, true, 'RWX/'],
    [0b10, 0, true, 'X/X'],
  ])('PAN: AP %i, UXN %i, EPAN %s leave %s', (AP, UXN, EPAN, text) => {
    const row = stage1PermissionRow(true, false, true, EPAN);
    expect(stage1Permissions(row, leafLow(AP), leafHigh(UXN, 0), 0, false)).toBe(bits(text));
  });

  test('a writable-clean leaf is as executable as it will be once dirty (D8.5.2.2)', () => {
    const row = stage1PermissionRow(true, true, false, false);
    expect(stage1Permissions(row, leafLow(0b11), 0, 0, true)).toBe(bits('RW/RW'));
    expect(stage1Permissions(row, leafLow(0b11), 0, 0, false)).toBe(bits('RX/RX'));
  });
});

describe('stage 2', () => {
  /** S2AP, Table D8-76, without execution. */
  test.each([
    [0b00, '/'],
    [0b01, 'R/R'],
    [0b10, 'W/W'],
    [0b11, 'RW/RW'],
  ])('S2AP %i permits %s', (S2AP, text) => {
    expect(stage2Permissions(S2AP << 6, 0b10 << 21, true)).toBe(bits(text));
  });

  /** XN[1:0], Table D8-78. */
  test.each([
    [0b00, 'X/X'],
    [0b01, '/X'],
    [0b10, '/'],
    [0b11, 'X/'],
  ])('XN %i permits %s', (XN, text) => {
    expect(stage2Permissions(0, XN << 21, true)).toBe(bits(text));
  });

  test('without XNX only XN[1] counts (Table D8-77)', () => {
    for (const low of [0, 1]) {
      expect(stage2Permissions(0, low << 21, false)).toBe(bits('X/X'));
      expect(stage2Permissions(0, (0b10 | low) << 21, false)).toBe(bits('/'));
    }
  });
});
