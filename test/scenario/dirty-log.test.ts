/**
 * Runs with the dirty log on (`vfio.dirtyLog`): the invariant 'dirty-exact' holds in all of them, and fires where the log is
 * broken.
 */
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { NO_LOGS } from '../../src/cli/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { loadScenario, parseScenario } from '../../src/scenario/load.ts';
import { parseSet } from '../../src/scenario/overrides.ts';
import type { RunReport } from '../../src/scenario/report.ts';
import { runScenario } from '../../src/scenario/run.ts';
import type { Mode, Scenario } from '../../src/scenario/schema.ts';
import { Bitmap } from '../../src/vfio/bitmap.ts';
import { Mapping } from '../../src/vfio/mapping.ts';
import { scarceScenarios } from '../support/scarce-scenarios.ts';

const VM_MODES = ['static', 'stall', 'pri'] as const;

function outcomeOf(scenario: Scenario, mode: Mode) {
  return runScenario(scenario, mode, { createMachine: createPlatform, logs: NO_LOGS.logs(mode) });
}

function run(scenario: Scenario, mode: Mode): RunReport {
  const { report, failure } = outcomeOf(scenario, mode);
  expect(failure).toBeNull();
  expect(report).toMatchObject({ output: { verified: true }, invariants: { violated: 0 } });
  return report;
}

/** The experiment of the series, smaller, with its log read every 30 µs. */
function series(...sets: string[]): Scenario {
  const small = ['guest.memory=16MiB', 'host.memory=64MiB', 'workload.times=3', 'vfio.dirtyLog=30us'];
  return loadScenario('examples/sec.yaml', [...small, ...sets].map(parseSet));
}

/** 3 destinations of 1 MiB in two buffers, and a page of ring: each of them at least once, and by what is read twice. */
const WRITTEN_LEAST = { '4KiB': 513, '16KiB': 129, '64KiB': 33 } as const;
const PAGES_IN_ALL = { '4KiB': 4096, '16KiB': 1024, '64KiB': 256 } as const;
const GRANULES = ['4KiB', '16KiB', '64KiB'] as const;
const TABLES = [
  ['stage 1', ['iommu.stage=1']],
  ['stage 2', ['iommu.stage=2']],
  ['nested', ['iommu.nested=true']],
] as const;

describe.each(VM_MODES)('%s', (mode) => {
  describe.each(['none', 'dirty'] as const)('with HTTU %s', (httu) => {
    const cases = GRANULES.flatMap((granule) => TABLES.map(([name, sets]) => [granule, name, sets] as const));
    test.each(cases)('pages of %s, %s: the log reports what was written', (granule, _name, tables) => {
      const { dirtyLog } = run(series(`iommu.granule=${granule}`, `iommu.httu=${httu}`, ...tables), mode);
      expect(dirtyLog?.rounds).toBeGreaterThan(5);
      expect(dirtyLog?.pages).toBeGreaterThanOrEqual(WRITTEN_LEAST[granule]);
      const { rounds = 0, pages = 0, lastPages = 0 } = dirtyLog ?? {};
      // What is static cannot be watched without the hardware's help.
      if (mode !== 'static' || httu === 'dirty') expect(lastPages).toBeLessThan(WRITTEN_LEAST[granule]);
      else expect([lastPages, pages]).toEqual([PAGES_IN_ALL[granule], rounds * PAGES_IN_ALL[granule]]);
    });

    test('with little host memory and a residency limit, pages come and go and no mark is lost', () => {
      const memory = ['guest.memory=64MiB', 'host.memory=16MiB', 'host.swap=96MiB', 'vfio.residencyLimit=512KiB'];
      const sets = ['workload.messageLength=6MiB', 'workload.times=2', `iommu.httu=${httu}`, ...memory];
      if (mode === 'static') return;
      const { dirtyLog, faults } = run(series(...sets), mode);
      // Two destinations of 6 MiB, each written once.
      expect(faults.pages).toBeGreaterThan(4 * 1536);
      expect(dirtyLog?.pages).toBeGreaterThanOrEqual(2 * 1536 + 1);
    });

    test.each(['false', 'true'])('nested %s, a device that cannot wait for its ring', (nested) => {
      run(series('device.ringFaults=false', `iommu.nested=${nested}`, `iommu.httu=${httu}`), mode);
    });
  });

  test('the bytes are the same without a log, and then there is no report of one', () => {
    const off = run(series('vfio.dirtyLog=none'), mode);
    expect(off.dirtyLog).toBeNull();
    expect(run(series(), mode).output.sha256).toBe(off.output.sha256);
  });
});

test('where hardware keeps the log no page faults because of it', () => {
  const [without, byFaults, byHardware] = ['vfio.dirtyLog=none', 'iommu.httu=none', 'iommu.httu=dirty'].map(
    (set) => run(series('workload.times=6', set), 'stall').faults.upgrade,
  );
  expect(byFaults).toBeGreaterThan(500);
  expect(byHardware).toBe(without);
});

test('mode sva has no container, and so no log', () => {
  expect(run(series(), 'sva').dirtyLog).toBeNull();
});

test('read more often than a fault takes, a log by faults starves the device, and the run says so', () => {
  const text = {
    profile: 'zero',
    guest: { memory: '32MiB' },
    device: { ringEntries: 2, pagesInFlight: 40, atcEntries: 1, credits: 1 },
    vfio: { dirtyLog: '1us', handling: 'inline', premapPages: 7 },
    workload: { kind: 'sec', times: 1, messageLength: 180_227, bufferOffset: 4094, queueDepth: 1 },
  };
  const scenario = parseScenario(JSON.stringify(text), 'starved.yaml');
  expect(outcomeOf(scenario, 'pri').failure).toBeNull();
  const { report, failure } = outcomeOf({ ...scenario, iommu: { ...scenario.iommu, httu: 'none' } }, 'pri');
  expect(failure).toMatch(/ended with DESTINATION_FAULT/);
  // Writing was granted to accesses that never wrote: that is no fault of the log.
  expect(report).toMatchObject({ invariants: { violated: 0 }, retries: { exhausted: 1 } });
});

test('scarce memory, queues, credits and caches, in any mode, with any log', () => {
  const httu = fc.constantFrom('none', 'access', 'dirty');
  const interval = fc.constantFrom('7us', '50us', '1ms');
  const ringFaults = fc.boolean();
  const property = fc.property(
    scarceScenarios,
    fc.constantFrom(...VM_MODES),
    fc.record({ httu, interval, ringFaults }),
    (given, mode, log) => {
      const text = {
        ...given,
        // What is static needs the memory.
        host: mode === 'static' ? { memory: '64MiB' } : given.host,
        iommu: { ...given.iommu, httu: log.httu },
        // Without ATS nothing tells a device that a page is not there.
        device: { ...given.device, ringFaults: mode === 'stall' || log.ringFaults },
        vfio: { ...given.vfio, dirtyLog: log.interval },
      };
      expect(run(parseScenario(JSON.stringify(text), 'scarce.yaml'), mode).dirtyLog?.rounds).toBeGreaterThan(0);
    },
  );
  fc.assert(property, { numRuns: 60, seed: 20210409 });
});

describe('a broken log breaks the invariant', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  function expectBroken(scenario: Scenario, mode: Mode, what: RegExp): void {
    const { report, failure } = outcomeOf(scenario, mode);
    expect(failure).toMatch(
      /^invariant broken: with the dirty log on, exactly the written pages are dirty: round \d+: /,
    );
    expect(failure).toMatch(what);
    expect(report.invariants.violated).toBe(1);
    expect(report.output.verified).toBe(false);
  }

  /** Calls the original but for the 100th call. */
  function dropOne(times = 100): () => boolean {
    let calls = 0;
    return () => ++calls !== times;
  }

  test.each(VM_MODES)('%s: hardware saw a page written, and it is forgotten once', (mode) => {
    const { noteWritten } = Mapping.prototype;
    const keep = dropOne();
    vi.spyOn(Mapping.prototype, 'noteWritten').mockImplementation(function (this: Mapping, iova, size) {
      if (keep()) noteWritten.call(this, iova, size);
    });
    expectBroken(series(), mode, /guest memory at 0x[0-9a-f]+ was written and is not reported$/);
  });

  test.each(['stall', 'pri'] as const)('%s: a write fault is served without a mark once', (mode) => {
    const { setRange } = Bitmap.prototype;
    const keep = dropOne();
    vi.spyOn(Bitmap.prototype, 'setRange').mockImplementation(function (this: Bitmap, first, end) {
      if (marks.has(this) && !keep()) return;
      setRange.call(this, first, end);
    });
    const marks = dirtyBitmaps();
    expectBroken(series('iommu.httu=none'), mode, /was written and is not reported$/);
  });

  test.each(['static', 'stall', 'pri'] as const)('%s: pages are marked that nobody wrote', (mode) => {
    const { noteWritten } = Mapping.prototype;
    vi.spyOn(Mapping.prototype, 'noteWritten').mockImplementation(function (this: Mapping, iova) {
      noteWritten.call(this, iova, 4096);
      noteWritten.call(this, this.end - 4096, 4096);
    });
    expectBroken(series('vfio.dirtyLog=1ms', 'workload.times=1'), mode, /guest memory at 0x40fff000 is reported and/);
  });

  /** The bitmaps that mappings keep their marks in, as they are made. */
  function dirtyBitmaps(): ReadonlySet<Bitmap> {
    const seen = new Set<Bitmap>();
    const { copyTo } = Bitmap.prototype;
    vi.spyOn(Bitmap.prototype, 'copyTo').mockImplementation(function (this: Bitmap, ...given) {
      seen.add(this);
      copyTo.apply(this, given);
    });
    return seen;
  }
});
