/**
 * Device fault reporting as patch 1 of the series has it: one handler for each device, flags that choose the level it wants
 * to hear of, and a call to change the flags. Faults come to the handler page by page, under the device's parameter lock.
 */
import { Errno } from '../../../src/errno.ts';
import {
  type FaultGroup,
  type FaultHandler,
  FaultResponse,
  type Iommu,
  type IommuDevice,
} from '../../../src/iommu/core.ts';
import { Mutex } from '../../../src/sim/locks.ts';
import type { Scheduler, Steps } from '../../../src/sim/task.ts';
import { follow } from './lifetime.ts';

/** FAULT_REPORT_*: a flat table, or which level of a nested one. */
export const Report = { FLAT: 1, NESTED_L1: 2, NESTED_L2: 4 } as const;

export interface ReportedFault {
  readonly type: 'page request' | 'unrecoverable' | 'something newer';
  readonly level2: boolean;
  readonly page: number;
  readonly read: boolean;
  readonly write: boolean;
  /** -1: none. */
  readonly pasid: number;
  readonly index: number;
  /** The last page of its group. */
  readonly last: boolean;
}

/** What a handler says to the device. The series never fills in a PASID. */
export interface PageResponse {
  readonly index: number;
  readonly code: FaultResponse;
  readonly pasid?: number;
}

export type ReportedFaultHandler = (fault: ReportedFault, device: IommuDevice) => Steps<number>;

interface HandlerParameter {
  readonly handler: ReportedFaultHandler;
  flags: number;
  /** Groups whose last page was reported, until they are answered. */
  readonly pending: FaultGroup[];
}

class DeviceParameter {
  readonly lock: Mutex;
  handler: HandlerParameter | null = null;
  /** IOMMU_DEV_FEAT_IOPF: a switch of the device, which nobody owns. */
  feature = false;

  constructor(scheduler: Scheduler, device: IommuDevice) {
    this.lock = new Mutex(scheduler, `fault parameter of ${device.name}`);
  }
}

export class FaultReporting implements FaultHandler {
  readonly name = 'per-device fault reporting';
  /** WARN_ON and reads of what was never written. */
  readonly warnings: string[] = [];
  readonly #scheduler: Scheduler;
  readonly #iommu: Iommu;
  readonly #devices = new Map<IommuDevice, DeviceParameter>();

  constructor(scheduler: Scheduler, iommu: Iommu) {
    this.#scheduler = scheduler;
    this.#iommu = iommu;
  }

  parameterOf(device: IommuDevice): DeviceParameter {
    let parameter = this.#devices.get(device);
    if (parameter === undefined) {
      parameter = new DeviceParameter(this.#scheduler, device);
      this.#devices.set(device, parameter);
    }
    return parameter;
  }

  *enableFeature(device: IommuDevice, mode: 'stall' | 'pri'): Steps<number> {
    const parameter = this.parameterOf(device);
    if (parameter.feature) return Errno.EBUSY;
    const status = yield* this.#iommu.enableFaults(device, this, mode);
    parameter.feature = status === Errno.OK;
    return status;
  }

  /** Whoever calls. */
  *disableFeature(device: IommuDevice): Steps<number> {
    const parameter = this.parameterOf(device);
    if (!parameter.feature) return Errno.EINVAL;
    // The driver of the series' time refuses nothing and waits for nothing here.
    parameter.feature = false;
    return Errno.OK;
  }

  *register(device: IommuDevice, handler: ReportedFaultHandler, flags: number): Steps<number> {
    if ((flags & Report.FLAT) !== 0 && (flags & (Report.NESTED_L1 | Report.NESTED_L2)) !== 0) return Errno.EINVAL;
    const parameter = this.parameterOf(device);
    yield* parameter.lock.lock();
    const taken = parameter.handler !== null;
    if (!taken) parameter.handler = { handler, flags, pending: [] };
    parameter.lock.unlock();
    return taken ? Errno.EBUSY : Errno.OK;
  }

  /** Fails while a fault waits for its answer. */
  *unregister(device: IommuDevice): Steps<number> {
    const parameter = this.parameterOf(device);
    yield* parameter.lock.lock();
    const busy = (parameter.handler?.pending.length ?? 0) > 0;
    if (!busy) parameter.handler = null;
    parameter.lock.unlock();
    return busy ? Errno.EBUSY : Errno.OK;
  }

  /** Changes the flags of an installed handler; its test for one is the wrong way round. */
  *update(device: IommuDevice, mask: number, set: number): Steps<number> {
    const parameter = this.parameterOf(device);
    yield* parameter.lock.lock();
    if (parameter.handler !== null) {
      parameter.lock.unlock();
      return Errno.EINVAL;
    }
    const installed = follow<HandlerParameter>(parameter.handler, 'fault_param');
    installed.flags = (installed.flags & mask) | set;
    parameter.lock.unlock();
    return Errno.OK;
  }

  /** Gives one fault to the device's handler. */
  *report(device: IommuDevice, fault: ReportedFault, group: FaultGroup | null): Steps<number> {
    const parameter = this.parameterOf(device);
    yield* parameter.lock.lock();
    const installed = parameter.handler;
    if (installed === null) {
      parameter.lock.unlock();
      return Errno.EINVAL;
    }
    if ((installed.flags & Report.FLAT) === 0) {
      let level2: boolean | undefined;
      if (fault.type === 'page request') level2 = fault.level2;
      if (fault.type === 'unrecoverable') level2 = fault.level2;
      if (level2 === undefined) this.warnings.push('the level is read and was never written');
      // Both ways out leave the parameter locked.
      if (level2 === true && (installed.flags & Report.NESTED_L2) === 0) return Errno.EOPNOTSUPP;
      if (level2 !== true && (installed.flags & Report.NESTED_L1) === 0) return Errno.EOPNOTSUPP;
    }
    const waits = fault.type === 'page request' && fault.last && group !== null;
    if (waits) installed.pending.push(group);
    const status = yield* installed.handler(fault, device);
    if (status !== Errno.OK && waits) remove(installed.pending, group);
    parameter.lock.unlock();
    return status;
  }

  /** Answers a group whose last page was reported; what does not fit a pending one is refused, and the device hears nothing. */
  *respond(device: IommuDevice, response: PageResponse): Steps<number> {
    const pending = this.parameterOf(device).handler?.pending ?? [];
    for (const group of pending) {
      if (group.index !== response.index) continue;
      // A function that wants the PASID of its request on the response (PCIe §10.5.2.2) gets its answer by that.
      const needsPasid = group.origin === 'pri' && group.pasid >= 0;
      if (needsPasid && response.pasid !== group.pasid) continue;
      remove(pending, group);
      yield* this.#iommu.respond(group, response.code);
      return Errno.OK;
    }
    return Errno.EINVAL;
  }

  /** The driver's end: a group comes apart into its pages. */
  *handle(group: FaultGroup): Steps {
    for (const [position, page] of group.pages.entries()) {
      const last = position === group.pages.length - 1;
      const fault: ReportedFault = {
        type: 'page request',
        level2: false,
        page: page.page,
        read: page.read,
        write: page.write,
        pasid: group.pasid,
        index: group.index,
        last,
      };
      const status = yield* this.report(group.device, fault, group);
      // For a stalled access the SMMU's driver has a way out when nobody cared. For page requests nothing was written.
      if (status !== Errno.OK && group.origin === 'stall') yield* this.#iommu.respond(group, FaultResponse.FAILURE);
    }
  }
}

function remove(groups: FaultGroup[], group: FaultGroup): void {
  const at = groups.indexOf(group);
  if (at >= 0) groups.splice(at, 1);
}
