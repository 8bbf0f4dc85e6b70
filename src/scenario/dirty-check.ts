/**
 * The invariant of the dirty log, held against what the device says that it wrote. Each answer has every page written before
 * the question and not reported since; the last answer, with the device at rest, has no other.
 */
import type { DirtyLogWitness } from '../guest/dirty-page-log.ts';
import type { DeviceWrites } from '../machine.ts';
import type { Invariants } from '../sim/invariants.ts';

const DEVICE_PAGE_BYTES = 4096;

export interface DirtyCheckOptions {
  readonly writes: DeviceWrites;
  readonly invariants: Invariants;
  /** Where guest memory begins. */
  readonly base: number;
  /** The guest-physical address that the device reaches with one of its own. */
  readonly guestAddress: (address: number) => number;
  /** Whether writes to this guest-physical address can be told from its being there; what cannot is always reported. */
  readonly watched: (address: number) => boolean;
}

/** Pages are guest pages of 4 KiB, addresses guest-physical. */
export class DirtyCheck implements DirtyLogWitness {
  readonly #options: DirtyCheckOptions;
  /** Written, and due in the next answer. */
  #due = new Set<number>();
  /** Written while a question was on its way that reported them: before their mark was taken, or after it. */
  #either = new Set<number>();
  /** Written since the question. */
  #during = new Set<number>();
  #round = 0;

  constructor(options: DirtyCheckOptions) {
    this.#options = options;
  }

  started(): void {
    this.#either = this.#taken();
  }

  asking(): void {
    for (const page of this.#taken()) this.#due.add(page);
  }

  answered(): void {
    this.#during = this.#taken();
  }

  reported(bits: Uint8Array, pageBytes: number, atRest: boolean): void {
    const { invariants } = this.#options;
    this.#round += 1;
    const bitOf = (page: number): number => Math.floor((page * DEVICE_PAGE_BYTES) / pageBytes);
    const has = (page: number): boolean => ((bits[bitOf(page) >>> 3] ?? 0) & (1 << (bitOf(page) & 7))) !== 0;
    const missing = firstOf(this.#due, (page) => !has(page));
    invariants.check('dirty-exact', missing === null, () => this.#describe(missing, 'was written and is not reported'));
    if (atRest) this.#checkExact(bits, pageBytes, new Set([...this.#due, ...this.#either].map(bitOf)));
    this.#due = new Set();
    this.#either = new Set();
    for (const page of this.#during) (has(page) ? this.#either : this.#due).add(page);
  }

  /** `written`: the bits that may be set. */
  #checkExact(bits: Uint8Array, pageBytes: number, written: ReadonlySet<number>): void {
    const { invariants, writes, watched, base } = this.#options;
    if (writes.failed > 0) return;
    const excess = firstBit(bits, (bit) => !written.has(bit) && watched(base + bit * pageBytes));
    const page = excess === null ? null : (excess * pageBytes) / DEVICE_PAGE_BYTES;
    invariants.check('dirty-exact', page === null, () => this.#describe(page, 'is reported and was not written'));
  }

  #taken(): Set<number> {
    const { writes, base, guestAddress } = this.#options;
    const pages = new Set<number>();
    for (const page of writes.take()) pages.add((guestAddress(page * DEVICE_PAGE_BYTES) - base) / DEVICE_PAGE_BYTES);
    return pages;
  }

  #describe(page: number | null, what: string): string {
    const address = this.#options.base + (page ?? 0) * DEVICE_PAGE_BYTES;
    return `round ${this.#round}: guest memory at 0x${address.toString(16)} ${what}`;
  }
}

function firstOf(pages: ReadonlySet<number>, wanted: (page: number) => boolean): number | null {
  for (const page of pages) if (wanted(page)) return page;
  return null;
}

/** The first bit that is set and wanted. */
function firstBit(bytes: Uint8Array, wanted: (bit: number) => boolean): number | null {
  for (const [index, byte] of bytes.entries()) {
    for (let rest = byte; rest !== 0; rest &= rest - 1) {
      const bit = index * 8 + Math.log2(rest & -rest);
      if (wanted(bit)) return bit;
    }
  }
  return null;
}
