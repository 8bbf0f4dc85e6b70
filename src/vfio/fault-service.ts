/**
 * Serves one page that a device asked for: decides what the request means, and has it mapped together with the pages that
 * the pre-map policy adds. See io-address-space.ts for the locks.
 */
import { Errno } from '../errno.ts';
import type { IommuDevice } from '../iommu/core.ts';
import type { HeldRange } from '../sim/locks.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { FaultState, Mapping } from './mapping.ts';
import { type Attempt, chunkEnd, Outcome, outcomeOf, PageMapper, RETRY, Work } from './page-mapper.ts';
import { type PremapPlan, premapNone } from './premap.ts';

/** A plan takes at most this part of the residency limit, so that faults do not push each other's pages out for extras. */
const PLAN_SHARE = 8;

export class FaultService {
  readonly #io: IoAddressSpace;
  readonly #mapper: PageMapper;
  readonly #idle: Work[] = [];

  constructor(io: IoAddressSpace) {
    this.#io = io;
    this.#mapper = new PageMapper(io);
  }

  /** Serves `page` of a mapping, to which the caller holds a reference. `notBeforeNs`: the request is not older. */
  *serve(device: IommuDevice, mapping: Mapping, page: number, write: boolean, notBeforeNs: number): Steps<Outcome> {
    const free = mapping.faulting.tryLock(page, page + 1);
    const waited = free === null;
    const held = free ?? (yield* mapping.faulting.lock(page, page + 1));
    const work = this.#idle.pop() ?? new Work();
    work.begin(mapping, page, write);
    let attempt: Attempt = RETRY;
    while (attempt === RETRY) {
      attempt = yield* this.#attempt(device, work, waited, notBeforeNs);
      if (attempt === RETRY) this.#io.counters.retried += 1;
    }
    this.#idle.push(work);
    mapping.faulting.unlock(held);
    return attempt;
  }

  /** As {@link serve} for a page that is not mapped yet, where that takes no time; null where there is more to it. */
  serveNow(mapping: Mapping, page: number, write: boolean): Outcome | null {
    const { faults } = mapping;
    // Other policies may add pages.
    if (this.#io.policy !== premapNone) return null;
    if (faults === null || mapping.dying || mapping.vaddrInvalid || faults.mapped.test(page)) return null;
    const held = mapping.faulting.tryLock(page, page + 1);
    if (held === null) return null;
    const work = this.#idle.pop() ?? new Work();
    work.begin(mapping, page, write);
    const outcome = this.#mapper.mapNow(work, faults);
    this.#idle.push(work);
    mapping.faulting.unlock(held);
    return outcome;
  }

  /**
   * Maps what is not mapped of `[first, end)`, without a device asking; the caller holds a reference. 0, -EFAULT, -ENOMEM;
   * -EINVAL where the mapping goes away, -EBUSY while its virtual address is being changed.
   */
  *populate(mapping: Mapping, first: number, end: number, write: boolean): Steps<number> {
    const work = this.#idle.pop() ?? new Work();
    let status: number = Errno.OK;
    for (let page = first; page < end && status === Errno.OK; page = chunkEnd(mapping, page, end)) {
      const last = chunkEnd(mapping, page, end);
      const held = yield* mapping.faulting.lock(page, last);
      work.begin(mapping, -1, write);
      status = yield* this.#populateChunk(work, page, last);
      mapping.faulting.unlock(held);
    }
    this.#idle.push(work);
    return status;
  }

  *#attempt(device: IommuDevice, work: Work, waited: boolean, notBeforeNs: number): Steps<Attempt> {
    const { mapping, page, write } = work;
    const { faults } = mapping;
    if (mapping.dying) return Outcome.INVALID;
    // A device that is leaving waits for its answers, so they must not wait for a new address; nobody waits for those of one
    // that has left, which gave up waiting before.
    if (faults !== null && mapping.vaddrInvalid) {
      const stays = this.#io.devices.has(device) && !this.#io.leaving.has(device);
      return stays ? Outcome.PARKED : Outcome.INVALID;
    }
    if (faults === null) return waited ? Outcome.DUPLICATE : yield* this.#refresh(mapping, page);
    if (!faults.mapped.test(page)) return yield* this.#map(device, work, faults);
    if (write && !faults.writable.test(page)) return yield* this.#upgrade(work, faults, page);
    const inFlight = waited || (faults.servedNs[page] ?? 0) >= notBeforeNs;
    return inFlight ? Outcome.DUPLICATE : yield* this.#refresh(mapping, page);
  }

  /** {@link populate} for one chunk, whose faults the caller holds. */
  *#populateChunk(work: Work, first: number, end: number): Steps<number> {
    const { mapping, write } = work;
    for (;;) {
      const { faults } = mapping;
      if (faults === null) return Errno.OK;
      if (mapping.dying) return Errno.EINVAL;
      if (mapping.vaddrInvalid) return Errno.EBUSY;
      const missing = faults.mapped.findNextClear(first, end);
      const readOnly = faults.writable.findNextClear(first, end);
      let attempt: Attempt;
      if (missing < end) {
        const room = Math.min(end, missing + this.#io.residency.limitPages);
        attempt = yield* this.#mapper.mapRange(work, faults, missing, faults.mapped.findNextSet(missing, room));
      } else if (write && readOnly < end && !this.#io.logsByFaults) {
        attempt = yield* this.#upgrade(work, faults, readOnly);
      } else {
        return Errno.OK;
      }
      if (attempt === Outcome.FAILED) return Errno.ENOMEM;
      if (attempt === Outcome.INVALID) return Errno.EFAULT;
    }
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
  *#upgrade(work: Work, faults: FaultState, page: number): Steps<Attempt> {
    const io = this.#io;
    const { mapping } = work;
    // Where the host must copy the page first, it revokes the old one, and this starts over.
    work.watch(page, page + 1);
    const got = yield* mapping.space.acquire(mapping.vaddrOf(page), 1, work.use, work.frames);
    if (!work.settle(got, faults)) return RETRY;
    if (got < 0) return outcomeOf(got);
    if (!faults.mapped.test(page)) {
      mapping.space.release(work.frames, 0, 1);
      return RETRY;
    }
    const gather = io.takeGather();
    const status = io.domain.protect(mapping.iovaOf(page), io.pageBytes, mapping.protection, gather);
    if (status === Errno.OK) {
      faults.writable.set(page);
      if (io.logsByFaults) mapping.dirty?.set(page);
    }
    mapping.space.release(work.frames, 0, 1);
    if (io.latency.pageMap > 0) yield io.latency.pageMap;
    yield* io.flush(gather);
    faults.servedNs[page] = io.scheduler.clock.now;
    return status === Errno.OK ? Outcome.UPGRADE : Outcome.FAILED;
  }

  *#map(device: IommuDevice, work: Work, faults: FaultState): Steps<Attempt> {
    const { mapping, page, plan } = work;
    this.#io.policy.plan(device, page, mapping.pageCount, plan);
    const room = Math.max(1, Math.floor(this.#io.residency.limitPages / PLAN_SHARE));
    if (plan.step !== 1) return yield* this.#mapStrides(work, faults, plan, room);
    const first = planStart(faults, page, plan, room);
    const end = planEnd(mapping, faults, page, plan, first + room);
    // Neighbours that another fault works on are its business.
    const below = first < page ? mapping.faulting.tryLock(first, page) : null;
    const above = end > page + 1 ? mapping.faulting.tryLock(page + 1, end) : null;
    const from = below === null ? page : first;
    const to = above === null ? page + 1 : end;
    const attempt = yield* this.#mapper.mapRange(work, faults, from, to);
    unlock(mapping, below);
    unlock(mapping, above);
    return attempt;
  }

  /** The page, then pages at equal distances, one by one, as far as they are free. */
  *#mapStrides(work: Work, faults: FaultState, plan: PremapPlan, room: number): Steps<Attempt> {
    const { mapping, page } = work;
    const attempt = yield* this.#mapper.mapRange(work, faults, page, page + 1);
    work.page = -1;
    for (let index = 1; attempt === Outcome.MAPPED && index < Math.min(plan.count, room); index++) {
      const extra = page + plan.step * index;
      if (extra < 0 || extra >= mapping.pageCount || faults.mapped.test(extra)) break;
      const held = mapping.faulting.tryLock(extra, extra + 1);
      if (held === null) break;
      const more = yield* this.#mapper.mapRange(work, faults, extra, extra + 1);
      mapping.faulting.unlock(held);
      if (more !== Outcome.MAPPED) break;
    }
    work.page = page;
    return attempt;
  }
}

function unlock(mapping: Mapping, held: HeldRange | null): void {
  if (held !== null) mapping.faulting.unlock(held);
}

/** Where the run of unmapped pages of the plan begins; at most `room` pages with `page` among them. */
function planStart(faults: FaultState, page: number, plan: PremapPlan, room: number): number {
  return faults.mapped.findClearRunStart(page, Math.max(0, plan.first, page - room + 1));
}

/** Where the run ends, at most at `limit`. */
function planEnd(mapping: Mapping, faults: FaultState, page: number, plan: PremapPlan, limit: number): number {
  const last = Math.min(mapping.pageCount, plan.first + plan.count, limit);
  return last <= page + 1 ? page + 1 : faults.mapped.findNextSet(page + 1, last);
}
