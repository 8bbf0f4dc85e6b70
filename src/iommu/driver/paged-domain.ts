/** An address space whose translation table the driver writes. */
import type { Steps } from '../../sim/task.ts';
import {
  type AccessTracking,
  type DirtyTracking,
  type Gather,
  type PageFault,
  Protection,
  type Translation,
  type WrittenRanges,
} from '../core.ts';
import { SmmuDomain } from './domain.ts';
import { DomainGather, ownGather } from './gather.ts';
import { AccessState, DirtyState } from './hardware-state.ts';
import type { Invalidation } from './invalidation.ts';
import type { PageTable } from './page-table.ts';
import type { TableArena } from './table-memory.ts';

export interface PagedDomainOptions {
  readonly id: number;
  readonly table: PageTable;
  readonly arena: TableArena;
  readonly invalidation: Invalidation;
  /** ASID of stage 1, VMID of stage 2. */
  readonly tag: number;
  readonly parent: SmmuDomain | null;
  /** What hardware keeps in the leaves. */
  readonly accessState: boolean;
  readonly dirtyState: boolean;
}

export class PagedDomain extends SmmuDomain {
  readonly table: PageTable;
  readonly tag: number;
  readonly pageSizes: readonly number[];
  readonly lastIova: number;
  readonly vmid: number;
  readonly takesAllPasids = false;
  readonly dirty: DirtyTracking | null;
  readonly access: AccessTracking | null;
  readonly #arena: TableArena;
  readonly #invalidation: Invalidation;
  #epoch = 0;

  constructor(options: PagedDomainOptions) {
    super(options.id, options.table.shape.stage, options.parent);
    this.table = options.table;
    this.tag = options.tag;
    this.pageSizes = options.table.pageSizes;
    this.lastIova = options.table.lastAddress;
    this.vmid = this.stage === 2 ? options.tag : (options.parent?.vmid ?? 0);
    this.dirty = options.dirtyState ? new DirtyState(options.table.tree) : null;
    this.access = options.accessState ? new AccessState(options.table.tree) : null;
    this.#arena = options.arena;
    this.#invalidation = options.invalidation;
  }

  get tableBytes(): number {
    return this.#arena.bytes;
  }

  map(iova: number, physical: number, size: number, protection: number): number {
    this.assertAlive();
    return this.table.map(iova, physical, size, protection);
  }

  unmap(iova: number, size: number, gather: Gather, written?: WrittenRanges): number {
    this.assertAlive();
    const told = this.dirty?.enabled === true ? written : null;
    return this.table.unmap(iova, size, ownGather(gather), told);
  }

  protect(iova: number, size: number, protection: number, gather: Gather): number {
    this.assertAlive();
    return this.table.protect(iova, size, protection, ownGather(gather));
  }

  flush(gather: Gather): Steps {
    this.assertAlive();
    return this.#invalidation.flush(this, ownGather(gather));
  }

  newGather(): Gather {
    return new DomainGather(() => ++this.#epoch);
  }

  translate(iova: number): Translation | null {
    this.assertAlive();
    return this.table.translate(iova);
  }

  output(_pasid: number, fault: PageFault): PageFault | null {
    const found = this.table.translate(fault.page * 4096);
    if (found === null || !permits(found.protection, fault)) return null;
    return { ...fault, page: Math.floor(found.physical / 4096) };
  }

  protected *forget(): Steps {
    yield* this.#invalidation.flushAll(this);
  }
}

/** Whether a mapping lets an access through. */
function permits(protection: number, access: PageFault): boolean {
  if (access.read && (protection & Protection.READ) === 0) return false;
  if (access.write && (protection & Protection.WRITE) === 0) return false;
  return !access.execute || (protection & Protection.EXECUTE) !== 0;
}
