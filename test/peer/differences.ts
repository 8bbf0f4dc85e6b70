/** Holds disagreements against the documented differences. */
import type { Disagreement } from './compare.ts';
import { DIFFERENCES, type Difference } from './difference-list.ts';
import { CLASS, event, RNW, S2, TTD, TTRNW } from './explanations.ts';

const names = (difference: Difference, program: string): boolean =>
  difference.programs.some((name) => (typeof name === 'string' ? name === program : name.test(program)));

/** The differences that a written program shows. */
export const differencesOf = (program: string): Difference[] => DIFFERENCES.filter((d) => names(d, program));

const CD_FETCH_ADDRESS = DIFFERENCES.find(({ id }) => id === 'cd-fetch-address');

/**
 * Whether a disagreement is in the fields that `nested-fault-fields`, `nested-fault-ipa`, `ipa-offset` and `cd-fetch-address`
 * describe, and in no other: what they say of a record is exact, so random programs may show them too.
 */
function inKnownFields(d: Disagreement): boolean {
  if (CD_FETCH_ADDRESS?.explains(d) === true) return true;
  const [a, b] = [event(d.qemu), event(d.ours)];
  if (a === null || b === null || d.qemu.result !== d.ours.result) return false;
  return a.every((word, index) => {
    const other = b[index] ?? 0;
    if (index === 3) return ((word ^ other) & ~(RNW | S2 | TTRNW)) === 0;
    // `nested-fault-ipa`: the fetch of a table's entry has CLASS TTD.
    if (index === 6 && ((b[3] ?? 0) & CLASS) === TTD) return word >>> 16 === other >>> 16 && (other & 0xfff) === 0;
    return index === 6 ? word >>> 12 === other >>> 12 && (other & 0xfff) === 0 : word === other;
  });
}

/** The disagreements of a random program that no documented difference explains. */
export const unexplained = (disagreements: readonly Disagreement[]): Disagreement[] =>
  disagreements.filter((disagreement) => !inKnownFields(disagreement));

export interface Verdict {
  /** Disagreements that no difference explains. */
  readonly unexplained: readonly Disagreement[];
  /** Differences that explain nothing any more. */
  readonly vanished: readonly Difference[];
}

/** Holds the disagreements of a program against the differences that name it. */
export function judge(program: string, disagreements: readonly Disagreement[]): Verdict {
  const expected = differencesOf(program);
  const shown = new Set<Difference>();
  let lasting = false;
  const unexplained = disagreements.filter((disagreement) => {
    const found = expected.filter((difference) => difference.explains(disagreement));
    for (const difference of found) {
      shown.add(difference);
      if (difference.lasting) lasting = true;
    }
    return found.length === 0 && !lasting;
  });
  return { unexplained, vanished: expected.filter((difference) => !shown.has(difference)) };
}
