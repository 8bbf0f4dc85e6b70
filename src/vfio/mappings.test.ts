import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hostFixture, PAGE } from '../../test/support/host.ts';
import { Mapping } from './mapping.ts';
import { Mappings } from './mappings.ts';

const { host, scheduler } = hostFixture();
const space = host.createSpace({ name: 'test' });

function mapping(id: number, page: number, pages: number): Mapping {
  const range = { iova: page * PAGE, size: pages * PAGE, vaddr: page * PAGE };
  return new Mapping(scheduler, { id, ...range, protection: 3, space, faultable: false });
}

test('thousands of mappings, put in and taken out in any order, against a list', () => {
  const orders = fc.array(fc.nat(), { minLength: 2500, maxLength: 2500 });
  fc.assert(
    fc.property(orders, fc.integer({ min: 1, max: 3 }), (keys, pages) => {
      const mappings = new Mappings();
      // Slots of four pages: neighbours may touch or not.
      const slots = keys.map((key, index) => ({ key, index })).sort((a, b) => a.key - b.key || a.index - b.index);
      const made = slots.map(({ index }) => mapping(index, 4 * index, 1 + (index % (pages + 1))));
      for (const each of made) mappings.insert(each);
      const kept = made.filter(({ id }) => id % 3 === 1);
      for (const each of made) if (each.id % 3 !== 1) mappings.remove(each);
      kept.sort((a, b) => a.start - b.start);
      expect(mappings.count).toBe(kept.length);
      expect(mappings.all().map(({ id }) => id)).toEqual(kept.map(({ id }) => id));
      for (let page = 0; page < 4 * 2500; page += 7) {
        const expected = kept.find(({ start, end }) => start <= page * PAGE && end > page * PAGE) ?? null;
        expect(mappings.at(page * PAGE)).toBe(expected);
      }
      for (const [from, to] of [
        [0, 40_000],
        [1500, 1501],
        [3, 4],
        [2000, 6000],
        [20_000, 30_000],
      ] as const) {
        const expected = kept.filter(({ start, end }) => start < to * PAGE && end > from * PAGE);
        expect(mappings.within(from * PAGE, to * PAGE)).toEqual(expected);
        expect(mappings.first(from * PAGE, to * PAGE)).toBe(expected[0] ?? null);
      }
      for (const each of kept) mappings.remove(each);
      expect([mappings.count, mappings.at(0), mappings.first(0, Number.POSITIVE_INFINITY)]).toEqual([0, null, null]);
    }),
    { numRuns: 6, seed: 20210409 },
  );
});

test('what overlaps is refused, and so is taking out what is not there', () => {
  const mappings = new Mappings();
  const first = mapping(1, 4, 4);
  mappings.insert(first);
  expect(() => mappings.insert(mapping(2, 7, 1))).toThrow(/overlap/);
  expect(() => mappings.insert(mapping(3, 0, 20))).toThrow(/overlap/);
  expect(() => mappings.remove(mapping(4, 4, 4))).toThrow(/is there/);
  mappings.insert(mapping(5, 0, 4));
  mappings.insert(mapping(6, 8, 1));
  expect(mappings.all().map(({ id }) => id)).toEqual([5, 1, 6]);
});
