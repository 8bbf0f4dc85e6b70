/**
 * Kernel threads and guest CPUs as generator tasks. A task yields what it waits for: a number of nanoseconds, or a wait
 * queue. Which runnable task goes next is decided in one place, so that a normal run, a seeded random run and an
 * exhaustive exploration are the same code.
 */
import { assert } from '../assert.ts';
import type { Clock } from './clock.ts';

/** What a task may yield: a delay in nanoseconds, or a queue to sleep on until it is woken. */
export type Wait = number | WaitQueue;

/** The body of a task, or of a part of one (`yield*`). */
export type Steps<T = void> = Generator<Wait, T, void>;

/** Chooses which of `count` runnable tasks goes next: an index below `count`. */
export type Chooser = (count: number) => number;

/** Steps that are over: what a plain function answers that had nothing to wait for. */
export const NO_STEPS: Steps = (function* () {})();

/** Anything a task may hold and must give back before it ends. */
export interface Holdable {
  readonly name: string;
}

export class Task<T = unknown> {
  readonly name: string;
  /** A daemon may wait for ever; any other task that does is a deadlock. */
  readonly daemon: boolean;
  /** Few at a time: a list costs less than a set, which gives back memory with each deletion. */
  readonly held: Holdable[] = [];
  readonly #finished: WaitQueue;
  readonly #steps: Steps<T>;
  #result: { readonly value: T } | null = null;
  /** The queue the task sleeps on; null while it runs, delays or has ended. */
  waitingOn: WaitQueue | null = null;
  /** Set by the waker; read by a sleep with a time limit. */
  wokenBy: 'wake' | 'timeout' = 'wake';

  constructor(name: string, steps: Steps<T>, scheduler: Scheduler, daemon: boolean) {
    this.name = name;
    this.daemon = daemon;
    this.#steps = steps;
    this.#finished = new WaitQueue(scheduler, `${name} to end`);
  }

  get done(): boolean {
    return this.#result !== null;
  }

  /** Waits for the task to end; its result. */
  *join(): Steps<T> {
    while (this.#result === null) yield this.#finished;
    return this.#result.value;
  }

  /** The result of a task that has ended. */
  get result(): T {
    assert(this.#result !== null, `${this.name} has not ended`);
    return this.#result.value;
  }

  /** Notes that a lock was given back: whether the task held it. For locks. */
  drop(lock: Holdable): boolean {
    return removeFrom(this.held, lock);
  }

  /** Runs to the next wait: what is waited for, or null at the end. For the scheduler alone. */
  step(): Wait | null {
    const next = this.#steps.next();
    if (next.done !== true) return next.value;
    this.#result = { value: next.value };
    this.#finished.wakeAll();
    return null;
  }
}

/** Takes `item` out of a short list whose order does not matter: whether it was there. */
export function removeFrom<T>(list: T[], item: T): boolean {
  const index = list.lastIndexOf(item);
  if (index < 0) return false;
  const last = list.pop();
  if (last !== undefined && index < list.length) list[index] = last;
  return true;
}

/** Tasks asleep until somebody wakes them, in the order in which they came. */
export class WaitQueue {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #sleepers: Task[] = [];

  constructor(scheduler: Scheduler, name: string) {
    this.#scheduler = scheduler;
    this.name = name;
  }

  get length(): number {
    return this.#sleepers.length;
  }

  /** Wakes the task that has slept longest; false when nobody sleeps. */
  wakeOne(): boolean {
    if (this.#sleepers.length === 0) return false;
    const task = this.#sleepers.shift();
    if (task === undefined) return false;
    task.wokenBy = 'wake';
    this.#scheduler.ready(task);
    return true;
  }

  wakeAll(): void {
    while (this.wakeOne());
  }

  /** Sleeps until woken or for `limitNs`: whether it was woken. */
  *sleepFor(limitNs: number): Steps<boolean> {
    const task = this.#scheduler.running;
    const timer = this.#scheduler.clock.after(limitNs, () => {
      const index = this.#sleepers.indexOf(task);
      if (index < 0) return;
      this.#sleepers.splice(index, 1);
      task.wokenBy = 'timeout';
      this.#scheduler.ready(task);
    });
    yield this;
    timer.cancel();
    return task.wokenBy === 'wake';
  }

  /** For the scheduler alone. */
  add(task: Task): void {
    this.#sleepers.push(task);
  }
}

export interface SchedulerOptions {
  readonly clock: Clock;
  /** Defaults to the task that has been runnable longest. */
  readonly choose?: Chooser;
}

export class Scheduler {
  readonly clock: Clock;
  readonly #choose: Chooser | null;
  readonly #runnable: Task[] = [];
  readonly #alive = new Set<Task>();
  #running: Task | null = null;

  constructor(options: SchedulerOptions) {
    this.clock = options.clock;
    this.#choose = options.choose ?? null;
  }

  /** Starts a task; it first runs when the scheduler next chooses it. */
  spawn<T>(name: string, steps: Steps<T>, options: { readonly daemon?: boolean } = {}): Task<T> {
    const task = new Task(name, steps, this, options.daemon ?? false);
    this.#alive.add(task as Task);
    this.ready(task as Task);
    return task;
  }

  /** The task that is running now. */
  get running(): Task {
    assert(this.#running !== null, 'only a task may wait');
    return this.#running;
  }

  /** Makes a sleeping task runnable. For wait queues. */
  ready(task: Task): void {
    task.waitingOn = null;
    this.#runnable.push(task);
  }

  /**
   * Runs tasks and callbacks until `until` holds, virtual time would pass `limitNs`, or nothing is left to do.
   * Returns whether `until` holds (true when none was given and everything came to rest).
   */
  run(options: { readonly until?: () => boolean; readonly limitNs?: number } = {}): boolean {
    const { until, limitNs = Number.POSITIVE_INFINITY } = options;
    for (;;) {
      if (until?.()) return true;
      if (this.#runnable.length > 0) this.#step();
      else if (!this.clock.fireNext(limitNs)) return until === undefined;
    }
  }

  /** Tasks that are neither daemons nor ended: after a run came to rest, each of them is stuck. */
  stuck(): readonly Task[] {
    return [...this.#alive].filter((task) => !task.daemon);
  }

  #step(): void {
    const index = this.#choose === null || this.#runnable.length === 1 ? 0 : this.#choose(this.#runnable.length);
    const task = index === 0 ? this.#runnable.shift() : this.#runnable.splice(index, 1)[0];
    assert(task !== undefined, 'a chooser names one of the runnable tasks');
    this.#running = task;
    const wait = task.step();
    this.#running = null;
    if (wait === null) {
      this.#alive.delete(task);
      const held = task.held.map((lock) => lock.name).join(', ');
      assert(held === '', `task ${task.name} ended while it held ${held}`);
    } else if (typeof wait === 'number') {
      this.clock.after(wait, () => this.ready(task));
    } else {
      task.waitingOn = wait;
      wait.add(task);
    }
  }
}
