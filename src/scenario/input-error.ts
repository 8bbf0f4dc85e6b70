/** Input that is refused: a scenario, an option, a file. The message is complete and meant for people. */
export class InputError extends Error {
  override readonly name = 'InputError';
}

/** How a value is named in "expected ..., found ...". */
export function describeValue(value: unknown): string {
  if (value === undefined || value === null || value === '') return 'nothing';
  if (Array.isArray(value)) return describeList(value);
  if (typeof value === 'object') return 'a map';
  return shortened(typeof value === 'string' ? JSON.stringify(value) : String(value));
}

/** Longest that a found value is shown, in characters. */
const FOUND_LENGTH = 60;

const shortened = (text: string): string =>
  text.length <= FOUND_LENGTH ? text : `${text.slice(0, FOUND_LENGTH - 3)}...`;

/** A short list of plain words and numbers is shown as it would be written. */
function describeList(list: readonly unknown[]): string {
  if (list.length === 0) return 'an empty list';
  const plain = list.every((item) => typeof item === 'number' || (typeof item === 'string' && /^[\w.-]+$/.test(item)));
  return plain && list.length <= FOUND_LENGTH ? shortened(`[${list.join(', ')}]`) : 'a list';
}

/** The candidate that `word` was probably meant to be: at most a third of its letters differ; null when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

/** Edits and swaps of neighbours that make `b` of `a`; words of more than 64 letters count as infinitely far. */
function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : replaced;
      row.push(Math.min(replaced, swapped, at(i - 1, j) + 1, at(i, j - 1) + 1));
    }
  }
  return at(a.length, b.length);
}
