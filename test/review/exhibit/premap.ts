/** Patch 4: pins the page asked for and those that follow, maps them run by run, and lets go of them again. */
import { Errno } from '../../../src/errno.ts';
import type { Steps } from '../../../src/sim/task.ts';
import type { RfcContainer } from './container.ts';
import { PAGE_BYTES, type RfcMapping } from './mapping.ts';

/** Pages of one vfio_batch. */
const BATCH_PAGES = 512;

/** Maps up to `count` pages from `first` on with all the rights of the mapping, until something fails: how many. */
export function* mapBatches(container: RfcContainer, mapping: RfcMapping, first: number, count: number): Steps<number> {
  const { host } = container;
  const { allocator } = mapping.space.host;
  const frames = new Int32Array(BATCH_PAGES);
  const use = { write: mapping.write, longTerm: false };
  let mapped = 0;
  while (mapped < count) {
    const vaddr = mapping.vaddr + (first + mapped) * PAGE_BYTES;
    const got = yield* mapping.space.acquire(vaddr, Math.min(count - mapped, BATCH_PAGES), use, frames);
    if (got <= 0) break;
    // Without a pin nobody would stop the host from taking a page between here and the map; with it nobody does.
    if (host.latency.pagePin > 0) yield host.latency.pagePin * got;
    const entered = enterRuns(container, mapping, first + mapped, frames, got);
    if (entered > 0 && host.latency.pageMap > 0) yield host.latency.pageMap * entered;
    for (let index = 0; index < got; index++) allocator.unpin(frames[index] ?? 0);
    mapped += entered;
    if (entered < got) break;
  }
  return mapped;
}

/** Adjacent frames go in together. */
function enterRuns(
  container: RfcContainer,
  mapping: RfcMapping,
  page: number,
  frames: Int32Array,
  got: number,
): number {
  const { allocator } = mapping.space.host;
  let done = 0;
  while (done < got) {
    const frame = frames[done] ?? 0;
    let run = 1;
    while (done + run < got && frames[done + run] === frame + run) run += 1;
    const iova = mapping.iova + (page + done) * PAGE_BYTES;
    const status = container.domain.map(iova, allocator.addressOf(frame), run * PAGE_BYTES, mapping.protection);
    if (status !== Errno.OK) break;
    mapping.bitmap?.setRange(page + done, page + done + run);
    done += run;
  }
  return done;
}
