/** A bus that shows each block transfer's pages to an observer: how the platform sees where DMA goes. */
import { Bus, type BusStatus } from '../hw/bus.ts';
import type { Memory } from '../hw/memory.ts';

/** `page` is a physical address divided by 4096. */
export type PageObserver = (page: number, write: boolean) => void;

export class ObservedBus extends Bus {
  readonly #observe: PageObserver;

  constructor(memory: Memory, observe: PageObserver) {
    super(memory);
    this.#observe = observe;
  }

  override read(address: number, target: Uint8Array, at: number, length: number): BusStatus {
    this.#show(address, length, false);
    return super.read(address, target, at, length);
  }

  override write(address: number, source: Uint8Array, at: number, length: number): BusStatus {
    this.#show(address, length, true);
    return super.write(address, source, at, length);
  }

  #show(address: number, length: number, write: boolean): void {
    const last = Math.floor((address + length - 1) / 4096);
    for (let page = Math.floor(address / 4096); page <= last; page++) this.#observe(page, write);
  }
}
