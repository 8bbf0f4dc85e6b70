/**
 * AES-256-CTR with a place in its key stream (NIST SP 800-38A §6.5): any cut of a stream gives the same bytes. A place is
 * a 64-bit byte count in two 32-bit halves.
 */
import { createCipheriv } from 'node:crypto';
import { assert } from '../../assert.ts';

export const BLOCK_BYTES = 16;

/**
 * The counter block `blocks` after `initial`: a 128-bit big-endian addition that wraps. `blocks` is 60 bits in halves.
 */
export function counterBlock(initial: Uint8Array, blocksLow: number, blocksHigh: number): Uint8Array {
  const counter = new Uint8Array(BLOCK_BYTES);
  let carry = 0;
  for (let index = BLOCK_BYTES - 1; index >= 0; index--) {
    const place = BLOCK_BYTES - 1 - index;
    const added = place < 4 ? blocksLow >>> (8 * place) : place < 8 ? blocksHigh >>> (8 * (place - 4)) : 0;
    const sum = (initial[index] ?? 0) + (added & 0xff) + carry;
    counter[index] = sum & 0xff;
    carry = sum >>> 8;
  }
  return counter;
}

/** One key and initial counter block. Bytes in the order of the stream cost least: the cipher goes on where it was. */
export class CtrStream {
  readonly #key: Uint8Array;
  readonly #initial: Uint8Array;
  #cipher: ReturnType<typeof createCipheriv> | null = null;
  #nextLow = 0;
  #nextHigh = 0;

  /** 32 bytes of key, 16 bytes of initial counter block. */
  constructor(key: Uint8Array, initialCounter: Uint8Array) {
    assert(
      key.length === 32 && initialCounter.length === BLOCK_BYTES,
      'AES-256 has a key of 32 and a block of 16 bytes',
    );
    this.#key = key.slice();
    this.#initial = initialCounter.slice();
  }

  /** En- or decrypts `bytes`, which stand at byte `high * 2^32 + low` of the stream, into new bytes. */
  apply(low: number, high: number, bytes: Uint8Array): Uint8Array {
    if (this.#cipher === null || low !== this.#nextLow || high !== this.#nextHigh) this.#seek(low, high);
    const end = low + bytes.length;
    this.#nextLow = end >>> 0;
    this.#nextHigh = (high + (end >= 2 ** 32 ? 1 : 0)) >>> 0;
    assert(this.#cipher !== null, 'a cipher was made');
    return this.#cipher.update(bytes);
  }

  #seek(low: number, high: number): void {
    const counter = counterBlock(this.#initial, ((low >>> 4) | (high << 28)) >>> 0, high >>> 4);
    this.#cipher = createCipheriv('aes-256-ctr', this.#key, counter);
    const within = low & (BLOCK_BYTES - 1);
    if (within > 0) this.#cipher.update(new Uint8Array(within));
  }
}
