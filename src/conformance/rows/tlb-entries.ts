/** What the TLB holds: entries stay without a command, tags keep them apart, each access is checked anew (IHI 0070 §3.17). */
import { PAGE, VA } from '../bench/bench.ts';
import { CLASS_VALUE } from '../bench/broken.ts';
import type { CdValues, SteValues } from '../bench/streams.ts';
import { BIT, LEAF_1, LEAF_2 } from '../bench/tables.ts';
import {
  ASID,
  ENTRIES,
  IPA,
  type Kind,
  NEEDS,
  OTHER_ASID,
  OTHER_VMID,
  PAGE_OF,
  stale,
  VMID,
} from '../bench/tlb-entries.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

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
    b.faults({ va: VA, write: true }, 'F_PERMISSION', { CLASS: CLASS_VALUE.IN });
    b.reaches({ va: VA }, PAGE);
  }),
  ...[
    { name: 'write', at: 'stage 2 refuses', leaf1: LEAF_1, leaf2: LEAF_2 & ~0x80n, access: { write: true }, S2: 1 },
    { name: 'write-1', at: 'stage 1 refuses', leaf1: LEAF_1 | BIT.AP2, leaf2: LEAF_2, access: { write: true }, S2: 0 },
    {
      name: 'both',
      at: 'both refuse: stage 1',
      leaf1: LEAF_1 | BIT.AP2,
      leaf2: LEAF_2 & ~0x80n,
      access: { write: true },
      S2: 0,
    },
    {
      name: 'execute',
      at: 'stage 2 refuses',
      leaf1: LEAF_1,
      leaf2: LEAF_2 | BIT.UXN,
      access: { execute: true },
      S2: 1,
    },
  ].map(({ name, at, leaf1, leaf2, access, S2 }) =>
    row(
      '3.17',
      `nested-cached-${name}`,
      `a cached translation of both stages is checked for each access anew: ${at}`,
      (b) => {
        b.start();
        const { lower, stage2 } = b.nested();
        lower.map(VA, IPA + 0x3000, leaf1);
        stage2.map(IPA + 0x3000, PAGE, leaf2);
        b.reaches({ va: VA + 0x10 }, PAGE + 0x10);
        const fields = S2 === 1 ? { S2, IPA: IPA / 4096 + 3 } : {};
        b.faults({ va: VA + 0x20, ...access }, 'F_PERMISSION', { CLASS: CLASS_VALUE.IN, ...fields });
        b.reaches({ va: VA + 0x10 }, PAGE + 0x10);
      },
      { features: NEEDS.nested },
    ),
  ),
  row('3.17', 'stage-2-privilege', 'a cached stage 2 translation is checked for each access anew', (b) => {
    b.start();
    b.stage2().map(VA, PAGE, LEAF_2 & ~0x80n);
    b.reaches({ va: VA }, PAGE);
    b.faults({ va: VA, write: true }, 'F_PERMISSION', { S2: 1, CLASS: CLASS_VALUE.IN, IPA: VA / 4096 });
  }),
  row('3.17.1', 'global-any-asid', 'a global translation serves every ASID of the VMID', (b) => {
    b.start();
    const { lower } = b.stage1({ sid: 4, cd: { ASID } });
    lower.map(VA, PAGE, LEAF_1 & ~BIT.nG);
    b.stage1({ sid: 5, cd: { ASID: OTHER_ASID, TTB0: lower.base / 16 } });
    b.reaches({ va: VA, sid: 4 }, PAGE);
    b.reaches({ va: VA, sid: 5 }, PAGE);
  }),
];

export const tlbEntryRows: readonly Row[] = [...general, ...separation, ...stages];
