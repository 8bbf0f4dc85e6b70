/** The workload `sec` on the whole machine: right bytes, and faults that follow arithmetic. */
import { createCipheriv, createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_LOGS } from '../../src/cli/log.ts';
import { createPlatform } from '../../src/platform.ts';
import { loadScenario, parseScenario } from '../../src/scenario/load.ts';
import { parseSet } from '../../src/scenario/overrides.ts';
import type { RunReport } from '../../src/scenario/report.ts';
import { runScenario } from '../../src/scenario/run.ts';
import { MODES, type Mode, type Scenario } from '../../src/scenario/schema.ts';

const PAGE = 4096;

function run(scenario: Scenario, mode: Mode, input?: Uint8Array): RunReport {
  const options = { createMachine: createPlatform, logs: NO_LOGS.logs(mode) };
  const { report, failure } = runScenario(scenario, mode, { ...options, ...(input === undefined ? {} : { input }) });
  expect(failure).toBeNull();
  expect(report.invariants.violated).toBe(0);
  expect(report.output.verified).toBe(true);
  return report;
}

/** The scenario of the series with less guest memory, so that static pinning is quick. */
function series(...sets: string[]): Scenario {
  return loadScenario('examples/sec.yaml', ['guest.memory=16MiB', 'host.memory=64MiB', ...sets].map(parseSet));
}

function digestOf(input: Uint8Array, { keyHex, ivHex }: RunReport['output']): string {
  const cipher = createCipheriv('aes-256-ctr', Buffer.from(keyHex ?? '', 'hex'), Buffer.from(ivHex ?? '', 'hex'));
  return createHash('sha256').update(cipher.update(input)).digest('hex');
}

describe.each(['stall', 'pri'] as const)('%s: each page that the device touches faults once', (mode) => {
  test.each([
    // Source and destination of 256 pages each, and one page of ring.
    ['one message', ['workload.times=1'], 512 + 1],
    ['two buffer pairs, used over and over', ['workload.times=20'], 1024 + 1],
    ['four buffer pairs', ['workload.times=20', 'workload.buffers=4'], 2048 + 1],
    ['buffers that start inside a page', ['workload.times=3', 'workload.bufferOffset=123'], 4 * 257 + 1],
    ['a ring of four pages, two of them used', ['workload.times=65', 'device.ringEntries=256'], 1024 + 2],
    ['pages of 64 KiB', ['workload.times=20', 'iommu.granule=64KiB'], 64 + 1],
    ['stage 2', ['workload.times=2', 'iommu.stage=2'], 1024 + 1],
  ])('%s', (_what, sets, pages) => {
    const { faults } = run(series(...sets), mode);
    expect(faults).toMatchObject({ pages, invalid: 0, failed: 0 });
  });

  test('pre-mapping divides the faults, whatever the policy', () => {
    const alone = run(series('workload.times=4'), mode).faults.pages;
    for (const policy of ['next', 'aligned']) {
      const { faults } = run(series('workload.times=4', 'vfio.premapPages=64', `vfio.premapPolicy=${policy}`), mode);
      expect(faults.pages).toBeGreaterThanOrEqual(alone / 64);
      // Requests of a page that an earlier fault is just mapping come on top: at most one for each page in flight.
      expect(faults.pages).toBeLessThan(alone / 8);
    }
  });

  test('under a residency limit pages come and go, and the bytes stay right', () => {
    const free = run(series('workload.times=6'), mode);
    const tight = run(series('workload.times=6', 'vfio.residencyLimit=1MiB'), mode);
    expect(tight.faults.pages).toBeGreaterThan(2 * free.faults.pages);
    expect(tight.output.sha256).toBe(free.output.sha256);
  });

  test('the report counts requests that were answered and made again', () => {
    const free = run(series('workload.times=1'), mode);
    expect(free.retries).toEqual({ repeated: 0, exhausted: 0 });
    const sets = ['workload.times=1', 'vfio.residencyLimit=64KiB', 'device.pagesInFlight=256', 'device.atcEntries=1'];
    const { repeated, exhausted } = run(series(...sets), mode).retries;
    // What stalls is retried by the SMMU, and asks anew with an event of its own.
    if (mode === 'pri') expect(repeated).toBeGreaterThan(20);
    else expect(repeated).toBe(0);
    expect(exhausted).toBe(0);
  });

  test('a host smaller than the guest, with swap, gives the same bytes', () => {
    const sets = ['workload.times=3', 'workload.messageLength=6MiB', 'guest.memory=64MiB'];
    const roomy = run(series(...sets, 'host.memory=256MiB'), mode);
    const tight = run(series(...sets, 'host.memory=16MiB', 'host.swap=64MiB'), mode);
    expect(tight.output.sha256).toBe(roomy.output.sha256);
    expect(tight.residentBytesPeak).toBeLessThan(16 * 2 ** 20);
    expect(tight.virtualNs).toBeGreaterThan(roomy.virtualNs);
  });
});

describe.each(['static', 'stall', 'pri'] as const)('nested, %s: the guest translates first', (mode) => {
  test.each([
    ['one message', ['workload.times=1'], 512 + 1],
    ['buffers that start inside a page', ['workload.times=3', 'workload.bufferOffset=123'], 4 * 257 + 1],
    ['pages of 64 KiB', ['workload.times=20', 'iommu.granule=64KiB'], 64 + 1],
  ])('%s', (_what, sets, pages) => {
    const alone = run(series(...sets), mode);
    const nested = run(series(...sets, 'iommu.nested=true'), mode);
    expect(nested.output.sha256).toBe(alone.output.sha256);
    // The host's stage faults as without the guest's, for the tables that are not pinned lie in the first 64 KiB.
    expect(nested.faults).toMatchObject({ pages: mode === 'static' ? 0 : pages, invalid: 0, failed: 0 });
    expect(nested.virtualNs).toBeGreaterThan(alone.virtualNs);
    // The guest's pages are of 4 KiB, whatever the host's are.
    const guestPages = sets.includes('iommu.granule=64KiB') ? 1024 + 1 : pages;
    expect([alone.guestFaults, nested.guestFaults]).toEqual([0, mode === 'static' ? 0 : guestPages]);
    const pool = mode === 'static' ? 16 * 2 ** 20 : 2 ** 16;
    expect(nested.pinnedBytesPeak).toBe(pool);
  });

  test.each([64, 32_768])('a device that cannot wait for its ring of %i descriptors', (entries) => {
    const sets = ['workload.times=3', 'iommu.nested=true', `device.ringEntries=${entries}`];
    const may = run(series(...sets), mode);
    const cannot = run(series(...sets, 'device.ringFaults=false'), mode);
    expect(cannot.output.sha256).toBe(may.output.sha256);
    expect(cannot.faults.invalid).toBe(0);
    // Neither stage asks for the page of the ring that was used.
    if (mode !== 'static') expect(may.guestFaults - cannot.guestFaults).toBe(1);
  });

  test('little host memory, swap and a residency limit: tables of the guest are taken away too', () => {
    const sets = ['workload.times=2', 'workload.messageLength=6MiB', 'guest.memory=64MiB', 'iommu.nested=true'];
    const tight = ['host.memory=16MiB', 'host.swap=64MiB', 'vfio.residencyLimit=1MiB'];
    if (mode === 'static') return;
    const roomy = run(series(...sets, 'host.memory=256MiB'), mode);
    const squeezed = run(series(...sets, ...tight), mode);
    expect(squeezed.output.sha256).toBe(roomy.output.sha256);
    expect(squeezed.faults.pages).toBeGreaterThan(roomy.faults.pages);
  });
});

describe('sva: a host process shares its address space', () => {
  test('the pages of the letter fault once each, and nothing is pinned', () => {
    const { faults, pinnedBytesPeak, faultLatencyNs } = run(series('workload.times=1'), 'sva');
    expect(faults).toMatchObject({ groups: 512 + 1, pages: 512 + 1, invalid: 0, failed: 0 });
    expect(pinnedBytesPeak).toBe(0);
    // The series' anchor: about 10 µs.
    expect(faultLatencyNs.p50).toBeGreaterThan(9000);
    expect(faultLatencyNs.p50).toBeLessThan(11_000);
    expect(run(series('workload.times=100'), 'sva').faults.pages).toBe(1024 + 1);
  });

  test('its faults cost more than those of a virtual machine, and give the same bytes', () => {
    const [base, stall, sva] = (['static', 'stall', 'sva'] as const).map((mode) =>
      run(series('workload.times=9'), mode),
    );
    expect(sva?.output.sha256).toBe(base?.output.sha256);
    const added = (one: RunReport | undefined) => (one?.virtualNs ?? 0) - (base?.virtualNs ?? 0);
    // The letter's table puts it between 2.8 and 3.5 times.
    expect(added(sva) / added(stall)).toBeGreaterThan(2.5);
    expect(added(sva) / added(stall)).toBeLessThan(3.7);
  });

  test('a host smaller than the process, with swap, gives the same bytes', () => {
    const sets = ['workload.times=3', 'workload.messageLength=6MiB', 'guest.memory=64MiB'];
    const roomy = run(series(...sets, 'host.memory=256MiB'), 'sva');
    const tight = run(series(...sets, 'host.memory=16MiB', 'host.swap=64MiB'), 'sva');
    expect(tight.output.sha256).toBe(roomy.output.sha256);
    expect(tight.faults.pages).toBeGreaterThan(roomy.faults.pages);
  });
});

test('static pins all guest memory before the device is ready, and never faults', () => {
  const pinned = run(series('workload.times=2'), 'static');
  const faulting = run(series('workload.times=2'), 'stall');
  expect(pinned).toMatchObject({ pinnedBytesPeak: 16 * 2 ** 20, faults: { groups: 0, pages: 0 } });
  expect(faulting.pinnedBytesPeak).toBe(0);
  expect(faulting.readyNs).toBeLessThan(pinned.readyNs);
  expect(faulting.virtualNs).toBeGreaterThan(pinned.virtualNs);
});

test('a long run comes close to static pinning', () => {
  const [base, stall, pri] = (['static', 'stall', 'pri'] as const).map(
    (mode) => run(series('workload.times=200'), mode).virtualNs,
  );
  expect(stall).toBeGreaterThan(base ?? 0);
  expect((stall ?? 0) / (base ?? 1)).toBeLessThan(1.1);
  expect((pri ?? 0) / (base ?? 1)).toBeLessThan(1.1);
});

test('two runs with one seed give the same report', () => {
  for (const mode of MODES) {
    const scenario = series('workload.times=3', 'vfio.residencyLimit=512KiB', 'workload.messageLength=300001');
    expect(run(scenario, mode)).toEqual(run(scenario, mode));
  }
});

/** The pages that the device touches, worked out from how the guest lays out its memory: the ring, then pairs in turn. */
function pagesTouched(scenario: Scenario, inputLength: number): number {
  const { workload, device, iommu } = scenario;
  const { messageLength, bufferOffset, times } = workload;
  const longest = Math.min(messageLength, inputLength);
  const perPass = Math.ceil(inputLength / longest);
  const pairs = Math.min(workload.buffers, perPass * times);
  const bufferBytes = Math.ceil((bufferOffset + longest) / PAGE) * PAGE;
  const ringBytes = Math.ceil((device.ringEntries * 64) / PAGE) * PAGE;
  const touched = new Set<number>();
  const touch = (at: number, length: number) => {
    for (let page = Math.floor(at / iommu.granule); page <= Math.floor((at + length - 1) / iommu.granule); page++) {
      touched.add(page);
    }
  };
  touch(0, Math.min(device.ringEntries, perPass * times) * 64);
  for (let message = 0; message < perPass * times; message++) {
    const length = Math.min(longest, inputLength - (message % perPass) * longest);
    const pair = ringBytes + (message % pairs) * 2 * bufferBytes + bufferOffset;
    touch(pair, length);
    touch(pair + bufferBytes, length);
  }
  return touched.size;
}

test('any input in any cut gives the bytes of one pass of the cipher, and the faults of arithmetic', () => {
  const cuts = fc.record({
    input: fc.uint8Array({ minLength: 1, maxLength: 40_000 }),
    messageLength: fc.oneof(fc.integer({ min: 100, max: 50_000 }), fc.constantFrom(4095, 4096, 4097, 16, 2 ** 30)),
    times: fc.integer({ min: 1, max: 3 }),
    buffers: fc.integer({ min: 1, max: 5 }),
    bufferOffset: fc.oneof(fc.integer({ min: 0, max: 4095 }), fc.constantFrom(0, 1, 4095)),
    queueDepth: fc.integer({ min: 1, max: 8 }),
    ringEntries: fc.constantFrom(8, 16, 128),
    pagesInFlight: fc.integer({ min: 1, max: 20 }),
    stage: fc.constantFrom(1, 2),
    nested: fc.boolean(),
    granule: fc.constantFrom('4KiB', '16KiB', '64KiB'),
    profile: fc.constantFrom('zero', 'kunpeng920'),
    handling: fc.constantFrom('inline', 'workqueue'),
    mode: fc.constantFrom(...MODES),
  });
  const property = fc.property(cuts, ({ input, mode, ...cut }) => {
    const { stage, nested, granule, profile, handling, ringEntries, pagesInFlight, ...workload } = cut;
    const text = {
      profile,
      host: { memory: '32MiB' },
      guest: { memory: '4MiB' },
      iommu: { stage, nested, granule },
      device: { ringEntries, pagesInFlight },
      vfio: { handling },
      workload: { kind: 'sec', ...workload },
    };
    const scenario = parseScenario(JSON.stringify(text), 'cut.yaml');
    const report = run(scenario, mode, input);
    const stream = Buffer.concat(Array.from({ length: workload.times }, () => input));
    expect(report.output.sha256).toBe(digestOf(stream, report.output));
    expect(report.bytes).toBe(stream.length);
    expect(report.faults.pages).toBe(mode === 'static' ? 0 : pagesTouched(scenario, input.length));
  });
  fc.assert(property, { numRuns: 60, seed: 20210409 });
});
