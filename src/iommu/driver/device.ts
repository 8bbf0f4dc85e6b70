/** One function behind the SMMU: what it can do, and what it is doing. */

import { Mutex } from '../../sim/locks.ts';
import { type Scheduler, WaitQueue } from '../../sim/task.ts';
import type { IommuDevice } from '../core.ts';
import type { ContextTable } from './context-table.ts';
import type { SmmuDomain } from './domain.ts';
import { type PartialGroup, PendingGroups } from './fault-groups.ts';
import type { PciFunctionControl } from './function-control.ts';
import type { PagedDomain } from './paged-domain.ts';

/** A function as firmware tables and its configuration space describe it. */
export interface DeviceOptions {
  readonly name: string;
  readonly streamId: number;
  /** Its accesses may wait for an answer: what firmware says of non-PCIe devices (`dma-can-stall`). */
  readonly stall?: boolean;
  readonly ats?: boolean;
  readonly pri?: boolean;
  /** Width of its PASIDs; 0 for none. */
  readonly pasidBits?: number;
  /** Page requests it may have outstanding; the driver grants no more than its queue has room for. */
  readonly pageRequests?: number;
  /** PRG Response PASID Required: it expects the PASID of its requests on responses (PCIe §10.5.2.2). */
  readonly responsePasid?: boolean;
  /** Needed for `ats`, `pri` and `pasidBits`. */
  readonly control?: PciFunctionControl;
}

/** Who let a device fault, and how. */
export interface FaultEnabling {
  readonly owner: object;
  readonly mode: 'stall' | 'pri';
}

export class SmmuDevice implements IommuDevice {
  readonly name: string;
  readonly streamId: number;
  readonly stall: boolean;
  readonly ats: boolean;
  readonly pri: boolean;
  readonly pasidBits: number;
  readonly pageRequests: number;
  readonly responsePasid: boolean;
  readonly control: PciFunctionControl | null;
  /** Held by whoever changes what the device is attached to or how it faults. */
  readonly configuration: Mutex;
  /** Domain of accesses without PASID. */
  domain: SmmuDomain | null = null;
  readonly pasids = new Map<number, PagedDomain>();
  contexts: ContextTable | null = null;
  faults: FaultEnabling | null = null;
  /** The stream aborts whatever it is attached to. */
  blocked = false;
  /** The stream aborts while the accesses that are stalled in it are ended. */
  endingStalls = false;
  /** Enabled at the function. */
  atsEnabled = false;
  /** The flush that last emptied its ATC as a whole. */
  atcRound = 0;
  priEnabled = false;
  credits = 0;
  /** Told to fault no more, while what is in flight is still served. */
  quiescing = false;
  /** PASIDs (-1: none) being detached: their groups are answered INVALID. */
  readonly stopping = new Set<number>();
  /** The function is being reset: it waits for no answers. */
  resetting = false;
  /** Incomplete groups by page request group index (a name space of the requester alone), and the requests in them. */
  readonly partial = new Map<number, PartialGroup>();
  partialRequests = 0;
  /** Groups without an answer yet, by origin and index. */
  readonly pending = new PendingGroups();
  /** Answers on their way. */
  answering = 0;
  /** Woken when nothing is pending or on its way any more. */
  readonly quiet: WaitQueue;

  constructor(options: DeviceOptions, supported: SupportedFeatures, scheduler: Scheduler) {
    this.name = options.name;
    this.streamId = options.streamId;
    this.control = options.control ?? null;
    this.stall = supported.stall && (options.stall ?? false);
    this.ats = supported.ats && (options.ats ?? false);
    this.pri = supported.pri && this.ats && (options.pri ?? false);
    this.pasidBits = Math.min(options.pasidBits ?? 0, supported.substreamIdBits);
    this.pageRequests = options.pageRequests ?? 32;
    this.responsePasid = options.responsePasid ?? true;
    this.configuration = new Mutex(scheduler, `configuration of ${options.name}`);
    this.quiet = new WaitQueue(scheduler, `${options.name} to have no fault in flight`);
    if ((this.ats || this.pasidBits > 0) && this.control === null) {
      throw new RangeError(`${options.name}: ATS and PASID need a way to switch them on at the function`);
    }
  }

  /** The domain of a PASID (-1 for none). */
  domainOf(pasid: number): SmmuDomain | null {
    if (pasid < 0 || this.domain?.takesAllPasids === true) return this.domain;
    return this.pasids.get(pasid) ?? null;
  }

  /** How faults are to be taken now; null: they are errors. */
  get faultMode(): 'stall' | 'pri' | null {
    return this.quiescing ? null : (this.faults?.mode ?? null);
  }

  get attached(): boolean {
    return this.domain !== null || this.pasids.size > 0;
  }

  get idle(): boolean {
    return this.pending.size === 0 && this.answering === 0;
  }
}

/** What the SMMU's side can do for a device. */
export interface SupportedFeatures {
  readonly stall: boolean;
  readonly ats: boolean;
  readonly pri: boolean;
  readonly substreamIdBits: number;
}
