/**
 * Stalled transactions (IHI 0070 §3.12.2, §4.7.1, §4.7.2): stall tags, duplicates, what waits for the event queue and what
 * waits at the port. Other transactions, of the same stream too, pass them freely.
 */
import { Completion, type MemoryRequest } from '../../hw/pcie/tlp.ts';
import type { Invariants } from '../../sim/invariants.ts';
import type { Log } from '../../sim/log.ts';

export interface StallsOptions {
  /** IDR5.STALL_MAX: stalled transactions at once; more wait at the port. */
  readonly limit: number;
  /** Whether a stall that duplicates another is held without a record of its own (§3.12.2.1). */
  readonly suppressDuplicates: boolean;
  /** Treats the request as though it had just arrived. */
  readonly retry: (request: MemoryRequest) => void;
  /** Ends the request: COMPLETER_ABORT, or SUCCESS for RAZ/WI. */
  readonly end: (request: MemoryRequest, status: Completion) => void;
  readonly invariants: Invariants;
  readonly log: Log;
}

/** What makes two stalls alike (§3.12.2.1); the page and direction are the request's. */
interface Stalled {
  readonly request: MemoryRequest;
  readonly stag: number;
  readonly privileged: boolean;
  readonly instruction: boolean;
  /** Later transactions alike, held without records. */
  readonly followers: MemoryRequest[];
}

/** Fresh state; STAG values are handed out oldest first, so that a late answer rarely meets a new stall. */
function initial(limit: number) {
  return {
    byTag: new Map<number, Stalled>(),
    freeTags: Array.from({ length: limit }, (_, stag) => stag),
    /** Stalled while the event queue was not writable: no record yet, so no STAG. */
    unrecorded: [] as MemoryRequest[],
    /** Arrived while every stall resource was taken. */
    atPort: [] as MemoryRequest[],
    followers: 0,
    started: 0,
    ended: 0,
  };
}

export class Stalls {
  readonly #options: StallsOptions;
  /** Operations under way: a retried access may cause another. */
  #depth = 0;
  #state: ReturnType<typeof initial>;

  constructor(options: StallsOptions) {
    this.#options = options;
    this.#state = initial(options.limit);
  }

  reset(): void {
    this.#state = initial(this.#options.limit);
  }

  /** Transactions without a response: stalled, held as duplicates, unrecorded or waiting at the port. */
  get outstanding(): number {
    return this.#held + this.#state.atPort.length;
  }

  /** Whether some stalled transaction has no record yet. */
  get unrecorded(): boolean {
    return this.#state.unrecorded.length > 0;
  }

  get #held(): number {
    const state = this.#state;
    return state.byTag.size + state.followers + state.unrecorded.length;
  }

  /**
   * Takes a request that faulted and may stall. Returns the STAG that its event record must carry, or -1 when there is
   * nothing to record now. `writable` says whether the event queue takes a record.
   */
  hold(request: MemoryRequest, privileged: boolean, instruction: boolean, writable: boolean): number {
    const state = this.#state;
    state.started += 1;
    if (this.#held >= this.#options.limit) {
      state.atPort.push(request);
      return -1;
    }
    const alike = this.#options.suppressDuplicates ? this.#alike(request, privileged, instruction) : undefined;
    if (alike !== undefined) {
      alike.followers.push(request);
      state.followers += 1;
      return -1;
    }
    const stag = writable ? state.freeTags.shift() : undefined;
    if (stag === undefined) {
      state.unrecorded.push(request);
      return -1;
    }
    state.byTag.set(stag, { request, stag, privileged, instruction, followers: [] });
    this.#options.log.debug({ event: 'smmuv3.stall', streamId: request.requesterId, stag, page: request.page });
    return stag;
  }

  /** CMD_RESUME: no effect unless STAG and StreamID name one stalled transaction (§4.7.1). */
  resume(streamId: number, stag: number, retry: boolean, status: Completion): void {
    const stalled = this.#state.byTag.get(stag);
    if (stalled === undefined || stalled.request.requesterId !== streamId) {
      this.#options.log.debug({ event: 'smmuv3.resumeUnmatched', streamId, stag });
      return;
    }
    this.#options.log.debug({ event: 'smmuv3.resume', streamId, stag, retry });
    this.#depth += 1;
    this.#release(stalled);
    if (retry) this.#retry(stalled.request);
    else this.#end(stalled.request, status);
    // Duplicates are retried whatever the answer was: each fault becomes visible in the end (§3.12.2.1).
    for (const follower of stalled.followers) this.#retry(follower);
    this.#admit();
    this.#settle();
  }

  /** CMD_STALL_TERM: every stalled transaction of the stream ends with an abort. */
  terminateStream(streamId: number): void {
    this.#depth += 1;
    this.#terminate((request) => request.requesterId === streamId);
    this.#admit();
    this.#settle();
  }

  /** SMMUEN went to 0: all of them end with an abort and every STAG is free (§6.3.9.6). */
  terminateAll(): void {
    this.#depth += 1;
    this.#terminate(() => true);
    this.#settle();
  }

  /** The event queue takes records again: transactions without one are retried (§7.2.1). */
  queueWritable(writable: () => boolean): void {
    const { unrecorded } = this.#state;
    this.#depth += 1;
    for (let left = unrecorded.length; left > 0 && writable(); left--) {
      const request = unrecorded.shift();
      if (request !== undefined) this.#retry(request);
    }
    this.#admit();
    this.#settle();
  }

  /** Forgets a recorded stall: its STAG may be used again. */
  #release(stalled: Stalled): void {
    const state = this.#state;
    state.byTag.delete(stalled.stag);
    state.freeTags.push(stalled.stag);
    state.followers -= stalled.followers.length;
  }

  #alike(request: MemoryRequest, privileged: boolean, instruction: boolean): Stalled | undefined {
    for (const stalled of this.#state.byTag.values()) {
      const first = stalled.request;
      if (
        first.requesterId === request.requesterId &&
        first.page === request.page &&
        first.pasid === request.pasid &&
        first.write === request.write &&
        first.addressType === request.addressType &&
        stalled.privileged === privileged &&
        stalled.instruction === instruction
      ) {
        return stalled;
      }
    }
    return undefined;
  }

  #terminate(matches: (request: MemoryRequest) => boolean): void {
    const state = this.#state;
    const ending: MemoryRequest[] = [];
    for (const stalled of [...state.byTag.values()]) {
      if (!matches(stalled.request)) continue;
      this.#release(stalled);
      ending.push(stalled.request, ...stalled.followers);
    }
    for (const waiting of [state.unrecorded, state.atPort]) {
      const kept = waiting.filter((request) => !matches(request));
      ending.push(...waiting.filter(matches));
      waiting.splice(0, waiting.length, ...kept);
    }
    for (const request of ending) this.#end(request, Completion.COMPLETER_ABORT);
  }

  /** Lets what waits at the port try again, as far as there is room. */
  #admit(): void {
    const state = this.#state;
    for (let left = state.atPort.length; left > 0 && this.#held < this.#options.limit; left--) {
      const request = state.atPort.shift();
      if (request !== undefined) this.#retry(request);
    }
  }

  #retry(request: MemoryRequest): void {
    this.#state.ended += 1;
    this.#options.retry(request);
  }

  #end(request: MemoryRequest, status: Completion): void {
    this.#state.ended += 1;
    this.#options.end(request, status);
  }

  /** Every stall that began has ended or is held, once nothing is under way. */
  #settle(): void {
    this.#depth -= 1;
    if (this.#depth > 0) return;
    const { started, ended } = this.#state;
    this.#options.invariants.check(
      'stall-ends',
      started === ended + this.outstanding,
      () => `${started} stalls began, ${ended} ended, ${this.outstanding} are held`,
    );
  }
}
