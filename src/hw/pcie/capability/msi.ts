/** MSI with one vector and a 64-bit address (PCIe Base §7.7.1). */
import { MsiCapability } from '../capabilities.layout.ts';
import { CapabilityId } from '../config.layout.ts';
import type { PcieFunction } from '../function.ts';
import { MessageWriter } from './message-writer.ts';

export class Msi {
  readonly #function: PcieFunction;
  readonly #at: number;
  readonly #writer: MessageWriter;

  constructor(target: PcieFunction) {
    this.#function = target;
    this.#writer = new MessageWriter(target);
    this.#at = target.config.addCapability(CapabilityId.MSI, MsiCapability.$.byteLength);
    target.config.declare(MsiCapability, this.#at, {
      values: { AddressCapable64: 1 },
      writable: ['Enable', 'MultipleMessageEnable', 'MessageAddress', 'MessageUpperAddress', 'MessageData'],
    });
  }

  get enabled(): boolean {
    return this.#function.config.get(MsiCapability.Enable, this.#at) === 1;
  }

  /** Sends the message when MSI is enabled: whether it did. */
  raise(): boolean {
    if (!this.enabled) return false;
    const { config } = this.#function;
    const low = (config.get(MsiCapability.MessageAddress, this.#at) << 2) >>> 0;
    const high = config.get(MsiCapability.MessageUpperAddress, this.#at);
    this.#writer.send(low, high, config.get(MsiCapability.MessageData, this.#at));
    return true;
  }
}
