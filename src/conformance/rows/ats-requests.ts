/** ATS Translation Requests: completions by configuration, errors and faults, and which of them record an event (IHI 0070 §3.9.1.2, §13.6). */
import { Completion, type TranslationCompletion } from '../../hw/pcie/tlp.ts';
import { answers, denied, maps } from '../bench/ats-completion.ts';
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { brokenNested, brokenStage1, brokenStage2, CLASSES, IPA, RELATED } from '../bench/broken.ts';
import { eventField, eventName } from '../bench/event-record.ts';
import { CONFIG, type SteValues } from '../bench/streams.ts';
import { BIT, LEAF_1, LEAF_2 } from '../bench/tables.ts';
import type { TranslateOptions } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';
import { NOWHERE } from '../subject.ts';

const EATS_FULL = { EATS: 0b01 };
const EATS_SPLIT = { EATS: 0b10 };
const ATS: FeatureValues = { ATS: 1 };
const SPLIT: FeatureValues = { ATS: 1, NS1ATS: 0 };

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
const SKIP: SteValues = { S1CDMax: 1, S1DSS: 0b01 };

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
    '13.6.5',
    'beyond-ias',
    'stage 1 alone, skipped, an address beyond the IAS: Success with R=W=0',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      b.stage1({ ste: { ...EATS_FULL, ...SKIP } });
      denied(b, { va: 2n ** 50n });
    },
    { features: { ATS: 1, OAS: 5 } },
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
      b.stage1({ ste: { ...EATS_FULL, S1CDMax: 1, S1DSS: 0 } });
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

/** CA of a CD fetch through stage 2: its record has the attributes of its own request (§7.3). */
const attributes: Row[] = [
  row(
    '7.3',
    'ats-cd-walk-privilege',
    'F_WALK_EABT of the CD fetch of a Translation Request: PnU is that of the request',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start({ REC_CFG_ATS: 1 });
      const { stage2 } = brokenNested(b, null, 'none', { ...EATS_FULL, S1CDMax: 1, S1DSS: 0b10 });
      stage2.set(IPA.CD, 2, BigInt(NOWHERE) | 3n);
      for (const privileged of [true, false, true]) {
        answers(b, { va: VA, pasid: 1, privileged }, 'CA');
        const [record] = b.events.take();
        equal('event', record === undefined ? 'none' : eventName(record), 'F_WALK_EABT');
        equal('PnU', record === undefined ? -1 : eventField(record, 'PnU'), privileged ? 1 : 0);
      }
    },
    { features: { ATS: 1, ATSRECERR: 1 } },
  ),
];

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

export const atsRequestRows: readonly Row[] = [...byConfiguration, ...skipping, ...errors, ...attributes, ...faults];
