/** Translation tables of any granule and stage, written by a program step by step (DDI 0487 §D8.2). */
import type { ProgramBuilder } from './builder.ts';
import type { Fields } from './program.ts';

/** log2 of the granule: 4, 16 or 64 KiB. */
export type Granule = 12 | 14 | 16;
export const GRANULES: readonly Granule[] = [12, 14, 16];
export const granuleName = (granule: Granule): string => `${2 ** (granule - 10)} KiB`;

/** CD.TG0 and STE.S2TG (§5.4, §5.2): 4 KiB 0, 64 KiB 1, 16 KiB 2. CD.TG1: 16 KiB 1, 4 KiB 2, 64 KiB 3. */
export const TG0: Readonly<Record<Granule, number>> = { 12: 0, 16: 1, 14: 2 };
export const TG1: Readonly<Record<Granule, number>> = { 14: 1, 12: 2, 16: 3 };

/** STE.S2SL0 for a start level, by granule (§5.2). */
export const S2SL0: Readonly<Record<Granule, Readonly<Record<number, number>>>> = {
  12: { 2: 0, 1: 1, 0: 2 },
  14: { 3: 0, 2: 1, 1: 2 },
  16: { 3: 0, 2: 1, 1: 2 },
};

export interface TablesOptions {
  readonly stage: 1 | 2;
  readonly granule: Granule;
  /** Input address bits: 64 - TxSZ. */
  readonly inputBits: number;
  /** Stage 2 may start one level lower with up to 16 tables side by side; otherwise what the input size gives. */
  readonly startLevel?: number;
}

/** Where the lowest bit of the index into a table of `level` lies. */
export const levelShift = (granule: Granule, level: number): number => granule + (3 - level) * (granule - 3);

/** The level at which a walk of `inputBits` starts when tables do not stand side by side. */
export function naturalStart(granule: Granule, inputBits: number): number {
  return 4 - Math.ceil((inputBits - granule) / (granule - 3));
}

export class Tables {
  readonly granule: Granule;
  readonly stage: 1 | 2;
  readonly inputBits: number;
  readonly startLevel: number;
  /** Physical address of the first table: TTB. */
  readonly root: number;
  readonly #builder: ProgramBuilder;
  /** Next table by the address of the descriptor that leads to it. */
  readonly #next = new Map<number, number>();

  constructor(builder: ProgramBuilder, options: TablesOptions) {
    this.#builder = builder;
    this.granule = options.granule;
    this.stage = options.stage;
    this.inputBits = options.inputBits;
    this.startLevel = options.startLevel ?? naturalStart(options.granule, options.inputBits);
    const entries = 2 ** Math.max(0, options.inputBits - levelShift(this.granule, this.startLevel));
    this.root = builder.memory(Math.max(2 ** this.granule, entries * 8));
  }

  /** Address of the descriptor for `input` in the table of `level` at `table`. */
  #slot(table: number, level: number, input: bigint): number {
    const shift = levelShift(this.granule, level);
    const bits = level === this.startLevel ? Math.max(0, this.inputBits - shift) : this.granule - 3;
    return table + Number((input >> BigInt(shift)) & ((1n << BigInt(bits)) - 1n)) * 8;
  }

  /**
   * Address of the descriptor for `input` at `level`. Tables above it are written where they are missing; `table`
   * gives their descriptors further fields.
   */
  descriptor(input: bigint, level: number, table: Fields = {}): number {
    let at = this.root;
    for (let above = this.startLevel; above < level; above++) {
      const slot = this.#slot(at, above, input);
      let next = this.#next.get(slot);
      if (next === undefined) {
        next = this.#builder.memory(2 ** this.granule);
        this.#next.set(slot, next);
        this.#builder.put('TableDescriptor', slot, { VALID: 1, TABLE: 1, NEXT: next / 4096, ...table });
      }
      at = next;
    }
    return this.#slot(at, level, input);
  }

  /**
   * Maps the page or block of `level` that holds `input` to `output`, readable and writable, not global; `fields` change
   * the leaf.
   */
  map(input: bigint, output: number, fields: Fields = {}, level = 3, table: Fields = {}): number {
    const at = this.descriptor(input, level, table);
    const base = { VALID: 1, PAGE: level === 3 ? 1 : 0, AF: 1, OUTPUT: Math.floor(output / 4096) };
    if (this.stage === 1) this.#builder.put('Stage1Leaf', at, { ...base, AP: 1, nG: 1, ...fields });
    else this.#builder.put('Stage2Leaf', at, { ...base, MemAttr: 15, S2AP: 3, ...fields });
    return at;
  }

  /** Bytes that a page or block of `level` maps. */
  span(level: number): number {
    return 2 ** levelShift(this.granule, level);
  }
}
