/** Stage 2, alone and under stage 1: DDI 0487 D8.2.2, D8.4.2, D8.6; IHI 0070 §3.4, §5.2, §7.3, §13. */
import { describe, expect, test } from 'vitest';
import {
  ACCESSED,
  bit,
  NOT_GLOBAL,
  PageTables,
  READ_ONLY,
  type Region,
  S2_NORMAL,
  S2_READ,
  S2_WRITE,
  USER,
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
  translate,
  translationFixture,
} from '../../../../test/support/translation.ts';
import { FaultClass } from '../../spec/events.layout.ts';
import { Outcome, Permission } from './outcome.ts';

const { READ, WRITE, EXECUTE } = Permission;
const { CD, TTD, IN } = FaultClass;
const FULL = ACCESSED | S2_NORMAL | S2_READ | S2_WRITE;
const LEAF = ACCESSED | NOT_GLOBAL | USER;

function stage2Fixture(granuleBits = 12, startLevel = 0, inputBits = 48, wide = false) {
  const outputBits = wide ? 52 : 48;
  const fixture = translationFixture({ outputBits });
  const region: Region = { root: fixture.tables.allocate(2 ** 20), granuleBits, startLevel };
  const stage2 = { tables: { ...regionFields(region, inputBits), startLevel, wide }, outputBits };
  const context = contextOf({ stage2Enabled: true, vmid: 7, stage2 });
  return { ...fixture, region, stage2, context };
}

describe('stage 2 alone', () => {
  /** Granule, start level, input bits, leaf level, an IPA that uses the top input bit: concatenated tables included. */
  test.each([
    [12, 0, 48, 3, 0x9234_5678_9000n],
    [12, 1, 39, 3, 0x74_5678_9000n],
    [12, 1, 40, 3, 0xf4_5678_9000n],
    [12, 1, 43, 2, 0x7f4_5678_9000n],
    [12, 2, 34, 3, 0x3_5678_9000n],
    [12, 3, 25, 3, 0x1ff_f000n],
    [14, 1, 48, 3, 0xf234_5678_8000n],
    [14, 2, 40, 2, 0xf4_5678_8000n],
    [14, 3, 29, 3, 0x1678_8000n],
    [16, 1, 48, 3, 0xf234_5678_0000n],
    [16, 2, 46, 3, 0x3f34_5678_0000n],
    [16, 3, 33, 3, 0x1_ffff_0000n],
  ])('granule %i from level %i, %i bits, leaf at %i', (granule, start, inputBits, level, ipa) => {
    const { translator, tables, region, context } = stage2Fixture(granule, start, inputBits);
    const sizeBits = granule + (granule - 3) * (3 - level);
    const output = 0x5555_0000_0000n & ~(bit(sizeBits) - 1n);
    tables.map(region, ipa, output, FULL, level);
    const expected = {
      event: 'ok',
      output: output | (ipa & (bit(sizeBits) - 1n)),
      sizeBits,
      permissions: READ | WRITE | EXECUTE,
    };
    expect(translate(translator, context, ipa)).toMatchObject({ ...expected, hit: false, steps: level - start + 1 });
    expect(translate(translator, context, ipa)).toMatchObject({ ...expected, hit: true });
    expect(translate(translator, context, ipa & (bit(inputBits - 1) - 1n))).toMatchObject({ event: 'F_TRANSLATION' });
    if (inputBits < 48) {
      expect(translate(translator, context, bit(inputBits))).toMatchObject({
        event: 'F_TRANSLATION',
        stage2: true,
        faultClass: IN,
        ipaPage: pageOf(bit(inputBits)),
        steps: 0,
      });
    }
  });

  test('52-bit input and output, five levels', () => {
    const { translator, tables, region, context } = stage2Fixture(12, -1, 52, true);
    tables.map(region, 0xf_1234_5678_9000n, 0x0000_5555_0000_1000n | (2n << 48n) | (2n << 8n), FULL);
    expect(translate(translator, context, 0xf_1234_5678_9000n)).toMatchObject({
      output: 0xa_5555_0000_1000n,
      steps: 5,
    });
  });

  test('an input beyond the IPA size is a stage 1 address size fault, TBI or not (§3.4)', () => {
    const { translator, context } = stage2Fixture(12, 1, 39);
    expect(translate(translator, context, bit(48))).toMatchObject({
      event: 'F_ADDR_SIZE',
      stage2: false,
      faultClass: IN,
    });
  });

  test('faults are stage 2 faults of the input, with the IPA', () => {
    const { translator, tables, region, stage2 } = stage2Fixture(12, 1, 39);
    const context = contextOf({ stage2Enabled: true, vmid: 7, stage2: { ...stage2, outputBits: 40 } });
    const at = { stage2: true, faultClass: IN };
    expect(translate(translator, context, 0x1000n)).toMatchObject({
      event: 'F_TRANSLATION',
      ...at,
      ipaPage: 1,
      level: 1,
    });
    tables.map(region, 0x1000n, bit(40), FULL);
    expect(translate(translator, context, 0x1000n)).toMatchObject({
      event: 'F_ADDR_SIZE',
      ...at,
      ipaPage: 1,
      level: 3,
    });
    tables.map(region, 0x1000n, 0x6000n, FULL & ~ACCESSED);
    expect(translate(translator, context, 0x1000n)).toMatchObject({ event: 'F_ACCESS', ...at, ipaPage: 1, level: 3 });
    const lenient = contextOf({ stage2Enabled: true, vmid: 8, stage2: { ...stage2, accessFlagFaultDisabled: true } });
    expect(translate(translator, lenient, 0x1000n)).toMatchObject({ event: 'ok' });
    tables.write(tables.descriptor(region, 1n << 30n, 1), BigInt(RAM + RAM_BYTES) | VALID_TABLE);
    expect(translate(translator, context, 1n << 30n)).toMatchObject({
      event: 'F_WALK_EABT',
      ...at,
      fetchAddress: RAM + RAM_BYTES,
      ipaPage: 1 << 18,
    });
  });

  /** S2AP and XN[1:0], then what privileged and unprivileged accesses may do. */
  test.each([
    [0b00n, 0b10n, 0, 0],
    [0b01n, 0b10n, READ, READ],
    [0b10n, 0b10n, WRITE, WRITE],
    [0b11n, 0b00n, READ | WRITE | EXECUTE, READ | WRITE | EXECUTE],
    [0b11n, 0b01n, READ | WRITE, READ | WRITE | EXECUTE],
    [0b11n, 0b11n, READ | WRITE | EXECUTE, READ | WRITE],
    [0b00n, 0b00n, EXECUTE, EXECUTE],
  ])('S2AP %i, XN %i', (S2AP, XN, privileged, unprivileged) => {
    const { translator, tables, region, context } = stage2Fixture(12, 1, 39);
    tables.map(region, 0x1000n, 0x6000n, ACCESSED | S2_NORMAL | (S2AP << 6n) | (XN << 53n));
    const kinds = [
      [READ, {}],
      [WRITE, { read: false, write: true }],
      [EXECUTE, { instruction: true }],
    ] as const;
    for (const [granted, level] of [
      [privileged, true],
      [unprivileged, false],
    ] as const) {
      for (const [kind, fields] of kinds) {
        translator.invalidateAll();
        for (let round = 0; round < 2; round++) {
          const result = translate(translator, context, 0x1000n, { ...fields, privileged: level });
          const isAllowed = (granted & kind) !== 0;
          const fault = { event: 'F_PERMISSION', stage2: true, faultClass: IN, ipaPage: 1, RnW: kind !== WRITE };
          expect(result).toMatchObject(isAllowed ? { event: 'ok', permissions: granted } : fault);
        }
      }
    }
  });

  test('of an atomic access to write-only memory, RnW=1; to read-only memory, RnW=0 (§13.1.1)', () => {
    const { translator, tables, region, context } = stage2Fixture(12, 1, 39);
    tables.map(region, 0x1000n, 0x6000n, ACCESSED | S2_NORMAL | S2_WRITE);
    tables.map(region, 0x2000n, 0x6000n, ACCESSED | S2_NORMAL | S2_READ);
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, 0x1000n, { write: true })).toMatchObject({
        event: 'F_PERMISSION',
        RnW: true,
      });
      expect(translate(translator, context, 0x2000n, { write: true })).toMatchObject({
        event: 'F_PERMISSION',
        RnW: false,
      });
    }
  });

  test('the incoming attributes combine with those of the leaf (§13.4.3)', () => {
    const { translator, tables, region, stage2, context } = stage2Fixture(12, 1, 39);
    tables.map(region, 0x1000n, 0x6000n, ACCESSED | S2_READ | (0b1010n << 2n) | (3n << 8n));
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, 0x1000n)).toMatchObject({ attributes: 0xbb, shareability: 3 });
      expect(translate(translator, context, 0x1000n, { attributes: 0x44 })).toMatchObject({
        attributes: 0x44,
        shareability: 2,
      });
      expect(translate(translator, context, 0x1000n, { shareability: 2 })).toMatchObject({
        attributes: 0xbb,
        shareability: 2,
      });
    }
    const forced = contextOf({ stage2Enabled: true, vmid: 8, stage2: { ...stage2, S2FWB: true } });
    tables.map(region, 0x1000n, 0x6000n, ACCESSED | S2_READ | (0b0110n << 2n) | (3n << 8n));
    expect(translate(translator, forced, 0x1000n, { attributes: 0x04 })).toMatchObject({
      attributes: 0xff,
      shareability: 3,
    });
  });

  test('with 52-bit descriptors the shareability is that of the walk (§5.2 S2DS)', () => {
    const { translator, tables, region, stage2 } = stage2Fixture(12, 0, 48, true);
    const walk = { ...stage2.tables, shareability: 3 };
    const context = contextOf({ stage2Enabled: true, vmid: 7, stage2: { ...stage2, tables: walk } });
    tables.map(region, 0x1000n, 0x6000n, FULL);
    expect(translate(translator, context, 0x1000n)).toMatchObject({ shareability: 3 });
  });
});

/** Guest tables live at IPA 0 upwards, which stage 2 maps to `GUEST` in RAM; data pages are mapped by the tests. */
const GUEST = RAM + 0x1000_0000;
const GUEST_TABLE_BYTES = 0x10_0000;

function nestedFixture(options: Parameters<typeof translationFixture>[0] = {}) {
  const fixture = translationFixture(options);
  const { memory, tables } = fixture;
  const host: Region = { root: tables.allocate(), granuleBits: 12, startLevel: 1 };
  for (let ipa = 0; ipa < GUEST_TABLE_BYTES; ipa += 4096) tables.map(host, BigInt(ipa), BigInt(GUEST + ipa), FULL);
  const guestTables = new PageTables(memory, 0, (ipa) => GUEST + ipa);
  const guest: Region = { root: guestTables.allocate(), granuleBits: 12, startLevel: 1 };
  const stage1 = { lower: regionFields(guest, 39), upper: { disabled: true }, outputBits: 48, MAIR0: 0xbb04_44ff };
  const stage2 = { tables: { ...regionFields(host, 39), startLevel: 1 }, outputBits: 48 };
  const fields = { stage1Enabled: true, stage2Enabled: true, vmid: 7, asid: 1, stage1, stage2 };
  return { ...fixture, host, guest, guestTables, fields, context: contextOf(fields) };
}

const VA = 0x12_3456_7000n;
const IPA = 0x20_0000_0000n;

describe('both stages', () => {
  test('every descriptor of stage 1 is fetched through stage 2', () => {
    const { translator, tables, host, guest, guestTables, context } = nestedFixture();
    guestTables.map(guest, VA, IPA, LEAF);
    tables.map(host, IPA, 0x5555_0000n, FULL);
    const expected = { event: 'ok', output: 0x5555_0000n, sizeBits: 12, ipaPage: pageOf(IPA) };
    // Three levels of stage 1, each with three of stage 2, and three for the output.
    expect(translate(translator, context, VA)).toMatchObject({ ...expected, steps: 15, hit: false });
    expect(translate(translator, context, VA)).toMatchObject({ ...expected, steps: 0, hit: true });
    // What stage 2 found is cached by IPA: the next page costs stage 1 and its own output.
    guestTables.map(guest, VA + 0x1000n, IPA, LEAF);
    expect(translate(translator, context, VA + 0x1000n)).toMatchObject({ output: 0x5555_0000n, steps: 3 });
  });

  test('the answer holds for the smaller of both leaves', () => {
    const { translator, tables, host, guest, guestTables, context } = nestedFixture();
    guestTables.map(guest, VA, IPA, LEAF, 2);
    tables.map(host, IPA + 0x16_7000n, 0x5555_0000n, FULL);
    const at = (VA & ~0x1f_ffffn) + 0x16_7000n;
    expect(translate(translator, context, at)).toMatchObject({ output: 0x5555_0000n, sizeBits: 12 });
    tables.map(host, IPA, 0x5560_0000n, FULL, 1);
    guestTables.map(guest, VA + bit(21), IPA + 0x3000n, LEAF);
    expect(translate(translator, context, VA + bit(21))).toMatchObject({ output: 0x4000_3000n, sizeBits: 12 });
  });

  test('a stage 2 fault of a table fetch has CLASS=TTD and the IPA of the descriptor (§7.3.13)', () => {
    const { translator, tables, host, guest, guestTables, context } = nestedFixture();
    const leaf = guestTables.map(guest, VA, IPA, LEAF);
    const table = BigInt(leaf) & ~0xfffn;
    const at = { stage2: true, faultClass: TTD, ipaPage: pageOf(table), RnW: true };
    tables.write(tables.descriptor(host, table, 3), 0n);
    expect(translate(translator, context, VA)).toMatchObject({ event: 'F_TRANSLATION', ...at });
    tables.map(host, table, BigInt(GUEST) + table, FULL & ~ACCESSED);
    expect(translate(translator, context, VA)).toMatchObject({ event: 'F_ACCESS', ...at });
    tables.map(host, table, BigInt(GUEST) + table, FULL & ~S2_READ);
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, VA, { write: true, read: false })).toMatchObject({
        ...at,
        event: 'F_PERMISSION',
        RnW: false,
        ttRnW: true,
      });
    }
  });

  test('a table beyond the input of stage 2 is a stage 2 translation fault; an abort of its fetch is stage 1', () => {
    const { translator, tables, host, guest, guestTables, context } = nestedFixture();
    const top = guestTables.descriptor(guest, VA, 1);
    guestTables.write(top, bit(40) | VALID_TABLE);
    const page = pageOf(bit(40)) + Number(((VA >> 21n) & 511n) >> 9n);
    expect(translate(translator, context, VA)).toMatchObject({
      event: 'F_TRANSLATION',
      stage2: true,
      faultClass: TTD,
      ipaPage: page,
    });
    guestTables.write(top, IPA | VALID_TABLE);
    tables.map(host, IPA, BigInt(RAM + RAM_BYTES), FULL);
    const fetchAddress = RAM + RAM_BYTES + Number((VA >> 21n) & 511n) * 8;
    expect(translate(translator, context, VA)).toMatchObject({
      event: 'F_WALK_EABT',
      stage2: false,
      faultClass: TTD,
      fetchAddress,
    });
  });

  test('stage 1 faults come before those of its output; its permissions before stage 2 (§7.3.22)', () => {
    const { translator, tables, host, guest, guestTables, context } = nestedFixture();
    guestTables.map(guest, VA, IPA, LEAF | READ_ONLY);
    const write = { write: true, read: false };
    expect(translate(translator, context, VA, write)).toMatchObject({
      event: 'F_PERMISSION',
      stage2: false,
      faultClass: IN,
    });
    expect(translate(translator, context, VA)).toMatchObject({
      event: 'F_TRANSLATION',
      stage2: true,
      faultClass: IN,
      ipaPage: pageOf(IPA),
    });
    guestTables.map(guest, VA, IPA, LEAF);
    tables.map(host, IPA, 0x6000n, FULL & ~S2_WRITE);
    const fault = { event: 'F_PERMISSION', stage2: true, faultClass: IN, ipaPage: pageOf(IPA), RnW: false };
    expect(translate(translator, context, VA, write)).toMatchObject(fault);
    expect(translate(translator, context, VA)).toMatchObject({ event: 'ok', permissions: READ | EXECUTE });
    expect(translate(translator, context, VA, write)).toMatchObject({ ...fault, hit: true });
  });

  test('the output of stage 1 is checked against IPS, then against the input of stage 2', () => {
    const { translator, guest, guestTables, fields } = nestedFixture();
    guestTables.map(guest, VA, bit(40), LEAF);
    const narrow = contextOf({ ...fields, stage1: { ...fields.stage1, outputBits: 40 } });
    expect(translate(translator, narrow, VA)).toMatchObject({ event: 'F_ADDR_SIZE', stage2: false });
    expect(translate(translator, contextOf(fields), VA)).toMatchObject({
      event: 'F_TRANSLATION',
      stage2: true,
      faultClass: IN,
      ipaPage: pageOf(bit(40)),
    });
  });

  test('S2PTW refuses tables in Device memory, cached or not; without it they are read (§5.2)', () => {
    const { translator, tables, host, guest, guestTables, fields, context } = nestedFixture();
    const leaf = guestTables.map(guest, VA, IPA, LEAF);
    tables.map(host, IPA, 0x6000n, FULL);
    const table = BigInt(leaf) & ~0xfffn;
    tables.map(host, table, BigInt(GUEST) + table, FULL & ~S2_NORMAL);
    expect(translate(translator, context, VA)).toMatchObject({ event: 'ok' });
    const strict = contextOf({ ...fields, stage2: { ...fields.stage2, S2PTW: true } });
    const fault = { event: 'F_PERMISSION', stage2: true, faultClass: TTD, ipaPage: pageOf(table), ttRnW: true };
    translator.invalidateStage1(7);
    expect(translate(translator, strict, VA)).toMatchObject(fault);
    translator.invalidateVm(7);
    expect(translate(translator, strict, VA)).toMatchObject(fault);
    // Data may be Device memory.
    tables.map(host, table, BigInt(GUEST) + table, FULL);
    tables.map(host, IPA, 0x6000n, FULL & ~S2_NORMAL);
    translator.invalidateVm(7);
    expect(translate(translator, strict, VA)).toMatchObject({ event: 'ok', attributes: 0x00, shareability: 2 });
  });

  test('attributes and shareability of both stages combine', () => {
    const { translator, tables, host, guest, guestTables, context } = nestedFixture();
    guestTables.map(guest, VA, IPA, LEAF | (3n << 8n));
    tables.map(host, IPA, 0x6000n, ACCESSED | S2_READ | (0b1010n << 2n));
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, context, VA)).toMatchObject({ attributes: 0xbb, shareability: 3 });
    }
  });

  test('stage 1 alone and stage 2 alone of a nested context', () => {
    const { translator, tables, host, guest, guestTables, context } = nestedFixture();
    guestTables.map(guest, VA, IPA, LEAF);
    tables.map(host, IPA, 0x6000n, FULL);
    const outcome = new Outcome();
    const stage1 = translator.translateStage1(context, accessOf({ page: pageOf(VA) }), outcome);
    expect(describeOutcome(stage1, outcome)).toMatchObject({ event: 'ok', output: IPA, attributes: 0xff });
    const stage2 = translator.translateStage2(context, accessOf({ page: pageOf(IPA) }), outcome);
    expect(describeOutcome(stage2, outcome)).toMatchObject({ event: 'ok', output: 0x6000n, ipaPage: pageOf(IPA) });
  });
});

describe('addresses of CDs', () => {
  test('a read through stage 2 whose faults have CLASS=CD', () => {
    const { translator, tables, host, context } = nestedFixture();
    const outcome = new Outcome();
    const fetch = (ipa: bigint) => {
      const event = translator.translateDescriptorAddress(context, pageOf(ipa), outcome);
      return describeOutcome(event, outcome);
    };
    expect(fetch(0x1000n)).toMatchObject({ event: 'ok', output: BigInt(GUEST) + 0x1000n, steps: 3, hit: false });
    expect(fetch(0x1000n)).toMatchObject({ event: 'ok', hit: true });
    expect(fetch(IPA)).toMatchObject({ event: 'F_TRANSLATION', stage2: true, faultClass: CD, ipaPage: pageOf(IPA) });
    tables.map(host, IPA, 0x6000n, FULL & ~S2_READ);
    expect(fetch(IPA)).toMatchObject({
      event: 'F_PERMISSION',
      stage2: true,
      faultClass: CD,
      ipaPage: pageOf(IPA),
      RnW: true,
    });
    expect(fetch(bit(45))).toMatchObject({ event: 'F_TRANSLATION', faultClass: CD, ipaPage: pageOf(bit(45)) });
  });

  test('S2PTW holds for them', () => {
    const { translator, tables, host, fields } = nestedFixture();
    const strict = contextOf({ ...fields, stage2: { ...fields.stage2, S2PTW: true } });
    tables.map(host, IPA, 0x6000n, FULL & ~S2_NORMAL);
    const outcome = new Outcome();
    const event = translator.translateDescriptorAddress(strict, pageOf(IPA), outcome);
    expect(describeOutcome(event, outcome)).toMatchObject({ event: 'F_PERMISSION', stage2: true, faultClass: CD });
  });
});

test('overlapping stage 2 entries are a conflict below BBML 2, with the IPA (§7.3.17)', () => {
  const { translator, tables, host, guest, guestTables, context } = nestedFixture({ BBML: 0 });
  tables.map(host, IPA, 0x6000n, FULL);
  guestTables.map(guest, VA, IPA, LEAF);
  translate(translator, context, VA);
  tables.map(host, IPA, 0x20_0000n, FULL, 2);
  guestTables.map(guest, VA + 0x1000n, IPA + 0x1000n, LEAF);
  expect(translate(translator, context, VA + 0x1000n)).toMatchObject({ event: 'ok', output: 0x20_1000n });
  translator.invalidateStage1(7);
  expect(translate(translator, context, VA)).toMatchObject({
    event: 'F_TLB_CONFLICT',
    stage2: true,
    ipaPage: pageOf(IPA),
  });
});
