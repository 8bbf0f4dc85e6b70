/**
 * The inputs of the interrupt controller, shared peripheral interrupts by number, with QEMU's interception: instead of a
 * CPU, whoever asked sees each change. Wired lines come from the SMMU, messages from the GICv2m frame of the board.
 */
import { type AccessSize, BusStatus, type MmioDevice } from '../hw/bus.ts';
import type { InterruptLine } from '../hw/interrupts.ts';
import { VIRT } from '../hw/virt-map.ts';

/** Inputs of the controller (QEMU's virt: NUM_IRQS). */
export const PINS = 256;
/** Interrupt identifiers below this are no shared peripheral interrupts. */
const FIRST_SPI = 32;

/** GICv2m frame. */
const MSI_TYPER = 0x008;
const MSI_SETSPI_NS = 0x040;
const MSI_IIDR = 0xfcc;
const MSI_COUNT = 64;

export type PinObserver = (pin: number, level: boolean) => void;

export class InterruptPins {
  readonly #levels = new Uint8Array(PINS);
  /** How many drivers of a shared input hold it up. */
  readonly #drivers = new Map<number, number>();
  #observer: PinObserver | null = null;

  /** From now on `observer` sees each change. */
  watch(observer: PinObserver | null): void {
    this.#observer = observer;
  }

  set(pin: number, level: boolean): void {
    if (pin >= PINS || (this.#levels[pin] === 1) === level) return;
    this.#levels[pin] = level ? 1 : 0;
    this.#observer?.(pin, level);
  }

  pulse(pin: number): void {
    this.set(pin, true);
    this.set(pin, false);
  }

  line(pin: number): InterruptLine {
    return { set: (level) => this.set(pin, level), pulse: () => this.pulse(pin) };
  }

  /** One of several drivers of an input that is up while any of them is. */
  sharedLine(pin: number): InterruptLine {
    let driven = false;
    const drive = (level: boolean): void => {
      if (level === driven) return;
      driven = level;
      const drivers = (this.#drivers.get(pin) ?? 0) + (level ? 1 : -1);
      this.#drivers.set(pin, drivers);
      this.set(pin, drivers > 0);
    };
    return {
      set: drive,
      pulse: () => {
        drive(true);
        drive(false);
      },
    };
  }

  /** Every line down, as at power-on; observers see it. */
  reset(): void {
    this.#drivers.clear();
    for (let pin = 0; pin < PINS; pin++) this.set(pin, false);
  }

  /** The frame that takes MSIs: a write of an interrupt identifier. */
  readonly frame: MmioDevice = {
    name: 'gicv2m',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      data.setUint32(0, 0, true);
      data.setUint32(4, 0, true);
      if (size !== 4) return BusStatus.OK;
      if (offset === MSI_TYPER) data.setUint32(0, ((VIRT.firstMsi << 16) | MSI_COUNT) >>> 0, true);
      else if (offset === MSI_IIDR) data.setUint32(0, 0x5300_0000, true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (offset !== MSI_SETSPI_NS || size === 1 || size === 8) return BusStatus.OK;
      const identifier = size === 2 ? data.getUint16(0, true) : data.getUint32(0, true);
      if (identifier >= VIRT.firstMsi && identifier < VIRT.firstMsi + MSI_COUNT) this.pulse(identifier - FIRST_SPI);
      return BusStatus.OK;
    },
  };
}
