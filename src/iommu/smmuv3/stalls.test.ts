/** The stall model: IHI 0070 §3.12.2, §4.7.1, §4.7.2, §7.2.1. */
import { describe, expect, test } from 'vitest';
import { type BoardOptions, DATA, Dma, SmmuBoard, TABLES } from '../../../test/support/smmu-board.ts';
import { Completion } from '../../hw/pcie/tlp.ts';
import { CR0, EVENTQ_BASE, EVENTQ_PROD } from '../spec/registers.layout.ts';

const { SUCCESS, COMPLETER_ABORT, PENDING } = Completion;
const DATA_PAGE = DATA / 4096;
const WRITABLE = 0x743;

/** Streams 8 and 9 stall on stage 1 faults. */
function stalling(options: BoardOptions = {}, cd = {}, ste = {}): SmmuBoard {
  const board = new SmmuBoard(options);
  for (const streamId of [8, 9]) board.stage1(streamId, TABLES, { S: 1, ASID: streamId, ...cd }, ste);
  board.enable();
  return board;
}

/** CMD_RESUME: Ac at bit 12, Ab at bit 13, STAG at 79:64. */
const resume = (streamId: number, stag: number, ac: number, ab = 0) =>
  [0x44 | (ac << 12) | (ab << 13), streamId, stag, 0] as const;

const stagOf = (words: number[] | undefined): number => (words?.[2] ?? 0) & 0xffff;

describe('a stalled access', () => {
  test('is recorded with Stall=1 and a STAG, and completes when it is retried after the page came', () => {
    const board = stalling();
    board.poke(DATA, 0x1234_5678);
    const dma = new Dma(8, 0x20, { offset: 0, length: 4 });
    expect(board.smmu.memory(dma)).toBe(PENDING);
    const [record] = board.events();
    expect(record).toEqual([0x10, 8, 0x8000_0000 + stagOf(record), 0x208, 0x2_0000, 0, 0, 0]);
    expect(dma.completions).toEqual([]);
    board.map(TABLES, 0x20, DATA_PAGE, WRITABLE);
    board.command(resume(8, stagOf(record), 1));
    expect(dma.completions).toEqual([SUCCESS]);
    expect([...dma.data]).toEqual([0x78, 0x56, 0x34, 0x12]);
    expect(board.smmu.outstandingStalls).toBe(0);
  });

  test('may stall again when it is retried too early', () => {
    const board = stalling();
    const dma = new Dma(8, 0x20);
    board.smmu.memory(dma);
    board.command(resume(8, stagOf(board.events()[0]), 1));
    const again = board.events();
    expect(again).toHaveLength(1);
    expect(dma.completions).toEqual([]);
    board.command(resume(8, stagOf(again[0]), 0, 1));
    expect(dma.completions).toEqual([COMPLETER_ABORT]);
  });

  test('is terminated as Ab says: aborted, or read as zero', () => {
    const board = stalling();
    const [aborted, zero] = [new Dma(8, 0x20), new Dma(8, 0x21)];
    board.smmu.memory(aborted);
    board.smmu.memory(zero);
    const [first, second] = board.events();
    board.command(resume(8, stagOf(first), 0, 1), resume(8, stagOf(second), 0, 0));
    expect(aborted.completions).toEqual([COMPLETER_ABORT]);
    expect(zero.completions).toEqual([SUCCESS]);
    expect(zero.data.every((byte) => byte === 0)).toBe(true);
  });

  test('is always aborted where IDR0.TERM_MODEL=1', () => {
    const board = stalling({ features: { TERM_MODEL: 1 } });
    const dma = new Dma(8, 0x20);
    board.smmu.memory(dma);
    board.command(resume(8, stagOf(board.events()[0]), 0, 0));
    expect(dma.completions).toEqual([COMPLETER_ABORT]);
  });

  test('is recorded even with R=0, and never merged', () => {
    const board = stalling({ suppressDuplicateStalls: false }, { R: 0 }, { MEV: 1 });
    board.smmu.memory(new Dma(8, 0x20));
    board.smmu.memory(new Dma(8, 0x20));
    const records = board.events();
    expect(records).toHaveLength(2);
    expect(stagOf(records[0])).not.toBe(stagOf(records[1]));
  });

  test('is passed by others of the same stream', () => {
    const board = stalling();
    board.map(TABLES, 0x30, DATA_PAGE, WRITABLE);
    expect(board.smmu.memory(new Dma(8, 0x20))).toBe(PENDING);
    expect(board.smmu.memory(new Dma(8, 0x30))).toBe(SUCCESS);
  });
});

describe('CMD_RESUME', () => {
  test('touches nothing unless STAG and StreamID both match', () => {
    const board = stalling();
    const dma = new Dma(8, 0x20);
    board.smmu.memory(dma);
    const stag = stagOf(board.events()[0]);
    board.command(resume(9, stag, 0, 1), resume(8, stag + 1, 0, 1), resume(8, 0xffff, 0, 1));
    expect(dma.completions).toEqual([]);
    expect(board.smmu.outstandingStalls).toBe(1);
  });

  test('frees the STAG, which is not used again at once', () => {
    const board = stalling();
    board.smmu.memory(new Dma(8, 0x20));
    const first = stagOf(board.events()[0]);
    board.command(resume(8, first, 0, 1));
    board.smmu.memory(new Dma(8, 0x20));
    expect(stagOf(board.events()[0])).not.toBe(first);
  });
});

describe('duplicates', () => {
  test('of a stall leave no record, and are retried after the answer to the first', () => {
    const board = stalling();
    const [first, second] = [new Dma(8, 0x20), new Dma(8, 0x20, { offset: 8 })];
    board.smmu.memory(first);
    board.smmu.memory(second);
    const records = board.events();
    expect(records).toHaveLength(1);
    board.map(TABLES, 0x20, DATA_PAGE, WRITABLE);
    board.command(resume(8, stagOf(records[0]), 1));
    expect([first.completions, second.completions]).toEqual([[SUCCESS], [SUCCESS]]);
  });

  test('become visible when the first is terminated', () => {
    const board = stalling();
    const [first, second] = [new Dma(8, 0x20), new Dma(8, 0x20)];
    board.smmu.memory(first);
    board.smmu.memory(second);
    board.command(resume(8, stagOf(board.events()[0]), 0, 1));
    expect([first.completions, second.completions]).toEqual([[COMPLETER_ABORT], []]);
    expect(board.events()).toHaveLength(1);
  });

  test.each([
    ['another page', { page: 0x21 }],
    ['another direction', { write: true }],
    ['another stream', { streamId: 9 }],
  ])('%s is no duplicate', (_name, change: { page?: number; write?: boolean; streamId?: number }) => {
    const board = stalling();
    board.smmu.memory(new Dma(8, 0x20));
    board.smmu.memory(new Dma(change.streamId ?? 8, change.page ?? 0x20, { write: change.write ?? false }));
    expect(board.events()).toHaveLength(2);
  });
});

describe('limits', () => {
  test('beyond STALL_MAX a faulting access waits at the port without a record, then goes on', () => {
    const board = stalling({ features: { STALL_MAX: 2 } });
    const dmas = [0x20, 0x21, 0x22].map((page) => new Dma(8, page));
    expect(dmas.map((dma) => board.smmu.memory(dma))).toEqual([PENDING, PENDING, PENDING]);
    const records = board.events();
    expect(records).toHaveLength(2);
    board.command(resume(8, stagOf(records[0]), 0, 1));
    expect(board.events().map((words) => words[4])).toEqual([0x2_2000]);
    expect(dmas.map((dma) => dma.completions)).toEqual([[COMPLETER_ABORT], [], []]);
  });

  test('a record that finds the event queue full is written when there is room, without an overflow', () => {
    const board = stalling();
    const dmas = Array.from({ length: 18 }, (_, index) => new Dma(8, 0x20 + index));
    for (const dma of dmas) board.smmu.memory(dma);
    expect(board.read(EVENTQ_PROD)).toBe(16);
    expect(board.events()).toHaveLength(16);
    expect(board.events().map((words) => words[4])).toEqual([0x3_0000, 0x3_1000]);
    expect(board.smmu.outstandingStalls).toBe(18);
  });

  test('a record that finds the event queue off is written once it is on', () => {
    const board = stalling();
    board.write(CR0, 0b1001);
    board.smmu.memory(new Dma(8, 0x20));
    board.write(CR0, 0b1101);
    expect(board.events()).toHaveLength(1);
  });

  test('an access without a record is retried under the configuration of that time', () => {
    const board = stalling();
    board.write(CR0, 0b1001);
    const dma = new Dma(8, 0x20);
    board.smmu.memory(dma);
    board.stream(8, { Config: 0 });
    board.command([0x03, 8, 1, 0], [0x46, 0, 0, 0]);
    board.write(CR0, 0b1101);
    expect(dma.completions).toEqual([COMPLETER_ABORT]);
    expect(board.events()).toEqual([]);
  });

  test('a stall record lost to an abort leaves the access to CMD_STALL_TERM', () => {
    const board = stalling();
    board.write(CR0, 0b1001);
    board.write64(EVENTQ_BASE, 0x1000_0000 + 4);
    board.write(CR0, 0b1101);
    const dma = new Dma(8, 0x20);
    expect(board.smmu.memory(dma)).toBe(PENDING);
    expect(board.wires.globalError).toBe(1);
    board.command([0x45, 8, 0, 0]);
    expect(dma.completions).toEqual([COMPLETER_ABORT]);
  });
});

describe('the end of a stream', () => {
  test('CMD_STALL_TERM aborts every stalled access of the stream, duplicates and unrecorded ones too', () => {
    const board = stalling();
    const mine = [new Dma(8, 0x20), new Dma(8, 0x20), new Dma(8, 0x21)];
    const other = new Dma(9, 0x20);
    for (const dma of [...mine, other]) board.smmu.memory(dma);
    board.command([0x45, 8, 0, 0]);
    expect(mine.map((dma) => dma.completions)).toEqual([[COMPLETER_ABORT], [COMPLETER_ABORT], [COMPLETER_ABORT]]);
    expect(other.completions).toEqual([]);
  });

  test('SMMUEN=0 aborts all of them and frees the STAGs', () => {
    const board = stalling({ features: { STALL_MAX: 1 } });
    const dmas = [new Dma(8, 0x20), new Dma(9, 0x21)];
    for (const dma of dmas) board.smmu.memory(dma);
    board.write(CR0, 0b1100);
    expect(dmas.map((dma) => dma.completions)).toEqual([[COMPLETER_ABORT], [COMPLETER_ABORT]]);
    expect(board.smmu.outstandingStalls).toBe(0);
    board.events();
    board.write(CR0, 0b1101);
    board.smmu.memory(new Dma(8, 0x20));
    expect(board.events()).toHaveLength(1);
  });
});

describe('stall models', () => {
  test('STALL_MODEL=0b01: CD.S=1 is ILLEGAL, and the commands are', () => {
    const board = stalling({ features: { STALL_MODEL: 1 } });
    expect(board.smmu.memory(new Dma(8, 0x20))).toBe(COMPLETER_ABORT);
    expect(board.events().map(([word]) => word)).toEqual([0x0a]);
    board.command(resume(8, 0, 1));
    expect(board.wires.globalError).toBe(1);
  });

  test('STALL_MODEL=0b10: CD.S=0 is ILLEGAL', () => {
    const board = stalling({ features: { STALL_MODEL: 2 } }, { S: 0 });
    expect(board.smmu.memory(new Dma(8, 0x20))).toBe(COMPLETER_ABORT);
    expect(board.events().map(([word]) => word)).toEqual([0x0a]);
  });

  test('S1STALLD=1 makes CD.S=1 ILLEGAL', () => {
    const board = stalling({}, {}, { S1STALLD: 1 });
    expect(board.smmu.memory(new Dma(8, 0x20))).toBe(COMPLETER_ABORT);
    expect(board.events().map(([word]) => word)).toEqual([0x0a]);
  });
});

test('faults that cannot stall abort although S=1', () => {
  const board = stalling({}, { TTB0: 0x1000_0000 / 16 });
  expect(board.smmu.memory(new Dma(8, 0x20))).toBe(COMPLETER_ABORT);
  expect(board.events().map(([word]) => word)).toEqual([0x0b]);
});
