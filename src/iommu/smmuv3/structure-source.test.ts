/** A slot that held another structure before answers as a fresh one does, whatever the two are. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Field } from '../../layout/field.ts';
import { encode, type Values } from '../../layout/struct.ts';
import { CD } from '../spec/cd.layout.ts';
import { STE } from '../spec/ste.layout.ts';
import { ContextDescriptor } from './cd.ts';
import { Control } from './control.ts';
import { type FeatureOptions, featuresOf } from './features.ts';
import { StreamConfiguration } from './ste.ts';
import { Difference, StructureSource } from './structure-source.ts';
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

const STEPS = 6;

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

test.each(FEATURES)('an STE after others in its slot: %j', (options) => {
  const features = featuresOf(options);
  fc.assert(
    fc.property(row(STE, streams), fc.array(controls, { minLength: STEPS, maxLength: STEPS }), (views, switches) => {
      const used = new StreamConfiguration();
      for (const [step, view] of views.entries()) {
        const control = switches[step % 2 === 0 ? step : step - 1] ?? new Control();
        const fresh = new StreamConfiguration();
        used.decode(view, 0, features, control);
        fresh.decode(view, 0, features, control);
        expect(streamOf(used)).toEqual(streamOf(fresh));
      }
    }),
    { numRuns: 400, seed: 1 },
  );
});

test.each(FEATURES)('a CD after others in its slot, reached through any STE: %j', (options) => {
  const features = featuresOf(options);
  fc.assert(
    fc.property(row(STE, streams), row(CD, contexts), fc.nat(2 ** STEPS - 1), (steViews, views, slotBits) => {
      const slots = [new StreamConfiguration(), new StreamConfiguration()];
      const used = new ContextDescriptor();
      for (const [step, view] of views.entries()) {
        const through = slots[(slotBits >> step) & 1] ?? new StreamConfiguration();
        through.decode(steViews[step] ?? view, 0, features, new Control());
        if (through.illegal || through.aborts || !through.stage1) continue;
        const fresh = new ContextDescriptor();
        used.decode(view, 0, through, features);
        fresh.decode(view, 0, through, features);
        expect(descriptorOf(used)).toEqual(descriptorOf(fresh));
        if (used.illegal) continue;
        expect(used.context.vmid).toBe(through.vmid);
        expect(used.context.stage2).toBe(through.withoutStage1.stage2);
      }
    }),
    { numRuns: 400, seed: 2 },
  );
});

test('the same CD is ILLEGAL or not as S1STALLD of the STE says', () => {
  const features = featuresOf();
  const view = encode(CD, { ...CONTEXT, S: 1 });
  const stream = new StreamConfiguration();
  const used = new ContextDescriptor();
  for (const S1STALLD of [0, 1, 0]) {
    stream.decode(encode(STE, { ...NESTED, S1STALLD }), 0, features, new Control());
    used.decode(view, 0, stream, features);
    expect(used.illegal).toBe(S1STALLD === 1);
  }
});

test('the generators reach legal and ILLEGAL structures alike', () => {
  const features = featuresOf();
  const seen = { legal: 0, illegal: 0 };
  for (const view of fc.sample(streams, { numRuns: 400, seed: 3 })) {
    const stream = new StreamConfiguration();
    stream.decode(view, 0, features, new Control());
    seen[stream.illegal ? 'illegal' : 'legal'] += 1;
  }
  expect(seen.legal).toBeGreaterThan(100);
  expect(seen.illegal).toBeGreaterThan(30);
});

test('a difference is of the kind unless the particulars hold all of it', () => {
  const source = new StructureSource(2, [STE.S1ContextPtr], 3);
  const view = new DataView(new ArrayBuffer(8));
  const difference = (low: number, high: number, slot = 1) => {
    view.setUint32(0, low, true);
    view.setUint32(4, high, true);
    return source.take(view, 0, slot);
  };
  expect(difference(0b1011, 0)).toBe(Difference.KIND);
  expect(difference(0b1011, 0)).toBe(Difference.NONE);
  expect(difference(0b1011, 0, 2)).toBe(Difference.KIND);
  expect(difference(0, 0, 0)).toBe(Difference.NONE);
  // S1ContextPtr is bits 55:6.
  expect(difference(0b1011 | (1 << 6), 0)).toBe(Difference.PARTICULARS);
  expect(difference(0b1011 | (1 << 6), 1 << 23)).toBe(Difference.PARTICULARS);
  expect(difference(0b1011 | (1 << 6), 1 << 24)).toBe(Difference.KIND);
  expect(difference(0b1011 | (1 << 6) | (1 << 5), 0)).toBe(Difference.KIND);
});
