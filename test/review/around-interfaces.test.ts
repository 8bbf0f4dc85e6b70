/** Around the series: many devices, modes and functions, and what user space is given. */
import { describe, expect, test } from 'vitest';
import { NO_LOGS } from '../../src/cli/log.ts';
import { Errno } from '../../src/errno.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { encode } from '../../src/layout/struct.ts';
import { createPlatform } from '../../src/platform.ts';
import { parseScenario } from '../../src/scenario/load.ts';
import { runScenario } from '../../src/scenario/run.ts';
import { Extension } from '../../src/vfio/uapi.layout.ts';
import { ExtensionIoctl } from '../../src/vfio/uapi-extensions.layout.ts';
import {
  FaultAnswer,
  FaultFlags,
  FaultQueueAlloc,
  FaultRecord,
  GuestTable,
  NestingIoctl,
  WithoutPasid,
} from '../../src/vfio/uapi-nesting.layout.ts';
import { DATA, driverBoard, mapping, TestHandler } from '../iommu/driver-board.ts';
import { PAGE } from '../support/host.ts';
import { FIRST, IOVA } from './exhibit/board.ts';
import { machine } from './machine.ts';
import { DmaOutcome, PciBoard, type RealFunction } from './pci-board.ts';

const { SUCCESS, COMPLETER_ABORT, PENDING } = Completion;

describe('X11 many faults at once', () => {
  test('X11 ours: a thousand stalled accesses, an event queue of four: none is lost', () => {
    const board = driverBoard({ driver: { queueBits: { event: 2 } }, smmu: { features: { STALL_MAX: 1000 } } });
    const functions = Array.from({ length: 100 }, (_, n) => board.function(8 + n, { stall: true }));
    const domain = board.driver.createDomain({ stage: 1 });
    domain.setFaultHandler(mapping(board));
    for (const fn of functions) {
      board.run(board.driver.attach(domain, fn.device));
      board.run(board.driver.enableFaults(fn.device, board, 'stall'));
    }
    const accesses = functions.flatMap((fn, n) => Array.from({ length: 10 }, (_, page) => fn.access(n * 10 + page)));
    expect(accesses.filter(({ status }) => status === PENDING)).toHaveLength(1000);
    board.settle();
    expect(accesses.filter(({ status }) => status === SUCCESS)).toHaveLength(1000);
    expect([board.driver.counters.groups, board.smmu.outstandingStalls]).toEqual([1000, 0]);
  });

  test('X11 ours: page requests beyond the queue are answered by the SMMU, each counted', () => {
    const board = driverBoard({ driver: { queueBits: { pageRequest: 4 }, overcommitPageRequests: true } });
    const functions = Array.from({ length: 50 }, (_, n) => board.function(8 + n, { ats: true, pri: true }));
    const handlers = functions.map((fn) => {
      const domain = board.attached(fn);
      const handler = mapping(board);
      domain.setFaultHandler(handler);
      board.run(board.driver.enableFaults(fn.device, board, 'pri'));
      return handler;
    });
    for (const [n, fn] of functions.entries()) for (let index = 0; index < 20; index++) fn.request(n, { index });
    board.settle();
    const served = handlers.reduce((sum, handler) => sum + handler.groups.length, 0);
    const { overflowAnswered } = board.smmu.pageRequestCounts;
    expect([served + overflowAnswered, overflowAnswered > 900]).toEqual([1000, true]);
    expect(functions.map((fn) => fn.responses.length)).toEqual(functions.map(() => 20));
    expect(board.driver.counters.pageRequestQueueOverflows).toBeGreaterThan(0);
  });

  test('X11 ours: events that are not of stalls may be lost, and it is known that they were', () => {
    const board = driverBoard({ driver: { queueBits: { event: 1 } } });
    const fn = board.function(8);
    board.attached(fn);
    for (let page = 0; page < 50; page++) expect(fn.access(page).status).toBe(COMPLETER_ABORT);
    board.settle();
    expect(board.driver.counters.eventQueueOverflows).toBeGreaterThan(0);
    expect(board.events('smmu.overflow').map(({ queue }) => queue)).toContain('event');
  });
});

describe('X12 stall mode at run time', () => {
  test('X12 ours: switched for the stream when the container turns faulting on and off', () => {
    const board = machine({ mode: 'stall' });
    const { run, dma } = board;
    board.memory(4);
    expect(run(dma(FIRST + 9, true))).toBe('REFUSED');
    expect(board.enableIopf()).toBe(0);
    board.memory(8, 3, IOVA + 64 * PAGE);
    expect(run(dma(FIRST + 66, true))).toBe('DONE');
    expect(board.platform.driver.counters.stalls).toBe(1);
    expect(run(dma(FIRST + 9, true))).toBe('REFUSED');
    expect(board.platform.driver.counters.stalls).toBe(2);
    expect(board.ioctl(ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0)).toBe(0);
    expect(run(dma(FIRST + 9, true))).toBe('REFUSED');
    expect(board.platform.driver.counters.stalls).toBe(2);
    board.tearDown();
  });

  test('X12 ours: a stalling device and one that cannot stall share a domain', () => {
    const board = new PciBoard();
    const [stalling, plain] = [board.plug(8, { stall: true }), board.plug(16, { pageRequestCapacity: 0 })];
    const domain = board.driver.createDomain({ stage: 1 });
    domain.setFaultHandler(
      new TestHandler(function* (group) {
        for (const { page } of group.pages) domain.map(page * PAGE, DATA + page * PAGE, PAGE, 3);
        yield* board.driver.respond(group, 'success');
      }),
    );
    for (const fn of [stalling, plain]) expect(board.run(board.driver.attach(domain, fn.device))).toBe(0);
    expect(board.run(board.driver.enableFaults(stalling.device, board, 'stall'))).toBe(0);
    expect(board.run(board.driver.enableFaults(plain.device, board, 'stall'))).toBe(Errno.ENODEV);
    const [waits, fails] = [stalling.dma(3), plain.dma(4)];
    board.settle();
    expect([waits.outcome, fails.outcome]).toEqual([DmaOutcome.DONE, DmaOutcome.DENIED]);
    const reaches = plain.dma(3);
    board.settle();
    expect(reaches.outcome).toBe(DmaOutcome.DONE);
  });
});

describe('X13 virtual functions', () => {
  function family(): { board: PciBoard; physical: RealFunction; virtual: RealFunction[]; handlers: TestHandler[] } {
    const board = new PciBoard();
    const physical = board.plug(8);
    const virtual = [9, 10].map((devfn) => board.plug(devfn, {}, physical));
    const handlers = [physical, ...virtual].map((fn) => {
      const domain = board.driver.createDomain({ stage: 1 });
      board.run(board.driver.attach(domain, fn.device));
      const handler = new TestHandler(function* (group) {
        for (const { page } of group.pages) domain.map(page * PAGE, DATA + page * PAGE, PAGE, 3);
        yield* board.driver.respond(group, 'success');
      });
      domain.setFaultHandler(handler);
      return handler;
    });
    return { board, physical, virtual, handlers };
  }

  test('X13 ours: one page request unit serves them all, each in its own name', () => {
    const { board, physical, virtual, handlers } = family();
    for (const fn of [physical, ...virtual]) {
      expect(board.run(board.driver.enableFaults(fn.device, board, 'pri'))).toBe(0);
    }
    const all = [physical, ...virtual];
    for (const [n, fn] of all.entries()) for (let page = 0; page < 4; page++) fn.dma(16 * n + page);
    board.settle();
    for (const fn of all) expect(fn.outcomes).toEqual([0, 0, 0, 0]);
    const unit = physical.endpoint.pageRequests;
    expect(virtual.map((fn) => [fn.endpoint.pri, fn.endpoint.pageRequests === unit])).toEqual([
      [null, true],
      [null, true],
    ]);
    expect([unit?.counters.pages, unit?.counters.successful, unit?.outstanding]).toEqual([
      12,
      unit?.counters.groups,
      0,
    ]);
    for (const [n, handler] of handlers.entries()) {
      expect(handler.groups.flatMap((group) => group.pages.map((page) => page.page)).sort((a, b) => a - b)).toEqual(
        [0, 1, 2, 3].map((page) => 16 * n + page),
      );
      expect(new Set(handler.groups.map((group) => group.device))).toEqual(new Set([all[n]?.device]));
    }
  });

  test('X13 ours: without the physical function there is none; leaving, one takes nothing from the others', () => {
    const { board, physical, virtual } = family();
    const [first, second] = virtual;
    if (first === undefined || second === undefined) throw new Error('two virtual functions');
    expect(board.run(board.driver.enableFaults(first.device, board, 'pri'))).toBe(Errno.EINVAL);
    for (const fn of [physical, first, second]) board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    expect(board.run(board.driver.disableFaults(first.device, board))).toBe(0);
    second.dma(3);
    physical.dma(5);
    board.settle();
    expect([second.outcomes, physical.outcomes]).toEqual([[0], [0]]);
  });
});

describe('X14 a fault handler in user space', () => {
  /** A nesting container whose guest keeps its descriptor and tables in its first pages: words of guest-board.ts. */
  function guest() {
    const board = machine({ iommuType: Extension.VFIO_TYPE1_NESTING_IOMMU });
    const at = board.memory(64);
    const { call, space, process, ioctl, container } = board;
    const poke = (offset: number, low: number, high = 0): void => {
      const view = new DataView(new ArrayBuffer(8));
      view.setUint32(0, low >>> 0, true);
      view.setUint32(4, high, true);
      call(space.store(at + offset, new Uint8Array(view.buffer)));
    };
    poke(0, 25 | (1 << 30) | (1 << 31), 5 | (1 << 9) | (1 << 13) | (1 << 14) | (5 << 16));
    poke(8, IOVA + 0x1000);
    poke(24, 0x44ff);
    poke(0x1000, (IOVA + 0x2000) | 3);
    poke(0x2000, (IOVA + 0x3000) | 3);
    let events = 0;
    const event = process.eventfd(() => {
      events += 1;
    });
    const alloc = encode(FaultQueueAlloc, { ARGSZ: 12, EVENT_FD: event });
    const queue = ioctl(NestingIoctl.VFIO_IOMMU_ALLOC_FAULT_QUEUE, alloc);
    const table = encode(GuestTable, {
      ARGSZ: 32,
      CONTEXT_TABLE_LOW: IOVA,
      WITHOUT_PASID: WithoutPasid.TRANSLATE,
      FAULT_QUEUE_FD: queue,
    });
    expect(queue).toBeGreaterThan(container);
    expect(ioctl(NestingIoctl.VFIO_IOMMU_BIND_GUEST_TABLE, table)).toBe(0);
    const records = new DataView(new ArrayBuffer(16 * 40));
    return {
      ...board,
      queue,
      seen: () => events,
      map: (page: number, frame: number) => poke(0x3000 + page * 8, (IOVA + frame * PAGE) | 0x400 | 0x300 | 0x40 | 3),
      /** A group that nobody answers would be answered after the driver's time-out. */
      wait: () => board.scheduler.run({ limitNs: board.clock.now + 100_000 }),
      read: (bytes = records.byteLength) => call(process.pread(queue, new DataView(records.buffer, 0, bytes), 0)),
      records,
      answer(cookie: number, code: number): number {
        return call(process.pwrite(queue, encode(FaultAnswer, { COOKIE: cookie, CODE: code }), 0));
      },
    };
  }

  test('X14 ours: whole groups, byte by byte as the fault queues of later kernels, with one cookie and one answer', () => {
    const board = guest();
    const { scheduler, dma, records, accelerator } = board;
    // Three pages in one transfer: one group.
    const transfer = scheduler.spawn('dma', dma(5, true, 3));
    board.wait();
    expect([transfer.done, board.seen()]).toEqual([false, 1]);
    // Never a part of a group.
    expect(board.read(80)).toBe(Errno.EINVAL);
    expect(board.read()).toBe(120);
    expect(board.read()).toBe(Errno.EAGAIN);
    const cookie = records.getUint32(36, true);
    for (const [n, page] of [5, 6, 7].entries()) {
      const words = Array.from({ length: 10 }, (_, word) => records.getUint32(n * 40 + word * 4, true));
      // flags, dev_id, pasid, grpid, perm, reserved, addr (two words), length, cookie: struct iommu_hwpt_pgfault.
      expect(words).toEqual([n === 2 ? 2 : 0, 0, 0, words[3], 2, 0, page * PAGE, 0, PAGE, cookie]);
      expect(FaultRecord.FLAGS.get(records, n * 40) & FaultFlags.LAST_PAGE).toBe(n === 2 ? 2 : 0);
      board.map(page, 16 + n);
    }
    expect(board.answer(cookie + 1, 0)).toBe(Errno.EINVAL);
    expect(board.answer(cookie, 7)).toBe(Errno.EINVAL);
    expect(board.answer(cookie, 0)).toBe(8);
    expect(board.answer(cookie, 0)).toBe(Errno.EINVAL);
    board.wait();
    expect(transfer.result).toBe('DONE');
    expect(accelerator.pageRequests?.counters).toMatchObject({ groups: 1, pages: 3, successful: 1 });
    board.tearDown();
  });

  test('X14 ours: INVALID is an answer as well, and the only one on detach', () => {
    const board = guest();
    const { scheduler, dma, run, process, device, group, accelerator } = board;
    const refused = scheduler.spawn('dma', dma(5, true));
    board.wait();
    board.read();
    expect(board.answer(board.records.getUint32(36, true), 1)).toBe(8);
    board.wait();
    expect(refused.result).toBe('INVALID');
    // One group was read, another was not; then the table is unbound.
    const open = [5, 6].map((page) => scheduler.spawn('dma', dma(page, true)));
    board.wait();
    board.read(40);
    const before = board.clock.now;
    const unbind = process.ioctl(board.container, NestingIoctl.VFIO_IOMMU_UNBIND_GUEST_TABLE, 0);
    expect(board.call(unbind)).toBe(0);
    board.wait();
    // Long before the driver would have answered for want of an answer.
    expect(board.clock.now - before).toBeLessThan(1_000_000);
    expect(open.map((task) => task.done && task.result)).toEqual(['INVALID', 'INVALID']);
    expect(accelerator.pageRequests?.counters).toMatchObject({ failed: 0, unexpected: 0 });
    for (const descriptor of [device, group]) run(process.close(descriptor));
    board.tearDown();
  });
});

test('X15 ours: handled at once or by a work queue is an option, and the report shows what it costs', () => {
  const latency = (handling: string, workers: number): { p50: number; ns: number } => {
    const text = {
      profile: 'kunpeng920',
      host: { memory: '32MiB' },
      guest: { memory: '4MiB' },
      vfio: { handling, workers },
      workload: { kind: 'sec', times: 2, messageLength: '256KiB' },
    };
    const scenario = parseScenario(JSON.stringify(text), 'x15.yaml');
    const options = { createMachine: createPlatform, logs: NO_LOGS.logs('stall') };
    const { report, failure } = runScenario(scenario, 'stall', options);
    expect([failure, report.output.verified]).toEqual([null, true]);
    return { p50: report.faultLatencyNs.p50, ns: report.virtualNs };
  };
  const [inline, one, four] = [latency('inline', 1), latency('workqueue', 1), latency('workqueue', 4)];
  expect(new Set([inline.p50, one.p50, four.p50]).size).toBe(3);
  // Four workers serve side by side, which neither the thread of the queue nor one worker can.
  expect(four.ns).toBeLessThan(0.9 * Math.min(inline.ns, one.ns));
});
