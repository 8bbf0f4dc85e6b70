/** Address spaces shared by PASID, over the driver and the silicon: faults, permissions, what is taken away, unbinding. */
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import type { DeviceOptions } from '../../src/iommu/driver/device.ts';
import type { AddressSpace } from '../../src/mm/address-space.ts';
import { HostMemory } from '../../src/mm/host-memory.ts';
import { latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { Random } from '../../src/sim/random.ts';
import { Sva } from '../../src/sva/sva.ts';
import { DATA, driverBoard } from '../iommu/driver-board.ts';

const PAGE = 4096;
const { SUCCESS, COMPLETER_ABORT, PENDING } = Completion;
const STALLS = { stall: true, pasidBits: 8 };
const REQUESTS = { ats: true, pri: true, pasidBits: 8 };

function sharing(device: Partial<DeviceOptions> = STALLS, workers = 0, seed?: number, profile = 'zero') {
  const random = seed === undefined ? null : new Random(seed);
  const board = driverBoard({
    profile,
    ...(random === null ? {} : { choose: (count: number) => random.below(count) }),
  });
  const { scheduler, memory, invariants } = board;
  const costs = PROFILES[profile];
  if (costs === undefined) throw new Error('a profile that exists');
  const latency = latencyOf(costs);
  const log = pino({ level: 'silent' });
  const options = { scheduler, latency, log, invariants };
  const host = new HostMemory({ ...options, memory, base: DATA, size: 2 ** 24, swapBytes: 2 ** 24 });
  const sva = new Sva({ ...options, iommu: board.driver, granule: PAGE, workers });
  const space = host.createSpace({ name: 'process' });
  const fn = board.function(8, device);
  return {
    board,
    host,
    sva,
    space,
    fn,
    area: (pages: number, protection = 3) => space.mmap(pages * PAGE, { protection }),
    bind: (other: AddressSpace = space) => board.run(sva.bind(fn.device, other)),
    /** An access to its end. */
    access: (address: number, write: boolean, pasid: number) => {
      const access = fn.access(address / PAGE, { write, pasid });
      board.settle();
      return access;
    },
    atRest: () => {
      sva.checkAtRest();
      expect(space.notifierCount).toBe(0);
      expect(host.allocator.pinnedFrames).toBe(0);
    },
  };
}

describe('a device that stalls', () => {
  test('reads and writes what the process has at the same address', () => {
    const { board, space, area, bind, access, sva } = sharing();
    const address = area(2);
    board.run(space.store(address, new Uint8Array(16).fill(0x77)));
    const pasid = bind();
    expect(pasid).toBe(1);
    const read = access(address, false, pasid);
    expect(read.status).toBe(SUCCESS);
    expect([...read.data]).toEqual(new Array(16).fill(0x77));
    expect(access(address + PAGE, true, pasid).status).toBe(SUCCESS);
    const seen = new Uint8Array(16);
    board.run(space.load(address + PAGE, seen));
    expect([...seen]).toEqual(new Array(16).fill(0x5a));
    expect(sva.counters).toMatchObject({ groups: 2, pages: 2, invalid: 0 });
  });

  test('faults once per page, and once more to write what it has read', () => {
    const { area, bind, access, sva } = sharing();
    const address = area(1);
    const pasid = bind();
    for (let times = 0; times < 3; times++) access(address, false, pasid);
    expect(sva.counters.groups).toBe(1);
    for (let times = 0; times < 3; times++) access(address, true, pasid);
    expect(sva.counters).toMatchObject({ groups: 2, pages: 1, upgrade: 1 });
  });

  test('may do what the process may, and nothing else', () => {
    const { area, bind, access, sva } = sharing();
    const readOnly = area(1, 1);
    const none = area(1, 0);
    const pasid = bind();
    expect(access(readOnly, false, pasid).status).toBe(SUCCESS);
    expect(access(readOnly, true, pasid).status).toBe(COMPLETER_ABORT);
    expect(access(none, false, pasid).status).toBe(COMPLETER_ABORT);
    expect(access(0x1000, false, pasid).status).toBe(COMPLETER_ABORT);
    expect(access(readOnly, false, pasid + 1).status).toBe(COMPLETER_ABORT);
    expect(sva.counters).toMatchObject({ groups: 4, pages: 1, invalid: 3 });
  });

  test('two requests of one page are one mapping and a duplicate', () => {
    const { board, fn, area, bind, sva } = sharing(REQUESTS, 2);
    const address = area(1);
    const pasid = bind();
    for (const index of [0, 1]) fn.request(address / PAGE, { write: true, pasid, index });
    board.settle();
    expect(fn.responses.map(({ code }) => code)).toEqual([0, 0]);
    expect(sva.counters).toMatchObject({ groups: 2, pages: 1, duplicate: 1, stale: 0 });
  });
});

describe('what is taken away', () => {
  test.each(['unmapped', 'swapped out', 'protected'] as const)('%s: the device loses it before it goes', (how) => {
    const { board, space, area, bind, access, sva } = sharing();
    const address = area(1);
    const pasid = bind();
    access(address, true, pasid);
    if (how === 'unmapped') board.run(space.munmap(address, PAGE));
    else if (how === 'swapped out') expect(board.run(space.swapOut(address, PAGE))).toBe(1);
    else board.run(space.protect(address, PAGE, 1));
    expect(sva.counters.invalidated).toBe(1);
    expect(sva.mappedPages(space)).toBe(0);
    const again = access(address, true, pasid);
    expect(again.status).toBe(how === 'swapped out' ? SUCCESS : COMPLETER_ABORT);
  });

  test('a forked page is copied for the device that writes it', () => {
    const { board, space, area, bind, access, sva } = sharing();
    const address = area(1);
    const pasid = bind();
    access(address, true, pasid);
    const child = board.run(space.fork('child'));
    expect(access(address, false, pasid).status).toBe(SUCCESS);
    board.run(space.store(address, new Uint8Array(16).fill(1)));
    expect([...access(address, false, pasid).data]).toEqual(new Array(16).fill(1));
    const kept = new Uint8Array(16);
    if (child !== null) board.run(child.load(address, kept));
    expect([...kept]).toEqual(new Array(16).fill(0x5a));
    expect(sva.counters.invalid).toBe(0);
  });

  test('a process that exits leaves the device with aborts', () => {
    const { board, space, sva, fn, area, bind, access, atRest } = sharing();
    const address = area(4);
    const pasid = bind();
    for (let page = 0; page < 4; page++) access(address + page * PAGE, true, pasid);
    board.run(space.exit());
    expect(sva.mappedPages(space)).toBe(0);
    expect(access(address, false, pasid).status).toBe(COMPLETER_ABORT);
    expect(bind()).toBe(-19);
    board.run(sva.unbind(fn.device, space));
    atRest();
  });
});

describe('binding', () => {
  test('each process has its own PASID, which comes back after it', () => {
    const { board, host, sva, space, fn, bind, access } = sharing();
    const other = host.createSpace({ name: 'other' });
    const [mine, theirs] = [space, other].map((one) => one.mmap(PAGE));
    expect([bind(), bind(other)]).toEqual([1, 2]);
    expect(bind()).toBe(-16);
    expect(access(mine ?? 0, true, 1).status).toBe(SUCCESS);
    expect(access(theirs ?? 0, true, 2).status).toBe(SUCCESS);
    board.run(sva.unbind(fn.device, space));
    expect(access(mine ?? 0, true, 1).status).toBe(COMPLETER_ABORT);
    expect(access(theirs ?? 0, true, 2).status).toBe(SUCCESS);
    expect(bind()).toBe(1);
  });

  test('one table serves all devices of a process', () => {
    const { board, sva, space, fn, area, bind, access, atRest } = sharing();
    const second = board.function(9, STALLS);
    const address = area(1);
    const pasid = bind();
    expect(board.run(sva.bind(second.device, space))).toBe(pasid);
    access(address, true, pasid);
    expect(second.access(address / PAGE, { pasid }).status).toBe(SUCCESS);
    expect(sva.counters.groups).toBe(1);
    board.run(sva.unbind(fn.device, space));
    expect(second.access(address / PAGE, { pasid }).status).toBe(SUCCESS);
    board.run(sva.unbind(second.device, space));
    atRest();
  });

  test.each([
    ['no PASIDs', { stall: true }, -19],
    ['no way to fault', { pasidBits: 8 }, -19],
    ['faults that are somebody else’s', STALLS, -16],
  ] as const)('a device with %s is refused', (_, device, errno) => {
    const { board, fn, bind, atRest } = sharing(device);
    if (errno === -16) board.run(board.driver.enableFaults(fn.device, {}, 'stall'));
    expect(bind()).toBe(errno);
    atRest();
  });

  test('without memory for its context descriptors it is refused, and nothing is left', () => {
    const { board, bind, atRest } = sharing();
    let budget = 0;
    for (; ; budget++) {
      board.tables.budget = budget;
      const result = bind();
      if (result === 1) break;
      expect(result).toBe(-12);
      atRest();
    }
    expect(budget).toBeGreaterThan(1);
  });
});

test('unbinding answers what is in flight first, whatever runs when', () => {
  for (let seed = 0; seed < 60; seed++) {
    const { board, sva, space, fn, area, bind, atRest } = sharing(STALLS, 1 + (seed % 3), seed);
    const address = area(16);
    const pasid = bind();
    const accesses = Array.from({ length: 12 }, (_, page) => fn.access(address / PAGE + page, { write: true, pasid }));
    board.spawn(space.munmap(address + 2 * PAGE, 3 * PAGE));
    board.spawn(sva.unbind(fn.device, space));
    board.settle();
    expect(accesses.filter(({ status }) => status === PENDING)).toEqual([]);
    atRest();
  }
});

test('a device with page requests', () => {
  const { board, fn, area, bind, sva } = sharing(REQUESTS, 0, undefined, 'kunpeng920');
  const address = area(4);
  const pasid = bind();
  const first = address / PAGE;
  fn.request(first, { pasid, index: 3, last: false, write: true });
  fn.request(first + 1, { pasid, index: 3 });
  board.settle();
  expect(fn.responses).toEqual([{ groupIndex: 3, code: 0, pasid }]);
  expect(fn.translate(first, { pasid })).toMatchObject({ read: true, write: true });
  expect(fn.translate(first + 1, { pasid })).toMatchObject({ read: true, write: false });
  // It asks for a page that it should know: what it holds is older.
  fn.request(first + 1, { pasid, index: 4 });
  board.settle();
  expect(sva.counters).toMatchObject({ groups: 2, pages: 2, stale: 1 });
  expect(fn.invalidations).toHaveLength(1);
});
