/** Address translation operations: malformed requests, errors and faults (IHI 0070 §9.1.3 to §9.1.5). */
import {
  atosRow,
  BOTH_STAGES,
  bothOf,
  CODE,
  fails,
  finds,
  type LookUpOptions,
  REASON,
  STAGE_1_ALONE,
  STAGE_2_ALONE,
  SUBSTREAMS,
  stage1Of,
  stage2Of,
  TYPE,
} from '../bench/atos.ts';
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import {
  breakLeaf,
  brokenNested,
  brokenStage1,
  brokenStage2,
  CLASSES,
  type FaultClass,
  IPA,
  RELATED,
} from '../bench/broken.ts';
import { CONFIG, ttb } from '../bench/streams.ts';
import { BIT, LEAF_1 } from '../bench/tables.ts';
import type { Row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const TYPES = [
  ['stage 1', TYPE.STAGE_1],
  ['stage 2', TYPE.STAGE_2],
  ['both stages', TYPE.BOTH],
] as const;

/** Where a stage 2 fault strikes, and what a request for stage 1 alone is told of it. */
const PLACES: Readonly<Record<FaultClass, string>> = { CD: 'the CD', TT: 'a stage 1 table', IN: 'the IPA' };
const HIDDEN: Readonly<Record<FaultClass, string>> = { CD: 'F_CD_FETCH', TT: 'F_WALK_EABT', IN: 'nothing, the IPA' };

/** Invocation (§9.1.3). */
const invocation: Row[] = [
  atosRow(
    '9.1.3',
    'type-0',
    'TYPE=0b00 is INV_REQ',
    (b) => {
      b.stage1().lower.map(VA, PAGE);
      fails(b, { va: VA, type: 0 }, CODE.INV_REQ);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9.1.3',
    'type-1-absent',
    'TYPE=0b01 without stage 1 is INV_REQ',
    (b) => {
      b.stage2().map(VA, PAGE);
      fails(b, stage1Of(), CODE.INV_REQ);
    },
    { ATOS: 1, S1P: 0, S2P: 1 },
  ),
  ...[TYPE.STAGE_2, TYPE.BOTH].map((type) =>
    atosRow(
      '9.1.3',
      `type-${type}-absent`,
      `TYPE=${type} without stage 2 is INV_REQ`,
      (b) => {
        b.stage1().lower.map(VA, PAGE);
        fails(b, { va: VA, type }, CODE.INV_REQ);
      },
      { ATOS: 1, S1P: 1, S2P: 0 },
    ),
  ),
  atosRow(
    '9.1.3',
    'type-3-no-stage-1',
    'TYPE=0b11 without stage 1 is INV_REQ',
    (b) => {
      b.stage2().map(VA, PAGE);
      fails(b, bothOf(), CODE.INV_REQ);
    },
    { ATOS: 1, S1P: 0, S2P: 1 },
  ),
  atosRow(
    '9.1.3',
    'stage-2-substream',
    'TYPE=0b10 with SSID_VALID is INV_REQ',
    (b) => {
      b.nested({ ste: { S1CDMax: 1 } }).stage2.map(VA, PAGE);
      fails(b, { ...stage2Of(), pasid: 1 }, CODE.INV_REQ);
    },
    SUBSTREAMS,
  ),
  atosRow(
    '9.1.5',
    'inv-req-first',
    'INV_REQ comes before C_BAD_STREAMID',
    (b) => {
      fails(b, { va: VA, type: 0, sid: 63 }, CODE.INV_REQ);
      fails(b, { va: VA, type: 0, sid: 64 }, CODE.INV_REQ);
    },
    { ...BOTH_STAGES, SIDSIZE: 16 },
  ),
];

/** Which stages a Config translates: INV_STAGE otherwise (§9.1.3). */
const CONFIGS = [
  { config: 'ABORT', stages: 0 },
  { config: 'BYPASS', stages: 0 },
  { config: 'STAGE_1', stages: TYPE.STAGE_1 },
  { config: 'STAGE_2', stages: TYPE.STAGE_2 },
  { config: 'NESTED', stages: TYPE.BOTH },
] as const;

function configured(b: Bench, config: (typeof CONFIGS)[number]['config']): void {
  brokenNested(b, null, 'none', { Config: CONFIG[config] });
  if (config !== 'STAGE_1') return;
  b.stage1().lower.map(VA, PAGE);
}

const stages: Row[] = CONFIGS.flatMap(({ config, stages: has }) =>
  TYPES.map(([name, type]) => {
    const wanted = (type & ~has) === 0 ? 'translates' : 'INV_STAGE';
    return atosRow(
      '9.1.3',
      `${config}-${type}`,
      `Config=0b${CONFIG[config].toString(2).padStart(3, '0')}, ${name}: ${wanted}`,
      (b) => {
        configured(b, config);
        const request = { va: type === TYPE.STAGE_2 ? IPA.IN : VA, type };
        if (wanted === 'INV_STAGE') fails(b, request, CODE.INV_STAGE);
        else finds(b, request, config === 'NESTED' && type === TYPE.STAGE_1 ? IPA.IN : PAGE);
      },
    );
  }),
);

/** FAULTCODE of configuration errors, for a request that suits the stream and one that does not (§9.1.5). */
const ERRORS: readonly {
  readonly code: keyof typeof CODE;
  readonly beforeStage: boolean;
  readonly what: string;
  readonly make: (b: Bench) => Partial<LookUpOptions>;
}[] = [
  {
    code: 'C_BAD_STREAMID',
    beforeStage: true,
    what: 'StreamID beyond the stream table',
    make: () => ({ sid: 64 }),
  },
  {
    code: 'F_STE_FETCH',
    beforeStage: true,
    what: 'external abort of the STE fetch',
    make: (b) => {
      b.control({ SMMUEN: 0 });
      b.registers.write('STRTAB_BASE', NOWHERE);
      b.control({ SMMUEN: 1 });
      return {};
    },
  },
  {
    code: 'C_BAD_STE',
    beforeStage: true,
    what: 'STE with V=0',
    make: (b) => {
      b.ste({ V: 0 });
      return {};
    },
  },
  {
    code: 'C_BAD_SUBSTREAMID',
    beforeStage: false,
    what: 'SubstreamID beyond S1CDMax',
    make: (b) => {
      b.stage1({ ste: { S1CDMax: 1 } });
      return { pasid: 2 };
    },
  },
  {
    code: 'F_STREAM_DISABLED',
    beforeStage: false,
    what: 'S1DSS=0b00 without SubstreamID',
    make: (b) => {
      b.stage1({ ste: { S1CDMax: 1, S1DSS: 0b00 } });
      return {};
    },
  },
  {
    code: 'F_CD_FETCH',
    beforeStage: false,
    what: 'external abort of the CD fetch',
    make: (b) => {
      b.stage1({ ste: { S1ContextPtr: NOWHERE / 64 } });
      return {};
    },
  },
  {
    code: 'C_BAD_CD',
    beforeStage: false,
    what: 'CD with V=0',
    make: (b) => {
      b.stage1({ cd: { V: 0 } });
      return {};
    },
  },
];

const errors: Row[] = ERRORS.flatMap(({ code, beforeStage, what, make }) => [
  atosRow(
    '9.1.5',
    code,
    `${what}: ${code}, nothing recorded`,
    (b) => {
      fails(b, { ...stage1Of(), ...make(b) }, CODE[code]);
    },
    { ...SUBSTREAMS, SIDSIZE: 16 },
  ),
  atosRow(
    '9.1.5',
    `${code}-inv-stage`,
    `${what}, and a request for both stages: ${beforeStage ? code : 'INV_STAGE'}`,
    (b) => {
      fails(b, { ...bothOf(), ...make(b) }, beforeStage ? CODE[code] : CODE.INV_STAGE);
    },
    { ...SUBSTREAMS, SIDSIZE: 16 },
  ),
]);

const disabled: Row[] = [
  atosRow(
    '9.1.5',
    'substream-0',
    'S1DSS=0b10 with SubstreamID 0: F_STREAM_DISABLED',
    (b) => {
      b.stage1({ ste: { S1CDMax: 1, S1DSS: 0b10 } });
      fails(b, { ...stage1Of(), pasid: 0 }, CODE.F_STREAM_DISABLED);
    },
    SUBSTREAMS,
  ),
  atosRow('9.1.5', 'stage-2-invalid-cd', 'TYPE=0b10 on a nested stream needs no CD', (b) => {
    b.nested({ cd: { V: 0 } }).stage2.map(IPA.IN, PAGE);
    fails(b, bothOf(), CODE.C_BAD_CD);
    finds(b, stage2Of(IPA.IN), PAGE);
  }),
];

/** CD.A, R, S and STE.S2S as strict and as lenient as can be: they play no part (chapter 9). */
const RESPONSES = [
  { name: 'terminate', cd: { A: 1, R: 0, S: 0 }, ste: { S2R: 0 } },
  { name: 'zero', cd: { A: 0, R: 0, S: 0 }, ste: { S2R: 0 } },
  { name: 'stall', cd: { A: 1, R: 1, S: 1 }, ste: { S2S: 1, S2R: 1 } },
] as const;

const faults: Row[] = RELATED.flatMap((kind) => [
  atosRow(
    '9.1.4',
    `stage-1-${kind}`,
    `${kind} at stage 1: REASON=0b00, FADDR=0`,
    (b) => {
      brokenStage1(b, kind);
      fails(b, stage1Of(), CODE[kind]);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9.1.4',
    `stage-2-${kind}`,
    `${kind} at stage 2, TYPE=0b10: REASON=0b11, FADDR=0`,
    (b) => {
      brokenStage2(b, kind);
      fails(b, stage2Of(), CODE[kind], REASON.IN);
    },
    STAGE_2_ALONE,
  ),
  atosRow('9.1.4', `both-stage-1-${kind}`, `${kind} at stage 1, TYPE=0b11: REASON=0b00, FADDR=0`, (b) => {
    const { lower } = b.nested(kind === 'F_ADDR_SIZE' ? { cd: { IPS: 0 } } : {});
    breakLeaf(lower, VA, kind, IPA.IN, LEAF_1, BIT.AP1);
    fails(b, bothOf(), CODE[kind]);
  }),
  ...CLASSES.flatMap((where) => [
    atosRow(
      '9.1.4',
      `both-${where}-${kind}`,
      `${kind} at stage 2 of ${PLACES[where]}, TYPE=0b11: REASON=${REASON[where]}, FADDR=IPA`,
      (b) => {
        const { ipa } = brokenNested(b, where, kind);
        fails(b, bothOf(), CODE[kind], REASON[where], ipa);
      },
    ),
    atosRow(
      '9.1.4',
      `hidden-${where}-${kind}`,
      `${kind} at stage 2 of ${PLACES[where]}, TYPE=0b01: ${HIDDEN[where]}`,
      (b) => {
        brokenNested(b, where, kind);
        if (where === 'IN') finds(b, stage1Of(), IPA.IN);
        else fails(b, stage1Of(), where === 'CD' ? CODE.F_CD_FETCH : CODE.F_WALK_EABT);
      },
    ),
  ]),
]);

const quiet: Row[] = RESPONSES.flatMap(({ name, cd, ste }) => [
  atosRow(
    '9',
    `response-${name}-1`,
    `a stage 1 fault is reported in GATOS_PAR alone, whatever CD.A, R, S: ${name}`,
    (b) => {
      b.stage1({ cd });
      fails(b, stage1Of(), CODE.F_TRANSLATION);
    },
    { ...STAGE_1_ALONE, STALL_MODEL: 0, TERM_MODEL: 0 },
  ),
  atosRow(
    '9',
    `response-${name}-2`,
    `a stage 2 fault is reported in GATOS_PAR alone, whatever STE.S2R, S2S: ${name}`,
    (b) => {
      b.stage2({ ste });
      fails(b, stage2Of(), CODE.F_TRANSLATION, REASON.IN);
    },
    { ...STAGE_2_ALONE, STALL_MODEL: 0, TERM_MODEL: 0 },
  ),
]);

/** External aborts of walks (§9.1.4). */
const aborts: Row[] = [
  atosRow(
    '9.1.4',
    'walk-abort',
    'external abort of a stage 1 walk, TYPE=0b01: F_WALK_EABT',
    (b) => {
      b.stage1({ cd: { TTB0: ttb(NOWHERE) } });
      fails(b, stage1Of(), CODE.F_WALK_EABT);
    },
    STAGE_1_ALONE,
  ),
  atosRow('9.1.4', 'walk-abort-both', 'external abort of a stage 1 walk, TYPE=0b11: F_WALK_EABT, REASON=0b00', (b) => {
    const { stage2 } = b.nested({ cd: { TTB0: ttb(IPA.TT) } });
    stage2.map(IPA.TT, NOWHERE);
    fails(b, bothOf(), CODE.F_WALK_EABT);
    fails(b, stage1Of(), CODE.F_WALK_EABT);
  }),
  atosRow('9.1.4', 'cd-abort-both', 'external abort of a CD fetch through stage 2: F_CD_FETCH, REASON=0b00', (b) => {
    const { stage2 } = b.nested({ ste: { S1ContextPtr: IPA.CD / 64 } });
    stage2.map(IPA.CD, NOWHERE);
    fails(b, bothOf(), CODE.F_CD_FETCH);
    fails(b, stage1Of(), CODE.F_CD_FETCH);
  }),
  atosRow(
    '9.1.4',
    'walk-abort-stage-2',
    'external abort of a stage 2 walk, TYPE=0b10: F_WALK_EABT, REASON=0b11',
    (b) => {
      b.stage2({ ste: { S2TTB: ttb(NOWHERE) } });
      fails(b, stage2Of(), CODE.F_WALK_EABT, REASON.IN);
    },
    STAGE_2_ALONE,
  ),
  ...CLASSES.map((where) =>
    atosRow(
      '9.1.4',
      `walk-abort-${where}`,
      `external abort of the stage 2 walk for ${PLACES[where]}, TYPE=0b11: F_WALK_EABT, REASON=${REASON[where]}, FADDR=0`,
      (b) => {
        const { stage2 } = brokenNested(b, null, 'none');
        stage2.set(IPA[where], 2, BigInt(NOWHERE) | 3n);
        fails(b, bothOf(), CODE.F_WALK_EABT, REASON[where]);
        if (where !== 'IN') fails(b, stage1Of(), where === 'CD' ? CODE.F_CD_FETCH : CODE.F_WALK_EABT);
      },
    ),
  ),
];

/** Input addresses out of range (§3.4, §9). */
const ranges: Row[] = [
  atosRow(
    '9.1.4',
    'stage-2-input',
    'TYPE=0b10 beyond the output address size: F_ADDR_SIZE of stage 1',
    (b) => {
      b.stage2().map(VA, PAGE);
      fails(b, stage2Of(2 ** 50), CODE.F_ADDR_SIZE);
    },
    { ...STAGE_2_ALONE, OAS: 5 },
  ),
  atosRow(
    '9',
    'stage-1-range',
    'TYPE=0b01 beyond T0SZ: F_TRANSLATION',
    (b) => {
      b.stage1({ inputBits: 39 });
      fails(b, stage1Of(2 ** 40), CODE.F_TRANSLATION);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9',
    'stage-2-range',
    'TYPE=0b10 beyond S2T0SZ: F_TRANSLATION',
    (b) => {
      b.stage2();
      fails(b, stage2Of(2 ** 40), CODE.F_TRANSLATION, REASON.IN);
    },
    { ...STAGE_2_ALONE, OAS: 5 },
  ),
];

export const atosFaultRows: readonly Row[] = [
  ...invocation,
  ...stages,
  ...errors,
  ...disabled,
  ...faults,
  ...quiet,
  ...aborts,
  ...ranges,
];
