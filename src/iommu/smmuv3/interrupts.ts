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

/** Where IRQ_CTRL enables a source, and where its message is configured. */
interface SourceRegisters {
  readonly enable: Field;
  readonly address: RegisterLayout & { readonly ADDR_LOW: Field; readonly ADDR_HIGH: Field };
  readonly data: RegisterLayout;
  /** The global error of a message that aborts. */
  readonly abort: Field;
}

const EVENT: SourceRegisters = {
  enable: IRQ_CTRL.EVENTQ_IRQEN,
  address: EVENTQ_IRQ_CFG0,
  data: EVENTQ_IRQ_CFG1,
  abort: GERROR.MSI_EVENTQ_ABT_ERR,
};
const PRIORITY: SourceRegisters = {
  enable: IRQ_CTRL.PRIQ_IRQEN,
  address: PRIQ_IRQ_CFG0,
  data: PRIQ_IRQ_CFG1,
  abort: GERROR.MSI_PRIQ_ABT_ERR,
};
const GLOBAL_ERROR: SourceRegisters = {
  enable: IRQ_CTRL.GERROR_IRQEN,
  address: GERROR_IRQ_CFG0,
  data: GERROR_IRQ_CFG1,
  abort: GERROR.MSI_GERROR_ABT_ERR,
};

/** A source as it is enabled now. Its message cannot change while it is (§6.3.21), so it is read once. */
class Source {
  readonly registers: SourceRegisters;
  readonly line: InterruptLine;
  enabled = false;
  /** 0: no message. */
  target = 0;
  data = 0;
  /** How often it was disabled: what was on its way then does not come any more (§3.18.1). */
  disabled = 0;

  constructor(registers: SourceRegisters, line: InterruptLine) {
    this.registers = registers;
    this.line = line;
  }

  update(file: RegisterFile, messages: boolean): void {
    const { enable, address, data } = this.registers;
    const enabled = enable.of(file.get(IRQ_CTRL)) === 1;
    if (this.enabled && !enabled) this.disabled += 1;
    this.enabled = enabled;
    const high = file.field(address, address.ADDR_HIGH);
    this.target = messages ? high * 2 ** 32 + file.field(address, address.ADDR_LOW) * 4 : 0;
    this.data = file.get(data);
  }
}

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
  readonly #sync: InterruptLine;
  readonly #messages: boolean;
  readonly #addressLimit: number;
  readonly #log: Log;
  readonly #payload = new DataView(new ArrayBuffer(8));
  readonly #event: Source;
  readonly #priority: Source;
  readonly #globalError: Source;
  /** Bits in which GERROR and GERRORN differ. */
  #active = 0;

  constructor(options: InterruptsOptions) {
    this.#clock = options.clock;
    this.#registers = options.registers;
    this.#bus = options.bus;
    const { event, priority, globalError, sync } = options.lines;
    this.#event = new Source(EVENT, event);
    this.#priority = new Source(PRIORITY, priority);
    this.#globalError = new Source(GLOBAL_ERROR, globalError);
    this.#sync = sync;
    this.#messages = options.features.MSI === 1;
    this.#addressLimit = 2 ** outputAddressBits(options.features);
    this.#log = options.log;
  }

  /** Whether global error `error` is active: GERROR and GERRORN differ. */
  active(error: Field): boolean {
    return error.of(this.#active) === 1;
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
    if (error !== GERROR.MSI_GERROR_ABT_ERR) this.#notify(this.#globalError);
  }

  /** The event queue went from empty to non-empty; software may know `delayNs` from now. */
  eventQueue(delayNs: number): void {
    this.#notifyLater(this.#event, delayNs);
  }

  /** The PRI queue's condition (PRIQ_IRQ_CFG2.LO) came true; software may know `delayNs` from now. */
  priorityQueue(delayNs: number): void {
    this.#notifyLater(this.#priority, delayNs);
  }

  /** IRQ_CTRL was written, or everything was reset. */
  enablesChanged(): void {
    for (const source of [this.#event, this.#priority, this.#globalError]) {
      source.update(this.#registers, this.#messages);
    }
  }

  /** A CMD_SYNC with CS=SIG_IRQ completed: wired in any case, and by message if it gave an address (§4.7.3). */
  sync(message: boolean, address: number, data: number): void {
    this.#sync.pulse();
    if (this.#messages && message) this.#send(address, data, GERROR.MSI_CMDQ_ABT_ERR);
  }

  #notifyLater(source: Source, delayNs: number): void {
    // What happens before a source is enabled raises nothing, even if it is enabled before the time is over (§6.3.16).
    if (!source.enabled) return;
    if (delayNs === 0) {
      this.#notify(source);
      return;
    }
    const { disabled } = source;
    this.#clock.after(delayNs, () => {
      if (disabled === source.disabled) this.#notify(source);
    });
  }

  #notify(source: Source): void {
    if (!source.enabled) return;
    source.line.pulse();
    if (source.target !== 0) this.#send(source.target, source.data, source.registers.abort);
  }

  /** A 32-bit write. Addresses are truncated to the OAS (§3.4.3). */
  #send(address: number, data: number, abort: Field): void {
    this.#payload.setUint32(0, data, true);
    const status = this.#bus.writeSized(address % this.#addressLimit, 4, this.#payload);
    if (status !== BusStatus.OK) this.raise(abort);
  }
}
