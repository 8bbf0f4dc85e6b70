/** 64-bit members of ioctl arguments: exact as bigint where they enter, then checked and narrowed to numbers. */
import type { Field } from '../layout/field.ts';

const TWO_64 = 1n << 64n;

export function read64(low: Field, high: Field, view: DataView, at = 0): bigint {
  return (BigInt(high.get(view, at)) << 32n) | BigInt(low.get(view, at));
}

/** Writes a number below 2^53, or any bigint below 2^64. */
export function write64(low: Field, high: Field, view: DataView, at: number, value: number | bigint): void {
  const wide = BigInt(value);
  low.set(view, at, Number(wide & 0xffff_ffffn));
  high.set(view, at, Number(wide >> 32n));
}

/** Whether `[start, start + size)` runs past 2^64 - 1. */
export function wraps(start: bigint, size: bigint): boolean {
  return start + size > TWO_64;
}

/** Whether all are multiples of a power of two. */
export function aligned(to: number, ...values: readonly bigint[]): boolean {
  return values.every((value) => (value & BigInt(to - 1)) === 0n);
}
