/** vfio_dma of the exhibit: a mapping, its bitmap once there is one, and what was pinned for it. */
import { Errno } from '../../../src/errno.ts';
import { type IommuDomain, Protection } from '../../../src/iommu/core.ts';
import type { AddressSpace } from '../../../src/mm/address-space.ts';
import type { Steps } from '../../../src/sim/task.ts';
import { Bitmap } from '../../../src/vfio/bitmap.ts';
import { Allocation } from './lifetime.ts';

export const PAGE_BYTES = 4096;

export class RfcMapping extends Allocation {
  readonly space: AddressSpace;
  readonly vaddr: number;
  readonly iova: number;
  readonly size: number;
  readonly protection: number;
  readonly pageCount: number;
  /** iopf_mapped_bitmap. */
  bitmap: Bitmap | null = null;
  vaddrInvalid = false;
  /** Frames pinned when the mapping was made. */
  readonly #pinned: number[] = [];

  constructor(space: AddressSpace, vaddr: number, iova: number, size: number, protection: number) {
    super('a mapping');
    this.space = space;
    this.vaddr = vaddr;
    this.iova = iova;
    this.size = size;
    this.protection = protection;
    this.pageCount = size / PAGE_BYTES;
  }

  allocateBitmap(): void {
    this.bitmap = new Bitmap(this.pageCount);
  }

  pageOf(iova: number): number {
    return (iova - this.iova) / PAGE_BYTES;
  }

  get write(): boolean {
    return (this.protection & Protection.WRITE) !== 0;
  }

  /** What MAP_DMA does without IOPF. */
  *pinAndMap(domain: IommuDomain): Steps<number> {
    if (!this.space.locked.charge(this.pageCount)) return Errno.ENOMEM;
    const { allocator } = this.space.host;
    const frames = new Int32Array(1);
    for (let page = 0; page < this.pageCount; page++) {
      const got = yield* this.space.acquire(
        this.vaddr + page * PAGE_BYTES,
        1,
        { write: this.write, longTerm: true },
        frames,
      );
      if (got < 0) return got;
      const frame = frames[0] ?? 0;
      this.#pinned.push(frame);
      domain.map(this.iova + page * PAGE_BYTES, allocator.addressOf(frame), PAGE_BYTES, this.protection);
    }
    return Errno.OK;
  }

  *unmapAndUnpin(domain: IommuDomain): Steps {
    const gather = domain.newGather();
    domain.unmap(this.iova, this.size, gather);
    yield* domain.flush(gather);
    for (const frame of this.#pinned) this.space.host.allocator.unpin(frame);
    this.space.locked.uncharge(this.#pinned.length);
    this.#pinned.length = 0;
  }

  /** Pins a page for a vendor driver. */
  *pinOne(iova: number): Steps<number> {
    if (!this.space.locked.charge(1)) return Errno.ENOMEM;
    const frames = new Int32Array(1);
    const use = { write: this.write, longTerm: true };
    const got = yield* this.space.acquire(this.vaddr + iova - this.iova, 1, use, frames);
    if (got < 0) return got;
    this.#pinned.push(frames[0] ?? 0);
    return Errno.OK;
  }

  /** Ends every pin of {@link pinOne}. */
  unpinAll(): void {
    for (const frame of this.#pinned) this.space.host.allocator.unpin(frame);
    this.space.locked.uncharge(this.#pinned.length);
    this.#pinned.length = 0;
  }
}
