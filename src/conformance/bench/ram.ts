/** RAM of the machine under test, and where the bench puts its structures. */
import { bytes64, type Word, word64 } from '../bits.ts';
import { RAM, type Unit } from '../subject.ts';

/** Where the bench's queues and stream table lie; each place is aligned to its largest size. */
export const PLACE = {
  commandQueue: 0x4100_0000,
  eventQueue: 0x4200_0000,
  pageQueue: 0x4300_0000,
  streamTable: 0x4400_0000,
  /** Page tables, CD tables and the like, handed out upwards. */
  pool: 0x4800_0000,
  /** Target of MSIs. */
  doorbell: 0x5000_0000,
  /** Memory that devices reach; a multiple of 512 MiB. */
  data: 0x6000_0000,
} as const;

export class Ram {
  readonly #unit: Unit;
  #next: number = PLACE.pool;

  constructor(unit: Unit) {
    this.#unit = unit;
  }

  /** `length` zeroed bytes at a multiple of `alignment`. */
  allocate(length: number, alignment: number = length): number {
    const address = Math.ceil(this.#next / alignment) * alignment;
    this.#next = address + length;
    return address;
  }

  contains(address: number): boolean {
    return address >= RAM.base && address < RAM.base + RAM.size;
  }

  read(address: number, length: number): Uint8Array {
    return this.#unit.readMemory(address, length);
  }

  write(address: number, bytes: Uint8Array): void {
    this.#unit.writeMemory(address, bytes);
  }

  read32(address: number): number {
    return Number(BigInt.asUintN(32, word64(Uint8Array.from([...this.read(address, 4), 0, 0, 0, 0]))));
  }

  read64(address: number): bigint {
    return word64(this.read(address, 8));
  }

  write64(address: number, value: Word): void {
    this.write(address, bytes64(value));
  }
}
