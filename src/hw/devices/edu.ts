/** The educational device. Data sheet: edu.layout.ts. A transfer that leaves the device's buffer does not take place. */
import type { Clock, Timer } from '../../sim/clock.ts';
import { type AccessSize, BusStatus, type MmioDevice } from '../bus.ts';
import type { InterruptLine } from '../interrupts.ts';
import { Msi } from '../pcie/capability/msi.ts';
import { COMMAND_OFFSET, Header } from '../pcie/config.layout.ts';
import { PcieFunction } from '../pcie/function.ts';
import { AddressType, Completion, type MemoryRequest, NO_PASID } from '../pcie/tlp.ts';
import * as sheet from './edu.layout.ts';

const PAGE_BYTES = 4096;
const REGISTER_BYTES = sheet.DMA_COMMAND.offset + 8;

export interface EduOptions {
  readonly clock: Clock;
  /** Address bits that a DMA carries; the others are cut off. */
  readonly dmaMask?: bigint;
  /** INTA#; without it the device interrupts by MSI only. */
  readonly interrupt?: InterruptLine;
}

export class Edu extends PcieFunction {
  readonly #clock: Clock;
  readonly #line: InterruptLine | undefined;
  readonly #msi: Msi;
  readonly #maskLow: number;
  readonly #maskHigh: number;
  readonly #buffer = new Uint8Array(sheet.EDU_BUFFER_BYTES);
  #registers = new DataView(new ArrayBuffer(REGISTER_BYTES));
  #timer: Timer | null = null;
  /** Bytes of the transfer under way that were sent; -1 while there is none. */
  #sent = -1;
  readonly #request = {
    requesterId: 0,
    pasid: NO_PASID,
    execute: false,
    privileged: false,
    addressType: AddressType.UNTRANSLATED,
    write: false,
    page: 0,
    offset: 0,
    length: 0,
    data: this.#buffer,
    dataOffset: 0,
    latencyNs: 0,
    completed: (status: Completion) => this.#ended(status),
  };

  constructor(options: EduOptions) {
    super('edu', {
      ...sheet.EDU_ID,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      interruptPin: options.interrupt ? 1 : 0,
    });
    const { dmaMask = sheet.EDU_DMA_MASK } = options;
    this.#clock = options.clock;
    this.#line = options.interrupt;
    this.#maskLow = Number(dmaMask % 2n ** 32n);
    this.#maskHigh = Number(dmaMask / 2n ** 32n);
    this.addBar({ index: 0, bytes: sheet.EDU_BAR0_BYTES, width: 32, device: this.#bar0 });
    this.#msi = new Msi(this);
    this.config.onWrite(COMMAND_OFFSET, 2, () => this.#driveLine());
  }

  override reset(): void {
    super.reset();
    this.#timer?.cancel();
    this.#timer = null;
    this.#sent = -1;
    this.#registers = new DataView(new ArrayBuffer(REGISTER_BYTES));
    this.#buffer.fill(0);
    this.#driveLine();
  }

  /** Registers below the DMA's take 32-bit accesses, those of the DMA 64-bit ones too. */
  #accepts(offset: number, size: AccessSize): boolean {
    return size === 4 || (size === 8 && offset >= sheet.DMA_SOURCE.offset);
  }

  readonly #bar0: MmioDevice = {
    name: 'edu',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (!this.#accepts(offset, size)) return BusStatus.ABORT;
      data.setUint32(0, this.#read(offset), true);
      if (size === 8) data.setUint32(4, this.#read(offset + 4), true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (!this.#accepts(offset, size)) return BusStatus.ABORT;
      if (size === 8) this.#write(offset + 4, data.getUint32(4, true));
      this.#write(offset, data.getUint32(0, true));
      return BusStatus.OK;
    },
  };

  #register(offset: number): number {
    return this.#registers.getUint32(offset, true);
  }

  #read(offset: number): number {
    if (offset === sheet.IDENTIFICATION.offset) return sheet.EDU_IDENTIFICATION;
    if (offset === sheet.LIVENESS.offset) return ~this.#register(offset) >>> 0;
    if (offset === sheet.INTERRUPT_RAISE.offset || offset === sheet.INTERRUPT_ACKNOWLEDGE.offset) return 0;
    return offset < REGISTER_BYTES ? this.#register(offset) : 0xffff_ffff;
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case sheet.LIVENESS.offset:
        this.#registers.setUint32(offset, value, true);
        return;
      case sheet.FACTORIAL.offset:
        this.#registers.setUint32(offset, factorial(value), true);
        if (sheet.STATUS.RAISE_AFTER.of(this.#register(sheet.STATUS.offset)) === 1) {
          this.#raise(sheet.EduInterrupt.FACTORIAL);
        }
        return;
      case sheet.STATUS.offset:
        this.#registers.setUint32(offset, value & sheet.STATUS.RAISE_AFTER.mask32, true);
        return;
      case sheet.INTERRUPT_RAISE.offset:
        this.#raise(value);
        return;
      case sheet.INTERRUPT_ACKNOWLEDGE.offset: {
        const left = this.#register(sheet.INTERRUPT_STATUS.offset) & ~value;
        this.#registers.setUint32(sheet.INTERRUPT_STATUS.offset, left, true);
        this.#driveLine();
        return;
      }
      default:
        // The DMA's registers hold still while it runs.
        if (offset < sheet.DMA_SOURCE.offset || offset >= REGISTER_BYTES || this.#running) return;
        this.#registers.setUint32(offset, value, true);
        if (offset === sheet.DMA_COMMAND.offset && this.#running) {
          this.#timer = this.#clock.after(sheet.EDU_DMA_NS, () => this.#start());
        }
    }
  }

  get #running(): boolean {
    return sheet.DMA_COMMAND.RUN.get(this.#registers, sheet.DMA_COMMAND.offset) === 1;
  }

  get #toRam(): boolean {
    return sheet.DMA_COMMAND.TO_RAM.get(this.#registers, sheet.DMA_COMMAND.offset) === 1;
  }

  /** Bytes from the start of the buffer at which the transfer begins; -1 when it would leave the buffer. */
  #bufferOffset(): number {
    const at = this.#toRam ? sheet.DMA_SOURCE.offset : sheet.DMA_DESTINATION.offset;
    const count = this.#register(sheet.DMA_COUNT.offset);
    const start = this.#register(at) - sheet.EDU_BUFFER;
    const high = this.#register(at + 4) + this.#register(sheet.DMA_COUNT.offset + 4);
    return high === 0 && start >= 0 && start + count <= sheet.EDU_BUFFER_BYTES ? start : -1;
  }

  #start(): void {
    this.#timer = null;
    this.#sent = 0;
    if (this.#bufferOffset() < 0) this.#finish();
    else this.#send();
  }

  /** Moves the rest, page by page; what fails is skipped. */
  #send(): void {
    const count = this.#register(sheet.DMA_COUNT.offset);
    const memory = this.#toRam ? sheet.DMA_DESTINATION.offset : sheet.DMA_SOURCE.offset;
    const low = (this.#register(memory) & this.#maskLow) >>> 0;
    const high = (this.#register(memory + 4) & this.#maskHigh) >>> 0;
    const request: MemoryRequest = this.#request;
    const { upstream, requesterId } = this.link;
    while (this.#sent < count) {
      const at = (low % PAGE_BYTES) + this.#sent;
      Object.assign(this.#request, {
        requesterId,
        write: this.#toRam,
        page: (high * 2 ** 20 + (low >>> 12) + Math.floor(at / PAGE_BYTES)) % 2 ** 52,
        offset: at % PAGE_BYTES,
        length: Math.min(count - this.#sent, PAGE_BYTES - (at % PAGE_BYTES)),
        dataOffset: this.#bufferOffset() + this.#sent,
        latencyNs: 0,
      });
      this.#sent += request.length;
      const status = upstream.memory(request);
      if (status === Completion.PENDING) return;
      this.#note(status);
    }
    this.#finish();
  }

  /** A stalled request ended. */
  #ended(status: Completion): void {
    if (this.#sent < 0) return;
    this.#note(status);
    this.#send();
  }

  /** A read that failed delivers zeros. */
  #note(status: Completion): void {
    if (status === Completion.SUCCESS) return;
    this.noteAbort(status);
    const { write, dataOffset, length } = this.#request;
    if (!write) this.#buffer.fill(0, dataOffset, dataOffset + length);
  }

  #finish(): void {
    this.#sent = -1;
    const command = this.#register(sheet.DMA_COMMAND.offset);
    this.#registers.setUint32(sheet.DMA_COMMAND.offset, command & ~sheet.DMA_COMMAND.RUN.mask32, true);
    if (sheet.DMA_COMMAND.INTERRUPT.of(command) === 1) this.#raise(sheet.EduInterrupt.DMA);
  }

  #raise(bits: number): void {
    const status = (this.#register(sheet.INTERRUPT_STATUS.offset) | bits) >>> 0;
    this.#registers.setUint32(sheet.INTERRUPT_STATUS.offset, status, true);
    if (status !== 0 && !this.#msi.raise()) this.#driveLine();
  }

  /** INTA# follows the interrupt status while MSI is off and the command register lets it (PCIe §7.5.1.1.3). */
  #driveLine(): void {
    const pending = this.#register(sheet.INTERRUPT_STATUS.offset) !== 0 && !this.#msi.enabled;
    this.config.set(Header.InterruptStatus, 0, pending ? 1 : 0);
    this.#line?.set(pending && this.config.get(Header.InterruptDisable) === 0);
  }
}

function factorial(value: number): number {
  // From 34 on every factorial is a multiple of 2^32.
  let product = value < 34 ? 1 : 0;
  for (let factor = 2; factor <= value && product !== 0; factor++) product = Math.imul(product, factor) >>> 0;
  return product;
}
