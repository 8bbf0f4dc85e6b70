/** Stalled transactions: streams that stall, tags, answers. */
import { equal, Mismatch, NotAnnounced } from '../check.ts';
import type { RowOptions } from '../row.ts';
import type { Bench } from './bench.ts';
import { eventField } from './event-record.ts';
import { CONFIG } from './streams.ts';
import type { Tables } from './tables.ts';
import { STREAM, type Transaction } from './traffic.ts';

export const RETRY = { Ac: 1 };
export const RAZ_WI = { Ac: 0, Ab: 0 };
export const ABORT = { Ac: 0, Ab: 1 };
export const STALLING: RowOptions = { features: { STALL_MODEL: 0, TERM_MODEL: 0 } };

/** @throws NotAnnounced where fewer transactions than `count` can be stalled at one time (§6.3.6). */
export function needsStalls(b: Bench, count: number): void {
  if (b.feature('STALL_MAX') < count) throw new NotAnnounced(`STALL_MAX of at least ${count}`);
}

/** A stage 1 stream that stalls on everything. */
export function stalling(b: Bench, sid = STREAM): Tables {
  return b.stage1({ sid, cd: { S: 1, ASID: sid } }).lower;
}

/** The STAG of the one stall record that waits. */
export function tag(b: Bench): number {
  const records = b.events.take();
  const [record] = records;
  if (records.length !== 1 || record === undefined) throw new Mismatch('stall records', '1', String(records.length));
  equal('Stall', eventField(record, 'Stall'), 1);
  return Number(eventField(record, 'STAG'));
}

export function resume(b: Bench, STAG: number, action: { Ac: number; Ab?: number }, StreamID = STREAM): void {
  b.commands.run('RESUME', { StreamID, STAG, ...action });
  b.settle();
}

export const ended = (held: Transaction, ending: Transaction['ending']): void => {
  equal('the stalled transaction', held.ending, ending);
  equal('completions', held.answers, ending === 'stalled' ? 0 : 1);
};

/** The stream terminates what arrives, as CMD_STALL_TERM wants it (§4.7.2). */
export function stop(b: Bench): void {
  b.ste({ Config: CONFIG.ABORT });
  b.forget();
}
