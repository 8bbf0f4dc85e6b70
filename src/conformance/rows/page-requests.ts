/** Chapter 8: the PRI queue: records, overflow, automatic responses, stop markers; and CMD_PRI_RESP (IHI 0070 §4.5.2, §8). */
import { type Bench, VA } from '../bench/bench.ts';
import { eventName } from '../bench/event-record.ts';
import { pageRequestField } from '../bench/queues.ts';
import { CONFIG } from '../bench/streams.ts';
import type { PageRequestOptions } from '../bench/traffic.ts';
import { STREAM } from '../bench/traffic.ts';
import { words32 } from '../bits.ts';
import { equal, oneOf } from '../check.ts';
import { AUTO_RESPONSES, RESPONSE_CODES } from '../facts/page-requests.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const PRI = { PRI: 1, ATS: 1 };
const SUBSTREAMS = { ...PRI, SSIDSIZE: 20 };
const FAILURE = 0b1111;

/** Words of the one record that a request leaves. */
function recordWords(b: Bench, options: PageRequestOptions): number[] {
  b.requestPage(options);
  const records = b.pages.take();
  equal('records', records.length, 1);
  return words32(records[0] ?? new Uint8Array(16));
}

/** Words typed from the field positions: StreamID; SSV, Last, W, R, X, Priv, SubstreamID; PRGIndex and address. */
const WORDS: readonly {
  readonly name: string;
  readonly options: PageRequestOptions;
  readonly words: readonly number[];
}[] = [
  { name: 'read', options: { sid: 0x123, va: 0x7000_1000, group: 5 }, words: [0x123, 0x5000_0000, 0x7000_1005, 0] },
  {
    name: 'write',
    options: { sid: 0x123, va: 0x7000_1000, group: 5, read: false, write: true },
    words: [0x123, 0x6000_0000, 0x7000_1005, 0],
  },
  {
    name: 'not-last',
    options: { sid: 8, va: 0xffff_8000_1234_5000n, group: 0x1ff, last: false, write: true },
    words: [8, 0x3000_0000, 0x1234_51ff, 0xffff_8000],
  },
  {
    name: 'pasid',
    options: { sid: 9, pasid: 0xabcde, va: 0x1000, group: 1 },
    words: [9, 0xd00a_bcde, 0x1001, 0],
  },
  {
    name: 'execute-privileged',
    options: { sid: 9, pasid: 1, execute: true, privileged: true, va: 0x1000, group: 1 },
    words: [9, 0xdc00_0001, 0x1001, 0],
  },
  {
    name: 'attributes-without-pasid',
    options: { sid: 9, execute: true, privileged: true, va: 0x1000, group: 1 },
    words: [9, 0x5000_0000, 0x1001, 0],
  },
  { name: 'group-0', options: { sid: 8, va: 0, group: 0 }, words: [8, 0x5000_0000, 0, 0] },
];

const records: Row[] = [
  ...WORDS.map(({ name, options, words }) =>
    row(
      '8',
      `words-${name}`,
      `PRI record: ${name.replaceAll('-', ' ')}`,
      (b) => {
        b.start();
        equal('words of the record', recordWords(b, options), words);
      },
      { features: SUBSTREAMS },
    ),
  ),
  row(
    '8',
    'no-substreams',
    'SSIDSIZE=0: SSV, X and Priv are 0',
    (b) => {
      b.start();
      const words = recordWords(b, { pasid: 3, execute: true, privileged: true });
      equal('SSV, X, Priv', (words[1] ?? 0) & 0x8c00_0000, 0);
    },
    { features: { ...PRI, SSIDSIZE: 0 } },
  ),
  row(
    '8',
    'stop-marker',
    'a stop marker (PASID, LWR=0b100) is queued like a request',
    (b) => {
      b.start();
      const words = recordWords(b, { sid: 9, pasid: 0x77, read: false, write: false, last: true, va: 0 });
      equal('words', words, [9, 0xc000_0077, 0, 0]);
      equal('responses', b.system.responses.length, 0);
    },
    { features: SUBSTREAMS },
  ),
  row(
    '8',
    'order',
    'requests are queued in the order of their arrival',
    (b) => {
      b.start();
      for (const group of [3, 1, 2]) b.requestPage({ group, last: group === 2 });
      equal(
        'groups',
        b.pages.take().map((record) => pageRequestField(record, 'PRGIndex')),
        [3, 1, 2],
      );
    },
    { features: PRI },
  ),
  row(
    '3.5.1',
    'page-wrap',
    'the PRI queue wraps with its flag',
    (b) => {
      b.start({ pages: 1 });
      for (let n = 1; n <= 9; n++) {
        b.requestPage({ group: n });
        equal('PRIQ_PROD.WR', b.pages.prod, n % 4);
        equal(
          'group',
          b.pages.take().map((record) => pageRequestField(record, 'PRGIndex')),
          [n],
        );
      }
    },
    { features: PRI },
  ),
  ...[0, 2, 5].map((log2) =>
    row(
      '3.5.1',
      `page-size-${log2}`,
      `a PRI queue of 2^${log2} entries holds as many requests`,
      (b) => {
        b.start({ pages: log2 });
        for (let n = 0; n < 2 ** log2; n++) b.requestPage({ group: n });
        equal('records', b.pages.pending, 2 ** log2);
        equal('overflow', b.pages.overflowed, false);
      },
      { features: PRI },
    ),
  ),
  row(
    '8.2',
    'independent-of-ats',
    'requests are queued whatever ATSCHK and STE.EATS are',
    (b) => {
      b.start({ ATSCHK: 1 });
      b.ste({ Config: CONFIG.BYPASS, EATS: 0 });
      b.requestPage();
      equal('records', b.pages.pending, 1);
    },
    { features: PRI },
  ),
  row(
    '8.2',
    'independent-of-ste',
    'requests are queued without a look at the stream table',
    (b) => {
      b.start({ streams: 0 });
      b.requestPage({ sid: 0x77 });
      equal('records', b.pages.pending, 1);
      b.noEvent();
    },
    { features: PRI },
  ),
];

/** Fills the queue with requests that end no group. */
function fill(b: Bench): void {
  for (let n = 0; n < 2 ** b.pages.log2; n++) b.requestPage({ group: 100 + n, last: false });
  b.system.responses.length = 0;
}

const overflow: Row[] = [
  row(
    '8.1',
    'enter',
    'a request into a full queue toggles OVFLG and is not queued',
    (b) => {
      b.start({ pages: 1 });
      fill(b);
      equal('overflow when full', b.pages.overflowed, false);
      b.requestPage({ last: false });
      equal('overflow', b.pages.overflowed, true);
      equal('PRIQ_PROD.WR', b.pages.prod, 2);
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'once',
    'while an overflow is active OVFLG stays as it is',
    (b) => {
      b.start({ pages: 1 });
      fill(b);
      b.requestPage();
      const flag = b.registers.get('PRIQ_PROD', 'OVFLG');
      for (let n = 0; n < 3; n++) b.requestPage();
      equal('OVFLG', b.registers.get('PRIQ_PROD', 'OVFLG'), flag);
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'inhibits',
    'an active overflow keeps requests out even when there is room',
    (b) => {
      b.start({ pages: 1 });
      fill(b);
      b.requestPage();
      b.pages.take();
      b.requestPage({ group: 9 });
      equal('records', b.pages.pending, 0);
      equal(
        'responses',
        b.system.responses.map(({ groupIndex }) => groupIndex),
        [0, 9],
      );
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'acknowledge',
    'OVACKFLG equal to OVFLG ends the overflow',
    (b) => {
      b.start({ pages: 1 });
      fill(b);
      b.requestPage();
      b.pages.take();
      b.pages.acknowledgeOverflow();
      b.requestPage({ group: 9 });
      equal('records', b.pages.pending, 1);
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'again',
    'a second overflow toggles OVFLG back',
    (b) => {
      b.start({ pages: 0 });
      fill(b);
      b.requestPage();
      const flag = b.registers.get('PRIQ_PROD', 'OVFLG');
      b.pages.acknowledgeOverflow();
      b.requestPage();
      equal('OVFLG', b.registers.get('PRIQ_PROD', 'OVFLG'), 1 - flag);
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'last-answered',
    'a dropped request with Last=1 gets an automatic response',
    (b) => {
      b.start({ pages: 0 });
      fill(b);
      b.requestPage({ group: 42 });
      const answers = b.system.responses.map(
        ({ streamId, groupIndex, code, pasid }) => `${streamId} ${groupIndex} ${code} ${pasid}`,
      );
      equal('responses', answers, [`${STREAM} 42 0 -1`]);
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'not-last-silent',
    'a dropped request with Last=0 is silently ignored',
    (b) => {
      b.start({ pages: 0 });
      fill(b);
      b.requestPage({ last: false });
      equal('responses', b.system.responses.length, 0);
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'marker-dropped',
    'a stop marker in an overflow is dropped without a response',
    (b) => {
      b.start({ pages: 0 });
      fill(b);
      b.requestPage();
      b.system.responses.length = 0;
      b.requestPage({ pasid: 3, read: false, write: false, last: true });
      equal('responses', b.system.responses.length, 0);
      equal('records', b.pages.pending, 1);
    },
    { features: SUBSTREAMS },
  ),
  row(
    '8',
    'no-marker-without-pasid',
    'LWR=0b100 without a PASID is a request: dropped, it gets a response',
    (b) => {
      b.start({ pages: 0 });
      fill(b);
      b.requestPage({ read: false, write: false, last: true, group: 5 });
      equal(
        'responses',
        b.system.responses.map(({ groupIndex }) => groupIndex),
        [5],
      );
    },
    { features: PRI },
  ),
  row(
    '8.1',
    'intact',
    'requests in the full queue are as they were',
    (b) => {
      b.start({ pages: 1 });
      fill(b);
      b.requestPage();
      equal(
        'groups',
        b.pages.take().map((record) => pageRequestField(record, 'PRGIndex')),
        [100, 101],
      );
    },
    { features: PRI },
  ),
];

/** The table of automatic responses (§8.1, §8.2). */
const automatic: Row[] = AUTO_RESPONSES.filter(({ cause }) => cause === 'overflow').flatMap((fact, index) => {
  const PPS = fact.PPS ?? 0;
  const pasid = fact.pasid === true ? 0x31 : -1;
  const known = [
    fact.pasid === true ? 'PASID' : 'no PASID',
    `PPS=${PPS}`,
    ...(fact.ste === undefined ? [] : [fact.ste ? `PPAR=${fact.PPAR}` : 'no valid STE']),
  ].join(', ');
  const result = `code ${fact.code}, ${fact.responsePasid ? 'with' : 'without'} PASID`;
  return [
    row(
      '8.1',
      `automatic-${index}`,
      `automatic response to an overflow: ${known}: ${result}`,
      (b) => {
        b.start({ pages: 0 });
        fill(b);
        b.ste(fact.ste === false ? { V: 0 } : { Config: CONFIG.BYPASS, PPAR: fact.PPAR ?? 0 });
        b.requestPage({ group: 7, ...(pasid < 0 ? {} : { pasid }) });
        const answers = b.system.responses.map(({ groupIndex, code, pasid: own }) => `${groupIndex} ${code} ${own}`);
        equal('responses', answers, [`7 ${fact.code} ${fact.responsePasid ? pasid : -1}`]);
      },
      { features: { ...SUBSTREAMS, PPS } },
    ),
  ];
});

/** Why no STE can be found for PPAR, and which records CR2 asks for (§8.1). */
const PPAR_ERRORS: readonly { readonly name: string; readonly setUp: (b: Bench) => void; readonly start?: object }[] = [
  { name: 'C_BAD_STREAMID', start: { streams: 2 }, setUp: () => {} },
  {
    name: 'F_STE_FETCH',
    setUp: (b) => {
      b.control({ SMMUEN: 0 });
      b.registers.write('STRTAB_BASE', NOWHERE);
      b.control({ SMMUEN: 1 });
    },
  },
  { name: 'C_BAD_STE', setUp: (b) => b.ste({ V: 0, PPAR: 1 }) },
];

const ppar: Row[] = PPAR_ERRORS.flatMap(({ name, setUp, start }) =>
  [
    { REC_CFG_ATS: 0, RECINVSID: 1, recorded: false },
    { REC_CFG_ATS: 1, RECINVSID: 1, recorded: true },
    { REC_CFG_ATS: 1, RECINVSID: 0, recorded: name !== 'C_BAD_STREAMID' },
  ].map(({ REC_CFG_ATS, RECINVSID, recorded }) =>
    row(
      '8.1',
      `ppar-${name}-${REC_CFG_ATS}-${RECINVSID}`,
      `PPAR check meets ${name}: Response Failure, ${recorded ? 'recorded' : 'no record'} (REC_CFG_ATS=${REC_CFG_ATS}, RECINVSID=${RECINVSID})`,
      (b) => {
        b.start({ ...start, pages: 0, REC_CFG_ATS: REC_CFG_ATS as 0 | 1, RECINVSID: RECINVSID as 0 | 1 });
        setUp(b);
        fill(b);
        b.requestPage({ pasid: 4 });
        equal(
          'responses',
          b.system.responses.map(({ code, pasid }) => `${code} ${pasid}`),
          [`${FAILURE} -1`],
        );
        equal('events', b.events.take().map(eventName), recorded ? [name] : []);
      },
      { features: { ...SUBSTREAMS, PPS: 0, ATSRECERR: 1 } },
    ),
  ),
);

/** Requests that cannot be queued for other reasons (§8.2). */
function refused(b: Bench): void {
  b.requestPage({ group: 1, last: true });
  b.requestPage({ group: 2, last: false });
  b.requestPage({ group: 3, ...(b.feature('SSIDSIZE') > 0 ? { pasid: 6 } : {}) });
  const answers = b.system.responses.map(({ groupIndex, code, pasid }) => `${groupIndex} ${code} ${pasid}`);
  equal(
    'responses',
    answers,
    [1, 2, 3].map((group) => `${group} ${FAILURE} -1`),
  );
  equal('overflow', b.pages.overflowed, false);
}

const refusals: Row[] = [
  row(
    '8.2',
    'priqen-0',
    'PRIQEN=0: every request gets Response Failure, without a PASID',
    (b) => {
      b.start({ PRIQEN: 0 });
      refused(b);
    },
    { features: PRI },
  ),
  row(
    '8.2',
    'smmuen-0',
    'SMMUEN=0: every request gets Response Failure, without a PASID',
    (b) => {
      b.start({ SMMUEN: 0 });
      refused(b);
    },
    { features: PRI },
  ),
  row(
    '8.2',
    'abort',
    'an abort on writing an entry: PRIQ_ABT_ERR, and Response Failure for that request',
    (b) => {
      b.start({ PRIQEN: 0 });
      b.registers.write('PRIQ_BASE', NOWHERE + 4);
      b.control({ PRIQEN: 1 });
      b.requestPage({ group: 4 });
      equal('GERROR.PRIQ_ABT_ERR', b.registers.get('GERROR', 'PRIQ_ABT_ERR'), 1);
      const answers = b.system.responses.map(({ groupIndex, code }) => `${groupIndex} ${code}`);
      // A synchronous abort is answered, an asynchronous one is not.
      oneOf('responses', answers.join(), [`4 ${FAILURE}`, '']);
    },
    { features: PRI },
  ),
  row(
    '8.2',
    'error-active',
    'while PRIQ_ABT_ERR is active every request gets Response Failure',
    (b) => {
      b.start({ PRIQEN: 0 });
      b.registers.write('PRIQ_BASE', NOWHERE + 4);
      b.control({ PRIQEN: 1 });
      b.requestPage();
      b.system.responses.length = 0;
      refused(b);
    },
    { features: PRI },
  ),
  row(
    '8.2',
    'error-acknowledged',
    'after PRIQ_ABT_ERR is acknowledged requests are queued',
    (b) => {
      b.start({ PRIQEN: 0 });
      b.registers.write('PRIQ_BASE', NOWHERE + 4);
      b.control({ PRIQEN: 1 });
      b.requestPage();
      b.control({ PRIQEN: 0 });
      b.registers.write('PRIQ_BASE', b.pages.base + b.pages.log2);
      b.registers.write('PRIQ_PROD', 0);
      b.registers.set('GERRORN', { PRIQ_ABT_ERR: 1 });
      b.control({ PRIQEN: 1 });
      b.requestPage({ group: 8 });
      equal(
        'groups',
        b.pages.take().map((record) => pageRequestField(record, 'PRGIndex')),
        [8],
      );
    },
    { features: PRI },
  ),
  row(
    '8.2',
    'marker',
    'PRIQEN=0: a stop marker gets no response',
    (b) => {
      b.start({ PRIQEN: 0 });
      b.requestPage({ pasid: 3, read: false, write: false, last: true });
      equal('responses', b.system.responses.length, 0);
    },
    { features: SUBSTREAMS },
  ),
  row(
    '8.2',
    'identity',
    'an automatic response carries StreamID and PRGIndex of its request',
    (b) => {
      b.start({ PRIQEN: 0 });
      b.requestPage({ sid: 0x155, group: 0x1f0 });
      equal(
        'response',
        b.system.responses.map(({ streamId, groupIndex }) => `${streamId} ${groupIndex}`),
        [`${0x155} ${0x1f0}`],
      );
    },
    { features: PRI },
  ),
];

/** When the PRI queue interrupt comes (§6.3.36). */
const interrupts: Row[] = [
  row(
    '6.3.36',
    'lo-0',
    'LO=0: an interrupt when the queue becomes non-empty, and no other',
    (b) => {
      b.start({ interrupts: { PRIQ_IRQEN: 1 } });
      b.requestPage({ last: false });
      b.requestPage({ last: true });
      equal('interrupts', b.system.takeInterrupts(), ['priority']);
    },
    { features: PRI },
  ),
  row(
    '6.3.36',
    'lo-1',
    'LO=1: an interrupt for each request with Last=1, and no other',
    (b) => {
      b.start();
      b.registers.set('PRIQ_IRQ_CFG2', { LO: 1 });
      b.registers.set('IRQ_CTRL', { PRIQ_IRQEN: 1 });
      b.requestPage({ last: false });
      equal('interrupts', b.system.takeInterrupts(), []);
      b.requestPage({ last: true });
      b.requestPage({ last: true });
      equal('interrupts', b.system.takeInterrupts(), ['priority', 'priority']);
    },
    { features: { ...PRI, MSI: 1 } },
  ),
  row(
    '6.3.36',
    'lo-1-overflow',
    'LO=1: a request with Last=1 dropped by overflow interrupts too',
    (b) => {
      b.start({ pages: 0 });
      b.registers.set('PRIQ_IRQ_CFG2', { LO: 1 });
      b.registers.set('IRQ_CTRL', { PRIQ_IRQEN: 1 });
      fill(b);
      equal('interrupts', b.system.takeInterrupts(), []);
      b.requestPage({ last: true });
      equal('interrupts', b.system.takeInterrupts(), ['priority']);
    },
    { features: { ...PRI, MSI: 1 } },
  ),
  row(
    '6.3.36',
    'lo-1-refused',
    'LO=1: a request refused because PRIQEN=0 interrupts not',
    (b) => {
      b.start({ PRIQEN: 0 });
      b.registers.set('PRIQ_IRQ_CFG2', { LO: 1 });
      b.registers.set('IRQ_CTRL', { PRIQ_IRQEN: 1 });
      b.requestPage({ last: true });
      equal('interrupts', b.system.takeInterrupts(), []);
    },
    { features: { ...PRI, MSI: 1 } },
  ),
];

/** CMD_PRI_RESP (§4.5.2, §8.3). */
const responses: Row[] = [
  ...RESPONSE_CODES.map(({ name, Resp, code }) =>
    row(
      '8.3',
      `code-${name}`,
      `CMD_PRI_RESP with Resp=0b${Resp.toString(2).padStart(2, '0')}: ${name}, PCIe code ${code}`,
      (b) => {
        b.start();
        b.commands.run('PRI_RESP', { StreamID: STREAM, PRGIndex: 6, Resp });
        equal(
          'response',
          b.system.responses.map((sent) => `${sent.streamId} ${sent.groupIndex} ${sent.code}`),
          [`${STREAM} 6 ${code}`],
        );
      },
      { features: PRI },
    ),
  ),
  row(
    '4.5.2',
    'pasid',
    'CMD_PRI_RESP with SSV=1 sends the PASID',
    (b) => {
      b.start();
      b.commands.run('PRI_RESP', { StreamID: STREAM, PRGIndex: 0x1ff, Resp: 2, SSV: 1, SubstreamID: 0xfffff });
      equal(
        'response',
        b.system.responses.map(({ groupIndex, pasid }) => `${groupIndex} ${pasid}`),
        [`${0x1ff} ${0xfffff}`],
      );
    },
    { features: SUBSTREAMS },
  ),
  row(
    '4.5.2',
    'no-pasid',
    'CMD_PRI_RESP with SSV=0 sends no PASID',
    (b) => {
      b.start();
      b.commands.run('PRI_RESP', { StreamID: STREAM, Resp: 2, SubstreamID: 3 });
      equal('PASID', b.system.responses[0]?.pasid, -1);
    },
    { features: PRI },
  ),
  row(
    '4.5.2',
    'no-substreams',
    'SSIDSIZE=0, SSV=1: as SSV=0, or no effect',
    (b) => {
      b.start();
      b.commands.run('PRI_RESP', { StreamID: STREAM, Resp: 2, SSV: 1, SubstreamID: 3 });
      const [response] = b.system.responses;
      if (response !== undefined) equal('PASID', response.pasid, -1);
    },
    { features: { ...PRI, SSIDSIZE: 0 } },
  ),
  row(
    '4.5.2',
    'nobody',
    'CMD_PRI_RESP to a function that is not there is ignored',
    (b) => {
      b.start();
      b.system.functionsAnswer = false;
      b.commands.run('PRI_RESP', { StreamID: 0x99, Resp: 2 });
      b.commands.sync();
    },
    { features: PRI },
  ),
  row(
    '8',
    'round-trip',
    'a page request is answered and its page then translates',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: { EATS: 1 } });
      equal('before', b.translate({ va: VA }).read, false);
      b.requestPage({ va: VA, group: 2 });
      const [record] = b.pages.take();
      equal('page', record === undefined ? -1 : pageRequestField(record, 'PageAddress'), VA / 4096);
      lower.map(VA, 0x6000_0000);
      b.commands.run('PRI_RESP', { StreamID: STREAM, PRGIndex: 2, Resp: 2 });
      const answer = b.translate({ va: VA });
      equal('after', `${answer.read} ${answer.page}`, `true ${0x6000_0}`);
    },
    { features: PRI },
  ),
];

export const pageRequestRows: readonly Row[] = [
  ...records,
  ...overflow,
  ...automatic,
  ...ppar,
  ...refusals,
  ...interrupts,
  ...responses,
];
