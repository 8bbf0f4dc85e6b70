/**
 * Changing a 64-byte configuration structure under the SMMU's eyes (IHI 0070 §3.21.3). It reads 64-bit words one by one
 * and may keep any of them until it is told to forget, so a change that is not within one word goes through a state
 * whose first word alone says that the rest means nothing.
 */
import { CHUNK_BYTES, type Memory } from '../../hw/memory.ts';

const WORDS = 8;

/** Next step towards a wanted entry. After each but `DONE` the SMMU must forget the entry, with a CMD_SYNC. */
export const UpdateStep = { DONE: 0, CHANGED: 1 } as const;
export type UpdateStep = (typeof UpdateStep)[keyof typeof UpdateStep];

/**
 * Moves the entry at `address` one step towards `wanted`. `inert` tells whether a first word makes the other words mean
 * nothing (an STE that aborts, a CD that is not valid); `rest` is the low half of such a first word (its high half is 0).
 * Written anew at each step, so that two tasks that change different things of one entry both get what they want.
 */
export function stepTowards(
  memory: Memory,
  address: number,
  wanted: DataView,
  inert: (firstLow: number) => boolean,
  rest: number,
): UpdateStep {
  const view = memory.writeView(address);
  const at = address % CHUNK_BYTES;
  let differing = 0;
  let last = 0;
  for (let word = 0; word < WORDS; word++) {
    if (sameWord(view, at, wanted, word)) continue;
    differing += 1;
    last = word;
  }
  if (differing === 0) return UpdateStep.DONE;
  if (differing === 1) {
    copyWord(view, at, wanted, last);
  } else if (inert(wanted.getUint32(0, true)) && !sameWord(view, at, wanted, 0)) {
    copyWord(view, at, wanted, 0);
  } else if (inert(view.getUint32(at, true))) {
    for (let word = 1; word < WORDS; word++) copyWord(view, at, wanted, word);
  } else {
    view.setUint32(at, rest, true);
    view.setUint32(at + 4, 0, true);
  }
  return UpdateStep.CHANGED;
}

function sameWord(view: DataView, at: number, wanted: DataView, word: number): boolean {
  const offset = word * 8;
  return (
    view.getUint32(at + offset, true) === wanted.getUint32(offset, true) &&
    view.getUint32(at + offset + 4, true) === wanted.getUint32(offset + 4, true)
  );
}

function copyWord(view: DataView, at: number, wanted: DataView, word: number): void {
  const offset = word * 8;
  view.setUint32(at + offset, wanted.getUint32(offset, true), true);
  view.setUint32(at + offset + 4, wanted.getUint32(offset + 4, true), true);
}
