/**
 * The host's own board as its kernel and one of its processes meet it: the accelerator's function on the bus itself, and
 * the memory of a process, which the device reaches at the process's own addresses by PASID.
 */
import { assert } from '../assert.ts';
import type { GuestAccessSize, GuestBoard } from '../guest/board.ts';
import { GuestMemory } from '../guest/guest-memory.ts';
import type { HostProcess } from '../guest/host-process.ts';
import { succeeded } from '../guest/vmm-error.ts';
import { type Bus, BusStatus } from '../hw/bus.ts';
import type { InterruptController } from '../hw/interrupts.ts';
import { COMMAND_OFFSET } from '../hw/pcie/config.layout.ts';
import { VIRT } from '../hw/virt-map.ts';
import { type DomainOptions, type Iommu, type IommuDevice, type IommuDomain, Protection } from '../iommu/core.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import type { Steps } from '../sim/task.ts';
import type { Sva } from '../sva/sva.ts';
import { ConfigAccess } from './config-access.ts';

export interface HostBoardOptions {
  readonly process: HostProcess & { readonly space: AddressSpace };
  /** Bytes of process memory to work with. */
  readonly memoryBytes: number;
  readonly sva: Sva;
  readonly iommu: Iommu;
  readonly device: IommuDevice;
  readonly devfn: number;
  readonly granule: NonNullable<DomainOptions['granule']>;
  readonly bus: Bus;
  readonly interrupts: InterruptController;
  readonly latency: Latency;
  readonly log: Log;
}

export class HostBoard implements GuestBoard {
  readonly memory: GuestMemory;
  /** What the device's accesses to {@link memory} must carry. */
  readonly pasid: number;
  readonly #options: HostBoardOptions;
  readonly #config: ConfigAccess;
  readonly #connected = new Set<number>();
  readonly #undo: (() => Steps)[];
  readonly #data = new DataView(new ArrayBuffer(8));

  private constructor(options: HostBoardOptions, memory: GuestMemory, pasid: number, undo: (() => Steps)[]) {
    this.#options = options;
    this.#config = new ConfigAccess(options.bus, options.devfn);
    this.memory = memory;
    this.pasid = pasid;
    this.#undo = undo;
  }

  /** Allocates the memory and binds process and device; undone when a step fails. @throws VmmError */
  static *start(options: HostBoardOptions): Steps<HostBoard> {
    const { process, memoryBytes: bytes, sva, device } = options;
    const undo: (() => Steps)[] = [];
    try {
      const address = succeeded(yield* process.mmap(bytes), `mmap of ${bytes} bytes`);
      undo.push(() => discard(process.munmap(address, bytes)));
      yield* attachKernel(options, undo);
      const pasid = succeeded(yield* sva.bind(device, process.space), 'sharing the address space with the device');
      undo.push(() => sva.unbind(device, process.space));
      const memory = new GuestMemory({ process, hostAddress: address, base: address, size: bytes });
      const board = new HostBoard(options, memory, pasid, undo);
      undo.push(() => board.#quiesce());
      options.log.info({ event: 'guest.shared', device: device.name, pasid, memoryBytes: bytes, hostAddress: address });
      return board;
    } catch (error) {
      yield* undoAll(undo);
      throw error;
    }
  }

  /** Takes everything back, in reverse. */
  *stop(): Steps {
    yield* undoAll(this.#undo);
    this.#options.log.info({ event: 'guest.stopped', device: this.#options.device.name });
  }

  *readConfig(offset: number, size: GuestAccessSize): Steps<number> {
    const value = this.#config.read(offset, size);
    yield* this.#spend(this.#options.latency.mmioRead);
    return value;
  }

  *writeConfig(offset: number, size: GuestAccessSize, value: number): Steps {
    this.#config.write(offset, size, value);
    yield* this.#spend(this.#options.latency.mmioWrite);
  }

  *readMmio(address: number, size: GuestAccessSize): Steps<number> {
    this.#data.setUint32(0, 0, true);
    const status = this.#options.bus.readSized(address, size, this.#data);
    const value = status === BusStatus.OK ? this.#data.getUint32(0, true) : 2 ** (8 * size) - 1;
    yield* this.#spend(this.#options.latency.mmioRead);
    return value;
  }

  *writeMmio(address: number, size: GuestAccessSize, value: number): Steps {
    this.#data.setUint32(0, value, true);
    this.#options.bus.writeSized(address, size, this.#data);
    yield* this.#spend(this.#options.latency.mmioWrite);
  }

  connectInterrupt(interrupt: number, handler: () => void): void {
    assert(!this.#connected.has(interrupt), `interrupt ${interrupt} is free`);
    this.#options.interrupts.connect(interrupt, handler);
    this.#connected.add(interrupt);
  }

  /** The function masters the bus no more, so nothing new leaves it. */
  *#quiesce(): Steps {
    yield* this.writeConfig(COMMAND_OFFSET, 2, 0);
    for (const interrupt of this.#connected) this.#options.interrupts.disconnect(interrupt);
    this.#connected.clear();
  }

  *#spend(ns: number): Steps {
    if (ns > 0) yield ns;
  }
}

/**
 * Accesses without PASID use the kernel's own table, as in every host: it holds the doorbell of messages, at its own
 * address, and nothing else.
 */
function* attachKernel(options: HostBoardOptions, undo: (() => Steps)[]): Steps {
  const { iommu, device, granule } = options;
  const domain = iommu.createDomain({ stage: 1, granule });
  undo.push(() => free(iommu, domain, granule));
  const protection = Protection.READ | Protection.WRITE | Protection.DEVICE;
  succeeded(domain.map(doorbellPage(granule), doorbellPage(granule), granule, protection), 'mapping the doorbell');
  succeeded(yield* iommu.attach(domain, device), 'attaching the device');
  undo.push(() => iommu.detach(domain, device));
}

function* free(iommu: Iommu, domain: IommuDomain, granule: number): Steps {
  const gather = domain.newGather();
  domain.unmap(doorbellPage(granule), granule, gather);
  yield* domain.flush(gather);
  iommu.freeDomain(domain);
}

function doorbellPage(granule: number): number {
  return VIRT.msiFrame.base - (VIRT.msiFrame.base % granule);
}

function* undoAll(undo: (() => Steps)[]): Steps {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) yield* step();
}

function* discard(steps: Steps<number>): Steps {
  yield* steps;
}
