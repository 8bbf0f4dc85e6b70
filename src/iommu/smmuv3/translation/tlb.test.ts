/** The TLB against a plain model: what was entered and not removed is found, until capacity forces it out. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Tlb, TlbKey } from './tlb.ts';

const { VALID, GLOBAL, UPPER } = TlbKey;
const KEYS = [VALID, VALID | GLOBAL, VALID | UPPER, VALID | 0xff] as const;
const PAGES = [0, 4, 9, 30] as const;

type Step = readonly [kind: number, low: number, key: number, tag: number, pages: number];
const step = fc.tuple(fc.nat(9), fc.nat(63), fc.nat(KEYS.length - 1), fc.nat(2), fc.nat(PAGES.length - 1));

const baseOf = (low: number, pages: number) => (low >>> pages) << pages;
const nameOf = (low: number, key: number, tag: number, pages: number) => `${baseOf(low, pages)} ${key} ${tag} ${pages}`;

function check(capacity: number, steps: readonly Step[]): void {
  const tlb = new Tlb(capacity);
  const model = new Map<string, number>();
  let serial = 0;
  for (const [kind, raw, keyIndex, tag, pagesIndex] of steps) {
    const key = KEYS[keyIndex] ?? VALID;
    const pages = PAGES[pagesIndex] ?? 0;
    // Spread pages so that every size has several ranges, with the sign bit among them.
    const low = Math.imul(raw, 0x0400_0040) | 0;
    const name = nameOf(low, key, tag, pages);
    const at = tlb.find(low, key, tag, 1 << pages);
    if (model.size <= capacity) expect(at >= 0 ? tlb.outputLow(at) >>> pages : undefined).toBe(model.get(name));
    if (kind === 0) {
      tlb.clear();
      model.clear();
    } else if (kind === 1) {
      tlb.removeMatching(VALID | GLOBAL, VALID, 0, 0);
      for (const present of model.keys()) if ((Number(present.split(' ')[1]) & GLOBAL) === 0) model.delete(present);
    } else if (kind < 4) {
      if (at >= 0) tlb.remove(at);
      model.delete(name);
    } else if (at < 0) {
      serial += 1;
      tlb.insert(low, key, tag, pages, serial << pages, serial, 0, 0);
      model.set(name, (serial << pages) >>> pages);
      if (model.size > capacity) return;
    }
    expect(tlb.size).toBe(model.size);
    expect(tlb.globals).toBe(
      [...model.keys()].filter((present) => (Number(present.split(' ')[1]) & GLOBAL) !== 0).length,
    );
    let found = 0;
    for (let each = tlb.next(-1); each >= 0; each = tlb.next(each)) found += 1;
    expect(found).toBe(model.size);
    const sizes = [...model.keys()].reduce((all, present) => all | (1 << Number(present.split(' ')[3])), 0);
    expect(tlb.sizes).toBe(sizes);
  }
}

describe('against a model', () => {
  test('random insertions, look-ups and removals', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => check(256, steps)),
      { numRuns: 200, seed: 1 },
    );
  });

  test('random programs on a full TLB keep their counts', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 60, maxLength: 200 }), (steps) => {
        const tlb = new Tlb(16);
        let serial = 0;
        for (const [kind, raw, keyIndex, tag, pagesIndex] of steps) {
          const key = KEYS[keyIndex] ?? VALID;
          const pages = PAGES[pagesIndex] ?? 0;
          const low = Math.imul(raw, 0x0400_0040) | 0;
          const at = tlb.find(low, key, tag, 1 << pages);
          if (kind === 0 && at >= 0) tlb.remove(at);
          else if (at < 0) {
            serial += 1;
            tlb.insert(low, key, tag, pages, 0, serial, 0, 0);
            expect(tlb.grant(tlb.find(low, key, tag, 1 << pages))).toBe(serial);
          }
          let found = 0;
          for (let each = tlb.next(-1); each >= 0; each = tlb.next(each)) found += 1;
          expect(found).toBe(tlb.size);
          expect(tlb.size).toBeLessThanOrEqual(16);
        }
      }),
      { numRuns: 100, seed: 2 },
    );
  });
});

test('when it is full, entries make room in turn', () => {
  const tlb = new Tlb(16);
  for (let page = 0; page < 20; page++) tlb.insert(page, VALID, 0, 0, page, page, 0, 0);
  const left = Array.from({ length: 20 }, (_, page) => page).filter((page) => tlb.find(page, VALID, 0, 1) >= 0);
  expect(left).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
});

test('smaller sizes are found first', () => {
  const tlb = new Tlb(16);
  tlb.insert(5, VALID, 0, 9, 0, 1, 0, 0);
  tlb.insert(5, VALID, 0, 0, 0, 2, 0, 0);
  expect(tlb.grant(tlb.find(5, VALID, 0, tlb.sizes))).toBe(2);
  expect(tlb.grant(tlb.find(6, VALID, 0, tlb.sizes))).toBe(1);
  expect(tlb.isAmbiguous(tlb.find(5, VALID, 0, tlb.sizes), 5, VALID, 0, tlb.sizes)).toBe(true);
  expect(tlb.isAmbiguous(tlb.find(6, VALID, 0, tlb.sizes), 6, VALID, 0, tlb.sizes)).toBe(false);
});

test.each([0, 8, 48, 2 ** 21])('a capacity of %i is refused', (capacity) => {
  expect(() => new Tlb(capacity)).toThrow('power of two');
});
