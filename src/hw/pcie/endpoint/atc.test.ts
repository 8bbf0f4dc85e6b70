import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_PASID, type TranslationCompletion } from '../tlp.ts';
import { flagsOf, Permission, TranslationCache, UNTRANSLATED_ONLY } from './atc.ts';

function answer(page: number, changes: Partial<TranslationCompletion> = {}): TranslationCompletion {
  return {
    status: 0,
    page,
    pages: 1,
    read: true,
    write: true,
    execute: false,
    privileged: false,
    global: false,
    untranslatedOnly: false,
    ...changes,
  };
}

/** What `page` translates to, or null. */
function found(cache: TranslationCache, pasid: number, page: number): number | null {
  const entry = cache.lookup(pasid, page);
  return entry < 0 ? null : cache.translate(entry, page);
}

test('translations are kept by PASID and page', () => {
  const cache = new TranslationCache({ capacity: 8 });
  cache.insert(NO_PASID, 5, answer(100));
  cache.insert(1, 5, answer(101));
  cache.insert(2, 5, answer(102));
  expect([NO_PASID, 1, 2, 3].map((pasid) => found(cache, pasid, 5))).toEqual([100, 101, 102, null]);
  expect(found(cache, 1, 6)).toBe(null);
});

test('pages that differ only above bit 31 are different pages', () => {
  const cache = new TranslationCache({ capacity: 8 });
  cache.insert(NO_PASID, 5, answer(100));
  cache.insert(NO_PASID, 5 + 2 ** 32, answer(200));
  cache.insert(NO_PASID, 5 + 2 ** 51, answer(2 ** 40 - 1));
  expect([5, 5 + 2 ** 32, 5 + 2 ** 51, 5 + 2 ** 33].map((page) => found(cache, NO_PASID, page))).toEqual([
    100,
    200,
    2 ** 40 - 1,
    null,
  ]);
});

test('one entry translates an aligned block, whatever page of it was asked for and answered', () => {
  const cache = new TranslationCache({ capacity: 8 });
  cache.insert(NO_PASID, 0x2_03, answer(0x1_234_05, { pages: 512 }));
  expect(cache.size).toBe(1);
  expect(found(cache, NO_PASID, 0x200)).toBe(0x1_234_00);
  expect(found(cache, NO_PASID, 0x3ff)).toBe(0x1_235_ff);
  expect(found(cache, NO_PASID, 0x1ff)).toBe(null);
  expect(found(cache, NO_PASID, 0x400)).toBe(null);
});

test('flags are what the completion granted', () => {
  expect(flagsOf(answer(0, { write: false }))).toBe(Permission.READ);
  expect(flagsOf(answer(0, { read: false, execute: true, privileged: true }))).toBe(14);
  const cache = new TranslationCache({ capacity: 1 });
  cache.insert(NO_PASID, 1, answer(9, { write: false, untranslatedOnly: true }));
  expect(cache.flags(cache.lookup(NO_PASID, 1))).toBe(Permission.READ | UNTRANSLATED_ONLY);
});

test('a better translation replaces the one it overlaps', () => {
  const cache = new TranslationCache({ capacity: 8 });
  cache.insert(NO_PASID, 1, answer(9, { write: false }));
  cache.insert(NO_PASID, 1, answer(9));
  expect(cache.size).toBe(1);
  expect(cache.flags(cache.lookup(NO_PASID, 1))).toBe(Permission.READ | Permission.WRITE);
  cache.insert(NO_PASID, 0, answer(1024, { pages: 16 }));
  expect(cache.size).toBe(1);
  expect(found(cache, NO_PASID, 1)).toBe(1025);
});

describe('replacement', () => {
  const use = (cache: TranslationCache) => {
    for (const page of [1, 2, 3]) cache.insert(NO_PASID, page, answer(page + 100));
    cache.lookup(NO_PASID, 1);
    cache.insert(NO_PASID, 4, answer(104));
    return [1, 2, 3, 4].filter((page) => found(cache, NO_PASID, page) !== null);
  };
  test('LRU keeps what was used last', () => {
    expect(use(new TranslationCache({ capacity: 3 }))).toEqual([1, 3, 4]);
  });
  test('FIFO keeps what was filled last', () => {
    expect(use(new TranslationCache({ capacity: 3, replacement: 'fifo' }))).toEqual([2, 3, 4]);
  });
  test('a cache of nothing keeps nothing', () => {
    const cache = new TranslationCache({ capacity: 0 });
    cache.insert(NO_PASID, 1, answer(2));
    expect(cache.lookup(NO_PASID, 1)).toBe(-1);
    cache.invalidate(0, Number.POSITIVE_INFINITY, NO_PASID, false);
  });
  test.each([-1, 1.5, 2 ** 21])('a capacity of %d is refused', (capacity) => {
    expect(() => new TranslationCache({ capacity })).toThrow();
  });
});

describe('invalidation', () => {
  const filled = () => {
    const cache = new TranslationCache({ capacity: 64 });
    for (let page = 0; page < 8; page++) for (const pasid of [NO_PASID, 1, 2]) cache.insert(pasid, page, answer(page));
    return cache;
  };
  const left = (cache: TranslationCache, pasid: number) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((page) => found(cache, pasid, page) !== null);

  test('takes the range of one PASID only', () => {
    const cache = filled();
    cache.invalidate(2, 2, 1, false);
    expect(left(cache, 1)).toEqual([0, 1, 4, 5, 6, 7]);
    expect(left(cache, 2)).toHaveLength(8);
    expect(left(cache, NO_PASID)).toHaveLength(8);
  });
  test('without a PASID takes only what has none', () => {
    const cache = filled();
    cache.invalidate(0, Number.POSITIVE_INFINITY, NO_PASID, false);
    expect([left(cache, NO_PASID).length, left(cache, 1).length]).toEqual([0, 8]);
  });
  test('global takes every PASID', () => {
    const cache = filled();
    cache.invalidate(4, 4, 1, true);
    expect(left(cache, 1)).toEqual([0, 1, 2, 3]);
    expect(left(cache, 2)).toEqual([0, 1, 2, 3]);
    expect(left(cache, NO_PASID)).toHaveLength(8);
  });
  test('one page takes the block that holds it', () => {
    const cache = filled();
    cache.insert(1, 512, answer(0, { pages: 512 }));
    cache.invalidate(700, 1, 1, false);
    expect(found(cache, 1, 512)).toBe(null);
    expect(left(cache, 1)).toHaveLength(8);
  });
  test('a global translation serves every PASID, and goes with any of them', () => {
    const cache = filled();
    cache.insert(1, 100, answer(55, { global: true }));
    expect(found(cache, 2, 100)).toBe(55);
    expect(found(cache, NO_PASID, 100)).toBe(null);
    cache.invalidate(100, 1, 2, false);
    expect(found(cache, 1, 100)).toBe(null);
  });
});

test('behaves as a list of translations would, whatever is done', () => {
  interface Kept {
    pasid: number;
    from: number;
    pages: number;
    to: number;
  }
  const page = fc.integer({ min: 0, max: 63 });
  const pasid = fc.constantFrom(NO_PASID, 0, 1, 0xf_ffff);
  const pages = fc.constantFrom(1, 1, 2, 8, 32);
  const step = fc.oneof(
    fc.record({ kind: fc.constant('insert' as const), pasid, page, pages }),
    fc.record({ kind: fc.constant('invalidate' as const), pasid, page, pages, global: fc.boolean() }),
    fc.record({ kind: fc.constant('clear' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const cache = new TranslationCache({ capacity: 1024 });
      let kept: Kept[] = [];
      let next = 1024;
      const meets = (entry: Kept, from: number, count: number) =>
        entry.from < from + count && from < entry.from + entry.pages;
      for (const s of steps) {
        if (s.kind === 'clear') {
          cache.clear();
          kept = [];
        } else if (s.kind === 'insert') {
          const from = s.page - (s.page % s.pages);
          next += 64;
          cache.insert(s.pasid, s.page, answer(next, { pages: s.pages }));
          kept = kept.filter((entry) => entry.pasid !== s.pasid || !meets(entry, from, s.pages));
          kept.push({ pasid: s.pasid, from, pages: s.pages, to: next });
        } else {
          const from = s.page - (s.page % s.pages);
          cache.invalidate(from, s.pages, s.pasid, s.global);
          kept = kept.filter(
            (entry) => !meets(entry, from, s.pages) || (s.global ? entry.pasid === NO_PASID : entry.pasid !== s.pasid),
          );
        }
        expect(cache.size).toBe(kept.length);
        for (const id of [NO_PASID, 0, 1, 0xf_ffff]) {
          for (let at = 0; at < 96; at++) {
            const entry = kept.find((other) => other.pasid === id && meets(other, at, 1));
            expect(found(cache, id, at)).toBe(entry === undefined ? null : entry.to + at - entry.from);
          }
        }
      }
    }),
    { numRuns: 50 },
  );
});
