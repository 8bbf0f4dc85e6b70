/** Sizes and durations as people write them: `64KiB`, `1.5MiB`, `10ms`; a plain integer counts bytes or nanoseconds. */

const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const DURATION_UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, min: 60e9, h: 3600e9 };

function quantity(value: unknown, units: Readonly<Record<string, number>>): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null;
  if (typeof value !== 'string') return null;
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]*)$/.exec(value);
  if (match === null) return null;
  const [, digits = '', unit = ''] = match;
  const scale = unit === '' ? 1 : Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (scale === undefined) return null;
  const amount = Number(digits) * scale;
  return Number.isSafeInteger(amount) ? amount : null;
}

/** Bytes, or null for what is no size: negative, fractional, too large to be exact, or in an unknown unit. */
export const sizeOf = (value: unknown): number | null => quantity(value, SIZE_UNITS);

/** Nanoseconds, or null for what is no duration. */
export const durationOf = (value: unknown): number | null => quantity(value, DURATION_UNITS);

/** The shortest exact way to write a size: `1MiB`, `4097B`. */
export function formatSize(bytes: number): string {
  let text = `${bytes}B`;
  for (const [unit, scale] of Object.entries(SIZE_UNITS)) {
    if (bytes >= scale && bytes % scale === 0) text = `${bytes / scale}${unit}`;
  }
  return text;
}
