/**
 * binary-parser decoders derived from layouts, for the edges: captures, ioctl arguments, fixtures. Hot paths read fields
 * in place instead ({@link Field.get}).
 *
 * binary-parser cuts bit fields from big-endian words whatever the endianness, so the decoders take little-endian 32-bit
 * words and leave the bits to the table.
 */
import { Parser } from 'binary-parser';
import { assert } from '../assert.ts';
import { decode, type Layout, type Values } from './struct.ts';

/** Decodes one structure from the start of `bytes`. @throws RangeError when `bytes` is shorter than the structure. */
export type Decoder<S extends Layout> = (bytes: Uint8Array) => Values<S>;

/** Decodes consecutive structures; `bytes` must be a whole number of them. */
export type ListDecoder<S extends Layout> = (bytes: Uint8Array) => Values<S>[];

/** `parse` returns `any`; this is the one place that gives it a type. */
function wordParser(count: number): (bytes: Uint8Array) => readonly number[] {
  const parser = new Parser().array('words', { type: 'uint32le', length: count });
  return (bytes) => (parser.parse(bytes) as { words: number[] }).words;
}

function fieldsOf<S extends Layout>(layout: S, wordsRead: readonly number[]): Values<S> {
  const view = new DataView(new ArrayBuffer(layout.$.byteLength));
  for (const [index, word] of wordsRead.entries()) view.setUint32(index * 4, word, true);
  return decode(layout, view);
}

/** A decoder for one structure. */
export function decoder<S extends Layout>(layout: S): Decoder<S> {
  const { byteLength, title } = layout.$;
  const parseWords = wordParser(byteLength / 4);
  return (bytes) => {
    if (bytes.length < byteLength) throw new RangeError(`${title} needs ${byteLength} bytes, got ${bytes.length}`);
    return fieldsOf(layout, parseWords(bytes));
  };
}

/** A decoder for a run of structures, such as the contents of a queue. */
export function listDecoder<S extends Layout>(layout: S): ListDecoder<S> {
  const { byteLength, title } = layout.$;
  const one = decoder(layout);
  assert(byteLength > 0, `${title} is empty`);
  return (bytes) => {
    if (bytes.length % byteLength !== 0) {
      throw new RangeError(`${title}: ${bytes.length} bytes are no whole number of ${byteLength}-byte records`);
    }
    return Array.from({ length: bytes.length / byteLength }, (_, index) => one(bytes.subarray(index * byteLength)));
  };
}
