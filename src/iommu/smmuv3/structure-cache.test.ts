/** A cache of any history says of a slot what its structure alone says. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Field } from '../../layout/field.ts';
import { encode, type Values } from '../../layout/struct.ts';
import { CD } from '../spec/cd.layout.ts';
import { STE } from '../spec/ste.layout.ts';
import { type ContextDescriptor, contextCache, contextCircumstances } from './cd.ts';
import { Control } from './control.ts';
import { type FeatureOptions, type Features, featuresOf } from './features.ts';
import { type StreamConfiguration, streamCache, streamCircumstances } from './ste.ts';
import { StructureCache } from './structure-cache.ts';
import type { Stage2, TableRegion, TranslationContext } from './translation/context.ts';

const FEATURES: readonly FeatureOptions[] = [
  {},
  { preset: 'wide' },
  { preset: 'minimal' },
  { ASID16: 0, VMID16: 0, OAS: 1, ATTR_PERMS_OVR: 0 },
  { preset: 'wide', HTTU: 0, STALL_MODEL: 2, TTENDIAN: 0 },
];

const NESTED: Partial<Values<typeof STE>> = {
  V: 1,
  Config: 7,
  S1ContextPtr: 0x4030_0000 / 64,
  S2VMID: 3,
  S2T0SZ: 25,
  S2SL0: 1,
  S2PS: 5,
  S2AA64: 1,
  S2TTB: 0x4060_0000 / 16,
};
const CONTEXT: Partial<Values<typeof CD>> = {
  V: 1,
  AA64: 1,
  T0SZ: 25,
  T1SZ: 25,
  TG1: 2,
  IPS: 5,
  A: 1,
  ASID: 1,
  TTB0: 0x4040_0000 / 16,
  TTB1: 0x4050_0000 / 16,
};

/** More kinds than a cache keeps. */
const STEPS = 14;
const SLOTS = 3;

const fieldsOf = (layout: object): Field[] =>
  Object.values(layout).filter((value): value is Field => value instanceof Field && value.lsb < 256);

/** A field and a value for it, of any size. */
function changeOf(layout: object): fc.Arbitrary<readonly [Field, number]> {
  return fc.constantFrom(...fieldsOf(layout)).chain((field) =>
    fc
      .integer({ min: 0, max: field.width })
      .chain((bits) => fc.integer({ min: 0, max: 2 ** bits - 1 }))
      .map((value) => [field, value] as const),
  );
}

/** Structures near `base`: some fields changed. */
function near(layout: object, base: Partial<Record<string, number>>): fc.Arbitrary<DataView> {
  return fc
    .array(changeOf(layout), { maxLength: 8 })
    .map((changes) =>
      encode(
        layout as never,
        { ...base, ...Object.fromEntries(changes.map(([{ name }, value]) => [name, value])) } as never,
      ),
    );
}

/** Structures that follow each other in a slot: many differ from the one before in one field alone. */
function row(layout: object, structures: fc.Arbitrary<DataView>): fc.Arbitrary<DataView[]> {
  const step = fc.tuple(structures, changeOf(layout), fc.nat(2));
  return fc.array(step, { minLength: STEPS, maxLength: STEPS }).map((steps) => {
    let before: DataView | undefined;
    return steps.map(([other, [field, value], fresh]) => {
      let view = other;
      if (fresh > 0 && before !== undefined) {
        view = new DataView(before.buffer.slice(0));
        field.set(view, 0, value);
      }
      before = view;
      return view;
    });
  });
}

const streams = fc.oneof(
  near(STE, NESTED),
  near(STE, { ...NESTED, Config: 5 }),
  near(STE, { ...NESTED, Config: 6 }),
  near(STE, { ...NESTED, Config: 5, STRW: 2 }),
  near(STE, { V: 1, Config: 4 }),
);
const contexts = fc.oneof(near(CD, CONTEXT), near(CD, { ...CONTEXT, EPD1: 1 }), near(CD, { ...CONTEXT, EPD0: 1 }));
/** CR0.ATSCHK and CR2.E2H. */
const controls = fc
  .tuple(fc.boolean(), fc.boolean())
  .map(([ATSCHK, E2H]) => Object.assign(new Control(), { ATSCHK, E2H }));

/** What a walk sees of a region: one that is disabled has no shape. */
const regionOf = (region: TableRegion) =>
  region.disabled
    ? { flags: region.flags, low: region.outsideLow, high: region.outsideHigh }
    : { ...region, base: region.baseHigh * 2 ** 32 + (region.baseLow >>> 0) };
const stage2Of = (stage2: Stage2) => ({ ...stage2, tables: regionOf(stage2.tables) });

function contextOf(context: TranslationContext, oneRange: boolean) {
  const { stage1, stage2, ...rest } = context;
  const { lower, upper, ...controlsOfStage1 } = stage1;
  return {
    ...rest,
    ...(context.stage2Enabled ? stage2Of(stage2) : {}),
    ...(context.stage1Enabled ? { ...controlsOfStage1, lower: regionOf(lower) } : {}),
    ...(context.stage1Enabled && !oneRange ? { upper: regionOf(upper) } : {}),
  };
}

/** What an STE says; nothing if it is ILLEGAL, little if it aborts. */
function streamOf(stream: StreamConfiguration) {
  const { illegal, aborts, Config, MEV, PPAR, stage1, stage2 } = stream;
  if (illegal) return { illegal };
  if (aborts) return { Config, aborts, MEV, PPAR };
  const { EATS, S2S, S2R, PRIVCFG, INSTCFG, S1Fmt, S1CDMax, S1DSS, S1STALLD, contextTable } = stream;
  return {
    ...{ Config, MEV, PPAR, stage1, stage2, EATS, S2S, S2R, PRIVCFG, INSTCFG },
    ...(stage1 ? { S1Fmt, S1CDMax, S1DSS, S1STALLD, contextTable } : {}),
    context: contextOf(stream.withoutStage1, false),
  };
}

function descriptorOf({ illegal, A, R, S, context }: ContextDescriptor) {
  return illegal ? { illegal } : { A, R, S, context: contextOf(context, context.world === 1) };
}

/** What an STE says that is decoded once, alone. */
function streamAlone(view: DataView, features: Features, circumstances: number): StreamConfiguration {
  const cache = streamCache(1, features);
  cache.take(0, view, 0, circumstances, 0, 0, 1);
  return cache.decoded(0);
}

function descriptorAlone(view: DataView, features: Features, stream: StreamConfiguration): ContextDescriptor {
  const cache = contextCache(1, features);
  cache.take(0, view, 0, contextCircumstances(stream), 0, 0, 1);
  const descriptor = cache.decoded(0);
  descriptor.reachThrough(stream);
  return descriptor;
}

/** For each step, the slot that is filled and the slots that are looked at then. */
const slots = fc.array(fc.tuple(fc.nat(SLOTS - 1), fc.array(fc.nat(SLOTS - 1), { minLength: 1, maxLength: 4 })), {
  minLength: STEPS,
  maxLength: STEPS,
});

test.each(FEATURES)('STEs: %j', (options) => {
  const features = featuresOf(options);
  fc.assert(
    fc.property(
      row(STE, streams),
      fc.array(controls, { minLength: 2, maxLength: 2 }),
      slots,
      (views, switches, steps) => {
        const cache = streamCache(SLOTS, features);
        const expected: unknown[] = [];
        for (const [step, view] of views.entries()) {
          const [filled, looked] = steps[step] ?? [0, []];
          const circumstances = streamCircumstances(switches[(step >> 1) & 1] ?? new Control());
          cache.take(filled, view, 0, circumstances, step, 0, step + 1);
          expected[filled] = streamOf(streamAlone(view, features, circumstances));
          for (const slot of looked) {
            if (expected[slot] !== undefined) expect(streamOf(cache.decoded(slot))).toEqual(expected[slot]);
          }
        }
      },
    ),
    { numRuns: 400, seed: 1 },
  );
});

test.each(FEATURES)('CDs, reached through any STE: %j', (options) => {
  const features = featuresOf(options);
  fc.assert(
    fc.property(row(STE, streams), row(CD, contexts), slots, (steViews, views, steps) => {
      const cache = contextCache(SLOTS, features);
      const through: StreamConfiguration[] = [];
      const expected: unknown[] = [];
      for (const [step, view] of views.entries()) {
        const [filled, looked] = steps[step] ?? [0, []];
        const stream = streamAlone(steViews[step] ?? view, features, 0);
        if (stream.illegal || stream.aborts || !stream.stage1) continue;
        cache.take(filled, view, 0, contextCircumstances(stream), step, 0, step + 1);
        through[filled] = stream;
        expected[filled] = descriptorOf(descriptorAlone(view, features, stream));
        for (const slot of looked) {
          const stream = through[slot];
          if (stream === undefined) continue;
          const used = cache.decoded(slot);
          used.reachThrough(stream);
          expect(descriptorOf(used)).toEqual(expected[slot]);
          expect(used.context.stage2).toBe(stream.withoutStage1.stage2);
        }
      }
    }),
    { numRuns: 400, seed: 2 },
  );
});

test('the same CD is ILLEGAL or not as S1STALLD of the STE says', () => {
  const features = featuresOf();
  const view = encode(CD, { ...CONTEXT, S: 1 });
  const cache = contextCache(1, features);
  for (const S1STALLD of [0, 1, 0]) {
    const stream = streamAlone(encode(STE, { ...NESTED, S1STALLD }), features, 0);
    cache.take(0, view, 0, contextCircumstances(stream), 0, 0, 1);
    expect(cache.decoded(0).illegal).toBe(S1STALLD === 1);
  }
});

test('the generators reach legal and ILLEGAL structures alike', () => {
  const features = featuresOf();
  const seen = { legal: 0, illegal: 0 };
  for (const view of fc.sample(streams, { numRuns: 400, seed: 3 })) {
    seen[streamAlone(view, features, 0).illegal ? 'illegal' : 'legal'] += 1;
  }
  expect(seen.legal).toBeGreaterThan(100);
  expect(seen.illegal).toBeGreaterThan(30);
});

test('a kind is decoded once, for whichever slots and particulars', () => {
  let kinds = 0;
  const cache = new StructureCache(4, [STE.S1ContextPtr], () => ({
    decodeKind: () => {
      kinds += 1;
    },
    decodeParticulars: () => undefined,
  }));
  const view = new DataView(new ArrayBuffer(64));
  const decodedAfter = (low: number, high: number, slot: number) => {
    view.setUint32(0, low, true);
    view.setUint32(4, high, true);
    cache.take(slot, view, 0, 0, 0, 0, 1);
    cache.decoded(slot);
    return kinds;
  };
  expect(decodedAfter(0b1011, 0, 1)).toBe(2);
  expect(decodedAfter(0b1011, 0, 2)).toBe(2);
  // All zeros are what an empty cache has.
  expect(decodedAfter(0, 0, 0)).toBe(2);
  // S1ContextPtr is bits 55:6.
  expect(decodedAfter(0b1011 | (1 << 6), 0, 1)).toBe(2);
  expect(decodedAfter(0b1011 | (1 << 6), 1 << 23, 3)).toBe(2);
  expect(decodedAfter(0b1011 | (1 << 6), 1 << 24, 3)).toBe(3);
  expect(decodedAfter(0b1011 | (1 << 5), 0, 3)).toBe(4);
});

test('a slot is held by its owner, under its index, in its epoch', () => {
  const cache = new StructureCache(2, [], () => ({ decodeKind: () => undefined, decodeParticulars: () => undefined }));
  cache.take(1, new DataView(new ArrayBuffer(64)), 0, 0, 0xffff_ffff, 7, 2 ** 40);
  expect(cache.owner(1)).toBe(0xffff_ffff);
  expect(cache.epoch(1)).toBe(2 ** 40);
  expect(cache.holds(1, 0xffff_ffff, 7, 2 ** 40)).toBe(true);
  expect(cache.holds(1, 0xffff_fffe, 7, 2 ** 40)).toBe(false);
  expect(cache.holds(1, 0xffff_ffff, 8, 2 ** 40)).toBe(false);
  expect(cache.holds(1, 0xffff_ffff, 7, 2 ** 40 + 1)).toBe(false);
  expect(cache.epoch(0)).toBe(0);
  cache.setEpoch(1, 0);
  expect(cache.epoch(1)).toBe(0);
});
