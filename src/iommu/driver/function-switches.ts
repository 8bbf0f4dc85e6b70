/** ATS, PRI and PASID of functions, switched in the order that keeps each safe (IHI 0070 §3.9.2, §8; PCIe §10.5). */
import { Errno } from '../../errno.ts';
import type { Log } from '../../sim/log.ts';
import type { Steps } from '../../sim/task.ts';
import type { Machinery } from './bring-up.ts';
import type { SmmuDevice } from './device.ts';
import { wantsAts } from './stream-configuration.ts';

/** How long a function is given to have no page request outstanding, and how often it is asked. */
const PRI_STOP_LIMIT_NS = 1_000_000;
const PRI_STOP_POLL_NS = 1_000;

export class FunctionSwitches {
  readonly #parts: Machinery;
  readonly #log: Log;
  readonly #limitCredits: boolean;
  #creditsGranted = 0;

  /** `limitCredits`: credits granted together stay within the PRI queue. */
  constructor(parts: Machinery, log: Log, limitCredits: boolean) {
    this.#parts = parts;
    this.#log = log;
    this.#limitCredits = limitCredits;
  }

  /**
   * Turns on what the device's state asks for, ATS before PRI; configuration structures are ready. -ENOSPC without room
   * for its page requests, -EINVAL when the function refuses.
   */
  start(device: SmmuDevice): number {
    const { control } = device;
    if (control === null) return Errno.OK;
    if (device.attached && device.pasidBits > 0 && !device.atsEnabled) control.enablePasid();
    if (wantsAts(device) && !device.atsEnabled) {
      control.enableAts();
      device.atsEnabled = true;
    }
    if (device.faultMode !== 'pri' || !device.atsEnabled || device.priEnabled) return Errno.OK;
    const credits = this.#grantCredits(device);
    if (credits === 0) return Errno.ENOSPC;
    if (!control.enablePri(credits)) {
      this.returnCredits(device);
      return Errno.EINVAL;
    }
    device.priEnabled = true;
    return Errno.OK;
  }

  /** The reverse of {@link start}, with the ATC emptied once nothing fills it any more. */
  *stop(device: SmmuDevice): Steps {
    this.stopPri(device);
    yield* this.stopAts(device);
    if (device.pasidBits > 0) device.control?.disablePasid();
  }

  stopPri(device: SmmuDevice): void {
    if (!device.priEnabled) return;
    device.control?.disablePri();
    device.priEnabled = false;
  }

  *stopAts(device: SmmuDevice): Steps {
    if (!device.atsEnabled) return;
    device.control?.disableAts();
    yield* this.#parts.invalidation.invalidateAtc(device);
    device.atsEnabled = false;
  }

  /** Waits until a function whose PRI was turned off has no request outstanding, on the link or in the queue. */
  *awaitPriStopped(device: SmmuDevice): Steps {
    const { control } = device;
    const { pageRequests, service } = this.#parts;
    if (control === null || pageRequests === null || device.credits === 0) return;
    for (let waitedNs = 0; !control.priStopped(); waitedNs += PRI_STOP_POLL_NS) {
      if (waitedNs >= PRI_STOP_LIMIT_NS) {
        this.#log.warn({ event: 'smmu.priNotStopped', device: device.name, streamId: device.streamId });
        return;
      }
      yield PRI_STOP_POLL_NS;
      yield* pageRequests.drain();
      yield* service.drain(device);
    }
  }

  /** After a function-level reset: everything is off, and nothing is outstanding. */
  forget(device: SmmuDevice): void {
    device.atsEnabled = false;
    device.priEnabled = false;
    this.returnCredits(device);
  }

  returnCredits(device: SmmuDevice): void {
    this.#creditsGranted -= device.credits;
    device.credits = 0;
  }

  #grantCredits(device: SmmuDevice): number {
    const room = (this.#parts.pageRequests?.entries ?? 0) - this.#creditsGranted;
    const credits = this.#limitCredits ? Math.min(device.pageRequests, Math.max(0, room)) : device.pageRequests;
    this.#creditsGranted += credits;
    device.credits = credits;
    return credits;
  }
}
