/**
 * QEMU's educational device (edu.layout.ts). The factorial is there at once. A DMA whose device side leaves the buffer moves
 * nothing; QEMU's logs it and then goes beyond the buffer.
 */
import { assert } from '../../assert.ts';
import type { Clock, Timer } from '../../sim/clock.ts';
import type { Log } from '../../sim/log.ts';
import { type AccessSize, BusStatus, type MmioDevice } from '../bus.ts';
import type { InterruptLine } from '../interrupts.ts';
import { Msi } from '../pcie/capability/msi.ts';
import { COMMAND_OFFSET, Header } from '../pcie/config.layout.ts';
import { DmaEngine } from '../pcie/endpoint/dma.ts';
import { DmaTransfer } from '../pcie/endpoint/dma-transfer.ts';
import { type Link, PcieFunction } from '../pcie/function.ts';
import * as sheet from './edu.layout.ts';

const NS_PER_MS = 1e6;
/** From here on a factorial is 0 modulo 2^32. */
const FACTORIAL_END = 34;

export interface EduOptions {
  readonly clock: Clock;
  /** Low bits of a DMA address that reach the bus, up to 64; defaults to 28. */
  readonly dmaBits?: number;
  /** Where INTA goes while MSI is not enabled. */
  readonly interrupt?: InterruptLine;
  readonly log?: Log | undefined;
}

export class Edu extends PcieFunction {
  readonly msi: Msi;
  readonly #clock: Clock;
  readonly #dma: DmaEngine;
  readonly #maskLow: number;
  readonly #maskHigh: number;
  readonly #interrupt: InterruptLine | null;
  readonly #log: Log | undefined;
  readonly #buffer = new Uint8Array(sheet.BUFFER_BYTES);
  /** The four DMA registers. */
  readonly #registers = new DataView(new ArrayBuffer(0x20));
  #transfer = this.#newTransfer();
  #timer: Timer | null = null;
  #liveness = 0;
  #factorial = 0;
  #factorialInterrupt = false;
  #interruptStatus = 0;

  constructor(options: EduOptions) {
    super('edu', sheet.EDU_ID);
    this.#clock = options.clock;
    const { dmaBits = sheet.DMA_BITS } = options;
    assert(dmaBits >= 1 && dmaBits <= 64, `edu: ${dmaBits} address bits`);
    this.#maskLow = 2 ** Math.min(dmaBits, 32) - 1;
    this.#maskHigh = 2 ** Math.max(dmaBits - 32, 0) - 1;
    this.#interrupt = options.interrupt ?? null;
    this.#log = options.log;
    this.#dma = new DmaEngine({ clock: options.clock, lanes: 1, noteAbort: (status) => this.noteAbort(status) });
    this.addBar({ index: 0, bytes: sheet.BAR0_BYTES, width: 32, device: this.#bar0 });
    this.msi = new Msi(this);
    this.config.onWrite(COMMAND_OFFSET, 2, () => this.#driveLine());
  }

  protected override plugged(link: Link): void {
    this.#dma.attach(link);
  }

  override reset(): void {
    super.reset();
    this.#dma.abandon();
    this.#transfer = this.#newTransfer();
    this.#timer?.cancel();
    this.#timer = null;
    this.#liveness = 0;
    this.#factorial = 0;
    this.#factorialInterrupt = false;
    this.#interruptStatus = 0;
    for (let at = 0; at < this.#registers.byteLength; at += 4) this.#registers.setUint32(at, 0, true);
    this.#buffer.fill(0);
    this.#driveLine();
  }

  readonly #bar0: MmioDevice = {
    name: 'edu',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (!taken(offset, size)) return BusStatus.ABORT;
      const dma = offset - sheet.DMA_SOURCE.offset;
      if (dma >= 0 && dma < this.#registers.byteLength && dma % 8 === 0) {
        for (let byte = 0; byte < size; byte += 4)
          data.setUint32(byte, this.#registers.getUint32(dma + byte, true), true);
        return BusStatus.OK;
      }
      const value = this.#read32(offset);
      if (value < 0) return BusStatus.ABORT;
      data.setUint32(0, value, true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (!taken(offset, size)) return BusStatus.ABORT;
      const dma = offset - sheet.DMA_SOURCE.offset;
      if (dma >= 0 && dma < this.#registers.byteLength && dma % 8 === 0) {
        this.#writeDma(offset, data.getUint32(0, true), size === 8 ? data.getUint32(4, true) : 0);
      } else {
        this.#write32(offset, data.getUint32(0, true));
      }
      return BusStatus.OK;
    },
  };

  /** A register below the DMA registers; -1 where there is none. */
  #read32(offset: number): number {
    switch (offset) {
      case sheet.IDENTITY.offset:
        return sheet.IDENTITY_VALUE;
      case sheet.LIVENESS.offset:
        return this.#liveness;
      case sheet.FACTORIAL.offset:
        return this.#factorial;
      case sheet.STATUS.offset:
        return sheet.STATUS.FACTORIAL_INTERRUPT.in32(this.#factorialInterrupt ? 1 : 0);
      case sheet.INTERRUPT_STATUS.offset:
        return this.#interruptStatus;
      default:
        return -1;
    }
  }

  #write32(offset: number, value: number): void {
    switch (offset) {
      case sheet.LIVENESS.offset:
        this.#liveness = ~value >>> 0;
        return;
      case sheet.FACTORIAL.offset:
        this.#factorial = factorial(value);
        if (this.#factorialInterrupt) this.#raise(sheet.Interrupt.FACTORIAL);
        return;
      case sheet.STATUS.offset:
        this.#factorialInterrupt = sheet.STATUS.FACTORIAL_INTERRUPT.of(value) === 1;
        return;
      case sheet.INTERRUPT_RAISE.offset:
        this.#raise(value);
        return;
      case sheet.INTERRUPT_ACKNOWLEDGE.offset:
        this.#interruptStatus = (this.#interruptStatus & ~value) >>> 0;
        this.#driveLine();
        return;
    }
  }

  get #command(): number {
    return this.#registers.getUint32(sheet.DMA_COMMAND.offset - sheet.DMA_SOURCE.offset, true);
  }

  #writeDma(offset: number, low: number, high: number): void {
    const isCommand = offset === sheet.DMA_COMMAND.offset;
    if (sheet.DMA_COMMAND.RUN.of(this.#command) === 1) return;
    if (isCommand && sheet.DMA_COMMAND.RUN.of(low) === 0) return;
    const at = offset - sheet.DMA_SOURCE.offset;
    this.#registers.setUint32(at, low, true);
    this.#registers.setUint32(at + 4, high, true);
    if (!isCommand) return;
    // QEMU's timer counts whole milliseconds.
    const end = (Math.floor(this.#clock.now / NS_PER_MS) + sheet.DMA_MS) * NS_PER_MS;
    this.#timer = this.#clock.after(end - this.#clock.now, () => this.#startDma());
  }

  #newTransfer(): DmaTransfer {
    const transfer = new DmaTransfer(() => this.#dmaEnded());
    // QEMU's DMA goes on behind a page that fails.
    transfer.pastFaults = true;
    return transfer;
  }

  #startDma(): void {
    this.#timer = null;
    const toRam = sheet.DMA_COMMAND.TO_RAM.of(this.#command) === 1;
    const [device, bus] = toRam ? [sheet.DMA_SOURCE, sheet.DMA_DESTINATION] : [sheet.DMA_DESTINATION, sheet.DMA_SOURCE];
    const { low: count, high: countHigh } = this.#halves(sheet.DMA_COUNT.offset);
    const { low, high } = this.#halves(device.offset);
    const start = low - sheet.BUFFER_OFFSET;
    const fits = high === 0 && countHigh === 0 && start >= 0 && start + count <= sheet.BUFFER_BYTES;
    if (!fits || count === 0) {
      if (!fits) this.#log?.warn({ event: 'edu.range', device: low, count, write: toRam });
      this.#dmaEnded();
      return;
    }
    // What can not be read is zero.
    if (!toRam) this.#buffer.fill(0, start, start + count);
    const { page, offset } = this.#busAddress(bus.offset);
    this.#dma.start(this.#transfer.prepare(toRam, page, offset, this.#buffer, start, count));
  }

  #dmaEnded(): void {
    const command = this.#command;
    this.#registers.setUint32(sheet.DMA_COMMAND.offset - sheet.DMA_SOURCE.offset, command & ~1, true);
    if (sheet.DMA_COMMAND.INTERRUPT.of(command) === 1) this.#raise(sheet.Interrupt.DMA);
  }

  #halves(offset: number): { readonly low: number; readonly high: number } {
    const at = offset - sheet.DMA_SOURCE.offset;
    return { low: this.#registers.getUint32(at, true), high: this.#registers.getUint32(at + 4, true) };
  }

  /** The address in a register, as far as the device's address lines reach. */
  #busAddress(offset: number): { readonly page: number; readonly offset: number } {
    const { low, high } = this.#halves(offset);
    const reachedLow = (low & this.#maskLow) >>> 0;
    const reachedHigh = (high & this.#maskHigh) >>> 0;
    return { page: reachedHigh * 2 ** 20 + (reachedLow >>> 12), offset: reachedLow & 0xfff };
  }

  #raise(bits: number): void {
    this.#interruptStatus = (this.#interruptStatus | bits) >>> 0;
    if (this.#interruptStatus !== 0 && !this.msi.raise()) this.#driveLine();
  }

  /** INTA follows the interrupt status while MSI is off and the command register lets it (PCIe §7.5.1.1.3). */
  #driveLine(): void {
    const pending = this.#interruptStatus !== 0 && !this.msi.enabled;
    this.config.set(Header.InterruptStatus, 0, pending ? 1 : 0);
    this.#interrupt?.set(pending && this.config.get(Header.InterruptDisable) === 0);
  }
}

/** Registers below 0x80 take 4 bytes, those above 4 or 8. */
function taken(offset: number, size: AccessSize): boolean {
  return size === 4 || (size === 8 && offset >= sheet.DMA_SOURCE.offset);
}

function factorial(value: number): number {
  if (value >= FACTORIAL_END) return 0;
  let product = 1;
  for (let factor = 2; factor <= value; factor++) product = Math.imul(product, factor);
  return product >>> 0;
}
