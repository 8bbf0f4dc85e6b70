import { expect, test } from 'vitest';
import { Invariants } from '../sim/invariants.ts';
import { DirtyCheck } from './dirty-check.ts';

const BASE = 0x4000_0000;
const FIRST = BASE / 4096;
/** Where the device's addresses of a nested guest begin. */
const SHIFT = 0x40_0000_0000 - BASE;
const MISSING = /round \d: guest memory at 0x400\w+ was written and is not reported/;
const EXCESS = /round \d: guest memory at 0x400\w+ is reported and was not written/;

function check(options: { pageBytes?: number; failed?: number; nested?: boolean; unwatched?: number[] } = {}) {
  const { pageBytes = 4096, failed = 0, nested = false, unwatched = [] } = options;
  const invariants = new Invariants();
  let pages = new Set<number>();
  const checker = new DirtyCheck({
    invariants,
    base: BASE,
    writes: {
      take() {
        const taken = pages;
        pages = new Set();
        return taken;
      },
      failed,
    },
    guestAddress: (address) => (nested ? address - SHIFT : address),
    watched: (address) => !unwatched.includes((address - BASE) / pageBytes),
  });
  const write = (...list: number[]): void => {
    for (const page of list) pages.add(FIRST + page + (nested ? SHIFT / 4096 : 0));
  };
  /** One reading of the log: what is written while it is under way, and the bits that it reports. */
  function round(during: number[], reported: number[], atRest = false): void {
    const bits = new Uint8Array(8);
    for (const bit of reported) bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (1 << (bit & 7));
    checker.asking();
    write(...during);
    checker.answered();
    checker.reported(bits, pageBytes, atRest);
  }
  return { invariants, checker, write, round };
}

test('what was written before the question must be in the answer', () => {
  const { write, round, invariants } = check();
  write(3, 9);
  round([], [3, 9, 10]);
  write(4);
  expect(() => round([], [3])).toThrow(MISSING);
  expect(invariants.counts).toEqual({ checked: 2, violated: 1 });
});

test('what was written meanwhile is in this answer or in the next', () => {
  const { round } = check();
  round([5, 6], [5]);
  round([], [6]);
  const late = check();
  late.round([5, 6], [5]);
  expect(() => late.round([], [5])).toThrow(MISSING);
});

test('at rest, nothing else may be in the answer', () => {
  const { write, round } = check();
  write(3);
  round([], [3, 4]);
  write(7);
  round([], [7], true);
  const excess = check();
  excess.write(7);
  expect(() => excess.round([], [6, 7], true)).toThrow(EXCESS);
});

test('what was reported while it was written may be reported once more', () => {
  const { round } = check();
  round([5], [5]);
  round([], [5], true);
  const twice = check();
  twice.round([5], [5]);
  twice.round([], [5]);
  expect(() => twice.round([], [5], true)).toThrow(EXCESS);
});

test('what was written before the log began may be there or not', () => {
  for (const reported of [[], [2]]) {
    const { write, checker, round } = check();
    write(2);
    checker.started();
    round([], reported, true);
  }
});

test('pages of the host hold several of the device', () => {
  const { write, round } = check({ pageBytes: 65_536 });
  write(16, 31, 47);
  round([], [1, 2], true);
  const missing = check({ pageBytes: 65_536 });
  missing.write(48);
  expect(() => missing.round([], [2])).toThrow('guest memory at 0x40030000 was written');
});

test("the addresses of a guest's own stage are taken back to its memory", () => {
  const { write, round } = check({ nested: true });
  write(12);
  round([], [12], true);
});

test('what cannot be watched is always reported, and must still be when it was written', () => {
  const { write, round } = check({ unwatched: [1, 2] });
  round([], [1, 2], true);
  write(1);
  expect(() => round([], [2], true)).toThrow(MISSING);
  expect(() => check({ unwatched: [1] }).round([], [1, 3], true)).toThrow(EXCESS);
});

test('where accesses failed, what was granted to them may be reported', () => {
  const { write, round } = check({ failed: 1 });
  round([], [5], true);
  write(6);
  expect(() => round([], [5], true)).toThrow(MISSING);
});
