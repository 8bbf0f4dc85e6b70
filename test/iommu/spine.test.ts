/** The driver and the SMMU together: bring-up, translation, both kinds of faults, invalidation. */
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { DATA, driverBoard, driverMsi, mapping, RAM, TestHandler } from './driver-board.ts';

const { SUCCESS, COMPLETER_ABORT, PENDING } = Completion;
const RW = 3;
const owner = {};

test('an unknown stream aborts and is recorded; a known one that is not attached aborts silently', () => {
  const board = driverBoard();
  const known = board.function(8, { stall: true });
  expect(known.access(0x100).status).not.toBe(SUCCESS);
  board.settle();
  expect(board.events('smmu.event')).toEqual([]);
  known.access(0x100);
  board.smmu.memory({ ...requestOf(9) });
  board.settle();
  expect(board.events('smmu.event')).toMatchObject([{ type: 'C_BAD_STE', streamId: 9 }]);
});

function requestOf(requesterId: number) {
  return {
    requesterId,
    pasid: -1,
    execute: false,
    privileged: false,
    addressType: 0 as const,
    write: false,
    page: 0,
    offset: 0,
    length: 4,
    data: new Uint8Array(4),
    dataOffset: 0,
    latencyNs: 0,
    completed: () => {},
  };
}

describe.each([1, 2] as const)('stage %i', (stage) => {
  test('a mapped page is reached, with the permissions that it has', () => {
    const board = driverBoard();
    const fn = board.function(8);
    const domain = board.attached(fn, { stage });
    expect(domain.map(0x7000, DATA, 4096, RW)).toBe(0);
    expect(domain.map(0x8000, DATA + 4096, 4096, 1)).toBe(0);
    board.memory.write32(DATA, 0xcafe);
    const read = fn.access(7);
    expect([read.status, read.data[0], read.data[1]]).toEqual([SUCCESS, 0xfe, 0xca]);
    expect(fn.access(7, { write: true }).status).toBe(SUCCESS);
    expect(board.memory.read32(DATA)).toBe(0x5a5a_5a5a);
    expect(fn.access(8).status).toBe(SUCCESS);
    expect(fn.access(8, { write: true }).status).toBe(COMPLETER_ABORT);
    board.settle();
    expect(board.events('smmu.event')).toMatchObject([{ type: 'F_PERMISSION', stage, page: 8, write: true }]);
  });

  test('after unmap and flush the page is out of reach', () => {
    const board = driverBoard();
    const fn = board.function(8);
    const domain = board.attached(fn, { stage });
    domain.map(0x7000, DATA, 4096, RW);
    expect(fn.access(7).status).toBe(SUCCESS);
    const gather = domain.newGather();
    expect(domain.unmap(0x7000, 4096, gather)).toBe(4096);
    // Until the flush, the TLB still answers: that is why there is one.
    expect(fn.access(7).status).toBe(SUCCESS);
    board.run(domain.flush(gather));
    expect(fn.access(7).status).toBe(COMPLETER_ABORT);
  });

  test('a stalled access goes on when its page is there', () => {
    const board = driverBoard();
    const fn = board.function(8, { stall: true });
    const domain = board.attached(fn, { stage });
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    expect(board.run(board.driver.enableFaults(fn.device, owner, 'stall'))).toBe(0);
    const access = fn.access(0x123, { write: true });
    expect(access.status).toBe(PENDING);
    board.settle();
    expect(access.status).toBe(SUCCESS);
    expect(handler.groups).toMatchObject([
      { origin: 'stall', pasid: -1, pages: [{ page: 0x123, read: false, write: true }] },
    ]);
    expect(board.memory.read32(DATA + 0x123 * 4096)).toBe(0x5a5a_5a5a);
  });

  test('a stalled access that is no good ends with an abort', () => {
    const board = driverBoard();
    const fn = board.function(8, { stall: true });
    const domain = board.attached(fn, { stage });
    domain.setFaultHandler(new TestHandler((group) => board.driver.respond(group, 'invalid')));
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    const access = fn.access(0x123);
    board.settle();
    expect(access.status).toBe(COMPLETER_ABORT);
    expect(board.driver.counters).toMatchObject({ stalls: 1, groups: 1, invalid: 1 });
  });

  test('a page request is answered when its pages are there', () => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true, pri: true });
    const domain = board.attached(fn, { stage });
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    expect(board.run(board.driver.enableFaults(fn.device, owner, 'pri'))).toBe(0);
    expect(fn.switches).toEqual(['ats+', 'pri+32']);
    expect(fn.translate(0x55)).toMatchObject({ status: SUCCESS, read: false, write: false });
    fn.request(0x55, { index: 3, last: false });
    fn.request(0x57, { index: 9 });
    board.settle();
    expect(handler.groups).toMatchObject([{ index: 9, pages: [{ page: 0x57 }] }]);
    fn.request(0x56, { index: 3, write: true });
    board.settle();
    expect(handler.groups[1]).toMatchObject({
      origin: 'pri',
      index: 3,
      pages: [
        { page: 0x55, read: true, write: false },
        { page: 0x56, read: true, write: true },
      ],
    });
    expect(fn.responses).toEqual([
      { groupIndex: 9, code: 0, pasid: -1 },
      { groupIndex: 3, code: 0, pasid: -1 },
    ]);
    const answer = fn.translate(0x55);
    expect(answer).toMatchObject({ status: SUCCESS, page: DATA / 4096 + 0x55, read: true, write: true });
    expect(fn.access(answer.page, { translated: true }).status).toBe(SUCCESS);
  });

  test('a flush empties the caches of devices too, after those of the SMMU', () => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true });
    const domain = board.attached(fn, { stage });
    domain.map(0x40_0000, DATA, 0x40_0000, RW);
    const gather = domain.newGather();
    domain.unmap(0x40_1000, 4096, gather);
    board.run(domain.flush(gather));
    expect(fn.invalidations).toEqual([{ page: 0x400, pages: 512, pasid: -1, global: false }]);
    expect(fn.translate(0x400)).toMatchObject({ read: false, write: false });
    expect(fn.translate(0x600)).toMatchObject({ read: true, write: true });
  });

  test('detached, the stream aborts and holds nothing', () => {
    const board = driverBoard();
    const before = board.tables.bytes;
    const fn = board.function(8, { ats: true, pri: true });
    const leaf = board.tables.bytes - before;
    const domain = board.attached(fn, { stage });
    domain.map(0x7000, DATA, 4096, RW);
    expect(fn.access(7).status).toBe(SUCCESS);
    board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
    board.run(board.driver.detach(domain, fn.device));
    expect(fn.switches).toEqual(['ats+', 'pri+32', 'pri-', 'ats-']);
    expect(fn.access(7).status).not.toBe(SUCCESS);
    expect(fn.access(DATA / 4096, { translated: true }).status).not.toBe(SUCCESS);
    board.driver.freeDomain(domain);
    expect(board.tables.bytes).toBe(before + leaf);
    expect(() => domain.map(0, DATA, 4096, RW)).toThrow(/was freed/);
  });

  test.each([4096, 16384, 65536] as const)('pages and blocks of the %i byte granule', (granule) => {
    const board = driverBoard();
    const fn = board.function(8);
    const domain = board.attached(fn, { stage, granule });
    const [page = 0, block = 0] = domain.pageSizes;
    expect(page).toBe(granule);
    const base = 2 * block;
    expect(domain.map(base, DATA, page, RW)).toBe(0);
    expect(domain.map(base + page, RAM, Math.min(block, 0x800_0000), RW)).toBe(0);
    expect(fn.access(base / 4096 + page / 4096 - 1).status).toBe(SUCCESS);
    expect(fn.access(base / 4096 + page / 4096).status).toBe(SUCCESS);
    expect(domain.map(0, RAM, block, 1)).toBe(0);
    expect(domain.translate(0)?.size).toBe(block);
    expect(fn.access(0x10).status).toBe(SUCCESS);
    const gather = domain.newGather();
    expect(domain.protect(page, page, RW, gather)).toBe(0);
    board.run(domain.flush(gather));
    expect(domain.translate(page)?.size).toBe(page);
    expect(fn.access(page / 4096, { write: true }).status).toBe(SUCCESS);
    expect(fn.access(0, { write: true }).status).toBe(COMPLETER_ABORT);
  });
});

test.each([
  ['wired interrupts', {}],
  ['MSIs', driverMsi],
])('events arrive by %s, with all latencies', (_, irq) => {
  const board = driverBoard({ profile: 'kunpeng920', driver: irq });
  const fn = board.function(8, { stall: true });
  const domain = board.attached(fn);
  domain.setFaultHandler(mapping(board));
  board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
  const start = board.clock.now;
  const access = fn.access(0x123);
  board.settle();
  expect(access.status).toBe(SUCCESS);
  expect(board.interrupts.unhandled).toBe(0);
  // Record 90, interrupt 350, wake-up 500, index read 300 ...; the answer waits for its CMD_SYNC (270) afterwards.
  expect(board.clock.now - start).toBeGreaterThan(1200);
  expect(board.clock.now - start).toBeLessThan(3000);
});
