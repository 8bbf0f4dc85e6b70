/**
 * The device fault handler of an I/O address space: whole groups come in from the IOMMU, each gets exactly one answer.
 * Groups are served on the thread that delivers them, or by the threads of a work queue.
 */
import {
  type FaultGroup,
  type FaultHandler,
  FaultResponse,
  type PageFault,
  type UnrecoverableFault,
} from '../iommu/core.ts';
import { NO_STEPS, removeFrom, type Steps, WaitQueue } from '../sim/task.ts';
import { WorkQueue } from '../sim/work-queue.ts';
import { FaultService } from './fault-service.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { Mapping } from './mapping.ts';
import { Outcome } from './page-mapper.ts';

const IOMMU_PAGE_BYTES = 4096;

export class DeviceFaultHandler implements FaultHandler {
  readonly name: string;
  readonly service: FaultService;
  readonly #io: IoAddressSpace;
  readonly #queue: WorkQueue<FaultGroup>;
  readonly #drained: WaitQueue;
  /** Looked up once: it is asked for each page. */
  readonly #debug: boolean;
  /** Groups delivered and not answered yet: a list, as there are few at a time. */
  readonly #pending: FaultGroup[] = [];
  /** Of those that were parked, how many of their pages are served. */
  readonly #served = new Map<FaultGroup, number>();
  /** Groups that wait for {@link resume}. They hold no lock and no thread. */
  #parked: FaultGroup[] = [];

  constructor(io: IoAddressSpace) {
    this.name = `faults of ${io.name}`;
    this.service = new FaultService(io);
    this.#io = io;
    this.#debug = io.log.isLevelEnabled('debug');
    this.#queue = new WorkQueue(io.scheduler, `iopf/${io.name}`, io.latency.threadWake, (group) => this.#serve(group));
    this.#drained = new WaitQueue(io.scheduler, `${this.name} to be answered`);
  }

  /** Threads that serve groups; 0: the delivering thread does. */
  get workers(): number {
    return this.#queue.workers;
  }

  set workers(count: number) {
    this.#queue.setWorkers(count);
  }

  get pending(): number {
    return this.#pending.length;
  }

  handle(group: FaultGroup): Steps {
    this.#io.invariants.check('one-response', !this.#pending.includes(group), deliveredTwice, group);
    this.#pending.push(group);
    return this.#dispatch(group);
  }

  /** Goes on with parked groups: a mapping got its address back or goes away, or a device is leaving. */
  *resume(): Steps {
    const groups = this.#parked;
    this.#parked = [];
    for (const group of groups) yield* this.#dispatch(group);
  }

  unrecoverable(fault: UnrecoverableFault): void {
    const { event: cause, stage, page, write, pasid } = fault;
    const { log, name: container, errorListeners } = this.#io;
    const device = fault.device?.name ?? '';
    log.warn({ event: 'vfio.unrecoverable', container, device, cause, stage, page, write, pasid });
    if (fault.device !== null) errorListeners.get(fault.device)?.();
  }

  /** Waits until every group that was delivered is answered. */
  *drain(): Steps {
    while (this.#pending.length > 0) yield this.#drained;
  }

  #dispatch(group: FaultGroup): Steps {
    if (this.#queue.workers === 0) return this.#serve(group);
    this.#queue.put(group);
    return NO_STEPS;
  }

  /** Serves pages at once as far as nothing must be waited for. */
  #serve(group: FaultGroup): Steps {
    for (let index = this.#served.get(group) ?? 0; index < group.pages.length; index++) {
      const fault = group.pages[index];
      if (fault === undefined) break;
      const served = this.#servePageNow(fault);
      if (served === null) return this.#serveFrom(group, index);
      this.#count(group, fault.page, fault.write, served);
      if (isRefusal(served)) return this.#answer(group, served);
    }
    return this.#answer(group, Outcome.MAPPED);
  }

  *#serveFrom(group: FaultGroup, first: number): Steps {
    let cost = this.#io.latency.faultHandler;
    let outcome: Outcome = Outcome.MAPPED;
    for (let index = first; index < group.pages.length; index++) {
      const fault = group.pages[index];
      if (fault === undefined) break;
      const served = yield* this.#servePage(group, fault, cost);
      cost = 0;
      if (served === Outcome.PARKED) {
        this.#served.set(group, index);
        this.#parked.push(group);
        return;
      }
      this.#count(group, fault.page, fault.write, served);
      if (isRefusal(served)) {
        outcome = served;
        break;
      }
    }
    yield* this.#answer(group, outcome);
  }

  #answer(group: FaultGroup, outcome: Outcome): Steps {
    const { counters, iommu } = this.#io;
    counters.groups += 1;
    if (outcome === Outcome.INVALID) counters.invalid += 1;
    if (outcome === Outcome.FAILED) counters.failed += 1;
    const response = iommu.respond(group, responseOf(outcome));
    if (response !== NO_STEPS) return this.#afterwards(response, group, outcome);
    this.#answered(group, outcome);
    return NO_STEPS;
  }

  *#afterwards(response: Steps, group: FaultGroup, outcome: Outcome): Steps {
    yield* response;
    this.#answered(group, outcome);
  }

  /** {@link #servePage} where that takes no time; null where there is something to wait for. */
  #servePageNow(fault: PageFault): Outcome | null {
    if (this.#io.latency.faultHandler > 0) return null;
    const iova = fault.page * IOMMU_PAGE_BYTES;
    const mapping = this.#io.lookUpNow(iova);
    if (mapping === undefined) return null;
    if (mapping === null || !permits(mapping, fault)) return Outcome.INVALID;
    return this.service.serveNow(mapping, mapping.pageOf(iova), fault.write);
  }

  *#servePage(group: FaultGroup, fault: PageFault, costNs: number): Steps<Outcome> {
    const iova = fault.page * IOMMU_PAGE_BYTES;
    const mapping = yield* this.#io.lookUp(iova, costNs);
    if (mapping === null) return Outcome.INVALID;
    const notBeforeNs = group.notBeforeNs ?? group.receivedNs;
    const outcome = permits(mapping, fault)
      ? yield* this.service.serve(group.device, mapping, mapping.pageOf(iova), fault.write, notBeforeNs)
      : Outcome.INVALID;
    mapping.put();
    return outcome;
  }

  #count(group: FaultGroup, page: number, write: boolean, outcome: Outcome): void {
    const { counters, log } = this.#io;
    if (outcome === Outcome.MAPPED) counters.pages += 1;
    else if (outcome === Outcome.DUPLICATE) counters.duplicate += 1;
    else if (outcome === Outcome.STALE) counters.stale += 1;
    else if (outcome === Outcome.UPGRADE) counters.upgrade += 1;
    const level = isRefusal(outcome) ? 'warn' : 'debug';
    if (level === 'debug' && !this.#debug) return;
    const { device, pasid, origin, index, receivedNs } = group;
    const waitedNs = this.#io.scheduler.clock.now - receivedNs;
    const container = this.#io.name;
    log[level]({
      event: 'vfio.fault',
      container,
      device: device.name,
      pasid,
      origin,
      index,
      page,
      write,
      outcome,
      waitedNs,
    });
  }

  /** The answer is out: the group is forgotten. */
  #answered(group: FaultGroup, outcome: Outcome): void {
    if (outcome === Outcome.MAPPED) this.#noteServed(group);
    this.#io.invariants.check('one-response', removeFrom(this.#pending, group), answeredTwice, group);
    if (this.#served.size > 0) this.#served.delete(group);
    if (this.#pending.length === 0) this.#drained.wakeAll();
  }

  /** Requests made until now did not know the answer: what repeats them is a duplicate. */
  #noteServed(group: FaultGroup): void {
    const { now } = this.#io.scheduler.clock;
    for (const { page } of group.pages) {
      const iova = page * IOMMU_PAGE_BYTES;
      const mapping = this.#io.mappings.at(iova);
      const faults = mapping?.faults ?? null;
      if (mapping !== null && faults !== null) faults.servedNs[mapping.pageOf(iova)] = now;
    }
  }
}

/** Reading is asked for by everything but a pure write; a request for nothing at all is a read as well. */
function permits(mapping: Mapping, { read, write, execute }: PageFault): boolean {
  return (!write || mapping.writes) && (!(read || !write) || mapping.reads) && !execute;
}

function isRefusal(outcome: Outcome): boolean {
  return outcome === Outcome.INVALID || outcome === Outcome.FAILED;
}

function deliveredTwice(group: FaultGroup): string {
  return `group ${group.index} came twice`;
}

function answeredTwice(group: FaultGroup): string {
  return `group ${group.index} answered twice`;
}

function responseOf(outcome: Outcome): FaultResponse {
  if (outcome === Outcome.INVALID) return FaultResponse.INVALID;
  return outcome === Outcome.FAILED ? FaultResponse.FAILURE : FaultResponse.SUCCESS;
}
