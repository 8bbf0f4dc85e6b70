/** The data structures of VFIO against plain models, over random programs. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hostFixture } from '../../test/support/host.ts';
import type { IommuDevice } from '../iommu/core.ts';
import { Bitmap } from './bitmap.ts';
import { DeviceSet } from './device-set.ts';
import { type Interval, IntervalTree } from './interval-tree.ts';
import { Mapping } from './mapping.ts';
import { type PremapPlan, premapAligned, premapNext, premapNone, premapStride } from './premap.ts';
import { Residency } from './residency.ts';

describe('bitmap', () => {
  const size = 200;
  const operation = fc.record({
    kind: fc.constantFrom('set', 'clear', 'setRange', 'clearRange'),
    a: fc.nat(size - 1),
    b: fc.nat(size - 1),
  });

  test('behaves as a set of numbers', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), fc.nat(size), fc.nat(size), (program, x, y) => {
        const bitmap = new Bitmap(size);
        const model = new Set<number>();
        for (const { kind, a, b } of program) {
          const [start, end] = [Math.min(a, b), Math.max(a, b)];
          if (kind === 'set') bitmap.set(a);
          else if (kind === 'clear') bitmap.clear(a);
          else if (kind === 'setRange') bitmap.setRange(start, end);
          else bitmap.clearRange(start, end);
          const [from, to] = kind === 'set' || kind === 'clear' ? [a, a + 1] : [start, end];
          for (let bit = from; bit < to; bit++) kind.startsWith('set') ? model.add(bit) : model.delete(bit);
        }
        const [from, to] = [Math.min(x, y), Math.max(x, y)];
        const inside = Array.from({ length: to - from }, (_, index) => from + index);
        expect(bitmap.count(from, to)).toBe(inside.filter((bit) => model.has(bit)).length);
        expect(bitmap.findNextSet(from, to)).toBe(inside.find((bit) => model.has(bit)) ?? to);
        expect(bitmap.findNextClear(from, to)).toBe(inside.find((bit) => !model.has(bit)) ?? to);
        const last = inside.findLast((bit) => model.has(bit));
        expect(bitmap.findClearRunStart(to, from)).toBe(last === undefined ? from : last + 1);
        const bytes = new Uint8Array(32);
        bitmap.copyTo(bytes, 3, from, to - from);
        for (const bit of inside)
          expect(((bytes[(bit - from + 3) >> 3] ?? 0) >> ((bit - from + 3) & 7)) & 1).toBe(model.has(bit) ? 1 : 0);
      }),
    );
  });

  test('four million bits are searched a word at a time', () => {
    const bitmap = new Bitmap(2 ** 22);
    bitmap.set(2 ** 22 - 1);
    expect(bitmap.findNextSet(0)).toBe(2 ** 22 - 1);
    bitmap.setRange(0, 2 ** 22);
    expect(bitmap.findNextClear(0)).toBe(2 ** 22);
    expect(bitmap.count()).toBe(2 ** 22);
  });
});

describe('interval tree', () => {
  const interval = fc.record({ start: fc.nat(100), length: fc.integer({ min: 1, max: 40 }) });

  test('finds what overlaps, the lowest first, whatever was inserted and removed', () => {
    fc.assert(
      fc.property(fc.array(interval, { maxLength: 60 }), fc.array(fc.nat(59)), interval, (items, removals, range) => {
        const tree = new IntervalTree<Interval>();
        const model: Interval[] = [];
        for (const [id, { start, length }] of items.entries()) {
          const item = { id, start, end: start + length };
          tree.insert(item);
          model.push(item);
        }
        for (const removal of removals) {
          const index = model.findIndex((item) => item.id === removal);
          const [item] = index < 0 ? [] : model.splice(index, 1);
          if (item !== undefined) tree.remove(item);
        }
        model.sort((a, b) => a.start - b.start || a.id - b.id);
        const end = range.start + range.length;
        const meets = model.filter((item) => item.start < end && item.end > range.start);
        const found: Interval[] = [];
        tree.collect(range.start, end, found);
        expect(found).toEqual(meets);
        expect(tree.first(range.start, end)).toEqual(meets[0] ?? null);
        expect(tree.all()).toEqual(model);
        expect(tree.size).toBe(model.length);
      }),
    );
  });

  test('stays shallow when filled in order', () => {
    const tree = new IntervalTree<Interval>();
    for (let id = 0; id < 65_535; id++) tree.insert({ id, start: id * 10, end: id * 10 + 5 });
    for (let id = 0; id < 65_535; id += 997) expect(tree.first(id * 10 + 4, id * 10 + 5)?.id).toBe(id);
    expect(tree.first(5, 10)).toBe(null);
  });
});

test('residency keeps the order of mapping through random additions, removals and renewals', () => {
  const { host, scheduler } = hostFixture();
  const space = host.createSpace({ name: 'p' });
  const options = { iova: 0, size: 64 * 4096, vaddr: 0, protection: 3, space, faultable: true };
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(1), fc.nat(63), fc.boolean()), { maxLength: 3000 }), (program) => {
      const residency = new Residency();
      const mappings = [0, 1].map((id) => new Mapping(scheduler, { ...options, id }));
      const model: string[] = [];
      let peak = 0;
      for (const [id, page, renews] of program) {
        const mapping = mappings[id];
        if (mapping === undefined) continue;
        const key = `${id}/${page}`;
        const at = model.indexOf(key);
        if (at < 0) {
          residency.add(mapping, page);
          model.push(key);
          peak = Math.max(peak, model.length);
        } else {
          model.splice(at, 1);
          if (renews) {
            residency.renew(mapping.faults?.residencySlots[page] ?? 0);
            model.push(key);
          } else {
            residency.remove(mapping, page);
          }
        }
      }
      const order: string[] = [];
      for (let slot = residency.oldest; slot !== 0; slot = residency.after(slot)) {
        order.push(`${residency.mappingAt(slot).id}/${residency.pageAt(slot)}`);
      }
      expect(order).toEqual(model);
      expect([residency.pages, residency.peakPages]).toEqual([model.length, peak]);
    }),
  );
});

describe('pre-map policies', () => {
  const device = { name: 'd', streamId: 1, stall: true, pri: true, ats: true, pasidBits: 0 };
  const other = { ...device, name: 'e' };
  const plan: PremapPlan = { first: 0, step: 1, count: 1 };
  const planned = (policy: ReturnType<typeof premapNext>, page: number, by = device) => {
    policy.plan(by, page, 1000, plan);
    return [plan.first, plan.step, plan.count];
  };

  test('none, next and aligned', () => {
    expect(planned(premapNone, 70)).toEqual([70, 1, 1]);
    expect(planned(premapNext(16), 70)).toEqual([70, 1, 16]);
    expect(planned(premapAligned(16), 70)).toEqual([64, 1, 16]);
  });

  test('stride predicts once two distances are equal, per device', () => {
    const policy = premapStride(4);
    expect(planned(policy, 10)).toEqual([10, 1, 1]);
    expect(planned(policy, 13)).toEqual([13, 1, 1]);
    expect(planned(policy, 16)).toEqual([16, 3, 4]);
    expect(planned(policy, 5, other)).toEqual([5, 1, 1]);
    // Four pages were mapped: the next fault comes four strides later, and predicts on.
    expect(planned(policy, 28)).toEqual([28, 3, 4]);
    expect(planned(policy, 100)).toEqual([100, 1, 1]);
  });
});

test('residency settles the oldest pages once each, but none that was renewed or removed meanwhile', () => {
  const { host, scheduler } = hostFixture();
  const space = host.createSpace({ name: 'p' });
  const options = { id: 1, iova: 0, size: 64 * 4096, vaddr: 0, protection: 3, space, faultable: true };
  const mapping = new Mapping(scheduler, options);
  const residency = new Residency();
  const met: number[] = [];
  const settle = (most: number, left: number) => {
    met.length = 0;
    residency.settle(most, left, (_mapping, page) => void met.push(page));
    return met;
  };
  for (let page = 0; page < 8; page++) residency.add(mapping, page);
  expect(settle(8, 0)).toEqual([]);
  residency.renew(mapping.faults?.residencySlots[1] ?? 0);
  residency.remove(mapping, 0);
  expect(residency.unsettledPages).toBe(6);
  expect(settle(5, 3)).toEqual([2, 3, 4]);
  residency.add(mapping, 9);
  residency.remove(mapping, 5);
  expect(settle(0, 0)).toEqual([6, 7, 9]);
  residency.add(mapping, 0);
  expect(settle(0, 0)).toEqual([0]);
  expect(residency.unsettledPages).toBe(0);
});

test('devices keep their numbers, and the next one takes the lowest that is free', () => {
  const device = (streamId: number): IommuDevice => ({
    name: `device ${streamId}`,
    streamId,
    stall: true,
    pri: false,
    ats: false,
    pasidBits: 0,
  });
  const [first, second, third, fourth] = [device(1), device(2), device(3), device(4)] as const;
  const devices = new DeviceSet();
  for (const each of [first, second, third, second]) devices.add(each);
  expect([first, second, third, fourth].map((each) => devices.numberOf(each))).toEqual([0, 1, 2, -1]);
  devices.delete(first);
  devices.delete(fourth);
  expect([devices.at(0), devices.at(1), devices.at(2), devices.at(3)]).toEqual([null, second, third, null]);
  expect([...devices]).toEqual([second, third]);
  devices.add(fourth);
  expect(devices.numberOf(fourth)).toBe(0);
  expect(devices.has(first)).toBe(false);
});
