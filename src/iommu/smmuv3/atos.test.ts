/** GATOS: IHI 0070 chapter 9. Results typed as 64-bit words, low half first. */
import { describe, expect, test } from 'vitest';
import { CONTEXTS, DATA, SmmuBoard, STAGE_2_TABLES, TABLES } from '../../../test/support/smmu-board.ts';
import { CMDQ_CONS, CR0, GATOS_ADDR, GATOS_CTRL, GATOS_PAR, GATOS_SID } from '../spec/registers.layout.ts';
import type { FeatureOptions } from './features.ts';

const DATA_PAGE = DATA / 4096;
const RW = 0x743;
const RO = 0x7c3;

/** GATOS_ADDR bits. */
const READ = 1 << 8;
const PRIVILEGED = 1 << 9;
const STAGE_1 = 1 << 10;
const STAGE_2 = 2 << 10;
const BOTH = 3 << 10;
const INHIBIT = 1 << 6;

/** FAULTCODE at [11:4], REASON at [2:1]. */
const fault = (code: number, reason = 0, faddr = 0) => [
  ((code << 4) | (reason << 1) | 1) + (faddr % 2 ** 32),
  Math.floor(faddr / 2 ** 32),
];

function look(board: SmmuBoard, streamId: number, page: number, bits: number, substream = -1): number[] {
  board.write32(GATOS_SID.offset, streamId);
  board.write32(GATOS_SID.offset + 4, substream < 0 ? 0 : (1 << 20) | substream);
  board.write32(GATOS_ADDR.offset, ((page % 2 ** 20) * 4096 + bits) >>> 0);
  board.write32(GATOS_ADDR.offset + 4, Math.floor(page / 2 ** 20));
  board.write(GATOS_CTRL, 1);
  expect(board.read(GATOS_CTRL)).toBe(0);
  return [board.read32(GATOS_PAR.offset), board.read32(GATOS_PAR.offset + 4)];
}

function stage1Only(cd = {}, ste = {}): SmmuBoard {
  const board = new SmmuBoard();
  board.stage1(8, TABLES, cd, ste);
  board.map(TABLES, 0x1234, DATA_PAGE, RW);
  board.map(TABLES, 0x1236, DATA_PAGE, RO);
  board.enable();
  return board;
}

function nested(features: FeatureOptions = {}): SmmuBoard {
  const board = new SmmuBoard({ features });
  board.stage1(8, TABLES, {}, { ...board.stage2(), Config: 7 });
  board.identityStage2(CONTEXTS / 4096, 1);
  board.identityStage2(TABLES / 4096, 16);
  board.mapStage2(DATA_PAGE + 0x1_0000, DATA_PAGE);
  board.map(TABLES, 0x1234, DATA_PAGE + 0x1_0000, RW);
  board.enable();
  return board;
}

describe('results', () => {
  test('a 4 KiB page: address, shareability, attributes', () => {
    expect(look(stage1Only(), 8, 0x1234, STAGE_1 | READ)).toEqual([DATA | (3 << 8), 0xff00_0000]);
  });

  test('a block says its size by the lowest set bit of ADDR', () => {
    const board = stage1Only();
    const level2 = (board.peek((board.peek(TABLES, 1)[0] ?? 0) & ~0xfff, 1)[0] ?? 0) & ~0xfff;
    board.poke(level2 + 8 * 9, DATA | 0x741, 0);
    // 2 MiB: bit 20 and Size at bit 11.
    expect(look(board, 8, 0x1234, STAGE_1 | READ)).toEqual([DATA | (1 << 20) | (1 << 11) | (3 << 8), 0xff00_0000]);
  });

  test('nested: the IPA for stage 1, the PA for both and for stage 2 from the IPA', () => {
    const board = nested();
    const ipa = DATA + 0x1000_0000;
    expect(look(board, 8, 0x1234, STAGE_1 | READ)[0]).toBe(ipa | (3 << 8));
    expect((look(board, 8, 0x1234, BOTH | READ)[0] ?? 0) & ~0xfff).toBe(DATA);
    expect((look(board, 8, ipa / 4096, STAGE_2 | READ)[0] ?? 0) & ~0xfff).toBe(DATA);
  });

  test('Device memory is Outer Shareable', () => {
    const board = stage1Only({ MAIR0: 0x00 });
    expect(look(board, 8, 0x1234, STAGE_1 | READ)).toEqual([DATA | (2 << 8), 0]);
  });

  test('permissions are those of the request; STE overrides play no part', () => {
    const board = stage1Only({}, { PRIVCFG: 2, INSTCFG: 3 });
    board.map(TABLES, 0x1237, DATA_PAGE, 0x703);
    expect(look(board, 8, 0x1236, STAGE_1)).toEqual(fault(0x13));
    expect((look(board, 8, 0x1236, STAGE_1 | READ)[0] ?? 1) & 1).toBe(0);
    expect(look(board, 8, 0x1237, STAGE_1 | READ)).toEqual(fault(0x13));
    expect((look(board, 8, 0x1237, STAGE_1 | READ | PRIVILEGED)[0] ?? 1) & 1).toBe(0);
  });

  test('HTTUI=1 leaves the descriptor alone and does not fault', () => {
    const board = stage1Only({ HA: 1 });
    board.map(TABLES, 0x1300, DATA_PAGE, RW & ~0x400);
    expect((look(board, 8, 0x1300, STAGE_1 | READ | INHIBIT)[0] ?? 1) & 1).toBe(0);
    const quiet = stage1Only();
    quiet.map(TABLES, 0x1300, DATA_PAGE, RW & ~0x400);
    expect(look(quiet, 8, 0x1300, STAGE_1 | READ)).toEqual(fault(0x12));
  });
});

describe('faults', () => {
  test.each([
    ['TYPE=0b00', 8, 0x1234, READ, fault(0xff)],
    ['stage 2 with a SubstreamID', 8, 0x1234, STAGE_2 | READ, fault(0xff)],
    ['stage 2 of a stage 1 stream', 8, 0x1234, STAGE_2 | READ, fault(0xfe)],
    ['both of a stage 1 stream', 8, 0x1234, BOTH | READ, fault(0xfe)],
    ['a StreamID out of range', 0x100, 0x1234, STAGE_1 | READ, fault(0x02)],
    ['an invalid STE', 9, 0x1234, STAGE_1 | READ, fault(0x04)],
    ['an unmapped page', 8, 0x5555, STAGE_1 | READ, fault(0x10)],
  ])('%s', (name, streamId, page, bits, expected) => {
    const substream = name.endsWith('SubstreamID') ? 3 : -1;
    const board = stage1Only();
    expect(look(board, streamId, page, bits, substream)).toEqual(expected);
    expect(board.events()).toEqual([]);
  });

  test('a stream that aborts or bypasses is INV_STAGE', () => {
    const board = stage1Only({}, { Config: 0 });
    expect(look(board, 8, 0, STAGE_1 | READ)).toEqual(fault(0xfe));
    const bypass = stage1Only({}, { Config: 4 });
    expect(look(bypass, 8, 0, STAGE_1 | READ)).toEqual(fault(0xfe));
  });

  test('substreams: F_STREAM_DISABLED, C_BAD_SUBSTREAMID, C_BAD_CD', () => {
    const board = stage1Only({}, { S1CDMax: 2 });
    expect(look(board, 8, 0x1234, STAGE_1 | READ)).toEqual(fault(0x06));
    expect(look(board, 8, 0x1234, STAGE_1 | READ, 4)).toEqual(fault(0x08));
    expect(look(board, 8, 0x1234, STAGE_1 | READ, 3)).toEqual(fault(0x0a));
  });

  test('S1DSS=0b01 returns the input for stage 1, or its size fault', () => {
    const board = stage1Only({}, { S1CDMax: 2, S1DSS: 1 });
    expect((look(board, 8, 0x4321, STAGE_1 | READ)[0] ?? 0) & ~0xfff).toBe(0x0432_1000);
    expect(look(board, 8, 2 ** 36, STAGE_1 | READ)).toEqual(fault(0x11));
  });

  // The table of §9.1.4.
  test('stage 2 faults name what was fetched and where, for a request of both stages', () => {
    const board = nested();
    expect(look(board, 8, 0x9999, BOTH | READ)).toEqual(fault(0x10));
    board.map(TABLES, 0x1300, DATA_PAGE + 0x2_0000, RW);
    expect(look(board, 8, 0x1300, BOTH | READ)).toEqual(fault(0x10, 3, DATA + 0x2000_0000));
    board.mapStage2(TABLES / 4096, 0, 0);
    expect(look(board, 8, 0x8_0000_0000, BOTH | READ)).toEqual(fault(0x10, 0));
  });

  test('stage 2 faults of the walk and of the CD fetch', () => {
    const walk = nested();
    walk.mapStage2(TABLES / 4096, 0, 0);
    expect(look(walk, 8, 0x1234, BOTH | READ)).toEqual(fault(0x10, 2, TABLES));
    expect(look(walk, 8, 0x1234, STAGE_1 | READ)).toEqual(fault(0x0b));
    const fetch = nested();
    fetch.mapStage2(CONTEXTS / 4096, 0, 0);
    expect(look(fetch, 8, 0x1234, BOTH | READ)).toEqual(fault(0x10, 1, CONTEXTS));
    expect(look(fetch, 8, 0x1234, STAGE_1 | READ)).toEqual(fault(0x09));
  });

  test('a TLB conflict is none of the faults of §9.1.4 that have a REASON, wherever it strikes', () => {
    const board = nested({ BBML: 0 });
    // Pages of an IPA block and the block itself, for what is translated and for the stage 1 tables.
    for (const page of [DATA_PAGE + 0x1_0000, TABLES / 4096]) {
      expect((look(board, 8, page, STAGE_2 | READ)[0] ?? 1) & 1).toBe(0);
      const level2 = (board.peek(STAGE_2_TABLES + 8 * Math.floor(page / 2 ** 18), 1)[0] ?? 0) & ~0xfff;
      const block = page === TABLES / 4096 ? TABLES : DATA;
      board.poke(level2 + 8 * (Math.floor(page / 512) % 512), block | 0x7fd, 0);
      look(board, 8, page + 32, STAGE_2 | READ);
      if (page !== TABLES / 4096) {
        board.map(TABLES, 0x1301, page, RW);
        expect(look(board, 8, 0x1301, BOTH | READ)).toEqual(fault(0x20));
      }
    }
    expect(look(board, 8, 0x1234, STAGE_1 | READ)).toEqual(fault(0x20));
    expect(look(board, 8, 0x1234, BOTH | READ)).toEqual(fault(0x20));
  });

  test('a stage 2 request shows no address', () => {
    expect(look(nested(), 8, 0x7_7777, STAGE_2 | READ)).toEqual(fault(0x10, 3));
    expect(look(nested(), 8, 2 ** 36, STAGE_2 | READ)).toEqual(fault(0x11, 0));
  });
});

describe('GATOS_CTRL', () => {
  test('RUN is ignored while SMMUEN=0', () => {
    const board = stage1Only();
    board.write(CR0, 0xc);
    board.write(GATOS_CTRL, 1);
    expect([board.read(GATOS_CTRL), board.read32(GATOS_PAR.offset)]).toEqual([0, 0]);
  });

  test('stays set for the time of the look-up, and freezes its operands', () => {
    const board = new SmmuBoard({ profile: 'kunpeng920' });
    board.stage1(8, TABLES);
    board.map(TABLES, 0x1234, DATA_PAGE, RW);
    board.enable();
    board.write32(GATOS_SID.offset, 8);
    board.write32(GATOS_ADDR.offset, 0x0123_4000 | STAGE_1 | READ);
    board.write(GATOS_CTRL, 1);
    expect([board.read(GATOS_CTRL), board.read32(GATOS_PAR.offset)]).toEqual([1, 0]);
    board.write32(GATOS_SID.offset, 9);
    expect(board.read32(GATOS_SID.offset)).toBe(8);
    board.clock.fireNext();
    expect([board.read(GATOS_CTRL), board.read32(GATOS_PAR.offset)]).toEqual([0, DATA | (3 << 8)]);
  });

  test('a result owes nothing to what an invalidation removed that completed before it (chapter 9)', () => {
    const board = new SmmuBoard({ profile: 'kunpeng920' });
    board.stage1(8, TABLES);
    board.map(TABLES, 0x1234, DATA_PAGE, RW);
    board.enable();
    board.write32(GATOS_SID.offset, 8);
    board.write32(GATOS_ADDR.offset, 0x0123_4000 | STAGE_1 | READ);
    board.write(GATOS_CTRL, 1);
    board.map(TABLES, 0x1234, DATA_PAGE + 1, RW);
    board.command([0x30, 0, 0, 0], [0x46, 0, 0, 0]);
    while (board.read(CMDQ_CONS) !== 2) board.clock.fireNext();
    expect(board.read(GATOS_CTRL)).toBe(1);
    while (board.read(GATOS_CTRL) === 1) board.clock.fireNext();
    expect(board.read32(GATOS_PAR.offset)).toBe((DATA + 0x1000) | (3 << 8));
  });

  test('SMMUEN=0 ends a look-up with INTERNAL_ERR', () => {
    const board = new SmmuBoard({ profile: 'kunpeng920' });
    board.stage1(8, TABLES);
    board.enable();
    board.write32(GATOS_SID.offset, 8);
    board.write32(GATOS_ADDR.offset, STAGE_1 | READ);
    board.write(GATOS_CTRL, 1);
    board.write(CR0, 0);
    expect([board.read(GATOS_CTRL), board.read32(GATOS_PAR.offset)]).toEqual([0, 0xfd1]);
    expect(board.clock.fireNext()).toBe(false);
  });
});
