/** VFIO_IOMMU_DIRTY_PAGES, and VFIO_IOMMU_UNMAP_DMA with VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP. */
import { Errno } from '../errno.ts';
import { USER_END } from '../mm/area-list.ts';
import type { Steps } from '../sim/task.ts';
import { aligned, read64, wraps } from './arguments.ts';
import { reportDirty, restoreDirty, startDirtyLog, stopDirtyLog, takeDirty } from './dirty-log.ts';
import { type Caller, type IoctlArgument, structure } from './files.ts';
import type { Mapping } from './mapping.ts';
import type { Type1, UnmapRequest } from './type1.ts';
import {
  DIRTY_BITMAP_BYTES_MAX,
  DirtyBitmap,
  DirtyBitmapGet,
  DirtyPages,
  DirtyPagesFlags,
  DmaUnmap,
} from './uapi.layout.ts';
import { UserBitmap } from './user-bitmap.ts';

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

/** What the kernel sees wrong with the bitmap of an unmap request before it looks at the range: 0 or an errno. */
export function checkUnmapBitmap(view: DataView): number {
  const at = DmaUnmap.$.byteLength;
  if (DmaUnmap.ARGSZ.get(view) < at + DirtyBitmap.$.byteLength) return Errno.EINVAL;
  return view.byteLength < at + DirtyBitmap.$.byteLength ? Errno.EFAULT : Errno.OK;
}

/** Unmaps and reports which pages were written. Bytes unmapped, or an errno. {@link checkUnmapBitmap} passed. */
export function* unmapWithBitmap(type1: Type1, caller: Caller, view: DataView, range: UnmapRequest): Steps<number> {
  const { io } = type1;
  const bitmap = bitmapOf(view, DmaUnmap.$.byteLength, BigInt(range.size), io.pageBytes);
  if (bitmap === null || !io.dirtyLogging) return Errno.EINVAL;
  const user = new UserBitmap(caller.space, bitmap.address, bitmap.bytes);
  const place = (mapping: Mapping): number => (mapping.iova - range.iova) / io.pageBytes;
  const bytes = yield* type1.unmap(range, {
    prepare: (mappings) => user.prepare(mappings, place),
    gone: (mapping) => reportDirty(io, mapping, user.bits, place(mapping)),
  });
  if (bytes < 0) return bytes;
  const stored = yield* user.store();
  return stored < 0 ? stored : bytes;
}

function* getBitmap(type1: Type1, caller: Caller, view: DataView): Steps<number> {
  const { io } = type1;
  const at = DirtyPages.$.byteLength;
  const start = read64(DirtyBitmapGet.IOVA_LOW, DirtyBitmapGet.IOVA_HIGH, view, at);
  const size = read64(DirtyBitmapGet.SIZE_LOW, DirtyBitmapGet.SIZE_HIGH, view, at);
  // The kernel adds them up: unlike elsewhere, an end of exactly 2^64 is a wrap.
  if (wraps(start, size + 1n) || !io.dirtyLogging || !aligned(io.pageBytes, start, size)) return Errno.EINVAL;
  const bitmap = bitmapOf(view, at + GET_BITMAP_OFFSET, size, io.pageBytes);
  if (bitmap === null) return Errno.EINVAL;
  const iova = Number(start);
  // Like unmapping, reading must not cut a mapping in two.
  const mappings = type1.covered({ iova, size: Number(size), all: false });
  if (mappings === null) return Errno.EINVAL;
  const place = (mapping: Mapping): number => (mapping.iova - iova) / io.pageBytes;
  const user = new UserBitmap(caller.space, bitmap.address, bitmap.bytes);
  const reached = yield* user.prepare(mappings, place);
  if (reached < 0) return reached;
  yield* takeDirty(io, mappings, user.bits, iova);
  const stored = yield* user.store();
  if (stored < 0) for (const mapping of mappings) restoreDirty(mapping, user.bits, place(mapping));
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
