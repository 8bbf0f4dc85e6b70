/** VFIO_UPDATE_VADDR: the memory behind mappings moves to other virtual addresses while devices go on using it. */
import { Errno } from '../errno.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { Steps } from '../sim/task.ts';
import type { Type1, UnmapRequest } from './type1.ts';

/** VFIO_DMA_UNMAP_FLAG_VADDR: faults on the mappings wait for a new address. Bytes, or -EINVAL and nothing is changed. */
export function* invalidateVaddr(type1: Type1, request: UnmapRequest): Steps<number> {
  return yield* type1.exclusively(function* (): Steps<number> {
    const mappings = type1.covered(request);
    if (mappings === null || mappings.some((mapping) => mapping.vaddrInvalid)) return Errno.EINVAL;
    let bytes = 0;
    for (const mapping of mappings) {
      mapping.vaddrInvalid = true;
      bytes += mapping.size;
    }
    return bytes;
  });
}

/**
 * VFIO_DMA_MAP_FLAG_VADDR: the mapping of exactly this range is at `vaddr` now. -ENOENT where nothing is mapped, -EINVAL
 * where its address was not taken away before, -ENOMEM where another address space takes it over whose lock limit does not
 * allow what is pinned of it.
 */
export function* setVaddr(type1: Type1, space: AddressSpace, iova: number, size: number, vaddr: number): Steps<number> {
  return yield* type1.exclusively(function* (): Steps<number> {
    const { io } = type1;
    const mapping = type1.overlapping(iova, size);
    if (mapping === null) return Errno.ENOENT;
    if (!mapping.vaddrInvalid || mapping.iova !== iova || mapping.size !== size) return Errno.EINVAL;
    if (mapping.space !== space) {
      const pinned = mapping.faults === null ? mapping.pageCount : mapping.pinCounts.size;
      if (!space.locked.charge(pinned)) return Errno.ENOMEM;
      mapping.space.locked.uncharge(pinned);
    }
    // Pages that faults mapped are looked after under the new address from now on; the old one may show others by now.
    if (mapping.faults !== null) yield* io.moveMapping(mapping, space, vaddr);
    mapping.space = space;
    mapping.vaddr = vaddr;
    mapping.vaddrInvalid = false;
    yield* type1.handler.resume();
    return Errno.OK;
  });
}
