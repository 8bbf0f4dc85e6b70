/** Entries of the TLB, one of each kind, and what takes their mapping away in memory. */
import type { FeatureValues } from '../subject.ts';
import { type Bench, PAGE, VA } from './bench.ts';
import type { CdValues, SteValues } from './streams.ts';
import { BIT, LEAF_1 } from './tables.ts';
import type { AccessOptions } from './traffic.ts';

export const ASID = 0x21;
export const OTHER_ASID = 0x22;
export const VMID = 0x11;
export const OTHER_VMID = 0x12;
export const IPA = 0x1_0000_0000;
export const OTHER_PAGE = VA + 0x40_0000;

/** A cached translation of VA to PAGE, and what makes it go away in memory. */
export interface Entry {
  readonly access: AccessOptions;
  readonly forget: () => void;
}

export type Kind = 'EL1' | 'EL1 global' | 'nested' | 'nested stage 2' | 'stage 2' | 'EL2' | 'E2H' | 'E2H global';

/** Puts an entry of `kind` into the TLB. */
export const ENTRIES: Readonly<Record<Kind, (b: Bench) => Entry>> = {
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

export const NEEDS: Readonly<Record<Kind, FeatureValues>> = {
  EL1: { S1P: 1, S2P: 1 },
  'EL1 global': { S1P: 1, S2P: 1 },
  nested: { S1P: 1, S2P: 1 },
  'nested stage 2': { S1P: 1, S2P: 1 },
  'stage 2': { S2P: 1 },
  EL2: { Hyp: 1 },
  E2H: { Hyp: 1 },
  'E2H global': { Hyp: 1 },
};

export const PAGE_OF = { Address: VA / 4096 };

/** CR2.E2H decides which regime the stream is in and which one CMD_TLBI_EL2_VA means. */
const e2h = (kind: Kind): { readonly E2H?: 1 } => (kind.startsWith('E2H') ? { E2H: 1 } : {});

/** A stage 2 entry answers `gone` with a stage 2 fault, any other with that of its stage: an abort in each case. */
export function stale(b: Bench, kind: Kind): Entry {
  b.start(e2h(kind));
  const entry = ENTRIES[kind](b);
  b.reaches(entry.access, PAGE);
  entry.forget();
  return entry;
}
