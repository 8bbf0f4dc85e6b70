/** Levels of a walk: start levels, index bits, blocks, contiguous groups, descriptor types (DDI 0487 D8.2, D8.3, D8.7.1). */
import { type Bench, PAGE, type RegionOptions, VA } from '../bench/bench.ts';
import { CLASS_VALUE } from '../bench/broken.ts';
import { BIT, GRANULES, type Granule, LEAF_1, LEAF_2, type Tables } from '../bench/tables.ts';
import { CONTIGUOUS, LEVELS, type LevelFact, STAGE_1_START, STAGE_2_START } from '../facts/descriptors.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

const WIDE: FeatureValues = { OAS: 6, VAX: 1, DS: 1 };
const NARROW: FeatureValues = { OAS: 5 };

/** Whether a stage 1 region of these bits needs 52-bit descriptors to be configured. */
const wide = (bits: number): boolean => bits > 48;

/** The last page of a range of 2^bits bytes, and the first. */
function ends(b: Bench, tables: Tables, upper: boolean): void {
  const size = 1n << BigInt(tables.inputBits);
  const bytes = BigInt(tables.leafBytes(3));
  const bottom = upper ? (1n << 64n) - size : 0n;
  const first = bottom;
  const last = bottom + size - bytes;
  for (const [index, va] of [first, last].entries()) {
    tables.map(va, PAGE + index * 0x1_0000);
    b.reaches({ va: va + 0x10n }, PAGE + index * 0x1_0000 + 0x10);
  }
}

const stage1Start: Row[] = GRANULES.flatMap((granule) =>
  STAGE_1_START[granule].flatMap(({ level, TxSZ, needs }) =>
    [...new Set(TxSZ)].flatMap((size) =>
      (['TTB0', 'TTB1'] as const).map((half) => {
        const title = `${granule}, ${half}, TxSZ=${size}: the walk starts at level ${level}`;
        const options: RegionOptions = { granule, inputBits: 64 - size, startLevel: level, wide: wide(64 - size) };
        return row(
          `D8.2`,
          `start-${granule}-${size}-${half}`,
          title,
          (b) => {
            b.start();
            const { lower, upper } = b.stage1({ ...options, upper: true, cd: options.wide === true ? { DS: 1 } : {} });
            ends(b, half === 'TTB0' ? lower : upper, half === 'TTB1');
          },
          { features: { ...(size < 16 ? { OAS: 6, VAX: 1, DS: 1 } : {}), ...(needs as FeatureValues | undefined) } },
        );
      }),
    ),
  ),
);

/** What a stage 2 size needs. */
function stage2Needs(T0SZ: number, isWide: boolean): FeatureValues {
  if (isWide) return WIDE;
  return T0SZ > 39 ? { ...NARROW, STT: 1 } : NARROW;
}

function stage2Row(granule: Granule, level: number, T0SZ: number, tablesCount: number): Row {
  const what = tablesCount === 1 ? 'one table' : `${tablesCount} concatenated tables`;
  const title = `stage 2, ${granule}, S2T0SZ=${T0SZ}: level ${level}, ${what}`;
  // Level 0 of 16 KiB exists with S2DS=1 alone, whatever the size (Table D8-30).
  const isWide = T0SZ < 16 || (granule === '16KB' && level === 0);
  return row(
    'D8.2',
    `stage-2-${granule}-${level}-${T0SZ}`,
    title,
    (b) => {
      const inputBits = 64 - T0SZ;
      b.start();
      const extended = granule === '4KB' && level === -1;
      const tables = b.stage2({
        granule,
        inputBits,
        startLevel: level,
        wide: isWide,
        ste: isWide ? { S2DS: granule === '64KB' ? 0 : 1, S2SL0_2: extended ? 1 : 0 } : {},
      });
      ends(b, tables, false);
    },
    { features: { ...stage2Needs(T0SZ, isWide), ...(level === 3 && granule === '4KB' ? { STT: 1 } : {}) } },
  );
}

const stage2Start: Row[] = GRANULES.flatMap((granule) =>
  STAGE_2_START[granule].flatMap(({ level, T0SZ, concatenated }) => [
    ...[...new Set(T0SZ)].map((size) => stage2Row(granule, level, size, 1)),
    ...concatenated.map(({ tables, T0SZ: size }) => stage2Row(granule, level, size, tables)),
  ]),
);

const BASE_VA = 0x5555_5555_0000;

/** Every index bit of a level tells two addresses apart. */
function indexBits(granule: Granule, { level, index, section }: LevelFact): Row[] {
  return ([1, 2] as const).map((stage) =>
    row(
      section,
      `index-${granule}-${level}-stage-${stage}`,
      `${granule} level ${level}, stage ${stage}: index bits [${index[0]}:${index[1]}]`,
      (b) => {
        b.start();
        // 48 bits of input: level 0 (4 KiB), level 1 (16 KiB, concatenated at stage 2), level 1 (64 KiB).
        const startLevel = granule === '4KB' ? 0 : 1;
        const shape = { granule, inputBits: 48, ...(stage === 2 ? { startLevel } : {}) };
        const tables = stage === 1 ? b.stage1(shape).lower : b.stage2(shape);
        const base = BigInt(Math.floor(BASE_VA / tables.leafBytes(3)) * tables.leafBytes(3));
        tables.map(base, PAGE);
        for (let bit = index[1]; bit <= index[0]; bit++) {
          tables.map(base ^ (1n << BigInt(bit)), PAGE + (bit - index[1] + 1) * 0x1_0000);
        }
        b.reaches({ va: base }, PAGE);
        for (let bit = index[1]; bit <= index[0]; bit++) {
          b.reaches({ va: base ^ (1n << BigInt(bit)) }, PAGE + (bit - index[1] + 1) * 0x1_0000);
        }
      },
      { features: { OAS: 5 } },
    ),
  );
}

/** Blocks: input bits below the block come through, bits above come from the descriptor. */
function blocks(granule: Granule, { level, block, blockNeeds }: LevelFact): Row[] {
  if (block === null) return [];
  const bytes = 2 ** block;
  return ([1, 2] as const).map((stage) => {
    const kind = level === 3 ? 'page' : 'block';
    return row(
      'D8.3.1.2',
      `${kind}-${granule}-${level}-stage-${stage}`,
      `${granule} level ${level}, stage ${stage}: a ${kind} of 2^${block} bytes`,
      (b) => {
        b.start();
        const isWide = blockNeeds !== undefined;
        const startLevel = granule === '4KB' ? 0 : 1;
        const shape = { granule, inputBits: 48, wide: isWide, ...(stage === 2 ? { startLevel } : {}) };
        const ds = isWide && granule !== '64KB';
        const tables =
          stage === 1
            ? b.stage1({ ...shape, cd: ds ? { DS: 1 } : {} }).lower
            : b.stage2({ ...shape, ste: ds ? { S2DS: 1 } : {} });
        const va = Math.floor(0x5234_5600_0000 / bytes) * bytes;
        const pa = level === 3 ? PAGE : Math.max(bytes * 3, 0x1_0000_0000 - (0x1_0000_0000 % bytes));
        tables.map(va, pa, stage === 1 ? LEAF_1 : LEAF_2, level);
        for (const offset of [0, bytes - 8, Math.floor(bytes / 2) + 0x18]) b.reaches({ va: va + offset }, pa + offset);
      },
      { features: blockNeeds === undefined ? { OAS: 5 } : (blockNeeds as FeatureValues) },
    );
  });
}

/** A block descriptor where the level has no blocks is invalid (Table D8-48). */
const noBlocks: Row[] = [
  { granule: '4KB', level: 0 },
  { granule: '16KB', level: 1 },
  { granule: '64KB', level: 1 },
].map(({ granule, level }) =>
  row(
    'D8.3',
    `no-block-${granule}-${level}`,
    `${granule} level ${level} without 52-bit addresses: a block descriptor is invalid`,
    (b) => {
      b.start();
      const { lower } = b.stage1({ granule: granule as Granule, cd: { IPS: 0b101 } });
      lower.set(VA, level, LEAF_1 | 1n);
      b.faults({ va: VA }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
    },
    { features: { OAS: 5, DS: 0, VAX: 0 } },
  ),
);

/** Descriptor types (Table D8-48). */
const types: Row[] = GRANULES.flatMap((granule) =>
  LEVELS[granule].flatMap(({ level }) => {
    const rows = [0b00n, 0b10n].map((bits) =>
      row(
        'D8.3',
        `invalid-${granule}-${level}-${bits}`,
        `${granule} level ${level}: bits [1:0]=0b${bits.toString(2).padStart(2, '0')} is invalid`,
        (b) => {
          b.start();
          const { lower } = b.stage1({ granule });
          lower.set(VA, level, BigInt(PAGE) | LEAF_1 | bits);
          b.faults({ va: VA }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
        },
      ),
    );
    if (level !== 3) return rows;
    return [
      ...rows,
      row('D8.3', `reserved-${granule}`, `${granule} level 3: bits [1:0]=0b01 is reserved and invalid`, (b) => {
        b.start();
        const { lower } = b.stage1({ granule });
        lower.set(VA, 3, BigInt(PAGE) | LEAF_1 | 1n);
        b.faults({ va: VA }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
      }),
      row(
        'D8.3',
        `reserved-${granule}-stage-2`,
        `${granule} level 3, stage 2: bits [1:0]=0b01 is reserved and invalid`,
        (b) => {
          b.start();
          b.stage2({ granule }).set(VA, 3, BigInt(PAGE) | LEAF_2 | 1n);
          b.faults({ va: VA }, 'F_TRANSLATION', { S2: 1, CLASS: CLASS_VALUE.IN, IPA: VA / 4096 });
        },
      ),
    ];
  }),
);

const perLevel: Row[] = GRANULES.flatMap((granule) =>
  LEVELS[granule].flatMap((fact) => [...indexBits(granule, fact), ...blocks(granule, fact)]),
);

/** Contiguous groups: every entry translates to its own page (D8.7.1). */
const contiguous: Row[] = CONTIGUOUS.map(({ granule, level, entries }) =>
  row(
    'D8.7.1',
    `contiguous-${granule}-${level}`,
    `${granule} level ${level}: ${entries} contiguous entries, each to its own output; their neighbours apart`,
    (b) => {
      b.start();
      const { lower } = b.stage1({ granule });
      const bytes = lower.leafBytes(level);
      const group = bytes * entries;
      const va = Math.floor(0x5234_5600_0000 / group) * group;
      const pa = Math.max(group, Math.ceil(0x1_0000_0000 / group) * group);
      for (let n = 0; n < entries; n++) lower.map(va + n * bytes, pa + n * bytes, LEAF_1 | BIT.CONTIGUOUS, level);
      for (const n of [-1, entries]) lower.map(va + n * bytes, pa + (n + 2) * group, LEAF_1, level);
      for (const n of [0, 1, entries - 1, Math.floor(entries / 2)]) {
        b.reaches({ va: va + n * bytes + 0x38 }, pa + n * bytes + 0x38);
      }
      // The neighbours of the group go elsewhere.
      for (const n of [-1, entries]) b.reaches({ va: va + n * bytes + 0x38 }, pa + (n + 2) * group + 0x38);
    },
    { features: { OAS: 5 } },
  ),
);

export const walkLevelRows: readonly Row[] = [
  ...stage1Start,
  ...stage2Start,
  ...perLevel,
  ...noBlocks,
  ...types,
  ...contiguous,
];
