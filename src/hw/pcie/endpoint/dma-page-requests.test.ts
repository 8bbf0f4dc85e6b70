import { describe, expect, test } from 'vitest';
import { dmaBench, IDENTITY, PAGE } from '../../../../test/support/dma-bench.ts';
import { ResponseCode } from '../tlp.ts';
import { DmaOutcome, DmaTransfer } from './dma-transfer.ts';
import { EndpointFunction } from './endpoint-function.ts';

describe('page requests', () => {
  test('the pages of a transfer are asked for together, and each once', () => {
    const b = dmaBench({ ats: true, credits: 16 }, { linkNs: 100, agent: { serviceNs: 1000 } });
    b.store(5, 100, new Uint8Array(3 * PAGE));
    b.load(6, 0, 16);
    b.run();
    expect(b.finished.map((t) => t.outcome)).toEqual([0, 0]);
    expect(b.agent.messages.map((m) => [m.groupIndex, m.page, m.read, m.write, m.last])).toEqual([
      [0, 5, false, true, false],
      [0, 6, false, true, false],
      [0, 7, false, true, false],
      [0, 8, false, true, true],
    ]);
    expect(b.dma.counters).toMatchObject({ pageRequests: 4, coalesced: 1, retries: 0 });
    // From the refused translation: request, four pages of service, response, second translation.
    expect(b.dma.faultLatency.summary()).toEqual({ count: 4, p50: 4400, p99: 4400, max: 4400 });
  });

  test('what will be written is asked for with both permissions', () => {
    const b = dmaBench({ ats: true, credits: 16 });
    b.load(5, 0, 64, { forWrite: true });
    b.run();
    b.store(5, 0, new Uint8Array(8));
    b.run();
    expect(b.agent.messages.map((m) => [m.page, m.read, m.write])).toEqual([[5, true, true]]);
  });

  test('Invalid Request aborts the access', () => {
    const b = dmaBench({ ats: true, credits: 16 }, { agent: { serve: (page) => page !== 6 } });
    const failed = b.load(5, 0, 3 * PAGE, {});
    b.run();
    // One group, one answer: all its pages fail.
    expect(failed.outcome).toBe(DmaOutcome.INVALID);
    expect(failed.transferred).toBe(0);
    expect(b.dma.counters.aborted).toBe(3);
  });

  test('Response Failure aborts every access that waits, and the next one at once', () => {
    const b = dmaBench({ ats: true, credits: 16 }, {}, { maxGroupPages: 1 });
    b.agent.automatic = false;
    const waiting = [b.load(5, 0, 8), b.load(6, 0, 8)];
    b.run();
    b.agent.respond(b.agent.messages[0] as never, ResponseCode.RESPONSE_FAILURE);
    b.run();
    expect(waiting.map((t) => t.outcome)).toEqual([DmaOutcome.FAILURE, DmaOutcome.FAILURE]);
    expect(b.load(7, 0, 8).outcome).toBe(DmaOutcome.DENIED);
    expect(b.target.pri?.responseFailure).toBe(true);
  });

  test('success without a translation is retried with growing pauses, and bounded', () => {
    const b = dmaBench({ ats: true, credits: 16 }, { linkNs: 100 }, { maxRetries: 5, retryPauseNs: 1000 });
    b.agent.automatic = false;
    const answered = new Set<number>();
    const pump = () => {
      for (const message of b.agent.messages) {
        if (answered.has(message.groupIndex)) continue;
        answered.add(message.groupIndex);
        b.agent.respond(message, ResponseCode.SUCCESS);
      }
    };
    const failed = b.load(5, 0, 8);
    for (;;) {
      pump();
      if (!b.clock.fireNext()) break;
    }
    expect(failed.outcome).toBe(DmaOutcome.RETRIES);
    expect(b.dma.counters).toMatchObject({ retries: 6, retriesExhausted: 1, aborted: 1, pageRequests: 1 });
    // Seven translations and six round trips of messages, and pauses of 1, 2, 4, 8 and 16 µs.
    expect(b.clock.now).toBe(7 * 200 + 6 * 200 + 31_000);
  });

  test('an access whose page comes only after a few retries succeeds', () => {
    const b = dmaBench({ ats: true, credits: 16 });
    b.agent.automatic = false;
    let answers = 0;
    const send = b.agent.pageRequest.bind(b.agent);
    b.agent.pageRequest = (message) => {
      send(message);
      answers += 1;
      if (answers === 3) b.agent.map(5, true);
      b.agent.respond(message, ResponseCode.SUCCESS);
    };
    const done = b.load(5, 0, 8);
    b.run();
    expect(done.outcome).toBe(DmaOutcome.DONE);
    expect(b.dma.counters).toMatchObject({ retries: 2, pageRequests: 1, retriesExhausted: 0 });
    expect(b.dma.faultLatency.count).toBe(1);
  });

  test('virtual functions share the unit of the physical function, each in its own name', () => {
    const b = dmaBench({ ats: true, credits: 2 }, { linkNs: 100 });
    const virtual = new EndpointFunction(IDENTITY, {
      clock: b.clock,
      name: 'virtual',
      lanes: 4,
      sharedPageRequests: b.target.pageRequests ?? undefined,
    });
    b.root.plug(9, virtual);
    expect(virtual.pri).toBe(null);
    b.write(b.config(9, 4), 2, 6);
    b.write(b.config(9, 0x106), 2, 0x8000);
    b.agent.automatic = false;
    b.load(5, 0, 8);
    const done: DmaTransfer[] = [];
    const start = () => {
      const transfer = new DmaTransfer((t) => done.push(t));
      virtual.dma.start(transfer.prepare(false, 5, 0, new Uint8Array(8), 0, 8));
    };
    start();
    b.run();
    expect(b.agent.messages.map((m) => [m.requesterId, m.page, m.last])).toEqual([
      [8, 5, true],
      [9, 5, true],
    ]);
    // A third waits: the two share two credits.
    virtual.dma.start(new DmaTransfer(() => {}).prepare(false, 6, 0, new Uint8Array(8), 0, 8));
    b.run();
    expect(b.agent.messages).toHaveLength(2);
    // A reset of the virtual function leaves the physical function's request alone, and the credit out.
    virtual.reset();
    expect(b.target.pageRequests?.outstanding).toBe(2);
    b.agent.map(5, false);
    for (const message of [...b.agent.messages]) b.agent.respond(message, ResponseCode.SUCCESS);
    b.run();
    expect(done).toEqual([]);
    expect(b.finished.map((t) => t.outcome)).toEqual([DmaOutcome.DONE]);
    expect(b.target.pageRequests?.counters.unexpected).toBe(0);
    expect(b.target.pageRequests?.outstanding).toBe(0);
  });
});
