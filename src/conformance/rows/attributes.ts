/** Memory attributes and shareability of translations, as look-ups report them (IHI 0070 §13.1, §13.4; DDI 0487 D8.6). */
import {
  atosRow,
  BOTH_STAGES,
  bothOf,
  finds,
  STAGE_1_ALONE,
  STAGE_2_ALONE,
  stage1Of,
  stage2Of,
} from '../bench/atos.ts';
import { type Bench, PAGE, type RegionOptions, VA } from '../bench/bench.ts';
import { IPA } from '../bench/broken.ts';
import type { SteValues } from '../bench/streams.ts';
import { LEAF_1, LEAF_2 } from '../bench/tables.ts';
import type { Row } from '../row.ts';

const SH = { NONE: 0b00, OUTER: 0b10, INNER: 0b11 } as const;
const SHARED = [
  ['Non-shareable', SH.NONE],
  ['Outer Shareable', SH.OUTER],
  ['Inner Shareable', SH.INNER],
] as const;

const ATTR_INDEX = 2n;
const SH_BITS = 8n;
const MEM_ATTR = 2n;

/** A stage 1 leaf that names an attribute of MAIR. */
const stage1Leaf = (index: number, shareability: number = SH.INNER): bigint =>
  (LEAF_1 & ~0x31cn) | (BigInt(index) << ATTR_INDEX) | (BigInt(shareability) << SH_BITS);

const stage2Leaf = (memAttr: number, shareability: number = SH.INNER): bigint =>
  (LEAF_2 & ~0x33cn) | (BigInt(memAttr) << MEM_ATTR) | (BigInt(shareability) << SH_BITS);

/** Types in MAIR format (DDI 0487 D24.2, MAIR_EL1). */
const DEVICES = [
  ['Device-nGnRnE', 0x00],
  ['Device-nGnRE', 0x04],
  ['Device-nGRE', 0x08],
  ['Device-GRE', 0x0c],
] as const;
const NON_CACHEABLE = 0x44;
const WRITE_THROUGH = 0xbb;
const WRITE_BACK = 0xff;

/** One level of cache: the four bits of MAIR, without the reserved value. */
const LEVELS = [
  [0x1, 'Write-Through transient WA'],
  [0x2, 'Write-Through transient RA'],
  [0x3, 'Write-Through transient RA WA'],
  [0x4, 'Non-cacheable'],
  [0x5, 'Write-Back transient WA'],
  [0x6, 'Write-Back transient RA'],
  [0x7, 'Write-Back transient RA WA'],
  [0x8, 'Write-Through'],
  [0x9, 'Write-Through WA'],
  [0xa, 'Write-Through RA'],
  [0xb, 'Write-Through RA WA'],
  [0xc, 'Write-Back'],
  [0xd, 'Write-Back WA'],
  [0xe, 'Write-Back RA'],
  [0xf, 'Write-Back RA WA'],
] as const;

/** Reserved values and what they behave as (§5.4 MAIR0, MAIR1); Tagged and XS of PEs are among them. */
const RESERVED = [
  [0x01, 0x00, 'Device-nGnRnE'],
  [0x05, 0x04, 'Device-nGnRE'],
  [0x0a, 0x08, 'Device-nGRE'],
  [0x0f, 0x0c, 'Device-GRE'],
  [0x40, 0x43, 'oNC, inner Write-Through transient RA WA'],
  [0xa0, 0xa3, 'outer Write-Through RA, inner Write-Through transient RA WA'],
  [0xf0, 0xf3, 'outer Write-Back, inner Write-Through transient RA WA'],
] as const;

/** Any Device type and Non-cacheable are Outer Shareable (§13.1.7). */
const consistent = (ATTR: number, shareability: number): number =>
  ATTR < 0x10 || ATTR === NON_CACHEABLE ? SH.OUTER : shareability;

/** Stage 1 alone, with one attribute in MAIR. */
function oneStage(b: Bench, attribute: number, ATTR = attribute): void {
  b.stage1({ cd: { MAIR0: attribute } }).lower.map(VA, PAGE, stage1Leaf(0));
  finds(b, stage1Of(), PAGE, { ATTR, SH: consistent(ATTR, SH.INNER) });
}

const types: Row[] = [
  ...DEVICES.map(([name, attribute]) =>
    atosRow('D8.6.1', name, `MAIR ${name}: reported so, Outer Shareable`, (b) => oneStage(b, attribute), STAGE_1_ALONE),
  ),
  ...LEVELS.map(([outer, name]) =>
    atosRow(
      'D8.6.1',
      `outer-${outer}`,
      `MAIR outer ${name}, with every inner type: reported so`,
      (b) => {
        const { lower } = b.stage1();
        for (const [inner] of LEVELS) {
          const attribute = outer * 16 + inner;
          const cd = b.newCd({ ...b.cdFields(lower, null), MAIR0: attribute });
          lower.map(VA, PAGE, stage1Leaf(0));
          b.ste({ Config: 0b101, S1ContextPtr: cd / 64 });
          b.forget();
          b.commands.run('TLBI_NSNH_ALL', {});
          b.commands.sync();
          finds(b, stage1Of(), PAGE, { ATTR: attribute, SH: consistent(attribute, SH.INNER) });
        }
      },
      STAGE_1_ALONE,
    ),
  ),
  ...RESERVED.map(([attribute, ATTR, name]) =>
    atosRow(
      '5.4',
      `mair-${attribute}`,
      `MAIR 0x${attribute.toString(16).padStart(2, '0')}, reserved, behaves as ${name}`,
      (b) => {
        oneStage(b, attribute, ATTR);
      },
      STAGE_1_ALONE,
    ),
  ),
  ...Array.from({ length: 8 }, (_, index) =>
    atosRow(
      'D8.6.1',
      `index-${index}`,
      `AttrIndx=${index}: byte ${index % 4} of MAIR${index < 4 ? 0 : 1}`,
      (b) => {
        b.stage1({ cd: { MAIR0: 0xf3f2f1ff, MAIR1: 0xf7f6f5f4 } }).lower.map(VA, PAGE, stage1Leaf(index));
        const ATTR = index === 0 ? 0xff : 0xf0 + index;
        finds(b, stage1Of(), PAGE, { ATTR });
      },
      STAGE_1_ALONE,
    ),
  ),
  ...SHARED.map(([name, value]) =>
    atosRow(
      'D8.6.2',
      `sh-${value}`,
      `Write-Back memory, SH=${value}: ${name}; Device and Non-cacheable stay Outer Shareable`,
      (b) => {
        const { lower } = b.stage1({ cd: { MAIR0: 0x0c44ff } });
        for (const index of [0, 1, 2]) lower.map(VA + index * 4096, PAGE, stage1Leaf(index, value));
        finds(b, stage1Of(), PAGE, { ATTR: WRITE_BACK, SH: value });
        finds(b, stage1Of(VA + 4096), PAGE, { ATTR: NON_CACHEABLE, SH: SH.OUTER });
        finds(b, stage1Of(VA + 8192), PAGE, { ATTR: 0x0c, SH: SH.OUTER });
      },
      STAGE_1_ALONE,
    ),
  ),
];

/** Stage 2 MemAttr[3:0] without FWB, and what a look-up of stage 2 alone reports: RA, WA, not transient (§6.3.40). */
const MEM_ATTRS = [
  [0b0000, 0x00, 'Device-nGnRnE'],
  [0b0001, 0x04, 'Device-nGnRE'],
  [0b0010, 0x08, 'Device-nGRE'],
  [0b0011, 0x0c, 'Device-GRE'],
  [0b0101, 0x44, 'oNC-iNC'],
  [0b0110, 0x4b, 'oNC-iWT'],
  [0b0111, 0x4f, 'oNC-iWB'],
  [0b1001, 0xb4, 'oWT-iNC'],
  [0b1010, 0xbb, 'oWT-iWT'],
  [0b1011, 0xbf, 'oWT-iWB'],
  [0b1101, 0xf4, 'oWB-iNC'],
  [0b1110, 0xfb, 'oWB-iWT'],
  [0b1111, 0xff, 'oWB-iWB'],
] as const;

/** Through both stages. */
function bothStages(b: Bench, attribute: number, leaf1: bigint, leaf2: bigint, ste: SteValues = {}): void {
  const { lower, stage2 } = b.nested({ cd: { MAIR0: attribute }, ste });
  lower.map(VA, IPA.IN, leaf1);
  stage2.map(IPA.IN, PAGE, leaf2);
}

const stage2: Row[] = [
  ...MEM_ATTRS.map(([memAttr, ATTR, name]) =>
    atosRow(
      'D8.6.5',
      `stage-2-${memAttr}`,
      `stage 2 alone, MemAttr=0b${memAttr.toString(2).padStart(4, '0')}: ${name}`,
      (b) => {
        b.stage2().map(VA, PAGE, stage2Leaf(memAttr));
        // What was cached says the same.
        for (const request of [stage2Of(), stage2Of()]) {
          finds(b, request, PAGE, { ATTR, SH: consistent(ATTR, SH.INNER) });
        }
      },
      STAGE_2_ALONE,
    ),
  ),
  ...SHARED.map(([name, value]) =>
    atosRow(
      'D8.6.7',
      `stage-2-sh-${value}`,
      `stage 2 alone, SH=${value}: ${name}`,
      (b) => {
        b.stage2().map(VA, PAGE, stage2Leaf(0b1111, value));
        for (const request of [stage2Of(), stage2Of()]) finds(b, request, PAGE, { ATTR: WRITE_BACK, SH: value });
      },
      STAGE_2_ALONE,
    ),
  ),
];

/** Stage 1 types that meet every stage 2 type. Both levels of each have the same policy but for the last two. */
const FIRST = [
  ...DEVICES,
  ['Non-cacheable', NON_CACHEABLE],
  ['Write-Through', WRITE_THROUGH],
  ['Write-Back', WRITE_BACK],
  ['oNC-iWB', 0x4f],
  ['oWT-iNC', 0xb4],
] as const;

const POLICY: Readonly<Record<number, number>> = { 4: 0, 11: 1, 15: 2 };
const LEVEL_OF = [0x4, 0xb, 0xf] as const;

/** The stronger of two levels: Non-cacheable, Write-Through, Write-Back (Table D8-98). */
const strongerLevel = (first: number, second: number): number =>
  LEVEL_OF[Math.min(POLICY[first] ?? 0, POLICY[second] ?? 0)] ?? 0;

/** The stronger of two types, of the levels above alone (Tables D8-97 and D8-98). */
function stronger(first: number, second: number): number {
  if (first < 0x10 || second < 0x10) return Math.min(first, second);
  return strongerLevel(first >> 4, second >> 4) * 16 + strongerLevel(first & 15, second & 15);
}

const combined: Row[] = FIRST.flatMap(([name1, first]) =>
  MEM_ATTRS.map(([memAttr, second, name2]) =>
    atosRow('D8.6.5', `${name1}-${memAttr}`, `stage 1 ${name1} with stage 2 ${name2}: the stronger type`, (b) => {
      bothStages(b, first, stage1Leaf(0), stage2Leaf(memAttr));
      const ATTR = stronger(first, second);
      finds(b, bothOf(), PAGE, { ATTR, SH: consistent(ATTR, SH.INNER) });
    }),
  ),
);

/** §13.1.5.1, the hints of stage 1 where a level caches, and Table D8-103. */
const examples: Row[] = [
  atosRow('13.1.5.1', 'example-1', 'Normal-iWB/RAWAnTR-oNC-ISH with Device-nGnRE is Device-nGnRE', (b) => {
    bothStages(b, 0x4f, stage1Leaf(0), stage2Leaf(0b0001));
    finds(b, bothOf(), PAGE, { ATTR: 0x04, SH: SH.OUTER });
  }),
  atosRow('13.1.5.1', 'example-2', 'Device-nGnRE with Device-nGnRnE is Device-nGnRnE', (b) => {
    bothStages(b, 0x04, stage1Leaf(0), stage2Leaf(0b0000));
    finds(b, bothOf(), PAGE, { ATTR: 0x00, SH: SH.OUTER });
  }),
  atosRow('13.1.5.1', 'example-3', 'Normal-iWB-oNC-ISH with Normal-iWT-oWT-OSH is Normal-iWT-oNC-OSH', (b) => {
    bothStages(b, 0x4f, stage1Leaf(0, SH.INNER), stage2Leaf(0b1010, SH.OUTER));
    finds(b, bothOf(), PAGE, { ATTR: 0x4b, SH: SH.OUTER });
  }),
  ...[
    { first: 0x7e, memAttr: 0b1111, ATTR: 0x7e, title: 'Write-Back at stage 2 keeps them' },
    { first: 0x7e, memAttr: 0b1010, ATTR: 0x3a, title: 'Write-Through at stage 2 keeps them' },
    { first: 0x7e, memAttr: 0b0111, ATTR: 0x4e, title: 'a Non-cacheable level has none' },
  ].map(({ first, memAttr, ATTR, title }) =>
    atosRow('13.4.3', `hints-${memAttr}`, `allocation and transient hints of stage 1: ${title}`, (b) => {
      bothStages(b, first, stage1Leaf(0), stage2Leaf(memAttr));
      finds(b, bothOf(), PAGE, { ATTR });
    }),
  ),
  ...SHARED.flatMap(([name1, first]) =>
    SHARED.map(([name2, second]) => {
      // Outer before Inner before none: the numbers do not sort so.
      const strongest = first === SH.OUTER || second === SH.OUTER ? SH.OUTER : Math.max(first, second);
      return atosRow('D8.6.7.1', `sh-${first}-${second}`, `stage 1 ${name1} with stage 2 ${name2}: the wider`, (b) => {
        bothStages(b, WRITE_BACK, stage1Leaf(0, first), stage2Leaf(0b1111, second));
        for (const request of [bothOf(), bothOf()]) finds(b, request, PAGE, { ATTR: WRITE_BACK, SH: strongest });
      });
    }),
  ),
];

/** S2FWB=1: MemAttr[2:0] and the type of stage 1 (Tables D8-100 and D8-101). */
const FORCED = [
  { memAttr: 0b000, name: 'Device-nGnRnE', results: [0x00, 0x00, 0x00, 0x00] },
  { memAttr: 0b001, name: 'Device-nGnRE', results: [0x04, 0x04, 0x04, 0x04] },
  { memAttr: 0b010, name: 'Device-nGRE', results: [0x04, 0x08, 0x08, 0x08] },
  { memAttr: 0b011, name: 'Device-GRE', results: [0x04, 0x0c, 0x0c, 0x0c] },
  { memAttr: 0b101, name: 'at most Non-cacheable', results: [0x04, 0x44, 0x44, 0x44] },
  { memAttr: 0b110, name: 'Write-Back', results: [0xff, 0xff, 0xff, 0xff] },
  { memAttr: 0b111, name: 'as stage 1', results: [0x04, 0x44, 0xbb, 0xff] },
] as const;
const FORCED_FIRST = [
  ['Device-nGnRE', 0x04],
  ['Non-cacheable', 0x44],
  ['Write-Through', 0xbb],
  ['Write-Back', 0xff],
] as const;

const forced: Row[] = [
  ...FORCED.flatMap(({ memAttr, name, results }) =>
    FORCED_FIRST.map(([first, attribute], column) =>
      atosRow(
        '13.1.6',
        `fwb-${memAttr}-${first}`,
        `S2FWB=1, MemAttr[2:0]=0b${memAttr.toString(2).padStart(3, '0')} (${name}) with stage 1 ${first}`,
        (b) => {
          bothStages(b, attribute, stage1Leaf(0), stage2Leaf(memAttr), { S2FWB: 1 });
          finds(b, bothOf(), PAGE, { ATTR: results[column] ?? -1 });
        },
        { ...BOTH_STAGES, FWB: 1 },
      ),
    ),
  ),
  atosRow(
    '13.1.6',
    'fwb-hints',
    'S2FWB=1, forced Write-Back: the hints of a cacheable stage 1 stay',
    (b) => {
      bothStages(b, 0x3a, stage1Leaf(0), stage2Leaf(0b110), { S2FWB: 1 });
      finds(b, bothOf(), PAGE, { ATTR: 0x7e });
    },
    { ...BOTH_STAGES, FWB: 1 },
  ),
];

/** With 52-bit descriptors bits 9:8 are address bits, and the shareability is the structure's. */
const WIDE: RegionOptions = { inputBits: 52, startLevel: -1, wide: true };
const wide: Row[] = SHARED.map(([name, value]) =>
  atosRow(
    'D8.6.2',
    `ds-sh-${value}`,
    `CD.DS=1: shareability from CD.SH0=${value}, ${name}`,
    (b) => {
      b.stage1({ ...WIDE, cd: { DS: 1, IPS: 0b110, SH0: value } }).lower.map(VA, PAGE);
      finds(b, stage1Of(), PAGE, { ATTR: WRITE_BACK, SH: value });
    },
    { ...STAGE_1_ALONE, DS: 1, VAX: 1, OAS: 6 },
  ),
);

/** STE overrides leave look-ups alone (Table 13.5). */
const OVERRIDES = [
  ['mtcfg', { MTCFG: 1, MemAttr: 0 }, 'MTCFG=1, MemAttr=Device'],
  ['shcfg', { SHCFG: 0b00 }, 'SHCFG=Non-shareable'],
  ['alloccfg', { ALLOCCFG: 0b1000 }, 'ALLOCCFG=no allocation'],
] as const;

const overrides: Row[] = OVERRIDES.flatMap(([name, ste, title]) => [
  atosRow(
    '13.1.4',
    `atos-${name}-1`,
    `${title} does not change what a look-up of stage 1 reports`,
    (b) => {
      b.stage1({ ste }).lower.map(VA, PAGE);
      finds(b, stage1Of(), PAGE, { ATTR: WRITE_BACK, SH: SH.INNER });
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '13.1.4',
    `atos-${name}-2`,
    `${title} does not change what a look-up of stage 2 reports`,
    (b) => {
      b.stage2({ ste }).map(VA, PAGE);
      finds(b, stage2Of(), PAGE, { ATTR: WRITE_BACK, SH: SH.INNER });
    },
    STAGE_2_ALONE,
  ),
]);

export const attributeRows: readonly Row[] = [
  ...types,
  ...stage2,
  ...combined,
  ...examples,
  ...forced,
  ...wide,
  ...overrides,
];
