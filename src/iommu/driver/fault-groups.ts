/**
 * Page request groups in the making, and groups that wait for an answer (PCIe §10.4.1, IHI 0070 §8). A stalled access is
 * a group of one page: what differs between the two is how they are answered.
 */
import { assert } from '../../assert.ts';
import type { FaultGroup, FaultResponse, PageFault } from '../core.ts';
import type { SmmuDevice } from './device.ts';
import type { SmmuDomain } from './domain.ts';

/** Requests held back until the last of their group comes. */
export class PartialGroup {
  /** PASID of the first request: all must have the same. */
  readonly pasid: number;
  readonly pages: PageFault[] = [];
  /** Its first request was not in the queue before. */
  readonly notBeforeNs: number;
  /** A rule was broken: the group is answered INVALID once it is whole. */
  broken = false;

  constructor(pasid: number, notBeforeNs: number) {
    this.pasid = pasid;
    this.notBeforeNs = notBeforeNs;
  }
}

/** A whole group, answered once. */
export class PendingGroup {
  readonly device: SmmuDevice;
  readonly origin: 'stall' | 'pri';
  /** Page request group index, or the stall tag. */
  readonly index: number;
  readonly pasid: number;
  readonly pages: readonly PageFault[];
  readonly receivedNs: number;
  readonly notBeforeNs: number;
  /** The stage that faulted, as an event says; 0 for page requests, which do not. */
  readonly stage: 0 | 1 | 2;
  /** What handlers were given: more than one where stage 1 and stage 2 are served apart. */
  parts: readonly DeliveredGroup[] = [];
  /** Parts without an answer. */
  waiting = 0;
  /** The worst answer so far. */
  response: FaultResponse = 'success';
  /** The answer was given, or nobody waits for it any more. */
  finished = false;
  deadlineNs = 0;
  /** Neighbours in the list of deadlines; null at its ends and outside. */
  sooner: PendingGroup | null = null;
  later: PendingGroup | null = null;

  constructor(
    device: SmmuDevice,
    origin: 'stall' | 'pri',
    index: number,
    pasid: number,
    pages: readonly PageFault[],
    receivedNs: number,
    notBeforeNs: number,
    stage: 0 | 1 | 2,
  ) {
    this.device = device;
    this.origin = origin;
    this.index = index;
    this.pasid = pasid;
    this.pages = pages;
    this.receivedNs = receivedNs;
    this.notBeforeNs = notBeforeNs;
    this.stage = stage;
  }
}

/**
 * The groups of a device that wait for an answer, by origin and index. Indexes are small (9 bits, stall tags 16) and used
 * again and again: arrays, which deleting from does not make smaller.
 */
export class PendingGroups {
  readonly #stalls: (PendingGroup | null)[] = [];
  readonly #requests: (PendingGroup | null)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Whether there is a group of that name. */
  has(whole: PendingGroup): boolean {
    return (this.#of(whole)[whole.index] ?? null) !== null;
  }

  add(whole: PendingGroup): void {
    const groups = this.#of(whole);
    assert((groups[whole.index] ?? null) === null, 'no two pending groups of a device have one name');
    while (groups.length <= whole.index) groups.push(null);
    groups[whole.index] = whole;
    this.#size += 1;
  }

  delete(whole: PendingGroup): void {
    const groups = this.#of(whole);
    if (groups[whole.index] !== whole) return;
    groups[whole.index] = null;
    this.#size -= 1;
  }

  /** All of them, stalls first. */
  all(): PendingGroup[] {
    const present = (whole: PendingGroup | null): whole is PendingGroup => whole !== null;
    return [...this.#stalls.filter(present), ...this.#requests.filter(present)];
  }

  #of(whole: PendingGroup): (PendingGroup | null)[] {
    return whole.origin === 'stall' ? this.#stalls : this.#requests;
  }
}

/** What one handler is asked to serve. */
export class DeliveredGroup implements FaultGroup {
  readonly device: SmmuDevice;
  readonly domain: SmmuDomain;
  readonly pasid: number;
  readonly origin: 'stall' | 'pri';
  readonly index: number;
  readonly pages: readonly PageFault[];
  readonly receivedNs: number;
  readonly notBeforeNs: number;
  readonly whole: PendingGroup;
  answered = false;

  constructor(whole: PendingGroup, domain: SmmuDomain, pages: readonly PageFault[]) {
    this.whole = whole;
    this.device = whole.device;
    this.domain = domain;
    this.pasid = whole.pasid;
    this.origin = whole.origin;
    this.index = whole.index;
    this.pages = pages;
    this.receivedNs = whole.receivedNs;
    this.notBeforeNs = whole.notBeforeNs;
  }
}

const SEVERITY: Readonly<Record<FaultResponse, number>> = { success: 0, invalid: 1, failure: 2 };

/** One answer for several parts: the worst. */
export function worse(a: FaultResponse, b: FaultResponse): FaultResponse {
  return SEVERITY[a] >= SEVERITY[b] ? a : b;
}
