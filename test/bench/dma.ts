/** Bytes: a 4 KiB DMA through a cached translation beside a plain copy of as many bytes, over the same pages. */
import { assert } from '../../src/assert.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { DATA, Dma, SmmuBoard, TABLES } from '../support/smmu-board.ts';
import { type Line, line, nanoseconds } from './measure.ts';

const PAGE_BYTES = 4096;
const PAGES = 256;
const FIRST_PAGE = 0x10_0000;
const LEAF = 0x743;
/** The DMA must keep this part of the copy's speed. */
const SPEED = 0.6;
/** Rounds, and how many there may be before a figure over its budget is believed. */
const ROUNDS = 3;
const MOST_ROUNDS = 12;

export async function dmaLines(): Promise<Line[]> {
  const board = new SmmuBoard();
  const buffer = new Uint8Array(PAGES * PAGE_BYTES).fill(0xa5);
  const target = new Uint8Array(PAGES * PAGE_BYTES);
  board.stage1(1, TABLES);
  const requests = Array.from({ length: PAGES }, (_, index) => {
    board.map(TABLES, FIRST_PAGE + index, DATA / PAGE_BYTES + index, LEAF);
    const data = buffer.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
    return new Dma(1, FIRST_PAGE + index, { write: index % 2 === 1, length: PAGE_BYTES, data });
  });
  board.enable();

  let failed = 0;
  const dma = () => {
    for (const request of requests) if (board.smmu.memory(request) !== Completion.SUCCESS) failed += 1;
  };
  const copy = () => {
    for (let at = 0; at < buffer.length; at += PAGE_BYTES) target.set(buffer.subarray(at, at + PAGE_BYTES), at);
  };
  // In turn, so that a change of the machine's speed meets both; again where it met one of them alone.
  let copyNs = Number.POSITIVE_INFINITY;
  let dmaNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS || (round < MOST_ROUNDS && dmaNs > copyNs / SPEED); round++) {
    copyNs = Math.min(copyNs, (await nanoseconds(copy)) / PAGES);
    dmaNs = Math.min(dmaNs, (await nanoseconds(dma)) / PAGES);
  }
  assert(failed === 0, 'every DMA moves its bytes');
  return [line('4 KiB DMA, cached translation; budget: plain copy / 0.6', dmaNs, copyNs / SPEED)];
}
