/** Bit fields of any width in little-endian bytes: the suite's own codec, so that it shares none with what it checks. */
import type { Bits, FieldFact } from './facts/fact.ts';

export type Word = number | bigint;

/** Bits `[msb:lsb]` of `bytes`. */
export function readBits(bytes: Uint8Array, [msb, lsb]: Bits): bigint {
  let value = 0n;
  for (let byte = msb >> 3; byte >= lsb >> 3; byte--) value = (value << 8n) | BigInt(bytes[byte] ?? 0);
  return BigInt.asUintN(msb - lsb + 1, value >> BigInt(lsb & 7));
}

/** Sets bits `[msb:lsb]` of `bytes`. @throws RangeError when `value` does not fit. */
export function writeBits(bytes: Uint8Array, [msb, lsb]: Bits, value: Word): void {
  const wide = BigInt(value);
  if (wide < 0n || wide >> BigInt(msb - lsb + 1) !== 0n) throw new RangeError(`${value} in bits [${msb}:${lsb}]`);
  for (let bit = lsb; bit <= msb; bit++) {
    const mask = 1 << (bit & 7);
    const set = ((wide >> BigInt(bit - lsb)) & 1n) === 1n;
    bytes[bit >> 3] = set ? (bytes[bit >> 3] ?? 0) | mask : (bytes[bit >> 3] ?? 0) & ~mask;
  }
}

/** The value with bits `[msb:lsb]` set and all others 0. */
export const maskOf = ([msb, lsb]: Bits): bigint => ((1n << BigInt(msb - lsb + 1)) - 1n) << BigInt(lsb);

/** A structure of `byteLength` bytes with the given fields; others are 0. @throws RangeError for an unknown field. */
export function encodeFields(
  fields: readonly FieldFact[],
  byteLength: number,
  values: Readonly<Record<string, Word>>,
): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  for (const [name, value] of Object.entries(values)) {
    const field = fields.find((candidate) => candidate.name === name);
    if (field === undefined) throw new RangeError(`no field ${name}`);
    writeBits(bytes, field.bits, value);
  }
  return bytes;
}

/** The 32-bit words of `bytes`, as figures and headers show golden values. */
export function words32(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4, true));
}

/** Little-endian bytes of a 64-bit word. */
export function bytes64(value: Word): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes;
}

export function word64(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
}
