/** Global errors (IHI 0070 §7.5) and interrupts, wired and by message (§3.18). */
import { type Bus, BusStatus } from '../../hw/bus.ts';
import type { InterruptLine } from '../../hw/interrupts.ts';
import type { Field } from '../../layout/field.ts';
import type { RegisterLayout } from '../../layout/register.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Log } from '../../sim/log.ts';
import {
  EVENTQ_IRQ_CFG0,
  EVENTQ_IRQ_CFG1,
  GERROR,
  GERROR_IRQ_CFG0,
  GERROR_IRQ_CFG1,
  GERRORN,
  IRQ_CTRL,
  PRIQ_IRQ_CFG0,
  PRIQ_IRQ_CFG1,
} from '../spec/registers.layout.ts';
import { type Features, outputAddressBits } from './features.ts';
import type { RegisterFile } from './register-file.ts';

/** The wired outputs, one per source (§3.18.2). */
export interface InterruptLines {
  readonly event: InterruptLine;
  readonly priority: InterruptLine;
  readonly sync: InterruptLine;
  readonly globalError: InterruptLine;
  /** Of the performance monitor. */
  readonly monitor?: InterruptLine;
}

/** A source that IRQ_CTRL enables. */
interface Source {
  readonly enable: Field;
  readonly address: RegisterLayout & { readonly ADDR_LOW: Field; readonly ADDR_HIGH: Field };
  readonly data: RegisterLayout;
  readonly abort: Field;
  readonly line: 'event' | 'priority' | 'globalError';
}

const EVENT: Source = {
  enable: IRQ_CTRL.EVENTQ_IRQEN,
  address: EVENTQ_IRQ_CFG0,
  data: EVENTQ_IRQ_CFG1,
  abort: GERROR.MSI_EVENTQ_ABT_ERR,
  line: 'event',
};
const PRIORITY: Source = {
  enable: IRQ_CTRL.PRIQ_IRQEN,
  address: PRIQ_IRQ_CFG0,
  data: PRIQ_IRQ_CFG1,
  abort: GERROR.MSI_PRIQ_ABT_ERR,
  line: 'priority',
};
const GLOBAL_ERROR: Source = {
  enable: IRQ_CTRL.GERROR_IRQEN,
  address: GERROR_IRQ_CFG0,
  data: GERROR_IRQ_CFG1,
  abort: GERROR.MSI_GERROR_ABT_ERR,
  line: 'globalError',
};

export interface InterruptsOptions {
  readonly clock: Clock;
  readonly registers: RegisterFile;
  readonly bus: Bus;
  readonly lines: InterruptLines;
  readonly features: Features;
  readonly log: Log;
}

export class Interrupts {
  readonly #clock: Clock;
  readonly #registers: RegisterFile;
  readonly #bus: Bus;
  readonly #lines: InterruptLines;
  readonly #messages: boolean;
  readonly #addressLimit: number;
  readonly #log: Log;
  readonly #payload = new DataView(new ArrayBuffer(8));
  /** How often each source was disabled. */
  readonly #disabled = { event: 0, priority: 0, globalError: 0 };
  /** Bits in which GERROR and GERRORN differ. */
  #active = 0;

  constructor(options: InterruptsOptions) {
    this.#clock = options.clock;
    this.#registers = options.registers;
    this.#bus = options.bus;
    this.#lines = options.lines;
    this.#messages = options.features.MSI === 1;
    this.#addressLimit = 2 ** outputAddressBits(options.features);
    this.#log = options.log;
  }

  /** Whether global error `error` is active: GERROR and GERRORN differ. */
  active(error: Field): boolean {
    return error.of(this.#active) === 1;
  }

  /** After a reset nothing that was on its way comes. */
  reset(): void {
    this.enablesChanged(0, IRQ_CTRL.EVENTQ_IRQEN.mask32 | IRQ_CTRL.PRIQ_IRQEN.mask32);
  }

  /** Compares GERROR and GERRORN afresh: call when software wrote GERRORN. */
  refresh(): void {
    this.#active = (this.#registers.get(GERROR) ^ this.#registers.get(GERRORN)) >>> 0;
  }

  /** Activates a global error unless it is active already, and tells software (§7.5). */
  raise(error: Field): void {
    if (this.active(error)) return;
    const registers = this.#registers;
    registers.set(GERROR, (registers.get(GERROR) ^ error.mask32) >>> 0);
    this.refresh();
    this.#log.warn({ event: 'smmuv3.gerror', error: error.name });
    // A failed GERROR message is not told by another one (§7.5.1).
    if (error !== GERROR.MSI_GERROR_ABT_ERR) this.#notify(GLOBAL_ERROR);
  }

  /** The event queue went from empty to non-empty; software may know `delayNs` from now. */
  eventQueue(delayNs: number): void {
    this.#notifyLater(EVENT, delayNs);
  }

  /** The PRI queue's condition (PRIQ_IRQ_CFG2.LO) came true; software may know `delayNs` from now. */
  priorityQueue(delayNs: number): void {
    this.#notifyLater(PRIORITY, delayNs);
  }

  /** IRQ_CTRL was written: what was on its way when its source was disabled does not come any more (§3.18.1). */
  enablesChanged(next: number, previous: number): void {
    for (const source of [EVENT, PRIORITY]) {
      if (source.enable.falls(previous, next)) this.#disabled[source.line] += 1;
    }
  }

  /** A CMD_SYNC with CS=SIG_IRQ completed: wired in any case, and by message if it gave an address (§4.7.3). */
  sync(message: boolean, address: number, data: number): void {
    this.#lines.sync.pulse();
    if (this.#messages && message) this.#send(address, data, GERROR.MSI_CMDQ_ABT_ERR);
  }

  #notifyLater(source: Source, delayNs: number): void {
    if (delayNs === 0) {
      this.#notify(source);
      return;
    }
    const times = this.#disabled[source.line];
    this.#clock.after(delayNs, () => {
      if (times === this.#disabled[source.line]) this.#notify(source);
    });
  }

  #notify(source: Source): void {
    const registers = this.#registers;
    if (source.enable.of(registers.get(IRQ_CTRL)) === 0) return;
    this.#lines[source.line].pulse();
    if (!this.#messages) return;
    const { address } = source;
    const target =
      registers.field(address, address.ADDR_HIGH) * 2 ** 32 + registers.field(address, address.ADDR_LOW) * 4;
    if (target !== 0) this.#send(target, registers.get(source.data), source.abort);
  }

  /** A 32-bit write. Addresses are truncated to the OAS (§3.4.3). */
  #send(address: number, data: number, abort: Field): void {
    this.#payload.setUint32(0, data, true);
    const status = this.#bus.writeSized(address % this.#addressLimit, 4, this.#payload);
    if (status !== BusStatus.OK) this.raise(abort);
  }
}
