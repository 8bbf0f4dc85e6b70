/**
 * A kernel's VFIO with one accelerator behind it, as far as a VMM needs it, written from `linux/vfio.h` and the
 * accelerator's data sheet: for tests of the guest without the machine.
 */
import { createCipheriv } from 'node:crypto';
import { Errno } from '../../src/errno.ts';
import * as sheet from '../../src/hw/devices/accelerator.layout.ts';
import type { Clock } from '../../src/sim/clock.ts';
import type { Steps } from '../../src/sim/task.ts';
import { FakeProcess } from './fake-process.ts';

/** Numbers typed from linux/vfio.h. */
const CONFIG_REGION = 7;
const REGION_SHIFT = 2 ** 40;
const MSIX_INDEX = 2;
const NAMES: Readonly<Record<number, string>> = {
  15204: 'GET_API_VERSION',
  15205: 'CHECK_EXTENSION',
  15206: 'SET_IOMMU',
  15207: 'GROUP_GET_STATUS',
  15208: 'GROUP_SET_CONTAINER',
  15210: 'GROUP_GET_DEVICE_FD',
  15211: 'DEVICE_GET_INFO',
  15212: 'DEVICE_GET_REGION_INFO',
  15213: 'DEVICE_GET_IRQ_INFO',
  15214: 'DEVICE_SET_IRQS',
  15215: 'DEVICE_RESET',
  15216: 'IOMMU_GET_INFO',
  15217: 'MAP_DMA',
  15218: 'UNMAP_DMA',
  15221: 'DIRTY_PAGES',
  15222: 'ENABLE_IOPF',
  15305: 'CONFIGURE_IOPF',
};

export interface FakeVfioOptions {
  readonly clock: Clock;
  readonly memoryBytes: number;
  /** Errors by request name, such as `MAP_DMA`. */
  readonly errors?: Readonly<Record<string, number>>;
  readonly operationNs?: number;
  /** Without it the kernel announces no dirty log. */
  readonly dirtyLog?: boolean;
}

export class FakeVfio extends FakeProcess {
  /** Requests in the order of arrival. */
  readonly calls: string[] = [];
  /** The last argument of each request: its number, or its 32-bit words. */
  readonly arguments = new Map<string, number | number[]>();
  readonly config = new DataView(new ArrayBuffer(4096));
  readonly registers = new DataView(new ArrayBuffer(sheet.BAR0_BYTES));
  readonly descriptors = new Set<number>();
  /** Configuration offsets that the VMM wrote to the device. */
  readonly configWrites: number[] = [];
  mapping: { iova: number; address: number; size: number } | null = null;
  vectors: number[] = [];
  /** Pages of the mapping, 64 at most, that the next reading of the dirty log reports. */
  dirty: number[] = [];
  readonly #options: FakeVfioOptions;
  readonly #signals: (() => void)[] = [];
  #head = 0;
  #nextDescriptor = 3;

  constructor(options: FakeVfioOptions) {
    super(options.memoryBytes);
    this.#options = options;
    this.config.setUint32(0x00, 0xfa17_1d0f, true);
    this.config.setUint32(0x04, 0x0010_0000, true);
    this.config.setUint32(0x08, 0x0b40_0001, true);
    this.config.setUint32(0x10, 0x5000_0004, true); // BAR 0: 64 bits wide, where the host put it
    this.config.setUint32(0x18, 0x5000_1004, true); // BAR 2 likewise
    this.config.setUint8(0x34, 0x40);
    this.config.setUint32(0x40, 0x0002_5010, true); // PCI Express, next at 0x50
    this.config.setUint32(0x50, 0x0001_0011, true); // MSI-X, two vectors
    this.config.setUint32(0x54, 0x0000_0002, true); // table in BAR 2 at 0
    this.config.setUint32(0x58, 0x0000_0802, true); // pending bits in BAR 2 at 0x800
    this.registers.setUint32(sheet.IDENTITY.offset, sheet.IDENTITY_VALUE, true);
  }

  /** Signals a vector's event descriptor, as an interrupt of the device would. */
  signal(vector: number): void {
    const descriptor = this.vectors[vector];
    if (descriptor !== undefined) this.#signals[descriptor - 1000]?.();
  }

  override *open(path: string): Steps<number> {
    return path === '/dev/vfio/vfio' || path === '/dev/vfio/5' ? this.#descriptor() : Errno.ENOENT;
  }

  override *close(descriptor: number): Steps<number> {
    return this.descriptors.delete(descriptor) ? 0 : Errno.EBADF;
  }

  override *ioctl(descriptor: number, request: number, argument: DataView | number): Steps<number> {
    const name = NAMES[request] ?? request.toString(16);
    this.calls.push(name);
    this.arguments.set(name, typeof argument === 'number' ? argument : wordsOf(argument));
    if (!this.descriptors.has(descriptor)) return Errno.EBADF;
    const error = this.#options.errors?.[name];
    if (error !== undefined) return error;
    return typeof argument === 'number' ? this.#plain(name, argument) : this.#structured(name, argument);
  }

  override *pread(_descriptor: number, target: DataView, offset: number): Steps<number> {
    const source = this.#region(offset);
    for (let byte = 0; byte < target.byteLength; byte++) {
      target.setUint8(byte, source.getUint8((offset % REGION_SHIFT) + byte));
    }
    return target.byteLength;
  }

  override *pwrite(_descriptor: number, source: DataView, offset: number): Steps<number> {
    const at = offset % REGION_SHIFT;
    const region = this.#region(offset);
    if (region === this.config) this.configWrites.push(at);
    for (let byte = 0; byte < source.byteLength; byte++) region.setUint8(at + byte, source.getUint8(byte));
    if (region === this.registers) this.#registerWritten(at);
    return source.byteLength;
  }

  override eventfd(signalled: () => void): number {
    return 1000 + this.#signals.push(signalled) - 1;
  }

  #descriptor(): number {
    this.descriptors.add(this.#nextDescriptor);
    return this.#nextDescriptor++;
  }

  #plain(name: string, argument: number): number {
    if (name === 'CHECK_EXTENSION') return argument === 3 || argument === 200 ? 1 : 0;
    return 0;
  }

  #structured(name: string, view: DataView): number {
    const index = view.byteLength >= 12 ? view.getUint32(8, true) : 0;
    const long = (at: number) => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    switch (name) {
      case 'GROUP_GET_STATUS':
        view.setUint32(4, 1, true);
        return 0;
      case 'GROUP_GET_DEVICE_FD':
        return new TextDecoder().decode(view) === '0000:01:00.0\0' ? this.#descriptor() : Errno.ENODEV;
      case 'DEVICE_GET_INFO':
        view.setUint32(4, 2, true);
        return 0;
      case 'DEVICE_GET_REGION_INFO':
        view.setUint32(16, index === CONFIG_REGION ? 4096 : index === 0 || index === 2 ? 0x1000 : 0, true);
        view.setUint32(28, index * 2 ** 8, true);
        return 0;
      case 'DEVICE_GET_IRQ_INFO':
        view.setUint32(4, 1, true);
        view.setUint32(12, index === MSIX_INDEX ? 2 : 0, true);
        return 0;
      case 'DEVICE_SET_IRQS':
        this.vectors = Array.from({ length: view.getUint32(16, true) }, (_, n) => view.getInt32(20 + n * 4, true));
        return 0;
      case 'IOMMU_GET_INFO':
        view.setUint32(4, 3, true);
        view.setBigUint64(8, 0x4020_1000n, true);
        if (this.#options.dirtyLog !== true) return 0;
        view.setUint32(16, 24, true);
        view.setUint32(24, 0x0001_0002, true); // the migration capability, version 1, the last
        view.setBigUint64(40, 0x1000n, true);
        view.setBigUint64(48, 0x1000_0000n, true);
        return 0;
      case 'DIRTY_PAGES':
        return view.getUint32(4, true) === 4 ? this.#readDirty(long(40)) : 0;
      case 'MAP_DMA':
        this.mapping = { address: long(8), iova: long(16), size: long(24) };
        return 0;
      case 'UNMAP_DMA':
        this.mapping = null;
        return 0;
      default:
        return 0;
    }
  }

  #readDirty(address: number): number {
    const bits = new DataView(new ArrayBuffer(8));
    for (const page of this.dirty) bits.setUint8(page >> 3, bits.getUint8(page >> 3) | (1 << (page & 7)));
    this.dirty = [];
    for (const _ of this.store(address, new Uint8Array(bits.buffer))) throw new Error('yield');
    return 0;
  }

  #region(offset: number): DataView {
    return Math.floor(offset / REGION_SHIFT) === CONFIG_REGION ? this.config : this.registers;
  }

  #registerWritten(at: number): void {
    if (at === sheet.CONTROL.offset) {
      const control = this.registers.getUint32(at, true);
      this.registers.setUint32(sheet.STATUS.offset, control % 2, true);
      if (control % 4 >= 2) this.#head = 0;
    }
    if (at !== sheet.RING_TAIL.offset) return;
    this.#options.clock.after(this.#options.operationNs ?? 0, () => this.#work());
  }

  /** Does every operation up to the tail, in place. */
  #work(): void {
    const entries = 2 ** this.registers.getUint32(sheet.RING_SIZE.offset, true);
    const ring = this.registers.getUint32(sheet.RING_BASE.offset, true);
    for (; this.#head !== this.registers.getUint32(sheet.RING_TAIL.offset, true); this.#head++) {
      const at = ring + (this.#head % entries) * 64;
      const descriptor = new DataView(this.dma(at, 64).buffer);
      const length = descriptor.getUint32(16, true);
      const bytes = new Uint8Array(this.registers.buffer);
      const cipher = createCipheriv('aes-256-ctr', bytes.slice(0x40, 0x60), bytes.slice(0x60, 0x70));
      cipher.update(new Uint8Array(descriptor.getUint32(24, true)));
      this.dma(descriptor.getUint32(8, true), length, cipher.update(this.dma(descriptor.getUint32(0, true), length)));
      const writeback = new DataView(new ArrayBuffer(16));
      writeback.setUint32(0, 1, true);
      writeback.setUint32(4, length, true);
      this.dma(at + 48, 16, new Uint8Array(writeback.buffer));
      this.signal(0);
    }
  }

  /** Copies memory at an I/O virtual address, and overwrites it when `data` is given. */
  dma(iova: number, length: number, data?: Uint8Array): Uint8Array {
    const mapping = this.mapping;
    if (mapping === null || iova < mapping.iova || iova + length > mapping.iova + mapping.size) {
      throw new Error(`the device reached unmapped ${iova}`);
    }
    const target = new Uint8Array(length);
    const address = iova - mapping.iova + mapping.address;
    for (const _ of data === undefined ? this.load(address, target) : this.store(address, data))
      throw new Error('yield');
    return target;
  }
}

function wordsOf(view: DataView): number[] {
  const count = Math.floor(view.byteLength / 4);
  return Array.from({ length: count }, (_, index) => view.getUint32(index * 4, true));
}
