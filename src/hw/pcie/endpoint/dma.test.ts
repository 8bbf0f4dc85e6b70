import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contents, DEVFN, dmaBench, type Features, PAGE } from '../../../../test/support/dma-bench.ts';
import { Random } from '../../../sim/random.ts';
import { AddressType, type Completion, type MemoryRequest, NO_PASID, ResponseCode } from '../tlp.ts';
import { DmaOutcome, DmaTransfer } from './dma-transfer.ts';

const MODES: readonly [string, Features][] = [
  ['untranslated', {}],
  ['translated', { ats: true }],
  ['translated with page requests', { ats: true, credits: 16 }],
];

describe.each(MODES)('%s', (_name, features) => {
  test('bytes of any length at any offset arrive, cut at pages', () => {
    const lengths = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5 * PAGE }));
    fc.assert(
      fc.property(lengths, fc.integer({ min: 0, max: PAGE - 1 }), fc.boolean(), (length, offset, slow) => {
        const b = dmaBench(features, slow ? { linkNs: 100, agent: { memoryNs: 50 } } : {});
        for (let page = 0; page < 8; page++) b.agent.map(0x100 + page, true);
        const bytes = new Random('bytes').bytes(length);
        b.store(0x100, offset, bytes);
        b.run();
        expect(b.finished).toHaveLength(1);
        expect(contents(b, 0x100, offset, length)).toEqual(bytes);
        const back = b.load(0x100, offset, length);
        b.run();
        expect(back.outcome).toBe(DmaOutcome.DONE);
        expect(back.transferred).toBe(length);
        expect(back.data).toEqual(bytes);
        const pages = Math.floor((offset + length - 1) / PAGE) + 1;
        expect([b.dma.counters.reads, b.dma.counters.writes]).toEqual([pages, pages]);
        expect([b.dma.counters.bytesRead, b.dma.counters.bytesWritten]).toEqual([length, length]);
        expect(b.dma.busy).toBe(false);
      }),
      { numRuns: 25 },
    );
  });
});

test('an access that may not fault finds its page or fails; one behind it that may asks', () => {
  const b = dmaBench({ ats: true, credits: 16 }, { linkNs: 100, agent: { serviceNs: 1600 } });
  b.agent.map(4, true);
  const there = b.load(4, 0, 8, { mayFault: false });
  const missing = b.load(5, 0, 8, { mayFault: false });
  const behind = b.load(5, 8, 8);
  b.run();
  expect([there.outcome, missing.outcome, behind.outcome]).toEqual([
    DmaOutcome.DONE,
    DmaOutcome.MISSING,
    DmaOutcome.DONE,
  ]);
  expect(b.agent.faults.map(({ page }) => page)).toEqual([5]);
});

describe('untranslated requests', () => {
  test('an access that stalls waits, and others to its page wait behind it: one fault a page', () => {
    const b = dmaBench({}, { linkNs: 100, agent: { serviceNs: 1600, memoryNs: 50 } });
    const first = b.load(5, 0, 100);
    const second = b.load(5, 200, 100);
    const third = b.load(6, 0, 100);
    b.run();
    expect([first, second, third].map((t) => t.outcome)).toEqual([0, 0, 0]);
    expect(b.agent.faults).toEqual([
      { page: 5, write: false },
      { page: 6, write: false },
    ]);
    expect(b.dma.counters).toMatchObject({ stalls: 2, coalesced: 1 });
    // One thread serves both, 1600 ns each.
    expect(b.dma.faultLatency.summary()).toEqual({ count: 2, p50: 1600, p99: 3200, max: 3200 });
  });

  test('a stalled read has its memory access and its way back still to come', () => {
    const b = dmaBench({}, { linkNs: 100, agent: { serviceNs: 1000, memoryNs: 50 } });
    b.load(5, 0, 100);
    b.run();
    expect(b.clock.now).toBe(1000 + 50 + 100);
  });

  test('a read of what will be written asks for permission to write: one fault, not two', () => {
    const b = dmaBench({});
    const fetched = b.load(5, 0, 64, { forWrite: true });
    b.run();
    expect(fetched.outcome).toBe(DmaOutcome.DONE);
    b.store(5, 48, new Uint8Array(16));
    b.run();
    expect(b.agent.faults).toEqual([{ page: 5, write: true }]);
    // The request that asked wrote nothing.
    expect(b.dma.counters).toMatchObject({ writes: 1, bytesWritten: 16 });
  });

  test('an abort fails the transfer, with the bytes before it', () => {
    const b = dmaBench({}, { agent: { onFault: 'abort' } });
    b.agent.map(5, false);
    b.agent.map(7, false);
    const failed = b.load(5, 4000, 2 * PAGE);
    b.run();
    expect(failed.outcome).toBe(DmaOutcome.REFUSED);
    expect(failed.transferred).toBe(96);
    expect(b.dma.counters.aborted).toBe(1);
    // Received Target Abort.
    expect(b.read32(b.config(DEVFN, 4)) >>> 16).toBe(0x1010);
  });

  test('a stalled access that is aborted fails, and so do those behind it that wanted the same', () => {
    const b = dmaBench({}, { agent: { serve: (_page, write) => write } });
    const reads = [b.load(5, 0, 8), b.load(5, 8, 8)];
    const write = b.store(5, 16, new Uint8Array(8));
    b.run();
    expect(reads.map((t) => t.outcome)).toEqual([DmaOutcome.REFUSED, DmaOutcome.REFUSED]);
    expect(write.outcome).toBe(DmaOutcome.DONE);
    expect(b.agent.faults).toHaveLength(2);
  });

  test('bus mastering off: refused', () => {
    const b = dmaBench({});
    b.write32(b.config(DEVFN, 4), 0);
    expect(b.load(5, 0, 8).outcome).toBe(DmaOutcome.REFUSED);
    expect(b.finished).toHaveLength(1);
  });

  test('a transfer that fails half-way sends no more of its pages', () => {
    const b = dmaBench({}, { agent: { onFault: 'abort' } }, { lanes: 2 });
    const failed = b.load(5, 0, 40 * PAGE);
    b.run();
    expect(failed.outcome).toBe(DmaOutcome.REFUSED);
    expect(failed.transferred).toBe(0);
    expect(b.agent.faults.length).toBeLessThanOrEqual(2);
    expect(b.finished).toHaveLength(1);
    expect(b.load(5, 0, 0).outcome).toBe(DmaOutcome.REFUSED);
  });
});

describe('translated requests', () => {
  test('a translation is asked for once, reads without write permission, and serves later accesses', () => {
    const b = dmaBench({ ats: true });
    b.agent.map(5, true);
    b.load(5, 0, 100);
    b.load(5, 100, 100);
    expect(b.agent.translations).toEqual([{ page: 5, noWrite: true, pasid: NO_PASID }]);
    expect(b.dma.counters).toMatchObject({ translationRequests: 1, cacheHits: 1 });
  });

  test('a read-only translation is no good for a write: it asks again', () => {
    const b = dmaBench({ ats: true });
    b.agent.map(5, false);
    b.load(5, 0, 8);
    b.agent.map(5, true);
    expect(b.store(5, 0, new Uint8Array(8)).outcome).toBe(DmaOutcome.DONE);
    expect(b.agent.translations.map((t) => t.noWrite)).toEqual([true, false]);
  });

  test('no translation and no page requests: denied', () => {
    const b = dmaBench({ ats: true });
    expect(b.load(5, 0, 8).outcome).toBe(DmaOutcome.DENIED);
    b.agent.map(5, false);
    expect(b.store(5, 0, new Uint8Array(8)).outcome).toBe(DmaOutcome.DENIED);
  });

  test('accesses that miss together ask for one translation', () => {
    const b = dmaBench({ ats: true }, { linkNs: 100 });
    b.agent.map(5, true);
    for (let at = 0; at < 4; at++) b.load(5, 8 * at, 8);
    b.run();
    expect(b.agent.translations).toHaveLength(1);
    expect(b.dma.counters).toMatchObject({ coalesced: 3, reads: 4 });
    // Translation there and back, then the accesses side by side.
    expect(b.clock.now).toBe(400);
  });

  test('a translation asked for is void when an invalidation met it', () => {
    const b = dmaBench({ ats: true }, { linkNs: 100 });
    b.agent.map(5, true);
    b.store(5, 0, Uint8Array.of(1));
    b.clock.after(50, () => b.agent.map(5, true, b.agent.physical(5) + 1));
    let completedAt = -1;
    b.clock.after(60, () =>
      b.target.invalidate({ page: 4, pages: 4, pasid: NO_PASID, global: false }, () => {
        completedAt = b.clock.now;
      }),
    );
    b.run();
    expect(completedAt).toBe(60);
    expect(b.dma.counters).toMatchObject({ staleTranslations: 1, translationRequests: 2 });
    expect(contents(b, 5, 0, 1)).toEqual(Uint8Array.of(1));
  });

  test('an invalidation of one page of a block voids a translation under way for another page of it', () => {
    const b = dmaBench({ ats: true }, { linkNs: 100 });
    const translate = b.agent.translate.bind(b.agent);
    b.agent.map(5, true);
    b.agent.translate = (request) => {
      translate(request);
      request.answer.pages = 8;
    };
    b.load(5, 0, 8);
    b.run(50);
    b.target.invalidate({ page: 7, pages: 1, pasid: NO_PASID, global: false }, () => {});
    b.run();
    expect(b.dma.counters.staleTranslations).toBe(1);
    b.load(5, 0, 8);
    b.run(b.clock.now + 50);
    b.target.invalidate({ page: 8, pages: 1, pasid: NO_PASID, global: false }, () => {});
    b.run();
    expect(b.dma.counters.staleTranslations).toBe(1);
  });

  test('an invalidation is complete when no access uses the translation any more', () => {
    const b = dmaBench({ ats: true }, { linkNs: 100, agent: { memoryNs: 500 } });
    b.agent.map(5, true);
    b.agent.map(6, true);
    b.store(5, 0, new Uint8Array(8));
    b.run();
    const start = b.clock.now;
    b.store(5, 0, new Uint8Array(8));
    const done: [string, number][] = [];
    const note = (name: string) => () => {
      done.push([name, b.clock.now - start]);
    };
    b.target.invalidate({ page: 6, pages: 1, pasid: NO_PASID, global: false }, note('other page'));
    b.target.invalidate({ page: 5, pages: 1, pasid: 3, global: false }, note('other PASID'));
    b.target.invalidate({ page: 0, pages: Number.POSITIVE_INFINITY, pasid: NO_PASID, global: false }, note('all'));
    b.run();
    expect(done).toEqual([
      ['other page', 0],
      ['other PASID', 0],
      ['all', 600],
    ]);
    expect(b.dma.counters.invalidationsWaited).toBe(1);
    // Nothing is cached any more.
    b.store(5, 0, new Uint8Array(8));
    expect(b.dma.counters.translationRequests).toBe(2);
  });

  test('disabling ATS forgets translations, under way or cached; requests are untranslated again', () => {
    const b = dmaBench({ ats: true }, { linkNs: 100 });
    b.agent.map(5, true);
    const seen: number[] = [];
    const memory = b.agent.memory.bind(b.agent);
    b.agent.memory = (request: MemoryRequest): Completion => {
      seen.push(request.addressType);
      return memory(request);
    };
    b.load(5, 0, 8);
    b.run(50);
    b.write32(b.config(DEVFN, 0x104), 0);
    b.run();
    b.load(5, 0, 8);
    b.run();
    expect(seen).toEqual([AddressType.UNTRANSLATED, AddressType.UNTRANSLATED]);
    expect(b.target.cache?.size).toBe(0);
  });

  test('an untranslated-only answer sends the access untranslated', () => {
    const b = dmaBench({ ats: true });
    b.agent.map(5, true);
    const translate = b.agent.translate.bind(b.agent);
    b.agent.translate = (request) => {
      translate(request);
      request.answer.untranslatedOnly = true;
    };
    const seen: number[] = [];
    const memory = b.agent.memory.bind(b.agent);
    b.agent.memory = (request: MemoryRequest): Completion => {
      seen.push(request.addressType);
      return memory(request);
    };
    b.load(5, 0, 8);
    b.load(5, 0, 8);
    expect(seen).toEqual([AddressType.UNTRANSLATED, AddressType.UNTRANSLATED]);
    expect(b.agent.translations).toHaveLength(1);
  });

  test.each([1, 4] as const)('a translation completion with status %i fails the access', (status) => {
    const b = dmaBench({ ats: true, credits: 4 });
    b.agent.translate = (request) => {
      request.answer.status = status;
    };
    expect(b.load(5, 0, 8).outcome).toBe(DmaOutcome.REFUSED);
    expect(b.agent.messages).toEqual([]);
  });

  test('the observer sees which page was asked for and which was accessed', () => {
    const seen: number[][] = [];
    const b = dmaBench(
      { ats: true, pasid: true },
      {},
      {
        observe: (page, translated, write, pasid, offset, length) =>
          seen.push([page, translated, write ? 1 : 0, pasid, offset, length]),
      },
    );
    const to = b.agent.map(5, true);
    b.store(5, 4, new Uint8Array(8), { pasid: 9 });
    b.write32(b.config(DEVFN, 0x104), 0);
    b.load(5, 4, 8);
    expect(seen).toEqual([
      [5, to, 1, 9, 4, 8],
      [5, -1, 0, NO_PASID, 4, 8],
    ]);
  });
});

describe('PASID', () => {
  test('without the capability enabled, or beyond its width, nothing is sent', () => {
    const off = dmaBench({});
    expect(off.load(5, 0, 8, { pasid: 1 }).outcome).toBe(DmaOutcome.NO_PASID);
    const narrow = dmaBench({ pasid: true }, {}, { pasidBits: 8 });
    expect(narrow.load(5, 0, 8, { pasid: 256 }).outcome).toBe(DmaOutcome.NO_PASID);
    expect(narrow.agent.faults).toEqual([]);
  });

  test('untranslated and translation requests carry it, translated ones do not', () => {
    const b = dmaBench({ ats: true, pasid: true });
    b.agent.map(5, true);
    const seen: [number, number][] = [];
    const memory = b.agent.memory.bind(b.agent);
    b.agent.memory = (request: MemoryRequest): Completion => {
      seen.push([request.addressType, request.pasid]);
      return memory(request);
    };
    b.load(5, 0, 8, { pasid: 3 });
    expect(b.agent.translations.map((t) => t.pasid)).toEqual([3]);
    b.write32(b.config(DEVFN, 0x104), 0);
    b.load(5, 0, 8, { pasid: 3 });
    expect(seen).toEqual([
      [AddressType.TRANSLATED, NO_PASID],
      [AddressType.UNTRANSLATED, 3],
    ]);
  });

  test('what one privilege was granted is not for the other', () => {
    const b = dmaBench({ ats: true, pasid: true });
    b.agent.map(5, true);
    const translate = b.agent.translate.bind(b.agent);
    b.agent.translate = (request) => {
      translate(request);
      const { answer } = request;
      answer.privileged = request.privileged;
      // A page that user code may only read.
      if (!request.privileged) answer.write = false;
    };
    const outcomes = [true, false, true, false].map((privileged) => {
      const write = b.store(5, 0, new Uint8Array(8), { pasid: 3, privileged });
      const read = b.load(5, 0, 8, { pasid: 3, privileged });
      return [write.outcome, read.outcome];
    });
    const { DONE, DENIED } = DmaOutcome;
    expect(outcomes).toEqual([
      [DONE, DONE],
      [DENIED, DONE],
      [DONE, DONE],
      [DENIED, DONE],
    ]);
  });

  test('an access whose page was refused to the other privilege asks for itself', () => {
    const b = dmaBench({ ats: true, pasid: true }, { agent: { translateNs: 100 } });
    b.agent.map(5, true);
    const translate = b.agent.translate.bind(b.agent);
    b.agent.translate = (request) => {
      translate(request);
      request.answer.privileged = request.privileged;
      if (!request.privileged) request.answer.read = request.answer.write = false;
    };
    const user = b.load(5, 0, 8, { pasid: 3 });
    const privileged = b.load(5, 8, 8, { pasid: 3, privileged: true });
    b.run();
    expect([user.outcome, privileged.outcome]).toEqual([DmaOutcome.DENIED, DmaOutcome.DONE]);
  });

  test('the same page of two address spaces is two pages', () => {
    const b = dmaBench({ ats: true, credits: 16, pasid: true }, { linkNs: 100 });
    b.load(5, 0, 8, { pasid: 3 });
    b.load(5, 0, 8, { pasid: 4 });
    b.run();
    expect(b.agent.messages.map((m) => [m.pasid, m.page, m.last])).toEqual([
      [3, 5, true],
      [4, 5, true],
    ]);
    expect(b.dma.counters.coalesced).toBe(0);
  });
});

describe('giving up', () => {
  test('a stalled access runs out unseen; its lane serves again then', () => {
    const b = dmaBench({}, {}, { lanes: 1 });
    b.agent.hold = true;
    const old = b.load(5, 0, 8);
    b.dma.abandon();
    expect(b.dma.busy).toBe(true);
    // Transactions Pending (PCI_EXP_DEVSTA_TRPND).
    expect(b.read(b.config(DEVFN, 0x4a), 2)).toBe(0x20);
    const next = b.load(6, 0, 8);
    b.agent.map(6, false);
    b.run();
    expect(next.busy).toBe(true);
    b.agent.release(b.agent.held[0] as MemoryRequest);
    b.run();
    expect(old.busy).toBe(false);
    expect(b.finished).not.toContain(old);
    expect(b.finished).toContain(next);
    expect(b.read(b.config(DEVFN, 0x4a), 2)).toBe(0);
  });

  test('page requests, translations, accesses and followers are all given up; nobody hears of them', () => {
    const b = dmaBench({ ats: true, credits: 16 }, { linkNs: 100 });
    b.agent.automatic = false;
    b.load(5, 0, 8);
    b.load(5, 8, 8);
    b.run();
    b.agent.map(7, true);
    b.load(7, 0, 8);
    b.run(b.clock.now + 50);
    b.load(8, 0, 8);
    b.dma.abandon();
    b.run();
    expect(b.finished).toEqual([]);
    expect(b.dma.busy).toBe(false);
    b.agent.map(5, true);
    for (const message of [...b.agent.messages]) b.agent.respond(message, ResponseCode.SUCCESS);
    b.run();
    expect(b.finished).toEqual([]);
    expect(b.target.pageRequests?.outstanding).toBe(0);
  });

  test('a completion that gives up everything spares nobody, however the rest was to go on', () => {
    const b = dmaBench({ ats: true }, { linkNs: 100 });
    b.agent.map(5, true);
    let first = true;
    const heard: string[] = [];
    const start = (name: string, page: number) => {
      const transfer = new DmaTransfer(() => {
        heard.push(name);
        if (!first) return;
        first = false;
        b.dma.abandon();
        start('after', 6);
        start('after that', 6);
      });
      b.dma.start(transfer.prepare(false, page, 0, new Uint8Array(8), 0, 8));
    };
    // Both behind one refused translation: the first to fail gives up, with the other still to be told.
    start('opener', 7);
    start('follower', 7);
    b.agent.map(6, false);
    b.run();
    expect(heard).toEqual(['follower', 'after', 'after that']);
    expect(b.dma.busy).toBe(false);
  });

  test('a function level reset at any instant leaves nothing behind and everything usable', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 6000 }), fc.boolean(), (when, pri) => {
        const features = pri ? { ats: true, credits: 4 } : {};
        const b = dmaBench(features, { linkNs: 100, agent: { serviceNs: 700, memoryNs: 60, translateNs: 30 } });
        for (let index = 0; index < 4; index++) b.store(5 + index, 100, new Uint8Array(2 * PAGE));
        b.run(when);
        const before = b.finished.length;
        b.target.reset();
        b.run();
        expect(b.finished).toHaveLength(before);
        expect(b.dma.busy).toBe(false);
        expect(b.target.pageRequests?.outstanding).toBe(0);
        b.enable(DEVFN, features);
        const bytes = new Random('again').bytes(3 * PAGE);
        const again = b.store(30, 77, bytes);
        b.run();
        expect(again.outcome).toBe(DmaOutcome.DONE);
        expect(contents(b, 30, 77, bytes.length)).toEqual(bytes);
      }),
      { numRuns: 40 },
    );
  });
});
