/** Powers of two for hot code. */

const POWERS: readonly number[] = Array.from({ length: 64 }, (_, n) => 2 ** n);

/** 2^n for n of 0 to 63, else 0: the exponentiation operator costs as much as a look-up in a TLB. */
export const powerOfTwo = (n: number): number => POWERS[n] ?? 0;
