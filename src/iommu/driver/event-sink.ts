/** What becomes of event queue records (IHI 0070 §7.3). */
import type { Log } from '../../sim/log.ts';
import type { Steps } from '../../sim/task.ts';
import { EventRecord, EventType, FaultClass } from '../spec/events.layout.ts';
import type { DriverCounters } from './counters.ts';
import type { SmmuDevice } from './device.ts';
import type { SmmuDomain } from './domain.ts';
import type { PendingGroup } from './fault-groups.ts';
import type { FaultService } from './fault-service.ts';
import type { RecordSink } from './record-queue.ts';

const EVENT_NAMES = new Map<number, string>(Object.entries(EventType).map(([name, number]) => [number, name]));
/** Events that a stalled access may have (§3.12). */
const FAULTS = new Set<number>([
  EventType.F_TRANSLATION,
  EventType.F_ADDR_SIZE,
  EventType.F_ACCESS,
  EventType.F_PERMISSION,
]);
/** Events without an input address. */
const WITHOUT_ADDRESS = new Set<number>([
  EventType.C_BAD_STREAMID,
  EventType.F_STE_FETCH,
  EventType.C_BAD_STE,
  EventType.F_BAD_ATS_TREQ,
  EventType.F_STREAM_DISABLED,
  EventType.C_BAD_SUBSTREAMID,
  EventType.F_CD_FETCH,
  EventType.C_BAD_CD,
  EventType.F_CFG_CONFLICT,
  EventType.F_VMS_FETCH,
]);

export interface EventSinkOptions {
  readonly devices: ReadonlyMap<number, SmmuDevice>;
  readonly service: FaultService;
  readonly counters: DriverCounters;
  readonly log: Log;
  /** Ends every access that is stalled now, with a record or without. */
  readonly endStalls: () => void;
}

export class EventSink implements RecordSink<PendingGroup> {
  readonly #devices: ReadonlyMap<number, SmmuDevice>;
  readonly #service: FaultService;
  readonly #counters: DriverCounters;
  readonly #log: Log;
  readonly #debug: boolean;
  readonly #endStalls: () => void;

  constructor(options: EventSinkOptions) {
    this.#devices = options.devices;
    this.#service = options.service;
    this.#counters = options.counters;
    this.#log = options.log;
    this.#endStalls = options.endStalls;
    this.#debug = options.log.isLevelEnabled('debug');
  }

  take(view: DataView, at: number, notBeforeNs: number): PendingGroup | null {
    const type = EventRecord.EventNumber.get(view, at);
    const streamId = EventRecord.StreamID.get(view, at);
    const device = this.#devices.get(streamId);
    const stalled = FAULTS.has(type) && EventRecord.Stall.get(view, at) === 1;
    if (!stalled || device === undefined) {
      this.#report(type, streamId, device ?? null, view, at);
      return null;
    }
    this.#counters.stalls += 1;
    // It ends with all the others of its stream, and its tag may be another's by the time of an answer.
    if (device.endingStalls) return null;
    const pasid = pasidOf(view, at);
    const stag = EventRecord.STAG.get(view, at);
    const stage = EventRecord.S2.get(view, at) === 1 ? 2 : 1;
    const nested = stage === 2 && device.domainOf(pasid)?.stage === 1;
    // At stage 2 below a stage 1 the domain that must act maps IPAs; there, tables are only read (§7.3: CLASS).
    const page = nested ? EventRecord.IPA.get(view, at) : EventRecord.INPUT_PAGE.get(view, at);
    const ownAccess = EventRecord.CLASS.get(view, at) === FaultClass.IN;
    const read = !ownAccess || EventRecord.RnW.get(view, at) === 1;
    const fault = {
      page,
      read,
      write: !read,
      execute: ownAccess && EventRecord.InD.get(view, at) === 1,
      privileged: EventRecord.PnU.get(view, at) === 1,
    };
    if (this.#debug) {
      const name = EVENT_NAMES.get(type);
      this.#log.debug({ event: 'smmu.stall', type: name, streamId, pasid, stag, stage, page, read, write: !read });
    }
    return this.#service.stalled(device, stag, pasid, fault, notBeforeNs, stage);
  }

  serve(work: PendingGroup): Steps {
    return this.#service.deliver(work);
  }

  /** Events were lost. Those of stalled accesses never are: they come when there is room (§7.4). */
  overflowed(): void {
    this.#counters.eventQueueOverflows += 1;
    this.#log.warn({ event: 'smmu.overflow', queue: 'event' });
  }

  /** Among the events that were lost may be those of stalled accesses, which nobody would answer (§7.2.2). */
  aborted(): void {
    this.#endStalls();
  }

  /** Tells of an event that no answer repairs. */
  #report(type: number, streamId: number, device: SmmuDevice | null, view: DataView, at: number): void {
    const name = EVENT_NAMES.get(type) ?? `0x${type.toString(16)}`;
    if (type === EventType.E_PAGE_REQUEST) {
      // A hint that needs no response (§3.12.4.1).
      this.#log.debug({ event: 'smmu.event', type: name, streamId });
      return;
    }
    this.#counters.unrecoverable += 1;
    const pasid =
      type === EventType.F_STREAM_DISABLED || type === EventType.F_TRANSL_FORBIDDEN ? -1 : pasidOf(view, at);
    const hasAddress = !WITHOUT_ADDRESS.has(type);
    const staged = FAULTS.has(type) || type === EventType.F_WALK_EABT || type === EventType.F_TLB_CONFLICT;
    const stage = !staged ? 0 : EventRecord.S2.get(view, at) === 1 ? 2 : 1;
    const page = hasAddress ? EventRecord.INPUT_PAGE.get(view, at) : 0;
    const ipa = stage === 2 && type !== EventType.F_WALK_EABT ? EventRecord.IPA.get(view, at) * 4096 : 0;
    const write = hasAddress && EventRecord.RnW.get(view, at) === 0;
    this.#log.warn({ event: 'smmu.event', type: name, streamId, pasid, stage, page, ipa, write });
    const own = device?.domainOf(pasid) ?? null;
    const domain: SmmuDomain | null = stage === 2 && own?.stage === 1 ? own.parent : own;
    domain?.handler?.unrecoverable?.({ device, domain, pasid, event: name, stage, page, ipa, write });
  }
}

function pasidOf(view: DataView, at: number): number {
  return EventRecord.SSV.get(view, at) === 1 ? EventRecord.SubstreamID.get(view, at) : -1;
}
