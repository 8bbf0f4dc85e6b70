/** Sends message signalled interrupts: 32-bit memory writes without a PASID (PCIe Base §6.1.4). */
import type { PcieFunction } from '../function.ts';
import { AddressType, Completion, type MemoryRequest, NO_PASID } from '../tlp.ts';

/** One message on its way. It is used again when its write completed: a write may stall at the translation agent. */
class Message implements MemoryRequest {
  requesterId = 0;
  readonly pasid = NO_PASID;
  readonly execute = false;
  readonly privileged = false;
  readonly addressType = AddressType.UNTRANSLATED;
  readonly write = true;
  readonly length = 4;
  readonly dataOffset = 0;
  readonly data = new Uint8Array(4);
  page = 0;
  offset = 0;
  latencyNs = 0;
  readonly #ended: (message: Message, status: Completion) => void;

  constructor(ended: (message: Message, status: Completion) => void) {
    this.#ended = ended;
  }

  completed(status: Completion): void {
    this.#ended(this, status);
  }
}

export class MessageWriter {
  readonly #function: PcieFunction;
  readonly #free: Message[] = [];
  #lost = 0;
  #waiting = 0;

  constructor(target: PcieFunction) {
    this.#function = target;
  }

  /** Messages that were refused on their way. */
  get lost(): number {
    return this.#lost;
  }

  /** Messages that wait at the translation agent. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Writes `value` to the address; `addressLow` is a multiple of 4. */
  send(addressLow: number, addressHigh: number, value: number): void {
    const { link } = this.#function;
    const message = this.#free.pop() ?? new Message((sent, status) => this.#ended(sent, status, true));
    message.requesterId = link.requesterId;
    message.page = addressHigh * 2 ** 20 + (addressLow >>> 12);
    message.offset = addressLow & 0xfff;
    message.latencyNs = 0;
    for (let byte = 0; byte < 4; byte++) message.data[byte] = value >>> (8 * byte);
    const status = link.upstream.memory(message);
    if (status === Completion.PENDING) this.#waiting += 1;
    else this.#ended(message, status, false);
  }

  #ended(message: Message, status: Completion, waited: boolean): void {
    if (waited) this.#waiting -= 1;
    if (status !== Completion.SUCCESS) {
      this.#lost += 1;
      this.#function.noteAbort(status);
    }
    this.#free.push(message);
  }
}
