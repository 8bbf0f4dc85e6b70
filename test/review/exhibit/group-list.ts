/** The series' way from a group to its container: one tree for the whole host, under one mutex. */
import { Mutex } from '../../../src/sim/locks.ts';
import type { Scheduler, Steps } from '../../../src/sim/task.ts';
import type { RfcContainer } from './container.ts';
import { Allocation } from './lifetime.ts';

/** vfio_iopf_group: nobody counts who uses it. */
export class IopfGroup extends Allocation {
  readonly group: number;
  readonly container: RfcContainer;
  /** Pages that a vendor driver pinned; what lies outside of them is refused once there are any. */
  readonly pinnedPages = new Map<number, number>();
  selective = false;
  left: IopfGroup | null = null;
  right: IopfGroup | null = null;

  constructor(group: number, container: RfcContainer) {
    super(`the entry of group ${group}`);
    this.group = group;
    this.container = container;
  }
}

export class GroupList {
  readonly lock: Mutex;
  /** Nanoseconds with the mutex held for each node visited. */
  readonly visitNs: number;
  /** Nodes visited by all look-ups. */
  visits = 0;
  #root: IopfGroup | null = null;

  constructor(scheduler: Scheduler, visitNs = 0) {
    this.lock = new Mutex(scheduler, 'the global list of groups');
    this.visitNs = visitNs;
  }

  *link(entry: IopfGroup): Steps {
    yield* this.lock.lock();
    this.#root = insert(this.#root, entry);
    this.lock.unlock();
  }

  *unlink(entry: IopfGroup): Steps {
    yield* this.lock.lock();
    const rest: IopfGroup[] = [];
    collect(this.#root, rest);
    this.#root = balanced(rest.filter((each) => each !== entry));
    this.lock.unlock();
  }

  /** The entry of a group, or null. It is the caller's without a reference, and the mutex is open again. */
  *find(group: number): Steps<IopfGroup | null> {
    yield* this.lock.lock();
    let node = this.#root;
    let visits = 0;
    while (node !== null) {
      visits += 1;
      if (group === node.group) break;
      node = group < node.group ? node.left : node.right;
    }
    this.visits += visits;
    if (this.visitNs > 0) yield this.visitNs * visits;
    this.lock.unlock();
    return node;
  }

  /** Puts many entries in at once. */
  fill(entries: readonly IopfGroup[]): void {
    this.#root = balanced([...entries].sort((a, b) => a.group - b.group));
  }
}

function insert(root: IopfGroup | null, entry: IopfGroup): IopfGroup {
  const all: IopfGroup[] = [];
  collect(root, all);
  all.push(entry);
  const tree = balanced(all.sort((a, b) => a.group - b.group));
  return tree ?? entry;
}

/** A kernel's tree keeps itself balanced; here it is made anew. */
function balanced(entries: readonly IopfGroup[]): IopfGroup | null {
  const middle = entries.length >>> 1;
  const root = entries[middle];
  if (root === undefined) return null;
  root.left = balanced(entries.slice(0, middle));
  root.right = balanced(entries.slice(middle + 1));
  return root;
}

function collect(root: IopfGroup | null, into: IopfGroup[]): void {
  if (root === null) return;
  collect(root.left, into);
  into.push(root);
  collect(root.right, into);
}
