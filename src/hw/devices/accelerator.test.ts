import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  acceleratorBench,
  BAR0,
  DESTINATION,
  DEVFN,
  DONE,
  ENABLED,
  IDLE,
  isExpected,
  type Mode,
  PAGE,
  pagesOf,
  RING,
  RING_ERROR,
  SOURCE,
} from '../../../test/support/accelerator-bench.ts';
import { Random } from '../../sim/random.ts';
import * as sheet from './accelerator.layout.ts';
import type { AcceleratorOptions } from './accelerator.ts';

describe.each<Mode>(['static', 'stall', 'pri'])('mode %s', (mode) => {
  test.each([
    [1, 0, 0],
    [15, 4095, 4090],
    [4096, 0, 0],
    [4097, 123, 0],
    [100_003, 123, 3001],
    [1 << 20, 0, 0],
  ])('%i bytes at offsets %i and %i: right bytes, each page faults once', (length, from, to) => {
    const b = acceleratorBench({ mode, linkNs: 150, agent: { serviceNs: 1600, memoryNs: 100, translateNs: 50 } });
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
        const b = acceleratorBench({ mode, log2Size, ...costs, device: { pagesInFlight } });
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
    const b = acceleratorBench({ mode, linkNs: 100, agent: { serviceNs: 500 } });
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
        const b = acceleratorBench({
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
    const b = acceleratorBench();
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
    const b = acceleratorBench();
    b.setUp();
    b.enable();
    for (const at of [0x10, 0x14, 0x18, 0x28]) b.write32(BAR0 + at, 0x40);
    expect([0x10, 0x14, 0x18, 0x28].map((at) => b.read32(BAR0 + at))).toEqual([RING, 0, 4, 0]);
  });

  test('RESET returns every register to zero', () => {
    const b = acceleratorBench();
    b.setUp();
    b.enable();
    b.ring(0);
    b.write32(BAR0 + sheet.CONTROL.offset, 2);
    expect([0x08, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28].map((at) => b.read32(BAR0 + at))).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(b.status()).toBe(IDLE);
  });

  test('descriptors posted before ENABLE wait for it; clearing it lets what is under way end', () => {
    const b = acceleratorBench({ linkNs: 100, device: { descriptorsInFlight: 1 } });
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

describe('time', () => {
  const long = (bytesPerSecond: number, device: Partial<AcceleratorOptions> = {}) => {
    const b = acceleratorBench({ linkNs: 150, bytesPerSecond, agent: { memoryNs: 200 }, device });
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
    const b = acceleratorBench({
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
    const b = acceleratorBench({ mode: 'pri', device: { ringFaults: false } });
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
    const other = acceleratorBench({ mode: 'pri', device: { ringFaults: false } });
    other.setUp();
    other.enable();
    other.post(0, { source: SOURCE, destination: DESTINATION, length: 64 });
    other.ring(1);
    other.run();
    expect([other.agent.faults, other.status() & RING_ERROR, other.seen.error]).toEqual([[], RING_ERROR, 1]);
  });

  test('one that can says nothing', () => {
    const b = acceleratorBench({ mode: 'pri' });
    b.setUp();
    expect(b.read32(BAR0 + 0x04)).toBe(0);
  });
});
