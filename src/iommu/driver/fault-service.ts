/** From whole groups to handlers, and from their answers to commands. */

import { assert } from '../../assert.ts';
import type { Clock, Timer } from '../../sim/clock.ts';
import type { Invariants } from '../../sim/invariants.ts';
import type { Log } from '../../sim/log.ts';
import { NO_STEPS, type Scheduler, type Steps, WaitQueue } from '../../sim/task.ts';
import type { FaultGroup, FaultResponse, PageFault } from '../core.ts';
import { PriResponse } from '../spec/commands.layout.ts';
import type { CommandBatch } from './command-batch.ts';
import type { CommandQueue } from './command-queue.ts';
import type { DriverCounters } from './counters.ts';
import type { SmmuDevice } from './device.ts';
import { DeliveredGroup, PartialGroup, PendingGroup, worse } from './fault-groups.ts';
import { share } from './fault-shares.ts';
import type { Invalidation } from './invalidation.ts';

export interface FaultServiceOptions {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly queue: CommandQueue;
  readonly invalidation: Invalidation;
  readonly invariants: Invariants;
  readonly counters: DriverCounters;
  readonly log: Log;
  /** A group without an answer for so long is answered INVALID; 0 waits for ever. */
  readonly timeoutNs: number;
}

/** A page request as the PRI queue recorded it. */
export interface PageRequest extends PageFault {
  readonly pasid: number;
  readonly groupIndex: number;
  readonly last: boolean;
  readonly notBeforeNs: number;
}

const RESPONSE_CODE: Readonly<Record<FaultResponse, number>> = {
  success: PriResponse.SUCCESS,
  invalid: PriResponse.INVALID,
  failure: PriResponse.FAILURE,
};

export class FaultService {
  readonly #options: FaultServiceOptions;
  /** Pending groups in order of their deadlines. */
  readonly #deadlines = new Deadlines();
  readonly #expired: WaitQueue;
  readonly #debug: boolean;
  #timer: Timer | null = null;
  readonly #due = (): void => {
    this.#timer = null;
    this.#expired.wakeAll();
  };

  constructor(options: FaultServiceOptions) {
    this.#options = options;
    this.#debug = options.log.isLevelEnabled('debug');
    this.#expired = new WaitQueue(options.scheduler, 'a fault to time out');
  }

  /** Answers the group of a requester that nobody knows: it should not be asking (IHI 0070 §4.5.2, ResponseFailure). */
  *reject(streamId: number, pasid: number, groupIndex: number): Steps {
    const batch = this.#options.queue.batch();
    batch.respondGroup(streamId, pasid, groupIndex, PriResponse.FAILURE);
    yield* this.#options.invalidation.complete(batch, null);
  }

  /** Adds a request to its group; the group when it is whole, else null. */
  collect(device: SmmuDevice, request: PageRequest): PendingGroup | null {
    const { counters } = this.#options;
    let partial = device.partial.get(request.groupIndex);
    if (partial === undefined) {
      partial = new PartialGroup(request.pasid, request.notBeforeNs);
      device.partial.set(request.groupIndex, partial);
    }
    if (partial.pasid !== request.pasid) this.#violation(device, request, partial, 'pasid');
    // A function may have no more requests outstanding than it was granted: what is beyond is not held.
    if (device.partialRequests >= Math.max(device.credits, 1)) this.#violation(device, request, partial, 'credits');
    else {
      partial.pages.push(request);
      device.partialRequests += 1;
    }
    if (!request.last) return null;
    device.partial.delete(request.groupIndex);
    device.partialRequests -= partial.pages.length;
    const { pasid, pages, notBeforeNs } = partial;
    const { now } = this.#options.clock;
    const whole = new PendingGroup(device, 'pri', request.groupIndex, pasid, pages, now, notBeforeNs, 0);
    if (device.pending.has(whole)) {
      // Its index is in use: the answer to the first one is the only one that the function can tell.
      this.#violation(device, request, partial, 'index');
      return null;
    }
    if (partial.broken) whole.response = 'invalid';
    counters.groups += 1;
    counters.pages += whole.pages.length;
    return whole;
  }

  /** A stalled access as a whole group. */
  stalled(
    device: SmmuDevice,
    stag: number,
    pasid: number,
    page: PageFault,
    notBeforeNs: number,
    stage: 1 | 2,
  ): PendingGroup {
    const { counters, clock } = this.#options;
    counters.groups += 1;
    counters.pages += 1;
    return new PendingGroup(device, 'stall', stag, pasid, [page], clock.now, notBeforeNs, stage);
  }

  /** Gives a whole group to whoever serves it; answers it where nobody does. */
  deliver(whole: PendingGroup): Steps {
    const { device } = whole;
    const { log, counters, clock, timeoutNs } = this.#options;
    if (device.resetting && whole.origin === 'pri') {
      counters.cancelled += 1;
      return NO_STEPS;
    }
    device.pending.add(whole);
    if (this.#debug) log.debug({ event: 'iopf.group', ...describe(whole), pages: whole.pages.length });
    const broken = whole.response !== 'success';
    const ending = device.resetting || device.stopping.has(whole.pasid);
    if (!broken && !ending) share(whole);
    if (!areServed(whole.parts)) {
      if (!broken) counters.unclaimed += 1;
      return this.#finish(whole, 'invalid');
    }
    whole.waiting = whole.parts.length;
    if (timeoutNs > 0) {
      whole.deadlineNs = clock.now + timeoutNs;
      this.#deadlines.add(whole);
      this.#armTimer(whole);
    }
    const [only] = whole.parts;
    return whole.parts.length === 1 && only !== undefined ? this.#handle(only) : this.#handleAll(whole);
  }

  *#handleAll(whole: PendingGroup): Steps {
    for (const part of whole.parts) {
      // Timed out while an earlier part was served: the rest need not be.
      if (whole.finished) return;
      yield* this.#handle(part);
    }
  }

  #handle(part: DeliveredGroup): Steps {
    const { handler } = part.domain;
    return handler === null ? this.respond(part, 'invalid') : handler.handle(part);
  }

  /** As `Iommu.respond`. */
  respond(group: FaultGroup, response: FaultResponse): Steps {
    assert(group instanceof DeliveredGroup, 'a group is answered with the object that was handed out');
    const { whole } = group;
    const { counters, log } = this.#options;
    if (group.answered || whole.finished) {
      counters.late += 1;
      log.warn({ event: 'iopf.late', ...describe(whole), response });
      return NO_STEPS;
    }
    group.answered = true;
    whole.response = worse(whole.response, response);
    whole.waiting -= 1;
    return whole.waiting === 0 ? this.#finish(whole, whole.response) : NO_STEPS;
  }

  /** The body of the thread that answers groups whose handlers do not. */
  *timeoutThread(): Steps {
    const { clock, counters, log } = this.#options;
    for (;;) {
      const { first } = this.#deadlines;
      if (first === null || first.deadlineNs > clock.now) {
        if (first !== null) this.#armTimer(first);
        yield this.#expired;
        continue;
      }
      counters.timedOut += 1;
      log.warn({ event: 'iopf.timeout', ...describe(first), waitedNs: clock.now - first.receivedNs });
      yield* this.#finish(first, 'invalid');
    }
  }

  /** Throws away incomplete groups, of one PASID or of all: their last request was lost or will never come. */
  discardPartial(device: SmmuDevice, reason: string, pasid?: number): void {
    const { counters, log } = this.#options;
    for (const [index, partial] of device.partial) {
      if (pasid !== undefined && partial.pasid !== pasid) continue;
      device.partial.delete(index);
      device.partialRequests -= partial.pages.length;
      counters.partialGroupsDiscarded += 1;
      counters.partialRequestsDiscarded += partial.pages.length;
      const requests = partial.pages.length;
      log.warn({ event: 'iopf.discard', device: device.name, pasid: partial.pasid, index, requests, reason });
    }
  }

  /**
   * A function was reset: it does not know its page request groups any more, so they get no answer. Accesses of it that
   * are stalled in the SMMU end with an abort.
   */
  *cancel(device: SmmuDevice): Steps {
    yield* this.abortStalled(device);
    for (const whole of device.pending.all()) {
      if (whole.finished || whole.origin === 'stall') continue;
      this.#options.counters.cancelled += 1;
      whole.finished = true;
      this.#forgetDeadline(whole);
      device.pending.delete(whole);
    }
    device.quiet.wakeAll();
  }

  /** Ends the stalled accesses that handlers were given; their answers will be late. */
  *abortStalled(device: SmmuDevice): Steps {
    for (const whole of device.pending.all()) {
      if (!whole.finished && whole.origin === 'stall') yield* this.#finish(whole, 'invalid');
    }
  }

  /** Waits until nothing of the device, or of one PASID of it, is pending or on its way. */
  *drain(device: SmmuDevice, pasid?: number): Steps {
    while (!isQuiet(device, pasid)) yield device.quiet;
  }

  /** Sends the answer, and waits for its CMD_SYNC where that takes any time. */
  #finish(whole: PendingGroup, response: FaultResponse): Steps {
    const { device } = whole;
    const { counters, invariants, log, queue, invalidation, clock } = this.#options;
    invariants.check('one-response', !whole.finished, nameOf, whole);
    whole.finished = true;
    this.#forgetDeadline(whole);
    // Before the command: the function may use the index again as soon as it has the answer.
    device.pending.delete(whole);
    if (response === 'success') counters.succeeded += 1;
    else if (response === 'invalid') counters.invalid += 1;
    else counters.failed += 1;
    if (this.#debug) {
      log.debug({ event: 'iopf.response', ...describe(whole), response, tookNs: clock.now - whole.receivedNs });
    }
    const batch = queue.batch();
    if (whole.origin === 'stall') {
      batch.resume(device.streamId, whole.index, response === 'success');
    } else {
      const pasid = device.responsePasid ? whole.pasid : -1;
      batch.respondGroup(device.streamId, pasid, whole.index, RESPONSE_CODE[response]);
    }
    device.answering += 1;
    if (!invalidation.begin(batch)) return this.#finishLater(batch, device);
    this.#answered(device);
    return NO_STEPS;
  }

  *#finishLater(batch: CommandBatch, device: SmmuDevice): Steps {
    yield* this.#options.invalidation.end(batch, null);
    this.#answered(device);
  }

  #answered(device: SmmuDevice): void {
    device.answering -= 1;
    device.quiet.wakeAll();
  }

  #violation(device: SmmuDevice, request: PageRequest, partial: PartialGroup, rule: string): void {
    partial.broken = true;
    this.#options.counters.violations += 1;
    const { groupIndex, page, pasid } = request;
    this.#options.log.warn({ event: 'iopf.violation', device: device.name, rule, index: groupIndex, pasid, page });
  }

  /** Wakes the time-out thread when the earliest group is due; deadlines come in the order of groups. */
  #armTimer(earliest: PendingGroup): void {
    const { clock } = this.#options;
    this.#timer ??= clock.after(Math.max(0, earliest.deadlineNs - clock.now), this.#due);
  }

  /** A run at rest has no timers: the last group to be answered takes it away. */
  #forgetDeadline(whole: PendingGroup): void {
    this.#deadlines.delete(whole);
    if (this.#deadlines.first !== null || this.#timer === null) return;
    this.#timer.cancel();
    this.#timer = null;
  }
}

/** Groups in the order of their deadlines; one may leave from the middle. */
class Deadlines {
  first: PendingGroup | null = null;
  #last: PendingGroup | null = null;

  add(whole: PendingGroup): void {
    whole.sooner = this.#last;
    if (this.#last === null) this.first = whole;
    else this.#last.later = whole;
    this.#last = whole;
  }

  /** Nothing happens where the group is not in the list. */
  delete(whole: PendingGroup): void {
    const { sooner, later } = whole;
    if (sooner === null && this.first !== whole) return;
    if (sooner === null) this.first = later;
    else sooner.later = later;
    if (later === null) this.#last = sooner;
    else later.sooner = sooner;
    whole.sooner = null;
    whole.later = null;
  }
}

/** Whether every part has a handler; no part at all is nobody's. */
function areServed(parts: readonly DeliveredGroup[]): boolean {
  for (const { domain } of parts) if (domain.handler === null) return false;
  return parts.length > 0;
}

function isQuiet(device: SmmuDevice, pasid: number | undefined): boolean {
  if (device.answering > 0) return false;
  if (pasid === undefined) return device.pending.size === 0;
  for (const whole of device.pending.all()) if (whole.pasid === pasid) return false;
  return true;
}

function nameOf({ device, origin, index }: PendingGroup): string {
  return `${device.name} ${origin} group ${index}`;
}

function describe(whole: PendingGroup): object {
  const { device, origin, index, pasid } = whole;
  return { device: device.name, streamId: device.streamId, origin, index, pasid };
}
