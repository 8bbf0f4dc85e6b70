/**
 * Serves the faults of devices that share a process's address space: whole groups come in from the IOMMU, each gets
 * exactly one answer. Groups are served on the thread that delivers them, or by the threads of a work queue.
 */
import { type FaultGroup, type FaultHandler, FaultResponse, type UnrecoverableFault } from '../iommu/core.ts';
import type { Invariants } from '../sim/invariants.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import { type Scheduler, type Steps, WaitQueue } from '../sim/task.ts';
import { WorkQueue } from '../sim/work-queue.ts';
import type { SvaCounters } from './counters.ts';
import { type SharedSpace, SvaOutcome } from './shared-space.ts';

const IOMMU_PAGE_BYTES = 4096;

export interface SvaFaultHandlerOptions {
  readonly scheduler: Scheduler;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  readonly counters: SvaCounters;
  /** Threads that serve groups; 0: the delivering thread does. */
  readonly workers: number;
  respond(group: FaultGroup, response: FaultResponse): Steps;
}

export class SvaFaultHandler {
  readonly #options: SvaFaultHandlerOptions;
  readonly #queue: WorkQueue<{ readonly shared: SharedSpace; readonly group: FaultGroup }>;
  /** Groups delivered and not answered yet. */
  readonly #pending = new Map<FaultGroup, SharedSpace>();
  readonly #served: WaitQueue;

  constructor(options: SvaFaultHandlerOptions) {
    const { scheduler, latency, workers } = options;
    this.#options = options;
    this.#served = new WaitQueue(scheduler, 'faults of a shared address space');
    const wakeNs = latency.threadWake;
    this.#queue = new WorkQueue(scheduler, 'iopf/sva', wakeNs, ({ shared, group }) => this.#serve(shared, group));
    this.#queue.setWorkers(workers);
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** The handler of one address space. */
  of(shared: SharedSpace): FaultHandler {
    return {
      name: shared.name,
      handle: (group) => this.#handle(shared, group),
      unrecoverable: (fault) => this.#unrecoverable(shared, fault),
    };
  }

  /** Waits until nothing is being served for `shared`, answers that came too late included. */
  *drain(shared: SharedSpace): Steps {
    while (this.#isServing(shared)) yield this.#served;
  }

  #isServing(shared: SharedSpace): boolean {
    for (const other of this.#pending.values()) if (other === shared) return true;
    return false;
  }

  *#handle(shared: SharedSpace, group: FaultGroup): Steps {
    const { invariants } = this.#options;
    invariants.check('one-response', !this.#pending.has(group), () => `group ${group.index} came twice`);
    this.#pending.set(group, shared);
    if (this.#queue.workers > 0) this.#queue.put({ shared, group });
    else yield* this.#serve(shared, group);
  }

  #unrecoverable(shared: SharedSpace, fault: UnrecoverableFault): void {
    const { event: cause, stage, page, write, pasid } = fault;
    const device = fault.device?.name ?? '';
    const space = shared.space.name;
    this.#options.log.warn({ event: 'sva.unrecoverable', space, device, cause, stage, page, write, pasid });
  }

  *#serve(shared: SharedSpace, group: FaultGroup): Steps {
    const { counters, latency, invariants } = this.#options;
    if (latency.svaFaultHandler > 0) yield latency.svaFaultHandler;
    const notBeforeNs = group.notBeforeNs ?? group.receivedNs;
    let response: FaultResponse = FaultResponse.SUCCESS;
    for (const { page, write, execute } of group.pages) {
      const address = page * IOMMU_PAGE_BYTES;
      // No area of a process is executable here.
      const outcome = execute ? SvaOutcome.INVALID : yield* shared.serve(address, write, notBeforeNs);
      this.#count(shared, group, page, write, outcome);
      if (outcome === SvaOutcome.INVALID) response = FaultResponse.INVALID;
      if (outcome === SvaOutcome.FAILED) response = FaultResponse.FAILURE;
      if (response !== FaultResponse.SUCCESS) break;
    }
    counters.groups += 1;
    if (response === FaultResponse.INVALID) counters.invalid += 1;
    if (response === FaultResponse.FAILURE) counters.failed += 1;
    yield* this.#options.respond(group, response);
    if (response === FaultResponse.SUCCESS) {
      for (const { page } of group.pages) shared.answered(page * IOMMU_PAGE_BYTES);
    }
    invariants.check('one-response', this.#pending.delete(group), () => `group ${group.index} was answered twice`);
    this.#served.wakeAll();
  }

  #count(shared: SharedSpace, group: FaultGroup, page: number, write: boolean, outcome: SvaOutcome): void {
    const { counters, log, scheduler } = this.#options;
    if (outcome === SvaOutcome.MAPPED) counters.pages += 1;
    else if (outcome === SvaOutcome.DUPLICATE) counters.duplicate += 1;
    else if (outcome === SvaOutcome.STALE) counters.stale += 1;
    else if (outcome === SvaOutcome.UPGRADE) counters.upgrade += 1;
    const level = outcome === SvaOutcome.INVALID || outcome === SvaOutcome.FAILED ? 'warn' : 'debug';
    if (!log.isLevelEnabled(level)) return;
    const { device, pasid, origin, index, receivedNs } = group;
    const waitedNs = scheduler.clock.now - receivedNs;
    const space = shared.space.name;
    log[level]({
      event: 'sva.fault',
      space,
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
}
