/** Which STEs are ILLEGAL: IHI 0070 §5.2.2, condition by condition; and what the others say. */
import { describe, expect, test } from 'vitest';
import { encode, type Values } from '../../layout/struct.ts';
import { STE } from '../spec/ste.layout.ts';
import { Control } from './control.ts';
import { type FeatureOptions, type Features, featuresOf } from './features.ts';
import { type StreamConfiguration, streamCache, streamCircumstances } from './ste.ts';
import { StreamWorld } from './translation/context.ts';

type Fields = Partial<Values<typeof STE>>;

const BYPASS: Fields = { V: 1, Config: 4 };
const STAGE_1: Fields = { V: 1, Config: 5, S1ContextPtr: 0x4030_0000 / 64 };
/** 4 KiB, 39 bits of IPA from level 1. */
const STAGE_2: Fields = {
  V: 1,
  Config: 6,
  S2T0SZ: 25,
  S2SL0: 1,
  S2PS: 5,
  S2AA64: 1,
  S2TTB: 0x4060_0000 / 16,
};
const NESTED: Fields = { ...STAGE_2, ...STAGE_1, Config: 7 };

function decode(fields: Fields, features: Features, control = new Control()): StreamConfiguration {
  const cache = streamCache(1, features);
  cache.take(0, encode(STE, fields), 0, streamCircumstances(control), 0, 0, 1);
  return cache.decoded(0);
}

function illegal(fields: Fields, features: FeatureOptions = {}): boolean {
  return decode(fields, featuresOf(features)).illegal;
}

test.each([
  ['bypass', BYPASS],
  ['stage 1', STAGE_1],
  ['stage 2', STAGE_2],
  ['nested', NESTED],
])('%s is legal', (_name, fields) => {
  expect(illegal(fields)).toBe(false);
});

describe('ILLEGAL', () => {
  const rows: readonly (readonly [string, Fields, FeatureOptions?])[] = [
    ['V=0', { ...STAGE_1, V: 0 }],
    ['stage 1 where S1P=0', STAGE_1, { S1P: 0 }],
    ['stage 2 where S2P=0', STAGE_2, { S2P: 0 }],
    ['split-stage ATS on stage 1', { ...STAGE_1, EATS: 2 }],
    ['split-stage ATS on stage 2', { ...STAGE_2, EATS: 2 }],
    ['split-stage ATS with S2S=1', { ...NESTED, EATS: 2, S2S: 1 }],
    ['split-stage ATS where NS1ATS=1', { ...NESTED, EATS: 2 }, { NS1ATS: 1 }],
    ['full ATS with S2S=1 on stage 2', { ...STAGE_2, EATS: 1, S2S: 1 }],
    ['STRW=0b01', { ...STAGE_1, STRW: 1 }],
    ['STRW=0b11', { ...STAGE_1, STRW: 3 }],
    ['S1STALLD=1 where stalls are not optional', { ...STAGE_1, S1STALLD: 1 }, { STALL_MODEL: 1 }],
    ['S1STALLD=1 where stalls are forced', { ...STAGE_1, S1STALLD: 1 }, { STALL_MODEL: 2 }],
    ['S1CDMax above SSIDSIZE', { ...STAGE_1, S1CDMax: 9 }, { SSIDSIZE: 8 }],
    ['two-level CD table where CD2L=0', { ...STAGE_1, S1CDMax: 1, S1Fmt: 1 }, { CD2L: 0 }],
    ['two-level CD table with 64 KiB leaves where CD2L=0', { ...STAGE_1, S1CDMax: 1, S1Fmt: 2 }, { CD2L: 0 }],
    ['S1ContextPtr beyond the OAS', { ...STAGE_1, S1ContextPtr: 2 ** 42 }],
    ['S1ContextPtr beyond the IAS', { ...NESTED, S1ContextPtr: 2 ** 42 }],
    ['S2S=1 where there are no stalls', { ...STAGE_2, S2S: 1 }, { STALL_MODEL: 1 }],
    ['S2S=0 where stalls are forced', STAGE_2, { STALL_MODEL: 2 }],
    ['S2AA64=0 where TTF says VMSAv8-64 alone', { ...STAGE_2, S2AA64: 0 }],
    ['S2HA=1 where HTTU=0', { ...STAGE_2, S2HA: 1 }, { HTTU: 0 }],
    ['S2HD=1 where HTTU=0', { ...STAGE_2, S2HD: 1 }, { HTTU: 0 }],
    ['S2HD=1 where HTTU=1', { ...STAGE_2, S2HA: 1, S2HD: 1 }, { HTTU: 1 }],
    ['S2TG=0b11', { ...STAGE_2, S2TG: 3 }],
    ['S2TG=16 KiB where GRAN16K=0', { ...STAGE_2, S2TG: 2, S2SL0: 2 }, { GRAN16K: 0 }],
    ['S2TG=64 KiB where GRAN64K=0', { ...STAGE_2, S2TG: 1 }, { GRAN64K: 0 }],
    ['S2TTB beyond S2PS', { ...STAGE_2, S2PS: 1, S2TTB: 2 ** 32 }],
    ['S2TTB beyond the OAS, S2PS being capped', { ...STAGE_2, S2PS: 6, S2TTB: 2 ** 44 }],
    ['S2TTB beyond 48 bits with 4 KiB', { ...STAGE_2, S2PS: 6, S2TTB: 2 ** 44 }, { preset: 'wide' }],
    ['S2T0SZ above 39 where STT=0', { ...STAGE_2, S2T0SZ: 40, S2SL0: 0 }, { STT: 0 }],
    ['S2T0SZ above 48', { ...STAGE_2, S2T0SZ: 49, S2SL0: 3 }],
    ['S2T0SZ above 47 with 64 KiB', { ...STAGE_2, S2TG: 1, S2T0SZ: 48, S2SL0: 0 }],
    ['S2T0SZ below 16', { ...STAGE_2, S2T0SZ: 15, S2SL0: 2 }],
    ['S2T0SZ below 64 - IAS', { ...STAGE_2, S2T0SZ: 20, S2SL0: 2 }, { OAS: 2 }],
    ['S2T0SZ below 12 with DS', { ...STAGE_2, S2DS: 1, S2T0SZ: 11, S2SL0: 0, S2SL0_2: 1 }, { preset: 'wide' }],
    ['S2SL0 that starts too low', { ...STAGE_2, S2T0SZ: 16, S2SL0: 0 }],
    ['S2SL0 that starts too high', { ...STAGE_2, S2T0SZ: 40, S2SL0: 2 }],
    ['S2SL0=3 where STT=0', { ...STAGE_2, S2T0SZ: 39, S2SL0: 3 }, { STT: 0 }],
    ['level 0 where the OAS is below 44 bits', { ...STAGE_2, S2T0SZ: 24, S2SL0: 2 }, { OAS: 3 }],
    ['S2SL0=3 with 64 KiB', { ...STAGE_2, S2TG: 1, S2SL0: 3 }],
    ['level 1 with 64 KiB where the OAS is below 44 bits', { ...STAGE_2, S2TG: 1, S2T0SZ: 24, S2SL0: 2 }, { OAS: 3 }],
    ['level 0 with 16 KiB without DS', { ...STAGE_2, S2TG: 2, S2T0SZ: 16, S2SL0: 3 }],
    ['S2ENDI=1 where TTENDIAN is little', { ...STAGE_2, S2ENDI: 1 }],
    ['S2ENDI=0 where TTENDIAN is big', STAGE_2, { TTENDIAN: 3 }],
    ['S2VMID of 9 bits where VMID16=0', { ...STAGE_2, S2VMID: 0x100 }, { VMID16: 0 }],
    ['S2VMID of 9 bits where VMID16=0, stage 1', { ...STAGE_1, S2VMID: 0x100 }, { VMID16: 0 }],
  ];
  for (const [name, fields, features = {}] of rows) {
    test(name, () => {
      expect(illegal(fields, features)).toBe(true);
    });
  }
});

describe('not ILLEGAL', () => {
  const rows: readonly (readonly [string, Fields, FeatureOptions?])[] = [
    ['Config=0b0xx with nonsense in every other field', { V: 1, Config: 3, S2TG: 3, EATS: 2, STRW: 3, S1CDMax: 31 }],
    ['S1Fmt=0b11 acts as linear', { ...STAGE_1, S1CDMax: 1, S1Fmt: 3 }, { CD2L: 0 }],
    ['S1Fmt=0b01 without substreams', { ...STAGE_1, S1Fmt: 1 }, { CD2L: 0 }],
    ['S1CDMax where SSIDSIZE=0', { ...STAGE_1, S1CDMax: 31 }, { SSIDSIZE: 0 }],
    ['S2PS above the OAS', { ...STAGE_2, S2PS: 7 }],
    ['stage 2 fields of a stage 1 stream', { ...STAGE_1, S2TG: 3, S2T0SZ: 63, S2ENDI: 1 }],
    ['stage 1 fields of a stage 2 stream', { ...STAGE_2, S1CDMax: 31, S1STALLD: 1, S1ContextPtr: 2 ** 49 }],
    ['EATS of a bypassing stream', { ...BYPASS, EATS: 2, S2S: 1 }],
    ['EATS where ATS=0', { ...STAGE_1, EATS: 2 }, { ATS: 0 }],
    ['EATS=0b11 without DPT', { ...STAGE_1, EATS: 3 }],
    ['EATS=0b11 without DPT, with S2S=1 on stage 2', { ...STAGE_2, EATS: 3, S2S: 1 }],
    ['full ATS with S2S=1 on stage 1', { ...STAGE_1, EATS: 1, S2S: 1 }],
    ['split-stage ATS on a nested stream', { ...NESTED, EATS: 2 }],
    ['STRW where Hyp=0', { ...STAGE_1, STRW: 3 }, { Hyp: 0 }],
    ['STRW of a nested stream', { ...NESTED, STRW: 3 }],
    ['S2VMID of an EL2 stream where VMID16=0', { ...STAGE_1, STRW: 2, S2VMID: 0x100 }, { VMID16: 0 }],
    ['S2VMID where S2P=0', { ...STAGE_1, S2VMID: 0x100 }, { S2P: 0, VMID16: 0 }],
    ['S2TTB of 52 bits with 64 KiB', { ...STAGE_2, S2TG: 1, S2PS: 6, S2TTB: 2 ** 44 }, { preset: 'wide' }],
    ['S2TTB of 52 bits with DS', { ...STAGE_2, S2DS: 1, S2PS: 6, S2TTB: 2 ** 44 }, { preset: 'wide' }],
    ['level -1 with DS', { ...STAGE_2, S2DS: 1, S2T0SZ: 12, S2SL0: 0, S2SL0_2: 1 }, { preset: 'wide' }],
    ['level 3 with STT', { ...STAGE_2, S2T0SZ: 48, S2SL0: 3 }],
    ['16 concatenated tables at level 1', { ...STAGE_2, S2T0SZ: 21, S2SL0: 1 }],
    ['S2HD=1 alone acts as off', { ...STAGE_2, S2HD: 1 }],
  ];
  for (const [name, fields, features = {}] of rows) {
    test(name, () => {
      expect(illegal(fields, features)).toBe(false);
    });
  }
});

describe('decoding', () => {
  function decoded(fields: Fields, options: FeatureOptions = {}, control: Partial<Control> = {}): StreamConfiguration {
    return decode(fields, featuresOf(options), Object.assign(new Control(), control));
  }

  // The table of §5.2 STRW.
  test.each([
    ['NS-EL1', STAGE_1, false, StreamWorld.EL1],
    ['NS-EL2', { ...STAGE_1, STRW: 2 }, false, StreamWorld.EL2],
    ['NS-EL2-E2H', { ...STAGE_1, STRW: 2 }, true, StreamWorld.EL2_E2H],
    ['NS-EL1 when nested', { ...NESTED, STRW: 2 }, true, StreamWorld.EL1],
  ])('StreamWorld is %s', (_name, fields, E2H, world) => {
    expect(decoded(fields, {}, { E2H }).world).toBe(world);
  });

  test('the VMID counts for EL1 alone', () => {
    expect(decoded({ ...STAGE_1, S2VMID: 5 }).vmid).toBe(5);
    expect(decoded({ ...STAGE_1, S2VMID: 5, STRW: 2 }).vmid).toBe(0);
    expect(decoded({ ...STAGE_1, S2VMID: 5 }, { S2P: 0 }).vmid).toBe(0);
  });

  test('effective EATS', () => {
    expect(decoded({ ...NESTED, EATS: 2 }, {}, { ATSCHK: true }).EATS).toBe(2);
    expect(decoded({ ...NESTED, EATS: 2 }, {}, { ATSCHK: false }).EATS).toBe(0);
    expect(decoded({ ...STAGE_1, EATS: 3 }).EATS).toBe(0);
    expect(decoded({ ...BYPASS, EATS: 1 }).EATS).toBe(0);
  });
});
