/** Detaching, blocking and revoking with accesses and faults in flight: REVIEW rows E2, E3, H3, M4, X8, X9. */
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import type { FaultGroup } from '../../src/iommu/core.ts';
import { ownDomain } from '../../src/iommu/driver/domain.ts';
import { DATA, driverBoard, mapping, TestHandler } from './driver-board.ts';

const owner = {};
const { SUCCESS, COMPLETER_ABORT, PENDING } = Completion;

describe('detach', () => {
  test('waits for the handler of a stalled access, whose answer still counts', () => {
    const board = driverBoard();
    const fn = board.function(8, { stall: true });
    const domain = board.attached(fn);
    const handler = new TestHandler();
    domain.setFaultHandler(handler);
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    const access = fn.access(1);
    board.settle(1000);
    const detaching = board.spawn(board.driver.detach(domain, fn.device));
    board.settle(1000);
    expect([detaching.done, access.status]).toEqual([false, PENDING]);
    board.run(board.driver.respond(handler.groups[0] as FaultGroup, 'success'));
    board.settle();
    expect(detaching.done).toBe(true);
    // Retried, the access meets a stream that aborts.
    expect(access.status).not.toBe(SUCCESS);
    expect(access.status).not.toBe(PENDING);
    board.driver.freeDomain(domain);
  });

  test('answers INVALID to groups that become whole meanwhile', () => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true, pri: true });
    const domain = board.attached(fn);
    const handler = new TestHandler();
    domain.setFaultHandler(handler);
    board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
    fn.request(1, { index: 1 });
    board.settle(1000);
    const detaching = board.spawn(board.driver.detach(domain, fn.device));
    board.settle(1000);
    fn.request(2, { index: 2 });
    board.settle(1000);
    expect(fn.responses).toEqual([{ groupIndex: 2, code: 1, pasid: -1 }]);
    board.run(board.driver.respond(handler.groups[0] as FaultGroup, 'success'));
    board.settle();
    expect(detaching.done).toBe(true);
    expect(handler.groups).toHaveLength(1);
  });

  test('a flush on the way out still invalidates: the next user of the domain must not meet what was cached', () => {
    const board = driverBoard({ profile: 'kunpeng920' });
    const fn = board.function(8);
    const domain = board.attached(fn);
    expect(domain.map(0, DATA, 4096, 3)).toBe(0);
    const detaching = board.spawn(board.driver.detach(domain, fn.device));
    let unused = false;
    board.run(
      (function* () {
        for (; !detaching.done && ownDomain(domain).inUse; ) yield 1;
        unused = !detaching.done;
        const gather = domain.newGather();
        expect(domain.unmap(0, 4096, gather)).toBe(4096);
        yield* domain.flush(gather);
      })(),
    );
    expect(unused).toBe(true);
    expect(board.driver.counters.flushes).toBe(1);
    board.settle();
    expect(detaching.done).toBe(true);
    board.driver.freeDomain(domain);
  });

  test('terminates stalls whose events found no room', () => {
    const board = driverBoard({ driver: { queueBits: { event: 1 }, faultTimeoutNs: 0 } });
    const fn = board.function(8, { stall: true });
    const domain = board.attached(fn);
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    // Nobody serves: the thread is kept busy by a handler that waits.
    const gate = new TestHandler(function* (group) {
      yield 50_000;
      yield* board.driver.respond(group, 'invalid');
    });
    domain.setFaultHandler(gate);
    const accesses = Array.from({ length: 8 }, (_, page) => fn.access(page));
    board.settle(1000);
    board.run(board.driver.detach(domain, fn.device));
    board.settle();
    expect(accesses.map((access) => access.status)).toEqual(accesses.map(() => COMPLETER_ABORT));
    expect(board.smmu.outstandingStalls).toBe(0);
  });

  test('leaves another device of the domain alone', () => {
    const board = driverBoard();
    const [a, b] = [board.function(8), board.function(16)];
    const domain = board.attached(a);
    board.run(board.driver.attach(domain, b.device));
    domain.map(0x1000, DATA, 4096, 3);
    board.run(board.driver.detach(domain, a.device));
    expect(a.access(1).status).not.toBe(SUCCESS);
    expect(b.access(1).status).toBe(SUCCESS);
    expect(() => board.driver.freeDomain(domain)).toThrow(/when nothing uses it/);
  });

  test('of one PASID lets the others go on, and takes what was cached', () => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true, pasidBits: 12 });
    const domain = board.attached(fn);
    const pasid = [3, 4].map((id) => {
      const made = board.driver.createDomain({ stage: 1 });
      expect(board.run(board.driver.attachPasid(made, fn.device, id))).toBe(0);
      made.map(0x1000, DATA + id * 4096, 4096, 3);
      return made;
    });
    domain.map(0x1000, DATA, 4096, 3);
    const reach = () => [-1, 3, 4].map((id) => fn.translate(1, { pasid: id }).page - DATA / 4096);
    expect(reach()).toEqual([0, 3, 4]);
    board.run(board.driver.detachPasid(fn.device, 3));
    expect(fn.invalidations).toEqual([{ page: 0, pages: Number.POSITIVE_INFINITY, pasid: 3, global: false }]);
    expect(fn.translate(1, { pasid: 3 }).read).toBe(false);
    expect(fn.translate(1, { pasid: 4 }).page).toBe(DATA / 4096 + 4);
    board.run(board.driver.detach(domain, fn.device));
    expect(fn.translate(1).read).toBe(false);
    expect(fn.translate(1, { pasid: 4 }).page).toBe(DATA / 4096 + 4);
    expect(fn.switches).toEqual(['pasid+', 'ats+']);
    board.run(board.driver.detachPasid(fn.device, 4));
    expect(fn.switches).toEqual(['pasid+', 'ats+', 'ats-', 'pasid-']);
    for (const made of [domain, ...pasid]) board.driver.freeDomain(made);
  });

  test('while faults keep coming, with every latency: nothing is left behind', () => {
    const board = driverBoard({ profile: 'kunpeng920' });
    const fn = board.function(8, { stall: true });
    for (let round = 0; round < 20; round++) {
      const domain = board.attached(fn);
      domain.setFaultHandler(mapping(board));
      board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
      const accesses = Array.from({ length: 6 }, (_, page) => fn.access(page));
      board.settle(round * 150);
      board.run(board.driver.detach(domain, fn.device));
      board.settle();
      for (const access of accesses) expect(access.status).not.toBe(PENDING);
      board.driver.freeDomain(domain);
      board.run(board.driver.disableFaults(fn.device, owner));
    }
    expect(board.scheduler.stuck()).toEqual([]);
  });
});

test.each([100, 300, 500, 700, 900])(
  'detaching holds nothing of what a function goes on asking every %i ns (§8.2)',
  (gapNs) => {
    const board = driverBoard({ profile: 'kunpeng920' });
    const fn = board.function(8, { stall: true, ats: true, pri: true });
    const domain = board.attached(fn);
    board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
    let detached = false;
    board.spawn(
      (function* () {
        for (let index = 0; !detached; index = (index + 1) % 512) {
          fn.request(index, { index, last: false });
          yield gapNs;
        }
      })(),
    );
    board.run(board.driver.detach(domain, fn.device));
    detached = true;
    board.driver.freeDomain(domain);
    board.settle();
    expect(board.events('smmu.priNotStopped')).toHaveLength(1);
    expect(fn.responses).toEqual([]);
  },
);

describe('block', () => {
  test('ends every kind of access, before anything else returns', () => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true });
    const domain = board.attached(fn);
    domain.map(0x1000, DATA, 4096, 3);
    expect(fn.access(1).status).toBe(SUCCESS);
    expect(fn.access(DATA / 4096, { translated: true }).status).toBe(SUCCESS);
    board.run(board.driver.block(fn.device));
    expect(fn.access(1).status).not.toBe(SUCCESS);
    expect(fn.access(DATA / 4096, { translated: true }).status).not.toBe(SUCCESS);
    expect(fn.translate(1).status).not.toBe(SUCCESS);
    expect(board.driver.counters.blocked).toBe(1);
  });

  test('is lifted by detaching', () => {
    const board = driverBoard();
    const fn = board.function(8);
    const domain = board.attached(fn);
    domain.map(0x1000, DATA, 4096, 3);
    board.run(board.driver.block(fn.device));
    board.run(board.driver.detach(domain, fn.device));
    board.run(board.driver.attach(domain, fn.device));
    expect(fn.access(1).status).toBe(SUCCESS);
  });

  test('wins against a change of the stream that is under way', () => {
    for (let delayNs = 0; delayNs < 3000; delayNs += 90) {
      const board = driverBoard({ profile: 'kunpeng920' });
      const fn = board.function(8, { ats: true });
      const domain = board.driver.createDomain({ stage: 1 });
      domain.map(0x1000, DATA, 4096, 3);
      const attaching = board.spawn(board.driver.attach(domain, fn.device));
      board.settle(delayNs);
      board.run(board.driver.block(fn.device));
      expect(fn.access(1).status).not.toBe(SUCCESS);
      board.settle();
      expect(attaching.result).toBe(0);
      expect(fn.access(1).status).not.toBe(SUCCESS);
    }
  });

  test('is what a device gets that does not answer an invalidation: no access is left when the flush returns', () => {
    const board = driverBoard({ smmu: { atcInvalidateTimeoutNs: 10_000 } });
    const [broken, good] = [board.function(8, { ats: true }), board.function(16, { ats: true })];
    const domain = board.attached(broken);
    board.run(board.driver.attach(domain, good.device));
    domain.map(0x1000, DATA, 0x2000, 3);
    broken.answersInvalidations = false;
    const gather = domain.newGather();
    domain.unmap(0x1000, 4096, gather);
    board.run(domain.flush(gather));
    expect(broken.access(DATA / 4096, { translated: true }).status).not.toBe(SUCCESS);
    expect(good.access(DATA / 4096 + 1, { translated: true }).status).toBe(SUCCESS);
    expect(good.access(2).status).toBe(SUCCESS);
    expect(board.driver.counters).toMatchObject({ atcTimeouts: 1, blocked: 1 });
    expect(board.events('smmu.atcTimeout')).toMatchObject([{ streamId: 8 }]);
  });
});

test('a function reset forgets pending groups without an answer, and sets its enables again', () => {
  const board = driverBoard();
  const fn = board.function(8, { ats: true, pri: true });
  const domain = board.attached(fn);
  const handler = new TestHandler();
  domain.setFaultHandler(handler);
  board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
  fn.request(1, { index: 1 });
  board.settle(1000);
  fn.request(2, { index: 2 });
  board.run(board.driver.functionReset(fn.device));
  expect(fn.responses).toEqual([]);
  expect(board.driver.counters.cancelled).toBe(2);
  expect(fn.switches).toEqual(['ats+', 'pri+32', 'ats+', 'pri+32']);
  board.run(board.driver.respond(handler.groups[0] as FaultGroup, 'success'));
  expect(fn.responses).toEqual([]);
  fn.request(3, { index: 1 });
  board.settle(1000);
  board.run(board.driver.respond(handler.groups[1] as FaultGroup, 'success'));
  expect(fn.responses).toEqual([{ groupIndex: 1, code: 0, pasid: -1 }]);
});

test('a function reset ends the accesses that are stalled in the SMMU', () => {
  const board = driverBoard();
  const fn = board.function(8, { stall: true });
  const domain = board.attached(fn);
  const handler = new TestHandler();
  domain.setFaultHandler(handler);
  board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
  const accesses = [fn.access(1), fn.access(2)];
  board.settle(1000);
  accesses.push(fn.access(3));
  board.run(board.driver.functionReset(fn.device));
  expect(accesses.map((access) => access.status)).toEqual([COMPLETER_ABORT, COMPLETER_ABORT, COMPLETER_ABORT]);
  expect(board.smmu.outstandingStalls).toBe(0);
  board.run(board.driver.respond(handler.groups[0] as FaultGroup, 'success'));
  expect(board.driver.counters.late).toBe(1);
});

test('an attach whose page requests cannot be granted is undone', () => {
  const board = driverBoard({ driver: { queueBits: { pageRequest: 4 } } });
  const [first, second] = [8, 16].map((id) => board.function(id, { ats: true, pri: true, pageRequests: 16 }));
  if (first === undefined || second === undefined) throw new Error('two functions');
  board.attached(first);
  board.run(board.driver.enableFaults(first.device, owner, 'pri'));
  board.run(board.driver.enableFaults(second.device, owner, 'pri'));
  const domain = board.driver.createDomain({ stage: 1 });
  expect(board.run(board.driver.attach(domain, second.device))).toBe(-28);
  expect(second.switches).toEqual(['ats+', 'ats-']);
  board.driver.freeDomain(domain);
});

test('an attach without memory for context descriptors changes nothing', () => {
  const board = driverBoard();
  const fn = board.function(8, { pasidBits: 14 });
  const domain = board.driver.createDomain({ stage: 1 });
  const bytes = board.tables.bytes;
  for (const budget of [0, 1]) {
    board.tables.budget = budget;
    expect(board.run(board.driver.attach(domain, fn.device))).toBe(-12);
    expect(board.tables.bytes).toBe(bytes);
  }
  board.tables.budget = 2;
  expect(board.run(board.driver.attach(domain, fn.device))).toBe(0);
});
