/** A memory-mapped register: an offset and a layout of 32 or 64 bits, declared as data. */
import { assert } from '../assert.ts';
import { Field } from './field.ts';
import { type FieldTable, type Struct, type StructInfo, struct } from './struct.ts';

export type RegisterAccess = 'read-write' | 'read-only';

export interface RegisterInfo<T extends FieldTable = FieldTable> extends StructInfo<T> {
  /** Bytes from the start of the device's MMIO range. */
  readonly offset: number;
  readonly width: 32 | 64;
  readonly access: RegisterAccess;
}

export type Register<T extends FieldTable> = {
  readonly $: RegisterInfo<T>;
  /** Same as `$.offset`: what drivers use most. */
  readonly offset: number;
} & { readonly [K in keyof T]: Field };

/** Any register, whatever its fields. */
export interface RegisterLayout {
  readonly $: RegisterInfo;
  readonly offset: number;
}

export interface RegisterOptions {
  readonly width?: 32 | 64;
  readonly access?: RegisterAccess;
}

/** Declares a register `name` at byte `offset`; `section` cites where the fields come from. */
export function register<const T extends FieldTable>(
  name: string,
  offset: number,
  section: string,
  table: T,
  options: RegisterOptions = {},
): Register<T> {
  const width = options.width ?? 32;
  const layout: Struct<T> = struct(name, section, width / 8, table);
  const info: RegisterInfo<T> = { ...layout.$, offset, width, access: options.access ?? 'read-write' };
  return Object.freeze({ ...layout, $: info, offset }) as Register<T>;
}

/** A 32-bit register value with the given fields set and all other bits zero. */
export function registerValue<T extends FieldTable>(
  layout: Register<T>,
  values: Partial<Record<keyof T, number>>,
): number {
  let word = 0;
  for (const [name, value] of Object.entries(values)) {
    const field = (layout as unknown as Record<string, Field>)[name];
    assert(field instanceof Field, `${layout.$.title} has no field ${name}`);
    word |= field.in32(value as number);
  }
  return word >>> 0;
}

/** All bits of a 32-bit register that belong to a field; the rest is RES0. */
export function definedBits(layout: RegisterLayout): number {
  let mask = 0;
  for (const field of layout.$.fields) mask |= field.mask32;
  return mask >>> 0;
}
