/** What a guest or a host does wrong, and what the accelerator makes of it. */
import { createCipheriv } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  acceleratorBench,
  BAD_DESCRIPTOR,
  BAR0,
  type BenchOptions,
  DESTINATION,
  DESTINATION_FAULT,
  DEVFN,
  DONE,
  expected,
  IDLE,
  IV,
  KEY,
  type Message,
  type Mode,
  PAGE,
  RING,
  RING_ERROR,
  SOURCE,
  SOURCE_FAULT,
} from '../../../test/support/accelerator-bench.ts';
import { Random } from '../../sim/random.ts';
import { type MemoryRequest, ResponseCode } from '../pcie/tlp.ts';
import * as sheet from './accelerator.layout.ts';

describe('what goes wrong', () => {
  const faulty = (options: BenchOptions, message: Message) => {
    const b = acceleratorBench(options);
    b.pin(RING, 1024, true);
    b.setUp();
    b.enable();
    b.post(0, message);
    b.post(1, { source: SOURCE, destination: DESTINATION, length: 1 });
    b.ring(2);
    b.run();
    return b;
  };

  test.each<[string, Message]>([
    ['no bytes', { source: SOURCE, destination: DESTINATION, length: 0 }],
    ['a source beyond 2^64', { source: 2 ** 64 - 4096, destination: DESTINATION, length: 4097 }],
    ['a destination beyond 2^64', { source: SOURCE, destination: 2 ** 64 - 4096, length: 4097 }],
  ])('a descriptor with %s is bad, and the next one is served', (_what, message) => {
    const b = acceleratorBench();
    b.pin(RING, 64, true);
    b.pin(SOURCE, 1, false);
    b.pin(DESTINATION, 1, true);
    b.setUp();
    b.enable();
    b.post(0, message);
    b.post(1, { source: SOURCE, destination: DESTINATION, length: 1 });
    b.ring(2);
    b.run();
    expect([b.result(0), b.result(1)]).toEqual([
      { status: BAD_DESCRIPTOR, processed: 0 },
      { status: DONE, processed: 1 },
    ]);
    expect(b.seen).toEqual({ completion: 2, error: 0 });
  });

  const allow = (...pages: number[]) => ({ serve: (page: number) => pages.includes(page) || page < 0x200 });
  const S = SOURCE / PAGE;
  const D = DESTINATION / PAGE;

  test.each<Mode>(['stall', 'pri'])('%s: a source page that does not come ends the operation there', (mode) => {
    const b = faulty(
      { mode, agent: allow(S, S + 1, S + 3, D, D + 1, D + 2, D + 3), device: { maxGroupPages: 1 } },
      { source: SOURCE + 100, destination: DESTINATION, length: 4 * PAGE - 100 },
    );
    expect(b.result(0)).toEqual({ status: SOURCE_FAULT, processed: 2 * PAGE - 100 });
    expect(b.result(1)).toEqual({ status: DONE, processed: 1 });
    expect(b.head()).toBe(2);
    expect(b.device.counters).toMatchObject({ operations: 2, sourceFaults: 1, destinationFaults: 0 });
  });

  test.each<Mode>(['stall', 'pri'])('%s: a destination page that does not come counts what was written', (mode) => {
    const b = faulty(
      { mode, agent: allow(S, S + 1, S + 2, S + 3, D, D + 2, D + 3), device: { maxGroupPages: 1 } },
      { source: SOURCE, destination: DESTINATION + 1000, length: 3 * PAGE },
    );
    expect(b.result(0)).toEqual({ status: DESTINATION_FAULT, processed: PAGE - 1000 });
    expect(b.device.counters).toMatchObject({ sourceFaults: 0 });
  });

  test('the ring can not be read: RING_ERROR, vector 1, nothing more until RESET', () => {
    const b = acceleratorBench({ agent: { onFault: 'abort' } });
    b.setUp();
    b.enable();
    b.ring(1);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.seen).toEqual({ completion: 0, error: 1 });
    b.pin(RING, 64, true);
    b.enable();
    b.ring(2);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.head()).toBe(0);
    b.write32(BAR0 + sheet.CONTROL.offset, 2);
    expect(b.status()).toBe(IDLE);
  });

  test('the status can not be written back: RING_ERROR', () => {
    const b = acceleratorBench({ agent: { onFault: 'abort' } });
    b.pin(SOURCE, 16, false);
    b.pin(DESTINATION, 16, true);
    b.pin(RING, 64, true);
    b.setUp();
    b.enable();
    b.post(0, { source: SOURCE, destination: DESTINATION, length: 16 });
    const memory = b.agent.memory.bind(b.agent);
    b.agent.memory = (request: MemoryRequest) => {
      if (request.length === sheet.WRITEBACK_BYTES && request.offset === sheet.WRITEBACK_OFFSET) return 4;
      return memory(request);
    };
    b.ring(1);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.seen).toEqual({ completion: 0, error: 1 });
    expect(b.head()).toBe(0);
  });

  test('a tail further than the ring is a RING_ERROR', () => {
    const b = acceleratorBench({ log2Size: 2 });
    b.pin(RING, 1024, true);
    b.setUp();
    b.enable();
    b.ring(5);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    expect(b.seen.error).toBe(1);
  });

  test('bus mastering off: the fetch is refused', () => {
    const b = acceleratorBench();
    b.setUp();
    b.write32(b.config(DEVFN, 4), 2);
    b.enable();
    b.ring(1);
    b.run();
    expect(b.status()).toBe(RING_ERROR | IDLE);
    // Nobody hears the interrupt either: it is a memory write too.
    expect(b.seen).toEqual({ completion: 0, error: 0 });
    expect(b.device.msix.lost).toBe(1);
  });
});

test('a batch that goes round the end of the ring is fetched in two pieces', () => {
  const b = acceleratorBench({ log2Size: 2 });
  b.pin(RING, 256, true);
  b.pin(SOURCE, 64, false);
  b.pin(DESTINATION, 64, true);
  b.store(RING + 256, new Uint8Array(256).fill(0xff));
  b.setUp();
  b.enable();
  for (const [from, to] of [
    [0, 3],
    [3, 7],
  ] as const) {
    for (let index = from; index < to; index++) {
      b.post(index, { source: SOURCE, destination: DESTINATION + index, length: 1 });
    }
    b.ring(to);
    b.run();
  }
  expect(b.head()).toBe(7);
  expect([0, 1, 2, 3].map((index) => b.result(index).status)).toEqual([DONE, DONE, DONE, DONE]);
  expect(b.device.counters.badDescriptors).toBe(0);
});

test('a message may lie across a 4 GiB boundary of its stream', () => {
  const b = acceleratorBench();
  const plain = new Random('plain').bytes(3 * PAGE);
  b.pin(RING, 64, true);
  b.pin(SOURCE, plain.length, false);
  b.pin(DESTINATION, plain.length, true);
  b.store(SOURCE, plain);
  b.setUp();
  b.enable();
  const streamOffset = 3 * 2 ** 32 - PAGE - 16;
  b.post(0, { source: SOURCE, destination: DESTINATION, length: plain.length, streamOffset });
  b.ring(1);
  b.run();
  // The counter block of that place: IV plus streamOffset / 16, whose low 64 bits overflow into the high ones.
  const counter = Buffer.from(IV);
  const sum = (BigInt(`0x${counter.toString('hex')}`) + BigInt(streamOffset / 16)) % 2n ** 128n;
  const cipher = createCipheriv('aes-256-ctr', KEY, Buffer.from(sum.toString(16).padStart(32, '0'), 'hex'));
  expect(Buffer.compare(b.load(DESTINATION, plain.length), cipher.update(plain))).toBe(0);
});

test('completion is in order, and no interrupt is sent where none was asked for', () => {
  const b = acceleratorBench({ mode: 'stall', agent: { serve: () => true } });
  b.agent.hold = true;
  b.pin(RING, 1024, true);
  b.pin(SOURCE, 2 * PAGE, false);
  b.pin(DESTINATION + PAGE, PAGE, true);
  b.setUp();
  b.enable();
  b.post(0, { source: SOURCE, destination: DESTINATION, length: 16, interrupt: 0 });
  b.post(1, { source: SOURCE, destination: DESTINATION + PAGE, length: 16 });
  b.ring(2);
  b.run();
  // The second has its bytes, but waits for the first.
  expect(Buffer.compare(b.load(DESTINATION + PAGE, 16), expected(b.load(SOURCE, 16)))).toBe(0);
  expect([b.result(0).status, b.result(1).status, b.head()]).toEqual([0, 0, 0]);
  b.agent.release(b.agent.held[0] as MemoryRequest);
  b.run();
  expect([b.result(0).status, b.result(1).status, b.head()]).toEqual([DONE, DONE, 2]);
  expect(b.seen.completion).toBe(1);
});

test('with a PASID every access carries it, and RESET sends a stop marker behind its page requests', () => {
  const b = acceleratorBench({ linkNs: 100 });
  b.agent.automatic = false;
  b.setUp();
  b.board.enable(DEVFN, { pasid: true, ats: true, credits: 8 });
  b.write32(BAR0 + sheet.PASID_CONTROL.offset, 0x8000_0007);
  b.enable();
  b.post(0, { source: SOURCE, destination: DESTINATION, length: 16 });
  b.ring(1);
  b.run();
  expect(b.agent.messages).toMatchObject([{ pasid: 7, page: RING / PAGE, read: true, write: true, last: true }]);
  b.agent.map(RING / PAGE, true);
  for (const message of [...b.agent.messages]) b.agent.respond(message, ResponseCode.SUCCESS);
  b.run();
  expect(b.agent.messages.at(-1)).toMatchObject({ pasid: 7, page: SOURCE / PAGE });
  expect(new Set(b.agent.translations.map((translation) => translation.pasid))).toEqual(new Set([7]));
  b.write32(BAR0 + sheet.CONTROL.offset, 2);
  b.run();
  expect(b.agent.messages.at(-1)).toMatchObject({ pasid: 7, read: false, write: false, last: true });
  expect(b.status()).toBe(IDLE);
  // The response that is still due returns its credit.
  expect(b.device.pageRequests?.outstanding).toBe(1);
  b.agent.respond(b.agent.messages[1] as never, ResponseCode.SUCCESS);
  b.run();
  expect(b.device.pageRequests?.outstanding).toBe(0);
});
