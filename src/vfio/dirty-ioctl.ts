/** VFIO_IOMMU_DIRTY_PAGES, and VFIO_IOMMU_UNMAP_DMA with VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP. */
import { Errno } from '../errno.ts';
import { USER_END } from '../mm/area-list.ts';
import type { Steps } from '../sim/task.ts';
import { aligned, read64, wraps } from './arguments.ts';
import { reportDirty, restoreDirty, startDirtyLog, stopDirtyLog, takeDirty } from './dirty-log.ts';
import { type Caller, type IoctlArgument, structure } from './files.ts';
import type { Type1, UnmapRequest } from './type1.ts';
import {
  DIRTY_BITMAP_BYTES_MAX,
  DirtyBitmap,
  DirtyBitmapGet,
  DirtyPages,
  DirtyPagesFlags,
  DmaUnmap,
} from './uapi.layout.ts';

/** Where struct vfio_bitmap lies in struct vfio_iommu_type1_dirty_bitmap_get. */
const GET_BITMAP_OFFSET = 16;

export function* dirtyPages(type1: Type1, caller: Caller, argument: IoctlArgument): Steps<number> {
  if (!type1.v2) return Errno.EACCES;
  const view = structure(argument, DirtyPages.$.byteLength);
  if (view === null) return Errno.EFAULT;
  const argsz = DirtyPages.ARGSZ.get(view);
  const flags = DirtyPages.FLAGS.get(view);
  if (argsz < DirtyPages.$.byteLength) return Errno.EINVAL;
  switch (flags) {
    case DirtyPagesFlags.START:
      return yield* type1.exclusively(() => startDirtyLog(type1.io));
    case DirtyPagesFlags.STOP:
      return yield* type1.exclusively(function* (): Steps<number> {
        stopDirtyLog(type1.io);
        return Errno.OK;
      });
    case DirtyPagesFlags.GET_BITMAP:
      if (argsz - DirtyPages.$.byteLength < DirtyBitmapGet.$.byteLength) return Errno.EINVAL;
      if (view.byteLength < DirtyPages.$.byteLength + DirtyBitmapGet.$.byteLength) return Errno.EFAULT;
      return yield* type1.exclusively(() => getBitmap(type1, caller, view));
    default:
      return Errno.EINVAL;
  }
}

/** Unmaps and reports which pages were written. Bytes unmapped, or an errno. */
export function* unmapWithBitmap(type1: Type1, caller: Caller, view: DataView, range: UnmapRequest): Steps<number> {
  const at = DmaUnmap.$.byteLength;
  if (DmaUnmap.ARGSZ.get(view) < at + DirtyBitmap.$.byteLength) return Errno.EINVAL;
  if (view.byteLength < at + DirtyBitmap.$.byteLength) return Errno.EFAULT;
  const bitmap = bitmapOf(view, at, BigInt(range.size), type1.io.pageBytes);
  if (bitmap === null || !type1.io.dirtyLogging) return Errno.EINVAL;
  const bits = new Uint8Array(bitmap.bytes);
  const status = yield* reach(caller, bitmap.address, bits);
  if (status < 0) return status;
  const { io } = type1;
  const bytes = yield* type1.unmap(range, (mapping) => {
    reportDirty(io, mapping, bits, (mapping.iova - range.iova) / io.pageBytes);
  });
  if (bytes < 0) return bytes;
  const stored = yield* caller.space.store(bitmap.address, bits);
  return stored < 0 ? stored : bytes;
}

function* getBitmap(type1: Type1, caller: Caller, view: DataView): Steps<number> {
  const { io } = type1;
  const at = DirtyPages.$.byteLength;
  const start = read64(DirtyBitmapGet.IOVA_LOW, DirtyBitmapGet.IOVA_HIGH, view, at);
  const size = read64(DirtyBitmapGet.SIZE_LOW, DirtyBitmapGet.SIZE_HIGH, view, at);
  if (wraps(start, size) || !io.dirtyLogging || !aligned(io.pageBytes, start, size)) return Errno.EINVAL;
  const bitmap = bitmapOf(view, at + GET_BITMAP_OFFSET, size, io.pageBytes);
  if (bitmap === null) return Errno.EINVAL;
  const iova = Number(start);
  // Like unmapping, reading must not cut a mapping in two.
  const mappings = type1.covered({ iova, size: Number(size), all: false });
  if (mappings === null) return Errno.EINVAL;
  const bits = new Uint8Array(bitmap.bytes);
  const reached = yield* reach(caller, bitmap.address, bits);
  if (reached < 0) return reached;
  yield* takeDirty(io, mappings, bits, iova);
  const stored = yield* caller.space.store(bitmap.address, bits);
  if (stored < 0) for (const mapping of mappings) restoreDirty(mapping, bits, (mapping.iova - iova) / io.pageBytes);
  return stored;
}

/** Bytes and address of a user's bitmap for `size` bytes of I/O virtual addresses; null where it is not acceptable. */
function bitmapOf(
  view: DataView,
  at: number,
  size: bigint,
  pageBytes: number,
): { readonly address: number; readonly bytes: number } | null {
  const given = read64(DirtyBitmap.SIZE_LOW, DirtyBitmap.SIZE_HIGH, view, at);
  const address = read64(DirtyBitmap.DATA_LOW, DirtyBitmap.DATA_HIGH, view, at);
  const pgsize = read64(DirtyBitmap.PGSIZE_LOW, DirtyBitmap.PGSIZE_HIGH, view, at);
  if (pgsize !== BigInt(pageBytes)) return null;
  const pages = size / pgsize;
  const needed = ((pages + 63n) / 64n) * 8n;
  if (pages === 0n || given > BigInt(DIRTY_BITMAP_BYTES_MAX) || given < needed) return null;
  if (address + given > BigInt(USER_END)) return null;
  return { address: Number(address), bytes: Number(needed) };
}

/** Reads the user's bitmap and writes it back, so that what follows finds it there. 0 or -EFAULT. */
function* reach(caller: Caller, address: number, bits: Uint8Array): Steps<number> {
  const loaded = yield* caller.space.load(address, bits);
  return loaded < 0 ? loaded : yield* caller.space.store(address, bits);
}
