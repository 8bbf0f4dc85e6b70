/** Stalled transactions: tags, CMD_RESUME, CMD_STALL_TERM, stall models (IHI 0070 §3.12.2, §4.7.1, §4.7.2). */
import { PAGE, VA } from '../bench/bench.ts';
import { brokenNested, brokenStage2, CLASSES } from '../bench/broken.ts';
import { eventField } from '../bench/event-record.ts';
import { ABORT, ended, needsStalls, RAZ_WI, RETRY, resume, STALLING, stalling, stop, tag } from '../bench/stalled.ts';
import { CONFIG } from '../bench/streams.ts';
import { STREAM, type Transaction } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { CERROR } from '../facts/commands.ts';
import { type Row, row } from '../row.ts';

const resuming: Row[] = [
  row(
    '4.7.1',
    'retry',
    'CMD_RESUME with Ac=1: the transaction is retried and completes',
    (b) => {
      b.start();
      const tables = stalling(b);
      const held = b.stalls({ va: VA });
      tables.map(VA, PAGE);
      b.ram.write64(PAGE, 0x1234n);
      resume(b, tag(b), RETRY);
      ended(held, 'done');
      equal('data', held.request.data[0], 0x34);
      b.noEvent();
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'retry-write',
    'CMD_RESUME with Ac=1: a retried write reaches memory once',
    (b) => {
      b.start();
      const tables = stalling(b);
      const held = b.stalls({ va: VA, write: true });
      tables.map(VA, PAGE);
      resume(b, tag(b), RETRY);
      ended(held, 'done');
      equal('memory', [...b.ram.read(PAGE, 8)], [...held.request.data]);
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'retry-ignores-ab',
    'CMD_RESUME with Ac=1: Ab is ignored',
    (b) => {
      b.start();
      const tables = stalling(b);
      const held = b.stalls({ va: VA });
      tables.map(VA, PAGE);
      b.ram.write64(PAGE, 1n);
      resume(b, tag(b), { Ac: 1, Ab: 1 });
      ended(held, 'done');
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'retry-faults-again',
    'CMD_RESUME with Ac=1: a transaction that still faults stalls anew, with a new record',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      resume(b, tag(b), RETRY);
      ended(held, 'stalled');
      equal('new records', b.events.pending, 1);
      resume(b, tag(b), ABORT);
      ended(held, 'abort');
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'retry-new-configuration',
    'a retried transaction meets the configuration of the moment',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      const stag = tag(b);
      b.ste({ Config: CONFIG.ABORT });
      b.forget();
      resume(b, stag, RETRY);
      ended(held, 'abort');
      b.noEvent();
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'terminate-raz',
    'CMD_RESUME with Ac=0, Ab=0: a read completes with zeros',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      resume(b, tag(b), RAZ_WI);
      ended(held, 'zero');
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'terminate-wi',
    'CMD_RESUME with Ac=0, Ab=0: a write completes and is dropped',
    (b) => {
      b.start();
      stalling(b);
      b.ram.write64(PAGE, 0x99n);
      const held = b.stalls({ va: VA, write: true });
      resume(b, tag(b), RAZ_WI);
      ended(held, 'done');
      equal('memory', b.ram.read64(PAGE), 0x99n);
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'terminate-abort',
    'CMD_RESUME with Ac=0, Ab=1: the transaction aborts',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      resume(b, tag(b), ABORT);
      ended(held, 'abort');
      b.noEvent();
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'terminate-raz-a-1',
    'CMD_RESUME: Ab decides, whatever CD.A says',
    (b) => {
      b.start();
      b.stage1({ cd: { S: 1, A: 1 } });
      const held = b.stalls({ va: VA });
      resume(b, tag(b), RAZ_WI);
      ended(held, 'zero');
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'terminate-stage-2',
    'CMD_RESUME: a stall of stage 2 can end with RAZ/WI',
    (b) => {
      b.start();
      brokenStage2(b, 'F_TRANSLATION', { S2S: 1 });
      const held = b.stalls({ va: VA });
      resume(b, tag(b), RAZ_WI);
      ended(held, 'zero');
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'term-model',
    'TERM_MODEL=1: Ab is ignored, the transaction aborts',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      resume(b, tag(b), RAZ_WI);
      ended(held, 'abort');
    },
    { features: { STALL_MODEL: 0, TERM_MODEL: 1 } },
  ),
  row(
    '4.7.1',
    'wrong-tag',
    'CMD_RESUME with a STAG that no transaction has: no effect, no error',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      const stag = tag(b);
      resume(b, (stag + 1) % 2 ** 16, ABORT);
      ended(held, 'stalled');
      resume(b, 0xffff, ABORT);
      ended(held, 'stalled');
      resume(b, stag, ABORT);
      ended(held, 'abort');
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'wrong-stream',
    'CMD_RESUME with the STAG of another StreamID: no effect, no error',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      const stag = tag(b);
      resume(b, stag, ABORT, STREAM + 1);
      ended(held, 'stalled');
      resume(b, stag, ABORT);
      ended(held, 'abort');
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'one-of-several',
    'CMD_RESUME affects the transaction that StreamID and STAG name, and no other',
    (b) => {
      needsStalls(b, 3);
      b.start();
      stalling(b);
      const held = [0, 1, 2].map((page) => b.stalls({ va: VA + page * 4096 }));
      const tags = b.events.take().map((record) => Number(eventField(record, 'STAG')));
      equal('different tags', new Set(tags).size, 3);
      resume(b, tags[1] ?? 0, ABORT);
      equal(
        'endings',
        held.map(({ ending }) => ending),
        ['stalled', 'abort', 'stalled'],
      );
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'any-order',
    'stalled transactions may be resumed in any order',
    (b) => {
      needsStalls(b, 3);
      b.start();
      const tables = stalling(b);
      const held = [0, 1, 2].map((page) => b.stalls({ va: VA + page * 4096 }));
      const tags = b.events.take().map((record) => Number(eventField(record, 'STAG')));
      for (const n of [2, 0, 1]) {
        tables.map(VA + n * 4096, PAGE + n * 4096);
        b.ram.write64(PAGE + n * 4096, 5n);
        resume(b, tags[n] ?? 0, RETRY);
        ended(held[n] as Transaction, 'done');
      }
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'tag-in-use',
    'a STAG is not given out again while its transaction is stalled',
    (b) => {
      b.start({ events: 6 });
      stalling(b);
      const count = Math.min(b.feature('STALL_MAX'), 40);
      for (let page = 0; page < count; page++) b.stalls({ va: VA + page * 4096 });
      const tags = b.events.take().map((record) => Number(eventField(record, 'STAG')));
      equal('different tags', new Set(tags).size, count);
    },
    STALLING,
  ),
  row(
    '4.7.1',
    'no-stall-model',
    'STALL_MODEL=0b01: CMD_RESUME is CERROR_ILL',
    (b) => {
      b.start();
      equal('error', b.commands.attempt('RESUME', { StreamID: STREAM }), CERROR.ILL);
    },
    { features: { STALL_MODEL: 1 } },
  ),
];

const terminating: Row[] = [
  row(
    '4.7.2',
    'all',
    'CMD_STALL_TERM: every stalled transaction of the stream aborts',
    (b) => {
      b.start();
      stalling(b);
      const held = [0, 1, 2].map((page) => b.stalls({ va: VA + page * 4096, write: page === 1 }));
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
    '4.7.2',
    'other-stream',
    'CMD_STALL_TERM: transactions of other streams stay',
    (b) => {
      b.start();
      stalling(b);
      stalling(b, STREAM + 1);
      const held = b.stalls({ va: VA });
      const other = b.stalls({ va: VA, sid: STREAM + 1 });
      b.events.take();
      stop(b);
      b.commands.run('STALL_TERM', { StreamID: STREAM });
      b.settle();
      ended(held, 'abort');
      ended(other, 'stalled');
    },
    STALLING,
  ),
  row(
    '4.7.2',
    'none',
    'CMD_STALL_TERM without stalled transactions has no effect',
    (b) => {
      b.start();
      b.commands.run('STALL_TERM', { StreamID: STREAM });
      b.noEvent();
    },
    STALLING,
  ),
  row(
    '4.7.2',
    'tags-return',
    'CMD_STALL_TERM: the tags may be used again',
    (b) => {
      b.start({ events: 6 });
      for (let round = 0; round < 3; round++) {
        stalling(b);
        b.forget();
        for (let page = 0; page < Math.min(b.feature('STALL_MAX'), 32); page++) b.stalls({ va: VA + page * 4096 });
        equal('records', b.events.take().length, Math.min(b.feature('STALL_MAX'), 32));
        stop(b);
        b.commands.run('STALL_TERM', { StreamID: STREAM });
        b.settle();
      }
    },
    STALLING,
  ),
  row(
    '4.7.2',
    'no-stall-model',
    'STALL_MODEL=0b01: CMD_STALL_TERM is CERROR_ILL',
    (b) => {
      b.start();
      equal('error', b.commands.attempt('STALL_TERM', { StreamID: STREAM }), CERROR.ILL);
    },
    { features: { STALL_MODEL: 1 } },
  ),
];

const model: Row[] = [
  row(
    '3.12.2',
    'no-response',
    'a stalled transaction gets no response until it is answered',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      b.settle();
      ended(held, 'stalled');
    },
    STALLING,
  ),
  row(
    '3.12.2',
    'overtaking',
    'later transactions of the stream may pass a stalled one',
    (b) => {
      b.start();
      const tables = stalling(b);
      tables.map(VA + 0x5000, PAGE);
      b.stalls({ va: VA });
      b.reaches({ va: VA + 0x5000 }, PAGE);
    },
    STALLING,
  ),
  row(
    '3.12.2',
    'other-streams',
    'a stalled transaction does not hold other streams',
    (b) => {
      b.start();
      stalling(b);
      b.stage1({ sid: STREAM + 1, cd: { ASID: 7 } }).lower.map(VA, PAGE);
      b.stalls({ va: VA });
      b.reaches({ va: VA, sid: STREAM + 1 }, PAGE);
    },
    STALLING,
  ),
  ...CLASSES.map((where) =>
    row(
      '3.12.2.3',
      `retry-${where}`,
      `a stage 2 stall with CLASS=${where} is mended at stage 2 and retried`,
      (b) => {
        b.start();
        const { mend } = brokenNested(b, where, 'F_TRANSLATION', { S2S: 1 });
        const held = b.stalls({ va: VA });
        mend();
        b.ram.write64(PAGE, 3n);
        resume(b, tag(b), RETRY);
        ended(held, 'done');
      },
      STALLING,
    ),
  ),
  row(
    '4.3.8',
    'invalidation',
    'configuration and TLB invalidation leave recorded stalls alone',
    (b) => {
      b.start();
      stalling(b);
      const held = b.stalls({ va: VA });
      const stag = tag(b);
      b.commands.run('CFGI_STE_RANGE', { Range: 31 });
      b.commands.run('TLBI_NSNH_ALL');
      b.commands.sync();
      ended(held, 'stalled');
      resume(b, stag, ABORT);
      ended(held, 'abort');
    },
    STALLING,
  ),
];

export const stallRows: readonly Row[] = [...resuming, ...terminating, ...model];
