/**
 * Pages that a device must never fault on although its container faults: pinned, charged, mapped with all their rights,
 * and left alone by reclaim, until unpinned as often as pinned.
 */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultState, Mapping } from './mapping.ts';
import { pinPages, unpinPages } from './pinning.ts';
import { revokePages } from './revocation.ts';

/** Pins `[first, end)`. 0; or -ENOMEM or -EFAULT, and then no page is pinned more often than before. */
export function* pinRange(io: IoAddressSpace, mapping: Mapping, first: number, end: number): Steps<number> {
  const { faults } = mapping;
  const added: [number, number][] = [];
  let status: number = Errno.OK;
  const held = yield* mapping.faulting.lock(first, end);
  let page = first;
  while (page < end) {
    const last = runEnd(mapping, page, end);
    if (!mapping.pinCounts.has(page) && faults !== null) {
      yield* revokePages(io, mapping, page, last);
      status = mapping.dying ? Errno.EINVAL : yield* pinPages(io, mapping, page, last);
      if (status !== Errno.OK) break;
      faults.mapped.setRange(page, last);
      faults.writable.setRange(page, last);
      added.push([page, last]);
    }
    for (let index = page; index < last; index++) mapping.pinCounts.set(index, (mapping.pinCounts.get(index) ?? 0) + 1);
    page = last;
  }
  if (status !== Errno.OK) {
    dropCounts(mapping, first, page);
    if (faults !== null) for (const [from, to] of added) yield* unpinRange(io, mapping, faults, from, to);
  }
  mapping.faulting.unlock(held);
  return status;
}

/** Ends one {@link pinRange}; pages that nobody pins any more fault again. 0, or -EINVAL where a page is not pinned. */
export function* unpinOnce(io: IoAddressSpace, mapping: Mapping, first: number, end: number): Steps<number> {
  const held = yield* mapping.faulting.lock(first, end);
  let status: number = Errno.OK;
  for (let page = first; page < end; page++) if (!mapping.pinCounts.has(page)) status = Errno.EINVAL;
  if (status === Errno.OK) {
    dropCounts(mapping, first, end);
    const { faults } = mapping;
    for (let page = first; page < end; ) {
      const last = runEnd(mapping, page, end);
      if (!mapping.pinCounts.has(page) && faults !== null) yield* unpinRange(io, mapping, faults, page, last);
      page = last;
    }
  }
  mapping.faulting.unlock(held);
  return status;
}

/** Takes pinned pages out of the page table for good. Where write faults make the dirty log, they count as written. */
export function* unpinRange(
  io: IoAddressSpace,
  mapping: Mapping,
  faults: FaultState,
  first: number,
  end: number,
): Steps {
  const held = yield* mapping.revoking.lock(first, end);
  for (let page = first; page < end; page++) mapping.pinCounts.delete(page);
  faults.mapped.clearRange(first, end);
  faults.writable.clearRange(first, end);
  if (mapping.writes && io.logsByFaults) mapping.dirty?.setRange(first, end);
  yield* unpinPages(io, mapping, first, end);
  mapping.revoking.unlock(held);
}

/** Runs of pinned pages. */
export function pinnedRanges(mapping: Mapping): [number, number][] {
  const pages = [...mapping.pinCounts.keys()].sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const page of pages) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === page) last[1] = page + 1;
    else ranges.push([page, page + 1]);
  }
  return ranges;
}

/** Runs of pages that nobody pinned. */
export function unpinnedRanges(mapping: Mapping): [number, number][] {
  const ranges: [number, number][] = [];
  let from = 0;
  for (const [first, end] of [...pinnedRanges(mapping), [mapping.pageCount, mapping.pageCount] as const]) {
    if (first > from) ranges.push([from, first]);
    from = end;
  }
  return ranges;
}

function dropCounts(mapping: Mapping, first: number, end: number): void {
  for (let page = first; page < end; page++) {
    const count = (mapping.pinCounts.get(page) ?? 0) - 1;
    assert(count >= 0, `page ${page} is pinned`);
    if (count > 0) mapping.pinCounts.set(page, count);
    else mapping.pinCounts.delete(page);
  }
}

/** End of the run of pages from `page` on that are all pinned, or all not. */
function runEnd(mapping: Mapping, page: number, end: number): number {
  const pinned = mapping.pinCounts.has(page);
  let last = page + 1;
  while (last < end && mapping.pinCounts.has(last) === pinned) last += 1;
  return last;
}
