/** Two stages: the host's domains on top of each other, and a guest's tables on the host's (REVIEW rows F2, N2, N3). */
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import type { IommuDomain } from '../../src/iommu/core.ts';
import { DATA, type DriverBoard, driverBoard, mapping, type TestFunction, TestHandler } from './driver-board.ts';

const owner = {};
const { SUCCESS, COMPLETER_ABORT, PENDING } = Completion;

test.each([
  [4096, 4096],
  [4096, 65536],
  [65536, 4096],
  [16384, 65536],
] as const)('a stage 1 of %i on a stage 2 of %i bytes', (upper, lower) => {
  const board = driverBoard();
  const before = board.tables.bytes;
  const fn = board.function(8, { pasidBits: 5, ats: true });
  const leaf = board.tables.bytes - before;
  const below = board.driver.createDomain({ stage: 2, granule: lower });
  const domain = board.driver.createDomain({ stage: 1, granule: upper, parent: below });
  expect(board.run(board.driver.attach(domain, fn.device))).toBe(0);
  const big = Math.max(upper, lower);
  domain.map(2 * big, 5 * big, big, 3);
  expect(below.map(5 * big, DATA, big, 1)).toBe(0);
  expect(fn.access((2 * big) / 4096).status).toBe(SUCCESS);
  expect(fn.access((2 * big) / 4096, { write: true }).status).toBe(COMPLETER_ABORT);
  board.settle();
  expect(board.events('smmu.event')).toMatchObject([
    { type: 'F_PERMISSION', stage: 2, page: (2 * big) / 4096, ipa: 5 * big },
  ]);
  const pasid = board.driver.createDomain({ stage: 1, granule: upper, parent: below });
  expect(board.run(board.driver.attachPasid(pasid, fn.device, 9))).toBe(0);
  pasid.map(0, 5 * big, big, 1);
  expect(fn.access(0, { pasid: 9 }).status).toBe(SUCCESS);
  const gather = below.newGather();
  below.unmap(5 * big, big, gather);
  board.run(below.flush(gather));
  // What stage 1 made of an IPA is forgotten with it, in the SMMU and in the function, for every PASID.
  expect(fn.access((2 * big) / 4096).status).toBe(COMPLETER_ABORT);
  expect(fn.access(0, { pasid: 9 }).status).toBe(COMPLETER_ABORT);
  expect(fn.invalidations).toEqual([
    { page: 0, pages: Number.POSITIVE_INFINITY, pasid: -1, global: false },
    { page: 0, pages: Number.POSITIVE_INFINITY, pasid: 0, global: true },
  ]);
  board.run(board.driver.detachPasid(fn.device, 9));
  board.run(board.driver.detach(domain, fn.device));
  for (const made of [pasid, domain, below]) board.driver.freeDomain(made);
  expect(board.tables.bytes).toBe(before + leaf);
});

test.each([4096, 16384, 65536] as const)(
  '52-bit stage 2 below tables of %i bytes, which may point no further than 48',
  (granule) => {
    const board = driverBoard({ smmu: { features: { preset: 'wide' } } });
    const fn = board.function(8, { pasidBits: 12 });
    const below = board.driver.createDomain({ stage: 2, granule: 65536 });
    const domain = board.attached(fn, { stage: 1, granule, parent: below });
    below.map(DATA, DATA, 0x10_0000, 3);
    domain.map(0, DATA, 65536, 3);
    expect(board.run(board.driver.attachPasid(domain, fn.device, 4095))).toBe(0);
    for (const pasid of [-1, 4095]) expect(fn.access(0, { pasid, write: true }).status).toBe(SUCCESS);
  },
);

test('a device without PASID below, its PASIDs above: stage 2 alone and both stages in one stream', () => {
  const board = driverBoard();
  const fn = board.function(8, { pasidBits: 5 });
  const below = board.driver.createDomain({ stage: 2 });
  const pasid = board.driver.createDomain({ stage: 1, parent: below });
  expect(board.run(board.driver.attach(below, fn.device))).toBe(0);
  expect(board.run(board.driver.attachPasid(pasid, fn.device, 1))).toBe(0);
  below.map(0x5000, DATA, 4096, 3);
  pasid.map(0x9000, 0x5000, 4096, 3);
  expect(fn.access(5).status).toBe(SUCCESS);
  expect(fn.access(9, { pasid: 1 }).status).toBe(SUCCESS);
  expect(fn.access(9).status).toBe(COMPLETER_ABORT);
  const apart = board.driver.createDomain({ stage: 1 });
  expect(board.run(board.driver.attachPasid(apart, fn.device, 2))).toBe(-22);
});

function put(commands: DataView, words: readonly number[]): void {
  for (const [index, word] of words.entries()) commands.setUint32(index * 4, word, true);
}

/** A guest at IPA 0x8000_0000: 16 pages of its memory, the first ones with its context descriptor and tables. */
const GUEST = 0x8000_0000;

interface Guest {
  readonly board: DriverBoard;
  readonly fn: TestFunction;
  readonly below: IommuDomain;
  readonly domain: IommuDomain;
  /** Writes a 64-bit word of guest memory. */
  poke(ipa: number, low: number, high?: number): void;
  /** Maps a page in the guest's table; read-only unless `write`. */
  map(page: number, ipa: number, write?: boolean): void;
}

/** Words typed from IHI 0070 §5.4 and DDI 0487 §D8.3; three levels of 4 KiB tables (T0SZ 25). */
function guest(device: { stall?: boolean; pri?: boolean }, stalls = false): Guest {
  const board = driverBoard();
  const fn = board.function(8, { ...device, ats: device.pri ?? false });
  const below = board.driver.createDomain({ stage: 2 });
  below.map(GUEST, DATA, 16 * 4096, 3);
  const poke = (ipa: number, low: number, high = 0): void => {
    board.memory.write32(DATA + ipa - GUEST, low);
    board.memory.write32(DATA + ipa - GUEST + 4, high);
  };
  // CD at page 0: T0SZ 25, 4 KiB, EPD1, V; IPS 48 bits, AA64, S, R, A, ASID 5; TTB0 at page 1.
  poke(
    GUEST,
    (25 | (1 << 30) | (1 << 31)) >>> 0,
    5 | (1 << 9) | ((stalls ? 1 : 0) << 12) | (1 << 13) | (1 << 14) | (5 << 16),
  );
  poke(GUEST + 8, GUEST + 0x1000);
  poke(GUEST + 24, 0x44ff);
  poke(GUEST + 0x1000, (GUEST + 0x2000) | 3);
  poke(GUEST + 0x2000, (GUEST + 0x3000) | 3);
  const map = (page: number, ipa: number, write = false): void => {
    // AF, SH inner, AP unprivileged, read-only unless `write`, AttrIndx 0, page.
    poke(GUEST + 0x3000 + page * 8, (ipa | 0x400 | 0x300 | (write ? 0x40 : 0xc0) | 3) >>> 0);
  };
  const domain = board.driver.createGuestDomain(below, {
    contextTable: GUEST,
    contextBits: 0,
    contextFormat: 0,
    withoutPasid: 'translate',
  });
  expect(board.run(board.driver.attach(domain, fn.device))).toBe(0);
  return { board, fn, below, domain, poke, map };
}

describe("a guest's own stage 1", () => {
  test('translates, and its invalidations take effect', () => {
    const { board, fn, domain, map, poke } = guest({});
    map(7, GUEST + 0x8000);
    expect(fn.access(7).status).toBe(SUCCESS);
    expect(domain.translate(0x7123)).toMatchObject({ physical: GUEST + 0x8123, protection: 5 });
    expect(domain.map(0, 0, 4096, 3)).toBe(-95);
    poke(GUEST + 0x3000 + 7 * 8, 0);
    expect(fn.access(7).status).toBe(SUCCESS);
    // TLBI_NH_VA of page 7, ASID 5, VMID (the guest's idea of it) 77, leaf; CMD_SYNC.
    const commands = new DataView(new ArrayBuffer(32));
    put(commands, [0x12, (5 << 16) | 77, 0x7001, 0, 0x46, 0, 0, 0]);
    expect(board.run(board.driver.invalidateGuest(domain, commands, () => null))).toBe(2);
    expect(fn.access(7).status).toBe(COMPLETER_ABORT);
  });

  test.each([
    ['CFGI_STE', [0x03, 8, 1, 0]],
    ['TLBI_S12_VMALL', [0x28, 1, 0, 0]],
    ['TLBI_S2_IPA', [0x2a, 1, 0, 0]],
    ['TLBI_EL2_ALL', [0x20, 0, 0, 0]],
    ['PRI_RESP', [0x41, 8, 0, 0]],
    ['RESUME', [0x44, 8, 0, 0]],
    ['CFGI_CD of a stream that is not its own', [0x05, 9, 0, 0]],
    ['a range that would stop the queue', [0x12, 0, 1 << 10, 0]],
  ] as const)('%s is none of its commands', (_, words) => {
    const { board, domain, fn } = guest({});
    const commands = new DataView(new ArrayBuffer(48));
    put(commands, [0x10, 0, 0, 0, ...words, 0x10, 0, 0, 0]);
    const deviceOf = (streamId: number) => (streamId === 8 ? fn.device : null);
    expect(board.run(board.driver.invalidateGuest(domain, commands, deviceOf))).toBe(1);
    expect(board.driver.counters.commandErrors).toBe(0);
  });

  test('its pages and tables are dirty at stage 2 once a device, or the SMMU for it, writes them (§3.13.5)', () => {
    const { board, fn, below, domain, map, poke } = guest({});
    // The guest lets hardware keep state of its own: CD.HD [42], HA [43].
    poke(GUEST, (25 | (1 << 30) | (1 << 31)) >>> 0, 5 | (1 << 9) | (3 << 10) | (1 << 13) | (1 << 14) | (5 << 16));
    map(5, GUEST + 0x8000, true);
    map(6, GUEST + 0x9000);
    // Writable-clean: AP[2] and DBM [51].
    poke(GUEST + 0x3000 + 7 * 8, ((GUEST + 0xa000) | 0x400 | 0x300 | 0xc0 | 3) >>> 0, 1 << 19);
    const gather = below.newGather();
    expect([domain.dirty, domain.access]).toEqual([null, null]);
    expect(below.dirty?.enable(gather)).toBe(0);
    board.run(below.flush(gather));
    const pages: number[] = [];
    const sink = { noteWritten: (ipa: number) => void pages.push((ipa - GUEST) / 4096) };
    const told = () => {
      pages.length = 0;
      expect(below.dirty?.readAndClear(GUEST, 16 * 4096, sink, gather)).toBe(0);
      board.run(below.flush(gather));
      return pages;
    };
    for (const page of [5, 6, 7]) expect(fn.access(page).status).toBe(SUCCESS);
    expect(told()).toEqual([]);
    expect(fn.access(5, { write: true }).status).toBe(SUCCESS);
    expect(told()).toEqual([8]);
    // The guest's leaf becomes writable-dirty: its table, page 3, was written as well.
    expect(fn.access(7, { write: true }).status).toBe(SUCCESS);
    expect(told()).toEqual([3, 10]);
    expect(fn.access(7, { write: true }).status).toBe(SUCCESS);
    expect(told()).toEqual([10]);
  });

  test('a stall at stage 1 goes to the guest, one at stage 2 to the host', () => {
    const { board, fn, domain, below, map } = guest({ stall: true }, true);
    const guestHandler = new TestHandler(function* (group) {
      map(group.pages[0]?.page ?? 0, GUEST + 0x20_0000, true);
      yield* board.driver.respond(group, 'success');
    });
    const hostHandler = mapping(board);
    domain.setFaultHandler(guestHandler);
    below.setFaultHandler(hostHandler);
    // Either may be first (N3): the guest's context descriptor has had S set all along.
    const early = fn.access(3, { write: true });
    board.settle(1000);
    expect(guestHandler.groups).toMatchObject([{ origin: 'stall', pages: [{ page: 3, write: true }] }]);
    expect(early.status).toBe(COMPLETER_ABORT);
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    const access = fn.access(4, { write: true });
    board.settle();
    expect(access.status).toBe(SUCCESS);
    expect(guestHandler.groups).toHaveLength(2);
    expect(hostHandler.groups).toMatchObject([{ pages: [{ page: GUEST / 4096 + 0x200, write: true }] }]);
  });

  test('a page request is shared out between guest and host, and answered once with the worse answer', () => {
    const { board, fn, domain, below, map } = guest({ pri: true });
    const guestHandler = new TestHandler();
    const hostHandler = new TestHandler();
    domain.setFaultHandler(guestHandler);
    below.setFaultHandler(hostHandler);
    board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
    map(5, GUEST + 0x30_0000, true);
    map(6, GUEST + 0x8000);
    fn.request(4, { index: 2, last: false });
    fn.request(5, { index: 2, last: false, write: true });
    fn.request(6, { index: 2, write: true });
    board.settle(1000);
    // Page 4 is not mapped by the guest, page 6 only for reading; page 5 leads to a page that the host has not.
    expect(guestHandler.groups[0]?.pages.map((fault) => fault.page)).toEqual([4, 6]);
    expect(hostHandler.groups[0]?.pages).toMatchObject([{ page: GUEST / 4096 + 0x300, write: true }]);
    board.run(board.driver.respond(hostHandler.groups[0] as never, 'success'));
    expect(fn.responses).toEqual([]);
    board.run(board.driver.respond(guestHandler.groups[0] as never, 'invalid'));
    expect(fn.responses).toEqual([{ groupIndex: 2, code: 1, pasid: -1 }]);
  });

  test("the host is asked for a guest's table that it has taken away", () => {
    const { board, fn, domain, below, map } = guest({ pri: true });
    const hostHandler = new TestHandler((group) => board.driver.respond(group, 'success'));
    domain.setFaultHandler(new TestHandler());
    below.setFaultHandler(hostHandler);
    board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
    map(5, GUEST + 0x8000, true);
    const gather = below.newGather();
    below.unmap(GUEST + 0x2000, 4096, gather);
    board.run(below.flush(gather));
    fn.request(5, { write: true });
    board.settle();
    expect(hostHandler.groups[0]?.pages).toMatchObject([{ page: GUEST / 4096 + 2, read: true, write: false }]);
  });

  test('the ASIDs of one VM are given out by one side', () => {
    const { board, below } = guest({});
    expect(() => board.driver.createDomain({ stage: 1, parent: below })).toThrow(/share the ASIDs/);
  });

  test('host faults without a handler end the access', () => {
    const { board, fn, map } = guest({ stall: true });
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    map(5, GUEST + 0x30_0000);
    const access = fn.access(5);
    expect(access.status).toBe(PENDING);
    board.settle();
    expect(access.status).toBe(COMPLETER_ABORT);
  });
});
