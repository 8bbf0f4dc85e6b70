/** A work queue with a fixed number of threads: what is put in is served in order, as many at a time as there are threads. */
import { assert } from '../assert.ts';
import { type Scheduler, type Steps, WaitQueue } from './task.ts';

export class WorkQueue<T> {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #serve: (item: T) => Steps;
  readonly #wakeNs: number;
  readonly #work: WaitQueue;
  readonly #items: T[] = [];
  #workers = 0;
  #alive = 0;

  /** `wakeNs`: from work put in to a sleeping thread that runs. */
  constructor(scheduler: Scheduler, name: string, wakeNs: number, serve: (item: T) => Steps) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#serve = serve;
    this.#wakeNs = wakeNs;
    this.#work = new WaitQueue(scheduler, `work in ${name}`);
  }

  get workers(): number {
    return this.#workers;
  }

  /** Changes the number of threads; those too many end after the item they serve. */
  setWorkers(count: number): void {
    assert(count >= 0, `${count} threads`);
    this.#workers = count;
    for (; this.#alive < count; this.#alive++) {
      this.#scheduler.spawn(`${this.name}/${this.#alive}`, this.#run(), { daemon: true });
    }
    this.#work.wakeAll();
  }

  put(item: T): void {
    assert(this.#workers > 0, `${this.name} has threads`);
    this.#items.push(item);
    this.#work.wakeOne();
  }

  *#run(): Steps {
    while (this.#alive <= this.#workers || this.#items.length > 0) {
      const item = this.#items.shift();
      if (item !== undefined) {
        yield* this.#serve(item);
        continue;
      }
      yield this.#work;
      if (this.#items.length > 0 && this.#wakeNs > 0) yield this.#wakeNs;
    }
    this.#alive -= 1;
  }
}
