/** §5.4.2: every condition that makes a CD ILLEGAL, next to a CD that differs in nothing else and is legal. */
import { type Bench, VA } from '../bench/bench.ts';
import { eventName } from '../bench/event-record.ts';
import { type CdValues, CONFIG, type SteValues, TG0, TG1 } from '../bench/streams.ts';
import type { Granule } from '../bench/tables.ts';
import { Mismatch } from '../check.ts';
import { CD_ILLEGAL } from '../facts/cd-illegal.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

interface Case {
  readonly name: string;
  /** Fields that make it ILLEGAL. */
  readonly cd: CdValues;
  /** What else differs from the defaults, in the legal CD too. */
  readonly legal?: CdValues;
  readonly ste?: SteValues;
  readonly features?: FeatureValues;
  readonly upper?: true;
  readonly granule?: Granule;
  readonly E2H?: 1;
  readonly nested?: true;
}

const LEGAL_SID = 9;
const ILLEGAL_SID = 8;

/** A stream whose CD has `cd` on top of what is legal. */
function stream(b: Bench, test: Omit<Case, 'name' | 'cd'>, cd: CdValues, sid: number): void {
  const granule = test.granule ?? '4KB';
  const options = {
    sid,
    granule,
    ste: test.ste ?? {},
    cd: { ...test.legal, ...cd },
    ...(test.upper === undefined ? {} : { upper: true }),
  };
  if (test.nested === true) b.nested(options);
  else b.stage1(options);
}

function accepted(b: Bench, sid: number): void {
  b.access({ va: VA, sid });
  const names = b.events.take().map(eventName);
  if (names.includes('C_BAD_CD')) throw new Mismatch('a legal CD', 'no C_BAD_CD', 'C_BAD_CD');
}

function check(test: Case): (b: Bench) => void {
  return (b) => {
    b.start(test.E2H === undefined ? {} : { E2H: 1 });
    stream(b, test, {}, LEGAL_SID);
    accepted(b, LEGAL_SID);
    stream(b, test, test.cd, ILLEGAL_SID);
    b.faults({ va: VA, sid: ILLEGAL_SID }, 'C_BAD_CD');
  };
}

const STALLS: FeatureValues = { STALL_MODEL: 0, TERM_MODEL: 0 };
const WIDE: FeatureValues = { OAS: 6, VAX: 1, DS: 1 };
const TTB_48 = 2n ** 44n;

/** TxSZ limits (§5.4 T0SZ): the last legal value and the first that is not. */
const SIZES: readonly {
  readonly name: string;
  readonly good: number;
  readonly bad: number;
  readonly granule: Granule;
  readonly features: FeatureValues;
  readonly ds?: 1;
}[] = [
  { name: 'max-4KB', good: 39, bad: 40, granule: '4KB', features: { STT: 0 } },
  { name: 'max-16KB', good: 39, bad: 40, granule: '16KB', features: { STT: 0 } },
  { name: 'max-64KB', good: 39, bad: 40, granule: '64KB', features: { STT: 0 } },
  { name: 'max-stt-4KB', good: 48, bad: 49, granule: '4KB', features: { STT: 1 } },
  { name: 'max-stt-16KB', good: 48, bad: 49, granule: '16KB', features: { STT: 1 } },
  { name: 'max-stt-64KB', good: 47, bad: 48, granule: '64KB', features: { STT: 1 } },
  { name: 'max-63', good: 39, bad: 63, granule: '4KB', features: { STT: 1 } },
  { name: 'min-4KB', good: 16, bad: 15, granule: '4KB', features: { VAX: 0, DS: 0 } },
  { name: 'min-16KB', good: 16, bad: 15, granule: '16KB', features: { VAX: 0, DS: 0 } },
  { name: 'min-64KB', good: 16, bad: 15, granule: '64KB', features: { VAX: 0, DS: 0 } },
  { name: 'min-4KB-vax', good: 16, bad: 15, granule: '4KB', features: WIDE },
  { name: 'min-16KB-vax', good: 16, bad: 15, granule: '16KB', features: WIDE },
  { name: 'min-64KB-vax', good: 12, bad: 11, granule: '64KB', features: WIDE },
  { name: 'min-4KB-ds', good: 12, bad: 11, granule: '4KB', features: WIDE, ds: 1 },
  { name: 'min-16KB-ds', good: 12, bad: 11, granule: '16KB', features: WIDE, ds: 1 },
  { name: 'min-0', good: 16, bad: 0, granule: '4KB', features: { VAX: 0, DS: 0 } },
];

function sizes(half: 'T0SZ' | 'T1SZ'): Case[] {
  return SIZES.map(({ name, good, bad, granule, features, ds }) => ({
    name,
    granule,
    features,
    legal: { [half]: good, ...(ds === undefined ? {} : { DS: 1 }) },
    cd: { [half]: bad },
    ...(half === 'T1SZ' ? { upper: true } : {}),
  }));
}

/** TTBx beyond the effective IPS, or beyond 48 bits where the granule allows no more. */
function bases(half: 'TTB0' | 'TTB1'): Case[] {
  const upper = half === 'TTB1' ? ({ upper: true } as const) : {};
  return [
    { name: 'ips-32', legal: { IPS: 0b000 }, cd: { [half]: 2n ** 28n }, ...upper },
    { name: 'ips-36', legal: { IPS: 0b001 }, cd: { [half]: 2n ** 32n }, ...upper },
    { name: 'ips-40', legal: { IPS: 0b010 }, cd: { [half]: 2n ** 36n }, ...upper },
    { name: 'ips-44', legal: { IPS: 0b100 }, cd: { [half]: 2n ** 40n }, ...upper },
    { name: 'oas-40', features: { OAS: 2 }, cd: { [half]: 2n ** 36n }, ...upper },
    { name: 'oas-48', features: { OAS: 5 }, cd: { [half]: TTB_48 }, ...upper },
    { name: '4KB-no-ds', features: WIDE, cd: { [half]: TTB_48 }, ...upper },
    { name: '16KB-no-ds', features: WIDE, granule: '16KB', cd: { [half]: TTB_48 }, ...upper },
  ];
}

const CASES: Readonly<Record<string, readonly Case[]>> = {
  v0: [
    { name: 'stage-1', cd: { V: 0 } },
    { name: 'nested', cd: { V: 0 }, nested: true },
  ],
  's-disabled': [{ name: 's1stalld', ste: { S1STALLD: 1 }, features: STALLS, cd: { S: 1 } }],
  'a-required': [{ name: 'term-model', features: { TERM_MODEL: 1 }, cd: { A: 0 } }],
  's-unsupported': [{ name: 'model-1', features: { STALL_MODEL: 1 }, cd: { S: 1 } }],
  's-forced': [{ name: 'model-2', features: { STALL_MODEL: 2 }, legal: { S: 1 }, cd: { S: 0 } }],
  endi: [
    { name: 'little', features: { TTENDIAN: 0b10 }, cd: { ENDI: 1 } },
    { name: 'big', features: { TTENDIAN: 0b11 }, legal: { ENDI: 1 }, cd: { ENDI: 0 } },
    { name: 'upper-only', features: { TTENDIAN: 0b10 }, upper: true, legal: { EPD0: 1 }, cd: { ENDI: 1 } },
  ],
  'aa64-32': [
    { name: 'ttf', features: { TTF: 0b10, D128: 0 }, cd: { AA64: 0 } },
    { name: 'e2h', features: { Hyp: 1, TTF: 0b10 }, ste: { STRW: 2 }, E2H: 1, cd: { AA64: 0 } },
  ],
  'ha-none': [
    { name: 'ha', features: { HTTU: 0 }, cd: { HA: 1 } },
    { name: 'hd', features: { HTTU: 0 }, cd: { HD: 1 } },
    { name: 'both', features: { HTTU: 0 }, cd: { HA: 1, HD: 1 } },
  ],
  'hd-none': [
    { name: 'with-ha', features: { HTTU: 1 }, legal: { HA: 1 }, cd: { HD: 1 } },
    { name: 'alone', features: { HTTU: 1 }, cd: { HD: 1 } },
  ],
  'asid-8bit': [
    { name: 'el1', features: { ASID16: 0 }, legal: { ASID: 0xff }, cd: { ASID: 0x100 } },
    { name: 'el1-top', features: { ASID16: 0 }, cd: { ASID: 0x8000 } },
    { name: 'nested', features: { ASID16: 0 }, nested: true, cd: { ASID: 0xff00 } },
    { name: 'e2h', features: { ASID16: 0, Hyp: 1 }, ste: { STRW: 2 }, E2H: 1, cd: { ASID: 0x100 } },
  ],
  t0sz: sizes('T0SZ'),
  t1sz: sizes('T1SZ'),
  tg0: [
    { name: 'reserved', cd: { TG0: 0b11 } },
    { name: 'no-16KB', features: { GRAN16K: 0 }, cd: { TG0: TG0['16KB'] } },
    { name: 'no-64KB', features: { GRAN64K: 0 }, cd: { TG0: TG0['64KB'] } },
    { name: 'no-4KB', features: { GRAN4K: 0, GRAN64K: 1 }, granule: '64KB', cd: { TG0: TG0['4KB'] } },
  ],
  tg1: [
    { name: 'reserved', upper: true, cd: { TG1: 0b00 } },
    { name: 'no-16KB', upper: true, features: { GRAN16K: 0 }, cd: { TG1: TG1['16KB'] } },
    { name: 'no-64KB', upper: true, features: { GRAN64K: 0 }, cd: { TG1: TG1['64KB'] } },
    { name: 'no-4KB', upper: true, features: { GRAN4K: 0, GRAN64K: 1 }, granule: '64KB', cd: { TG1: TG1['4KB'] } },
  ],
  'ttb0-range': bases('TTB0'),
  'ttb1-range': bases('TTB1'),
};

/** Conditions of features that are not modelled. */
const FUTURE: Readonly<Record<string, Case>> = {
  'aa64-s2-32': { name: '', features: { TTF: 0b11 }, nested: true, ste: { S2AA64: 0 }, cd: { AA64: 1 } },
  haft: { name: '', features: { HTTU: 3 }, cd: { HAFT: 1 } },
  pii: { name: '', features: { S1PI: 1 }, ste: { S1PIE: 1 }, legal: { PIE: 1 }, cd: { PIIP: 0b100 } },
  d128: { name: '', features: { D128: 1 }, cd: { AA64: 0 } },
};

/** Facts that no SMMU of this kind can be put to. */
export const CD_UNREACHED: Readonly<Record<string, string>> = { 'aa64-64': 'TTF without VMSAv8-64' };

/** Without the feature the field is RES0: what would be ILLEGAL is not. */
function withoutFeature(test: Case): (b: Bench) => void {
  return (b) => {
    b.start();
    stream(b, test, test.cd, ILLEGAL_SID);
    accepted(b, ILLEGAL_SID);
  };
}

const illegal: Row[] = CD_ILLEGAL.flatMap((fact) =>
  (CASES[fact.id] ?? []).map((test) =>
    row('5.4.2', `${fact.id}-${test.name}`, `ILLEGAL: ${fact.condition} (${test.name})`, check(test), {
      ...(test.features === undefined ? {} : { features: test.features }),
    }),
  ),
);

const future: Row[] = CD_ILLEGAL.flatMap((fact) => {
  const test = FUTURE[fact.id];
  if (test === undefined) return [];
  const silent = fact.id === 'haft' || fact.id === 'pii' ? { absent: withoutFeature(test) } : {};
  return [
    row('5.4.2', fact.id, `ILLEGAL: ${fact.condition}`, check(test), { features: test.features ?? {}, ...silent }),
  ];
});

/** Facts without a row, for the test that every fact has one. */
export const CD_FACTS_WITHOUT_ROWS: readonly string[] = CD_ILLEGAL.map(({ id }) => id).filter(
  (id) => CASES[id] === undefined && FUTURE[id] === undefined && CD_UNREACHED[id] === undefined,
);

interface Legal extends Omit<Case, 'cd'> {
  readonly title: string;
  readonly cd: CdValues;
  readonly section?: string;
}

const LEGAL: readonly Legal[] = [
  {
    name: 'epd0-t0sz',
    title: 'EPD0=1: an invalid T0SZ is ignored',
    upper: true,
    cd: { EPD0: 1, T0SZ: 0 },
    section: '5.4.1.1',
  },
  {
    name: 'epd0-tg0',
    title: 'EPD0=1: an invalid TG0 is ignored',
    upper: true,
    cd: { EPD0: 1, TG0: 3 },
    section: '5.4.1.1',
  },
  {
    name: 'epd0-ttb0',
    title: 'EPD0=1: TTB0 out of range is ignored',
    upper: true,
    cd: { EPD0: 1, TTB0: 2n ** 48n - 1n },
    section: '5.4.1.1',
  },
  { name: 'epd1-t1sz', title: 'EPD1=1: an invalid T1SZ is ignored', cd: { EPD1: 1, T1SZ: 63 }, section: '5.4.1.1' },
  { name: 'epd1-tg1', title: 'EPD1=1: an invalid TG1 is ignored', cd: { EPD1: 1, TG1: 0 }, section: '5.4.1.1' },
  {
    name: 'epd1-ttb1',
    title: 'EPD1=1: TTB1 out of range is ignored',
    cd: { EPD1: 1, TTB1: 2n ** 48n - 1n },
    section: '5.4.1.1',
  },
  {
    name: 'epd-both-endi',
    title: 'EPD0=EPD1=1: ENDI is ignored',
    cd: { EPD0: 1, EPD1: 1, ENDI: 1 },
    features: { TTENDIAN: 0b10 },
  },
  { name: 'ips-cap', title: 'an IPS above the OAS is capped', cd: { IPS: 0b110 }, features: { OAS: 2 } },
  { name: 'ips-111', title: 'IPS=0b111 is legal', cd: { IPS: 0b111 } },
  {
    name: 'asid-el2',
    title: 'StreamWorld EL2: the ASID is ignored',
    cd: { ASID: 0xffff },
    ste: { STRW: 2 },
    features: { ASID16: 0, Hyp: 1 },
  },
  {
    name: 'el2-upper',
    title: 'StreamWorld EL2: the fields of TTB1 are RES0',
    cd: { EPD1: 0, T1SZ: 63, TG1: 0, TTB1: 2n ** 48n - 1n },
    ste: { STRW: 2 },
    features: { Hyp: 1 },
  },
  {
    name: 'endi-mixed',
    title: 'TTENDIAN=0b00: either endianness is legal',
    cd: { ENDI: 1 },
    features: { TTENDIAN: 0 },
  },
  { name: 'hd-alone', title: 'HTTU=0b10: HD without HA is legal', cd: { HD: 1 }, features: { HTTU: 2 } },
  { name: 'nscfg', title: 'NSCFG0 and NSCFG1 are ignored in a Non-secure stream', cd: { NSCFG0: 1, NSCFG1: 1 } },
  { name: 'uwxn', title: 'UWXN is ignored with VMSAv8-64 tables', cd: { UWXN: 1 } },
  { name: 'stalling', title: 'STALL_MODEL=0b00, S1STALLD=0: S=1 is legal', cd: { S: 1, A: 0, R: 0 }, features: STALLS },
];

const legal: Row[] = LEGAL.map((test) =>
  row(test.section ?? '5.4.2', `legal-${test.name}`, test.title, withoutFeature(test), {
    ...(test.features === undefined ? {} : { features: test.features }),
  }),
);

/** §5.4: a CD of stage 1 alone is legal through one STE and not through another. */
const throughSte: Row[] = [
  row('5.4.1', 'per-ste', 'the legality of a CD depends on the STE that reaches it', (b) => {
    b.needs({ STALL_MODEL: 0 });
    b.start();
    const { cd, lower } = b.stage1({ sid: LEGAL_SID, cd: { S: 1 } });
    lower.map(VA, 0x6000_0000);
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: cd / 64, S1STALLD: 1 }, ILLEGAL_SID);
    b.reaches({ va: VA, sid: LEGAL_SID }, 0x6000_0000);
    b.faults({ va: VA, sid: ILLEGAL_SID }, 'C_BAD_CD');
  }),
];

/** §5.4.1.1, the table of EPDx, TxSZ and the half that an address selects. */
const HIGH = 0xffff_0000_7000_0000n;
const INVALID = 63;
const EPD_TABLE = [
  { va: 'upper', EPD0: 0, EPD1: 0, result: 'upper' },
  { va: 'lower', EPD0: 0, EPD1: 0, result: 'lower' },
  { va: 'upper', EPD0: 0, EPD1: 0, T1SZ: INVALID, result: 'bad' },
  { va: 'lower', EPD0: 0, EPD1: 0, T1SZ: INVALID, result: 'bad' },
  { va: 'upper', EPD0: 0, EPD1: 0, T0SZ: INVALID, result: 'bad' },
  { va: 'lower', EPD0: 0, EPD1: 0, T0SZ: INVALID, result: 'bad' },
  { va: 'upper', EPD0: 0, EPD1: 1, T1SZ: INVALID, result: 'fault' },
  { va: 'lower', EPD0: 0, EPD1: 1, T1SZ: INVALID, result: 'lower' },
  { va: 'upper', EPD0: 0, EPD1: 1, T0SZ: INVALID, result: 'bad' },
  { va: 'lower', EPD0: 0, EPD1: 1, T0SZ: INVALID, result: 'bad' },
  { va: 'upper', EPD0: 1, EPD1: 0, T0SZ: INVALID, result: 'upper' },
  { va: 'lower', EPD0: 1, EPD1: 0, T0SZ: INVALID, result: 'fault' },
  { va: 'upper', EPD0: 1, EPD1: 0, T1SZ: INVALID, result: 'bad' },
  { va: 'lower', EPD0: 1, EPD1: 0, T1SZ: INVALID, result: 'bad' },
] as const;
const RESULTS = {
  upper: 'TTB1 translates',
  lower: 'TTB0 translates',
  bad: 'C_BAD_CD',
  fault: 'F_TRANSLATION',
} as const;

const epd: Row[] = EPD_TABLE.map(({ va, result, ...cd }, index) => {
  const fields = Object.entries(cd).map(([name, value]) => `${name}=${value === INVALID ? 'invalid' : value}`);
  return row(
    '5.4.1.1',
    `epd-${index}`,
    `an address of the ${va} half, ${fields.join(', ')}: ${RESULTS[result]}`,
    (b) => {
      b.start();
      const { lower, upper } = b.stage1({ upper: true, cd });
      lower.map(VA, 0x6000_1000);
      upper.map(HIGH, 0x6000_2000);
      const access = { va: va === 'upper' ? HIGH : VA };
      if (result === 'bad') b.faults(access, 'C_BAD_CD');
      else if (result === 'fault') b.faults(access, 'F_TRANSLATION', { CLASS: 2 });
      else b.reaches(access, result === 'upper' ? 0x6000_2000 : 0x6000_1000);
    },
  );
});

export const cdValidityRows: readonly Row[] = [...illegal, ...future, ...legal, ...throughSte, ...epd];
