/**
 * QEMU's `iommu-testdev` (iommu-testdev.layout.ts), so that its users find it on our board. Where nothing takes time, the
 * DMA is over when the read of TRIGGER returns; otherwise, and while it stalls, RESULT says ARMED.
 */
import type { Clock } from '../../sim/clock.ts';
import { type AccessSize, type Bus, BusStatus, type MmioDevice } from '../bus.ts';
import { DmaEngine } from '../pcie/endpoint/dma.ts';
import { DmaOutcome, DmaTransfer } from '../pcie/endpoint/dma-transfer.ts';
import { type Link, PcieFunction } from '../pcie/function.ts';
import * as sheet from './iommu-testdev.layout.ts';

/** Bytes written or compared at a time: a multiple of the pattern. */
const PIECE_BYTES = 0x1_0000;

export interface IommuTestdevOptions {
  readonly clock: Clock;
  /** Where the physical address is looked up, without the IOMMU. */
  readonly bus: Bus;
}

export class IommuTestdev extends PcieFunction {
  readonly #bus: Bus;
  readonly #dma: DmaEngine;
  readonly #registers = new DataView(new ArrayBuffer(0x24));
  readonly #pattern = new Uint8Array(PIECE_BYTES);
  readonly #found = new Uint8Array(PIECE_BYTES);
  #transfer = this.#newTransfer();
  #armed = false;
  /** Bytes that the write under way has behind it, and whether some of them failed. */
  #written = 0;
  #failed = false;
  #writing = false;
  /** {@link #writePieces} is on the stack: a piece that ends at once is its own affair. */
  #inLoop = false;

  constructor(options: IommuTestdevOptions) {
    super('iommu-testdev', sheet.IOMMU_TESTDEV_ID);
    this.#bus = options.bus;
    this.#dma = new DmaEngine({
      clock: options.clock,
      lanes: 1,
      noteAbort: (status) => this.noteAbort(status),
    });
    const view = new DataView(this.#pattern.buffer);
    for (let at = 0; at < PIECE_BYTES; at += 4) view.setUint32(at, sheet.PATTERN, true);
    this.addBar({ index: 0, bytes: sheet.BAR0_BYTES, width: 32, device: this.#bar0 });
    this.#clear();
  }

  protected override plugged(link: Link): void {
    this.#dma.attach(link);
  }

  override reset(): void {
    super.reset();
    this.#clear();
  }

  #clear(): void {
    this.#dma.abandon();
    this.#transfer = this.#newTransfer();
    this.#armed = false;
    this.#writing = false;
    for (let at = 0; at < this.#registers.byteLength; at += 4) this.#registers.setUint32(at, 0, true);
    this.#set(sheet.RESULT.offset, sheet.Result.IDLE);
    this.#set(sheet.ATTRIBUTES.offset, sheet.ATTRIBUTES.SPACE.in32(sheet.Space.NON_SECURE));
  }

  readonly #bar0: MmioDevice = {
    name: 'iommu-testdev',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size !== 4) return BusStatus.ABORT;
      if (offset === sheet.TRIGGER.offset) this.#trigger();
      const known = offset < this.#registers.byteLength && offset !== sheet.DOORBELL.offset;
      data.setUint32(0, known ? this.#get(offset) : 0, true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size !== 4) return BusStatus.ABORT;
      const value = data.getUint32(0, true);
      if (offset === sheet.DOORBELL.offset) {
        this.#armed = sheet.DOORBELL.ARM.of(value) === 1;
        this.#set(sheet.RESULT.offset, this.#armed ? sheet.Result.ARMED : sheet.Result.IDLE);
      } else if (offset !== sheet.TRIGGER.offset && offset < this.#registers.byteLength) {
        this.#set(offset, value);
      }
      return BusStatus.OK;
    },
  };

  #newTransfer(): DmaTransfer {
    const transfer = new DmaTransfer(() => this.#pieceWritten());
    // QEMU's DMA goes on behind a page that fails.
    transfer.pastFaults = true;
    return transfer;
  }

  #trigger(): void {
    if (this.#writing) return;
    if (!this.#armed) {
      this.#set(sheet.RESULT.offset, sheet.Result.NOT_ARMED);
      return;
    }
    this.#armed = false;
    if (this.#get(sheet.LENGTH.offset) === 0) {
      this.#set(sheet.RESULT.offset, sheet.Result.ZERO_LENGTH);
    } else if (!this.#consistent()) {
      this.#set(sheet.RESULT.offset, sheet.Result.INCONSISTENT_ATTRIBUTES);
    } else {
      this.#written = 0;
      this.#failed = false;
      this.#writing = true;
      this.#writePieces();
    }
  }

  /** Secure and Non-secure space must agree with the Secure bit; the other spaces have none to agree with. */
  #consistent(): boolean {
    const attributes = this.#get(sheet.ATTRIBUTES.offset);
    if (sheet.ATTRIBUTES.SPACE_VALID.of(attributes) === 0) return true;
    const space = sheet.ATTRIBUTES.SPACE.of(attributes);
    const secure = sheet.ATTRIBUTES.SECURE.of(attributes) === 1;
    if (space === sheet.Space.SECURE) return secure;
    return space !== sheet.Space.NON_SECURE || !secure;
  }

  /** Starts pieces while each ends at once; one that takes time goes on in {@link #pieceWritten}. */
  #writePieces(): void {
    const length = this.#get(sheet.LENGTH.offset);
    const low = this.#get(sheet.IOVA_LOW.offset);
    const page = this.#get(sheet.IOVA_HIGH.offset) * 2 ** 20 + (low >>> 12);
    this.#inLoop = true;
    while (!this.#transfer.busy && this.#written < length) {
      const count = Math.min(PIECE_BYTES, length - this.#written);
      const at = (low & 0xfff) + this.#written;
      this.#written += count;
      this.#dma.start(this.#transfer.prepare(true, page, at, this.#pattern, 0, count));
    }
    this.#inLoop = false;
    if (this.#transfer.busy) return;
    this.#writing = false;
    this.#set(sheet.RESULT.offset, this.#failed ? sheet.Result.WRITE_FAILED : this.#look(length));
  }

  #pieceWritten(): void {
    if (this.#transfer.outcome !== DmaOutcome.DONE) this.#failed = true;
    if (!this.#inLoop) this.#writePieces();
  }

  #look(length: number): number {
    const high = this.#get(sheet.PHYSICAL_HIGH.offset);
    // Physical addresses end at 2^52.
    if (high >= 2 ** 20) return sheet.Result.READ_FAILED;
    const address = high * 2 ** 32 + this.#get(sheet.PHYSICAL_LOW.offset);
    for (let done = 0; done < length; done += PIECE_BYTES) {
      const count = Math.min(PIECE_BYTES, length - done);
      if (this.#bus.read(address + done, this.#found, 0, count) !== BusStatus.OK) return sheet.Result.READ_FAILED;
      if (Buffer.compare(this.#found.subarray(0, count), this.#pattern.subarray(0, count)) !== 0) {
        return sheet.Result.MISMATCH;
      }
    }
    return sheet.Result.GOOD;
  }

  #get(offset: number): number {
    return this.#registers.getUint32(offset, true);
  }

  #set(offset: number, value: number): void {
    this.#registers.setUint32(offset, value, true);
  }
}
