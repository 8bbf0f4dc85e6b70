/** One MAP_DMA: a range of I/O virtual addresses backed by a range of a process's address space, and its fault state. */
import { assert } from '../assert.ts';
import { Protection, type WrittenRanges } from '../iommu/core.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import { RangeLock } from '../sim/locks.ts';
import { type Scheduler, type Steps, WaitQueue } from '../sim/task.ts';
import { Bitmap } from './bitmap.ts';
import type { Interval } from './interval-tree.ts';

export interface MappingOptions {
  readonly id: number;
  readonly iova: number;
  readonly size: number;
  readonly vaddr: number;
  /** Protection bits of src/iommu/core.ts. */
  readonly protection: number;
  readonly space: AddressSpace;
  /** Pages are mapped when the device asks; otherwise all of them are pinned and mapped. */
  readonly faultable: boolean;
}

/** Largest mapping that faults, 256 GiB of 4 KiB pages: its state takes some 12 bytes for each page. */
export const FAULTABLE_PAGES_MAX = 2 ** 26;

/** A fault that is about to map `[first, end)`. Whoever takes pages of it away sets `revoked`; the fault starts over. */
export interface FaultTicket {
  first: number;
  end: number;
  revoked: boolean;
}

/** What on-demand paging knows of the pages of a mapping. */
export interface FaultState {
  /** In the page table. */
  readonly mapped: Bitmap;
  /** In the page table with the mapping's full protection. */
  readonly writable: Bitmap;
  /** Virtual time at which a fault on the page was last served. */
  readonly servedNs: Float64Array;
  /** Slot in the residency list, or zero. */
  readonly residencySlots: Int32Array;
}

export class Mapping implements Interval, WrittenRanges {
  readonly id: number;
  readonly iova: number;
  readonly size: number;
  readonly start: number;
  readonly end: number;
  readonly pageBytes: number;
  readonly pageCount: number;
  readonly protection: number;
  /** Whose memory this is, and who is charged for what is pinned of it. */
  space: AddressSpace;
  vaddr: number;
  /** Null while the mapping is static: every page is pinned and mapped. */
  faults: FaultState | null;
  /** User space asked for this mapping to be static, whatever the container does. */
  staticByRequest = false;
  /** Pages that a user of the device pinned, with how often; they are mapped for good and nobody takes them away. */
  readonly pinCounts = new Map<number, number>();
  /** Pages written since the dirty log was last read; null while there is no log. */
  dirty: Bitmap | null = null;
  /** One fault at a time per page. */
  readonly faulting: RangeLock;
  /** Held from the first cleared page-table entry of a range until no cached translation of it is left. */
  readonly revoking: RangeLock;
  readonly tickets: FaultTicket[] = [];
  /** Being unmapped: faults find it no more, those in flight give up. */
  dying = false;
  /** VFIO_DMA_UNMAP_FLAG_VADDR took the virtual address away: faults that need it are parked. */
  vaddrInvalid = false;
  #references = 1;
  readonly #released: WaitQueue;

  constructor(scheduler: Scheduler, options: MappingOptions) {
    const { id, iova, size, vaddr, protection, space, faultable } = options;
    this.id = id;
    this.iova = iova;
    this.size = size;
    this.start = iova;
    this.end = iova + size;
    this.vaddr = vaddr;
    this.protection = protection;
    this.space = space;
    this.pageBytes = space.pageBytes;
    this.pageCount = size / space.pageBytes;
    this.faulting = new RangeLock(scheduler, `faults of mapping ${id}`);
    this.revoking = new RangeLock(scheduler, `revocations of mapping ${id}`);
    this.#released = new WaitQueue(scheduler, `mapping ${id} to be released`);
    this.faults = faultable ? newFaultState(this.pageCount) : null;
  }

  get writes(): boolean {
    return (this.protection & Protection.WRITE) !== 0;
  }

  get reads(): boolean {
    return (this.protection & Protection.READ) !== 0;
  }

  pageOf(iova: number): number {
    return Math.floor((iova - this.iova) / this.pageBytes);
  }

  iovaOf(page: number): number {
    return this.iova + page * this.pageBytes;
  }

  vaddrOf(page: number): number {
    return this.vaddr + page * this.pageBytes;
  }

  /** Marks what hardware saw written, while there is a log. */
  noteWritten(iova: number, size: number): void {
    this.dirty?.setRange(this.pageOf(iova), this.pageOf(iova + size - 1) + 1);
  }

  /** Takes a reference. @throws AssertionError once the mapping was released. */
  get(): this {
    assert(this.#references > 0, 'a mapping is not used after its release');
    this.#references += 1;
    return this;
  }

  put(): void {
    assert(this.#references > 0, 'a mapping is released once');
    this.#references -= 1;
    if (this.#references <= 1) this.#released.wakeAll();
  }

  /** Waits until only the caller uses the mapping, then ends it. */
  *release(): Steps {
    while (this.#references > 1) yield this.#released;
    this.put();
  }
}

export function newFaultState(pageCount: number): FaultState {
  return {
    mapped: new Bitmap(pageCount),
    writable: new Bitmap(pageCount),
    servedNs: new Float64Array(pageCount),
    residencySlots: new Int32Array(pageCount),
  };
}
