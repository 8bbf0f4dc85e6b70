/**
 * Dirty tracking by write faults: while it is on, a page is writable for devices only once it is marked. Static mappings,
 * which cannot be watched, count as written, as in the kernel.
 */
import { Protection } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import { Bitmap } from './bitmap.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultState, Mapping } from './mapping.ts';
import { revokePages } from './revocation.ts';

export function* startDirtyLog(io: IoAddressSpace): Steps {
  if (io.dirtyLogging) return;
  io.dirtyLogging = true;
  for (const mapping of io.mappings.all()) mapping.dirty = new Bitmap(mapping.pageCount);
  for (const mapping of io.mappings.all()) yield* writeProtect(io, mapping);
  io.log.info({ event: 'vfio.dirtyLog', container: io.name, enabled: true });
}

export function stopDirtyLog(io: IoAddressSpace): void {
  if (!io.dirtyLogging) return;
  io.dirtyLogging = false;
  for (const mapping of io.mappings.all()) mapping.dirty = null;
  io.log.info({ event: 'vfio.dirtyLog', container: io.name, enabled: false });
}

/**
 * Moves the marks of a mapping to the bits of `target` from `at` on and starts over. Writes that an old cached translation still
 * lets through are those of pages just reported, and are over when this returns.
 */
export function* takeDirty(io: IoAddressSpace, mapping: Mapping, target: Uint8Array, at: number): Steps {
  const { dirty, faults } = mapping;
  assign(target, at, mapping.pageCount, false);
  if (!mapping.writes) return;
  if (faults === null || dirty === null) {
    assign(target, at, mapping.pageCount, true);
    return;
  }
  dirty.copyTo(target, at, 0, mapping.pageCount);
  dirty.clearRange(0, mapping.pageCount);
  for (const page of mapping.pinCounts.keys()) assign(target, at + page, 1, true);
  yield* writeProtect(io, mapping);
}

/** Sets marks again that could not be delivered. */
export function restoreDirty(mapping: Mapping, source: Uint8Array, at: number): void {
  for (let page = 0; page < mapping.pageCount; page++) {
    const bit = at + page;
    if (((source[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0) mapping.dirty?.set(page);
  }
}

/** Makes the writable pages of a tracked mapping read-only and waits until no cached translation says otherwise. */
export function* writeProtect(io: IoAddressSpace, mapping: Mapping): Steps {
  const { faults } = mapping;
  if (faults === null || !mapping.writes) return;
  if (!mapping.reads) {
    yield* revokePages(io, mapping, 0, mapping.pageCount);
    return;
  }
  const gather = io.takeGather();
  let pages = 0;
  const { writable } = faults;
  for (let page = writable.findNextSet(0); page < mapping.pageCount; ) {
    const end = endOfRun(mapping, faults, page);
    if (!mapping.pinCounts.has(page)) {
      io.domain.protect(mapping.iovaOf(page), (end - page) * io.pageBytes, Protection.READ, gather);
      writable.clearRange(page, end);
      pages += end - page;
    }
    page = writable.findNextSet(end);
  }
  if (pages > 0 && io.latency.pageMap > 0) yield io.latency.pageMap * pages;
  yield* io.flush(gather);
}

/** End of the run of writable pages from `page` on that are all pinned, or all not. */
function endOfRun(mapping: Mapping, faults: FaultState, page: number): number {
  const end = faults.writable.findNextClear(page);
  if (mapping.pinCounts.size === 0) return end;
  let last = page + 1;
  while (last < end && mapping.pinCounts.has(last) === mapping.pinCounts.has(page)) last += 1;
  return last;
}

/** Sets or clears `count` bits of `target` from `start` on, lowest bit of a byte first. */
function assign(target: Uint8Array, start: number, count: number, on: boolean): void {
  for (let bit = start; bit < start + count; ) {
    if ((bit & 7) === 0 && start + count - bit >= 8) {
      const bytes = Math.floor((start + count - bit) / 8);
      target.fill(on ? 0xff : 0, bit >>> 3, (bit >>> 3) + bytes);
      bit += bytes * 8;
    } else {
      const byte = target[bit >>> 3] ?? 0;
      target[bit >>> 3] = on ? byte | (1 << (bit & 7)) : byte & ~(1 << (bit & 7));
      bit += 1;
    }
  }
}
