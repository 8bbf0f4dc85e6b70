/** Page request groups and stalled accesses in the driver: REVIEW rows X3 to X11, F1, N1, E6 as far as the driver goes. */
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import type { FaultGroup, IommuDomain } from '../../src/iommu/core.ts';
import { type DriverBoard, driverBoard, mapping, type TestFunction, TestHandler } from './driver-board.ts';

const owner = {};

interface Pri {
  readonly board: DriverBoard;
  readonly fn: TestFunction;
  readonly domain: IommuDomain;
}

function pri(options: Parameters<typeof driverBoard>[0] = {}): Pri {
  const board = driverBoard(options);
  const fn = board.function(8, { ats: true, pri: true, pasidBits: 8 });
  const domain = board.attached(fn);
  board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
  return { board, fn, domain };
}

describe('partial groups', () => {
  test('are held per requester until their last request', () => {
    const { board, fn, domain } = pri();
    const other = board.function(16, { ats: true, pri: true });
    const otherDomain = board.attached(other);
    board.run(board.driver.enableFaults(other.device, owner, 'pri'));
    const handler = mapping(board);
    const otherHandler = mapping(board);
    domain.setFaultHandler(handler);
    otherDomain.setFaultHandler(otherHandler);
    fn.request(1, { index: 5, last: false });
    other.request(2, { index: 5, last: false });
    other.request(3, { index: 5 });
    board.settle();
    expect(handler.groups).toEqual([]);
    expect(otherHandler.groups[0]?.pages.map((fault) => fault.page)).toEqual([2, 3]);
    fn.request(4, { index: 5 });
    board.settle();
    expect(handler.groups[0]?.pages.map((fault) => fault.page)).toEqual([1, 4]);
  });

  test('are discarded and counted when the queue overflows, and the queue goes on afterwards', () => {
    const { board, fn, domain } = pri({ driver: { queueBits: { pageRequest: 2 }, overcommitPageRequests: true } });
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    // Four records fit: two whole groups, two requests whose last one is lost and answered by the SMMU.
    fn.request(1, { index: 1 });
    fn.request(2, { index: 2, last: false });
    fn.request(3, { index: 2, last: false });
    fn.request(4, { index: 3 });
    fn.request(5, { index: 2 });
    expect(fn.responses).toEqual([{ groupIndex: 2, code: 0, pasid: -1 }]);
    board.settle();
    expect(handler.groups.map((group) => group.index)).toEqual([1, 3]);
    expect(board.driver.counters).toMatchObject({
      pageRequestQueueOverflows: 1,
      partialGroupsDiscarded: 1,
      partialRequestsDiscarded: 2,
    });
    expect(board.smmu.pageRequestCounts).toMatchObject({ overflowAnswered: 1 });
    // The index is free again, with a new meaning (§8.1.1).
    fn.request(9, { index: 2 });
    board.settle();
    expect(handler.groups[2]?.pages.map((fault) => fault.page)).toEqual([9]);
    expect(fn.responses.map((response) => response.groupIndex)).toEqual([2, 1, 3, 2]);
  });

  test('of a PASID end with its stop marker, those of others go on', () => {
    const { board, fn, domain } = pri();
    const pasidDomain = board.driver.createDomain({ stage: 1 });
    board.run(board.driver.attachPasid(pasidDomain, fn.device, 7));
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    pasidDomain.setFaultHandler(handler);
    fn.request(1, { index: 1, last: false, pasid: 7 });
    fn.request(2, { index: 2, last: false });
    fn.request(0, { index: 0, read: false, write: false, pasid: 7 });
    board.settle();
    expect(board.driver.counters).toMatchObject({ stopMarkers: 1, partialGroupsDiscarded: 1 });
    fn.request(3, { index: 2 });
    board.settle();
    expect(handler.groups.map((group) => group.pages.length)).toEqual([2]);
    expect(fn.responses).toHaveLength(1);
  });

  test('are discarded with the device, and by a function reset', () => {
    const { board, fn, domain } = pri();
    fn.request(1, { index: 1, last: false });
    board.settle();
    fn.forgetRequests();
    board.run(board.driver.functionReset(fn.device));
    expect(board.driver.counters.partialGroupsDiscarded).toBe(1);
    fn.request(1, { index: 1, last: false });
    fn.forgetRequests();
    board.run(board.driver.detach(domain, fn.device));
    expect(board.driver.counters.partialGroupsDiscarded).toBe(2);
    expect(fn.responses).toEqual([]);
  });
});

describe('rules of groups', () => {
  test('a group of two PASIDs is answered INVALID and reaches no handler', () => {
    const { board, fn, domain } = pri();
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    fn.request(1, { index: 1, last: false });
    fn.request(2, { index: 1, pasid: 3 });
    board.settle();
    expect(handler.groups).toEqual([]);
    expect(fn.responses).toEqual([{ groupIndex: 1, code: 1, pasid: -1 }]);
    expect(board.driver.counters).toMatchObject({ violations: 1, invalid: 1 });
    expect(board.events('iopf.violation')).toMatchObject([{ rule: 'pasid', index: 1 }]);
  });

  test('more requests than credits are not held', () => {
    const { board, fn } = pri();
    for (let page = 0; page < 40; page++) fn.request(page, { index: 1, last: page === 39 });
    board.settle();
    expect(fn.responses).toEqual([{ groupIndex: 1, code: 1, pasid: -1 }]);
    expect(board.driver.counters.violations).toBe(8);
  });

  test('an index in use gets one answer', () => {
    const { board, fn, domain } = pri();
    const handler = new TestHandler();
    domain.setFaultHandler(handler);
    fn.request(1, { index: 1 });
    fn.request(2, { index: 1 });
    board.settle(1000);
    const [group] = handler.groups as [FaultGroup];
    board.run(board.driver.respond(group, 'success'));
    expect(fn.responses).toHaveLength(1);
    expect(board.driver.counters).toMatchObject({ groups: 1, violations: 1 });
  });

  test('a requester that nobody knows is told to stop', () => {
    const { board } = pri();
    const stranger = board.function(99, {});
    board.functions.set(98, stranger);
    board.smmu.pageRequest({
      requesterId: 98,
      pasid: -1,
      execute: false,
      privileged: false,
      page: 1,
      read: true,
      write: false,
      last: true,
      groupIndex: 4,
    });
    board.settle();
    expect(stranger.responses).toEqual([{ groupIndex: 4, code: 15, pasid: -1 }]);
  });

  test('credits granted together stay within the queue', () => {
    const board = driverBoard({ driver: { queueBits: { pageRequest: 5 } } });
    const results = [8, 16, 24].map((streamId) => {
      const fn = board.function(streamId, { ats: true, pri: true, pageRequests: 24 });
      board.attached(fn);
      return [board.run(board.driver.enableFaults(fn.device, owner, 'pri')), fn.switches.at(-1)];
    });
    expect(results).toEqual([
      [0, 'pri+24'],
      [0, 'pri+8'],
      [-28, 'ats+'],
    ]);
  });
});

describe('handlers', () => {
  test('hang on a domain: each PASID has its own', () => {
    const { board, fn, domain } = pri();
    const pasidDomain = board.driver.createDomain({ stage: 1 });
    board.run(board.driver.attachPasid(pasidDomain, fn.device, 7));
    const handlers = [mapping(board), mapping(board)] as const;
    domain.setFaultHandler(handlers[0]);
    pasidDomain.setFaultHandler(handlers[1]);
    fn.request(1, { index: 1 });
    fn.request(2, { index: 2, pasid: 7 });
    board.settle();
    expect(handlers.map((handler) => handler.groups.map((group) => [group.index, group.pasid]))).toEqual([
      [[1, -1]],
      [[2, 7]],
    ]);
    // The response carries the PASID (H10).
    expect(fn.responses).toEqual([
      { groupIndex: 1, code: 0, pasid: -1 },
      { groupIndex: 2, code: 0, pasid: 7 },
    ]);
  });

  test('without one, faults are answered INVALID at once', () => {
    const { board, fn } = pri();
    fn.request(1, { index: 1 });
    fn.request(2, { index: 2, pasid: 9 });
    board.settle();
    expect(fn.responses.map((response) => response.code)).toEqual([1, 1]);
    expect(board.driver.counters).toMatchObject({ unclaimed: 2, invalid: 2 });
  });

  test.each([
    ['success', 0],
    ['invalid', 1],
    ['failure', 15],
  ] as const)('%s is response code %i on the link', (response, code) => {
    const { board, fn, domain } = pri();
    domain.setFaultHandler(new TestHandler((group) => board.driver.respond(group, response)));
    fn.request(1);
    board.settle();
    expect(fn.responses[0]?.code).toBe(code);
  });

  test('one that never answers is answered for; its late answer is dropped and logged', () => {
    const { board, fn, domain } = pri({ driver: { faultTimeoutNs: 5000 } });
    const handler = new TestHandler();
    domain.setFaultHandler(handler);
    const start = board.clock.now;
    fn.request(1, { index: 1 });
    fn.request(2, { index: 2 });
    board.settle();
    expect(board.clock.now).toBe(start + 5000);
    expect(fn.responses.map((response) => response.code)).toEqual([1, 1]);
    const [group] = handler.groups as [FaultGroup];
    board.run(board.driver.respond(group, 'success'));
    expect(fn.responses).toHaveLength(2);
    expect(board.driver.counters).toMatchObject({ timedOut: 2, late: 1, invalid: 2, succeeded: 0 });
    expect(board.events('iopf.late')).toMatchObject([{ index: 1, response: 'success' }]);
  });

  test('a stalled access whose handler never answers is aborted', () => {
    const board = driverBoard({ driver: { faultTimeoutNs: 5000 } });
    const fn = board.function(8, { stall: true });
    const domain = board.attached(fn);
    domain.setFaultHandler(new TestHandler());
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    const access = fn.access(1);
    board.settle();
    expect(access.status).toBe(Completion.COMPLETER_ABORT);
  });

  test('a second answer is dropped', () => {
    const { board, fn, domain } = pri();
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    fn.request(1);
    board.settle();
    board.run(board.driver.respond(handler.groups[0] as FaultGroup, 'failure'));
    expect(fn.responses).toEqual([{ groupIndex: 0, code: 0, pasid: -1 }]);
    expect(board.driver.counters.late).toBe(1);
  });

  test('unrecoverable faults are told with event, stage and address', () => {
    const board = driverBoard();
    const fn = board.function(8);
    const domain = board.attached(fn);
    const handler = new TestHandler();
    domain.setFaultHandler(handler);
    fn.access(0x123, { write: true });
    board.settle();
    expect(handler.unrecoverableFaults).toMatchObject([
      { event: 'F_TRANSLATION', stage: 1, page: 0x123, write: true, pasid: -1, device: fn.device },
    ]);
  });
});

describe('enabling', () => {
  test('is owned, and idempotent for its owner', () => {
    const board = driverBoard();
    const fn = board.function(8, { stall: true });
    board.attached(fn);
    const { driver } = board;
    const stranger = {};
    expect(board.run(driver.enableFaults(fn.device, owner, 'stall'))).toBe(0);
    expect(board.run(driver.enableFaults(fn.device, owner, 'stall'))).toBe(0);
    expect(board.run(driver.enableFaults(fn.device, stranger, 'stall'))).toBe(-16);
    expect(board.run(driver.disableFaults(fn.device, stranger))).toBe(-16);
    expect(fn.access(1).status).toBe(Completion.PENDING);
    expect(board.run(driver.disableFaults(fn.device, owner))).toBe(0);
    expect(board.run(driver.disableFaults(fn.device, owner))).toBe(0);
    expect(fn.access(1).status).toBe(Completion.COMPLETER_ABORT);
    expect(board.run(driver.enableFaults(fn.device, stranger, 'stall'))).toBe(0);
  });

  test('needs a device that can: -ENODEV', () => {
    const board = driverBoard();
    const fn = board.function(8);
    expect(board.run(board.driver.enableFaults(fn.device, owner, 'stall'))).toBe(-19);
    expect(board.run(board.driver.enableFaults(fn.device, owner, 'pri'))).toBe(-19);
  });

  test.each(['before', 'after'] as const)('works %s attaching', (order) => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true, pri: true });
    const domain = board.driver.createDomain({ stage: 1 });
    if (order === 'before') board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
    board.run(board.driver.attach(domain, fn.device));
    if (order === 'after') board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
    expect(fn.switches).toEqual(['ats+', 'pri+32']);
  });

  test.each([1, 2] as const)('stalling and other devices share a stage %i domain', (stage) => {
    const board = driverBoard();
    const stalling = board.function(8, { stall: true });
    const plain = board.function(16, { stall: true });
    const domain = board.attached(stalling, { stage });
    board.run(board.driver.attach(domain, plain.device));
    domain.setFaultHandler(mapping(board));
    board.run(board.driver.enableFaults(stalling.device, owner, 'stall'));
    const waits = stalling.access(1);
    expect(plain.access(2).status).toBe(Completion.COMPLETER_ABORT);
    board.settle();
    expect(waits.status).toBe(Completion.SUCCESS);
    expect(plain.access(1).status).toBe(Completion.SUCCESS);
  });

  test('a virtual function needs the interface of its physical function: -EINVAL, and nothing stays enabled', () => {
    const board = driverBoard({ driver: { queueBits: { pageRequest: 5 } } });
    const [vf, pf] = [board.function(9, { ats: true, pri: true }), board.function(8, { ats: true, pri: true })];
    board.attached(vf);
    board.attached(pf);
    vf.priRefused = true;
    expect(board.run(board.driver.enableFaults(vf.device, owner, 'pri'))).toBe(-22);
    // The credits were given back: all 32 are there for the next one.
    expect(board.run(board.driver.enableFaults(pf.device, owner, 'pri'))).toBe(0);
    expect([vf.switches, pf.switches]).toEqual([['ats+'], ['ats+', 'pri+32']]);
    expect(board.run(board.driver.disableFaults(pf.device, owner))).toBe(0);
    vf.priRefused = false;
    expect(board.run(board.driver.enableFaults(vf.device, {}, 'pri'))).toBe(0);
  });

  test('stalling ends ATS for as long as it lasts', () => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true, stall: true });
    board.attached(fn, { stage: 2 });
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    expect(fn.switches).toEqual(['ats+', 'ats-']);
    expect(fn.invalidations).toEqual([{ page: 0, pages: Number.POSITIVE_INFINITY, pasid: -1, global: false }]);
    board.run(board.driver.disableFaults(fn.device, owner));
    expect(fn.switches).toEqual(['ats+', 'ats-', 'ats+']);
  });

  test('disabling serves what is in flight first', () => {
    const { board, fn, domain } = pri();
    const handler = new TestHandler();
    domain.setFaultHandler(handler);
    fn.request(1);
    board.settle(1000);
    const disabling = board.spawn(board.driver.disableFaults(fn.device, owner));
    board.settle(1000);
    expect(disabling.done).toBe(false);
    expect(fn.switches.at(-1)).toBe('pri-');
    board.run(board.driver.respond(handler.groups[0] as FaultGroup, 'success'));
    board.settle(10_000);
    expect(disabling.done).toBe(true);
    expect(fn.responses).toEqual([{ groupIndex: 0, code: 0, pasid: -1 }]);
  });
});
