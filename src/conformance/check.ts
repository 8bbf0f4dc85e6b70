/** How a row says that something is not as the specification wants it, or that it cannot be asked of this SMMU. */

/** What was expected and what was found, ready to be shown. */
export class Mismatch extends Error {
  override readonly name = 'Mismatch';
  readonly expected: string;
  readonly got: string;

  constructor(what: string, expected: string, got: string) {
    super(`${what}: expected ${expected}, got ${got}`);
    this.expected = `${what}: ${expected}`;
    this.got = got;
  }
}

/** The SMMU does not announce what the row needs. */
export class NotAnnounced extends Error {
  override readonly name = 'NotAnnounced';
}

/** Addresses and words in hexadecimal, everything else as it is. */
export function show(value: unknown): string {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (typeof value === 'number') return value > 9 ? `0x${value.toString(16)}` : String(value);
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  return String(value);
}

type Plain = string | number | bigint | boolean | null | undefined;

const same = (a: Plain, b: Plain): boolean =>
  (typeof a === 'bigint' || typeof a === 'number') && (typeof b === 'bigint' || typeof b === 'number')
    ? BigInt(a) === BigInt(b)
    : a === b;

/** @throws Mismatch unless `got` is `expected`; numbers and bigints compare by value, arrays item by item. */
export function equal(what: string, got: Plain | readonly Plain[], expected: Plain | readonly Plain[]): void {
  if (Array.isArray(got) && Array.isArray(expected)) {
    const alike = got.length === expected.length && got.every((item, index) => same(item, expected[index]));
    if (!alike) throw new Mismatch(what, show(expected), show(got));
  } else if (!same(got as Plain, expected as Plain)) {
    throw new Mismatch(what, show(expected), show(got));
  }
}

/** @throws Mismatch unless `got` is one of several values that the specification allows. */
export function oneOf(what: string, got: Plain, allowed: readonly Plain[]): void {
  if (!allowed.some((value) => same(value, got))) throw new Mismatch(what, allowed.map(show).join(' or '), show(got));
}
