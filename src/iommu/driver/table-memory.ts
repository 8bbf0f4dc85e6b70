/** Where the driver's queues, configuration tables and page tables live. */
import { assert } from '../../assert.ts';
import { CHUNK_BYTES, type Memory } from '../../hw/memory.ts';

/** Physically contiguous host memory, as the kernel's page allocator gives it. The platform joins it with `mm`. */
export interface TableMemory {
  /** A physical address that is a multiple of `alignment`, or -1. The contents are undefined. */
  allocate(bytes: number, alignment: number): number;
  free(physical: number, bytes: number): void;
}

/** Writes one 64-bit word. Nothing runs between the two halves: to the SMMU it is one single-copy atomic write. */
export function writeWord64(memory: Memory, address: number, low: number, high: number): void {
  const view = memory.writeView(address);
  const at = address % CHUNK_BYTES;
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
}

/** Zeroed table memory with a count of what is in use. */
export class TableArena {
  readonly memory: Memory;
  /** Added to a host physical address to get what the SMMU's walker must be given (see {@link walkerAddress}). */
  readonly walkerOffset: number;
  readonly #source: TableMemory;
  #bytes = 0;

  constructor(memory: Memory, source: TableMemory, walkerOffset = 0) {
    this.memory = memory;
    this.walkerOffset = walkerOffset;
    this.#source = source;
  }

  /** Bytes allocated and not freed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Zeroed memory aligned to `alignment` (its own size unless given), or -1. */
  allocate(bytes: number, alignment = bytes): number {
    const physical = this.#source.allocate(bytes, alignment);
    if (physical < 0) return -1;
    assert(physical % alignment === 0, 'table memory is aligned as asked');
    this.memory.fill(physical, bytes, 0);
    this.#bytes += bytes;
    return physical;
  }

  free(physical: number, bytes: number): void {
    this.#bytes -= bytes;
    assert(this.#bytes >= 0, 'no table is freed twice');
    this.#source.free(physical, bytes);
  }

  /** The address by which the SMMU reaches `physical`: an IPA for the stage 1 tables of a nested domain. */
  walkerAddress(physical: number): number {
    return physical + this.walkerOffset;
  }
}
