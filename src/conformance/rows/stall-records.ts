/** Records of stalls: duplicates, a queue that cannot take them, STALL_MAX (IHI 0070 §3.12.2.1, §7.2.1). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { eventField } from '../bench/event-record.ts';
import { ABORT, ended, needsStalls, RETRY, resume, STALLING, stalling, stop, tag } from '../bench/stalled.ts';
import { CONFIG } from '../bench/streams.ts';
import { STREAM, type Transaction } from '../bench/traffic.ts';
import { equal, oneOf } from '../check.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

/** Two alike: one record may stand for both; an answer to it makes the other come forward (§3.12.2.1). */
const duplicates: Row[] = [
  row(
    '3.12.2.1',
    'alike',
    'a duplicate stall may be suppressed; the answer to the first lets it through',
    (b) => {
      b.start();
      const tables = stalling(b);
      const held = [b.stalls({ va: VA }), b.stalls({ va: VA + 8 })];
      const records = b.events.take();
      oneOf('records', records.length, [1, 2]);
      tables.map(VA, PAGE);
      b.ram.write(PAGE, new Uint8Array(16).fill(1));
      for (const record of records) resume(b, Number(eventField(record, 'STAG')), RETRY);
      for (const transaction of held) ended(transaction, 'done');
    },
    STALLING,
  ),
  row(
    '3.12.2.1',
    'terminated',
    'after the first is terminated, a suppressed duplicate becomes visible',
    (b) => {
      b.start();
      stalling(b);
      const held = [b.stalls({ va: VA }), b.stalls({ va: VA + 8 })];
      for (let round = 0; round < 2; round++) {
        const records = b.events.take();
        for (const record of records) resume(b, Number(eventField(record, 'STAG')), ABORT);
        // One record: the second transaction was retried, whatever became of the first.
        if (records.length === 1 && round === 0) ended(held[1] as Transaction, 'stalled');
      }
      for (const transaction of held) ended(transaction, 'abort');
      b.noEvent();
    },
    STALLING,
  ),
  ...(
    [
      ['page', { va: VA + 4096 }],
      ['direction', { va: VA, write: true }],
      ['privilege', { va: VA, privileged: true }],
      ['kind', { va: VA, execute: true }],
    ] as const
  ).map(([name, second]) =>
    row(
      '3.12.2.1',
      `differs-${name}`,
      `a stall that differs in its ${name} is recorded by itself`,
      (b) => {
        needsStalls(b, 2);
        b.start();
        stalling(b);
        b.stalls({ va: VA });
        b.stalls(second);
        equal('records', b.events.pending, 2);
      },
      STALLING,
    ),
  ),
  row(
    '3.12.2.1',
    'differs-substream',
    'a stall of another SubstreamID is recorded by itself, and so is one without',
    (b) => {
      b.needs({ SSIDSIZE: Math.max(b.feature('SSIDSIZE'), 2) });
      needsStalls(b, 3);
      b.start();
      const table = b.ram.allocate(4 * 64);
      const lower = b.tables();
      const cd = b.ram.read(b.newCd({ ...b.cdFields(lower, null), S: 1 }), 64);
      for (const index of [0, 1, 2]) b.ram.write(table + index * 64, cd);
      b.ste({ Config: CONFIG.STAGE_1, S1CDMax: 2, S1DSS: 0b10, S1ContextPtr: table / 64 });
      for (const pasid of [-1, 1, 2]) b.stalls({ va: VA, pasid });
      equal('records', b.events.pending, 3);
    },
    STALLING,
  ),
  row(
    '4.7.2',
    'duplicates',
    'CMD_STALL_TERM ends stalls whose records were suppressed, and none comes later',
    (b) => {
      b.start();
      stalling(b);
      const held = [0, 8, 16].map((offset) => b.stalls({ va: VA + offset }));
      b.events.take();
      stop(b);
      b.commands.run('STALL_TERM', { StreamID: STREAM });
      b.settle();
      for (const transaction of held) ended(transaction, 'abort');
      b.noEvent();
    },
    STALLING,
  ),
  row(
    '3.12.2.1',
    'differs-stream',
    'a stall of another StreamID is recorded by itself',
    (b) => {
      needsStalls(b, 2);
      b.start();
      stalling(b);
      stalling(b, STREAM + 1);
      b.stalls({ va: VA });
      b.stalls({ va: VA, sid: STREAM + 1 });
      equal('records', b.events.pending, 2);
    },
    STALLING,
  ),
];

/** Fills the event queue with records that no stall caused. */
function fill(b: Bench, leave = 0): void {
  b.ram.write(b.steAddress(STREAM + 3), new Uint8Array(64));
  for (let n = leave; n < 2 ** b.events.log2; n++) b.aborts({ va: VA, sid: STREAM + 3 });
}

const unwritable: Row[] = [
  row(
    '7.2.1',
    'full',
    'a stall record is not lost when the queue is full: it comes when there is room',
    (b) => {
      b.start({ events: 2 });
      stalling(b);
      fill(b);
      const held = b.stalls({ va: VA });
      equal('no overflow for a stall', b.events.overflowed, false);
      b.events.take();
      resume(b, tag(b), ABORT);
      ended(held, 'abort');
    },
    STALLING,
  ),
  row(
    '7.2.1',
    'disabled',
    'a stall record is not lost while EVENTQEN=0',
    (b) => {
      b.start({ EVENTQEN: 0 });
      stalling(b);
      const held = b.stalls({ va: VA });
      equal('EVENTQ_PROD', b.events.prod, 0);
      b.control({ EVENTQEN: 1 });
      resume(b, tag(b), ABORT);
      ended(held, 'abort');
    },
    STALLING,
  ),
  row(
    '7.2.1',
    'error',
    'a stall record is not lost while EVENTQ_ABT_ERR is active: it comes when that is acknowledged',
    (b) => {
      b.start({ EVENTQEN: 0 });
      stalling(b);
      const good = b.events.base + b.events.log2;
      b.registers.write('EVENTQ_BASE', NOWHERE + b.events.log2);
      b.control({ EVENTQEN: 1 });
      fill(b, 2 ** b.events.log2 - 1);
      b.control({ EVENTQEN: 0 });
      b.registers.write('EVENTQ_BASE', good);
      b.registers.write('EVENTQ_PROD', 0);
      b.control({ EVENTQEN: 1 });
      const held = b.stalls({ va: VA });
      equal('EVENTQ_PROD while the error is active', b.events.prod, 0);
      b.registers.set('GERRORN', { EVENTQ_ABT_ERR: 1 });
      resume(b, tag(b), ABORT);
      ended(held, 'abort');
    },
    STALLING,
  ),
  row(
    '7.2.1',
    'mended',
    'a stall without a record that translates when the queue is writable may leave no record',
    (b) => {
      b.start({ EVENTQEN: 0 });
      const tables = stalling(b);
      const held = b.stalls({ va: VA });
      tables.map(VA, PAGE);
      b.ram.write64(PAGE, 2n);
      b.commands.run('TLBI_NSNH_ALL');
      b.commands.sync();
      b.control({ EVENTQEN: 1 });
      ended(held, 'done');
      b.noEvent();
    },
    STALLING,
  ),
  row(
    '7.2.1',
    'several',
    'stalls without records come one by one as room is made',
    (b) => {
      b.start({ events: 1 });
      stalling(b);
      fill(b);
      const held = [0, 1, 2].map((page) => b.stalls({ va: VA + page * 4096 }));
      const tags = new Set<number>();
      for (let round = 0; round < 6; round++) {
        for (const record of b.events.take()) {
          if (eventField(record, 'StreamID') !== BigInt(STREAM)) continue;
          const stag = Number(eventField(record, 'STAG'));
          tags.add(stag);
          resume(b, stag, ABORT);
        }
      }
      for (const transaction of held) ended(transaction, 'abort');
    },
    STALLING,
  ),
  row(
    '4.7.2',
    'unrecorded',
    'CMD_STALL_TERM ends stalls that have no record yet, and none comes later',
    (b) => {
      b.start({ EVENTQEN: 0 });
      stalling(b);
      const held = b.stalls({ va: VA });
      stop(b);
      b.commands.run('STALL_TERM', { StreamID: STREAM });
      b.control({ EVENTQEN: 1 });
      ended(held, 'abort');
      b.noEvent();
    },
    STALLING,
  ),
  row(
    '6.3.9.6',
    'unrecorded',
    'SMMUEN 1 to 0 ends stalls that have no record yet, and none comes later',
    (b) => {
      b.start({ EVENTQEN: 0 });
      stalling(b);
      const held = b.stalls({ va: VA });
      b.control({ SMMUEN: 0 });
      b.control({ EVENTQEN: 1 });
      ended(held, 'abort');
      b.noEvent();
    },
    STALLING,
  ),
];

const limits: Row[] = [1, 4, 16].map((STALL_MAX) =>
  row(
    '6.3.6',
    `stall-max-${STALL_MAX}`,
    `STALL_MAX=${STALL_MAX}: never more stall records outstanding`,
    (b) => {
      b.start({ events: 6 });
      const tables = stalling(b);
      const held = Array.from({ length: STALL_MAX + 3 }, (_, page) => b.stalls({ va: VA + page * 4096 }));
      equal('records', b.events.pending, STALL_MAX);
      for (let page = 0; page < held.length; page++) tables.map(VA + page * 4096, PAGE);
      b.ram.write64(PAGE, 1n);
      for (let round = 0; round < 8; round++) {
        for (const record of b.events.take()) resume(b, Number(eventField(record, 'STAG')), RETRY);
      }
      for (const transaction of held) ended(transaction, 'done');
    },
    { features: { STALL_MODEL: 0, STALL_MAX } },
  ),
);

export const stallRecordRows: readonly Row[] = [...duplicates, ...unwritable, ...limits];
