/** The system bus: what answers at a physical address, RAM or a device's registers. */
import { AssertionError, assert } from '../assert.ts';
import { CHUNK_OFFSET, type Memory } from './memory.ts';

/** Bytes of one register access. */
export type AccessSize = 1 | 2 | 4 | 8;

/** How an access ended; ABORT is an external abort (nothing answers, or the device refuses). */
export const BusStatus = { OK: 0, ABORT: 1 } as const;
export type BusStatus = (typeof BusStatus)[keyof typeof BusStatus];

/**
 * A device's registers. `offset` counts from the start of its range and is a multiple of `size`. Data passes through the
 * first `size` bytes of `data`, little-endian, so that no access allocates.
 */
export interface MmioDevice {
  readonly name: string;
  readRegister(offset: number, size: AccessSize, data: DataView): BusStatus;
  writeRegister(offset: number, size: AccessSize, data: DataView): BusStatus;
}

interface Region {
  readonly base: number;
  readonly end: number;
  readonly device: MmioDevice;
}

/** Dispatches physical accesses by address. Regions do not overlap. */
export class Bus {
  readonly memory: Memory;
  readonly #regions: Region[] = [];
  /** The region found last: a driver's accesses come in rows. */
  #last: Region | undefined;
  readonly #data = new DataView(new ArrayBuffer(8));

  constructor(memory: Memory) {
    this.memory = memory;
  }

  /** Places `device` at `[base, base + size)`. */
  map(base: number, size: number, device: MmioDevice): void {
    const end = base + size;
    const ram = this.memory;
    const taken = this.#regions.find((region) => region.base < end && base < region.end);
    assert(taken === undefined, `${device.name} at 0x${base.toString(16)} overlaps ${taken?.device.name}`);
    assert(end <= ram.base || base >= ram.base + ram.size, `${device.name} at 0x${base.toString(16)} overlaps RAM`);
    this.#regions.push({ base, end, device });
  }

  unmap(device: MmioDevice): void {
    const index = this.#regions.findIndex((region) => region.device === device);
    if (index >= 0) this.#regions.splice(index, 1);
    this.#last = undefined;
  }

  /** Copies `length` bytes at `address` into `target` at `at`; register ranges are read in naturally aligned accesses. */
  read(address: number, target: Uint8Array, at: number, length: number): BusStatus {
    if (this.memory.contains(address, length)) {
      this.memory.read(address, target, at, length);
      return BusStatus.OK;
    }
    return this.#registers(address, length, (device, offset, size, done) => {
      const status = device.readRegister(offset, size, this.#data);
      for (let byte = 0; byte < size; byte++) target[at + done + byte] = this.#data.getUint8(byte);
      return status;
    });
  }

  /** Copies `source[at, at + length)` to `address`; register ranges are written in naturally aligned accesses. */
  write(address: number, source: Uint8Array, at: number, length: number): BusStatus {
    if (this.memory.contains(address, length)) {
      this.memory.write(address, source, at, length);
      return BusStatus.OK;
    }
    return this.#registers(address, length, (device, offset, size, done) => {
      for (let byte = 0; byte < size; byte++) this.#data.setUint8(byte, source[at + done + byte] ?? 0);
      return device.writeRegister(offset, size, this.#data);
    });
  }

  /** One access of `size` bytes at a multiple of it; the value goes to `data`. */
  readSized(address: number, size: AccessSize, data: DataView): BusStatus {
    if (this.memory.contains(address, size)) {
      const view = this.memory.readView(address);
      for (let byte = 0; byte < size; byte++) data.setUint8(byte, view.getUint8((address & CHUNK_OFFSET) + byte));
      return BusStatus.OK;
    }
    const region = this.#find(address);
    return region === undefined ? BusStatus.ABORT : region.device.readRegister(address - region.base, size, data);
  }

  writeSized(address: number, size: AccessSize, data: DataView): BusStatus {
    if (this.memory.contains(address, size)) {
      const view = this.memory.writeView(address);
      for (let byte = 0; byte < size; byte++) view.setUint8((address & CHUNK_OFFSET) + byte, data.getUint8(byte));
      return BusStatus.OK;
    }
    const region = this.#find(address);
    return region === undefined ? BusStatus.ABORT : region.device.writeRegister(address - region.base, size, data);
  }

  #find(address: number): Region | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.base && address < last.end) return last;
    for (const region of this.#regions) {
      if (address < region.base || address >= region.end) continue;
      this.#last = region;
      return region;
    }
    return undefined;
  }

  #registers(
    address: number,
    length: number,
    access: (device: MmioDevice, offset: number, size: AccessSize, done: number) => BusStatus,
  ): BusStatus {
    for (let done = 0; done < length; ) {
      const region = this.#find(address + done);
      if (region === undefined) return BusStatus.ABORT;
      const size = naturalSize(address + done, length - done);
      if (access(region.device, address + done - region.base, size, done) !== BusStatus.OK) return BusStatus.ABORT;
      done += size;
    }
    return BusStatus.OK;
  }
}

/** The largest access that starts at `address`, is aligned to itself and stays within `left` bytes. */
function naturalSize(address: number, left: number): AccessSize {
  if (address % 8 === 0 && left >= 8) return 8;
  if (address % 4 === 0 && left >= 4) return 4;
  if (address % 2 === 0 && left >= 2) return 2;
  return 1;
}

/** Register accesses as a CPU makes them: what drivers use. An abort here would crash a kernel, so it asserts. */
export class Mmio {
  readonly #bus: Bus;
  readonly #base: number;
  readonly #data = new DataView(new ArrayBuffer(8));

  constructor(bus: Bus, base: number) {
    this.#bus = bus;
    this.#base = base;
  }

  read32(offset: number): number {
    if (this.#bus.readSized(this.#base + offset, 4, this.#data) !== BusStatus.OK) refuse('read', offset);
    return this.#data.getUint32(0, true);
  }

  write32(offset: number, value: number): void {
    this.#data.setUint32(0, value, true);
    if (this.#bus.writeSized(this.#base + offset, 4, this.#data) !== BusStatus.OK) refuse('write', offset);
  }

  /** Reads a 64-bit register into `target`'s first 8 bytes. */
  read64(offset: number, target: DataView): void {
    if (this.#bus.readSized(this.#base + offset, 8, target) !== BusStatus.OK) refuse('read', offset);
  }

  /** Writes a 64-bit register from `source`'s first 8 bytes. */
  write64(offset: number, source: DataView): void {
    if (this.#bus.writeSized(this.#base + offset, 8, source) !== BusStatus.OK) refuse('write', offset);
  }
}

/** Apart, so that the message is built only when it is needed. */
function refuse(access: string, offset: number): never {
  throw new AssertionError(`${access} of register ${offset}`);
}
