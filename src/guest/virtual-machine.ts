/**
 * A virtual machine with one passed-through device, run by a host process that knows nothing but system calls: it maps
 * memory, opens the device through VFIO, and shows both to the guest.
 */
import type { Log } from '../sim/log.ts';
import type { Steps } from '../sim/task.ts';
import { GUEST_MSI_DOORBELL, GUEST_RAM_BASE, type GuestAccessSize, type GuestBoard } from './board.ts';
import { type DirtyLogOptions, DirtyPageLog } from './dirty-page-log.ts';
import { GuestMemory } from './guest-memory.ts';
import type { HostProcess } from './host-process.ts';
import { type FaultSettings, VfioContainer } from './vfio-container.ts';
import { VfioDevice } from './vfio-device.ts';
import { VirtualFunction } from './virtual-function.ts';
import { VirtualIommu } from './virtual-iommu.ts';
import { succeeded, VmmError } from './vmm-error.ts';

export interface VirtualMachineOptions {
  readonly process: HostProcess;
  /** IOMMU group of the device: `/dev/vfio/GROUP`. */
  readonly groupNumber: number;
  readonly deviceName: string;
  /** Guest memory, all of it mapped for the device at its guest-physical address. */
  readonly memoryBytes: number;
  /** How the device may fault on it; null: it is pinned and mapped before the guest starts. */
  readonly faults: FaultSettings | null;
  /** The guest has an IOMMU: its own stage of translation over the host's. */
  readonly nested?: boolean;
  readonly log: Log;
}

/** Guest-physical. */
export interface GuestRange {
  readonly address: number;
  readonly bytes: number;
}

export class VirtualMachine implements GuestBoard {
  readonly memory: GuestMemory;
  readonly #options: VirtualMachineOptions;
  readonly #interrupts = new Map<number, () => void>();
  readonly #kept: GuestRange[] = [];
  /** What undoes each step that was taken, the last step last. */
  readonly #undo: (() => Steps)[];
  #function: VirtualFunction | null = null;
  #iommu: VirtualIommu | null = null;
  #container: VfioContainer | null = null;

  private constructor(options: VirtualMachineOptions, memory: GuestMemory, undo: (() => Steps)[]) {
    this.#options = options;
    this.memory = memory;
    this.#undo = undo;
  }

  /** Sets everything up; what was set up is undone when a later step fails. @throws VmmError */
  static *start(options: VirtualMachineOptions): Steps<VirtualMachine> {
    const { process, memoryBytes: bytes } = options;
    const undo: (() => Steps)[] = [];
    try {
      const hostAddress = succeeded(yield* process.mmap(bytes), `mmap of ${bytes} bytes of guest memory`);
      undo.push(() => discard(process.munmap(hostAddress, bytes)));
      const memory = new GuestMemory({ process, hostAddress, base: GUEST_RAM_BASE, size: bytes });
      const machine = new VirtualMachine(options, memory, undo);
      yield* machine.#attachDevice();
      options.log.info({ event: 'guest.started', memoryBytes: bytes, hostAddress, device: options.deviceName });
      return machine;
    } catch (error) {
      yield* undoAll(undo);
      throw error;
    }
  }

  /** Closes and unmaps everything, in reverse. */
  *stop(): Steps {
    yield* undoAll(this.#undo);
    this.#function = null;
    this.#options.log.info({ event: 'guest.stopped', device: this.#options.deviceName });
  }

  /** Null in a machine without one. */
  get iommu(): VirtualIommu | null {
    return this.#iommu;
  }

  *readConfig(offset: number, size: GuestAccessSize): Steps<number> {
    return this.#function === null ? allOnes(size) : yield* this.#function.readConfig(offset, size);
  }

  *writeConfig(offset: number, size: GuestAccessSize, value: number): Steps {
    if (this.#function !== null) yield* this.#function.writeConfig(offset, size, value);
  }

  *readMmio(address: number, size: GuestAccessSize): Steps<number> {
    return this.#function === null ? allOnes(size) : yield* this.#function.readMmio(address, size);
  }

  *writeMmio(address: number, size: GuestAccessSize, value: number): Steps {
    if (this.#function !== null) yield* this.#function.writeMmio(address, size, value);
  }

  connectInterrupt(interrupt: number, handler: () => void): void {
    this.#interrupts.set(interrupt, handler);
  }

  *keepPresent(address: number, bytes: number): Steps {
    if (this.#options.faults === null) return;
    const first = Math.floor(address / HOST_PAGE_BYTES_MAX) * HOST_PAGE_BYTES_MAX;
    const end = Math.ceil((address + bytes) / HOST_PAGE_BYTES_MAX) * HOST_PAGE_BYTES_MAX;
    yield* this.#container?.pin(first, end - first) ?? nothing();
    this.#kept.push({ address: first, bytes: end - first });
  }

  /** Guest memory that is pinned although the rest may be missing. */
  get pinned(): readonly GuestRange[] {
    const tables = this.#options.faults === null ? null : (this.#iommu?.fixed ?? null);
    return tables === null ? this.#kept : [...this.#kept, tables];
  }

  /** Logs which pages of guest memory the device writes, until the machine stops at the latest. @throws VmmError */
  *logDirtyPages(options: DirtyLogOptions): Steps<DirtyPageLog> {
    const { process, log } = this.#options;
    const container = this.#container;
    if (container === null) throw new VmmError('the virtual machine has no device');
    const dirty = yield* DirtyPageLog.start(options, { process, container, memory: this.memory, log });
    this.#undo.push(() => dirty.release());
    return dirty;
  }

  *#attachDevice(): Steps {
    const { process, groupNumber, deviceName, faults, nested = false } = this.#options;
    const container = yield* VfioContainer.open(process, groupNumber, nested);
    this.#undo.push(() => container.close());
    this.#container = container;
    if (faults !== null) yield* container.enableFaults(faults);
    const { base, size, hostAddress } = this.memory;
    yield* container.map(base, hostAddress, size);
    this.#undo.push(() => container.unmap(base, size));
    if (nested) yield* this.#showIommu(container);
    const descriptor = yield* container.openDevice(deviceName);
    this.#undo.push(() => discard(process.close(descriptor)));
    const device = yield* VfioDevice.query(process, descriptor);
    yield* device.reset();
    this.#function = yield* VirtualFunction.create({
      process,
      device,
      message: (address, data) => this.#message(address, data),
    });
  }

  *#showIommu(container: VfioContainer): Steps {
    const { process, faults, log } = this.#options;
    const options = { process, descriptor: container.descriptor, onDemand: faults !== null, log };
    const iommu = new VirtualIommu(options, yield* container.reserved());
    this.#iommu = iommu;
    this.#undo.push(() => iommu.detach());
  }

  /** A message that goes anywhere but to the doorbell, or names an interrupt nobody waits for, is lost. */
  #message(address: number, data: number): void {
    if (address === GUEST_MSI_DOORBELL) this.#interrupts.get(data)?.();
  }
}

/** The largest page of any host: what is pinned is a multiple of it. */
const HOST_PAGE_BYTES_MAX = 65_536;

function* nothing(): Steps {}

const allOnes = (size: GuestAccessSize): number => 2 ** (8 * size) - 1;

function* undoAll(undo: (() => Steps)[]): Steps {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) yield* step();
}

function* discard(steps: Steps<number>): Steps {
  yield* steps;
}
