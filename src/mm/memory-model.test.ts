/** Random programs over address spaces, several tasks at a time, against a model that knows every byte. */
import { describe, expect, test } from 'vitest';
import { hostFixture, PAGE } from '../../test/support/host.ts';
import { Random } from '../sim/random.ts';
import type { Steps } from '../sim/task.ts';
import type { AddressSpace } from './address-space.ts';

const PAGES = 96;

/** A process and what each of its pages must begin with; null where the page is gone. */
interface Modelled {
  readonly space: AddressSpace;
  readonly at: number;
  readonly values: (number | null)[];
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

describe('processes that touch, fork, pin, swap, move and unmap', () => {
  test.each(Array.from({ length: 12 }, (_, seed) => seed + 1))('keep their own bytes, seed %i', (seed) => {
    const { host, scheduler } = hostFixture({ memoryBytes: 2 ** 20, swapBytes: 2 ** 24, profile: 'kunpeng920', seed });
    const random = new Random(seed);
    const first = host.createSpace({ name: 'p0' });
    const processes: Modelled[] = [{ space: first, at: first.mmap(PAGES * PAGE), values: new Array(PAGES).fill(0) }];
    let next = 1;

    /** Works on pages of its own, `mine` of 3, so that its model has no races; forks happen in between. */
    function* worker(mine: number): Steps {
      const frames = new Int32Array(4);
      for (let step = 0; step < 120; step++) {
        const { space, at, values } = random.pick(processes);
        const page = random.below(PAGES / 3) * 3 + mine;
        const address = at + page * PAGE;
        const value = values[page] ?? null;
        const seen = new Uint8Array(4);
        switch (random.below(8)) {
          case 0:
          case 1:
            if (value === null) break;
            values[page] = next;
            expect(yield* space.store(address + 8, word(next++))).toBe(0);
            break;
          case 2:
          case 3: {
            const status = yield* space.load(address + 8, seen);
            if (values[page] !== value) break;
            expect(status).toBe(value === null ? -14 : 0);
            if (value !== null) expect(seen).toEqual(word(value));
            break;
          }
          case 4:
            yield* space.swapOut(address, PAGE);
            break;
          case 5:
            yield* space.migrate(address);
            break;
          case 6: {
            const got = yield* space.acquire(
              address,
              1,
              { write: random.chance(0.5), longTerm: random.chance(0.3) },
              frames,
            );
            if (got < 1) break;
            yield random.below(5000);
            expect(host.allocator.references(frames[0] ?? -1)).toBeGreaterThan(0);
            space.release(frames, 0, 1);
            break;
          }
          default:
            if (random.chance(0.9)) break;
            values[page] = null;
            yield* space.munmap(address, PAGE);
        }
        yield random.below(3000);
      }
    }

    let working = 0;
    function* run(): Steps {
      for (let round = 0; round < 4; round++) {
        const tasks = [0, 1, 2].map((mine) => scheduler.spawn(`worker ${round}/${mine}`, worker(mine)));
        working = tasks.length;
        for (const task of tasks) yield* task.join();
        const parent = random.pick(processes);
        const child = yield* parent.space.fork(`p${round + 1}`);
        if (child !== null) processes.push({ space: child, at: parent.at, values: [...parent.values] });
      }
      for (const { space, at, values } of processes) {
        for (const [page, value] of values.entries()) {
          const seen = new Uint8Array(4);
          const status = yield* space.load(at + page * PAGE + 8, seen);
          if (status === 0) expect(seen).toEqual(word(value ?? -1));
          else expect(value).toBe(null);
        }
      }
      for (const { space } of processes) yield* space.exit();
    }

    const task = scheduler.spawn('run', run());
    scheduler.run();
    expect(scheduler.stuck().map((stuck) => stuck.name)).toEqual([]);
    expect([task.done, working]).toEqual([true, 3]);
    expect(host.allocator.freeFrames).toBe(host.allocator.frameCount);
    expect(host.swap.usedSlots).toBe(0);
    host.checkAtRest();
  });

  test('a fork while others run shares what was there when it began', () => {
    const { host, scheduler } = hostFixture({ profile: 'kunpeng920', seed: 3 });
    const parent = host.createSpace({ name: 'parent' });
    const at = parent.mmap(64 * PAGE);
    const results: number[] = [];
    function* writer(): Steps {
      for (let page = 0; page < 64; page++) {
        yield* parent.store(at + page * PAGE, word(page + 1));
        yield 100;
      }
    }
    function* forking(): Steps {
      for (let round = 0; round < 3; round++) {
        yield 20_000;
        const child = yield* parent.fork(`child ${round}`);
        if (child === null) throw new Error('no memory');
        yield 50_000;
        let present = 0;
        for (let page = 0; page < 64; page++) {
          const seen = new Uint8Array(4);
          yield* child.load(at + page * PAGE, seen);
          if (seen[0] !== 0) {
            expect(seen).toEqual(word(page + 1));
            present += 1;
          }
        }
        results.push(present);
        yield* child.exit();
      }
    }
    scheduler.spawn('writer', writer());
    scheduler.spawn('forking', forking());
    scheduler.run();
    expect(scheduler.stuck()).toEqual([]);
    expect(results).toEqual([...results].sort((a, b) => a - b));
    expect(results[0]).toBeGreaterThan(0);
  });
});
