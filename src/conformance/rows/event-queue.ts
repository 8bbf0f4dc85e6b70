/** When records are written, merged, dropped, and in which order causes count (IHI 0070 §7.2, §7.3.1, §7.3.22, §7.4). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { brokenNested, brokenStage1, CLASS_VALUE, IPA, RELATED } from '../bench/broken.ts';
import { eventField, eventName } from '../bench/event-record.ts';
import { needsStalls } from '../bench/stalled.ts';
import { CONFIG, type SteValues } from '../bench/streams.ts';
import { BIT, LEAF_1, LEAF_2 } from '../bench/tables.ts';
import { STREAM } from '../bench/traffic.ts';
import { equal, oneOf } from '../check.ts';
import type { EventName } from '../facts/events.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

/** A stream whose every transaction is C_BAD_STE. */
function bad(b: Bench, sid = STREAM): void {
  b.ram.write(b.steAddress(sid), new Uint8Array(64));
}

function strike(b: Bench, count: number): void {
  for (let n = 0; n < count; n++) b.aborts({ va: VA + n * 4096 });
}

const recording: Row[] = [
  row('7.2', 'one-per-transaction', 'a transaction leaves at most one record', (b) => {
    b.start();
    bad(b);
    strike(b, 3);
    equal('records', b.events.pending, 3);
  }),
  row('7.2', 'order', 'records are appended in the order of the transactions', (b) => {
    b.start();
    for (const sid of [4, 5, 6]) bad(b, sid);
    for (const sid of [5, 4, 6]) b.aborts({ va: VA, sid });
    equal(
      'StreamIDs',
      b.events.take().map((record) => eventField(record, 'StreamID')),
      [5, 4, 6],
    );
  }),
  row('7.2', 'prefetch-configuration', 'CMD_PREFETCH_CONFIG of a bad configuration records nothing', (b) => {
    b.start();
    bad(b);
    b.commands.run('PREFETCH_CONFIG', { StreamID: STREAM });
    b.commands.sync();
    b.noEvent();
  }),
  row('7.2', 'prefetch-address', 'CMD_PREFETCH_ADDR of a faulting address records nothing and stalls nothing', (b) => {
    b.start();
    b.stage1(b.feature('STALL_MODEL') === 0 ? { cd: { S: 1 } } : {});
    b.commands.run('PREFETCH_ADDR', { StreamID: STREAM, Addr: VA / 4096 });
    b.commands.sync();
    b.noEvent();
  }),
  row('3.5.1', 'index', 'EVENTQ_PROD moves by one entry a record, and wraps with its flag', (b) => {
    b.start({ events: 2 });
    bad(b);
    for (let n = 1; n <= 10; n++) {
      strike(b, 1);
      equal('EVENTQ_PROD.WR', b.events.prod, n % 8);
      b.events.take();
    }
  }),
  ...[0, 1, 3].map((log2) =>
    row('3.5.1', `event-size-${log2}`, `an event queue of 2^${log2} entries holds as many records`, (b) => {
      b.start({ events: log2 });
      bad(b);
      strike(b, 2 ** log2);
      equal('records', b.events.pending, 2 ** log2);
      equal('overflow', b.events.overflowed, false);
    }),
  ),
  row(
    '6.3.29',
    'size-cap',
    'a LOG2SIZE above IDR1.EVENTQS counts as EVENTQS, and reads back as written',
    (b) => {
      b.start({ EVENTQEN: 0 });
      b.registers.write('EVENTQ_BASE', b.events.base + 19);
      equal('LOG2SIZE', b.registers.get('EVENTQ_BASE', 'LOG2SIZE'), 19);
      const log2 = b.feature('EVENTQS');
      b.registers.write('EVENTQ_PROD', 2 ** log2 - 1);
      b.registers.write('EVENTQ_CONS', 2 ** log2 - 1);
      b.control({ EVENTQEN: 1 });
      bad(b);
      strike(b, 1);
      equal('EVENTQ_PROD.WR after the last entry', b.events.prod, 2 ** log2);
    },
    { features: { EVENTQS: 7 } },
  ),
  row('6.3.29', 'alignment', 'EVENTQ_BASE is aligned down to the size of the queue', (b) => {
    b.start({ events: 4, EVENTQEN: 0 });
    b.registers.write('EVENTQ_BASE', b.events.base + 0x100 + 4);
    b.control({ EVENTQEN: 1 });
    bad(b);
    strike(b, 1);
    equal('event', b.events.take().map(eventName), ['C_BAD_STE']);
  }),
];

const overflow: Row[] = [
  row('7.4', 'enter', 'a record dropped because the queue is full toggles OVFLG', (b) => {
    b.start({ events: 1 });
    bad(b);
    strike(b, 2);
    equal('overflow when full', b.events.overflowed, false);
    strike(b, 1);
    equal('overflow', b.events.overflowed, true);
    equal('EVENTQ_PROD.WR', b.events.prod, 2);
  }),
  row('7.4', 'once', 'further lost records leave OVFLG as it is', (b) => {
    b.start({ events: 1 });
    bad(b);
    strike(b, 3);
    const flag = b.registers.get('EVENTQ_PROD', 'OVFLG');
    strike(b, 3);
    equal('OVFLG', b.registers.get('EVENTQ_PROD', 'OVFLG'), flag);
  }),
  row('7.4', 'acknowledge', 'OVACKFLG equal to OVFLG ends the overflow; the next loss toggles OVFLG again', (b) => {
    b.start({ events: 1 });
    bad(b);
    strike(b, 3);
    const flag = b.registers.get('EVENTQ_PROD', 'OVFLG');
    b.events.acknowledgeOverflow();
    equal('overflow', b.events.overflowed, false);
    strike(b, 1);
    equal('OVFLG', b.registers.get('EVENTQ_PROD', 'OVFLG'), 1 - flag);
  }),
  row('7.4', 'not-inhibiting', 'an unacknowledged overflow does not keep records out once there is room', (b) => {
    b.start({ events: 1 });
    bad(b);
    strike(b, 3);
    equal('records', b.events.take().length, 2);
    strike(b, 1);
    equal('records after there was room', b.events.take().length, 1);
    equal('overflow', b.events.overflowed, true);
  }),
  row('7.4', 'disabled', 'records dropped because EVENTQEN=0 are no overflow', (b) => {
    b.start({ events: 1, EVENTQEN: 0 });
    bad(b);
    strike(b, 5);
    equal('overflow', b.events.overflowed, false);
  }),
  row('7.4', 'initial', 'OVFLG of either value at the start: a loss makes it differ from OVACKFLG', (b) => {
    b.start({ events: 0, EVENTQEN: 0 });
    b.registers.set('EVENTQ_PROD', { OVFLG: 1 });
    b.registers.set('EVENTQ_CONS', { OVACKFLG: 1 });
    b.control({ EVENTQEN: 1 });
    bad(b);
    strike(b, 2);
    equal('OVFLG', b.registers.get('EVENTQ_PROD', 'OVFLG'), 0);
  }),
  row('7.4', 'data-intact', 'records that were in the full queue are as they were', (b) => {
    b.start({ events: 1 });
    for (const sid of [4, 5, 6]) bad(b, sid);
    for (const sid of [4, 5, 6]) b.aborts({ va: VA, sid });
    equal(
      'StreamIDs',
      b.events.take().map((record) => eventField(record, 'StreamID')),
      [4, 5],
    );
  }),
];

/** A queue where nothing answers. */
function unreachable(b: Bench): void {
  b.start({ EVENTQEN: 0 });
  b.registers.write('EVENTQ_BASE', NOWHERE + 4);
  b.control({ EVENTQEN: 1 });
  bad(b);
}

const aborted: Row[] = [
  row('7.2.2', 'error', 'an abort on the write of a record activates EVENTQ_ABT_ERR', (b) => {
    unreachable(b);
    strike(b, 1);
    equal('GERROR.EVENTQ_ABT_ERR', b.registers.get('GERROR', 'EVENTQ_ABT_ERR'), 1);
    // A synchronous abort leaves PROD where it was; an asynchronous one may move it.
    oneOf('EVENTQ_PROD.WR', b.events.prod, [0, 1]);
    equal('overflow', b.events.overflowed, false);
  }),
  row('7.2.1', 'not-writable', 'while EVENTQ_ABT_ERR is active nothing is delivered', (b) => {
    unreachable(b);
    strike(b, 1);
    const { prod } = b.events;
    strike(b, 3);
    equal('EVENTQ_PROD.WR', b.events.prod, prod);
    equal('overflow', b.events.overflowed, false);
  }),
  row('7.2.1', 'writable-again', 'after EVENTQ_ABT_ERR is acknowledged records are delivered', (b) => {
    unreachable(b);
    strike(b, 1);
    b.control({ EVENTQEN: 0 });
    b.registers.write('EVENTQ_BASE', b.events.base + b.events.log2);
    b.registers.write('EVENTQ_PROD', 0);
    b.registers.set('GERRORN', { EVENTQ_ABT_ERR: 1 });
    b.control({ EVENTQEN: 1 });
    strike(b, 1);
    equal('event', b.events.take().map(eventName), ['C_BAD_STE']);
  }),
];

/** Strikes twice at the same page with the given streams and offsets; the number of records. */
function twice(b: Bench, MEV: number, second: object = {}): number {
  b.start();
  brokenStage1(b, 'F_TRANSLATION', { ste: { MEV } });
  b.aborts({ va: VA });
  b.aborts({ va: VA, ...second });
  return b.events.pending;
}

const merging: Row[] = [
  row('7.3.1', 'mev-0', 'STE.MEV=0: equal events are never merged', (b) => equal('records', twice(b, 0), 2)),
  row('7.3.1', 'mev-1', 'STE.MEV=1: equal events may be merged', (b) => oneOf('records', twice(b, 1), [1, 2])),
  row('7.3.1', 'mev-1-offset', 'STE.MEV=1: InputAddr[11:0] plays no part', (b) =>
    oneOf('records', twice(b, 1, { va: VA + 0x100 }), [1, 2]),
  ),
  ...(
    [
      ['page', { va: VA + 4096 }],
      ['direction', { write: true }],
      ['privilege', { privileged: true }],
      ['kind', { execute: true }],
    ] as const
  ).map(([name, second]) =>
    row('7.3.1', `mev-1-${name}`, `STE.MEV=1: events that differ in their ${name} are not merged`, (b) =>
      equal('records', twice(b, 1, second), 2),
    ),
  ),
  row('7.3.1', 'mev-1-stream', 'STE.MEV=1: events of different StreamIDs are not merged', (b) => {
    b.start();
    for (const sid of [4, 5]) brokenStage1(b, 'F_TRANSLATION', { sid, ste: { MEV: 1 } });
    for (const sid of [4, 5]) b.aborts({ va: VA, sid });
    equal('records', b.events.pending, 2);
  }),
  row('7.3.1', 'mev-1-type', 'STE.MEV=1: events of different types are not merged', (b) => {
    b.start();
    const tables = brokenStage1(b, 'F_TRANSLATION', { ste: { MEV: 1 } });
    b.aborts({ va: VA });
    tables.map(VA, PAGE, LEAF_1 & ~BIT.AF);
    b.aborts({ va: VA });
    equal('records', b.events.take().map(eventName), ['F_TRANSLATION', 'F_ACCESS']);
  }),
  row('7.3.1', 'consumed', 'STE.MEV=1: an event after its like was consumed is a record of its own', (b) => {
    equal('records', Math.min(twice(b, 1), 1), 1);
    b.events.take();
    b.unit.advance(50_000);
    b.aborts({ va: VA });
    equal('records', b.events.pending, 1);
  }),
  row(
    '7.3.1',
    'stalls',
    'STE.MEV=1: stall records are never merged',
    (b) => {
      needsStalls(b, 2);
      b.start();
      b.stage1({ cd: { S: 1 }, ste: { MEV: 1 } });
      b.stalls({ va: VA });
      b.stalls({ va: VA + 4096 });
      equal('records', b.events.pending, 2);
    },
    { features: { STALL_MODEL: 0 } },
  ),
];

/** Two causes at once: the first in the list of §7.3.22 is recorded. */
interface Clash {
  readonly first: EventName;
  readonly second: string;
  readonly setUp: (b: Bench) => void;
  readonly access?: object;
  readonly start?: object;
}

const invalidCd: SteValues = { Config: CONFIG.STAGE_1 };

const CLASHES: readonly Clash[] = [
  { first: 'C_BAD_STREAMID', second: 'F_STE_FETCH', start: { streams: 2 }, setUp: () => {}, access: { sid: 5 } },
  {
    first: 'C_BAD_STE',
    second: 'C_BAD_SUBSTREAMID',
    setUp: (b) => bad(b),
    access: { pasid: 3 },
  },
  {
    first: 'C_BAD_SUBSTREAMID',
    second: 'F_CD_FETCH',
    setUp: (b) => b.ste({ ...invalidCd, S1ContextPtr: NOWHERE / 64, S1CDMax: 1 }),
    access: { pasid: 2 },
  },
  {
    first: 'F_STREAM_DISABLED',
    second: 'F_CD_FETCH',
    setUp: (b) => b.ste({ ...invalidCd, S1ContextPtr: NOWHERE / 64, S1CDMax: 1, S1DSS: 0 }),
  },
  {
    first: 'F_TRANSLATION',
    second: 'C_BAD_CD',
    setUp: (b) => {
      brokenNested(b, 'CD', 'F_TRANSLATION', {}, { cd: { V: 0 } });
    },
  },
  {
    first: 'F_CD_FETCH',
    second: 'C_BAD_CD',
    setUp: (b) => b.ste({ ...invalidCd, S1ContextPtr: NOWHERE / 64 }),
  },
  {
    first: 'C_BAD_CD',
    second: 'F_TRANSLATION',
    setUp: (b) => {
      b.stage1({ cd: { V: 0 } });
    },
  },
];

const clashes: Row[] = CLASHES.map(({ first, second, setUp, access = {}, start = {} }) =>
  row('7.3.22', `${first}-${second}`, `${first} comes before ${second}`, (b) => {
    if ('pasid' in access || first === 'F_STREAM_DISABLED') b.needs({ SSIDSIZE: 'positive' });
    if (first !== 'C_BAD_STREAMID' && first !== 'C_BAD_STE') b.needs({ S1P: 1 });
    b.start(start);
    setUp(b);
    b.aborts({ va: VA, ...access });
    equal('event', b.events.take().map(eventName), [first]);
  }),
);

/** One walk with two reasons to fail. */
const walks: Row[] = [
  row('7.3.22', 'range-before-walk', 'an input out of range comes before an abort of the walk', (b) => {
    b.start();
    b.stage1({ inputBits: 39, cd: { TTB0: NOWHERE / 16 } });
    b.aborts({ va: 2 ** 40 });
    equal('event', b.events.take().map(eventName), ['F_TRANSLATION']);
  }),
  row('7.3.22', 'epd-before-walk', 'EPDx=1 comes before an abort of the walk', (b) => {
    b.start();
    b.stage1({ cd: { EPD0: 1, TTB0: NOWHERE / 16 } });
    b.aborts({ va: VA });
    equal('event', b.events.take().map(eventName), ['F_TRANSLATION']);
  }),
  row(
    '7.3.22',
    'abort-before-translation',
    'an abort of a descriptor fetch comes before faults of later levels',
    (b) => {
      b.start();
      b.stage1().lower.set(VA, 1, BigInt(NOWHERE) | 3n);
      b.aborts({ va: VA });
      equal('event', b.events.take().map(eventName), ['F_WALK_EABT']);
    },
  ),
  row(
    '7.3.22',
    'size-before-next-level',
    'F_ADDR_SIZE of a table descriptor comes before faults of the next level',
    (b) => {
      b.start();
      b.stage1({ cd: { IPS: 0 } }).lower.set(VA, 1, 0x2_0000_0003n);
      b.aborts({ va: VA });
      equal('event', b.events.take().map(eventName), ['F_ADDR_SIZE']);
    },
  ),
  row('7.3.22', 'size-before-access', 'F_ADDR_SIZE comes before F_ACCESS', (b) => {
    b.start();
    b.stage1({ cd: { IPS: 0 } }).lower.map(VA, 0x2_0000_0000, LEAF_1 & ~BIT.AF);
    b.aborts({ va: VA });
    equal('event', b.events.take().map(eventName), ['F_ADDR_SIZE']);
  }),
  row('7.3.22', 'access-before-permission', 'F_ACCESS comes before F_PERMISSION', (b) => {
    b.start();
    b.stage1().lower.map(VA, PAGE, (LEAF_1 & ~BIT.AF) | BIT.AP2);
    b.aborts({ va: VA, write: true });
    equal('event', b.events.take().map(eventName), ['F_ACCESS']);
  }),
  row('7.3.22', 'stage-1-permission-before-stage-2', 'F_PERMISSION of stage 1 comes before faults of the IPA', (b) => {
    b.start();
    const { lower } = b.nested();
    lower.map(VA, 0x1_0000_0000, LEAF_1 | BIT.AP2);
    b.aborts({ va: VA, write: true });
    const [record] = b.events.take();
    equal('event', record === undefined ? '' : eventName(record), 'F_PERMISSION');
    equal('S2', record === undefined ? -1 : eventField(record, 'S2'), 0);
  }),
  row(
    '7.3.22',
    'stage-2-of-walk-before-stage-1',
    'a stage 2 fault of a descriptor comes before what the descriptor says',
    (b) => {
      b.start();
      brokenNested(b, 'TT', 'F_ACCESS');
      b.aborts({ va: VA });
      const [record] = b.events.take();
      equal('event', record === undefined ? '' : eventName(record), 'F_ACCESS');
      equal('CLASS', record === undefined ? -1 : eventField(record, 'CLASS'), CLASS_VALUE.TT);
    },
  ),
  row('7.3.22', 'stage-2-size-before-access', 'at stage 2, F_ADDR_SIZE comes before F_ACCESS', (b) => {
    b.start();
    b.stage2({ ste: { S2PS: 0 } }).map(VA, 0x2_0000_0000, LEAF_2 & ~BIT.AF);
    b.aborts({ va: VA });
    equal('event', b.events.take().map(eventName), ['F_ADDR_SIZE']);
  }),
  row('7.3.22', 'stage-2-access-before-permission', 'at stage 2, F_ACCESS comes before F_PERMISSION', (b) => {
    b.start();
    b.stage2().map(VA, PAGE, LEAF_2 & ~BIT.AF & ~0xc0n);
    b.aborts({ va: VA });
    equal('event', b.events.take().map(eventName), ['F_ACCESS']);
  }),
  ...RELATED.map((kind) =>
    row('7.3.22', `cd-fetch-${kind}`, `${kind} of the CD fetch comes before faults of the transaction`, (b) => {
      b.start();
      const { stage2 } = brokenNested(b, 'CD', kind);
      stage2.set(IPA.IN, 3, 0n);
      b.aborts({ va: VA });
      const [record] = b.events.take();
      equal('event', record === undefined ? '' : eventName(record), kind);
      equal('CLASS', record === undefined ? -1 : eventField(record, 'CLASS'), CLASS_VALUE.CD);
    }),
  ),
];

export const eventQueueRows: readonly Row[] = [...recording, ...overflow, ...aborted, ...merging, ...clashes, ...walks];
