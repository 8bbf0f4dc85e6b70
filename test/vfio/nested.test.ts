/**
 * A guest's own stage over VFIO's, by requests of the container: faults of either stage to who serves it, either enabled
 * first (REVIEW N2, N3), the fault queue's groups and cookies (X14), and what is taken back.
 */
import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { markdownTable } from '../../src/layout/markdown.ts';
import { encode } from '../../src/layout/struct.ts';
import { HostMemory } from '../../src/mm/host-memory.ts';
import { latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { Random } from '../../src/sim/random.ts';
import type { Chooser, Steps } from '../../src/sim/task.ts';
import { Process } from '../../src/vfio/process.ts';
import { Extension, Ioctl } from '../../src/vfio/uapi.layout.ts';
import { ExtensionIoctl } from '../../src/vfio/uapi-extensions.layout.ts';
import * as nesting from '../../src/vfio/uapi-nesting.layout.ts';
import { Vfio } from '../../src/vfio/vfio.ts';
import { DATA, driverBoard } from '../iommu/driver-board.ts';
import { bareBackend } from '../support/bare-backend.ts';
import { dmaMap, dmaUnmap, int32 } from '../support/vfio.ts';

const { SUCCESS, COMPLETER_ABORT, PENDING } = Completion;
const { NestingIoctl, GuestTable, GuestInvalidation, FaultQueueAlloc, FaultRecord, FaultAnswer } = nesting;
/** Guest memory, as guest-physical addresses. */
const GUEST = 0x8000_0000;
const GUEST_BYTES = 64 * 4096;

type Device = { readonly stall?: boolean; readonly pri?: boolean };

function nested(device: Device, type: number = Extension.VFIO_TYPE1_NESTING_IOMMU, choose?: Chooser) {
  const board = driverBoard(choose === undefined ? {} : { choose });
  const { scheduler, memory, invariants } = board;
  const zero = PROFILES['zero'];
  if (zero === undefined) throw new Error('the profile zero exists');
  const latency = latencyOf(zero);
  const options = { scheduler, latency, invariants, log: pino({ level: 'silent' }) };
  const host = new HostMemory({ ...options, memory, base: DATA, size: 2 ** 24, swapBytes: 2 ** 24 });
  const vfio = new Vfio({ ...options, iommu: board.driver, host, domain: { stage: 1 }, msiDoorbell: 0x0802_0040 });
  const fn = board.function(8, { ...device, ats: device.pri ?? false });
  vfio.addGroup(1, [bareBackend('device', fn.device)]);
  const space = host.createSpace({ name: 'vmm' });
  const process = new Process({ vfio, space, latency });
  const call = (descriptor: number, request: number, argument: DataView | number = 0) =>
    board.run(process.ioctl(descriptor, request, argument));
  const container = board.run(process.open('/dev/vfio/vfio'));
  const group = board.run(process.open('/dev/vfio/1'));
  call(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container));
  expect(call(container, Ioctl.VFIO_SET_IOMMU, type)).toBe(0);
  const vaddr = space.mmap(GUEST_BYTES);
  let signals = 0;
  const event = process.eventfd(() => {
    signals += 1;
  });
  const poke = (address: number, low: number, high = 0) => {
    const words = new DataView(new ArrayBuffer(8));
    words.setUint32(0, low >>> 0, true);
    words.setUint32(4, high >>> 0, true);
    board.run(space.store(vaddr + address - GUEST, new Uint8Array(words.buffer)));
  };
  return {
    board,
    fn,
    process,
    container,
    vaddr,
    host,
    vfio,
    event,
    call,
    poke,
    signals: () => signals,
    mapMemory: () => expect(call(container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(vaddr, GUEST, GUEST_BYTES))).toBe(0),
    /** The host's faults on. */
    hostFaults: () => expect(call(container, Ioctl.VFIO_IOMMU_ENABLE_IOPF, 0)).toBe(0),
    /** Words typed from IHI 0070 §5.4 and DDI 0487 §D8.3: CD in page 0, three levels of tables in pages 1 to 3. */
    writeTables: () => {
      const stalls = device.stall === true ? 1 << 12 : 0;
      poke(GUEST, 25 | (1 << 30) | (1 << 31), 5 | (1 << 9) | stalls | (1 << 13) | (1 << 14) | (5 << 16));
      poke(GUEST + 8, GUEST + 0x1000);
      poke(GUEST + 24, 0x44ff);
      poke(GUEST + 0x1000, (GUEST + 0x2000) | 3);
      poke(GUEST + 0x2000, (GUEST + 0x3000) | 3);
    },
    /** The guest maps a page, readable and writable. */
    guestMaps: (page: number, address: number) => poke(GUEST + 0x3000 + page * 8, address | 0x400 | 0x300 | 0x40 | 3),
    queue: (descriptor = event) => {
      const argument = encode(FaultQueueAlloc, { ARGSZ: 12, EVENT_FD: descriptor >>> 0 });
      return call(container, NestingIoctl.VFIO_IOMMU_ALLOC_FAULT_QUEUE, argument);
    },
    bind: (queue: number, values: object = {}) =>
      call(container, NestingIoctl.VFIO_IOMMU_BIND_GUEST_TABLE, guestTable(queue, values)),
    unbind: () => call(container, NestingIoctl.VFIO_IOMMU_UNBIND_GUEST_TABLE),
    read: (queue: number, records = 16) => {
      const view = new DataView(new ArrayBuffer(records * 40));
      const bytes = board.run(process.pread(queue, view, 0));
      return { bytes, view };
    },
    answer: (queue: number, ...answers: [cookie: number, code: number][]) => {
      const view = new DataView(new ArrayBuffer(8 * answers.length));
      for (const [index, [cookie, code]] of answers.entries()) {
        FaultAnswer.COOKIE.set(view, index * 8, cookie);
        FaultAnswer.CODE.set(view, index * 8, code);
      }
      return board.run(process.pwrite(queue, view, 0));
    },
    invalidate: (...commands: number[][]) => {
      const view = new DataView(new ArrayBuffer(12 + 16 * commands.length));
      GuestInvalidation.ARGSZ.set(view, 0, view.byteLength);
      GuestInvalidation.COUNT.set(view, 0, commands.length);
      for (const [at, word] of commands.flat().entries()) view.setUint32(12 + 4 * at, word, true);
      return call(container, NestingIoctl.VFIO_IOMMU_INVALIDATE_GUEST, view);
    },
    /** Ends the process; nothing is left. */
    end: () => {
      board.run(process.exit());
      board.settle();
      vfio.checkAtRest();
      host.checkAtRest();
      expect(board.run(board.driver.enableFaults(fn.device, {}, device.pri === true ? 'pri' : 'stall'))).toBe(0);
    },
  };
}

function guestTable(queue: number, values: object = {}): DataView {
  return encode(GuestTable, {
    ARGSZ: 32,
    CONTEXT_TABLE_LOW: GUEST,
    WITHOUT_PASID: 2,
    FAULT_QUEUE_FD: queue >>> 0,
    ...values,
  });
}

describe.each(['host first', 'guest first'] as const)('N3: faults enabled by the %s', (order) => {
  test('a stall at either stage goes to who serves it', () => {
    const vm = nested({ stall: true });
    vm.writeTables();
    if (order === 'host first') vm.hostFaults();
    else vm.mapMemory();
    const queue = vm.queue();
    expect(vm.bind(queue)).toBe(0);
    if (order === 'host first') vm.mapMemory();
    else vm.hostFaults();
    const access = vm.fn.access(7, { write: true });
    vm.board.settle(1000);
    expect(access.status).toBe(PENDING);
    const { bytes, view } = vm.read(queue);
    expect(bytes).toBe(40);
    expect([vm.signals(), FaultRecord.PERMISSIONS.get(view), FaultRecord.ADDRESS_LOW.get(view)]).toEqual([
      1, 2, 0x7000,
    ]);
    vm.guestMaps(7, GUEST + 0x9000);
    expect(vm.answer(queue, [FaultRecord.COOKIE.get(view), 0])).toBe(8);
    vm.board.settle(1000);
    expect(access.status).toBe(SUCCESS);
    // The page was the host's to bring: before, in this order, it was converted from a static mapping.
    if (order === 'host first') expect(vm.vfio.counters.pages).toBeGreaterThan(0);
    expect(vm.unbind()).toBe(0);
    vm.end();
  });

  test('a group of page requests is shared out, and answered once', () => {
    const vm = nested({ pri: true });
    vm.writeTables();
    if (order === 'host first') vm.hostFaults();
    else vm.mapMemory();
    const queue = vm.queue();
    expect(vm.bind(queue)).toBe(0);
    if (order === 'host first') vm.mapMemory();
    else vm.hostFaults();
    // The tables themselves are the host's to bring where nothing was mapped before.
    for (let round = 0; round < 6; round++) {
      vm.fn.request(3, { index: 9 });
      vm.board.settle(1000);
      if (vm.signals() > 0) break;
    }
    const first = vm.read(queue);
    expect(first.bytes).toBe(40);
    vm.guestMaps(3, GUEST + 0x8000);
    vm.answer(queue, [FaultRecord.COOKIE.get(first.view), 0]);
    vm.board.settle(1000);
    const before = vm.fn.responses.length;
    vm.fn.request(3, { index: 4, last: false, write: true });
    vm.fn.request(5, { index: 4 });
    vm.board.settle(1000);
    const second = vm.read(queue);
    expect(FaultRecord.ADDRESS_LOW.get(second.view)).toBe(0x5000);
    expect(vm.fn.responses).toHaveLength(before);
    vm.answer(queue, [FaultRecord.COOKIE.get(second.view), 1]);
    vm.board.settle(1000);
    expect(vm.fn.responses.slice(before)).toEqual([{ groupIndex: 4, code: 1, pasid: -1 }]);
    expect(vm.fn.translate(3)).toMatchObject({ read: true, write: true });
    vm.end();
  });
});

test("the guest's stage faults where the host's never does, and gives the enabling back", () => {
  const vm = nested({ pri: true });
  vm.mapMemory();
  vm.writeTables();
  const queue = vm.queue();
  expect(vm.bind(queue)).toBe(0);
  expect(vm.fn.priEnabled).toBe(true);
  vm.fn.request(6, { index: 1 });
  vm.board.settle(1000);
  const { view } = vm.read(queue);
  vm.guestMaps(6, GUEST + 0x9000);
  vm.answer(queue, [FaultRecord.COOKIE.get(view), 0]);
  vm.board.settle(1000);
  expect(vm.fn.translate(6)).toMatchObject({ read: true });
  // The host's faults come and go beside it.
  vm.hostFaults();
  expect(vm.call(vm.container, ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF)).toBe(0);
  expect(vm.fn.priEnabled).toBe(true);
  expect(vm.unbind()).toBe(0);
  expect(vm.fn.priEnabled).toBe(false);
  vm.end();
});

describe('X14: the fault queue', () => {
  test('gives whole groups with one cookie each, and takes one answer for each', () => {
    const vm = nested({ pri: true });
    vm.mapMemory();
    vm.writeTables();
    const queue = vm.queue();
    vm.bind(queue);
    expect(vm.read(queue).bytes).toBe(-11);
    for (const [index, pages] of [
      [1, 3],
      [2, 1],
    ] as const) {
      for (let page = 0; page < pages; page++) vm.fn.request(page, { index, last: page === pages - 1 });
    }
    vm.board.settle(1000);
    expect(vm.signals()).toBe(2);
    expect(vm.read(queue, 2).bytes).toBe(-22);
    expect(vm.read(queue, 3).bytes).toBe(120);
    const { bytes, view } = vm.read(queue);
    expect([bytes, FaultRecord.GROUP.get(view), FaultRecord.FLAGS.get(view)]).toEqual([40, 2, 2]);
    const cookie = FaultRecord.COOKIE.get(view);
    expect(vm.answer(queue, [77, 0])).toBe(-22);
    expect(vm.answer(queue, [cookie, 9])).toBe(-22);
    expect(vm.fn.responses).toEqual([]);
    expect(vm.answer(queue, [cookie, 1], [cookie, 1])).toBe(8);
    expect(vm.answer(queue, [cookie - 1, 0])).toBe(8);
    expect(vm.fn.responses.map(({ groupIndex, code }) => [groupIndex, code])).toEqual([
      [2, 1],
      [1, 0],
    ]);
    vm.end();
  });

  test.each(['unbind', 'close', 'exit'] as const)('%s answers INVALID what nobody answered', (how) => {
    const vm = nested({ pri: true });
    vm.mapMemory();
    vm.writeTables();
    const queue = vm.queue();
    vm.bind(queue);
    vm.fn.request(1, { index: 1 });
    vm.board.settle(1000);
    vm.read(queue);
    vm.fn.request(2, { index: 2 });
    vm.board.settle(1000);
    if (how === 'unbind') vm.unbind();
    else if (how === 'close') vm.board.run(vm.process.close(queue));
    else vm.board.run(vm.process.exit());
    vm.board.settle(1000);
    expect(vm.fn.responses.map(({ groupIndex, code }) => [groupIndex, code]).sort()).toEqual([
      [1, 1],
      [2, 1],
    ]);
    vm.end();
  });
});

test("the guest's invalidations take effect; the host's commands are none of its", () => {
  const vm = nested({ stall: true });
  vm.mapMemory();
  vm.writeTables();
  expect(vm.invalidate([0x10, 0, 0, 0])).toBe(-22);
  vm.bind(vm.queue());
  vm.guestMaps(7, GUEST + 0x8000);
  expect(vm.fn.access(7).status).toBe(SUCCESS);
  vm.poke(GUEST + 0x3000 + 7 * 8, 0);
  expect(vm.fn.access(7).status).toBe(SUCCESS);
  expect(vm.invalidate([0x10, 0, 0, 0], [0x46, 0, 0, 0], [0x28, 0, 0, 0], [0x10, 0, 0, 0])).toBe(2);
  expect(vm.fn.access(7).status).toBe(PENDING);
  // A device that the container has not; a count beyond the argument.
  expect(vm.invalidate([0x06, 5, 31, 0])).toBe(0);
  const short = encode(GuestInvalidation, { ARGSZ: 12, COUNT: 1 });
  expect(vm.call(vm.container, NestingIoctl.VFIO_IOMMU_INVALIDATE_GUEST, short)).toBe(-22);
  GuestInvalidation.ARGSZ.set(short, 0, 28);
  expect(vm.call(vm.container, NestingIoctl.VFIO_IOMMU_INVALIDATE_GUEST, short)).toBe(-14);
  vm.end();
});

test('what the guest owns aborts again for the device when it is taken back, and the host’s stage stays', () => {
  const vm = nested({ stall: true });
  vm.mapMemory();
  vm.writeTables();
  vm.bind(-1);
  vm.guestMaps(7, GUEST + 0x8000);
  expect(vm.fn.access(7).status).toBe(SUCCESS);
  expect(vm.fn.access(GUEST / 4096).status).not.toBe(SUCCESS);
  vm.board.settle(1000);
  expect(vm.unbind()).toBe(0);
  expect(vm.unbind()).toBe(0);
  expect(vm.fn.access(7).status).toBe(COMPLETER_ABORT);
  expect(vm.fn.access(GUEST / 4096).status).toBe(SUCCESS);
  vm.end();
});

describe.each([{ stall: true }, { pri: true }])('everything at once, in any order: %o', (device) => {
  test.each(Array.from({ length: 30 }, (_, seed) => seed))('seed %i', (seed) => {
    const random = new Random(seed);
    const vm = nested(device, Extension.VFIO_TYPE1_NESTING_IOMMU, (count) => random.below(count));
    const { board, container, process, fn } = vm;
    vm.writeTables();
    vm.mapMemory();
    const queue = vm.queue();
    vm.bind(queue);
    const pause = () => 1 + random.below(2000);
    const call = (request: number, argument: DataView | number = 0) => process.ioctl(container, request, argument);
    let over = false;
    /** The guest: serves what it is asked for, and invalidates before it answers. */
    function* guest(): Steps {
      const view = new DataView(new ArrayBuffer(40 * 16));
      while (!over) {
        const bytes = yield* process.pread(queue, view, 0);
        for (let at = 0; at < bytes; at += 40) {
          const page = FaultRecord.ADDRESS_LOW.get(view, at) / 4096;
          const entry = new DataView(new ArrayBuffer(8));
          entry.setUint32(0, GUEST + (16 + page) * 4096 + 0x743, true);
          yield* process.store(vm.vaddr + 0x3000 + page * 8, new Uint8Array(entry.buffer));
          const commands = new DataView(new ArrayBuffer(28));
          for (const [index, word] of [28, 0, 1, 0x10].entries()) commands.setUint32(index * 4, word, true);
          yield* call(NestingIoctl.VFIO_IOMMU_INVALIDATE_GUEST, commands);
          const answer = new DataView(new ArrayBuffer(8));
          FaultAnswer.COOKIE.set(answer, 0, FaultRecord.COOKIE.get(view, at));
          yield* process.pwrite(queue, answer, 0);
        }
        yield pause();
      }
    }
    function* host(): Steps {
      for (let round = 0; round < 8; round++) {
        const step = random.below(4);
        if (step === 0) yield* call(Ioctl.VFIO_IOMMU_ENABLE_IOPF, 0);
        else if (step === 1) yield* call(ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF);
        else if (step === 2) yield* call(NestingIoctl.VFIO_IOMMU_UNBIND_GUEST_TABLE);
        else yield* call(NestingIoctl.VFIO_IOMMU_BIND_GUEST_TABLE, guestTable(queue));
        yield pause();
      }
    }
    const accesses: { status: Completion }[] = [];
    function* dma(): Steps {
      for (let index = 0; index < 24; index++) {
        const page = random.below(16);
        if (device.stall === true) accesses.push(fn.access(page, { write: random.below(2) === 0 }));
        else if (fn.priEnabled) fn.request(page, { index, write: random.below(2) === 0 });
        yield pause();
      }
    }
    const working = [host(), dma(), dma()].map((steps) => board.spawn(steps));
    board.spawn(guest());
    board.scheduler.run({ until: () => working.every((task) => task.done), limitNs: 1e9 });
    expect(working.map((task) => task.done)).toEqual([true, true, true]);
    over = true;
    vm.end();
    expect(accesses.filter(({ status }) => status === PENDING)).toEqual([]);
    expect(board.driver.counters.timedOut).toBe(0);
  });
});

test.each([{ stall: true }, { pri: true }])(
  "disabling the host's faults waits for no answer of the guest: %o",
  (device) => {
    const vm = nested(device);
    vm.mapMemory();
    vm.writeTables();
    const queue = vm.queue();
    vm.bind(queue);
    vm.hostFaults();
    const access = device.stall === true ? vm.fn.access(7) : null;
    if (access === null) vm.fn.request(7, { index: 3 });
    vm.board.settle(1000);
    const { bytes, view } = vm.read(queue);
    expect(bytes).toBe(40);
    const before = vm.board.clock.now;
    expect(vm.call(vm.container, ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF)).toBe(0);
    expect(vm.board.clock.now - before).toBeLessThan(1e6);
    // The guest has not answered yet, and its answer still counts.
    expect(access?.status ?? PENDING).toBe(PENDING);
    expect(vm.fn.responses).toEqual([]);
    vm.guestMaps(7, GUEST + 0x9000);
    expect(vm.answer(queue, [FaultRecord.COOKIE.get(view), 0])).toBe(8);
    vm.board.settle(1000);
    if (access === null) expect(vm.fn.responses).toEqual([{ groupIndex: 3, code: 0, pasid: -1 }]);
    else expect(access.status).toBe(SUCCESS);
    expect(vm.call(vm.container, Ioctl.VFIO_IOMMU_ENABLE_IOPF, 0)).toBe(0);
    expect(vm.call(vm.container, ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF)).toBe(0);
    expect(vm.unbind()).toBe(0);
    expect(vm.fn.priEnabled).toBe(false);
    vm.end();
  },
);

test('while a mapping has no virtual address nothing is bound, and unbinding refuses what waits for one', () => {
  const vm = nested({ stall: true });
  vm.hostFaults();
  vm.mapMemory();
  vm.writeTables();
  vm.bind(-1);
  vm.guestMaps(7, GUEST + 0x8000);
  const addressGoes = () => vm.call(vm.container, Ioctl.VFIO_IOMMU_UNMAP_DMA, dmaUnmap(GUEST, GUEST_BYTES, 4));
  expect(addressGoes()).toBe(0);
  const access = vm.fn.access(7);
  vm.board.settle(1000);
  expect(access.status).toBe(PENDING);
  expect(vm.unbind()).toBe(0);
  expect(access.status).toBe(COMPLETER_ABORT);
  expect(vm.bind(-1)).toBe(-16);
  expect(vm.call(vm.container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(vm.vaddr, GUEST, GUEST_BYTES, 4))).toBe(0);
  expect(vm.bind(-1)).toBe(0);
  vm.end();
});

test('a fault queue serves the container that it was made in', () => {
  const vm = nested({ stall: true });
  const run = <T>(steps: Steps<T>) => vm.board.run(steps);
  vm.vfio.addGroup(2, [bareBackend('other', vm.board.function(9, { stall: true }).device)]);
  const other = run(vm.process.open('/dev/vfio/vfio'));
  const group = run(vm.process.open('/dev/vfio/2'));
  vm.call(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(other));
  vm.call(other, Ioctl.VFIO_SET_IOMMU, Extension.VFIO_TYPE1_NESTING_IOMMU);
  const argument = encode(FaultQueueAlloc, { ARGSZ: 12, EVENT_FD: 0xffff_ffff });
  const queue = vm.call(other, NestingIoctl.VFIO_IOMMU_ALLOC_FAULT_QUEUE, argument);
  expect(queue).toBeGreaterThan(0);
  expect(vm.bind(queue)).toBe(-22);
  expect(vm.bind(vm.queue())).toBe(0);
  vm.end();
});

test('refusals', () => {
  const plain = nested({ stall: true }, Extension.VFIO_TYPE1v2_IOMMU);
  expect(plain.bind(-1)).toBe(-95);
  expect(plain.call(plain.container, Ioctl.VFIO_CHECK_EXTENSION, nesting.VFIO_GUEST_STAGE)).toBe(0);
  const vm = nested({ stall: true });
  expect(vm.call(vm.container, Ioctl.VFIO_CHECK_EXTENSION, nesting.VFIO_GUEST_STAGE)).toBe(1);
  expect(vm.bind(-1, { ARGSZ: 28 })).toBe(-22);
  expect(vm.bind(-1, { FLAGS: 1 })).toBe(-22);
  expect(vm.bind(-1, { WITHOUT_PASID: 3 })).toBe(-22);
  expect(vm.bind(-1, { CONTEXT_FORMAT: 3 })).toBe(-22);
  expect(vm.bind(-1, { CONTEXT_BITS: 21 })).toBe(-22);
  expect(vm.bind(-1, { CONTEXT_TABLE_LOW: GUEST + 8 })).toBe(-22);
  expect(vm.bind(-1, { CONTEXT_TABLE_HIGH: 0x10_0000 })).toBe(-22);
  expect(vm.bind(99)).toBe(-9);
  expect(vm.bind(vm.container)).toBe(-22);
  expect(vm.bind(vm.event)).toBe(-22);
  expect(vm.queue(99)).toBe(-9);
  expect(vm.queue(vm.container)).toBe(-22);
  expect(vm.call(vm.container, NestingIoctl.VFIO_IOMMU_BIND_GUEST_TABLE, 5)).toBe(-14);
  expect(vm.bind(-1)).toBe(0);
  expect(vm.bind(-1)).toBe(-16);
  expect(vm.call(vm.queue(-1), 0x3b64)).toBe(-25);
  vm.end();
});

test('docs/uapi.md shows structures and numbers as they are', () => {
  const text = readFileSync('docs/uapi.md', 'utf8');
  for (const layout of [GuestTable, GuestInvalidation, FaultQueueAlloc, FaultRecord, FaultAnswer]) {
    expect(text).toContain(markdownTable(layout).trim());
  }
  for (const [name, number] of Object.entries(NestingIoctl)) {
    expect(text).toContain(`| ${name} | \`0x${number.toString(16)}\` |`);
    expect(Object.values(ExtensionIoctl)).not.toContain(number);
  }
  const io = (n: number) => 0x3b * 256 + 100 + n;
  expect(Object.values(NestingIoctl)).toEqual([105, 106, 107, 108].map(io));
});
