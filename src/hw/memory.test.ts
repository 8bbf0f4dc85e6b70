import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CHUNK_BYTES, CHUNK_OFFSET, Memory } from './memory.ts';

const BASE = 0x4000_0000;
const SIZE = 4 * CHUNK_BYTES;

test('holds what was written, as one array of bytes would', () => {
  const address = fc.integer({ min: 0, max: SIZE - 1 });
  const step = fc.record({
    kind: fc.constantFrom('write', 'fill', 'word'),
    at: fc.oneof(
      address,
      address.map((offset) => offset & ~4095),
    ),
    length: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constant(4096), fc.integer({ min: 0, max: 2 * CHUNK_BYTES })),
    value: fc.integer({ min: 0, max: 255 }),
    lead: fc.integer({ min: 0, max: 3 }),
  });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 12 }),
      address,
      fc.integer({ min: 0, max: 70_000 }),
      (steps, from, count) => {
        const memory = new Memory(BASE, SIZE);
        const model = new Uint8Array(SIZE);
        for (const { kind, at, length, value, lead } of steps) {
          const bytes = Math.min(length, SIZE - at);
          if (kind === 'fill') {
            memory.fill(BASE + at, bytes, value);
            model.fill(value, at, at + bytes);
          } else if (kind === 'word') {
            memory.write32(BASE + (at & ~3), value * 0x0101_0101);
            model.fill(value, at & ~3, (at & ~3) + 4);
          } else {
            const source = Uint8Array.from({ length: bytes + lead }, (_, index) => value + index);
            memory.write(BASE + at, source, lead, bytes);
            model.set(source.subarray(lead), at);
          }
        }
        const whole = new Uint8Array(SIZE);
        memory.read(BASE, whole);
        expect(Buffer.compare(whole, model)).toBe(0);
        const length = Math.min(count, SIZE - from);
        const part = new Uint8Array(length + 2).fill(0xee);
        memory.read(BASE + from, part, 1, length);
        expect([part[0], part[length + 1]]).toEqual([0xee, 0xee]);
        expect(Buffer.compare(part.subarray(1, length + 1), model.subarray(from, from + length))).toBe(0);
        expect(memory.read32(BASE + (from & ~3))).toBe(new DataView(model.buffer).getUint32(from & ~3, true));
      },
    ),
    { numRuns: 60 },
  );
});

test('a chunk exists once it was written; reading and zeroing cost nothing', () => {
  const memory = new Memory(BASE, 2 ** 34);
  const bytes = new Uint8Array(4096).fill(7);
  memory.read(BASE + 5 * CHUNK_BYTES, bytes);
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  memory.fill(BASE, 2 ** 20, 0);
  expect(memory.populatedBytes).toBe(0);
  memory.write32(BASE + 2 ** 34 - 4, 1);
  expect(memory.populatedBytes).toBe(CHUNK_BYTES);
  expect(memory.readView(BASE).getUint32(0, true)).toBe(0);
  expect(memory.populatedBytes).toBe(CHUNK_BYTES);
});

test('its edges', () => {
  const memory = new Memory(BASE, SIZE);
  expect(memory.contains(BASE, SIZE)).toBe(true);
  expect(memory.contains(BASE - 1, 1)).toBe(false);
  expect(memory.contains(BASE + SIZE, 0)).toBe(true);
  expect(memory.contains(BASE + SIZE - 1, 2)).toBe(false);
  expect(() => memory.write(BASE + SIZE - 4, new Uint8Array(8))).toThrow();
  expect(() => new Memory(BASE + 1, SIZE)).toThrow();
  expect(() => new Memory(BASE, 0)).toThrow();
});

test('the place in a chunk is exact for addresses of any size', () => {
  for (const address of [0x4000_1234, 2 ** 32 + 0xfffe, 2 ** 52 - 1]) {
    expect(address & CHUNK_OFFSET).toBe(address % CHUNK_BYTES);
  }
});
