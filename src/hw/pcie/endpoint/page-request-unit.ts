/**
 * The page request interface of an endpoint (PCIe Base §10.4): groups, indexes, credits, responses, stop markers. One
 * unit serves a physical function and its virtual functions, each with a requester id of its own (§10.5.2).
 */
import { assert } from '../../../assert.ts';
import type { Clock } from '../../../sim/clock.ts';
import type { Invariants } from '../../../sim/invariants.ts';
import type { Log } from '../../../sim/log.ts';
import type { PriCapability } from '../capability/pri.ts';
import { NO_PASID, type PageGroupResponse, type Requester, ResponseCode, type Upstream } from '../tlp.ts';

/** Page request group indexes of one unit (PCIe §10.4.1). */
export const GROUP_INDEXES = 512;

/** An access that waits for a page. The unit holds it from `request` until `pageRequestDone`. */
export interface PageWait extends Requester {
  readonly wantedPage: number;
  readonly wantsRead: boolean;
  readonly wantsWrite: boolean;
  /** Called once, with the answer of the group; INVALID_REQUEST also when the request can not be sent any more. */
  pageRequestDone(code: ResponseCode): void;
}

export interface PageRequestUnitOptions {
  readonly clock: Clock;
  readonly registers: PriCapability;
  /** Most pages in one group; defaults to 32. */
  readonly maxGroupPages?: number;
  readonly invariants?: Invariants | undefined;
  readonly log?: Log | undefined;
}

const GroupState = { FREE: 0, OUTSTANDING: 1, ANSWERED: 2, FORGOTTEN: 3 } as const;
type GroupState = (typeof GroupState)[keyof typeof GroupState];

class Group {
  state: GroupState = GroupState.FREE;
  requesterId = 0;
  pasid: number = NO_PASID;
  /** Page requests of the group: credits that its response returns. */
  pages = 0;
  /** Those who wait; empty once they were told or gave up. */
  waits: PageWait[] = [];
}

interface PasidStop {
  readonly requesterId: number;
  readonly pasid: number;
  readonly stopped: () => void;
}

export class PageRequestUnit {
  readonly #clock: Clock;
  readonly #registers: PriCapability;
  readonly #maxGroupPages: number;
  readonly #invariants: Invariants | undefined;
  readonly #log: Log | undefined;
  readonly #upstreams = new Map<number, Upstream>();
  readonly #groups: Group[] = Array.from({ length: GROUP_INDEXES }, () => new Group());
  readonly #stops: PasidStop[] = [];
  #queue: PageWait[] = [];
  #outstanding = 0;
  #outstandingGroups = 0;
  #lastIndex = GROUP_INDEXES - 1;
  #flushing = false;
  /** A response failure was received: nothing is sent, responses are ignored, until software enables the unit again. */
  #failed = false;
  /** Looked up once: it is asked for each request. */
  readonly #verbose: boolean;
  readonly #flushNow = () => {
    this.#flushing = false;
    this.#flush();
  };
  readonly counters = {
    /** Groups and page requests sent. */
    groups: 0,
    pages: 0,
    /** Groups by their answer. */
    successful: 0,
    invalid: 0,
    failed: 0,
    stopMarkers: 0,
    /** Responses whose index had nothing outstanding. */
    unexpected: 0,
    /** Responses after a response failure. */
    ignored: 0,
    /** Responses that carried another PASID than their group, or none: the function requires it. */
    pasidMismatches: 0,
    /** Most page requests outstanding at one time. */
    outstandingPeak: 0,
  };

  constructor(options: PageRequestUnitOptions) {
    this.#clock = options.clock;
    this.#registers = options.registers;
    this.#maxGroupPages = options.maxGroupPages ?? 32;
    this.#invariants = options.invariants;
    this.#log = options.log;
    this.#verbose = options.log?.isLevelEnabled('debug') === true;
    assert(this.#maxGroupPages >= 1, `a group of ${this.#maxGroupPages} pages`);
    options.registers.connect({
      enabled: () => {
        this.#failed = false;
      },
      disabled: () => this.#disable(),
      reset: () => this.#forgetAll(),
    });
  }

  /** Lets a function use the unit. */
  attach(requesterId: number, upstream: Upstream): void {
    this.#upstreams.set(requesterId, upstream);
  }

  /** Whether page requests can be sent now. */
  get usable(): boolean {
    return this.#registers.enabled && !this.#failed && this.#registers.allocation > 0;
  }

  /** Page requests that wait for a response. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** Page requests that wait for a credit or an index. */
  get queued(): number {
    return this.#queue.length;
  }

  /**
   * Asks for a page. Requests that come in the same instant go out as one group, as far as credits allow. Call only while
   * {@link usable}.
   */
  request(wait: PageWait): void {
    assert(this.usable, 'page requests need an enabled interface');
    assert(this.#upstreams.has(wait.requesterId), `${wait.requesterId} does not use this page request unit`);
    this.#queue.push(wait);
    this.#schedule();
  }

  /** Gives up on a request: `wait` hears nothing any more. What was sent stays outstanding until its response. */
  forget(wait: PageWait): void {
    const queued = this.#queue.indexOf(wait);
    if (queued >= 0) this.#queue.splice(queued, 1);
    else for (const group of this.#groups) remove(group.waits, wait);
  }

  /** Takes a response message for the function `requesterId` (PCIe §10.4.2). */
  respond(requesterId: number, response: PageGroupResponse): void {
    const { groupIndex, code, pasid } = response;
    if (this.#verbose)
      this.#log?.debug({ event: 'pri.response', requester: requesterId, group: groupIndex, code, pasid });
    if (this.#failed) {
      this.counters.ignored += 1;
      return;
    }
    const group = this.#groups[groupIndex];
    if (group === undefined || group.state !== GroupState.OUTSTANDING || group.requesterId !== requesterId) {
      this.#unexpected(requesterId, groupIndex, group);
      return;
    }
    if (group.pasid !== pasid) this.counters.pasidMismatches += 1;
    group.state = GroupState.ANSWERED;
    this.#outstanding -= group.pages;
    this.#outstandingGroups -= 1;
    if (code === ResponseCode.SUCCESS) this.counters.successful += 1;
    else if (code === ResponseCode.INVALID_REQUEST) this.counters.invalid += 1;
    else this.#fail(requesterId, groupIndex);
    // Codes 2..14 count as Response Failure (PCIe §10.4.2.1).
    const answer = code <= ResponseCode.INVALID_REQUEST ? code : ResponseCode.RESPONSE_FAILURE;
    this.#tell(group, answer);
    this.#settle();
    if (this.#queue.length > 0) this.#schedule();
  }

  /**
   * Stops a PASID with a stop marker (PCIe §10.4.1.2.1): what is queued or outstanding for it is given up at once, and the
   * marker follows the last request. Responses still return the credits.
   */
  stopPasidWithMarker(requesterId: number, pasid: number): void {
    this.#giveUp(requesterId, pasid);
    if (!this.#registers.enabled || this.#failed) return;
    this.counters.stopMarkers += 1;
    if (this.#verbose) this.#log?.debug({ event: 'pri.stopMarker', requester: requesterId, pasid });
    this.#upstream(requesterId).pageRequest({
      requesterId,
      pasid,
      execute: false,
      privileged: false,
      page: 0,
      read: false,
      write: false,
      last: true,
      groupIndex: 0,
    });
  }

  /**
   * Stops a PASID without a marker: nothing new is asked for, and `stopped` is called when every response has come.
   */
  stopPasid(requesterId: number, pasid: number, stopped: () => void): void {
    const queued = this.#queue.filter((wait) => wait.requesterId === requesterId && wait.pasid === pasid);
    this.#queue = this.#queue.filter((wait) => !queued.includes(wait));
    this.#stops.push({ requesterId, pasid, stopped });
    for (const wait of queued) wait.pageRequestDone(ResponseCode.INVALID_REQUEST);
    this.#settle();
  }

  /** Function level reset: everything is forgotten. The registers are reset by the configuration space. */
  reset(): void {
    this.#forgetAll();
    this.#failed = false;
  }

  #schedule(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    this.#clock.after(0, this.#flushNow);
  }

  /** Sends what is queued, in groups of one requester and PASID. */
  #flush(): void {
    while (this.#queue.length > 0 && this.usable) {
      const credits = this.#registers.allocation - this.#outstanding;
      if (credits <= 0 || this.#outstandingGroups === GROUP_INDEXES) return;
      const first = this.#queue[0];
      assert(first !== undefined, 'the queue is not empty');
      const size = Math.min(credits, this.#maxGroupPages);
      const chosen: PageWait[] = [];
      const rest: PageWait[] = [];
      for (const wait of this.#queue) {
        if (chosen.length < size && goTogether(first, wait)) chosen.push(wait);
        else rest.push(wait);
      }
      this.#queue = rest;
      this.#send(first, chosen);
    }
  }

  #send(first: PageWait, waits: PageWait[]): void {
    const groupIndex = this.#nextIndex();
    const group = this.#groups[groupIndex];
    assert(group !== undefined, 'an index below 512');
    const { requesterId, pasid, execute, privileged } = first;
    group.state = GroupState.OUTSTANDING;
    group.requesterId = requesterId;
    group.pasid = pasid;
    group.pages = waits.length;
    group.waits = waits;
    this.#outstandingGroups += 1;
    this.#outstanding += waits.length;
    const { counters } = this;
    counters.groups += 1;
    counters.pages += waits.length;
    counters.outstandingPeak = Math.max(counters.outstandingPeak, this.#outstanding);
    this.#invariants?.check('credits', this.#outstanding <= this.#registers.allocation, beyondCredits, this);
    const upstream = this.#upstream(requesterId);
    let left = waits.length;
    for (const wait of waits) {
      const { wantedPage: page, wantsRead: read, wantsWrite: write } = wait;
      left -= 1;
      const last = left === 0;
      if (this.#verbose)
        this.#log?.debug({
          event: 'pri.request',
          requester: requesterId,
          pasid,
          group: groupIndex,
          page,
          read,
          write,
          last,
        });
      upstream.pageRequest({ requesterId, pasid, execute, privileged, page, read, write, last, groupIndex });
    }
  }

  /** The next free index, in turn, so that an index is reused as late as possible. */
  #nextIndex(): number {
    let index = this.#lastIndex;
    do index = (index + 1) % GROUP_INDEXES;
    while (this.#groups[index]?.state === GroupState.OUTSTANDING);
    this.#lastIndex = index;
    return index;
  }

  #upstream(requesterId: number): Upstream {
    const upstream = this.#upstreams.get(requesterId);
    assert(upstream !== undefined, `${requesterId} does not use this page request unit`);
    return upstream;
  }

  #unexpected(requesterId: number, groupIndex: number, group: Group | undefined): void {
    this.counters.unexpected += 1;
    this.#registers.noteUnexpectedIndex();
    this.#log?.warn({ event: 'pri.unexpectedIndex', requester: requesterId, group: groupIndex });
    this.#invariants?.check(
      'one-response',
      group?.state !== GroupState.ANSWERED || group.requesterId !== requesterId,
      () => `group ${groupIndex} of requester ${requesterId} was answered twice`,
    );
  }

  /** Response Failure: the interface is off until software enables it again (PCIe §10.4.2.1). */
  #fail(requesterId: number, groupIndex: number): void {
    this.counters.failed += 1;
    this.#failed = true;
    this.#registers.noteResponseFailure();
    this.#log?.warn({ event: 'pri.responseFailure', requester: requesterId, group: groupIndex });
    this.#forgetAll(ResponseCode.RESPONSE_FAILURE);
  }

  /** Enable was cleared: what is not sent will not be; what is outstanding runs out (PCIe §10.5.2.2). */
  #disable(): void {
    this.#registers.stopped = this.#outstanding === 0;
    const queue = this.#queue;
    this.#queue = [];
    for (const wait of queue) wait.pageRequestDone(ResponseCode.INVALID_REQUEST);
  }

  /** Drops all state; whoever waits is told `code`. */
  #forgetAll(code: ResponseCode = ResponseCode.INVALID_REQUEST): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#outstanding = 0;
    this.#outstandingGroups = 0;
    for (const group of this.#groups) {
      if (group.state === GroupState.OUTSTANDING) group.state = GroupState.FORGOTTEN;
    }
    for (const group of this.#groups) this.#tell(group, code);
    for (const wait of queue) wait.pageRequestDone(code);
    this.#settle();
  }

  /** Tells those who wait for `requesterId` and `pasid` that they wait no longer; groups stay outstanding. */
  #giveUp(requesterId: number, pasid: number): void {
    const queued = this.#queue.filter((wait) => wait.requesterId === requesterId && wait.pasid === pasid);
    this.#queue = this.#queue.filter((wait) => !queued.includes(wait));
    for (const group of this.#groups) {
      if (group.requesterId === requesterId && group.pasid === pasid) this.#tell(group, ResponseCode.INVALID_REQUEST);
    }
    for (const wait of queued) wait.pageRequestDone(ResponseCode.INVALID_REQUEST);
  }

  #tell(group: Group, code: ResponseCode): void {
    if (group.waits.length === 0) return;
    // A new list: the group may be used again before all were told.
    const { waits } = group;
    group.waits = [];
    for (const wait of waits) wait.pageRequestDone(code);
  }

  /** Finishes what waited for responses: the Stopped bit and PASIDs that stop without a marker. */
  #settle(): void {
    if (!this.#registers.enabled && this.#outstanding === 0) this.#registers.stopped = true;
    if (this.#stops.length === 0) return;
    const done = this.#stops.filter(({ requesterId, pasid }) =>
      this.#groups.every(
        (group) => group.state !== GroupState.OUTSTANDING || group.requesterId !== requesterId || group.pasid !== pasid,
      ),
    );
    for (const stop of done) {
      remove(this.#stops, stop);
      stop.stopped();
    }
  }
}

function beyondCredits(unit: PageRequestUnit): string {
  return `${unit.outstanding} page requests outstanding, more than were allocated`;
}

/** Whether one group may hold both: a group has one requester and one PASID prefix. */
function goTogether(a: PageWait, b: PageWait): boolean {
  return (
    a.requesterId === b.requesterId && a.pasid === b.pasid && a.execute === b.execute && a.privileged === b.privileged
  );
}

function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}
