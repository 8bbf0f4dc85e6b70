/** Errors of the SMMU and of its queues, and what the driver makes of them (IHI 0070 §7). */
import { expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { DATA, driverBoard, mapping, TestHandler } from './driver-board.ts';

const owner = {};

test('a command that went bad in memory stops nothing: it is replaced, the rest is carried out', () => {
  const board = driverBoard({ profile: 'kunpeng920' });
  const fn = board.function(8);
  const domain = board.attached(fn);
  domain.map(0x1000, DATA, 4096, 3);
  expect(fn.access(1).status).toBe(Completion.SUCCESS);
  const gather = domain.newGather();
  domain.unmap(0x1000, 4096, gather);
  const flushing = board.spawn(domain.flush(gather));
  board.settle(1);
  // The queue is the first thing in memory; commands take their time to be fetched, so the last one is still there.
  const base = board.memory.read32(0x4000_0000) === 4 ? 0x4000_0000 : -1;
  expect(base).toBeGreaterThan(0);
  const opcodes = Array.from({ length: 256 }, (_, slot) => board.memory.read32(base + slot * 16) & 0xff);
  const last = opcodes.lastIndexOf(0x46);
  expect(opcodes[last - 1]).toBe(0x12);
  board.memory.write32(base + last * 16, 0xff);
  board.scheduler.run({ until: () => flushing.done });
  expect(board.driver.counters).toMatchObject({ commandErrors: 1, globalErrors: 1, syncTimeouts: 0 });
  expect(board.events('smmu.commandError')).toMatchObject([{ error: 'ILL', opcode: 0xff }]);
  expect(fn.access(1).status).toBe(Completion.COMPLETER_ABORT);
});

test('lost events are counted; stalled accesses lose none', () => {
  const board = driverBoard({ driver: { queueBits: { event: 2 } } });
  const [stalling, plain] = [board.function(8, { stall: true }), board.function(16)];
  const domain = board.attached(stalling);
  board.run(board.driver.attach(domain, plain.device));
  domain.setFaultHandler(mapping(board));
  board.run(board.driver.enableFaults(stalling.device, owner, 'stall'));
  const lost = Array.from({ length: 10 }, (_, page) => plain.access(page));
  const waiting = Array.from({ length: 10 }, (_, page) => stalling.access(0x100 + page));
  board.settle();
  expect(lost.every((access) => access.status === Completion.COMPLETER_ABORT)).toBe(true);
  expect(waiting.every((access) => access.status === Completion.SUCCESS)).toBe(true);
  expect(board.driver.counters).toMatchObject({ eventQueueOverflows: 1, unrecoverable: 4, stalls: 10 });
  expect(board.events('smmu.overflow')).toEqual([expect.objectContaining({ queue: 'event' })]);
});

test('the event queue goes round many times', () => {
  const board = driverBoard({ driver: { queueBits: { event: 1 } } });
  const fn = board.function(8, { stall: true });
  const domain = board.attached(fn);
  const handler = mapping(board);
  domain.setFaultHandler(handler);
  board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
  for (let page = 0; page < 50; page++) {
    const access = fn.access(page);
    board.settle();
    expect(access.status).toBe(Completion.SUCCESS);
  }
  expect(handler.groups).toHaveLength(50);
});

test('an SMMU that stops consuming commands is switched off: everything aborts', () => {
  const board = driverBoard({ smmu: { atcInvalidateTimeoutNs: 10_000_000 }, driver: { syncTimeoutNs: 1_000_000 } });
  const fn = board.function(8, { ats: true });
  const domain = board.attached(fn);
  domain.map(0x1000, DATA, 0x2000, 3);
  fn.answersInvalidations = false;
  const gather = domain.newGather();
  domain.unmap(0x1000, 4096, gather);
  board.run(domain.flush(gather));
  expect(board.driver.counters.syncTimeouts).toBe(1);
  expect(fn.access(2).status).not.toBe(Completion.SUCCESS);
  expect(fn.access(DATA / 4096, { translated: true }).status).not.toBe(Completion.SUCCESS);
});

test('a handler on the queue thread may take its time: the queue is given back before', () => {
  const board = driverBoard({ driver: { queueBits: { pageRequest: 1 }, overcommitPageRequests: true } });
  const fn = board.function(8, { ats: true, pri: true });
  const domain = board.attached(fn);
  const handler = new TestHandler(function* (group) {
    yield 1000;
    yield* board.driver.respond(group, 'success');
  });
  domain.setFaultHandler(handler);
  board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
  fn.request(1, { index: 1 });
  board.settle(10);
  fn.request(2, { index: 2 });
  fn.request(3, { index: 3 });
  board.settle();
  expect(fn.responses.map((response) => response.groupIndex)).toEqual([1, 2, 3]);
  expect(board.driver.counters.pageRequestQueueOverflows).toBe(0);
});
