/** Configuration space of one function through ECAM, as a kernel reaches it (PCIe §7.2.2). */
import { assert } from '../assert.ts';
import { type Bus, BusStatus } from '../hw/bus.ts';
import { VIRT } from '../hw/virt-map.ts';
import type { Field } from '../layout/field.ts';

const CAPABILITIES_POINTER = 0x34;
/** First extended capability (PCIe §7.6). */
const EXTENDED_START = 0x100;

export class ConfigAccess {
  readonly #bus: Bus;
  readonly #base: number;
  readonly #data = new DataView(new ArrayBuffer(8));

  constructor(bus: Bus, devfn: number) {
    this.#bus = bus;
    this.#base = VIRT.ecam.base + devfn * 4096;
  }

  read(offset: number, size: 1 | 2 | 4): number {
    this.#data.setUint32(0, 0, true);
    const status = this.#bus.readSized(this.#base + offset, size, this.#data);
    assert(status === BusStatus.OK, 'ECAM answers every access');
    return this.#data.getUint32(0, true);
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#data.setUint32(0, value, true);
    const status = this.#bus.writeSized(this.#base + offset, size, this.#data);
    assert(status === BusStatus.OK, 'ECAM answers every access');
  }

  /** Offset of a capability of the first 256 bytes, or 0 (PCIe §7.5.1.1.11). */
  capability(id: number): number {
    for (let at = this.read(CAPABILITIES_POINTER, 1); at !== 0; at = this.read(at + 1, 1)) {
      if (this.read(at, 1) === id) return at;
    }
    return 0;
  }

  /** Offset of an extended capability, or 0. */
  extendedCapability(id: number): number {
    for (let at = EXTENDED_START; at !== 0; ) {
      const header = this.read(at, 4);
      if (header % 2 ** 16 === id) return at;
      at = header >>> 20;
    }
    return 0;
  }

  /** A one-word field of the capability at `at`. */
  get(at: number, field: Field): number {
    const word = Math.floor(field.lsb / 32) * 4;
    return (this.read(at + word, 4) >>> (field.lsb % 32)) % 2 ** field.width;
  }

  /** Writes a field of a 16-bit control register of the capability at `at`; status bits beside it stay. */
  setControl(at: number, field: Field, value: number): void {
    const offset = at + Math.floor(field.lsb / 16) * 2;
    const shift = field.lsb % 16;
    const mask = (2 ** field.width - 1) << shift;
    this.write(offset, 2, (this.read(offset, 2) & ~mask) | (value << shift));
  }
}
