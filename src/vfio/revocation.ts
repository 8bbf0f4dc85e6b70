/** Taking pages of a mapping away from devices: page-table entries, then cached translations, then the caller goes on. */
import type { Gather } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultState, Mapping } from './mapping.ts';

/**
 * Takes every mapped page of `[first, end)` away, and those that share a block with them; pages that a user of the device
 * pinned stay. When this returns no access uses them any more, nor what `gather` had before. The number of pages.
 */
export function* revokePages(
  io: IoAddressSpace,
  mapping: Mapping,
  first: number,
  end: number,
  gather: Gather = io.takeGather(),
): Steps<number> {
  const { faults } = mapping;
  if (faults === null) {
    yield* io.flush(gather);
    return 0;
  }
  const keep = mapping.pinCounts.size > 0;
  let from = edgeBelow(io, mapping, faults, first, keep);
  let to = edgeAbove(io, mapping, faults, end, keep);
  let held = yield* mapping.revoking.lock(from, to);
  // Blocks may have come or gone while this waited.
  while (edgeBelow(io, mapping, faults, first, keep) < from || edgeAbove(io, mapping, faults, end, keep) > to) {
    mapping.revoking.unlock(held);
    from = edgeBelow(io, mapping, faults, first, keep);
    to = edgeAbove(io, mapping, faults, end, keep);
    held = yield* mapping.revoking.lock(from, to);
  }
  for (const ticket of mapping.tickets) if (ticket.first < to && from < ticket.end) ticket.revoked = true;

  let count = 0;
  let stuck = false;
  for (let page = faults.mapped.findNextSet(from, to); page < to; ) {
    let last = faults.mapped.findNextClear(page, to);
    if (keep) last = runWithoutPins(mapping, page, last);
    if (last === page) {
      page = faults.mapped.findNextSet(page + 1, to);
      continue;
    }
    if (keep) {
      isolate(io, mapping, page, gather);
      isolate(io, mapping, last - 1, gather);
    }
    const bytes = io.domain.unmap(mapping.iovaOf(page), (last - page) * io.pageBytes, gather, mapping);
    const expected = (last - page) * io.pageBytes;
    const [at, size] = [mapping.iovaOf(page), expected];
    io.invariants.check('agreement', bytes <= expected, () => `${bytes} bytes unmapped at ${at}, ${size} were mapped`);
    if (bytes < expected) stuck = true;
    forget(io, mapping, faults, page, last);
    count += last - page;
    page = faults.mapped.findNextSet(last, to);
  }
  if (count > 0) io.roomChanged();
  if (count > 0 && io.latency.pageUnmap > 0) yield io.latency.pageUnmap * count;
  yield* io.flush(gather);
  if (stuck) yield* io.block('a page-table entry could not be cleared');
  mapping.revoking.unlock(held);
  return count;
}

/** Marks pages as not mapped. */
function forget(io: IoAddressSpace, mapping: Mapping, faults: FaultState, first: number, end: number): void {
  faults.mapped.clearRange(first, end);
  faults.writable.clearRange(first, end);
  for (let page = first; page < end; page++) {
    if (faults.residencySlots[page] !== 0) io.residency.remove(mapping, page);
  }
}

/** `page`, or the first page of the block that holds it and reaches below it. */
function edgeBelow(io: IoAddressSpace, mapping: Mapping, faults: FaultState, page: number, keep: boolean): number {
  if (keep || page === 0 || !faults.mapped.test(page) || !faults.mapped.test(page - 1)) return page;
  const iova = mapping.iovaOf(page);
  const size = io.domain.translate(iova)?.size ?? io.pageBytes;
  return Math.max(0, mapping.pageOf(iova - (iova % size)));
}

function edgeAbove(io: IoAddressSpace, mapping: Mapping, faults: FaultState, end: number, keep: boolean): number {
  if (keep || end === mapping.pageCount || !faults.mapped.test(end) || !faults.mapped.test(end - 1)) return end;
  const iova = mapping.iovaOf(end - 1);
  const size = io.domain.translate(iova)?.size ?? io.pageBytes;
  return Math.min(mapping.pageCount, Math.max(end, mapping.pageOf(iova - (iova % size) + size)));
}

/** End of the run of pages from `page` on, up to `end`, that nobody pinned. */
function runWithoutPins(mapping: Mapping, page: number, end: number): number {
  let last = page;
  while (last < end && !mapping.pinCounts.has(last)) last += 1;
  return last;
}

/** Splits a block that holds the page and others: the page keeps its permissions, and so its dirty state. */
function isolate(io: IoAddressSpace, mapping: Mapping, page: number, gather: Gather): void {
  const iova = mapping.iovaOf(page);
  const protection = io.domain.translate(iova)?.protection ?? mapping.protection;
  io.domain.protect(iova, io.pageBytes, protection, gather);
}
