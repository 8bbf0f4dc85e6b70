/** A little-endian structure declared once, with the specification's own bit numbers. */
import { assert } from '../assert.ts';
import { type BitRange, Field } from './field.ts';

export type FieldTable = Readonly<Record<string, BitRange>>;

/** What every structure knows about itself; its fields stand beside these as properties. */
export interface StructInfo<T extends FieldTable = FieldTable> {
  readonly title: string;
  /** Document and section, e.g. `IHI 0070 §7.3`. */
  readonly source: string;
  readonly byteLength: number;
  readonly table: T;
  readonly fields: readonly Field[];
}

export type Struct<T extends FieldTable> = { readonly $: StructInfo<T> } & {
  readonly [K in keyof T]: Field;
};

/** Any structure or register, whatever its fields. */
export interface Layout {
  readonly $: StructInfo;
}

/** Field values by name. */
export type Values<S extends Layout> = { -readonly [K in keyof S['$']['table']]: number };

/**
 * Declares a structure of `byteLength` bytes (a multiple of 4).
 *
 * @throws AssertionError when fields overlap, leave the structure, or are too wide (see {@link Field}).
 */
export function struct<const T extends FieldTable>(
  title: string,
  source: string,
  byteLength: number,
  table: T,
): Struct<T> {
  assert(byteLength % 4 === 0, `${title}: ${byteLength} bytes is no whole number of 32-bit words`);
  const fields = Object.entries(table).map(([name, range]) => new Field(name, range));
  const ordered = [...fields].sort((a, b) => a.lsb - b.lsb);
  for (const [index, field] of ordered.entries()) {
    const next = ordered[index + 1];
    assert(field.msb < byteLength * 8, `${title}.${field.name} ends beyond ${byteLength} bytes`);
    assert(!next || field.msb < next.lsb, `${title}.${field.name} overlaps ${next?.name}`);
  }
  const info: StructInfo<T> = { title, source, byteLength, table, fields };
  const named = Object.fromEntries(fields.map((field) => [field.name, field]));
  return Object.freeze({ $: info, ...named }) as Struct<T>;
}

/** Writes the given fields of `layout` at byte `at`; bits of other fields become zero. */
export function encodeInto<S extends Layout>(layout: S, view: DataView, at: number, values: Partial<Values<S>>): void {
  for (let byte = 0; byte < layout.$.byteLength; byte += 4) view.setUint32(at + byte, 0, true);
  const fields = layout as unknown as Readonly<Record<string, Field>>;
  for (const [name, value] of Object.entries(values)) {
    const field = fields[name];
    assert(field instanceof Field, `${layout.$.title} has no field ${name}`);
    field.set(view, at, value as number);
  }
}

/** A new buffer that holds the structure. */
export function encode<S extends Layout>(layout: S, values: Partial<Values<S>>): DataView {
  const view = new DataView(new ArrayBuffer(layout.$.byteLength));
  encodeInto(layout, view, 0, values);
  return view;
}

/** All fields of the structure at byte `at`. */
export function decode<S extends Layout>(layout: S, view: DataView, at = 0): Values<S> {
  return Object.fromEntries(layout.$.fields.map((field) => [field.name, field.get(view, at)])) as Values<S>;
}

/** The 32-bit words of `view`, lowest address first: how specifications and headers show golden values. */
export function words(view: DataView): number[] {
  return Array.from({ length: view.byteLength / 4 }, (_, index) => view.getUint32(index * 4, true));
}
