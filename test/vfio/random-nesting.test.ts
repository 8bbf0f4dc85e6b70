/**
 * The random program against the SMMU and its driver, with guests that translate first: their tables lie in memory that
 * the program itself unmaps, protects and swaps; devices stall and ask for pages all the time.
 */
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { assert } from '../../src/assert.ts';
import { Memory } from '../../src/hw/memory.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { HostMemory } from '../../src/mm/host-memory.ts';
import { ObservedBus } from '../../src/platform/observed-bus.ts';
import { latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { Process } from '../../src/vfio/process.ts';
import { Extension, Ioctl } from '../../src/vfio/uapi.layout.ts';
import { Vfio } from '../../src/vfio/vfio.ts';
import { type Access, DATA, driverBoard, RAM, RAM_BYTES, type TestFunction } from '../iommu/driver-board.ts';
import { bareBackend } from '../support/bare-backend.ts';
import { PAGE } from '../support/host.ts';
import { dmaMap, int32 } from '../support/vfio.ts';
import { callAtRandom, IOVA, IOVA_PAGES, MEMORY_PAGES, type World } from './random-program.ts';

/** Guest physical address of the guest's tables: CD, then three levels of 4 KiB. */
const TABLES = 0x8000_0000;
const TABLE_PAGES = 4;

function deviceName(index: number): string {
  return `0000:0${index}:00.0`;
}

function machine(seed: number, random: Random, modes: readonly { stall?: boolean; pri?: boolean }[]) {
  const profileName = random.pick(['zero', 'kunpeng920']);
  const profile = PROFILES[profileName];
  assert(profile !== undefined, 'the profile exists');
  const latency = latencyOf(profile);
  const choices = random.fork(`choices ${seed}`);
  const memory = new Memory(RAM, RAM_BYTES);
  let isLive: (page: number) => boolean = () => true;
  const freed: number[] = [];
  const bus = new ObservedBus(memory, (page) => {
    if (page >= DATA / PAGE && !isLive(page)) freed.push(page);
  });
  const faultTimeoutNs = random.pick([10e9, 10e9, 10e9, 500, 20_000]);
  const board = driverBoard({
    profile: profileName,
    choose: (count) => choices.below(count),
    memory: { memory, bus },
    driver: { faultTimeoutNs },
  });
  const { scheduler, invariants } = board;
  const options = { scheduler, latency, invariants, log: pino({ level: 'silent' }) };
  const size = random.pick([2 ** 20, 2 ** 22]);
  const host = new HostMemory({ ...options, memory, base: DATA, size, swapBytes: 2 ** 24 });
  isLive = (page) => host.allocator.isPageLive(page);
  const vfio = new Vfio({
    ...options,
    iommu: board.driver,
    host,
    domain: { stage: 1 },
    msiDoorbell: 0x0802_0040,
    defaults: {
      workers: random.below(4),
      residencyLimitBytes: random.pick([null, 16 * PAGE, 64 * PAGE]),
      dmaEntryLimit: random.pick([5, 100]),
    },
  });
  const functions = modes.map((mode, index) => board.function(8 + index, { ...mode, ats: mode.pri ?? false }));
  for (const [index, fn] of functions.entries()) {
    const backend = bareBackend(deviceName(index), fn.device);
    function* reset(): Steps {
      fn.forgetRequests();
      yield* board.driver.functionReset(fn.device);
    }
    vfio.addGroup(index + 1, [{ ...backend, reset }]);
  }
  const space = host.createSpace({ name: 'vmm', lockLimitBytes: random.pick([null, 200 * PAGE]) });
  return { board, faultTimeoutNs, host, vfio, space, functions, freed, process: new Process({ vfio, space, latency }) };
}

type Machine = ReturnType<typeof machine>;

/** Words typed from IHI 0070 §5.4 and DDI 0487 §D8.3; stalls where the function can. */
function* writeTables({ space }: Machine, at: number, stalls: boolean): Steps {
  const words = new DataView(new ArrayBuffer(TABLE_PAGES * PAGE));
  words.setUint32(0, (25 | (1 << 30) | (1 << 31)) >>> 0, true);
  words.setUint32(4, 5 | (1 << 9) | (stalls ? 1 << 12 : 0) | (1 << 13) | (1 << 14) | (5 << 16), true);
  words.setUint32(8, TABLES + PAGE, true);
  words.setUint32(24, 0x44ff, true);
  words.setUint32(PAGE + 8 * (IOVA / 2 ** 30), TABLES + 2 * PAGE + 3, true);
  words.setUint32(2 * PAGE, TABLES + 3 * PAGE + 3, true);
  yield* space.store(at, new Uint8Array(words.buffer));
}

function worldOf(machine: Machine, tables: number): World {
  const { process, space, vfio, functions } = machine;
  return {
    process,
    space,
    vfio,
    devices: functions.map((_fn, index) => deviceName(index)),
    types: [6, 6, 6, 3],
    contextTable: TABLES,
    *guestMaps(page, mapped) {
      const entry = new DataView(new ArrayBuffer(8));
      if (mapped) entry.setUint32(0, page * PAGE + 0x743, true);
      const index = page - IOVA / PAGE;
      if (index >= 0 && index < 512) yield* space.store(tables + 3 * PAGE + index * 8, new Uint8Array(entry.buffer));
    },
  };
}

function* device(random: Random, fn: TestFunction, accesses: Access[], running: () => boolean): Steps {
  for (let index = 0; running(); index = (index + 1) % 512) {
    yield 500 + random.below(4000);
    const page = IOVA / PAGE + random.below(IOVA_PAGES);
    const write = random.chance(0.5);
    if (fn.device.stall) accesses.push(fn.access(page, { write }));
    else if (fn.priEnabled) fn.request(page, { index, write, last: random.chance(0.8) });
    else fn.translate(page);
  }
}

describe.each([
  ['stalls', [{ stall: true }, { stall: true }]],
  ['page requests', [{ pri: true }, { pri: true }]],
  ['one of each', [{ stall: true }, { pri: true }]],
] as const)('random system calls on the SMMU: %s', (_name, modes) => {
  test.each(Array.from({ length: 12 }, (_, seed) => seed + 1))('seed %i', (seed) => {
    const random = new Random(seed);
    const all = machine(seed, random, modes);
    const { board, host, vfio, space, functions, freed, process } = all;
    const tables = space.mmap(TABLE_PAGES * PAGE);
    const at = space.mmap(MEMORY_PAGES * PAGE);
    const world = worldOf(all, tables);
    const accesses: Access[] = [];
    let callers = 2;
    function* caller(name: string): Steps {
      yield* callAtRandom(world, random.fork(name), at, 120);
      callers -= 1;
      if (callers === 0) yield* process.exit();
    }
    function* opening(): Steps {
      yield* writeTables(
        all,
        tables,
        modes.some((mode) => 'stall' in mode),
      );
      const container = yield* process.open('/dev/vfio/vfio');
      for (const group of ['/dev/vfio/1', '/dev/vfio/2']) {
        const descriptor = yield* process.open(group);
        yield* process.ioctl(descriptor, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container));
      }
      yield* process.ioctl(container, Ioctl.VFIO_SET_IOMMU, Extension.VFIO_TYPE1_NESTING_IOMMU);
      yield* process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(tables, TABLES, TABLE_PAGES * PAGE));
    }
    board.run(opening());
    const working = ['caller 0', 'caller 1'].map((name) => board.spawn(caller(name)));
    for (const [index, fn] of functions.entries()) {
      working.push(board.spawn(device(random.fork(`device ${index}`), fn, accesses, () => callers > 0)));
    }
    board.scheduler.run({ until: () => working.every((task) => task.done), limitNs: 50e6 });
    expect(working.map((task) => task.done)).toEqual(working.map(() => true));
    board.settle();
    expect(accesses.filter(({ status }) => status === Completion.PENDING)).toEqual([]);
    expect([freed, process.descriptorCount, board.invariants.counts.violated]).toEqual([[], 0, 0]);
    // With time enough nobody's answer is ever waited for in vain.
    if (all.faultTimeoutNs >= 10e9) expect(board.driver.counters.timedOut).toBe(0);
    vfio.checkAtRest();
    host.checkAtRest();
    expect(host.allocator.freeFrames).toBe(host.allocator.frameCount);
  });
});
