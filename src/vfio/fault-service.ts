/**
 * Serves one page that a device asked for: host page, page-table entry, bookkeeping; and around it the pages that the
 * pre-map policy adds. See io-address-space.ts for the locks.
 */
import { Errno } from '../errno.ts';
import { type IommuDevice, Protection } from '../iommu/core.ts';
import type { HeldRange } from '../sim/locks.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultState, FaultTicket, Mapping } from './mapping.ts';
import { mapFrames } from './page-tables.ts';
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
} as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** Pages taken from an address space at a time. */
const CHUNK_PAGES = 512;

/** A plan takes at most this part of the residency limit, so that faults do not push each other's pages out for extras. */
const PLAN_SHARE = 8;

const RETRY = Symbol('the page was taken away meanwhile');

/** What serving a page needs; reused, because nothing is allocated per fault. */
class Scratch {
  readonly frames = new Int32Array(CHUNK_PAGES);
  readonly plan: PremapPlan = { first: 0, step: 1, count: 1 };
  readonly ticket: FaultTicket = { first: 0, end: 0, revoked: false };
  /** Pages of residency reserved and not mapped yet. */
  reserved = 0;
}

export class FaultService {
  readonly #io: IoAddressSpace;
  readonly #scratch: Scratch[] = [];

  constructor(io: IoAddressSpace) {
    this.#io = io;
  }

  /** Serves `page` of a mapping, to which the caller holds a reference. `notBeforeNs`: the request is not older. */
  *serve(device: IommuDevice, mapping: Mapping, page: number, write: boolean, notBeforeNs: number): Steps<Outcome> {
    const waited = mapping.faulting.isHeld(page, page + 1);
    const held = yield* mapping.faulting.lock(page, page + 1);
    const scratch = this.#scratch.pop() ?? new Scratch();
    let outcome: Outcome | typeof RETRY = RETRY;
    while (outcome === RETRY) {
      const { faults } = mapping;
      if (mapping.dying) {
        outcome = Outcome.INVALID;
      } else if (mapping.vaddrInvalid && faults !== null) {
        yield mapping.vaddrChanged;
      } else if (faults === null || (faults.mapped.test(page) && (!write || faults.writable.test(page)))) {
        const duplicate = waited || (faults !== null && (faults.servedNs[page] ?? 0) >= notBeforeNs);
        if (duplicate) outcome = Outcome.DUPLICATE;
        else outcome = yield* this.#refresh(mapping, page);
      } else if (faults.mapped.test(page)) {
        outcome = this.#retried(yield* this.#upgrade(mapping, faults, page, scratch));
      } else {
        outcome = this.#retried(yield* this.#map(device, mapping, faults, page, write, scratch));
      }
    }
    this.#scratch.push(scratch);
    mapping.faulting.unlock(held);
    return outcome;
  }

  /**
   * Maps what is not mapped of `[first, end)`, without a device asking; the caller holds a reference. 0, -EFAULT, -ENOMEM,
   * or -EINVAL where the mapping goes away.
   */
  *populate(mapping: Mapping, first: number, end: number, write: boolean): Steps<number> {
    const scratch = this.#scratch.pop() ?? new Scratch();
    let outcome: Outcome | typeof RETRY = Outcome.MAPPED;
    for (let page = first; page < end && (outcome === Outcome.MAPPED || outcome === Outcome.UPGRADE); ) {
      const last = chunkEnd(mapping, page, end);
      const held = yield* mapping.faulting.lock(page, last);
      outcome = yield* this.#populateChunk(mapping, page, last, write, scratch);
      mapping.faulting.unlock(held);
      page = last;
    }
    this.#scratch.push(scratch);
    if (outcome === Outcome.FAILED) return Errno.ENOMEM;
    if (outcome === Outcome.INVALID) return mapping.dying ? Errno.EINVAL : Errno.EFAULT;
    return Errno.OK;
  }

  /** {@link populate} for one chunk, whose faults the caller holds. */
  *#populateChunk(
    mapping: Mapping,
    first: number,
    end: number,
    write: boolean,
    scratch: Scratch,
  ): Steps<Outcome | typeof RETRY> {
    for (;;) {
      const { faults } = mapping;
      if (faults === null) return Outcome.MAPPED;
      if (mapping.dying) return Outcome.INVALID;
      if (mapping.vaddrInvalid) {
        yield mapping.vaddrChanged;
        continue;
      }
      let outcome: Outcome | typeof RETRY;
      const page = faults.mapped.findNextClear(first, end);
      const readOnly = faults.writable.findNextClear(first, end);
      if (page < end) {
        const last = faults.mapped.findNextSet(page, end);
        outcome = yield* this.#mapRange(mapping, faults, -1, page, last, write, scratch);
      } else if (write && readOnly < end && !this.#io.dirtyLogging) {
        outcome = yield* this.#upgrade(mapping, faults, readOnly, scratch);
      } else {
        return Outcome.MAPPED;
      }
      if (outcome === Outcome.INVALID || outcome === Outcome.FAILED) return outcome;
    }
  }

  #retried(outcome: Outcome | typeof RETRY): Outcome | typeof RETRY {
    if (outcome === RETRY) this.#io.counters.retried += 1;
    return outcome;
  }

  /** Makes the device forget an old translation of a page that is mapped well. */
  *#refresh(mapping: Mapping, page: number): Steps<Outcome> {
    const io = this.#io;
    const iova = mapping.iovaOf(page);
    const gather = io.takeGather();
    const translation = io.domain.translate(iova);
    if (translation !== null) gather.add(iova, io.pageBytes, Math.min(translation.size, io.pageBytes));
    yield* io.flush(gather);
    return Outcome.STALE;
  }

  /** A write to a page that is mapped read-only. */
  *#upgrade(mapping: Mapping, faults: FaultState, page: number, scratch: Scratch): Steps<Outcome | typeof RETRY> {
    const io = this.#io;
    const ticket = open(mapping, scratch.ticket, page, page + 1);
    // Where the host must copy the page first, it revokes the old one, and the ticket with it.
    const got = yield* mapping.space.acquire(mapping.vaddrOf(page), 1, WRITE, scratch.frames);
    close(mapping, ticket);
    if (got < 0) return got === Errno.ENOMEM ? Outcome.FAILED : Outcome.INVALID;
    if (ticket.revoked || mapping.dying || !faults.mapped.test(page)) {
      mapping.space.release(scratch.frames, 0, 1);
      return RETRY;
    }
    const gather = io.takeGather();
    const status = io.domain.protect(mapping.iovaOf(page), io.pageBytes, mapping.protection, gather);
    if (status === Errno.OK) {
      faults.writable.set(page);
      mapping.dirty?.set(page);
    }
    mapping.space.release(scratch.frames, 0, 1);
    if (io.latency.pageMap > 0) yield io.latency.pageMap;
    yield* io.flush(gather);
    faults.servedNs[page] = io.scheduler.clock.now;
    return status === Errno.OK ? Outcome.UPGRADE : Outcome.FAILED;
  }

  *#map(
    device: IommuDevice,
    mapping: Mapping,
    faults: FaultState,
    page: number,
    write: boolean,
    scratch: Scratch,
  ): Steps<Outcome | typeof RETRY> {
    const io = this.#io;
    const { plan } = scratch;
    io.policy.plan(device, page, mapping.pageCount, plan);
    const room = Math.max(1, Math.floor(io.residency.limitPages / PLAN_SHARE));
    const [first, end] = plan.step === 1 ? cut(mapping, faults, page, plan, room) : [page, page + 1];
    // Neighbours that another fault works on are its business.
    const below = first < page ? mapping.faulting.tryLock(first, page) : null;
    const above = end > page + 1 ? mapping.faulting.tryLock(page + 1, end) : null;
    const from = below === null ? page : first;
    const to = above === null ? page + 1 : end;
    const outcome = yield* this.#mapRange(mapping, faults, page, from, to, write, scratch);
    unlock(mapping, below);
    unlock(mapping, above);
    if (outcome === Outcome.MAPPED && plan.step !== 1) {
      yield* this.#mapStrides(mapping, faults, page, plan, write, scratch);
    }
    return outcome;
  }

  /** Maps `[from, to)`, whose faults the caller holds; the outcome is that of `page`, the others are a bonus. */
  *#mapRange(
    mapping: Mapping,
    faults: FaultState,
    page: number,
    from: number,
    to: number,
    write: boolean,
    scratch: Scratch,
  ): Steps<Outcome | typeof RETRY> {
    const io = this.#io;
    yield* io.reserve(to - from);
    scratch.reserved = to - from;
    // The chunk of the page itself goes first, then what follows, then what lies before.
    const centre = page < 0 ? from : page;
    const chunkStart = Math.max(from, centre - ((mapping.vaddrOf(centre) / io.pageBytes) % CHUNK_PAGES));
    let outcome = yield* this.#mapChunk(
      mapping,
      faults,
      page,
      chunkStart,
      chunkEnd(mapping, centre, to),
      write,
      scratch,
    );
    if (page >= 0 && outcome !== Outcome.MAPPED && to - from > 1 && !faults.mapped.test(page) && !mapping.dying) {
      outcome = yield* this.#mapChunk(mapping, faults, page, page, page + 1, write, scratch);
    }
    let more = outcome === Outcome.MAPPED;
    for (let next = chunkEnd(mapping, centre, to); more && next < to; next = chunkEnd(mapping, next, to)) {
      more =
        (yield* this.#mapChunk(mapping, faults, -1, next, chunkEnd(mapping, next, to), write, scratch)) ===
        Outcome.MAPPED;
    }
    for (let next = from; more && next < chunkStart; next = chunkEnd(mapping, next, chunkStart)) {
      const last = chunkEnd(mapping, next, chunkStart);
      more = (yield* this.#mapChunk(mapping, faults, -1, next, last, write, scratch)) === Outcome.MAPPED;
    }
    io.unreserve(scratch.reserved);
    return outcome;
  }

  /** Pages at equal distances, one by one, as far as they are free. */
  *#mapStrides(
    mapping: Mapping,
    faults: FaultState,
    page: number,
    plan: PremapPlan,
    write: boolean,
    scratch: Scratch,
  ): Steps {
    const { step, count } = plan;
    const most = Math.min(count, Math.max(1, Math.floor(this.#io.residency.limitPages / PLAN_SHARE)));
    for (let index = 1; index < most; index++) {
      const extra = page + step * index;
      if (extra < 0 || extra >= mapping.pageCount || faults.mapped.test(extra)) return;
      const held = mapping.faulting.tryLock(extra, extra + 1);
      if (held === null) return;
      const outcome = yield* this.#mapRange(mapping, faults, -1, extra, extra + 1, write, scratch);
      mapping.faulting.unlock(held);
      if (outcome !== Outcome.MAPPED) return;
    }
  }

  /** Maps up to {@link CHUNK_PAGES} pages. `page` is the one asked for, or -1 where all are extras. */
  *#mapChunk(
    mapping: Mapping,
    faults: FaultState,
    page: number,
    from: number,
    to: number,
    write: boolean,
    scratch: Scratch,
  ): Steps<Outcome | typeof RETRY> {
    const io = this.#io;
    const { space } = mapping;
    const { frames } = scratch;
    const ticket = open(mapping, scratch.ticket, from, to);
    const got = yield* space.acquire(mapping.vaddrOf(from), to - from, write ? WRITE : READ, frames);
    close(mapping, ticket);
    if (got < 0) return got === Errno.ENOMEM ? Outcome.FAILED : Outcome.INVALID;
    if (ticket.revoked || mapping.dying || mapping.faults !== faults) {
      space.release(frames, 0, got);
      return RETRY;
    }
    const mapped = this.#enter(mapping, faults, page, from, got, write, scratch);
    if (mapped > 0 && io.latency.pageMap > 0) yield io.latency.pageMap * mapped;
    space.release(frames, 0, got);
    if (mapped < 0) return Outcome.FAILED;
    if (page >= 0 && page >= from + mapped) return Outcome.FAILED;
    faults.servedNs.fill(io.scheduler.clock.now, from, from + mapped);
    io.counters.premapped += mapped - (page >= 0 ? 1 : 0);
    return Outcome.MAPPED;
  }

  /** Writes page-table entries and marks the pages: how many, or an errno where the first failed. */
  #enter(
    mapping: Mapping,
    faults: FaultState,
    page: number,
    from: number,
    count: number,
    write: boolean,
    scratch: Scratch,
  ): number {
    const io = this.#io;
    // With the dirty log on, only what was asked to be written may be writable: the rest would go unseen.
    if (write && io.dirtyLogging && count > 1) {
      let done = 0;
      while (done < count) {
        const asked = from + done === page;
        const run = asked ? 1 : from + done < page ? Math.min(count, page - from) - done : count - done;
        const status = this.#enterRun(mapping, faults, from, done, run, asked, scratch);
        if (status < run) return done + Math.max(0, status);
        done += run;
      }
      return count;
    }
    return this.#enterRun(mapping, faults, from, 0, count, write && (!io.dirtyLogging || from === page), scratch);
  }

  #enterRun(
    mapping: Mapping,
    faults: FaultState,
    from: number,
    offset: number,
    count: number,
    write: boolean,
    scratch: Scratch,
  ): number {
    const io = this.#io;
    const { frames } = scratch;
    const { allocator } = mapping.space.host;
    const protection = write ? mapping.protection : mapping.protection & Protection.READ;
    const first = from + offset;
    if (protection === 0) return 0;
    const mapped = mapFrames(io, mapping.iovaOf(first), frames, offset, count, protection, (frame) =>
      allocator.addressOf(frame),
    );
    io.invariants.check('agreement', mapped !== Errno.EEXIST, () => `page ${first} was mapped already`);
    if (mapped <= 0) return mapped;
    const reserved = Math.min(mapped, scratch.reserved);
    scratch.reserved -= reserved;
    io.residency.unreserve(reserved);
    faults.mapped.setRange(first, first + mapped);
    if (write || !mapping.writes) faults.writable.setRange(first, first + mapped);
    if (write) mapping.dirty?.setRange(first, first + mapped);
    for (let page = first; page < first + mapped; page++) io.residency.add(mapping, page);
    const { physical } = io.domain.translate(mapping.iovaOf(first)) ?? { physical: -1 };
    const expected = allocator.addressOf(frames[offset] ?? 0);
    io.invariants.check('agreement', physical === expected, () => `page ${first} is at ${physical}, not ${expected}`);
    return mapped;
  }
}

const READ = { write: false, longTerm: false } as const;
const WRITE = { write: true, longTerm: false } as const;

function open(mapping: Mapping, ticket: FaultTicket, first: number, end: number): FaultTicket {
  ticket.first = first;
  ticket.end = end;
  ticket.revoked = false;
  mapping.tickets.push(ticket);
  return ticket;
}

function close(mapping: Mapping, ticket: FaultTicket): void {
  const index = mapping.tickets.indexOf(ticket);
  const last = mapping.tickets.pop();
  if (last !== undefined && last !== ticket) mapping.tickets[index] = last;
}

function unlock(mapping: Mapping, held: HeldRange | null): void {
  if (held !== null) mapping.faulting.unlock(held);
}

/** The plan within the mapping, the run of unmapped pages around `page`, and `room` pages. */
function cut(mapping: Mapping, faults: FaultState, page: number, plan: PremapPlan, room: number): [number, number] {
  const first = faults.mapped.findClearRunStart(page, Math.max(0, plan.first));
  const last = Math.min(mapping.pageCount, plan.first + plan.count);
  const end = Math.max(page + 1, faults.mapped.findNextSet(page + 1, Math.max(page + 1, last)));
  if (end - first <= room) return [first, end];
  return [
    Math.max(first, Math.min(page, end - room)),
    Math.min(end, Math.max(first, Math.min(page, end - room)) + room),
  ];
}

/** Where the chunk that holds `page` ends: chunks follow the blocks of the address space, so that these stay whole. */
function chunkEnd(mapping: Mapping, page: number, to: number): number {
  const offset = (mapping.vaddrOf(page) / mapping.pageBytes) % CHUNK_PAGES;
  return Math.min(to, page + CHUNK_PAGES - offset);
}
