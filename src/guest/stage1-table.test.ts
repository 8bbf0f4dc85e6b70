import { describe, expect, test } from 'vitest';
import { FakeVfio } from '../../test/support/fake-vfio.ts';
import { Clock } from '../sim/clock.ts';
import { Scheduler, type Steps } from '../sim/task.ts';
import { GuestMemory } from './guest-memory.ts';
import { Stage1Table } from './stage1-table.ts';

const BASE = 0x4000_0000;
const GiB = 2 ** 30;
const MiB = 2 ** 20;

function bench() {
  const clock = new Clock();
  const scheduler = new Scheduler({ clock });
  const process = new FakeVfio({ clock, memoryBytes: MiB });
  const run = <T>(steps: Steps<T>): T => {
    const task = scheduler.spawn('test', steps);
    scheduler.run();
    return task.result;
  };
  const hostAddress = run(process.mmap(MiB));
  const memory = new GuestMemory({ process, hostAddress, base: BASE, size: MiB });
  const table = new Stage1Table(memory, () => memory.allocate(4096, 'tables'));
  /** The two words of an entry: table pages are given out in turn from BASE. */
  const entry = (page: number, index: number): number[] => {
    const bytes = new Uint8Array(8);
    run(memory.read(BASE + page * 4096 + index * 8, bytes));
    const view = new DataView(bytes.buffer);
    return [view.getUint32(0, true), view.getUint32(4, true)];
  };
  return { run, memory, table, entry };
}

describe('descriptors as DDI 0487 §D8.3 draws them', () => {
  test('a page: two tables and a leaf', () => {
    const { run, table, entry } = bench();
    expect(table.rootAddress).toBe(BASE);
    // Indexes 257, 3, 5.
    run(table.map(257 * GiB + 3 * 2 * MiB + 5 * 4096, 0x1_2345_6000, 4096));
    expect(entry(0, 257)).toEqual([0x4000_1003, 0]);
    expect(entry(1, 3)).toEqual([0x4000_2003, 0]);
    // AF, inner shareable, AP[1], page.
    expect(entry(2, 5)).toEqual([0x2345_6743, 1]);
  });

  test('a read-only page has AP[2]', () => {
    const { run, table, entry } = bench();
    run(table.map(0, 0x8000_0000, 4096, false));
    expect(entry(2, 0)).toEqual([0x8000_07c3, 0]);
  });

  test('the largest blocks that fit, on both sides aligned', () => {
    const { run, table, entry, memory } = bench();
    run(table.map(GiB - 4096, 2 * GiB - 4096, GiB + 2 * MiB + 8192));
    expect(entry(0, 1)).toEqual([0x8000_0741, 0]);
    expect(entry(3, 0)).toEqual([0xc000_0741, 0]);
    expect(entry(4, 0)).toEqual([0xc020_0743, 0]);
    expect(memory.freeBytes).toBe(MiB - 5 * 4096);
    for (const at of [GiB - 4096, GiB, 2 * GiB - 1, 2 * GiB, 2 * GiB + 2 * MiB]) expect(table.isMapped(at)).toBe(true);
    for (const at of [GiB - 4097, 2 * GiB + 2 * MiB + 4096]) expect(table.isMapped(at)).toBe(false);
  });
});

test('a second mapping of a page is a mistake of the guest', () => {
  const { run, table } = bench();
  run(table.map(0x1000, 0x8000_0000, 4096));
  expect(() => run(table.map(0, 0x8000_0000, 2 * 4096))).toThrow(/nothing is mapped/);
});

test('a cleared table maps nothing', () => {
  const { run, table, entry } = bench();
  run(table.map(0, 0x8000_0000, GiB));
  run(table.clear());
  expect(table.isMapped(0)).toBe(false);
  expect(entry(0, 0)).toEqual([0, 0]);
});
