/** An I/O address space of this driver: what its kinds have in common. */
import { assert } from '../../assert.ts';
import type { Steps } from '../../sim/task.ts';
import type {
  AccessTracking,
  DirtyTracking,
  FaultHandler,
  Gather,
  IommuDomain,
  PageFault,
  Translation,
  WrittenRanges,
} from '../core.ts';
import type { SmmuDevice } from './device.ts';

/** One use of a domain: by a device, for one PASID or (-1) for accesses without one. */
export interface Attachment {
  readonly device: SmmuDevice;
  readonly pasid: number;
}

export abstract class SmmuDomain implements IommuDomain {
  readonly id: number;
  readonly stage: 1 | 2;
  /** The stage 2 domain that translates what this stage 1 domain puts out; null where that is physical. */
  readonly parent: SmmuDomain | null;
  abstract readonly pageSizes: readonly number[];
  abstract readonly lastIova: number;
  abstract readonly tableBytes: number;
  abstract readonly dirty: DirtyTracking | null;
  abstract readonly access: AccessTracking | null;
  /** VMID that tags the translations. */
  abstract readonly vmid: number;
  /** A guest says what each PASID of its devices means. */
  abstract readonly takesAllPasids: boolean;
  readonly attachments: Attachment[] = [];
  /** Stage 1 domains on top of this one. */
  readonly children = new Set<SmmuDomain>();
  handler: FaultHandler | null = null;
  freed = false;
  /** Calls of {@link retire} that have not ended. */
  #retiring = 0;

  constructor(id: number, stage: 1 | 2, parent: SmmuDomain | null) {
    this.id = id;
    this.stage = stage;
    this.parent = parent;
  }

  abstract map(iova: number, physical: number, size: number, protection: number): number;
  abstract unmap(iova: number, size: number, gather: Gather, written?: WrittenRanges): number;
  abstract protect(iova: number, size: number, protection: number, gather: Gather): number;
  abstract flush(gather: Gather): Steps;
  abstract newGather(): Gather;
  abstract translate(iova: number): Translation | null;
  /**
   * Where stage 2 translates the output: the page of it that `fault` needs, or null when this stage does not let the
   * access through. A page request does not say which stage it failed at.
   */
  abstract output(pasid: number, fault: PageFault): PageFault | null;
  /** Forgets everything that TLBs hold of the domain. */
  protected abstract forget(): Steps;

  /** {@link forget}, once nothing uses the domain. */
  *retire(): Steps {
    this.#retiring += 1;
    yield* this.forget();
    this.#retiring -= 1;
  }

  setFaultHandler(handler: FaultHandler | null): void {
    this.handler = handler;
  }

  /** Whether a stream translates by this domain, as its own or as the stage 2 below it. */
  get inUse(): boolean {
    if (this.attachments.length > 0) return true;
    for (const child of this.children) if (child.attachments.length > 0) return true;
    return false;
  }

  /** Whether TLBs may hold something of it: what no stream uses any more is there until it is forgotten. */
  get mayBeCached(): boolean {
    return this.#retiring > 0 || this.inUse;
  }

  protected assertAlive(): void {
    assert(!this.freed, `domain ${this.id} was freed`);
  }
}

/** The domain as this driver made it. */
export function ownDomain(domain: IommuDomain): SmmuDomain {
  assert(domain instanceof SmmuDomain, 'a domain comes from createDomain');
  assert(!domain.freed, `domain ${domain.id} was freed`);
  return domain;
}
