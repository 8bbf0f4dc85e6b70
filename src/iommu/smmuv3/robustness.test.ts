/** Whatever software and devices do, the SMMU answers as the architecture allows: no exception, no hang, nothing lost. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  COMMANDS,
  CONTEXTS,
  Dma,
  EVENTS,
  PAGES,
  RAM,
  SmmuBoard,
  STREAM_TABLE,
  TABLES,
  translationRequest,
} from '../../../test/support/smmu-board.ts';
import type { AccessSize } from '../../hw/bus.ts';
import { AddressType, Completion } from '../../hw/pcie/tlp.ts';
import { Random } from '../../sim/random.ts';
import {
  CMDQ_CONS,
  CMDQ_PROD,
  CR0,
  GATOS_PAR,
  GERROR,
  GERRORN,
  REGISTER_BYTES,
  REGISTERS,
} from '../spec/registers.layout.ts';
import type { Smmu } from './smmu.ts';

const STATUSES: readonly number[] = Object.values(Completion);
const word = fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(0, 1, 0xffff_ffff, 0x8000_0000));
const page = fc.oneof(
  fc.maxSafeNat().map((n) => n % 2 ** 52),
  fc.integer({ min: 0, max: 0x2000 }),
);

/** Offsets that mean something, and any other. */
const offset = fc.oneof(
  fc.constantFrom(...REGISTERS.flatMap((register) => [register.offset, register.offset + 4])),
  fc.integer({ min: 0, max: REGISTER_BYTES - 1 }),
);
const size = fc.constantFrom<AccessSize>(1, 2, 4, 8);

/** Every kind of request once, from a stream with configuration and one without. */
function traffic(board: SmmuBoard, at: number): void {
  for (const streamId of [8, 0x77]) {
    for (const pasid of [-1, 1]) {
      for (const addressType of [AddressType.UNTRANSLATED, AddressType.TRANSLATED]) {
        const dma = new Dma(streamId, at, { pasid, addressType, write: at % 2 === 1, execute: true, privileged: true });
        expect(STATUSES).toContain(board.smmu.memory(dma));
      }
      const request = translationRequest(streamId, at, { pasid, execute: true });
      board.smmu.translate(request);
      expect(STATUSES).toContain(request.answer.status);
      expect(request.answer.pages).toBeGreaterThan(0);
      board.pageRequest({ requesterId: streamId, pasid, page: at, groupIndex: at % 512, last: at % 3 > 0 });
    }
  }
}

/** Every event and page request is accounted for, and no stall is left once translation is off. */
function settle(board: SmmuBoard): void {
  const { produced, written, merged, overflowed, dropped, aborted } = board.smmu.eventCounts;
  expect(produced).toBe(written + merged + overflowed + dropped + aborted);
  board.write(CR0, 0);
  board.write(CR0, 0);
  while (board.clock.fireNext());
  expect(board.smmu.outstandingStalls).toBe(0);
}

describe('registers', () => {
  test('every offset and size reads and writes without an exception, and reserved bits stay 0', () => {
    const board = new SmmuBoard();
    const data = new DataView(new ArrayBuffer(8));
    for (let at = 0; at < 0x1_1000; at = at === 0xfff ? 0x1_0000 : at + 1) {
      for (const bytes of [1, 2, 4, 8] as const) {
        data.setUint32(0, 0xffff_ffff, true);
        data.setUint32(4, 0xffff_ffff, true);
        board.smmu.writeRegister(at, bytes, data);
        board.smmu.readRegister(at, bytes, data);
        if (bytes < 4) expect(data.getUint32(0, true)).toBe(0);
      }
    }
    for (const register of REGISTERS) {
      // The look-up above failed, so this one shows its other view.
      if (register === GATOS_PAR) continue;
      const defined = register.$.fields.reduce(
        (mask, field) =>
          field.lsb < 32 ? mask | (((2 ** (Math.min(field.msb, 31) - field.lsb + 1) - 1) * 2 ** field.lsb) | 0) : mask,
        0,
      );
      expect(board.read(register) & ~defined, register.$.title).toBe(0);
    }
  });

  test('any sequence of accesses leaves an SMMU that still answers', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(offset, size, word, word, page), { maxLength: 60 }), (accesses) => {
        const board = new SmmuBoard({ random: new Random(accesses.length) });
        board.stage1(8, TABLES, { S: 1 });
        const data = new DataView(new ArrayBuffer(8));
        for (const [at, bytes, low, high, address] of accesses) {
          data.setUint32(0, low, true);
          data.setUint32(4, high, true);
          board.smmu.writeRegister(at, bytes, data);
          board.smmu.readRegister(at, bytes, data);
          traffic(board, address);
        }
        settle(board);
      }),
      { numRuns: 100, seed: 1 },
    );
  });
});

describe('structures', () => {
  const structure = fc.array(word, { minLength: 16, maxLength: 16 });

  test('any STE, CD and descriptors give architected outcomes in bounded work', () => {
    fc.assert(
      fc.property(structure, structure, fc.array(word, { minLength: 8, maxLength: 8 }), page, (ste, cd, leaf, at) => {
        const board = new SmmuBoard();
        // Half of them point at memory, so that more of the path is seen.
        const inRam = (values: number[], index: number, target: number) =>
          values.map((value, i) =>
            i === index ? ((value & 0x3f) | target) >>> 0 : i === index + 1 ? value & 0xf800_0000 : value,
          );
        const pointed = (ste[15] ?? 0) % 2 === 1;
        board.poke(STREAM_TABLE + 8 * 64, ...(pointed ? inRam(ste, 0, CONTEXTS) : ste));
        board.poke(CONTEXTS, ...(pointed ? inRam(cd, 2, TABLES) : cd));
        board.poke(TABLES, ...leaf);
        board.enable();
        traffic(board, at);
        settle(board);
      }),
      { numRuns: 300, seed: 2 },
    );
  });

  test('tables that point at themselves end', () => {
    for (const levels of [16, 25, 34, 39]) {
      const board = new SmmuBoard();
      board.stage1(8, TABLES, { T0SZ: levels });
      for (let entry = 0; entry < 512; entry++) board.poke(TABLES + 8 * entry, TABLES | 3, 0);
      board.enable();
      traffic(board, 0x1234);
      const nested = new SmmuBoard();
      nested.stage1(8, TABLES, {}, { ...nested.stage2(TABLES), Config: 7 });
      for (let entry = 0; entry < 512; entry++) nested.poke(TABLES + 8 * entry, TABLES | 0x7ff, 0);
      nested.enable();
      traffic(nested, 0x1234);
    }
  });
});

describe('commands', () => {
  const opcodes = [
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23, 0x28, 0x2a, 0x30, 0x40,
    0x41, 0x44, 0x45, 0x46, 0x50, 0x70, 0x80, 0xff,
  ];
  const command = fc
    .tuple(fc.constantFrom(...opcodes), word, word, word, word)
    .map(([opcode, a, b, c, d]) => [((a & ~0xff) | opcode) >>> 0, b, c, d] as const);

  test('any contents of the queue are consumed or stop it with an error', () => {
    fc.assert(
      fc.property(fc.array(command, { minLength: 1, maxLength: 16 }), (commands) => {
        const board = new SmmuBoard();
        board.stage1(8, TABLES, { S: 1 });
        board.enable();
        traffic(board, 3);
        for (const entry of commands) {
          board.command(entry);
          if (board.read(GERROR) % 2 !== board.read(GERRORN) % 2) {
            expect([1, 3]).toContain(board.read(CMDQ_CONS) >>> 24);
            board.poke(COMMANDS + 16 * (board.read(CMDQ_CONS) % 16), 0x46, 0, 0, 0);
            board.write(GERRORN, board.read(GERROR));
          }
        }
        expect(board.read(CMDQ_CONS) & 0x1f).toBe(board.read(CMDQ_PROD));
        settle(board);
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  test('any PROD, at any position, costs at most twice the queue', () => {
    fc.assert(
      fc.property(word, word, (prod, next) => {
        const board = new SmmuBoard();
        board.enable();
        for (let entry = 0; entry < 16; entry++) board.poke(COMMANDS + 16 * entry, 0x30, 0, 0, 0);
        board.write(CMDQ_PROD, prod);
        board.write(CMDQ_PROD, next);
        expect(board.smmu.commandsConsumed).toBeLessThanOrEqual(64);
        expect(board.read(CMDQ_CONS)).toBe(next & 0x1f);
      }),
      { numRuns: 100, seed: 4 },
    );
  });
});

/** Operations of a long run, each with one random number. */
const OPERATIONS: readonly ((board: SmmuBoard, n: number, random: Random) => void)[] = [
  (board, n) => traffic(board, n % 0x3000),
  (board, n, random) => {
    board.command([random.pick([0x03, 0x04, 0x05, 0x12, 0x30, 0x40, 0x41, 0x46]) | (n & 0xff00), 8, n, 0]);
  },
  (board, n) => board.command([0x44 | (n & 0x3000), 8, n % 256, 0]),
  (board) => board.command([0x45, 8, 0, 0], [0x46, 0, 0, 0]),
  (board) => {
    board.events();
  },
  (board) => {
    board.pageRecords();
  },
  (board, n) => board.poke(STREAM_TABLE + 8 * 64 + 4 * (n % 16), n),
  (board) => board.stage1(8, TABLES, { S: 1 }, { EATS: 1 }),
  (board, n) => board.poke(TABLES + (n % 0x4000) * 4, n),
  (board, n) => board.write(CR0, n % 32),
  (board) => board.write(CR0, 0x1f),
  (board) => {
    if (board.read(GERROR) === board.read(GERRORN)) return;
    for (let entry = 0; entry < 16; entry++) board.poke(COMMANDS + 16 * entry, 0x46, 0, 0, 0);
    board.write(GERRORN, board.read(GERROR));
  },
  (board, n) => {
    board.completesInvalidations = n % 4 > 0;
    for (const { completed } of board.invalidations.splice(0)) completed();
  },
];

test('a random program of 100,000 operations loses nothing', () => {
  const random = new Random('smmu robustness');
  const board = new SmmuBoard({ random: random.fork('registers') });
  board.enable();
  for (let step = 0; step < 100_000; step++) random.pick(OPERATIONS)(board, random.next32(), random);
  for (const { completed } of board.invalidations.splice(0)) completed();
  settle(board);
  expect(board.invariants.counts.violated).toBe(0);
  expect(board.invariants.counts.checked).toBeGreaterThan(1000);
});

test('queues that lie over the registers of the SMMU itself do no more than write them', () => {
  const board = new SmmuBoard();
  board.stage1(8, TABLES, { S: 1 });
  board.enable(0);
  board.write32(0xa0, 0x0905_0000 + 4);
  board.write32(0xc0, 0x0905_0000 + 4);
  board.write32(0x90, 0x0905_0000 + 4);
  board.write(CR0, 0x1f);
  for (let at = 0; at < 40; at++) traffic(board, at);
  settle(board);
});

test('reset in the middle of everything leaves nothing behind', () => {
  const board = new SmmuBoard({ profile: 'kunpeng920' });
  const fresh = (smmu: Smmu) => [smmu.outstandingStalls, smmu.commandsConsumed, smmu.eventCounts.produced];
  board.stage1(8, TABLES, { S: 1 });
  board.enable();
  board.completesInvalidations = false;
  const dma = new Dma(8, 7);
  board.smmu.memory(dma);
  board.command([0x40, 8, 0, 0], [0x46, 0, 0, 0]);
  board.clock.fireNext();
  board.smmu.reset();
  expect(dma.completions).toEqual([Completion.COMPLETER_ABORT]);
  expect(fresh(board.smmu)).toEqual([0, 0, 0]);
  board.invalidations[0]?.completed();
  while (board.clock.fireNext());
  expect(fresh(board.smmu)).toEqual([0, 0, 0]);
  expect([board.read(GERROR), board.peek(EVENTS + 32, 1), board.peek(PAGES, 1), board.peek(RAM, 1)]).toEqual([
    0,
    [0],
    [0],
    [0],
  ]);
});
