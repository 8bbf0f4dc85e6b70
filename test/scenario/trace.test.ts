/** The journey of one access, as the trace of a run shows it. */
import { expect, test } from 'vitest';
import { NO_LOGS } from '../../src/cli/log.ts';
import { EventType } from '../../src/iommu/spec/events.layout.ts';
import { createPlatform } from '../../src/platform.ts';
import { loadScenario } from '../../src/scenario/load.ts';
import { parseSet } from '../../src/scenario/overrides.ts';
import { runScenario } from '../../src/scenario/run.ts';
import type { Mode } from '../../src/scenario/schema.ts';

const PAGE = 4096;

/** One message of one page, by a device that moves one page at a time. */
function journey(mode: Mode, traceEntries = 1000) {
  const sets = ['workload.times=1', 'workload.messageLength=4KiB', 'device.pagesInFlight=1'];
  const scenario = loadScenario('examples/sec.yaml', sets.map(parseSet));
  const options = { createMachine: createPlatform, logs: NO_LOGS.logs(mode), traceEntries };
  const { trace, failure } = runScenario(scenario, mode, options);
  expect(failure).toBeNull();
  return trace;
}

const names = (trace: ReturnType<typeof journey>) => trace.map(({ transaction }) => transaction);

/** The ring comes first: what follows its descriptor, up to the status that the device writes back. */
function dataOf(trace: ReturnType<typeof journey>) {
  const descriptor = trace.findIndex(({ transaction }) => transaction === 'dma.read');
  return trace.slice(descriptor + 1, -1);
}

test('PRI: each page is asked for, brought and used', () => {
  const data = dataOf(journey('pri'));
  const page = ['ats.miss', 'pri.request', 'pri.response', 'ats.hit'];
  expect(names(data)).toEqual([...page, 'dma.read', ...page, 'dma.write']);
  const [miss, request, response, hit, read] = data;
  expect(miss?.page).toBe(request?.page);
  expect(hit?.page).toBe(request?.page);
  expect(response?.detail).toBe(request?.detail);
  expect(read).toMatchObject({ page: request?.page, detail: PAGE });
  const instants = data.map(({ t }) => t);
  expect(instants).toEqual(instants.toSorted((one, other) => one - other));
});

test('stall: the access that faulted goes through', () => {
  const data = dataOf(journey('stall'));
  expect(names(data)).toEqual(['smmuv3.fault', 'dma.read', 'smmuv3.fault', 'dma.write']);
  const [fault, read] = data;
  expect(fault?.detail).toBe(EventType.F_TRANSLATION);
  expect(read).toMatchObject({ page: fault?.page, streamId: fault?.streamId, detail: PAGE });
});

test('the trace keeps what was asked for, the newest', () => {
  expect(journey('pri', 3)).toEqual(journey('pri').slice(-3));
  expect(journey('pri', 0)).toEqual([]);
});
