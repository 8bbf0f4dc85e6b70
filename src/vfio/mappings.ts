/**
 * The mappings of a container by I/O virtual address: no two overlap. They lie in chunks of sorted arrays of numbers, so that
 * a look-up touches few cache lines: O(log n). Insertion and removal move at most a chunk and the list of chunks.
 */
import { assert } from '../assert.ts';
import type { Mapping } from './mapping.ts';

/** Mappings of a chunk; a full one is split in two. */
const CHUNK = 256;

/** Some neighbours, never none. */
class Chunk {
  readonly starts = new Float64Array(CHUNK);
  readonly ends = new Float64Array(CHUNK);
  readonly items: Mapping[] = [];

  insert(at: number, mapping: Mapping): void {
    const count = this.items.length;
    this.starts.copyWithin(at + 1, at, count);
    this.ends.copyWithin(at + 1, at, count);
    this.starts[at] = mapping.start;
    this.ends[at] = mapping.end;
    this.items.splice(at, 0, mapping);
  }

  remove(at: number): void {
    this.starts.copyWithin(at, at + 1, this.items.length);
    this.ends.copyWithin(at, at + 1, this.items.length);
    this.items.splice(at, 1);
  }

  /** The upper half, taken out. */
  split(): Chunk {
    const upper = new Chunk();
    const half = this.items.length >> 1;
    upper.starts.set(this.starts.subarray(half, this.items.length));
    upper.ends.set(this.ends.subarray(half, this.items.length));
    upper.items.push(...this.items.splice(half));
    return upper;
  }
}

export class Mappings {
  readonly #chunks: Chunk[] = [];
  /** Start of each chunk's first mapping. */
  #firsts = new Float64Array(CHUNK);
  #count = 0;
  #nextId = 1;

  get count(): number {
    return this.#count;
  }

  /** A number for a new mapping. */
  nextId(): number {
    return this.#nextId++;
  }

  /** The mapping that holds `iova`, or null. */
  at(iova: number): Mapping | null {
    const chunk = this.#chunks[this.#chunkOf(iova)];
    if (chunk === undefined) return null;
    const index = lastUpTo(chunk.starts, chunk.items.length, iova);
    return index >= 0 && (chunk.ends[index] ?? 0) > iova ? (chunk.items[index] ?? null) : null;
  }

  /** The first mapping that meets `[start, end)`, or null. */
  first(start: number, end: number): Mapping | null {
    for (const mapping of this.#from(start)) return mapping.start < end ? mapping : null;
    return null;
  }

  /** All mappings that meet `[start, end)`, by address. */
  within(start: number, end: number): Mapping[] {
    const out: Mapping[] = [];
    for (const mapping of this.#from(start)) {
      if (mapping.start >= end) break;
      out.push(mapping);
    }
    return out;
  }

  all(): Mapping[] {
    return this.#chunks.flatMap((chunk) => chunk.items);
  }

  insert(mapping: Mapping): void {
    assert(this.first(mapping.start, mapping.end) === null, 'mappings do not overlap');
    this.#count += 1;
    const place = Math.max(0, this.#chunkOf(mapping.start));
    const chunk = this.#chunks[place] ?? this.#addChunk(0, new Chunk());
    chunk.insert(lastUpTo(chunk.starts, chunk.items.length, mapping.start) + 1, mapping);
    this.#firsts[place] = chunk.starts[0] ?? 0;
    if (chunk.items.length === CHUNK) this.#addChunk(place + 1, chunk.split());
  }

  remove(mapping: Mapping): void {
    const place = this.#chunkOf(mapping.start);
    const chunk = this.#chunks[place];
    const index = chunk === undefined ? -1 : lastUpTo(chunk.starts, chunk.items.length, mapping.start);
    assert(chunk?.items[index] === mapping, `mapping ${mapping.id} is there`);
    this.#count -= 1;
    chunk.remove(index);
    this.#firsts[place] = chunk.starts[0] ?? 0;
    if (chunk.items.length > 0) return;
    this.#chunks.splice(place, 1);
    this.#firsts.copyWithin(place, place + 1, this.#chunks.length + 1);
  }

  /** The chunk that may hold `iova`: the last that begins at or before it, or -1. */
  #chunkOf(iova: number): number {
    return lastUpTo(this.#firsts, this.#chunks.length, iova);
  }

  /** Mappings that end beyond `start`, by address. */
  *#from(start: number): Generator<Mapping, void, void> {
    for (let place = Math.max(0, this.#chunkOf(start)); place < this.#chunks.length; place++) {
      const chunk = this.#chunks[place];
      if (chunk === undefined) return;
      const index = Math.max(0, lastUpTo(chunk.starts, chunk.items.length, start));
      for (let at = index; at < chunk.items.length; at++) {
        const mapping = chunk.items[at];
        if (mapping !== undefined && mapping.end > start) yield mapping;
      }
    }
  }

  #addChunk(place: number, chunk: Chunk): Chunk {
    this.#chunks.splice(place, 0, chunk);
    if (this.#chunks.length > this.#firsts.length) {
      const longer = new Float64Array(2 * this.#firsts.length);
      longer.set(this.#firsts);
      this.#firsts = longer;
    }
    this.#firsts.copyWithin(place + 1, place, this.#chunks.length - 1);
    this.#firsts[place] = chunk.starts[0] ?? 0;
    return chunk;
  }
}

/** Index of the last of the first `count` numbers that is at most `value`, or -1. They ascend. */
function lastUpTo(numbers: Float64Array, count: number, value: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] ?? 0) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
