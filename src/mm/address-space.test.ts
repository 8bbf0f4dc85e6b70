import { expect, test } from 'vitest';
import { GiB, hostFixture, MiB, PAGE } from '../../test/support/host.ts';
import { Errno } from '../errno.ts';
import type { Steps } from '../sim/task.ts';
import { Access } from './area.ts';

const bytes = (length: number, seed: number) => Uint8Array.from({ length }, (_, index) => (index * 7 + seed) % 251);

test('memory reads as zero until it is written, and then as written, across pages', () => {
  const { host, run } = hostFixture();
  const space = host.createSpace({ name: 'p' });
  const at = space.mmap(4 * PAGE);
  const seen = new Uint8Array(PAGE).fill(9);
  expect(run(space.load(at + 100, seen))).toBe(0);
  expect(seen.every((byte) => byte === 0)).toBe(true);
  expect(run(space.store(at + 4000, bytes(5000, 1)))).toBe(0);
  const back = new Uint8Array(5000);
  run(space.load(at + 4000, back));
  expect(back).toEqual(bytes(5000, 1));
  expect(space.residentPages).toBe(3);
});

test('accesses outside an area or against its protection are -EFAULT', () => {
  const { host, run } = hostFixture();
  const space = host.createSpace({ name: 'p' });
  const at = space.mmap(2 * PAGE, { protection: Access.READ });
  expect(run(space.store(at, bytes(1, 0)))).toBe(Errno.EFAULT);
  expect(run(space.load(at + 2 * PAGE - 1, new Uint8Array(2)))).toBe(Errno.EFAULT);
  expect(run(space.load(0, new Uint8Array(1)))).toBe(Errno.EFAULT);
});

test('pages that do not fit go to swap and come back with their contents', () => {
  const { host, run } = hostFixture({ memoryBytes: MiB, swapBytes: 8 * MiB });
  const space = host.createSpace({ name: 'p' });
  const at = space.mmap(4 * MiB);
  for (let page = 0; page < 1024; page++) expect(run(space.store(at + page * PAGE, bytes(PAGE, page)))).toBe(0);
  expect(host.swap.usedSlots).toBeGreaterThan(700);
  const back = new Uint8Array(PAGE);
  for (let page = 0; page < 1024; page++) {
    expect(run(space.load(at + page * PAGE, back))).toBe(0);
    expect(Buffer.compare(back, bytes(PAGE, page))).toBe(0);
  }
});

test('without swap, memory that does not fit is -ENOMEM', () => {
  const { host, run } = hostFixture({ memoryBytes: MiB, swapBytes: 0 });
  const space = host.createSpace({ name: 'p' });
  const at = space.mmap(4 * MiB);
  expect(run(space.store(at, new Uint8Array(4 * MiB)))).toBe(Errno.ENOMEM);
});

test('a notifier is awaited before a page is freed, and pinned pages are passed over', () => {
  const { host, run } = hostFixture({ profile: 'kunpeng920' });
  const space = host.createSpace({ name: 'p' });
  const at = space.mmap(4 * PAGE);
  run(space.store(at, new Uint8Array(4 * PAGE)));
  const frames = new Int32Array(4);
  const seen: [number, number, boolean][] = [];
  space.addNotifier({
    name: 'n',
    *invalidate(start: number, end: number): Steps {
      yield 1000;
      seen.push([(start - at) / PAGE, (end - at) / PAGE, host.allocator.references(frames[2] ?? 0) > 0]);
    },
  });
  expect(run(space.acquire(at, 4, { write: true, longTerm: true }, frames))).toBe(4);
  space.release(frames, 2, 1);
  expect(run(space.swapOut(at, 4 * PAGE))).toBe(1);
  expect(seen).toEqual([[2, 3, true]]);
  expect(host.allocator.references(frames[2] ?? 0)).toBe(0);
  run(space.munmap(at, 4 * PAGE));
  expect(seen.length).toBe(2);
  expect(host.allocator.references(frames[0] ?? 0)).toBe(1);
  space.release(frames, 0, 2);
  space.release(frames, 3, 1);
  host.checkAtRest();
  expect(host.allocator.freeFrames).toBe(host.allocator.frameCount);
});

test('after a fork each side keeps its own bytes, and the notifier hears of the copy', () => {
  const { host, run } = hostFixture();
  const parent = host.createSpace({ name: 'parent' });
  const at = parent.mmap(4 * PAGE);
  run(parent.store(at, bytes(4 * PAGE, 3)));
  run(parent.swapOut(at + 3 * PAGE, PAGE));
  const child = run(parent.fork('child'));
  if (child === null) throw new Error('no child');
  const before = host.allocator.freeFrames;
  run(child.store(at + PAGE, bytes(10, 99)));
  expect(before - host.allocator.freeFrames).toBe(1);
  run(parent.store(at + 3 * PAGE, bytes(10, 50)));
  const seen = new Uint8Array(4 * PAGE);
  run(parent.load(at, seen));
  expect(seen.subarray(0, 3 * PAGE)).toEqual(bytes(4 * PAGE, 3).subarray(0, 3 * PAGE));
  expect(seen.subarray(3 * PAGE, 3 * PAGE + 10)).toEqual(bytes(10, 50));
  run(child.load(at, seen));
  expect(seen.subarray(PAGE, PAGE + 10)).toEqual(bytes(10, 99));
  expect(seen.subarray(2 * PAGE)).toEqual(bytes(4 * PAGE, 3).subarray(2 * PAGE));
  run(parent.exit());
  run(child.exit());
  expect(host.allocator.freeFrames).toBe(host.allocator.frameCount);
  expect(host.swap.usedSlots).toBe(0);
});

test('shared memory shows one page to all, and lives until its last area goes', () => {
  const { host, run } = hostFixture();
  const [one, two] = [host.createSpace({ name: 'one' }), host.createSpace({ name: 'two' })];
  const shared = host.createShared(2 * PAGE);
  const [a, b] = [one.mapShared(shared), two.mapShared(shared)];
  run(one.store(a + PAGE, bytes(10, 7)));
  const seen = new Uint8Array(10);
  run(two.load(b + PAGE, seen));
  expect(seen).toEqual(bytes(10, 7));
  expect([one.residentPages, two.residentPages]).toEqual([1, 1]);
  run(one.munmap(a, 2 * PAGE));
  run(two.load(b + PAGE, seen));
  expect(seen).toEqual(bytes(10, 7));
  run(two.munmap(b, 2 * PAGE));
  expect(host.allocator.freeFrames).toBe(host.allocator.frameCount);
});

test('unmapping or protecting the middle of an area leaves its ends as they were', () => {
  const { host, run } = hostFixture();
  const space = host.createSpace({ name: 'p' });
  const at = space.mmap(6 * PAGE);
  run(space.store(at, bytes(6 * PAGE, 1)));
  expect(run(space.protect(at + PAGE, PAGE, Access.READ))).toBe(0);
  expect(run(space.munmap(at + 3 * PAGE, PAGE))).toBe(0);
  expect(run(space.store(at + PAGE, bytes(1, 0)))).toBe(Errno.EFAULT);
  expect(run(space.load(at + 3 * PAGE, new Uint8Array(1)))).toBe(Errno.EFAULT);
  const seen = new Uint8Array(2 * PAGE);
  expect(run(space.load(at + 4 * PAGE, seen))).toBe(0);
  expect(seen).toEqual(bytes(6 * PAGE, 1).subarray(4 * PAGE));
  expect(space.residentPages).toBe(5);
  expect(run(space.protect(at, 6 * PAGE, Access.READ))).toBe(Errno.ENOMEM);
});

test('16 GiB cost little until touched, and are acquired in blocks at once', () => {
  const { host, run } = hostFixture({ memoryBytes: 17 * GiB });
  const space = host.createSpace({ name: 'p' });
  const at = space.mmap(16 * GiB);
  const frames = new Int32Array(512);
  function* all(): Steps<number> {
    let adjacent = 0;
    for (let done = 0; done < 2 ** 22; done += 512) {
      yield* space.acquire(at + done * PAGE, 512, { write: true, longTerm: true }, frames);
      if (frames[511] === (frames[0] ?? 0) + 511 && host.allocator.addressOf(frames[0] ?? 0) % (2 * MiB) === 0)
        adjacent++;
    }
    return adjacent;
  }
  expect(run(all())).toBe(8192);
  expect(space.residentPages).toBe(2 ** 22);
  expect(host.memory.populatedBytes).toBe(0);
});
