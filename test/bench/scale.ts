/**
 * How faults scale. In virtual time: threads that serve faults of one container. In real time: a fault of one device among
 * many containers, and the look-up of a mapping among many.
 */
import { pino } from 'pino';
import { assert } from '../../src/assert.ts';
import { NO_LOGS } from '../../src/cli/log.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { HostMemory } from '../../src/mm/host-memory.ts';
import { createPlatform } from '../../src/platform.ts';
import { runScenario } from '../../src/scenario/run.ts';
import { ScenarioSchema } from '../../src/scenario/schema.ts';
import { latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { Process } from '../../src/vfio/process.ts';
import { DMA_ENTRY_LIMIT, Extension, Ioctl } from '../../src/vfio/uapi.layout.ts';
import { Vfio } from '../../src/vfio/vfio.ts';
import { DATA, driverBoard } from '../iommu/driver-board.ts';
import { exhibit, FIRST } from '../review/exhibit/board.ts';
import { bareBackend } from '../support/bare-backend.ts';
import { dmaMap, int32, vfioFixture } from '../support/vfio.ts';
import { type Line, line } from './measure.ts';

const PAGE = 4096;
const PROFILE = 'kunpeng920';
/** Part of a thread's work that each thread must add, up to four threads. */
const PER_THREAD = 0.9;
/** Where the mappings of the look-ups begin: above the doorbells. */
const MAPPINGS_FROM = 0x4000_0000;
/** Look-ups of one operation. */
const LOOK_UPS = 4096;

function costs() {
  const profile = PROFILES[PROFILE];
  assert(profile !== undefined, 'a profile that exists');
  return latencyOf(profile);
}

/** Virtual nanoseconds for each of 8192 faults on different pages, many of them at once, with so many threads. */
function threadedFaultNs(workers: number): number {
  const parsed = ScenarioSchema.parse({
    profile: PROFILE,
    guest: { memory: '64MiB' },
    host: { memory: '256MiB' },
    device: { pagesInFlight: 64 },
    vfio: { workers },
    workload: { kind: 'sec', times: 1, messageLength: '16MiB', buffers: 1, queueDepth: 1 },
  });
  const options = { createMachine: createPlatform, logs: NO_LOGS.logs('stall') };
  const { report, failure } = runScenario({ ...parsed, name: 'bench' }, 'stall', options);
  assert(failure === null && report.output.verified, `a run that is right: ${failure}`);
  return report.virtualNs / report.faults.pages;
}

/** The same for the handler of the 2021 series. */
function exhibitFaultNs(threads: number): number {
  const pages = 512;
  const board = exhibit({ profile: PROFILE, groups: threads });
  board.demand(pages);
  const { scheduler, iommu, devices, clock } = board;
  const start = clock.now;
  for (const [index, device] of devices.entries()) {
    const body = function* (): Steps {
      for (let page = index; page < pages; page += threads) yield* iommu.fault(device, FIRST + page, true);
    };
    scheduler.spawn('thread', body());
  }
  scheduler.run();
  return (clock.now - start) / pages;
}

export function threadLines(): Line[] {
  const latency = costs();
  const alone = threadedFaultNs(1);
  const handler = latency.faultHandler + latency.pageAllocate + latency.pageMap + latency.commandSync;
  // A source page through the device is two faults, and its throughput is the end of all scaling.
  const device = ((PAGE / latency.acceleratorBytesPerSecond) * 1e9) / 2;
  const name = (threads: string) => `virtual time per fault, one container, ${threads}`;
  const exhibited = exhibitFaultNs(1);
  return [
    line(name('1 thread'), alone, handler),
    ...[2, 4].map((count) => line(name(`${count} threads`), threadedFaultNs(count), alone / (PER_THREAD * count))),
    line(name('8 threads, or the device is the limit'), threadedFaultNs(8), Math.max(alone / 8, device) / PER_THREAD),
    line(name('8 threads, the RFC as it was: flat'), exhibitFaultNs(8), exhibited / PER_THREAD),
  ];
}

/** `groups` containers with a device and a mapping each, behind the whole driver; a fault of the one in the middle. */
function crowd(groups: number) {
  const silent = pino({ level: 'silent' });
  const board = driverBoard({ driver: { log: silent } });
  const { scheduler, memory, invariants } = board;
  const profile = PROFILES['zero'];
  assert(profile !== undefined, 'a profile that exists');
  const options = { scheduler, latency: latencyOf(profile), invariants, log: silent };
  const host = new HostMemory({ ...options, memory, base: DATA, size: 2 ** 24, swapBytes: 0 });
  const vfio = new Vfio({ ...options, iommu: board.driver, host, domain: { stage: 1 }, msiDoorbell: 0x0802_0040 });
  const space = host.createSpace({ name: 'vmm' });
  const address = space.mmap(PAGE);
  const functions = Array.from({ length: groups }, (_, index) => {
    const fn = board.function(index, { stall: true });
    vfio.addGroup(index, [bareBackend(`function ${index}`, fn.device)]);
    return fn;
  });
  const open = function* (group: number): Steps {
    const process = new Process({ vfio, space, latency: options.latency });
    const container = yield* process.open('/dev/vfio/vfio');
    const file = yield* process.open(`/dev/vfio/${group}`);
    yield* process.ioctl(file, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container));
    yield* process.ioctl(container, Ioctl.VFIO_SET_IOMMU, Extension.VFIO_TYPE1v2_IOMMU);
    yield* process.ioctl(container, Ioctl.VFIO_IOMMU_ENABLE_IOPF, 1);
    const status = yield* process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(address, PAGE, PAGE, 1));
    assert(status === 0, 'mapped for reading');
  };
  for (let group = 0; group < groups; group++) board.run(open(group));
  const fn = functions[groups >> 1];
  assert(fn !== undefined, 'there is a middle');
  /** A write to what is mapped for reading: all of the way, and nothing but the look-up changes with the crowd. */
  return () => {
    const access = fn.access(1, { write: true });
    board.settle();
    assert(access.status === Completion.COMPLETER_ABORT, 'a write is refused');
  };
}

/** Nanoseconds of each operation, the least of many short batches taken in turn: what else the machine does only adds. */
function compare(operations: readonly (() => void)[], batch: number, rounds: number): number[] {
  const best = operations.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < rounds; round++) {
    for (const [index, operation] of operations.entries()) {
      const start = performance.now();
      for (let count = 0; count < batch; count++) operation();
      best[index] = Math.min(best[index] ?? 0, ((performance.now() - start) * 1e6) / batch);
    }
  }
  return best;
}

export function groupLines(): Line[] {
  const sizes = [1, 64, 4096];
  const figures = compare(sizes.map(crowd), 500, 80);
  const [alone = 0] = figures;
  return figures.map((figure, index) => line(`refused fault, ${sizes[index]} groups`, figure, 1.2 * alone));
}

/** So many mappings of a page each in one container, made by MAP_DMA; an operation looks many up, at random places. */
function lookUps(count: number): () => void {
  const fixture = vfioFixture({ memoryBytes: 16 * 2 ** 20 });
  const { run, process: owner, space } = fixture;
  const address = space.mmap(PAGE);
  const open = function* (): Steps {
    const { container } = yield* fixture.setUp();
    yield* fixture.enableIopf(container);
    for (let index = 0; index < count; index++) {
      // A gap after each: neighbours are told apart.
      const argument = dmaMap(address, MAPPINGS_FROM + 2 * index * PAGE, PAGE);
      const status = yield* owner.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, argument);
      assert(status === 0, `mapping ${index} is made`);
    }
  };
  run(open());
  const { mappings } = fixture.type1().io;
  const random = new Random('bench');
  const places = Float64Array.from({ length: LOOK_UPS }, () => MAPPINGS_FROM + 2 * random.below(count) * PAGE);
  return () => {
    let found = 0;
    for (const place of places) if (mappings.at(place) !== null) found += 1;
    assert(found === LOOK_UPS, 'every look-up finds its mapping');
  };
}

/**
 * What log n is on this machine, caches included: as many binary searches at random places among so many numbers, each
 * of which then reads what it found.
 */
function binarySearches(count: number): () => void {
  const numbers = Float64Array.from({ length: count }, (_, index) => 2 * index);
  const records = Array.from({ length: count }, (_, index) => ({ index }));
  const random = new Random('bench');
  const places = Float64Array.from({ length: LOOK_UPS }, () => 2 * random.below(count));
  return () => {
    let found = 0;
    for (const place of places) {
      let low = 0;
      for (let high = count; low < high; ) {
        const middle = (low + high) >>> 1;
        if ((numbers[middle] ?? 0) <= place) low = middle + 1;
        else high = middle;
      }
      if (records[low - 1]?.index === place / 2) found += 1;
    }
    assert(found === LOOK_UPS, 'every search finds its number');
  };
}

/** A look-up may cost this many binary searches, and a few nanoseconds beside. */
const SEARCHES = 2;
const BESIDE_NS = 10;

export function mappingLines(): Line[] {
  const sizes = [1, 64, 4096, DMA_ENTRY_LIMIT];
  const operations = [...sizes.map(lookUps), ...sizes.map(binarySearches)];
  const figures = compare(operations, 2, 100).map((figure) => figure / LOOK_UPS);
  return sizes.map((size, index) => {
    const search = figures[sizes.length + index] ?? 0;
    return line(`look-up among ${size} mappings`, figures[index] ?? 0, SEARCHES * search + BESIDE_NS);
  });
}
