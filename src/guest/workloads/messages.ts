/** Input of a workload, as messages in stream order. */
import { createCipheriv } from 'node:crypto';
import { assert } from '../../assert.ts';
import type { Random } from '../../sim/random.ts';

export interface Messages {
  /** How many there are: 1 or more. */
  readonly count: number;
  /** Bytes of all of them. */
  readonly bytes: number;
  /** Bytes of the longest. */
  readonly longest: number;
  /** The next message; the caller must not change it, and may keep it. */
  next(): Uint8Array;
}

/** `count` messages of `length` bytes, fresh for each, from the seed alone. */
export function generatedMessages(random: Random, count: number, length: number): Messages {
  // A key stream is the quickest source of fresh bytes at hand; the key is the seed's, so are the bytes.
  const source = createCipheriv('aes-256-ctr', random.bytes(32), new Uint8Array(16));
  const zeros = new Uint8Array(length);
  return { count, bytes: count * length, longest: length, next: () => source.update(zeros) };
}

/** `passes` times over the whole of `file`, each pass cut anew into messages of at most `most` bytes. */
export function fileMessages(file: Uint8Array, passes: number, most: number): Messages {
  assert(file.length > 0, 'an input file has at least one byte');
  let at = 0;
  return {
    count: Math.ceil(file.length / most) * passes,
    bytes: file.length * passes,
    longest: Math.min(most, file.length),
    next: () => {
      const message = file.subarray(at, at + most);
      at += message.length;
      if (at === file.length) at = 0;
      return message;
    },
  };
}
