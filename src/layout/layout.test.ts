import { describe, expect, test } from 'vitest';
import { AssertionError } from '../assert.ts';
import { Field, high32, join32, low32 } from './field.ts';
import { markdownTable } from './markdown.ts';
import { decoder, listDecoder } from './parser.ts';
import { register, registerValue } from './register.ts';
import { decode, encode, encodeInto, struct, words } from './struct.ts';

const Event = struct('event record', 'IHI 0070 §7.3', 32, {
  TYPE: [7, 0],
  SSV: 11,
  SID: [63, 32],
  STAG: [79, 64],
  STALL: 95,
  RNW: 99,
  CLASS: [105, 104],
  INPUT_OFFSET: [139, 128],
  INPUT_PAGE: [191, 140],
});

describe('struct', () => {
  test('a stalled read fault is laid out as IHI 0070 §7.3.13 draws it', () => {
    const record = encode(Event, {
      TYPE: 0x10,
      SID: 8,
      STAG: 3,
      STALL: 1,
      RNW: 1,
      CLASS: 2,
      INPUT_PAGE: 0x7_f000_0001,
    });
    expect(words(record)).toEqual([0x10, 8, 0x8000_0003, 0x208, 0x1000, 0x7f00, 0, 0]);
  });

  test('decode reads what stands at a byte offset', () => {
    const view = new DataView(new ArrayBuffer(40));
    view.setUint32(8, 0x810, true);
    view.setUint32(12, 0xffff_ffff, true);
    expect(decode(Event, view, 8)).toMatchObject({ TYPE: 0x10, SSV: 1, SID: 0xffff_ffff, INPUT_PAGE: 0 });
  });

  test('set leaves the neighbours of a field alone', () => {
    const view = new DataView(new ArrayBuffer(32));
    for (let byte = 0; byte < 32; byte++) view.setUint8(byte, 0xff);
    Event.INPUT_PAGE.set(view, 0, 0);
    expect(words(view)).toEqual([...Array(4).fill(0xffff_ffff), 0xfff, 0, 0xffff_ffff, 0xffff_ffff]);
  });

  test('a field of 52 bits over two words keeps every bit', () => {
    const view = new DataView(new ArrayBuffer(32));
    for (const page of [2 ** 52 - 1, 0xf_ffff, 0x10_0000, 0x8_0000_0000_0001]) {
      Event.INPUT_PAGE.set(view, 0, page);
      expect(Event.INPUT_PAGE.get(view)).toBe(page);
    }
  });

  test.each([
    ['overlap', () => struct('s', 'x', 8, { A: [7, 0], B: [8, 7] })],
    ['beyond the end', () => struct('s', 'x', 4, { A: 32 })],
    ['54 bits', () => struct('s', 'x', 8, { A: [53, 0] })],
    ['three words', () => struct('s', 'x', 16, { A: [64, 31] })],
    ['no whole words', () => struct('s', 'x', 6, { A: 0 })],
    ['upside down', () => new Field('A', [0, 3])],
    ['a value that does not fit', () => encode(Event, { TYPE: 256 })],
    ['an unknown field', () => encodeInto(Event, new DataView(new ArrayBuffer(32)), 0, { NAME: 1 } as object)],
  ])('refuses %s', (_, build) => {
    expect(build).toThrow(AssertionError);
  });
});

describe('register', () => {
  const CR0 = register('CR0', 0x20, '§6.3.9', { SMMUEN: 0, PRIQEN: 1, EVENTQEN: 2, CMDQEN: 3, ATSCHK: 4 });

  test('values are built from field names', () => {
    expect(registerValue(CR0, { SMMUEN: 1, CMDQEN: 1 })).toBe(0b1001);
  });

  test('edges are seen between two values', () => {
    expect(CR0.CMDQEN.rises(0b0001, 0b1001)).toBe(true);
    expect(CR0.CMDQEN.rises(0b1001, 0b1001)).toBe(false);
    expect(CR0.SMMUEN.falls(0b0001, 0b1000)).toBe(true);
  });

  test('bit 31 stays positive', () => {
    const GBPA = register('GBPA', 0x44, '§6.3.14', { UPDATE: 31 });
    expect(registerValue(GBPA, { UPDATE: 1 })).toBe(0x8000_0000);
  });
});

describe('binary-parser decoders', () => {
  test('little-endian words keep opcode 3 an opcode 3', () => {
    const Command = struct('command', 'IHI 0070 §4.1.1', 16, { OPCODE: [7, 0], SID: [63, 32] });
    const bytes = Uint8Array.from([3, 0, 0, 0, 0x08, 0x01, 0, 0, ...Array(8).fill(0)]);
    expect(decoder(Command)(bytes)).toEqual({ OPCODE: 3, SID: 0x108 });
    expect(listDecoder(Command)(Uint8Array.from([...bytes, ...bytes]))).toHaveLength(2);
  });

  test('short input is refused with the length that was expected', () => {
    expect(() => decoder(Event)(new Uint8Array(31))).toThrow('event record needs 32 bytes, got 31');
    expect(() => listDecoder(Event)(new Uint8Array(33))).toThrow('no whole number of 32-byte records');
  });
});

test('halves of a number join again', () => {
  const address = 0x000f_ffff_1234_5678;
  expect([low32(address), high32(address)]).toEqual([0x1234_5678, 0x000f_ffff]);
  expect(join32(low32(address), high32(address))).toBe(address);
});

test('a documentation table lists the bits as the specification prints them', () => {
  expect(markdownTable(struct('L1STD', '§5.1', 8, { L2Ptr: [55, 6], Span: [4, 0] }))).toContain(
    '| 4:0 | Span |\n| 55:6 | L2Ptr |',
  );
});
