/** From a SubstreamID to its CD: S1CDMax, S1DSS, S1Fmt, L1CD (IHI 0070 §5.2, §5.3, §7.3.7, §7.3.9, §7.3.10). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { addressBits } from '../bench/registers.ts';
import { CD_BYTES, CONFIG, encodeCd, type SteValues } from '../bench/streams.ts';
import type { Tables } from '../bench/tables.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const LEAF_CDS = { 1: 64, 2: 1024 } as const;
const LINEAR = 0;

interface Table {
  readonly b: Bench;
  readonly tables: Tables;
  /** S1ContextPtr, in bytes. */
  readonly pointer: number;
  /** Writes the CD of `index`; it maps VA to a page that tells it from the others. */
  put(index: number): void;
}

/** Where each CD sends VA. */
const pageOf = (index: number): number => PAGE + (index % 4096) * 4096;

/** A stream with 2^S1CDMax CDs and no valid CD yet; in two-level tables, leaves exist where CDs are put. */
function contexts(b: Bench, S1CDMax: number, S1Fmt: number, ste: SteValues = {}): Table {
  b.needs({ S1P: 1, SSIDSIZE: Math.max(b.feature('SSIDSIZE'), S1CDMax, 1) });
  if (S1Fmt === 1 || S1Fmt === 2) b.needs({ CD2L: 1 });
  const format = S1Fmt === 3 ? LINEAR : S1Fmt;
  const leaf = format === LINEAR ? 2 ** S1CDMax : LEAF_CDS[format as 1 | 2];
  const level1Bytes = Math.max(64, Math.ceil(2 ** S1CDMax / leaf) * 8);
  const pointer = b.ram.allocate(format === LINEAR ? 2 ** S1CDMax * CD_BYTES : level1Bytes);
  b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: pointer / 64, S1CDMax, S1Fmt, ...ste });
  const tables = b.tables();
  const leaves = new Map<number, number>();
  let asid = 0;
  const addressOf = (index: number): number => {
    if (format === LINEAR) return pointer + index * CD_BYTES;
    const table = Math.floor(index / leaf);
    let base = leaves.get(table);
    if (base === undefined) {
      base = b.ram.allocate(leaf * CD_BYTES);
      leaves.set(table, base);
      b.ram.write64(pointer + table * 8, BigInt(base) | 1n);
    }
    return base + (index % leaf) * CD_BYTES;
  };
  return {
    b,
    tables,
    pointer,
    put(index) {
      const own = b.tables().map(VA, pageOf(index));
      asid += 1;
      b.ram.write(addressOf(index), encodeCd({ ...b.cdFields(own, null), ASID: asid }));
    },
  };
}

/** First, last and edge indexes of a table. */
function sample(S1CDMax: number): number[] {
  const size = 2 ** S1CDMax;
  return [...new Set([1, 2, 63, 64, 65, 1023, 1024, size / 2, size - 1])].filter((index) => index >= 1 && index < size);
}

const FORMATS = [
  [0, 'linear'],
  [1, 'two-level, 4 KiB leaves'],
  [2, 'two-level, 64 KiB leaves'],
  [3, 'reserved, as linear'],
] as const;

const selection: Row[] = FORMATS.flatMap(([fmt, name]) =>
  [1, 6, 7, 10, 11, ...(fmt === 1 || fmt === 2 ? [20] : [])].flatMap((max) => {
    const title = `S1Fmt=${fmt} (${name}), S1CDMax=${max}`;
    return [
      row('5.2', `fmt-${fmt}-max-${max}`, `${title}: each SubstreamID has its CD`, (b) => {
        b.start();
        const table = contexts(b, max, fmt);
        for (const index of sample(max)) {
          table.put(index);
          b.reaches({ va: VA, pasid: index }, pageOf(index));
        }
      }),
      row('7.3.9', `fmt-${fmt}-max-${max}-beyond`, `${title}: SubstreamID 2^S1CDMax is bad`, (b) => {
        if (max === 20) b.needs({ SSIDSIZE: 21 });
        b.start();
        contexts(b, max, fmt);
        b.faults({ va: VA, pasid: 2 ** max }, 'C_BAD_SUBSTREAMID');
      }),
    ];
  }),
).filter(({ id }) => !id.includes('max-20-beyond'));

/** The table of §5.2 (S1CDMax, S1DSS): what a transaction without a SubstreamID, and SubstreamID 0, meet. */
const S1DSS = [
  { dss: 0b00, none: 'disabled', zero: 'CD 0' },
  { dss: 0b01, none: 'bypass', zero: 'CD 0' },
  { dss: 0b10, none: 'CD 0', zero: 'disabled' },
  { dss: 0b11, none: 'disabled', zero: 'CD 0' },
] as const;

/** Entries of a table of CDs, or of its first level, that S1ContextPtr points to although its bits 5 and up are RES0. */
const unaligned: Row[] = (
  [
    { fmt: 0, max: 2, entries: 4, bytes: CD_BYTES },
    { fmt: 0, max: 7, entries: 128, bytes: CD_BYTES },
    { fmt: 1, max: 10, entries: 16, bytes: 8 },
    { fmt: 2, max: 14, entries: 16, bytes: 8 },
  ] as const
).map(({ fmt, max, entries, bytes }) => {
  const title = `S1Fmt=${fmt}, S1CDMax=${max}: a pointer into the table leads nowhere outside of it`;
  return row('5.2', `unaligned-fmt-${fmt}-max-${max}`, title, (b) => {
    b.needs({ SSIDSIZE: Math.max(b.feature('SSIDSIZE'), max), ...(fmt === 0 ? {} : { CD2L: 1 }) });
    b.start();
    const pointer = b.ram.allocate(entries * bytes);
    // What lies behind stays zero: neither a CD nor an L1CD.
    b.ram.allocate(entries * bytes);
    const cd = encodeCd(b.cdFields(b.tables().map(VA, PAGE), null));
    const leaf = fmt === 0 ? 0 : b.ram.allocate(LEAF_CDS[fmt] * CD_BYTES);
    if (fmt !== 0) b.ram.write(leaf + 5 * CD_BYTES, cd);
    for (let entry = 0; entry < entries; entry++) {
      if (fmt === 0) b.ram.write(pointer + entry * bytes, cd);
      else b.ram.write64(pointer + entry * bytes, BigInt(leaf) | 1n);
    }
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: pointer / 64 + 1, S1CDMax: max, S1Fmt: fmt });
    b.reaches({ va: VA, pasid: fmt === 0 ? entries - 1 : (entries - 1) * LEAF_CDS[fmt] + 5 }, PAGE);
  });
});

/** Leaves of 64 KiB are aligned to their size; those of 4 KiB are by what L2Ptr can say. */
const unalignedLeaf = row('5.2', 'unaligned-leaf', 'S1Fmt=2: L1CD.L2Ptr[15:12] are RES0 and play no part', (b) => {
  b.start();
  const { put, pointer } = contexts(b, 11, 2);
  put(1030);
  b.ram.write64(pointer + 8, b.ram.read64(pointer + 8) | 0x3000n);
  b.reaches({ va: VA, pasid: 1030 }, pageOf(1030));
});

const FMT_NAMES = ['linear', '4 KiB leaves', '64 KiB leaves'] as const;

const substreams: Row[] = FMT_NAMES.flatMap((format, fmt) =>
  S1DSS.flatMap(({ dss, none, zero }) => {
    const cases = [
      { name: 'none', expected: none, pasid: -1, what: 'no SubstreamID' },
      { name: 'zero', expected: zero, pasid: 0, what: 'SubstreamID 0' },
    ] as const;
    const binary = dss.toString(2).padStart(2, '0');
    return cases.map(({ name, expected, pasid, what }) => {
      const outcome = { disabled: 'F_STREAM_DISABLED', bypass: 'stage 1 is skipped', 'CD 0': 'CD 0 is used' }[expected];
      const id = `dss-${binary}-${name}-fmt-${fmt}`;
      const section = expected === 'disabled' ? '7.3.7' : '5.2';
      return row(section, id, `S1DSS=0b${binary}, ${format}, ${what}: ${outcome}`, (b) => {
        b.start();
        contexts(b, 4, fmt, { S1DSS: dss }).put(0);
        const access = { va: VA, ...(pasid < 0 ? {} : { pasid }) };
        if (expected === 'disabled') b.faults(access, 'F_STREAM_DISABLED', { StreamID: 8 });
        else if (expected === 'bypass') b.reaches(access, VA);
        else b.reaches(access, pageOf(0));
      });
    });
  }),
);

const single: Row[] = [
  row('5.2', 's1cdmax-0', 'S1CDMax=0: the one CD at S1ContextPtr serves transactions without a SubstreamID', (b) => {
    b.start();
    const { lower } = b.stage1({ ste: { S1DSS: 0b01, S1Fmt: 0b01 } });
    lower.map(VA, PAGE);
    b.reaches({ va: VA }, PAGE);
  }),
  ...[0, 1, 5].map((pasid) =>
    row('7.3.9', `s1cdmax-0-pasid-${pasid}`, `S1CDMax=0: SubstreamID ${pasid} is bad`, (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      b.stage1();
      b.faults({ va: VA, pasid }, 'C_BAD_SUBSTREAMID');
    }),
  ),
  ...([CONFIG.BYPASS, CONFIG.STAGE_2] as const).map((Config) =>
    row(
      '7.3.9',
      `config-${Config}`,
      `Config=0b${Config.toString(2)}: a SubstreamID is bad, whatever stage 2 does`,
      (b) => {
        b.needs({ SSIDSIZE: 'positive' });
        b.start();
        if (Config === CONFIG.BYPASS) b.ste({ Config });
        else b.stage2().map(VA, PAGE);
        b.faults({ va: VA, pasid: 3 }, 'C_BAD_SUBSTREAMID');
      },
    ),
  ),
  row('5.2', 'dss-ignored', 'S1CDMax=0: S1DSS is ignored', (b) => {
    b.start();
    const { lower } = b.stage1({ ste: { S1DSS: 0b00 } });
    lower.map(VA, PAGE);
    b.reaches({ va: VA }, PAGE);
  }),
  row('5.2', 'bypass-nested', 'S1DSS=0b01 with Config=0b111: stage 2 alone translates', (b) => {
    b.needs({ SSIDSIZE: 'positive', S1P: 1 });
    b.start();
    const { tables, fields } = b.stage2Tables();
    tables.map(VA, PAGE + 0x5000);
    b.ste({ Config: CONFIG.NESTED, ...fields, S1CDMax: 1, S1DSS: 0b01, S1ContextPtr: 1 });
    b.reaches({ va: VA }, PAGE + 0x5000);
  }),
  row(
    '7.3.9',
    'no-substreams',
    'SSIDSIZE=0: S1CDMax and S1Fmt are ignored, the one CD is used',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: { S1CDMax: 4, S1Fmt: 1, S1DSS: 0 } });
      lower.map(VA, PAGE);
      b.reaches({ va: VA }, PAGE);
    },
    { features: { SSIDSIZE: 0 } },
  ),
  row(
    '7.3.9',
    'no-substreams-pasid',
    'SSIDSIZE=0: a SubstreamID is bad',
    (b) => {
      b.start();
      b.stage1();
      b.faults({ va: VA, pasid: 1 }, 'C_BAD_SUBSTREAMID');
    },
    { features: { SSIDSIZE: 0 } },
  ),
];

const TWO_LEVEL = [1, 2] as const;

const level1: Row[] = TWO_LEVEL.flatMap((fmt) => [
  row('5.3.1', `l1cd-invalid-fmt-${fmt}`, `S1Fmt=${fmt}: an L1CD with V=0 is C_BAD_SUBSTREAMID`, (b) => {
    b.start();
    contexts(b, 12, fmt);
    b.faults({ va: VA, pasid: 2000 }, 'C_BAD_SUBSTREAMID');
  }),
  row(
    '7.3.9',
    `l1cd-invalid-dss-fmt-${fmt}`,
    `S1Fmt=${fmt}, S1DSS=0b10, L1CD V=0: the record says SubstreamID 0`,
    (b) => {
      b.start();
      contexts(b, 12, fmt, { S1DSS: 0b10 });
      b.faults({ va: VA }, 'C_BAD_SUBSTREAMID', { SubstreamID: 0 });
    },
  ),
  row('3.4.3', `l1cd-range-fmt-${fmt}`, `S1Fmt=${fmt}: an L2Ptr beyond the OAS is C_BAD_SUBSTREAMID`, (b) => {
    b.needs({ OAS: Math.min(b.feature('OAS'), 5), CD2L: 1, SSIDSIZE: Math.max(b.feature('SSIDSIZE'), 12) });
    b.start();
    const pointer = b.ram.allocate(0x1000);
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: pointer / 64, S1CDMax: 4, S1Fmt: fmt });
    b.ram.write64(pointer, (1n << BigInt(addressBits(b.features))) | 1n);
    for (const pasid of [0, 3]) b.faults({ va: VA, pasid }, 'C_BAD_SUBSTREAMID');
  }),
  row('7.3.10', `l1cd-abort-fmt-${fmt}`, `S1Fmt=${fmt}: an abort on the fetch of an L1CD is F_CD_FETCH`, (b) => {
    b.needs({ CD2L: 1, SSIDSIZE: Math.max(b.feature('SSIDSIZE'), 12) });
    b.start();
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: NOWHERE / 64, S1CDMax: 12, S1Fmt: fmt });
    const index = 3 * LEAF_CDS[fmt] + 2;
    b.faults({ va: VA, pasid: index }, 'F_CD_FETCH', { FetchAddr: (NOWHERE + 3 * 8) / 8 });
  }),
  row('7.3.10', `leaf-abort-fmt-${fmt}`, `S1Fmt=${fmt}: an abort on the fetch of a CD is F_CD_FETCH`, (b) => {
    b.needs({ CD2L: 1, SSIDSIZE: Math.max(b.feature('SSIDSIZE'), 12) });
    b.start();
    const pointer = b.ram.allocate(0x1000);
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: pointer / 64, S1CDMax: 4, S1Fmt: fmt });
    b.ram.write64(pointer, BigInt(NOWHERE) | 1n);
    b.faults({ va: VA, pasid: 5 }, 'F_CD_FETCH', { FetchAddr: (NOWHERE + 5 * 64) / 8 });
  }),
]);

const fetches: Row[] = [
  row('7.3.10', 'single', 'an abort on the fetch of the one CD is F_CD_FETCH, with its address', (b) => {
    b.needs({ S1P: 1 });
    b.start();
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: NOWHERE / 64 });
    b.faults({ va: VA }, 'F_CD_FETCH', { FetchAddr: NOWHERE / 8 });
  }),
  row(
    '7.3.10',
    'linear',
    'an abort on the fetch from a linear table is F_CD_FETCH, with SubstreamID and address',
    (b) => {
      b.needs({ S1P: 1, SSIDSIZE: Math.max(b.feature('SSIDSIZE'), 4) });
      b.start();
      b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: NOWHERE / 64, S1CDMax: 4 });
      b.faults({ va: VA, pasid: 7 }, 'F_CD_FETCH', { FetchAddr: (NOWHERE + 7 * 64) / 8 });
    },
  ),
  row('5.4.1', 'failed-fetch', 'a CD whose fetch aborted is fetched again', (b) => {
    b.needs({ S1P: 1 });
    b.start();
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: NOWHERE / 64 });
    for (let n = 0; n < 2; n++) b.faults({ va: VA }, 'F_CD_FETCH', { FetchAddr: NOWHERE / 8 });
  }),
];

export const contextTableRows: readonly Row[] = [
  ...selection,
  ...unaligned,
  unalignedLeaf,
  ...substreams,
  ...single,
  ...level1,
  ...fetches,
];
