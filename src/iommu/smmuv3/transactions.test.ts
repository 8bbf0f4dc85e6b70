/** What a DMA meets on its way, and the event records it leaves: words typed from IHI 0070 §7.3. */
import { describe, expect, test } from 'vitest';
import { CONTEXTS, DATA, Dma, SmmuBoard, STREAM_TABLE, TABLES } from '../../../test/support/smmu-board.ts';
import { AddressType, Completion } from '../../hw/pcie/tlp.ts';
import { CR0, CR2, GBPA, STRTAB_BASE, STRTAB_BASE_CFG } from '../spec/registers.layout.ts';

const { SUCCESS, COMPLETER_ABORT, UNSUPPORTED_REQUEST } = Completion;
const DATA_PAGE = DATA / 4096;
/** Low descriptor bits of a read-write user page; AP[2]=1 makes it read-only. */
const WRITABLE = 0x743;
const READ_ONLY = 0x7c3;

/** Stream 8 translates page 0x1234 to the data page. */
function translating(cd = {}, ste = {}): SmmuBoard {
  const board = new SmmuBoard();
  board.stage1(8, TABLES, cd, ste);
  board.map(TABLES, 0x1234, DATA_PAGE, WRITABLE);
  board.map(TABLES, 0x1236, DATA_PAGE, READ_ONLY);
  board.enable();
  return board;
}

describe('with SMMUEN=0', () => {
  test('transactions pass untranslated, substreams too', () => {
    const board = new SmmuBoard();
    board.poke(DATA, 0x1122_3344);
    const dma = new Dma(8, DATA_PAGE, { pasid: 5, length: 4 });
    expect(board.smmu.memory(dma)).toBe(SUCCESS);
    expect([...dma.data]).toEqual([0x44, 0x33, 0x22, 0x11]);
  });

  test('GBPA.ABORT=1 aborts them, and so does an address beyond the OAS; neither leaves a record', () => {
    const board = new SmmuBoard();
    board.enable(0b1100);
    expect(board.smmu.memory(new Dma(8, 2 ** 36))).toBe(COMPLETER_ABORT);
    board.write(GBPA, 0x8010_0000);
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([]);
  });

  test('translated transactions are refused with F_TRANSL_FORBIDDEN', () => {
    const board = new SmmuBoard();
    board.enable(0b1100);
    const dma = new Dma(8, 0x7_f000_0001, { addressType: AddressType.TRANSLATED, offset: 0x10 });
    expect(board.smmu.memory(dma)).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x07, 8, 0, 0x8, 0x1010, 0x7f00, 0, 0]]);
  });
});

describe('a translated page', () => {
  test('is read and written at its target', () => {
    const board = translating();
    board.poke(DATA + 16, 0xcafe_f00d);
    const read = new Dma(8, 0x1234, { offset: 16, length: 4 });
    expect(board.smmu.memory(read)).toBe(SUCCESS);
    expect([...read.data]).toEqual([0x0d, 0xf0, 0xfe, 0xca]);
    const write = new Dma(8, 0x1234, { write: true, offset: 8, data: Uint8Array.of(1, 2, 3, 4), length: 4 });
    expect(board.smmu.memory(write)).toBe(SUCCESS);
    expect(board.peek(DATA + 8, 1)).toEqual([0x0403_0201]);
  });

  test('that leads where nothing answers is no SMMU event', () => {
    const board = translating();
    board.map(TABLES, 0x1300, 0x2, WRITABLE);
    expect(board.smmu.memory(new Dma(8, 0x1300))).toBe(UNSUPPORTED_REQUEST);
    expect(board.events()).toEqual([]);
  });

  test('answers translateAccess without a record', () => {
    const board = translating();
    expect(board.smmu.translateAccess(8, -1, 0x1234, true)).toBe(DATA_PAGE);
    expect(board.smmu.translateAccess(8, -1, 0x1236, true)).toBe(-1);
    expect(board.events()).toEqual([]);
  });
});

describe('configuration errors', () => {
  test('C_BAD_STREAMID: a StreamID beyond the table, recorded only with CR2.RECINVSID', () => {
    const board = new SmmuBoard();
    board.enable();
    expect(board.smmu.memory(new Dma(0x100, 1, { pasid: 3 }))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x3802, 0x100, 0, 0, 0, 0, 0, 0]]);
    board.write(CR0, 0xc);
    board.write(CR2, 0);
    board.write(CR0, 0xd);
    expect(board.smmu.memory(new Dma(0x100, 1))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([]);
  });

  test('F_STE_FETCH: the stream table is where nothing answers', () => {
    const board = new SmmuBoard();
    board.enable(0);
    board.write64(STRTAB_BASE, 0x1_0000_0000_0000 - 0x1_0000);
    board.write(CR0, 0xd);
    expect(board.smmu.memory(new Dma(2, 1))).toBe(COMPLETER_ABORT);
    // FetchAddr[55:3] at bits 247:195.
    expect(board.events()).toEqual([[0x03, 2, 0, 0, 0, 0, 0xffff_0080, 0xffff]]);
  });

  test('C_BAD_STE: V=0, and a StreamID with its SubstreamID in the record', () => {
    const board = new SmmuBoard();
    board.enable();
    expect(board.smmu.memory(new Dma(7, 1, { pasid: 0xf_ffff }))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0xffff_f804, 7, 0, 0, 0, 0, 0, 0]]);
  });

  test('Config=0b000 aborts in silence', () => {
    const board = new SmmuBoard();
    board.stream(8, { Config: 0 });
    board.stream(9, { Config: 3 });
    board.enable();
    expect(board.smmu.memory(new Dma(8, 1))).toBe(COMPLETER_ABORT);
    expect(board.smmu.memory(new Dma(9, 1))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([]);
  });

  test('Config=0b100 passes, refuses SubstreamIDs, and checks the address against the OAS', () => {
    const board = new SmmuBoard();
    board.stream(8, { Config: 4 });
    board.enable();
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(SUCCESS);
    expect(board.smmu.memory(new Dma(8, DATA_PAGE, { pasid: 9 }))).toBe(COMPLETER_ABORT);
    expect(board.smmu.memory(new Dma(8, 2 ** 36, { write: true, offset: 4 }))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([
      [0x9008, 8, 0, 0, 0, 0, 0, 0],
      [0x11, 8, 0, 0x200, 4, 0x1_0000, 0, 0],
    ]);
  });

  test('F_CD_FETCH: the CD is where nothing answers', () => {
    const board = new SmmuBoard();
    board.stream(8, { Config: 5, S1ContextPtr: 0x1000_0040 / 64 });
    board.enable();
    expect(board.smmu.memory(new Dma(8, 1))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x09, 8, 0, 0, 0, 0, 0x1000_0040, 0]]);
  });

  test('C_BAD_CD: V=0', () => {
    const board = translating({ V: 0 });
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x0a, 8, 0, 0, 0, 0, 0, 0]]);
  });
});

describe('two-level stream tables', () => {
  /** The example of §3.3.1.2: SPLIT=8, with spans of 256, 4, none and 1 StreamIDs. */
  function twoLevel(): SmmuBoard {
    const board = new SmmuBoard();
    const leaves = STREAM_TABLE + 0x1_0000;
    board.poke(STREAM_TABLE, leaves + 9, 0, leaves + 0x8000 + 3, 0, 0, 0, leaves + 0xc000 + 1, 0);
    for (const [leaf, count] of [
      [leaves, 256],
      [leaves + 0x8000, 256],
      [leaves + 0xc000, 256],
    ] as const) {
      // V=1, Config=0b100
      for (let index = 0; index < count; index++) board.poke(leaf + 64 * index, 0x9);
    }
    board.enable(0);
    board.write(STRTAB_BASE_CFG, (1 << 16) | (8 << 6) | 10);
    board.write(CR0, 0xd);
    return board;
  }

  test.each([
    [0, true],
    [255, true],
    [256, true],
    [259, true],
    [260, false],
    [512, false],
    [767, false],
    [768, true],
    [769, false],
    [1023, false],
    [1024, false],
  ])('StreamID %i is reachable: %s', (streamId, reachable) => {
    const board = twoLevel();
    expect(board.smmu.memory(new Dma(streamId, DATA_PAGE))).toBe(reachable ? SUCCESS : COMPLETER_ABORT);
    expect(board.events()).toEqual(reachable ? [] : [[0x02, streamId, 0, 0, 0, 0, 0, 0]]);
  });

  test('a span beyond the split point is invalid', () => {
    const board = new SmmuBoard();
    board.poke(STREAM_TABLE, STREAM_TABLE + 0x1_0000 + 8, 0);
    board.poke(STREAM_TABLE + 0x1_0000, 0x9);
    board.enable(0);
    board.write(STRTAB_BASE_CFG, (1 << 16) | (6 << 6) | 10);
    board.write(CR0, 0xd);
    expect(board.smmu.memory(new Dma(0, DATA_PAGE))).toBe(COMPLETER_ABORT);
    board.poke(STREAM_TABLE, STREAM_TABLE + 0x1_0000 + 7, 0);
    board.command([0x03, 0, 0, 0]);
    expect(board.smmu.memory(new Dma(0, DATA_PAGE))).toBe(SUCCESS);
  });
});

describe('substreams', () => {
  /** Four CDs; only that of index 2 maps the page, the others map nothing. */
  function substreams(ste: object): SmmuBoard {
    const board = new SmmuBoard();
    for (let index = 0; index < 4; index++) {
      board.context(CONTEXTS + 64 * index, { TTB0: (TABLES + 0x10_0000 * (index === 2 ? 0 : 1)) / 16, ASID: index });
    }
    // nG: the page belongs to its ASID alone.
    board.map(TABLES, 0x1234, DATA_PAGE, WRITABLE | 0x800);
    board.stream(8, { Config: 5, S1ContextPtr: CONTEXTS / 64, S1CDMax: 2, ...ste });
    board.enable();
    return board;
  }
  const access = (board: SmmuBoard, pasid: number) => {
    const status = board.smmu.memory(new Dma(8, 0x1234, { pasid }));
    return { status, events: board.events().map(([word]) => word) };
  };

  test('each SubstreamID has its CD', () => {
    const board = substreams({});
    expect(access(board, 2)).toEqual({ status: SUCCESS, events: [] });
    expect(access(board, 1)).toEqual({ status: COMPLETER_ABORT, events: [0x1810] });
    expect(access(board, 0)).toEqual({ status: COMPLETER_ABORT, events: [0x0810] });
  });

  test('a SubstreamID at 2^S1CDMax is C_BAD_SUBSTREAMID', () => {
    expect(access(substreams({}), 4)).toEqual({ status: COMPLETER_ABORT, events: [0x4008] });
  });

  test('S1DSS=0b00 and 0b11 refuse what has none with F_STREAM_DISABLED', () => {
    expect(access(substreams({ S1DSS: 0 }), -1)).toEqual({ status: COMPLETER_ABORT, events: [0x06] });
    expect(access(substreams({ S1DSS: 3 }), -1)).toEqual({ status: COMPLETER_ABORT, events: [0x06] });
  });

  test('S1DSS=0b01 lets it pass stage 1', () => {
    const board = substreams({ S1DSS: 1 });
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(SUCCESS);
    expect(board.smmu.memory(new Dma(8, 2 ** 36))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x11, 8, 0, 0x208, 0, 0x1_0000, 0, 0]]);
  });

  test('S1DSS=0b10 gives it CD 0, which no substream may use', () => {
    const board = substreams({ S1DSS: 2 });
    expect(access(board, -1)).toEqual({ status: COMPLETER_ABORT, events: [0x10] });
    expect(access(board, 0)).toEqual({ status: COMPLETER_ABORT, events: [0x06] });
  });

  test('without substreams in the STE or the SMMU, any SubstreamID is bad', () => {
    expect(access(substreams({ S1CDMax: 0 }), 0)).toEqual({ status: COMPLETER_ABORT, events: [0x0008] });
    const board = new SmmuBoard({ features: { SSIDSIZE: 0 } });
    board.stage1(8, TABLES, {}, { S1CDMax: 3 });
    board.map(TABLES, 0x1234, DATA_PAGE, WRITABLE);
    board.enable();
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(SUCCESS);
    expect(access(board, 1)).toEqual({ status: COMPLETER_ABORT, events: [0x1008] });
  });

  test.each([
    ['4 KiB leaves', 1, 64],
    ['64 KiB leaves', 2, 1024],
  ])('two-level CD tables with %s', (_name, format, leaf) => {
    const board = new SmmuBoard();
    const table = CONTEXTS + 0x1_0000;
    board.poke(CONTEXTS, table | 1, 0, 0, 0);
    board.context(table + 64 * 3, { TTB0: TABLES / 16 });
    board.map(TABLES, 0x1234, DATA_PAGE, WRITABLE);
    board.stream(8, { Config: 5, S1ContextPtr: CONTEXTS / 64, S1CDMax: 12, S1Fmt: format });
    board.enable();
    expect(access(board, 3)).toEqual({ status: SUCCESS, events: [] });
    expect(access(board, leaf)).toEqual({
      status: COMPLETER_ABORT,
      events: [((leaf << 12) | 8) >>> 0],
    });
  });
});

describe('translation faults', () => {
  test.each([
    ['A=1 R=1', { A: 1, R: 1 }, COMPLETER_ABORT, 1, 0xee],
    ['A=1 R=0', { A: 1, R: 0 }, COMPLETER_ABORT, 0, 0xee],
    ['A=0 R=1', { A: 0, R: 1 }, SUCCESS, 1, 0],
    ['A=0 R=0', { A: 0, R: 0 }, SUCCESS, 0, 0],
  ])('%s decides the response and the record (§5.5)', (_name, cd, status, records, byte) => {
    const board = translating(cd);
    const dma = new Dma(8, 0x1235);
    expect(board.smmu.memory(dma)).toBe(status);
    expect(dma.data.every((value) => value === byte)).toBe(true);
    expect(board.events()).toHaveLength(records);
  });

  test('RAZ/WI drops the data of a write', () => {
    const board = translating({ A: 0 });
    expect(board.smmu.memory(new Dma(8, 0x1236, { write: true }))).toBe(SUCCESS);
    expect(board.peek(DATA, 1)).toEqual([0]);
  });

  test('F_TRANSLATION and F_PERMISSION as §7.3.13 and §7.3.16 lay them out', () => {
    const board = translating();
    board.smmu.memory(new Dma(8, 0x1235, { offset: 0x123 }));
    board.smmu.memory(new Dma(8, 0x1236, { write: true }));
    expect(board.events()).toEqual([
      [0x10, 8, 0, 0x208, 0x0123_5123, 0, 0, 0],
      [0x13, 8, 0, 0x200, 0x0123_6000, 0, 0, 0],
    ]);
  });

  test('F_WALK_EABT carries the descriptor address and aborts whatever A and R say', () => {
    const board = translating({ A: 0, R: 0, TTB0: 0x1000_0000 / 16 });
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([[0x0b, 8, 0, 0x108, 0x0123_4000, 0, 0x1000_0000, 0]]);
  });

  test('PRIVCFG and INSTCFG show in the record; a write is never an instruction', () => {
    const board = translating({}, { PRIVCFG: 3, INSTCFG: 3 });
    board.smmu.memory(new Dma(8, 0x1235));
    board.smmu.memory(new Dma(8, 0x1235, { write: true }));
    expect(board.events().map((words) => words[3])).toEqual([0x20e, 0x202]);
  });

  test('overrides do nothing where IDR1.ATTR_PERMS_OVR=0', () => {
    const board = new SmmuBoard({ features: { ATTR_PERMS_OVR: 0 } });
    board.stage1(8, TABLES, {}, { PRIVCFG: 3, INSTCFG: 3 });
    board.enable();
    board.smmu.memory(new Dma(8, 0x1235));
    expect(board.events().map((words) => words[3])).toEqual([0x208]);
  });
});

describe('configuration caches', () => {
  test('a changed STE counts after CMD_CFGI_STE, not before', () => {
    const board = translating();
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(SUCCESS);
    board.stream(8, { Config: 0 });
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(SUCCESS);
    board.command([0x03, 9, 1, 0]);
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(SUCCESS);
    board.command([0x03, 8, 1, 0]);
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(COMPLETER_ABORT);
  });

  test('an invalid STE that was fetched stays invalid until it is invalidated', () => {
    const board = new SmmuBoard();
    board.enable();
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(COMPLETER_ABORT);
    board.stream(8, { Config: 4 });
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(COMPLETER_ABORT);
    board.command([0x04, 0, 31, 0]);
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(SUCCESS);
  });

  test.each([
    ['CFGI_CD', [0x05, 8, 1, 0]],
    ['CFGI_CD_ALL', [0x06, 8, 0, 0]],
    ['CFGI_STE', [0x03, 8, 1, 0]],
    ['CFGI_STE_RANGE', [0x04, 13, 2, 0]],
    ['CFGI_ALL', [0x04, 0, 31, 0]],
  ] as const)('a changed CD counts after %s', (_name, command) => {
    const board = translating();
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(SUCCESS);
    board.context(CONTEXTS + 8 * 64, { V: 0 });
    board.command([0x05, 8 + (1 << 12), 1, 0], [0x04, 16, 2, 0]);
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(SUCCESS);
    board.command(command);
    expect(board.smmu.memory(new Dma(8, 0x1234))).toBe(COMPLETER_ABORT);
  });

  test('a level 1 descriptor goes with the non-leaf form only', () => {
    const board = new SmmuBoard();
    board.enable(0);
    board.write(STRTAB_BASE_CFG, (1 << 16) | (6 << 6) | 8);
    board.write(CR0, 0xd);
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(COMPLETER_ABORT);
    board.poke(STREAM_TABLE, STREAM_TABLE + 0x1_0000 + 7, 0);
    board.poke(STREAM_TABLE + 0x1_0000 + 8 * 64, 0x9);
    board.command([0x03, 8, 1, 0]);
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(COMPLETER_ABORT);
    board.command([0x03, 8, 0, 0]);
    expect(board.smmu.memory(new Dma(8, DATA_PAGE))).toBe(SUCCESS);
  });

  test('a level 1 CD goes with the non-leaf form only', () => {
    const board = new SmmuBoard();
    board.stream(8, { Config: 5, S1ContextPtr: CONTEXTS / 64, S1CDMax: 8, S1Fmt: 1 });
    board.map(TABLES, 0x1234, DATA_PAGE, WRITABLE);
    board.enable();
    const dma = () => board.smmu.memory(new Dma(8, 0x1234, { pasid: 70 }));
    expect(dma()).toBe(COMPLETER_ABORT);
    board.poke(CONTEXTS + 8, (CONTEXTS + 0x1_0000) | 1);
    board.context(CONTEXTS + 0x1_0000 + 6 * 64, { TTB0: TABLES / 16 });
    board.command([0x05 | (70 << 12), 8, 1, 0]);
    expect(dma()).toBe(COMPLETER_ABORT);
    board.command([0x05 | (70 << 12), 8, 0, 0]);
    expect(dma()).toBe(SUCCESS);
  });
});

describe('translated transactions with SMMUEN=1', () => {
  const translated = (board: SmmuBoard, page: number) =>
    board.smmu.memory(new Dma(8, page, { addressType: AddressType.TRANSLATED, pasid: 5 }));

  test('ATSCHK=0: they pass without a look at the configuration, within the OAS', () => {
    const board = new SmmuBoard();
    board.enable(0xd);
    expect(translated(board, DATA_PAGE)).toBe(SUCCESS);
    expect(translated(board, 2 ** 36)).toBe(COMPLETER_ABORT);
    expect(board.events()).toEqual([]);
  });

  test.each([
    ['EATS=0b00', { Config: 5, EATS: 0 }, COMPLETER_ABORT, 0x07],
    ['EATS=0b01', { Config: 5, EATS: 1 }, SUCCESS, null],
    ['EATS=0b11 without DPT', { Config: 5, EATS: 3 }, COMPLETER_ABORT, 0x07],
    ['Config=0b100', { Config: 4, EATS: 1 }, COMPLETER_ABORT, 0x07],
    ['Config=0b000', { Config: 0, EATS: 1 }, COMPLETER_ABORT, null],
  ])('ATSCHK=1 and %s', (_name, ste, status, type) => {
    const board = new SmmuBoard();
    board.stage1(8, TABLES, {}, ste);
    board.enable();
    expect(translated(board, DATA_PAGE)).toBe(status);
    expect(board.events().map(([word]) => word)).toEqual(type === null ? [] : [type]);
  });

  test('configuration errors are recorded with CR2.REC_CFG_ATS only, whatever RECINVSID says', () => {
    const board = new SmmuBoard();
    board.enable(0x1f, 0b1000);
    expect(translated(board, DATA_PAGE)).toBe(COMPLETER_ABORT);
    board.smmu.memory(new Dma(0x100, DATA_PAGE, { addressType: AddressType.TRANSLATED }));
    expect(board.events().map(([word]) => word)).toEqual([0x04, 0x02]);
    const silent = new SmmuBoard();
    silent.enable(0x1f, 0b0010);
    expect(translated(silent, DATA_PAGE)).toBe(COMPLETER_ABORT);
    expect(silent.events()).toEqual([]);
  });
});

test('costs follow the profile: configuration, walk, hit and access', () => {
  const board = new SmmuBoard({ profile: 'kunpeng920' });
  board.stage1(8, TABLES);
  board.map(TABLES, 0x1234, DATA_PAGE, WRITABLE);
  board.enable();
  const first = new Dma(8, 0x1234);
  board.smmu.memory(first);
  // STE and CD at 90 ns, four descriptors at 45, look-up 5, access 90.
  expect(first.latencyNs).toBe(2 * 90 + 4 * 45 + 5 + 90);
  const second = new Dma(8, 0x1234);
  board.smmu.memory(second);
  expect(second.latencyNs).toBe(5 + 90);
});
