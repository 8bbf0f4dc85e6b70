/** Small numbers given out and taken back: ASIDs and VMIDs. */
import { assert } from '../../assert.ts';

export class Identifiers {
  readonly #last: number;
  readonly #inUse = new Set<number>();
  #next: number;
  readonly #first: number;

  /** Numbers `first` to `last`. */
  constructor(first: number, last: number) {
    this.#first = first;
    this.#last = last;
    this.#next = first;
  }

  /** A number that is not in use, the one freed longest ago last; -1 when all are. */
  allocate(): number {
    for (let tried = this.#first; tried <= this.#last; tried++) {
      const candidate = this.#next;
      this.#next = candidate === this.#last ? this.#first : candidate + 1;
      if (this.#inUse.has(candidate)) continue;
      this.#inUse.add(candidate);
      return candidate;
    }
    return -1;
  }

  free(identifier: number): void {
    assert(this.#inUse.delete(identifier), `${identifier} is in use`);
  }
}
