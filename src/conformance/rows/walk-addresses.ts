/** Addresses of a walk: outputs, sizes, input ranges, table bases, byte order (DDI 0487 D8.2, D8.3; IHI 0070 §3.4 where it says more). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { CLASS_VALUE } from '../bench/broken.ts';
import { eventField, eventName } from '../bench/event-record.ts';
import { STAGE_2_DEFAULTS, ttb } from '../bench/streams.ts';
import { GRANULES, LEAF_1, LEAF_2, levelShift, Tables } from '../bench/tables.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';
import { NOWHERE } from '../subject.ts';

const NARROW: FeatureValues = { OAS: 5 };
const WIDE: FeatureValues = { OAS: 6, VAX: 1, DS: 1 };

/** Output address bits of a leaf, one by one, and those of 52-bit descriptors. */
const outputs: Row[] = [
  ...GRANULES.flatMap((granule) =>
    ([1, 2] as const).map((stage) =>
      row(
        'D8.3.1.2',
        `output-${granule}-stage-${stage}`,
        `${granule}, stage ${stage}: each output address bit up to 47 comes from its descriptor bit`,
        (b) => {
          b.start();
          const tables = stage === 1 ? b.stage1({ granule }).lower : b.stage2({ granule });
          for (let bit = 33; bit < 48; bit++) {
            const va = VA + (bit - 33) * tables.leafBytes(3);
            tables.map(va, 2 ** bit);
            b.reaches({ va: va + 0x20 }, 2 ** bit + 0x20);
          }
        },
        { features: { OAS: 5 } },
      ),
    ),
  ),
  ...GRANULES.flatMap((granule) =>
    ([1, 2] as const).flatMap((stage) =>
      [48, 49, 50, 51].map((bit) => {
        const from = granule === '64KB' ? bit - 36 : bit < 50 ? bit : bit - 42;
        const title = `${granule}, stage ${stage}, 52-bit: output address bit ${bit} is descriptor bit ${from}`;
        return row(
          'D8.3.1.2',
          `output-${granule}-stage-${stage}-bit-${bit}`,
          title,
          (b) => {
            b.start();
            const ds = granule === '64KB' ? {} : { DS: 1 };
            const s2ds = granule === '64KB' ? {} : { S2DS: 1 };
            const leaf = stage === 1 ? LEAF_1 & ~0x300n : LEAF_2 & ~0x300n;
            const tables =
              stage === 1
                ? b.stage1({ granule, wide: true, cd: ds }).lower
                : b.stage2({ granule, wide: true, ste: s2ds });
            tables.set(VA, 3, leaf | (1n << BigInt(from)) | 3n);
            b.reaches({ va: VA + 0x28 }, 2 ** bit + 0x28);
          },
          { features: WIDE },
        );
      }),
    ),
  ),
  ...(['4KB', '16KB'] as const).map((granule) =>
    row(
      'D8.3.1.2',
      `no-ds-${granule}`,
      `${granule} without DS: output address bits [51:48] are 0`,
      (b) => {
        b.start();
        const { lower } = b.stage1({ granule, cd: { DS: 0 } });
        lower.set(VA, 3, BigInt(PAGE) | (LEAF_1 & ~0x300n) | 3n | (3n << 8n));
        b.reaches({ va: VA }, PAGE);
      },
      { features: WIDE },
    ),
  ),
  ...GRANULES.flatMap((granule) =>
    ([1, 2] as const).map((stage) =>
      row(
        'D8.3.1.1',
        `next-level-${granule}-stage-${stage}`,
        `${granule}, stage ${stage}: the next-level address is that of the table descriptor`,
        (b) => {
          b.start();
          const tables = stage === 1 ? b.stage1({ granule }).lower : b.stage2({ granule });
          tables.set(VA, 2, BigInt(NOWHERE) | 3n);
          const index = Math.floor(VA / tables.leafBytes(3)) % (tables.leafBytes(2) / tables.leafBytes(3));
          b.aborts({ va: VA });
          const [record] = b.events.take();
          equal('event', record === undefined ? '' : eventName(record), 'F_WALK_EABT');
          equal('FetchAddr', record === undefined ? 0 : eventField(record, 'FetchAddr'), NOWHERE / 8 + index);
        },
      ),
    ),
  ),
];

/** F_ADDR_SIZE at each level: table and leaf outputs (§3.4). */
const IPS = [
  { encoding: 0b000, bits: 32 },
  { encoding: 0b001, bits: 36 },
  { encoding: 0b010, bits: 40 },
  { encoding: 0b011, bits: 42 },
  { encoding: 0b100, bits: 44 },
] as const;

const sizes: Row[] = [
  ...IPS.flatMap(({ encoding, bits }) =>
    ([1, 2] as const).flatMap((stage) => {
      const name = stage === 1 ? `IPS=${bits}` : `S2PS=${bits}`;
      const setUp = (b: Bench): Tables => {
        b.start();
        return stage === 1
          ? b.stage1({ cd: { IPS: encoding } }).lower
          : b.stage2({ inputBits: 32, startLevel: 1, ste: { S2PS: encoding } });
      };
      const fields = stage === 1 ? { CLASS: CLASS_VALUE.IN } : { S2: 1, CLASS: CLASS_VALUE.IN, IPA: VA / 4096 };
      return [
        row(
          '3.4',
          `leaf-within-${name}`,
          `${name}: an output below the size passes`,
          (b) => {
            setUp(b).map(VA, 2 ** bits - 4096 > 0x1_0000_0000 ? 2 ** bits - 4096 : PAGE);
            b.reaches({ va: VA }, 2 ** bits - 4096 > 0x1_0000_0000 ? 2 ** bits - 4096 : PAGE);
          },
          { features: { OAS: 5 } },
        ),
        row(
          '3.4',
          `leaf-beyond-${name}`,
          `${name}: a leaf output beyond the size is F_ADDR_SIZE of stage ${stage}`,
          (b) => {
            setUp(b).map(VA, 2 ** bits);
            b.faults({ va: VA }, 'F_ADDR_SIZE', fields);
          },
          { features: { OAS: 5 } },
        ),
        row(
          '3.4',
          `table-beyond-${name}`,
          `${name}: a table address beyond the size is F_ADDR_SIZE of stage ${stage}`,
          (b) => {
            setUp(b).set(VA, 2, BigInt(2 ** bits) | 3n);
            b.faults({ va: VA }, 'F_ADDR_SIZE', fields);
          },
          { features: { OAS: 5 } },
        ),
      ];
    }),
  ),
  row(
    '3.4',
    'ips-capped',
    'IPS above the OAS: the OAS is the limit',
    (b) => {
      b.start();
      b.stage1({ cd: { IPS: 0b101 } }).lower.map(VA, 2 ** 40);
      b.faults({ va: VA }, 'F_ADDR_SIZE', { CLASS: CLASS_VALUE.IN });
    },
    { features: { OAS: 2 } },
  ),
  row(
    '3.4',
    's2ps-capped',
    'S2PS above the OAS: the OAS is the limit',
    (b) => {
      b.start();
      b.stage2({ ste: { S2PS: 0b101 } }).map(VA, 2 ** 40);
      b.faults({ va: VA }, 'F_ADDR_SIZE', { S2: 1, CLASS: CLASS_VALUE.IN, IPA: VA / 4096 });
    },
    { features: { OAS: 2 } },
  ),
  row(
    '3.4',
    'bypass',
    'Config=0b100: an input beyond the OAS is F_ADDR_SIZE of stage 1',
    (b) => {
      b.start();
      b.ste({ Config: 0b100 });
      b.faults({ va: 2n ** 40n }, 'F_ADDR_SIZE', { CLASS: CLASS_VALUE.IN });
    },
    { features: { OAS: 2 } },
  ),
  row(
    '3.4',
    'stage-2-ias',
    'Config=0b110: an input beyond the IAS is F_ADDR_SIZE of stage 1',
    (b) => {
      b.start();
      b.stage2();
      b.faults({ va: 2n ** 40n }, 'F_ADDR_SIZE', { CLASS: CLASS_VALUE.IN });
    },
    { features: { OAS: 2 } },
  ),
  row(
    '3.4',
    'stage-2-range',
    'Config=0b110: an input within the IAS, beyond S2T0SZ, is F_TRANSLATION of stage 2',
    (b) => {
      b.start();
      b.stage2({ inputBits: 36, startLevel: 1 });
      b.faults({ va: 2n ** 36n }, 'F_TRANSLATION', { S2: 1, CLASS: CLASS_VALUE.IN, IPA: 2 ** 24 });
    },
    { features: { OAS: 2 } },
  ),
  row(
    '3.4',
    'nested-range',
    'Config=0b111: an IPA beyond S2T0SZ is F_TRANSLATION of stage 2',
    (b) => {
      b.start();
      const { lower } = b.nested({ stage2: { inputBits: 36, startLevel: 1 } });
      lower.map(VA, 2 ** 36);
      b.faults({ va: VA }, 'F_TRANSLATION', { S2: 1, CLASS: CLASS_VALUE.IN, IPA: 2 ** 24 });
    },
    { features: { OAS: 5 } },
  ),
];

/** A stage 1 table at IPA bits that only large IPA spaces have. */
const HIGH_IPA = 0x8123_4560_0000;
function highTable(b: Bench, leaf: bigint | null): void {
  b.start();
  const { tables, fields } = b.stage2Tables({ inputBits: 48, startLevel: 0 });
  b.identity(tables);
  const lower = b.tables({ inputBits: 39 }).map(VA, PAGE);
  if (leaf !== null) tables.map(HIGH_IPA, lower.base, leaf);
  const cd = b.newCd({ ...b.cdFields(lower, null), TTB0: ttb(HIGH_IPA) });
  b.ste({ Config: 0b111, ...fields, S1ContextPtr: cd / 64 });
}
const HIGH_RECORD = { S2: 1, CLASS: CLASS_VALUE.TT, IPA: HIGH_IPA / 4096 };
const HIGH_NEEDS = { features: { ...NARROW, S1P: 1, S2P: 1 } };

const highTables: Row[] = [
  row(
    'D8.2',
    'high-table',
    'nested: a stage 1 table at IPA 0x8123_4560_0000 is reached through stage 2',
    (b) => {
      highTable(b, LEAF_2);
      b.reaches({ va: VA }, PAGE);
    },
    HIGH_NEEDS,
  ),
  row(
    '7.3.13',
    'high-table',
    'nested: stage 2 maps nothing at IPA 0x8123_4560_0000, where the stage 1 table is',
    (b) => {
      highTable(b, null);
      b.faults({ va: VA }, 'F_TRANSLATION', HIGH_RECORD);
    },
    HIGH_NEEDS,
  ),
  row(
    '7.3.16',
    'high-table',
    'nested: stage 2 lets nobody read at IPA 0x8123_4560_0000, where the stage 1 table is',
    (b) => {
      highTable(b, LEAF_2 & ~0xc0n);
      b.faults({ va: VA }, 'F_PERMISSION', { ...HIGH_RECORD, TTRnW: 1 });
    },
    HIGH_NEEDS,
  ),
];

/** Input ranges, sign extension, TBI (§3.4.1). */
interface RangeCase {
  readonly name: string;
  readonly va: bigint;
  readonly half: 'lower' | 'upper' | 'fault';
  readonly cd?: Record<string, number>;
  readonly bits?: number;
}

const RANGES: readonly RangeCase[] = [
  { name: 'lower-last', va: 0x0000_ffff_ffff_f000n, half: 'lower' },
  { name: 'lower-beyond', va: 0x0001_0000_0000_0000n, half: 'fault' },
  { name: 'upper-first', va: 0xffff_0000_0000_0000n, half: 'upper' },
  { name: 'upper-below', va: 0xfffe_ffff_ffff_f000n, half: 'fault' },
  { name: 'middle', va: 0x0080_0000_0000_0000n, half: 'fault' },
  { name: 'not-extended', va: 0x8000_0000_0000_0000n, half: 'fault' },
  { name: 'lower-39-last', va: 0x7f_ffff_f000n, half: 'lower', bits: 39 },
  { name: 'lower-39-beyond', va: 0x80_0000_0000n, half: 'fault', bits: 39 },
  { name: 'upper-39-first', va: 0xffff_ff80_0000_0000n, half: 'upper', bits: 39 },
  { name: 'upper-39-below', va: 0xffff_ff7f_ffff_f000n, half: 'fault', bits: 39 },
  { name: 'tbi0-off', va: 0x5a00_0000_7000_0000n, half: 'fault' },
  { name: 'tbi0', va: 0x5a00_0000_7000_0000n, half: 'lower', cd: { TBI0: 1 } },
  { name: 'tbi0-ff', va: 0xff00_0000_7000_0000n, half: 'lower', cd: { TBI0: 1 } },
  { name: 'tbi0-bit-55', va: 0x5a80_0000_7000_0000n, half: 'fault', cd: { TBI0: 1 } },
  { name: 'tbi0-beyond', va: 0x5a01_0000_7000_0000n, half: 'fault', cd: { TBI0: 1 } },
  { name: 'tbi0-not-upper', va: 0x5aff_0000_7000_0000n, half: 'fault', cd: { TBI0: 1 } },
  { name: 'tbi1', va: 0x5aff_0000_7000_0000n, half: 'upper', cd: { TBI1: 1 } },
  { name: 'tbi1-zero', va: 0x00ff_0000_7000_0000n, half: 'upper', cd: { TBI1: 1 } },
  { name: 'tbi1-beyond', va: 0x00fe_ffff_7000_0000n, half: 'fault', cd: { TBI1: 1 } },
  { name: 'tbi1-not-lower', va: 0x5a00_0000_7000_0000n, half: 'fault', cd: { TBI1: 1 } },
];

const RESULT = { lower: 'translates through TTB0', upper: 'translates through TTB1', fault: 'F_TRANSLATION' } as const;

const inputs: Row[] = [
  ...RANGES.map(({ name, va, half, cd = {}, bits = 48 }) =>
    row(
      '3.4.1',
      name,
      `VA ${va.toString(16).padStart(16, '0')}, ${bits} bits${Object.keys(cd)
        .map((field) => `, ${field}=1`)
        .join('')}: ${RESULT[half]}`,
      (b) => {
        b.start();
        const { lower, upper } = b.stage1({ upper: true, inputBits: bits, cd });
        lower.map(va, PAGE + 0x1000);
        upper.map(va, PAGE + 0x2000);
        if (half === 'fault') b.faults({ va }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
        else b.reaches({ va }, half === 'lower' ? PAGE + 0x1000 : PAGE + 0x2000);
      },
    ),
  ),
  row(
    '3.4.1',
    'el2-one-range',
    'StreamWorld EL2 has one range: an upper address is F_TRANSLATION',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: { STRW: 2 } });
      lower.map(VA, PAGE);
      b.reaches({ va: VA }, PAGE);
      b.faults({ va: 0xffff_0000_7000_0000n }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
    },
    { features: { Hyp: 1 } },
  ),
  row(
    '3.4.1',
    'e2h-two-ranges',
    'StreamWorld EL2-E2H has two ranges',
    (b) => {
      b.start({ E2H: 1 });
      const { lower, upper } = b.stage1({ upper: true, ste: { STRW: 2 } });
      lower.map(VA, PAGE);
      upper.map(0xffff_0000_7000_0000n, PAGE + 0x3000);
      b.reaches({ va: VA }, PAGE);
      b.reaches({ va: 0xffff_0000_7000_0000n }, PAGE + 0x3000);
    },
    { features: { Hyp: 1 } },
  ),
  row('3.4.1', 'tbi-no-stage-1', 'without stage 1 there is no TBI: the top byte counts', (b) => {
    b.start();
    b.stage2().map(VA, PAGE);
    b.aborts({ va: 0x5a00_0000_7000_0000n });
    b.fault('F_ADDR_SIZE', { CLASS: CLASS_VALUE.IN });
  }),
  row('7.3', 'tbi-input-address', 'TBI does not change InputAddr: the top byte is as it came', (b) => {
    b.start();
    b.stage1({ cd: { TBI0: 1 } });
    b.faults({ va: 0x5a00_0000_7000_0000n }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
  }),
];

/** TTB0, TTB1, S2TTB: aligned down to the size of the start-level table. */
const basesRows: Row[] = [
  ...GRANULES.map((granule) =>
    row('D8.2.5.2', `ttb-aligned-${granule}`, `${granule}: TTB0 is aligned down to the size of its table`, (b) => {
      b.start();
      const lower = b.tables({ granule, inputBits: 39 }).map(VA, PAGE);
      const bytes = 2 ** (39 - levelShift(granule, lower.startLevel)) * 8;
      const stray = Math.max(Math.floor(bytes / 2), 16) % bytes;
      const cd = b.newCd({ ...b.cdFields(lower, null), TTB0: ttb(lower.base + (stray < 64 ? 0 : stray)) });
      b.ste({ Config: 0b101, S1ContextPtr: cd / 64 });
      b.reaches({ va: VA }, PAGE);
    }),
  ),
  ...([2, 16] as const).map((count) =>
    row(
      'D8.2.5.2',
      `s2ttb-aligned-${count}`,
      `${count} concatenated tables: S2TTB is aligned down to all of them`,
      (b) => {
        b.start();
        const { tables, fields } = b.stage2Tables({ inputBits: count === 2 ? 40 : 43, startLevel: 1 });
        tables.map(VA, PAGE);
        b.ste({ Config: 0b110, ...fields, S2TTB: ttb(tables.base + 4096 * (count - 1)) });
        b.reaches({ va: VA }, PAGE);
      },
      { features: { OAS: 5, S2P: 1 } },
    ),
  ),
];

/** Big-endian tables where IDR0.TTENDIAN allows them. */
const endianness: Row[] = [
  ...([0b00, 0b11] as const).flatMap((TTENDIAN) =>
    ([1, 2] as const).map((stage) =>
      row(
        '5.4',
        `big-endian-${TTENDIAN}-stage-${stage}`,
        `TTENDIAN=0b${TTENDIAN.toString(2).padStart(2, '0')}: big-endian tables at stage ${stage}`,
        (b) => {
          b.start();
          const shape = { granule: '4KB', inputBits: 39, startLevel: 1, bigEndian: true } as const;
          if (stage === 1) {
            const lower = new Tables(b.ram, { ...shape, leaf: LEAF_1 }).map(VA, PAGE);
            const cd = b.newCd({ ...b.cdFields(lower, null), ENDI: 1 });
            b.ste({ Config: 0b101, S1ContextPtr: cd / 64 });
          } else {
            const tables = new Tables(b.ram, { ...shape, leaf: LEAF_2 }).map(VA, PAGE);
            b.ste({ Config: 0b110, ...STAGE_2_DEFAULTS, S2T0SZ: 25, S2SL0: 1, S2TTB: ttb(tables.base), S2ENDI: 1 });
          }
          b.reaches({ va: VA }, PAGE);
        },
        { features: { TTENDIAN, S1P: 1, S2P: 1, GRAN4K: 1 } },
      ),
    ),
  ),
  row(
    '5.4',
    'little-endian',
    'TTENDIAN=0b00: little-endian tables',
    (b) => {
      b.start();
      b.stage1().lower.map(VA, PAGE);
      b.reaches({ va: VA }, PAGE);
    },
    { features: { TTENDIAN: 0 } },
  ),
];

export const walkAddressRows: readonly Row[] = [
  ...outputs,
  ...sizes,
  ...highTables,
  ...inputs,
  ...basesRows,
  ...endianness,
];
