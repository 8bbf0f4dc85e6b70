/** The areas of one address space, by address: look-up by binary search, placement, and splitting at page borders. */
import { Errno } from '../errno.ts';
import type { Area } from './area.ts';

/** End of user addresses (48-bit virtual addresses). */
export const USER_END = 0x1_0000_0000_0000;
/** Where areas are placed; they grow upwards and addresses are not reused, so that a stale one is seen. */
const PLACEMENT_BASE = 0x7000_0000_0000;
/** Large areas are aligned so that large pages can be used. */
const ALIGNMENTS = [2 ** 30, 2 ** 21] as const;

export class AreaList {
  readonly #pageBytes: number;
  /** Sorted by address; no two overlap. */
  readonly #areas: Area[] = [];
  #next = PLACEMENT_BASE;

  constructor(pageBytes: number) {
    this.#pageBytes = pageBytes;
  }

  get all(): readonly Area[] {
    return this.#areas;
  }

  /** The area that holds `address`. */
  find(address: number): Area | undefined {
    let low = 0;
    let high = this.#areas.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const area = this.#areas[middle];
      if (area === undefined) return undefined;
      if (address < area.start) high = middle - 1;
      else if (address >= area.end) low = middle + 1;
      else return area;
    }
    return undefined;
  }

  /** Whether `[address, address + length)` starts at a page and lies in user space. */
  isRange(address: number, length: number): boolean {
    return address >= 0 && address % this.#pageBytes === 0 && length > 0 && address + length <= USER_END;
  }

  /** An address for a new area of `bytes`: `fixed`, or a free one. -EINVAL, -EEXIST, or -ENOMEM without room. */
  place(bytes: number, fixed: number | undefined): number {
    if (fixed !== undefined) {
      if (!this.isRange(fixed, bytes)) return Errno.EINVAL;
      return this.#meeting(fixed, bytes) === undefined ? fixed : Errno.EEXIST;
    }
    const alignment = ALIGNMENTS.find((size) => bytes >= size) ?? this.#pageBytes;
    for (;;) {
      const address = Math.ceil(this.#next / alignment) * alignment;
      if (address + bytes > USER_END) return Errno.ENOMEM;
      const taken = this.#meeting(address, bytes);
      // A guard page after each area, so that running over the end of one is seen.
      this.#next = (taken === undefined ? address + bytes : taken.end) + this.#pageBytes;
      if (taken === undefined) return address;
    }
  }

  insert(area: Area): void {
    const index = this.#areas.findIndex((other) => other.start > area.start);
    this.#areas.splice(index < 0 ? this.#areas.length : index, 0, area);
  }

  remove(area: Area): void {
    this.#areas.splice(this.#areas.indexOf(area), 1);
  }

  /** The areas of `[start, end)`, split where the range cuts them. */
  cut(start: number, end: number): Area[] {
    for (const edge of [start, end]) {
      const area = this.find(edge);
      if (area !== undefined && area.start !== edge) this.insert(area.splitAt(edge));
    }
    return this.#areas.filter((area) => area.start >= start && area.end <= end);
  }

  #meeting(start: number, bytes: number): Area | undefined {
    return this.#areas.find((area) => area.start < start + bytes && start < area.end);
  }
}
