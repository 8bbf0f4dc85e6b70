import { describe, expect, test } from 'vitest';
import { Clock } from './clock.ts';
import { Invariants, InvariantViolation } from './invariants.ts';
import { Mutex, RangeLock, RwLock } from './locks.ts';
import { Random } from './random.ts';
import { Scheduler, type Steps, WaitQueue } from './task.ts';
import { Trace } from './trace.ts';

function simulation(choose?: (count: number) => number) {
  const clock = new Clock();
  const scheduler = new Scheduler(choose === undefined ? { clock } : { clock, choose });
  return { clock, scheduler, log: [] as string[] };
}

describe('clock', () => {
  test('equal instants fire in the order in which they were scheduled', () => {
    const clock = new Clock();
    const order: number[] = [];
    for (const [index, delay] of [5, 1, 5, 0, 1, 5].entries()) clock.after(delay, () => order.push(index));
    while (clock.fireNext());
    expect(order).toEqual([3, 1, 4, 0, 2, 5]);
    expect(clock.now).toBe(5);
  });

  test('a thousand random delays come out sorted and stable', () => {
    const clock = new Clock();
    const random = new Random(7);
    const fired: [number, number][] = [];
    for (let i = 0; i < 1000; i++) {
      const at = random.below(50);
      clock.after(at, () => fired.push([at, i]));
    }
    while (clock.fireNext());
    expect(fired).toEqual([...fired].sort((a, b) => a[0] - b[0] || a[1] - b[1]));
    expect(fired).toHaveLength(1000);
  });

  test('a cancelled timer neither fires nor moves time', () => {
    const clock = new Clock();
    clock.after(10, () => expect.unreachable()).cancel();
    expect(clock.fireNext()).toBe(false);
    expect(clock.now).toBe(0);
  });

  test('a limit leaves later callbacks alone', () => {
    const clock = new Clock();
    clock.after(10, () => {});
    expect(clock.fireNext(9)).toBe(false);
    clock.advanceTo(9);
    expect(() => clock.advanceTo(11)).toThrow('never skips');
  });
});

test('cancelled timers are forgotten, and the others fire as if they had never been', () => {
  const clock = new Clock();
  const random = new Random(9);
  const fired: [number, number][] = [];
  const kept: [number, number][] = [];
  for (let i = 0; i < 20_000; i++) {
    const at = random.below(1000);
    const timer = clock.after(at, () => fired.push([at, i]));
    if (random.chance(0.9)) {
      timer.cancel();
      timer.cancel();
    } else {
      kept.push([at, i]);
    }
  }
  while (clock.fireNext());
  expect(fired).toEqual(kept.sort(([a, i], [b, j]) => a - b || i - j));
});

describe('tasks', () => {
  test('delays pass in virtual time and results are joined', () => {
    const { clock, scheduler } = simulation();
    function* child(): Steps<number> {
      yield 30;
      return 7;
    }
    function* parent(): Steps<number> {
      const task = scheduler.spawn('child', child());
      return (yield* task.join()) + clock.now;
    }
    const task = scheduler.spawn('parent', parent());
    expect(scheduler.run()).toBe(true);
    expect(task.result).toBe(37);
  });

  test('a chooser decides which runnable task goes next', () => {
    const { scheduler, log } = simulation((count) => count - 1);
    for (const name of ['a', 'b', 'c']) {
      scheduler.spawn(
        name,
        (function* () {
          log.push(name);
          yield 0;
        })(),
      );
    }
    scheduler.run();
    expect(log).toEqual(['c', 'b', 'a']);
  });

  test('a sleep with a limit says whether it was woken', () => {
    const { clock, scheduler, log } = simulation();
    const queue = new WaitQueue(scheduler, 'q');
    for (const limit of [10, 100]) {
      scheduler.spawn(
        `sleeper ${limit}`,
        (function* () {
          log.push(`${(yield* queue.sleepFor(limit)) ? 'woken' : 'late'} at ${clock.now}`);
        })(),
      );
    }
    clock.after(50, () => queue.wakeAll());
    scheduler.run();
    expect(log).toEqual(['late at 10', 'woken at 50']);
    expect(clock.now).toBe(50);
  });

  test('a task that sleeps for ever is stuck, a daemon is not', () => {
    const { scheduler } = simulation();
    const queue = new WaitQueue(scheduler, 'nobody');
    function* sleep(): Steps {
      yield queue;
    }
    scheduler.spawn('daemon', sleep(), { daemon: true });
    scheduler.spawn('worker', sleep());
    scheduler.run();
    expect(scheduler.stuck().map((task) => `${task.name} on ${task.waitingOn?.name}`)).toEqual(['worker on nobody']);
  });

  test('a task that ends with a lock held fails the run', () => {
    const { scheduler } = simulation();
    const mutex = new Mutex(scheduler, 'parameter lock');
    scheduler.spawn('careless', mutex.lock());
    expect(() => scheduler.run()).toThrow('task careless ended while it held parameter lock');
  });
});

describe('locks', () => {
  test('a mutex lets one in at a time, in the order of asking', () => {
    const { scheduler, log } = simulation();
    const mutex = new Mutex(scheduler, 'm');
    function* body(name: string): Steps {
      yield* mutex.lock();
      log.push(`+${name}`);
      yield 5;
      log.push(`-${name}`);
      mutex.unlock();
    }
    for (const name of ['a', 'b', 'c']) scheduler.spawn(name, body(name));
    scheduler.run();
    expect(log).toEqual(['+a', '-a', '+b', '-b', '+c', '-c']);
  });

  test('readers share, a waiting writer holds back later readers', () => {
    const { clock, scheduler, log } = simulation();
    const lock = new RwLock(scheduler, 'rw');
    function* reader(name: string, delay: number): Steps {
      yield delay;
      yield* lock.lockRead();
      log.push(`${name}@${clock.now}`);
      yield 10;
      lock.unlockRead();
    }
    function* writer(): Steps {
      yield 5;
      yield* lock.lockWrite();
      log.push(`w@${clock.now}`);
      yield 10;
      lock.unlockWrite();
    }
    scheduler.spawn('r1', reader('r1', 0));
    scheduler.spawn('r2', reader('r2', 1));
    scheduler.spawn('w', writer());
    scheduler.spawn('r3', reader('r3', 6));
    scheduler.run();
    expect(log).toEqual(['r1@0', 'r2@1', 'w@11', 'r3@21']);
  });

  test('ranges that do not meet are held side by side', () => {
    const { clock, scheduler, log } = simulation();
    const lock = new RangeLock(scheduler, 'pages');
    function* body(start: number, end: number): Steps {
      const range = yield* lock.lock(start, end);
      log.push(`${start}-${end}@${clock.now}`);
      yield 10;
      lock.unlock(range);
    }
    scheduler.spawn('a', body(0, 4));
    scheduler.spawn('b', body(4, 8));
    scheduler.spawn('c', body(3, 5));
    scheduler.run();
    expect(log).toEqual(['0-4@0', '4-8@0', '3-5@10']);
  });
});

describe('random', () => {
  test('a fork depends on its name alone', () => {
    const one = new Random(1);
    const early = one.fork('device').next32();
    one.next32();
    expect(one.fork('device').next32()).toBe(early);
    expect(one.fork('guest').next32()).not.toBe(early);
    expect(new Random(2).fork('device').next32()).not.toBe(early);
  });

  test('below stays below and reaches every value', () => {
    const random = new Random('seed');
    const seen = new Set(Array.from({ length: 200 }, () => random.below(6)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });
});

test('a trace keeps the newest entries with their virtual time', () => {
  const clock = new Clock();
  const trace = new Trace(clock, 2);
  for (const [index, transaction] of (['ats.miss', 'pri.request', 'dma.write'] as const).entries()) {
    clock.after(index + 1, () => trace.record(transaction, 8, index, 10 * index));
    clock.fireNext();
  }
  expect(trace.entries()).toEqual([
    { t: 3, transaction: 'pri.request', streamId: 8, page: 1, detail: 10 },
    { t: 6, transaction: 'dma.write', streamId: 8, page: 2, detail: 20 },
  ]);
});

test('a broken invariant is counted and ends the run', () => {
  const invariants = new Invariants();
  invariants.check('balance', true, () => 'fine');
  expect(() => invariants.check('credits', false, () => '33 of 32')).toThrow(InvariantViolation);
  expect(invariants.counts).toEqual({ checked: 2, violated: 1 });
});
