/** Who translates by what, and how they fault: every change of a device's configuration. */
import { Errno } from '../../errno.ts';
import type { Invariants } from '../../sim/invariants.ts';
import type { Log } from '../../sim/log.ts';
import type { Steps } from '../../sim/task.ts';
import type { Machinery } from './bring-up.ts';
import { ATC_WHOLE } from './command-batch.ts';
import { ContextTable } from './context-table.ts';
import type { DriverCounters } from './counters.ts';
import type { SmmuDevice } from './device.ts';
import type { SmmuDomain } from './domain.ts';
import type { DomainFactory } from './domain-factory.ts';
import { FunctionSwitches } from './function-switches.ts';
import { PagedDomain } from './paged-domain.ts';
import { StallModel } from './probe.ts';

const NO_PASID = -1;
export interface AttachmentsOptions {
  readonly parts: Machinery;
  readonly factory: DomainFactory;
  readonly counters: DriverCounters;
  readonly log: Log;
  /** Credits granted together stay within the PRI queue. */
  readonly limitCredits: boolean;
  readonly invariants: Invariants;
}

export class Attachments {
  readonly #parts: Machinery;
  readonly #factory: DomainFactory;
  readonly #counters: DriverCounters;
  readonly #log: Log;
  readonly #invariants: Invariants;
  readonly #switches: FunctionSwitches;

  constructor(options: AttachmentsOptions) {
    this.#parts = options.parts;
    this.#factory = options.factory;
    this.#counters = options.counters;
    this.#log = options.log;
    this.#invariants = options.invariants;
    this.#switches = new FunctionSwitches(options.parts, options.log, options.limitCredits);
  }

  *attach(domain: SmmuDomain, device: SmmuDevice): Steps<number> {
    return yield* this.#locked(device, this.#attach(domain, device));
  }

  *detach(domain: SmmuDomain, device: SmmuDevice): Steps {
    yield* this.#locked(device, this.#detach(domain, device));
  }

  *attachPasid(domain: SmmuDomain, device: SmmuDevice, pasid: number): Steps<number> {
    return yield* this.#locked(device, this.#attachPasid(domain, device, pasid));
  }

  *detachPasid(device: SmmuDevice, pasid: number): Steps {
    yield* this.#locked(device, this.#detachPasid(device, pasid));
  }

  *enableFaults(device: SmmuDevice, owner: object, mode: 'stall' | 'pri'): Steps<number> {
    return yield* this.#locked(device, this.#enableFaults(device, owner, mode));
  }

  *disableFaults(device: SmmuDevice, owner: object): Steps<number> {
    return yield* this.#locked(device, this.#disableFaults(device, owner));
  }

  /** Takes no lock: whoever holds it may be waiting for a handler that is about to block the stream. */
  *block(device: SmmuDevice): Steps {
    if (!device.blocked && device.attached) {
      this.#counters.blocked += 1;
      this.#log.warn({ event: 'smmu.block', device: device.name, streamId: device.streamId });
    }
    // A stream that nothing is attached to aborts as it is.
    device.blocked = device.attached;
    yield* this.#parts.configuration.applyStream(device);
  }

  /** After a function-level reset: the function has forgotten its requests and its enables. Both are put right. */
  *functionReset(device: SmmuDevice): Steps {
    yield* this.#locked(device, this.#functionReset(device));
  }

  *#locked<T>(device: SmmuDevice, steps: Steps<T>): Steps<T> {
    yield* device.configuration.lock();
    const result = yield* steps;
    device.configuration.unlock();
    return result;
  }

  *#attach(domain: SmmuDomain, device: SmmuDevice): Steps<number> {
    if (device.domain !== null) return Errno.EBUSY;
    const below = domain.stage === 2 ? domain : domain.parent;
    for (const other of device.pasids.values()) if (other.parent !== below) return Errno.EINVAL;
    if (domain.takesAllPasids && device.pasids.size > 0) return Errno.EBUSY;
    const context = domain instanceof PagedDomain && domain.stage === 1 ? domain : null;
    if (context !== null && !this.#ensureContexts(device, context)) return Errno.ENOMEM;
    device.domain = domain;
    domain.attachments.push({ device, pasid: NO_PASID });
    if (context !== null && !(yield* this.#parts.configuration.applyContext(device, 0, context))) {
      this.#forget(domain, device, NO_PASID);
      return Errno.ENOMEM;
    }
    yield* this.#parts.configuration.applyStream(device);
    this.#log.info({ event: 'smmu.attach', ...names(device), domain: domain.id, stage: domain.stage, pasid: NO_PASID });
    const started = this.#switches.start(device);
    if (started !== Errno.OK) yield* this.#detach(domain, device);
    return started;
  }

  *#attachPasid(domain: SmmuDomain, device: SmmuDevice, pasid: number): Steps<number> {
    if (!(domain instanceof PagedDomain) || domain.stage !== 1) return Errno.EINVAL;
    if (pasid <= 0 || pasid >= 2 ** device.pasidBits) return Errno.EINVAL;
    if (device.pasids.has(pasid) || device.domain?.takesAllPasids === true) return Errno.EBUSY;
    const own = device.domain;
    if (own !== null && (own.stage === 2 ? own : own.parent) !== domain.parent) return Errno.EINVAL;
    for (const other of device.pasids.values()) if (other.parent !== domain.parent) return Errno.EINVAL;
    if (!this.#ensureContexts(device, domain)) return Errno.ENOMEM;
    device.pasids.set(pasid, domain);
    domain.attachments.push({ device, pasid });
    if (!(yield* this.#parts.configuration.applyContext(device, pasid, domain))) {
      this.#forget(domain, device, pasid);
      return Errno.ENOMEM;
    }
    yield* this.#parts.configuration.applyStream(device);
    this.#log.info({ event: 'smmu.attach', ...names(device), domain: domain.id, stage: domain.stage, pasid });
    const started = this.#switches.start(device);
    if (started !== Errno.OK) yield* this.#detachPasid(device, pasid);
    return started;
  }

  /**
   * New faults stop first, at their source where there is one; then what is in flight gets its answers; then the domain
   * may go. A handler in flight must be able to finish: no lock that it needs may be held by the caller.
   */
  *#detach(domain: SmmuDomain, device: SmmuDevice): Steps {
    if (device.domain !== domain) return;
    device.stopping.add(NO_PASID);
    const last = device.pasids.size === 0;
    if (last) yield* this.#switches.stop(device);
    device.domain = null;
    yield* this.#parts.configuration.applyStream(device);
    if (!last) yield* this.#forgetAccessesWithoutPasid(device, domain);
    yield* this.#drain(device, 'detach', last ? undefined : NO_PASID);
    yield* this.#finishDetach(domain, device, NO_PASID);
  }

  *#detachPasid(device: SmmuDevice, pasid: number): Steps {
    const domain = device.pasids.get(pasid);
    if (domain === undefined) return;
    device.stopping.add(pasid);
    const last = device.pasids.size === 1 && device.domain === null;
    if (last) {
      yield* this.#switches.stop(device);
      device.pasids.delete(pasid);
      yield* this.#parts.configuration.applyStream(device);
    } else {
      yield* this.#parts.configuration.removeContext(device, pasid);
      if (device.atsEnabled) {
        const batch = this.#parts.commands.batch();
        batch.invalidateAtc(device.streamId, pasid, 0, ATC_WHOLE);
        yield* this.#parts.invalidation.complete(batch, domain);
      }
    }
    yield* this.#drain(device, 'detach', last ? undefined : pasid);
    device.pasids.delete(pasid);
    yield* this.#finishDetach(domain, device, pasid);
  }

  *#finishDetach(domain: SmmuDomain, device: SmmuDevice, pasid: number): Steps {
    const { features, commands, invalidation } = this.#parts;
    if (!device.attached && device.stall && features.stallModel !== StallModel.TERMINATE) {
      // Accesses whose events found no room are still stalled; the stream aborts, so this ends them all (§4.7.2).
      const batch = commands.batch();
      batch.terminateStalls(device.streamId);
      yield* invalidation.complete(batch, null);
    }
    this.#forget(domain, device, pasid);
    if (!domain.inUse) yield* domain.retire();
    if (domain.parent !== null && !domain.parent.inUse) yield* domain.parent.retire();
    if (!device.attached) {
      // A function that goes on asking is no reason to wait: the SMMU records what it sends whatever its STE says (§8.2).
      this.#parts.service.discardPartial(device, 'detach');
      const left = device.pending.size + device.partial.size;
      this.#invariants.check('one-response', left === 0, () => `${device.name} is detached with ${left} groups open`);
      device.blocked = false;
    }
    device.stopping.delete(pasid);
    this.#log.info({ event: 'smmu.detach', ...names(device), domain: domain.id, pasid });
  }

  #forget(domain: SmmuDomain, device: SmmuDevice, pasid: number): void {
    const index = domain.attachments.findIndex((use) => use.device === device && use.pasid === pasid);
    if (index >= 0) domain.attachments.splice(index, 1);
    if (pasid === NO_PASID) device.domain = null;
    else device.pasids.delete(pasid);
    if (device.attached) return;
    device.contexts?.destroy();
    device.contexts = null;
  }

  /** With PASIDs still in use, the stream goes on: CD 0 and what was cached without a PASID go. */
  *#forgetAccessesWithoutPasid(device: SmmuDevice, domain: SmmuDomain): Steps {
    if (domain.stage === 1 && !domain.takesAllPasids) yield* this.#parts.configuration.removeContext(device, 0);
    if (!device.atsEnabled) return;
    const batch = this.#parts.commands.batch();
    batch.invalidateAtc(device.streamId, NO_PASID, 0, ATC_WHOLE);
    yield* this.#parts.invalidation.complete(batch, domain);
  }

  *#enableFaults(device: SmmuDevice, owner: object, mode: 'stall' | 'pri'): Steps<number> {
    const { faults } = device;
    if (faults !== null) return faults.owner === owner && faults.mode === mode ? Errno.OK : Errno.EBUSY;
    if (mode === 'stall' ? !device.stall : !device.pri) return Errno.ENODEV;
    device.faults = { owner, mode };
    if (device.attached) {
      // Untranslated accesses that may stall and ATS exclude each other: ATS ends before, at the function first (§3.9.2).
      if (mode === 'stall') yield* this.#switches.stopAts(device);
      yield* this.#applyFaultMode(device);
      const started = this.#switches.start(device);
      if (started !== Errno.OK) {
        device.faults = null;
        return started;
      }
    }
    this.#log.info({ event: 'smmu.faults', ...names(device), faultMode: mode, enabled: true });
    return Errno.OK;
  }

  *#disableFaults(device: SmmuDevice, owner: object): Steps<number> {
    const { faults } = device;
    if (faults === null) return Errno.OK;
    if (faults.owner !== owner) return Errno.EBUSY;
    device.quiescing = true;
    if (device.attached) {
      this.#switches.stopPri(device);
      if (faults.mode === 'stall') yield* this.#applyFaultMode(device);
      yield* this.#drain(device, 'faults disabled');
    }
    device.faults = null;
    device.quiescing = false;
    if (device.attached) this.#switches.start(device);
    this.#log.info({ event: 'smmu.faults', ...names(device), faultMode: faults.mode, enabled: false });
    return Errno.OK;
  }

  /** CD.S and STE.S2S follow the device's mode, for every address space that it uses. */
  *#applyFaultMode(device: SmmuDevice): Steps {
    const { configuration } = this.#parts;
    const own = device.domain;
    if (own instanceof PagedDomain && own.stage === 1) yield* configuration.applyContext(device, 0, own);
    for (const [pasid, domain] of device.pasids) yield* configuration.applyContext(device, pasid, domain);
    yield* configuration.applyStream(device);
  }

  *#functionReset(device: SmmuDevice): Steps {
    const { events, pageRequests, service, invalidation } = this.#parts;
    device.resetting = true;
    if (device.atsEnabled) yield* invalidation.invalidateAtc(device);
    yield* events.drain();
    if (pageRequests !== null) yield* pageRequests.drain();
    service.discardPartial(device, 'function reset');
    yield* service.cancel(device);
    yield* service.drain(device);
    device.resetting = false;
    this.#switches.forget(device);
    this.#switches.start(device);
    this.#log.info({ event: 'smmu.functionReset', ...names(device) });
  }

  /** Waits for everything in flight: records in the queues, requests on the link, groups with handlers. */
  *#drain(device: SmmuDevice, reason: string, pasid?: number): Steps {
    const { events, pageRequests, service } = this.#parts;
    if (device.stall) yield* events.drain();
    if (device.pri && pageRequests !== null) {
      yield* pageRequests.drain();
      yield* service.drain(device, pasid);
      if (pasid === undefined) yield* this.#switches.awaitPriStopped(device);
    }
    service.discardPartial(device, reason, pasid);
    yield* service.drain(device, pasid);
    if (pasid === undefined) this.#switches.returnCredits(device);
  }

  /** The device's context table, in memory that the SMMU reaches below `domain`; false without memory. */
  #ensureContexts(device: SmmuDevice, domain: PagedDomain): boolean {
    if (device.contexts !== null) return true;
    const below = domain.parent;
    const arena = below instanceof PagedDomain ? this.#factory.nestedArena(below) : this.#parts.arena;
    try {
      device.contexts = new ContextTable(arena, device.pasidBits, this.#parts.features.twoLevelContextTable);
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
    return true;
  }
}

function names(device: SmmuDevice): object {
  return { device: device.name, streamId: device.streamId };
}
