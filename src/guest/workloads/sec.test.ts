import { createCipheriv, createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { FakeProcess, silentLog } from '../../../test/support/fake-process.ts';
import { Clock } from '../../sim/clock.ts';
import { Random } from '../../sim/random.ts';
import { Scheduler, type Steps, WaitQueue } from '../../sim/task.ts';
import { GuestMemory } from '../guest-memory.ts';
import type { CryptoCompletion, CryptoDevice, CryptoOperation, WorkloadResult } from '../workload.ts';
import { type SecOptions, sec, secBufferBytes } from './sec.ts';

const BASE = 0x4000_0000;
const OPERATION_NS = 1000;

/** A device that encrypts guest memory directly; each operation takes {@link OPERATION_NS}, one after the other. */
class FakeDevice implements CryptoDevice {
  readonly capacity: number;
  readonly posted: CryptoOperation[] = [];
  /** Digest of each operation's input. */
  readonly sources: string[] = [];
  readonly #memory: GuestMemory;
  readonly #clock: Clock;
  readonly #done: WaitQueue;
  readonly #spoil: (operation: CryptoOperation, output: Uint8Array) => Uint8Array;
  #key: Uint8Array = new Uint8Array(32);
  #iv: Uint8Array = new Uint8Array(16);
  #completed = 0;
  #reaped = 0;
  inFlightMost = 0;
  busyUntil = 0;

  constructor(
    scheduler: Scheduler,
    memory: GuestMemory,
    options: { capacity?: number; spoil?: (operation: CryptoOperation, output: Uint8Array) => Uint8Array } = {},
  ) {
    this.#memory = memory;
    this.#clock = scheduler.clock;
    this.#done = new WaitQueue(scheduler, 'fake device');
    this.capacity = options.capacity ?? 64;
    this.#spoil = options.spoil ?? ((_operation, output) => output);
  }

  *setKey(key: Uint8Array, iv: Uint8Array): Steps {
    this.#key = key;
    this.#iv = iv;
  }

  *post(operation: CryptoOperation): Steps {
    this.posted.push(operation);
    this.inFlightMost = Math.max(this.inFlightMost, this.posted.length - this.#reaped);
    this.busyUntil = Math.max(this.busyUntil, this.#clock.now) + OPERATION_NS;
    this.#clock.after(this.busyUntil - this.#clock.now, () => {
      this.#completed += 1;
      this.#done.wakeAll();
    });
  }

  *reap(): Steps<CryptoCompletion> {
    while (this.#completed === this.#reaped) yield this.#done;
    const operation = this.posted[this.#reaped++];
    if (operation === undefined) throw new Error('reaped before posting');
    const data = new Uint8Array(operation.length);
    yield* this.#memory.read(operation.source, data);
    this.sources.push(sha256(data));
    const output = this.#spoil(operation, ctr(this.#key, this.#iv, data, operation.streamOffset));
    yield* this.#memory.write(operation.destination, output);
    return { ok: output.length > 0, status: output.length > 0 ? 'DONE' : 'SOURCE_FAULT', processed: output.length };
  }
}

/** The key stream is skipped by encrypting what comes before: slow, and independent of any counter arithmetic. */
function ctr(key: Uint8Array, iv: Uint8Array, data: Uint8Array, offset: number): Uint8Array {
  const cipher = createCipheriv('aes-256-ctr', key, iv);
  cipher.update(new Uint8Array(offset));
  return cipher.update(data);
}

interface Bench {
  readonly result: WorkloadResult;
  readonly device: FakeDevice;
  readonly progress: [number, number][];
}

function run(options: Partial<SecOptions>, setup: ConstructorParameters<typeof FakeDevice>[2] = {}): Bench {
  const clock = new Clock();
  const scheduler = new Scheduler({ clock });
  const memory = new GuestMemory({ process: new FakeProcess(1 << 20), hostAddress: 0, base: BASE, size: 1 << 20 });
  const device = new FakeDevice(scheduler, memory, setup);
  const workload = sec({ times: 3, messageLength: 1000, buffers: 2, bufferOffset: 0, queueDepth: 2, ...options });
  const progress: [number, number][] = [];
  const task = scheduler.spawn(
    'workload',
    workload.run({
      device,
      memory,
      clock,
      random: new Random(7),
      log: silentLog(),
      progress: (done, total) => progress.push([done, total]),
    }),
  );
  scheduler.run();
  return { result: task.result, device, progress };
}

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff);
}

describe('with an input file', () => {
  test.each([
    ['one byte', 1, 1000, 0],
    ['less than a message', 700, 1000, 0],
    ['exactly a message', 1000, 1000, 0],
    ['a byte more', 1001, 1000, 0],
    ['odd cuts, off the cipher block', 10_000, 777, 0],
    ['single bytes', 50, 1, 0],
    ['buffers that start inside a page', 20_000, 5000, 123],
    ['buffers that start at the end of a page', 9000, 4096, 4095],
  ])('%s: the digest is that of one pass of the cipher over the file', (_what, length, messageLength, bufferOffset) => {
    const input = bytes(length);
    const { result, device } = run({ input, times: 1, messageLength, bufferOffset });
    const { keyHex, ivHex } = result.output;
    const whole = createCipheriv('aes-256-ctr', Buffer.from(keyHex, 'hex'), Buffer.from(ivHex, 'hex')).update(input);
    expect(result.output).toMatchObject({ sha256: sha256(whole), verified: true });
    expect(result.bytes).toBe(length);
    expect(device.posted.map((operation) => operation.length)).toHaveLength(Math.ceil(length / messageLength));
    expect(device.posted.every((operation) => operation.source % 4096 === bufferOffset)).toBe(true);
  });

  test('each pass is cut anew, and the key stream runs on over all of them', () => {
    const input = bytes(1500);
    const { result, device } = run({ input, times: 3, messageLength: 1000 });
    expect(device.posted.map(({ length, streamOffset }) => [length, streamOffset])).toEqual([
      [1000, 0],
      [500, 1000],
      [1000, 1500],
      [500, 2500],
      [1000, 3000],
      [500, 4000],
    ]);
    const key = Buffer.from(result.output.keyHex, 'hex');
    const stream = Buffer.concat([input, input, input]);
    const whole = createCipheriv('aes-256-ctr', key, Buffer.from(result.output.ivHex, 'hex')).update(stream);
    expect(result.output.sha256).toBe(sha256(whole));
  });
});

describe('with data from the seed', () => {
  test('each operation gets fresh data, the same in every run', () => {
    const first = run({ times: 5 });
    const second = run({ times: 5 });
    expect(first.result).toEqual(second.result);
    expect(first.result.output.verified).toBe(true);
    expect(first.device.sources).toEqual(second.device.sources);
    expect(new Set(first.device.sources).size).toBe(5);
  });
});

describe('buffers and queue', () => {
  test.each([
    [{ buffers: 2, queueDepth: 8 }, 2],
    [{ buffers: 8, queueDepth: 3 }, 3],
    [{ buffers: 1, queueDepth: 1 }, 1],
    [{ buffers: 8, queueDepth: 8 }, 8],
  ])('%o keep %i operations in flight', (options, most) => {
    const { device, result } = run({ times: 20, ...options });
    expect(device.inFlightMost).toBe(most);
    expect(result.output.verified).toBe(true);
  });

  test('a ring that is smaller than the queue limits it', () => {
    expect(run({ times: 20, buffers: 8, queueDepth: 8 }, { capacity: 4 }).device.inFlightMost).toBe(4);
  });

  test('pairs are used in turn and never share a page', () => {
    const { device } = run({ times: 6, buffers: 3, queueDepth: 3, bufferOffset: 4000, messageLength: 4096 });
    const sources = device.posted.map(({ source }) => source);
    expect(sources.slice(3)).toEqual(sources.slice(0, 3));
    const starts = device.posted.slice(0, 3).flatMap(({ source, destination }) => [source, destination]);
    expect(starts.map((address) => address - BASE)).toEqual([0, 1, 2, 3, 4, 5].map((n) => n * 8192 + 4000));
  });

  test('time runs from the first doorbell to the last completion', () => {
    expect(run({ times: 10, buffers: 4, queueDepth: 4 }).result.virtualNs).toBe(10 * OPERATION_NS);
  });

  test('progress counts checked bytes up to all of them', () => {
    expect(run({ times: 3 }).progress).toEqual([
      [1000, 3000],
      [2000, 3000],
      [3000, 3000],
    ]);
  });
});

describe('a device that errs', () => {
  test('with one wrong bit is found out, at its byte', () => {
    const spoil = ({ streamOffset }: CryptoOperation, output: Uint8Array) =>
      streamOffset === 1000 ? output.map((byte, index) => (index === 345 ? byte ^ 4 : byte)) : output;
    const { result } = run({ times: 5 }, { spoil });
    expect(result.output.verified).toBe(false);
    expect(result.failure).toBe('the operation of 1000 bytes at stream offset 1000 gave a wrong byte at 1345');
  });

  test('that reports a fault ends the workload, with what was in flight reaped', () => {
    const spoil = ({ streamOffset }: CryptoOperation, output: Uint8Array) =>
      streamOffset === 1000 ? new Uint8Array() : output;
    const { result, device } = run({ times: 50, buffers: 4, queueDepth: 4 }, { spoil });
    expect(result.failure).toBe(
      'the operation of 1000 bytes at stream offset 1000 ended with SOURCE_FAULT after 0 bytes',
    );
    expect(result.output.verified).toBe(false);
    expect(device.posted.length).toBeLessThan(8);
  });

  test.each([
    ['before', 100, -1],
    ['after', 100, 1000],
  ])('that writes one byte %s the destination is found out', (_where, bufferOffset, offset) => {
    const clock = new Clock();
    const scheduler = new Scheduler({ clock });
    const memory = new GuestMemory({ process: new FakeProcess(1 << 20), hostAddress: 0, base: BASE, size: 1 << 20 });
    const device = new FakeDevice(scheduler, memory);
    const reap = device.reap.bind(device);
    device.reap = function* () {
      const completion = yield* reap();
      const [first] = device.posted;
      if (first !== undefined) yield* memory.write(first.destination + offset, Uint8Array.of(1));
      return completion;
    };
    const workload = sec({ times: 1, messageLength: 1000, buffers: 1, bufferOffset, queueDepth: 1 });
    const task = scheduler.spawn(
      'workload',
      workload.run({ device, memory, clock, random: new Random(7), log: silentLog() }),
    );
    scheduler.run();
    expect(task.result.output.verified).toBe(false);
    expect(task.result.failure).toMatch(/^the device wrote outside the destination buffer/);
  });
});

test.each([
  [{ messageLength: 1000, buffers: 2, bufferOffset: 0, times: 3 }, 4 * 4096],
  [{ messageLength: 4096, buffers: 3, bufferOffset: 1, times: 9 }, 6 * 8192],
  [{ messageLength: 4096, buffers: 8, bufferOffset: 0, times: 2 }, 4 * 4096],
  [{ messageLength: 1 << 30, buffers: 2, bufferOffset: 0, times: 1, input: bytes(5000) }, 2 * 8192],
  [{ messageLength: 1000, buffers: 8, bufferOffset: 0, times: 1, input: bytes(5001) }, 12 * 4096],
])('%o need %i bytes of buffers', (options, expected) => {
  expect(secBufferBytes({ queueDepth: 1, ...options })).toBe(expected);
});

test('buffers that guest memory cannot hold are refused in words', () => {
  expect(() => run({ messageLength: 300_000, buffers: 2 })).toThrow(
    /^guest memory of 1048576 bytes has no room for the (source|destination) buffers: 303104 bytes needed, 139264 free \(guest\.memory\)$/,
  );
});

test('the cipher that everything is checked against is AES-256 in counter mode (NIST SP 800-38A, F.5.5)', () => {
  const key = Buffer.from('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4', 'hex');
  const counter = Buffer.from('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', 'hex');
  const plain = Buffer.from(
    '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51' +
      '30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710',
    'hex',
  );
  const cipher =
    '601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5' +
    '2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6';
  expect(Buffer.from(ctr(key, counter, plain, 0)).toString('hex')).toBe(cipher);
  expect(Buffer.from(ctr(key, counter, plain.subarray(21), 21)).toString('hex')).toBe(cipher.slice(42));
});
