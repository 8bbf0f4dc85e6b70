import { describe, expect, test } from 'vitest';
import { Errno } from '../../errno.ts';
import { Memory } from '../../hw/memory.ts';
import { Protection } from '../core.ts';
import { geometry } from './descriptors.ts';
import { DomainGather } from './gather.ts';
import { PageTable } from './page-table.ts';
import type { Granule } from './probe.ts';
import { TableArena, type TableMemory } from './table-memory.ts';

const RAM = 0x4000_0000;
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const { READ, WRITE, EXECUTE, DEVICE } = Protection;
const RW = READ | WRITE;

interface Fixture {
  readonly memory: Memory;
  readonly table: PageTable;
  readonly arena: TableArena;
  readonly gather: DomainGather;
  /** Allocations left. */
  budget: number;
}

function fixture(stage: 1 | 2, granule: Granule, inputBits = 48, blocks = true): Fixture {
  const memory = new Memory(RAM, 512 * MIB);
  let next = RAM;
  const made = { budget: Number.POSITIVE_INFINITY };
  const source: TableMemory = {
    allocate: (bytes, alignment) => {
      if (made.budget-- <= 0) return -1;
      next = Math.ceil(next / alignment) * alignment + bytes;
      // What a page held before must not matter.
      memory.fill(next - bytes, bytes, 0xa5);
      return next - bytes;
    },
    free: () => {},
  };
  const arena = new TableArena(memory, source);
  const table = new PageTable(geometry(stage, granule, inputBits, blocks), arena, 52);
  let epoch = 0;
  return Object.assign(made, { memory, table, arena, gather: new DomainGather(() => ++epoch) });
}

/** Reads a descriptor as DDI 0487 lays tables out: `indexes` from the root down. */
function descriptor(f: Fixture, indexes: readonly number[]): [low: number, high: number] {
  let at = f.table.rootAddress;
  for (const [depth, index] of indexes.entries()) {
    const entry = at + index * 8;
    const low = f.memory.read32(entry);
    const high = f.memory.read32(entry + 4);
    if (depth === indexes.length - 1) return [low, high];
    expect(low & 3, 'a table descriptor').toBe(3);
    at = (high & 0xffff) * 2 ** 32 + (low & ~0xfff) * 1;
    if (at < 0) at += 2 ** 32;
  }
  return [0, 0];
}

function ranges(gather: DomainGather): number[][] {
  return Array.from({ length: gather.count }, (_, index) => [
    gather.starts[index] ?? 0,
    gather.sizes[index] ?? 0,
    gather.leafSizes[index] ?? 0,
  ]);
}

describe('descriptors, as DDI 0487 §D8.3 and Linux io-pgtable-arm.c lay them out', () => {
  test.each<[string, 1 | 2, number, number, number]>([
    // AF, nG, SH inner, AP[1] unprivileged, AttrIndx 1; AP[2] read-only; PXN and UXN unless execute.
    ['stage 1 read-write', 1, RW, 0x4001_2f47, 0x0060_0000],
    ['stage 1 read-only', 1, READ, 0x4001_2fc7, 0x0060_0000],
    ['stage 1 executable', 1, READ | EXECUTE, 0x4001_2fc7, 0],
    ['stage 1 device', 1, RW | DEVICE, 0x4001_2e4b, 0x0060_0000],
    // AF, SH inner, S2AP, MemAttr write-back; XN unless execute.
    ['stage 2 read-write', 2, RW, 0x4001_27ff, 0x0040_0000],
    ['stage 2 read-only', 2, READ, 0x4001_277f, 0x0040_0000],
    ['stage 2 write-only', 2, WRITE, 0x4001_27bf, 0x0040_0000],
    ['stage 2 device', 2, RW | DEVICE, 0x4001_26c7, 0x0040_0000],
  ])('4 KiB page, %s', (_, stage, protection, low, high) => {
    const f = fixture(stage, 4096);
    const iova = 0x12_3456_7000;
    expect(f.table.map(iova, 0x4001_2000, 4096, protection)).toBe(0);
    expect(descriptor(f, [0, 0x48, 0x1a2, 0x167])).toEqual([low, high]);
    const read = stage === 1 ? READ : 0;
    expect(f.table.translate(iova + 0x123)).toEqual({
      physical: 0x4001_2123,
      protection: protection | read,
      size: 4096,
    });
  });

  test('blocks of 1 GiB and 2 MiB', () => {
    const f = fixture(1, 4096);
    expect(f.table.map(GIB, 2 * GIB, GIB + 2 * MIB, RW)).toBe(0);
    expect(descriptor(f, [0, 1])).toEqual([0x8000_0f45, 0x0060_0000]);
    expect(descriptor(f, [0, 2, 0])).toEqual([0xc000_0f45, 0x0060_0000]);
    expect(f.arena.bytes).toBe(3 * 4096);
  });

  test('16 KiB: pages and 32 MiB blocks, two entries in the root', () => {
    const f = fixture(1, 16384);
    expect(f.table.shape.rootEntries).toBe(2);
    expect(f.table.pageSizes).toEqual([16 * KIB, 32 * MIB]);
    expect(f.table.map(2 ** 47 + 32 * MIB, 0x4200_0000, 32 * MIB + 16 * KIB, RW)).toBe(0);
    expect(descriptor(f, [1, 0, 1])).toEqual([0x4200_0f45, 0x0060_0000]);
    expect(descriptor(f, [1, 0, 2, 0])).toEqual([0x4400_0f47, 0x0060_0000]);
  });

  test('64 KiB: bits 51:48 of an address lie in bits 15:12', () => {
    const f = fixture(1, 65536, 52);
    expect(f.table.pageSizes).toEqual([64 * KIB, 512 * MIB]);
    const physical = 0xf_1234_5679_0000;
    expect(f.table.map(0xf_0000_0001_0000, physical, 65536, RW)).toBe(0);
    expect(descriptor(f, [0x3c0, 0, 1])).toEqual([0x5679_ff47, 0x0060_1234]);
    expect(f.table.translate(0xf_0000_0001_8000)?.physical).toBe(physical + 0x8000);
  });

  test.each<[Granule, number, number, number]>([
    // DDI 0487 §D8.2.2: up to 16 tables side by side instead of a level above.
    [4096, 40, 1, 2 * 512],
    [4096, 43, 1, 16 * 512],
    [4096, 44, 0, 32],
    [4096, 48, 0, 512],
    [16384, 40, 2, 16 * 2048],
    [16384, 48, 1, 2 * 2048],
    [65536, 44, 2, 4 * 8192],
    [65536, 48, 1, 64],
  ])('stage 2, %i bytes, %i bits: starts at level %i with %i entries', (granule, bits, level, entries) => {
    const shape = geometry(2, granule, bits, true);
    expect([shape.startLevel, shape.rootEntries]).toEqual([level, entries]);
  });
});

describe('map', () => {
  test('uses the largest blocks that fit both addresses', () => {
    const f = fixture(1, 4096);
    expect(f.table.map(2 * MIB - 4096, 4 * MIB - 4096, 2 * MIB + 8192, RW)).toBe(0);
    expect([2 * MIB - 4096, 2 * MIB, 4 * MIB].map((iova) => f.table.translate(iova)?.size)).toEqual([
      4096,
      2 * MIB,
      4096,
    ]);
    expect(f.table.map(8 * MIB, 8 * MIB + 4096, 2 * MIB, RW)).toBe(0);
    expect(f.table.translate(8 * MIB)?.size).toBe(4096);
  });

  test('makes no blocks where they could not be split', () => {
    const f = fixture(1, 4096, 48, false);
    expect(f.table.pageSizes).toEqual([4096]);
    expect(f.table.map(0, 0x4000_0000, 4 * MIB, RW)).toBe(0);
    expect(f.table.translate(2 * MIB)).toEqual({ physical: 0x4020_0000, protection: RW, size: 4096 });
  });

  test.each([
    ['an odd address', 1, 0, 4096, RW],
    ['an odd physical address', 0, 1, 4096, RW],
    ['an odd size', 0, 0, 4097, RW],
    ['no size', 0, 0, 0, RW],
    ['beyond the input range', 2 ** 48 - 4096, 0, 8192, RW],
    ['beyond the output range', 0, 2 ** 52 - 4096, 8192, RW],
    ['no permission', 0, 0, 4096, 0],
  ])('refuses %s', (_, iova, physical, size, protection) => {
    const f = fixture(1, 4096);
    expect(f.table.map(iova, physical, size, protection)).toBe(Errno.EINVAL);
  });

  test('is refused whole when anything is mapped in the range', () => {
    const f = fixture(1, 4096);
    f.table.map(8 * MIB, 0, 4096, RW);
    f.table.map(16 * MIB, 0, 2 * MIB, RW);
    expect(f.table.map(8 * MIB, 0, 4096, RW)).toBe(Errno.EEXIST);
    expect(f.table.map(4 * MIB, 0, 8 * MIB, RW)).toBe(Errno.EEXIST);
    expect(f.table.map(17 * MIB, 0, 4096, RW)).toBe(Errno.EEXIST);
    expect(f.table.map(17 * MIB, 0, 8192, RW)).toBe(Errno.EEXIST);
    expect(f.table.translate(4 * MIB)).toBeNull();
  });

  test('changes nothing when table memory runs out', () => {
    const f = fixture(1, 4096);
    f.budget = 3;
    expect(f.table.map(2 * MIB - 4096, 4096, 8192, RW)).toBe(Errno.ENOMEM);
    expect(f.table.translate(2 * MIB - 4096)).toBeNull();
    f.budget = 1;
    expect(f.table.map(2 * MIB - 4096, 4096, 8192, RW)).toBe(0);
  });
});

describe('unmap', () => {
  test('gathers runs of leaves, passes over holes', () => {
    const f = fixture(1, 4096);
    f.table.map(0x1000, 0x1000, 0x2000, RW);
    f.table.map(0x5000, 0x5000, 0x1000, RW);
    expect(f.table.unmap(0, 2 ** 40, f.gather)).toBe(0x3000);
    expect(ranges(f.gather)).toEqual([
      [0x1000, 0x2000, 0x1000],
      [0x5000, 0x1000, 0x1000],
    ]);
    expect(f.table.translate(0x1000)).toBeNull();
  });

  test('takes the whole of a block that lies across, and says so', () => {
    const f = fixture(1, 4096);
    f.table.map(2 * MIB, 2 * MIB, 4 * MIB, RW);
    expect(f.table.unmap(3 * MIB, 4096, f.gather)).toBe(2 * MIB);
    expect(ranges(f.gather)).toEqual([[2 * MIB, 2 * MIB, 2 * MIB]]);
    expect(f.table.translate(4 * MIB)?.size).toBe(2 * MIB);
  });

  test('keeps an emptied table until it is flushed, and uses it again before', () => {
    const f = fixture(1, 4096);
    f.table.map(0x1000, 0x1000, 4096, RW);
    const bytes = f.arena.bytes;
    const [pointer] = descriptor(f, [0, 0, 0]);
    f.table.unmap(0x1000, 4096, f.gather);
    expect(f.arena.bytes).toBe(bytes);
    expect(descriptor(f, [0])).toEqual([0, 0]);
    f.table.map(0x2000, 0x2000, 4096, RW);
    expect(descriptor(f, [0, 0, 0])[0]).toBe(pointer);
    f.table.release(f.gather.tables, f.gather.epoch);
    expect(f.arena.bytes).toBe(bytes);
    expect(f.table.translate(0x2000)?.physical).toBe(0x2000);
    f.gather.reset();
    f.table.unmap(0x2000, 4096, f.gather);
    f.table.release(f.gather.tables, f.gather.epoch);
    expect(f.arena.bytes).toBe(4096);
  });

  test('a block is not put where a table waits to be freed: walks may still know it', () => {
    const f = fixture(1, 4096);
    f.table.map(0x1000, 0x1000, 4096, RW);
    f.table.unmap(0x1000, 4096, f.gather);
    expect(f.table.map(0, 0, 2 * MIB, RW)).toBe(0);
    expect(f.table.translate(0)?.size).toBe(4096);
    f.table.release(f.gather.tables, f.gather.epoch);
    f.gather.reset();
    f.table.unmap(0, 2 * MIB, f.gather);
    f.table.release(f.gather.tables, f.gather.epoch);
    f.gather.reset();
    f.table.map(0, 0, 2 * MIB, RW);
    expect(f.table.translate(0)?.size).toBe(2 * MIB);
  });

  test('destroy gives everything back, emptied tables included', () => {
    const f = fixture(2, 65536);
    f.table.map(0, 0, 64 * KIB, RW);
    f.table.map(GIB, 0, 64 * KIB, RW);
    f.table.unmap(GIB, 64 * KIB, f.gather);
    f.table.destroy();
    f.table.release(f.gather.tables, f.gather.epoch);
    expect(f.arena.bytes).toBe(0);
  });
});

describe('protect', () => {
  test('splits the blocks at its edges and leaves the rest as it was', () => {
    const f = fixture(1, 4096);
    f.table.map(GIB, 2 * GIB, GIB, RW | DEVICE);
    expect(f.table.protect(GIB + 4096, 2 * MIB, READ | DEVICE, f.gather)).toBe(0);
    const probe = (iova: number) => f.table.translate(iova);
    expect(probe(GIB)).toEqual({ physical: 2 * GIB, protection: RW | DEVICE, size: 4096 });
    expect(probe(GIB + 4096)).toEqual({ physical: 2 * GIB + 4096, protection: READ | DEVICE, size: 4096 });
    expect(probe(GIB + 2 * MIB)).toEqual({ physical: 2 * GIB + 2 * MIB, protection: READ | DEVICE, size: 4096 });
    expect(probe(GIB + 2 * MIB + 4096)?.protection).toBe(RW | DEVICE);
    expect(probe(GIB + 4 * MIB)).toEqual({ physical: 2 * GIB + 4 * MIB, protection: RW | DEVICE, size: 2 * MIB });
    // The old block is to be forgotten at its own level, the pages at theirs.
    expect(ranges(f.gather)).toEqual([
      [GIB, GIB, GIB],
      [GIB, 4 * MIB, 2 * MIB],
      [GIB + 4096, 2 * MIB, 4096],
    ]);
  });

  test('gathers nothing where nothing changes, and passes over holes', () => {
    const f = fixture(2, 4096);
    f.table.map(0, 0, 2 * MIB, READ);
    expect(f.table.protect(0, 2 ** 40, READ, f.gather)).toBe(0);
    expect(f.gather.empty).toBe(true);
    expect(f.table.protect(0, 2 ** 40, RW, f.gather)).toBe(0);
    expect(ranges(f.gather)).toEqual([[0, 2 * MIB, 2 * MIB]]);
    expect(f.table.protect(1, 4096, READ, f.gather)).toBe(Errno.EINVAL);
  });
});

test('agrees with a map of pages over random operations, for every granule and stage', () => {
  let state = 12345;
  const random = (limit: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  for (const stage of [1, 2] as const) {
    for (const granule of [4096, 16384, 65536] as const) {
      const f = fixture(stage, granule, 40);
      const model = new Map<number, { physical: number; protection: number }>();
      const block = (f.table.pageSizes[1] ?? granule) / granule;
      for (let step = 0; step < 400; step++) {
        const size = (random(3) === 0 ? block : 1 + random(16)) * granule;
        const iova = random(2 * block) * granule;
        const pages = Array.from({ length: size / granule }, (_, page) => iova + page * granule);
        const protection = random(2) === 0 ? READ : RW;
        switch (random(3)) {
          case 0: {
            const physical = random(2) === 0 ? iova : random(1000) * granule;
            const free = pages.every((page) => !model.has(page));
            expect(f.table.map(iova, physical, size, protection)).toBe(free ? 0 : Errno.EEXIST);
            if (free) for (const page of pages) model.set(page, { physical: physical + page - iova, protection });
            break;
          }
          case 1: {
            const before = model.size;
            for (const page of pages) {
              const leaf = f.table.translate(page);
              if (leaf === null) continue;
              const start = Math.floor(page / leaf.size) * leaf.size;
              for (let at = start; at < start + leaf.size; at += granule) model.delete(at);
            }
            expect(f.table.unmap(iova, size, f.gather)).toBe((before - model.size) * granule);
            break;
          }
          default:
            expect(f.table.protect(iova, size, protection, f.gather)).toBe(0);
            for (const page of pages) {
              const mapped = model.get(page);
              if (mapped !== undefined) mapped.protection = protection;
            }
        }
        if (random(4) === 0) {
          f.table.release(f.gather.tables, f.gather.epoch);
          f.gather.reset();
        }
        for (let check = 0; check < 20; check++) {
          const page = random(3 * block) * granule;
          const found = f.table.translate(page);
          const expected = model.get(page) ?? null;
          expect(found === null ? null : { physical: found.physical, protection: found.protection }).toEqual(expected);
        }
      }
      f.table.destroy();
      f.table.release(f.gather.tables, f.gather.epoch);
      expect(f.arena.bytes).toBe(0);
    }
  }
});
