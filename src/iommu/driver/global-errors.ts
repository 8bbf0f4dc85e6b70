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
  /** Events may have been lost, those of stalled accesses too (§7.2.2). */
  readonly eventsLost: () => void;
  /** PRI records may have been lost (§8.2). */
  readonly pageRequestsLost: () => void;
  /** A message that was to wake a queue's thread was lost. */
  readonly eventInterruptLost: () => void;
  readonly pageRequestInterruptLost: () => void;
  /** The SMMU is beyond repair: ends all translation and all waiting. */
  readonly giveUp: () => void;
}

const ERROR_NAMES = new Map<number, string>(Object.entries(CommandError).map(([name, code]) => [code, name]));

export class GlobalErrors {
  readonly #options: GlobalErrorsOptions;
  constructor(options: GlobalErrorsOptions) {
    this.#options = options;
  }

  /** The interrupt handler; whoever waits for commands calls it too. Nothing in it waits. */
  readonly check = (): void => {
    const { mmio, counters, log, recoverCommands, giveUp } = this.#options;
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
        if (error === CommandError.ABT) giveUp();
        continue;
      }
      log.error({ event: 'smmu.globalError', error: field.name });
      if (field === GERROR.EVENTQ_ABT_ERR) this.#options.eventsLost();
      if (field === GERROR.PRIQ_ABT_ERR) this.#options.pageRequestsLost();
      if (field === GERROR.MSI_EVENTQ_ABT_ERR) this.#options.eventInterruptLost();
      if (field === GERROR.MSI_PRIQ_ABT_ERR) this.#options.pageRequestInterruptLost();
      // Service failure mode (§12.3): accesses abort and commands are not consumed.
      if (field === GERROR.SFM_ERR) giveUp();
    }
    // Acknowledged last: the command queue goes on at once (§7.1).
    mmio.write32(GERRORN.offset, raised);
  };
}
