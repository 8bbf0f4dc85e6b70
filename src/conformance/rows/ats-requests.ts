/** ATS Translation Requests: completions, permissions, sizes, and which of them record an event (IHI 0070 §3.9.1.2, §13.6, §13.7). */
import { Completion, type TranslationCompletion } from '../../hw/pcie/tlp.ts';
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { brokenNested, brokenStage1, brokenStage2, CLASSES, IPA, RELATED } from '../bench/broken.ts';
import { eventName } from '../bench/event-record.ts';
import { CONFIG, type SteValues } from '../bench/streams.ts';
import { BIT, LEAF_1, LEAF_2 } from '../bench/tables.ts';
import type { TranslateOptions } from '../bench/traffic.ts';
import { equal, Mismatch, oneOf } from '../check.ts';
import { GRANTS } from '../facts/ats.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';
import { NOWHERE } from '../subject.ts';

const EATS_FULL = { EATS: 0b01 };
const EATS_SPLIT = { EATS: 0b10 };
const ATS: FeatureValues = { ATS: 1 };
const SPLIT: FeatureValues = { ATS: 1, NS1ATS: 0 };

const STATUS = {
  [Completion.SUCCESS]: 'Success',
  [Completion.UNSUPPORTED_REQUEST]: 'UR',
  [Completion.COMPLETER_ABORT]: 'CA',
  [Completion.PENDING]: 'none',
} as const;

/** The completion in short: status, and for Success the permissions. */
function shown(answer: TranslationCompletion): string {
  const status = STATUS[answer.status];
  if (status !== 'Success') return status;
  const bits = [answer.read && 'R', answer.write && 'W', answer.execute && 'X'].filter(Boolean).join('');
  return `Success ${bits === '' ? 'none' : bits}`;
}

function answers(b: Bench, options: TranslateOptions, expected: string): TranslationCompletion {
  const answer = b.translate(options);
  equal('completion', shown(answer), expected);
  return answer;
}

/** Denied: Success with R=W=0, the size of the STU, nothing recorded. */
function denied(b: Bench, options: TranslateOptions): void {
  const answer = answers(b, options, 'Success none');
  equal('size in pages', answer.pages, smallestUnit(b));
  b.noEvent();
}

/** The STU: the smallest granule, in 4 KiB pages (§3.9.1). */
function smallestUnit(b: Bench): number {
  if (b.feature('GRAN4K') === 1) return 1;
  return b.feature('GRAN16K') === 1 ? 4 : 16;
}

/** A completion that maps VA to `pa` with `pages` pages. */
function maps(answer: TranslationCompletion, va: number, pa: number, pages: number): void {
  equal('size in pages', answer.pages, pages);
  const within = Math.floor(va / 4096) % pages;
  equal('translated page', answer.page - (answer.page % pages) + within, Math.floor(pa / 4096));
}

const byConfiguration: Row[] = [
  row(
    '3.9.1.2',
    'smmuen-0',
    'SMMUEN=0: UR, F_BAD_ATS_TREQ',
    (b) => {
      b.start({ SMMUEN: 0 });
      answers(b, { va: VA }, 'UR');
      equal('event', b.events.take().map(eventName), ['F_BAD_ATS_TREQ']);
    },
    { features: ATS },
  ),
  ...[0, 1, 2, 3].map((Config) =>
    row(
      '3.9.1.2',
      `config-${Config}`,
      `Config=0b${Config.toString(2).padStart(3, '0')}: UR, no event`,
      (b) => {
        b.start();
        b.ste({ Config, ...EATS_FULL });
        answers(b, { va: VA }, 'UR');
        b.noEvent();
      },
      { features: ATS },
    ),
  ),
  ...[0, 1, 2, 3].map((EATS) =>
    row(
      '3.9.1.2',
      `bypass-eats-${EATS}`,
      `Config=0b100, EATS=${EATS}: UR, F_BAD_ATS_TREQ`,
      (b) => {
        b.start();
        b.ste({ Config: CONFIG.BYPASS, EATS });
        answers(b, { va: VA }, 'UR');
        equal('event', b.events.take().map(eventName), ['F_BAD_ATS_TREQ']);
      },
      { features: ATS },
    ),
  ),
  ...(['stage 1', 'stage 2', 'nested'] as const).flatMap((kind) => [
    row(
      '3.9.1.2',
      `eats-0-${kind}`,
      `${kind}, EATS=0b00: UR, F_BAD_ATS_TREQ`,
      (b) => {
        b.start();
        translating(b, kind, { EATS: 0 });
        answers(b, { va: VA }, 'UR');
        equal('event', b.events.take().map(eventName), ['F_BAD_ATS_TREQ']);
      },
      { features: ATS },
    ),
    row(
      '3.9.1.2',
      `eats-1-${kind}`,
      `${kind}, EATS=0b01: Success with the PA, no event`,
      (b) => {
        b.start();
        translating(b, kind, EATS_FULL);
        maps(answers(b, { va: VA }, 'Success RW'), VA, PAGE, 1);
        b.noEvent();
      },
      { features: ATS },
    ),
    row(
      '3.9.1.2',
      `eats-3-${kind}`,
      `${kind}, EATS=0b11 without DPT acts as 0b00: UR, F_BAD_ATS_TREQ`,
      (b) => {
        b.start({ ATSCHK: 1 });
        translating(b, kind, { EATS: 0b11 });
        answers(b, { va: VA }, 'UR');
        equal('event', b.events.take().map(eventName), ['F_BAD_ATS_TREQ']);
      },
      { features: { ATS: 1, DPT: 0 } },
    ),
  ]),
  row(
    '13.6.3',
    'split',
    'EATS=0b10: Success with the IPA of stage 1, permissions of both stages',
    (b) => {
      b.start({ ATSCHK: 1 });
      translating(b, 'nested', EATS_SPLIT);
      maps(answers(b, { va: VA }, 'Success RW'), VA, IPA.IN, 1);
      b.noEvent();
    },
    { features: SPLIT },
  ),
  row(
    '13.6.3',
    'split-stage-2-permissions',
    'EATS=0b10: stage 2 takes permissions away',
    (b) => {
      b.start({ ATSCHK: 1 });
      const { stage2 } = translating(b, 'nested', EATS_SPLIT);
      stage2?.map(IPA.IN, PAGE, LEAF_2 & ~0x80n);
      maps(answers(b, { va: VA }, 'Success R'), VA, IPA.IN, 1);
    },
    { features: SPLIT },
  ),
  row(
    '13.6.3',
    'split-stage-2-fault',
    'EATS=0b10: a stage 2 fault of the IPA: Success with R=W=0',
    (b) => {
      b.start({ ATSCHK: 1 });
      const { stage2 } = translating(b, 'nested', EATS_SPLIT);
      stage2?.set(IPA.IN, 3, 0n);
      denied(b, { va: VA });
    },
    { features: SPLIT },
  ),
  row(
    '5.2',
    'split-atschk-0',
    'EATS=0b10 with ATSCHK=0 acts as 0b00: UR, F_BAD_ATS_TREQ',
    (b) => {
      b.start();
      translating(b, 'nested', EATS_SPLIT);
      answers(b, { va: VA }, 'UR');
      equal('event', b.events.take().map(eventName), ['F_BAD_ATS_TREQ']);
    },
    { features: SPLIT },
  ),
  row(
    '3.9.1.2',
    'no-ats',
    'ATS=0: a Translation Request finds nothing to serve it',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE);
      const answer = { status: -1 };
      b.unit.port.translate({
        requesterId: 8,
        pasid: -1,
        execute: false,
        privileged: false,
        page: VA / 4096,
        length: 1,
        noWrite: false,
        latencyNs: 0,
        answer: answer as unknown as TranslationCompletion,
      });
      equal('completion', answer.status, Completion.UNSUPPORTED_REQUEST);
      b.noEvent();
    },
    { features: { ATS: 0 } },
  ),
];

/** A stream of the kind that maps VA to PAGE. */
function translating(b: Bench, kind: 'stage 1' | 'stage 2' | 'nested', ste: SteValues) {
  if (kind === 'stage 1') {
    b.stage1({ ste }).lower.map(VA, PAGE);
    return {};
  }
  if (kind === 'stage 2') {
    const stage2 = b.stage2({ ste });
    stage2.map(VA, PAGE);
    return { stage2 };
  }
  return brokenNested(b, null, 'none', ste);
}

/** Stage 1 skipped by S1DSS (§13.6.4, §13.6.5). */
const SKIP: SteValues = { S1CDMax: 2, S1DSS: 0b01 };
const skipping: Row[] = [
  row(
    '13.6.4',
    'stage-1-only',
    'stage 1 alone, skipped by S1DSS=0b01: identity, R=W=1, U=0',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      b.stage1({ ste: { ...EATS_FULL, ...SKIP } });
      const answer = answers(b, { va: VA }, 'Success RW');
      equal(
        'translated page of the address',
        answer.page - (answer.page % answer.pages) + ((VA / 4096) % answer.pages),
        VA / 4096,
      );
      equal('U', answer.untranslatedOnly, false);
      equal('Priv', answer.privileged, false);
      b.noEvent();
    },
    { features: ATS },
  ),
  row(
    '13.6.4',
    'nested',
    'both stages, stage 1 skipped: stage 2 alone, the PA',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      brokenNested(b, null, 'none', { ...EATS_FULL, ...SKIP });
      maps(answers(b, { va: IPA.IN }, 'Success RW'), IPA.IN, PAGE, 1);
      b.noEvent();
    },
    { features: ATS },
  ),
  row(
    '13.6.5',
    'split',
    'split-stage, stage 1 skipped: identity of the IPA, permissions of stage 2',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start({ ATSCHK: 1 });
      const { stage2 } = brokenNested(b, null, 'none', { ...EATS_SPLIT, ...SKIP });
      stage2.map(IPA.IN, PAGE, LEAF_2 & ~0x80n);
      maps(answers(b, { va: IPA.IN }, 'Success R'), IPA.IN, IPA.IN, 1);
    },
    { features: SPLIT },
  ),
  row(
    '13.6.4',
    'pasid-translated',
    'S1DSS=0b01: a request with a PASID is translated by its CD',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      const table = b.ram.allocate(4 * 64);
      const lower = b.tables().map(VA, PAGE);
      b.ram.write(table + 64, b.ram.read(b.newCd(b.cdFields(lower, null)), 64));
      b.ste({ Config: CONFIG.STAGE_1, ...EATS_FULL, ...SKIP, S1ContextPtr: table / 64 });
      maps(answers(b, { va: VA, pasid: 1 }, 'Success RW'), VA, PAGE, 1);
    },
    { features: ATS },
  ),
];

/** Configuration errors: CA, and a record only if CR2 asks for it. */
const ERRORS: readonly {
  readonly name: string;
  readonly setUp: (b: Bench) => TranslateOptions;
  readonly start?: object;
}[] = [
  { name: 'C_BAD_STREAMID', start: { streams: 2 }, setUp: () => ({ va: VA, sid: 5 }) },
  {
    name: 'F_STE_FETCH',
    setUp: (b) => {
      b.control({ SMMUEN: 0 });
      b.registers.write('STRTAB_BASE', NOWHERE);
      b.control({ SMMUEN: 1 });
      return { va: VA };
    },
  },
  {
    name: 'C_BAD_STE',
    setUp: (b) => {
      b.ste({ V: 0 });
      return { va: VA };
    },
  },
  {
    name: 'C_BAD_SUBSTREAMID',
    setUp: (b) => {
      b.stage1({ ste: EATS_FULL });
      return { va: VA, pasid: 3 };
    },
  },
  {
    name: 'F_STREAM_DISABLED',
    setUp: (b) => {
      b.stage1({ ste: { ...EATS_FULL, S1CDMax: 2, S1DSS: 0 } });
      return { va: VA };
    },
  },
  {
    name: 'F_CD_FETCH',
    setUp: (b) => {
      b.needs({ S1P: 1 });
      b.ste({ Config: CONFIG.STAGE_1, ...EATS_FULL, S1ContextPtr: NOWHERE / 64 });
      return { va: VA };
    },
  },
  {
    name: 'C_BAD_CD',
    setUp: (b) => {
      b.stage1({ ste: EATS_FULL, cd: { V: 0 } });
      return { va: VA };
    },
  },
  {
    name: 'F_WALK_EABT',
    setUp: (b) => {
      b.stage1({ ste: EATS_FULL }).lower.set(VA, 0, BigInt(NOWHERE) | 3n);
      return { va: VA };
    },
  },
];

const errors: Row[] = ERRORS.flatMap(({ name, setUp, start }) =>
  [
    { REC_CFG_ATS: 0, RECINVSID: 1, recorded: false },
    { REC_CFG_ATS: 1, RECINVSID: 1, recorded: true },
    { REC_CFG_ATS: 1, RECINVSID: 0, recorded: name !== 'C_BAD_STREAMID' },
  ].map(({ REC_CFG_ATS, RECINVSID, recorded }) =>
    row(
      '3.9.1.2',
      `${name}-rec-${REC_CFG_ATS}-${RECINVSID}`,
      `${name}: CA, ${recorded ? 'recorded' : 'not recorded'} with REC_CFG_ATS=${REC_CFG_ATS}, RECINVSID=${RECINVSID}`,
      (b) => {
        if (['C_BAD_SUBSTREAMID', 'F_STREAM_DISABLED'].includes(name)) b.needs({ SSIDSIZE: 'positive' });
        b.start({ ...start, REC_CFG_ATS: REC_CFG_ATS as 0 | 1, RECINVSID: RECINVSID as 0 | 1 });
        answers(b, setUp(b), 'CA');
        equal('events', b.events.take().map(eventName), recorded ? [name] : []);
      },
      { features: { ATS: 1, ATSRECERR: 1 } },
    ),
  ),
);

/** Faults of translation: Success with R=W=0 and no record, whatever the fault switches say. */
const faults: Row[] = [
  ...RELATED.filter((kind) => kind !== 'F_PERMISSION').map((kind) =>
    row(
      '3.9.1.2',
      `stage-1-${kind}`,
      `${kind} at stage 1: Success, R=W=0, no record, the size of the STU`,
      (b) => {
        b.start();
        brokenStage1(b, kind, { ste: EATS_FULL });
        denied(b, { va: VA });
      },
      { features: ATS },
    ),
  ),
  ...RELATED.filter((kind) => kind !== 'F_PERMISSION').map((kind) =>
    row(
      '3.9.1.2',
      `stage-2-${kind}`,
      `${kind} at stage 2: Success, R=W=0, no record, the size of the STU`,
      (b) => {
        b.start();
        brokenStage2(b, kind, EATS_FULL);
        denied(b, { va: VA });
      },
      { features: ATS },
    ),
  ),
  ...CLASSES.flatMap((where) =>
    RELATED.map((kind) =>
      row(
        '3.9.1.2',
        `nested-${where}-${kind}`,
        `${kind} at stage 2, CLASS=${where}: Success, R=W=0, no record`,
        (b) => {
          b.start({ REC_CFG_ATS: 1 });
          brokenNested(b, where, kind, EATS_FULL);
          denied(b, { va: VA });
        },
        { features: { ATS: 1, ATSRECERR: 1 } },
      ),
    ),
  ),
  row(
    '5.5',
    'never-stalls',
    'CD.S=1: a Translation Request never stalls',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL, cd: { S: 1 } });
      denied(b, { va: VA });
    },
    { features: { ATS: 1, STALL_MODEL: 0 } },
  ),
  row(
    '5.5',
    'no-raz',
    'CD.A=0 has no effect on a Translation Request',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL, cd: { A: 0, R: 0 } });
      denied(b, { va: VA });
    },
    { features: { ATS: 1, TERM_MODEL: 0 } },
  ),
  row(
    '3.9.1.2',
    'stage-2-hidden',
    'stage 1 grants nothing: stage 2 of its output is not looked at',
    (b) => {
      b.start({ REC_CFG_ATS: 1 });
      const { stage2 } = brokenNested(b, null, 'none', EATS_FULL);
      stage2.set(IPA.IN, 2, BigInt(NOWHERE) | 3n);
      const { lower } = b.nested({ sid: 9, ste: EATS_FULL });
      lower.map(VA, 0x7f_0000_0000, LEAF_1 & ~BIT.AP1);
      answers(b, { va: VA, sid: 9 }, 'Success none');
      b.noEvent();
    },
    { features: { ATS: 1, ATSRECERR: 1 } },
  ),
];

/** AP[2:1] that gives the pair; the unprivileged execute-only page of the table has AP=0b00, UXN=0. */
const AP = { 'RW/RW': BIT.AP1, '-/RW': 0n, 'RO/RO': BIT.AP1 | BIT.AP2, '-/RO': BIT.AP2 } as const;

interface PermissionCase {
  readonly name: string;
  readonly ap: keyof typeof AP;
  readonly xn?: bigint;
  readonly request: Omit<TranslateOptions, 'va'>;
  readonly ste?: SteValues;
  /** Allowed answers. */
  readonly expected: readonly string[];
}

/** PASID 0 of a table of CDs, so that Exe and Priv mean something. */
const WITH_PASID = 1;
const UXN = BIT.UXN | BIT.PXN;
/** Unprivileged execute alone. */
const PERMISSIONS: readonly PermissionCase[] = [
  { name: 'rw', ap: 'RW/RW', request: {}, expected: ['Success RW'] },
  { name: 'rw-no-write', ap: 'RW/RW', request: { noWrite: true }, expected: ['Success R', 'Success RW'] },
  { name: 'ro', ap: 'RO/RO', request: {}, expected: ['Success R'] },
  { name: 'privileged-page', ap: '-/RW', xn: UXN, request: {}, expected: ['Success none'] },
  {
    name: 'privileged-request',
    ap: '-/RW',
    request: { pasid: WITH_PASID, privileged: true },
    expected: ['Success RW'],
  },
  { name: 'user-request', ap: '-/RW', xn: UXN, request: { pasid: WITH_PASID }, expected: ['Success none'] },
  { name: 'privileged-ro', ap: '-/RO', request: { pasid: WITH_PASID, privileged: true }, expected: ['Success R'] },
  { name: 'execute', ap: 'RO/RO', request: { pasid: WITH_PASID, execute: true }, expected: ['Success RX'] },
  {
    name: 'execute-never',
    ap: 'RO/RO',
    xn: UXN,
    request: { pasid: WITH_PASID, execute: true },
    expected: ['Success R'],
  },
  { name: 'execute-not-asked', ap: 'RO/RO', request: { pasid: WITH_PASID }, expected: ['Success R'] },
  { name: 'execute-only', ap: '-/RW', request: { pasid: WITH_PASID, execute: true }, expected: ['Success none'] },
  { name: 'execute-without-pasid', ap: 'RO/RO', request: { execute: true }, expected: ['Success R'] },
  { name: 'privileged-without-pasid', ap: '-/RW', xn: UXN, request: { privileged: true }, expected: ['Success none'] },
  { name: 'write-execute', ap: 'RW/RW', request: { pasid: WITH_PASID, execute: true }, expected: ['Success RWX'] },
  {
    name: 'privcfg-privileged',
    ap: '-/RW',
    request: { pasid: WITH_PASID },
    ste: { PRIVCFG: 0b11 },
    expected: ['Success RW'],
  },
  {
    name: 'privcfg-unprivileged',
    ap: '-/RW',
    xn: UXN,
    request: { pasid: WITH_PASID, privileged: true },
    ste: { PRIVCFG: 0b10 },
    expected: ['Success none'],
  },
  {
    name: 'instcfg-instruction-execute-only',
    ap: '-/RW',
    request: { pasid: WITH_PASID, execute: true, noWrite: true },
    ste: { INSTCFG: 0b11 },
    expected: ['Success RX'],
  },
  {
    name: 'instcfg-instruction-not-asked',
    ap: '-/RW',
    request: { pasid: WITH_PASID, noWrite: true },
    ste: { INSTCFG: 0b11 },
    expected: ['Success R'],
  },
  {
    name: 'instcfg-instruction-never',
    ap: 'RO/RO',
    xn: UXN,
    request: { pasid: WITH_PASID, execute: true, noWrite: true },
    ste: { INSTCFG: 0b11 },
    expected: ['Success none'],
  },
  {
    name: 'instcfg-data',
    ap: 'RO/RO',
    xn: UXN,
    request: { pasid: WITH_PASID, execute: true },
    ste: { INSTCFG: 0b10 },
    expected: ['Success RX'],
  },
];

const permissions: Row[] = PERMISSIONS.map(({ name, ap, xn = 0n, request, ste = {}, expected }) =>
  row(
    '13.7.1',
    name,
    `permissions granted: ${name.replaceAll('-', ' ')}: ${expected.join(' or ')}`,
    (b) => {
      b.needs({ SSIDSIZE: 'positive', ...('PRIVCFG' in ste || 'INSTCFG' in ste ? { ATTR_PERMS_OVR: 1 } : {}) });
      b.start();
      withPasid(b, ste, (LEAF_1 & ~BIT.AP1) | AP[ap] | xn);
      const answer = b.translate({ va: VA, ...request });
      oneOf('completion', shown(answer), expected);
      const pasid = (request.pasid ?? -1) >= 0;
      if (answer.read || answer.write) equal('Priv', answer.privileged, pasid && request.privileged === true);
    },
    { features: ATS },
  ),
);

/** One CD for requests without a PASID and one for PASID 1, with the same tables. */
function withPasid(b: Bench, ste: SteValues, leaf: bigint): void {
  const table = b.ram.allocate(2 * 64);
  const lower = b.tables().map(VA, PAGE, leaf);
  const cd = b.ram.read(b.newCd(b.cdFields(lower, null)), 64);
  for (const index of [0, 1]) b.ram.write(table + index * 64, cd);
  b.ste({ Config: CONFIG.STAGE_1, ...EATS_FULL, S1CDMax: 1, S1DSS: 0b10, S1ContextPtr: table / 64, ...ste });
}

/** The table of §13.7, but for pages that only privileged code may write and user code may read: VMSAv8-64 has none. */
const LEAVES: Readonly<Record<string, bigint>> = {
  'RO/RW': BIT.AP1 | BIT.AP2,
  'RW/RW': BIT.AP1,
  'X/RW': 0n,
};
const granted: Row[] = GRANTS.filter(({ user }) => user !== 'RO').map((fact, index) => {
  const request = `NW=${fact.NW} Exe=${fact.Exe} Priv=${fact.Priv}`;
  const page = `user ${fact.user}, privileged ${fact.priv}, XN=${fact.xn}`;
  return row(
    '13.7',
    `grant-${index}`,
    `${request}, page ${page}: R=${fact.R} W=${fact.W ?? 'any'} Exe=${fact.X}`,
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      const leaf = (LEAF_1 & ~BIT.AP1) | (LEAVES[`${fact.user}/${fact.priv}`] ?? 0n);
      withPasid(b, {}, leaf | (fact.xn === 1 ? UXN : 0n));
      const request_ = { noWrite: fact.NW === 1, execute: fact.Exe === 1, privileged: fact.Priv === 1 };
      const answer = b.translate({ va: VA, pasid: WITH_PASID, ...request_ });
      equal('R', answer.read, fact.R === 1);
      if (fact.W !== null) equal('W', answer.write, fact.W === 1);
      equal('Exe', answer.execute, fact.X === 1);
      equal('Priv', answer.privileged, fact.Priv === 1);
    },
    { features: ATS },
  );
});

/** Sizes: at most the overlap of the two stages; the bench asks for as much as there is. */
const sizes: Row[] = [
  row(
    '13.6.3',
    'size-page',
    'a 4 KiB page: one page',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE);
      maps(answers(b, { va: VA, length: 512 }, 'Success RW'), VA, PAGE, 1);
    },
    { features: ATS },
  ),
  row(
    '13.6.3',
    'size-block',
    'a 2 MiB block: at most 512 pages, aligned',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE, LEAF_1, 2);
      const at = VA + 5 * 4096;
      const answer = answers(b, { va: at, length: 512 }, 'Success RW');
      if (answer.pages > 512) throw new Mismatch('size in pages', 'at most 512', String(answer.pages));
      maps(answer, at, PAGE + 5 * 4096, answer.pages);
    },
    { features: ATS },
  ),
  row(
    '13.6.3',
    'size-overlap',
    'a block over pages of stage 2: no more than the smaller',
    (b) => {
      b.start();
      const { lower, stage2 } = b.nested({ ste: EATS_FULL });
      lower.map(VA, 0x1_0000_0000, LEAF_1, 2);
      stage2.map(0x1_0000_0000, PAGE);
      stage2.map(0x1_0000_1000, PAGE + 0x9000);
      maps(answers(b, { va: VA + 0x1000, length: 512 }, 'Success RW'), VA + 0x1000, PAGE + 0x9000, 1);
    },
    { features: ATS },
  ),
  row(
    '13.6.3',
    'size-overlap-stage-1',
    'a page over a block of stage 2: no more than the page',
    (b) => {
      b.start();
      const { lower } = b.nested({ ste: EATS_FULL });
      lower.map(VA, PAGE + 0x7000);
      maps(answers(b, { va: VA, length: 512 }, 'Success RW'), VA, PAGE + 0x7000, 1);
    },
    { features: ATS },
  ),
  row(
    '13.6.2.1',
    'n-and-global',
    'Global and U are never set',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE, LEAF_1 & ~BIT.nG);
      const answer = answers(b, { va: VA }, 'Success RW');
      equal('Global', answer.global, false);
      equal('U', answer.untranslatedOnly, false);
    },
    { features: ATS },
  ),
];

/** Flags in the tables (§3.13.7). */
const FLAGS = { HA: 1, HD: 1 };
const CLEAN = LEAF_1 | BIT.AP2 | BIT.DBM;
const flags: Row[] = [
  row(
    '3.13.7.1',
    'access',
    'HTTU: a request that is granted anything sets AF',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: { HA: 1 } });
      lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      answers(b, { va: VA, noWrite: true }, 'Success RW');
      equal('AF', (lower.get(VA, 3) & BIT.AF) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 1 } },
  ),
  row(
    '3.13.7.2',
    'access-off',
    'no HTTU: a request for a page with AF=0 is denied',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      denied(b, { va: VA });
    },
    { features: ATS },
  ),
  row(
    '3.13.7.1',
    'dirty',
    'HTTU: NW=0 to a writable-clean page makes it dirty and grants W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: FLAGS });
      lower.map(VA, PAGE, CLEAN);
      answers(b, { va: VA }, 'Success RW');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, false);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'no-write',
    'HTTU: NW=1 to a writable-clean page leaves it clean and grants no W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: FLAGS });
      lower.map(VA, PAGE, CLEAN);
      answers(b, { va: VA, noWrite: true }, 'Success R');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'access-only',
    'HTTU of the access flag alone: a writable-clean page grants no W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: { HA: 1 } });
      lower.map(VA, PAGE, CLEAN);
      answers(b, { va: VA }, 'Success R');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 1 } },
  ),
  row(
    '3.13.7.1',
    'read-only',
    'HTTU: a read-only page (DBM=0) stays so and grants no W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: FLAGS });
      lower.map(VA, PAGE, LEAF_1 | BIT.AP2);
      answers(b, { va: VA }, 'Success R');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'stage-1-read-only',
    'stage 1 read-only: a writable-clean page of stage 2 stays clean',
    (b) => {
      b.start();
      const { lower, stage2 } = b.nested({ ste: { ...EATS_FULL, S2HA: 1, S2HD: 1 } });
      lower.map(VA, 0x1_0000_0000, LEAF_1 | BIT.AP2);
      stage2.map(0x1_0000_0000, PAGE, (LEAF_2 & ~0x80n) | BIT.DBM);
      answers(b, { va: VA }, 'Success R');
      equal('S2AP[1]', (stage2.get(0x1_0000_0000, 3) & 0x80n) !== 0n, false);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'stage-2-dirty',
    'NW=0 through both stages makes a writable-clean page of stage 2 dirty',
    (b) => {
      b.start();
      const { lower, stage2 } = b.nested({ ste: { ...EATS_FULL, S2HA: 1, S2HD: 1 } });
      lower.map(VA, 0x1_0000_0000);
      stage2.map(0x1_0000_0000, PAGE, (LEAF_2 & ~0x80n) | BIT.DBM);
      answers(b, { va: VA }, 'Success RW');
      equal('S2AP[1]', (stage2.get(0x1_0000_0000, 3) & 0x80n) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
];

export const atsRequestRows: readonly Row[] = [
  ...byConfiguration,
  ...skipping,
  ...errors,
  ...faults,
  ...permissions,
  ...granted,
  ...sizes,
  ...flags,
];
