/** `--trace N`: the last transactions of a run, for people. */
import { describeValue, InputError } from '../scenario/input-error.ts';
import { TRANSACTIONS, type TraceEntry } from '../sim/trace.ts';
import { formatColumns } from './table.ts';

const ENTRIES_MAX = 1_000_000;

/** @throws InputError */
export function parseTraceEntries(text: string): number {
  const entries = /^\d+$/.test(text) ? Number(text) : 0;
  if (entries >= 1 && entries <= ENTRIES_MAX) return entries;
  throw new InputError(`--trace ${text}: expected an integer from 1 to ${ENTRIES_MAX}, found ${describeValue(text)}`);
}

/** Columns under their heads: instants in virtual nanoseconds, pages in hexadecimal. */
export function formatTrace(entries: readonly TraceEntry[]): string {
  const rows = entries.map(({ t, transaction, streamId, page, detail }) => [
    String(t),
    transaction,
    String(streamId),
    page < 0 ? '' : `0x${page.toString(16)}`,
    `${TRANSACTIONS[transaction]} ${detail}`,
  ]);
  return formatColumns(['ns', 'transaction', 'stream', 'page', ''], rows, ['right', 'left', 'right', 'right', 'left']);
}
