/** The guest's memory: an area of the host process, seen at guest-physical addresses. */
import { assert } from '../assert.ts';
import type { Steps } from '../sim/task.ts';
import type { HostProcess } from './host-process.ts';
import { succeeded, VmmError } from './vmm-error.ts';

export const GUEST_PAGE_BYTES = 4096;

export interface GuestMemoryOptions {
  readonly process: HostProcess;
  /** Virtual address of the area in the host process. */
  readonly hostAddress: number;
  /** Guest-physical address of its first byte. */
  readonly base: number;
  /** Bytes; a multiple of the page size. */
  readonly size: number;
}

export class GuestMemory {
  readonly base: number;
  readonly size: number;
  readonly hostAddress: number;
  readonly #process: HostProcess;
  #free: number;

  constructor(options: GuestMemoryOptions) {
    assert(options.size % GUEST_PAGE_BYTES === 0, `guest memory of ${options.size} bytes is no number of pages`);
    this.base = options.base;
    this.size = options.size;
    this.hostAddress = options.hostAddress;
    this.#process = options.process;
    this.#free = options.base;
  }

  /** Bytes that {@link allocate} has not given out. */
  get freeBytes(): number {
    return this.base + this.size - this.#free;
  }

  /**
   * The guest-physical address of whole, adjacent pages for `bytes` bytes. They are never given back: a workload
   * takes what it needs at its start. The pages read as zero until they are written.
   *
   * @throws VmmError when guest memory has no room for it.
   */
  allocate(bytes: number, purpose: string): number {
    const size = Math.ceil(bytes / GUEST_PAGE_BYTES) * GUEST_PAGE_BYTES;
    if (size > this.freeBytes) {
      throw new VmmError(
        `guest memory of ${this.size} bytes has no room for the ${purpose}: ` +
          `${size} bytes needed, ${this.freeBytes} free (guest.memory)`,
      );
    }
    const address = this.#free;
    this.#free += size;
    return address;
  }

  /** A CPU's load of `target.length` bytes at guest-physical `address`. */
  *read(address: number, target: Uint8Array): Steps {
    succeeded(yield* this.#process.load(this.#host(address, target.length), target), 'load from guest memory');
  }

  *write(address: number, source: Uint8Array): Steps {
    succeeded(yield* this.#process.store(this.#host(address, source.length), source), 'store to guest memory');
  }

  #host(address: number, length: number): number {
    assert(address >= this.base && address + length <= this.base + this.size, 'the guest stays within its memory');
    return this.hostAddress + (address - this.base);
  }
}
