/** Page Request extended capability (PCIe Base §10.5.2): control, status, capacity and allocation. */
import { PriCapability as Layout } from '../capabilities.layout.ts';
import { ExtendedCapabilityId } from '../config.layout.ts';
import type { ConfigSpace } from '../config-space.ts';

/** What the page request unit does when software writes the control register. */
export interface PriEvents {
  enabled(): void;
  disabled(): void;
  /** Reset was written while the interface is disabled, or is being disabled by the same write. */
  reset(): void;
}

/** The registers; {@link PageRequestUnit} is the interface behind them. */
export class PriCapability {
  /** Software lets the function send page requests. */
  enabled = false;
  /** Most page requests that may be outstanding: what software allocated, never above the capacity. */
  allocation = 0;
  readonly capacity: number;
  readonly #config: ConfigSpace;
  readonly #at: number;
  #events: PriEvents | null = null;

  constructor(config: ConfigSpace, capacity: number) {
    this.#config = config;
    this.capacity = capacity;
    this.#at = config.addExtendedCapability(ExtendedCapabilityId.PRI, 1, Layout.$.byteLength);
    const at = this.#at;
    config.declare(Layout, at, {
      values: { Stopped: 1, ResponsePasidRequired: 1, OutstandingPageRequestCapacity: capacity },
      writable: ['Enable', 'Reset', 'OutstandingPageRequestAllocation'],
      clearable: ['ResponseFailure', 'UnexpectedPageRequestGroupIndex'],
    });
    config.onWrite(at + 4, 2, () => this.#control());
    config.onWrite(at + 12, 4, () => {
      this.allocation = Math.min(config.get(Layout.OutstandingPageRequestAllocation, at), capacity);
    });
  }

  /** Connects the unit behind the registers. */
  connect(events: PriEvents): void {
    this.#events = events;
  }

  get stopped(): boolean {
    return this.#config.get(Layout.Stopped, this.#at) === 1;
  }

  /** Every page request sent before the interface was disabled is finished. */
  set stopped(value: boolean) {
    this.#config.set(Layout.Stopped, this.#at, value ? 1 : 0);
  }

  get responseFailure(): boolean {
    return this.#config.get(Layout.ResponseFailure, this.#at) === 1;
  }

  noteResponseFailure(): void {
    this.#config.set(Layout.ResponseFailure, this.#at, 1);
  }

  get unexpectedIndex(): boolean {
    return this.#config.get(Layout.UnexpectedPageRequestGroupIndex, this.#at) === 1;
  }

  noteUnexpectedIndex(): void {
    this.#config.set(Layout.UnexpectedPageRequestGroupIndex, this.#at, 1);
  }

  #control(): void {
    const config = this.#config;
    const at = this.#at;
    const reset = config.get(Layout.Reset, at) === 1;
    config.set(Layout.Reset, at, 0);
    const enabled = config.get(Layout.Enable, at) === 1;
    if (enabled !== this.enabled) {
      this.enabled = enabled;
      if (enabled) {
        // Enabling clears the status flags (PCIe §10.5.2.2).
        config.set(Layout.Stopped, at, 0);
        config.set(Layout.ResponseFailure, at, 0);
        config.set(Layout.UnexpectedPageRequestGroupIndex, at, 0);
        this.#events?.enabled();
      } else {
        this.#events?.disabled();
      }
    }
    if (reset && !enabled) this.#events?.reset();
  }
}
