/** From a StreamID to its STE: linear and two-level stream tables (IHI 0070 §3.3.1, §5.1, §6.3.24, §6.3.25, §7.3.3). */
import { type Bench, PAGE } from '../bench/bench.ts';
import { CONFIG, encodeSte } from '../bench/streams.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const BYPASS = encodeSte({ Config: CONFIG.BYPASS });
const SPLITS = [6, 8, 10] as const;

function bypass(b: Bench, sid: number): void {
  b.ram.write(b.steAddress(sid), BYPASS);
}

const reaches = (b: Bench, sid: number): void => void b.reaches({ va: PAGE, sid }, PAGE);
const refused = (b: Bench, sid: number): void => b.faults({ va: PAGE, sid }, 'C_BAD_STREAMID');

/** A table of LOG2SIZE=SIDSIZE+1 at the place of the bench's, which is aligned so far. */
const needsRoom = (b: Bench): void => b.needs({ SIDSIZE: Math.min(b.feature('SIDSIZE'), 19) });

const linear: Row[] = [
  ...[0, 1, 3, 5, 6].flatMap((log2) => [
    row('5.2', `linear-${log2}-last`, `linear table, LOG2SIZE=${log2}: the last StreamID has an STE`, (b) => {
      b.start({ streams: log2 });
      bypass(b, 2 ** log2 - 1);
      reaches(b, 2 ** log2 - 1);
    }),
    row('7.3.3', `linear-${log2}-beyond`, `linear table, LOG2SIZE=${log2}: the StreamID after the last is bad`, (b) => {
      b.needs({ SIDSIZE: Math.max(b.feature('SIDSIZE'), log2 + 1) });
      b.start({ streams: log2 });
      bypass(b, 2 ** log2);
      refused(b, 2 ** log2);
    }),
  ]),
  row('6.3.25', 'log2size-cap', 'a LOG2SIZE above IDR1.SIDSIZE counts as SIDSIZE, and reads back as written', (b) => {
    needsRoom(b);
    const streams = b.feature('SIDSIZE') + 1;
    const last = 2 ** b.feature('SIDSIZE') - 1;
    b.start({ streams });
    bypass(b, last);
    reaches(b, last);
    equal('LOG2SIZE', b.registers.get('STRTAB_BASE_CFG', 'LOG2SIZE'), streams);
  }),
  row(
    '6.3.24',
    'alignment-beyond-sidsize',
    'STRTAB_BASE is aligned to LOG2SIZE as it is written, above SIDSIZE too',
    (b) => {
      needsRoom(b);
      const table = b.streamTable;
      b.streamTable = table + 2 ** b.feature('SIDSIZE') * 64;
      b.start({ streams: b.feature('SIDSIZE') + 1 });
      b.streamTable = table;
      bypass(b, 9);
      reaches(b, 9);
    },
  ),
  row('6.3.24', 'alignment', 'STRTAB_BASE is aligned down to the size of a linear table', (b) => {
    const table = b.streamTable;
    b.streamTable = table + 0x40;
    b.start({ streams: 6 });
    b.streamTable = table;
    bypass(b, 9);
    reaches(b, 9);
  }),
  row('7.3.3', 'silent', 'CR2.RECINVSID=0: a bad StreamID aborts without a record', (b) => {
    b.needs({ SIDSIZE: 'positive' });
    b.start({ streams: 0, RECINVSID: 0 });
    b.aborts({ va: PAGE, sid: 1 });
    b.noEvent();
  }),
  row('7.3.3', 'largest', 'the largest StreamID beyond the table is bad', (b) => {
    b.needs({ SIDSIZE: 'positive' });
    b.start({ streams: 0 });
    refused(b, 2 ** b.feature('SIDSIZE') - 1);
  }),
  row('6.3.25', 'fmt-reserved', 'a reserved FMT behaves as a linear table', (b) => {
    b.needs({ ST_LEVEL: 1 });
    for (const FMT of [0b10, 0b11]) {
      b.start();
      b.control({ SMMUEN: 0 });
      b.registers.set('STRTAB_BASE_CFG', { FMT });
      b.control({ SMMUEN: 1 });
      bypass(b, 9);
      reaches(b, 9);
    }
  }),
  row('7.3.4', 'linear', 'an abort on the fetch of an STE is F_STE_FETCH, with its address', (b) => {
    b.streamTable = NOWHERE;
    b.start();
    b.faults({ va: PAGE, sid: 9 }, 'F_STE_FETCH', { FetchAddr: (NOWHERE + 9 * 64) / 8 });
  }),
  row('7.3.4', 'not-cached', 'an STE whose fetch aborted is fetched again', (b) => {
    b.streamTable = NOWHERE;
    b.start();
    b.faults({ va: PAGE, sid: 9 }, 'F_STE_FETCH', { FetchAddr: (NOWHERE + 9 * 64) / 8 });
    b.faults({ va: PAGE, sid: 9 }, 'F_STE_FETCH', { FetchAddr: (NOWHERE + 9 * 64) / 8 });
  }),
];

/** A two-level table: level 1 where the bench has its table, one level 2 array of `entries` STEs. */
function twoLevel(b: Bench, split: number, streams: number): void {
  b.needs({ SIDSIZE: Math.max(b.feature('SIDSIZE'), streams) });
  b.start({ split, streams });
}

/** Writes level 1 descriptor `index`; the address of its array. */
function level1(b: Bench, index: number, span: number, array = b.ram.allocate(64 * 2 ** 11)): number {
  b.ram.write64(b.streamTable + index * 8, BigInt(array) | BigInt(span));
  return array;
}

function entry(b: Bench, array: number, index: number): void {
  b.ram.write(array + index * 64, BYPASS);
}

const spans: Row[] = SPLITS.flatMap((split) =>
  Array.from({ length: split + 1 }, (_, n) => n + 1).flatMap((span) => {
    const last = 2 ** (span - 1) - 1;
    const rows = [
      row(
        '5.1',
        `split-${split}-span-${span}`,
        `SPLIT=${split}, Span=${span}: ${last + 1} StreamIDs have an STE`,
        (b) => {
          twoLevel(b, split, split + 2);
          const array = level1(b, 1, span);
          entry(b, array, 0);
          entry(b, array, last);
          reaches(b, 2 ** split);
          reaches(b, 2 ** split + last);
        },
      ),
    ];
    if (span === split + 1) return rows;
    const title = `SPLIT=${split}, Span=${span}: the next StreamID is bad`;
    const beyond = row('7.3.3', `split-${split}-span-${span}-beyond`, title, (b) => {
      twoLevel(b, split, split + 2);
      entry(b, level1(b, 1, span), last + 1);
      refused(b, 2 ** split + last + 1);
    });
    return [...rows, beyond];
  }),
);

const badSpans: Row[] = SPLITS.flatMap((split) => {
  const bad = [0, ...Array.from({ length: 11 - split - 1 }, (_, n) => split + 2 + n), 12, 16, 31];
  return bad.map((span) => {
    let why = 'reserved';
    if (span === 0) why = 'an invalid descriptor';
    else if (span < 12) why = 'more than SPLIT + 1';
    return row(
      '7.3.3',
      `split-${split}-span-${span}-bad`,
      `SPLIT=${split}, Span=${span} (${why}): StreamID is bad`,
      (b) => {
        twoLevel(b, split, split + 2);
        entry(b, level1(b, 1, span), 0);
        refused(b, 2 ** split);
      },
    );
  });
});

/** §3.3.1.2, the example of a two-level table with SPLIT=8. */
const EXAMPLE = [
  { index: 0, span: 9, first: 0, last: 255 },
  { index: 1, span: 3, first: 256, last: 259 },
  { index: 3, span: 1, first: 768, last: 768 },
] as const;

const example: Row[] = [
  ...EXAMPLE.map(({ index, span, first, last }) =>
    row(
      '3.3.1.2',
      `example-${index}`,
      `example with SPLIT=8: StreamIDs ${first} to ${last} are valid, no more`,
      (b) => {
        twoLevel(b, 8, 10);
        const array = level1(b, index, span);
        level1(b, 2, 0);
        for (const sid of [first, last]) {
          entry(b, array, sid - first);
          reaches(b, sid);
        }
        if (last < 255 || last > 255) refused(b, last + 1);
      },
    ),
  ),
  row('3.3.1.2', 'example-2', 'example with SPLIT=8: StreamIDs 512 to 767 are all invalid', (b) => {
    twoLevel(b, 8, 10);
    level1(b, 2, 0);
    for (const sid of [512, 600, 767]) refused(b, sid);
  }),
];

const shape: Row[] = [
  ...SPLITS.map((split) =>
    row(
      '6.3.25',
      `one-descriptor-${split}`,
      `SPLIT=${split} of LOG2SIZE or more: one descriptor, 2^LOG2SIZE StreamIDs`,
      (b) => {
        twoLevel(b, split, 4);
        const array = level1(b, 0, split + 1);
        entry(b, array, 15);
        reaches(b, 15);
        refused(b, 16);
      },
    ),
  ),
  ...[0, 5, 7, 9, 11, 31].map((split) =>
    row('6.3.25', `split-reserved-${split}`, `SPLIT=${split} is reserved and behaves as 6`, (b) => {
      twoLevel(b, split, 8);
      const array = level1(b, 2, 7);
      entry(b, array, 5);
      reaches(b, 2 * 64 + 5);
    }),
  ),
  ...SPLITS.map((split) =>
    row('5.1', `l2ptr-aligned-${split}`, `SPLIT=${split}: L2Ptr is aligned down to the size of the array`, (b) => {
      twoLevel(b, split, split + 1);
      const array = b.ram.allocate(64 * 2 ** split);
      b.ram.write64(b.streamTable + 8, BigInt(array + 64 * 2 ** (split - 1)) | BigInt(split + 1));
      entry(b, array, 3);
      reaches(b, 2 ** split + 3);
    }),
  ),
  row('6.3.24', 'level-1-alignment', 'STRTAB_BASE is aligned down to the size of the first level', (b) => {
    const table = b.streamTable;
    b.streamTable = table + 0x40;
    twoLevel(b, 6, 10);
    b.streamTable = table;
    entry(b, level1(b, 3, 7), 1);
    reaches(b, 3 * 64 + 1);
  }),
  row(
    '6.3.24',
    'level-1-beyond-sidsize',
    'the first level is aligned to LOG2SIZE as it is written, above SIDSIZE too',
    (b) => {
      needsRoom(b);
      const sidBits = Math.max(b.feature('SIDSIZE'), 10);
      b.needs({ SIDSIZE: sidBits });
      const table = b.streamTable;
      b.streamTable = table + 2 ** (sidBits - 6) * 8;
      b.start({ split: 6, streams: sidBits + 1 });
      b.streamTable = table;
      entry(b, level1(b, 3, 7), 1);
      reaches(b, 3 * 64 + 1);
    },
  ),
  row('7.3.4', 'level-1', 'an abort on the fetch of a level 1 descriptor is F_STE_FETCH, with its address', (b) => {
    b.streamTable = NOWHERE;
    twoLevel(b, 6, 8);
    b.faults({ va: PAGE, sid: 2 * 64 + 1 }, 'F_STE_FETCH', { FetchAddr: (NOWHERE + 16) / 8 });
  }),
  row('7.3.4', 'level-2', 'an abort on the fetch of an STE at level 2 is F_STE_FETCH, with its address', (b) => {
    twoLevel(b, 6, 8);
    level1(b, 2, 7, NOWHERE);
    b.faults({ va: PAGE, sid: 2 * 64 + 1 }, 'F_STE_FETCH', { FetchAddr: (NOWHERE + 64) / 8 });
  }),
  row('5.2', 'two-level-ste', 'STEs of one array are told apart', (b) => {
    twoLevel(b, 6, 8);
    const array = level1(b, 1, 7);
    entry(b, array, 5);
    b.ram.write(array + 6 * 64, encodeSte({ Config: CONFIG.ABORT }));
    reaches(b, 64 + 5);
    b.aborts({ va: PAGE, sid: 64 + 6 });
    b.noEvent();
  }),
];

const absent: Row[] = [
  row(
    '6.3.25',
    'no-two-level',
    'ST_LEVEL=0: FMT and SPLIT are RES0',
    (b) => {
      b.registers.set('STRTAB_BASE_CFG', { FMT: 1, SPLIT: 6 });
      equal('FMT', b.registers.get('STRTAB_BASE_CFG', 'FMT'), 0);
      equal('SPLIT', b.registers.get('STRTAB_BASE_CFG', 'SPLIT'), 0);
    },
    { features: { ST_LEVEL: 0, SIDSIZE: 6 } },
  ),
];

export const streamTableRows: readonly Row[] = [...linear, ...spans, ...badSpans, ...example, ...shape, ...absent];
