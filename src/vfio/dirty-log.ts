/**
 * Which pages devices wrote. Where the IOMMU keeps dirty state by itself, the log is what it tells, of pinned pages too, and
 * nothing faults because of it. Elsewhere write faults make the log: a page is writable for devices only once it is marked,
 * and static mappings, which cannot be watched, count as written, as in the kernel.
 *
 * Either way the marks of what is unmapped or taken back go to `Mapping.dirty`, in the step that does it.
 */
import { Errno } from '../errno.ts';
import { type Gather, Protection } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import { Bitmap } from './bitmap.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultState, Mapping } from './mapping.ts';
import { revokePages } from './revocation.ts';

/** Nothing is marked when this returns. 0, or -ENOMEM where the IOMMU cannot; then there is no log. */
export function* startDirtyLog(io: IoAddressSpace): Steps<number> {
  if (io.dirtyLogging) return Errno.OK;
  const { dirty } = io.domain;
  const gather = io.takeGather();
  const status = dirty === null ? Errno.OK : dirty.enable(gather);
  if (status === Errno.OK) {
    io.dirtyLogging = true;
    for (const mapping of io.mappings.all()) mapping.dirty = new Bitmap(mapping.pageCount);
    yield* spend(io, dirty === null ? yield* protectAll(io, io.mappings.all(), gather) : writablePages(io));
  }
  yield* io.flush(gather);
  if (status === Errno.OK) {
    io.log.info({ event: 'vfio.dirtyLog', container: io.name, enabled: true, byHardware: dirty !== null });
  }
  return status;
}

export function stopDirtyLog(io: IoAddressSpace): void {
  if (!io.dirtyLogging) return;
  io.dirtyLogging = false;
  io.domain.dirty?.disable();
  for (const mapping of io.mappings.all()) mapping.dirty = null;
  io.log.info({ event: 'vfio.dirtyLog', container: io.name, enabled: false, byHardware: io.domain.dirty !== null });
}

/**
 * Moves the marks of mappings to the bits of `target`, the first of which is for the page at `iova`, and starts over. Writes
 * that an old cached translation still lets through are those of pages just reported, and are over when this returns.
 */
export function* takeDirty(io: IoAddressSpace, mappings: readonly Mapping[], target: Uint8Array, iova: number): Steps {
  const gather = io.takeGather();
  let changed = 0;
  for (const mapping of mappings) {
    if (io.domain.dirty !== null && mapping.writes) changed += readHardware(io, mapping, gather);
    reportDirty(io, mapping, target, (mapping.iova - iova) / io.pageBytes);
    if (io.logsByFaults) changed += yield* writeProtect(io, mapping, gather);
  }
  yield* spend(io, changed);
  yield* io.flush(gather);
}

/**
 * Moves the marks of one mapping to the bits of `target` from `at` on: all of them where it cannot be watched. What hardware
 * has marked since is not among them, unless the mapping is gone.
 */
export function reportDirty(io: IoAddressSpace, mapping: Mapping, target: Uint8Array, at: number): void {
  const { dirty, faults, pageCount } = mapping;
  assign(target, at, pageCount, false);
  if (!mapping.writes) return;
  if (dirty === null || (faults === null && io.domain.dirty === null)) {
    assign(target, at, pageCount, true);
    return;
  }
  dirty.copyTo(target, at, 0, pageCount);
  dirty.clearRange(0, pageCount);
  if (io.domain.dirty === null) for (const page of mapping.pinCounts.keys()) assign(target, at + page, 1, true);
}

/** Sets marks again that could not be delivered. */
export function restoreDirty(mapping: Mapping, source: Uint8Array, at: number): void {
  for (let page = 0; page < mapping.pageCount; page++) {
    const bit = at + page;
    if (((source[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0) mapping.dirty?.set(page);
  }
}

/** As {@link startDirtyLog} for a mapping that was converted while write faults make the log. */
export function* logConverted(io: IoAddressSpace, mapping: Mapping): Steps {
  // What was written until now went unseen.
  if (mapping.writes) mapping.dirty?.setRange(0, mapping.pageCount);
  const gather = io.takeGather();
  yield* spend(io, yield* writeProtect(io, mapping, gather));
  yield* io.flush(gather);
}

/** Marks what hardware saw written, which is clean from then on: how many pages. */
function readHardware(io: IoAddressSpace, mapping: Mapping, gather: Gather): number {
  let bytes = 0;
  const counted = {
    noteWritten(iova: number, size: number): void {
      mapping.noteWritten(iova, size);
      bytes += size;
    },
  };
  const status = io.domain.dirty?.readAndClear(mapping.iova, mapping.size, counted, gather);
  io.invariants.check('agreement', status === Errno.OK, () => `dirty state of mapping ${mapping.id}: ${status}`);
  return Math.ceil(bytes / io.pageBytes);
}

function* protectAll(io: IoAddressSpace, mappings: readonly Mapping[], gather: Gather): Steps<number> {
  let pages = 0;
  for (const mapping of mappings) pages += yield* writeProtect(io, mapping, gather);
  return pages;
}

/** Makes the writable pages of a tracked mapping read-only: how many. Cached translations go with `gather`. */
function* writeProtect(io: IoAddressSpace, mapping: Mapping, gather: Gather): Steps<number> {
  const { faults } = mapping;
  if (faults === null || !mapping.writes) return 0;
  if (!mapping.reads) {
    yield* revokePages(io, mapping, 0, mapping.pageCount);
    return 0;
  }
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
  return pages;
}

/** Pages that devices may write without a fault. */
function writablePages(io: IoAddressSpace): number {
  let pages = 0;
  for (const { faults, writes, pageCount } of io.mappings.all()) {
    if (writes) pages += faults === null ? pageCount : faults.writable.count();
  }
  return pages;
}

/** The time that changing so many page-table entries takes. */
function* spend(io: IoAddressSpace, entries: number): Steps {
  if (entries > 0 && io.latency.pageMap > 0) yield io.latency.pageMap * entries;
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
