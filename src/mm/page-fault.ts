/** Makes single pages present: first touch, swap-in, and the copy that a write to a shared frame takes. */
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import type { HostMemory } from './host-memory.ts';
import type { PageStore } from './page-store.ts';

/** As {@link fillPage} for a page never touched, where that takes no time: its frame; -EAGAIN where it must be waited for. */
export function tryFillPage(host: HostMemory, store: PageStore, index: number): number {
  if (store.slot(index) >= 0) return Errno.EAGAIN;
  const frame = host.tryAllocateFrame();
  if (frame >= 0) store.setFrame(index, frame);
  return frame;
}

/**
 * Gives a page without a frame its frame. The page must not be busy and is busy meanwhile. 0, or -ENOMEM.
 */
export function* fillPage(host: HostMemory, store: PageStore, index: number): Steps<number> {
  store.setBusy(index);
  const frame = yield* host.allocateFrame();
  if (frame >= 0) {
    const slot = store.slot(index);
    if (slot >= 0) {
      host.memory.write(host.allocator.addressOf(frame), host.swap.read(slot));
      if (host.latency.swapIn > 0) yield host.latency.swapIn;
      host.swap.free(slot);
      host.counters.swappedIn += 1;
      if (host.log.isLevelEnabled('debug')) host.log.debug({ event: 'mm.swapIn', page: index, slot });
    }
    store.setFrame(index, frame);
  }
  host.settled(store, index);
  return frame < 0 ? frame : Errno.OK;
}

/** Whether a write to a present page must copy it first. Clears the mark where the frame has no other user any more. */
export function mustCopy(host: HostMemory, store: PageStore, index: number): boolean {
  if (!store.isCopyOnWrite(index)) return false;
  const frame = store.frame(index);
  const users = host.allocator.references(frame) - host.allocator.pins(frame);
  if (users > 1) return true;
  store.setCopyOnWrite(index, false);
  return false;
}

/** Replaces the frame of a present page by a copy; what used the old one is revoked first. 0, or -ENOMEM. */
export function* copyPage(host: HostMemory, store: PageStore, index: number): Steps<number> {
  store.setBusy(index);
  const frame = yield* host.allocateFrame();
  if (frame >= 0) {
    yield* replaceFrame(host, store, index, frame);
    store.setCopyOnWrite(index, false);
    host.counters.copied += 1;
  }
  host.settled(store, index);
  return frame < 0 ? frame : Errno.OK;
}

/** Moves a present, unpinned page to another frame, as compaction does. -EBUSY where it is pinned or about to change. */
export function* migratePage(host: HostMemory, store: PageStore, index: number): Steps<number> {
  const old = store.frame(index);
  if (old < 0) return Errno.ENOENT;
  if (store.isBusy(index) || host.allocator.pins(old) > 0 || host.allocator.references(old) > 1) return Errno.EBUSY;
  store.setBusy(index);
  const frame = yield* host.allocateFrame();
  if (frame >= 0) {
    yield* replaceFrame(host, store, index, frame);
    host.counters.migrated += 1;
    if (host.log.isLevelEnabled('debug')) host.log.debug({ event: 'mm.migrate', page: index, from: old, to: frame });
  }
  host.settled(store, index);
  return frame < 0 ? frame : Errno.OK;
}

function* replaceFrame(host: HostMemory, store: PageStore, index: number, frame: number): Steps {
  yield* host.invalidate(store, index, 1);
  const old = store.frame(index);
  host.copyFrame(old, frame);
  store.setFrame(index, frame);
  host.allocator.put(old);
}
