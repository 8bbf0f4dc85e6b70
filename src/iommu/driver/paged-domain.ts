/** An address space whose translation table the driver writes. */
import { assert } from '../../assert.ts';
import type { Steps } from '../../sim/task.ts';
import { type Gather, type PageFault, Protection, type Translation } from '../core.ts';
import { SmmuDomain } from './domain.ts';
import { DomainGather } from './gather.ts';
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
}

export class PagedDomain extends SmmuDomain {
  readonly table: PageTable;
  readonly tag: number;
  readonly pageSizes: readonly number[];
  readonly lastIova: number;
  readonly vmid: number;
  readonly takesAllPasids = false;
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

  unmap(iova: number, size: number, gather: Gather): number {
    this.assertAlive();
    return this.table.unmap(iova, size, ownGather(gather));
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

  *forget(): Steps {
    yield* this.#invalidation.flushAll(this);
  }
}

/** Whether a mapping lets an access through. */
function permits(protection: number, access: PageFault): boolean {
  if (access.read && (protection & Protection.READ) === 0) return false;
  if (access.write && (protection & Protection.WRITE) === 0) return false;
  return !access.execute || (protection & Protection.EXECUTE) !== 0;
}

function ownGather(gather: Gather): DomainGather {
  assert(gather instanceof DomainGather, 'a gather comes from newGather');
  return gather;
}
