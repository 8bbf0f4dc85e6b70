/** Configuration caches: what each CMD_CFGI must make the SMMU forget (IHI 0070 §4.3, §5.1.1, §5.3.1, §3.9.2). */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import type { Fields } from '../bench/queues.ts';
import { CD_BYTES, CONFIG, encodeCd, encodeSte } from '../bench/streams.ts';
import { STREAM } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import type { CommandName } from '../facts/commands.ts';
import { type Row, row } from '../row.ts';

interface Change {
  /** The access before and after. */
  readonly sid: number;
  readonly pasid?: number;
  /** Makes the structure in memory refuse what it allowed. */
  readonly apply: () => void;
}

/** STEs of two streams that bypass. */
function steOf(b: Bench, sid: number): Change {
  b.ste({ Config: CONFIG.BYPASS }, sid);
  return { sid, apply: () => b.ste({ Config: CONFIG.ABORT }, sid) };
}

/** CDs 1 and 2 of a stream, in a linear table or behind level 1 descriptors. */
interface Contexts {
  readonly table: number;
  readonly leaf: number;
  put(index: number, valid: boolean): void;
}
function contexts(b: Bench, sid: number, fmt = 0): Contexts {
  b.needs({ S1P: 1, SSIDSIZE: Math.max(b.feature('SSIDSIZE'), 7) });
  if (fmt !== 0) b.needs({ CD2L: 1 });
  const lower = b.tables().map(VA, PAGE);
  const leaf = b.ram.allocate((fmt === 2 ? 1024 : 64) * CD_BYTES);
  const table = fmt === 0 ? leaf : b.ram.allocate(64);
  if (fmt !== 0) b.ram.write64(table, BigInt(leaf) | 1n);
  b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: table / 64, S1CDMax: 7, S1Fmt: fmt }, sid);
  return {
    table,
    leaf,
    put: (index, valid) =>
      b.ram.write(leaf + index * CD_BYTES, encodeCd({ ...b.cdFields(lower, null), V: valid ? 1 : 0 })),
  };
}

/** An STE of a two-level table. */
function twoLevelSte(b: Bench): Change {
  const array = b.ram.allocate(64 * 64);
  b.ram.write64(b.streamTable + 8, BigInt(array) | 7n);
  b.ram.write(array + 5 * 64, encodeSte({ Config: CONFIG.BYPASS }));
  return { sid: 64 + 5, apply: () => b.ram.write64(b.streamTable + 8, 0n) };
}

const works = (b: Bench, { sid, pasid }: Change): void =>
  void b.reaches({ va: pasid === undefined ? PAGE : VA, sid, ...(pasid === undefined ? {} : { pasid }) }, PAGE);
const refuses = (b: Bench, { sid, pasid }: Change): void => {
  b.aborts({ va: pasid === undefined ? PAGE : VA, sid, ...(pasid === undefined ? {} : { pasid }) });
  b.events.take();
};
const stale = (b: Bench, { sid, pasid }: Change): void =>
  b.keeps({ va: pasid === undefined ? PAGE : VA, sid, ...(pasid === undefined ? {} : { pasid }) }, PAGE);

function command(b: Bench, name: CommandName, fields: Fields): void {
  b.commands.run(name, fields);
  b.commands.sync();
}

const stes: Row[] = [
  row('4.3', 'ste-stays', 'a changed STE need not be seen without an invalidation', (b) => {
    b.start();
    const change = steOf(b, STREAM);
    works(b, change);
    change.apply();
    stale(b, change);
  }),
  ...[0, 1].map((Leaf) =>
    row('4.3.1', `leaf-${Leaf}`, `CMD_CFGI_STE with Leaf=${Leaf}: the changed STE is seen`, (b) => {
      b.start();
      const change = steOf(b, STREAM);
      works(b, change);
      change.apply();
      command(b, 'CFGI_STE', { StreamID: STREAM, Leaf });
      refuses(b, change);
    }),
  ),
  row('4.3.1', 'other-stream', 'CMD_CFGI_STE of another StreamID need not touch the STE', (b) => {
    b.start();
    const change = steOf(b, STREAM);
    works(b, change);
    change.apply();
    command(b, 'CFGI_STE', { StreamID: STREAM + 1 });
    stale(b, change);
  }),
  row('4.3.1', 'made-valid', 'CMD_CFGI_STE: an STE that became valid is seen', (b) => {
    b.start();
    b.ste({ V: 0 });
    b.faults({ va: PAGE }, 'C_BAD_STE');
    b.ste({ Config: CONFIG.BYPASS });
    command(b, 'CFGI_STE', { StreamID: STREAM });
    b.reaches({ va: PAGE }, PAGE);
  }),
  row('4.3.1', 'cds-too', 'CMD_CFGI_STE drops the CDs that were reached through the STE', (b) => {
    b.start();
    const table = contexts(b, STREAM);
    table.put(1, true);
    const change = { sid: STREAM, pasid: 1, apply: () => table.put(1, false) };
    works(b, change);
    change.apply();
    command(b, 'CFGI_STE', { StreamID: STREAM, Leaf: 1 });
    refuses(b, change);
  }),
  row('4.3.1', 'level-1-cds-too', 'CMD_CFGI_STE drops the level 1 CDs that were reached through the STE', (b) => {
    b.start();
    const table = contexts(b, STREAM, 1);
    table.put(1, true);
    const change = { sid: STREAM, pasid: 1, apply: () => b.ram.write64(table.table, 0n) };
    works(b, change);
    change.apply();
    command(b, 'CFGI_STE', { StreamID: STREAM, Leaf: 1 });
    refuses(b, change);
  }),
  row('5.1.1', 'l1std', 'CMD_CFGI_STE with Leaf=0: a changed level 1 descriptor is seen', (b) => {
    b.needs({ SIDSIZE: Math.max(b.feature('SIDSIZE'), 8) });
    b.start({ split: 6, streams: 8 });
    const change = twoLevelSte(b);
    works(b, change);
    change.apply();
    command(b, 'CFGI_STE', { StreamID: change.sid, Leaf: 0 });
    refuses(b, change);
  }),
  row('5.1.1', 'l1std-made-valid', 'CMD_CFGI_STE with Leaf=0: a level 1 descriptor that became valid is seen', (b) => {
    b.needs({ SIDSIZE: Math.max(b.feature('SIDSIZE'), 8) });
    b.start({ split: 6, streams: 8 });
    b.ram.write64(b.streamTable + 8, 0n);
    b.faults({ va: PAGE, sid: 69 }, 'C_BAD_STREAMID');
    const change = twoLevelSte(b);
    command(b, 'CFGI_STE', { StreamID: change.sid, Leaf: 0 });
    works(b, change);
  }),
  row('5.1.1', 'l1std-range', 'CMD_CFGI_STE_RANGE: a changed level 1 descriptor is seen', (b) => {
    b.needs({ SIDSIZE: Math.max(b.feature('SIDSIZE'), 8) });
    b.start({ split: 6, streams: 8 });
    const change = twoLevelSte(b);
    works(b, change);
    change.apply();
    command(b, 'CFGI_STE_RANGE', { StreamID: 64, Range: 5 });
    refuses(b, change);
  }),
];

/** A level 1 descriptor is of the StreamIDs of the SPLIT that it was fetched with (§4.3.1, §6.3.25). */
const splits: Row[] = [8, 10].map((before) =>
  row('4.3.1', `split-${before}`, `after SPLIT went from ${before} to 6: no level 1 descriptor of old`, (b) => {
    b.needs({ SIDSIZE: Math.max(b.feature('SIDSIZE'), 12) });
    b.start({ split: before, streams: 12 });
    // Descriptor 1 leads to an array that refuses, then, for other StreamIDs, to one that does not.
    const last = 2 ** (before + 1) - 1;
    const old = b.ram.allocate(64 * 2 ** before);
    b.ram.write64(b.streamTable + 8, BigInt(old) | BigInt(before + 1));
    b.aborts({ va: PAGE, sid: last });
    b.events.take();
    b.control({ SMMUEN: 0 });
    const array = b.ram.allocate(64 * 64);
    b.ram.write64(b.streamTable + 8, BigInt(array) | 7n);
    b.ram.write(array + 5 * 64, encodeSte({ Config: CONFIG.BYPASS }));
    b.registers.set('STRTAB_BASE_CFG', { SPLIT: 6 });
    b.control({ SMMUEN: 1 });
    command(b, 'CFGI_STE', { StreamID: last, Leaf: 0 });
    b.reaches({ va: PAGE, sid: 64 + 5 }, PAGE);
  }),
);

/** Range n covers 2^(n+1) StreamIDs, aligned (§4.3.2). */
const ranges: Row[] = [
  ...[0, 1, 2, 3, 4, 5].flatMap((Range) => {
    const count = 2 ** (Range + 1);
    const first = Math.floor(21 / count) * count;
    return [
      row(
        '4.3.2',
        `range-${Range}`,
        `CMD_CFGI_STE_RANGE with Range=${Range}: all ${count} StreamIDs around the one given`,
        (b) => {
          b.start();
          const inside = [first, first + count - 1].map((sid) => steOf(b, sid));
          for (const change of inside) works(b, change);
          for (const change of inside) change.apply();
          command(b, 'CFGI_STE_RANGE', { StreamID: 21, Range });
          for (const change of inside) refuses(b, change);
        },
      ),
      ...(first + count > 63
        ? []
        : [
            row(
              '4.3.2',
              `range-${Range}-beyond`,
              `CMD_CFGI_STE_RANGE with Range=${Range}: the StreamID behind need not go`,
              (b) => {
                b.start();
                const outside = steOf(b, first + count);
                works(b, outside);
                outside.apply();
                command(b, 'CFGI_STE_RANGE', { StreamID: 21, Range });
                stale(b, outside);
              },
            ),
          ]),
    ];
  }),
  row('4.3.6', 'all', 'CMD_CFGI_ALL (Range=31): every STE, whatever the StreamID given', (b) => {
    b.start();
    const changes = [0, 33, 63].map((sid) => steOf(b, sid));
    for (const change of changes) works(b, change);
    for (const change of changes) change.apply();
    command(b, 'CFGI_STE_RANGE', { StreamID: 0xffff_ffff, Range: 31 });
    for (const change of changes) refuses(b, change);
  }),
  ...(
    [
      ['range', '4.3.2', { StreamID: STREAM, Range: 0 }],
      ['all', '4.3.6', { Range: 31 }],
    ] as const
  ).map(([name, section, fields]) =>
    row(section, `${name}-cds`, `CMD_CFGI_STE_RANGE with Range=${fields.Range}: the CDs of its streams go too`, (b) => {
      b.start();
      const table = contexts(b, STREAM, 1);
      table.put(1, true);
      const change = { sid: STREAM, pasid: 1, apply: () => table.put(1, false) };
      works(b, change);
      change.apply();
      command(b, 'CFGI_STE_RANGE', fields);
      refuses(b, change);
    }),
  ),
];

const cds: Row[] = [
  row('4.3', 'cd-stays', 'a changed CD need not be seen without an invalidation', (b) => {
    b.start();
    const table = contexts(b, STREAM);
    table.put(1, true);
    const change = { sid: STREAM, pasid: 1, apply: () => table.put(1, false) };
    works(b, change);
    change.apply();
    stale(b, change);
  }),
  ...[0, 1].flatMap((Leaf) =>
    [0, 1].map((fmt) =>
      row(
        '4.3.3',
        `leaf-${Leaf}-fmt-${fmt}`,
        `CMD_CFGI_CD with Leaf=${Leaf}, S1Fmt=${fmt}: the changed CD is seen`,
        (b) => {
          b.start();
          const table = contexts(b, STREAM, fmt);
          table.put(3, true);
          const change = { sid: STREAM, pasid: 3, apply: () => table.put(3, false) };
          works(b, change);
          change.apply();
          command(b, 'CFGI_CD', { StreamID: STREAM, SubstreamID: 3, Leaf });
          refuses(b, change);
        },
      ),
    ),
  ),
  row('4.3.3', 'single', 'CMD_CFGI_CD with SubstreamID 0: the one CD of a stream without substreams', (b) => {
    b.start();
    const { cd, lower } = b.stage1();
    lower.map(VA, PAGE);
    b.reaches({ va: VA }, PAGE);
    b.ram.write(cd, encodeCd({ V: 0 }));
    command(b, 'CFGI_CD', { StreamID: STREAM, SubstreamID: 0, Leaf: 1 });
    b.faults({ va: VA }, 'C_BAD_CD');
  }),
  row('4.3.3', 'index-0-dss', 'CMD_CFGI_CD with SubstreamID 0: the CD that S1DSS=0b10 uses', (b) => {
    b.start();
    const table = contexts(b, STREAM);
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: table.table / 64, S1CDMax: 7, S1DSS: 2 });
    table.put(0, true);
    b.reaches({ va: VA }, PAGE);
    table.put(0, false);
    command(b, 'CFGI_CD', { StreamID: STREAM, SubstreamID: 0, Leaf: 1 });
    b.faults({ va: VA }, 'C_BAD_CD');
  }),
  row('4.3.3', 'other-substream', 'CMD_CFGI_CD of another SubstreamID need not touch the CD', (b) => {
    b.start();
    const table = contexts(b, STREAM);
    table.put(1, true);
    const change = { sid: STREAM, pasid: 1, apply: () => table.put(1, false) };
    works(b, change);
    change.apply();
    command(b, 'CFGI_CD', { StreamID: STREAM, SubstreamID: 2, Leaf: 1 });
    stale(b, change);
  }),
  row(
    '4.3.3',
    'other-stream',
    'a CD is cached for each StreamID: CMD_CFGI_CD of one need not touch that of another',
    (b) => {
      b.start();
      const table = contexts(b, STREAM);
      b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: table.table / 64, S1CDMax: 7 }, STREAM + 1);
      table.put(1, true);
      const changes = [STREAM, STREAM + 1].map((sid) => ({ sid, pasid: 1, apply: () => table.put(1, false) }));
      for (const change of changes) works(b, change);
      table.put(1, false);
      command(b, 'CFGI_CD', { StreamID: STREAM, SubstreamID: 1, Leaf: 1 });
      refuses(b, changes[0] as Change);
      stale(b, changes[1] as Change);
    },
  ),
  row('4.3.4', 'all', 'CMD_CFGI_CD_ALL: every CD of the stream', (b) => {
    b.start();
    const table = contexts(b, STREAM);
    const changes = [1, 5, 63].map((pasid) => ({ sid: STREAM, pasid, apply: () => table.put(pasid, false) }));
    for (const { pasid } of changes) table.put(pasid, true);
    for (const change of changes) works(b, change);
    for (const change of changes) change.apply();
    command(b, 'CFGI_CD_ALL', { StreamID: STREAM });
    for (const change of changes) refuses(b, change);
  }),
  row('4.3.4', 'other-stream', 'CMD_CFGI_CD_ALL of another StreamID need not touch the CDs', (b) => {
    b.start();
    const table = contexts(b, STREAM);
    table.put(1, true);
    const change = { sid: STREAM, pasid: 1, apply: () => table.put(1, false) };
    works(b, change);
    change.apply();
    command(b, 'CFGI_CD_ALL', { StreamID: STREAM + 1 });
    stale(b, change);
  }),
  ...[1, 2].flatMap((fmt) => [
    row('5.3.1', `l1cd-fmt-${fmt}`, `S1Fmt=${fmt}: CMD_CFGI_CD with Leaf=0: a changed L1CD is seen`, (b) => {
      b.start();
      const table = contexts(b, STREAM, fmt);
      table.put(1, true);
      const change = { sid: STREAM, pasid: 1, apply: () => b.ram.write64(table.table, 0n) };
      works(b, change);
      change.apply();
      command(b, 'CFGI_CD', { StreamID: STREAM, SubstreamID: 1, Leaf: 0 });
      refuses(b, change);
    }),
    row('5.3.1', `l1cd-any-substream-fmt-${fmt}`, `S1Fmt=${fmt}: any SubstreamID of the span reaches the L1CD`, (b) => {
      b.start();
      const table = contexts(b, STREAM, fmt);
      b.ram.write64(table.table, 0n);
      b.faults({ va: VA, sid: STREAM, pasid: 1 }, 'C_BAD_SUBSTREAMID');
      b.ram.write64(table.table, BigInt(table.leaf) | 1n);
      table.put(1, true);
      command(b, 'CFGI_CD', { StreamID: STREAM, SubstreamID: 60, Leaf: 0 });
      works(b, { sid: STREAM, pasid: 1, apply: () => {} });
    }),
    row('4.3.4', `all-l1cd-fmt-${fmt}`, `S1Fmt=${fmt}: CMD_CFGI_CD_ALL: a changed L1CD is seen`, (b) => {
      b.start();
      const table = contexts(b, STREAM, fmt);
      table.put(1, true);
      const change = { sid: STREAM, pasid: 1, apply: () => b.ram.write64(table.table, 0n) };
      works(b, change);
      change.apply();
      command(b, 'CFGI_CD_ALL', { StreamID: STREAM });
      refuses(b, change);
    }),
  ]),
];

/** Register state that configuration depends on. */
const registers: Row[] = [
  row(
    '3.9.2',
    'atschk',
    'after ATSCHK changed, an invalidated STE follows the new value',
    (b) => {
      b.start({ ATSCHK: 0 });
      const { lower } = b.nested({ ste: { EATS: 2 } });
      lower.map(VA, PAGE);
      equal('before', b.translate({ va: VA }).status, 1);
      b.events.take();
      b.control({ ATSCHK: 1 });
      b.forget();
      const answer = b.translate({ va: VA });
      equal('after', `${answer.status} ${answer.read}`, '0 true');
    },
    { features: { ATS: 1, NS1ATS: 0 } },
  ),
  row(
    '6.3.12',
    'e2h',
    'after CR2.E2H changed with SMMUEN=0, an invalidated STE follows the new value',
    (b) => {
      b.start({ E2H: 0 });
      const high = 0xffff_0000_7000_0000n;
      const { upper } = b.stage1({ upper: true, ste: { STRW: 2 } });
      upper.map(high, PAGE);
      b.aborts({ va: high });
      b.events.take();
      b.control({ SMMUEN: 0 });
      b.registers.set('CR2', { E2H: 1 });
      command(b, 'CFGI_STE_RANGE', { Range: 31 });
      command(b, 'TLBI_EL2_ALL', {});
      b.control({ SMMUEN: 1 });
      b.reaches({ va: high }, PAGE);
    },
    { features: { Hyp: 1 } },
  ),
];

/** Prefetch (§4.2): never needed, never harmful. */
const prefetch: Row[] = [
  row('4.2.1', 'cached', 'CMD_PREFETCH_CONFIG: what follows is as without it', (b) => {
    b.start();
    b.stage1().lower.map(VA, PAGE);
    command(b, 'PREFETCH_CONFIG', { StreamID: STREAM });
    b.reaches({ va: VA }, PAGE);
  }),
  row('4.2.1', 'invalidated', 'CMD_PREFETCH_CONFIG: what it cached is invalidated as anything else', (b) => {
    b.start();
    b.ste({ Config: CONFIG.BYPASS });
    command(b, 'PREFETCH_CONFIG', { StreamID: STREAM });
    b.ste({ Config: CONFIG.ABORT });
    command(b, 'CFGI_STE', { StreamID: STREAM, Leaf: 1 });
    b.aborts({ va: PAGE });
  }),
  row('4.2.2', 'cached', 'CMD_PREFETCH_ADDR: what follows is as without it', (b) => {
    b.start();
    b.stage1().lower.map(VA, PAGE);
    command(b, 'PREFETCH_ADDR', { StreamID: STREAM, Addr: VA / 4096, Size: 2 });
    b.reaches({ va: VA }, PAGE);
  }),
  row('4.2.2', 'invalidated', 'CMD_PREFETCH_ADDR: what it cached is invalidated as anything else', (b) => {
    b.start();
    const { lower } = b.stage1({ cd: { ASID: 9 } });
    lower.map(VA, PAGE);
    command(b, 'PREFETCH_ADDR', { StreamID: STREAM, Addr: VA / 4096 });
    lower.set(VA, 3, 0n);
    command(b, 'TLBI_NH_ALL', { VMID: 0 });
    b.aborts({ va: VA });
  }),
  row('4.2', 'out-of-range', 'a prefetch of an address out of range is ignored, without error or record', (b) => {
    b.start();
    b.stage1({ inputBits: 39 });
    command(b, 'PREFETCH_ADDR', { StreamID: STREAM, Addr: 2 ** 51 - 1, Size: 31 });
    b.noEvent();
  }),
  ...(['PREFETCH_CONFIG', 'PREFETCH_ADDR'] as const).map((name) =>
    row('4.2', `ssv-${name}`, `CMD_${name} with SSV=1 where S1CDMax=0: as SSV=0, or no effect`, (b) => {
      b.start();
      b.stage1().lower.map(VA, PAGE);
      command(b, name, { StreamID: STREAM, SSV: 1, SubstreamID: 3 });
      b.noEvent();
      b.reaches({ va: VA }, PAGE);
    }),
  ),
];

export const configurationCacheRows: readonly Row[] = [
  ...stes,
  ...splits,
  ...ranges,
  ...cds,
  ...registers,
  ...prefetch,
];
