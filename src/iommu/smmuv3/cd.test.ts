/** Which CDs are ILLEGAL: IHI 0070 §5.4.2, condition by condition; and what the others say. */
import { describe, expect, test } from 'vitest';
import { encode, type Values } from '../../layout/struct.ts';
import { CD } from '../spec/cd.layout.ts';
import { STE } from '../spec/ste.layout.ts';
import { type ContextDescriptor, contextCache, contextCircumstances } from './cd.ts';
import { type FeatureOptions, featuresOf } from './features.ts';
import { streamCache } from './ste.ts';

type Fields = Partial<Values<typeof CD>>;

/** 4 KiB and 48 bits on both sides. */
const BOTH: Fields = {
  V: 1,
  AA64: 1,
  T0SZ: 16,
  T1SZ: 16,
  TG0: 0,
  TG1: 2,
  IPS: 5,
  A: 1,
  R: 1,
  TTB0: 0x4040_0000 / 16,
  TTB1: 0x4050_0000 / 16,
  ASID: 1,
};
const LOWER: Fields = { ...BOTH, EPD1: 1, T1SZ: 0, TG1: 0, TTB1: 0 };

function decoded(
  fields: Fields,
  options: FeatureOptions = {},
  ste: Partial<Values<typeof STE>> = {},
): ContextDescriptor {
  const features = featuresOf(options);
  const streams = streamCache(1, features);
  streams.take(0, encode(STE, { V: 1, Config: 5, ...ste }), 0, 0, 0, 0, 1);
  const stream = streams.decoded(0);
  const cache = contextCache(1, features);
  cache.take(0, encode(CD, fields), 0, contextCircumstances(stream), 0, 0, 1);
  const descriptor = cache.decoded(0);
  descriptor.reachThrough(stream);
  return descriptor;
}

const EL2 = { STRW: 2 };

describe('ILLEGAL', () => {
  const rows: readonly (readonly [string, Fields, FeatureOptions?, Partial<Values<typeof STE>>?])[] = [
    ['V=0', { ...BOTH, V: 0 }],
    ['S=1 where the STE has S1STALLD=1', { ...BOTH, S: 1 }, {}, { S1STALLD: 1 }],
    ['A=0 where TERM_MODEL=1', { ...BOTH, A: 0 }, { TERM_MODEL: 1 }],
    ['S=1 where there are no stalls', { ...BOTH, S: 1 }, { STALL_MODEL: 1 }],
    ['S=0 where stalls are forced', BOTH, { STALL_MODEL: 2 }],
    ['ENDI=1 where TTENDIAN is little', { ...BOTH, ENDI: 1 }],
    ['ENDI=0 where TTENDIAN is big', BOTH, { TTENDIAN: 3 }],
    ['AA64=0 where TTF says VMSAv8-64 alone', { ...BOTH, AA64: 0 }],
    ['HA=1 where HTTU=0', { ...BOTH, HA: 1 }, { HTTU: 0 }],
    ['HD=1 where HTTU=0', { ...BOTH, HD: 1 }, { HTTU: 0 }],
    ['HD=1 where HTTU=1', { ...BOTH, HA: 1, HD: 1 }, { HTTU: 1 }],
    ['ASID of 9 bits where ASID16=0', { ...BOTH, ASID: 0x100 }, { ASID16: 0 }],
    ['T0SZ above 39 where STT=0', { ...BOTH, T0SZ: 40 }, { STT: 0 }],
    ['T0SZ above 48', { ...BOTH, T0SZ: 49 }],
    ['T0SZ above 47 with 64 KiB', { ...BOTH, TG0: 1, T0SZ: 48 }],
    ['T0SZ below 16', { ...BOTH, T0SZ: 15 }],
    ['T0SZ below 16 with 64 KiB where VAX=0', { ...BOTH, TG0: 1, T0SZ: 15 }],
    ['T0SZ below 16 with 4 KiB and DS=0 where VAX=1', { ...BOTH, T0SZ: 15 }, { preset: 'wide' }],
    ['T0SZ below 12', { ...BOTH, DS: 1, T0SZ: 11 }, { preset: 'wide' }],
    ['T1SZ below 16', { ...BOTH, T1SZ: 15 }],
    ['T1SZ above 48', { ...BOTH, T1SZ: 63 }],
    ['TG0=0b11', { ...BOTH, TG0: 3 }],
    ['TG1=0b00', { ...BOTH, TG1: 0 }],
    ['TG0=16 KiB where GRAN16K=0', { ...BOTH, TG0: 2 }, { GRAN16K: 0 }],
    ['TG1=16 KiB where GRAN16K=0', { ...BOTH, TG1: 1 }, { GRAN16K: 0 }],
    ['TG0=64 KiB where GRAN64K=0', { ...BOTH, TG0: 1 }, { GRAN64K: 0 }],
    ['TG1=64 KiB where GRAN64K=0', { ...BOTH, TG1: 3 }, { GRAN64K: 0 }],
    ['TTB0 beyond IPS', { ...BOTH, IPS: 0, TTB0: 2 ** 28 }],
    ['TTB0 beyond the OAS, IPS being capped', { ...BOTH, IPS: 6, TTB0: 2 ** 44 }],
    ['TTB0 beyond 48 bits with 4 KiB and DS=0', { ...BOTH, IPS: 6, TTB0: 2 ** 44 }, { preset: 'wide' }],
    ['TTB1 beyond IPS', { ...BOTH, IPS: 0, TTB1: 2 ** 28 }],
    ['T0SZ out of range although EPD0=1, in EL2', { ...LOWER, EPD0: 1, T0SZ: 15 }, {}, EL2],
  ];
  for (const [name, fields, features = {}, ste = {}] of rows) {
    test(name, () => {
      expect(decoded(fields, features, ste).illegal).toBe(true);
    });
  }
});

describe('not ILLEGAL', () => {
  const rows: readonly (readonly [string, Fields, FeatureOptions?, Partial<Values<typeof STE>>?])[] = [
    ['both regions', BOTH],
    ['one region', LOWER],
    ['nonsense in a region that EPD0 turns off', { ...BOTH, EPD0: 1, T0SZ: 1, TG0: 3, TTB0: 2 ** 51 }],
    ['nonsense in a region that EPD1 turns off', { ...BOTH, EPD1: 1, T1SZ: 1, TG1: 0, TTB1: 2 ** 51 }],
    ['ENDI where both regions are off', { ...BOTH, EPD0: 1, EPD1: 1, ENDI: 1 }],
    ['nonsense in TTB1 of EL2, which has one region', { ...BOTH, T1SZ: 1, TG1: 0, TTB1: 2 ** 51 }, {}, EL2],
    ['ASID of 9 bits in EL2', { ...LOWER, ASID: 0x100 }, { ASID16: 0 }, EL2],
    ['IPS above the OAS', { ...BOTH, IPS: 7 }],
    ['HD=1 alone acts as off', { ...BOTH, HD: 1 }],
    ['T0SZ of 12 with 64 KiB where VAX=1', { ...BOTH, TG0: 1, T0SZ: 12, IPS: 6, TTB0: 2 ** 44 }, { preset: 'wide' }],
    [
      'T0SZ of 12 with DS where VAX=1',
      { ...BOTH, DS: 1, T0SZ: 12, T1SZ: 12, IPS: 6, TTB0: 2 ** 44 },
      { preset: 'wide' },
    ],
    ['T0SZ of 48 with STT', { ...BOTH, T0SZ: 48 }],
    ['TTB bits 55:52, which are RES0', { ...BOTH, TTB0: 2 ** 51 + 0x404_0000 }],
  ];
  for (const [name, fields, features = {}, ste = {}] of rows) {
    test(name, () => {
      expect(decoded(fields, features, ste).illegal).toBe(false);
    });
  }
});

describe('decoding', () => {
  test('TG0 and TG1 encode granules differently', () => {
    const sizes = (TG0: number, TG1: number) => {
      const { lower, upper } = decoded({ ...BOTH, TG0, TG1 }).context.stage1;
      return [lower.granuleBits, upper.granuleBits];
    };
    expect([sizes(0, 2), sizes(1, 3), sizes(2, 1)]).toEqual([
      [12, 12],
      [16, 16],
      [14, 14],
    ]);
  });

  test('HAD and E0PD count where IDR3 announces them', () => {
    const fields = { ...BOTH, HAD0: 1, HAD1: 1, E0PD0: 1, E0PD1: 1 };
    const announced = decoded(fields).context.stage1.lower;
    expect([announced.hierarchyDisabled, announced.unprivilegedForbidden]).toEqual([true, true]);
    const absent = decoded(fields, { HAD: 0, E0PD: 0 }).context.stage1.upper;
    expect([absent.hierarchyDisabled, absent.unprivilegedForbidden]).toEqual([false, false]);
  });

  test('EL2 has no ASID', () => {
    expect(decoded({ ...LOWER, ASID: 9 }, {}, EL2).context.asid).toBe(0);
    expect(decoded({ ...LOWER, ASID: 9 }).context.asid).toBe(9);
  });
});
