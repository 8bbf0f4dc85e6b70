import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AssertionError } from '../assert.ts';
import { Memory } from '../hw/memory.ts';
import { PageAllocator } from './page-allocator.ts';

const MiB = 2 ** 20;
const PAGE = 4096;

function allocator(size = 8 * MiB, base = 2 ** 30, pageBytes = 4096) {
  return new PageAllocator({ memory: new Memory(2 ** 30, 64 * MiB), base, size, pageBytes });
}

describe('blocks', () => {
  test('are aligned physically, also where the range is not', () => {
    const pages = allocator(16 * MiB, 2 ** 30 + 3 * 65_536);
    const frame = pages.allocateBlock(9);
    expect(pages.addressOf(frame) % (2 * MiB)).toBe(0);
    expect(pages.frameAt(pages.addressOf(frame) + 5000)).toBe(frame + 1);
  });

  test('come in ascending order, so that what is taken page by page lies together', () => {
    const pages = allocator();
    expect([0, 1, 2, 3].map(() => pages.allocateFrame())).toEqual([0, 1, 2, 3]);
  });

  test('join again when all of their frames are free', () => {
    const pages = allocator(4 * MiB);
    const frames = Array.from({ length: 1024 }, () => pages.allocateFrame());
    expect(pages.allocateFrame()).toBe(-1);
    for (const frame of frames.reverse()) pages.put(frame);
    expect(pages.allocateBlock(10)).toBe(0);
  });

  test('of 64 KiB frames', () => {
    const pages = allocator(8 * MiB, 2 ** 30, 65_536);
    const frame = pages.allocateBlock(5);
    expect(pages.addressOf(frame) % (2 * MiB)).toBe(0);
    expect(pages.isPageLive(pages.addressOf(frame) / PAGE + 17)).toBe(true);
    expect(pages.isPageLive((2 ** 30 + 8 * MiB) / PAGE - 1)).toBe(false);
  });
});

describe('structures', () => {
  test('are zeroed, aligned, and give back what rounding took', () => {
    const pages = allocator();
    const dirty = pages.allocateFrame();
    pages.memory.write32(pages.addressOf(dirty), 7);
    pages.put(dirty);
    const free = pages.freeFrames;
    const address = pages.allocate(3 * PAGE, 0x1_0000);
    expect([address % 0x1_0000, free - pages.freeFrames, pages.memory.read32(address)]).toEqual([0, 3, 0]);
    pages.free(address, 3 * PAGE);
    expect(pages.freeFrames).toBe(free);
    expect(pages.allocate(2 ** 31)).toBe(-1);
  });
});

describe('counting', () => {
  test('a frame lives while it is referenced or pinned, and its use after that throws', () => {
    const pages = allocator();
    const frame = pages.allocateFrame();
    const page = pages.addressOf(frame) / PAGE;
    pages.get(frame);
    pages.pin(frame);
    expect([pages.references(frame), pages.pins(frame), pages.pinnedFrames]).toEqual([3, 1, 1]);
    expect(pages.put(frame)).toBe(false);
    expect(pages.put(frame)).toBe(false);
    expect(() => pages.put(frame)).toThrow(AssertionError);
    expect(pages.isPageLive(page)).toBe(true);
    pages.unpin(frame);
    expect([pages.isPageLive(page), pages.pinnedFrames]).toEqual([false, 0]);
    for (const use of ['get', 'put', 'pin', 'unpin'] as const) expect(() => pages[use](frame)).toThrow(AssertionError);
  });

  test('memory outside the range is none of its business', () => {
    expect(allocator().isPageLive(5)).toBe(true);
  });
});

test('random programs never hand out a frame twice and lose none', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('allocate'), order: fc.nat(6) }),
    fc.record({ kind: fc.constant('free'), order: fc.nat(1000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (program) => {
      const pages = allocator(MiB);
      const held: { frame: number; count: number }[] = [];
      const owned = new Set<number>();
      for (const { kind, order } of program) {
        if (kind === 'allocate') {
          const frame = pages.allocateBlock(order);
          if (frame < 0) continue;
          for (let index = frame; index < frame + 2 ** order; index++) {
            expect(owned.has(index)).toBe(false);
            owned.add(index);
          }
          held.push({ frame, count: 2 ** order });
        } else {
          const [block] = held.length === 0 ? [] : held.splice(order % held.length, 1);
          for (let index = 0; block !== undefined && index < block.count; index++) {
            owned.delete(block.frame + index);
            pages.put(block.frame + index);
          }
        }
        expect(pages.freeFrames).toBe(256 - owned.size);
      }
      for (const { frame, count } of held) for (let index = 0; index < count; index++) pages.put(frame + index);
      expect(pages.allocateBlock(8)).toBe(0);
    }),
  );
});
