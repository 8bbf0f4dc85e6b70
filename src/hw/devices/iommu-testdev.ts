/**
 * iommu-testdev: writes a pattern through the translation agent, then looks for it in memory. Data sheet:
 * iommu-testdev.layout.ts. A write that stalls leaves RESULT at ARMED until it ends.
 */
import { type AccessSize, type Bus, BusStatus, type MmioDevice } from '../bus.ts';
import { PcieFunction } from '../pcie/function.ts';
import { AddressType, Completion, type MemoryRequest, NO_PASID } from '../pcie/tlp.ts';
import * as sheet from './iommu-testdev.layout.ts';

const PAGE_BYTES = 4096;
/** Pages of a 64-bit address space: addresses wrap there. */
const PAGES = 2 ** 52;
const REGISTER_BYTES = sheet.PHYSICAL_HIGH.offset + 4;

/** A page of the pattern and four bytes more, so that it can be cut at any phase. */
const PATTERN = new Uint8Array(PAGE_BYTES + 4);
new DataView(PATTERN.buffer).setUint32(0, sheet.DMA_PATTERN, true);
PATTERN.copyWithin(4, 0, 4);
for (let done = 8; done < PATTERN.length; done *= 2) PATTERN.copyWithin(done, 0, done);

export interface IommuTestDeviceOptions {
  /** Where the device looks for its bytes. */
  readonly bus: Bus;
}

export class IommuTestDevice extends PcieFunction {
  readonly #bus: Bus;
  #registers = new DataView(new ArrayBuffer(REGISTER_BYTES));
  #armed = false;
  /** Bytes of the DMA under way that were sent; -1 while there is none. */
  #sent = -1;
  #failed = false;
  readonly #found = new Uint8Array(PAGE_BYTES);
  readonly #request = {
    requesterId: 0,
    pasid: NO_PASID,
    execute: false,
    privileged: false,
    addressType: AddressType.UNTRANSLATED,
    write: true,
    page: 0,
    offset: 0,
    length: 0,
    data: PATTERN,
    dataOffset: 0,
    latencyNs: 0,
    completed: (status: Completion) => this.#ended(status),
  } satisfies MemoryRequest;

  constructor(options: IommuTestDeviceOptions) {
    super('iommu-testdev', { ...sheet.IOMMU_TESTDEV_ID, subsystemVendor: 0x1af4, subsystem: 0x1100 });
    this.#bus = options.bus;
    this.addBar({ index: 0, bytes: sheet.IOMMU_TESTDEV_BAR0_BYTES, width: 32, device: this.#bar0 });
    this.#restart();
  }

  override reset(): void {
    super.reset();
    this.#restart();
  }

  #restart(): void {
    this.#registers = new DataView(new ArrayBuffer(REGISTER_BYTES));
    this.#armed = false;
    this.#sent = -1;
    this.#result = sheet.DmaResult.IDLE;
    sheet.ATTRIBUTES.SPACE.set(this.#registers, sheet.ATTRIBUTES.offset, sheet.Space.NON_SECURE);
  }

  readonly #bar0: MmioDevice = {
    name: 'iommu-testdev',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size !== 4) return BusStatus.ABORT;
      let value = 0;
      if (offset === sheet.TRIGGER.offset) this.#trigger();
      else if (offset !== sheet.DOORBELL.offset && offset < REGISTER_BYTES)
        value = this.#registers.getUint32(offset, true);
      data.setUint32(0, value, true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size !== 4) return BusStatus.ABORT;
      const value = data.getUint32(0, true);
      if (offset === sheet.DOORBELL.offset) {
        this.#armed = sheet.DOORBELL.ARM.of(value) === 1;
        this.#result = this.#armed ? sheet.DmaResult.ARMED : sheet.DmaResult.IDLE;
      } else if (offset !== sheet.TRIGGER.offset && offset < REGISTER_BYTES) {
        this.#registers.setUint32(offset, value, true);
      }
      return BusStatus.OK;
    },
  };

  set #result(value: number) {
    this.#registers.setUint32(sheet.RESULT.offset, value, true);
  }

  #register(offset: number): number {
    return this.#registers.getUint32(offset, true);
  }

  #trigger(): void {
    // A trigger while the last DMA stalls finds nothing armed.
    if (this.#sent >= 0) return;
    if (!this.#armed) {
      this.#result = sheet.DmaResult.NOT_ARMED;
      return;
    }
    if (this.#register(sheet.LENGTH.offset) === 0) this.#finish(sheet.DmaResult.ZERO_LENGTH);
    else if (!this.#attributesAgree()) this.#finish(sheet.DmaResult.BAD_ATTRIBUTES);
    else {
      this.#sent = 0;
      this.#failed = false;
      this.#send();
    }
  }

  /** SECURE and SPACE say the same of the two spaces that existed before Realm management. */
  #attributesAgree(): boolean {
    const attributes = this.#register(sheet.ATTRIBUTES.offset);
    if (sheet.ATTRIBUTES.SPACE_VALID.of(attributes) === 0) return true;
    const space = sheet.ATTRIBUTES.SPACE.of(attributes);
    const secure = sheet.ATTRIBUTES.SECURE.of(attributes) === 1;
    if (space !== sheet.Space.SECURE && space !== sheet.Space.NON_SECURE) return true;
    return secure === (space === sheet.Space.SECURE);
  }

  /** Sends the rest, page by page; what fails is noted and the rest still goes, as posted writes do. */
  #send(): void {
    const length = this.#register(sheet.LENGTH.offset);
    const low = this.#register(sheet.IOVA_LOW.offset);
    const first = this.#register(sheet.IOVA_HIGH.offset) * 2 ** 20 + (low >>> 12);
    const request = this.#request;
    const { upstream, requesterId } = this.link;
    while (this.#sent < length) {
      const at = (low % PAGE_BYTES) + this.#sent;
      request.requesterId = requesterId;
      request.page = (first + Math.floor(at / PAGE_BYTES)) % PAGES;
      request.offset = at % PAGE_BYTES;
      request.length = Math.min(length - this.#sent, PAGE_BYTES - request.offset);
      request.dataOffset = this.#sent % 4;
      request.latencyNs = 0;
      this.#sent += request.length;
      const status = upstream.memory(request);
      if (status === Completion.PENDING) return;
      this.#note(status);
    }
    this.#finish(this.#failed ? sheet.DmaResult.WRITE_FAILED : this.#look());
  }

  /** A stalled write ended. */
  #ended(status: Completion): void {
    if (this.#sent < 0) return;
    this.#note(status);
    this.#send();
  }

  #note(status: Completion): void {
    if (status === Completion.SUCCESS) return;
    this.#failed = true;
    this.noteAbort(status);
  }

  /** Compares memory at the physical address with what was written. */
  #look(): number {
    const length = this.#register(sheet.LENGTH.offset);
    const base = this.#register(sheet.PHYSICAL_HIGH.offset) * 2 ** 32 + this.#register(sheet.PHYSICAL_LOW.offset);
    for (let done = 0; done < length; ) {
      const count = Math.min(length - done, PAGE_BYTES);
      if (this.#bus.read(base + done, this.#found, 0, count) !== BusStatus.OK) return sheet.DmaResult.READ_FAILED;
      for (let byte = 0; byte < count; byte++) {
        if (this.#found[byte] !== PATTERN[(done + byte) % 4]) return sheet.DmaResult.MISMATCH;
      }
      done += count;
    }
    return sheet.DmaResult.GOOD;
  }

  #finish(result: number): void {
    this.#sent = -1;
    this.#armed = false;
    this.#result = result;
  }
}
