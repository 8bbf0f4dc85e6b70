/** TLB invalidation: every command against every kind of entry, within its scope and beside it (IHI 0070 §3.17, §4.4). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import type { Fields } from '../bench/queues.ts';
import type { CdValues, SteValues } from '../bench/streams.ts';
import { BIT, GRANULES, type Granule, LEAF_1, LEAF_2, type Tables } from '../bench/tables.ts';
import type { AccessOptions } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { CERROR, COMMANDS, type CommandFact, type CommandName } from '../facts/commands.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

const ASID = 0x21;
const OTHER_ASID = 0x22;
const VMID = 0x11;
const OTHER_VMID = 0x12;
const IPA = 0x1_0000_0000;
const OTHER_PAGE = VA + 0x40_0000;

/** A cached translation of VA to PAGE, and what makes it go away in memory. */
interface Entry {
  readonly access: AccessOptions;
  readonly forget: () => void;
}

type Kind = 'EL1' | 'EL1 global' | 'nested' | 'nested stage 2' | 'stage 2' | 'EL2' | 'E2H' | 'E2H global';

/** Puts an entry of `kind` into the TLB. */
const ENTRIES: Readonly<Record<Kind, (b: Bench) => Entry>> = {
  EL1: (b) => stage1(b, { S2VMID: VMID }, { ASID }, LEAF_1),
  'EL1 global': (b) => stage1(b, { S2VMID: VMID }, { ASID }, LEAF_1 & ~BIT.nG),
  nested: (b) => {
    const { lower, stage2 } = b.nested({ cd: { ASID }, ste: { S2VMID: VMID } });
    lower.map(VA, IPA);
    stage2.map(IPA, PAGE);
    return { access: { va: VA }, forget: () => lower.set(VA, 3, 0n) };
  },
  'nested stage 2': (b) => {
    const { lower, stage2 } = b.nested({ cd: { ASID }, ste: { S2VMID: VMID } });
    lower.map(VA, IPA);
    stage2.map(IPA, PAGE);
    return { access: { va: VA }, forget: () => stage2.set(IPA, 3, 0n) };
  },
  'stage 2': (b) => {
    const tables = b.stage2({ ste: { S2VMID: VMID } }).map(VA, PAGE);
    return { access: { va: VA }, forget: () => tables.set(VA, 3, 0n) };
  },
  EL2: (b) => stage1(b, { STRW: 2 }, { ASID }, LEAF_1),
  E2H: (b) => stage1(b, { STRW: 2 }, { ASID }, LEAF_1),
  'E2H global': (b) => stage1(b, { STRW: 2 }, { ASID }, LEAF_1 & ~BIT.nG),
};

function stage1(b: Bench, ste: SteValues, cd: CdValues, leaf: bigint): Entry {
  const { lower } = b.stage1({ ste: b.feature('S2P') === 1 ? ste : {}, cd });
  lower.map(VA, PAGE, leaf);
  return { access: { va: VA }, forget: () => lower.set(VA, 3, 0n) };
}

const NEEDS: Readonly<Record<Kind, FeatureValues>> = {
  EL1: { S1P: 1, S2P: 1 },
  'EL1 global': { S1P: 1, S2P: 1 },
  nested: { S1P: 1, S2P: 1 },
  'nested stage 2': { S1P: 1, S2P: 1 },
  'stage 2': { S2P: 1 },
  EL2: { Hyp: 1 },
  E2H: { Hyp: 1 },
  'E2H global': { Hyp: 1 },
};

interface Scope {
  readonly command: CommandName;
  readonly section: string;
  readonly fields: Fields;
  /** What the operands say, in words. */
  readonly what: string;
  readonly gone: readonly Kind[];
  readonly kept: readonly Kind[];
}

const PAGE_OF = { Address: VA / 4096 };
const EL1_ALL = ['EL1', 'EL1 global', 'nested'] as const;
const EL2_ALL = ['EL2', 'E2H', 'E2H global'] as const;

/** Required scopes (§4.4.2 to §4.4.4), and entries beside them. */
const SCOPES: readonly Scope[] = [
  {
    command: 'TLBI_NH_ALL',
    section: '4.4.2.1',
    fields: { VMID },
    what: 'the VMID',
    gone: EL1_ALL,
    kept: ['stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_ALL',
    section: '4.4.2.1',
    fields: { VMID: OTHER_VMID },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_ASID',
    section: '4.4.2.2',
    fields: { VMID, ASID },
    what: 'VMID and ASID',
    gone: ['EL1', 'nested'],
    kept: ['EL1 global', 'stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_ASID',
    section: '4.4.2.2',
    fields: { VMID, ASID: OTHER_ASID },
    what: 'another ASID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_ASID',
    section: '4.4.2.2',
    fields: { VMID: OTHER_VMID, ASID },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID, ...PAGE_OF },
    what: 'VMID, ASID, VA',
    gone: EL1_ALL,
    kept: ['stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID, ...PAGE_OF, Leaf: 1 },
    what: 'VMID, ASID, VA, Leaf',
    gone: EL1_ALL,
    kept: [],
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID: OTHER_ASID, ...PAGE_OF },
    what: 'another ASID',
    gone: ['EL1 global'],
    kept: ['EL1', 'nested'],
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID: OTHER_VMID, ASID, ...PAGE_OF },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID, Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID, ...PAGE_OF },
    what: 'VMID and VA',
    gone: EL1_ALL,
    kept: ['stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID, ...PAGE_OF, Leaf: 1 },
    what: 'VMID, VA, Leaf',
    gone: EL1_ALL,
    kept: [],
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID: OTHER_VMID, ...PAGE_OF },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID, Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_EL2_ALL',
    section: '4.4.2.7',
    fields: {},
    what: 'everything of EL2',
    gone: EL2_ALL,
    kept: ['EL1', 'EL1 global', 'stage 2', 'nested'],
  },
  {
    command: 'TLBI_EL2_ASID',
    section: '4.4.2.10',
    fields: { ASID },
    what: 'the ASID',
    gone: ['E2H'],
    kept: ['E2H global', 'EL1'],
  },
  {
    command: 'TLBI_EL2_ASID',
    section: '4.4.2.10',
    fields: { ASID: OTHER_ASID },
    what: 'another ASID',
    gone: [],
    kept: ['E2H', 'E2H global'],
  },
  {
    command: 'TLBI_EL2_VA',
    section: '4.4.2.8',
    fields: { ASID, ...PAGE_OF },
    what: 'ASID and VA',
    gone: EL2_ALL,
    kept: ['EL1', 'EL1 global', 'stage 2'],
  },
  {
    command: 'TLBI_EL2_VA',
    section: '4.4.2.8',
    fields: { ASID: OTHER_ASID, ...PAGE_OF },
    what: 'another ASID',
    gone: ['EL2', 'E2H global'],
    kept: ['E2H'],
  },
  {
    command: 'TLBI_EL2_VA',
    section: '4.4.2.8',
    fields: { ASID, Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL2_ALL,
  },
  {
    command: 'TLBI_EL2_VAA',
    section: '4.4.2.9',
    fields: PAGE_OF,
    what: 'the VA',
    gone: EL2_ALL,
    kept: ['EL1', 'stage 2'],
  },
  {
    command: 'TLBI_EL2_VAA',
    section: '4.4.2.9',
    fields: { Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL2_ALL,
  },
  {
    command: 'TLBI_S12_VMALL',
    section: '4.4.3.2',
    fields: { VMID },
    what: 'the VMID',
    gone: [...EL1_ALL, 'nested stage 2', 'stage 2'],
    kept: EL2_ALL,
  },
  {
    command: 'TLBI_S12_VMALL',
    section: '4.4.3.2',
    fields: { VMID: OTHER_VMID },
    what: 'another VMID',
    gone: [],
    kept: [...EL1_ALL, 'stage 2'],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID, ...PAGE_OF },
    what: 'VMID and IPA',
    gone: ['stage 2'],
    kept: ['EL1', 'EL1 global', ...EL2_ALL],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID, ...PAGE_OF, Leaf: 1 },
    what: 'VMID, IPA, Leaf',
    gone: ['stage 2'],
    kept: [],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID: OTHER_VMID, ...PAGE_OF },
    what: 'another VMID',
    gone: [],
    kept: ['stage 2'],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID, Address: OTHER_PAGE / 4096 },
    what: 'another IPA',
    gone: [],
    kept: ['stage 2'],
  },
  {
    command: 'TLBI_NSNH_ALL',
    section: '4.4.4.1',
    fields: {},
    what: 'everything outside EL2',
    gone: [...EL1_ALL, 'nested stage 2', 'stage 2'],
    kept: EL2_ALL,
  },
];

/** CR2.E2H decides which regime the stream is in and which one CMD_TLBI_EL2_VA means. */
const e2h = (kind: Kind): { readonly E2H?: 1 } => (kind.startsWith('E2H') ? { E2H: 1 } : {});

/** A stage 2 entry answers `gone` with a stage 2 fault, any other with that of its stage: an abort in each case. */
function stale(b: Bench, kind: Kind): Entry {
  b.start(e2h(kind));
  const entry = ENTRIES[kind](b);
  b.reaches(entry.access, PAGE);
  entry.forget();
  return entry;
}

/** A command as a fact: what it requires is narrower than its type says. */
const factOf = (name: CommandName): CommandFact | undefined => COMMANDS.find((command) => command.name === name);

const scopes: Row[] = SCOPES.flatMap(({ command, section, fields, what, gone, kept }) => {
  const name = `${command}-${what.replaceAll(/[ ,]+/g, '-')}`;
  return [
    ...gone.map((kind) =>
      row(
        section,
        `${name}-${kind}`,
        `CMD_${command} by ${what}: a stale ${kind} entry is gone`,
        (b) => {
          const entry = stale(b, kind);
          b.commands.run(command, fields);
          b.commands.sync();
          b.aborts(entry.access);
        },
        { features: NEEDS[kind] },
      ),
    ),
    ...kept.map((kind) =>
      row(
        section,
        `${name}-keeps-${kind}`,
        `CMD_${command} by ${what}: a ${kind} entry need not go`,
        (b) => {
          b.needs(factOf(command)?.requires ?? {});
          const entry = stale(b, kind);
          b.commands.run(command, fields);
          b.commands.sync();
          b.keeps(entry.access, PAGE);
        },
        { features: NEEDS[kind] },
      ),
    ),
  ];
});

/** What is cached stays without a command; stage 2 below stage 1 goes by IPA and stage 1 together. */
const general: Row[] = [
  ...(Object.keys(ENTRIES) as Kind[]).map((kind) =>
    row(
      '4.4',
      `none-${kind}`,
      `without an invalidation a ${kind} entry may stay`,
      (b) => {
        const entry = stale(b, kind);
        b.commands.sync();
        b.keeps(entry.access, PAGE);
      },
      { features: NEEDS[kind] },
    ),
  ),
  ...(['TLBI_NH_ALL', 'TLBI_NH_VAA'] as const).map((second) =>
    row(
      '4.4.3.1',
      `pair-${second}`,
      `CMD_TLBI_S2_IPA with CMD_${second}: a nested entry follows a change of stage 2`,
      (b) => {
        const entry = stale(b, 'nested stage 2');
        b.commands.run('TLBI_S2_IPA', { VMID, Address: IPA / 4096 });
        b.commands.run(second, { VMID, ...(second === 'TLBI_NH_VAA' ? PAGE_OF : {}) });
        b.commands.sync();
        b.aborts(entry.access);
      },
      { features: NEEDS.nested },
    ),
  ),
  row(
    '3.17',
    'faults',
    'a translation that faulted is not cached: a mapping made later is seen without invalidation',
    (b) => {
      b.start();
      const { lower } = b.stage1();
      b.aborts({ va: VA });
      b.events.take();
      lower.map(VA, PAGE);
      b.reaches({ va: VA }, PAGE);
    },
  ),
  row(
    '4.4',
    'smmuen',
    'CR0.SMMUEN 1 to 0 to 1 need not invalidate',
    (b) => {
      const entry = stale(b, 'EL1');
      b.control({ SMMUEN: 0 });
      b.control({ SMMUEN: 1 });
      b.access(entry.access);
    },
    { features: NEEDS.EL1 },
  ),
];

/** Table descriptors: Leaf=0 reaches them (§4.4.2.4). */
const tables: Row[] = [0, 1, 2].flatMap((level) =>
  (['stage 1', 'stage 2'] as const).map((stage) =>
    row(
      stage === 'stage 1' ? '4.4.2.4' : '4.4.3.1',
      `table-${level}-${stage}`,
      `Leaf=0: a changed level ${level} table descriptor of ${stage} is seen`,
      (b) => {
        if (stage === 'stage 2' && level === 0) b.needs({ OAS: 'positive' });
        b.start();
        const deep =
          stage === 'stage 2'
            ? b.stage2({
                ste: { S2VMID: VMID },
                inputBits: 39 + (level === 0 ? 1 : 0),
                startLevel: level === 0 ? 0 : 1,
              })
            : b.stage1({ cd: { ASID } }).lower;
        deep.map(VA, PAGE);
        deep.map(VA + 4096, PAGE + 4096);
        b.reaches({ va: VA }, PAGE);
        deep.set(VA, level, 0n);
        if (stage === 'stage 1') b.commands.run('TLBI_NH_VA', { ASID, Address: VA / 4096 });
        else b.commands.run('TLBI_S2_IPA', { VMID, Address: VA / 4096 });
        if (stage === 'stage 1') b.commands.run('TLBI_NH_VA', { ASID, Address: VA / 4096 + 1 });
        else b.commands.run('TLBI_S2_IPA', { VMID, Address: VA / 4096 + 1 });
        b.commands.sync();
        b.aborts({ va: VA });
        b.aborts({ va: VA + 4096 });
      },
      { features: stage === 'stage 2' ? { S2P: 1, OAS: 5 } : {} },
    ),
  ),
);

/** An entry of a block goes by any address within it (§4.4). */
const blocks: Row[] = GRANULES.map((granule) =>
  row('4.4', `block-${granule}`, `${granule}: a block entry goes by any address within it`, (b) => {
    b.start();
    const { lower } = b.stage1({ granule, cd: { ASID } });
    const bytes = lower.leafBytes(2);
    const va = Math.floor(0x70_0000_0000 / bytes) * bytes;
    lower.map(va, PAGE, LEAF_1, 2);
    b.reaches({ va: va + 0x40 }, PAGE + 0x40);
    lower.set(va, 2, 0n);
    b.commands.run('TLBI_NH_VA', { ASID, Address: (va + bytes) / 4096 - 1 });
    b.commands.sync();
    b.aborts({ va });
    b.aborts({ va: va + 0x40 });
  }),
);

const TG: Readonly<Record<Granule, number>> = { '4KB': 1, '16KB': 2, '64KB': 3 };

interface Range {
  readonly NUM: number;
  readonly SCALE: number;
}
/** Ranges of (NUM + 1) * 2^SCALE granules. */
const RANGES: readonly Range[] = [
  { NUM: 1, SCALE: 0 },
  { NUM: 6, SCALE: 0 },
  { NUM: 0, SCALE: 3 },
  { NUM: 2, SCALE: 2 },
  { NUM: 31, SCALE: 1 },
];

/** Pages at the edges of a range: its first, its last, and the one behind. */
function ranged(b: Bench, granule: Granule, { NUM, SCALE }: Range, stage: 1 | 2): void {
  b.start();
  const deep: Tables =
    stage === 1 ? b.stage1({ granule, cd: { ASID } }).lower : b.stage2({ granule, ste: { S2VMID: VMID } });
  const bytes = deep.leafBytes(3);
  const count = (NUM + 1) * 2 ** SCALE;
  const at = [0, count - 1, count].map((n) => VA + n * bytes);
  for (const va of at) {
    deep.map(va, PAGE);
    b.reaches({ va }, PAGE);
    deep.set(va, 3, 0n);
  }
  const fields = { Address: VA / 4096, TG: TG[granule], NUM, SCALE };
  if (stage === 1) b.commands.run('TLBI_NH_VA', { ASID, ...fields });
  else b.commands.run('TLBI_S2_IPA', { VMID, ...fields });
  b.commands.sync();
  b.aborts({ va: at[0] ?? 0 });
  b.aborts({ va: at[1] ?? 0 });
  b.events.take();
  b.keeps({ va: at[2] ?? 0 }, PAGE);
}

const ranges: Row[] = [
  ...GRANULES.flatMap((granule) =>
    RANGES.flatMap((range) =>
      ([1, 2] as const).map((stage) => {
        const pages = (range.NUM + 1) * 2 ** range.SCALE;
        const title = `range of ${pages} ${granule} pages (NUM=${range.NUM}, SCALE=${range.SCALE}) at stage ${stage}`;
        return row(
          '4.4.1.1',
          `range-${granule}-${range.NUM}-${range.SCALE}-stage-${stage}`,
          title,
          (b) => ranged(b, granule, range, stage),
          {
            features: { RIL: 1 },
          },
        );
      }),
    ),
  ),
  ...[1, 2, 3].flatMap((TTL) =>
    GRANULES.filter((granule) => TTL > 1 || granule === '4KB').map((granule) =>
      row(
        '4.4.1.1',
        `ttl-${TTL}-${granule}`,
        `TTL=${TTL}, ${granule}: a leaf of that level goes`,
        (b) => {
          b.start();
          const { lower } = b.stage1({ granule, cd: { ASID } });
          const bytes = lower.leafBytes(TTL);
          const va = Math.floor(0x70_0000_0000 / bytes) * bytes;
          const inside = PAGE % bytes;
          lower.map(va, PAGE - inside, LEAF_1, TTL);
          b.reaches({ va: va + inside }, PAGE);
          lower.set(va, TTL, 0n);
          b.commands.run('TLBI_NH_VA', { ASID, Address: va / 4096, TG: TG[granule], TTL, Leaf: 1 });
          b.commands.sync();
          b.aborts({ va: va + inside });
        },
        { features: { RIL: 1 } },
      ),
    ),
  ),
  ...(['TLBI_NH_VA', 'TLBI_NH_VAA', 'TLBI_S2_IPA', 'TLBI_EL2_VA', 'TLBI_EL2_VAA'] as const).map((command) =>
    row(
      '4.4.1.1',
      `reserved-${command}`,
      `CMD_${command} with TG, but NUM=0, SCALE=0, TTL=0: reserved, CERROR_ILL`,
      (b) => {
        b.start();
        equal('CMDQ_CONS.ERR', b.commands.attempt(command, { TG: 1, NUM: 0, SCALE: 0, TTL: 0 }), CERROR.ILL);
      },
      { features: { RIL: 1, Hyp: 1 } },
    ),
  ),
  row(
    '4.4.1.1',
    'ttl-1-16KB',
    'DS=0: TG of 16 KiB with TTL=1 counts as TTL=0; with NUM=SCALE=0 it is CERROR_ILL',
    (b) => {
      b.start();
      equal('CMDQ_CONS.ERR', b.commands.attempt('TLBI_NH_VA', { TG: 2, TTL: 1 }), CERROR.ILL);
    },
    { features: { RIL: 1, DS: 0 } },
  ),
  row(
    '4.4.1.1',
    'tg-0',
    'TG=0: one address, whatever the granule',
    (b) => {
      b.start();
      const { lower } = b.stage1({ granule: '16KB', cd: { ASID } });
      lower.map(VA, PAGE);
      b.reaches({ va: VA }, PAGE);
      lower.set(VA, 3, 0n);
      b.commands.run('TLBI_NH_VA', { ASID, Address: VA / 4096 });
      b.commands.sync();
      b.aborts({ va: VA });
    },
    { features: { RIL: 1, GRAN16K: 1 } },
  ),
  row(
    '4.4.1.1',
    'no-ril',
    'RIL=0: commands name one address',
    (b) => {
      const entry = stale(b, 'EL1');
      b.commands.run('TLBI_NH_VA', { VMID, ASID, ...PAGE_OF });
      b.commands.sync();
      b.aborts(entry.access);
    },
    { features: { RIL: 0, ...NEEDS.EL1 } },
  ),
];

/** Tags keep address spaces apart (§3.17). */
interface Space {
  readonly ste: SteValues;
  readonly cd: CdValues;
}
interface Separation {
  readonly name: string;
  readonly a: Space;
  readonly c: Space;
  readonly leaf: bigint;
  readonly what: string;
  readonly features?: FeatureValues;
}
const SEPARATIONS: readonly Separation[] = [
  {
    name: 'asid',
    a: { ste: {}, cd: { ASID } },
    c: { ste: {}, cd: { ASID: OTHER_ASID } },
    leaf: LEAF_1,
    what: 'different ASIDs',
  },
  {
    name: 'asid-high',
    a: { ste: {}, cd: { ASID: 0x0121 } },
    c: { ste: {}, cd: { ASID: 0x0221 } },
    leaf: LEAF_1,
    what: 'ASIDs that differ in bits [15:8]',
    features: { ASID16: 1 },
  },
  {
    name: 'vmid',
    a: { ste: { S2VMID: VMID }, cd: { ASID } },
    c: { ste: { S2VMID: OTHER_VMID }, cd: { ASID } },
    leaf: LEAF_1,
    what: 'different VMIDs',
    features: { S2P: 1 },
  },
  {
    name: 'vmid-high',
    a: { ste: { S2VMID: 0x111 }, cd: { ASID } },
    c: { ste: { S2VMID: 0x211 }, cd: { ASID } },
    leaf: LEAF_1,
    what: 'VMIDs that differ in bits [15:8]',
    features: { S2P: 1, VMID16: 1 },
  },
  {
    name: 'vmid-global',
    a: { ste: { S2VMID: VMID }, cd: { ASID } },
    c: { ste: { S2VMID: OTHER_VMID }, cd: { ASID } },
    leaf: LEAF_1 & ~BIT.nG,
    what: 'different VMIDs, global pages',
    features: { S2P: 1 },
  },
  {
    name: 'world',
    a: { ste: {}, cd: { ASID } },
    c: { ste: { STRW: 2 }, cd: { ASID } },
    leaf: LEAF_1 & ~BIT.nG,
    what: 'EL1 and EL2',
    features: { Hyp: 1 },
  },
  {
    name: 'aset-global',
    a: { ste: {}, cd: { ASID, ASET: 0 } },
    c: { ste: {}, cd: { ASID: OTHER_ASID, ASET: 1 } },
    leaf: LEAF_1 & ~BIT.nG,
    what: 'global pages of a shared and a private ASID set',
  },
];
const separation: Row[] = SEPARATIONS.map(({ name, a, c, leaf, what, features }) =>
  row(
    name === 'aset-global' ? '3.17.1' : '3.17',
    `apart-${name}`,
    `translations of ${what} are not mixed up`,
    (b) => {
      b.start();
      b.stage1({ sid: 4, ste: a.ste, cd: a.cd }).lower.map(VA, PAGE, leaf);
      b.stage1({ sid: 5, ste: c.ste, cd: c.cd }).lower.map(VA, PAGE + 0x9000, leaf);
      for (const [sid, pa] of [
        [4, PAGE],
        [5, PAGE + 0x9000],
        [4, PAGE],
      ] as const) {
        b.reaches({ va: VA, sid }, pa);
      }
    },
    features === undefined ? {} : { features },
  ),
);

const stages: Row[] = [
  row(
    '3.17',
    'apart-stages',
    'a stage 2 translation of an IPA is not taken for a VA',
    (b) => {
      b.start();
      b.stage2({ sid: 4, ste: { S2VMID: VMID } }).map(VA, PAGE);
      b.stage1({ sid: 5, ste: { S2VMID: VMID } }).lower.map(VA, PAGE + 0x9000, LEAF_1 & ~BIT.nG);
      b.reaches({ va: VA, sid: 4 }, PAGE);
      b.reaches({ va: VA, sid: 5 }, PAGE + 0x9000);
      b.reaches({ va: VA, sid: 4 }, PAGE);
    },
    { features: { S1P: 1, S2P: 1 } },
  ),
  row('3.17', 'privilege-cached', 'a cached translation is checked for each access anew', (b) => {
    b.start();
    b.stage1().lower.map(VA, PAGE, LEAF_1 | BIT.AP2);
    b.reaches({ va: VA }, PAGE);
    b.aborts({ va: VA, write: true });
    b.reaches({ va: VA }, PAGE);
  }),
  row('3.17', 'stage-2-privilege', 'a cached stage 2 translation is checked for each access anew', (b) => {
    b.start();
    b.stage2().map(VA, PAGE, LEAF_2 & ~0x80n);
    b.reaches({ va: VA }, PAGE);
    b.aborts({ va: VA, write: true });
  }),
  row('3.17.1', 'global-any-asid', 'a global translation serves every ASID of the VMID', (b) => {
    b.start();
    const { lower, cd } = b.stage1({ sid: 4, cd: { ASID } });
    lower.map(VA, PAGE, LEAF_1 & ~BIT.nG);
    b.stage1({ sid: 5, cd: { ASID: OTHER_ASID, TTB0: lower.base / 16 } });
    b.reaches({ va: VA, sid: 4 }, PAGE);
    b.reaches({ va: VA, sid: 5 }, PAGE);
    equal('CD', cd > 0, true);
  }),
];

export const tlbRows: readonly Row[] = [
  ...scopes,
  ...general,
  ...tables,
  ...blocks,
  ...ranges,
  ...separation,
  ...stages,
];
