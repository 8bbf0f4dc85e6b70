/**
 * Invalidation (§4.3, §4.4): a translation or a configuration is used, changed in memory, and used again after one
 * command. What the command does not cover may be served from a cache; what it covers must be fetched anew.
 */
import { contextFields, IOVA, type ProgramBuilder, program } from '../builder.ts';
import type { Command, CommandName, Fields, FieldsOf, Program } from '../program.ts';
import { GRANULES, type Granule, granuleName, type Tables } from '../tables.ts';

const ASID = 0x51;
const VMID = 7;
const SYNC: Command = { name: 'SYNC' };

interface Mapped {
  readonly p: ProgramBuilder;
  readonly tables: Tables;
  /** Where the translation led at first, and where it leads after the change. */
  readonly before: number;
  readonly after: number;
}

const PAGE_NUMBER = Number(IOVA / 4096n);

/** Maps IOVA, uses it, maps it elsewhere, runs `commands`, uses it again, at both targets. */
const remapped = (
  name: string,
  commands: readonly Command[],
  options: { leaf?: Fields; granule?: Granule; level?: number; extra?: (m: Mapped) => void } = {},
): Program =>
  program(`invalidation: stage 1 page remapped, ${name}`, (p) => {
    const { leaf = {}, granule = 12, level = 3 } = options;
    const tables = p.stage1(granule);
    const size = level === 3 ? 2 ** granule : 0x20_0000;
    const [before, after] = [p.memory(size), p.memory(size)];
    const iova = (IOVA / BigInt(size)) * BigInt(size);
    tables.map(iova, before, leaf, level);
    p.throughStage1(tables);
    p.enable().dma(iova, before);
    tables.map(iova, after, leaf, level);
    options.extra?.({ p, tables, before, after });
    if (commands.length > 0) p.commands([...commands, SYNC]);
    p.dma(iova, before).dma(iova, after);
  });

const remappedStage2 = (name: string, commands: readonly Command[], granule: Granule = 12): Program =>
  program(`invalidation: stage 2 page remapped, ${name}`, (p) => {
    const tables = p.stage2(granule);
    const [before, after] = [p.memory(2 ** granule), p.memory(2 ** granule)];
    const ipa = 0x1_2345_0000n;
    tables.map(ipa, before);
    p.throughStage2(tables);
    p.enable().dma(ipa, before);
    tables.map(ipa, after);
    if (commands.length > 0) p.commands([...commands, SYNC]);
    p.dma(ipa, before).dma(ipa, after);
  });

/** Nested: `change` says which stage's leaf moves. */
const remappedNested = (name: string, change: 1 | 2, commands: readonly Command[]): Program =>
  program(`invalidation: nested, stage ${change} remapped, ${name}`, (p) => {
    const second = p.stage2();
    const first = p.stage1();
    const [before, after] = [p.memory(), p.memory()];
    for (let block = 0; block < 5; block++)
      second.map(BigInt(0x4120_0000 + block * 0x20_0000), 0x4120_0000 + block * 0x20_0000, {}, 2);
    const [ipa, other] = [0x1_2345_0000n, 0x1_2345_1000n];
    first.map(IOVA, Number(ipa));
    second.map(ipa, before);
    second.map(other, after);
    p.throughBoth(first, second);
    p.enable().dma(IOVA, before);
    if (change === 1) first.map(IOVA, Number(other));
    else second.map(ipa, after);
    if (commands.length > 0) p.commands([...commands, SYNC]);
    p.dma(IOVA, before).dma(IOVA, after);
  });

/** STE of stream 8 changed from translation to abort. */
const restream = (name: string, commands: readonly Command[], fields: FieldsOf<'STE'> = { Config: 0 }): Program =>
  program(`invalidation: STE changed, ${name}`, (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(IOVA, target);
    const cd = p.throughStage1(tables);
    p.enable().dma(IOVA, target);
    p.stream(8, { S1ContextPtr: cd / 64, ...fields });
    if (commands.length > 0) p.commands([...commands, SYNC]);
    p.dma(IOVA, target);
  });

/** CD changed to another ASID and other tables. */
const recontext = (name: string, commands: readonly Command[], fields: FieldsOf<'CD'> = { ASID: 0x99 }): Program =>
  program(`invalidation: CD changed, ${name}`, (p) => {
    const [one, two] = [p.stage1(), p.stage1()];
    const [before, after] = [p.memory(), p.memory()];
    one.map(IOVA, before);
    two.map(IOVA, after);
    const cd = p.throughStage1(one);
    p.enable().dma(IOVA, before);
    p.put('CD', cd, { ...contextFields(two), ...fields });
    if (commands.length > 0) p.commands([...commands, SYNC]);
    p.dma(IOVA, before).dma(IOVA, after);
  });

const va = (fields: Fields = {}): Command => ({
  name: 'TLBI_NH_VA',
  fields: { VMID: 0, ASID, Address: PAGE_NUMBER, ...fields },
});
const vaa = (fields: Fields = {}): Command => ({ name: 'TLBI_NH_VAA', fields: { Address: PAGE_NUMBER, ...fields } });
const ipa = (fields: Fields = {}): Command => ({
  name: 'TLBI_S2_IPA',
  fields: { VMID, Address: 0x1_2345_0000 / 4096, ...fields },
});
const command = (name: CommandName, fields: Fields = {}): Command => ({ name, fields });

/** Range operands around IOVA: the range begins `below` units of 2^SCALE pages before it and has NUM + 1 units. */
const range = (TG: 1 | 2 | 3, SCALE: number, NUM: number, below: number, extra: Fields = {}): Command => {
  const granulePages = { 1: 1, 2: 4, 3: 16 }[TG];
  const unit = 2 ** SCALE * granulePages;
  return va({ TG, SCALE, NUM, Address: Math.floor(PAGE_NUMBER / unit) * unit - below * unit, ...extra });
};

export const invalidation: readonly Program[] = [
  remapped('no command', []),
  remapped('TLBI_NH_ALL', [command('TLBI_NH_ALL')]),
  remapped('TLBI_NH_ALL of another VMID', [command('TLBI_NH_ALL', { VMID: 9 })]),
  remapped('TLBI_NSNH_ALL', [command('TLBI_NSNH_ALL')]),
  remapped('TLBI_S12_VMALL', [command('TLBI_S12_VMALL')]),
  remapped('TLBI_NH_ASID', [command('TLBI_NH_ASID', { ASID })]),
  remapped('TLBI_NH_ASID of another ASID', [command('TLBI_NH_ASID', { ASID: 0x52 })]),
  remapped('TLBI_NH_ASID of another VMID', [command('TLBI_NH_ASID', { ASID, VMID: 9 })]),
  remapped('TLBI_NH_ASID, global page', [command('TLBI_NH_ASID', { ASID })], { leaf: { nG: 0 } }),
  remapped('TLBI_NH_VA', [va()]),
  remapped('TLBI_NH_VA, Leaf', [va({ Leaf: 1 })]),
  remapped('TLBI_NH_VA of the next page', [va({ Address: PAGE_NUMBER + 1 })]),
  remapped('TLBI_NH_VA of another ASID', [va({ ASID: 0x52 })]),
  remapped('TLBI_NH_VA of another VMID', [va({ VMID: 9 })]),
  remapped('TLBI_NH_VA of another ASID, global page', [va({ ASID: 0x52 })], { leaf: { nG: 0 } }),
  remapped('TLBI_NH_VAA', [vaa()]),
  remapped('TLBI_NH_VAA, Leaf', [vaa({ Leaf: 1 })]),
  remapped('TLBI_NH_VAA of the next page', [vaa({ Address: PAGE_NUMBER + 1 })]),
  remapped('TLBI_NH_VAA of another VMID', [vaa({ VMID: 9 })]),
  remapped('TLBI_S2_IPA of the same number', [command('TLBI_S2_IPA', { Address: PAGE_NUMBER % 2 ** 36 })]),
  remapped('CFGI_STE', [command('CFGI_STE', { StreamID: 8, Leaf: 1 })]),
  remapped('CFGI_CD', [command('CFGI_CD', { StreamID: 8, Leaf: 1 })]),
  remapped('SYNC alone', []),
  ...([1, 2, 3] as const).map((TTL) => remapped(`TLBI_NH_VA with TG 4 KiB, TTL ${TTL}`, [range(1, 0, 0, 0, { TTL })])),
  ...(
    [
      [0, 0, 0],
      [0, 1, 0],
      [0, 1, 1],
      [0, 31, 31],
      [0, 31, 0],
      [1, 0, 0],
      [1, 0, 1],
      [3, 4, 2],
      [3, 4, 5],
      [9, 0, 0],
      [9, 2, 1],
      [20, 0, 0],
      [31, 0, 0],
      [39, 0, 0],
    ] as const
  ).flatMap(([SCALE, NUM, below]) => [
    remapped(`range of ${NUM + 1} x 2^${SCALE} pages from ${below} units below`, [range(1, SCALE, NUM, below)]),
  ]),
  ...([2, 3] as const).map((TG) =>
    remapped(`range with TG ${TG === 2 ? 16 : 64} KiB over 4 KiB pages`, [range(TG, 0, 1, 0)]),
  ),
  ...GRANULES.filter((granule) => granule !== 12).flatMap((granule) => [
    remapped(`${granuleName(granule)}, TLBI_NH_VA`, [va({ Address: Number((IOVA / 65536n) * 16n) })], { granule }),
    remapped(
      `${granuleName(granule)}, range of two`,
      [va({ TG: granule === 14 ? 2 : 3, NUM: 1, Address: Number((IOVA / 65536n) * 16n) })],
      { granule },
    ),
  ]),
  remapped('2 MiB block, TLBI_NH_VA at its start', [va({ Address: Math.floor(PAGE_NUMBER / 512) * 512 })], {
    level: 2,
  }),
  remapped('2 MiB block, TLBI_NH_VA in its middle', [va({ Address: Math.floor(PAGE_NUMBER / 512) * 512 + 77 })], {
    level: 2,
  }),
  remapped('2 MiB block, TLBI_NH_VA after its end', [va({ Address: Math.floor(PAGE_NUMBER / 512) * 512 + 512 })], {
    level: 2,
  }),
  remapped(
    '2 MiB block, range over its last page',
    [va({ TG: 1, Address: Math.floor(PAGE_NUMBER / 512) * 512 + 511 })],
    {
      level: 2,
    },
  ),
  remapped(
    '2 MiB block, range over its last two pages',
    [va({ TG: 1, NUM: 1, Address: Math.floor(PAGE_NUMBER / 512) * 512 + 510 })],
    { level: 2 },
  ),
  remapped('permission taken away, no command', [], {
    extra: ({ tables, before }) => tables.map(IOVA, before, { AP: 3 }),
  }),
  remapped('permission taken away, TLBI_NH_VA', [va()], {
    extra: ({ tables, before }) => tables.map(IOVA, before, { AP: 3 }),
  }),
  remapped('unmapped, no command', [], { extra: ({ tables }) => tables.map(IOVA, 0, { VALID: 0 }) }),
  remapped('unmapped, TLBI_NH_VA', [va()], { extra: ({ tables }) => tables.map(IOVA, 0, { VALID: 0 }) }),
  program('invalidation: a fault is not remembered', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    p.throughStage1(tables);
    p.enable().dma(IOVA, target);
    tables.map(IOVA, target);
    p.dma(IOVA, target);
  }),
  program('invalidation: a permission fault is not remembered past an invalidation', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(IOVA, target, { AP: 3 });
    p.throughStage1(tables);
    p.enable().dma(IOVA, target);
    tables.map(IOVA, target);
    p.commands([va(), SYNC]).dma(IOVA, target);
  }),

  remappedStage2('no command', []),
  remappedStage2('TLBI_S12_VMALL', [command('TLBI_S12_VMALL', { VMID })]),
  remappedStage2('TLBI_S12_VMALL of another VMID', [command('TLBI_S12_VMALL', { VMID: 8 })]),
  remappedStage2('TLBI_S2_IPA', [ipa()]),
  remappedStage2('TLBI_S2_IPA, Leaf', [ipa({ Leaf: 1 })]),
  remappedStage2('TLBI_S2_IPA of the next page', [ipa({ Address: 0x1_2345_1000 / 4096 })]),
  remappedStage2('TLBI_S2_IPA of another VMID', [ipa({ VMID: 8 })]),
  remappedStage2('TLBI_S2_IPA range', [ipa({ TG: 1, SCALE: 2, NUM: 3, Address: 0x1_2344_0000 / 4096 })]),
  remappedStage2('TLBI_S2_IPA range that covers it', [ipa({ TG: 1, SCALE: 2, NUM: 4, Address: 0x1_2344_0000 / 4096 })]),
  remappedStage2('TLBI_NH_ALL', [command('TLBI_NH_ALL', { VMID })]),
  remappedStage2('TLBI_NH_VAA', [command('TLBI_NH_VAA', { VMID, Address: 0x1_2345_0000 / 4096 })]),
  remappedStage2('TLBI_NSNH_ALL', [command('TLBI_NSNH_ALL')]),
  remappedStage2('64 KiB, TLBI_S2_IPA', [ipa()], 16),

  ...([1, 2] as const).flatMap((change) => [
    remappedNested('no command', change, []),
    remappedNested('TLBI_NH_VA', change, [va({ VMID })]),
    remappedNested('TLBI_NH_ASID', change, [command('TLBI_NH_ASID', { VMID, ASID })]),
    remappedNested('TLBI_NH_ALL', change, [command('TLBI_NH_ALL', { VMID })]),
    remappedNested('TLBI_S12_VMALL', change, [command('TLBI_S12_VMALL', { VMID })]),
    remappedNested('TLBI_S2_IPA', change, [ipa()]),
    remappedNested('TLBI_S2_IPA and TLBI_NH_ALL', change, [ipa(), command('TLBI_NH_ALL', { VMID })]),
    remappedNested('TLBI_NSNH_ALL', change, [command('TLBI_NSNH_ALL')]),
    remappedNested('TLBI_S12_VMALL of another VMID', change, [command('TLBI_S12_VMALL', { VMID: 8 })]),
  ]),

  restream('no command', []),
  restream('CFGI_STE, Leaf', [command('CFGI_STE', { StreamID: 8, Leaf: 1 })]),
  restream('CFGI_STE, all levels', [command('CFGI_STE', { StreamID: 8 })]),
  restream('CFGI_STE of another stream', [command('CFGI_STE', { StreamID: 9, Leaf: 1 })]),
  ...[0, 2, 3, 5, 30, 31].map((Range) =>
    restream(`CFGI_STE_RANGE ${Range} of stream 0`, [command('CFGI_STE_RANGE', { StreamID: 0, Range })]),
  ),
  ...[0, 2, 3].map((Range) =>
    restream(`CFGI_STE_RANGE ${Range} of stream 15`, [command('CFGI_STE_RANGE', { StreamID: 15, Range })]),
  ),
  restream('CFGI_CD', [command('CFGI_CD', { StreamID: 8, Leaf: 1 })]),
  restream('TLBI_NSNH_ALL', [command('TLBI_NSNH_ALL')]),
  restream('to bypass, CFGI_STE', [command('CFGI_STE', { StreamID: 8, Leaf: 1 })], { Config: 4, SHCFG: 1 }),
  restream('to V=0, CFGI_STE', [command('CFGI_STE', { StreamID: 8, Leaf: 1 })], { V: 0 }),

  recontext('no command', []),
  recontext('CFGI_CD', [command('CFGI_CD', { StreamID: 8, Leaf: 1 })]),
  recontext('CFGI_CD, all levels', [command('CFGI_CD', { StreamID: 8 })]),
  recontext('CFGI_CD_ALL', [command('CFGI_CD_ALL', { StreamID: 8 })]),
  recontext('CFGI_CD of another stream', [command('CFGI_CD', { StreamID: 9, Leaf: 1 })]),
  recontext('CFGI_CD_ALL of another stream', [command('CFGI_CD_ALL', { StreamID: 9 })]),
  recontext('CFGI_STE', [command('CFGI_STE', { StreamID: 8, Leaf: 1 })]),
  recontext('CFGI_STE_RANGE 31', [command('CFGI_STE_RANGE', { Range: 31 })]),
  recontext('TLBI_NSNH_ALL', [command('TLBI_NSNH_ALL')]),
  program('invalidation: CD changed, EPD0=1, CFGI_CD', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(IOVA, target);
    const cd = p.throughStage1(tables);
    p.enable().dma(IOVA, target);
    p.put('CD', cd, { ...contextFields(tables), EPD0: 1 });
    p.commands([command('CFGI_CD', { StreamID: 8, Leaf: 1 }), SYNC]).dma(IOVA, target);
    p.commands([command('TLBI_NSNH_ALL'), SYNC]).dma(IOVA, target);
  }),
  recontext('same ASID, CFGI_CD', [command('CFGI_CD', { StreamID: 8, Leaf: 1 })], {}),
  recontext(
    'same ASID, CFGI_CD and TLBI_NH_ASID',
    [command('CFGI_CD', { StreamID: 8, Leaf: 1 }), command('TLBI_NH_ASID', { ASID })],
    {},
  ),
  recontext('V=0, CFGI_CD', [command('CFGI_CD', { StreamID: 8, Leaf: 1 })], { V: 0 }),
  program('invalidation: a global page outlives its ASID', (p) => {
    const [one, two] = [p.stage1(), p.stage1()];
    const [before, after] = [p.memory(), p.memory()];
    one.map(IOVA, before, { nG: 0 });
    two.map(IOVA, after, { nG: 0 });
    const cd = p.throughStage1(one);
    p.enable().dma(IOVA, before);
    p.put('CD', cd, { ...contextFields(two), ASID: 0x99 });
    p.commands([command('CFGI_CD', { StreamID: 8, Leaf: 1 }), SYNC])
      .dma(IOVA, before)
      .dma(IOVA, after);
  }),
  program('invalidation: two streams with one CD, CFGI_CD by the other', (p) => {
    const [first, second] = [p.stage1(), p.stage1()];
    const [before, after] = [p.memory(), p.memory()];
    first.map(IOVA, before);
    second.map(IOVA, after);
    const cd = p.context(first);
    for (const sid of [8, 0xf5]) p.stream(sid, { Config: 5, S1ContextPtr: cd / 64 });
    p.enable().dma(IOVA, before).dma(IOVA, before, { device: 1 });
    p.put('CD', cd, { ...contextFields(second), ASID: 0x99 });
    p.commands([command('CFGI_CD', { StreamID: 0xf5, Leaf: 1 }), SYNC]);
    p.dma(IOVA, after, { device: 1 });
  }),
  program('invalidation: an STE that was invalid is read again after CFGI_STE', (p) => {
    const target = p.memory();
    p.stream(8, { V: 0 }).enable().dma(BigInt(target), target);
    p.stream(8, { Config: 4, SHCFG: 1 })
      .commands([command('CFGI_STE', { StreamID: 8, Leaf: 1 }), SYNC])
      .dma(BigInt(target), target);
  }),
  program('invalidation: SMMUEN off and on keeps the caches', (p) => {
    const tables = p.stage1();
    const [before, after] = [p.memory(), p.memory()];
    tables.map(IOVA, before);
    p.throughStage1(tables);
    p.enable().dma(IOVA, before);
    tables.map(IOVA, after);
    p.set('CR0', 0xc).set('CR0', 0xd).invalidateAll().dma(IOVA, before).dma(IOVA, after);
  }),
];
