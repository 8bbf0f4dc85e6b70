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

/** The words behind the slots of one cache, side by side: so that few cache lines hold them. */
export class StructureSource {
  readonly #count: number;
  /** The bits of each word that belong to the kind. */
  readonly #kind: Int32Array;
  /** All 0 before the first structure, as those of one with V=0. */
  readonly #words: Int32Array;

  /** `count` 32-bit words from the start of the structure matter; `particulars` are fields of them. */
  constructor(count: number, particulars: readonly Field[], slots: number) {
    this.#count = count;
    const kind = new DataView(new ArrayBuffer(count * 4));
    for (let byte = 0; byte < kind.byteLength; byte++) kind.setUint8(byte, 0xff);
    for (const field of particulars) field.set(kind, 0, 0);
    this.#kind = Int32Array.from({ length: count }, (_, index) => kind.getInt32(index * 4, true));
    this.#words = new Int32Array(count * slots);
  }

  /** Takes the words at byte `at` of `view` into those of a slot: how they differ. */
  take(view: DataView, at: number, slot: number): Difference {
    const count = this.#count;
    const masks = this.#kind;
    const words = this.#words;
    const first = slot * count;
    let kind = 0;
    let any = 0;
    for (let index = 0; index < count; index++) {
      const word = view.getInt32(at + (index << 2), true);
      const difference = word ^ (words[first + index] ?? 0);
      if (difference === 0) continue;
      any = 1;
      kind |= difference & (masks[index] ?? 0);
      words[first + index] = word;
    }
    if (kind !== 0) return KIND;
    return any === 0 ? NONE : PARTICULARS;
  }
}
