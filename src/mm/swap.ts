/** Swap space: slots of one page with the contents that were written to them. */
import { assert } from '../assert.ts';

export class SwapSpace {
  readonly capacity: number;
  readonly #pageBytes: number;
  readonly #contents: (Uint8Array | null)[] = [];
  readonly #references: number[] = [];
  readonly #reusable: number[] = [];
  #used = 0;

  /** `bytes` of swap in slots of `pageBytes`. */
  constructor(bytes: number, pageBytes: number) {
    this.capacity = Math.floor(bytes / pageBytes);
    this.#pageBytes = pageBytes;
  }

  get usedSlots(): number {
    return this.#used;
  }

  get freeSlots(): number {
    return this.capacity - this.#used;
  }

  /** An empty slot with one reference, or -1 when swap is full. */
  allocate(): number {
    if (this.#used === this.capacity) return -1;
    this.#used += 1;
    const slot = this.#reusable.pop() ?? this.#references.length;
    this.#references[slot] = 1;
    return slot;
  }

  /** The slot's page, to be filled by the one who writes it out. */
  write(slot: number): Uint8Array {
    assert((this.#references[slot] ?? 0) > 0, 'the swap slot is in use');
    const page = new Uint8Array(this.#pageBytes);
    this.#contents[slot] = page;
    return page;
  }

  read(slot: number): Uint8Array {
    const page = this.#contents[slot];
    assert((this.#references[slot] ?? 0) > 0 && page !== null && page !== undefined, 'the swap slot was written');
    return page;
  }

  /** A second user of the slot: a copied address space. */
  share(slot: number): void {
    assert((this.#references[slot] ?? 0) > 0, 'the swap slot is in use');
    this.#references[slot] = (this.#references[slot] ?? 0) + 1;
  }

  free(slot: number): void {
    const count = (this.#references[slot] ?? 0) - 1;
    assert(count >= 0, 'a swap slot is freed once');
    this.#references[slot] = count;
    if (count > 0) return;
    this.#contents[slot] = null;
    this.#reusable.push(slot);
    this.#used -= 1;
  }
}
