/** Updates of configuration structures as IHI 0070 §3.21.3 wants them: what the SMMU may read in between is harmless. */
import { describe, expect, test } from 'vitest';
import { Memory } from '../../hw/memory.ts';
import { stepTowards, UpdateStep } from './entry-update.ts';

const RAM = 0x4000_0000;
const VALID = 1;
const LIVE = 0b1000;
const inert = (first: number): boolean => (first & VALID) === 0 || (first & LIVE) === 0;

function entry(words: readonly number[]): DataView {
  const view = new DataView(new ArrayBuffer(64));
  for (const [index, word] of words.entries()) view.setUint32(index * 8, word, true);
  return view;
}

/** The states that the entry goes through: the low halves of its first four words. */
function states(memory: Memory, wanted: DataView): number[][] {
  const seen: number[][] = [];
  while (stepTowards(memory, RAM, wanted, inert, VALID) !== UpdateStep.DONE) {
    seen.push([0, 1, 2, 3].map((word) => memory.read32(RAM + word * 8)));
    expect(seen.length).toBeLessThan(5);
  }
  return seen;
}

function start(words: readonly number[]): Memory {
  const memory = new Memory(RAM, 0x1_0000);
  for (const [index, word] of words.entries()) memory.write32(RAM + index * 8, word);
  return memory;
}

describe('an entry', () => {
  test('that means nothing yet is filled before its first word', () => {
    expect(states(start([1]), entry([9, 2, 3]))).toEqual([
      [1, 2, 3, 0],
      [9, 2, 3, 0],
    ]);
  });

  test('of which one word changes is changed at once', () => {
    expect(states(start([9, 2, 3]), entry([9, 2, 7]))).toEqual([[9, 2, 7, 0]]);
    expect(states(start([9, 2, 3]), entry([0x19, 2, 3]))).toEqual([[0x19, 2, 3, 0]]);
  });

  test('of which more changes goes through a state that aborts', () => {
    expect(states(start([9, 2, 3]), entry([9, 4, 5]))).toEqual([
      [1, 2, 3, 0],
      [1, 4, 5, 0],
      [9, 4, 5, 0],
    ]);
  });

  test('that is to mean nothing does so first', () => {
    expect(states(start([9, 2, 3]), entry([1]))).toEqual([
      [1, 2, 3, 0],
      [1, 0, 0, 0],
    ]);
  });

  test('that is as wanted is left alone', () => {
    expect(states(start([9, 2, 3]), entry([9, 2, 3]))).toEqual([]);
  });
});
