/** The PRI queue: IHI 0070 chapter 8. */
import { describe, expect, test } from 'vitest';
import { type BoardOptions, SmmuBoard } from '../../../test/support/smmu-board.ts';
import { ResponseCode } from '../../hw/pcie/tlp.ts';
import {
  CR0,
  GERROR,
  GERRORN,
  IRQ_CTRL,
  PRIQ_BASE,
  PRIQ_CONS,
  PRIQ_IRQ_CFG2,
  PRIQ_PROD,
} from '../spec/registers.layout.ts';

const { SUCCESS, RESPONSE_FAILURE, INVALID_REQUEST } = ResponseCode;

function enabled(options: BoardOptions = {}): SmmuBoard {
  const board = new SmmuBoard(options);
  board.enable();
  return board;
}

/** Fills the queue of 16 with requests of groups 0 to 15. */
function fill(board: SmmuBoard): void {
  for (let groupIndex = 0; groupIndex < 16; groupIndex++) board.pageRequest({ requesterId: 8, groupIndex });
}

describe('records', () => {
  test('are laid out as the Linux header has them', () => {
    const board = enabled();
    board.pageRequest({
      requesterId: 0x1_0008,
      pasid: 0x12345,
      read: true,
      write: true,
      execute: true,
      privileged: true,
      last: true,
      groupIndex: 0x1ff,
      page: 0xf_ffff_0000_0001,
    });
    board.pageRequest({ requesterId: 8, read: true, last: false, groupIndex: 3, page: 0x1234 });
    expect(board.pageRecords()).toEqual([
      [0x1_0008, 0xfc01_2345, 0x1000 + 0x1ff, 0xffff_f000],
      [8, 0x1000_0000, 0x0123_4003, 0],
    ]);
  });

  test('show no substream where the SMMU has none, nor X and Priv without one', () => {
    const board = enabled({ features: { SSIDSIZE: 0 } });
    board.pageRequest({ requesterId: 8, pasid: 5, execute: true, privileged: true });
    expect(board.pageRecords()).toEqual([[8, 0x5000_0000, 0, 0]]);
  });

  test('a stop marker is queued like any other', () => {
    const board = enabled();
    board.pageRequest({ requesterId: 8, pasid: 5, read: false, last: true });
    expect(board.pageRecords()).toEqual([[8, 0xc000_0005, 0, 0]]);
    expect(board.responses).toEqual([]);
  });
});

describe('interrupts', () => {
  test('LO=0: from empty to non-empty', () => {
    const board = enabled();
    board.pageRequest({ requesterId: 8, last: false });
    board.pageRequest({ requesterId: 8 });
    expect(board.wires.priority).toBe(1);
    board.pageRecords();
    board.pageRequest({ requesterId: 8, last: false });
    expect(board.wires.priority).toBe(2);
  });

  test('LO=1: each Last=1, those that overflow drops included', () => {
    const board = new SmmuBoard();
    board.write(PRIQ_IRQ_CFG2, 0x8000_0000);
    board.enable();
    board.pageRequest({ requesterId: 8, last: false });
    expect(board.wires.priority).toBe(0);
    fill(board);
    expect(board.wires.priority).toBe(16);
    board.pageRequest({ requesterId: 8, last: false });
    expect(board.wires.priority).toBe(16);
  });

  test('IRQ_CTRL.PRIQ_IRQEN=0 keeps the wire still', () => {
    const board = enabled();
    board.write(IRQ_CTRL, 0b101);
    board.pageRequest({ requesterId: 8 });
    expect(board.wires.priority).toBe(0);
  });

  test('come after the record in a profile that charges for it', () => {
    const board = enabled({ profile: 'kunpeng920' });
    board.pageRequest({ requesterId: 8 });
    expect([board.read(PRIQ_PROD), board.wires.priority]).toEqual([1, 0]);
    board.clock.fireNext();
    expect([board.clock.now, board.wires.priority]).toEqual([90, 1]);
  });
});

describe('overflow', () => {
  test('toggles OVFLG once, answers the ends of groups with Success, drops the rest in silence', () => {
    const board = enabled();
    fill(board);
    expect([board.read(PRIQ_PROD), board.responses]).toEqual([0x10, []]);
    board.pageRequest({ requesterId: 8, groupIndex: 20, last: false });
    expect([board.read(PRIQ_PROD), board.responses]).toEqual([0x8000_0010, []]);
    board.pageRequest({ requesterId: 9, groupIndex: 21 });
    expect(board.read(PRIQ_PROD)).toBe(0x8000_0010);
    expect(board.responses).toEqual([{ streamId: 9, message: { groupIndex: 21, code: SUCCESS, pasid: -1 } }]);
  });

  test('keeps new records out until it is acknowledged, though there is room', () => {
    const board = enabled();
    fill(board);
    board.pageRequest({ requesterId: 8, last: false });
    board.write(PRIQ_CONS, 0x10);
    board.pageRequest({ requesterId: 8, groupIndex: 30 });
    expect(board.responses.map(({ message }) => message.groupIndex)).toEqual([30]);
    board.write(PRIQ_CONS, 0x8000_0010);
    board.pageRequest({ requesterId: 8, groupIndex: 31 });
    expect(board.pageRecords()).toEqual([[8, 0x5000_0000, 31, 0]]);
    expect(board.smmu.pageRequestCounts).toMatchObject({
      received: 19,
      queued: 17,
      overflowAnswered: 1,
      overflowSilent: 1,
    });
  });

  test('answers no stop marker', () => {
    const board = enabled();
    fill(board);
    board.pageRequest({ requesterId: 8, pasid: 5, read: false });
    expect(board.responses).toEqual([]);
  });

  // The table of §8.1.
  test.each([
    ['PPS=1: the PASID is echoed, no STE is looked at', { PPS: 1 }, undefined, SUCCESS, 5],
    ['PPS=0, PPAR=1: the PASID is echoed', { PPS: 0 }, { Config: 4, PPAR: 1 }, SUCCESS, 5],
    ['PPS=0, PPAR=1, on a stream that aborts', { PPS: 0 }, { Config: 0, PPAR: 1 }, SUCCESS, 5],
    ['PPS=0, PPAR=0: no PASID', { PPS: 0 }, { Config: 4, PPAR: 0 }, SUCCESS, -1],
    ['PPS=0, STE not valid: Response Failure, no PASID', { PPS: 0 }, { V: 0 }, RESPONSE_FAILURE, -1],
  ])('a request with PASID: %s', (_name, features, ste, code, pasid) => {
    const board = new SmmuBoard({ features });
    if (ste !== undefined) board.stream(8, ste);
    board.enable();
    fill(board);
    board.pageRequest({ requesterId: 8, pasid: 5, groupIndex: 40 });
    expect(board.responses).toEqual([{ streamId: 8, message: { groupIndex: 40, code, pasid } }]);
  });

  test('the look at STE.PPAR records what CR2 asks for', () => {
    for (const [cr2, streamId, expected] of [
      [0b1010, 8, [0x04]],
      [0b0010, 8, []],
      [0b1010, 0x100, [0x02]],
      [0b1000, 0x100, []],
    ] as const) {
      const board = new SmmuBoard();
      board.enable(0x1f, cr2);
      fill(board);
      board.pageRequest({ requesterId: streamId, pasid: 5 });
      expect(board.events().map(([word]) => word)).toEqual(expected);
      expect(board.responses[0]?.message.code).toBe(RESPONSE_FAILURE);
    }
  });
});

describe('a queue that takes nothing', () => {
  test.each([
    ['PRIQEN=0', 0b1101],
    ['SMMUEN=0', 0b1110],
  ])('%s: every request gets Response Failure without a PASID; markers get nothing', (_name, cr0) => {
    const board = enabled();
    board.write(CR0, cr0);
    board.pageRequest({ requesterId: 8, pasid: 5, groupIndex: 2, last: false });
    board.pageRequest({ requesterId: 8, pasid: 5, groupIndex: 2 });
    board.pageRequest({ requesterId: 8, pasid: 5, read: false });
    const failure = { streamId: 8, message: { groupIndex: 2, code: RESPONSE_FAILURE, pasid: -1 } };
    expect(board.responses).toEqual([failure, failure]);
    expect(board.read(PRIQ_PROD)).toBe(0);
  });

  test('an aborted write is PRIQ_ABT_ERR and Response Failure; so is everything until it is acknowledged', () => {
    const board = new SmmuBoard();
    board.enable(0);
    board.write64(PRIQ_BASE, 0x1000_0000 + 4);
    board.write(CR0, 0xf);
    board.pageRequest({ requesterId: 8, groupIndex: 1 });
    expect([board.read(GERROR), board.read(PRIQ_PROD), board.wires.globalError]).toEqual([8, 0, 1]);
    board.pageRequest({ requesterId: 8, groupIndex: 2 });
    expect(board.responses.map(({ message }) => message)).toEqual([
      { groupIndex: 1, code: RESPONSE_FAILURE, pasid: -1 },
      { groupIndex: 2, code: RESPONSE_FAILURE, pasid: -1 },
    ]);
    board.write(CR0, 0xd);
    board.write64(PRIQ_BASE, 0x4022_0004);
    board.write(CR0, 0xf);
    board.write(GERRORN, 8);
    board.pageRequest({ requesterId: 8, groupIndex: 3 });
    expect(board.pageRecords()).toHaveLength(1);
  });
});

test('CMD_PRI_RESP becomes the message with the other encoding of the same answer', () => {
  const board = enabled();
  board.command([0x41 | (1 << 11) | (0x345 << 12), 8, 0x2000 | 0x1ff, 0], [0x41, 8, 0x1000 | 7, 0], [0x41, 9, 7, 0]);
  expect(board.responses).toEqual([
    { streamId: 8, message: { groupIndex: 0x1ff, code: SUCCESS, pasid: 0x345 } },
    { streamId: 8, message: { groupIndex: 7, code: INVALID_REQUEST, pasid: -1 } },
    { streamId: 9, message: { groupIndex: 7, code: RESPONSE_FAILURE, pasid: -1 } },
  ]);
});
