/**
 * The device fault handler of an I/O address space: whole groups come in from the IOMMU, each gets exactly one answer.
 * Groups are served on the thread that delivers them, or by the threads of a work queue.
 */
import { type FaultGroup, type FaultHandler, FaultResponse, type UnrecoverableFault } from '../iommu/core.ts';
import { type Steps, WaitQueue } from '../sim/task.ts';
import { WorkQueue } from '../sim/work-queue.ts';
import { FaultService } from './fault-service.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import { Outcome } from './page-mapper.ts';

const IOMMU_PAGE_BYTES = 4096;

export class DeviceFaultHandler implements FaultHandler {
  readonly name: string;
  readonly service: FaultService;
  readonly #io: IoAddressSpace;
  readonly #queue: WorkQueue<FaultGroup>;
  readonly #drained: WaitQueue;
  /** Groups delivered and not answered yet, with how many of their pages are served. */
  readonly #pending = new Map<FaultGroup, number>();
  /** Groups that wait for {@link resume}. They hold no lock and no thread. */
  #parked: FaultGroup[] = [];

  constructor(io: IoAddressSpace) {
    this.name = `faults of ${io.name}`;
    this.service = new FaultService(io);
    this.#io = io;
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
    return this.#pending.size;
  }

  *handle(group: FaultGroup): Steps {
    this.#io.invariants.check('one-response', !this.#pending.has(group), () => `group ${group.index} came twice`);
    this.#pending.set(group, 0);
    if (this.#queue.workers > 0) this.#queue.put(group);
    else yield* this.#serve(group);
  }

  /** Goes on with parked groups: a mapping got its address back or goes away, or a device is leaving. */
  *resume(): Steps {
    const groups = this.#parked;
    this.#parked = [];
    for (const group of groups) {
      if (this.#queue.workers > 0) this.#queue.put(group);
      else yield* this.#serve(group);
    }
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
    while (this.#pending.size > 0) yield this.#drained;
  }

  *#serve(group: FaultGroup): Steps {
    const { counters, iommu } = this.#io;
    let cost = this.#io.latency.faultHandler;
    let outcome: Outcome = Outcome.MAPPED;
    for (let index = this.#pending.get(group) ?? 0; index < group.pages.length; index++) {
      const fault = group.pages[index];
      if (fault === undefined) break;
      // Reading is asked for by everything but a pure write; a request for nothing at all is a read as well.
      const read = fault.read || fault.execute || !fault.write;
      const served = yield* this.#servePage(group, fault.page, read, fault.write, fault.execute, cost);
      cost = 0;
      if (served === Outcome.PARKED) {
        this.#pending.set(group, index);
        this.#parked.push(group);
        return;
      }
      this.#count(group, fault.page, fault.write, served);
      if (served === Outcome.INVALID || served === Outcome.FAILED) {
        outcome = served;
        break;
      }
    }
    counters.groups += 1;
    if (outcome === Outcome.INVALID) counters.invalid += 1;
    if (outcome === Outcome.FAILED) counters.failed += 1;
    yield* iommu.respond(group, responseOf(outcome));
    if (outcome === Outcome.MAPPED) this.#answered(group);
    this.#io.invariants.check('one-response', this.#pending.delete(group), () => `group ${group.index} answered twice`);
    if (this.#pending.size === 0) this.#drained.wakeAll();
  }

  *#servePage(
    group: FaultGroup,
    page: number,
    read: boolean,
    write: boolean,
    execute: boolean,
    costNs: number,
  ): Steps<Outcome> {
    const iova = page * IOMMU_PAGE_BYTES;
    const mapping = yield* this.#io.lookUp(iova, costNs);
    if (mapping === null) return Outcome.INVALID;
    const allowed = (!write || mapping.writes) && (!read || mapping.reads) && !execute;
    const notBeforeNs = group.notBeforeNs ?? group.receivedNs;
    const outcome = allowed
      ? yield* this.service.serve(group.device, mapping, mapping.pageOf(iova), write, notBeforeNs)
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
    const level = outcome === Outcome.INVALID || outcome === Outcome.FAILED ? 'warn' : 'debug';
    if (!log.isLevelEnabled(level)) return;
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

  /** Requests made until now did not know the answer: what repeats them is a duplicate. */
  #answered(group: FaultGroup): void {
    for (const { page } of group.pages) {
      const iova = page * IOMMU_PAGE_BYTES;
      const mapping = this.#io.mappings.at(iova);
      const faults = mapping?.faults ?? null;
      if (mapping === null || faults === null) continue;
      faults.servedNs[mapping.pageOf(iova)] = this.#io.scheduler.clock.now;
    }
  }
}

function responseOf(outcome: Outcome): FaultResponse {
  if (outcome === Outcome.INVALID) return FaultResponse.INVALID;
  return outcome === Outcome.FAILED ? FaultResponse.FAILURE : FaultResponse.SUCCESS;
}
