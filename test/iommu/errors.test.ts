/** Errors of the SMMU and of its queues, and what the driver makes of them (IHI 0070 §7). */
import { expect, test } from 'vitest';
import { BusStatus } from '../../src/hw/bus.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import {
  DATA,
  type DriverBoard,
  driverBoard,
  driverMsi,
  IRQS,
  MSI_FRAME,
  mapping,
  SMMU_BASE,
  TestHandler,
} from './driver-board.ts';

const owner = {};

/** Lets every write of the queue whose base register is at `offset` abort until the function returned is called. */
function breakQueue(board: DriverBoard, offset: number): () => void {
  const data = new DataView(new ArrayBuffer(8));
  board.bus.readSized(SMMU_BASE + offset, 4, data);
  const base = (data.getUint32(0, true) & ~0x1f) >>> 0;
  const { memory } = board;
  const contains = memory.contains.bind(memory);
  memory.contains = (address, length) => (address < base || address >= base + 0x1000) && contains(address, length);
  return () => {
    memory.contains = contains;
  };
}
const EVENTQ_BASE = 0xa0;
const PRIQ_BASE = 0xc0;

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

test('§7.2.2: where writes of events abort, every stalled access is ended: those of lost records would wait for ever', () => {
  const board = driverBoard();
  const [first, second, plain] = [
    board.function(8, { stall: true }),
    board.function(16, { stall: true }),
    board.function(24),
  ];
  const domain = board.attached(first);
  for (const { device } of [second, plain]) board.run(board.driver.attach(domain, device));
  for (const { device } of [first, second]) board.run(board.driver.enableFaults(device, owner, 'stall'));
  const handler = new TestHandler();
  domain.setFaultHandler(handler);
  const served = first.access(1);
  board.settle(1000);
  expect(handler.groups).toHaveLength(1);
  const queued = second.access(2);
  const mend = breakQueue(board, EVENTQ_BASE);
  const lost = [first.access(3), first.access(4), second.access(5)];
  domain.map(0x9000, DATA, 4096, 3);
  expect(plain.access(9).status).toBe(Completion.SUCCESS);
  mend();
  board.settle(100_000);
  for (const { status } of [served, queued, ...lost]) expect(status).toBe(Completion.COMPLETER_ABORT);
  expect(board.smmu.outstandingStalls).toBe(0);
  board.run(board.driver.respond(handler.groups[0] as never, 'success'));
  expect(board.driver.counters).toMatchObject({ globalErrors: 1, commandErrors: 0, late: 1 });
  // The streams go on, and so does the queue.
  domain.setFaultHandler(mapping(board));
  const again = [first.access(0x20), second.access(0x21)];
  board.settle();
  for (const { status } of again) expect(status).toBe(Completion.SUCCESS);
  board.run(board.driver.detach(domain, first.device));
});

test('§8.2: where writes of page requests abort, what came before is served, and a group that lost its end is forgotten', () => {
  const board = driverBoard({ profile: 'kunpeng920' });
  const fn = board.function(8, { ats: true, pri: true, pasidBits: 4 });
  const domain = board.attached(fn);
  board.run(board.driver.attachPasid(board.driver.createDomain({ stage: 1 }), fn.device, 3));
  const handler = mapping(board);
  domain.setFaultHandler(handler);
  board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
  fn.request(1, { index: 1 });
  fn.request(2, { index: 2, last: false, pasid: 3 });
  const mend = breakQueue(board, PRIQ_BASE);
  fn.request(3, { index: 2, pasid: 3 });
  mend();
  board.settle();
  // The lost one was answered by the SMMU.
  expect(fn.responses).toEqual([
    { groupIndex: 2, code: 15, pasid: -1 },
    { groupIndex: 1, code: 0, pasid: -1 },
  ]);
  expect(board.driver.counters).toMatchObject({ globalErrors: 1, partialGroupsDiscarded: 1 });
  fn.request(4, { index: 2 });
  board.settle();
  expect(handler.groups.map(({ pages }) => pages.map(({ page }) => page))).toEqual([[1], [4]]);
  expect(board.driver.counters.violations).toBe(0);
});

test('§3.18: the message of a queue that aborts wakes its thread all the same, by way of GERROR', () => {
  const wire = { set: () => {}, pulse: () => {} };
  const lines = { event: wire, priority: wire, sync: wire, globalError: wire };
  const board = driverBoard({ driver: driverMsi, smmu: { lines } });
  const fn = board.function(8, { stall: true, ats: true, pri: true });
  const domain = board.attached(fn);
  domain.setFaultHandler(mapping(board));
  const { frame } = board.interrupts;
  board.bus.unmap(frame);
  const lost = new Set<number>([IRQS.event, IRQS.pageRequest]);
  board.bus.map(MSI_FRAME, 0x1000, {
    name: 'a frame that loses messages',
    readRegister: (offset, size, data) => frame.readRegister(offset, size, data),
    writeRegister: (offset, size, data) =>
      lost.delete(data.getUint32(0, true)) ? BusStatus.ABORT : frame.writeRegister(offset, size, data),
  });
  board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
  const access = fn.access(5);
  board.settle();
  expect(access.status).toBe(Completion.SUCCESS);
  board.run(board.driver.disableFaults(fn.device, owner));
  board.run(board.driver.enableFaults(fn.device, owner, 'pri'));
  fn.request(6, { index: 1 });
  board.settle();
  expect(fn.responses).toEqual([{ groupIndex: 1, code: 0, pasid: -1 }]);
  expect([lost.size, board.driver.counters.globalErrors]).toEqual([0, 2]);
});

test('a command queue that cannot be read is the end: everything aborts, nobody waits, all comes back', () => {
  const board = driverBoard();
  const fn = board.function(8, { stall: true });
  const before = board.tables.bytes;
  const domain = board.attached(fn);
  domain.map(0x1000, DATA, 4096, 3);
  domain.setFaultHandler(new TestHandler());
  board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
  const stalled = fn.access(7);
  board.settle(1000);
  const mend = breakQueue(board, 0x90);
  const gather = domain.newGather();
  domain.unmap(0x1000, 4096, gather);
  board.run(domain.flush(gather));
  mend();
  expect(board.events('smmu.commandError')).toMatchObject([{ error: 'ABT' }]);
  board.settle();
  expect(stalled.status).not.toBe(Completion.PENDING);
  expect(fn.access(1).status).toBe(Completion.COMPLETER_ABORT);
  board.run(board.driver.detach(domain, fn.device));
  board.driver.freeDomain(domain);
  expect(board.tables.bytes).toBe(before);
});
