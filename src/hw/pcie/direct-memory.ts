/** A translation agent that translates nothing: DMA goes to the bus as it is. For boards without an SMMU. */
import { type Bus, BusStatus } from '../bus.ts';
import {
  AddressType,
  Completion,
  type MemoryRequest,
  type PageRequestMessage,
  type TranslationAgent,
  type TranslationRequest,
} from './tlp.ts';

export class DirectMemory implements TranslationAgent {
  readonly #bus: Bus;
  readonly #memoryAccessNs: number;

  /** `memoryAccessNs`: root complex to memory and back. */
  constructor(bus: Bus, memoryAccessNs = 0) {
    this.#bus = bus;
    this.#memoryAccessNs = memoryAccessNs;
  }

  memory(request: MemoryRequest): Completion {
    // Without an agent nobody gave out translations (PCIe §10.1.1).
    if (request.addressType !== AddressType.UNTRANSLATED) return Completion.UNSUPPORTED_REQUEST;
    request.latencyNs += this.#memoryAccessNs;
    // Physical addresses end at 2^52.
    if (request.page >= 2 ** 40) return Completion.UNSUPPORTED_REQUEST;
    const address = request.page * 4096 + request.offset;
    const { data, dataOffset, length } = request;
    const status = request.write
      ? this.#bus.write(address, data, dataOffset, length)
      : this.#bus.read(address, data, dataOffset, length);
    return status === BusStatus.OK ? Completion.SUCCESS : Completion.UNSUPPORTED_REQUEST;
  }

  translate(request: TranslationRequest): void {
    request.answer.status = Completion.UNSUPPORTED_REQUEST;
  }

  pageRequest(_message: PageRequestMessage): void {}
}
