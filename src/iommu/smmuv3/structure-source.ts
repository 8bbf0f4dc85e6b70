/**
 * The words a cached structure was decoded from. Streams of one driver differ in their particulars alone: where their
 * tables are, and the ASID and VMID; the rest, their kind, needs no second decoding.
 */
import type { Field } from '../../layout/field.ts';

/** How a structure differs from the one before it in the same slot. */
export const Difference = { NONE: 0, PARTICULARS: 1, KIND: 2 } as const;
export type Difference = (typeof Difference)[keyof typeof Difference];

// Hot code reads constants of its own module only: the engine cannot fold imported ones.
const { NONE, PARTICULARS, KIND } = Difference;

/** The words of one slot: all 0 before the first structure, as those of one with V=0. */
export type SourceWords = number[];

/** Which words of a structure matter, and which of their bits are particulars. The same for all its slots. */
export class StructureSource {
  /** The bits of each word that belong to the kind. */
  readonly #kind: Int32Array;

  /** `count` 32-bit words from the start of the structure matter; `particulars` are fields of them. */
  constructor(count: number, particulars: readonly Field[]) {
    const kind = new DataView(new ArrayBuffer(count * 4));
    for (let byte = 0; byte < kind.byteLength; byte++) kind.setUint8(byte, 0xff);
    for (const field of particulars) field.set(kind, 0, 0);
    this.#kind = Int32Array.from({ length: count }, (_, index) => kind.getInt32(index * 4, true));
  }

  /** What a slot keeps: a plain array of small integers, which takes less room in caches than a typed one. */
  newWords(): SourceWords {
    return new Array<number>(this.#kind.length).fill(0);
  }

  /** Takes the words at byte `at` of `view` into those of a slot: how they differ. */
  take(view: DataView, at: number, words: SourceWords): Difference {
    const masks = this.#kind;
    let kind = 0;
    let any = 0;
    for (let index = 0; index < masks.length; index++) {
      const word = view.getInt32(at + 4 * index, true);
      const difference = word ^ (words[index] ?? 0);
      if (difference === 0) continue;
      any = 1;
      kind |= difference & (masks[index] ?? 0);
      words[index] = word;
    }
    if (kind !== 0) return KIND;
    return any === 0 ? NONE : PARTICULARS;
  }
}
