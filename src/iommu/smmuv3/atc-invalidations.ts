/** ATS invalidations under way (IHI 0070 §3.9.1.4, §4.5.1): CMD_SYNC waits for them, and learns of the lost ones. */
import type { Fabric, InvalidateRequest } from '../../hw/pcie/tlp.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Log } from '../../sim/log.ts';

export interface AtcInvalidationsOptions {
  readonly clock: Clock;
  readonly fabric: Fabric;
  readonly log: Log;
  /** How long an endpoint may take; PCIe allows it a minute (PCIe §10.3.1). */
  readonly timeoutNs: number;
  /** Called whenever the last one outstanding ended. */
  readonly settled: () => void;
}

export class AtcInvalidations {
  readonly #options: AtcInvalidationsOptions;
  #outstanding = 0;
  #lost = false;
  /** Completions that belong to before a reset count for nothing. */
  #generation = 0;

  constructor(options: AtcInvalidationsOptions) {
    this.#options = options;
  }

  reset(): void {
    this.#outstanding = 0;
    this.#lost = false;
    this.#generation += 1;
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  /** Whether one timed out since this was last asked. */
  takeLost(): boolean {
    const lost = this.#lost;
    this.#lost = false;
    return lost;
  }

  /** Sends an invalidate request. Where no function answers, the fabric's UR completes it at once (§3.9.1.5). */
  send(streamId: number, request: InvalidateRequest): void {
    const { clock, fabric, log, timeoutNs } = this.#options;
    const generation = this.#generation;
    let open = true;
    this.#outstanding += 1;
    const close = (): boolean => {
      if (!open) return false;
      open = false;
      if (generation !== this.#generation) return false;
      this.#outstanding -= 1;
      return true;
    };
    const timer = clock.after(timeoutNs, () => {
      if (!close()) return;
      this.#lost = true;
      log.warn({ event: 'smmuv3.atcTimeout', streamId, page: request.page });
      this.#settle();
    });
    const completed = (): void => {
      timer.cancel();
      if (close()) this.#settle();
    };
    if (!fabric.invalidate(streamId, request, completed)) completed();
  }

  #settle(): void {
    if (this.#outstanding === 0) this.#options.settled();
  }
}
