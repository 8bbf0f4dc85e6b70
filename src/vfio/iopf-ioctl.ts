/** The requests that Faultline adds to type1: see uapi-extensions.layout.ts. */
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import { aligned, read64, wraps } from './arguments.ts';
import { type IoctlArgument, structure } from './files.ts';
import type { Mapping } from './mapping.ts';
import { type PremapPolicy, premapAligned, premapNext, premapNone, premapStride } from './premap.ts';
import { pinRange, unpinOnce } from './selective-pinning.ts';
import type { Type1 } from './type1.ts';
import { DmaMapFlags } from './uapi.layout.ts';
import {
  DmaRange,
  IopfConfig,
  IopfConfigFlags,
  PREMAP_PAGES_MAX,
  PremapPolicyKind,
  WORKERS_MAX,
} from './uapi-extensions.layout.ts';

/** The policy of a number from {@link PremapPolicyKind}, or null. */
export function premapPolicy(kind: number, pages: number): PremapPolicy | null {
  if (kind === PremapPolicyKind.NONE) return premapNone;
  if (pages < 1 || pages > PREMAP_PAGES_MAX) return null;
  if (kind === PremapPolicyKind.NEXT) return premapNext(pages);
  if (kind === PremapPolicyKind.ALIGNED) return premapAligned(pages);
  return kind === PremapPolicyKind.STRIDE ? premapStride(pages) : null;
}

export function* configureIopf(type1: Type1, argument: IoctlArgument): Steps<number> {
  const view = structure(argument, IopfConfig.$.byteLength);
  if (view === null) return Errno.EFAULT;
  const flags = IopfConfig.FLAGS.get(view);
  const { PREMAP, RESIDENCY_LIMIT, WORKERS } = IopfConfigFlags;
  if (IopfConfig.ARGSZ.get(view) < IopfConfig.$.byteLength) return Errno.EINVAL;
  if ((flags & ~(PREMAP | RESIDENCY_LIMIT | WORKERS)) !== 0) return Errno.EINVAL;
  const policy = premapPolicy(IopfConfig.POLICY.get(view), IopfConfig.PAGES.get(view));
  const limit = read64(IopfConfig.RESIDENCY_LIMIT_LOW, IopfConfig.RESIDENCY_LIMIT_HIGH, view);
  const workers = IopfConfig.WORKERS.get(view);
  const { io, handler } = type1;
  if ((flags & PREMAP) !== 0 && policy === null) return Errno.EINVAL;
  const limitOk = limit === 0n || (limit >= BigInt(io.pageBytes) && limit < 1n << 53n);
  if ((flags & RESIDENCY_LIMIT) !== 0 && !limitOk) return Errno.EINVAL;
  if ((flags & WORKERS) !== 0 && workers > WORKERS_MAX) return Errno.EINVAL;

  if ((flags & PREMAP) !== 0 && policy !== null) io.policy = policy;
  if ((flags & WORKERS) !== 0) handler.workers = workers;
  if ((flags & RESIDENCY_LIMIT) !== 0) {
    type1.setResidencyLimit(Number(limit));
    const excess = io.residency.excess(0);
    if (excess > 0) yield* io.evict(excess);
  }
  return Errno.OK;
}

/** VFIO_IOMMU_PREFAULT_DMA. -ENOENT over a hole, -EACCES beyond a mapping's rights, -ENOSPC beyond the residency limit. */
export function* prefaultDma(type1: Type1, argument: IoctlArgument): Steps<number> {
  const { READ, WRITE } = DmaMapFlags;
  return yield* overRange(type1, argument, READ | WRITE, function* (mapping, first, end, flags): Steps<number> {
    const write = (flags & WRITE) !== 0;
    if ((write && !mapping.writes) || ((flags & READ) !== 0 && !mapping.reads)) return Errno.EACCES;
    if (mapping.faults === null) return Errno.OK;
    if (end - first > type1.io.residency.limitPages) return Errno.ENOSPC;
    return yield* type1.handler.service.populate(mapping, first, end, write);
  });
}

/** VFIO_IOMMU_PIN_DMA. -ENOENT over a hole; -ENOMEM, -EFAULT or -EBUSY, and then nothing of the range is pinned more than before. */
export function* pinDma(type1: Type1, argument: IoctlArgument): Steps<number> {
  const { io } = type1;
  const done: [Mapping, number, number][] = [];
  return yield* type1.exclusively(() =>
    overRange(type1, argument, 0, function* (mapping, first, end): Steps<number> {
      const status = mapping.vaddrInvalid ? Errno.EBUSY : yield* pinRange(io, mapping, first, end);
      if (status === Errno.OK) done.push([mapping, first, end]);
      else for (const [earlier, from, to] of done) yield* unpinOnce(io, earlier, from, to);
      return status;
    }),
  );
}

/** VFIO_IOMMU_UNPIN_DMA. -EINVAL where a page is not pinned. */
export function* unpinDma(type1: Type1, argument: IoctlArgument): Steps<number> {
  const { io } = type1;
  return yield* type1.exclusively(() =>
    overRange(type1, argument, 0, (mapping, first, end) => unpinOnce(io, mapping, first, end)),
  );
}

/** Runs `act` on the pages of each mapping of a {@link DmaRange}, all of which must be mapped; stops at an errno. */
function* overRange(
  type1: Type1,
  argument: IoctlArgument,
  allowed: number,
  act: (mapping: Mapping, first: number, end: number, flags: number) => Steps<number>,
): Steps<number> {
  const view = structure(argument, DmaRange.$.byteLength);
  if (view === null) return Errno.EFAULT;
  const flags = DmaRange.FLAGS.get(view);
  const iova = read64(DmaRange.IOVA_LOW, DmaRange.IOVA_HIGH, view);
  const size = read64(DmaRange.SIZE_LOW, DmaRange.SIZE_HIGH, view);
  const { io } = type1;
  if (DmaRange.ARGSZ.get(view) < DmaRange.$.byteLength || (flags & ~allowed) !== 0) return Errno.EINVAL;
  if (allowed !== 0 && flags === 0) return Errno.EINVAL;
  if (size === 0n || wraps(iova, size) || !aligned(io.pageBytes, iova, size)) return Errno.EINVAL;
  const start = Number(iova);
  const end = start + Number(size);
  const mappings = io.mappings.within(start, end);
  let reached = start;
  for (const mapping of mappings) if (mapping.start <= reached) reached = mapping.end;
  if (reached < end) return Errno.ENOENT;
  for (const mapping of mappings) mapping.get();
  let status: number = Errno.OK;
  for (const mapping of mappings) {
    const first = mapping.pageOf(Math.max(start, mapping.start));
    const last = mapping.pageOf(Math.min(end, mapping.end) - 1) + 1;
    if (status === Errno.OK) status = yield* act(mapping, first, last, flags);
    mapping.put();
  }
  return status;
}
