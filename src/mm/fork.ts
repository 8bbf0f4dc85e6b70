/**
 * A copy of an address space that shares frames until one side writes. Device mappings of private pages are revoked,
 * because their writes would reach both; pages that a device pinned are copied at once, so that it keeps its own.
 */
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import type { AddressSpace } from './address-space.ts';
import { Area } from './area.ts';
import type { HostMemory } from './host-memory.ts';
import type { PageStore } from './page-store.ts';

/** The copy, or null without memory for pinned pages. */
export function* forkSpace(parent: AddressSpace, name: string): Steps<AddressSpace | null> {
  const { host, locked, pageBytes } = parent;
  const lockLimitBytes = locked.limitPages === Number.POSITIVE_INFINITY ? null : locked.limitPages * pageBytes;
  const child = host.createSpace({ name, lockLimitBytes });
  for (const area of [...parent.areas.all]) {
    const { store, start, end, first, pageCount, protection } = area;
    const shown = store.shared ? store : host.createStore(pageCount, false);
    child.areas.insert(new Area(child, start, end, shown, store.shared ? first : 0, protection));
    if (store.shared) {
      child.residentChanged(store.residentIn(first, first + pageCount));
    } else if (!(yield* sharePages(area, shown))) {
      yield* child.exit();
      return null;
    }
  }
  return child;
}

/** Shares the pages of a private area with the store of its copy; whether all went. */
function* sharePages(area: Area, copy: PageStore): Steps<boolean> {
  const { store, first, pageCount, start, end, space } = area;
  const { host } = space;
  // As one step: what is touched from now on is the parent's alone.
  const pages: number[] = [];
  const last = first + pageCount;
  for (let page = store.nextTouched(first, last); page < last; page = store.nextTouched(page + 1, last)) {
    while (store.isBusy(page)) yield host.pagesChanged;
    if (store.entries[page] === 0) continue;
    store.setBusy(page);
    pages.push(page);
  }
  yield* space.notify(start, end);
  let complete = true;
  for (const page of pages) {
    const status = yield* sharePage(host, store, page, copy, page - first);
    if (status !== Errno.OK) complete = false;
    host.settled(store, page);
  }
  return complete;
}

function* sharePage(host: HostMemory, store: PageStore, page: number, copy: PageStore, index: number): Steps<number> {
  const { allocator, swap } = host;
  const frame = store.frame(page);
  if (frame < 0) {
    swap.share(store.slot(page));
    copy.setSlot(index, store.slot(page));
  } else if (allocator.pins(frame) > 0) {
    const own = yield* host.allocateFrame();
    if (own < 0) return own;
    host.copyFrame(frame, own);
    copy.setFrame(index, own);
  } else {
    allocator.get(frame);
    copy.setFrame(index, frame);
    copy.setCopyOnWrite(index, true);
    store.setCopyOnWrite(page, true);
  }
  return Errno.OK;
}
