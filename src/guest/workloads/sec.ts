/**
 * The workload of the series' measurements: a stream of messages through the crypto accelerator, `buffers` pairs of
 * buffers used in turn, `queueDepth` operations in flight. The output is checked against node:crypto, computed apart.
 */
import { createCipheriv, createHash } from 'node:crypto';
import type { Steps } from '../../sim/task.ts';
import { GUEST_PAGE_BYTES, type GuestMemory } from '../guest-memory.ts';
import { type Workload, type WorkloadContext, type WorkloadResult, workload } from '../workload.ts';
import { fileMessages, generatedMessages, type Messages } from './messages.ts';

export interface SecOptions {
  /** Operations; with an input file, passes over it. */
  readonly times: number;
  /** Bytes of one operation; with an input file, the most of one. */
  readonly messageLength: number;
  /** Pairs of a source and a destination buffer. */
  readonly buffers: number;
  /** Byte of its first page at which each buffer starts. */
  readonly bufferOffset: number;
  readonly queueDepth: number;
  /** The whole input; left out, data comes from the seed. */
  readonly input?: Uint8Array;
}

interface BufferPair {
  readonly source: number;
  readonly destination: number;
}

interface InFlight {
  readonly buffers: BufferPair;
  readonly length: number;
  readonly streamOffset: number;
  readonly expected: Uint8Array;
}

/** Bytes of guest memory that the buffers take. */
export function secBufferBytes(options: SecOptions): number {
  const length = Math.min(options.messageLength, options.input?.length ?? options.messageLength);
  const messages = Math.ceil((options.input?.length ?? length) / length) * options.times;
  const pages = Math.ceil((options.bufferOffset + length) / GUEST_PAGE_BYTES);
  return 2 * Math.min(options.buffers, messages) * pages * GUEST_PAGE_BYTES;
}

/** Encrypts the stream and checks every byte of the result. */
export function sec(options: SecOptions): Workload {
  return workload('sec', (context) => new SecRun(options, context).run());
}

class SecRun {
  readonly #context: WorkloadContext;
  readonly #messages: Messages;
  readonly #pairs: readonly BufferPair[];
  readonly #depth: number;
  readonly #bufferOffset: number;
  readonly #key: Uint8Array;
  readonly #iv: Uint8Array;
  /** The host's own cipher over the same stream. */
  readonly #reference: ReturnType<typeof createCipheriv>;
  readonly #digest = createHash('sha256');
  readonly #result: Buffer;
  readonly #filled: InFlight[] = [];
  readonly #posted: InFlight[] = [];
  /** Messages filled in so far, and the bytes in them. */
  #next = 0;
  #streamOffset = 0;
  #checkedBytes = 0;
  #failure: string | null = null;

  constructor(options: SecOptions, context: WorkloadContext) {
    const { random, memory, device } = context;
    this.#context = context;
    this.#messages =
      options.input === undefined
        ? generatedMessages(random.fork('data'), options.times, options.messageLength)
        : fileMessages(options.input, options.times, options.messageLength);
    this.#bufferOffset = options.bufferOffset;
    this.#depth = Math.min(options.queueDepth, device.capacity);
    this.#pairs = Array.from({ length: Math.min(options.buffers, this.#messages.count) }, () => ({
      source: this.#allocate(memory, 'source buffers'),
      destination: this.#allocate(memory, 'destination buffers'),
    }));
    this.#key = random.fork('key').bytes(32);
    this.#iv = random.fork('iv').bytes(16);
    this.#reference = createCipheriv('aes-256-ctr', this.#key, this.#iv);
    this.#result = Buffer.alloc(this.#messages.longest);
  }

  *run(): Steps<WorkloadResult> {
    const { device, clock, progress } = this.#context;
    yield* device.setKey(this.#key, this.#iv);
    yield* this.#fill();
    const start = clock.now;
    let end = start;
    while (this.#filled.length > 0 || this.#posted.length > 0) {
      yield* this.#post();
      const operation = this.#posted.shift();
      if (operation === undefined) break;
      const completion = yield* device.reap();
      end = clock.now;
      if (completion.ok && completion.processed === operation.length) yield* this.#check(operation);
      else this.#fail(operation, `ended with ${completion.status} after ${completion.processed} bytes`);
      progress?.(this.#checkedBytes, this.#messages.bytes);
      if (this.#failure === null) yield* this.#fill();
    }
    yield* this.#checkMargins();
    return this.#report(end - start);
  }

  /** Puts messages into every pair of buffers that is free, ahead of posting: data is ready when the device is. */
  *#fill(): Steps {
    const { memory } = this.#context;
    while (this.#filled.length + this.#posted.length < this.#pairs.length && this.#next < this.#messages.count) {
      const buffers = this.#pairs[this.#next % this.#pairs.length];
      if (buffers === undefined) return;
      const message = this.#messages.next();
      yield* memory.write(buffers.source, message);
      const expected = this.#reference.update(message);
      this.#filled.push({ buffers, length: message.length, streamOffset: this.#streamOffset, expected });
      this.#streamOffset += message.length;
      this.#next += 1;
    }
  }

  *#post(): Steps {
    while (this.#failure === null && this.#posted.length < this.#depth) {
      const operation = this.#filled.shift();
      if (operation === undefined) return;
      const { buffers, length, streamOffset } = operation;
      yield* this.#context.device.post({ ...buffers, length, streamOffset });
      this.#posted.push(operation);
    }
  }

  *#check(operation: InFlight): Steps {
    const output = this.#result.subarray(0, operation.length);
    yield* this.#context.memory.read(operation.buffers.destination, output);
    this.#digest.update(output);
    if (output.equals(operation.expected)) {
      this.#checkedBytes += operation.length;
      return;
    }
    const wrong = output.findIndex((byte, index) => byte !== operation.expected[index]);
    this.#fail(operation, `gave a wrong byte at ${operation.streamOffset + wrong}`);
  }

  /** What lies around a destination buffer in its own pages was never written: it still reads as zero. */
  *#checkMargins(): Steps {
    const { memory } = this.#context;
    const used = this.#bufferOffset + this.#messages.longest;
    const before = new Uint8Array(this.#bufferOffset);
    const after = new Uint8Array(Math.ceil(used / GUEST_PAGE_BYTES) * GUEST_PAGE_BYTES - used);
    for (const { destination } of this.#pairs) {
      yield* memory.read(destination - before.length, before);
      yield* memory.read(destination + this.#messages.longest, after);
      if (before.some((byte) => byte !== 0) || after.some((byte) => byte !== 0)) {
        this.#failure ??= `the device wrote outside the destination buffer at ${destination}`;
      }
    }
  }

  #fail(operation: InFlight, what: string): void {
    this.#failure ??= `the operation of ${operation.length} bytes at stream offset ${operation.streamOffset} ${what}`;
  }

  #allocate(memory: GuestMemory, purpose: string): number {
    return memory.allocate(this.#bufferOffset + this.#messages.longest, purpose) + this.#bufferOffset;
  }

  #report(virtualNs: number): WorkloadResult {
    const verified = this.#failure === null && this.#checkedBytes === this.#messages.bytes;
    const output = {
      sha256: this.#digest.digest('hex'),
      keyHex: Buffer.from(this.#key).toString('hex'),
      ivHex: Buffer.from(this.#iv).toString('hex'),
      verified,
    };
    const bytes = this.#checkedBytes;
    this.#context.log.info({ event: 'guest.workload', bytes, virtualNs, verified });
    return { bytes, virtualNs, output, failure: this.#failure };
  }
}
