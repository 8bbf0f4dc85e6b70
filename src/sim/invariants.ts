/** Rules that hold in every run. They stay on; a broken one ends the run. */

export const INVARIANTS = {
  'one-response': 'every page request group gets exactly one response',
  'no-stale-dma': 'no DMA reaches a page that was freed or revoked',
  agreement: 'mapping state, page tables and, after a sync, caches agree',
  balance: 'pins and locked-memory accounting balance',
  'stall-ends': 'every stalled access ends in retry, abort or termination',
  credits: 'outstanding page requests stay within the credits',
  'no-lost-event': 'no event is lost uncounted',
  'dirty-exact': 'with the dirty log on, exactly the written pages are dirty',
  'locks-released': 'no task ends with a lock or waits for ever',
} as const;
export type InvariantName = keyof typeof INVARIANTS;

export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
  readonly invariant: InvariantName;

  constructor(invariant: InvariantName, detail: string) {
    super(`invariant broken: ${INVARIANTS[invariant]}: ${detail}`);
    this.invariant = invariant;
  }
}

export class Invariants {
  #checked = 0;
  #violated = 0;

  /** How often an invariant was checked, and how often it was broken. */
  get counts(): { readonly checked: number; readonly violated: number } {
    return { checked: this.#checked, violated: this.#violated };
  }

  /**
   * Checks one invariant. `detail` is called, with `subject`, only when it is broken; where checks are frequent, one that
   * needs nothing else spares a closure for each.
   *
   * @throws InvariantViolation which ends the run.
   */
  check(invariant: InvariantName, holds: boolean, detail: () => string): void;
  check<Subject>(
    invariant: InvariantName,
    holds: boolean,
    detail: (subject: Subject) => string,
    subject: Subject,
  ): void;
  check<Subject>(
    invariant: InvariantName,
    holds: boolean,
    detail: (subject?: Subject) => string,
    subject?: Subject,
  ): void {
    this.#checked += 1;
    if (holds) return;
    this.#violated += 1;
    throw new InvariantViolation(invariant, detail(subject));
  }
}
