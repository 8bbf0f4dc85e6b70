/** Stage 1 alone, from outside: DDI 0487 D8.2, D8.3, D8.15; IHI 0070 §3.4, §5.4, §7.3.13 to §7.3.16. */
import { describe, expect, test } from 'vitest';
import {
  ACCESSED,
  BLOCK,
  bit,
  NOT_GLOBAL,
  PAGE,
  PXN,
  READ_ONLY,
  type Region,
  USER,
  UXN,
  VALID_TABLE,
} from '../../../../test/support/page-tables.ts';
import {
  accessOf,
  contextOf,
  describe as describeOutcome,
  pageOf,
  RAM,
  RAM_BYTES,
  regionFields,
  stage1Fixture,
  translate,
} from '../../../../test/support/translation.ts';
import { StreamWorld } from './context.ts';
import { Outcome, Permission } from './outcome.ts';

const { READ, WRITE, EXECUTE } = Permission;
const LEAF = ACCESSED | NOT_GLOBAL | USER;

const OUTPUT = 0x5555_0000_0000n;

/** Granule, start level, input bits, level of the leaf, an input address, log2 of the leaf. */
const SIZES = [
  [12, 0, 48, 3, 0x1234_5678_9abcn, 12],
  [12, 0, 48, 2, 0x1234_5678_9abcn, 21],
  [12, 0, 48, 1, 0x1234_5678_9abcn, 30],
  [12, 1, 39, 3, 0x34_5678_9abcn, 12],
  [12, 2, 30, 2, 0x1678_9abcn, 21],
  [12, 3, 16, 3, 0x9abcn, 12],
  [14, 0, 48, 3, 0x9234_5678_9abcn, 14],
  [14, 1, 47, 2, 0x1234_5678_9abcn, 25],
  [14, 2, 36, 3, 0x5_5678_9abcn, 14],
  [14, 3, 25, 3, 0x178_9abcn, 14],
  [16, 1, 48, 3, 0x9234_5678_9abcn, 16],
  [16, 1, 48, 2, 0x9234_5678_9abcn, 29],
  [16, 2, 42, 3, 0x234_5678_9abcn, 16],
  [16, 3, 29, 3, 0x1678_9abcn, 16],
] as const;

describe('granules, levels and blocks', () => {
  test.each(SIZES)(
    'granule %i from level %i, %i bits, leaf at %i',
    (granule, start, inputBits, level, input, sizeBits) => {
      const { translator, tables, region, context } = stage1Fixture(granule, start, inputBits);
      const leafMask = bit(sizeBits) - 1n;
      const output = OUTPUT & ~leafMask & (bit(48) - 1n);
      tables.map(region, input, output, LEAF, level);
      const result = translate(translator, context, input);
      const page = ~0xfffn;
      expect(result).toMatchObject({ event: 'ok', output: (output | (input & leafMask)) & page, sizeBits, hit: false });
      expect(result.steps).toBe(level - start + 1);
      expect(translate(translator, context, input)).toMatchObject({ event: 'ok', steps: 0, hit: true });
      // The far end of the leaf hits as well.
      expect(translate(translator, context, input | leafMask)).toMatchObject({
        output: (output | leafMask) & page,
        hit: true,
      });
    },
  );

  /** 52-bit: where output address bits 51:48 sit (D8.3.1.2). */
  test.each([
    [12, -1, 3, 0xf_1234_5678_9abcn, 0xa_5555_0000_0000n, (2n << 48n) | (2n << 8n)],
    [12, -1, 0, 0x7_1234_5678_9abcn, 0xa_5500_0000_0000n, (2n << 48n) | (2n << 8n)],
    [14, 0, 3, 0xf_1234_5678_9abcn, 0xd_5555_0000_0000n, (1n << 48n) | (3n << 8n)],
    [14, 0, 1, 0xf_1234_5678_9abcn, 0xd_5550_0000_0000n, (1n << 48n) | (3n << 8n)],
    [16, 1, 3, 0xf_1234_5678_9abcn, 0xc_5555_0000_0000n, 0xcn << 12n],
    [16, 1, 1, 0xf_1234_5678_9abcn, 0xc_5400_0000_0000n, 0xcn << 12n],
  ])('52-bit, granule %i from level %i, leaf at %i', (granule, start, level, input, output, high) => {
    const { translator, tables, region, context } = stage1Fixture(granule, start, 52, true);
    const sizeBits = granule + (granule - 3) * (3 - level);
    const leafMask = bit(sizeBits) - 1n;
    tables.map(region, input, (output & (bit(48) - 1n)) | high, LEAF, level);
    const expected = (output | (input & leafMask)) & ~0xfffn;
    expect(translate(translator, context, input)).toMatchObject({ event: 'ok', output: expected, sizeBits });
    expect(translate(translator, context, input)).toMatchObject({ event: 'ok', output: expected, hit: true });
  });

  test('with 52-bit addresses and 4 KiB granules, table descriptors carry 52 bits too', () => {
    const { translator, tables, region, context } = stage1Fixture(12, 0, 48, true);
    tables.write(tables.descriptor(region, 0n, 0), BigInt(RAM) | VALID_TABLE | bit(8));
    expect(translate(translator, context, 0n)).toMatchObject({
      event: 'F_WALK_EABT',
      fetchAddress: 2 ** 50 + RAM,
      level: 1,
    });
  });

  test('an address beyond 2^44 does not alias one below it in the TLB', () => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.map(region, 0x0000_0000_1000n, 0x6000n, LEAF);
    tables.map(region, 0x1000_0000_1000n, 0x7000n, LEAF);
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, 0x0000_0000_1000n)).toMatchObject({ output: 0x6000n });
      expect(translate(translator, context, 0x1000_0000_1000n)).toMatchObject({ output: 0x7000n });
    }
  });
});

describe('input ranges', () => {
  test('TTB0 and TTB1 are chosen by VA[55], each with its own size', () => {
    const { translator, tables, region, stage1 } = stage1Fixture();
    const upperRegion: Region = { root: tables.allocate(), granuleBits: 14, startLevel: 2 };
    const upper = { ...regionFields(upperRegion, 36), disabled: false };
    const context = contextOf({ stage1Enabled: true, asid: 1, stage1: { ...stage1, upper } });
    tables.map(region, 0xffff_f000n, 0x6000n, LEAF);
    tables.map(upperRegion, 0xffff_c000n, 0x8000n, LEAF);
    expect(translate(translator, context, 0xffff_f000n)).toMatchObject({ output: 0x6000n, steps: 4 });
    expect(translate(translator, context, 0xffff_fff0_ffff_c000n)).toMatchObject({ output: 0x8000n, steps: 2 });
    // Equal low bits in both halves are different entries.
    expect(translate(translator, context, 0xffff_fff0_ffff_c000n)).toMatchObject({ output: 0x8000n, hit: true });
    const outside = { event: 'F_TRANSLATION', stage2: false, faultClass: 2, steps: 0 };
    for (const address of [
      0x0001_0000_0000_0000n,
      0x0080_0000_ffff_f000n,
      0xffff_ffe0_ffff_c000n,
      0x7fff_fff0_ffff_c000n,
    ]) {
      expect(translate(translator, context, address)).toMatchObject(outside);
    }
  });

  test('TBI ignores bits 63:56, and only those', () => {
    const { translator, tables, region, stage1 } = stage1Fixture(12, 1, 39);
    const upperRegion: Region = { root: tables.allocate(), granuleBits: 12, startLevel: 1 };
    const upper = { ...regionFields(upperRegion, 39), disabled: false, topByteIgnored: true };
    const lower = { ...stage1.lower, topByteIgnored: true };
    const context = contextOf({ stage1Enabled: true, asid: 1, stage1: { ...stage1, lower, upper } });
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    tables.map(upperRegion, 0x7f_ffff_f000n, 0x7000n, LEAF);
    expect(translate(translator, context, 0xab00_0000_0000_1000n)).toMatchObject({ output: 0x6000n });
    expect(translate(translator, context, 0x0000_0000_0000_1000n)).toMatchObject({ output: 0x6000n, hit: true });
    expect(translate(translator, context, 0x12ff_ffff_ffff_f000n)).toMatchObject({ output: 0x7000n });
    expect(translate(translator, context, 0x0040_0000_0000_1000n)).toMatchObject({ event: 'F_TRANSLATION' });
    expect(translate(translator, context, 0xffbf_ffff_ffff_f000n)).toMatchObject({ event: 'F_TRANSLATION' });
  });

  test('EPD faults what misses, and nothing else (§5.4 EPD0)', () => {
    const { translator, tables, region, stage1, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    tables.map(region, 0x2000n, 0x7000n, LEAF);
    translate(translator, context, 0x1000n);
    const lower = { ...stage1.lower, disabled: true, inputBits: 16 };
    const closed = contextOf({ stage1Enabled: true, asid: 1, stage1: { ...stage1, lower } });
    expect(translate(translator, closed, 0x1000n)).toMatchObject({ event: 'ok', hit: true });
    expect(translate(translator, closed, 0x2000n)).toMatchObject({ event: 'F_TRANSLATION', steps: 0, hit: false });
    // Outside of any range, an address does not hit what is cached of another.
    expect(translate(translator, closed, 0x0010_0000_0000_1000n)).toMatchObject({ event: 'F_TRANSLATION', hit: false });
  });

  test('E0PD faults unprivileged accesses, cached or not (§5.4 E0PD0)', () => {
    const { translator, tables, region, stage1 } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    const lower = { ...stage1.lower, unprivilegedForbidden: true };
    const context = contextOf({ stage1Enabled: true, asid: 1, stage1: { ...stage1, lower } });
    expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'F_TRANSLATION', steps: 0 });
    expect(translate(translator, context, 0x1000n, { privileged: true })).toMatchObject({ event: 'ok' });
    expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'F_TRANSLATION', steps: 0 });
  });

  test('EL2 has one range: VA[55] is an address bit out of range', () => {
    const { translator, tables, region, stage1 } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, ACCESSED | PXN);
    const context = contextOf({ world: StreamWorld.EL2, stage1Enabled: true, stage1 });
    expect(translate(translator, context, 0x1000n)).toMatchObject({
      output: 0x6000n,
      permissions: READ | WRITE | EXECUTE,
    });
    expect(translate(translator, context, 0xffff_ffff_ffff_f000n)).toMatchObject({ event: 'F_TRANSLATION', steps: 0 });
  });
});

describe('faults', () => {
  test.each([0, 1, 2, 3])('an invalid descriptor at level %i is a translation fault', (level) => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.write(tables.descriptor(region, 0x1000n, level), ~1n & 0xffff_ffff_ffff_ffffn);
    expect(translate(translator, context, 0x1000n)).toMatchObject({
      event: 'F_TRANSLATION',
      stage2: false,
      faultClass: 2,
      level,
      steps: level + 1,
      RnW: true,
    });
    expect(translate(translator, context, 0x1000n, { write: true, read: false })).toMatchObject({ RnW: false });
  });

  /** Reserved encodings: granule, start level, level with bits 1:0 = 01 where blocks do not exist (D8.3). */
  test.each([
    [12, 0, 0],
    [12, 0, 3],
    [14, 0, 0],
    [14, 0, 1],
    [14, 0, 3],
    [16, 1, 1],
    [16, 1, 3],
  ])('granule %i from level %i: a block at level %i is a translation fault', (granule, start, level) => {
    const { translator, tables, region, context } = stage1Fixture(granule, start);
    tables.write(tables.descriptor(region, 0n, level), LEAF | BLOCK);
    expect(translate(translator, context, 0n)).toMatchObject({ event: 'F_TRANSLATION', level });
  });

  test('a table or leaf beyond the effective IPS is an address size fault (§3.4)', () => {
    const { translator, tables, region, stage1 } = stage1Fixture();
    const context = contextOf({ stage1Enabled: true, stage1: { ...stage1, outputBits: 36 } });
    tables.map(region, 0x1000n, bit(36), LEAF);
    tables.map(region, 0x2000n, bit(36) - 0x1000n, LEAF);
    expect(translate(translator, context, 0x1000n)).toMatchObject({
      event: 'F_ADDR_SIZE',
      level: 3,
      stage2: false,
      faultClass: 2,
    });
    expect(translate(translator, context, 0x2000n)).toMatchObject({ event: 'ok', output: bit(36) - 0x1000n });
    tables.write(tables.descriptor(region, 1n << 30n, 1), bit(40) | VALID_TABLE);
    expect(translate(translator, context, 1n << 30n)).toMatchObject({ event: 'F_ADDR_SIZE', level: 1 });
  });

  test('a descriptor outside RAM is an external abort with its address, CLASS=TTD and S2=0 (§7.3.12)', () => {
    const { translator, tables, region, context } = stage1Fixture();
    const end = RAM + RAM_BYTES;
    tables.write(tables.descriptor(region, 0x3000n, 2), BigInt(end) | VALID_TABLE);
    expect(translate(translator, context, 0x3000n)).toMatchObject({
      event: 'F_WALK_EABT',
      stage2: false,
      faultClass: 1,
      fetchAddress: end + 3 * 8,
      level: 3,
      steps: 4,
    });
  });

  test('AF=0 is an access fault before the permission fault, unless AFFD', () => {
    const { translator, tables, region, stage1, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, READ_ONLY | USER | NOT_GLOBAL);
    const write = { write: true, read: false };
    expect(translate(translator, context, 0x1000n, write)).toMatchObject({
      event: 'F_ACCESS',
      level: 3,
      faultClass: 2,
    });
    expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'F_ACCESS', hit: false });
    const lenient = contextOf({ stage1Enabled: true, asid: 1, stage1: { ...stage1, accessFlagFaultDisabled: true } });
    expect(translate(translator, lenient, 0x1000n, write)).toMatchObject({ event: 'F_PERMISSION', level: 3 });
    expect(translate(translator, lenient, 0x1000n)).toMatchObject({ event: 'ok' });
  });

  test('faults are not cached; the permission that a leaf has is', () => {
    const { translator, tables, region, context } = stage1Fixture();
    expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'F_TRANSLATION' });
    tables.map(region, 0x1000n, 0x6000n, LEAF | READ_ONLY);
    expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'ok', permissions: READ | EXECUTE });
    // A driver that grants more and forgets the invalidation sees the stale entry.
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    const fault = { event: 'F_PERMISSION', RnW: false, stage2: false, level: 3, steps: 0, hit: true };
    expect(translate(translator, context, 0x1000n, { write: true })).toMatchObject(fault);
  });

  test('of an atomic access that lacks only the read, the record says RnW=1 (§13.1.1)', () => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, LEAF | READ_ONLY);
    tables.map(region, 0x2000n, 0x7000n, ACCESSED);
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, 0x1000n, { write: true })).toMatchObject({
        event: 'F_PERMISSION',
        RnW: false,
      });
      expect(translate(translator, context, 0x2000n, { write: true })).toMatchObject({
        event: 'F_PERMISSION',
        RnW: false,
      });
    }
  });
});

describe('permissions', () => {
  /** Leaf attributes, then what privileged and unprivileged accesses may do. */
  test.each([
    [ACCESSED, READ | WRITE | EXECUTE, EXECUTE],
    [ACCESSED | USER, READ | WRITE, READ | WRITE | EXECUTE],
    [ACCESSED | USER | READ_ONLY | UXN, READ | EXECUTE, READ],
    [ACCESSED | USER | UXN | PXN, READ | WRITE, READ | WRITE],
  ])('leaf 0x%s', (attributes, privileged, unprivileged) => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, attributes);
    const kinds = [
      [READ, { read: true }],
      [WRITE, { read: false, write: true }],
      [EXECUTE, { read: true, instruction: true }],
    ] as const;
    for (const [granted, level] of [
      [privileged, true],
      [unprivileged, false],
    ] as const) {
      for (const [kind, fields] of kinds) {
        translator.invalidateAll();
        const isAllowed = (granted & kind) !== 0;
        for (let round = 0; round < 2; round++) {
          const result = translate(translator, context, 0x1000n, { ...fields, privileged: level });
          expect(result).toMatchObject(isAllowed ? { event: 'ok', permissions: granted } : { event: 'F_PERMISSION' });
        }
      }
    }
  });

  test('APTable, PXNTable and UXNTable of every level above count, unless HAD', () => {
    const { translator, tables, region, stage1, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    const restrictions = [bit(62), bit(60), bit(59)] as const;
    restrictions.forEach((restriction, level) => {
      const address = tables.descriptor(region, 0x1000n, level);
      tables.write(address, tables.read(address) | restriction);
    });
    expect(translate(translator, context, 0x1000n)).toMatchObject({ permissions: READ });
    const lower = { ...stage1.lower, hierarchyDisabled: true };
    const flat = contextOf({ stage1Enabled: true, asid: 2, stage1: { ...stage1, lower } });
    expect(translate(translator, flat, 0x1000n)).toMatchObject({ permissions: READ | WRITE | EXECUTE });
  });
});

describe('attributes', () => {
  test.each([
    [0n, 3n, 0xff, 3],
    [1n, 3n, 0x44, 2],
    [2n, 0n, 0x04, 2],
    [3n, 2n, 0xbb, 2],
    [4n, 0n, 0xee, 0],
  ])('AttrIndx %i, SH %i: MAIR attribute 0x%s, shareability %i', (index, SH, attributes, shareability) => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, LEAF | (index << 2n) | (SH << 8n));
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, 0x1000n)).toMatchObject({ attributes, shareability });
    }
    // Allocation hints of the access combine with those of the tables.
    const hinted = attributes === 0xff ? 0xcc : undefined;
    if (hinted !== undefined) {
      expect(translate(translator, context, 0x1000n, { attributes: 0xcc })).toMatchObject({ attributes: hinted });
    }
  });

  test('with 52-bit descriptors the shareability is that of the walk (§5.4 DS)', () => {
    const { translator, tables, region, stage1 } = stage1Fixture(12, 0, 48, true);
    const context = contextOf({
      stage1Enabled: true,
      stage1: { ...stage1, lower: { ...stage1.lower, shareability: 3 } },
    });
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    expect(translate(translator, context, 0x1000n)).toMatchObject({ shareability: 3 });
  });

  test('nG is told', () => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, LEAF);
    tables.map(region, 0x2000n, 0x6000n, LEAF & ~NOT_GLOBAL);
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, 0x1000n)).toMatchObject({ notGlobal: true });
      expect(translate(translator, context, 0x2000n)).toMatchObject({ notGlobal: false });
    }
  });
});

describe('stage 1 alone for ATOS', () => {
  test('answers as a transaction does, past the TLB', () => {
    const { translator, tables, region, context } = stage1Fixture();
    tables.map(region, 0x1000n, 0x6000n, LEAF | READ_ONLY);
    const outcome = new Outcome();
    const access = accessOf({ page: pageOf(0x1000n) });
    expect(describeOutcome(translator.translateStage1(context, access, outcome), outcome)).toMatchObject({
      event: 'ok',
      output: 0x6000n,
      permissions: READ | EXECUTE,
      steps: 4,
      notGlobal: true,
    });
    access.write = true;
    expect(describeOutcome(translator.translateStage1(context, access, outcome), outcome)).toMatchObject({
      event: 'F_PERMISSION',
      RnW: false,
    });
    expect(translator.tlb.size).toBe(0);
  });
});

test('a page descriptor and a table descriptor differ by level alone', () => {
  const { translator, tables, region, context } = stage1Fixture();
  const page = tables.map(region, 0x1000n, 0x6000n, LEAF);
  expect(tables.read(page) & 3n).toBe(PAGE);
  expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'ok', steps: 4 });
});
