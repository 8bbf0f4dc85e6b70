/**
 * The IOMMU core interface: what a kernel subsystem such as VFIO sees of an IOMMU. The driver in `driver/` implements it;
 * `vfio` uses it and knows nothing below. I/O virtual and physical addresses are byte addresses below 2^52.
 */
import type { Steps } from '../sim/task.ts';

/** A negative errno (`-22`), or 0 for success. */
export type Errno = number;

/** Permissions of a mapping. */
export const Protection = { READ: 1, WRITE: 2, EXECUTE: 4, DEVICE: 8 } as const;

/** How one page request group is answered. Each encoding (CMD_PRI_RESP, CMD_RESUME, PCIe message) is made at its edge. */
export const FaultResponse = {
  /** The pages are there: try again. */
  SUCCESS: 'success',
  /** This address is no good: abort the access. */
  INVALID: 'invalid',
  /** Something is badly wrong: abort, and for PRI stop using the interface. */
  FAILURE: 'failure',
} as const;
export type FaultResponse = (typeof FaultResponse)[keyof typeof FaultResponse];

/** One page asked for. */
export interface PageFault {
  /** I/O virtual address divided by 4096. */
  readonly page: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
  readonly privileged: boolean;
}

/**
 * Recoverable faults that get one answer: a whole page request group, or one stalled access. Where it came from matters
 * to the driver alone.
 */
export interface FaultGroup {
  readonly device: IommuDevice;
  readonly domain: IommuDomain;
  /** The PASID of the requests, or -1. */
  readonly pasid: number;
  readonly origin: 'stall' | 'pri';
  /** Page request group index, or the stall tag. */
  readonly index: number;
  readonly pages: readonly PageFault[];
  /** Virtual time at which the driver took the (last) record from its queue. */
  readonly receivedNs: number;
  /**
   * Virtual time at which the driver last saw that queue empty: the device asked after it. A request older than the
   * answer for its page is a duplicate; one that is surely younger used a stale translation. By default `receivedNs`.
   */
  readonly notBeforeNs?: number;
}

/** A fault that no answer can repair, as the event queue reported it. */
export interface UnrecoverableFault {
  readonly device: IommuDevice | null;
  readonly domain: IommuDomain | null;
  readonly pasid: number;
  /** Name of the architected event, e.g. `F_TRANSLATION`. */
  readonly event: string;
  /** 1 or 2, or 0 where the event has no stage. A stage 2 fault carries `ipa`. */
  readonly stage: 0 | 1 | 2;
  readonly page: number;
  readonly ipa: number;
  readonly write: boolean;
}

/** Serves the faults of one domain (so of one page table, of one PASID). */
export interface FaultHandler {
  readonly name: string;
  /**
   * Takes a whole group on the thread that read the queue. It answers at once or hands the group to workers; either way
   * `Iommu.respond` is called exactly once for it.
   */
  handle(group: FaultGroup): Steps;
  unrecoverable?(fault: UnrecoverableFault): void;
}

/** A function behind the IOMMU, as probing found it. */
export interface IommuDevice {
  readonly name: string;
  readonly streamId: number;
  /** Accesses may stall at the IOMMU. */
  readonly stall: boolean;
  /** ATS and PRI are present on both sides. */
  readonly pri: boolean;
  readonly ats: boolean;
  /** Width of PASIDs that may be used; 0 means none. */
  readonly pasidBits: number;
}

/** Ranges whose translations are gone from the tables but may still be cached. */
export interface Gather {
  /** Adds `[iova, iova + size)`; `size` is what was really unmapped, `leafSize` the block or page size that it held. */
  add(iova: number, size: number, leafSize: number): void;
  readonly empty: boolean;
  reset(): void;
}

/** What an address translates to. */
export interface Translation {
  readonly physical: number;
  readonly protection: number;
  /** Bytes of the block or page that holds it. */
  readonly size: number;
}

/** Told which ranges hardware saw written; called for adjacent leaves one by one. */
export interface WrittenRanges {
  noteWritten(iova: number, size: number): void;
}

/**
 * Dirty state that the IOMMU keeps in the page table by itself. A page is dirty once a device was let write it, or was
 * granted writing by ATS: what the device does with its grant the IOMMU does not see.
 */
export interface DirtyTracking {
  /** Tracking is on. */
  readonly enabled: boolean;
  /**
   * Turns tracking on: from the flush of `gather` on, everything mapped is clean until it is written, page by page, as is
   * what is mapped later. -ENOMEM without memory to split blocks into pages; then tracking is as it was.
   */
  enable(gather: Gather): Errno;
  /** Turns tracking off: nothing is noted of what is mapped from now on. */
  disable(): void;
  /**
   * Tells `written` which pages of `[iova, iova + size)` are dirty, and makes them clean. Until `gather` is flushed they
   * may be written unseen, by translations cached before: such a write belongs to what was told. -EINVAL off the granule
   * or while tracking is off.
   */
  readAndClear(iova: number, size: number, written: WrittenRanges, gather: Gather): Errno;
}

/** The mark of access that the IOMMU sets by itself in each leaf that a device uses. What is mapped begins marked. */
export interface AccessTracking {
  /**
   * Clears the mark of the leaf that holds `iova`: the leaf's size in bytes if it was marked, else 0. It is not set again
   * by what goes through a translation cached before the flush of `gather`.
   */
  testAndClear(iova: number, gather: Gather): number;
}

/** An I/O address space: one page table and the devices (and PASIDs) that use it. */
export interface IommuDomain {
  readonly id: number;
  /** Block and page sizes, ascending; the first is the granule. */
  readonly pageSizes: readonly number[];
  /** Highest usable I/O virtual address. */
  readonly lastIova: number;
  /**
   * Maps `[iova, iova + size)` to `[physical, ...)` with the largest blocks that fit; all are multiples of the granule.
   * -EEXIST when something is mapped there, -EINVAL off the granule or the range, -ENOMEM without table memory; then
   * nothing is changed.
   */
  map(iova: number, physical: number, size: number, protection: number): Errno;
  /**
   * Unmaps and gathers; the number of bytes really unmapped, which is more than asked where a block lay across. `written`
   * is told what of it is dirty, no write of a device lost between, while {@link dirty} tracks.
   */
  unmap(iova: number, size: number, gather: Gather, written?: WrittenRanges): number;
  /**
   * Changes the permissions of what is mapped in the range, splitting blocks; -EINVAL off the granule, -ENOMEM. Dirty
   * state stays with what could be written before and still can be; what becomes writable begins as if it were mapped.
   */
  protect(iova: number, size: number, protection: number, gather: Gather): Errno;
  /** Invalidates IOTLBs and ATCs for what was gathered and waits until no access can use it any more. */
  flush(gather: Gather): Steps;
  newGather(): Gather;
  translate(iova: number): Translation | null;
  /** Faults of this domain go to `handler` from now on; null: they are answered `invalid`. */
  setFaultHandler(handler: FaultHandler | null): void;
  /** Dirty state kept by hardware; null where the IOMMU has none, or the table is not the driver's own. */
  readonly dirty: DirtyTracking | null;
  /** Access state kept by hardware; null likewise. */
  readonly access: AccessTracking | null;
  /** Bytes of page-table memory in use. */
  readonly tableBytes: number;
}

export interface DomainOptions {
  /** Which stage this page table is. */
  readonly stage: 1 | 2;
  /** The stage 2 domain below a nested stage 1 domain. */
  readonly parent?: IommuDomain;
  /** Page size of the table; what the IOMMU announces decides. */
  readonly granule?: 4096 | 16384 | 65536;
}

export interface Iommu {
  /** A new, empty address space. @throws RangeError for a granule or a stage that the IOMMU does not announce. */
  createDomain(options: DomainOptions): IommuDomain;
  /** Frees the tables; no device may be attached. */
  freeDomain(domain: IommuDomain): void;
  attach(domain: IommuDomain, device: IommuDevice): Steps<Errno>;
  /** Stops new faults, drains and answers those in flight, then detaches: the stream aborts. */
  detach(domain: IommuDomain, device: IommuDevice): Steps;
  attachPasid(domain: IommuDomain, device: IommuDevice, pasid: number): Steps<Errno>;
  detachPasid(device: IommuDevice, pasid: number): Steps;
  /**
   * Lets the device fault: stall or PRI, whichever `mode` says and the device has. Enabling is owned: -EBUSY when another
   * owner enabled it; only the owner's disable takes effect, and it is idempotent.
   */
  enableFaults(device: IommuDevice, owner: object, mode: 'stall' | 'pri'): Steps<Errno>;
  disableFaults(device: IommuDevice, owner: object): Steps<Errno>;
  /** Makes the stream abort at once, whatever it is attached to. */
  block(device: IommuDevice): Steps;
  /** Answers a group once. An answer for a group that is no longer pending is dropped and logged. */
  respond(group: FaultGroup, response: FaultResponse): Steps;
}

/** Stage 1 tables that a guest keeps in its own memory, as its own STE describes them. */
export interface GuestTables {
  /** Guest physical address of the context descriptors (STE.S1ContextPtr). */
  readonly contextTable: number;
  /** log2 of their number (STE.S1CDMax). */
  readonly contextBits: number;
  /** STE.S1Fmt: 0 linear, 1 and 2 two-level with second levels of 4 and 64 KiB. */
  readonly contextFormat: 0 | 1 | 2;
  /** Accesses without PASID, where there are several descriptors (STE.S1DSS). */
  readonly withoutPasid: 'abort' | 'bypass' | 'translate';
}

/** An IOMMU that lets a guest translate first. */
export interface NestingIommu extends Iommu {
  /**
   * An address space whose first stage is the guest's: its mappings are none of ours (`map` and its kin answer
   * -EOPNOTSUPP), and faults of the first stage go to its handler, those of the second to the handler of `parent`. It
   * takes all PASIDs of a device. @throws RangeError where the IOMMU cannot nest.
   */
  createGuestDomain(parent: IommuDomain, tables: GuestTables): IommuDomain;
  /**
   * Carries out a guest's invalidation commands (16 bytes each) for what it translates, and waits for them. The number
   * carried out: less than given means that the next one is none that a guest may issue. `deviceOf` maps the StreamIDs
   * that the guest knows.
   */
  invalidateGuest(
    domain: IommuDomain,
    commands: DataView,
    deviceOf: (streamId: number) => IommuDevice | null,
  ): Steps<number>;
}
