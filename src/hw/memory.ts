/** Sparse physical memory: a chunk exists once it was written, so a large machine costs what it touches. */
import { assert } from '../assert.ts';

/** Bytes of one chunk. A naturally aligned structure of up to this size never crosses a chunk. */
export const CHUNK_BYTES = 0x1_0000;

/** Exact, as it is a power of two; an unexported constant is one that the engine folds. */
const CHUNKS_PER_BYTE = 1 / CHUNK_BYTES;
const PAGE_BYTES = 4096;
/** Upper halves below this leave the number of a chunk a positive 32-bit integer. */
const HIGH_HALF_IN_INT32 = 2 ** 15;
/** `address & CHUNK_OFFSET` is the byte in its chunk: exact for every address, and far cheaper than `%`. */
export const CHUNK_OFFSET = CHUNK_BYTES - 1;

interface Chunk {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** Its 4 KiB pages: a whole page, the common DMA, is then copied without making a view of it. */
  readonly pages: readonly Uint8Array[];
}

function newChunk(): Chunk {
  const buffer = new ArrayBuffer(CHUNK_BYTES);
  const pages = Array.from(
    { length: CHUNK_BYTES / PAGE_BYTES },
    (_, index) => new Uint8Array(buffer, index * PAGE_BYTES, PAGE_BYTES),
  );
  return { view: new DataView(buffer), bytes: new Uint8Array(buffer), pages };
}

/** What reads of chunks that were never written see. Never written itself. */
const ZEROS = newChunk();

/**
 * `size` bytes of RAM from physical address `base`; both are multiples of {@link CHUNK_BYTES}. Addresses are physical
 * byte addresses below 2^52. The accessors expect addresses inside the RAM; the bus checks the rest.
 */
export class Memory {
  readonly base: number;
  readonly size: number;
  readonly #chunks: (Chunk | undefined)[];
  /** The views of the chunks, beside them: a table walk waits for each object between it and a descriptor. */
  readonly #views: DataView[];
  /** Number of the first chunk, counted from address 0. */
  readonly #first: number;
  #populated = 0;

  constructor(base: number, size: number) {
    assert(base % CHUNK_BYTES === 0 && size % CHUNK_BYTES === 0 && size > 0, `RAM at ${base}, ${size} bytes`);
    this.base = base;
    this.size = size;
    this.#first = base / CHUNK_BYTES;
    // Filled, so that it stays a plain array: the engine keeps a sparse one as a hash table, ten times slower to read.
    this.#chunks = new Array<Chunk | undefined>(size / CHUNK_BYTES).fill(undefined);
    this.#views = new Array<DataView>(size / CHUNK_BYTES).fill(ZEROS.view);
  }

  /** Whether `[address, address + length)` lies in this RAM. */
  contains(address: number, length: number): boolean {
    return address >= this.base && address + length <= this.base + this.size;
  }

  /** Bytes of chunks that exist. */
  get populatedBytes(): number {
    return this.#populated * CHUNK_BYTES;
  }

  /** The chunk that holds `address`, to read fields in place at byte `address & CHUNK_OFFSET`. Do not write to it. */
  readView(address: number): DataView {
    return this.#views[((address - this.base) * CHUNKS_PER_BYTE) | 0] ?? ZEROS.view;
  }

  /**
   * As {@link readView}, for an address in 32-bit halves (`high` below 2^20); null where there is no RAM. A table walk
   * has its addresses so, and spares the conversions.
   */
  readViewOf(low: number, high: number): DataView | null {
    const index =
      (high < HIGH_HALF_IN_INT32 ? (high << 16) | (low >>> 16) : high * 2 ** 16 + (low >>> 16)) - this.#first;
    return index >= 0 && index < this.#views.length ? (this.#views[index] ?? null) : null;
  }

  /** The chunk that holds `address`, to write fields in place at byte `address & CHUNK_OFFSET`. */
  writeView(address: number): DataView {
    return this.#own(((address - this.base) * CHUNKS_PER_BYTE) | 0).view;
  }

  /** A 32-bit little-endian word; `address` is a multiple of 4. */
  read32(address: number): number {
    return this.readView(address).getUint32(address & CHUNK_OFFSET, true);
  }

  write32(address: number, value: number): void {
    this.writeView(address).setUint32(address & CHUNK_OFFSET, value, true);
  }

  /** Copies memory from `address` into `target[at, at + length)`. */
  read(address: number, target: Uint8Array, at = 0, length = target.length - at): void {
    if (length === PAGE_BYTES && (address & (PAGE_BYTES - 1)) === 0) {
      const chunk = this.#chunks[((address - this.base) * CHUNKS_PER_BYTE) | 0];
      const page = chunk?.pages[(address & CHUNK_OFFSET) / PAGE_BYTES];
      if (page === undefined) target.fill(0, at, at + length);
      else target.set(page, at);
      return;
    }
    for (let done = 0; done < length; ) {
      const offset = (address + done) & CHUNK_OFFSET;
      const count = Math.min(length - done, CHUNK_BYTES - offset);
      const chunk = this.#chunks[Math.floor((address + done - this.base) / CHUNK_BYTES)];
      if (chunk === undefined) target.fill(0, at + done, at + done + count);
      else target.set(chunk.bytes.subarray(offset, offset + count), at + done);
      done += count;
    }
  }

  /** Copies `source[at, at + length)` to memory at `address`. */
  write(address: number, source: Uint8Array, at = 0, length = source.length - at): void {
    const start = address & CHUNK_OFFSET;
    if (at === 0 && length === source.length && start + length <= CHUNK_BYTES) {
      this.#own(((address - this.base) * CHUNKS_PER_BYTE) | 0).bytes.set(source, start);
      return;
    }
    for (let done = 0; done < length; ) {
      const offset = (address + done) & CHUNK_OFFSET;
      const count = Math.min(length - done, CHUNK_BYTES - offset);
      const chunk = this.#own(Math.floor((address + done - this.base) / CHUNK_BYTES));
      chunk.bytes.set(source.subarray(at + done, at + done + count), offset);
      done += count;
    }
  }

  /** Sets `[address, address + length)` to `value`; zeroing what was never written costs nothing. */
  fill(address: number, length: number, value: number): void {
    for (let done = 0; done < length; ) {
      const offset = (address + done) & CHUNK_OFFSET;
      const count = Math.min(length - done, CHUNK_BYTES - offset);
      const index = Math.floor((address + done - this.base) / CHUNK_BYTES);
      if (value !== 0 || this.#chunks[index] !== undefined) this.#own(index).bytes.fill(value, offset, offset + count);
      done += count;
    }
  }

  #own(index: number): Chunk {
    const present = this.#chunks[index];
    if (present !== undefined) return present;
    assert(index >= 0 && index < this.size / CHUNK_BYTES, 'memory is written inside its range');
    const chunk = newChunk();
    this.#chunks[index] = chunk;
    this.#views[index] = chunk.view;
    this.#populated += 1;
    return chunk;
  }
}
