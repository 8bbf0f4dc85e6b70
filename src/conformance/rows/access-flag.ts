/** Access flag and dirty state: faults, AFFD, hardware update of both stages (IHI 0070 §3.13, §5.4 HA and HD, §5.2 S2HA and S2HD). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { brokenNested, CLASS_VALUE, IPA as PLACES } from '../bench/broken.ts';
import type { CdValues, SteValues } from '../bench/streams.ts';
import { BIT, GRANULES, LEAF_1, LEAF_2, type Tables } from '../bench/tables.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';

const S2AP1 = 1n << 7n;
const IPA = 0x1_0000_0000;

/** The leaf of each stage: read-only but for DBM, AF clear. */
interface Stage {
  readonly name: string;
  readonly leaf: bigint;
  readonly clean: bigint;
  /** Whether a leaf may be written. */
  writable(leaf: bigint): boolean;
  readonly fields: Readonly<Record<string, number>>;
  /** HA, HD, AFFD as this stage spells them. */
  stream(b: Bench, switches: { readonly HA?: number; readonly HD?: number; readonly AFFD?: number }): Tables;
}

const STAGES: readonly Stage[] = [
  {
    name: 'stage 1',
    leaf: LEAF_1,
    clean: LEAF_1 | BIT.AP2,
    writable: (leaf) => (leaf & BIT.AP2) === 0n,
    fields: { CLASS: CLASS_VALUE.IN },
    stream: (b, { HA = 0, HD = 0, AFFD = 0 }) => b.stage1({ cd: { HA, HD, AFFD } }).lower,
  },
  {
    name: 'stage 2',
    leaf: LEAF_2,
    clean: LEAF_2 & ~S2AP1,
    writable: (leaf) => (leaf & S2AP1) !== 0n,
    fields: { S2: 1, CLASS: CLASS_VALUE.IN, IPA: VA / 4096 },
    stream: (b, { HA = 0, HD = 0, AFFD = 0 }) => b.stage2({ ste: { S2HA: HA, S2HD: HD, S2AFFD: AFFD } }),
  },
];

const HTTU_2 = { features: { HTTU: 2, S1P: 1, S2P: 1 } };
const HTTU_1 = { features: { HTTU: 1, S1P: 1, S2P: 1 } };
const BOTH = { features: { S1P: 1, S2P: 1 } };

const accessFlag: Row[] = STAGES.flatMap((stage) => [
  ...[false, true].map((write) =>
    row(
      '3.13.2',
      `${stage.name}-fault-${write ? 'write' : 'read'}`,
      `${stage.name}: a ${write ? 'write' : 'read'} of a page with AF=0 is F_ACCESS`,
      (b) => {
        b.start();
        stage.stream(b, {}).map(VA, PAGE, stage.leaf & ~BIT.AF);
        b.faults({ va: VA, write }, 'F_ACCESS', stage.fields);
      },
      BOTH,
    ),
  ),
  row(
    '5.4',
    `${stage.name}-affd`,
    `${stage.name}: with AFFD=1, AF=0 counts as 1 and stays 0`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { AFFD: 1 }).map(VA, PAGE, stage.leaf & ~BIT.AF);
      b.reaches({ va: VA }, PAGE);
      equal('AF', (tables.get(VA, 3) & BIT.AF) !== 0n, false);
    },
    BOTH,
  ),
  ...[false, true].map((write) =>
    row(
      '3.13.2',
      `${stage.name}-update-${write ? 'write' : 'read'}`,
      `${stage.name}, HA=1: a ${write ? 'write' : 'read'} sets AF and goes on`,
      (b) => {
        b.start();
        const tables = stage.stream(b, { HA: 1 }).map(VA, PAGE, stage.leaf & ~BIT.AF);
        const before = tables.get(VA, 3);
        b.reaches({ va: VA, write }, PAGE);
        equal('descriptor', tables.get(VA, 3), before | BIT.AF);
      },
      HTTU_1,
    ),
  ),
  row(
    '5.4',
    `${stage.name}-affd-ignored`,
    `${stage.name}, HA=1: AFFD is ignored, AF is set`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, AFFD: 1 }).map(VA, PAGE, stage.leaf & ~BIT.AF);
      b.reaches({ va: VA }, PAGE);
      equal('AF', (tables.get(VA, 3) & BIT.AF) !== 0n, true);
    },
    HTTU_1,
  ),
  row(
    '3.13.2',
    `${stage.name}-never-clears`,
    `${stage.name}, HA=1, HD=1: a descriptor with everything set stays as it is`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, HD: 1 }).map(VA, PAGE, stage.leaf | BIT.DBM);
      const before = tables.get(VA, 3);
      b.reaches({ va: VA, write: true }, PAGE);
      equal('descriptor', tables.get(VA, 3), before);
    },
    HTTU_2,
  ),
  ...GRANULES.map((granule) =>
    row(
      '3.13.2',
      `${stage.name}-block-${granule}`,
      `${stage.name}, HA=1: AF of a ${granule} block is set in the block descriptor`,
      (b) => {
        b.start();
        const tables =
          stage.name === 'stage 1'
            ? b.stage1({ granule, cd: { HA: 1 } }).lower
            : b.stage2({ granule, ste: { S2HA: 1 } });
        const bytes = tables.leafBytes(2);
        const va = Math.floor(VA / bytes) * bytes;
        tables.map(va, Math.ceil(0x1_0000_0000 / bytes) * bytes, stage.leaf & ~BIT.AF, 2);
        b.reaches({ va: va + 0x30 }, Math.ceil(0x1_0000_0000 / bytes) * bytes + 0x30);
        equal('AF', (tables.get(va, 2) & BIT.AF) !== 0n, true);
      },
      { features: { HTTU: 1, OAS: 5, S1P: 1, S2P: 1 } },
    ),
  ),
  row(
    '3.13.2',
    `${stage.name}-no-fault-update`,
    `${stage.name}, HA=1: a read of a page that is not readable leaves AF or sets it, and faults`,
    (b) => {
      b.start();
      const closed = stage.name === 'stage 1' ? stage.leaf & ~BIT.AP1 : stage.leaf & ~0xc0n;
      stage.stream(b, { HA: 1 }).map(VA, PAGE, closed & ~BIT.AF);
      b.faults({ va: VA }, 'F_PERMISSION', stage.fields);
    },
    HTTU_1,
  ),
]);

/** Writable-clean, writable-dirty, read-only (§3.13.3.1). */
const dirty: Row[] = STAGES.flatMap((stage) => [
  row(
    '3.13.3.1',
    `${stage.name}-dirty`,
    `${stage.name}, HD=1: a write to a writable-clean page makes it dirty and goes on`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, HD: 1 }).map(VA, PAGE, stage.clean | BIT.DBM);
      b.reaches({ va: VA, write: true }, PAGE);
      equal('writable', stage.writable(tables.get(VA, 3)), true);
      equal('DBM', (tables.get(VA, 3) & BIT.DBM) !== 0n, true);
    },
    HTTU_2,
  ),
  row(
    '3.13.3.1',
    `${stage.name}-read-stays-clean`,
    `${stage.name}, HD=1: a read leaves a writable-clean page clean`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, HD: 1 }).map(VA, PAGE, stage.clean | BIT.DBM);
      b.reaches({ va: VA }, PAGE);
      equal('writable', stage.writable(tables.get(VA, 3)), false);
    },
    HTTU_2,
  ),
  row(
    '3.13.3.1',
    `${stage.name}-read-then-write`,
    `${stage.name}, HD=1: a write after a cached read makes the page dirty`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, HD: 1 }).map(VA, PAGE, stage.clean | BIT.DBM);
      b.reaches({ va: VA }, PAGE);
      b.reaches({ va: VA, write: true }, PAGE);
      equal('writable', stage.writable(tables.get(VA, 3)), true);
    },
    HTTU_2,
  ),
  row(
    '3.13.3.1',
    `${stage.name}-both-flags`,
    `${stage.name}, HA=HD=1: one write sets AF and makes the page dirty`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, HD: 1 }).map(VA, PAGE, (stage.clean & ~BIT.AF) | BIT.DBM);
      b.reaches({ va: VA, write: true }, PAGE);
      equal('writable', stage.writable(tables.get(VA, 3)), true);
      equal('AF', (tables.get(VA, 3) & BIT.AF) !== 0n, true);
    },
    HTTU_2,
  ),
  row(
    '3.13.3.1',
    `${stage.name}-read-only`,
    `${stage.name}, HD=1: a write to a page with DBM=0 is F_PERMISSION, and the page stays`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, HD: 1 }).map(VA, PAGE, stage.clean);
      const before = tables.get(VA, 3);
      b.faults({ va: VA, write: true }, 'F_PERMISSION', stage.fields);
      equal('descriptor', tables.get(VA, 3), before);
    },
    HTTU_2,
  ),
  row(
    '3.13.3.1',
    `${stage.name}-off`,
    `${stage.name}, HD=0: a write to a writable-clean page is F_PERMISSION`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1 }).map(VA, PAGE, stage.clean | BIT.DBM);
      b.faults({ va: VA, write: true }, 'F_PERMISSION', stage.fields);
      equal('writable', stage.writable(tables.get(VA, 3)), false);
    },
    HTTU_2,
  ),
  row(
    '5.4',
    `${stage.name}-hd-alone`,
    `${stage.name}, HD=1 without HA: reserved, no update at all`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HD: 1 }).map(VA, PAGE, stage.clean | BIT.DBM);
      b.faults({ va: VA, write: true }, 'F_PERMISSION', stage.fields);
      equal('writable', stage.writable(tables.get(VA, 3)), false);
    },
    HTTU_2,
  ),
]);

/** Big-endian descriptors are updated as they lie in memory. */
const bigEndian: Row[] = STAGES.map((stage) =>
  row(
    '3.13.2',
    `${stage.name}-big-endian`,
    `${stage.name}, big-endian tables: a write sets AF and makes the page dirty, and nothing else`,
    (b) => {
      b.start();
      const tables = stage.stream(b, { HA: 1, HD: 1 }).map(VA, PAGE, (stage.clean & ~BIT.AF) | BIT.DBM);
      const before = tables.get(VA, 3);
      b.reaches({ va: VA, write: true }, PAGE);
      const after = tables.get(VA, 3);
      equal('writable', stage.writable(after), true);
      equal('all but AF and the permission', after & ~0x480n, (before | BIT.AF) & ~0x480n);
      equal('AF', (after & BIT.AF) !== 0n, true);
    },
    { features: { ...HTTU_2.features, TTENDIAN: 0b11 } },
  ),
);

/** What only stage 1 has: the hierarchy, privileges, PAN. */
const stage1Only: Row[] = [
  row(
    '3.13.3.1',
    'aptable',
    'HD=1: a page that APTable made read-only stays clean, the write is F_PERMISSION',
    (b) => {
      b.start();
      const { lower } = b.stage1({ cd: { HA: 1, HD: 1 } });
      lower.map(VA, PAGE, LEAF_1 | BIT.AP2 | BIT.DBM);
      lower.set(VA, 2, lower.get(VA, 2) | BIT.APTable_NO_WRITE);
      b.faults({ va: VA, write: true }, 'F_PERMISSION', { CLASS: CLASS_VALUE.IN });
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    HTTU_2,
  ),
  row(
    '3.13.3.1',
    'no-user',
    'HD=1: an unprivileged write to a privileged page leaves it clean, F_PERMISSION',
    (b) => {
      b.start();
      const { lower } = b.stage1({ cd: { HA: 1, HD: 1 } });
      lower.map(VA, PAGE, (LEAF_1 & ~BIT.AP1) | BIT.AP2 | BIT.DBM);
      b.faults({ va: VA, write: true }, 'F_PERMISSION', { CLASS: CLASS_VALUE.IN });
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
      b.reaches({ va: VA, write: true, privileged: true }, PAGE);
      equal('AP[2] after a privileged write', (lower.get(VA, 3) & BIT.AP2) !== 0n, false);
    },
    HTTU_2,
  ),
];

/** A nested stream with the given switches at both stages. */
function nested(
  b: Bench,
  cd: CdValues,
  ste: SteValues,
  leaf: bigint,
  stage2: bigint,
): { lower: Tables; tables: Tables } {
  const { lower, stage2: tables } = b.nested({ cd, ste });
  lower.map(VA, IPA, leaf);
  tables.map(IPA, PAGE, stage2);
  return { lower, tables };
}
const ON = { HA: 1, HD: 1 };
const S2_ON = { S2HA: 1, S2HD: 1 };

/** Two stages (§3.13.5). */
const twoStages: Row[] = [
  row(
    '3.13.5',
    'both',
    'nested: a write makes the pages of both stages dirty',
    (b) => {
      b.start();
      const { lower, tables } = nested(b, ON, S2_ON, LEAF_1 | BIT.AP2 | BIT.DBM, (LEAF_2 & ~S2AP1) | BIT.DBM);
      b.reaches({ va: VA, write: true }, PAGE);
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, false);
      equal('S2AP[1]', (tables.get(IPA, 3) & S2AP1) !== 0n, true);
    },
    HTTU_2,
  ),
  row(
    '3.13.5',
    'both-access',
    'nested: a read sets AF at both stages',
    (b) => {
      b.start();
      const { lower, tables } = nested(b, ON, S2_ON, LEAF_1 & ~BIT.AF, LEAF_2 & ~BIT.AF);
      b.reaches({ va: VA }, PAGE);
      equal('AF of stage 1', (lower.get(VA, 3) & BIT.AF) !== 0n, true);
      equal('AF of stage 2', (tables.get(IPA, 3) & BIT.AF) !== 0n, true);
    },
    HTTU_2,
  ),
  row(
    '3.13.5',
    'table-page',
    'nested: an update of a stage 1 descriptor is a write to its page, which becomes dirty',
    (b) => {
      b.start();
      const { stage2: tables } = brokenNested(b, null, 'none', S2_ON, { cd: { HA: 1 } });
      const lower = startTable(b, tables);
      tables.map(lower.at, lower.page, (LEAF_2 & ~S2AP1) | BIT.DBM);
      b.ram.write64(lower.leaf, b.ram.read64(lower.leaf) & ~BIT.AF);
      b.reaches({ va: VA }, PAGE);
      equal('AF of stage 1', (b.ram.read64(lower.leaf) & BIT.AF) !== 0n, true);
      equal('S2AP[1] of the table page', (tables.get(lower.at, 3) & S2AP1) !== 0n, true);
    },
    HTTU_2,
  ),
  row(
    '7.3.16',
    'table-page-denied',
    'nested: a table page that may not be written: F_PERMISSION, CLASS=TT, TTRnW=0',
    (b) => {
      b.start();
      const { stage2: tables } = brokenNested(b, null, 'none', {}, { cd: { HA: 1 } });
      const lower = startTable(b, tables);
      tables.map(lower.at, lower.page, LEAF_2 & ~S2AP1);
      b.ram.write64(lower.leaf, b.ram.read64(lower.leaf) & ~BIT.AF);
      b.faults({ va: VA }, 'F_PERMISSION', { S2: 1, CLASS: CLASS_VALUE.TT, IPA: lower.at / 4096, TTRnW: 0 });
      equal('AF of stage 1', (b.ram.read64(lower.leaf) & BIT.AF) !== 0n, false);
    },
    HTTU_2,
  ),
  row(
    '3.13.3.1',
    'cd-fetch',
    'nested: a CD fetch sets AF at stage 2 and makes nothing dirty',
    (b) => {
      b.start();
      const { stage2: tables } = brokenNested(b, null, 'none', S2_ON);
      const page = Number(tables.get(PLACES.CD, 3) & 0xffff_ffff_f000n);
      tables.map(PLACES.CD, page, (LEAF_2 & ~S2AP1 & ~BIT.AF) | BIT.DBM);
      b.reaches({ va: VA, write: true }, PAGE);
      equal('AF', (tables.get(PLACES.CD, 3) & BIT.AF) !== 0n, true);
      equal('S2AP[1]', (tables.get(PLACES.CD, 3) & S2AP1) !== 0n, false);
    },
    HTTU_2,
  ),
];

/** The page of stage 1's last table and the leaf in it, moved behind an IPA of its own. */
function startTable(b: Bench, tables: Tables): { readonly at: number; readonly page: number; readonly leaf: number } {
  // The descriptors are read as they lie in memory.
  if (tables.bigEndian) b.needs({ TTENDIAN: 0b10 });
  const root = Number(tables.get(PLACES.TT, 3) & 0xffff_ffff_f000n);
  const next = (table: number, level: number): number => {
    const index = Math.floor(VA / 2 ** (12 + (3 - level) * 9)) % 512;
    return table + index * 8;
  };
  const address = (entry: number): number => Number(b.ram.read64(entry) & 0xffff_ffff_f000n);
  const level1 = address(next(root, 0));
  const level2 = address(next(level1, 1));
  const page = address(next(level2, 2));
  const at = 0x1_0060_0000;
  b.ram.write64(next(level2, 2), BigInt(at) | 3n);
  return { at, page, leaf: next(page, 3) };
}

const off: Row[] = [
  row(
    '6.3.9.6',
    'httu',
    'SMMUEN=0: no flags are updated',
    (b) => {
      b.start({ SMMUEN: 0 });
      b.registers.write('GBPA', (1n << 31n) | (1n << 12n));
      b.settle();
      const { lower } = b.stage1({ cd: { HA: 1 } });
      lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      b.access({ va: PAGE });
      equal('AF', (lower.get(VA, 3) & BIT.AF) !== 0n, false);
    },
    HTTU_1,
  ),
  row(
    '4.2.2',
    'prefetch-access',
    'CMD_PREFETCH_ADDR makes no page dirty',
    (b) => {
      b.start();
      const { lower } = b.stage1({ cd: ON });
      lower.map(VA, PAGE, LEAF_1 | BIT.AP2 | BIT.DBM);
      b.commands.run('PREFETCH_ADDR', { StreamID: 8, Addr: VA / 4096 });
      b.commands.sync();
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    HTTU_2,
  ),
];

export const accessFlagRows: readonly Row[] = [
  ...accessFlag,
  ...dirty,
  ...bigEndian,
  ...stage1Only,
  ...twoStages,
  ...off,
];
