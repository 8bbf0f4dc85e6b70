/** Changing the size of translations while they are in use: BBML, nT, the Contiguous bit (IHI 0070 §3.20.1, §3.21.1). */
import { Completion } from '../../hw/pcie/tlp.ts';
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { eventName } from '../bench/event-record.ts';
import type { SteValues } from '../bench/streams.ts';
import { BIT, GRANULES, type Granule, LEAF_1, LEAF_2, type Tables } from '../bench/tables.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';

/** One block of level 2 and the pages that are the same as it. */
class Area {
  readonly b: Bench;
  readonly tables: Tables;
  readonly #leaf: bigint;
  /** Bytes of the block and of a page; where the block starts, where it goes. */
  readonly bytes: number;
  readonly page: number;
  readonly va: number;
  readonly pa: number;
  #table = 0n;

  constructor(b: Bench, stage: 1 | 2, granule: Granule, ste: SteValues = {}) {
    this.b = b.start();
    this.tables = stage === 1 ? b.stage1({ granule, ste }).lower : b.stage2({ granule });
    this.#leaf = stage === 1 ? LEAF_1 : LEAF_2;
    this.bytes = this.tables.leafBytes(2);
    this.page = this.tables.leafBytes(3);
    this.va = Math.floor(VA / this.bytes) * this.bytes;
    this.pa = Math.floor(PAGE / this.bytes) * this.bytes;
  }

  /** The area is a block. */
  block(attributes = 0n): void {
    const now = this.tables.get(this.va, 2);
    if ((now & 3n) === 3n) this.#table = now;
    this.tables.map(this.va, this.pa, this.#leaf | attributes, 2);
  }

  /** The area is pages; the first four are enough. */
  pages(attributes = 0n): void {
    if (this.#table !== 0n) this.tables.set(this.va, 2, this.#table);
    else if ((this.tables.get(this.va, 2) & 3n) === 1n) this.tables.set(this.va, 2, 0n);
    for (let n = 0; n < 4; n++) {
      this.tables.map(this.va + n * this.page, this.pa + n * this.page, this.#leaf | attributes);
    }
  }

  /** Page `n` is where it always was. */
  reaches(n: number): void {
    this.b.reaches({ va: this.va + n * this.page + 0x40 }, this.pa + n * this.page + 0x40);
    this.b.noEvent();
  }

  /** Two entries for page 0, of two sizes, where the SMMU keeps them. */
  overlap(): void {
    this.pages();
    this.reaches(0);
    this.block();
    this.reaches(2);
  }
}

const STAGES = [1, 2] as const;
const needs = (granule: Granule, BBML: number) => ({ S1P: 1, S2P: 1, BBML, [`GRAN${granule.slice(0, -1)}`]: 1 });

const level2: Row[] = STAGES.flatMap((stage) =>
  GRANULES.flatMap((granule) => {
    const features = needs(granule, 2);
    const where = `BBML=2, stage ${stage}, ${granule}`;
    return [
      row(
        '3.21.1.3',
        `block-to-pages-${stage}-${granule}`,
        `${where}: a block in use becomes pages, nothing faults`,
        (b) => {
          const area = new Area(b, stage, granule);
          area.block();
          for (const n of [0, 1]) area.reaches(n);
          area.pages();
          for (const n of [0, 1, 2, 3]) area.reaches(n);
        },
        { features },
      ),
      row(
        '3.21.1.3',
        `pages-to-block-${stage}-${granule}`,
        `${where}: pages in use become a block, nothing faults`,
        (b) => {
          const area = new Area(b, stage, granule);
          area.overlap();
          for (const n of [0, 1, 2, 3]) area.reaches(n);
        },
        { features },
      ),
      row(
        '3.21.1.3',
        `invalidation-${stage}-${granule}`,
        `${where}: an invalidation removes all entries of an address, of every size`,
        (b) => {
          const area = new Area(b, stage, granule);
          area.overlap();
          area.tables.set(area.va, 2, 0n);
          const Address = area.va / 4096;
          if (stage === 1) b.commands.run('TLBI_NH_VA', { VMID: 0, ASID: 1, Address });
          else b.commands.run('TLBI_S2_IPA', { VMID: 1, Address });
          b.commands.sync();
          b.aborts({ va: area.va + 0x40 });
        },
        { features },
      ),
    ];
  }),
);

/** A write that makes the block dirty walks although the block is cached already: it is entered once, and leaves whole. */
const dirty: Row[] = STAGES.map((stage) =>
  row(
    '3.21.1.3',
    `dirty-invalidation-${stage}`,
    `BBML=2, stage ${stage}: after an update of dirty state over overlapping entries an invalidation removes all of them`,
    (b) => {
      b.start();
      const tables = stage === 1 ? b.stage1({ cd: { HA: 1, HD: 1 } }).lower : b.stage2({ ste: { S2HA: 1, S2HD: 1 } });
      const clean = BIT.DBM | (stage === 1 ? LEAF_1 | BIT.AP2 : LEAF_2 & ~0x80n);
      const bytes = tables.leafBytes(2);
      const va = Math.floor(VA / bytes) * bytes;
      const pa = Math.floor(PAGE / bytes) * bytes;
      tables.map(va, pa, clean);
      b.reaches({ va }, pa);
      tables.map(va, pa, clean, 2);
      b.reaches({ va: va + 0x2000 }, pa + 0x2000);
      b.reaches({ va, write: true }, pa);
      tables.set(va, 2, 0n);
      const Address = va / 4096;
      if (stage === 1) b.commands.run('TLBI_NH_VA', { VMID: 0, ASID: 1, Address });
      else b.commands.run('TLBI_S2_IPA', { VMID: 1, Address });
      b.commands.sync();
      b.aborts({ va });
    },
    { features: { ...needs('4KB', 2), HTTU: 2 } },
  ),
);

const nT: Row[] = STAGES.flatMap((stage) => [
  ...[0, 1, 2].map((BBML) =>
    row(
      BBML === 2 ? '3.21.1.3' : '3.21.1.2',
      `nt-${BBML}-stage-${stage}`,
      `BBML=${BBML}, stage ${stage}: a block with nT=1 translates, and does not fault`,
      (b) => {
        const area = new Area(b, stage, '4KB');
        area.block(BIT.nT);
        for (const n of [0, 1, 0]) area.reaches(n);
      },
      { features: needs('4KB', BBML) },
    ),
  ),
  row(
    '3.21.1.3',
    `nt-ignored-stage-${stage}`,
    `BBML=2, stage ${stage}: nT is ignored: a block stays cached as any other does`,
    (b) => {
      const area = new Area(b, stage, '4KB');
      area.block(BIT.nT);
      area.reaches(0);
      area.tables.set(area.va, 2, 0n);
      b.keeps({ va: area.va }, area.pa);
    },
    { features: needs('4KB', 2) },
  ),
  row(
    '3.21.1.2',
    `nt-after-pages-stage-${stage}`,
    `BBML=1, stage ${stage}: a block with nT=1 over cached pages causes no conflict`,
    (b) => {
      const area = new Area(b, stage, '4KB');
      area.pages();
      area.reaches(0);
      area.block(BIT.nT);
      for (const n of [2, 0, 1]) area.reaches(n);
    },
    { features: needs('4KB', 1) },
  ),
  row(
    '3.21.1.2',
    `nt-before-pages-stage-${stage}`,
    `BBML=1, stage ${stage}: a block with nT=1 that becomes pages causes no conflict`,
    (b) => {
      const area = new Area(b, stage, '4KB');
      area.block(BIT.nT);
      for (const n of [0, 1]) area.reaches(n);
      area.pages();
      for (const n of [0, 1, 2]) area.reaches(n);
    },
    { features: needs('4KB', 1) },
  ),
]);

/** The last access got its page, or was aborted for a conflict, and nothing else (§3.20.1). */
function conflictAtWorst(area: Area): void {
  const { b } = area;
  const access = { va: area.va + 0x40 };
  if (b.access(access).ending === 'done') b.noEvent();
  else equal('events', b.events.take().map(eventName), ['F_TLB_CONFLICT']);
}

const conflicts: Row[] = STAGES.flatMap((stage) => [
  ...[0, 1].map((BBML) =>
    row(
      '3.20.1',
      `bbml-${BBML}-stage-${stage}`,
      `BBML=${BBML}, stage ${stage}: entries of two sizes give the page or F_TLB_CONFLICT, with an abort`,
      (b) => {
        const area = new Area(b, stage, '4KB');
        area.overlap();
        conflictAtWorst(area);
        area.reaches(2);
      },
      { features: needs('4KB', BBML) },
    ),
  ),
  row(
    '3.20.1',
    `others-stage-${stage}`,
    `stage ${stage}: a conflict does not harm streams of another VMID`,
    (b) => {
      const area = new Area(b, stage, '4KB');
      b.stage2({ sid: 9, ste: { S2VMID: 2 } }).map(VA, PAGE + 0x5000);
      area.overlap();
      conflictAtWorst(area);
      b.reaches({ va: VA, sid: 9 }, PAGE + 0x5000);
      b.noEvent();
    },
    { features: needs('4KB', 0) },
  ),
  row(
    '3.20.1',
    `invalidated-stage-${stage}`,
    `stage ${stage}: after an invalidation of the address a conflict is over`,
    (b) => {
      const area = new Area(b, stage, '4KB');
      area.overlap();
      b.commands.run('TLBI_NSNH_ALL', {});
      b.commands.sync();
      for (const n of [0, 1, 2]) area.reaches(n);
    },
    { features: needs('4KB', 0) },
  ),
]);

const ats: Row[] = [
  row(
    '3.9.1.2',
    'F_TLB_CONFLICT',
    'a Translation Request that meets a conflict: the page, or CA without a record (REC_CFG_ATS=0)',
    (b) => {
      const area = new Area(b, 1, '4KB', { EATS: 1 });
      area.overlap();
      const { status, page } = b.translate({ va: area.va });
      if (status === Completion.SUCCESS) equal('page', page, area.pa / 4096);
      else equal('status', status, Completion.COMPLETER_ABORT);
      b.noEvent();
    },
    { features: { ...needs('4KB', 0), ATS: 1 } },
  ),
];

/** The Contiguous bit alone may change at any time (§3.21.1.2, §3.21.1.3). */
const contiguous: Row[] = [1, 2].flatMap((BBML) =>
  STAGES.map((stage) =>
    row(
      BBML === 2 ? '3.21.1.3' : '3.21.1.2',
      `contiguous-${stage}-${BBML}`,
      `BBML=${BBML}, stage ${stage}: the Contiguous bit changes while pages are in use, nothing faults`,
      (b) => {
        const area = new Area(b, stage, '4KB');
        const group = (attributes: bigint) => {
          for (let n = 0; n < 16; n++) {
            const leaf = (stage === 1 ? LEAF_1 : LEAF_2) | attributes;
            area.tables.map(area.va + n * area.page, area.pa + n * area.page, leaf);
          }
        };
        group(0n);
        for (const n of [0, 5]) area.reaches(n);
        group(BIT.CONTIGUOUS);
        for (const n of [7, 5, 0]) area.reaches(n);
        group(0n);
        for (const n of [9, 7, 0]) area.reaches(n);
      },
      { features: needs('4KB', BBML) },
    ),
  ),
);

export const blockSizeRows: readonly Row[] = [...level2, ...dirty, ...nT, ...conflicts, ...ats, ...contiguous];
