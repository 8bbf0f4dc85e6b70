/** VFIO_IOMMU_GET_INFO: page sizes and the capability chain. */
import { Errno } from '../errno.ts';
import { write64 } from './arguments.ts';
import { type IoctlArgument, structure } from './files.ts';
import type { Type1 } from './type1.ts';
import {
  CapDmaAvail,
  CapIovaRange,
  CapMigration,
  DIRTY_BITMAP_BYTES_MAX,
  InfoCapHeader,
  IOMMU_INFO_BYTES_MIN,
  IommuInfo,
  IommuInfoCap,
  IommuInfoFlags,
  IovaRange,
} from './uapi.layout.ts';
import { CapIopf, CapIopfFlags, IOMMU_INFO_CAP_IOPF, PREMAP_PAGES_MAX } from './uapi-extensions.layout.ts';

interface Capability {
  readonly id: number;
  readonly bytes: number;
  write(view: DataView, at: number): void;
}

/** Fills the argument; short of room for the chain it says in argsz how much is needed. */
export function iommuInfo(type1: Type1, argument: IoctlArgument): number {
  const view = structure(argument, IOMMU_INFO_BYTES_MIN);
  if (view === null) return Errno.EFAULT;
  const argsz = IommuInfo.ARGSZ.get(view);
  if (argsz < IOMMU_INFO_BYTES_MIN) return Errno.EINVAL;
  // The member came later: who leaves room for it gets it.
  const offsetEnd = (IommuInfo.CAP_OFFSET.msb + 1) / 8;
  if (argsz >= offsetEnd && view.byteLength < offsetEnd) return Errno.EFAULT;
  const chain = capabilities(type1);
  const needed = chain.reduce((bytes, capability) => bytes + padded(capability.bytes), IommuInfo.$.byteLength);
  IommuInfo.FLAGS.set(view, 0, IommuInfoFlags.PGSIZES | IommuInfoFlags.CAPS);
  const sizes = type1.pageSizes.reduce((bits, size) => bits | BigInt(size), 0n);
  write64(IommuInfo.IOVA_PGSIZES_LOW, IommuInfo.IOVA_PGSIZES_HIGH, view, 0, sizes);
  if (argsz < needed) {
    IommuInfo.ARGSZ.set(view, 0, needed);
    if (argsz >= offsetEnd) IommuInfo.CAP_OFFSET.set(view, 0, 0);
    return Errno.OK;
  }
  if (view.byteLength < needed) return Errno.EFAULT;
  IommuInfo.CAP_OFFSET.set(view, 0, IommuInfo.$.byteLength);
  let at = IommuInfo.$.byteLength;
  for (const [index, capability] of chain.entries()) {
    const next = at + padded(capability.bytes);
    InfoCapHeader.ID.set(view, at, capability.id);
    InfoCapHeader.VERSION.set(view, at, 1);
    InfoCapHeader.NEXT.set(view, at, index === chain.length - 1 ? 0 : next);
    capability.write(view, at);
    at = next;
  }
  return Errno.OK;
}

/** In the kernel's order; ours comes last. */
function capabilities(type1: Type1): Capability[] {
  const { io, iovaRanges } = type1;
  const migration: Capability = {
    id: IommuInfoCap.MIGRATION,
    bytes: CapMigration.$.byteLength,
    write(view, at) {
      CapMigration.FLAGS.set(view, at, 0);
      write64(CapMigration.PGSIZE_BITMAP_LOW, CapMigration.PGSIZE_BITMAP_HIGH, view, at, io.pageBytes);
      const most = DIRTY_BITMAP_BYTES_MAX;
      write64(CapMigration.MAX_DIRTY_BITMAP_SIZE_LOW, CapMigration.MAX_DIRTY_BITMAP_SIZE_HIGH, view, at, most);
    },
  };
  const available: Capability = {
    id: IommuInfoCap.DMA_AVAIL,
    bytes: CapDmaAvail.$.byteLength,
    write(view, at) {
      CapDmaAvail.AVAIL.set(view, at, type1.entriesLeft);
    },
  };
  const ranges: Capability = {
    id: IommuInfoCap.IOVA_RANGE,
    bytes: CapIovaRange.$.byteLength + iovaRanges.length * IovaRange.$.byteLength,
    write(view, at) {
      CapIovaRange.NR_IOVAS.set(view, at, iovaRanges.length);
      for (const [index, range] of iovaRanges.entries()) {
        const place = at + CapIovaRange.$.byteLength + index * IovaRange.$.byteLength;
        write64(IovaRange.START_LOW, IovaRange.START_HIGH, view, place, range.start);
        write64(IovaRange.END_LOW, IovaRange.END_HIGH, view, place, range.last);
      }
    },
  };
  const iopf: Capability = {
    id: IOMMU_INFO_CAP_IOPF,
    bytes: CapIopf.$.byteLength,
    write(view, at) {
      const devices = [...io.devices];
      const stall = devices.every((device) => device.stall) ? CapIopfFlags.STALL : 0;
      const pri = devices.every((device) => device.pri) ? CapIopfFlags.PRI : 0;
      CapIopf.FLAGS.set(view, at, (type1.faults.enabled ? CapIopfFlags.ENABLED : 0) | stall | pri);
      CapIopf.PREMAP_PAGES_MAX.set(view, at, PREMAP_PAGES_MAX);
    },
  };
  return iovaRanges.length > 0 ? [migration, available, ranges, iopf] : [migration, available, iopf];
}

/** Capabilities start at multiples of 8 bytes, as kernels since 6.6 place them. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}
