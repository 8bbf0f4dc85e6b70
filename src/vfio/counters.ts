/** What a container's fault handling and pinning counted. */

export class FaultCounters {
  /** Answered groups. */
  groups = 0;
  /** Pages that the device asked for and got mapped; without those that pre-mapping added. */
  pages = 0;
  /** Pages that another request had asked for before and whose answer was still on its way. */
  duplicate = 0;
  /** Pages that were mapped before the device asked: its cached translation was older. */
  stale = 0;
  /** Read-only pages that a write made writable. */
  upgrade = 0;
  /** Groups answered INVALID. */
  invalid = 0;
  /** Groups answered FAILURE. */
  failed = 0;
  /** Pages that pre-mapping and pre-faulting added. */
  premapped = 0;
  /** Pages taken back to stay within the residency limit. */
  evicted = 0;
  /** Pages taken back because the host took its page away. */
  invalidated = 0;
  /** Faults started over because their page was taken away meanwhile. */
  retried = 0;

  /** Adds what another one counted. */
  add(other: FaultCounters): void {
    this.groups += other.groups;
    this.pages += other.pages;
    this.duplicate += other.duplicate;
    this.stale += other.stale;
    this.upgrade += other.upgrade;
    this.invalid += other.invalid;
    this.failed += other.failed;
    this.premapped += other.premapped;
    this.evicted += other.evicted;
    this.invalidated += other.invalidated;
    this.retried += other.retried;
  }
}

/** A byte count that remembers its peak, and is part of another where there is one. */
export class Gauge {
  readonly #whole: Gauge | null;
  #value = 0;
  #peak = 0;

  constructor(whole: Gauge | null = null) {
    this.#whole = whole;
  }

  get value(): number {
    return this.#value;
  }

  get peak(): number {
    return this.#peak;
  }

  add(change: number): void {
    this.#value += change;
    if (this.#value > this.#peak) this.#peak = this.#value;
    this.#whole?.add(change);
  }
}
