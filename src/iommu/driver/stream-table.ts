/** The stream table: linear or two-level, as the SMMU announces (IHI 0070 §3.3.1, §5.1). */
import { assert } from '../../assert.ts';
import type { Mmio } from '../../hw/bus.ts';
import { CHUNK_BYTES } from '../../hw/memory.ts';
import { STRTAB_BASE, STRTAB_BASE_CFG } from '../spec/registers.layout.ts';
import { L1STD, STE } from '../spec/ste.layout.ts';
import { type TableArena, writeWord64 } from './table-memory.ts';

const STE_BYTES = STE.$.byteLength;
const L1STD_BYTES = L1STD.$.byteLength;
/** StreamIDs below one level 1 descriptor: those of one PCI bus. */
const SPLIT = 8;

export class StreamTable {
  readonly streamIdBits: number;
  readonly #arena: TableArena;
  readonly #twoLevel: boolean;
  readonly #base: number;
  /** Second-level tables by level 1 index. */
  readonly #leaves = new Map<number, number>();

  /** @throws RangeError without memory for the table. */
  constructor(arena: TableArena, streamIdBits: number, twoLevel: boolean) {
    this.#arena = arena;
    this.streamIdBits = streamIdBits;
    this.#twoLevel = twoLevel && streamIdBits > SPLIT;
    const bytes = this.#twoLevel ? 2 ** (streamIdBits - SPLIT) * L1STD_BYTES : 2 ** streamIdBits * STE_BYTES;
    // The base is aligned to the larger of the table and 64 bytes (§6.3.24).
    this.#base = arena.allocate(Math.max(64, bytes));
    if (this.#base < 0) throw new RangeError(`no memory for a stream table of ${bytes} bytes`);
  }

  /** Programs the table's base and shape while the SMMU is disabled. */
  program(mmio: Mmio): void {
    const data = new DataView(new ArrayBuffer(8));
    STRTAB_BASE.ADDR.set(data, 0, this.#base / 64);
    STRTAB_BASE.RA.set(data, 0, 1);
    mmio.write64(STRTAB_BASE.offset, data);
    const shape = this.#twoLevel ? STRTAB_BASE_CFG.FMT.in32(1) | STRTAB_BASE_CFG.SPLIT.in32(SPLIT) : 0;
    mmio.write32(STRTAB_BASE_CFG.offset, shape | STRTAB_BASE_CFG.LOG2SIZE.in32(this.streamIdBits));
  }

  /**
   * Physical address of a stream's STE, made if need be: -1 without memory. A StreamID that was never asked for has no
   * valid entry, so that its accesses abort and are recorded.
   */
  entry(streamId: number): number {
    assert(streamId >= 0 && streamId < 2 ** this.streamIdBits, `StreamID ${streamId} is in the table`);
    if (!this.#twoLevel) return this.#base + streamId * STE_BYTES;
    const index = Math.floor(streamId / 2 ** SPLIT);
    const leaf = this.#leaves.get(index) ?? this.#addLeaf(index);
    return leaf < 0 ? -1 : leaf + (streamId % 2 ** SPLIT) * STE_BYTES;
  }

  #addLeaf(index: number): number {
    const leaf = this.#arena.allocate(2 ** SPLIT * STE_BYTES);
    if (leaf < 0) return -1;
    const descriptor = new DataView(new ArrayBuffer(L1STD_BYTES));
    L1STD.Span.set(descriptor, 0, SPLIT + 1);
    L1STD.L2Ptr.set(descriptor, 0, leaf / 64);
    const at = this.#base + index * L1STD_BYTES;
    assert(at % CHUNK_BYTES <= CHUNK_BYTES - L1STD_BYTES, 'a descriptor lies in one chunk');
    writeWord64(this.#arena.memory, at, descriptor.getUint32(0, true), descriptor.getUint32(4, true));
    this.#leaves.set(index, leaf);
    return leaf;
  }
}
