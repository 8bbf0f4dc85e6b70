/** The workload `sec` where everything is scarce: memory, queues, credits, caches. The bytes stay right. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NO_LOGS } from '../../src/cli/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { parseScenario } from '../../src/scenario/load.ts';
import { runScenario } from '../../src/scenario/run.ts';

const scarcity = fc.record({
  seed: fc.nat(),
  profile: fc.constantFrom('zero', 'kunpeng920'),
  host: fc.record({ memory: fc.constantFrom('16MiB', '18MiB', '32MiB'), swap: fc.constant('64MiB') }),
  guest: fc.record({ memory: fc.constant('32MiB') }),
  iommu: fc.record({
    stage: fc.constantFrom(1, 2),
    nested: fc.boolean(),
    granule: fc.constantFrom('4KiB', '16KiB', '64KiB'),
    commandQueueEntries: fc.constantFrom(2, 4, 8, 256),
    eventQueueEntries: fc.constantFrom(2, 4, 16, 512),
    priQueueEntries: fc.constantFrom(2, 4, 16, 512),
    stalls: fc.constantFrom(1, 2, 5, 256),
  }),
  device: fc.record({
    ringEntries: fc.constantFrom(2, 4, 64),
    descriptorsInFlight: fc.constantFrom(1, 2, 16),
    pagesInFlight: fc.constantFrom(1, 3, 8, 40),
    atcEntries: fc.constantFrom(1, 2, 7, 1024),
    credits: fc.constantFrom(1, 2, 5, 512),
    groupPages: fc.constantFrom(1, 2, 32),
  }),
  vfio: fc.record({
    premapPages: fc.constantFrom(1, 2, 7, 64, 512),
    premapPolicy: fc.constantFrom('next', 'aligned', 'stride'),
    residencyLimit: fc.constantFrom('64KiB', '128KiB', '1MiB', 'none'),
    handling: fc.constantFrom('inline', 'workqueue'),
    workers: fc.constantFrom(1, 2, 7),
  }),
  workload: fc.record({
    kind: fc.constant('sec'),
    times: fc.integer({ min: 1, max: 12 }),
    messageLength: fc.integer({ min: 1, max: 300_000 }),
    buffers: fc.integer({ min: 1, max: 5 }),
    bufferOffset: fc.nat(4095),
    queueDepth: fc.constantFrom(1, 2),
  }),
});

/** Two workers, room for one page: one waited for ever behind a page that took the place of the one it was to reclaim. */
const REUSED_PLACE = {
  seed: 0,
  profile: 'zero',
  host: { memory: '16MiB', swap: '64MiB' },
  guest: { memory: '32MiB' },
  iommu: { stage: 1, granule: '64KiB', commandQueueEntries: 2, eventQueueEntries: 2, priQueueEntries: 2, stalls: 1 },
  device: { ringEntries: 2, descriptorsInFlight: 1, pagesInFlight: 8, atcEntries: 1, credits: 5, groupPages: 32 },
  vfio: { premapPages: 1, premapPolicy: 'next', residencyLimit: '64KiB', handling: 'workqueue', workers: 2 },
  workload: { kind: 'sec', times: 2, messageLength: 280564, buffers: 2, bufferOffset: 2061, queueDepth: 1 },
};

test('scarce memory, queues, credits and caches change the time a run takes, never its bytes', () => {
  const property = fc.property(
    scarcity,
    fc.constantFrom('stall' as const, 'pri' as const, 'sva' as const),
    (given, mode) => {
      const scenario = parseScenario(JSON.stringify(given), 'scarce.yaml');
      const { report, failure } = runScenario(scenario, mode, {
        createMachine: createPlatform,
        logs: NO_LOGS.logs(mode),
      });
      expect(failure).toBeNull();
      // A guest's first tables.
      const pinned = scenario.iommu.nested && mode !== 'sva' ? 2 ** 16 : 0;
      expect(report).toMatchObject({
        output: { verified: true },
        invariants: { violated: 0 },
        pinnedBytesPeak: pinned,
      });
    },
  );
  fc.assert(property, { numRuns: 40, seed: 20210409, examples: [[REUSED_PLACE, 'pri']] });
});
