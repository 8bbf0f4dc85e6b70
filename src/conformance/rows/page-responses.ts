/** Responses to page requests: automatic ones, PPAR, requests that cannot be queued, CMD_PRI_RESP (IHI 0070 §4.5.2, §8.1 to §8.3). */
import { type Bench, VA } from '../bench/bench.ts';
import { eventName } from '../bench/event-record.ts';
import { pageRequestField } from '../bench/queues.ts';
import { CONFIG } from '../bench/streams.ts';
import { STREAM } from '../bench/traffic.ts';
import { equal, oneOf } from '../check.ts';
import { AUTO_RESPONSES, RESPONSE_CODES } from '../facts/page-requests.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const PRI = { PRI: 1, ATS: 1 };
const SUBSTREAMS = { ...PRI, SSIDSIZE: 20 };
const FAILURE = 0b1111;

/** Fills the queue with requests that end no group. */
function fill(b: Bench): void {
  for (let n = 0; n < 2 ** b.pages.log2; n++) b.requestPage({ group: 100 + n, last: false });
  b.system.responses.length = 0;
}

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

/** An STE that only aborts is valid, and its PPAR counts (§8.1). */
const pparOfAborting: Row[] = [0, 1].map((PPAR) =>
  row(
    '8.1',
    `ppar-config-0-${PPAR}`,
    `automatic response, STE.Config=0b000, PPAR=${PPAR}: Success ${PPAR === 1 ? 'with' : 'without'} PASID`,
    (b) => {
      b.start({ pages: 0 });
      b.ste({ Config: CONFIG.ABORT, PPAR });
      fill(b);
      b.requestPage({ pasid: 4 });
      equal(
        'responses',
        b.system.responses.map(({ code, pasid }) => `${code} ${pasid}`),
        [PPAR === 1 ? '0 4' : '0 -1'],
      );
      b.noEvent();
    },
    { features: { ...SUBSTREAMS, PPS: 0 } },
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

/** A write of the queue aborted; the queue is good again, and disabled. */
function aborted(b: Bench): void {
  b.registers.write('PRIQ_BASE', NOWHERE + 4);
  b.control({ PRIQEN: 1 });
  b.requestPage();
  b.control({ PRIQEN: 0 });
  b.registers.write('PRIQ_BASE', b.pages.base + b.pages.log2);
  b.registers.write('PRIQ_PROD', 0);
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
    'error-unacknowledged',
    'PRIQ_ABT_ERR still active: requests are refused though the queue is good again',
    (b) => {
      b.start({ PRIQEN: 0 });
      aborted(b);
      b.control({ PRIQEN: 1 });
      b.system.responses.length = 0;
      refused(b);
      equal('PRIQ_PROD.WR', b.pages.prod, 0);
    },
    { features: PRI },
  ),
  row(
    '8.2',
    'error-acknowledged',
    'after PRIQ_ABT_ERR is acknowledged requests are queued',
    (b) => {
      b.start({ PRIQEN: 0 });
      aborted(b);
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

export const pageResponseRows: readonly Row[] = [...automatic, ...ppar, ...pparOfAborting, ...refusals, ...responses];
