/** The PRI queue: records, overflow, interrupts (IHI 0070 chapter 8, §6.3.36). */
import type { Bench } from '../bench/bench.ts';
import { pageRequestField } from '../bench/queues.ts';
import { CONFIG } from '../bench/streams.ts';
import type { PageRequestOptions } from '../bench/traffic.ts';
import { STREAM } from '../bench/traffic.ts';
import { words32 } from '../bits.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';

const PRI = { PRI: 1, ATS: 1 };
const SUBSTREAMS = { ...PRI, SSIDSIZE: 20 };

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
  ...[
    { read: false, write: true },
    { read: true, write: false },
  ].map(({ read, write }) =>
    row(
      '8',
      `no-marker-${read ? 'read' : 'write'}`,
      `LWR=0b1${write ? 1 : 0}${read ? 1 : 0} with a PASID is no stop marker: dropped, it gets a response`,
      (b) => {
        b.start({ pages: 0 });
        fill(b);
        b.requestPage({ pasid: 3, read, write, last: true, group: 5 });
        equal(
          'responses',
          b.system.responses.map(({ groupIndex }) => groupIndex),
          [5],
        );
      },
      { features: SUBSTREAMS },
    ),
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
    'lo-1-marker',
    'LO=1: a stop marker has Last=1 and interrupts, queued or dropped by overflow',
    (b) => {
      b.start({ pages: 0 });
      b.registers.set('PRIQ_IRQ_CFG2', { LO: 1 });
      b.registers.set('IRQ_CTRL', { PRIQ_IRQEN: 1 });
      for (let n = 0; n < 2; n++) b.requestPage({ pasid: 3, read: false, write: false, last: true });
      equal('overflow', b.pages.overflowed, true);
      equal('interrupts', b.system.takeInterrupts(), ['priority', 'priority']);
    },
    { features: { ...SUBSTREAMS, MSI: 1 } },
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

export const pageRequestRows: readonly Row[] = [...records, ...overflow, ...interrupts];
