/** ATS translation requests and split-stage ATS: IHI 0070 §3.9.1.2, §13.6, §13.7. */
import { describe, expect, test } from 'vitest';
import {
  type BoardOptions,
  CONTEXTS,
  DATA,
  Dma,
  SmmuBoard,
  STAGE_2_TABLES,
  TABLES,
  translationRequest,
} from '../../../test/support/smmu-board.ts';
import { AddressType, Completion, type TranslationRequest } from '../../hw/pcie/tlp.ts';
import type { Values } from '../../layout/struct.ts';
import type { CD } from '../spec/cd.layout.ts';
import { CR0, STRTAB_BASE } from '../spec/registers.layout.ts';
import type { STE } from '../spec/ste.layout.ts';

const { SUCCESS, UNSUPPORTED_REQUEST, COMPLETER_ABORT } = Completion;
const DATA_PAGE = DATA / 4096;
/** AP[2:1], XN and UXN as low and high descriptor words. */
const USER_RW = 0xf43;
const USER_RO = 0xfc3;
const PRIV_RW = 0xf03;
const XN = 0x0060_0000;

interface Setup extends BoardOptions {
  readonly cd?: Partial<Values<typeof CD>>;
  readonly ste?: Partial<Values<typeof STE>>;
}

/** Stream 8 with EATS=0b01 unless said otherwise. */
function ats(setup: Setup = {}): SmmuBoard {
  const { cd = {}, ste = {}, ...options } = setup;
  const board = new SmmuBoard(options);
  board.stage1(8, TABLES, cd, { EATS: 1, ...ste });
  board.enable();
  return board;
}

/** Nested: CD, stage 1 tables and data are mapped one to one at stage 2, the data's IPA moved up by 0x10000 pages. */
function nested(setup: Setup = {}): SmmuBoard {
  const board = ats({ ...setup, ste: { Config: 7, S2VMID: 7, ...new SmmuBoard().stage2(), ...setup.ste } });
  board.identityStage2(CONTEXTS / 4096, 1);
  board.identityStage2(TABLES / 4096, 16);
  board.mapStage2(DATA_PAGE + 0x1_0000, DATA_PAGE);
  board.map(TABLES, 0x1234, DATA_PAGE + 0x1_0000, USER_RW);
  return board;
}

function ask(board: SmmuBoard, page: number, options: Partial<TranslationRequest> = {}) {
  const request = translationRequest(8, page, options);
  board.smmu.translate(request);
  const { status, read, write, execute, privileged, global, untranslatedOnly } = request.answer;
  expect([global, untranslatedOnly]).toEqual([false, false]);
  return {
    status,
    page: request.answer.page,
    pages: request.answer.pages,
    granted: `${read ? 'R' : '-'}${write ? 'W' : '-'}${execute ? 'X' : '-'}${privileged ? 'P' : '-'}`,
  };
}

const NOTHING = { status: SUCCESS, page: 0, pages: 1, granted: '----' };
const refused = (status: Completion) => ({ ...NOTHING, status });

describe('who may ask', () => {
  test('SMMUEN=0: UR and F_BAD_ATS_TREQ', () => {
    const board = ats();
    board.write(CR0, 0xc);
    expect(ask(board, 0x1234, { pasid: 3 })).toEqual(refused(UNSUPPORTED_REQUEST));
    expect(board.events()).toEqual([[0x3805, 8, 0, 0, 0, 0, 0, 0]]);
  });

  test.each([
    ['Config=0b000: UR', { Config: 0 }, UNSUPPORTED_REQUEST, []],
    ['Config=0b100: UR and F_BAD_ATS_TREQ', { Config: 4 }, UNSUPPORTED_REQUEST, [0x05]],
    ['EATS=0b00: UR and F_BAD_ATS_TREQ', { EATS: 0 }, UNSUPPORTED_REQUEST, [0x05]],
    ['EATS=0b11 without DPT: UR and F_BAD_ATS_TREQ', { EATS: 3 }, UNSUPPORTED_REQUEST, [0x05]],
    ['V=0: CA', { V: 0 }, COMPLETER_ABORT, [0x04]],
    ['split-stage on stage 1 alone is ILLEGAL: CA', { EATS: 2 }, COMPLETER_ABORT, [0x04]],
  ])('%s', (_name, ste, status, events) => {
    const board = ats({ ste });
    expect(ask(board, 0x1234)).toEqual(refused(status));
    expect(board.events().map(([word]) => word)).toEqual(events);
  });

  test('configuration errors: CA, recorded only with CR2.REC_CFG_ATS (and RECINVSID for the StreamID)', () => {
    for (const [cr2, expected] of [
      [0b1010, [0x02, 0x04, 0x0a, 0x06, 0x5008, 0x09]],
      [0b1000, [0x04, 0x0a, 0x06, 0x5008, 0x09]],
      [0b0010, []],
    ] as const) {
      const board = new SmmuBoard();
      board.stage1(8, TABLES, { V: 0 }, { EATS: 1 });
      board.stage1(9, TABLES, {}, { EATS: 1, S1CDMax: 4 });
      board.stream(10, { Config: 5, EATS: 1, S1ContextPtr: 0x1000_0000 / 64 });
      board.enable(0x1f, cr2);
      const from = (requesterId: number, pasid: number) => {
        const request = translationRequest(requesterId, 1, { pasid });
        board.smmu.translate(request);
        return request.answer.status;
      };
      const statuses = [from(0x100, -1), from(7, -1), from(8, -1), from(9, -1), from(8, 5), from(10, -1)];
      expect(statuses).toEqual(new Array(6).fill(COMPLETER_ABORT));
      expect(board.events().map(([word]) => word)).toEqual(expected);
    }
  });

  test('F_STE_FETCH: CA', () => {
    const board = ats();
    board.write(CR0, 0xc);
    board.write64(STRTAB_BASE, 0x1000_0000);
    board.write(CR0, 0xd);
    expect(ask(board, 0x1234)).toEqual(refused(COMPLETER_ABORT));
  });

  test('without ATS in the SMMU: UR, and nothing is recorded', () => {
    const board = ats({ features: { ATS: 0 } });
    expect(ask(board, 0x1234)).toEqual(refused(UNSUPPORTED_REQUEST));
    expect(board.events()).toEqual([]);
  });
});

describe('what is granted', () => {
  // The table of §13.7, row by row.
  test.each([
    ['RO, RW', { noWrite: true, pasid: 1 }, 'user RO', USER_RO, 0, 'R---'],
    ['RW, RW', {}, 'user RW', USER_RW, 0, 'RW--'],
    ['RO, RW', { pasid: 1 }, 'user RO', USER_RO, 0, 'R---'],
    ['-, RW', { pasid: 1, privileged: true }, 'privileged RW', PRIV_RW, 0, 'RW-P'],
    ['-, RW', {}, 'privileged RW', PRIV_RW, 0, '----'],
    ['RW, RW, XN', { pasid: 1, execute: true }, 'XN', USER_RW, XN, 'RW--'],
    ['RW, RW', { pasid: 1, execute: true }, 'executable', USER_RW, 0, 'RWX-'],
    ['RW, RW, asked without a PASID', { execute: true, privileged: true }, 'executable', USER_RW, 0, 'RW--'],
  ])('%s for %j on a page that is %s', (_rights, options, _page, low, high, granted) => {
    const board = ats({ ste: { S1CDMax: 1, S1DSS: 2 } });
    board.context(CONTEXTS + 8 * 64 + 64, { TTB0: TABLES / 16 });
    board.map(TABLES, 0x1234, DATA_PAGE, low, high);
    const answer = ask(board, 0x1234, options);
    expect([answer.status, answer.granted]).toEqual([SUCCESS, granted]);
    expect(answer.page).toBe(granted.startsWith('---') ? 0 : DATA_PAGE);
  });

  test('an unmapped page: Success, R=W=0, one STU, no event, no stall', () => {
    const board = ats({ cd: { S: 1 } });
    expect(ask(board, 0x1234)).toEqual(NOTHING);
    expect([board.events(), board.smmu.outstandingStalls]).toEqual([[], 0]);
  });

  test('the STU is the smallest granule', () => {
    const board = ats({ features: { GRAN4K: 0, GRAN16K: 0 }, cd: { TG0: 1 } });
    expect(ask(board, 0x1234)).toEqual({ ...NOTHING, pages: 16 });
  });

  test('a block is answered whole', () => {
    const board = ats();
    board.map(TABLES, 0x1234, DATA_PAGE, USER_RW);
    // A 2 MiB block in the place of the level 3 table: page 0x1200 to the block at the data.
    const level2 = (board.peek((board.peek(TABLES, 1)[0] ?? 0) & ~0xfff, 1)[0] ?? 0) & ~0xfff;
    board.poke(level2 + 8 * 9, DATA | 0xf41, 0);
    expect(ask(board, 0x1234)).toEqual({ status: SUCCESS, page: DATA_PAGE, pages: 512, granted: 'RW--' });
  });

  test('PRIVCFG changes the permissions but not Priv; INSTCFG what R and Exe mean', () => {
    const board = ats({ ste: { PRIVCFG: 2, S1CDMax: 1, S1DSS: 2 } });
    board.context(CONTEXTS + 8 * 64 + 64, { TTB0: TABLES / 16 });
    board.map(TABLES, 0x1234, DATA_PAGE, USER_RO);
    expect(ask(board, 0x1234, { pasid: 1, privileged: true }).granted).toBe('R--P');
    const data = ats({ ste: { INSTCFG: 2, S1CDMax: 1, S1DSS: 2 } });
    data.context(CONTEXTS + 8 * 64 + 64, { TTB0: TABLES / 16 });
    data.map(TABLES, 0x1234, DATA_PAGE, USER_RW, XN);
    expect(ask(data, 0x1234, { pasid: 1, execute: true }).granted).toBe('RWX-');
  });

  test('the first request of a clean page makes it dirty, unless it says NW', () => {
    const DBM = 1 << 19;
    const board = ats({ cd: { HA: 1, HD: 1 } });
    board.map(TABLES, 0x1234, DATA_PAGE, USER_RO, DBM);
    expect(ask(board, 0x1234, { noWrite: true }).granted).toBe('R---');
    expect(ask(board, 0x1234).granted).toBe('RW--');
  });

  test('stage 1 skipped on a stage 1 stream: everything is itself', () => {
    const board = ats({ ste: { S1CDMax: 2, S1DSS: 1 } });
    expect(ask(board, 0x1234)).toEqual({ status: SUCCESS, page: 0, pages: 2 ** 36, granted: 'RW--' });
    expect(ask(board, 2 ** 36)).toEqual(NOTHING);
  });

  test('a walk that aborts: CA', () => {
    const board = ats({ cd: { TTB0: 0x1000_0000 / 16 } });
    expect(ask(board, 0x1234)).toEqual(refused(COMPLETER_ABORT));
    expect(board.events().map(([word]) => word)).toEqual([0x0b]);
  });
});

describe('nested streams', () => {
  test('EATS=0b01 answers with the PA', () => {
    const board = nested();
    expect(ask(board, 0x1234)).toEqual({ status: SUCCESS, page: DATA_PAGE, pages: 1, granted: 'RW--' });
  });

  test('a stage 2 fault of the CD fetch: Success, R=W=0', () => {
    const board = nested();
    board.mapStage2(CONTEXTS / 4096, 0, 0);
    expect(ask(board, 0x1234)).toEqual(NOTHING);
    expect(board.events()).toEqual([]);
  });

  test('EATS=0b10 answers with the IPA, which then goes through stage 2', () => {
    const board = nested({ ste: { EATS: 2 } });
    board.poke(DATA, 0x55);
    expect(ask(board, 0x1234)).toEqual({ status: SUCCESS, page: DATA_PAGE + 0x1_0000, pages: 1, granted: 'RW--' });
    const dma = new Dma(8, DATA_PAGE + 0x1_0000, { addressType: AddressType.TRANSLATED });
    expect(board.smmu.memory(dma)).toBe(SUCCESS);
    expect(dma.data[0]).toBe(0x55);
  });

  test('EATS=0b10 asks for ATSCHK=1', () => {
    const board = nested({ ste: { EATS: 2 } });
    board.write(CR0, 0xf);
    expect(ask(board, 0x1234)).toEqual(refused(UNSUPPORTED_REQUEST));
    expect(board.events().map(([word]) => word)).toEqual([0x05]);
  });

  test('a translated access that stage 2 denies is an ordinary stage 2 event', () => {
    const board = nested({ ste: { EATS: 2 } });
    const dma = new Dma(8, 0x5_5555, { addressType: AddressType.TRANSLATED, write: true });
    expect(board.smmu.memory(dma)).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x10, 8, 0, 0x280, 0x5555_5000, 0, 0x5555_5000, 0]]);
  });

  test('a translated access beyond the IAS is a stage 1 F_ADDR_SIZE', () => {
    const board = nested({ ste: { EATS: 2 } });
    board.smmu.memory(new Dma(8, 2 ** 36, { addressType: AddressType.TRANSLATED }));
    expect(board.events()).toEqual([[0x11, 8, 0, 0x208, 0, 0x1_0000, 0, 0]]);
  });

  test('split-stage with stage 1 skipped answers with the input and stage 2 permissions', () => {
    const board = nested({ ste: { EATS: 2, S1CDMax: 2, S1DSS: 1 } });
    board.mapStage2(DATA_PAGE + 0x1_0000, DATA_PAGE, 0x77f);
    expect(ask(board, DATA_PAGE + 0x1_0000)).toEqual({
      status: SUCCESS,
      page: DATA_PAGE + 0x1_0000,
      pages: 1,
      granted: 'R---',
    });
  });

  test('full ATS with stage 1 skipped goes through stage 2', () => {
    const board = nested({ ste: { S1CDMax: 2, S1DSS: 1 } });
    expect(ask(board, DATA_PAGE + 0x1_0000)).toMatchObject({ status: SUCCESS, page: DATA_PAGE });
  });

  test('stage 2 tables where nothing answers: CA for the request, F_WALK_EABT for an access', () => {
    const board = nested({ ste: { S2TTB: 0x1000_0000 / 16 } });
    expect(ask(board, 0x1234)).toEqual(refused(COMPLETER_ABORT));
    board.events();
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(COMPLETER_ABORT);
    const [record] = board.events();
    // S2=1, CLASS=CD; the level 1 descriptor of the CD's IPA.
    expect(record?.slice(0, 5)).toEqual([0x0b, 8, 0, 0x88, 0x0123_4000]);
    expect(record?.[6]).toBe(0x1000_0000 + 8);
  });
});

describe('stage 2 events of ordinary accesses', () => {
  test('the CD fetch: CLASS=CD and the IPA of the CD', () => {
    const board = nested();
    board.mapStage2(CONTEXTS / 4096, 0, 0);
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x10, 8, 0, 0x88, 0x0123_4000, 0, CONTEXTS, 0]]);
  });

  test('the table walk: CLASS=TT and the IPA of the descriptor', () => {
    const board = nested();
    board.mapStage2(TABLES / 4096, 0, 0);
    board.smmu.memory(new Dma(8, 0x1234, { write: true }));
    expect(board.events()).toEqual([[0x10, 8, 0, 0x180, 0x0123_4000, 0, TABLES, 0]]);
  });

  test('the data: CLASS=IN and the IPA of the data', () => {
    const board = nested();
    board.mapStage2(DATA_PAGE + 0x1_0000, DATA_PAGE, 0x77f);
    board.smmu.memory(new Dma(8, 0x1234, { write: true }));
    expect(board.events()).toEqual([[0x13, 8, 0, 0x280, 0x0123_4000, 0, DATA + 0x1000_0000, 0]]);
  });

  test('S2R=0 is silent, S2S=1 stalls, for CD fetch and data alike', () => {
    const silent = nested({ ste: { S2R: 0 } });
    silent.mapStage2(CONTEXTS / 4096, 0, 0);
    expect(silent.smmu.memory(new Dma(8, 0x1234))).toBe(COMPLETER_ABORT);
    expect(silent.events()).toEqual([]);
    const stalls = nested({ ste: { S2S: 1, S2R: 0, EATS: 0 } });
    stalls.mapStage2(CONTEXTS / 4096, 0, 0);
    const dma = new Dma(8, 0x1234);
    expect(stalls.smmu.memory(dma)).toBe(Completion.PENDING);
    const [record] = stalls.events();
    expect([record?.[0], (record?.[2] ?? 0) >>> 31]).toEqual([0x10, 1]);
    stalls.mapStage2(CONTEXTS / 4096, CONTEXTS / 4096);
    stalls.command([0x28, 7, 0, 0], [0x1044, 8, (record?.[2] ?? 0) & 0xffff, 0]);
    expect(dma.completions).toEqual([SUCCESS]);
  });

  test('stage 2 alone checks its input against the IAS first', () => {
    const board = new SmmuBoard();
    board.stream(8, { Config: 6, ...board.stage2(STAGE_2_TABLES) });
    board.mapStage2(0x77, DATA_PAGE);
    board.enable();
    expect(board.smmu.memory(new Dma(8, 0x77))).toBe(SUCCESS);
    expect(board.smmu.memory(new Dma(8, 2 ** 36))).toBe(COMPLETER_ABORT);
    expect(board.smmu.memory(new Dma(8, 2 ** 35))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([
      [0x11, 8, 0, 0x208, 0, 0x1_0000, 0, 0],
      [0x10, 8, 0, 0x288, 0, 0x8000, 0, 0x8000],
    ]);
  });
});
