/** Around the series: stopping with requests in flight, locks, and handlers that do not answer. */
import { describe, expect, test } from 'vitest';
import { COMMAND_OFFSET } from '../../src/hw/pcie/config.layout.ts';
import type { FaultGroup } from '../../src/iommu/core.ts';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { DATA, TestHandler } from '../iommu/driver-board.ts';
import { MiB, PAGE } from '../support/host.ts';
import { delayed } from './delayed.ts';
import { exhibit, FIRST, IOVA } from './exhibit/board.ts';
import { demand } from './ours.ts';
import { DmaOutcome, PciBoard, type RealFunction } from './pci-board.ts';

describe('X8 stopping with requests in flight', () => {
  /** A function with a PASID and requests in flight, `afterNs` after they were made. */
  function busy(afterNs: number, seed: number): { board: PciBoard; fn: RealFunction } {
    const random = new Random(`stop ${seed}`);
    const board = new PciBoard({ choose: (count) => random.below(count) });
    const fn = board.plug(8, { maxGroupPages: 2 });
    const domain = board.driver.createDomain({ stage: 1 });
    const space = board.driver.createDomain({ stage: 1 });
    board.run(board.driver.attach(domain, fn.device));
    board.run(board.driver.attachPasid(space, fn.device, 7));
    for (const each of [domain, space]) {
      each.setFaultHandler(
        new TestHandler(function* (group) {
          yield random.below(3000);
          for (const { page } of group.pages) each.map(page * PAGE, DATA + (page % 64) * PAGE, PAGE, 3);
          yield* board.driver.respond(group, 'success');
        }),
      );
    }
    board.run(board.driver.enableFaults(fn.device, board, 'pri'));
    for (let page = 0; page < 6; page++) {
      fn.dma(64 + page);
      fn.dma(128 + page, { pasid: 7 });
    }
    board.settle(afterNs);
    return { board, fn };
  }

  /** Everything drained: nothing pending in driver, SMMU or function. */
  function expectQuiet(board: PciBoard, fn: RealFunction): void {
    const { succeeded, invalid, failed, cancelled, groups } = board.driver.counters;
    expect(succeeded + invalid + failed + cancelled).toBe(groups);
    expect([fn.endpoint.pageRequests?.outstanding, board.scheduler.stuck().length]).toEqual([0, 0]);
  }

  test.each([0, 400, 900, 1500, 2600, 4000, 7000])(
    'X8 ours: a stop marker after %i ns ends what its PASID has in flight',
    (afterNs) => {
      const { board, fn } = busy(afterNs, afterNs);
      fn.endpoint.pageRequests?.stopPasidWithMarker(8, 7);
      board.settle();
      board.run(board.driver.detachPasid(fn.device, 7));
      board.settle();
      expect(board.driver.counters.stopMarkers).toBe(1);
      expectQuiet(board, fn);
      expect(
        fn.transfers
          .filter(({ pasid }) => pasid < 0)
          .every(({ outcome, busy: open }) => !open && outcome === DmaOutcome.DONE),
      ).toBe(true);
    },
  );

  test.each([0, 400, 900, 1500, 2600, 4000, 7000])(
    'X8 ours: a PASID stopped after %i ns without a marker waits for its answers',
    (afterNs) => {
      const { board, fn } = busy(afterNs, afterNs + 1);
      let stopped = false;
      fn.endpoint.pageRequests?.stopPasid(8, 7, () => {
        stopped = true;
      });
      board.settle();
      expect(stopped).toBe(true);
      board.run(board.driver.detachPasid(fn.device, 7));
      expectQuiet(board, fn);
    },
  );

  test.each([0, 400, 900, 1500, 2600, 4000, 7000])(
    'X8 ours: a function-level reset after %i ns forgets and drains',
    (afterNs) => {
      const { board, fn } = busy(afterNs, afterNs + 2);
      fn.endpoint.reset();
      board.run(board.driver.functionReset(fn.device));
      board.settle();
      expectQuiet(board, fn);
      // A response that was on the link finds no request any more, which the function notes (PCIe §10.5.2.3); it goes on.
      fn.endpoint.config.write(COMMAND_OFFSET, 2, 0b110);
      const again = fn.dma(200);
      board.settle();
      expect(again.outcome).toBe(DmaOutcome.DONE);
    },
  );

  test.skip('X8 waiting: each of the three in every interleaving', () => {});
});

describe('X9 flushing with the lock that the work needs', () => {
  test('X9 exhibit: a driver that waits for faults in flight deadlocks with the handler', () => {
    const board = exhibit({ detachDrains: true, visitNs: 1000 });
    board.demand(4);
    const { scheduler, container, device, iommu } = board;
    const fault = scheduler.spawn('fault', iommu.fault(device, FIRST, true));
    scheduler.spawn('detach', delayed(500, container.detachGroup(device.streamId)));
    scheduler.run();
    expect([
      fault.done,
      scheduler
        .stuck()
        .map(({ name }) => name)
        .sort(),
    ]).toEqual([false, ['detach', 'fault']]);
  });

  test('X9 exhibit: so does reclaim, which the handler itself may cause with the lock held', () => {
    const board = exhibit({ memoryBytes: MiB, swapBytes: 4 * MiB });
    board.demand(512);
    const { run, device } = board;
    expect(() => {
      for (let page = 0; page < 512; page++) run(device.access(FIRST + page, true));
    }).toThrow(/locks the lock of a container twice|stuck/);
  });

  test.each([1, 2, 3, 4, 5, 6])(
    'X9 ours: teardown waits outside of every lock that faults take, under memory pressure, seed %i',
    (seed) => {
      const board = demand(512, {
        profile: 'kunpeng920',
        seed,
        memoryBytes: MiB,
        swapBytes: 8 * MiB,
        defaults: { workers: 1 + (seed % 3) },
      });
      const { scheduler, device, unmap, fd } = board;
      const dma = scheduler.spawn(
        'dma',
        (function* (): Steps {
          for (let page = 0; page < 400; page++) yield* device.access(FIRST + page, true);
        })(),
      );
      const end = scheduler.spawn('unmap', delayed(200_000 + seed * 77_000, unmap(fd, IOVA, 512 * PAGE)));
      scheduler.run();
      expect([dma.done, end.result, scheduler.stuck().length]).toEqual([true, 0, 0]);
      board.run(board.tearDown());
    },
  );

  test.skip('X9 waiting: no interleaving of teardown with faults deadlocks', () => {});
});

test('X10 ours: a handler that never answers is answered for, and its late answer is dropped with a line in the log', () => {
  const board = new PciBoard({ driver: { faultTimeoutNs: 50_000 } });
  const fn = board.plug(8);
  const domain = board.driver.createDomain({ stage: 1 });
  board.run(board.driver.attach(domain, fn.device));
  const handler = new TestHandler();
  domain.setFaultHandler(handler);
  board.run(board.driver.enableFaults(fn.device, board, 'pri'));
  const transfer = fn.dma(64);
  board.settle();
  expect(transfer.outcome).toBe(DmaOutcome.INVALID);
  expect(board.driver.counters).toMatchObject({ timedOut: 1, invalid: 1, late: 0 });
  const [group] = handler.groups as [FaultGroup];
  board.run(board.driver.respond(group, 'success'));
  expect(board.driver.counters).toMatchObject({ late: 1, succeeded: 0 });
  expect(board.events('iopf.late')).toHaveLength(1);
  expect(fn.endpoint.pageRequests?.counters).toMatchObject({ invalid: 1, unexpected: 0 });
});
