/**
 * Circular queues in memory (IHI 0070 §3.5.1). An index of a queue of 2^QS entries has QS bits, and its wrap flag in the
 * bit above. Equal indexes mean empty when the flags agree, full when they differ.
 */
import { assert } from '../../assert.ts';
import { type Bus, BusStatus } from '../../hw/bus.ts';
import { CHUNK_OFFSET } from '../../hw/memory.ts';
import type { Field } from '../../layout/field.ts';
import type { RegisterLayout } from '../../layout/register.ts';
import type { RegisterFile } from './register-file.ts';

/** The index after `index`, wrap flag included. */
export const advance = (index: number, log2: number): number => (index + 1) & ((2 << log2) - 1);

/** The registers of one queue. */
export interface QueueRegisters {
  readonly base: RegisterLayout & { readonly LOG2SIZE: Field; readonly ADDR: Field };
  readonly prod: RegisterLayout & { readonly WR: Field };
  readonly cons: RegisterLayout & { readonly RD: Field };
}

export interface QueueOptions {
  readonly registers: RegisterFile;
  readonly bus: Bus;
  readonly layout: QueueRegisters;
  readonly entryBytes: number;
  /** IDR1.CMDQS, EVENTQS or PRIQS. */
  readonly maxLog2: number;
}

/** Where a queue's entries are, and its indexes. Base and size are fixed while it is enabled. */
export class Queue {
  readonly entryBytes: number;
  readonly #registers: RegisterFile;
  readonly #bus: Bus;
  readonly #layout: QueueRegisters;
  readonly #maxLog2: number;
  /** Where the index registers are. WR and RD are their low bits. */
  readonly #prodPlace: number;
  readonly #consPlace: number;
  readonly #prodMask: number;
  readonly #consMask: number;
  #log2 = 0;
  /** Bits of an index, its wrap flag included. */
  #indexMask = 1;
  #base = 0;
  #prod = 0;
  #cons = 0;

  constructor(options: QueueOptions) {
    this.entryBytes = options.entryBytes;
    this.#registers = options.registers;
    this.#bus = options.bus;
    this.#layout = options.layout;
    this.#maxLog2 = options.maxLog2;
    const { prod, cons } = options.layout;
    assert(prod.WR.lsb === 0 && cons.RD.lsb === 0, 'indexes are the low bits of their registers');
    this.#prodPlace = options.registers.place(prod);
    this.#consPlace = options.registers.place(cons);
    this.#prodMask = prod.WR.mask32;
    this.#consMask = cons.RD.mask32;
  }

  /** log2 of the number of entries in use. */
  get log2(): number {
    return this.#log2;
  }

  /** Takes base, size and indexes from the registers: call when the base is written and when the queue is enabled. */
  configure(): void {
    const { base, prod, cons } = this.#layout;
    const registers = this.#registers;
    this.#log2 = Math.min(registers.field(base, base.LOG2SIZE), this.#maxLog2);
    // ADDR is bits 55:5. The base is aligned down to the queue's size, or to 32 bytes if that is more (§6.3.26).
    const alignment = Math.max(32, this.entryBytes * 2 ** this.#log2);
    const address = registers.field(base, base.ADDR) * 2 ** base.ADDR.lsb;
    this.#base = address - (address % alignment);
    const index = (2 << this.#log2) - 1;
    this.#indexMask = index;
    for (const [register, field] of [
      [prod, prod.WR],
      [cons, cons.RD],
    ] as const) {
      registers.setReadMask(register, (~field.mask32 | index) >>> 0);
    }
    this.refresh();
  }

  /** The producer's index, as its register has it. */
  get prod(): number {
    return this.#prod;
  }

  set prod(index: number) {
    this.#prod = index;
    this.#setIndex(this.#prodPlace, this.#prodMask, index);
  }

  /** The consumer's index, as its register has it. */
  get cons(): number {
    return this.#cons;
  }

  set cons(index: number) {
    this.#cons = index;
    this.#setIndex(this.#consPlace, this.#consMask, index);
  }

  /** Takes the indexes from their registers: call when software wrote one of them. */
  refresh(): void {
    this.#prod = this.#registers.at(this.#prodPlace) & this.#indexMask;
    this.#cons = this.#registers.at(this.#consPlace) & this.#indexMask;
  }

  #setIndex(place: number, mask: number, index: number): void {
    const registers = this.#registers;
    registers.setAt(place, (registers.at(place) & ~mask) | (index & mask));
  }

  get empty(): boolean {
    return this.prod === this.cons;
  }

  /** How many entries the queue has. */
  get entries(): number {
    return 1 << this.#log2;
  }

  /**
   * Entries between the consumer's index and `index`. More than {@link entries} when software wrote indexes that no
   * correct sequence reaches (§3.5.1 calls them inconsistent).
   */
  usedUpTo(index: number): number {
    return (index - this.cons) & this.#indexMask;
  }

  /** No room for one more entry; inconsistent indexes leave none either. */
  get full(): boolean {
    return this.usedUpTo(this.prod) >= this.entries;
  }

  /** Physical address of the entry that `index` names. */
  addressOf(index: number): number {
    return this.#base + (index & (this.#indexMask >>> 1)) * this.entryBytes;
  }

  /** Copies the entry at `index` into `target`. */
  read(index: number, target: DataView): BusStatus {
    const address = this.addressOf(index);
    const memory = this.#bus.memory;
    if (!memory.contains(address, this.entryBytes)) {
      return this.#bus.read(address, bytesOf(target), 0, this.entryBytes);
    }
    copyWords(memory.readView(address), address & CHUNK_OFFSET, target, 0, this.entryBytes);
    return BusStatus.OK;
  }

  /**
   * Writes an entry at `index`, the producer's, and moves it. A write that aborts does so synchronously: the index stays,
   * and every entry before it is valid (§7.2.2).
   */
  push(entry: DataView, index = this.prod): BusStatus {
    const address = this.addressOf(index);
    const memory = this.#bus.memory;
    if (memory.contains(address, this.entryBytes)) {
      copyWords(entry, 0, memory.writeView(address), address & CHUNK_OFFSET, this.entryBytes);
    } else if (this.#bus.write(address, bytesOf(entry), 0, this.entryBytes) !== BusStatus.OK) {
      return BusStatus.ABORT;
    }
    this.prod = (index + 1) & this.#indexMask;
    return BusStatus.OK;
  }
}

/**
 * Entries are 16 or 32 bytes, aligned: moving their words costs less than a typed array's own copy, and four at a time
 * less than one.
 */
function copyWords(from: DataView, fromAt: number, to: DataView, toAt: number, length: number): void {
  for (let byte = 0; byte < length; byte += 16) {
    const source = fromAt + byte;
    const target = toAt + byte;
    to.setInt32(target, from.getInt32(source, true), true);
    to.setInt32(target + 4, from.getInt32(source + 4, true), true);
    to.setInt32(target + 8, from.getInt32(source + 8, true), true);
    to.setInt32(target + 12, from.getInt32(source + 12, true), true);
  }
}

const bytesOf = (view: DataView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
