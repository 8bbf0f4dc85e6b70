/**
 * The address space of a process as devices see it by PASID: a stage 1 table that mirrors the process's own pages, filled
 * by the faults of devices and emptied by the notifier of the address space. Its addresses are the process's.
 *
 * No lock is needed. A page that mm gives out is entered in the same step, so nothing can take it back in between; a page
 * on its way out is not given out before the notifier has returned.
 */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import { type Gather, type Iommu, type IommuDevice, type IommuDomain, Protection } from '../iommu/core.ts';
import type { Acquisition, AddressSpace } from '../mm/address-space.ts';
import type { SpaceNotifier } from '../mm/notifier.ts';
import type { Invariants } from '../sim/invariants.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import type { Scheduler, Steps } from '../sim/task.ts';
import type { SvaCounters } from './counters.ts';

/** How the request of one page ended. */
export const SvaOutcome = {
  /** Mapped now. */
  MAPPED: 'mapped',
  /** Mapped for another request that had not been answered when this one was made. */
  DUPLICATE: 'duplicate',
  /** Mapped and answered before: the device's cached translation was older, and is gone now. */
  STALE: 'stale',
  /** Was read-only, is writable now. */
  UPGRADE: 'upgrade',
  /** The process has nothing there, or not for this use. */
  INVALID: 'invalid',
  /** The host could not do it. */
  FAILED: 'failed',
} as const;
export type SvaOutcome = (typeof SvaOutcome)[keyof typeof SvaOutcome];

export interface SharedSpaceOptions {
  readonly space: AddressSpace;
  readonly pasid: number;
  readonly iommu: Iommu;
  readonly domain: IommuDomain;
  readonly scheduler: Scheduler;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  readonly counters: SvaCounters;
}

const READ: Acquisition = { write: false, longTerm: false };
const WRITE: Acquisition = { write: true, longTerm: false };

export class SharedSpace implements SpaceNotifier {
  readonly name: string;
  readonly space: AddressSpace;
  readonly pasid: number;
  readonly domain: IommuDomain;
  readonly devices = new Set<IommuDevice>();
  readonly #options: SharedSpaceOptions;
  /** When each mapped page was answered last, by page. */
  readonly #servedNs = new Map<number, number>();
  readonly #gathers: Gather[] = [];
  readonly #frames: Int32Array[] = [];

  constructor(options: SharedSpaceOptions) {
    const { space, pasid, domain } = options;
    assert(domain.pageSizes[0] === space.pageBytes, `host pages of ${space.pageBytes} bytes, tables of others`);
    this.name = `devices in ${space.name}`;
    this.space = space;
    this.pasid = pasid;
    this.domain = domain;
    this.#options = options;
    space.addNotifier(this);
  }

  /** Pages that devices can reach without a fault. */
  get mappedPages(): number {
    return this.#servedNs.size;
  }

  /**
   * Makes the page at `address` usable by devices, for writing where `write` says so. The request is not older than
   * `notBeforeNs`.
   */
  *serve(address: number, write: boolean, notBeforeNs: number): Steps<SvaOutcome> {
    const { space, domain } = this;
    const at = address - (address % space.pageBytes);
    const frames = this.#frames.pop() ?? new Int32Array(1);
    const got = at <= domain.lastIova ? yield* space.acquire(at, 1, write ? WRITE : READ, frames) : Errno.EFAULT;
    if (got < 0) {
      this.#frames.push(frames);
      return got === Errno.ENOMEM ? SvaOutcome.FAILED : SvaOutcome.INVALID;
    }
    const found = domain.translate(at);
    const wanted = write ? Protection.READ | Protection.WRITE : Protection.READ;
    const outcome =
      found === null
        ? this.#enter(at, frames[0] ?? -1, wanted)
        : (found.protection & wanted) === wanted
          ? this.#known(at, notBeforeNs)
          : this.#upgrade(at, found.physical, frames[0] ?? -1, wanted);
    // The device holds no reference: what takes the page away tells this room first.
    space.release(frames, 0, 1);
    this.#frames.push(frames);
    yield* this.#settle(at, outcome);
    return outcome;
  }

  /** The answer for the page at `address` was given: what asks again from now on did know it. */
  answered(address: number): void {
    const at = address - (address % this.space.pageBytes);
    if (this.#servedNs.has(at)) this.#servedNs.set(at, this.#options.scheduler.clock.now);
  }

  *invalidate(start: number, end: number): Steps {
    const { pageBytes } = this.space;
    const { latency, counters, log } = this.#options;
    const gather = this.#takeGather();
    let pages = 0;
    // Whichever is shorter: the range, or the list of what is mapped.
    if ((end - start) / pageBytes <= this.#servedNs.size) {
      for (let at = start - (start % pageBytes); at < end; at += pageBytes) pages += this.#drop(at, gather);
    } else {
      for (const at of this.#servedNs.keys()) if (at + pageBytes > start && at < end) pages += this.#drop(at, gather);
    }
    if (pages === 0) {
      this.#gathers.push(gather);
      return;
    }
    counters.invalidated += pages;
    if (log.isLevelEnabled('debug')) {
      log.debug({ event: 'sva.invalidate', space: this.space.name, pasid: this.pasid, address: start, pages });
    }
    if (latency.pageUnmap > 0) yield latency.pageUnmap * pages;
    yield* this.#flush(gather);
  }

  /** No device uses the space any more: nothing of it stays mapped. */
  *release(): Steps {
    assert(this.devices.size === 0, `${this.name} are gone`);
    this.space.removeNotifier(this);
    const gather = this.#takeGather();
    for (const at of this.#servedNs.keys()) this.#drop(at, gather);
    yield* this.#flush(gather);
    this.#options.iommu.freeDomain(this.domain);
  }

  #enter(at: number, frame: number, protection: number): SvaOutcome {
    const status = this.domain.map(at, this.#addressOf(frame), this.space.pageBytes, protection);
    if (status !== Errno.OK) return SvaOutcome.FAILED;
    this.#servedNs.set(at, this.#options.scheduler.clock.now);
    return SvaOutcome.MAPPED;
  }

  #known(at: number, notBeforeNs: number): SvaOutcome {
    return (this.#servedNs.get(at) ?? 0) >= notBeforeNs ? SvaOutcome.DUPLICATE : SvaOutcome.STALE;
  }

  /** Where a write took a copy of the page, the notifier has taken the old one away before: the frame is the same here. */
  #upgrade(at: number, physical: number, frame: number, protection: number): SvaOutcome {
    const { invariants } = this.#options;
    const expected = this.#addressOf(frame);
    invariants.check('agreement', physical === expected, () => `${at} is mapped to ${physical}, not to ${expected}`);
    const gather = this.#takeGather();
    const status = this.domain.protect(at, this.space.pageBytes, protection, gather);
    gather.reset();
    this.#gathers.push(gather);
    return status === Errno.OK ? SvaOutcome.UPGRADE : SvaOutcome.FAILED;
  }

  /** What the outcome costs, and for pages that a device knows otherwise the flush that makes it forget. */
  *#settle(at: number, outcome: SvaOutcome): Steps {
    const { latency } = this.#options;
    const entered = outcome === SvaOutcome.MAPPED || outcome === SvaOutcome.UPGRADE;
    if (entered && latency.pageMap > 0) yield latency.pageMap;
    if (outcome !== SvaOutcome.STALE && outcome !== SvaOutcome.UPGRADE) return;
    const gather = this.#takeGather();
    gather.add(at, this.space.pageBytes, this.space.pageBytes);
    yield* this.#flush(gather);
    this.answered(at);
  }

  /** Unmaps the page at `at`, if it is mapped: how many that were. */
  #drop(at: number, gather: Gather): number {
    if (!this.#servedNs.delete(at)) return 0;
    const { pageBytes } = this.space;
    const bytes = this.domain.unmap(at, pageBytes, gather);
    this.#options.invariants.check('agreement', bytes === pageBytes, () => `${bytes} bytes unmapped at ${at}`);
    return 1;
  }

  #addressOf(frame: number): number {
    return this.space.host.allocator.addressOf(frame);
  }

  /** From a pool: taking pages away must not allocate. */
  #takeGather(): Gather {
    return this.#gathers.pop() ?? this.domain.newGather();
  }

  *#flush(gather: Gather): Steps {
    if (!gather.empty) yield* this.domain.flush(gather);
    gather.reset();
    this.#gathers.push(gather);
  }
}
