/**
 * Random programs of system calls, well-formed or not, in any order, from several tasks, with devices working all the
 * time: every call returns a number, no invariant breaks, nothing is left when the process is gone.
 */
import { describe, expect, test } from 'vitest';
import { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import { Ioctl } from '../../src/vfio/uapi.layout.ts';
import { ExtensionIoctl } from '../../src/vfio/uapi-extensions.layout.ts';
import { PAGE } from '../support/host.ts';
import { vfioFixture } from '../support/vfio.ts';

const IOVA = 0x4000_0000;
const REQUESTS = [...new Set([...Object.values(Ioctl), ...Object.values(ExtensionIoctl)])];
const RANGE_REQUESTS = [
  ExtensionIoctl.VFIO_IOMMU_PREFAULT_DMA,
  ExtensionIoctl.VFIO_IOMMU_PIN_DMA,
  ExtensionIoctl.VFIO_IOMMU_UNPIN_DMA,
];
const MEMORY_PAGES = 256;

type Fixture = ReturnType<typeof vfioFixture>;

/** A number such as user space might pass, near what means something. */
function plausible(random: Random, at: number): bigint {
  const pick = random.below(12);
  if (pick < 4) return BigInt(IOVA + random.below(64) * 4 * PAGE);
  if (pick < 7) return BigInt(at + random.below(MEMORY_PAGES) * PAGE);
  if (pick < 9) return BigInt(random.below(64) * PAGE);
  if (pick === 9) return BigInt(random.below(64));
  if (pick === 10) return (1n << 64n) - BigInt(random.below(4) * PAGE);
  return (BigInt(random.next32()) << 32n) | BigInt(random.next32());
}

/** A structure of random size: argsz, flags, then 64-bit members, some of them cut short or full of noise. */
function randomStructure(random: Random, at: number): DataView {
  const bytes = random.pick([8, 16, 20, 24, 32, 32, 40, 48, 48, 64, 3]);
  const view = new DataView(new ArrayBuffer(bytes));
  if (random.chance(0.1)) {
    for (const [index, byte] of random.bytes(bytes).entries()) view.setUint8(index, byte);
    return view;
  }
  if (bytes >= 8) {
    view.setUint32(0, random.chance(0.9) ? bytes : random.below(64), true);
    view.setUint32(4, random.chance(0.9) ? random.below(8) : random.next32(), true);
  }
  for (let offset = 8; offset + 8 <= bytes; offset += 8) view.setBigUint64(offset, plausible(random, at), true);
  return view;
}

/** A descriptor, most of the time of a file of the given kind. */
function descriptorOf(fixture: Fixture, random: Random, kind: string): number {
  const all = Array.from({ length: 30 }, (_, index) => index + 3);
  const fitting = all.filter((fd) => fixture.process.file(fd)?.name.startsWith(kind) === true);
  return fitting.length > 0 && random.chance(0.95) ? random.pick(fitting) : random.pick(all);
}

/** A range of I/O virtual addresses for one of the requests that take one, most of the time a good one. */
function dmaRange(random: Random, at: number): DataView {
  if (random.chance(0.2)) return randomStructure(random, at);
  const view = new DataView(new ArrayBuffer(24));
  view.setUint32(0, 24, true);
  view.setUint32(4, random.below(4), true);
  view.setBigUint64(8, BigInt(IOVA + random.below(256) * PAGE), true);
  view.setBigUint64(16, BigInt((1 + random.below(8)) * PAGE), true);
  return view;
}

/** VFIO_IOMMU_DIRTY_PAGES, or VFIO_IOMMU_UNMAP_DMA with a bitmap where `flags` says so. */
function dirtyCall(random: Random, at: number): DataView {
  const view = new DataView(new ArrayBuffer(48));
  const start = IOVA + random.below(4) * 64 * PAGE;
  view.setUint32(0, 48, true);
  view.setUint32(4, random.pick([1, 1, 2, 4, 4, 4, 3]), true);
  view.setBigUint64(8, BigInt(start), true);
  view.setBigUint64(16, BigInt(64 * PAGE), true);
  view.setBigUint64(24, BigInt(PAGE), true);
  view.setBigUint64(32, 64n, true);
  view.setBigUint64(40, BigInt(at + random.below(MEMORY_PAGES) * PAGE), true);
  return view;
}

function configuration(random: Random): DataView {
  const view = new DataView(new ArrayBuffer(32));
  view.setUint32(0, 32, true);
  view.setUint32(4, random.below(8), true);
  view.setUint32(8, random.below(5), true);
  view.setUint32(12, random.below(20), true);
  view.setBigUint64(16, BigInt(random.below(4) * 16 * PAGE), true);
  view.setUint32(24, random.below(5), true);
  return view;
}

function* oneCall(fixture: Fixture, random: Random, at: number): Steps<number> {
  const { process } = fixture;
  const of = (kind: string) => descriptorOf(fixture, random, kind);
  const buffer = new DataView(new ArrayBuffer(random.pick([1, 4, 8, 64])));
  if (random.chance(0.02)) {
    const device = random.pick(fixture.backends).iommu;
    fixture.iommu.refuseAttach = random.chance(0.3) ? device : null;
    fixture.iommu.refuseFaults = random.chance(0.3) ? device : null;
  }
  const range = { iova: IOVA + random.below(64) * 4 * PAGE, size: PAGE * (1 + random.below(32)) };
  switch (random.below(36)) {
    case 0:
      return yield* process.open(
        random.pick(['/dev/vfio/vfio', '/dev/vfio/1', '/dev/vfio/2', '/dev/vfio/3', '/dev/null']),
      );
    case 1:
      return random.chance(0.2) ? yield* process.close(of(random.pick(['container', 'group', '0000']))) : 0;
    case 2:
      return yield* process.pread(of('0000'), buffer, random.below(9) * 2 ** 40 + random.below(4200));
    case 3:
      return yield* process.pwrite(of('0000'), buffer, random.below(9) * 2 ** 40 + random.below(4200));
    case 4: {
      if (random.chance(0.7)) return 0;
      return yield* process.munmap(at + random.below(MEMORY_PAGES) * PAGE, PAGE * (1 + random.below(4)));
    }
    case 5:
      return random.chance(0.2) ? process.eventfd(() => {}) : 0;
    case 6:
      return yield* fixture.space.swapOut(at + random.below(MEMORY_PAGES) * PAGE, 16 * PAGE);
    case 7: {
      const link = new DataView(new ArrayBuffer(4));
      link.setInt32(0, of('container'), true);
      return yield* process.ioctl(of('group'), Ioctl.VFIO_GROUP_SET_CONTAINER, link);
    }
    case 8:
      return yield* process.ioctl(of('container'), Ioctl.VFIO_SET_IOMMU, random.pick([1, 3, 3, 3, 6, 9]));
    case 9: {
      const name = new TextEncoder().encode(`${random.pick(fixture.backends).name}\0`);
      return yield* process.ioctl(of('group'), Ioctl.VFIO_GROUP_GET_DEVICE_FD, new DataView(name.buffer));
    }
    case 10:
    case 11:
      return yield* process.ioctl(of('container'), Ioctl.VFIO_IOMMU_ENABLE_IOPF, random.below(4));
    case 12:
      return random.chance(0.3) ? yield* process.ioctl(of('container'), ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF, 0) : 0;
    case 13:
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
      return yield* fixture.map(of('container'), at + random.below(MEMORY_PAGES) * PAGE, range.iova, range.size);
    case 19:
    case 20:
      return yield* fixture.unmap(
        of('container'),
        IOVA + random.below(8) * 32 * PAGE,
        64 * PAGE,
        random.pick([0, 0, 4]),
      );
    case 21:
      return random.chance(0.2) ? yield* fixture.unmap(of('container'), 0, 0, random.pick([2, 6])) : 0;
    case 22:
    case 23:
    case 24:
      return yield* process.ioctl(of('container'), random.pick(RANGE_REQUESTS), dmaRange(random, at));
    case 25:
    case 26:
      return yield* process.ioctl(of('container'), Ioctl.VFIO_IOMMU_DIRTY_PAGES, dirtyCall(random, at));
    case 27:
      return yield* process.ioctl(of('container'), ExtensionIoctl.VFIO_IOMMU_CONFIGURE_IOPF, configuration(random));
    case 28: {
      const mappings = fixture.vfio.containers.flatMap((container) => container.type1?.io.mappings.all() ?? []);
      if (mappings.length === 0) return 0;
      const { iova, size } = random.pick(mappings);
      return yield* fixture.map(of('container'), at + random.below(MEMORY_PAGES) * PAGE, iova, size, 4);
    }
    default: {
      const argument = random.chance(0.85) ? randomStructure(random, at) : random.next32();
      return yield* process.ioctl(of(random.pick(['container', 'group', '0000'])), random.pick(REQUESTS), argument);
    }
  }
}

function* device(fixture: Fixture, random: Random, index: number, running: () => boolean): Steps {
  const backend = fixture.backends[index];
  while (running() && backend !== undefined) {
    yield 500 + random.below(4000);
    yield* backend.iommu.access(IOVA / PAGE + random.below(256), random.chance(0.5));
  }
}

describe('random system calls', () => {
  test.each(Array.from({ length: 60 }, (_, seed) => seed + 1))('seed %i', (seed) => {
    const random = new Random(seed);
    const fixture = vfioFixture({
      profile: random.pick(['zero', 'kunpeng920', 'kunpeng920']),
      seed,
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
    const at = space.mmap(MEMORY_PAGES * PAGE);
    let callers = 3;
    function* caller(name: string): Steps {
      const own = random.fork(name);
      for (let call = 0; call < 150; call++) {
        const result = yield* oneCall(fixture, own, at);
        expect(Number.isSafeInteger(result)).toBe(true);
        yield own.below(3000);
      }
      callers -= 1;
      if (callers === 0) yield* process.exit();
    }
    function* opening(): Steps {
      yield* fixture.setUp();
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
