/** What a fault does to the transaction: CD.A, R, S and STE.S2R, S2S, at either stage (IHI 0070 §5.5, §3.12). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import {
  brokenNested,
  brokenStage1,
  brokenStage2,
  CLASS_VALUE,
  CLASSES,
  RELATED,
  type Related,
  stage2Fields,
} from '../bench/broken.ts';
import { eventField, eventName } from '../bench/event-record.ts';
import { CONFIG } from '../bench/streams.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const STALLS = { STALL_MODEL: 0, TERM_MODEL: 0 };

/** §5.5, figure 5.1. */
const ARS = [
  { A: 0, R: 0, S: 0, ending: 'zero', recorded: false, result: 'RAZ/WI, silent' },
  { A: 0, R: 1, S: 0, ending: 'zero', recorded: true, result: 'RAZ/WI, recorded' },
  { A: 1, R: 0, S: 0, ending: 'abort', recorded: false, result: 'abort, silent' },
  { A: 1, R: 1, S: 0, ending: 'abort', recorded: true, result: 'abort, recorded' },
  { A: 0, R: 0, S: 1, ending: 'stalled', recorded: true, result: 'stall, recorded' },
  { A: 0, R: 1, S: 1, ending: 'stalled', recorded: true, result: 'stall, recorded' },
  { A: 1, R: 0, S: 1, ending: 'stalled', recorded: true, result: 'stall, recorded' },
  { A: 1, R: 1, S: 1, ending: 'stalled', recorded: true, result: 'stall, recorded' },
] as const;

const S2RS = [
  { S2R: 0, S2S: 0, ending: 'abort', recorded: false, result: 'abort, silent' },
  { S2R: 1, S2S: 0, ending: 'abort', recorded: true, result: 'abort, recorded' },
  { S2R: 0, S2S: 1, ending: 'stalled', recorded: true, result: 'stall, recorded' },
  { S2R: 1, S2S: 1, ending: 'stalled', recorded: true, result: 'stall, recorded' },
] as const;

/** One record of `kind` with Stall as the ending says, or none. */
function recorded(b: Bench, kind: Related, stalled: boolean, wanted: boolean, fields: Record<string, number>): void {
  if (!wanted) {
    b.noEvent();
    return;
  }
  const tag = stalled ? Number(eventField(b.events.peek()[0] ?? new Uint8Array(32), 'STAG')) : 0;
  b.fault(kind, { ...fields, ...(stalled ? { Stall: 1, STAG: tag } : {}) });
}

const stage1: Row[] = RELATED.flatMap((kind) =>
  ARS.map(({ A, R, S, ending, recorded: wanted, result }) =>
    row(
      '5.5',
      `stage-1-${kind}-${A}${R}${S}`,
      `${kind} at stage 1, A=${A} R=${R} S=${S}: ${result}`,
      (b) => {
        b.start();
        brokenStage1(b, kind, { cd: { A, R, S } });
        b.ends({ va: VA }, ending);
        recorded(b, kind, ending === 'stalled', wanted, { CLASS: CLASS_VALUE.IN });
      },
      { features: STALLS },
    ),
  ),
);

const stage2: Row[] = RELATED.flatMap((kind) =>
  S2RS.map(({ S2R, S2S, ending, recorded: wanted, result }) =>
    row(
      '5.5',
      `stage-2-${kind}-${S2R}${S2S}`,
      `${kind} at stage 2, S2R=${S2R} S2S=${S2S}: ${result}`,
      (b) => {
        b.start();
        brokenStage2(b, kind, { S2R, S2S });
        b.ends({ va: VA }, ending);
        recorded(b, kind, ending === 'stalled', wanted, stage2Fields('IN', VA));
      },
      { features: STALLS },
    ),
  ),
);

/** A stage 2 fault of a CD fetch or a stage 1 walk is a stage 2 fault (§3.12). */
const nested: Row[] = CLASSES.flatMap((where) =>
  S2RS.map(({ S2R, S2S, ending, recorded: wanted, result }) =>
    row(
      '3.12',
      `nested-${where}-${S2R}${S2S}`,
      `stage 2 fault, CLASS=${where}, S2R=${S2R} S2S=${S2S}: ${result}`,
      (b) => {
        b.start();
        const { ipa } = brokenNested(b, where, 'F_TRANSLATION', { S2R, S2S }, { cd: { A: 0, R: 0 } });
        b.ends({ va: VA }, ending);
        recorded(b, 'F_TRANSLATION', ending === 'stalled', wanted, stage2Fields(where, ipa));
      },
      { features: STALLS },
    ),
  ),
);

/** §3.12.5: the stage of the fault decides. */
const COMBINATIONS = [
  { S: 0, S2S: 0, at: 1, ending: 'abort' },
  { S: 0, S2S: 0, at: 2, ending: 'abort' },
  { S: 0, S2S: 1, at: 1, ending: 'abort' },
  { S: 0, S2S: 1, at: 2, ending: 'stalled' },
  { S: 1, S2S: 0, at: 1, ending: 'stalled' },
  { S: 1, S2S: 0, at: 2, ending: 'abort' },
  { S: 1, S2S: 1, at: 1, ending: 'stalled' },
  { S: 1, S2S: 1, at: 2, ending: 'stalled' },
] as const;

const combinations: Row[] = COMBINATIONS.map(({ S, S2S, at, ending }) => {
  const words = ['terminates', 'stalls'];
  const title = `stage 1 ${words[S]}, stage 2 ${words[S2S]}, fault at stage ${at}: ${ending === 'abort' ? 'terminated' : 'stalled'}`;
  return row(
    '3.12.5',
    `s${S}-s2s${S2S}-at-${at}`,
    title,
    (b) => {
      b.start();
      const { lower, stage2: tables } = b.nested({ cd: { S }, ste: { S2S } });
      if (at === 2) lower.map(VA, 0x1_0000_0000);
      else tables.map(0x1_0000_0000, PAGE);
      b.ends({ va: VA }, ending);
      const [record] = b.events.take();
      equal('S2', record === undefined ? -1 : eventField(record, 'S2'), at - 1);
    },
    { features: STALLS },
  );
});

/** Whatever the switches say, other faults abort and are recorded (§5.5). */
const others: Row[] = [
  row(
    '5.5',
    'walk-abort',
    'F_WALK_EABT aborts and is recorded, even with A=0, R=0',
    (b) => {
      b.start();
      b.stage1({ cd: { A: 0, R: 0 } }).lower.set(VA, 0, BigInt(NOWHERE) | 3n);
      b.aborts({ va: VA });
      equal('event', b.events.take().map(eventName), ['F_WALK_EABT']);
    },
    { features: STALLS },
  ),
  row(
    '5.5',
    'walk-abort-stall',
    'F_WALK_EABT does not stall with S=1',
    (b) => {
      b.start();
      b.stage1({ cd: { S: 1 } }).lower.set(VA, 0, BigInt(NOWHERE) | 3n);
      b.aborts({ va: VA });
      equal('event', b.events.take().map(eventName), ['F_WALK_EABT']);
    },
    { features: STALLS },
  ),
  row(
    '5.5',
    'walk-abort-stage-2',
    'F_WALK_EABT of stage 2 aborts and is recorded, even with S2R=0, S2S=1',
    (b) => {
      b.start();
      b.stage2({ ste: { S2R: 0, S2S: 1 } }).set(VA, 1, BigInt(NOWHERE) | 3n);
      b.aborts({ va: VA });
      equal('event', b.events.take().map(eventName), ['F_WALK_EABT']);
    },
    { features: STALLS },
  ),
  row(
    '3.12',
    'configuration',
    'a configuration error aborts whatever S2S says',
    (b) => {
      b.start();
      const { cd } = b.nested({ ste: { S2S: 1 } });
      b.ram.write(cd, new Uint8Array(64));
      b.faults({ va: VA }, 'C_BAD_CD');
    },
    { features: STALLS },
  ),
  row(
    '3.12',
    'cd-fetch',
    'F_CD_FETCH aborts whatever S2S says',
    (b) => {
      b.start();
      b.needs({ S1P: 1 });
      const { tables, fields } = b.stage2Tables();
      tables.map(VA, NOWHERE);
      b.ste({ Config: CONFIG.NESTED, ...fields, S2S: 1, S1ContextPtr: VA / 64 });
      b.faults({ va: VA }, 'F_CD_FETCH', { FetchAddr: NOWHERE / 8 });
    },
    { features: STALLS },
  ),
  row(
    '3.12',
    'bypass-size',
    'F_ADDR_SIZE of a bypassed stage 1 never stalls, and is recorded with S2R=0',
    (b) => {
      b.start();
      b.stage2({ ste: { S2S: 1, S2R: 0 } });
      b.faults({ va: 0xf000_0000_0000_0000n }, 'F_ADDR_SIZE', { CLASS: CLASS_VALUE.IN });
    },
    { features: STALLS },
  ),
];

/** RAZ/WI: reads return zero, writes are dropped, and both complete (§5.5 A). */
const razWi: Row[] = [
  row(
    '5.5',
    'raz',
    'A=0: a read returns zeros in all its bytes',
    (b) => {
      b.start();
      brokenStage1(b, 'F_ACCESS', { cd: { A: 0, R: 0 } });
      b.ram.write(PAGE, new Uint8Array(64).fill(0xee));
      const { request } = b.ends({ va: VA, length: 64 }, 'zero');
      equal('bytes', [...request.data], new Array(64).fill(0));
    },
    { features: STALLS },
  ),
  row(
    '5.5',
    'wi',
    'A=0: a write completes and is dropped',
    (b) => {
      b.start();
      brokenStage1(b, 'F_ACCESS', { cd: { A: 0, R: 0 } });
      b.ram.write64(PAGE, 0x77n);
      b.ends({ va: VA, write: true }, 'done');
      equal('memory', b.ram.read64(PAGE), 0x77n);
    },
    { features: STALLS },
  ),
  row(
    '5.5',
    'term-model',
    'TERM_MODEL=1: a terminated transaction aborts',
    (b) => {
      b.start();
      brokenStage1(b, 'F_TRANSLATION', { cd: { A: 1, R: 0 } });
      b.aborts({ va: VA });
      b.noEvent();
    },
    { features: { TERM_MODEL: 1 } },
  ),
  row(
    '5.5',
    'no-stall-model',
    'STALL_MODEL=0b01: faults terminate',
    (b) => {
      b.start();
      brokenStage1(b, 'F_TRANSLATION');
      b.faults({ va: VA }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
    },
    { features: { STALL_MODEL: 1 } },
  ),
  row(
    '5.5',
    'forced-model',
    'STALL_MODEL=0b10: faults stall',
    (b) => {
      b.start();
      brokenStage1(b, 'F_TRANSLATION', { cd: { S: 1 } });
      b.stalls({ va: VA });
    },
    { features: { STALL_MODEL: 2 } },
  ),
];

export const faultResponseRows: readonly Row[] = [
  ...stage1,
  ...stage2,
  ...nested,
  ...combinations,
  ...others,
  ...razWi,
];
