/** An I/O address space of this driver. */
import { assert } from '../../assert.ts';
import type { Steps } from '../../sim/task.ts';
import type { FaultHandler, Gather, IommuDomain, Translation } from '../core.ts';
import type { SmmuDevice } from './device.ts';
import { DomainGather } from './gather.ts';
import type { Invalidation } from './invalidation.ts';
import type { PageTable } from './page-table.ts';
import type { TableArena } from './table-memory.ts';

/** One use of a domain: by a device, for one PASID or (-1) for accesses without one. */
export interface Attachment {
  readonly device: SmmuDevice;
  readonly pasid: number;
}

export interface SmmuDomainOptions {
  readonly id: number;
  readonly stage: 1 | 2;
  readonly table: PageTable;
  readonly arena: TableArena;
  readonly invalidation: Invalidation;
  /** ASID of stage 1, VMID of stage 2. */
  readonly tag: number;
  readonly parent: SmmuDomain | null;
}

export class SmmuDomain implements IommuDomain {
  readonly id: number;
  readonly stage: 1 | 2;
  readonly table: PageTable;
  readonly arena: TableArena;
  readonly parent: SmmuDomain | null;
  readonly tag: number;
  readonly pageSizes: readonly number[];
  readonly lastIova: number;
  readonly attachments: Attachment[] = [];
  /** Nested stage 1 domains on top of this one. */
  readonly children = new Set<SmmuDomain>();
  handler: FaultHandler | null = null;
  freed = false;
  readonly #invalidation: Invalidation;
  #epoch = 0;

  constructor(options: SmmuDomainOptions) {
    this.id = options.id;
    this.stage = options.stage;
    this.table = options.table;
    this.arena = options.arena;
    this.parent = options.parent;
    this.tag = options.tag;
    this.#invalidation = options.invalidation;
    this.pageSizes = options.table.pageSizes;
    this.lastIova = options.table.lastAddress;
  }

  /** VMID that tags this domain's translations. */
  get vmid(): number {
    if (this.stage === 2) return this.tag;
    return this.parent?.tag ?? 0;
  }

  get tableBytes(): number {
    return this.arena.bytes;
  }

  map(iova: number, physical: number, size: number, protection: number): number {
    this.#assertAlive();
    return this.table.map(iova, physical, size, protection);
  }

  unmap(iova: number, size: number, gather: Gather): number {
    this.#assertAlive();
    return this.table.unmap(iova, size, own(gather));
  }

  protect(iova: number, size: number, protection: number, gather: Gather): number {
    this.#assertAlive();
    return this.table.protect(iova, size, protection, own(gather));
  }

  *flush(gather: Gather): Steps {
    this.#assertAlive();
    yield* this.#invalidation.flush(this, own(gather));
  }

  newGather(): Gather {
    return new DomainGather(() => ++this.#epoch);
  }

  translate(iova: number): Translation | null {
    this.#assertAlive();
    return this.table.translate(iova);
  }

  setFaultHandler(handler: FaultHandler | null): void {
    this.handler = handler;
  }

  #assertAlive(): void {
    assert(!this.freed, `domain ${this.id} was freed`);
  }
}

function own(gather: Gather): DomainGather {
  assert(gather instanceof DomainGather, 'a gather comes from newGather');
  return gather;
}

/** The domain as this driver made it. */
export function ownDomain(domain: IommuDomain): SmmuDomain {
  assert(domain instanceof SmmuDomain, 'a domain comes from createDomain');
  return domain;
}
