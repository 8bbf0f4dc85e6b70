/** Access flag and dirty state, updated by hardware: IHI 0070 §3.13, chapter 9; DDI 0487 D8.5. */
import { describe, expect, test } from 'vitest';
import {
  ACCESSED,
  bit,
  DIRTY_MODIFIER,
  NOT_GLOBAL,
  PageTables,
  READ_ONLY,
  type Region,
  S2_NORMAL,
  S2_READ,
  S2_WRITE,
  USER,
} from '../../../../test/support/page-tables.ts';
import {
  accessOf,
  contextOf,
  describe as describeOutcome,
  pageOf,
  RAM,
  regionFields,
  translate,
  translationFixture,
} from '../../../../test/support/translation.ts';
import { FaultClass } from '../../spec/events.layout.ts';
import { Outcome, Permission, Purpose } from './outcome.ts';

const { READ, WRITE, EXECUTE } = Permission;
const GUEST = RAM + 0x1000_0000;
const VA = 0x1_0000n;
const IPA = 0x20_0000_0000n;
const OUTPUT = 0x5555_0000n;
const S2_FULL = ACCESSED | S2_NORMAL | S2_READ | S2_WRITE;
const STORE = { write: true, read: false };
const ATS = { purpose: Purpose.ATS };

/** Both stages update AF and dirty state. `leaf` and `hostLeaf` are the addresses of the descriptors that matter. */
function fixture() {
  const base = translationFixture();
  const { memory, tables } = base;
  const host: Region = { root: tables.allocate(), granuleBits: 12, startLevel: 1 };
  const table = (page: number) => tables.map(host, BigInt(page) << 12n, BigInt(GUEST) + (BigInt(page) << 12n), S2_FULL);
  const tableLeaves = Array.from({ length: 256 }, (_, page) => table(page));
  const guestTables = new PageTables(memory, 0, (ipa) => GUEST + ipa);
  const guest: Region = { root: guestTables.allocate(), granuleBits: 12, startLevel: 1 };
  const plain: Region = { root: tables.allocate(), granuleBits: 12, startLevel: 1 };
  const updates = { hardwareAccess: true, hardwareDirty: true };
  const lower = regionFields(guest, 39);
  const stage1 = { lower, upper: { disabled: true }, outputBits: 48, MAIR0: 0xff, ...updates };
  const stage2 = { tables: { ...regionFields(host, 39), startLevel: 1 }, outputBits: 48, ...updates };
  const plainStage1 = { ...stage1, lower: regionFields(plain, 39) };
  const nested = { stage1Enabled: true, stage2Enabled: true, vmid: 7, asid: 1, stage1, stage2 };
  const guestPage = (attributes: bigint) => guestTables.map(guest, VA, IPA, attributes | NOT_GLOBAL);
  const hostPage = (attributes: bigint) => tables.map(host, IPA, OUTPUT, attributes | S2_NORMAL);
  const plainPage = (attributes: bigint) => tables.map(plain, VA, OUTPUT, attributes | NOT_GLOBAL);
  /** The stage 2 leaf behind the page that holds guest descriptor `address`. */
  const tableLeaf = (address: number) => tableLeaves[address >> 12] ?? 0;
  return {
    ...base,
    guestTables,
    nested,
    nestedContext: contextOf(nested),
    plainFields: { stage1Enabled: true, asid: 1, stage1: plainStage1 },
    plain: contextOf({ stage1Enabled: true, asid: 1, stage1: plainStage1 }),
    stage2Only: contextOf({ stage2Enabled: true, vmid: 7, stage2 }),
    guestPage,
    hostPage,
    plainPage,
    tableLeaf,
  };
}

describe('one stage', () => {
  test('stage 1: AF is set by the access that needs it', () => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(USER);
    const before = tables.read(leaf);
    expect(translate(translator, plain, VA)).toMatchObject({ event: 'ok', output: OUTPUT });
    expect(tables.read(leaf)).toBe(before | ACCESSED);
    expect(translate(translator, plain, VA)).toMatchObject({ hit: true });
  });

  test('stage 1: an access that is refused leaves AF alone, and nothing in the TLB', () => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(USER | READ_ONLY);
    const before = tables.read(leaf);
    expect(translate(translator, plain, VA, STORE)).toMatchObject({ event: 'F_PERMISSION' });
    expect(tables.read(leaf)).toBe(before);
    expect(translator.tlb.size).toBe(0);
  });

  test('stage 1: a write to a writable-clean page clears AP[2]; a read does not', () => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(ACCESSED | USER | READ_ONLY | DIRTY_MODIFIER);
    const before = tables.read(leaf);
    expect(translate(translator, plain, VA)).toMatchObject({ event: 'ok', permissions: READ | EXECUTE });
    expect(tables.read(leaf)).toBe(before);
    expect(translate(translator, plain, VA, STORE)).toMatchObject({
      event: 'ok',
      permissions: READ | WRITE | EXECUTE,
      hit: false,
    });
    expect(tables.read(leaf)).toBe(before & ~READ_ONLY);
    expect(translate(translator, plain, VA, STORE)).toMatchObject({ event: 'ok', hit: true });
    expect(translator.tlb.size).toBe(1);
  });

  test('stage 1: a page that is dirty already is written without another look at it', () => {
    const { translator, plain, plainPage } = fixture();
    plainPage(ACCESSED | USER | DIRTY_MODIFIER);
    expect(translate(translator, plain, VA)).toMatchObject({ permissions: READ | WRITE | EXECUTE });
    expect(translate(translator, plain, VA, STORE)).toMatchObject({ event: 'ok', hit: true });
  });

  test('stage 1: AF and dirty state go in one update', () => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(USER | READ_ONLY | DIRTY_MODIFIER);
    const before = tables.read(leaf);
    expect(translate(translator, plain, VA, STORE)).toMatchObject({ event: 'ok' });
    expect(tables.read(leaf)).toBe((before | ACCESSED) & ~READ_ONLY);
  });

  test('stage 1: DBM helps only where AP[2] alone forbids the write', () => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(ACCESSED | READ_ONLY | DIRTY_MODIFIER);
    expect(translate(translator, plain, VA, STORE)).toMatchObject({ event: 'F_PERMISSION' });
    expect(tables.read(leaf) & READ_ONLY).toBe(READ_ONLY);
    expect(translate(translator, plain, VA, { ...STORE, privileged: true })).toMatchObject({ event: 'ok' });
    expect(tables.read(leaf) & READ_ONLY).toBe(0n);
  });

  test('stage 1: APTable takes the write away for good', () => {
    const { translator, tables, plain, plainFields, plainPage } = fixture();
    const leaf = plainPage(ACCESSED | USER | READ_ONLY | DIRTY_MODIFIER);
    const region = { root: plainFields.stage1.lower.base, granuleBits: 12, startLevel: 1 };
    const table = tables.descriptor(region, VA, 2);
    tables.write(table, tables.read(table) | bit(62));
    const before = tables.read(leaf);
    expect(translate(translator, plain, VA, STORE)).toMatchObject({ event: 'F_PERMISSION' });
    expect(tables.read(leaf)).toBe(before);
  });

  test('stage 1: without HD, DBM means nothing; without HA, HD neither', () => {
    const { translator, plainFields, plainPage } = fixture();
    const stage1 = plainFields.stage1;
    const noDirty = contextOf({ ...plainFields, stage1: { ...stage1, hardwareDirty: false } });
    const noAccess = contextOf({ ...plainFields, asid: 2, stage1: { ...stage1, hardwareAccess: false } });
    plainPage(ACCESSED | USER | READ_ONLY | DIRTY_MODIFIER);
    expect(translate(translator, noDirty, VA, STORE)).toMatchObject({ event: 'F_PERMISSION' });
    expect(translate(translator, noAccess, VA, STORE)).toMatchObject({ event: 'F_PERMISSION' });
    plainPage(USER);
    expect(translate(translator, noAccess, VA)).toMatchObject({ event: 'F_ACCESS' });
  });

  test('a write that hits a clean entry reads the descriptor again: a stale entry is not trusted (D8.5.2.1)', () => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(ACCESSED | USER | READ_ONLY | DIRTY_MODIFIER);
    translate(translator, plain, VA);
    tables.write(leaf, 0n);
    expect(translate(translator, plain, VA, STORE)).toMatchObject({ event: 'F_TRANSLATION', level: 3 });
  });

  test('stage 2: AF and S2AP[1] likewise', () => {
    const { translator, tables, stage2Only, hostPage } = fixture();
    const leaf = hostPage(S2_READ | DIRTY_MODIFIER);
    const before = tables.read(leaf);
    expect(translate(translator, stage2Only, IPA)).toMatchObject({ event: 'ok', permissions: READ | EXECUTE });
    expect(tables.read(leaf)).toBe(before | ACCESSED);
    expect(translate(translator, stage2Only, IPA, STORE)).toMatchObject({
      event: 'ok',
      permissions: READ | WRITE | EXECUTE,
    });
    expect(tables.read(leaf)).toBe(before | ACCESSED | S2_WRITE);
    expect(translate(translator, stage2Only, IPA, STORE)).toMatchObject({ hit: true });
    expect(translator.ipaTlb.size).toBe(1);
  });
});

describe('both stages', () => {
  test('the stage 2 page of a stage 1 descriptor becomes dirty when that is updated (§3.13.5)', () => {
    const { translator, tables, guestTables, nestedContext, guestPage, hostPage, tableLeaf } = fixture();
    const leaf = guestPage(USER);
    hostPage(S2_FULL);
    const behind = tableLeaf(leaf);
    const clean = (tables.read(behind) & ~S2_WRITE) | DIRTY_MODIFIER;
    tables.write(behind, clean);
    expect(translate(translator, nestedContext, VA)).toMatchObject({ event: 'ok' });
    expect(guestTables.read(leaf) & ACCESSED).toBe(ACCESSED);
    expect(tables.read(behind)).toBe(clean | S2_WRITE);
  });

  test('an update that stage 2 forbids is its permission fault, with CLASS=TTD and TTRnW=0 (§7.3.16)', () => {
    const { translator, tables, guestTables, nestedContext, guestPage, hostPage, tableLeaf } = fixture();
    const leaf = guestPage(USER);
    hostPage(S2_FULL);
    const before = guestTables.read(leaf);
    const behind = tableLeaf(leaf);
    tables.write(behind, tables.read(behind) & ~S2_WRITE);
    expect(translate(translator, nestedContext, VA)).toMatchObject({
      event: 'F_PERMISSION',
      stage2: true,
      faultClass: FaultClass.TTD,
      ipaPage: leaf >> 12,
      ttRnW: false,
      RnW: true,
    });
    expect(guestTables.read(leaf)).toBe(before);
  });

  test('a page becomes dirty in both stages, or in none', () => {
    const { translator, tables, guestTables, nestedContext, guestPage, hostPage } = fixture();
    const leaf = guestPage(ACCESSED | USER | READ_ONLY | DIRTY_MODIFIER);
    const hostLeaf = hostPage(ACCESSED | S2_READ);
    const before = guestTables.read(leaf);
    expect(translate(translator, nestedContext, VA, STORE)).toMatchObject({ event: 'F_PERMISSION', stage2: true });
    expect(guestTables.read(leaf)).toBe(before);
    hostPage(ACCESSED | S2_READ | DIRTY_MODIFIER);
    translator.invalidateVm(7);
    expect(translate(translator, nestedContext, VA)).toMatchObject({ permissions: READ | EXECUTE });
    expect(tables.read(hostLeaf) & S2_WRITE).toBe(0n);
    expect(translate(translator, nestedContext, VA, STORE)).toMatchObject({
      event: 'ok',
      permissions: READ | WRITE | EXECUTE,
    });
    expect(guestTables.read(leaf)).toBe(before & ~READ_ONLY);
    expect(tables.read(hostLeaf) & S2_WRITE).toBe(S2_WRITE);
  });

  test('a combined entry whose stage 2 page is clean is looked at again for a write', () => {
    const { translator, tables, nestedContext, guestPage, hostPage } = fixture();
    guestPage(ACCESSED | USER);
    const hostLeaf = hostPage(ACCESSED | S2_READ | DIRTY_MODIFIER);
    expect(translate(translator, nestedContext, VA)).toMatchObject({ permissions: READ | EXECUTE });
    expect(translate(translator, nestedContext, VA, STORE)).toMatchObject({ event: 'ok', hit: false });
    expect(tables.read(hostLeaf) & S2_WRITE).toBe(S2_WRITE);
    expect(translate(translator, nestedContext, VA, STORE)).toMatchObject({ event: 'ok', hit: true });
  });

  test('a stage 1 leaf that stage 2 changes meanwhile is read again', () => {
    // One table serves as level 3 of both stages. Page 5 of it is the stage 1 leaf of VA 0x5000 and the stage 2 leaf of
    // its output, which sets AF in it before stage 1 does.
    const { translator, tables, nested } = fixture();
    const host: Region = { root: tables.allocate(), granuleBits: 12, startLevel: 2 };
    const tablePage = 100n << 12n;
    const shared = tables.descriptor(host, 0n, 3);
    tables.map(host, tablePage, BigInt(shared), S2_FULL);
    tables.map(host, 0x5000n, 0x5000n, S2_NORMAL | S2_READ);
    const context = contextOf({
      ...nested,
      stage1: { ...nested.stage1, lower: { base: Number(tablePage), granuleBits: 12, inputBits: 16 } },
      stage2: { ...nested.stage2, tables: { ...regionFields(host, 30), startLevel: 2 } },
    });
    // The first attempt takes 2 + 1 + 2 descriptors, the second the stage 1 leaf alone.
    expect(translate(translator, context, 0x5000n)).toMatchObject({ event: 'ok', output: 0x5000n, steps: 6 });
    expect(tables.read(shared + 5 * 8) & ACCESSED).toBe(ACCESSED);
  });
});

describe('ATS translation requests (§3.13.7, §13.7)', () => {
  test.each([
    ['NW=1 leaves the page clean and grants no write', { read: true, write: false }, READ | EXECUTE, false],
    ['NW=0 makes it dirty and grants the write', { read: true, write: true }, READ | WRITE | EXECUTE, true],
  ])('writable-clean: %s', (_, fields, permissions, isDirty) => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(USER | READ_ONLY | DIRTY_MODIFIER);
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, plain, VA, { ...ATS, ...fields })).toMatchObject({ event: 'ok', permissions });
    }
    expect(tables.read(leaf) & ACCESSED).toBe(ACCESSED);
    expect((tables.read(leaf) & READ_ONLY) === 0n).toBe(isDirty);
  });

  test('lacking permission is data: a read-only page, and one that unprivileged accesses may not touch', () => {
    const { translator, tables, plain, plainPage } = fixture();
    plainPage(ACCESSED | USER | READ_ONLY);
    for (let round = 0; round < 2; round++) {
      expect(translate(translator, plain, VA, { ...ATS, write: true })).toMatchObject({
        event: 'ok',
        permissions: READ | EXECUTE,
      });
    }
    translator.invalidateAll();
    const leaf = plainPage(0n);
    const before = tables.read(leaf);
    expect(translate(translator, plain, VA, { ...ATS, write: true })).toMatchObject({ event: 'ok', permissions: 0 });
    expect(tables.read(leaf)).toBe(before);
    expect(translate(translator, plain, VA, { ...ATS, write: true, privileged: true })).toMatchObject({
      permissions: READ | WRITE | EXECUTE,
    });
  });

  test('a request that stage 1 grants nothing asks stage 2 nothing (§3.9.1.2)', () => {
    const { translator, nestedContext, guestPage } = fixture();
    guestPage(ACCESSED);
    expect(translate(translator, nestedContext, VA, { ...ATS, write: true })).toMatchObject({
      event: 'ok',
      permissions: 0,
    });
    expect(translate(translator, nestedContext, VA, { ...ATS, write: true, privileged: true })).toMatchObject({
      event: 'F_TRANSLATION',
      stage2: true,
    });
  });

  test('where stage 1 is read-only, no stage becomes dirty (§3.13.7.1)', () => {
    const { translator, tables, nestedContext, guestPage, hostPage } = fixture();
    guestPage(ACCESSED | USER | READ_ONLY);
    const hostLeaf = hostPage(S2_READ | DIRTY_MODIFIER);
    expect(translate(translator, nestedContext, VA, { ...ATS, write: true })).toMatchObject({
      permissions: READ | EXECUTE,
    });
    expect(tables.read(hostLeaf) & S2_WRITE).toBe(0n);
    expect(tables.read(hostLeaf) & ACCESSED).toBe(ACCESSED);
  });

  test('where stage 2 is read-only, stage 1 stays clean', () => {
    const { translator, guestTables, nestedContext, guestPage, hostPage } = fixture();
    const leaf = guestPage(USER | READ_ONLY | DIRTY_MODIFIER);
    hostPage(ACCESSED | S2_READ);
    expect(translate(translator, nestedContext, VA, { ...ATS, write: true })).toMatchObject({
      permissions: READ | EXECUTE,
    });
    expect(guestTables.read(leaf) & READ_ONLY).toBe(READ_ONLY);
    expect(guestTables.read(leaf) & ACCESSED).toBe(ACCESSED);
  });

  test('both stages become dirty; the IPA is told for split-stage ATS (§13.6.3)', () => {
    const { translator, tables, guestTables, nestedContext, guestPage, hostPage } = fixture();
    const leaf = guestPage(USER | READ_ONLY | DIRTY_MODIFIER);
    const hostLeaf = hostPage(S2_READ | DIRTY_MODIFIER);
    expect(translate(translator, nestedContext, VA, { ...ATS, write: true })).toMatchObject({
      output: OUTPUT,
      ipaPage: pageOf(IPA),
      permissions: READ | WRITE | EXECUTE,
    });
    expect(guestTables.read(leaf) & READ_ONLY).toBe(0n);
    expect(tables.read(hostLeaf) & S2_WRITE).toBe(S2_WRITE);
  });

  test('a request that is granted nothing marks nothing accessed, and caches nothing', () => {
    const { translator, tables, guestTables, stage2Only, nestedContext, guestPage, hostPage } = fixture();
    const hostLeaf = hostPage(bit(54));
    expect(translate(translator, stage2Only, IPA, ATS)).toMatchObject({ event: 'ok', permissions: 0 });
    expect(tables.read(hostLeaf) & ACCESSED).toBe(0n);
    expect(translator.ipaTlb.size).toBe(0);
    const leaf = guestPage(USER);
    hostPage(ACCESSED | bit(54));
    expect(translate(translator, nestedContext, VA, ATS)).toMatchObject({ event: 'ok', permissions: 0 });
    expect(guestTables.read(leaf) & ACCESSED).toBe(0n);
    expect(translator.tlb.size).toBe(0);
  });

  test('faults other than permission remain, and permission faults of table fetches too', () => {
    const { translator, tables, nestedContext, guestPage, hostPage, tableLeaf } = fixture();
    const leaf = guestPage(ACCESSED | USER);
    expect(translate(translator, nestedContext, VA, ATS)).toMatchObject({ event: 'F_TRANSLATION', stage2: true });
    hostPage(S2_FULL);
    const behind = tableLeaf(leaf);
    tables.write(behind, tables.read(behind) & ~S2_READ);
    translator.invalidateVm(7);
    expect(translate(translator, nestedContext, VA, ATS)).toMatchObject({
      event: 'F_PERMISSION',
      faultClass: FaultClass.TTD,
    });
  });

  test('execute-only memory grants nothing to data requests, and execution to fetches (§13.7.1)', () => {
    const { translator, stage2Only, hostPage } = fixture();
    hostPage(ACCESSED);
    expect(translate(translator, stage2Only, IPA, ATS)).toMatchObject({ event: 'ok', permissions: EXECUTE });
    expect(translate(translator, stage2Only, IPA, { ...ATS, instruction: true })).toMatchObject({
      permissions: EXECUTE,
    });
  });
});

describe('ATOS with HTTUI=1 (chapter 9)', () => {
  const ATOS = { purpose: Purpose.ATOS, update: false };

  test('answers as if AF were set and the page dirty, and changes nothing', () => {
    const { translator, tables, plain, plainPage } = fixture();
    const leaf = plainPage(USER | READ_ONLY | DIRTY_MODIFIER);
    const before = tables.read(leaf);
    const result = translate(translator, plain, VA, { ...ATOS, write: true });
    expect(result).toMatchObject({ event: 'ok', output: OUTPUT, permissions: READ | WRITE | EXECUTE });
    expect(tables.read(leaf)).toBe(before);
    expect(translator.tlb.size).toBe(0);
  });

  test('a page that is clean but accessed leaves no entry that says it is dirty', () => {
    const { translator, plain, plainPage } = fixture();
    plainPage(ACCESSED | USER | READ_ONLY | DIRTY_MODIFIER);
    expect(translate(translator, plain, VA, { ...ATOS, write: true })).toMatchObject({ event: 'ok' });
    expect(translator.tlb.size).toBe(0);
  });

  test('with both stages and tables that would become dirty', () => {
    const { translator, tables, guestTables, nestedContext, guestPage, hostPage, tableLeaf } = fixture();
    const leaf = guestPage(USER | READ_ONLY | DIRTY_MODIFIER);
    const hostLeaf = hostPage(S2_READ | DIRTY_MODIFIER);
    const behind = tableLeaf(leaf);
    tables.write(behind, (tables.read(behind) & ~(S2_WRITE | ACCESSED)) | DIRTY_MODIFIER);
    const before = [guestTables.read(leaf), tables.read(hostLeaf), tables.read(behind)];
    const result = translate(translator, nestedContext, VA, { ...ATOS, write: true });
    expect(result).toMatchObject({ event: 'ok', output: OUTPUT });
    expect([guestTables.read(leaf), tables.read(hostLeaf), tables.read(behind)]).toEqual(before);
  });

  test('AF without hardware update still faults', () => {
    const { translator, plainFields, plainPage } = fixture();
    const context = contextOf({ ...plainFields, stage1: { ...plainFields.stage1, hardwareAccess: false } });
    plainPage(USER);
    expect(translate(translator, context, VA, ATOS)).toMatchObject({ event: 'F_ACCESS' });
  });

  test('stage 1 alone, and the address of a CD', () => {
    const { translator, tables, guestTables, nestedContext, guestPage, tableLeaf } = fixture();
    const leaf = guestPage(USER | READ_ONLY | DIRTY_MODIFIER);
    const before = guestTables.read(leaf);
    const outcome = new Outcome();
    const access = accessOf({ page: pageOf(VA), write: true, ...ATOS });
    expect(describeOutcome(translator.translateStage1(nestedContext, access, outcome), outcome)).toMatchObject({
      event: 'ok',
      output: IPA,
      permissions: READ | WRITE | EXECUTE,
    });
    expect(guestTables.read(leaf)).toBe(before);
    access.update = true;
    translator.translateStage1(nestedContext, access, outcome);
    expect(guestTables.read(leaf)).toBe((before | ACCESSED) & ~READ_ONLY);
    const cdLeaf = tableLeaf(0x2000);
    tables.write(cdLeaf, tables.read(cdLeaf) & ~ACCESSED);
    expect(translator.translateDescriptorAddress(nestedContext, 2, outcome, false)).toBe(0);
    expect(tables.read(cdLeaf) & ACCESSED).toBe(0n);
    expect(translator.translateDescriptorAddress(nestedContext, 2, outcome)).toBe(0);
    expect(tables.read(cdLeaf) & ACCESSED).toBe(ACCESSED);
  });
});

test('a prefetch fills the TLB but updates nothing', () => {
  const { translator, tables, plain, plainPage } = fixture();
  const leaf = plainPage(USER);
  const before = tables.read(leaf);
  const prefetch = { purpose: Purpose.PREFETCH };
  expect(translate(translator, plain, VA, prefetch)).toMatchObject({ event: 'ok' });
  expect(tables.read(leaf)).toBe(before);
  expect(translator.tlb.size).toBe(0);
  plainPage(USER | ACCESSED);
  translate(translator, plain, VA, prefetch);
  expect(translate(translator, plain, VA)).toMatchObject({ event: 'ok', hit: true });
});
