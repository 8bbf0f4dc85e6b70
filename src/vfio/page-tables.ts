/** Frames into page tables: adjacent frames become one range, so that the IOMMU can use the largest blocks. */
import { Errno } from '../errno.ts';
import type { IoAddressSpace } from './io-address-space.ts';

/**
 * Maps `count` pages from `iova` on to `frames[from...]`. An errno maps nothing of the run that failed; the number of
 * pages mapped before it is `count` of the result.
 */
export function mapFrames(
  io: IoAddressSpace,
  iova: number,
  frames: Int32Array,
  from: number,
  count: number,
  protection: number,
  addressOf: (frame: number) => number,
): number {
  for (let done = 0; done < count; ) {
    const start = frames[from + done] ?? -1;
    let run = 1;
    while (done + run < count && frames[from + done + run] === start + run) run += 1;
    const at = iova + done * io.pageBytes;
    const status = io.domain.map(at, addressOf(start), run * io.pageBytes, protection);
    if (status !== Errno.OK) return done > 0 ? done : status;
    done += run;
  }
  return count;
}
