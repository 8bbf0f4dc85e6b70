/**
 * A translation table of stage 1 that the guest keeps in its own memory: three levels of 4 KiB tables over 39 bits of I/O
 * virtual addresses, largest blocks where they fit (DDI 0487 §D8.3; bits as in §D8.3.1 and §D8.3.2).
 */
import { assert } from '../assert.ts';
import { high32, low32 } from '../layout/field.ts';
import type { Steps } from '../sim/task.ts';
import { GUEST_PAGE_BYTES, type GuestMemory } from './guest-memory.ts';

/** Bits of I/O virtual addresses; CD.T0SZ is 64 less. */
export const STAGE1_INPUT_BITS = 39;

const ENTRIES = 512;
const ENTRY_BYTES = 8;
/** Bytes that one entry of level 1, 2 and 3 covers. */
const SPANS = [2 ** 30, 2 ** 21, 2 ** 12] as const;
const LAST_LEVEL = 2;

/** Valid, and a table or (at the last level) a page; without the second bit a block. */
const VALID = 1;
const TABLE_OR_PAGE = 2;
/** AP[1], SH inner shareable, AF; MAIR index 0. */
const LEAF = (1 << 6) | (3 << 8) | (1 << 10);
const READ_ONLY = 1 << 7;

/** A table, with what the guest remembers of it, so that it never reads one back. */
interface Table {
  readonly address: number;
  /** Tables below, by index. */
  readonly below: Map<number, Table>;
  /** Indexes of blocks and pages. */
  readonly leaves: Set<number>;
}

export class Stage1Table {
  readonly #memory: GuestMemory;
  readonly #newPage: () => number;
  readonly #root: Table;
  readonly #entry = new DataView(new ArrayBuffer(ENTRY_BYTES));

  /** `newPage` gives the guest-physical address of a zeroed page. */
  constructor(memory: GuestMemory, newPage: () => number) {
    this.#memory = memory;
    this.#newPage = newPage;
    this.#root = this.#newTable();
  }

  /** Guest-physical address for CD.TTB0. */
  get rootAddress(): number {
    return this.#root.address;
  }

  isMapped(iova: number): boolean {
    let table = this.#root;
    for (let level = 0; level <= LAST_LEVEL; level++) {
      const index = indexAt(iova, level);
      if (table.leaves.has(index)) return true;
      const below = table.below.get(index);
      if (below === undefined) return false;
      table = below;
    }
    return false;
  }

  /** Maps `[iova, iova + size)` to `[address, ...)`; multiples of 4 KiB, nothing mapped there before. */
  *map(iova: number, address: number, size: number, writable = true): Steps {
    assert(iova % GUEST_PAGE_BYTES === 0 && address % GUEST_PAGE_BYTES === 0, 'whole pages are mapped');
    assert(size % GUEST_PAGE_BYTES === 0 && iova + size <= 2 ** STAGE1_INPUT_BITS, 'a range of the table');
    for (let done = 0; done < size; ) done += yield* this.#mapOne(iova + done, address + done, size - done, writable);
  }

  /** Clears the whole table. Translations may still be cached. */
  *clear(): Steps {
    yield* this.#memory.write(this.#root.address, new Uint8Array(GUEST_PAGE_BYTES));
    this.#root.below.clear();
    this.#root.leaves.clear();
  }

  /** Writes one leaf, the largest that fits: how many bytes it covers. */
  *#mapOne(iova: number, address: number, left: number, writable: boolean): Steps<number> {
    let table = this.#root;
    for (let level = 0; ; level++) {
      const span = SPANS[level] ?? GUEST_PAGE_BYTES;
      const index = indexAt(iova, level);
      assert(!table.leaves.has(index), `nothing is mapped at ${iova}`);
      const known = table.below.get(index);
      const fits = known === undefined && iova % span === 0 && address % span === 0 && left >= span;
      if (level === LAST_LEVEL || fits) {
        const kind = level === LAST_LEVEL ? VALID | TABLE_OR_PAGE : VALID;
        yield* this.#write(table, index, address, kind | LEAF | (writable ? 0 : READ_ONLY));
        table.leaves.add(index);
        return span;
      }
      const below = known ?? this.#newTable();
      if (known === undefined) {
        table.below.set(index, below);
        yield* this.#write(table, index, below.address, VALID | TABLE_OR_PAGE);
      }
      table = below;
    }
  }

  *#write(table: Table, index: number, address: number, bits: number): Steps {
    this.#entry.setUint32(0, low32(address) + bits, true);
    this.#entry.setUint32(4, high32(address), true);
    yield* this.#memory.write(table.address + index * ENTRY_BYTES, new Uint8Array(this.#entry.buffer));
  }

  #newTable(): Table {
    return { address: this.#newPage(), below: new Map(), leaves: new Set() };
  }
}

function indexAt(iova: number, level: number): number {
  return Math.floor(iova / (SPANS[level] ?? GUEST_PAGE_BYTES)) % ENTRIES;
}
