/** Requests on a type1 container: reads the argument, checks it by the kernel's rules, and acts. */
import { Errno } from '../errno.ts';
import { Protection } from '../iommu/core.ts';
import { USER_END } from '../mm/area-list.ts';
import type { Steps } from '../sim/task.ts';
import { aligned, read64, wraps, write64 } from './arguments.ts';
import { checkUnmapBitmap, dirtyPages, unmapWithBitmap } from './dirty-ioctl.ts';
import { type Caller, type IoctlArgument, structure } from './files.ts';
import { allocFaultQueue, bindGuestTable, invalidateGuest, unbindGuestTable } from './guest-ioctl.ts';
import { configureIopf, pinDma, prefaultDma, unpinDma } from './iopf-ioctl.ts';
import type { Type1 } from './type1.ts';
import { iommuInfo } from './type1-info.ts';
import { DmaMap, DmaMapFlags, DmaUnmap, DmaUnmapFlags, Extension, Ioctl } from './uapi.layout.ts';
import { ExtensionIoctl, VFIO_DMA_MAP_FLAG_STATIC, VFIO_IOPF } from './uapi-extensions.layout.ts';
import { NestingIoctl, VFIO_GUEST_STAGE } from './uapi-nesting.layout.ts';
import { invalidateVaddr, setVaddr } from './vaddr-update.ts';

/** Extensions that hold whether or not an IOMMU is set. */
const EXTENSIONS: ReadonlySet<number> = new Set([
  Extension.VFIO_TYPE1_IOMMU,
  Extension.VFIO_TYPE1v2_IOMMU,
  Extension.VFIO_TYPE1_NESTING_IOMMU,
  Extension.VFIO_UNMAP_ALL,
  VFIO_IOPF,
]);

/** VFIO_CHECK_EXTENSION; `type1` is null until an IOMMU is set. */
export function checkExtension(type1: Type1 | null, extension: number): number {
  if (extension === Extension.VFIO_UPDATE_VADDR) return type1 === null ? 0 : 1;
  if (extension === VFIO_GUEST_STAGE) return type1?.guestTable.possible === true ? 1 : 0;
  return EXTENSIONS.has(extension) ? 1 : 0;
}

export function* type1Ioctl(type1: Type1, caller: Caller, request: number, argument: IoctlArgument): Steps<number> {
  switch (request) {
    case Ioctl.VFIO_IOMMU_GET_INFO:
      return iommuInfo(type1, argument);
    case Ioctl.VFIO_IOMMU_MAP_DMA:
      return yield* mapDma(type1, caller, argument);
    case Ioctl.VFIO_IOMMU_UNMAP_DMA:
      return yield* unmapDma(type1, caller, argument);
    case Ioctl.VFIO_IOMMU_DIRTY_PAGES:
      return yield* dirtyPages(type1, caller, argument);
    case Ioctl.VFIO_IOMMU_ENABLE_IOPF:
      if (typeof argument !== 'number') return Errno.EINVAL;
      return yield* type1.exclusively(() => type1.faults.enable(argument));
    case ExtensionIoctl.VFIO_IOMMU_DISABLE_IOPF:
      return yield* type1.disableFaults();
    case ExtensionIoctl.VFIO_IOMMU_CONFIGURE_IOPF:
      return yield* type1.exclusively(() => configureIopf(type1, argument));
    case ExtensionIoctl.VFIO_IOMMU_PREFAULT_DMA:
      return yield* prefaultDma(type1, argument);
    case ExtensionIoctl.VFIO_IOMMU_PIN_DMA:
      return yield* pinDma(type1, argument);
    case ExtensionIoctl.VFIO_IOMMU_UNPIN_DMA:
      return yield* unpinDma(type1, argument);
    case NestingIoctl.VFIO_IOMMU_ALLOC_FAULT_QUEUE:
      return allocFaultQueue(type1, caller, argument);
    case NestingIoctl.VFIO_IOMMU_BIND_GUEST_TABLE:
      return yield* bindGuestTable(type1, caller, argument);
    case NestingIoctl.VFIO_IOMMU_UNBIND_GUEST_TABLE:
      return yield* unbindGuestTable(type1);
    case NestingIoctl.VFIO_IOMMU_INVALIDATE_GUEST:
      return yield* invalidateGuest(type1, argument);
    default:
      return Errno.ENOTTY;
  }
}

function* mapDma(type1: Type1, caller: Caller, argument: IoctlArgument): Steps<number> {
  const view = structure(argument, DmaMap.$.byteLength);
  if (view === null) return Errno.EFAULT;
  const flags = DmaMap.FLAGS.get(view);
  const known = DmaMapFlags.READ | DmaMapFlags.WRITE | DmaMapFlags.VADDR | VFIO_DMA_MAP_FLAG_STATIC;
  if (DmaMap.ARGSZ.get(view) < DmaMap.$.byteLength || (flags & ~known) !== 0) return Errno.EINVAL;
  const vaddrOnly = (flags & DmaMapFlags.VADDR) !== 0;
  const read = (flags & DmaMapFlags.READ) !== 0 ? Protection.READ : 0;
  const write = (flags & DmaMapFlags.WRITE) !== 0 ? Protection.WRITE : 0;
  if (vaddrOnly === read + write > 0) return Errno.EINVAL;
  const iova = read64(DmaMap.IOVA_LOW, DmaMap.IOVA_HIGH, view);
  const vaddr = read64(DmaMap.VADDR_LOW, DmaMap.VADDR_HIGH, view);
  const size = read64(DmaMap.SIZE_LOW, DmaMap.SIZE_HIGH, view);
  if (size === 0n || !aligned(type1.io.pageBytes, iova, vaddr, size)) return Errno.EINVAL;
  if (wraps(iova, size) || wraps(vaddr, size)) return Errno.EINVAL;
  if (vaddrOnly) return yield* setVaddr(type1, caller.space, Number(iova), Number(size), Number(vaddr));
  return yield* type1.map({
    space: caller.space,
    vaddr: Number(vaddr),
    iova: Number(iova),
    size: Number(size),
    protection: read | write,
    static: (flags & VFIO_DMA_MAP_FLAG_STATIC) !== 0,
    // Beyond the addresses a process can have nothing could ever be pinned or faulted in.
    reachable: vaddr + size <= BigInt(USER_END),
  });
}

function* unmapDma(type1: Type1, caller: Caller, argument: IoctlArgument): Steps<number> {
  const view = structure(argument, DmaUnmap.$.byteLength);
  if (view === null) return Errno.EFAULT;
  const flags = DmaUnmap.FLAGS.get(view);
  const { GET_DIRTY_BITMAP, ALL, VADDR } = DmaUnmapFlags;
  if (DmaUnmap.ARGSZ.get(view) < DmaUnmap.$.byteLength) return Errno.EINVAL;
  if ((flags & ~(GET_DIRTY_BITMAP | ALL | VADDR)) !== 0) return Errno.EINVAL;
  const bitmap = (flags & GET_DIRTY_BITMAP) !== 0;
  const all = (flags & ALL) !== 0;
  if (bitmap && (flags & (ALL | VADDR)) !== 0) return Errno.EINVAL;
  const fault = bitmap ? checkUnmapBitmap(view) : Errno.OK;
  if (fault < 0) return fault;
  const iova = read64(DmaUnmap.IOVA_LOW, DmaUnmap.IOVA_HIGH, view);
  const size = read64(DmaUnmap.SIZE_LOW, DmaUnmap.SIZE_HIGH, view);
  const { pageBytes } = type1.io;
  if (!aligned(pageBytes, iova)) return Errno.EINVAL;
  if (all ? iova !== 0n || size !== 0n : size === 0n || !aligned(pageBytes, size) || wraps(iova, size)) {
    return Errno.EINVAL;
  }
  const range = { iova: Number(iova), size: Number(size), all };
  let bytes: number;
  if (bitmap) bytes = yield* unmapWithBitmap(type1, caller, view, range);
  else if ((flags & VADDR) !== 0) bytes = yield* invalidateVaddr(type1, range);
  else bytes = yield* type1.unmap(range);
  // The kernel reports the size whenever it got as far as looking for mappings, and leaves the argument alone on errors.
  if (bytes < 0) return bytes;
  write64(DmaUnmap.SIZE_LOW, DmaUnmap.SIZE_HIGH, view, 0, bytes);
  return Errno.OK;
}
