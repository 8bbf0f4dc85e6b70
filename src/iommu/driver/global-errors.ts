/** Global errors: what the SMMU cannot report in memory (IHI 0070 §7.5). */
import type { Mmio } from '../../hw/bus.ts';
import type { Log } from '../../sim/log.ts';
import { CommandError } from '../spec/commands.layout.ts';
import { GERROR, GERRORN } from '../spec/registers.layout.ts';
import type { CommandFailure } from './command-queue.ts';
import type { DriverCounters } from './counters.ts';

export interface GlobalErrorsOptions {
  readonly mmio: Mmio;
  readonly counters: DriverCounters;
  readonly log: Log;
  readonly recoverCommands: () => CommandFailure;
  /** PRI records may have been lost (§8.2). */
  readonly pageRequestsLost: () => void;
}

const ERROR_NAMES = new Map<number, string>(Object.entries(CommandError).map(([name, code]) => [code, name]));

export class GlobalErrors {
  readonly #options: GlobalErrorsOptions;
  #failed = false;

  constructor(options: GlobalErrorsOptions) {
    this.#options = options;
  }

  /** Service failure: the SMMU does not work any more and everything aborts (§12.3). */
  get failed(): boolean {
    return this.#failed;
  }

  /** The interrupt handler; whoever waits for commands calls it too. Nothing in it waits. */
  readonly check = (): void => {
    const { mmio, counters, log, recoverCommands, pageRequestsLost } = this.#options;
    const raised = mmio.read32(GERROR.offset);
    const active = (raised ^ mmio.read32(GERRORN.offset)) >>> 0;
    if (active === 0) return;
    counters.globalErrors += 1;
    for (const field of GERROR.$.fields) {
      if (field.of(active) === 0) continue;
      if (field === GERROR.CMDQ_ERR) {
        const { error, opcode } = recoverCommands();
        counters.commandErrors += 1;
        log.error({ event: 'smmu.commandError', error: ERROR_NAMES.get(error) ?? `${error}`, opcode });
        continue;
      }
      log.error({ event: 'smmu.globalError', error: field.name });
      if (field === GERROR.PRIQ_ABT_ERR) pageRequestsLost();
      if (field === GERROR.SFM_ERR) this.#failed = true;
    }
    // Acknowledged last: the command queue goes on at once (§7.1).
    mmio.write32(GERRORN.offset, raised);
  };
}
