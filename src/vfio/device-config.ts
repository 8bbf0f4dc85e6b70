/**
 * A function's configuration space as user space sees it: BARs are virtual, interrupts are VFIO's business, and what
 * could move the function or change how it is translated is read-only (drivers/vfio/pci/vfio_pci_config.c).
 */
import type { DeviceBackend } from './device-backend.ts';

const COMMAND = 0x04;
const STATUS = 0x06;
const CACHE_LINE_SIZE = 0x0c;
const LATENCY_TIMER = 0x0d;
const BAR0 = 0x10;
const BAR_END = 0x28;
const ROM_BASE = 0x30;
const CAPABILITY_POINTER = 0x34;
const INTERRUPT_LINE = 0x3c;
const CAPABILITY_EXPRESS = 0x10;
const STATUS_CAPABILITIES = 0x10;
/** Memory space, bus master, parity error response, SERR#, interrupt disable. */
const COMMAND_WRITABLE = 0x0002 | 0x0004 | 0x0040 | 0x0100 | 0x0400;
const COMMAND_BUS_MASTER = 0x0004;
/** Device Control: error reporting enables, relaxed ordering, no snoop, extended tags; not the reset or payload sizes. */
const DEVICE_CONTROL_WRITABLE = 0x091f;

export class DeviceConfig {
  readonly #backend: DeviceBackend;
  /** What user space wrote to its virtual BARs and to the interrupt line. */
  readonly #virtual = new DataView(new ArrayBuffer(0x40));
  #expressAt = 0;

  constructor(backend: DeviceBackend) {
    this.#backend = backend;
    this.reset();
  }

  /** As after opening: BARs show their addresses of the host, type bits included. */
  reset(): void {
    for (let at = BAR0; at < BAR_END; at += 4) this.#virtual.setUint32(at, this.#backend.readConfig(at, 4), true);
    this.#virtual.setUint8(INTERRUPT_LINE, this.#backend.readConfig(INTERRUPT_LINE, 1));
    this.#expressAt = this.#find(CAPABILITY_EXPRESS);
  }

  read(offset: number, size: 1 | 2 | 4): number {
    if (offset >= BAR0 && offset < BAR_END) return this.#readVirtual(offset, size);
    if (offset === INTERRUPT_LINE && size === 1) return this.#virtual.getUint8(offset);
    // There is no expansion ROM for user space.
    if (offset >= ROM_BASE && offset < ROM_BASE + 4) return 0;
    return this.#backend.readConfig(offset, size);
  }

  /** Writes byte by byte what may be written; the rest is dropped. */
  write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset >= BAR0 && offset < BAR_END) {
      for (let byte = 0; byte < size; byte++) this.#virtual.setUint8(offset + byte, (value >>> (8 * byte)) & 0xff);
      this.#fixBar(offset);
      return;
    }
    let mask = 0;
    for (let byte = 0; byte < size; byte++) mask = (mask | (this.#writable(offset + byte) << (8 * byte))) >>> 0;
    if (offset === INTERRUPT_LINE) this.#virtual.setUint8(offset, value & 0xff);
    if (mask === 0) return;
    const before = this.#backend.readConfig(offset, size);
    this.#backend.writeConfig(offset, size, ((before & ~mask) | (value & mask)) >>> 0);
  }

  /** Remembers what user space may have set in the function; the result sets it again. */
  save(): () => void {
    const places = [COMMAND, CACHE_LINE_SIZE, ...(this.#expressAt > 0 ? [this.#expressAt + 8] : [])];
    const values = places.map((at) => this.#backend.readConfig(at, 2));
    return () => {
      for (const [index, at] of places.entries()) this.#backend.writeConfig(at, 2, values[index] ?? 0);
    };
  }

  /** Stops or allows the function's DMA. */
  setBusMaster(on: boolean): void {
    const command = this.#backend.readConfig(COMMAND, 2);
    const next = on ? command | COMMAND_BUS_MASTER : command & ~COMMAND_BUS_MASTER;
    this.#backend.writeConfig(COMMAND, 2, next & 0xffff);
  }

  /** Bits of the byte at `offset` that reach the function. */
  #writable(offset: number): number {
    if (offset >= COMMAND && offset < STATUS) return (COMMAND_WRITABLE >>> (8 * (offset - COMMAND))) & 0xff;
    if (offset === CACHE_LINE_SIZE || offset === LATENCY_TIMER) return 0xff;
    const control = this.#expressAt + 8;
    if (this.#expressAt > 0 && offset >= control && offset < control + 2) {
      return (DEVICE_CONTROL_WRITABLE >>> (8 * (offset - control))) & 0xff;
    }
    return 0;
  }

  #readVirtual(offset: number, size: 1 | 2 | 4): number {
    if (size === 1) return this.#virtual.getUint8(offset);
    return size === 2 ? this.#virtual.getUint16(offset, true) : this.#virtual.getUint32(offset, true);
  }

  /** A virtual BAR keeps its type bits and cannot hold address bits below its size: that is how it is sized. */
  #fixBar(offset: number): void {
    const at = offset - (offset % 4);
    const index = (at - BAR0) / 4;
    const low = this.#backend.readConfig(at, 4);
    const bytes = this.#backend.barBytes[index] ?? 0;
    const below = this.#backend.barBytes[index - 1] ?? 0;
    const upper = index > 0 && below > 0 && (this.#backend.readConfig(at - 4, 4) & 0x7) === 0x4;
    const value = this.#virtual.getUint32(at, true);
    if (upper) {
      // The upper half of a 64-bit BAR: all address bits above 4 GiB exist.
      const mask = below > 2 ** 32 ? ~(below / 2 ** 32 - 1) : 0xffff_ffff;
      this.#virtual.setUint32(at, (value & mask) >>> 0, true);
    } else if (bytes === 0) {
      this.#virtual.setUint32(at, 0, true);
    } else {
      const mask = bytes >= 2 ** 32 ? 0 : ~(bytes - 1) >>> 0;
      this.#virtual.setUint32(at, ((value & mask & ~0xf) | (low & 0xf)) >>> 0, true);
    }
  }

  #find(id: number): number {
    if ((this.#backend.readConfig(STATUS, 2) & STATUS_CAPABILITIES) === 0) return 0;
    let at = this.#backend.readConfig(CAPABILITY_POINTER, 1) & 0xfc;
    // A list longer than the space has room for is a loop.
    for (let steps = 0; at >= 0x40 && steps < 48; steps++) {
      if (this.#backend.readConfig(at, 1) === id) return at;
      at = this.#backend.readConfig(at + 1, 1) & 0xfc;
    }
    return 0;
  }
}
