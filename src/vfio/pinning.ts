/** Pages that never fault: pinned, charged against RLIMIT_MEMLOCK and mapped at once, in the largest blocks there are. */
import { Errno } from '../errno.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { Steps } from '../sim/task.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import type { Mapping } from './mapping.ts';
import { revokePages } from './revocation.ts';

const CHUNK_PAGES = 512;
/** Pages of one run: enough for a 1 GiB block of 4 KiB pages. */
const RUN_PAGES_MAX = 2 ** 18;

/** Runs of adjacent frames, in order. */
class FrameRuns {
  readonly frames: number[] = [];
  readonly counts: number[] = [];
  /** Pages of all runs. */
  pages = 0;

  append(frame: number): void {
    this.pages += 1;
    const last = this.frames.length - 1;
    const count = this.counts[last] ?? 0;
    if (last >= 0 && count < RUN_PAGES_MAX && frame === (this.frames[last] ?? 0) + count) {
      this.counts[last] = count + 1;
    } else {
      this.frames.push(frame);
      this.counts.push(1);
    }
  }

  appendRun(frame: number, count: number): void {
    this.pages += count;
    this.frames.push(frame);
    this.counts.push(count);
  }

  unpin(space: AddressSpace): void {
    const { allocator } = space.host;
    for (const [run, frame] of this.frames.entries()) {
      const count = this.counts[run] ?? 0;
      for (let index = 0; index < count; index++) allocator.unpin(frame + index);
    }
  }
}

/**
 * Pins and maps `[first, end)` of a mapping, none of which is mapped. 0; or -ENOMEM (lock limit, host memory, table
 * memory) or -EFAULT (no such memory, or not writable), and then nothing is changed.
 */
export function* pinPages(io: IoAddressSpace, mapping: Mapping, first: number, end: number): Steps<number> {
  const { space } = mapping;
  const runs = new FrameRuns();
  let status = yield* pinFrames(io, mapping, first, end, runs);
  if (status === Errno.OK) status = yield* mapRuns(io, mapping, first, runs);
  if (status === Errno.OK) {
    io.pinned.add((end - first) * io.pageBytes);
    return Errno.OK;
  }
  runs.unpin(space);
  space.locked.uncharge(runs.pages);
  return status;
}

/** Takes `[first, end)`, all of it pinned and mapped by {@link pinPages}, out of the page table, unpins and uncharges it. */
export function* unpinPages(io: IoAddressSpace, mapping: Mapping, first: number, end: number): Steps {
  const runs = pinnedRuns(io, mapping, first, end);
  yield* unmapPages(io, mapping, first, end);
  runs.unpin(mapping.space);
  mapping.space.locked.uncharge(end - first);
  io.pinned.add(-(end - first) * io.pageBytes);
}

/**
 * Unpins and uncharges `[first, end)`, pinned by {@link pinPages}, of a mapping that hears of invalidations by now. The
 * pages stay mapped, but for those that the process does not show any more, which only the pins kept alive.
 */
export function* unpinMapped(io: IoAddressSpace, mapping: Mapping, first: number, end: number): Steps {
  const { space } = mapping;
  const runs = pinnedRuns(io, mapping, first, end);
  const gone: number[] = [];
  let page = first;
  for (const [run, frame] of runs.frames.entries()) {
    const count = runs.counts[run] ?? 0;
    for (let index = 0; index < count; index++, page++) {
      if (space.frameAt(mapping.vaddrOf(page)) !== frame + index) gone.push(page);
    }
  }
  for (const lost of gone) yield* revokePages(io, mapping, lost, lost + 1);
  runs.unpin(space);
  space.locked.uncharge(end - first);
  io.pinned.add(-(end - first) * io.pageBytes);
}

/** Charges as it goes: which is said of a hole and a limit depends on which comes first, as in the kernel. */
function* pinFrames(io: IoAddressSpace, mapping: Mapping, first: number, end: number, runs: FrameRuns): Steps<number> {
  const frames = new Int32Array(CHUNK_PAGES);
  const use = { write: mapping.writes, longTerm: true };
  for (let page = first; page < end; ) {
    const offset = (mapping.vaddrOf(page) / io.pageBytes) % CHUNK_PAGES;
    const want = Math.min(end - page, CHUNK_PAGES - offset);
    const got = yield* mapping.space.acquire(mapping.vaddrOf(page), want, use, frames);
    if (got < 0) return got;
    if (!mapping.space.locked.charge(got)) {
      mapping.space.release(frames, 0, got);
      return Errno.ENOMEM;
    }
    for (let index = 0; index < got; index++) runs.append(frames[index] ?? -1);
    if (io.latency.pagePin > 0) yield io.latency.pagePin * got;
    page += got;
  }
  return Errno.OK;
}

function* mapRuns(io: IoAddressSpace, mapping: Mapping, first: number, runs: FrameRuns): Steps<number> {
  const { allocator } = mapping.space.host;
  let page = first;
  for (const [run, frame] of runs.frames.entries()) {
    const count = runs.counts[run] ?? 0;
    const iova = mapping.iovaOf(page);
    const status = io.domain.map(iova, allocator.addressOf(frame), count * io.pageBytes, mapping.protection);
    if (status !== Errno.OK) {
      yield* unmapPages(io, mapping, first, page);
      return status;
    }
    if (io.latency.pageMap > 0) yield io.latency.pageMap * count;
    page += count;
  }
  return Errno.OK;
}

function* unmapPages(io: IoAddressSpace, mapping: Mapping, first: number, end: number): Steps {
  if (first === end) return;
  const gather = io.takeGather();
  const size = (end - first) * io.pageBytes;
  const bytes = io.domain.unmap(mapping.iovaOf(first), size, gather, mapping);
  io.invariants.check('agreement', bytes === size, () => `${bytes} bytes unmapped, ${size} were mapped`);
  if (io.latency.pageUnmap > 0) yield io.latency.pageUnmap * (end - first);
  yield* io.flush(gather);
}

/** The frames behind pinned pages: the page table knows them. */
function pinnedRuns(io: IoAddressSpace, mapping: Mapping, first: number, end: number): FrameRuns {
  const { allocator } = mapping.space.host;
  const runs = new FrameRuns();
  for (let page = first; page < end; ) {
    const iova = mapping.iovaOf(page);
    const translation = io.domain.translate(iova);
    io.invariants.check('agreement', translation !== null, () => `pinned page ${page} is not mapped`);
    if (translation === null) break;
    const left = Math.floor((translation.size - (iova % translation.size)) / io.pageBytes);
    const count = Math.min(end - page, Math.max(1, left));
    runs.appendRun(allocator.frameAt(translation.physical), count);
    page += count;
  }
  return runs;
}
