/** Locks for tasks. Each notes its holder, so that a task that ends with one fails the run. */
import { AssertionError, assert } from '../assert.ts';
import { removeFrom, type Scheduler, type Steps, type Task, WaitQueue } from './task.ts';

/** One holder at a time; granted in the order of asking. */
export class Mutex {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #waiters: WaitQueue;
  #holder: Task | null = null;

  constructor(scheduler: Scheduler, name: string) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#waiters = new WaitQueue(scheduler, name);
  }

  *lock(): Steps {
    const task = this.#scheduler.running;
    assert(this.#holder !== task, `${task.name} locks ${this.name} twice`);
    while (this.#holder !== null) yield this.#waiters;
    this.#holder = task;
    task.held.push(this);
  }

  unlock(): void {
    const task = this.#scheduler.running;
    assert(this.#holder === task, `${task.name} unlocks ${this.name}, which it does not hold`);
    task.drop(this);
    this.#holder = null;
    this.#waiters.wakeOne();
  }
}

/** Many readers or one writer. A waiting writer holds back new readers, so that it is not starved. */
export class RwLock {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #waiters: WaitQueue;
  readonly #readers: Task[] = [];
  #writer: Task | null = null;
  #writersWaiting = 0;

  constructor(scheduler: Scheduler, name: string) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#waiters = new WaitQueue(scheduler, name);
  }

  *lockRead(): Steps {
    const task = this.#scheduler.running;
    this.#assertNotHeld(task);
    while (!this.tryLockRead()) yield this.#waiters;
  }

  /** Reads at once where no writer holds or waits; whether it does. */
  tryLockRead(): boolean {
    if (this.#writer !== null || this.#writersWaiting > 0) return false;
    const task = this.#scheduler.running;
    this.#readers.push(task);
    task.held.push(this);
    return true;
  }

  unlockRead(): void {
    const task = this.#scheduler.running;
    if (!removeFrom(this.#readers, task)) {
      throw new AssertionError(`${task.name} unlocks ${this.name}, which it does not hold`);
    }
    task.drop(this);
    if (this.#readers.length === 0) this.#waiters.wakeAll();
  }

  *lockWrite(): Steps {
    const task = this.#scheduler.running;
    this.#assertNotHeld(task);
    this.#writersWaiting += 1;
    while (this.#writer !== null || this.#readers.length > 0) yield this.#waiters;
    this.#writersWaiting -= 1;
    this.#writer = task;
    task.held.push(this);
  }

  unlockWrite(): void {
    const task = this.#scheduler.running;
    assert(this.#writer === task, `${task.name} unlocks ${this.name}, which it does not hold`);
    this.#writer = null;
    task.drop(this);
    this.#waiters.wakeAll();
  }

  #assertNotHeld(task: Task): void {
    if (this.#writer === task || this.#readers.includes(task)) {
      throw new AssertionError(`${task.name} locks ${this.name} twice`);
    }
  }
}

/** A half-open range `[start, end)` held by a task. */
export interface HeldRange {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** Exclusive ranges: tasks on ranges that do not meet go on side by side. */
export class RangeLock {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #waiters: WaitQueue;
  readonly #held: HeldRange[] = [];

  constructor(scheduler: Scheduler, name: string) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#waiters = new WaitQueue(scheduler, name);
  }

  /** Waits until no holder's range meets `[start, end)`, then holds it. Give the result to {@link unlock}. */
  *lock(start: number, end: number): Steps<HeldRange> {
    if (start >= end) throw new AssertionError(`${this.name}: [${start}, ${end}) is empty`);
    while (this.#meets(start, end)) yield this.#waiters;
    return this.#hold(start, end);
  }

  /** Holds `[start, end)` where nobody's range meets it, else null at once. */
  tryLock(start: number, end: number): HeldRange | null {
    if (start >= end) throw new AssertionError(`${this.name}: [${start}, ${end}) is empty`);
    return this.#meets(start, end) ? null : this.#hold(start, end);
  }

  unlock(range: HeldRange): void {
    const task = this.#scheduler.running;
    if (!task.drop(range) || !removeFrom(this.#held, range)) {
      throw new AssertionError(`${task.name} unlocks a range it does not hold`);
    }
    this.#waiters.wakeAll();
  }

  #hold(start: number, end: number): HeldRange {
    const range: HeldRange = { name: this.name, start, end };
    this.#held.push(range);
    this.#scheduler.running.held.push(range);
    return range;
  }

  #meets(start: number, end: number): boolean {
    for (const range of this.#held) if (range.start < end && start < range.end) return true;
    return false;
  }
}
