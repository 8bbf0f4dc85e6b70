/**
 * DMA engine of an endpoint: cuts transfers at 4 KiB pages and moves several pages at a time. What is enabled in the
 * function's capabilities decides how: untranslated requests, translated requests (ATS), or translated requests with
 * page requests (ATS and PRI).
 *
 * A page that is being brought in is asked for once: further accesses to it wait for the first.
 */
import { assert } from '../../../assert.ts';
import type { Clock } from '../../../sim/clock.ts';
import type { Log } from '../../../sim/log.ts';
import type { AtsCapability } from '../capability/ats.ts';
import type { PasidCapability } from '../capability/pasid.ts';
import type { Link } from '../function.ts';
import { AddressType, Completion, type InvalidateRequest, NO_PASID, ResponseCode, type Upstream } from '../tlp.ts';
import { flagsOf, grants, type TranslationCache, translatedPage, UNTRANSLATED_ONLY } from './atc.ts';
import { DmaCounters } from './dma-counters.ts';
import { type Drain, Lane, type LaneOwner, Phase } from './dma-lane.ts';
import type { DmaEngineOptions } from './dma-options.ts';
import { type AccessObserver, DMA_OUTCOMES, DmaOutcome, type DmaTransfer } from './dma-transfer.ts';
import { LatencyRecorder } from './latency-recorder.ts';
import { PageOpeners } from './page-openers.ts';
import type { PageRequestUnit } from './page-request-unit.ts';

export class DmaEngine implements LaneOwner {
  readonly #clock: Clock;
  readonly #ats: AtsCapability | null;
  readonly #cache: TranslationCache | null;
  readonly #pasid: PasidCapability | null;
  readonly #pageRequests: PageRequestUnit | null;
  readonly #maxRetries: number;
  readonly #retryPauseNs: number;
  readonly #observe: AccessObserver | null;
  readonly #noteAbort: ((status: Completion) => void) | null;
  readonly #name: string;
  readonly #log: Log | null;
  readonly #lanes: readonly Lane[];
  readonly #free: Lane[];
  readonly #openers = new PageOpeners();
  #upstream: Upstream | null = null;
  #requesterId = 0;
  #linkNs = 0;
  #first: DmaTransfer | null = null;
  #last: DmaTransfer | null = null;
  #pumping = false;
  /** Counts calls of {@link abandon}. */
  #generation = 0;
  /** Waits for pages, stalled and page-requested alike: from the first refusal to the access that goes through. */
  readonly faultLatency = new LatencyRecorder();
  readonly counters = new DmaCounters();

  constructor(options: DmaEngineOptions) {
    assert(Number.isInteger(options.lanes) && options.lanes >= 1, `a DMA engine with ${options.lanes} lanes`);
    this.#clock = options.clock;
    this.#ats = options.ats ?? null;
    this.#cache = options.cache ?? null;
    this.#pasid = options.pasid ?? null;
    this.#pageRequests = options.pageRequests ?? null;
    this.#maxRetries = options.maxRetries ?? 32;
    this.#retryPauseNs = options.retryPauseNs ?? 500;
    this.#observe = options.observe ?? null;
    this.#noteAbort = options.noteAbort ?? null;
    this.#name = options.name ?? '';
    this.#log = options.log ?? null;
    this.#lanes = Array.from({ length: options.lanes }, () => new Lane(this));
    this.#free = [...this.#lanes].reverse();
    assert(this.#ats === null || this.#cache !== null, 'ATS needs a translation cache');
  }

  /** Connects the engine to its function's link. */
  attach(link: Link): void {
    this.#upstream = link.upstream;
    this.#requesterId = link.requesterId;
    this.#linkNs = link.linkNs;
  }

  /** Whether requests are on their way or wait. */
  get busy(): boolean {
    return this.#first !== null || this.#free.length < this.#lanes.length;
  }

  /** Starts a transfer. Its completion may come before `start` returns, when nothing takes any time. */
  start(transfer: DmaTransfer): void {
    assert(!transfer.busy, 'a transfer is started once');
    transfer.busy = true;
    transfer.outcome = DmaOutcome.DONE;
    transfer.transferred = transfer.length;
    transfer.issued = 0;
    transfer.lanes = 0;
    transfer.next = null;
    this.counters.transfers += 1;
    if (this.#last === null) this.#first = transfer;
    else this.#last.next = transfer;
    this.#last = transfer;
    this.#pump();
  }

  /**
   * Takes an invalidate request (PCIe §10.3): translations go at once, `completed` is called when no access uses one any
   * more. The answer to a translation request under way is void (§10.3.4).
   */
  invalidate(request: InvalidateRequest, completed: () => void): void {
    const { page, pages, pasid, global } = request;
    this.counters.invalidations += 1;
    this.#cache?.invalidate(page, pages, pasid, global);
    const drain: Drain = { remaining: 0, completed };
    for (const lane of this.#lanes) {
      if (global ? lane.space === NO_PASID : lane.space !== pasid) continue;
      if (lane.phase === Phase.TRANSLATION) {
        const covered = lane.ask.answer.status === Completion.SUCCESS ? lane.ask.answer.pages : 1;
        const first = lane.wantedPage - (lane.wantedPage % covered);
        if (first < page + pages && page < first + covered) lane.stale = true;
      } else if (lane.phase === Phase.ACCESS && lane.addressType === AddressType.TRANSLATED) {
        if (lane.wantedPage < page || lane.wantedPage >= page + pages) continue;
        lane.drains.push(drain);
        drain.remaining += 1;
      }
    }
    if (drain.remaining === 0) completed();
    else this.counters.invalidationsWaited += 1;
  }

  /** ATS was disabled: translations are forgotten, and those under way are void. */
  forgetTranslations(): void {
    this.#cache?.clear();
    for (const lane of this.#lanes) if (lane.phase === Phase.TRANSLATION) lane.stale = true;
  }

  /**
   * Gives up everything: no transfer completes any more. Requests that are on the link or stall run out unseen and keep
   * their lane, and the bytes they name, until then.
   */
  abandon(): void {
    this.#generation += 1;
    for (let transfer = this.#first; transfer !== null; transfer = transfer.next) transfer.busy = false;
    this.#first = null;
    this.#last = null;
    this.#openers.clear();
    for (const lane of this.#lanes) {
      if (lane.transfer !== null) lane.transfer.busy = false;
      lane.transfer = null;
      lane.nextFollower = null;
      if (lane.phase === Phase.PAGE) this.#pageRequests?.forget(lane);
      if (lane.phase === Phase.PAGE || lane.phase === Phase.FOLLOW) this.#release(lane);
    }
  }

  /** Hands transfers to lanes, in order. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let transfer = this.#first; transfer !== null && this.#free.length > 0; transfer = this.#first) {
      if (transfer.outcome !== DmaOutcome.DONE && !transfer.pastFaults) {
        // A page failed: the rest is not sent.
        this.#dequeue(transfer);
        transfer.issued = transfer.length;
        if (transfer.lanes === 0) transfer.finish();
        continue;
      }
      const lane = this.#free.pop();
      assert(lane !== undefined, 'a lane is free');
      lane.take(transfer, this.#requesterId, this.#pasid);
      if (transfer.issued === transfer.length) this.#dequeue(transfer);
      this.#issue(lane);
    }
    this.#pumping = false;
  }

  #dequeue(transfer: DmaTransfer): void {
    this.#first = transfer.next;
    if (this.#first === null) this.#last = null;
    transfer.next = null;
  }

  /** Sends a lane on its way: from the cache, behind another lane, or with a request of its own. */
  #issue(lane: Lane): void {
    const { space } = lane;
    if (space !== NO_PASID && (this.#pasid === null || !this.#pasid.enabled || space > this.#pasid.max)) {
      this.#fail(lane, DmaOutcome.NO_PASID);
      return;
    }
    if (this.#ats === null || this.#cache === null || !this.#ats.enabled) {
      if (!this.#follows(lane)) this.#accessUntranslated(lane);
      return;
    }
    const entry = this.#cache.lookup(space, lane.wantedPage);
    if (entry >= 0 && grants(this.#cache.flags(entry), lane.need)) {
      this.counters.cacheHits += 1;
      if ((this.#cache.flags(entry) & UNTRANSLATED_ONLY) !== 0) this.#accessUntranslated(lane);
      else this.#accessTranslated(lane, this.#cache.translate(entry, lane.wantedPage));
      return;
    }
    if (this.#follows(lane)) return;
    this.#openers.open(lane);
    this.#translate(lane);
  }

  #translate(lane: Lane): void {
    if (this.#ats?.enabled !== true) {
      // ATS was disabled in the meantime.
      const followers = this.#openers.close(lane);
      this.#issue(lane);
      this.#resume(followers, DmaOutcome.DONE, 0);
      return;
    }
    const { ask } = lane;
    this.counters.translationRequests += 1;
    ask.requesterId = lane.requesterId;
    ask.pasid = lane.space;
    ask.execute = lane.execute;
    ask.privileged = lane.privileged;
    ask.page = lane.wantedPage;
    ask.noWrite = !lane.wantsWrite;
    ask.latencyNs = 0;
    lane.stale = false;
    this.#port.translate(ask);
    lane.phase = Phase.TRANSLATION;
    if (ask.latencyNs === 0) this.#translated(lane);
    else this.#clock.after(ask.latencyNs, lane.due);
  }

  #translated(lane: Lane): void {
    if (lane.stale) {
      this.counters.staleTranslations += 1;
      this.#translate(lane);
      return;
    }
    const { answer } = lane.ask;
    if (answer.status !== Completion.SUCCESS) {
      this.#noteAbort?.(answer.status);
      this.#fail(lane, DmaOutcome.REFUSED);
      return;
    }
    const flags = flagsOf(answer);
    if (!grants(flags, lane.need)) {
      this.#wantPage(lane);
      return;
    }
    this.#cache?.insert(lane.space, lane.wantedPage, answer);
    this.#waited(lane);
    // They go after this access, in the order in which they came.
    const followers = this.#openers.close(lane);
    if (answer.untranslatedOnly) this.#accessUntranslated(lane);
    else this.#accessTranslated(lane, translatedPage(answer, lane.wantedPage));
    this.#resume(followers, DmaOutcome.DONE, 0);
  }

  /** No translation, or not for this access: asks the host for the page, if the function can. */
  #wantPage(lane: Lane): void {
    if (!lane.mayFault) {
      this.#fail(lane, DmaOutcome.MISSING);
      return;
    }
    const unit = this.#pageRequests;
    if (unit === null || !unit.usable) {
      this.#fail(lane, lane.attempts === 0 ? DmaOutcome.DENIED : DmaOutcome.FAILURE);
      return;
    }
    if (lane.attempts > 0) this.counters.retries += 1;
    if (lane.attempts > this.#maxRetries) {
      this.counters.retriesExhausted += 1;
      this.#fail(lane, DmaOutcome.RETRIES);
      return;
    }
    if (lane.waitSinceNs < 0) {
      lane.waitSinceNs = this.#clock.now;
      this.counters.pageRequests += 1;
    }
    if (lane.attempts === 0) {
      this.#requestPage(lane, unit);
      return;
    }
    lane.phase = Phase.PAUSE;
    this.#clock.after(this.#retryPauseNs * 2 ** Math.min(lane.attempts - 1, 6), lane.due);
  }

  #requestPage(lane: Lane, unit: PageRequestUnit): void {
    lane.phase = Phase.PAGE;
    lane.pasid = lane.space;
    unit.request(lane);
  }

  /** For lanes: the page request was answered. */
  pageAnswered(lane: Lane, code: ResponseCode): void {
    if (code !== ResponseCode.SUCCESS) {
      this.#fail(lane, code === ResponseCode.INVALID_REQUEST ? DmaOutcome.INVALID : DmaOutcome.FAILURE);
      return;
    }
    // At once: what is mapped may be reclaimed again. The pause of a retry comes before the next request.
    lane.attempts += 1;
    this.#translate(lane);
  }

  #accessTranslated(lane: Lane, page: number): void {
    lane.addressType = AddressType.TRANSLATED;
    lane.page = page;
    lane.pasid = NO_PASID;
    lane.write = !lane.wantsRead;
    lane.length = lane.bytes;
    this.#access(lane);
  }

  #accessUntranslated(lane: Lane): void {
    lane.addressType = AddressType.UNTRANSLATED;
    lane.page = lane.wantedPage;
    lane.pasid = lane.space;
    lane.write = lane.claim || !lane.wantsRead;
    lane.length = lane.claim ? 0 : lane.bytes;
    this.#access(lane);
  }

  #access(lane: Lane): void {
    lane.latencyNs = 0;
    const status = this.#port.memory(lane);
    if (status === Completion.PENDING) {
      this.counters.stalls += 1;
      lane.phase = Phase.STALL;
      lane.waitSinceNs = this.#clock.now;
      lane.latencyNs = 0;
      if (!lane.opener) this.#openers.open(lane);
      return;
    }
    if (status === Completion.SUCCESS && this.#observe !== null) this.#seen(lane);
    lane.status = status;
    if (lane.latencyNs === 0) {
      this.#accessed(lane);
    } else {
      lane.phase = Phase.ACCESS;
      this.#clock.after(lane.latencyNs, lane.due);
    }
  }

  /** For lanes: the stalled request completed. */
  stallEnded(lane: Lane, status: Completion): void {
    assert(lane.phase === Phase.STALL, 'only a stalled request completes later');
    lane.status = status;
    if (status === Completion.SUCCESS) {
      this.#waited(lane);
      if (this.#observe !== null) this.#seen(lane);
    }
    // What the agent spent on the retry, and the way back of a read, are still to come.
    lane.phase = Phase.ACCESS;
    this.#clock.after(lane.latencyNs + (lane.write ? 0 : this.#linkNs), lane.due);
  }

  /** For lanes: the latency is over. */
  laneDue(lane: Lane): void {
    if (lane.transfer === null) {
      this.#release(lane);
      this.#pump();
    } else if (lane.phase === Phase.ACCESS) {
      this.#accessed(lane);
    } else if (lane.phase === Phase.TRANSLATION) {
      this.#translated(lane);
    } else if (this.#pageRequests?.usable === true) {
      this.#requestPage(lane, this.#pageRequests);
    } else {
      this.#fail(lane, DmaOutcome.FAILURE);
    }
  }

  #accessed(lane: Lane): void {
    if (lane.status !== Completion.SUCCESS) {
      this.#noteAbort?.(lane.status);
      this.#fail(lane, DmaOutcome.REFUSED);
      return;
    }
    if (lane.claim && lane.addressType === AddressType.UNTRANSLATED) {
      lane.claim = false;
      this.#accessUntranslated(lane);
      return;
    }
    const { counters } = this;
    if (lane.write) {
      counters.writes += 1;
      counters.bytesWritten += lane.bytes;
    } else {
      counters.reads += 1;
      counters.bytesRead += lane.bytes;
    }
    this.#end(lane);
  }

  #fail(lane: Lane, outcome: DmaOutcome): void {
    this.counters.aborted += 1;
    this.#log?.info({
      event: 'dma.abort',
      device: this.#name,
      page: lane.wantedPage,
      pasid: lane.space,
      write: lane.wantsWrite,
      outcome: DMA_OUTCOMES[outcome],
      retries: lane.attempts,
    });
    const { transfer } = lane;
    lane.outcome = outcome;
    if (transfer !== null) {
      if (transfer.outcome === DmaOutcome.DONE || lane.start < transfer.transferred) transfer.outcome = outcome;
      transfer.transferred = Math.min(transfer.transferred, lane.start);
    }
    this.#end(lane);
  }

  /** The lane is done with its piece: others that waited for its page go on, and so does the transfer. */
  #end(lane: Lane): void {
    const { transfer } = lane;
    const { outcome, need } = lane;
    const generation = this.#generation;
    const followers = lane.opener ? this.#openers.close(lane) : null;
    this.#release(lane);
    if (followers !== null) this.#resume(followers, outcome, need);
    if (transfer !== null && generation !== this.#generation) {
      // A completion above made the device give up everything, this transfer too.
      transfer.busy = false;
    } else if (transfer !== null) {
      transfer.lanes -= 1;
      if (transfer.lanes === 0 && transfer.issued === transfer.length) transfer.finish();
    }
    this.#pump();
  }

  #release(lane: Lane): void {
    lane.clear();
    this.#free.push(lane);
    if (lane.drains.length === 0) return;
    for (const drain of lane.drains.splice(0)) {
      drain.remaining -= 1;
      if (drain.remaining === 0) drain.completed();
    }
  }

  #waited(lane: Lane): void {
    if (lane.waitSinceNs < 0) return;
    this.faultLatency.record(this.#clock.now - lane.waitSinceNs);
    lane.waitSinceNs = -1;
  }

  #seen(lane: Lane): void {
    if (lane.length === 0) return;
    const translated = lane.addressType === AddressType.TRANSLATED ? lane.page : -1;
    this.#observe?.(lane.wantedPage, translated, lane.write, lane.space, lane.offset, lane.length);
  }

  /** Whether the lane now waits behind one that brings the same page. */
  #follows(lane: Lane): boolean {
    if (this.#openers.count === 0 || !this.#openers.follow(lane)) return false;
    this.counters.coalesced += 1;
    return true;
  }

  /** Those who waited for a page go on, or fail like their opener if they wanted the same of it and may ask no more than it. */
  #resume(followers: Lane | null, outcome: DmaOutcome, need: number): void {
    const generation = this.#generation;
    // A completion on the way may make the device give up everything, these lanes too.
    for (let lane = followers; lane !== null && generation === this.#generation; ) {
      const next: Lane | null = lane.nextFollower;
      lane.nextFollower = null;
      const asks = outcome === DmaOutcome.MISSING && lane.mayFault;
      if (outcome !== DmaOutcome.DONE && lane.need === need && !asks) this.#fail(lane, outcome);
      else this.#issue(lane);
      lane = next;
    }
  }

  get #port(): Upstream {
    assert(this.#upstream !== null, 'a DMA engine sends when it has a link');
    return this.#upstream;
  }
}
