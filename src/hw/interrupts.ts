/**
 * The interrupt controller as software meets it: shared peripheral interrupts by number, raised by wired lines or by an
 * MSI, a 32-bit write to a doorbell frame in the manner of GICv2m (GICv2m: SETSPI_NS at 0x40).
 */
import { assert } from '../assert.ts';
import type { Clock } from '../sim/clock.ts';
import { type AccessSize, BusStatus, type MmioDevice } from './bus.ts';

/** A wired interrupt output of a device. Level-triggered lines stay up; `pulse` is an edge. */
export interface InterruptLine {
  set(level: boolean): void;
  pulse(): void;
}

/** Offset of the doorbell in the MSI frame. */
export const MSI_DOORBELL = 0x40;
/** Bytes of the MSI frame. */
export const MSI_FRAME_BYTES = 0x1000;

export interface InterruptControllerOptions {
  readonly clock: Clock;
  /** Nanoseconds from assertion to the handler's first instruction. */
  readonly latencyNs: number;
  /** Sees each line change and each MSI; for monitors and protocol servers. */
  readonly observe?: (interrupt: number, level: boolean) => void;
}

/** Runs the handler that software connected to an interrupt number, `latencyNs` after it was raised. */
export class InterruptController {
  readonly #clock: Clock;
  readonly #latencyNs: number;
  readonly #observe: ((interrupt: number, level: boolean) => void) | undefined;
  readonly #handlers = new Map<number, () => void>();
  readonly #levels = new Set<number>();
  #unhandled = 0;

  constructor(options: InterruptControllerOptions) {
    this.#clock = options.clock;
    this.#latencyNs = options.latencyNs;
    this.#observe = options.observe;
  }

  /** Interrupts raised that nobody was connected to. */
  get unhandled(): number {
    return this.#unhandled;
  }

  connect(interrupt: number, handler: () => void): void {
    assert(!this.#handlers.has(interrupt), `interrupt ${interrupt} has a handler`);
    this.#handlers.set(interrupt, handler);
  }

  disconnect(interrupt: number): void {
    this.#handlers.delete(interrupt);
  }

  /** The input pin of `interrupt`. */
  line(interrupt: number): InterruptLine {
    return {
      set: (level) => {
        if (level === this.#levels.has(interrupt)) return;
        if (level) this.#levels.add(interrupt);
        else this.#levels.delete(interrupt);
        this.#observe?.(interrupt, level);
        if (level) this.#raise(interrupt);
      },
      pulse: () => {
        this.#observe?.(interrupt, true);
        this.#observe?.(interrupt, false);
        this.#raise(interrupt);
      },
    };
  }

  /** The doorbell frame to place on the bus: a 32-bit write of an interrupt number at {@link MSI_DOORBELL}. */
  readonly frame: MmioDevice = {
    name: 'msi-frame',
    readRegister: (_offset: number, _size: AccessSize, data: DataView) => {
      data.setUint32(0, 0, true);
      data.setUint32(4, 0, true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (offset === MSI_DOORBELL && size === 4) this.line(data.getUint32(0, true)).pulse();
      return BusStatus.OK;
    },
  };

  #raise(interrupt: number): void {
    const handler = this.#handlers.get(interrupt);
    if (handler === undefined) this.#unhandled += 1;
    else this.#clock.after(this.#latencyNs, () => this.#handlers.get(interrupt)?.());
  }
}
