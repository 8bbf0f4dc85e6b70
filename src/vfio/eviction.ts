/**
 * Which pages go when the residency limit is reached: a clock with a second chance, the usual approximation of "least
 * recently accessed" where hardware keeps one bit per page. The list of resident pages is the clock, its oldest page under
 * the hand. A page that was accessed since its mark was cleared loses the mark and goes behind all others; the first one
 * without the mark goes. Order by the time of each access would need a record of each access, which no IOMMU keeps. Where
 * there is no access state, every page looks unaccessed: then those mapped longest ago go.
 *
 * The first use of a page, which it was mapped for, says nothing: pages that are used once would pass for a working set. So
 * the mark of a page is cleared once by itself when its first use is over, which is taken to be so when others were mapped
 * after it; what is marked when the hand comes was used again. What was cleared is flushed with the victims, by the same
 * commands, since accesses by cached translations set no marks.
 */
import { assert } from '../assert.ts';
import type { Gather } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { Mapping } from './mapping.ts';
import { revokePages } from './revocation.ts';

/** Parts of the limit: pages whose first use is over have their mark cleared where more than SETTLED have it, down to YOUNG. */
const SETTLED = 3 / 8;
const YOUNG = 1 / 8;

/** Leaves that lost their mark, and where that is gathered. */
interface Aged {
  readonly gather: Gather;
  leaves: number;
}

/** Takes at least `count` pages back, if there are as many that nobody pinned: how many. */
export function* evict(io: IoAddressSpace, count: number): Steps<number> {
  const { residency } = io;
  let done = 0;
  while (done < count) {
    const gather = io.takeGather();
    const aged = { gather, leaves: 0 };
    const slot = findVictim(io, aged);
    if (slot === 0) {
      yield* io.flush(gather);
      break;
    }
    const mapping = residency.mappingAt(slot).get();
    const first = residency.pageAt(slot);
    const end = endOfVictims(io, slot, count - done, aged);
    settle(io, aged);
    // None, where somebody else took the pages while this waited, or pinned them.
    const revoked = yield* revokePages(io, mapping, first, end, gather);
    mapping.put();
    if (aged.leaves > 0 && io.latency.pageAge > 0) yield io.latency.pageAge * aged.leaves;
    io.counters.evicted += revoked;
    done += revoked;
    if (revoked > 0 && io.log.isLevelEnabled('debug')) {
      io.log.debug({ event: 'vfio.evict', container: io.name, iova: mapping.iovaOf(first), pages: revoked });
    }
  }
  return done;
}

/** The oldest page that may go, as its slot in the residency list; 0: there is none. What loses its mark goes to `aged`. */
function findVictim(io: IoAddressSpace, aged: Aged): number {
  const { residency } = io;
  // Where this turn finds nothing, it has taken every mark. Pages used for the first time stay where they are, but for the
  // youngest, which wait for it: so they go in the next turn, before what was used again.
  let kept = 0;
  for (let left = residency.pages; left > 0; ) {
    const slot = residency.after(kept);
    if (slot === 0) break;
    const mapping = residency.mappingAt(slot);
    const page = residency.pageAt(slot);
    if (mapping.pinCounts.has(page)) {
      residency.renew(slot);
      left -= 1;
      continue;
    }
    const leafBytes = testAndClear(io, mapping, page, aged);
    if (leafBytes === 0) return slot;
    if (isFirstUse(io, slot)) {
      const end = mapping.pageOf(leafEnd(mapping, page, leafBytes) - 1) + 1;
      for (let next = slot, each = page; each < end && isPage(io, next, mapping, each); each++) {
        residency.settleOne(next);
        kept = next;
        left -= 1;
        next = residency.after(next);
      }
    } else {
      left -= renewLeaf(io, mapping, page, leafBytes);
    }
  }
  for (let slot = residency.oldest; slot !== 0; slot = residency.after(slot)) {
    if (!residency.mappingAt(slot).pinCounts.has(residency.pageAt(slot))) return slot;
  }
  return 0;
}

/** Whether the page was used for the first time, as far as its mark tells, and is none of the youngest. */
function isFirstUse(io: IoAddressSpace, slot: number): boolean {
  const { residency } = io;
  return residency.isUnsettled(slot) && residency.unsettledPages > Math.floor(residency.limitPages * YOUNG);
}

function isPage(io: IoAddressSpace, slot: number, mapping: Mapping, page: number): boolean {
  return slot !== 0 && io.residency.mappingAt(slot) === mapping && io.residency.pageAt(slot) === page;
}

/** Where the leaf of `leafBytes` that holds the page ends. */
function leafEnd(mapping: Mapping, page: number, leafBytes: number): number {
  const iova = mapping.iovaOf(page);
  return Math.min(mapping.end, iova - (iova % leafBytes) + leafBytes);
}

/** Takes the marks of pages whose first use is over. */
function settle(io: IoAddressSpace, aged: Aged): void {
  const { residency } = io;
  const { limitPages } = residency;
  residency.settle(Math.floor(limitPages * SETTLED), Math.floor(limitPages * YOUNG), (mapping, page) => {
    testAndClear(io, mapping, page, aged);
  });
}

/** The end of the run of adjacent pages from that of `slot` on, at most `most`, that may go with it. */
function endOfVictims(io: IoAddressSpace, slot: number, most: number, aged: Aged): number {
  const { residency } = io;
  const mapping = residency.mappingAt(slot);
  const first = residency.pageAt(slot);
  let end = first + 1;
  for (let next = residency.after(slot); next !== 0 && end - first < most; next = residency.after(next)) {
    if (residency.mappingAt(next) !== mapping || residency.pageAt(next) !== end || mapping.pinCounts.has(end)) break;
    const leafBytes = testAndClear(io, mapping, end, aged);
    if (leafBytes > 0) {
      if (!isFirstUse(io, next)) renewLeaf(io, mapping, end, leafBytes);
      else residency.settleOne(next);
      break;
    }
    end += 1;
  }
  return end;
}

/** Bytes of the leaf that holds the page, or of the page if leaves are smaller, where it was accessed; else 0. */
function testAndClear(io: IoAddressSpace, mapping: Mapping, page: number, aged: Aged): number {
  const { access, pageSizes } = io.domain;
  if (access === null) return 0;
  const iova = mapping.iovaOf(page);
  const granule = pageSizes[0] ?? io.pageBytes;
  let bytes = 0;
  for (let at = iova; at < iova + io.pageBytes; at += granule) {
    const leaf = access.testAndClear(at, aged.gather);
    if (leaf === 0) continue;
    bytes = Math.max(leaf, io.pageBytes);
    aged.leaves += 1;
  }
  return bytes;
}

/** What shares a leaf was accessed with it, as far as anybody can tell: how many pages. */
function renewLeaf(io: IoAddressSpace, mapping: Mapping, page: number, leafBytes: number): number {
  const slots = mapping.faults?.residencySlots;
  assert(slots !== undefined, 'a resident page is of a mapping that faults');
  const iova = mapping.iovaOf(page);
  const start = iova - (iova % leafBytes);
  const first = Math.max(0, mapping.pageOf(start));
  const end = Math.min(mapping.pageCount, mapping.pageOf(start + leafBytes - 1) + 1);
  let renewed = 0;
  for (let each = first; each < end; each++) {
    const slot = slots[each] ?? 0;
    if (slot === 0) continue;
    io.residency.renew(slot);
    renewed += 1;
  }
  return renewed;
}
