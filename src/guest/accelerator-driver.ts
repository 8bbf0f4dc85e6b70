/**
 * The guest's driver for the crypto accelerator: a descriptor ring in guest memory, a doorbell, completions by interrupt,
 * several operations in flight. It touches configuration space, BARs, interrupts and its own memory, nothing else.
 */
import { assert } from '../assert.ts';
import {
  ACCELERATOR_ID,
  CONTROL,
  DESCRIPTOR_BYTES,
  Descriptor,
  DescriptorStatus,
  FEATURES,
  IDENTITY,
  IDENTITY_VALUE,
  IV_BYTES,
  IV_OFFSET,
  KEY_BYTES,
  KEY_OFFSET,
  PASID_CONTROL,
  RING_BASE,
  RING_SIZE,
  RING_TAIL,
  STATUS,
  WRITEBACK_BYTES,
  WRITEBACK_OFFSET,
} from '../hw/devices/accelerator.layout.ts';
import { high32, low32 } from '../layout/field.ts';
import { registerValue } from '../layout/register.ts';
import { encodeInto } from '../layout/struct.ts';
import type { Log } from '../sim/log.ts';
import { type Scheduler, type Steps, WaitQueue } from '../sim/task.ts';
import type { GuestBoard } from './board.ts';
import { PciDriver } from './pci-driver.ts';
import { VmmError } from './vmm-error.ts';
import type { CryptoCompletion, CryptoDevice, CryptoOperation } from './workload.ts';

const REGISTERS = 0;
const PAGE_BYTES = 4096;
const INDEX_COUNT = 0x1_0000;

export interface AcceleratorDriverOptions {
  readonly board: GuestBoard;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Descriptors in the ring: a power of two, 2 to 32768. */
  readonly ringEntries: number;
  /** Nanoseconds of CPU time to post or to reap one operation. */
  readonly operationNs: number;
  /** The device's accesses carry this PASID; left out, they have none. */
  readonly pasid?: number;
  /** What the device must say to reach an address of the board's memory; left out, the same. */
  readonly dmaAddress?: (address: number) => number;
  /** Keeps memory mapped for the device by a stage of the guest's own; left out, there is none. */
  readonly keepMapped?: (address: number, bytes: number) => Steps;
}

export class AcceleratorDriver implements CryptoDevice {
  readonly capacity: number;
  readonly #options: AcceleratorDriverOptions;
  readonly #pci: PciDriver;
  readonly #ring: number;
  readonly #interrupted: WaitQueue;
  readonly #descriptor = new DataView(new ArrayBuffer(DESCRIPTOR_BYTES));
  readonly #writeback = new DataView(new ArrayBuffer(DESCRIPTOR_BYTES));
  /** Interrupts so far: a waiter compares, so that one between its look and its sleep is not missed. */
  #interrupts = 0;
  #ringError = false;
  /** Free-running indexes, as the device counts: operations posted and reaped. */
  #tail = 0;
  #head = 0;

  private constructor(options: AcceleratorDriverOptions, pci: PciDriver, ring: number) {
    this.#options = options;
    this.#pci = pci;
    this.#ring = ring;
    this.capacity = options.ringEntries;
    this.#interrupted = new WaitQueue(options.scheduler, 'a completion interrupt');
  }

  /** Finds the accelerator, resets it and starts its ring. @throws VmmError when it is not there or not usable. */
  static *start(options: AcceleratorDriverOptions): Steps<AcceleratorDriver> {
    assert(Number.isInteger(Math.log2(options.ringEntries)), `a ring of ${options.ringEntries} descriptors`);
    const pci = yield* PciDriver.probe(options.board);
    if (pci.vendor !== ACCELERATOR_ID.vendor || pci.device !== ACCELERATOR_ID.device) {
      throw new VmmError(`no driver for PCI device ${pci.vendor.toString(16)}:${pci.device.toString(16)}`);
    }
    const identity = yield* pci.read(REGISTERS, IDENTITY.offset, 4);
    if (identity !== IDENTITY_VALUE) throw new VmmError(`the accelerator's IDENTITY reads ${identity.toString(16)}`);
    const ring = options.board.memory.allocate(options.ringEntries * DESCRIPTOR_BYTES, 'descriptor ring');
    const driver = new AcceleratorDriver(options, pci, ring);
    yield* driver.#initialise();
    return driver;
  }

  /** Operations posted and not reaped. */
  get inFlight(): number {
    return (this.#tail - this.#head + INDEX_COUNT) % INDEX_COUNT;
  }

  *setKey(key: Uint8Array, iv: Uint8Array): Steps {
    assert(key.length === KEY_BYTES && iv.length === IV_BYTES, 'a key has 32 bytes, an initial counter block 16');
    assert(this.inFlight === 0, 'the key stays while operations are in flight');
    yield* this.#writeBytes(KEY_OFFSET, key);
    yield* this.#writeBytes(IV_OFFSET, iv);
  }

  *post(operation: CryptoOperation): Steps {
    assert(this.inFlight < this.capacity, 'the ring has a free descriptor');
    yield this.#options.operationNs;
    const { length, streamOffset } = operation;
    const source = this.#dmaAddress(operation.source);
    const destination = this.#dmaAddress(operation.destination);
    encodeInto(Descriptor, this.#descriptor, 0, {
      SOURCE_OFFSET: source % PAGE_BYTES,
      SOURCE_PAGE: Math.floor(source / PAGE_BYTES),
      DESTINATION_OFFSET: destination % PAGE_BYTES,
      DESTINATION_PAGE: Math.floor(destination / PAGE_BYTES),
      LENGTH: length,
      INTERRUPT: 1,
      STREAM_OFFSET_LOW: low32(streamOffset),
      STREAM_OFFSET_HIGH: high32(streamOffset),
      COOKIE: this.#tail,
      STATUS: DescriptorStatus.PENDING,
    });
    yield* this.#options.board.memory.write(this.#place(this.#tail), bytesOf(this.#descriptor));
    this.#options.log.debug({ event: 'guest.post', index: this.#tail, source, destination, length, streamOffset });
    this.#tail = (this.#tail + 1) % INDEX_COUNT;
    yield* this.#pci.write(REGISTERS, RING_TAIL.offset, 4, registerValue(RING_TAIL, { INDEX: this.#tail }));
  }

  *reap(): Steps<CryptoCompletion> {
    assert(this.inFlight > 0, 'an operation is in flight');
    for (;;) {
      const seen = this.#interrupts;
      if (this.#ringError) yield* this.#reportRingError();
      yield* this.#readWriteback();
      if (Descriptor.STATUS.get(this.#writeback) !== DescriptorStatus.PENDING) break;
      while (this.#interrupts === seen) yield this.#interrupted;
    }
    yield this.#options.operationNs;
    const code = Descriptor.STATUS.get(this.#writeback);
    const processed = Descriptor.PROCESSED.get(this.#writeback);
    const status = Object.entries(DescriptorStatus).find(([, value]) => value === code)?.[0] ?? `STATUS_${code}`;
    this.#options.log.debug({ event: 'guest.reap', index: this.#head, status, processed });
    this.#head = (this.#head + 1) % INDEX_COUNT;
    return { ok: code === DescriptorStatus.DONE, status, processed };
  }

  /** Stops the ring and returns the device to its reset state. */
  *stop(): Steps {
    yield* this.#control({ ENABLE: 0 });
    yield* this.#control({ RESET: 1 });
  }

  *#initialise(): Steps {
    const { ringEntries, pasid } = this.#options;
    yield* this.#control({ RESET: 1 });
    yield* this.#pci.enableMsix([() => this.#completed(), () => this.#failed()]);
    yield* this.#keepRing();
    const base = new DataView(new ArrayBuffer(8));
    RING_BASE.PAGE.set(base, 0, this.#dmaAddress(this.#ring) / PAGE_BYTES);
    yield* this.#pci.write(REGISTERS, RING_BASE.offset, 4, base.getUint32(0, true));
    yield* this.#pci.write(REGISTERS, RING_BASE.offset + 4, 4, base.getUint32(4, true));
    const size = registerValue(RING_SIZE, { LOG2SIZE: Math.log2(ringEntries) });
    yield* this.#pci.write(REGISTERS, RING_SIZE.offset, 4, size);
    if (pasid !== undefined) {
      const value = registerValue(PASID_CONTROL, { PASID: pasid, ENABLE: 1 });
      yield* this.#pci.write(REGISTERS, PASID_CONTROL.offset, 4, value);
    }
    yield* this.#control({ ENABLE: 1 });
    const status = yield* this.#pci.read(REGISTERS, STATUS.offset, 4);
    if (STATUS.ENABLED.of(status) === 0) throw new VmmError('the accelerator does not start');
    this.#options.log.info({ event: 'guest.ready', ring: this.#ring, ringEntries });
  }

  /** A device that cannot wait for its ring has it present, and only that. */
  *#keepRing(): Steps {
    const { board, ringEntries } = this.#options;
    const features = yield* this.#pci.read(REGISTERS, FEATURES.offset, 4);
    if (FEATURES.PINNED_RING.of(features) === 0) return;
    if (board.keepPresent === undefined)
      throw new VmmError('the accelerator cannot wait for its ring, which may go away');
    const { keepMapped } = this.#options;
    if (keepMapped !== undefined) yield* keepMapped(this.#ring, ringEntries * DESCRIPTOR_BYTES);
    yield* board.keepPresent(this.#ring, ringEntries * DESCRIPTOR_BYTES);
  }

  #dmaAddress(address: number): number {
    return this.#options.dmaAddress?.(address) ?? address;
  }

  #completed(): void {
    this.#interrupts += 1;
    this.#interrupted.wakeAll();
  }

  #failed(): void {
    this.#ringError = true;
    this.#completed();
  }

  *#reportRingError(): Steps<never> {
    const status = yield* this.#pci.read(REGISTERS, STATUS.offset, 4);
    this.#options.log.error({ event: 'guest.ringError', status });
    throw new VmmError('the accelerator could not read or write its descriptor ring, and stopped');
  }

  *#readWriteback(): Steps {
    const target = bytesOf(this.#writeback).subarray(WRITEBACK_OFFSET, WRITEBACK_OFFSET + WRITEBACK_BYTES);
    yield* this.#options.board.memory.read(this.#place(this.#head) + WRITEBACK_OFFSET, target);
  }

  /** Guest-physical address of the descriptor with a free-running index. */
  #place(index: number): number {
    return this.#ring + (index % this.capacity) * DESCRIPTOR_BYTES;
  }

  *#control(values: { readonly ENABLE?: number; readonly RESET?: number }): Steps {
    yield* this.#pci.write(REGISTERS, CONTROL.offset, 4, registerValue(CONTROL, values));
  }

  *#writeBytes(offset: number, bytes: Uint8Array): Steps {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += 4) {
      yield* this.#pci.write(REGISTERS, offset + at, 4, view.getUint32(at, true));
    }
  }
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
