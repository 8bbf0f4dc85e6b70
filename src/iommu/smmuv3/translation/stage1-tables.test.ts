/** Where stage 1 tables begin and what one leaf holds for: DDI 0487 D8.2.5.2, D8.7.1; IHI 0070 §5.4. */
import { describe, expect, test } from 'vitest';
import { ACCESSED, bit, NOT_GLOBAL, type Region, USER } from '../../../../test/support/page-tables.ts';
import {
  contextOf,
  MAIR0,
  regionFields,
  stage1Fixture,
  translate,
  translationFixture,
} from '../../../../test/support/translation.ts';
import { Permission } from './outcome.ts';

const { READ, WRITE, EXECUTE } = Permission;
const LEAF = ACCESSED | NOT_GLOBAL | USER;

const OUTPUT = 0x5555_0000_0000n;

describe('alignment of the first table (D8.2.5.2, §5.4 TTB0)', () => {
  test.each([
    // Input bits, output bits, offset of the base that is ignored, offset that is not.
    [48, 48, 0xff8n, 0x1000n],
    [39, 48, 0xff8n, 0x1000n],
    [33, 48, 0x38n, 0x40n],
    [31, 48, 0x8n, 0x10n],
    [31, 52, 0x38n, 0x40n],
  ])('%i input bits, %i output bits', (inputBits, outputBits, ignored, counted) => {
    const { translator, tables, region, stage1 } = stage1Fixture(12, inputBits > 39 ? 0 : 1, inputBits, true);
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    const at = (offset: bigint, asid: number) =>
      contextOf({
        stage1Enabled: true,
        asid,
        stage1: { ...stage1, outputBits, lower: { ...stage1.lower, base: region.root + Number(offset) } },
      });
    expect(translate(translator, at(ignored, 1), 0x1000n)).toMatchObject({ event: 'ok' });
    expect(translate(translator, at(counted, 2), 0x1000n)).toMatchObject({ event: 'F_TRANSLATION' });
  });
});

test('big-endian tables', () => {
  const { memory, translator, tables, region, stage1 } = stage1Fixture(12, 1, 39);
  const context = contextOf({ stage1Enabled: true, stage1: { ...stage1, bigEndian: true } });
  const swap = (address: number) => {
    const view = memory.writeView(address);
    view.setBigUint64(address & 0xffff, tables.read(address), false);
  };
  const leaf = tables.map(region, 0x1000n, 0x6000n, LEAF);
  const middle = tables.descriptor(region, 0x1000n, 2);
  const first = tables.descriptor(region, 0x1000n, 1);
  for (const address of [leaf, middle, first]) swap(address);
  expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'ok', output: 0x6000n });
});

test('bypass is identity up to the output size, then an address size fault (§3.4)', () => {
  const { translator } = translationFixture({ outputBits: 44 });
  const context = contextOf({});
  const last = bit(44) - 0x1000n;
  expect(translate(translator, context, last, { attributes: 0x44, shareability: 3 })).toMatchObject({
    event: 'ok',
    output: last,
    sizeBits: 44,
    permissions: READ | WRITE | EXECUTE,
    attributes: 0x44,
    shareability: 2,
  });
  expect(translate(translator, context, bit(44))).toMatchObject({ event: 'F_ADDR_SIZE', stage2: false, faultClass: 2 });
  expect(translate(translator, context, 0xffff_ffff_ffff_f000n)).toMatchObject({ event: 'F_ADDR_SIZE' });
});

describe('the contiguous hint (D8.7.1)', () => {
  test.each([
    [12, 0, 3, 16],
    [12, 0, 2, 25],
    [12, 0, 1, 34],
    [14, 0, 3, 21],
    [14, 0, 2, 30],
    [16, 1, 3, 21],
    [16, 1, 2, 34],
  ])('granule %i from level %i, leaf at %i: one entry of 2^%i bytes', (granule, start, level, groupBits) => {
    const { translator, tables, region, context } = stage1Fixture(granule, start);
    const group = bit(groupBits) * 3n;
    const output = OUTPUT & ~(bit(groupBits) - 1n);
    const inside = group + bit(groupBits) - 0x1000n;
    const leafBits = granule + (granule - 3) * (3 - level);
    tables.map(region, inside, (output + inside) & ~(bit(leafBits) - 1n), LEAF | bit(52), level);
    expect(translate(translator, context, inside)).toMatchObject({ output: output + inside, sizeBits: groupBits });
    // The other descriptors of the group need not be there.
    expect(translate(translator, context, group)).toMatchObject({ output: output + group, hit: true });
  });

  test('a group whose output does not fit is cached leaf by leaf', () => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.map(region, 0x1_1000n, 0x6_2000n, LEAF | bit(52));
    expect(translate(translator, context, 0x1_1000n)).toMatchObject({ output: 0x6_2000n, sizeBits: 12 });
    expect(translate(translator, context, 0x1_1000n)).toMatchObject({ output: 0x6_2000n, hit: true });
    expect(translate(translator, context, 0x1_2000n)).toMatchObject({ event: 'F_TRANSLATION' });
  });

  test('a group larger than the output size is cached leaf by leaf (D8.7.1.2)', () => {
    const { translator, tables, region, stage1 } = stage1Fixture();
    const context = contextOf({ stage1Enabled: true, stage1: { ...stage1, outputBits: 32 } });
    tables.map(region, bit(30), bit(30), LEAF | bit(52), 1);
    expect(translate(translator, context, bit(30))).toMatchObject({ output: bit(30), sizeBits: 30 });
    expect(translate(translator, context, bit(32) + bit(30))).toMatchObject({ event: 'F_TRANSLATION' });
  });

  test('the bit is RES0 in the largest blocks of 52-bit tables', () => {
    const { translator, tables, region, context } = stage1Fixture(12, 0, 48, true);
    tables.map(region, 0n, 0n, LEAF | bit(52), 0);
    expect(translate(translator, context, 0n)).toMatchObject({ sizeBits: 39 });
  });
});

test('nT keeps a block out of the TLB at BBML=1, and is ignored at BBML=2 (§3.21.1.2, §3.21.1.3)', () => {
  for (const [BBML, hit] of [
    [0, true],
    [1, false],
    [2, true],
  ] as const) {
    const { translator, tables } = translationFixture({ BBML });
    const region: Region = { root: tables.allocate(), granuleBits: 12, startLevel: 1 };
    const lower = regionFields(region, 39);
    const context = contextOf({ stage1Enabled: true, stage1: { lower, upper: { disabled: true }, MAIR0 } });
    tables.map(region, 0n, 0n, LEAF | bit(16), 2);
    translate(translator, context, 0n);
    expect(translate(translator, context, 0n)).toMatchObject({ event: 'ok', hit });
  }
});

test('at BBML=1 the Contiguous bit is ignored, so that its change alone cannot conflict (§3.21.1.2)', () => {
  for (const [BBML, sizeBits] of [
    [0, 16],
    [1, 12],
    [2, 16],
  ] as const) {
    const { translator, tables } = translationFixture({ BBML });
    const region: Region = { root: tables.allocate(), granuleBits: 12, startLevel: 1 };
    const lower = regionFields(region, 39);
    const context = contextOf({ stage1Enabled: true, stage1: { lower, upper: { disabled: true }, MAIR0 } });
    tables.map(region, 0n, 0n, LEAF | bit(52), 3);
    expect(translate(translator, context, 0n)).toMatchObject({ event: 'ok', sizeBits });
  }
});
