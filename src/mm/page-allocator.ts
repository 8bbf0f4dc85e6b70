/**
 * Physical frames of a RAM range: a buddy allocator over typed arrays. A frame is named by its index from the start of
 * the range. Frames are counted by references and by pins; a pin is a reference that forbids moving or reclaiming.
 */
import { AssertionError, assert } from '../assert.ts';
import type { Memory } from '../hw/memory.ts';

/** Largest block: 2^18 frames, 1 GiB of 4 KiB frames. */
const MAX_ORDER = 18;
const NONE = 0;

export interface PageAllocatorOptions {
  readonly memory: Memory;
  /** Range of RAM to hand out, in bytes; both are multiples of `pageBytes`. */
  readonly base: number;
  readonly size: number;
  /** Size of a frame: 4096 (default), 16384 or 65536. */
  readonly pageBytes?: number;
}

export class PageAllocator {
  readonly memory: Memory;
  readonly pageBytes: number;
  readonly frameCount: number;
  /** Number of the first frame counted from physical address zero, so that blocks are aligned physically. */
  readonly #first: number;
  readonly #references: Int32Array;
  readonly #pins: Int32Array;
  /** Order of the free block that starts here, plus one; zero anywhere else. */
  readonly #freeOrder: Uint8Array;
  /** Doubly linked lists of free blocks, by order: index plus one, zero ends. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #heads = new Int32Array(MAX_ORDER + 1);
  #free = 0;
  #pinned = 0;

  constructor(options: PageAllocatorOptions) {
    const { memory, base, size, pageBytes = 4096 } = options;
    assert(pageBytes === 4096 || pageBytes === 16_384 || pageBytes === 65_536, `pages of ${pageBytes} bytes`);
    assert(base % pageBytes === 0 && size % pageBytes === 0 && size > 0, `frames at ${base}, ${size} bytes`);
    assert(memory.contains(base, size), 'frames lie in RAM');
    this.memory = memory;
    this.pageBytes = pageBytes;
    this.frameCount = size / pageBytes;
    this.#first = base / pageBytes;
    this.#references = new Int32Array(this.frameCount);
    this.#pins = new Int32Array(this.frameCount);
    this.#freeOrder = new Uint8Array(this.frameCount);
    this.#next = new Int32Array(this.frameCount);
    this.#previous = new Int32Array(this.frameCount);
    this.#release(0, this.frameCount);
  }

  get freeFrames(): number {
    return this.#free;
  }

  /** Frames with at least one pin. */
  get pinnedFrames(): number {
    return this.#pinned;
  }

  /** Physical byte address of a frame. */
  addressOf(frame: number): number {
    return (this.#first + frame) * this.pageBytes;
  }

  /** The frame that holds a physical byte address of the range. */
  frameAt(address: number): number {
    const frame = Math.floor(address / this.pageBytes) - this.#first;
    assert(frame >= 0 && frame < this.frameCount, `no frame at 0x${address.toString(16)}`);
    return frame;
  }

  /** Whether a physical 4 KiB page may be accessed: it is in use, or none of this allocator's frames. */
  isPageLive(page: number): boolean {
    const frame = Math.floor((page * 4096) / this.pageBytes) - this.#first;
    return frame < 0 || frame >= this.frameCount || (this.#references[frame] ?? 0) > 0;
  }

  /** 2^order adjacent frames, aligned physically, one reference each: the first one, or -1. Contents are left over. */
  allocateBlock(order: number): number {
    let from = order;
    while (from <= MAX_ORDER && this.#heads[from] === NONE) from++;
    if (from > MAX_ORDER) return -1;
    const frame = (this.#heads[from] ?? 0) - 1;
    this.#unlink(frame, from);
    while (from > order) {
      from--;
      this.#link(frame + 2 ** from, from);
    }
    this.#references.fill(1, frame, frame + 2 ** order);
    this.#free -= 2 ** order;
    return frame;
  }

  /** One frame, or -1. */
  allocateFrame(): number {
    return this.allocateBlock(0);
  }

  /**
   * `bytes` of contiguous, zeroed memory at a multiple of `alignment` (a power of two): its physical address, or -1.
   * For structures such as tables and queues; give it back with {@link free}.
   */
  allocate(bytes: number, alignment = this.pageBytes): number {
    const frames = Math.ceil(bytes / this.pageBytes);
    assert(frames > 0 && Number.isInteger(Math.log2(alignment)), `${bytes} bytes aligned to ${alignment}`);
    const order = Math.ceil(Math.log2(Math.max(frames, alignment / this.pageBytes)));
    if (order > MAX_ORDER) return -1;
    const frame = this.allocateBlock(order);
    if (frame < 0) return -1;
    for (let extra = frame + frames; extra < frame + 2 ** order; extra++) this.put(extra);
    this.memory.fill(this.addressOf(frame), frames * this.pageBytes, 0);
    return this.addressOf(frame);
  }

  /** Gives back what {@link allocate} returned for the same number of bytes. */
  free(address: number, bytes: number): void {
    const frame = this.frameAt(address);
    for (let index = 0; index < Math.ceil(bytes / this.pageBytes); index++) {
      assert(this.put(frame + index), `frame ${frame + index} is still in use`);
    }
  }

  references(frame: number): number {
    return this.#references[frame] ?? 0;
  }

  pins(frame: number): number {
    return this.#pins[frame] ?? 0;
  }

  /** Takes a reference. @throws AssertionError on a free frame. */
  get(frame: number): void {
    const count = this.#references[frame] ?? 0;
    if (count <= 0) throw new AssertionError(`frame ${frame} is used after it was freed`);
    this.#references[frame] = count + 1;
  }

  /** Drops a reference; whether that freed the frame. @throws AssertionError on a free frame. */
  put(frame: number): boolean {
    const count = (this.#references[frame] ?? 0) - 1;
    if (count < 0) throw new AssertionError(`frame ${frame} is freed twice`);
    if (count < (this.#pins[frame] ?? 0)) throw new AssertionError(`frame ${frame} is pinned`);
    this.#references[frame] = count;
    if (count > 0) return false;
    this.#release(frame, 1);
    return true;
  }

  /** Takes a reference that keeps the frame where it is. */
  pin(frame: number): void {
    const count = this.#references[frame] ?? 0;
    if (count <= 0) throw new AssertionError(`frame ${frame} is pinned after it was freed`);
    this.#references[frame] = count + 1;
    const pins = this.#pins[frame] ?? 0;
    this.#pins[frame] = pins + 1;
    if (pins === 0) this.#pinned += 1;
  }

  unpin(frame: number): void {
    const pins = (this.#pins[frame] ?? 0) - 1;
    if (pins < 0) throw new AssertionError(`frame ${frame} is not pinned`);
    this.#pins[frame] = pins;
    if (pins === 0) this.#pinned -= 1;
    this.put(frame);
  }

  /** Returns frames without references to the free lists, joined with their buddies. */
  #release(start: number, count: number): void {
    this.#free += count;
    for (let frame = start; frame < start + count; ) {
      let order = 0;
      const left = start + count - frame;
      while (order < MAX_ORDER && 2 ** (order + 1) <= left && (this.#first + frame) % 2 ** (order + 1) === 0) order++;
      const next = frame + 2 ** order;
      this.#join(frame, order);
      frame = next;
    }
  }

  #join(start: number, startOrder: number): void {
    let frame = start;
    let order = startOrder;
    for (; order < MAX_ORDER; order++) {
      const size = 2 ** order;
      const upper = Math.floor((this.#first + frame) / size) % 2 === 1;
      const buddy = upper ? frame - size : frame + size;
      if (buddy < 0 || buddy >= this.frameCount || this.#freeOrder[buddy] !== order + 1) break;
      this.#unlink(buddy, order);
      if (upper) frame = buddy;
    }
    this.#link(frame, order);
  }

  #link(frame: number, order: number): void {
    const head = this.#heads[order] ?? NONE;
    this.#freeOrder[frame] = order + 1;
    this.#next[frame] = head;
    this.#previous[frame] = NONE;
    if (head !== NONE) this.#previous[head - 1] = frame + 1;
    this.#heads[order] = frame + 1;
  }

  #unlink(frame: number, order: number): void {
    const next = this.#next[frame] ?? NONE;
    const previous = this.#previous[frame] ?? NONE;
    if (next !== NONE) this.#previous[next - 1] = previous;
    if (previous !== NONE) this.#next[previous - 1] = next;
    else this.#heads[order] = next;
    this.#freeOrder[frame] = 0;
  }
}
