/**
 * Random programs of system calls from several tasks, with devices working all the time: every call returns a number, no
 * invariant breaks, nothing is left when the process is gone.
 */
import { describe, expect, test } from 'vitest';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { FakeGuestDomain } from '../support/fake-nesting.ts';
import { PAGE } from '../support/host.ts';
import { vfioFixture } from '../support/vfio.ts';
import { callAtRandom, IOVA, IOVA_PAGES, MEMORY_PAGES, type World } from './random-program.ts';

type Fixture = ReturnType<typeof vfioFixture>;

function worldOf(fixture: Fixture, types: readonly number[]): World {
  const { process, space, vfio, iommu, backends } = fixture;
  return {
    process,
    space,
    vfio,
    devices: backends.map(({ name }) => name),
    types,
    contextTable: IOVA,
    refuse(random) {
      const device = random.pick(backends).iommu;
      iommu.refuseAttach = random.chance(0.3) ? device : null;
      iommu.refuseFaults = random.chance(0.3) ? device : null;
    },
    *guestMaps(page, mapped) {
      for (const domain of iommu.domains) {
        if (!(domain instanceof FakeGuestDomain)) continue;
        if (mapped) domain.guestPages.add(page);
        else domain.guestPages.delete(page);
      }
    },
  };
}

function* device(fixture: Fixture, random: Random, index: number, running: () => boolean): Steps {
  const backend = fixture.backends[index];
  while (running() && backend !== undefined) {
    yield 500 + random.below(4000);
    yield* backend.iommu.access(IOVA / PAGE + random.below(IOVA_PAGES), random.chance(0.5));
  }
}

describe.each([
  ['one stage', [1, 3, 3, 3, 6, 9], 60],
  ["a guest's stage over another", [6, 6, 6, 6, 3], 60],
] as const)('random system calls: %s', (name, types, seeds) => {
  test.each(Array.from({ length: seeds }, (_, seed) => seed + 1))('seed %i', (seed) => {
    const random = new Random(seed);
    const fixture = vfioFixture({
      profile: random.pick(['zero', 'kunpeng920', 'kunpeng920']),
      seed,
      nesting: name !== 'one stage',
      memoryBytes: random.pick([2 ** 20, 2 ** 22]),
      devices: 2,
      groups: 2,
      blocks: random.chance(0.5),
      lockLimitBytes: random.pick([null, 200 * PAGE]),
      defaults: {
        workers: random.below(4),
        residencyLimitBytes: random.pick([null, 8 * PAGE, 64 * PAGE]),
        dmaEntryLimit: random.pick([5, 100]),
      },
    });
    const { scheduler, space, process, vfio, host, iommu, invariants } = fixture;
    const world = worldOf(fixture, types);
    const at = space.mmap(MEMORY_PAGES * PAGE);
    let callers = 3;
    function* caller(name: string): Steps {
      yield* callAtRandom(world, random.fork(name), at, 150);
      callers -= 1;
      if (callers === 0) yield* process.exit();
    }
    function* opening(): Steps {
      yield* fixture.setUp(types[1]);
      for (let n = 0; n < 3; n++) scheduler.spawn(`caller ${n}`, caller(`caller ${n}`));
      for (let n = 0; n < 4; n++) {
        scheduler.spawn(
          `device ${n}`,
          device(fixture, random.fork(`device ${n}`), n, () => callers > 0),
        );
      }
    }
    scheduler.spawn('opening', opening());
    scheduler.run();
    expect(scheduler.stuck().map((task) => `${task.name} on ${task.waitingOn?.name}`)).toEqual([]);
    expect([iommu.pending, iommu.domains.size, process.descriptorCount]).toEqual([0, 0, 0]);
    vfio.checkAtRest();
    host.checkAtRest();
    expect(host.allocator.freeFrames).toBe(host.allocator.frameCount);
    expect(invariants.counts.violated).toBe(0);
  });
});
