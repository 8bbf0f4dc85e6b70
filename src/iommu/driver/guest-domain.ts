/** An address space whose first stage a guest keeps in its own memory. */
import { Errno } from '../../errno.ts';
import type { Steps } from '../../sim/task.ts';
import type { Gather, GuestTables, PageFault, Translation } from '../core.ts';
import { SmmuDomain } from './domain.ts';
import { GuestWalk, WalkEnd } from './guest-walk.ts';
import type { Invalidation } from './invalidation.ts';
import type { PagedDomain } from './paged-domain.ts';
import type { TableArena } from './table-memory.ts';

/** Nothing is gathered where nothing is unmapped. */
const NOTHING: Gather = { add: () => {}, empty: true, reset: () => {} };

export class GuestDomain extends SmmuDomain {
  readonly tables: GuestTables;
  readonly pageSizes: readonly number[] = [];
  readonly lastIova: number;
  readonly tableBytes = 0;
  /** The guest keeps both in its own tables. */
  readonly dirty = null;
  readonly access = null;
  readonly vmid: number;
  readonly takesAllPasids = true;
  readonly #walk: GuestWalk;
  readonly #invalidation: Invalidation;

  constructor(id: number, parent: PagedDomain, tables: GuestTables, arena: TableArena, invalidation: Invalidation) {
    super(id, 1, parent);
    this.tables = tables;
    this.vmid = parent.vmid;
    this.lastIova = 2 ** 52 - 1;
    this.#walk = new GuestWalk(arena.memory, parent.table, tables);
    this.#invalidation = invalidation;
  }

  map(): number {
    return Errno.EOPNOTSUPP;
  }

  unmap(): number {
    return Errno.EOPNOTSUPP;
  }

  protect(): number {
    return Errno.EOPNOTSUPP;
  }

  *flush(): Steps {}

  newGather(): Gather {
    return NOTHING;
  }

  /** To a guest physical address, for accesses without PASID. */
  translate(iova: number): Translation | null {
    this.assertAlive();
    const access = { page: Math.floor(iova / 4096), read: true, write: false, execute: false, privileged: false };
    if (this.#walk.walk(-1, access) !== WalkEnd.OUTPUT) return null;
    return { physical: this.#walk.page * 4096 + (iova % 4096), protection: this.#walk.protection, size: 4096 };
  }

  output(pasid: number, fault: PageFault): PageFault | null {
    const end = this.#walk.walk(pasid, fault);
    if (end === WalkEnd.STAGE_1) return null;
    const { page } = this.#walk;
    return end === WalkEnd.OUTPUT ? { ...fault, page } : { ...fault, page, read: true, write: false, execute: false };
  }

  protected *forget(): Steps {
    yield* this.#invalidation.flushGuest(this);
  }
}
