/** ATS Translated transactions: what passes, what is checked, what aborts (IHI 0070 §3.9.1.1, §3.9.1.3, §13.6.3, §7.3.8). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { brokenNested, CLASS_VALUE, IPA, RELATED, type Related, stage2Fields } from '../bench/broken.ts';
import { eventName } from '../bench/event-record.ts';
import { CONFIG, type SteValues } from '../bench/streams.ts';
import { BIT, LEAF_2 } from '../bench/tables.ts';
import type { AccessOptions } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const ATS = { ATS: 1 };
const SPLIT = { ATS: 1, NS1ATS: 0 };
const TRANSLATED = { translated: true } as const;

/** A stream of each kind that translates VA to PAGE, so that passing untranslated shows. */
function stream(b: Bench, kind: 'stage 1' | 'stage 2' | 'nested', ste: SteValues): void {
  if (kind === 'stage 1') b.stage1({ ste }).lower.map(VA, PAGE + 0x8000);
  else if (kind === 'stage 2') b.stage2({ ste }).map(VA, PAGE + 0x8000);
  else brokenNested(b, null, 'none', ste);
}

const KINDS = ['stage 1', 'stage 2', 'nested'] as const;

const unchecked: Row[] = [
  row(
    '6.3.9',
    'atschk-0',
    'ATSCHK=0: a Translated transaction passes without a look at the stream table',
    (b) => {
      b.start({ ATSCHK: 0 });
      b.ste({ V: 0 });
      b.reaches({ va: PAGE, ...TRANSLATED }, PAGE);
      b.reaches({ va: PAGE + 0x10, write: true, ...TRANSLATED }, PAGE + 0x10);
      b.noEvent();
    },
    { features: ATS },
  ),
  row(
    '6.3.9',
    'atschk-0-any-stream',
    'ATSCHK=0: a StreamID out of range passes too',
    (b) => {
      b.start({ ATSCHK: 0, streams: 2 });
      b.reaches({ va: PAGE, sid: 33, ...TRANSLATED }, PAGE);
      b.noEvent();
    },
    { features: ATS },
  ),
  row(
    '3.9.1.1',
    'beyond-oas',
    'an address beyond the OAS aborts without a record, or is truncated',
    (b) => {
      b.start({ ATSCHK: 0 });
      const { ending } = b.access({ va: 2n ** 40n + BigInt(PAGE), ...TRANSLATED });
      if (ending !== 'abort') b.reaches({ va: 2n ** 40n + BigInt(PAGE), ...TRANSLATED }, PAGE);
      b.noEvent();
    },
    { features: { ATS: 1, OAS: 2 } },
  ),
  row(
    '3.9.1.1',
    'beyond-oas-checked',
    'ATSCHK=1, EATS=0b01: the same for an address beyond the OAS',
    (b) => {
      b.start({ ATSCHK: 1 });
      stream(b, 'stage 1', { EATS: 1 });
      const { ending } = b.access({ va: 2n ** 40n + BigInt(PAGE), ...TRANSLATED });
      if (ending !== 'abort') b.reaches({ va: 2n ** 40n + BigInt(PAGE), ...TRANSLATED }, PAGE);
      b.noEvent();
    },
    { features: { ATS: 1, OAS: 2 } },
  ),
];

const checked: Row[] = [
  ...[0, 1, 2, 3].map((Config) =>
    row(
      '3.9.1.3',
      `config-${Config}`,
      `ATSCHK=1, Config=0b${Config.toString(2).padStart(3, '0')}: abort, no event`,
      (b) => {
        b.start({ ATSCHK: 1 });
        b.ste({ Config, EATS: 1 });
        b.aborts({ va: PAGE, ...TRANSLATED });
        b.noEvent();
      },
      { features: ATS },
    ),
  ),
  ...[0, 1, 2, 3].map((EATS) =>
    row(
      '3.9.1.3',
      `bypass-eats-${EATS}`,
      `ATSCHK=1, Config=0b100, EATS=${EATS}: abort, F_TRANSL_FORBIDDEN`,
      (b) => {
        b.start({ ATSCHK: 1 });
        b.ste({ Config: CONFIG.BYPASS, EATS });
        b.faults({ va: PAGE, ...TRANSLATED }, 'F_TRANSL_FORBIDDEN');
      },
      { features: ATS },
    ),
  ),
  ...KINDS.flatMap((kind) => [
    row(
      '3.9.1.3',
      `eats-0-${kind}`,
      `ATSCHK=1, ${kind}, EATS=0b00: abort, F_TRANSL_FORBIDDEN`,
      (b) => {
        b.start({ ATSCHK: 1 });
        stream(b, kind, { EATS: 0 });
        b.faults({ va: PAGE, ...TRANSLATED }, 'F_TRANSL_FORBIDDEN');
        b.faults({ va: PAGE, write: true, ...TRANSLATED }, 'F_TRANSL_FORBIDDEN');
      },
      { features: ATS },
    ),
    row(
      '13.6.3',
      `eats-1-${kind}`,
      `ATSCHK=1, ${kind}, EATS=0b01: passes, the address is a PA`,
      (b) => {
        b.start({ ATSCHK: 1 });
        stream(b, kind, { EATS: 1 });
        b.reaches({ va: PAGE, ...TRANSLATED }, PAGE);
        b.reaches({ va: PAGE + 8, write: true, ...TRANSLATED }, PAGE + 8);
        b.noEvent();
      },
      { features: ATS },
    ),
    row(
      '5.2',
      `eats-3-${kind}`,
      `ATSCHK=1, ${kind}, EATS=0b11 without DPT acts as 0b00: F_TRANSL_FORBIDDEN`,
      (b) => {
        b.start({ ATSCHK: 1 });
        stream(b, kind, { EATS: 3 });
        b.faults({ va: PAGE, ...TRANSLATED }, 'F_TRANSL_FORBIDDEN');
      },
      { features: { ATS: 1, DPT: 0 } },
    ),
  ]),
  row(
    '3.9.1.3',
    'no-data-check',
    'EATS=0b01: permissions of the tables play no part',
    (b) => {
      b.start({ ATSCHK: 1 });
      b.stage1({ ste: { EATS: 1 }, cd: { V: 0 } });
      b.reaches({ va: PAGE, write: true, ...TRANSLATED }, PAGE);
    },
    { features: ATS },
  ),
];

/** Configuration errors abort; REC_CFG_ATS alone decides on the record, RECINVSID plays no part. */
const ERRORS: readonly {
  readonly name: string;
  readonly setUp: (b: Bench) => AccessOptions;
  readonly start?: object;
}[] = [
  { name: 'C_BAD_STREAMID', start: { streams: 2 }, setUp: () => ({ va: PAGE, sid: 5, ...TRANSLATED }) },
  {
    name: 'F_STE_FETCH',
    setUp: (b) => {
      b.control({ SMMUEN: 0 });
      b.registers.write('STRTAB_BASE', NOWHERE);
      b.control({ SMMUEN: 1 });
      return { va: PAGE, ...TRANSLATED };
    },
  },
  {
    name: 'C_BAD_STE',
    setUp: (b) => {
      b.ste({ V: 0 });
      return { va: PAGE, ...TRANSLATED };
    },
  },
];

const errors: Row[] = ERRORS.flatMap(({ name, setUp, start }) =>
  [0, 1].flatMap((REC_CFG_ATS) =>
    [0, 1].map((RECINVSID) =>
      row(
        '3.9.1.3',
        `${name}-rec-${REC_CFG_ATS}-${RECINVSID}`,
        `${name}: abort, ${REC_CFG_ATS === 1 ? 'recorded' : 'no record'} with REC_CFG_ATS=${REC_CFG_ATS}, RECINVSID=${RECINVSID}`,
        (b) => {
          b.start({ ...start, ATSCHK: 1, REC_CFG_ATS: REC_CFG_ATS as 0 | 1, RECINVSID: RECINVSID as 0 | 1 });
          b.aborts(setUp(b));
          equal('events', b.events.take().map(eventName), REC_CFG_ATS === 1 ? [name] : []);
        },
        { features: { ATS: 1, ATSRECERR: 1 } },
      ),
    ),
  ),
);

/** Split-stage: the address is an IPA and stage 2 translates it. */
const split: Row[] = [
  row(
    '13.6.3',
    'split-translated',
    'EATS=0b10: stage 2 translates the address',
    (b) => {
      b.start({ ATSCHK: 1 });
      stream(b, 'nested', { EATS: 2 });
      b.reaches({ va: IPA.IN + 0x20, ...TRANSLATED }, PAGE + 0x20);
      b.reaches({ va: IPA.IN + 0x28, write: true, ...TRANSLATED }, PAGE + 0x28);
      b.noEvent();
    },
    { features: SPLIT },
  ),
  ...RELATED.map((kind: Related) =>
    row(
      '3.9.1.3',
      `split-${kind}`,
      `EATS=0b10: ${kind} of stage 2 aborts and is recorded like that of any transaction`,
      (b) => {
        b.start({ ATSCHK: 1 });
        brokenNested(b, 'IN', kind, { EATS: 2 });
        b.faults({ va: IPA.IN, ...TRANSLATED }, kind, stage2Fields('IN', IPA.IN));
      },
      { features: SPLIT },
    ),
  ),
  ...RELATED.map((kind: Related) =>
    row(
      '3.9.1.3',
      `split-silent-${kind}`,
      `EATS=0b10, S2R=0: ${kind} of stage 2 aborts without a record`,
      (b) => {
        b.start({ ATSCHK: 1 });
        brokenNested(b, 'IN', kind, { EATS: 2, S2R: 0 });
        b.aborts({ va: IPA.IN, ...TRANSLATED });
        b.noEvent();
      },
      { features: SPLIT },
    ),
  ),
  row(
    '3.9.1.3',
    'split-beyond-ias',
    'EATS=0b10: an address beyond the IAS is F_ADDR_SIZE of stage 1',
    (b) => {
      b.start({ ATSCHK: 1 });
      stream(b, 'nested', { EATS: 2 });
      b.faults({ va: 2n ** 50n, ...TRANSLATED }, 'F_ADDR_SIZE', { CLASS: CLASS_VALUE.IN });
    },
    { features: { ...SPLIT, OAS: 5 } },
  ),
  row(
    '3.9.2',
    'split-atschk-0',
    'EATS=0b10 with ATSCHK=0: the address passes as a PA',
    (b) => {
      b.start({ ATSCHK: 0 });
      stream(b, 'nested', { EATS: 2 });
      b.reaches({ va: PAGE, ...TRANSLATED }, PAGE);
    },
    { features: SPLIT },
  ),
  row(
    '3.9.1.3',
    'split-privilege',
    'PASIDTT=0: Translated transactions count as unprivileged data',
    (b) => {
      b.start({ ATSCHK: 1 });
      const { stage2 } = brokenNested(b, null, 'none', { EATS: 2 });
      // XN=0b10: executable by nobody; a data read does not ask.
      stage2.map(IPA.IN, PAGE, LEAF_2 | BIT.UXN);
      b.reaches({ va: IPA.IN, pasid: 1, privileged: true, execute: true, ...TRANSLATED }, PAGE);
    },
    { features: { ...SPLIT, PASIDTT: 0 } },
  ),
  row(
    '13.7',
    'split-instcfg',
    'EATS=0b10: INSTCFG applies before stage 2 is checked',
    (b) => {
      b.start({ ATSCHK: 1 });
      const { stage2 } = brokenNested(b, null, 'none', { EATS: 2, INSTCFG: 0b11 });
      stage2.map(IPA.IN, PAGE, LEAF_2 | BIT.UXN);
      b.faults({ va: IPA.IN, ...TRANSLATED }, 'F_PERMISSION', { ...stage2Fields('IN', IPA.IN), InD: 1 });
    },
    { features: { ...SPLIT, ATTR_PERMS_OVR: 1 } },
  ),
];

/** PASIDs of Translated transactions (§3.9.1.3). */
const pasids: Row[] = [
  row(
    '3.9.1.3',
    'pasid-ignored',
    'PASIDTT=0: a PASID is not looked at',
    (b) => {
      b.start({ ATSCHK: 1, REC_CFG_ATS: 1 });
      b.stage1({ ste: { EATS: 1 } });
      b.reaches({ va: PAGE, pasid: 5, ...TRANSLATED }, PAGE);
      b.noEvent();
    },
    { features: { ATS: 1, ATSRECERR: 1, PASIDTT: 0 } },
  ),
  row(
    '7.3.9',
    'pasid-too-large',
    'PASIDTT=1: a PASID beyond S1CDMax is C_BAD_SUBSTREAMID',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start({ ATSCHK: 1, REC_CFG_ATS: 1 });
      b.stage1({ ste: { EATS: 1 } });
      b.faults({ va: PAGE, pasid: 5, ...TRANSLATED }, 'C_BAD_SUBSTREAMID');
    },
    { features: { ATS: 1, ATSRECERR: 1, PASIDTT: 1 } },
  ),
  row(
    '7.3.9',
    'pasid-silent',
    'PASIDTT=1, REC_CFG_ATS=0: abort without a record',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start({ ATSCHK: 1 });
      b.stage1({ ste: { EATS: 1 } });
      b.aborts({ va: PAGE, pasid: 5, ...TRANSLATED });
      b.noEvent();
    },
    { features: { ATS: 1, ATSRECERR: 1, PASIDTT: 1 } },
  ),
  row(
    '7.3.7',
    'pasid-disabled',
    'PASIDTT=1: PASID 0 with S1DSS=0b10 is F_STREAM_DISABLED',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start({ ATSCHK: 1, REC_CFG_ATS: 1 });
      b.stage1({ ste: { EATS: 1, S1CDMax: 1, S1DSS: 0b10 } });
      b.faults({ va: PAGE, pasid: 0, ...TRANSLATED }, 'F_STREAM_DISABLED');
    },
    { features: { ATS: 1, ATSRECERR: 1, PASIDTT: 1 } },
  ),
  ...([0, 1] as const).map((PASIDTT) =>
    row(
      '7.3.7',
      `no-pasid-disabled-${PASIDTT}`,
      `PASIDTT=${PASIDTT}, no PASID, S1DSS=0b00: ${PASIDTT === 0 ? 'passes' : 'F_STREAM_DISABLED'}`,
      (b) => {
        b.needs({ SSIDSIZE: 'positive' });
        b.start({ ATSCHK: 1, REC_CFG_ATS: 1 });
        b.stage1({ ste: { EATS: 1, S1CDMax: 1, S1DSS: 0b00 } });
        if (PASIDTT === 1) b.faults({ va: PAGE, ...TRANSLATED }, 'F_STREAM_DISABLED');
        else b.reaches({ va: PAGE, ...TRANSLATED }, PAGE);
        b.noEvent();
      },
      { features: { ATS: 1, ATSRECERR: 1, PASIDTT } },
    ),
  ),
  row(
    '3.9.1.3',
    'split-pasid-attributes',
    'PASIDTT=1, EATS=0b10: Exe and Priv of the PASID prefix count at stage 2, and stand in the record',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start({ ATSCHK: 1 });
      const { stage2 } = brokenNested(b, null, 'none', { EATS: 2, S1CDMax: 1, S1DSS: 0b01 });
      // XN=0b01: executable by unprivileged code alone.
      stage2.map(IPA.IN, PAGE, LEAF_2 | BIT.PXN);
      b.reaches({ va: IPA.IN, pasid: 1, execute: true, ...TRANSLATED }, PAGE);
      b.reaches({ va: IPA.IN, pasid: 1, privileged: true, ...TRANSLATED }, PAGE);
      // Without the prefix it is unprivileged data.
      b.reaches({ va: IPA.IN, execute: true, privileged: true, ...TRANSLATED }, PAGE);
      const fields = { ...stage2Fields('IN', IPA.IN), InD: 1, PnU: 1, SSV: 1, SubstreamID: 1 };
      b.faults({ va: IPA.IN, pasid: 1, execute: true, privileged: true, ...TRANSLATED }, 'F_PERMISSION', fields);
    },
    { features: { ...SPLIT, PASIDTT: 1, XNX: 1 } },
  ),
];

export const atsTranslatedRows: readonly Row[] = [...unchecked, ...checked, ...errors, ...split, ...pasids];
