/** The event queue: IHI 0070 §7.2, §7.3.1, §7.4. */
import { describe, expect, test } from 'vitest';
import { type BoardOptions, Dma, EVENTS, SmmuBoard, TABLES } from '../../../test/support/smmu-board.ts';
import { AddressType } from '../../hw/pcie/tlp.ts';
import {
  CR0,
  EVENTQ_BASE,
  EVENTQ_CONS,
  EVENTQ_IRQ_CFG0,
  EVENTQ_IRQ_CFG1,
  EVENTQ_PROD,
  GERROR,
  GERRORN,
  IRQ_CTRL,
} from '../spec/registers.layout.ts';

/** Stream 8 faults on every page; with `ste` it may merge. */
function faulting(ste = {}, options: BoardOptions = {}): SmmuBoard {
  const board = new SmmuBoard(options);
  board.stage1(8, TABLES, {}, ste);
  board.enable();
  return board;
}
const fault = (board: SmmuBoard, page: number, offset = 0) => board.smmu.memory(new Dma(8, page, { offset }));

describe('overflow', () => {
  test('toggles OVFLG once; nothing is written over', () => {
    const board = faulting();
    for (let page = 0; page < 16; page++) fault(board, page);
    expect(board.read(EVENTQ_PROD)).toBe(0x10);
    fault(board, 100);
    fault(board, 101);
    expect(board.read(EVENTQ_PROD)).toBe(0x8000_0010);
    expect(board.peek(EVENTS + 16, 1)).toEqual([0]);
    expect(board.smmu.eventCounts).toEqual({
      produced: 18,
      written: 16,
      merged: 0,
      overflowed: 2,
      dropped: 0,
      aborted: 0,
    });
  });

  test('does not keep new records out once there is room', () => {
    const board = faulting();
    for (let page = 0; page < 17; page++) fault(board, page);
    board.write(EVENTQ_CONS, 1);
    fault(board, 200);
    expect(board.read(EVENTQ_PROD)).toBe(0x8000_0011);
    fault(board, 201);
    expect(board.read(EVENTQ_PROD)).toBe(0x8000_0011);
    board.write(EVENTQ_CONS, 0x8000_0002);
    fault(board, 202);
    fault(board, 203);
    expect(board.read(EVENTQ_PROD)).toBe(0x0000_0012);
  });

  test('is none while the queue is off', () => {
    const board = faulting();
    board.write(CR0, 0b1001);
    for (let page = 0; page < 20; page++) fault(board, page);
    expect([board.read(EVENTQ_PROD), board.smmu.eventCounts.dropped]).toEqual([0, 20]);
  });
});

describe('interrupts', () => {
  test('come when the queue goes from empty to non-empty', () => {
    const board = faulting();
    fault(board, 1);
    fault(board, 2);
    expect(board.wires.event).toBe(1);
    board.events();
    fault(board, 3);
    expect(board.wires.event).toBe(2);
    board.write(IRQ_CTRL, 0b011);
    board.events();
    fault(board, 4);
    expect(board.wires.event).toBe(2);
  });

  test('wait for the access to get so far, and for the record', () => {
    const board = faulting({}, { profile: 'kunpeng920' });
    const dma = new Dma(8, 1);
    dma.latencyNs = 100;
    board.smmu.memory(dma);
    expect([board.read(EVENTQ_PROD), board.wires.event]).toEqual([1, 0]);
    board.clock.fireNext();
    // Link 100; look-up 5, STE and CD 90 each, one descriptor 45; record 90.
    expect([board.clock.now, board.wires.event]).toEqual([100 + 5 + 180 + 45 + 90, 1]);
  });

  test('on their way do not come once they are disabled', () => {
    const board = faulting({}, { profile: 'kunpeng920' });
    fault(board, 1);
    board.write(IRQ_CTRL, 0b011);
    board.write(IRQ_CTRL, 0b111);
    while (board.clock.fireNext());
    expect(board.wires.event).toBe(0);
  });

  test('of records from before the source was enabled never come (§6.3.16)', () => {
    const board = faulting({}, { profile: 'kunpeng920' });
    board.write(IRQ_CTRL, 0b011);
    fault(board, 1);
    board.write(IRQ_CTRL, 0b111);
    while (board.clock.fireNext());
    expect([board.read(EVENTQ_PROD), board.wires.event]).toEqual([1, 0]);
  });

  test('may be messages too; an aborted one is MSI_EVENTQ_ABT_ERR', () => {
    const board = new SmmuBoard();
    board.stage1(8, TABLES);
    board.write64(EVENTQ_IRQ_CFG0, 0x4080_0010);
    board.write(EVENTQ_IRQ_CFG1, 74);
    board.enable();
    fault(board, 1);
    expect([board.peek(0x4080_0010, 1), board.wires.event]).toEqual([[74], 1]);
    const aborting = new SmmuBoard();
    aborting.stage1(8, TABLES);
    aborting.write64(EVENTQ_IRQ_CFG0, 0x1000_0000);
    aborting.enable();
    fault(aborting, 1);
    expect(aborting.read(GERROR)).toBe(0x20);
  });
});

describe('aborts', () => {
  test('stop delivery until they are acknowledged; PROD stays', () => {
    const board = new SmmuBoard();
    board.stage1(8, TABLES);
    board.enable(0);
    board.write64(EVENTQ_BASE, 0x1000_0000 + 4);
    board.write(CR0, 0xd);
    fault(board, 1);
    fault(board, 2);
    expect([board.read(GERROR), board.read(EVENTQ_PROD), board.wires.event, board.wires.globalError]).toEqual([
      4, 0, 0, 1,
    ]);
    expect(board.smmu.eventCounts).toMatchObject({ aborted: 1, dropped: 1 });
    board.write(CR0, 0x9);
    board.write64(EVENTQ_BASE, EVENTS + 4);
    board.write(CR0, 0xd);
    board.write(GERRORN, 4);
    fault(board, 3);
    expect(board.events()).toHaveLength(1);
  });
});

describe('merging', () => {
  test('stands one record for equal ones of a stream with MEV=1, whatever the offset in the page', () => {
    const board = faulting({ MEV: 1 });
    fault(board, 5, 0);
    fault(board, 5, 8);
    expect(board.events()).toHaveLength(1);
    expect(board.smmu.eventCounts).toMatchObject({ written: 1, merged: 1 });
  });

  test.each([
    ['MEV=0', { MEV: 0 }, [5, 5], 2],
    ['another page', { MEV: 1 }, [5, 6], 2],
    ['another in between', { MEV: 1 }, [5, 6, 5], 3],
  ])('not with %s', (_name, ste, pages, records) => {
    const board = faulting(ste);
    for (const page of pages) fault(board, page);
    expect(board.events()).toHaveLength(records);
  });

  test('not once the record was read', () => {
    const board = faulting({ MEV: 1 });
    fault(board, 5);
    expect(board.events()).toHaveLength(1);
    fault(board, 5);
    expect(board.events()).toHaveLength(1);
  });

  test('not after a while', () => {
    const board = faulting({ MEV: 1 }, { eventMergeWindowNs: 100 });
    fault(board, 5);
    board.clock.advanceTo(101);
    fault(board, 5);
    expect(board.events()).toHaveLength(2);
  });

  test('a full queue that merges has lost nothing', () => {
    const board = faulting({ MEV: 1 });
    for (let page = 0; page < 16; page++) fault(board, page);
    fault(board, 15, 4);
    expect(board.read(EVENTQ_PROD)).toBe(0x10);
  });
});

test('the record of one transaction does not leak into the next', () => {
  const board = faulting();
  board.smmu.memory(new Dma(8, 0xf_ffff_ffff_ffff, { pasid: 0xfffff, write: true, offset: 0xfff }));
  board.smmu.memory(new Dma(8, 3));
  board.smmu.memory(new Dma(8, 4, { addressType: AddressType.TRANSLATED }));
  expect(board.events()).toEqual([
    [0xffff_f008, 8, 0, 0, 0, 0, 0, 0],
    [0x10, 8, 0, 0x208, 0x3000, 0, 0, 0],
    [0x07, 8, 0, 0x008, 0x4000, 0, 0, 0],
  ]);
});
