/** §5.2.2: every condition that makes an STE ILLEGAL, next to an STE that differs in nothing else and is legal. */
import { type Bench, VA } from '../bench/bench.ts';
import { addressBits } from '../bench/registers.ts';
import { accepted, baseOf, type Case, ILLEGAL_SID, LEGAL_SID, NO_STALLS, STALLS } from '../bench/ste-cases.ts';
import { CONFIG, SL0 } from '../bench/streams.ts';
import type { Granule } from '../bench/tables.ts';
import { STE_ILLEGAL } from '../facts/ste-illegal.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

function check(test: Case): (b: Bench) => void {
  return (b) => {
    b.start();
    const base = baseOf(b, test);
    if (test.noNeighbour !== true) {
      b.ste(base, LEGAL_SID);
      accepted(b, LEGAL_SID);
    }
    b.ste({ ...base, ...(typeof test.ste === 'function' ? test.ste(b) : test.ste) }, ILLEGAL_SID);
    b.faults({ va: VA, sid: ILLEGAL_SID }, 'C_BAD_STE');
  };
}

/** Start levels that no size fits, and sizes next to those that fit (DDI 0487 D8.2, stage 2 start tables). */
function inconsistent(granule: Granule, level: number, bits: number): Case {
  return {
    base: 'stage 2',
    granule,
    name: `${granule}-level-${level}-bits-${bits}`,
    ste: { S2SL0: SL0[granule][level] ?? 0, S2T0SZ: 64 - bits },
  };
}

const FORCED: FeatureValues = { STALL_MODEL: 2 };

/** The ILLEGAL cases of each fact. */
const CASES: Readonly<Record<string, readonly Case[]>> = {
  v0: (['abort', 'bypass', 'stage 1', 'stage 2'] as const).map((base) => ({
    base,
    ste: { V: 0 },
    name: base,
    ...(base === 'abort' ? {} : {}),
  })),
  's1-unimplemented': [
    { base: 'bypass', ste: { Config: CONFIG.STAGE_1 }, features: { S1P: 0 }, name: 'stage-1' },
    { base: 'stage 2', ste: { Config: CONFIG.NESTED }, features: { S1P: 0 }, name: 'nested' },
  ],
  's2-unimplemented': [
    {
      base: 'bypass',
      ste: { Config: CONFIG.STAGE_2, S2AA64: 1, S2T0SZ: 25, S2SL0: 1 },
      features: { S2P: 0 },
      name: 'stage-2',
    },
    {
      base: 'stage 1',
      ste: { Config: CONFIG.NESTED, S2AA64: 1, S2T0SZ: 25, S2SL0: 1 },
      features: { S2P: 0 },
      name: 'nested',
    },
  ],
  'eats-split': [
    { base: 'stage 1', ste: { EATS: 0b10 }, features: { ATS: 1, NS1ATS: 0 }, name: 'stage-1' },
    { base: 'stage 2', ste: { EATS: 0b10 }, features: { ATS: 1, NS1ATS: 0 }, name: 'stage-2' },
    { base: 'nested', legal: { EATS: 0b10 }, ste: { S2S: 1 }, features: { ATS: 1, NS1ATS: 0, ...STALLS }, name: 's2s' },
    { base: 'nested', ste: { EATS: 0b10 }, features: { ATS: 1, NS1ATS: 1 }, name: 'ns1ats' },
  ],
  'eats-full-stall': [
    { base: 'stage 2', legal: { EATS: 0b01 }, ste: { S2S: 1 }, features: { ATS: 1, ...STALLS }, name: 'stage-2' },
    { base: 'nested', legal: { EATS: 0b01 }, ste: { S2S: 1 }, features: { ATS: 1, ...STALLS }, name: 'nested' },
  ],
  'strw-reserved': [0b01, 0b11].map((STRW) => ({
    base: 'stage 1',
    ste: { STRW },
    features: { Hyp: 1 },
    name: `${STRW}`,
  })),
  s1stalld: [
    { base: 'stage 1', ste: { S1STALLD: 1 }, features: NO_STALLS, name: 'model-1' },
    { base: 'stage 1', ste: { S1STALLD: 1 }, features: FORCED, name: 'model-2' },
    { base: 'nested', ste: { S1STALLD: 1 }, features: NO_STALLS, name: 'nested-model-1' },
    { base: 'nested', legal: { S2S: 1 }, ste: { S1STALLD: 1 }, features: FORCED, name: 'nested-model-2' },
  ],
  s1cdmax: [
    { base: 'stage 1', legal: { S1CDMax: 8 }, ste: { S1CDMax: 9 }, features: { SSIDSIZE: 8 }, name: 'one-more' },
    { base: 'stage 1', legal: { S1CDMax: 8 }, ste: { S1CDMax: 31 }, features: { SSIDSIZE: 8 }, name: 'largest' },
    { base: 'nested', legal: { S1CDMax: 8 }, ste: { S1CDMax: 9 }, features: { SSIDSIZE: 8 }, name: 'nested' },
  ],
  s1fmt: [0b01, 0b10].map((S1Fmt) => ({
    base: 'stage 1',
    legal: { S1CDMax: 4 },
    ste: { S1Fmt },
    features: { CD2L: 0, SSIDSIZE: 8 },
    name: `${S1Fmt}`,
  })),
  's1ctxptr-pa': [0, 2, 5].map((OAS) => ({
    base: 'stage 1',
    ste: (b) => ({ S1ContextPtr: 2n ** BigInt(addressBits(b.features) - 6) }),
    features: { OAS },
    name: `oas-${addressBits({ OAS })}`,
  })),
  's2s-nostall': [
    { base: 'stage 2', ste: { S2S: 1 }, features: NO_STALLS, name: 'stage-2' },
    { base: 'nested', ste: { S2S: 1 }, features: NO_STALLS, name: 'nested' },
  ],
  's2s-forced': [
    { base: 'stage 2', legal: { S2S: 1 }, ste: { S2S: 0 }, features: FORCED, name: 'stage-2' },
    { base: 'nested', legal: { S2S: 1 }, ste: { S2S: 0 }, features: FORCED, name: 'nested' },
  ],
  's2aa64-32': [
    { base: 'stage 2', ste: { S2AA64: 0 }, features: { TTF: 0b10, D128: 0 }, name: 'stage-2' },
    { base: 'nested', ste: { S2AA64: 0 }, features: { TTF: 0b10, D128: 0 }, name: 'nested' },
  ],
  's2ha-none': [
    { base: 'stage 2', ste: { S2HA: 1 }, features: { HTTU: 0 }, name: 'ha' },
    { base: 'stage 2', ste: { S2HD: 1 }, features: { HTTU: 0 }, name: 'hd' },
    { base: 'nested', ste: { S2HA: 1, S2HD: 1 }, features: { HTTU: 0 }, name: 'both' },
  ],
  's2hd-none': [
    { base: 'stage 2', legal: { S2HA: 1 }, ste: { S2HD: 1 }, features: { HTTU: 1 }, name: 'with-ha' },
    { base: 'stage 2', ste: { S2HD: 1 }, features: { HTTU: 1 }, name: 'alone' },
  ],
  s2tg: [
    { base: 'stage 2', ste: { S2TG: 0b11 }, name: 'reserved' },
    { base: 'stage 2', ste: { S2TG: 0b10, S2T0SZ: 28, S2SL0: 0b01 }, features: { GRAN16K: 0 }, name: 'no-16KB' },
    { base: 'stage 2', ste: { S2TG: 0b01, S2T0SZ: 25, S2SL0: 0b01 }, features: { GRAN64K: 0 }, name: 'no-64KB' },
    {
      base: 'stage 2',
      granule: '64KB',
      ste: { S2TG: 0b00, S2T0SZ: 25, S2SL0: 0b01 },
      features: { GRAN4K: 0, GRAN64K: 1 },
      name: 'no-4KB',
    },
  ],
  's2ttb-range': [
    {
      base: 'stage 2',
      ste: (b) => ({ S2TTB: 2n ** BigInt(addressBits(b.features) - 4) }),
      features: { OAS: 2 },
      name: 'oas-40',
    },
    {
      base: 'stage 2',
      ste: (b) => ({ S2TTB: 2n ** BigInt(addressBits(b.features) - 4) }),
      features: { OAS: 4 },
      name: 'oas-44',
    },
    { base: 'stage 2', legal: { S2PS: 0b001 }, ste: { S2TTB: 2n ** 32n }, name: 's2ps-36' },
    { base: 'stage 2', legal: { S2PS: 0b000, S2T0SZ: 32 }, ste: { S2TTB: 2n ** 28n }, name: 's2ps-32' },
    { base: 'nested', legal: { S2PS: 0b001 }, ste: { S2TTB: 2n ** 32n }, name: 'nested' },
  ],
  's2ttb-48': [
    { base: 'stage 2', ste: { S2TTB: 2n ** 44n }, features: { OAS: 6, VAX: 1, DS: 1 }, name: '4KB' },
    { base: 'stage 2', granule: '16KB', ste: { S2TTB: 2n ** 44n }, features: { OAS: 6, VAX: 1, DS: 1 }, name: '16KB' },
  ],
  's2t0sz-max': [
    { base: 'stage 2', legal: { S2SL0: 0, S2T0SZ: 39 }, ste: { S2T0SZ: 40 }, features: { STT: 0 }, name: 'no-stt-4KB' },
    {
      base: 'stage 2',
      granule: '64KB',
      legal: { S2SL0: 0, S2T0SZ: 39 },
      ste: { S2T0SZ: 40 },
      features: { STT: 0 },
      name: 'no-stt-64KB',
    },
    { base: 'stage 2', legal: { S2SL0: 0b11, S2T0SZ: 48 }, ste: { S2T0SZ: 49 }, features: { STT: 1 }, name: 'stt-4KB' },
    {
      base: 'stage 2',
      granule: '16KB',
      legal: { S2SL0: 0b00, S2T0SZ: 48 },
      ste: { S2T0SZ: 49 },
      features: { STT: 1 },
      name: 'stt-16KB',
    },
    {
      base: 'stage 2',
      granule: '64KB',
      legal: { S2SL0: 0b00, S2T0SZ: 47 },
      ste: { S2T0SZ: 48 },
      features: { STT: 1 },
      name: 'stt-64KB',
    },
    { base: 'stage 2', legal: { S2SL0: 0b11, S2T0SZ: 48 }, ste: { S2T0SZ: 63 }, features: { STT: 1 }, name: 'largest' },
  ],
  's2t0sz-min': [
    { base: 'stage 2', legal: { S2SL0: 0b01, S2T0SZ: 24 }, ste: { S2T0SZ: 23 }, features: { OAS: 2 }, name: 'oas-40' },
    { base: 'stage 2', legal: { S2SL0: 0b10, S2T0SZ: 16 }, ste: { S2T0SZ: 15 }, features: { OAS: 5 }, name: 'oas-48' },
    {
      base: 'stage 2',
      legal: { S2SL0: 0b10, S2T0SZ: 16 },
      ste: { S2T0SZ: 15 },
      features: { OAS: 6, VAX: 1, DS: 1 },
      name: 'no-ds-52',
    },
    {
      base: 'stage 2',
      granule: '64KB',
      legal: { S2SL0: 0b10, S2T0SZ: 12 },
      ste: { S2T0SZ: 11 },
      features: { OAS: 6, VAX: 1 },
      name: '64KB-52',
    },
    { base: 'stage 2', legal: { S2SL0: 0b10, S2T0SZ: 16 }, ste: { S2T0SZ: 0 }, features: { OAS: 5 }, name: 'zero' },
  ],
  's2sl0-inconsistent': [
    // 4 KiB: level 1 resolves 31 to 43 bits, level 2 22 to 34, level 0 40 to 48; concatenation included.
    inconsistent('4KB', 1, 30),
    inconsistent('4KB', 1, 44),
    inconsistent('4KB', 2, 35),
    inconsistent('4KB', 0, 39),
    inconsistent('4KB', 3, 26),
    inconsistent('16KB', 2, 41),
    inconsistent('16KB', 2, 25),
    inconsistent('16KB', 1, 36),
    inconsistent('16KB', 3, 30),
    inconsistent('64KB', 2, 29),
    inconsistent('64KB', 2, 47),
    inconsistent('64KB', 3, 34),
    inconsistent('64KB', 1, 42),
    // Fewer address bits than the start level is for (DDI 0487 J1, AArch64.S2InvalidSL).
    { ...inconsistent('4KB', 0, 40), features: { OAS: 2 }, name: '4KB-level-0-oas-40' },
    { ...inconsistent('16KB', 1, 40), features: { OAS: 2 }, name: '16KB-level-1-oas-40' },
    { base: 'stage 2', granule: '64KB', ste: { S2SL0: 0b11 }, name: '64KB-reserved' },
    {
      base: 'stage 2',
      granule: '16KB',
      ste: { S2SL0: 0b11, S2T0SZ: 16 },
      features: { DS: 0, VAX: 0, OAS: 5 },
      name: '16KB-level-0-without-ds',
    },
    { base: 'stage 2', ste: { S2SL0: 0b11, S2T0SZ: 39 }, features: { STT: 0 }, name: '4KB-level-3-without-stt' },
    ...[0b01, 0b10, 0b11].map(
      (S2SL0): Case => ({
        base: 'stage 2',
        ste: { S2SL0_2: 1, S2SL0, S2DS: 1 },
        features: { OAS: 6, VAX: 1, DS: 1 },
        name: `4KB-sl2-${S2SL0}`,
      }),
    ),
  ],
  s2endi: [
    { base: 'stage 2', ste: { S2ENDI: 1 }, features: { TTENDIAN: 0b10 }, name: 'little' },
    { base: 'stage 2', legal: { S2ENDI: 1 }, ste: { S2ENDI: 0 }, features: { TTENDIAN: 0b11 }, name: 'big' },
  ],
  's2vmid-8bit': [
    { base: 'stage 2', ste: { S2VMID: 0x100 }, features: { VMID16: 0 }, name: 'stage-2' },
    { base: 'stage 1', ste: { S2VMID: 0x8000 }, features: { VMID16: 0, S2P: 1 }, name: 'stage-1' },
    { base: 'nested', ste: { S2VMID: 0xff00 }, features: { VMID16: 0 }, name: 'nested' },
  ],
};

/** Facts of states and features that a Non-secure SMMU of this kind never announces, and what stands in for each. */
export const STE_UNREACHED: Readonly<Record<string, string>> = {
  's2-secure-unimplemented': 'Secure state',
  's2-secure-vmsa32': 'Secure state',
  's1ctxptr-ipa': 'see s1ctxptr-ipa below: two behaviours are allowed',
  's2aa64-64': 'TTF without VMSAv8-64',
};

/** Conditions of features that are not modelled: rows that an SMMU with them would be put to. */
const FUTURE: Readonly<Record<string, Case>> = {
  'eats-dpt-stall': { base: 'stage 2', legal: { EATS: 0b11 }, ste: { S2S: 1 }, features: { DPT: 1, ...STALLS } },
  'eats-dpt-world': { base: 'stage 1', legal: { EATS: 0b11 }, ste: { STRW: 0b10 }, features: { DPT: 1, Hyp: 1 } },
  's2fwb-vmsa32': { base: 'stage 2', legal: { S2AA64: 0 }, ste: { S2FWB: 1 }, features: { TTF: 0b11, FWB: 1 } },
  s2haft: { base: 'stage 2', ste: { S2HAFT: 1 }, features: { HTTU: 3 } },
  's2pie-vmsa32': { base: 'stage 2', legal: { S2AA64: 0 }, ste: { S2PIE: 1 }, features: { S2PI: 1, TTF: 0b11 } },
  s2poe: { base: 'stage 2', ste: { S2POE: 1 }, features: { S2PO: 1 } },
  vmsptr: { base: 'nested', ste: { S1MPAM: 1, VMSPtr: 2n ** 44n - 1n }, features: { MPAM: 1 } },
};

/** Without the feature the field is RES0 or reserved: what would be ILLEGAL is not. */
function withoutFeature(test: Case): (b: Bench) => void {
  return (b) => {
    b.start();
    if (typeof test.ste !== 'function' && test.ste?.S2S === 1) b.needs({ STALL_MODEL: 0 });
    const base = baseOf(b, { ...test, legal: {} });
    b.ste(
      {
        ...base,
        ...(typeof test.ste === 'function' ? {} : test.ste),
        ...(test.legal?.EATS === undefined ? {} : { EATS: 3 }),
      },
      ILLEGAL_SID,
    );
    accepted(b, ILLEGAL_SID);
  };
}

const illegal: Row[] = STE_ILLEGAL.flatMap((fact) =>
  (CASES[fact.id] ?? []).map((test, index) =>
    row(
      '5.2.2',
      `${fact.id}-${test.name ?? index}`,
      `ILLEGAL: ${fact.condition} (${test.name ?? index})`,
      check(test),
      {
        ...(test.features === undefined ? {} : { features: test.features }),
      },
    ),
  ),
);

const future: Row[] = STE_ILLEGAL.flatMap((fact) => {
  const test = FUTURE[fact.id];
  if (test === undefined) return [];
  const options = { features: test.features ?? {} };
  const absent = test.legal?.S2AA64 === undefined ? { absent: withoutFeature(test) } : {};
  return [row('5.2.2', fact.id, `ILLEGAL: ${fact.condition}`, check(test), { ...options, ...absent })];
});

/** Facts without a row, for the test that every fact has one. */
export const STE_FACTS_WITHOUT_ROWS: readonly string[] = STE_ILLEGAL.map(({ id }) => id).filter(
  (id) => CASES[id] === undefined && FUTURE[id] === undefined && STE_UNREACHED[id] === undefined,
);

export const steValidityRows: readonly Row[] = [...illegal, ...future];
