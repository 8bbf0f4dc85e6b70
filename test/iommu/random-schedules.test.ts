/**
 * Everything at once, in random order: devices fault, tasks map, unmap and flush, attach and detach, enable and disable,
 * block, reset functions. Whatever the schedule: everything ends, every group is answered once, and memory comes back.
 */
import { describe, expect, test } from 'vitest';
import { assert } from '../../src/assert.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import type { FaultGroup, IommuDomain } from '../../src/iommu/core.ts';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { type Access, DATA, type DriverBoard, driverBoard, type TestFunction, TestHandler } from './driver-board.ts';

const PAGES = 64;
const PAGE = 4096;

interface World {
  readonly board: DriverBoard;
  readonly random: Random;
  readonly domain: IommuDomain;
  readonly fn: TestFunction;
  readonly mode: 'stall' | 'pri';
  readonly accesses: Access[];
  /** How many tasks unmapped a page and have not flushed it yet. */
  readonly unflushed: Map<number, number>;
  /** Groups in use by the function, by index. */
  readonly indexes: Set<number>;
}

/** Serves in random time, at once or by a worker, rightly or not. */
function handler(board: DriverBoard, random: Random): TestHandler {
  function* serve(group: FaultGroup): Steps {
    if (random.chance(0.5)) yield random.below(2000);
    for (const { page } of group.pages)
      group.domain.map(page * PAGE, DATA + page * PAGE, PAGE, random.chance(0.8) ? 3 : 1);
    yield* board.driver.respond(group, random.chance(0.9) ? 'success' : 'invalid');
  }
  return new TestHandler(function* (group) {
    if (random.chance(0.5)) board.scheduler.spawn('worker', serve(group));
    else yield* serve(group);
  });
}

function* deviceAt({ random, fn, mode, accesses, indexes }: World): Steps {
  for (let step = 0; step < 120; step++) {
    yield random.below(400);
    const page = random.below(PAGES);
    if (mode === 'stall') {
      accesses.push(fn.access(page, { write: random.chance(0.5) }));
      continue;
    }
    const answer = fn.translate(page);
    // Only an enabled function asks; it waits for the answer to a group before it uses the index again.
    if (!fn.priEnabled || answer.read) continue;
    const index = random.below(16);
    if (indexes.has(index)) continue;
    indexes.add(index);
    const last = random.below(3);
    for (let request = 0; request <= last; request++) {
      fn.request((page + request) % PAGES, { index, last: request === last, write: random.chance(0.5) });
      if (random.chance(0.3)) yield random.below(100);
    }
  }
}

function* revoke({ board, random, domain, fn, unflushed }: World): Steps {
  for (let step = 0; step < 20; step++) {
    yield random.below(1500);
    const first = random.below(PAGES);
    const count = Math.min(PAGES - first, 1 + random.below(16));
    const gather = domain.newGather();
    if (random.chance(0.3)) {
      domain.protect(first * PAGE, count * PAGE, 1, gather);
      yield* domain.flush(gather);
      continue;
    }
    domain.unmap(first * PAGE, count * PAGE, gather);
    for (let page = first; page < first + count; page++) unflushed.set(page, (unflushed.get(page) ?? 0) + 1);
    yield* domain.flush(gather);
    for (let page = first; page < first + count; page++) unflushed.set(page, (unflushed.get(page) ?? 0) - 1);
    for (let page = 0; page < PAGES; page++) {
      if (domain.translate(page * PAGE) !== null || (unflushed.get(page) ?? 0) > 0) continue;
      const reached = board.smmu.translateAccess(fn.streamId, -1, page, false);
      assert(reached < 0, `page ${page} is not mapped and leads to page ${reached}`);
    }
  }
}

function* manage({ board, random, domain, fn, mode }: World): Steps {
  const owner = {};
  const { driver } = board;
  for (let step = 0; step < 16; step++) {
    const choice = random.below(20);
    if (choice < 7) yield* driver.attach(domain, fn.device);
    else if (choice < 14) yield* driver.enableFaults(fn.device, owner, mode);
    else if (choice < 17) yield* driver.detach(domain, fn.device);
    else if (choice < 19) yield* driver.disableFaults(fn.device, owner);
    else yield* driver.block(fn.device);
    yield random.below(4000);
  }
  yield* driver.disableFaults(fn.device, owner);
}

describe.each(['stall', 'pri'] as const)('%s', (mode) => {
  test.each(['zero', 'kunpeng920'])('profile %s', (profile) => {
    const seen = {
      groups: 0,
      invalid: 0,
      timedOut: 0,
      late: 0,
      unclaimed: 0,
      blocked: 0,
      flushes: 0,
      partialGroupsDiscarded: 0,
    };
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(`${mode} ${profile} ${seed}`);
      const choices = random.fork('schedule');
      const board = driverBoard({
        profile,
        choose: (count) => choices.below(count),
        driver: {
          queueBits: { command: 3, event: 2 + random.below(3), pageRequest: 3 + random.below(3) },
          overcommitPageRequests: true,
          faultTimeoutNs: random.chance(0.3) ? 1500 : 1_000_000,
        },
      });
      const before = board.tables.bytes;
      const fns = [8, 16].map((streamId) =>
        board.function(streamId, { stall: mode === 'stall', ats: mode === 'pri', pri: true }),
      );
      const leaf = board.tables.bytes - before;
      const domain = board.driver.createDomain({ stage: random.chance(0.5) ? 1 : 2 });
      domain.setFaultHandler(handler(board, random.fork('handler')));
      const accesses: Access[] = [];
      const unflushed = new Map<number, number>();
      const worlds = fns.map((fn): World => {
        const own = random.fork(`function ${fn.streamId}`);
        const indexes = new Set<number>();
        fn.answered = (response) => indexes.delete(response.groupIndex);
        return { board, random: own, domain, fn, mode, accesses, unflushed, indexes };
      });
      const tasks = worlds.flatMap((world) =>
        [manage(world), deviceAt(world), revoke(world)].map((steps) => board.spawn(steps)),
      );
      board.settle();
      expect(
        tasks.every((task) => task.done),
        `seed ${seed}`,
      ).toBe(true);
      expect(board.scheduler.stuck(), `seed ${seed}`).toEqual([]);
      for (const { fn } of worlds) board.run(board.driver.detach(domain, fn.device));
      board.settle();
      expect(
        accesses.filter((access) => access.status === Completion.PENDING),
        `seed ${seed}`,
      ).toEqual([]);
      expect(board.smmu.outstandingStalls, `seed ${seed}`).toBe(0);
      const { groups, succeeded, invalid, commandErrors, violations } = board.driver.counters;
      expect({ answered: succeeded + invalid, commandErrors, violations }, `seed ${seed}`).toEqual({
        answered: groups,
        commandErrors: 0,
        violations: 0,
      });
      board.driver.freeDomain(domain);
      expect(board.tables.bytes, `seed ${seed}`).toBe(before + leaf);
      for (const name of Object.keys(seen) as (keyof typeof seen)[]) seen[name] += board.driver.counters[name];
    }
    // The schedules are worth something only if everything happens in them.
    expect(seen.groups).toBeGreaterThan(400);
    for (const [name, count] of Object.entries(seen)) {
      if (mode === 'pri' || name !== 'partialGroupsDiscarded') expect(count, name).toBeGreaterThan(5);
    }
  });
});
