import { createCipheriv } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CtrStream, counterBlock } from './ctr-stream.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));

// NIST SP 800-38A, F.5.5 CTR-AES256.Encrypt.
const KEY = hex('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4');
const COUNTER = hex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');
const PLAIN = hex(
  '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710',
);
const CIPHER =
  '601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6';

test('the standard’s own example', () => {
  const out = new CtrStream(KEY, COUNTER).apply(0, 0, PLAIN);
  expect(Buffer.from(out).toString('hex')).toBe(CIPHER);
});

test('any cut of a stream gives the same bytes, in any order', () => {
  const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(pieces, fc.boolean(), (lengths, backwards) => {
      const stream = new CtrStream(KEY, COUNTER);
      const cuts: [number, number][] = [];
      let at = 0;
      for (const length of lengths) {
        if (at >= PLAIN.length) break;
        cuts.push([at, Math.min(length, PLAIN.length - at)]);
        at += length;
      }
      const out = Buffer.alloc(PLAIN.length);
      for (const [from, length] of backwards ? cuts.reverse() : cuts) {
        out.set(stream.apply(from, 0, PLAIN.subarray(from, from + length)), from);
      }
      const whole = cuts.reduce((sum, [, length]) => sum + length, 0);
      return out.subarray(0, whole).toString('hex') === CIPHER.slice(0, 2 * whole);
    }),
  );
});

test.each([
  ['00000000000000000000000000000000', 5, 0, '00000000000000000000000000000005'],
  ['000000000000000000000000ffffffff', 1, 0, '00000000000000000000000100000000'],
  ['0000000000000000ffffffffffffffff', 1, 0, '00000000000000010000000000000000'],
  ['ffffffffffffffffffffffffffffffff', 1, 0, '00000000000000000000000000000000'],
  ['fffffffffffffffffffffffffffffffe', 0x1234_5678, 0x0fff_ffff, '00000000000000000fffffff12345676'],
  ['00000000000000000000000000000001', 0xffff_ffff, 0x0fff_ffff, '00000000000000001000000000000000'],
])('counter block %s plus %i and %i * 2^32', (initial, low, high, sum) => {
  expect(Buffer.from(counterBlock(hex(initial), low, high)).toString('hex')).toBe(sum);
});

test('places beyond 4 GiB and in the middle of a block', () => {
  // Byte 2^36 + 7 lies in block 2^32: counter plus 2^32.
  const counter = hex('f0f1f2f3f4f5f6f7f8f9fafcfcfdfeff');
  const expected = createCipheriv('aes-256-ctr', KEY, counter).update(Buffer.concat([Buffer.alloc(7), PLAIN]));
  const out = new CtrStream(KEY, COUNTER).apply(7, 16, PLAIN);
  expect(Buffer.from(out)).toEqual(expected.subarray(7));
});

test('a stream goes on across a 4 GiB boundary of its place', () => {
  const stream = new CtrStream(KEY, COUNTER);
  const whole = new CtrStream(KEY, COUNTER).apply(0xffff_fff0, 2, PLAIN);
  const first = stream.apply(0xffff_fff0, 2, PLAIN.subarray(0, 16));
  const second = stream.apply(0, 3, PLAIN.subarray(16));
  expect(Buffer.concat([first, second])).toEqual(Buffer.from(whole));
});
