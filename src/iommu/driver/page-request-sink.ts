/** What becomes of PRI queue records (IHI 0070 §8). */
import type { Log } from '../../sim/log.ts';
import type { Steps } from '../../sim/task.ts';
import { PageRequestRecord } from '../spec/page-requests.layout.ts';
import type { DriverCounters } from './counters.ts';
import type { SmmuDevice } from './device.ts';
import { PendingGroup } from './fault-groups.ts';
import type { FaultService } from './fault-service.ts';
import type { RecordSink } from './record-queue.ts';

/** A whole group of a requester that no device is known for. */
interface UnknownGroup {
  readonly streamId: number;
  readonly pasid: number;
  readonly groupIndex: number;
}

export interface PageRequestSinkOptions {
  readonly devices: ReadonlyMap<number, SmmuDevice>;
  readonly service: FaultService;
  readonly counters: DriverCounters;
  readonly log: Log;
}

export class PageRequestSink implements RecordSink<PendingGroup | UnknownGroup> {
  readonly #devices: ReadonlyMap<number, SmmuDevice>;
  readonly #service: FaultService;
  readonly #counters: DriverCounters;
  readonly #log: Log;
  readonly #debug: boolean;

  constructor(options: PageRequestSinkOptions) {
    this.#devices = options.devices;
    this.#service = options.service;
    this.#counters = options.counters;
    this.#log = options.log;
    this.#debug = options.log.isLevelEnabled('debug');
  }

  take(view: DataView, at: number, notBeforeNs: number): PendingGroup | UnknownGroup | null {
    const streamId = PageRequestRecord.StreamID.get(view, at);
    const pasid = PageRequestRecord.SSV.get(view, at) === 1 ? PageRequestRecord.SubstreamID.get(view, at) : -1;
    const page = PageRequestRecord.PageAddress.get(view, at);
    const groupIndex = PageRequestRecord.PRGIndex.get(view, at);
    const read = PageRequestRecord.R.get(view, at) === 1;
    const write = PageRequestRecord.W.get(view, at) === 1;
    const last = PageRequestRecord.Last.get(view, at) === 1;
    this.#counters.pageRequests += 1;
    if (this.#debug) {
      this.#log.debug({ event: 'smmu.pageRequest', streamId, pasid, page, index: groupIndex, read, write, last });
    }
    const device = this.#devices.get(streamId);
    if (device === undefined) {
      this.#log.warn({ event: 'smmu.unknownRequest', streamId, pasid, page, index: groupIndex });
      return last && !isStopMarker(pasid, read, write) ? { streamId, pasid, groupIndex } : null;
    }
    if (last && isStopMarker(pasid, read, write)) {
      // No request of the PASID comes after it: a group that is not whole now never will be.
      this.#counters.stopMarkers += 1;
      this.#service.discardPartial(device, 'stop marker', pasid);
      return null;
    }
    const execute = PageRequestRecord.X.get(view, at) === 1;
    const privileged = PageRequestRecord.Priv.get(view, at) === 1;
    const request = { page, read, write, execute, privileged, pasid, groupIndex, last, notBeforeNs };
    return this.#service.collect(device, request);
  }

  serve(work: PendingGroup | UnknownGroup): Steps {
    if (work instanceof PendingGroup) return this.#service.deliver(work);
    return this.#service.reject(work.streamId, work.pasid, work.groupIndex);
  }

  /** The last requests of groups were lost and answered by the SMMU: their other requests mean nothing (§8.1.1). */
  overflowed(): void {
    this.#counters.pageRequestQueueOverflows += 1;
    this.#log.warn({ event: 'smmu.overflow', queue: 'pri' });
    for (const device of this.#devices.values()) this.#service.discardPartial(device, 'overflow');
  }

  /** Requests were lost that the SMMU answered or nobody did, and until GERROR is acknowledged it answers all (§8.2). */
  aborted(): void {
    for (const device of this.#devices.values()) this.#service.discardPartial(device, 'queue abort');
  }
}

/** L, W, R = 0b100 with a PASID (§8): the caller has looked at L. */
function isStopMarker(pasid: number, read: boolean, write: boolean): boolean {
  return pasid >= 0 && !read && !write;
}
