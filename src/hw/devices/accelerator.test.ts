import { createCipheriv } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MSI, type PcieBoardOptions, pcieBoard } from '../../../test/support/pcie-board.ts';
import { encode } from '../../layout/struct.ts';
import { Random } from '../../sim/random.ts';
import { MsixCapability } from '../pcie/capabilities.layout.ts';
import { CapabilityId } from '../pcie/config.layout.ts';
import { type MemoryRequest, ResponseCode } from '../pcie/tlp.ts';
import * as sheet from './accelerator.layout.ts';
import { Accelerator, type AcceleratorOptions } from './accelerator.ts';

const BAR0 = 0x1000_0000;
const BAR2 = 0x1001_0000;
const DEVFN = 8;
const PAGE = 4096;
const KEY = Uint8Array.from({ length: 32 }, (_, index) => index * 7);
const IV = Uint8Array.from({ length: 16 }, (_, index) => (index < 8 ? 255 - index : 0xff));
/** Where messages and the ring stand unless a test says otherwise: I/O virtual byte addresses. */
const RING = 0x10_0000;
const SOURCE = 0x1000_0000;
const DESTINATION = 0x2000_0000;

type Mode = 'static' | 'stall' | 'pri';

interface BenchOptions extends PcieBoardOptions {
  readonly mode?: Mode;
  readonly device?: Partial<AcceleratorOptions>;
  readonly bytesPerSecond?: number;
  readonly setupNs?: number;
  readonly log2Size?: number;
}

interface Message {
  readonly source: number;
  readonly destination: number;
  readonly length: number;
  readonly streamOffset?: number;
  readonly interrupt?: number;
}

/** The board of these tests, with an accelerator; the test plays the driver. */
function bench(options: BenchOptions = {}) {
  const { mode = 'static', log2Size = 4, bytesPerSecond = 0, setupNs = 0 } = options;
  const board = pcieBoard(options);
  const { agent, memory, write32, read32, config } = board;
  const device = new Accelerator({
    clock: board.clock,
    name: 'accelerator',
    latency: { deviceSetup: setupNs, acceleratorBytesPerSecond: bytesPerSecond },
    ...options.device,
  });
  board.root.plug(DEVFN, device);

  /** The host keeps the bytes of each I/O virtual page in a physical page of its own, mapped or not. */
  const homes = new Map<number, number>();
  const home = (page: number): number => {
    const known = homes.get(page) ?? memory.base / PAGE + 16 + homes.size;
    homes.set(page, known);
    return known;
  };
  const map = agent.map.bind(agent);
  agent.map = (page, write) => map(page, write, home(page));
  const eachPage = (iova: number, length: number, visit: (address: number, at: number, count: number) => void) => {
    for (let done = 0; done < length; ) {
      const offset = (iova + done) % PAGE;
      const count = Math.min(PAGE - offset, length - done);
      visit(home(Math.floor((iova + done) / PAGE)) * PAGE + offset, done, count);
      done += count;
    }
  };
  const store = (iova: number, bytes: Uint8Array) =>
    eachPage(iova, bytes.length, (address, at, count) => memory.write(address, bytes, at, count));
  const load = (iova: number, length: number) => {
    const bytes = new Uint8Array(length);
    eachPage(iova, length, (address, at, count) => memory.read(address, bytes, at, count));
    return bytes;
  };
  const pin = (iova: number, length: number, write: boolean) => {
    for (let page = Math.floor(iova / PAGE); page * PAGE < iova + length; page++) agent.map(page, write);
  };

  const seen = { completion: 0, error: 0 };
  board.interrupts.connect(80, () => {
    seen.completion += 1;
  });
  board.interrupts.connect(81, () => {
    seen.error += 1;
  });
  /** Everything between a reset of the function and CONTROL.ENABLE. */
  const setUp = (ring = RING) => {
    write32(config(DEVFN, 0x10), BAR0);
    write32(config(DEVFN, 0x14), 0);
    write32(config(DEVFN, 0x18), BAR2);
    write32(config(DEVFN, 0x1c), 0);
    board.enable(DEVFN, mode === 'pri' ? { ats: true, credits: 32 } : {});
    for (let vector = 0; vector < 2; vector++) {
      write32(BAR2 + 16 * vector, MSI + 0x40);
      write32(BAR2 + 16 * vector + 4, 0);
      write32(BAR2 + 16 * vector + 8, 80 + vector);
      write32(BAR2 + 16 * vector + 12, 0);
    }
    const msix = device.config.capability(CapabilityId.MSIX);
    write32(config(DEVFN, msix), MsixCapability.Enable.in32(1));
    setKey();
    write32(BAR0 + sheet.RING_BASE.offset, ring);
    write32(BAR0 + sheet.RING_BASE.offset + 4, Math.floor(ring / 2 ** 32));
    write32(BAR0 + sheet.RING_SIZE.offset, log2Size);
  };
  const setKey = () => {
    for (let at = 0; at < 32; at += 4) {
      write32(BAR0 + sheet.KEY_OFFSET + at, new DataView(KEY.buffer).getUint32(at, true));
    }
    for (let at = 0; at < 16; at += 4) {
      write32(BAR0 + sheet.IV_OFFSET + at, new DataView(IV.buffer).getUint32(at, true));
    }
  };
  const enable = () => write32(BAR0 + sheet.CONTROL.offset, 1);
  const place = (index: number, ring = RING) => ring + (index % 2 ** log2Size) * 64;
  const post = (index: number, message: Message, ring = RING) => {
    const descriptor = encode(sheet.Descriptor, {
      SOURCE_OFFSET: message.source % PAGE,
      SOURCE_PAGE: Math.floor(message.source / PAGE),
      DESTINATION_OFFSET: message.destination % PAGE,
      DESTINATION_PAGE: Math.floor(message.destination / PAGE),
      LENGTH: message.length,
      INTERRUPT: message.interrupt ?? 1,
      STREAM_OFFSET_LOW: (message.streamOffset ?? 0) >>> 0,
      STREAM_OFFSET_HIGH: Math.floor((message.streamOffset ?? 0) / 2 ** 32),
      COOKIE: index,
    });
    store(place(index, ring), new Uint8Array(descriptor.buffer));
  };
  const ring = (tail: number) => write32(BAR0 + sheet.RING_TAIL.offset, tail);
  const result = (index: number, at = RING) => {
    const view = new DataView(load(place(index, at), 64).buffer);
    return { status: sheet.Descriptor.STATUS.get(view), processed: sheet.Descriptor.PROCESSED.get(view) };
  };
  const status = () => read32(BAR0 + sheet.STATUS.offset);
  const head = () => read32(BAR0 + sheet.RING_HEAD.offset);
  return { ...board, board, device, store, load, pin, seen, setUp, setKey, enable, post, ring, result, status, head };
}

type Bench = ReturnType<typeof bench>;

const ENABLED = 1;
const RING_ERROR = 2;
const IDLE = 4;
const { DONE, SOURCE_FAULT, DESTINATION_FAULT, BAD_DESCRIPTOR } = sheet.DescriptorStatus;

/** What node:crypto makes of `plain` at byte `offset` of the stream. */
function expected(plain: Uint8Array, offset = 0): Buffer {
  const lead = Buffer.alloc(offset);
  return createCipheriv('aes-256-ctr', KEY, IV)
    .update(Buffer.concat([lead, plain]))
    .subarray(offset);
}

function isExpected(b: Bench, destination: number, plain: Uint8Array, offset = 0): boolean {
  return Buffer.compare(b.load(destination, plain.length), expected(plain, offset)) === 0;
}

const pagesOf = (start: number, length: number) =>
  Math.floor((start + length - 1) / PAGE) - Math.floor(start / PAGE) + 1;

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
    b.setUp();
    const message = { source: SOURCE + from, destination: DESTINATION + to, length };
    const plain = new Random('plain').bytes(length);
    b.store(message.source, plain);
    b.post(0, message);
    if (mode === 'static') {
      b.pin(RING, 64, true);
      b.pin(message.source, length, false);
      b.pin(message.destination, length, true);
    }
    b.enable();
    b.ring(1);
    b.run();
    expect(isExpected(b, message.destination, plain)).toBe(true);
    expect(b.result(0)).toEqual({ status: DONE, processed: length });
    expect(b.head()).toBe(1);
    expect(b.status()).toBe(ENABLED | IDLE);
    expect(b.seen).toEqual({ completion: 1, error: 0 });
    const touched = 1 + pagesOf(message.source, length) + pagesOf(message.destination, length);
    expect(b.agent.faults.length).toBe(mode === 'static' ? 0 : touched);
    expect(new Set(b.agent.faults.map((fault) => fault.page)).size).toBe(b.agent.faults.length);
    expect(b.device.dma.faultLatency.count).toBe(b.agent.faults.length);
  });

  test('a stream in any cuts, through any ring size, several at a time: right bytes, one fault a page', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 12 });
    const scene = fc.record({
      sizes,
      log2Size: fc.integer({ min: 0, max: 4 }),
      from: fc.integer({ min: 0, max: 4095 }),
      to: fc.integer({ min: 0, max: 4095 }),
      slow: fc.boolean(),
      pagesInFlight: fc.integer({ min: 1, max: 9 }),
      ringOffset: fc.integer({ min: 0, max: 63 }),
    });
    fc.assert(
      fc.property(scene, ({ sizes: lengths, log2Size, from, to, slow, pagesInFlight, ringOffset }) => {
        const costs = slow ? { linkNs: 100, agent: { serviceNs: 900, memoryNs: 70, translateNs: 40 } } : {};
        const b = bench({ mode, log2Size, ...costs, device: { pagesInFlight } });
        const ring = RING + ringOffset * 64;
        const total = lengths.reduce((sum, length) => sum + length, 0);
        const plain = new Random('plain').bytes(total);
        b.store(SOURCE + from, plain);
        if (mode === 'static') {
          b.pin(ring, 64 << log2Size, true);
          b.pin(SOURCE + from, total, false);
          b.pin(DESTINATION + to, total, true);
        }
        b.setUp(ring);
        b.enable();
        let at = 0;
        let posted = 0;
        let reaped = 0;
        while (reaped < lengths.length) {
          // As many as the ring holds, then wait for the oldest.
          while (posted < lengths.length && posted - reaped < 2 ** log2Size) {
            const length = lengths[posted] ?? 0;
            b.post(
              posted,
              { source: SOURCE + from + at, destination: DESTINATION + to + at, length, streamOffset: at },
              ring,
            );
            at += length;
            posted += 1;
          }
          b.ring(posted);
          while (b.result(reaped, ring).status === 0 && b.clock.fireNext());
          expect(b.result(reaped, ring)).toEqual({ status: DONE, processed: lengths[reaped] });
          reaped += 1;
        }
        b.run();
        expect(isExpected(b, DESTINATION + to, plain)).toBe(true);
        expect(b.head()).toBe(lengths.length);
        expect(b.status()).toBe(ENABLED | IDLE);
        expect(b.device.counters.bytes).toBe(total);
        const used = Math.min(2 ** log2Size, lengths.length);
        const touched = pagesOf(ring, 64 * used) + pagesOf(SOURCE + from, total) + pagesOf(DESTINATION + to, total);
        expect(b.agent.faults.length).toBe(mode === 'static' ? 0 : touched);
      }),
      { numRuns: 40 },
    );
  });

  test('source and destination may be the same', () => {
    const b = bench({ mode, linkNs: 100, agent: { serviceNs: 500 } });
    const plain = new Random('plain').bytes(10_000);
    b.store(SOURCE + 77, plain);
    if (mode === 'static') {
      b.pin(RING, 64, true);
      b.pin(SOURCE + 77, plain.length, true);
    }
    b.setUp();
    b.enable();
    b.post(0, { source: SOURCE + 77, destination: SOURCE + 77, length: plain.length });
    b.ring(1);
    b.run();
    expect(isExpected(b, SOURCE + 77, plain)).toBe(true);
    expect(b.agent.faults.length).toBe(mode === 'static' ? 0 : 4);
  });

  test.each(['FLR', 'RESET'] as const)('%s at any instant: quiet afterwards, and the device works again', (kind) => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 30_000 }), (when) => {
        const accesses: number[] = [];
        const b = bench({
          mode,
          linkNs: 100,
          setupNs: 300,
          bytesPerSecond: 5e9,
          agent: { serviceNs: 700, memoryNs: 60, translateNs: 30 },
          device: { observe: (page) => accesses.push(page) },
        });
        const plain = new Random('plain').bytes(20_000);
        b.store(SOURCE, plain);
        if (mode === 'static') {
          b.pin(RING, 1024, true);
          b.pin(SOURCE, 40_000, false);
          b.pin(DESTINATION, 40_000, true);
        }
        b.setUp();
        b.enable();
        for (let index = 0; index < 3; index++) {
          b.post(index, { source: SOURCE + 5000 * index, destination: DESTINATION + 5000 * index, length: 5000 });
        }
        b.ring(3);
        b.run(when);
        const before = { ...b.seen };
        accesses.length = 0;
        if (kind === 'FLR') b.write(b.config(DEVFN, 0x48), 2, 0x8000);
        else b.write32(BAR0 + sheet.CONTROL.offset, 2);
        b.run();
        expect(b.seen.error).toBe(before.error);
        // A request that stalls has left the device; nothing else may follow it.
        if (mode !== 'stall') expect(accesses).toEqual([]);
        expect(b.device.idle).toBe(true);
        expect(b.device.dma.busy).toBe(false);
        b.setUp();
        expect(b.status()).toBe(IDLE);
        expect(b.head()).toBe(0);
        b.enable();
        b.post(0, { source: SOURCE + 100, destination: DESTINATION + 20_000, length: 12_345 });
        b.ring(1);
        b.run();
        expect(b.result(0)).toEqual({ status: DONE, processed: 12_345 });
        expect(isExpected(b, DESTINATION + 20_000, plain.subarray(100, 100 + 12_345))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });
});

describe('registers', () => {
  test('identity, and what reads back', () => {
    const b = bench();
    b.setUp();
    // "FLAC" in memory order.
    expect(b.read32(BAR0)).toBe(0x43414c46);
    expect(b.status()).toBe(IDLE);
    expect(b.read32(BAR0 + 0x10)).toBe(RING);
    expect(b.read32(BAR0 + 0x18)).toBe(4);
    b.write32(BAR0 + 0x10, 0xffff_ffff);
    b.write32(BAR0 + 0x18, 0xffff_ffff);
    b.write32(BAR0 + 0x28, 0xffff_ffff);
    expect([b.read32(BAR0 + 0x10), b.read32(BAR0 + 0x18), b.read32(BAR0 + 0x28)]).toEqual([
      0xffff_ffc0, 0xf, 0x800f_ffff,
    ]);
    // The key is not given away.
    expect([0x40, 0x5c, 0x60, 0x6c].map((at) => b.read32(BAR0 + at))).toEqual([0, 0, 0, 0]);
    expect(b.read(BAR0, 1)).toBe(0xff);
    expect(b.read32(BAR0 + 0xffc)).toBe(0);
    b.write32(BAR0 + 0xffc, 1);
  });

  test('the ring is fixed while enabled', () => {
    const b = bench();
    b.setUp();
    b.enable();
    for (const at of [0x10, 0x14, 0x18, 0x28]) b.write32(BAR0 + at, 0x40);
    expect([0x10, 0x14, 0x18, 0x28].map((at) => b.read32(BAR0 + at))).toEqual([RING, 0, 4, 0]);
  });

  test('RESET returns every register to zero', () => {
    const b = bench();
    b.setUp();
    b.enable();
    b.ring(0);
    b.write32(BAR0 + sheet.CONTROL.offset, 2);
    expect([0x08, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28].map((at) => b.read32(BAR0 + at))).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(b.status()).toBe(IDLE);
  });

  test('descriptors posted before ENABLE wait for it; clearing it lets what is under way end', () => {
    const b = bench({ linkNs: 100, device: { descriptorsInFlight: 1 } });
    b.pin(RING, 1024, true);
    b.pin(SOURCE, PAGE, false);
    b.pin(DESTINATION, PAGE, true);
    b.setUp();
    for (const index of [0, 1]) b.post(index, { source: SOURCE, destination: DESTINATION, length: 16 });
    b.ring(2);
    b.run();
    expect(b.head()).toBe(0);
    expect(b.status()).toBe(IDLE);
    b.enable();
    expect(b.status()).toBe(ENABLED);
    b.run(250);
    b.write32(BAR0 + sheet.CONTROL.offset, 0);
    b.run();
    expect(b.head()).toBe(1);
    b.enable();
    b.run();
    expect(b.head()).toBe(2);
  });
});

describe('what goes wrong', () => {
  const faulty = (options: BenchOptions, message: Message) => {
    const b = bench(options);
    b.pin(RING, 1024, true);
    b.setUp();
    b.enable();
    b.post(0, message);
    b.post(1, { source: SOURCE, destination: DESTINATION, length: 1 });
    b.ring(2);
    b.run();
    return b;
  };

  test.each<[string, Message]>([
    ['no bytes', { source: SOURCE, destination: DESTINATION, length: 0 }],
    ['a source beyond 2^64', { source: 2 ** 64 - 4096, destination: DESTINATION, length: 4097 }],
    ['a destination beyond 2^64', { source: SOURCE, destination: 2 ** 64 - 4096, length: 4097 }],
  ])('a descriptor with %s is bad, and the next one is served', (_what, message) => {
    const b = bench();
    b.pin(RING, 64, true);
    b.pin(SOURCE, 1, false);
    b.pin(DESTINATION, 1, true);
    b.setUp();
    b.enable();
    b.post(0, message);
    b.post(1, { source: SOURCE, destination: DESTINATION, length: 1 });
    b.ring(2);
    b.run();
    expect([b.result(0), b.result(1)]).toEqual([
      { status: BAD_DESCRIPTOR, processed: 0 },
      { status: DONE, processed: 1 },
    ]);
    expect(b.seen).toEqual({ completion: 2, error: 0 });
  });

  const allow = (...pages: number[]) => ({ serve: (page: number) => pages.includes(page) || page < 0x200 });
  const S = SOURCE / PAGE;
  const D = DESTINATION / PAGE;

  test.each<Mode>(['stall', 'pri'])('%s: a source page that does not come ends the operation there', (mode) => {
    const b = faulty(
      { mode, agent: allow(S, S + 1, S + 3, D, D + 1, D + 2, D + 3), device: { maxGroupPages: 1 } },
      { source: SOURCE + 100, destination: DESTINATION, length: 4 * PAGE - 100 },
    );
    expect(b.result(0)).toEqual({ status: SOURCE_FAULT, processed: 2 * PAGE - 100 });
    expect(b.result(1)).toEqual({ status: DONE, processed: 1 });
    expect(b.head()).toBe(2);
    expect(b.device.counters).toMatchObject({ operations: 2, sourceFaults: 1, destinationFaults: 0 });
  });

  test.each<Mode>(['stall', 'pri'])('%s: a destination page that does not come counts what was written', (mode) => {
    const b = faulty(
      { mode, agent: allow(S, S + 1, S + 2, S + 3, D, D + 2, D + 3), device: { maxGroupPages: 1 } },
      { source: SOURCE, destination: DESTINATION + 1000, length: 3 * PAGE },
    );
    expect(b.result(0)).toEqual({ status: DESTINATION_FAULT, processed: PAGE - 1000 });
    expect(b.device.counters).toMatchObject({ sourceFaults: 0 });
  });

  test('the ring can not be read: RING_ERROR, vector 1, nothing more until RESET', () => {
    const b = bench({ agent: { onFault: 'abort' } });
    b.setUp();
    b.enable();
    b.ring(1);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.seen).toEqual({ completion: 0, error: 1 });
    b.pin(RING, 64, true);
    b.enable();
    b.ring(2);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.head()).toBe(0);
    b.write32(BAR0 + sheet.CONTROL.offset, 2);
    expect(b.status()).toBe(IDLE);
  });

  test('the status can not be written back: RING_ERROR', () => {
    const b = bench({ agent: { onFault: 'abort' } });
    b.pin(SOURCE, 16, false);
    b.pin(DESTINATION, 16, true);
    b.pin(RING, 64, true);
    b.setUp();
    b.enable();
    b.post(0, { source: SOURCE, destination: DESTINATION, length: 16 });
    const memory = b.agent.memory.bind(b.agent);
    b.agent.memory = (request: MemoryRequest) => {
      if (request.length === sheet.WRITEBACK_BYTES && request.offset === sheet.WRITEBACK_OFFSET) return 4;
      return memory(request);
    };
    b.ring(1);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.seen).toEqual({ completion: 0, error: 1 });
    expect(b.head()).toBe(0);
  });

  test('a tail further than the ring is a RING_ERROR', () => {
    const b = bench({ log2Size: 2 });
    b.pin(RING, 1024, true);
    b.setUp();
    b.enable();
    b.ring(5);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.seen.error).toBe(1);
  });

  test('bus mastering off: the fetch is refused', () => {
    const b = bench();
    b.setUp();
    b.write32(b.config(DEVFN, 4), 2);
    b.enable();
    b.ring(1);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    // Nobody hears the interrupt either: it is a memory write too.
    expect(b.seen).toEqual({ completion: 0, error: 0 });
    expect(b.device.msix.lost).toBe(1);
  });
});

test('a batch that goes round the end of the ring is fetched in two pieces', () => {
  const b = bench({ log2Size: 2 });
  b.pin(RING, 256, true);
  b.pin(SOURCE, 64, false);
  b.pin(DESTINATION, 64, true);
  b.store(RING + 256, new Uint8Array(256).fill(0xff));
  b.setUp();
  b.enable();
  for (const [from, to] of [
    [0, 3],
    [3, 7],
  ] as const) {
    for (let index = from; index < to; index++) {
      b.post(index, { source: SOURCE, destination: DESTINATION + index, length: 1 });
    }
    b.ring(to);
    b.run();
  }
  expect(b.head()).toBe(7);
  expect([0, 1, 2, 3].map((index) => b.result(index).status)).toEqual([DONE, DONE, DONE, DONE]);
  expect(b.device.counters.badDescriptors).toBe(0);
});

test('a message may lie across a 4 GiB boundary of its stream', () => {
  const b = bench();
  const plain = new Random('plain').bytes(3 * PAGE);
  b.pin(RING, 64, true);
  b.pin(SOURCE, plain.length, false);
  b.pin(DESTINATION, plain.length, true);
  b.store(SOURCE, plain);
  b.setUp();
  b.enable();
  const streamOffset = 3 * 2 ** 32 - PAGE - 16;
  b.post(0, { source: SOURCE, destination: DESTINATION, length: plain.length, streamOffset });
  b.ring(1);
  b.run();
  // The counter block of that place: IV plus streamOffset / 16, whose low 64 bits overflow into the high ones.
  const counter = Buffer.from(IV);
  const sum = (BigInt(`0x${counter.toString('hex')}`) + BigInt(streamOffset / 16)) % 2n ** 128n;
  const cipher = createCipheriv('aes-256-ctr', KEY, Buffer.from(sum.toString(16).padStart(32, '0'), 'hex'));
  expect(Buffer.compare(b.load(DESTINATION, plain.length), cipher.update(plain))).toBe(0);
});

test('completion is in order, and no interrupt is sent where none was asked for', () => {
  const b = bench({ mode: 'stall', agent: { serve: () => true } });
  b.agent.hold = true;
  b.pin(RING, 1024, true);
  b.pin(SOURCE, 2 * PAGE, false);
  b.pin(DESTINATION + PAGE, PAGE, true);
  b.setUp();
  b.enable();
  b.post(0, { source: SOURCE, destination: DESTINATION, length: 16, interrupt: 0 });
  b.post(1, { source: SOURCE, destination: DESTINATION + PAGE, length: 16 });
  b.ring(2);
  b.run();
  // The second has its bytes, but waits for the first.
  expect(Buffer.compare(b.load(DESTINATION + PAGE, 16), expected(b.load(SOURCE, 16)))).toBe(0);
  expect([b.result(0).status, b.result(1).status, b.head()]).toEqual([0, 0, 0]);
  b.agent.release(b.agent.held[0] as MemoryRequest);
  b.run();
  expect([b.result(0).status, b.result(1).status, b.head()]).toEqual([DONE, DONE, 2]);
  expect(b.seen.completion).toBe(1);
});

test('with a PASID every access carries it, and RESET sends a stop marker behind its page requests', () => {
  const b = bench({ linkNs: 100 });
  b.agent.automatic = false;
  b.setUp();
  b.board.enable(DEVFN, { pasid: true, ats: true, credits: 8 });
  b.write32(BAR0 + sheet.PASID_CONTROL.offset, 0x8000_0007);
  b.enable();
  b.post(0, { source: SOURCE, destination: DESTINATION, length: 16 });
  b.ring(1);
  b.run();
  expect(b.agent.messages).toMatchObject([{ pasid: 7, page: RING / PAGE, read: true, write: true, last: true }]);
  b.agent.map(RING / PAGE, true);
  for (const message of [...b.agent.messages]) b.agent.respond(message, ResponseCode.SUCCESS);
  b.run();
  expect(b.agent.messages.at(-1)).toMatchObject({ pasid: 7, page: SOURCE / PAGE });
  expect(new Set(b.agent.translations.map((translation) => translation.pasid))).toEqual(new Set([7]));
  b.write32(BAR0 + sheet.CONTROL.offset, 2);
  b.run();
  expect(b.agent.messages.at(-1)).toMatchObject({ pasid: 7, read: false, write: false, last: true });
  expect(b.status()).toBe(IDLE);
  // The response that is still due returns its credit.
  expect(b.device.pageRequests?.outstanding).toBe(1);
  b.agent.respond(b.agent.messages[1] as never, ResponseCode.SUCCESS);
  b.run();
  expect(b.device.pageRequests?.outstanding).toBe(0);
});

describe('time', () => {
  const long = (bytesPerSecond: number, device: Partial<AcceleratorOptions> = {}) => {
    const b = bench({ linkNs: 150, bytesPerSecond, agent: { memoryNs: 200 }, device });
    const length = 8 << 20;
    b.pin(RING, 64, true);
    b.pin(SOURCE, length, false);
    b.pin(DESTINATION, length, true);
    b.setUp();
    b.enable();
    b.post(0, { source: SOURCE, destination: DESTINATION, length });
    b.ring(1);
    b.run();
    return b.clock.now / length;
  };

  test('without faults a long message goes at the speed of the compute pipe', () => {
    expect(long(8.66e9) * 8.66).toBeCloseTo(1, 2);
    expect(long(1e9)).toBeCloseTo(1, 2);
  });

  test('with one page in flight latencies add up', () => {
    // Read 500 ns, pipe 409.6 ns, write 350 ns.
    expect(long(1e10, { pagesInFlight: 1 }) * PAGE).toBeCloseTo(1260, -1);
  });

  test('setup is spent once a descriptor, beside the work of others', () => {
    const read: number[] = [];
    const b = bench({
      setupNs: 5000,
      log2Size: 4,
      device: { observe: (page) => page === SOURCE / PAGE && read.push(b.clock.now) },
    });
    b.pin(RING, 1024, true);
    b.pin(SOURCE, PAGE, false);
    b.pin(DESTINATION, PAGE, true);
    b.setUp();
    b.enable();
    for (let index = 0; index < 16; index++) b.post(index, { source: SOURCE, destination: DESTINATION, length: 16 });
    b.ring(16);
    b.run();
    expect(b.head()).toBe(16);
    expect(b.clock.now).toBe(5000);
    expect(new Set(read)).toEqual(new Set([5000]));
  });
});

describe('a device that cannot wait for its ring', () => {
  test('says so, asks for data pages alone, and stops with a ring error where the ring is not there', () => {
    const b = bench({ mode: 'pri', device: { ringFaults: false } });
    b.setUp();
    expect(b.read32(BAR0 + 0x04)).toBe(1);
    b.pin(RING, 2 ** 4 * 64, true);
    b.enable();
    b.store(SOURCE, new Uint8Array(5000).fill(3));
    b.post(0, { source: SOURCE, destination: DESTINATION, length: 5000 });
    b.ring(1);
    b.run();
    expect([b.result(0).status, isExpected(b, DESTINATION, new Uint8Array(5000).fill(3))]).toEqual([DONE, true]);
    expect(b.agent.faults.map(({ page }) => page).sort((x, y) => x - y)).toEqual(
      [0, 1].map((page) => SOURCE / PAGE + page).concat([0, 1].map((page) => DESTINATION / PAGE + page)),
    );
    const other = bench({ mode: 'pri', device: { ringFaults: false } });
    other.setUp();
    other.enable();
    other.post(0, { source: SOURCE, destination: DESTINATION, length: 64 });
    other.ring(1);
    other.run();
    expect([other.agent.faults, other.status() & RING_ERROR, other.seen.error]).toEqual([[], RING_ERROR, 1]);
  });

  test('one that can says nothing', () => {
    const b = bench({ mode: 'pri' });
    b.setUp();
    expect(b.read32(BAR0 + 0x04)).toBe(0);
  });
});
