/** Patch 8, nesting: the guest serves its stage, the host its own. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/errno.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import type { Steps } from '../../src/sim/task.ts';
import { DATA, driverBoard, mapping, TestHandler } from '../iommu/driver-board.ts';
import { exhibit } from './exhibit/board.ts';
import { Report } from './exhibit/fault-reporting.ts';
import { GUEST, type GuestBoard, guestBoard } from './guest-board.ts';

function* nothing(): Steps<number> {
  return Errno.OK;
}

describe('N1 what a handler belongs to', () => {
  test('N1 exhibit: a device, which has one', () => {
    const { run, reporting, device, container, space } = exhibit({ nested: true });
    expect(run(container.enableIopf(space))).toBe(0);
    expect(run(reporting.register(device, nothing, Report.NESTED_L1))).toBe(Errno.EBUSY);
  });

  test('N1 ours: a page table, so each PASID of a device has its own, and devices share one', () => {
    const board = driverBoard();
    const [fn, other] = [
      board.function(8, { ats: true, pri: true, pasidBits: 8 }),
      board.function(16, { ats: true, pri: true }),
    ];
    const domain = board.attached(fn);
    board.run(board.driver.attach(domain, other.device));
    const spaces = [7, 9].map((pasid) => {
      const made = board.driver.createDomain({ stage: 1 });
      expect(board.run(board.driver.attachPasid(made, fn.device, pasid))).toBe(0);
      return made;
    });
    const handlers = [domain, ...spaces].map((each) => {
      const handler = mapping(board);
      each.setFaultHandler(handler);
      return handler;
    });
    for (const { device } of [fn, other]) board.run(board.driver.enableFaults(device, board, 'pri'));
    fn.request(1, { index: 1 });
    fn.request(2, { index: 2, pasid: 7 });
    fn.request(3, { index: 3, pasid: 9 });
    other.request(4, { index: 1 });
    board.settle();
    expect(handlers.map((handler) => handler.groups.map((group) => group.pages[0]?.page))).toEqual([[1, 4], [2], [3]]);
    expect(fn.responses.map(({ code, pasid }) => [code, pasid])).toEqual([
      [0, -1],
      [0, 7],
      [0, 9],
    ]);
  });
});

describe('N2 the two levels', () => {
  test('N2 exhibit: the one handler must be updated to hear of both, and the update fails', () => {
    const { run, reporting, device, container, space } = exhibit({ nested: true });
    run(container.enableIopf(space));
    expect(run(reporting.update(device, ~0, Report.NESTED_L1))).toBe(Errno.EINVAL);
    expect(reporting.parameterOf(device).handler?.flags).toBe(Report.NESTED_L2);
  });

  test('N2 ours: are two domains, each with its handler; a guest page that the host took comes back by the host alone', () => {
    const { board, fn, domain, below, map } = guestBoard({ stall: true }, true);
    const guest = new TestHandler(function* (group) {
      for (const { page } of group.pages) map(page, GUEST + 0x8000, true);
      yield* board.driver.respond(group, 'success');
    });
    const host = new TestHandler(function* (group) {
      for (const { page } of group.pages) below.map(page * 4096, DATA + page * 4096 - GUEST, 4096, 3);
      yield* board.driver.respond(group, 'success');
    });
    domain.setFaultHandler(guest);
    below.setFaultHandler(host);
    board.run(board.driver.enableFaults(fn.device, board, 'stall'));
    const first = fn.access(7, { write: true });
    board.settle();
    expect([first.status, guest.groups.length, host.groups.length]).toEqual([Completion.SUCCESS, 1, 0]);
    const gather = below.newGather();
    below.unmap(GUEST + 0x8000, 4096, gather);
    board.run(below.flush(gather));
    const second = fn.access(7, { write: true });
    board.settle();
    expect([second.status, guest.groups.length, host.groups.length]).toEqual([Completion.SUCCESS, 1, 1]);
  });
});

describe('N3 either order', () => {
  test('N3 exhibit: neither works', () => {
    // The host first: the guest's part is an update, which fails.
    const first = exhibit({ nested: true });
    first.run(first.container.enableIopf(first.space));
    expect(first.run(first.reporting.update(first.device, ~0, Report.NESTED_L1))).toBe(Errno.EINVAL);
    // The guest first: the host's registration finds the place taken.
    const second = exhibit({ nested: true });
    second.run(second.reporting.register(second.device, nothing, Report.NESTED_L1));
    expect(second.run(second.container.enableIopf(second.space))).toBe(Errno.EBUSY);
  });

  function serve({ board, domain, below, map }: GuestBoard): {
    guest: () => void;
    host: () => void;
    seen: () => number[];
  } {
    const guest = new TestHandler(function* (group) {
      for (const { page } of group.pages) map(page, GUEST + 0x20_0000 + page * 4096, true);
      yield* board.driver.respond(group, 'success');
    });
    const host = mapping(board);
    return {
      guest: () => domain.setFaultHandler(guest),
      host: () => below.setFaultHandler(host),
      seen: () => [guest.groups.length, host.groups.length],
    };
  }

  test.each(['guest', 'host'] as const)('N3 ours: faults of both are served, the %s first', (order) => {
    const made = guestBoard({ stall: true }, true);
    const { board, fn } = made;
    const set = serve(made);
    if (order === 'guest') set.guest();
    board.run(board.driver.enableFaults(fn.device, board, 'stall'));
    set.host();
    if (order === 'host') set.guest();
    const access = fn.access(6, { write: true });
    board.settle();
    expect([access.status, set.seen()]).toEqual([Completion.SUCCESS, [1, 1]]);
  });

  test('N3 ours: with page requests as well', () => {
    for (const order of ['guest', 'host']) {
      const made = guestBoard({ pri: true });
      const { board, fn } = made;
      const set = serve(made);
      if (order === 'guest') set.guest();
      set.host();
      board.run(board.driver.enableFaults(fn.device, board, 'pri'));
      set.guest();
      // As a function does it: ask for the page, translate again, ask again until it is there.
      for (let index = 1; index <= 3 && !fn.translate(6).write; index++) {
        fn.request(6, { index, write: true });
        board.settle();
      }
      expect([fn.translate(6).write, set.seen()]).toEqual([true, [1, 1]]);
    }
  });
});
