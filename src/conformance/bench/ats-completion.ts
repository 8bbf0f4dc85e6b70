/** Completions of Translation Requests, and what must be in them. */
import { Completion, type TranslationCompletion } from '../../hw/pcie/tlp.ts';
import { equal } from '../check.ts';
import type { Bench } from './bench.ts';
import type { TranslateOptions } from './traffic.ts';

export const STATUS = {
  [Completion.SUCCESS]: 'Success',
  [Completion.UNSUPPORTED_REQUEST]: 'UR',
  [Completion.COMPLETER_ABORT]: 'CA',
  [Completion.PENDING]: 'none',
} as const;

/** The completion in short: status, and for Success the permissions. */
export function shown(answer: TranslationCompletion): string {
  const status = STATUS[answer.status];
  if (status !== 'Success') return status;
  const bits = [answer.read && 'R', answer.write && 'W', answer.execute && 'X'].filter(Boolean).join('');
  return `Success ${bits === '' ? 'none' : bits}`;
}

export function answers(b: Bench, options: TranslateOptions, expected: string): TranslationCompletion {
  const answer = b.translate(options);
  equal('completion', shown(answer), expected);
  return answer;
}

/** Denied: Success with R=W=0, the size of the STU, nothing recorded. */
export function denied(b: Bench, options: TranslateOptions): void {
  const answer = answers(b, options, 'Success none');
  equal('size in pages', answer.pages, smallestUnit(b));
  b.noEvent();
}

/** The STU: the smallest granule, in 4 KiB pages (§3.9.1). */
export function smallestUnit(b: Bench): number {
  if (b.feature('GRAN4K') === 1) return 1;
  return b.feature('GRAN16K') === 1 ? 4 : 16;
}

/** A completion that maps VA to `pa` with `pages` pages. */
export function maps(answer: TranslationCompletion, va: number, pa: number, pages: number): void {
  equal('size in pages', answer.pages, pages);
  const within = Math.floor(va / 4096) % pages;
  equal('translated page', answer.page - (answer.page % pages) + within, Math.floor(pa / 4096));
}
