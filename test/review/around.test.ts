/** Around the series: what devices ask for, and how they are answered. */
import { describe, expect, test } from 'vitest';
import { NO_LOGS } from '../../src/cli/log.ts';
import { Mmio } from '../../src/hw/bus.ts';
import * as sheet from '../../src/hw/devices/accelerator.layout.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { type FaultGroup, FaultResponse } from '../../src/iommu/core.ts';
import { CR0 } from '../../src/iommu/spec/registers.layout.ts';
import { encode } from '../../src/layout/struct.ts';
import { createPlatform } from '../../src/platform.ts';
import { parseScenario } from '../../src/scenario/load.ts';
import type { RunReport } from '../../src/scenario/report.ts';
import { runScenario } from '../../src/scenario/run.ts';
import type { Mode } from '../../src/scenario/schema.ts';
import { PciRegion, REGION_STRIDE } from '../../src/vfio/uapi.layout.ts';
import { ExtensionIoctl } from '../../src/vfio/uapi-extensions.layout.ts';
import { DATA, driverBoard, mapping, SMMU_BASE, TestHandler } from '../iommu/driver-board.ts';
import { PAGE } from '../support/host.ts';
import { exhibit, FIRST, IOVA } from './exhibit/board.ts';
import { machine } from './machine.ts';
import { DmaOutcome, PciBoard } from './pci-board.ts';

const { SUCCESS } = Completion;

describe('X1 what was faulted in', () => {
  test('X1 exhibit: only ever grows', () => {
    const board = exhibit();
    board.demand(256);
    for (let page = 0; page < 256; page++) board.run(board.device.access(FIRST + page, true));
    expect(board.mapping().bitmap?.count()).toBe(256);
  });

  test('X1 ours: the pages accessed longest ago go where the SMMU keeps access state, else those mapped longest ago', () => {
    const again = (['access', 'none'] as const).map((httu) => {
      const board = machine({ scenario: { iommu: { httu } } });
      board.enableIopf();
      board.type1().setResidencyLimit(16 * PAGE);
      board.memory(128);
      const { run, dma, io } = board;
      // Page 0 is used all the time, the others once each.
      for (let page = 1; page < 128; page++) {
        for (const each of [0, page]) expect(run(dma(FIRST + each, true))).toBe('DONE');
      }
      const { pages } = io.counters;
      board.tearDown();
      return pages - 128;
    });
    // All pages look accessed at first, so that page 0 goes once before the two differ.
    expect(again[0]).toBe(1);
    expect(again[1]).toBeGreaterThanOrEqual(7);
  });

  test('X1 ours: stays within a limit; pages that are all used alike go in the order of mapping, and come back', () => {
    const board = machine({ scenario: { vfio: { residencyLimit: '64KiB' } } });
    board.enableIopf();
    board.type1().setResidencyLimit(16 * PAGE);
    board.memory(64);
    const { run, dma, io } = board;
    for (let round = 0; round < 2; round++) {
      for (let page = 0; page < 64; page++) expect(run(dma(FIRST + page, true))).toBe('DONE');
    }
    expect([io.residency.peakPages, io.counters.pages]).toEqual([16, 128]);
    const mapped = io.mappings.at(IOVA)?.faults?.mapped;
    expect([mapped?.test(63), mapped?.test(0)]).toEqual([true, false]);
    expect(io.counters.evicted).toBeGreaterThanOrEqual(112);
    board.tearDown();
  });
});

describe('X2 a device that cannot fault everywhere', () => {
  /** Lays a ring of 16 descriptors at IOVA out by the data sheet, the first of which copies a page to the next. */
  function start(board: ReturnType<typeof machine>, at: number): void {
    const { run, space, process, device } = board;
    const descriptor = encode(sheet.Descriptor, {
      SOURCE_PAGE: FIRST + 2,
      DESTINATION_PAGE: FIRST + 3,
      LENGTH: PAGE,
      INTERRUPT: 0,
    });
    run(space.store(at, new Uint8Array(descriptor.buffer)));
    const write = (register: number, value: number): void => {
      const view = new DataView(new ArrayBuffer(4));
      view.setUint32(0, value, true);
      run(process.pwrite(device, view, PciRegion.BAR0 * REGION_STRIDE + register));
    };
    write(sheet.RING_BASE.offset, IOVA);
    write(sheet.RING_BASE.offset + 4, 0);
    write(sheet.RING_SIZE.offset, 4);
    write(sheet.CONTROL.offset, sheet.CONTROL.ENABLE.in32(1));
    write(sheet.RING_TAIL.offset, 1);
  }

  function register(board: ReturnType<typeof machine>, offset: number): number {
    const view = new DataView(new ArrayBuffer(4));
    board.run(board.process.pread(board.device, view, PciRegion.BAR0 * REGION_STRIDE + offset));
    return view.getUint32(0, true);
  }

  test('X2 ours: it says so, its driver pins exactly that, and the rest is on demand', () => {
    const board = machine({ scenario: { device: { ringFaults: false } } });
    board.enableIopf();
    const at = board.memory(8);
    expect(sheet.FEATURES.PINNED_RING.of(register(board, sheet.FEATURES.offset))).toBe(1);
    expect(board.range(ExtensionIoctl.VFIO_IOMMU_PIN_DMA, IOVA, PAGE)).toBe(0);
    start(board, at);
    expect(sheet.STATUS.RING_ERROR.of(register(board, sheet.STATUS.offset))).toBe(0);
    expect(register(board, sheet.RING_HEAD.offset)).toBe(1);
    const { io, accelerator, space } = board;
    expect([space.locked.pages, io.counters.pages, accelerator.counters.operations]).toEqual([1, 2, 1]);
    board.tearDown();
  });

  test('X2 ours: a fault there is an error of the device, reported as one, and no page is asked for', () => {
    const board = machine({ scenario: { device: { ringFaults: false } } });
    board.enableIopf();
    const at = board.memory(8);
    start(board, at);
    const status = register(board, sheet.STATUS.offset);
    expect(sheet.STATUS.RING_ERROR.of(status)).toBe(1);
    const { accelerator, platform } = board;
    expect([accelerator.counters.ringErrors, platform.driver.counters.pageRequests]).toEqual([1, 0]);
    board.tearDown();
  });
});

describe('X2 in a guest', () => {
  function ringed(mode: Mode, sections: object = {}): { report: RunReport; failure: string | null } {
    const text = {
      host: { memory: '32MiB' },
      guest: { memory: '4MiB' },
      device: { ringFaults: false },
      workload: { kind: 'sec', times: 3, messageLength: '128KiB' },
      ...sections,
    };
    const scenario = parseScenario(JSON.stringify(text), 'ring.yaml');
    return runScenario(scenario, mode, { createMachine: createPlatform, logs: NO_LOGS.logs(mode) });
  }

  test('X2 ours: the guest driver has its ring pinned: right bytes, little pinned, everything else on demand', () => {
    for (const mode of ['static', 'pri'] as const) {
      const { report, failure } = ringed(mode);
      expect([failure, report.output.verified]).toEqual([null, true]);
      // Pinned is the ring with what shares the largest page of any host with it: 15 of the 128 pages of the buffers.
      if (mode === 'pri') expect([report.pinnedBytesPeak, report.faults.pages]).toEqual([64 * 1024, 128 - 15]);
    }
  });

  test('X2 ours: a guest that translates first keeps its ring mapped at its own stage as well', () => {
    for (const mode of ['static', 'stall', 'pri'] as const) {
      const { report, failure } = ringed(mode, { iommu: { nested: true } });
      expect([failure, report.output.verified]).toEqual([null, true]);
      // Its first tables are pinned too.
      if (mode !== 'static') expect([report.pinnedBytesPeak, report.guestFaults]).toEqual([128 * 1024, 128]);
    }
  });

  test('X2 ours: where the ring cannot be kept, the driver refuses the device', () => {
    expect(ringed('pri', { host: { memory: '32MiB', lockLimit: '4KiB' } }).failure).toMatch(/VFIO_IOMMU_PIN_DMA/);
  });
});

describe('X3 pages without their last', () => {
  test('X3 exhibit: each is served when it comes', () => {
    const board = exhibit();
    board.demand(4);
    const page = {
      type: 'page request',
      level2: false,
      page: FIRST,
      read: true,
      write: true,
      pasid: -1,
      index: 3,
    } as const;
    board.run(board.reporting.report(board.device, { ...page, last: false }, null));
    expect(board.domain.translate(IOVA)).not.toBe(null);
  });

  test('X3 ours: are held back, discarded on overflow, reset and detach, and counted', () => {
    const board = driverBoard({ driver: { queueBits: { pageRequest: 2 }, overcommitPageRequests: true } });
    const fn = board.function(8, { ats: true, pri: true });
    const domain = board.attached(fn);
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    const discarded = (): number => board.driver.counters.partialGroupsDiscarded;
    fn.request(1, { index: 1, last: false });
    board.settle();
    expect([handler.groups.length, discarded()]).toEqual([0, 0]);
    for (let index = 2; index < 8; index++) fn.request(index, { index });
    board.settle();
    expect(discarded()).toBe(1);
    fn.request(1, { index: 1, last: false });
    board.settle();
    fn.forgetRequests();
    board.run(board.driver.functionReset(fn.device));
    expect(discarded()).toBe(2);
    fn.request(1, { index: 1, last: false });
    board.settle();
    fn.forgetRequests();
    board.run(board.driver.detach(domain, fn.device));
    expect([discarded(), board.driver.counters.partialRequestsDiscarded]).toEqual([3, 3]);
    expect(board.events('iopf.discard').map(({ reason }) => reason)).toEqual(['overflow', 'function reset', 'detach']);
    expect(handler.groups.every((group) => group.index !== 1)).toBe(true);
  });
});

test('X4 ours: a stalled access and a page request end in one shape; what differs stays below', () => {
  const shapes = (['stall', 'pri'] as const).map((mode) => {
    const board = driverBoard();
    const fn = board.function(8, { stall: mode === 'stall', ats: mode === 'pri', pri: mode === 'pri' });
    const domain = board.attached(fn);
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    board.run(board.driver.enableFaults(fn.device, board, mode));
    const access = mode === 'stall' ? fn.access(5, { write: true }) : null;
    if (access === null) fn.request(5, { index: 2, write: true });
    board.settle();
    const [group] = handler.groups as [FaultGroup];
    // A stalled access is retried by the SMMU; a page request does nothing for the access, which must be made again.
    if (access !== null) expect(access.status).toBe(SUCCESS);
    else expect([fn.responses.length, fn.translate(5).write]).toEqual([1, true]);
    return { keys: Object.keys(group).sort(), origin: group.origin, pages: group.pages.map((page) => page.page) };
  });
  expect(shapes[0]?.keys).toEqual(shapes[1]?.keys);
  expect(shapes.map(({ origin, pages }) => [origin, pages])).toEqual([
    ['stall', [5]],
    ['pri', [5]],
  ]);
});

describe('X5 the two ways to say no', () => {
  function answered(response: FaultResponse): ReturnType<typeof machine> {
    const board = machine();
    board.enableIopf();
    board.memory(8);
    const { io, platform } = board;
    io.setFaultHandler(new TestHandler((group) => platform.driver.respond(group, response)));
    return board;
  }

  test('X5 ours: INVALID is about the address: the access fails, the function goes on asking', () => {
    const board = answered(FaultResponse.INVALID);
    const { run, dma, accelerator } = board;
    expect([run(dma(FIRST, true)), run(dma(FIRST + 1, true))]).toEqual(['INVALID', 'INVALID']);
    expect([
      accelerator.pri?.responseFailure,
      accelerator.pri?.enabled,
      accelerator.pageRequests?.counters.groups,
    ]).toEqual([false, true, 2]);
    board.tearDown();
  });

  test('X5 ours: FAILURE is about the interface: its status says so, and the function asks no more', () => {
    const board = answered(FaultResponse.FAILURE);
    const { run, dma, accelerator } = board;
    expect(run(dma(FIRST, true))).toBe('FAILURE');
    expect([accelerator.pri?.responseFailure, accelerator.pageRequests?.usable]).toEqual([true, false]);
    expect(run(dma(FIRST + 1, true))).toBe('DENIED');
    expect(accelerator.pageRequests?.counters.groups).toBe(1);
    board.tearDown();
  });
});

describe('X6 a full page request queue', () => {
  test('X6 ours: the SMMU answers by itself, the function asks again, and what it costs is counted and bounded', () => {
    const board = new PciBoard({ driver: { queueBits: { pageRequest: 1 }, overcommitPageRequests: true } });
    const fn = board.plug(8, { maxGroupPages: 1, retryPauseNs: 50, maxRetries: 6 });
    const domain = board.driver.createDomain({ stage: 1 });
    board.run(board.driver.attach(domain, fn.device));
    // One thread that takes its time, in the thread that reads the queue.
    domain.setFaultHandler(
      new TestHandler(function* (group) {
        yield 4000;
        for (const { page } of group.pages) domain.map(page * PAGE, DATA + (page % 64) * PAGE, PAGE, 3);
        yield* board.driver.respond(group, 'success');
      }),
    );
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    for (let page = 0; page < 12; page++) fn.dma(64 + page);
    board.settle();
    const { overflowAnswered } = board.smmu.pageRequestCounts;
    const { counters } = fn.endpoint.dma;
    expect(overflowAnswered).toBeGreaterThan(5);
    expect([board.driver.counters.pageRequestQueueOverflows > 0, counters.retries > 0]).toEqual([true, true]);
    // Each access ended: with its page, or after so many answers without one.
    expect(fn.outcomes.every((outcome) => outcome === DmaOutcome.DONE || outcome === DmaOutcome.RETRIES)).toBe(true);
    const { pages } = fn.endpoint.pageRequests?.counters ?? { pages: -1 };
    expect(pages).toBe(overflowAnswered + board.driver.counters.pageRequests);
  });

  test('X6 ours: with the queue disabled it answers failure, with a full one success', () => {
    const board = driverBoard({ driver: { queueBits: { pageRequest: 1 }, overcommitPageRequests: true } });
    const fn = board.function(8, { ats: true, pri: true });
    board.attached(fn);
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    for (let index = 1; index <= 3; index++) fn.request(index, { index });
    expect(fn.responses).toEqual([{ groupIndex: 3, code: 0, pasid: -1 }]);
    board.settle();
    const answered = fn.responses.length;
    const mmio = new Mmio(board.bus, SMMU_BASE);
    mmio.write32(CR0.offset, mmio.read32(CR0.offset) - CR0.PRIQEN.in32(1));
    fn.request(4, { index: 4 });
    expect(fn.responses.slice(answered)).toEqual([{ groupIndex: 4, code: 15, pasid: -1 }]);
  });
});

test('X7 ours: the rules of a group are enforced; whoever breaks them hurts nobody else', () => {
  const board = driverBoard();
  const [bad, good] = [8, 16].map((streamId) => board.function(streamId, { ats: true, pri: true, pasidBits: 8 }));
  if (bad === undefined || good === undefined) throw new Error('two functions');
  const [first, second] = [bad, good].map((fn) => {
    const domain = board.attached(fn);
    const handler = mapping(board);
    domain.setFaultHandler(handler);
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    return handler;
  });
  // One group of two PASIDs, and more requests than credits; the other function uses the same index.
  bad.request(1, { index: 5, last: false });
  good.request(9, { index: 5 });
  bad.request(2, { index: 5, pasid: 3 });
  for (let page = 0; page < 40; page++) bad.request(page, { index: 6, last: page === 39 });
  board.settle();
  expect(first?.groups).toEqual([]);
  expect(second?.groups.map((group) => group.pages.map((page) => page.page))).toEqual([[9]]);
  expect(good.responses).toEqual([{ groupIndex: 5, code: 0, pasid: -1 }]);
  expect(bad.responses.map(({ groupIndex, code }) => [groupIndex, code])).toEqual([
    [5, 1],
    [6, 1],
  ]);
  expect(new Set(board.events('iopf.violation').map(({ rule }) => rule))).toEqual(new Set(['pasid', 'credits']));
});
