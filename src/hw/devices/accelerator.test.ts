import { createCipheriv } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { PagedAgent, type PagedAgentOptions } from '../../../test/support/paged-agent.ts';
import { encode } from '../../layout/struct.ts';
import { Clock } from '../../sim/clock.ts';
import { Random } from '../../sim/random.ts';
import { Bus } from '../bus.ts';
import { InterruptController, MSI_FRAME_BYTES } from '../interrupts.ts';
import { Memory } from '../memory.ts';
import { MsixCapability } from '../pcie/capabilities.layout.ts';
import { CapabilityId, ExtendedCapabilityId } from '../pcie/config.layout.ts';
import { RootComplex } from '../pcie/root-complex.ts';
import * as sheet from './accelerator.layout.ts';
import { Accelerator, type AcceleratorOptions } from './accelerator.ts';

const ECAM = 0x40_1000_0000;
const WINDOW = 0x1000_0000;
const BAR0 = 0x1000_0000;
const BAR2 = 0x1001_0000;
const MSI = 0x0802_0000;
const DEVFN = 8;
const KEY = Uint8Array.from({ length: 32 }, (_, index) => index * 7);
const IV = Uint8Array.from({ length: 16 }, (_, index) => (index < 8 ? 255 - index : 0xff));

type Mode = 'static' | 'stall' | 'pri';

interface BenchOptions {
  readonly mode: Mode;
  readonly agent?: Partial<PagedAgentOptions>;
  readonly linkNs?: number;
  readonly device?: Partial<AcceleratorOptions>;
  readonly bytesPerSecond?: number;
}

/** An accelerator, a root complex and an agent; the test plays the driver. */
function bench(options: BenchOptions) {
  const clock = new Clock();
  const memory = new Memory(0x4000_0000, 0x1000_0000);
  const bus = new Bus(memory);
  const interrupts = new InterruptController({ clock, latencyNs: 0 });
  bus.map(MSI, MSI_FRAME_BYTES, interrupts.frame);
  const agent = new PagedAgent({ clock, memory, ...options.agent });
  const root = new RootComplex({
    clock,
    bus,
    linkNs: options.linkNs ?? 0,
    ecamBase: ECAM,
    windows: [{ base: WINDOW, size: 0x100_0000 }],
  });
  // Messages for the doorbell go past the page table of the test.
  root.connect({
    memory: (request) => {
      if (request.page !== MSI / 4096) return agent.memory(request);
      bus.write(MSI + request.offset, request.data, 0, request.length);
      return 0;
    },
    translate: (request) => agent.translate(request),
    pageRequest: (message) => agent.pageRequest(message),
  });
  agent.fabric = root;
  const device = new Accelerator({
    clock,
    name: 'acc',
    latency: { deviceSetup: 0, acceleratorBytesPerSecond: options.bytesPerSecond ?? 0 },
    ...options.device,
  });
  root.plug(DEVFN, device);
  const data = new DataView(new ArrayBuffer(8));
  const write32 = (address: number, value: number) => {
    data.setUint32(0, value, true);
    bus.writeSized(address, 4, data);
  };
  const read32 = (address: number) => {
    bus.readSized(address, 4, data);
    return data.getUint32(0, true);
  };
  const config = (offset: number) => ECAM + DEVFN * 4096 + offset;
  const seen = { completion: 0, error: 0 };
  interrupts.connect(80, () => {
    seen.completion += 1;
  });
  interrupts.connect(81, () => {
    seen.error += 1;
  });
  const setUp = () => {
    write32(config(0x10), BAR0);
    write32(config(0x14), 0);
    write32(config(0x18), BAR2);
    write32(config(0x1c), 0);
    write32(config(4), 6);
    for (let vector = 0; vector < 2; vector++) {
      write32(BAR2 + 16 * vector, MSI + 0x40);
      write32(BAR2 + 16 * vector + 4, 0);
      write32(BAR2 + 16 * vector + 8, 80 + vector);
      write32(BAR2 + 16 * vector + 12, 0);
    }
    const msix = device.config.capability(CapabilityId.MSIX);
    write32(config(msix), MsixCapability.Enable.in32(1));
    if (options.mode === 'pri') {
      const pri = device.config.extendedCapability(ExtendedCapabilityId.PRI);
      write32(config(pri + 12), 32);
      write32(config(pri + 4), 1);
      const ats = device.config.extendedCapability(ExtendedCapabilityId.ATS);
      write32(config(ats + 4), 0x8000_0000);
    }
    for (let at = 0; at < 32; at += 4) {
      write32(BAR0 + sheet.KEY_OFFSET + at, new DataView(KEY.buffer).getUint32(at, true));
    }
    for (let at = 0; at < 16; at += 4)
      write32(BAR0 + sheet.IV_OFFSET + at, new DataView(IV.buffer).getUint32(at, true));
  };
  const startRing = (page: number, log2Size: number) => {
    write32(BAR0 + sheet.RING_BASE.offset, page * 4096);
    write32(BAR0 + sheet.RING_BASE.offset + 4, Math.floor(page / 2 ** 20));
    write32(BAR0 + sheet.RING_SIZE.offset, log2Size);
    write32(BAR0 + sheet.CONTROL.offset, 1);
  };
  const run = () => {
    while (clock.fireNext());
  };
  /** Writes bytes at an I/O virtual address; the host keeps the physical page of each page it has written. */
  const home = new Map<number, number>();
  let nextHome = memory.base / 4096 + 16;
  const place = (page: number) => {
    const known = home.get(page) ?? nextHome++;
    home.set(page, known);
    return known;
  };
  const store = (iova: number, bytes: Uint8Array) => {
    for (let done = 0; done < bytes.length; ) {
      const count = Math.min(4096 - ((iova + done) % 4096), bytes.length - done);
      memory.write(place(Math.floor((iova + done) / 4096)) * 4096 + ((iova + done) % 4096), bytes, done, count);
      done += count;
    }
  };
  const load = (iova: number, length: number) => {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const count = Math.min(4096 - ((iova + done) % 4096), length - done);
      memory.read(place(Math.floor((iova + done) / 4096)) * 4096 + ((iova + done) % 4096), bytes, done, count);
      done += count;
    }
    return bytes;
  };
  return {
    clock,
    memory,
    bus,
    agent,
    root,
    device,
    write32,
    read32,
    config,
    seen,
    setUp,
    startRing,
    run,
    store,
    load,
    place,
  };
}

type Bench = ReturnType<typeof bench>;

const RING = 0x100;
const SOURCE = 0x1000_0000;
const DESTINATION = 0x2000_0000;

interface Message {
  readonly source: number;
  readonly destination: number;
  readonly length: number;
  readonly streamOffset: number;
}

function post(b: Bench, index: number, message: Message, ringEntries: number): void {
  const descriptor = encode(sheet.Descriptor, {
    SOURCE_OFFSET: message.source % 4096,
    SOURCE_PAGE: Math.floor(message.source / 4096),
    DESTINATION_OFFSET: message.destination % 4096,
    DESTINATION_PAGE: Math.floor(message.destination / 4096),
    LENGTH: message.length,
    INTERRUPT: 1,
    STREAM_OFFSET_LOW: message.streamOffset >>> 0,
    STREAM_OFFSET_HIGH: Math.floor(message.streamOffset / 2 ** 32),
  });
  b.store(RING * 4096 + (index % ringEntries) * 64, new Uint8Array(descriptor.buffer));
}

/** The table of the agent uses the pages where the test keeps its bytes. */
function useHomes(b: Bench): void {
  const map = b.agent.map.bind(b.agent);
  b.agent.map = (page, write) => map(page, write, b.place(page));
}

const pagesOf = (start: number, length: number) =>
  Math.floor((start + length - 1) / 4096) - Math.floor(start / 4096) + 1;

describe.each<Mode>(['static', 'stall', 'pri'])('mode %s', (mode) => {
  test.each([
    [1, 0, 0],
    [15, 4095, 4090],
    [4096, 0, 0],
    [4097, 123, 0],
    [100_003, 123, 3001],
    [1 << 20, 0, 0],
  ])('%i bytes at offsets %i and %i: right bytes, each page faults once', (length, from, to) => {
    const b = bench({ mode, linkNs: 150, agent: { serviceNs: 1600, memoryNs: 100, translateNs: 50 } });
    useHomes(b);
    b.setUp();
    const message = { source: SOURCE + from, destination: DESTINATION + to, length, streamOffset: 0 };
    const plain = new Random('plain').bytes(length);
    b.store(message.source, plain);
    post(b, 0, message, 16);
    if (mode === 'static') {
      b.agent.map(RING, true);
      for (let page = 0; page <= (from + length) / 4096; page++) b.agent.map(SOURCE / 4096 + page, false);
      for (let page = 0; page <= (to + length) / 4096; page++) b.agent.map(DESTINATION / 4096 + page, true);
    }
    b.startRing(RING, 4);
    b.write32(BAR0 + sheet.RING_TAIL.offset, 1);
    b.run();
    const expected = createCipheriv('aes-256-ctr', KEY, IV).update(plain);
    expect(Buffer.compare(b.load(message.destination, length), expected)).toBe(0);
    const view = new DataView(b.load(RING * 4096, 64).buffer);
    expect(sheet.Descriptor.STATUS.get(view)).toBe(sheet.DescriptorStatus.DONE);
    expect(sheet.Descriptor.PROCESSED.get(view)).toBe(length);
    expect(b.read32(BAR0 + sheet.RING_HEAD.offset)).toBe(1);
    expect(b.read32(BAR0 + sheet.STATUS.offset)).toBe(5);
    expect(b.seen).toEqual({ completion: 1, error: 0 });
    const touched = 1 + pagesOf(message.source, length) + pagesOf(message.destination, length);
    expect(b.agent.faults.length).toBe(mode === 'static' ? 0 : touched);
    expect(new Set(b.agent.faults.map((fault) => fault.page)).size).toBe(b.agent.faults.length);
    expect(b.device.dma.faultLatency.count).toBe(b.agent.faults.length);
  });
});

test('throughput is what the compute pipe allows', () => {
  const b = bench({ mode: 'static', linkNs: 150, bytesPerSecond: 8.66e9, agent: { memoryNs: 200 } });
  useHomes(b);
  b.setUp();
  const length = 8 << 20;
  b.agent.map(RING, true);
  for (let page = 0; page < length / 4096; page++) {
    b.agent.map(SOURCE / 4096 + page, false);
    b.agent.map(DESTINATION / 4096 + page, true);
  }
  post(b, 0, { source: SOURCE, destination: DESTINATION, length, streamOffset: 0 }, 16);
  b.startRing(RING, 4);
  b.write32(BAR0 + sheet.RING_TAIL.offset, 1);
  b.run();
  expect(b.clock.now / (length / 8.66)).toBeCloseTo(1, 2);
});
