/**
 * Which pages go when the residency limit is reached: a clock with a second chance, the usual approximation of "least
 * recently accessed" where hardware keeps one bit per page. The list of resident pages is the clock, its oldest page under
 * the hand. A page that was accessed since the hand passed last loses the mark and goes behind all others; the first one
 * without the mark goes. Order by the time of each access would need a record of each access, which no IOMMU keeps. Where
 * there is no access state, every page looks unaccessed: then those mapped longest ago go.
 *
 * A page is marked when it is mapped, for the fault that asked. Marks are cleared by the hand alone, so that a page that
 * nobody uses outlives at most one turn; and what was cleared is flushed with the victims, by the same commands, since
 * accesses by cached translations set no marks.
 */
import type { Gather } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { Mapping } from './mapping.ts';
import { revokePages } from './revocation.ts';

/** Takes at least `count` pages back, if there are as many that nobody pinned: how many. */
export function* evict(io: IoAddressSpace, count: number): Steps<number> {
  const { residency } = io;
  let done = 0;
  while (done < count) {
    const gather = io.takeGather();
    const aged = turnToVictim(io, gather);
    const slot = aged < 0 ? 0 : residency.oldest;
    if (slot === 0) {
      yield* io.flush(gather);
      break;
    }
    const mapping = residency.mappingAt(slot).get();
    const first = residency.pageAt(slot);
    const end = endOfVictims(io, slot, count - done, gather);
    // None, where somebody else took the pages while this waited, or pinned them.
    const revoked = yield* revokePages(io, mapping, first, end, gather);
    mapping.put();
    if (aged > 0 && io.latency.pageAge > 0) yield io.latency.pageAge * aged;
    io.counters.evicted += revoked;
    done += revoked;
    if (revoked > 0 && io.log.isLevelEnabled('debug')) {
      io.log.debug({ event: 'vfio.evict', container: io.name, iova: mapping.iovaOf(first), pages: revoked });
    }
  }
  return done;
}

/**
 * Turns the clock until a page that may go is the oldest: the leaves that lost their mark, or -1 where there is no such
 * page. Two turns see every page without its mark.
 */
function turnToVictim(io: IoAddressSpace, gather: Gather): number {
  const { residency } = io;
  let aged = 0;
  for (let left = 2 * residency.pages; left > 0; left--) {
    const slot = residency.oldest;
    const mapping = residency.mappingAt(slot);
    const page = residency.pageAt(slot);
    if (mapping.pinCounts.has(page)) {
      residency.renew(slot);
      continue;
    }
    const leafBytes = testAndClear(io, mapping, page, gather);
    if (leafBytes === 0) return aged;
    aged += 1;
    renewLeaf(io, mapping, page, leafBytes);
  }
  return -1;
}

/** The end of the run of adjacent pages from that of `slot` on, at most `most`, that may go with it. */
function endOfVictims(io: IoAddressSpace, slot: number, most: number, gather: Gather): number {
  const { residency } = io;
  const mapping = residency.mappingAt(slot);
  const first = residency.pageAt(slot);
  let end = first + 1;
  for (let next = residency.after(slot); next !== 0 && end - first < most; next = residency.after(next)) {
    if (residency.mappingAt(next) !== mapping || residency.pageAt(next) !== end || mapping.pinCounts.has(end)) break;
    const leafBytes = testAndClear(io, mapping, end, gather);
    if (leafBytes > 0) {
      renewLeaf(io, mapping, end, leafBytes);
      break;
    }
    end += 1;
  }
  return end;
}

/** Bytes of the leaf that holds the page, or of the page if leaves are smaller, where it was accessed; else 0. */
function testAndClear(io: IoAddressSpace, mapping: Mapping, page: number, gather: Gather): number {
  const { access, pageSizes } = io.domain;
  if (access === null) return 0;
  const iova = mapping.iovaOf(page);
  const granule = pageSizes[0] ?? io.pageBytes;
  let bytes = 0;
  for (let at = iova; at < iova + io.pageBytes; at += granule) {
    const leaf = access.testAndClear(at, gather);
    if (leaf > 0) bytes = Math.max(leaf, io.pageBytes);
  }
  return bytes;
}

/** What shares a leaf was accessed with it, as far as anybody can tell. */
function renewLeaf(io: IoAddressSpace, mapping: Mapping, page: number, leafBytes: number): void {
  const slots = mapping.faults?.residencySlots;
  if (slots === undefined) return;
  const iova = mapping.iovaOf(page);
  const start = iova - (iova % leafBytes);
  const first = Math.max(0, mapping.pageOf(start));
  const end = Math.min(mapping.pageCount, mapping.pageOf(start + leafBytes - 1) + 1);
  for (let each = first; each < end; each++) {
    const slot = slots[each] ?? 0;
    if (slot !== 0) io.residency.renew(slot);
  }
}
