/** The context descriptors of one device: one, a linear table or a two-level one (IHI 0070 §3.3.2, §5.3). */
import { assert } from '../../assert.ts';
import { CD, L1CD } from '../spec/cd.layout.ts';
import { S1Fmt } from '../spec/ste.layout.ts';
import { type TableArena, writeWord64 } from './table-memory.ts';

const CD_BYTES = CD.$.byteLength;
const L1CD_BYTES = L1CD.$.byteLength;
/** SubstreamIDs below one level 1 descriptor: a second level of 64 KiB. */
const LEAF_BITS = 10;

export class ContextTable {
  /** STE.S1CDMax: log2 of the number of descriptors. */
  readonly bits: number;
  /** STE.S1Fmt. */
  readonly format: number;
  /** The memory it lives in: that of the stage 2 domain below, if there is one. */
  readonly arena: TableArena;
  readonly #base: number;
  readonly #baseBytes: number;
  readonly #leaves = new Map<number, number>();

  /** @throws RangeError without memory. */
  constructor(arena: TableArena, bits: number, twoLevel: boolean) {
    this.arena = arena;
    this.bits = bits;
    const split = twoLevel && bits > LEAF_BITS;
    this.format = split ? S1Fmt.TWO_LEVEL_64K : S1Fmt.LINEAR;
    this.#baseBytes = split ? 2 ** (bits - LEAF_BITS) * L1CD_BYTES : 2 ** bits * CD_BYTES;
    this.#base = arena.allocate(this.#baseBytes, Math.max(64, this.#baseBytes));
    if (this.#base < 0) throw new RangeError(`no memory for ${this.#baseBytes} bytes of context descriptors`);
  }

  /** STE.S1ContextPtr: an IPA where stage 2 translates. */
  get baseAddress(): number {
    return this.arena.walkerAddress(this.#base);
  }

  /** Host physical address of a descriptor, made if need be: -1 without memory. */
  entry(substreamId: number): number {
    assert(substreamId >= 0 && substreamId < 2 ** this.bits, `SubstreamID ${substreamId} is in the table`);
    if (this.format === S1Fmt.LINEAR) return this.#base + substreamId * CD_BYTES;
    const index = Math.floor(substreamId / 2 ** LEAF_BITS);
    const leaf = this.#leaves.get(index) ?? this.#addLeaf(index);
    return leaf < 0 ? -1 : leaf + (substreamId % 2 ** LEAF_BITS) * CD_BYTES;
  }

  /** Frees the table; no STE points to it any more. */
  destroy(): void {
    for (const leaf of this.#leaves.values()) this.arena.free(leaf, 2 ** LEAF_BITS * CD_BYTES);
    this.#leaves.clear();
    this.arena.free(this.#base, this.#baseBytes);
  }

  #addLeaf(index: number): number {
    const leaf = this.arena.allocate(2 ** LEAF_BITS * CD_BYTES);
    if (leaf < 0) return -1;
    const descriptor = new DataView(new ArrayBuffer(L1CD_BYTES));
    L1CD.V.set(descriptor, 0, 1);
    L1CD.L2Ptr.set(descriptor, 0, this.arena.walkerAddress(leaf) / 4096);
    const at = this.#base + index * L1CD_BYTES;
    writeWord64(this.arena.memory, at, descriptor.getUint32(0, true), descriptor.getUint32(4, true));
    this.#leaves.set(index, leaf);
    return leaf;
  }
}
