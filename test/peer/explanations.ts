/** What disagreements can look like: the predicates that differences are made of. */
import type { Disagreement } from './compare.ts';
import { RESULT_UNKNOWN } from './execute.ts';
import type { Observation } from './program.ts';

export const number = (seen: Observation, name: string): bigint => BigInt(seen[name] ?? '0');

/** Words of the first event record that was seen; null for none. */
export const event = (seen: Observation): number[] | null =>
  seen['event 0']?.split(' ').map((word) => Number.parseInt(word, 16)) ?? null;
export const eventType = (seen: Observation): number => (event(seen)?.[0] ?? 0) & 0xff;

export const done = (seen: Observation): boolean => seen.result === '0x0';
/** An edu that stands in for a test device cannot tell these two apart. */
const UNKNOWN = `0x${RESULT_UNKNOWN.toString(16)}`;
export const aborted = (seen: Observation): boolean => seen.result === '0xdead0002' || seen.result === UNKNOWN;
/** The bytes went elsewhere than where they were looked for. */
export const elsewhere = (seen: Observation): boolean => seen.result === '0xdead0004' || seen.result === UNKNOWN;

/** One server says event `qemu`, the other event `ours`; 0 for none. Nothing else of the outcome matters. */
export const events =
  (qemu: number, ours: number) =>
  (d: Disagreement): boolean =>
    eventType(d.qemu) === qemu && eventType(d.ours) === ours;

/** QEMU reads bits that ours has not: all of ours are QEMU's too. */
export const moreBits = (d: Disagreement): boolean => {
  const names = Object.keys(d.ours);
  return names.every((name) => (number(d.qemu, name) & number(d.ours, name)) === number(d.ours, name));
};

export const readsRegister = (d: Disagreement): boolean => ['get', 'set', 'peek'].includes(d.step.op);

/** Records that differ in nothing but bits of word 3 (events are 8 words). */
export const word3 =
  (mask: number) =>
  (d: Disagreement): boolean => {
    const [a, b] = [event(d.qemu), event(d.ours)];
    if (a === null || b === null || d.qemu.result !== d.ours.result) return false;
    return a.every((word, index) => (index === 3 ? ((word ^ (b[index] ?? 0)) & ~mask) === 0 : word === b[index]));
  };

/** One of them serves from a cache what the other fetched anew. */
export const stale = (who: 'qemu' | 'ours') => (d: Disagreement) => {
  const [cached, fresh] = who === 'ours' ? [d.ours, d.qemu] : [d.qemu, d.ours];
  return (done(cached) && !done(fresh)) || (elsewhere(cached) && done(fresh));
};

export const RNW = 0x8;
export const S2 = 0x80;
export const TTRNW = 0x1000;
export const CLASS = 0x300;
export const TTD = 0x100;
