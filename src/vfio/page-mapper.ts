/** Maps ranges of pages on demand: host pages in chunks, page-table entries, bookkeeping, within the residency limit. */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import { Protection } from '../iommu/core.ts';
import type { Acquisition } from '../mm/address-space.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultState, FaultTicket, Mapping } from './mapping.ts';
import type { PremapPlan } from './premap.ts';

/** How a page request ended. */
export const Outcome = {
  /** Mapped now. */
  MAPPED: 'mapped',
  /** Mapped for another request that had not been answered when this one was made. */
  DUPLICATE: 'duplicate',
  /** Mapped and answered before: the device's cached translation was older, and is gone now. */
  STALE: 'stale',
  /** Was read-only, is writable now. */
  UPGRADE: 'upgrade',
  /** The address, or this use of it, is no good. */
  INVALID: 'invalid',
  /** The host could not do it. */
  FAILED: 'failed',
  /** No end yet: the mapping has no virtual address at the moment. */
  PARKED: 'parked',
} as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** The page was taken away meanwhile: look again. */
export const RETRY = Symbol('retry');
export type Attempt = Outcome | typeof RETRY;

/** Pages taken from an address space at a time: most of memory is left to others. */
const CHUNK_PAGES = 512;
const chunkPages = ({ space }: Mapping): number => Math.min(CHUNK_PAGES, space.host.briefPinPages);

const READ: Acquisition = { write: false, longTerm: false };
const WRITE: Acquisition = { write: true, longTerm: false };

/** One page being served, and what that needs; reused, because nothing is allocated per fault. */
export class Work {
  #mapping: Mapping | null = null;
  /** The page asked for, or -1 where nobody asked. */
  page = -1;
  write = false;
  readonly plan: PremapPlan = { first: 0, step: 1, count: 1 };
  readonly frames = new Int32Array(CHUNK_PAGES);
  /** Pages of residency reserved and not mapped yet. */
  reserved = 0;
  readonly #ticket: FaultTicket = { first: 0, end: 0, revoked: false };

  begin(mapping: Mapping, page: number, write: boolean): void {
    this.#mapping = mapping;
    this.page = page;
    this.write = write;
  }

  get mapping(): Mapping {
    assert(this.#mapping !== null, 'work has begun');
    return this.#mapping;
  }

  /** What the pages are acquired for. */
  get use(): Acquisition {
    return this.write ? WRITE : READ;
  }

  /** From now on whoever takes a page of `[first, end)` away tells this work. Before its pages are acquired. */
  watch(first: number, end: number): void {
    const ticket = this.#ticket;
    ticket.first = first;
    ticket.end = end;
    ticket.revoked = false;
    this.mapping.tickets.push(ticket);
  }

  /**
   * Ends {@link watch} after `got` pages were acquired (or an errno): whether they may be mapped. If not, because one of
   * them was taken away or the mapping is not what it was, they are given back. Nothing can take them away between this
   * and the next wait.
   */
  settle(got: number, faults: FaultState): boolean {
    const { mapping } = this;
    const { tickets } = mapping;
    const last = tickets.pop();
    if (last !== undefined && last !== this.#ticket) tickets[tickets.indexOf(this.#ticket)] = last;
    if (got < 0 || !(this.#ticket.revoked || mapping.dying || mapping.faults !== faults)) return true;
    mapping.space.release(this.frames, 0, got);
    return false;
  }
}

/** What a failure to get a host page means for the device. */
export function outcomeOf(errno: number): Outcome {
  return errno === Errno.ENOMEM ? Outcome.FAILED : Outcome.INVALID;
}

/** Where the chunk that holds `page` ends: chunks follow the blocks of the address space, so that these stay whole. */
export function chunkEnd(mapping: Mapping, page: number, end: number): number {
  const chunk = chunkPages(mapping);
  const offset = (mapping.vaddrOf(page) / mapping.pageBytes) % chunk;
  return Math.min(end, page + chunk - offset);
}

export class PageMapper {
  readonly #io: IoAddressSpace;

  constructor(io: IoAddressSpace) {
    this.#io = io;
  }

  /** As {@link mapRange} for `work.page` alone, where that takes no time; null where something is to be waited for. */
  mapNow(work: Work, faults: FaultState): Outcome | null {
    const io = this.#io;
    const { mapping, page, frames } = work;
    if (io.latency.pageMap > 0 || !io.tryReserve(1)) return null;
    work.reserved = 1;
    const frame = mapping.space.acquireNow(mapping.vaddrOf(page), work.use);
    let outcome: Outcome | null = null;
    if (frame >= 0) {
      frames[0] = frame;
      outcome = this.#entered(work, faults, page, page + 1, 1, this.#enter(work, faults, page, 1));
    } else if (frame !== Errno.EAGAIN) {
      outcome = outcomeOf(frame);
    }
    io.unreserve(work.reserved);
    return outcome;
  }

  /**
   * Maps `[first, end)`, none of which is mapped and whose faults the caller holds. The outcome is that of `work.page`; the
   * other pages are a bonus, or all are where no page was asked for.
   */
  *mapRange(work: Work, faults: FaultState, first: number, end: number): Steps<Attempt> {
    const io = this.#io;
    const { mapping, page } = work;
    if (!io.tryReserve(end - first)) yield* io.reserve(end - first);
    work.reserved = end - first;
    // The chunk of the page itself goes first, then what follows, then what lies before.
    const centre = page < 0 ? first : page;
    const chunk = chunkPages(mapping);
    const head = Math.max(first, chunkEnd(mapping, centre, mapping.pageCount + chunk) - chunk);
    let outcome = yield* this.#mapChunk(work, faults, head, chunkEnd(mapping, centre, end));
    const alone = page >= 0 && end - first > 1;
    // Where an extra is what failed, the page by itself may still do.
    if (alone && outcome !== Outcome.MAPPED && mapping.faults === faults && !faults.mapped.test(page)) {
      outcome = yield* this.#mapChunk(work, faults, page, page + 1);
    }
    if (outcome === Outcome.MAPPED) {
      const followed = yield* this.#mapExtras(work, faults, chunkEnd(mapping, centre, end), end);
      if (followed) yield* this.#mapExtras(work, faults, first, head);
    }
    io.unreserve(work.reserved);
    return outcome;
  }

  /** Maps chunk after chunk until one fails: whether none did. */
  *#mapExtras(work: Work, faults: FaultState, first: number, end: number): Steps<boolean> {
    for (let page = first; page < end; ) {
      const last = chunkEnd(work.mapping, page, end);
      if ((yield* this.#mapChunk(work, faults, page, last)) !== Outcome.MAPPED) return false;
      page = last;
    }
    return true;
  }

  *#mapChunk(work: Work, faults: FaultState, first: number, end: number): Steps<Attempt> {
    const { mapping } = work;
    const { pageMap } = this.#io.latency;
    work.watch(first, end);
    const got = yield* mapping.space.acquire(mapping.vaddrOf(first), end - first, work.use, work.frames);
    if (!work.settle(got, faults)) return RETRY;
    if (got < 0) return outcomeOf(got);
    const mapped = this.#enter(work, faults, first, got);
    if (mapped > 0 && pageMap > 0) yield pageMap * mapped;
    return this.#entered(work, faults, first, end, got, mapped);
  }

  /** Of `[first, end)`, `got` pages were acquired and `mapped` entered: what that makes of the request. */
  #entered(work: Work, faults: FaultState, first: number, end: number, got: number, mapped: number): Outcome {
    const io = this.#io;
    const { mapping, page } = work;
    mapping.space.release(work.frames, 0, got);
    const asked = page >= first && page < end;
    if (mapped <= 0 || (asked && page >= first + mapped)) return Outcome.FAILED;
    const { now } = io.scheduler.clock;
    for (let served = first; served < first + mapped; served++) faults.servedNs[served] = now;
    io.counters.premapped += mapped - (asked ? 1 : 0);
    return Outcome.MAPPED;
  }

  /** Writes page-table entries and marks the pages: how many, or an errno where the first failed. */
  #enter(work: Work, faults: FaultState, first: number, count: number): number {
    const { page, write } = work;
    if (!write || !this.#io.logsByFaults) return this.#enterRun(work, faults, first, 0, count, write);
    // Where write faults make the dirty log, only what was asked to be written may be writable: the rest would go unseen.
    for (let done = 0; done < count; ) {
      const at = first + done;
      const run = at === page ? 1 : at < page ? Math.min(count, page - first) - done : count - done;
      const entered = this.#enterRun(work, faults, first, done, run, at === page);
      if (entered < run) return done + Math.max(0, entered);
      done += run;
    }
    return count;
  }

  /** `count` frames from `offset` on go to the pages from `first + offset` on. */
  #enterRun(work: Work, faults: FaultState, first: number, offset: number, count: number, write: boolean): number {
    const io = this.#io;
    const { mapping, frames } = work;
    const protection = write ? mapping.protection : mapping.protection & Protection.READ;
    if (protection === 0) return 0;
    const start = first + offset;
    const mapped = this.#writeEntries(mapping, start, frames, offset, count, protection);
    if (mapped <= 0) return mapped;
    const end = start + mapped;
    const reserved = Math.min(mapped, work.reserved);
    work.reserved -= reserved;
    io.residency.unreserve(reserved);
    faults.mapped.setRange(start, end);
    if (write || !mapping.writes) faults.writable.setRange(start, end);
    if (write && io.logsByFaults) mapping.dirty?.setRange(start, end);
    for (let page = start; page < end; page++) io.residency.add(mapping, page);
    return mapped;
  }

  /** Adjacent frames become one range, so that the IOMMU can use the largest blocks. */
  #writeEntries(
    mapping: Mapping,
    start: number,
    frames: Int32Array,
    offset: number,
    count: number,
    protection: number,
  ): number {
    const io = this.#io;
    const { allocator } = mapping.space.host;
    let done = 0;
    let status: number = Errno.OK;
    while (done < count) {
      const frame = frames[offset + done] ?? -1;
      let run = 1;
      while (done + run < count && frames[offset + done + run] === frame + run) run += 1;
      const iova = mapping.iovaOf(start + done);
      status = io.domain.map(iova, allocator.addressOf(frame), run * io.pageBytes, protection);
      io.invariants.check('agreement', status !== Errno.EEXIST, mappedTwice, iova);
      if (status !== Errno.OK) break;
      const right = io.domain.translate(iova)?.physical === allocator.addressOf(frame);
      io.invariants.check('agreement', right, mappedElsewhere, iova);
      done += run;
    }
    return done > 0 ? done : status;
  }
}

function mappedTwice(iova: number): string {
  return `0x${iova.toString(16)} was mapped already`;
}

function mappedElsewhere(iova: number): string {
  return `0x${iova.toString(16)} does not lead to the page that was mapped there`;
}
