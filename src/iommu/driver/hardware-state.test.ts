import { describe, expect, test } from 'vitest';
import { Errno } from '../../errno.ts';
import { Memory } from '../../hw/memory.ts';
import { Protection } from '../core.ts';
import { geometry } from './descriptors.ts';
import { DomainGather } from './gather.ts';
import { AccessState, DirtyState } from './hardware-state.ts';
import { PageTable } from './page-table.ts';
import type { Granule } from './probe.ts';
import { TableArena, type TableMemory } from './table-memory.ts';

const RAM = 0x4000_0000;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const RW = Protection.READ | Protection.WRITE;
const { READ, WRITE, EXECUTE } = Protection;

function fixture(stage: 1 | 2 = 1, granule: Granule = 4096) {
  const memory = new Memory(RAM, 512 * MIB);
  const budget = { left: Number.POSITIVE_INFINITY };
  let next = RAM;
  const source: TableMemory = {
    allocate: (bytes, alignment) => {
      if (budget.left-- <= 0) return -1;
      next = Math.ceil(next / alignment) * alignment + bytes;
      return next - bytes;
    },
    free: () => {},
  };
  const table = new PageTable(geometry(stage, granule, 48, true), new TableArena(memory, source), 48, true);
  let epoch = 0;
  const written: [iova: number, size: number][] = [];
  const gather = new DomainGather(() => ++epoch);
  const dirty = new DirtyState(table.tree);
  return {
    memory,
    table,
    budget,
    gather,
    dirty,
    access: new AccessState(table.tree),
    written,
    sink: { noteWritten: (iova: number, size: number) => void written.push([iova, size]) },
    /** Address of the leaf that holds `iova`. */
    leafAt(iova: number): number {
      const found = table.tree.deepest(iova);
      return found.physical + table.tree.indexOf(found.level, iova) * 8;
    },
    leaf(iova: number): [low: number, high: number] {
      const at = this.leafAt(iova);
      return [memory.read32(at), memory.read32(at + 4)];
    },
    /** What the SMMU does to a writable-clean leaf that is written (IHI 0070 §3.13.3). */
    write(iova: number): void {
      const at = this.leafAt(iova);
      expect(memory.read32(at + 4) & (1 << 19), 'DBM').not.toBe(0);
      const low = memory.read32(at);
      memory.write32(at, stage === 1 ? low & ~(1 << 7) : low | (1 << 7));
    },
    track(): void {
      expect(dirty.enable(gather)).toBe(0);
      gather.reset();
    },
  };
}

describe('leaves with DBM [51], as DDI 0487 §D8.5.2 has it and Linux io-pgtable-arm.c writes it', () => {
  test.each<[string, 1 | 2, number, number, number]>([
    // AF, nG, SH inner, AP[1], AttrIndx 1; AP[2] where read-only or clean; PXN, UXN, DBM.
    ['stage 1 read-write', 1, RW, 0x4001_2f47, 0x0068_0000],
    ['stage 1 read-only', 1, READ, 0x4001_2fc7, 0x0060_0000],
    ['stage 1 executable', 1, RW | EXECUTE, 0x4001_2f47, 0x0008_0000],
    ['stage 2 read-write', 2, RW, 0x4001_27ff, 0x0048_0000],
    ['stage 2 read-only', 2, READ, 0x4001_277f, 0x0040_0000],
    ['stage 2 write-only', 2, WRITE, 0x4001_27bf, 0x0048_0000],
  ])('%s begins dirty while nothing is tracked', (_, stage, protection, low, high) => {
    const f = fixture(stage);
    f.table.map(0x7000, 0x4001_2000, 4096, protection);
    expect(f.leaf(0x7000)).toEqual([low, high]);
  });

  test.each<[string, 1 | 2, number, number, number]>([
    ['stage 1 read-write', 1, RW, 0x4001_2fc7, 0x0068_0000],
    ['stage 1 read-only', 1, READ, 0x4001_2fc7, 0x0060_0000],
    ['stage 2 read-write', 2, RW, 0x4001_277f, 0x0048_0000],
    ['stage 2 write-only', 2, WRITE, 0x4001_273f, 0x0048_0000],
  ])('%s begins clean while tracking, and is what it was', (_, stage, protection, low, high) => {
    const f = fixture(stage);
    f.track();
    f.table.map(0x7000, 0x4001_2000, 4096, protection);
    expect(f.leaf(0x7000)).toEqual([low, high]);
    const read = stage === 1 ? READ : 0;
    expect(f.table.translate(0x7000)?.protection).toBe(protection | read);
  });

  test('without the feature no leaf has DBM', () => {
    const f = fixture();
    const plain = new PageTable(f.table.shape, f.table.tree.arena, 48);
    plain.map(0, 0x4001_2000, 4096, RW);
    const found = plain.tree.deepest(0);
    expect(f.memory.read32(found.physical + 4)).toBe(0x0060_0000);
  });
});

describe.each([
  [1, 4096],
  [1, 16384],
  [1, 65536],
  [2, 4096],
  [2, 16384],
  [2, 65536],
] as const)('dirty state, stage %i, %i bytes', (stage, granule) => {
  const P = granule;

  test('turning it on makes all clean; what is written after that is told once, and has to be forgotten', () => {
    const f = fixture(stage, granule);
    f.table.map(4 * P, GIB, 8 * P, RW);
    f.table.map(20 * P, 2 * GIB, 2 * P, READ);
    expect(f.dirty.enabled).toBe(false);
    expect(f.dirty.readAndClear(4 * P, P, f.sink, f.gather)).toBe(Errno.EINVAL);
    expect(f.dirty.enable(f.gather)).toBe(0);
    expect([f.dirty.enabled, f.gather.empty, f.gather.everything]).toEqual([true, false, true]);
    f.gather.reset();
    expect(f.dirty.readAndClear(0, 64 * P, f.sink, f.gather)).toBe(0);
    expect([f.written, f.gather.empty]).toEqual([[], true]);
    f.write(5 * P);
    f.write(6 * P);
    f.write(11 * P);
    expect(f.dirty.readAndClear(0, 11 * P, f.sink, f.gather)).toBe(0);
    expect(f.written).toEqual([
      [5 * P, P],
      [6 * P, P],
    ]);
    expect([f.gather.count, f.gather.starts[0], f.gather.sizes[0], f.gather.leafSizes[0]]).toEqual([
      1,
      5 * P,
      2 * P,
      P,
    ]);
    f.written.length = 0;
    f.dirty.readAndClear(0, 64 * P, f.sink, f.gather);
    expect(f.written).toEqual([[11 * P, P]]);
    expect(f.dirty.readAndClear(P / 2, P, f.sink, f.gather)).toBe(Errno.EINVAL);
  });

  test('unmapping tells what goes dirty', () => {
    const f = fixture(stage, granule);
    f.track();
    f.table.map(0, GIB, 8 * P, RW);
    f.write(2 * P);
    f.write(7 * P);
    expect(f.table.unmap(0, 4 * P, f.gather, f.sink)).toBe(4 * P);
    expect(f.written).toEqual([[2 * P, P]]);
    expect(f.table.unmap(4 * P, 4 * P, f.gather)).toBe(4 * P);
    expect(f.written).toHaveLength(1);
  });

  test('a change of permissions keeps the state of what could be written and still can', () => {
    const f = fixture(stage, granule);
    f.track();
    f.table.map(0, GIB, 3 * P, RW);
    f.table.map(3 * P, 2 * GIB, P, READ);
    f.write(P);
    f.write(2 * P);
    f.table.protect(2 * P, P, READ, f.gather);
    f.table.protect(0, 4 * P, RW, f.gather);
    f.dirty.readAndClear(0, 4 * P, f.sink, f.gather);
    expect(f.written).toEqual([[P, P]]);
    f.write(3 * P);
    f.dirty.readAndClear(0, 4 * P, f.sink, f.gather);
    expect(f.written).toEqual([
      [P, P],
      [3 * P, P],
    ]);
  });

  test('blocks are split before it begins and not made while it is on; without memory it stays off', () => {
    const f = fixture(stage, granule);
    const block = f.table.pageSizes[1] ?? 0;
    f.table.map(0, 0, 2 * block, RW);
    f.table.map(4 * block, 0, block, READ);
    f.budget.left = 2;
    expect(f.dirty.enable(f.gather)).toBe(Errno.ENOMEM);
    expect([f.dirty.enabled, f.gather.everything]).toEqual([false, true]);
    expect(f.table.translate(block + 5 * P)).toMatchObject({ physical: block + 5 * P, protection: RW });
    f.budget.left = Number.POSITIVE_INFINITY;
    f.track();
    for (const iova of [0, block, 4 * block]) expect(f.table.translate(iova)?.size).toBe(P);
    f.table.map(8 * block, 0, block, RW);
    expect(f.table.translate(8 * block)?.size).toBe(P);
    f.write(8 * block + 3 * P);
    f.dirty.readAndClear(0, 16 * block, f.sink, f.gather);
    expect(f.written).toEqual([[8 * block + 3 * P, P]]);
    f.dirty.disable();
    f.table.map(12 * block, 0, block, RW);
    expect(f.table.translate(12 * block)?.size).toBe(block);
    expect(f.leaf(12 * block)[0] & (1 << 7)).toBe(stage === 1 ? 0 : 1 << 7);
  });

  test('turning it on again starts over, blocks of the time between included', () => {
    const f = fixture(stage, granule);
    const block = f.table.pageSizes[1] ?? 0;
    f.track();
    f.table.map(0, 0, P, RW);
    f.write(0);
    f.dirty.disable();
    f.table.map(block, 0, block, RW);
    f.track();
    f.dirty.readAndClear(0, 4 * block, f.sink, f.gather);
    expect(f.written).toEqual([]);
  });
});

describe('access state', () => {
  test('is of leaves: pages and blocks; what is mapped begins accessed', () => {
    const f = fixture();
    f.table.map(0x5000, GIB, 4096, RW);
    f.table.map(2 * MIB, GIB, 2 * MIB, READ);
    expect(f.access.testAndClear(0x5000, f.gather)).toBe(4096);
    expect(f.leaf(0x5000)[0] & (1 << 10)).toBe(0);
    expect(f.access.testAndClear(0x5000, f.gather)).toBe(0);
    expect(f.access.testAndClear(3 * MIB, f.gather)).toBe(2 * MIB);
    expect(f.access.testAndClear(2 * MIB, f.gather)).toBe(0);
    expect(Array.from({ length: f.gather.count }, (_, i) => [f.gather.starts[i], f.gather.leafSizes[i]])).toEqual([
      [0x5000, 4096],
      [2 * MIB, 2 * MIB],
    ]);
    expect(f.table.translate(0x5000)).toEqual({ physical: GIB, protection: RW, size: 4096 });
  });

  test('there is none where nothing is mapped', () => {
    const f = fixture();
    f.table.map(0x5000, GIB, 4096, RW);
    for (const iova of [0, 0x6000, 2 ** 47, 2 ** 50, -4096]) expect(f.access.testAndClear(iova, f.gather)).toBe(0);
    expect(f.gather.empty).toBe(true);
  });
});
