/**
 * The IOMMU that a virtual machine shows to its guest, over a nesting container: the guest says where its context
 * descriptors are, hands over invalidation commands, and takes and answers the faults of its own stage. It is a
 * paravirtual one: calls, not registers; the structures in memory and the commands are the SMMU's own.
 */
import { assert } from '../assert.ts';
import { high32, low32 } from '../layout/field.ts';
import type { Log } from '../sim/log.ts';
import type { Steps } from '../sim/task.ts';
import { Ioctl } from '../vfio/uapi.layout.ts';
import { DmaRange, ExtensionIoctl } from '../vfio/uapi-extensions.layout.ts';
import {
  AnswerCode,
  FaultAnswer,
  FaultFlags,
  FaultPermission,
  FaultQueueAlloc,
  FaultRecord,
  GuestInvalidation,
  GuestTable,
  NestingIoctl,
  VFIO_GUEST_STAGE,
  WithoutPasid,
} from '../vfio/uapi-nesting.layout.ts';
import type { HostProcess } from './host-process.ts';
import { withSize } from './vfio-container.ts';
import { succeeded, VmmError } from './vmm-error.ts';

const COMMAND_BYTES = 16;
const PAGE_BYTES = 4096;
const TWO_32 = 2 ** 32;
/** Faults read at once; a group has 512 pages at most (PCIe §10.4.1: its index has 9 bits, its pages are credits). */
const RECORDS = 4096;

/** One page that the device asks the guest for. */
export interface GuestFault {
  readonly cookie: number;
  /** I/O virtual address. */
  readonly address: number;
  readonly write: boolean;
  /** The last page of its group: one answer is due. */
  readonly last: boolean;
}

export interface GuestContext {
  /** Guest-physical address of the one context descriptor. */
  readonly contextTable: number;
  /** Guest memory that the device reads without a way to wait for it: what translates its interrupts. */
  readonly fixed: { readonly address: number; readonly bytes: number };
  /** Runs when the device waits for the guest; null: what the guest has not mapped is an error. */
  readonly faulted: (() => void) | null;
}

export interface VirtualIommuOptions {
  readonly process: HostProcess;
  /** The container. */
  readonly descriptor: number;
  /** Whether memory of the guest may be missing for the device. */
  readonly onDemand: boolean;
  readonly log: Log;
}

export class VirtualIommu {
  /** Where the device's interrupts go: the guest maps it to itself, as a reserved region of its firmware tables says. */
  readonly doorbell: { readonly address: number; readonly bytes: number };
  readonly #options: VirtualIommuOptions;
  readonly #records = new DataView(new ArrayBuffer(RECORDS * FaultRecord.$.byteLength));
  readonly #answer = new DataView(new ArrayBuffer(FaultAnswer.$.byteLength));
  #queue = -1;
  #event = -1;
  #fixed: GuestContext['fixed'] | null = null;

  constructor(options: VirtualIommuOptions, doorbell: { readonly address: number; readonly bytes: number }) {
    this.#options = options;
    this.doorbell = doorbell;
  }

  /** What the guest said that its device must never wait for; null while there is no context. */
  get fixed(): GuestContext['fixed'] | null {
    return this.#fixed;
  }

  /** The device translates by the guest's tables from now on. @throws VmmError */
  *attach(context: GuestContext): Steps {
    const { process, descriptor, onDemand } = this.#options;
    assert(this.#fixed === null, 'one context at a time');
    const able = yield* process.ioctl(descriptor, Ioctl.VFIO_CHECK_EXTENSION, VFIO_GUEST_STAGE);
    if (able !== 1) throw new VmmError('this kernel has no nested translation for guests');
    const { faulted, fixed, contextTable } = context;
    if (onDemand) yield* this.#pin(ExtensionIoctl.VFIO_IOMMU_PIN_DMA, 'VFIO_IOMMU_PIN_DMA', fixed);
    this.#fixed = fixed;
    if (faulted !== null) {
      this.#event = succeeded(process.eventfd(faulted), 'eventfd');
      const queue = withSize(FaultQueueAlloc, { EVENT_FD: this.#event });
      const request = NestingIoctl.VFIO_IOMMU_ALLOC_FAULT_QUEUE;
      this.#queue = succeeded(yield* process.ioctl(descriptor, request, queue), 'VFIO_IOMMU_ALLOC_FAULT_QUEUE');
    }
    const table = withSize(GuestTable, {
      CONTEXT_TABLE_LOW: low32(contextTable),
      CONTEXT_TABLE_HIGH: high32(contextTable),
      WITHOUT_PASID: WithoutPasid.TRANSLATE,
      FAULT_QUEUE_FD: this.#queue >>> 0,
    });
    yield* this.#call('VFIO_IOMMU_BIND_GUEST_TABLE', NestingIoctl.VFIO_IOMMU_BIND_GUEST_TABLE, table);
    this.#options.log.info({ event: 'guest.iommu', attached: true, contextTable });
  }

  /** The device translates by the host's tables alone. */
  *detach(): Steps {
    const { process, onDemand, log } = this.#options;
    const fixed = this.#fixed;
    if (fixed === null) return;
    this.#fixed = null;
    yield* this.#call('VFIO_IOMMU_UNBIND_GUEST_TABLE', NestingIoctl.VFIO_IOMMU_UNBIND_GUEST_TABLE, 0);
    for (const open of [this.#queue, this.#event]) if (open >= 0) yield* process.close(open);
    this.#queue = -1;
    this.#event = -1;
    if (onDemand) yield* this.#pin(ExtensionIoctl.VFIO_IOMMU_UNPIN_DMA, 'VFIO_IOMMU_UNPIN_DMA', fixed);
    log.info({ event: 'guest.iommu', attached: false, contextTable: 0 });
  }

  /** Carries out invalidation commands of 16 bytes each, CMD_SYNC among them. @throws VmmError for one that is refused. */
  *invalidate(commands: readonly DataView[]): Steps {
    const bytes = GuestInvalidation.$.byteLength + commands.length * COMMAND_BYTES;
    const argument = new DataView(new ArrayBuffer(bytes));
    GuestInvalidation.ARGSZ.set(argument, 0, bytes);
    GuestInvalidation.COUNT.set(argument, 0, commands.length);
    const target = new Uint8Array(argument.buffer, GuestInvalidation.$.byteLength);
    for (const [index, { buffer, byteOffset }] of commands.entries()) {
      target.set(new Uint8Array(buffer, byteOffset, COMMAND_BYTES), index * COMMAND_BYTES);
    }
    const { process, descriptor } = this.#options;
    const request = NestingIoctl.VFIO_IOMMU_INVALIDATE_GUEST;
    const done = succeeded(yield* process.ioctl(descriptor, request, argument), 'VFIO_IOMMU_INVALIDATE_GUEST');
    if (done < commands.length) throw new VmmError(`the host refused invalidation command ${done} of the guest`);
  }

  /** The faults that wait, whole groups in order; empty when there are none. */
  *takeFaults(): Steps<readonly GuestFault[]> {
    const bytes = this.#queue < 0 ? 0 : yield* this.#options.process.pread(this.#queue, this.#records, 0);
    const faults: GuestFault[] = [];
    for (let at = 0; at < bytes; at += FaultRecord.$.byteLength) {
      const view = this.#records;
      faults.push({
        cookie: FaultRecord.COOKIE.get(view, at),
        address: FaultRecord.ADDRESS_HIGH.get(view, at) * TWO_32 + FaultRecord.ADDRESS_LOW.get(view, at),
        write: (FaultRecord.PERMISSIONS.get(view, at) & FaultPermission.WRITE) !== 0,
        last: (FaultRecord.FLAGS.get(view, at) & FaultFlags.LAST_PAGE) !== 0,
      });
    }
    return faults;
  }

  /** Answers a group. An answer that comes too late is lost. */
  *respond(cookie: number, good: boolean): Steps {
    if (this.#queue < 0) return;
    FaultAnswer.COOKIE.set(this.#answer, 0, cookie);
    FaultAnswer.CODE.set(this.#answer, 0, good ? AnswerCode.SUCCESS : AnswerCode.INVALID);
    yield* this.#options.process.pwrite(this.#queue, this.#answer, 0);
  }

  *#pin(request: number, name: string, { address, bytes }: GuestContext['fixed']): Steps {
    assert(bytes % PAGE_BYTES === 0, 'whole pages are pinned');
    const range = withSize(DmaRange, {
      IOVA_LOW: low32(address),
      IOVA_HIGH: high32(address),
      SIZE_LOW: low32(bytes),
      SIZE_HIGH: high32(bytes),
    });
    yield* this.#call(name, request, range);
  }

  *#call(name: string, request: number, argument: DataView | number): Steps {
    succeeded(yield* this.#options.process.ioctl(this.#options.descriptor, request, argument), name);
  }
}
