/** TLB invalidation by address: blocks, ranges, TTL hints, Leaf (IHI 0070 §4.4.1.1, §4.4.2.4). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { GRANULES, type Granule, LEAF_1, type Tables } from '../bench/tables.ts';
import { ASID, NEEDS, PAGE_OF, stale, VMID } from '../bench/tlb-entries.ts';
import { equal } from '../check.ts';
import { CERROR } from '../facts/commands.ts';
import { type Row, row } from '../row.ts';

const COMMAND_SECTIONS = { TLBI_NH_VA: '4.4.2.4', TLBI_NH_VAA: '4.4.2.3' } as const;

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

/** Both halves of the address space: what an invalidation names, and its double in the other half. */
const UPPER = 0xffff_0000_0000_0000n | BigInt(VA);
const halves: Row[] = (['lower', 'upper'] as const).flatMap((half) =>
  (['TLBI_NH_VA', 'TLBI_NH_VAA', 'range'] as const).map((command) =>
    row(
      command === 'range' ? '4.4.1.1' : COMMAND_SECTIONS[command],
      `${command}-${half}`,
      `${command === 'range' ? 'a range' : `CMD_${command}`} of the ${half} half removes entries of that half`,
      (b) => {
        if (command === 'range') b.needs({ RIL: 1 });
        b.start();
        const { lower, upper } = b.stage1({ cd: { ASID }, upper: true });
        const [wanted, other] = half === 'lower' ? [lower, upper] : [upper, lower];
        lower.map(VA, PAGE);
        upper.map(UPPER, PAGE + 0x9000);
        b.reaches({ va: VA }, PAGE);
        b.reaches({ va: UPPER }, PAGE + 0x9000);
        for (const tables of [wanted, other]) tables.set(VA, 3, 0n);
        const Address = half === 'lower' ? VA / 4096 : UPPER >> 12n;
        if (command === 'range') b.commands.run('TLBI_NH_VA', { ASID, Address, TG: 1, NUM: 1 });
        else b.commands.run(command, { ...(command === 'TLBI_NH_VA' ? { ASID } : {}), Address });
        b.commands.sync();
        b.aborts({ va: half === 'lower' ? VA : UPPER });
        b.events.take();
        if (half === 'lower') b.keeps({ va: UPPER }, PAGE + 0x9000);
        else b.keeps({ va: VA }, PAGE);
      },
    ),
  ),
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
  row(
    '4.4.1.1',
    'ttl-1-16KB-reserved',
    'TTL=1, 16KB, DS=0: reserved, treated as TTL=0: entries of any level go',
    (b) => {
      b.start();
      const { lower } = b.stage1({ granule: '16KB', cd: { ASID } });
      lower.map(VA, PAGE);
      b.reaches({ va: VA }, PAGE);
      lower.set(VA, 3, 0n);
      b.commands.run('TLBI_NH_VA', { ASID, Address: VA / 4096, TG: TG['16KB'], TTL: 1, NUM: 1 });
      b.commands.sync();
      b.aborts({ va: VA });
    },
    { features: { RIL: 1, DS: 0, VAX: 0, OAS: 5 } },
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
    'scale-bit-5',
    'DS=0: bit 5 of SCALE is RES0; alone, it makes no range: CERROR_ILL',
    (b) => {
      b.start();
      equal('CMDQ_CONS.ERR', b.commands.attempt('TLBI_NH_VA', { TG: 1, SCALE: 32 }), CERROR.ILL);
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

export const tlbRangeRows: readonly Row[] = [...tables, ...blocks, ...halves, ...ranges];
