/**
 * A random program of system calls, well-formed or not, in any order: what a hostile process might do to its containers,
 * groups, devices and fault queues. Each call is made of one random stream, so that a seed gives the same program again.
 */
import { expect } from 'vitest';
import type { AddressSpace } from '../../src/mm/address-space.ts';
import type { Random } from '../../src/sim/random.ts';
import type { Steps } from '../../src/sim/task.ts';
import type { Process } from '../../src/vfio/process.ts';
import { Ioctl } from '../../src/vfio/uapi.layout.ts';
import { ExtensionIoctl } from '../../src/vfio/uapi-extensions.layout.ts';
import { FaultAnswer, FaultRecord, NestingIoctl } from '../../src/vfio/uapi-nesting.layout.ts';
import type { Vfio } from '../../src/vfio/vfio.ts';
import { PAGE } from '../support/host.ts';
import { dmaMap, dmaUnmap } from '../support/vfio.ts';

/** Where the program maps memory for devices, and how many pages further on they may ask. */
export const IOVA = 0x4000_0000;
export const IOVA_PAGES = 256;
/** Pages of the memory that the program is given. */
export const MEMORY_PAGES = 256;

/** What the program plays with. */
export interface World {
  readonly process: Process;
  readonly space: AddressSpace;
  readonly vfio: Vfio;
  readonly devices: readonly string[];
  /** Makes the IOMMU refuse something from now on, or nothing. */
  readonly refuse?: (random: Random) => void;
  /** The guest maps a page in its tables, or takes it out. */
  readonly guestMaps: (page: number, mapped: boolean) => Steps;
  /** A guest physical address of context descriptors that may do. */
  readonly contextTable: number;
  /** How often types of IOMMU are asked for. */
  readonly types: readonly number[];
}

const REQUESTS = [
  ...new Set([...Object.values(Ioctl), ...Object.values(ExtensionIoctl), ...Object.values(NestingIoctl)]),
];
const RANGE_REQUESTS = [
  ExtensionIoctl.VFIO_IOMMU_PREFAULT_DMA,
  ExtensionIoctl.VFIO_IOMMU_PIN_DMA,
  ExtensionIoctl.VFIO_IOMMU_UNPIN_DMA,
];
const RECORD_BYTES = FaultRecord.$.byteLength;

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
function descriptorOf(world: World, random: Random, kind: string): number {
  const all = Array.from({ length: 30 }, (_, index) => index + 3);
  const fitting = all.filter((fd) => {
    const file = world.process.file(fd);
    return typeof file !== 'number' && file.name.startsWith(kind);
  });
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

/** VFIO_IOMMU_ALLOC_FAULT_QUEUE. */
function queueCall(random: Random): DataView {
  const view = new DataView(new ArrayBuffer(random.chance(0.9) ? 12 : 8));
  view.setUint32(0, random.chance(0.9) ? 12 : random.below(16), true);
  view.setUint32(4, random.chance(0.95) ? 0 : 1, true);
  if (view.byteLength > 8) view.setInt32(8, random.chance(0.6) ? -1 : random.below(34), true);
  return view;
}

/** VFIO_IOMMU_BIND_GUEST_TABLE, most of the time with a queue that there is. */
function bindCall(world: World, random: Random): DataView {
  const view = new DataView(new ArrayBuffer(random.chance(0.95) ? 32 : 28));
  view.setUint32(0, random.chance(0.95) ? 32 : random.below(40), true);
  view.setUint32(4, random.chance(0.97) ? 0 : random.next32(), true);
  const table = random.chance(0.9) ? world.contextTable : random.next32();
  view.setUint32(8, table >>> 0, true);
  view.setUint32(12, random.chance(0.97) ? Math.floor(table / 2 ** 32) : random.next32(), true);
  view.setUint32(16, random.chance(0.9) ? 0 : random.below(24), true);
  view.setUint32(20, random.chance(0.9) ? 0 : random.below(4), true);
  view.setUint32(24, random.chance(0.8) ? 2 : random.below(4), true);
  if (view.byteLength < 32) return view;
  view.setInt32(28, random.chance(0.2) ? random.below(36) - 2 : descriptorOf(world, random, 'fault queue'), true);
  return view;
}

/** VFIO_IOMMU_INVALIDATE_GUEST with commands of a guest, and now and then one that is none (IHI 0070 §4). */
function invalidateCall(random: Random): DataView {
  const count = random.below(5);
  const view = new DataView(new ArrayBuffer(random.chance(0.9) ? 12 + 16 * count : 12));
  view.setUint32(0, random.chance(0.95) ? 12 + 16 * count : random.below(80), true);
  view.setUint32(4, random.chance(0.97) ? 0 : 1, true);
  view.setUint32(8, random.chance(0.95) ? count : random.next32(), true);
  for (let at = 12; at + 16 <= view.byteLength; at += 16) {
    view.setUint32(at, random.pick([0x10, 0x10, 0x11, 0x12, 0x05, 0x40, 0x46, 0x28, random.below(256)]), true);
    view.setUint32(at + 4, random.chance(0.7) ? 0 : random.below(6), true);
    view.setUint32(at + 8, random.chance(0.7) ? 0x3f : random.next32(), true);
  }
  return view;
}

/** Reads groups and answers some of them, mapping what was asked for first, most of the time. */
function* serve(world: World, random: Random, queue: number): Steps<number> {
  const view = new DataView(new ArrayBuffer(random.pick([RECORD_BYTES - 1, RECORD_BYTES, 4 * RECORD_BYTES])));
  const bytes = yield* world.process.pread(queue, view, 0);
  // Without a queue, this was some other file.
  if (bytes < 0 || bytes % RECORD_BYTES !== 0) return bytes;
  const answer = new DataView(new ArrayBuffer(random.chance(0.95) ? FaultAnswer.$.byteLength : random.below(24)));
  for (let at = 0; at < bytes; at += RECORD_BYTES) {
    const page = FaultRecord.ADDRESS_HIGH.get(view, at) * 2 ** 20 + FaultRecord.ADDRESS_LOW.get(view, at) / PAGE;
    // What is never answered waits until its device leaves.
    if (random.chance(0.05)) continue;
    if (random.chance(0.95)) yield* world.guestMaps(page, true);
    if (answer.byteLength >= 4) answer.setUint32(0, FaultRecord.COOKIE.get(view, at), true);
    if (answer.byteLength >= 8) answer.setUint32(4, random.pick([0, 0, 0, 0, 1, 2]), true);
    yield* world.process.pwrite(queue, answer, 0);
  }
  return bytes;
}

/** Calls on a container for guests that translate first, and on its fault queues. */
function* nestingCall(world: World, random: Random): Steps<number> {
  const { process } = world;
  const of = (kind: string) => descriptorOf(world, random, kind);
  const { VFIO_IOMMU_ALLOC_FAULT_QUEUE, VFIO_IOMMU_BIND_GUEST_TABLE } = NestingIoctl;
  const { VFIO_IOMMU_UNBIND_GUEST_TABLE, VFIO_IOMMU_INVALIDATE_GUEST } = NestingIoctl;
  switch (random.below(12)) {
    case 0:
    case 1:
      return yield* process.ioctl(of('container'), VFIO_IOMMU_ALLOC_FAULT_QUEUE, queueCall(random));
    case 2:
    case 3:
    case 4:
      return yield* process.ioctl(of('container'), VFIO_IOMMU_BIND_GUEST_TABLE, bindCall(world, random));
    case 5:
      return random.chance(0.3) ? yield* process.ioctl(of('container'), VFIO_IOMMU_UNBIND_GUEST_TABLE, 0) : 0;
    case 6:
      yield* world.guestMaps(IOVA / PAGE + random.below(IOVA_PAGES), random.chance(0.5));
      return yield* process.ioctl(of('container'), VFIO_IOMMU_INVALIDATE_GUEST, invalidateCall(random));
    case 7: {
      if (random.chance(0.1)) return yield* process.close(of('fault queue'));
      const words = new DataView(new ArrayBuffer(random.pick([3, 8, 8, 16, 24])));
      for (let at = 0; at + 4 <= words.byteLength; at += 4) words.setUint32(at, random.below(12), true);
      return yield* process.pwrite(of('fault queue'), words, random.below(100));
    }
    default:
      return yield* serve(world, random, of('fault queue'));
  }
}

/** What happens to the memory of a process. */
function* memoryCall(world: World, random: Random, at: number): Steps<number> {
  const { space } = world;
  const address = at + random.below(MEMORY_PAGES) * PAGE;
  switch (random.below(6)) {
    case 0:
      return yield* space.migrate(address);
    case 1:
      return yield* space.protect(address, 4 * PAGE, random.pick([1, 3, 3]));
    case 2:
      return yield* space.store(address, random.bytes(16));
    case 3: {
      if (random.chance(0.8)) return 0;
      const child = yield* space.fork('child');
      if (child === null) return 0;
      yield* child.store(address, random.bytes(16));
      yield random.below(20_000);
      yield* child.exit();
      return 0;
    }
    default:
      return yield* space.swapOut(address, 16 * PAGE);
  }
}

/** One call; its result is a number. */
function* oneCall(world: World, random: Random, at: number): Steps<number> {
  const { process } = world;
  const of = (kind: string) => descriptorOf(world, random, kind);
  const buffer = new DataView(new ArrayBuffer(random.pick([1, 4, 8, 64])));
  if (random.chance(0.02)) world.refuse?.(random);
  if (random.chance(0.2)) return yield* nestingCall(world, random);
  const map = (container: number, vaddr: number, iova: number, size: number, flags = 3) =>
    process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(vaddr, iova, size, flags));
  const unmap = (container: number, iova: number, size: number, flags = 0) =>
    process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, dmaUnmap(iova, size, flags));
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
      return yield* memoryCall(world, random, at);
    case 7: {
      const link = new DataView(new ArrayBuffer(4));
      link.setInt32(0, of('container'), true);
      return yield* process.ioctl(of('group'), Ioctl.VFIO_GROUP_SET_CONTAINER, link);
    }
    case 8:
      return yield* process.ioctl(of('container'), Ioctl.VFIO_SET_IOMMU, random.pick(world.types));
    case 9: {
      const name = new TextEncoder().encode(`${random.pick(world.devices)}\0`);
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
      return yield* map(of('container'), at + random.below(MEMORY_PAGES) * PAGE, range.iova, range.size);
    case 19:
    case 20:
      return yield* unmap(of('container'), IOVA + random.below(8) * 32 * PAGE, 64 * PAGE, random.pick([0, 0, 4]));
    case 21:
      return random.chance(0.2) ? yield* unmap(of('container'), 0, 0, random.pick([2, 6])) : 0;
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
      const mappings = world.vfio.containers.flatMap((container) => container.type1?.io.mappings.all() ?? []);
      if (mappings.length === 0) return 0;
      const { iova, size } = random.pick(mappings);
      return yield* map(of('container'), at + random.below(MEMORY_PAGES) * PAGE, iova, size, 4);
    }
    default: {
      const argument = random.chance(0.85) ? randomStructure(random, at) : random.next32();
      return yield* process.ioctl(
        of(random.pick(['container', 'container', 'group', '0000', 'fault queue'])),
        random.pick(REQUESTS),
        argument,
      );
    }
  }
}

/** So many calls at random, with pauses: each ends in a result or an errno. */
export function* callAtRandom(world: World, random: Random, at: number, calls: number): Steps {
  for (let call = 0; call < calls; call++) {
    const result = yield* oneCall(world, random, at);
    expect(Number.isSafeInteger(result)).toBe(true);
    yield random.below(3000);
  }
}
