/** The workload `sec` where everything is scarce: memory, queues, credits, caches. The bytes stay right. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NO_LOGS } from '../../src/cli/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { parseScenario } from '../../src/scenario/load.ts';
import { runScenario } from '../../src/scenario/run.ts';
import { scarceScenarios } from '../support/scarce-scenarios.ts';

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
    scarceScenarios,
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
