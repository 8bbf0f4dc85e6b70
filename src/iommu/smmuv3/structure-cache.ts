/**
 * A cache of STEs or CDs: their words as they were fetched, side by side, so that few cache lines hold them, and what they
 * say. Structures of one driver differ in their particulars alone: where their tables are, and the ASID and VMID. The
 * rest, their kind, is decoded once for all slots.
 */
import type { Field } from '../../layout/field.ts';

/** 32-bit words of a structure that hold fields of ours: of an STE up to S2TTB, of a CD up to MAIR1. */
const WORDS = 8;
/** Words that tell kinds apart: those of the structure, and the circumstances. */
const KIND_WORDS = WORDS + 1;

// A row of 32-bit words: those of the structure, then what belongs to the slot.
const ROW_SHIFT = 4;
const CIRCUMSTANCES = WORDS;
const OWNER = 9;
const INDEX = 10;
const KIND = 11;
/** In the place of a kind's number, where it is not known. */
const UNKNOWN = -1;

/** Kinds that are kept decoded. Drivers use few: one for each format of tables and each set of features. */
const KINDS = 8;
const NOWHERE = -1;

/** What a structure says, refilled in place. */
export interface DecodedStructure {
  /** Takes all but the particulars from a structure at byte 0 of `view`, under these circumstances. */
  decodeKind(view: DataView, circumstances: number): void;
  /** Takes the particulars of a structure of that kind, whose first word is at index `at` of `words`. */
  decodeParticulars(words: Int32Array, at: number): void;
}

interface Kind<Decoded> {
  readonly number: number;
  readonly words: Int32Array;
  readonly decoded: Decoded;
}

export class StructureCache<Decoded extends DecodedStructure> {
  readonly #slots: number;
  readonly #rows: Int32Array;
  /** When each slot was filled, 0 when it is empty: 64 bits, as these numbers never wrap. */
  readonly #epochs: Float64Array;
  /** The bits of each word that belong to the kind. */
  readonly #masks: Int32Array;
  readonly #create: () => Decoded;
  readonly #kinds: Kind<Decoded>[] = [];
  #latest: Kind<Decoded>;
  /** The row whose particulars {@link #latest} has. */
  #shown = NOWHERE;
  #oldestKind = 0;

  /** `particulars` are fields of the structure, `create` makes what a kind is decoded to. */
  constructor(slots: number, particulars: readonly Field[], create: () => Decoded) {
    this.#slots = slots;
    this.#rows = new Int32Array(slots << ROW_SHIFT);
    this.#epochs = new Float64Array(slots);
    const masks = new DataView(new ArrayBuffer(KIND_WORDS * 4));
    for (let byte = 0; byte < masks.byteLength; byte++) masks.setUint8(byte, 0xff);
    for (const field of particulars) field.set(masks, 0, 0);
    this.#masks = Int32Array.from({ length: KIND_WORDS }, (_, word) => masks.getInt32(word * 4, true));
    this.#create = create;
    this.#latest = this.#newKind(0);
  }

  /** Whether the slot holds the structure `index` of `owner`, fetched in this epoch. */
  holds(slot: number, owner: number, index: number, epoch: number): boolean {
    const row = slot << ROW_SHIFT;
    const rows = this.#rows;
    return this.#epochs[slot] === epoch && rows[row | OWNER] === (owner | 0) && rows[row | INDEX] === index;
  }

  /** The epoch in which the slot was filled, 0 when it is empty. */
  epoch(slot: number): number {
    return this.#epochs[slot] ?? 0;
  }

  owner(slot: number): number {
    return (this.#rows[(slot << ROW_SHIFT) | OWNER] ?? 0) >>> 0;
  }

  /** Puts what the slot holds into another epoch; 0 empties it. */
  setEpoch(slot: number, epoch: number): void {
    this.#epochs[slot] = epoch;
  }

  /**
   * Takes the structure at byte `at` of `view` into a slot. `circumstances` are what else its meaning depends on, as a
   * 32-bit word.
   */
  take(
    slot: number,
    view: DataView,
    at: number,
    circumstances: number,
    owner: number,
    index: number,
    epoch: number,
  ): void {
    const rows = this.#rows;
    const row = slot << ROW_SHIFT;
    const masks = this.#masks;
    const { words, number } = this.#latest;
    let difference = circumstances ^ (words[CIRCUMSTANCES] ?? 0);
    for (let word = 0; word < WORDS; word++) {
      const value = view.getInt32(at + (word << 2), true);
      rows[row | word] = value;
      difference |= (value ^ (words[word] ?? 0)) & (masks[word] ?? 0);
    }
    rows[row | CIRCUMSTANCES] = circumstances;
    rows[row | OWNER] = owner | 0;
    rows[row | INDEX] = index;
    rows[row | KIND] = difference === 0 ? number : UNKNOWN;
    this.#epochs[slot] = epoch;
    if (this.#shown === row) this.#shown = NOWHERE;
  }

  /** What the structure in a slot says. The next call may refill the same object. */
  decoded(slot: number): Decoded {
    const row = slot << ROW_SHIFT;
    if (this.#shown !== row) {
      if (this.#latest.number !== this.#rows[row | KIND]) this.#latest = this.#kindOf(row);
      this.#latest.decoded.decodeParticulars(this.#rows, row);
      this.#shown = row;
    }
    return this.#latest.decoded;
  }

  #kindOf(row: number): Kind<Decoded> {
    const known =
      this.#kinds[this.#rows[row | KIND] ?? UNKNOWN] ?? this.#kinds.find(({ words }) => this.#isAlike(row, words));
    const kind = known ?? this.#newKind(row);
    this.#rows[row | KIND] = kind.number;
    return kind;
  }

  #isAlike(row: number, kind: Int32Array): boolean {
    return kind.every((word, index) => (((this.#rows[row | index] ?? 0) ^ word) & (this.#masks[index] ?? 0)) === 0);
  }

  /** Decodes another kind; when as many as are kept are, in the place of the oldest. */
  #newKind(row: number): Kind<Decoded> {
    let kind = this.#kinds[this.#oldestKind];
    if (kind === undefined) {
      kind = { number: this.#kinds.length, words: new Int32Array(KIND_WORDS), decoded: this.#create() };
      this.#kinds.push(kind);
    } else {
      for (let slot = 0; slot < this.#slots; slot++) {
        const at = (slot << ROW_SHIFT) | KIND;
        if (this.#rows[at] === kind.number) this.#rows[at] = UNKNOWN;
      }
    }
    this.#oldestKind = (this.#oldestKind + 1) % KINDS;
    kind.words.set(this.#rows.subarray(row, row + KIND_WORDS));
    const view = new DataView(new ArrayBuffer(WORDS * 4));
    for (let word = 0; word < WORDS; word++) view.setInt32(word * 4, kind.words[word] ?? 0, true);
    kind.decoded.decodeKind(view, kind.words[CIRCUMSTANCES] ?? 0);
    return kind;
  }
}
