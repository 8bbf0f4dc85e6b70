/** Patch 1, device fault reporting: flags in the core and a call to change them, or a handler that decides. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/errno.ts';
import type { Steps } from '../../src/sim/task.ts';
import { driverBoard, mapping, TestHandler } from '../iommu/driver-board.ts';
import { exhibit } from './exhibit/board.ts';
import { Report, type ReportedFault } from './exhibit/fault-reporting.ts';
import { NullDereference } from './exhibit/lifetime.ts';
import { guestBoard } from './guest-board.ts';

const PAGE_REQUEST: ReportedFault = {
  type: 'page request',
  level2: false,
  page: 1,
  read: true,
  write: false,
  pasid: -1,
  index: 1,
  last: true,
};

function* nothing(): Steps<number> {
  return Errno.OK;
}

describe('F1 who chooses by level', () => {
  test('F1 exhibit: the core does, by flags given with the handler', () => {
    const { run, reporting, device } = exhibit();
    expect(run(reporting.register(device, nothing, Report.FLAT | Report.NESTED_L1))).toBe(Errno.EINVAL);
    expect(run(reporting.register(device, nothing, Report.NESTED_L1))).toBe(Errno.OK);
    expect(reporting.parameterOf(device).handler?.flags).toBe(Report.NESTED_L1);
  });

  test('F1 ours: setting a handler takes a handler; what it is told says the stage', () => {
    const handler = new TestHandler();
    const board = driverBoard();
    const fn = board.function(8);
    const domain = board.attached(fn, { stage: 2 });
    domain.setFaultHandler(handler);
    fn.access(0x123, { write: true });
    board.settle();
    expect(handler.unrecoverableFaults).toMatchObject([
      { event: 'F_TRANSLATION', stage: 2, page: 0x123, ipa: 0x12_3000, write: true },
    ]);
    // One argument, so no flags; and no call of the driver to change any.
    expect(domain.setFaultHandler).toHaveLength(1);
    expect(methodsOf(board.driver).filter((name) => /handler|report|filter/i.test(name))).toEqual([]);
  });
});

describe('F2 the stage of a page request', () => {
  test('F2 exhibit: a page request does not say its stage, so it always counts as level 1', () => {
    const seen: boolean[] = [];
    const board = exhibit({
      nested: true,
      *transfer(_device, fault): Steps<number> {
        seen.push(fault.level2);
        return Errno.OK;
      },
    });
    const { run, container, reporting, device, space } = board;
    run(container.enableIopf(space));
    // Registered for level 2, it would not even be told; a guest that registered as well takes what is not its own.
    const installed = reporting.parameterOf(device).handler;
    if (installed !== null) installed.flags = Report.NESTED_L1 | Report.NESTED_L2;
    run(reporting.report(device, PAGE_REQUEST, null));
    expect(seen).toEqual([false]);
  });

  test("F2 ours: the driver walks the guest's tables, and each stage's handler gets what is its own", () => {
    const { board, fn, domain, below, map, GUEST } = guestBoard({ pri: true });
    const [first, second] = [new TestHandler(), new TestHandler()];
    domain.setFaultHandler(first);
    below.setFaultHandler(second);
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    map(5, GUEST + 0x30_0000, true);
    fn.request(4, { index: 1 });
    fn.request(5, { index: 2, write: true });
    board.settle(1000);
    expect(first.groups).toMatchObject([{ index: 1, pages: [{ page: 4 }] }]);
    expect(second.groups).toMatchObject([{ index: 2, pages: [{ page: GUEST / 4096 + 0x300, write: true }] }]);
  });
});

describe('F3 changing the flags', () => {
  test('F3 exhibit: fails where a handler is installed, follows a null pointer where none is', () => {
    const { run, reporting, device } = exhibit();
    expect(() => run(reporting.update(device, ~0, Report.NESTED_L1))).toThrow(NullDereference);
    const other = exhibit();
    other.run(other.reporting.register(other.device, nothing, Report.NESTED_L2));
    expect(other.run(other.reporting.update(other.device, ~0, Report.NESTED_L1))).toBe(Errno.EINVAL);
  });

  test('F3 ours: there is no such call, and handlers of both levels come and go while faults are served', () => {
    const { board, fn, domain, below, map, GUEST } = guestBoard({ pri: true });
    expect(methodsOf(board.driver).filter((name) => /update/i.test(name))).toEqual([]);
    below.setFaultHandler(mapping(board));
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    fn.request(4, { index: 1 });
    board.settle();
    expect(fn.responses.at(-1)).toMatchObject({ groupIndex: 1, code: 1 });
    domain.setFaultHandler(new TestHandler((group) => board.driver.respond(group, 'success')));
    map(5, GUEST + 0x20_0000, true);
    fn.request(4, { index: 2 });
    fn.request(5, { index: 3, write: true });
    board.settle();
    expect(fn.responses.slice(1).map(({ code }) => code)).toEqual([0, 0]);
  });
});

describe('F4 the filter', () => {
  test('F4 exhibit: a fault of the level that nobody asked for leaves the parameter locked', () => {
    const { run, reporting, device } = exhibit();
    run(reporting.register(device, nothing, Report.NESTED_L2));
    expect(() => run(reporting.report(device, PAGE_REQUEST, null))).toThrow(/ended while it held fault parameter/);
  });

  test('F4 exhibit: for a newer kind of fault the level is read and was never written', () => {
    const { run, reporting, device } = exhibit();
    run(reporting.register(device, nothing, Report.NESTED_L1));
    run(reporting.report(device, { ...PAGE_REQUEST, type: 'something newer' }, null));
    expect(reporting.warnings).toEqual(['the level is read and was never written']);
  });

  test('F4 ours: faults that nobody serves are answered, and no lock is left behind', () => {
    const { board, fn, below, map, GUEST } = guestBoard({ pri: true });
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    map(5, GUEST + 0x30_0000, true);
    // No handler at either level, then at one of them; the scheduler fails the run where a task ends with a lock.
    fn.request(4, { index: 1 });
    fn.request(5, { index: 2, write: true });
    board.settle();
    below.setFaultHandler(mapping(board));
    fn.request(4, { index: 3 });
    fn.access(9);
    board.settle();
    expect(fn.responses.map(({ code }) => code)).toEqual([1, 1, 1]);
    expect(board.scheduler.stuck()).toEqual([]);
  });
});

function methodsOf(object: object): string[] {
  return Object.getOwnPropertyNames(Object.getPrototypeOf(object));
}
