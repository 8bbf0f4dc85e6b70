/** The commands that the driver issues, word for word (IHI 0070 §4.4; positions as in Linux arm-smmu-v3.h). */
import { describe, expect, test } from 'vitest';
import type { DomainOptions } from '../../src/iommu/core.ts';
import type { FeatureOptions } from '../../src/iommu/smmuv3/features.ts';
import type { Steps } from '../../src/sim/task.ts';
import { DATA, type DriverBoard, driverBoard, RAM, SMMU_BASE, type TestFunction } from './driver-board.ts';

const SYNC = [0x46, 0, 0, 0];
const ENTRIES = 256;

/** The commands that `steps` puts into the queue, which is the first thing that the driver allocates. */
function issued(board: DriverBoard, steps: Steps<unknown>): number[][] {
  const data = new DataView(new ArrayBuffer(8));
  const producer = (): number => {
    board.bus.readSized(SMMU_BASE + 0x98, 4, data);
    return data.getUint32(0, true);
  };
  const from = producer();
  board.run(steps);
  const count = (producer() - from) & (2 * ENTRIES - 1);
  return Array.from({ length: count }, (_, index) => {
    const at = RAM + ((from + index) % ENTRIES) * 16;
    return [0, 4, 8, 12].map((word) => board.memory.read32(at + word));
  });
}

function attached(options: DomainOptions, features: FeatureOptions = {}, ats = false) {
  const board = driverBoard({ smmu: { features } });
  const fn: TestFunction = board.function(8, { ats, pasidBits: 6 });
  const domain = board.attached(fn, options);
  const flush = (unmap: readonly (readonly [iova: number, size: number])[]): number[][] => {
    const gather = domain.newGather();
    for (const [iova, size] of unmap) domain.unmap(iova, size, gather);
    return issued(board, domain.flush(gather));
  };
  return { board, fn, domain, flush };
}

/** ASID and VMID 1 are the first ones given out. */
const ASID_1 = 1 << 16;
const VMID_1 = 1;
const range = (tg: number, ttl: number): number => (tg << 10) | (ttl << 8) | 1;

describe('a flush', () => {
  test('of pages is one ranged TLBI at the level of pages', () => {
    const { domain, flush } = attached({ stage: 1 });
    domain.map(0x10_0000, DATA, 0x10_0000, 3);
    expect(flush([[0x10_1000, 0x7000]])).toEqual([[0x12 | (6 << 12), ASID_1, 0x10_1000 | range(1, 3), 0], SYNC]);
    expect(flush([[0x11_0000, 0x1000]])).toEqual([[0x12, ASID_1, 0x11_0000 | range(1, 3), 0], SYNC]);
  });

  test('of a block is one at the level of blocks', () => {
    const { domain, flush } = attached({ stage: 1 });
    domain.map(0x8000_0000, DATA, 0x60_0000, 3);
    // 512 granules: (0 + 1) << 9.
    expect(flush([[0x8020_0000, 0x1000]])).toEqual([
      [0x12 | (9 << 20), ASID_1, (0x8020_0000 | range(1, 2)) >>> 0, 0],
      SYNC,
    ]);
  });

  test('of an odd range takes a few, the smallest first', () => {
    const { domain, flush } = attached({ stage: 1 });
    domain.map(0x20_0000, DATA, 0x10_0000, 3);
    // 99 pages: 3, then 3 << 5.
    expect(flush([[0x20_0000, 99 * 4096]])).toEqual([
      [0x12 | (2 << 12), ASID_1, 0x20_0000 | range(1, 3), 0],
      [0x12 | (2 << 12) | (5 << 20), ASID_1, 0x20_3000 | range(1, 3), 0],
      SYNC,
    ]);
  });

  test('that empties a table reaches walk caches: neither leaf only nor with a level', () => {
    const { domain, flush } = attached({ stage: 1 });
    domain.map(0x10_0000, DATA, 0x3000, 3);
    expect(flush([[0x10_0000, 0x3000]])).toEqual([[0x12 | (2 << 12), ASID_1, 0x10_0000 | (1 << 10), 0], SYNC]);
    domain.map(0x10_0000, DATA, 0x1000, 3);
    expect(flush([[0x10_0000, 0x1000]])).toEqual([[0x12, ASID_1, 0x10_0000, 0], SYNC]);
  });

  test.each([
    [16384, 2, 3],
    [65536, 3, 3],
  ] as const)('counts in granules of %i bytes', (granule, tg, ttl) => {
    const { domain, flush } = attached({ stage: 1, granule });
    domain.map(16 * granule, DATA, 16 * granule, 3);
    expect(flush([[16 * granule, 3 * granule]])).toEqual([
      [0x12 | (2 << 12), ASID_1, (16 * granule) | range(tg, ttl), 0],
      SYNC,
    ]);
  });

  test('of stage 2 is by IPA', () => {
    const { domain, flush } = attached({ stage: 2 });
    domain.map(0x10_0000, DATA, 0x10_0000, 3);
    expect(flush([[0x10_1000, 0x1000]])).toEqual([[0x2a, VMID_1, 0x10_1000 | range(1, 3), 0], SYNC]);
  });

  test('without range invalidation goes leaf by leaf, and by ASID when they are many', () => {
    const { domain, flush } = attached({ stage: 1 }, { RIL: 0 });
    domain.map(0x1000, DATA, 0x77_f000, 3);
    expect(flush([[0x2000, 0x2000]])).toEqual([[0x12, ASID_1, 0x2001, 0], [0x12, ASID_1, 0x3001, 0], SYNC]);
    domain.map(0x1_0000_0000, DATA + 0x1000, 0x40_0000, 3);
    expect(flush([[0x1_0000_0000, 0x40_0000]])).toEqual([[0x11, ASID_1, 0, 0], SYNC]);
  });

  test('of many separate ranges is by ASID', () => {
    const { domain, flush } = attached({ stage: 1 });
    domain.map(0x20_0000, DATA, 0x20_0000 - 0x1000, 3);
    const scattered = Array.from({ length: 40 }, (_, index) => [0x20_0000 + index * 0x2000, 0x1000] as const);
    expect(flush(scattered)).toEqual([[0x11, ASID_1, 0, 0], SYNC]);
  });

  test('with ATS invalidates the ATC after a CMD_SYNC, by a power of two', () => {
    const { domain, flush } = attached({ stage: 1 }, {}, true);
    domain.map(0x10_0000, DATA, 0x10_0000, 3);
    expect(flush([[0x10_3000, 0x2000]])).toEqual([
      [0x12 | (1 << 20), ASID_1, 0x10_3000 | range(1, 3), 0],
      SYNC,
      [0x40, 8, 0x10_0000 | 3, 0],
      SYNC,
    ]);
  });

  test('with nothing to forget issues nothing', () => {
    const { board, domain, flush } = attached({ stage: 1 });
    expect(flush([[0x10_0000, 0x1000]])).toEqual([]);
    const apart = board.driver.createDomain({ stage: 1 });
    apart.map(0, DATA, 4096, 3);
    const gather = apart.newGather();
    apart.unmap(0, 4096, gather);
    expect(issued(board, apart.flush(gather))).toEqual([]);
    expect(domain.tableBytes).toBe(4096);
  });
});

describe('the stream', () => {
  test('is changed in the order of §3.21.3.1, ATS ends at the function before the SMMU refuses it', () => {
    const board = driverBoard();
    const fn = board.function(8, { ats: true });
    const domain = board.driver.createDomain({ stage: 2 });
    const configure = [0x03, 8, 0, 0];
    expect(issued(board, board.driver.attach(domain, fn.device))).toEqual([configure, SYNC, configure, SYNC]);
    expect(issued(board, board.driver.detach(domain, fn.device))).toEqual([
      // ATC of everything; then the STE; then what the domain left in the TLB.
      [0x40, 8, 52, 0],
      SYNC,
      configure,
      SYNC,
      configure,
      SYNC,
      // No stall can be left: the function cannot stall.
      [0x28, VMID_1, 0, 0],
      SYNC,
    ]);
  });

  test('that starts to stall changes by single words, without a pause', () => {
    const board = driverBoard();
    const fn = board.function(8, { stall: true });
    board.attached(fn);
    expect(issued(board, board.driver.enableFaults(fn.device, {}, 'stall'))).toEqual([
      [0x05, 8, 0, 0],
      SYNC,
      [0x03, 8, 0, 0],
      SYNC,
    ]);
  });

  test('has the entries that §5.2 and §5.4 draw', () => {
    const board = driverBoard({ smmu: { features: { ST_LEVEL: 0, SIDSIZE: 6 } } });
    const fn = board.function(8, { ats: true, pasidBits: 4 });
    const domain = board.attached(fn, { stage: 1, granule: 65536 });
    domain.map(0, DATA, 65536, 3);
    // STRTAB_BASE, then the linear table; the context table is where the STE says.
    const data = new DataView(new ArrayBuffer(8));
    board.bus.readSized(SMMU_BASE + 0x80, 4, data);
    const ste = ((data.getUint32(0, true) & ~0x3f) >>> 0) + 8 * 64;
    const words = (at: number, count: number) =>
      Array.from({ length: count }, (_, i) => board.memory.read32(at + i * 4));
    const [first = 0, second, third, fourth] = words(ste, 4);
    // V, Config 0b101; S1CDMax 4 in [63:59].
    expect(first & 0x3f).toBe(0b001011);
    expect(second).toBe((4 << 27) >>> 0);
    // S1DSS 0b10, S1CIR 0b01, S1COR 0b01, S1CSH 0b11; PPAR [82]; S1STALLD [91], EATS [93:92] 0b01; SHCFG [109:108] 0b01.
    expect(third).toBe((0b11_01_01_10 | (1 << 18) | (1 << 27) | (1 << 28)) >>> 0);
    expect(fourth).toBe(1 << 12);
    const cd = (first & ~0x3f) >>> 0;
    const root = words(cd + 8, 2);
    expect(words(cd, 2)).toEqual([
      // T0SZ 16, TG0 0b01, IR0 and OR0 write-back, SH0 inner, EPD1, V.
      (16 | (1 << 6) | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 30) | (1 << 31)) >>> 0,
      // IPS 48 bits, AA64 [41], HD [42], HA [43], R [45], A [46], ASET [47], ASID 1.
      5 | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 13) | (1 << 14) | (1 << 15) | (1 << 16),
    ]);
    expect(words(cd + 24, 1)).toEqual([0x0004_ff44]);
    // The root's first entry is a table descriptor.
    expect(board.memory.read32(root[0] ?? 0) & 3).toBe(3);
  });

  test('of stage 2 has the S2 fields that §5.2 draws', () => {
    const board = driverBoard({ smmu: { features: { ST_LEVEL: 0, SIDSIZE: 6 } } });
    const fn = board.function(8, { stall: true });
    board.attached(fn, { stage: 2 });
    board.run(board.driver.enableFaults(fn.device, {}, 'stall'));
    const data = new DataView(new ArrayBuffer(8));
    board.bus.readSized(SMMU_BASE + 0x80, 4, data);
    const ste = ((data.getUint32(0, true) & ~0x3f) >>> 0) + 8 * 64;
    expect(board.memory.read32(ste)).toBe(0b001101);
    expect(board.memory.read32(ste + 16)).toBe(VMID_1);
    // S2T0SZ 16, S2SL0 0b10 (level 0), S2IR0/OR0 write-back, S2SH0 inner, S2TG 4 KiB, S2PS 48 bits, AA64 [179],
    // S2HD [183], S2HA [184], S2S, S2R.
    expect(board.memory.read32(ste + 20)).toBe(
      16 | (2 << 6) | (1 << 8) | (1 << 10) | (3 << 12) | (5 << 16) | (1 << 19) | (3 << 23) | (1 << 25) | (1 << 26),
    );
  });
});
