/** Streams whose translation fails in one chosen way at one chosen place. */
import { type Bench, type NestedOptions, PAGE, type Stage1Options, VA } from './bench.ts';
import { CONFIG, encodeCd, type SteValues, ttb } from './streams.ts';
import { BIT, LEAF_1, LEAF_2, type Tables } from './tables.ts';

/** The faults that may stall, be silent or read as zero (§3.12). */
export const RELATED = ['F_TRANSLATION', 'F_ADDR_SIZE', 'F_ACCESS', 'F_PERMISSION'] as const;
export type Related = (typeof RELATED)[number];

/** What stage 2 was asked to translate: CLASS of the record (§7.3). */
export const CLASSES = ['CD', 'TT', 'IN'] as const;
export type FaultClass = (typeof CLASSES)[number];
export const CLASS_VALUE: Readonly<Record<FaultClass, number>> = { CD: 0b00, TT: 0b01, IN: 0b10 };

/** An address beyond the 32 bits that rows with an F_ADDR_SIZE allow. */
const TOO_LARGE = 0x2_0000_0000;
const S2AP = 0xc0n;

/** IPAs beyond RAM, each below a level 2 descriptor of its own. */
export const IPA = { CD: 0x1_0000_0000, TT: 0x1_0020_0000, IN: 0x1_0040_0000 } as const;

/** Writes the leaf for `va` so that an unprivileged data read through it fails so. */
export function breakLeaf(
  tables: Tables,
  va: number,
  kind: Related | 'none',
  pa: number,
  leaf: bigint,
  denied: bigint,
): void {
  if (kind === 'F_TRANSLATION') tables.set(va, 3, 0n);
  else if (kind === 'F_ADDR_SIZE') tables.map(va, TOO_LARGE, leaf);
  else if (kind === 'F_ACCESS') tables.map(va, pa, leaf & ~BIT.AF);
  else tables.map(va, pa, kind === 'F_PERMISSION' ? leaf & ~denied : leaf);
}

/** A stage 1 stream where a read of VA by user code fails so. */
export function brokenStage1(b: Bench, kind: Related, options: Stage1Options = {}): Tables {
  const cd = { ...(kind === 'F_ADDR_SIZE' ? { IPS: 0b000 } : {}), ...options.cd };
  const { lower } = b.stage1({ ...options, cd });
  breakLeaf(lower, VA, kind, PAGE, LEAF_1, BIT.AP1);
  return lower;
}

/** Makes VA good again. */
export function mendStage1(tables: Tables): void {
  tables.map(VA, PAGE);
}

export interface BrokenNested {
  readonly stage2: Tables;
  /** The IPA that the record carries. */
  readonly ipa: number;
  /** Makes the stream translate VA to PAGE. */
  readonly mend: () => void;
}

/**
 * A nested stream that translates VA to PAGE, but for stage 2 of what `where` names: the CD, the level 0 table of stage 1,
 * or the output of stage 1.
 */
export function brokenNested(
  b: Bench,
  where: FaultClass | null,
  kind: Related | 'none',
  ste: SteValues = {},
  options: NestedOptions = {},
): BrokenNested {
  b.needs({ S1P: 1, S2P: 1 });
  const { tables: stage2, fields } = b.stage2Tables();
  b.identity(stage2);
  const lower = b.tables();
  lower.map(VA, IPA.IN);
  const cdPage = b.ram.allocate(4096);
  b.ram.write(cdPage, encodeCd({ ...b.cdFields(lower, null), TTB0: ttb(IPA.TT), ...options.cd }));
  const places = { CD: cdPage, TT: lower.base, IN: PAGE } as const;
  for (const place of CLASSES) {
    const at = place === where ? kind : 'none';
    breakLeaf(stage2, IPA[place], at, places[place], LEAF_2, S2AP);
  }
  const size: SteValues = kind === 'F_ADDR_SIZE' ? { S2PS: 0b000 } : {};
  b.ste({ Config: CONFIG.NESTED, ...fields, ...size, S1ContextPtr: IPA.CD / 64, ...ste }, options.sid);
  const ipa = ipaOf(where, lower);
  return {
    stage2,
    ipa,
    mend: () => {
      for (const place of CLASSES) stage2.map(IPA[place], places[place]);
    },
  };
}

/** IPA bits 55:12 of a record; a table walk starts in the page of the table. */
function ipaOf(where: FaultClass | null, lower: Tables): number {
  if (where === 'CD') return IPA.CD;
  const offset = Math.floor((lower.entry(VA, lower.startLevel) - lower.base) / 4096) * 4096;
  return where === 'TT' ? IPA.TT + offset : IPA.IN;
}

/** A stage 2 stream where a read of VA fails so. */
export function brokenStage2(b: Bench, kind: Related, ste: SteValues = {}): Tables {
  const size: SteValues = kind === 'F_ADDR_SIZE' ? { S2PS: 0b000 } : {};
  const tables = b.stage2({ ste: { ...size, ...ste } });
  breakLeaf(tables, VA, kind, PAGE, LEAF_2, S2AP);
  return tables;
}

/** What the record of a stage 2 fault adds. */
export const stage2Fields = (where: FaultClass, ipa: number): Record<string, number> => ({
  S2: 1,
  CLASS: CLASS_VALUE[where],
  IPA: ipa / 4096,
});
