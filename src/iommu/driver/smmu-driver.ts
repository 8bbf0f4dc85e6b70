/**
 * The kernel's SMMUv3 driver: brings the SMMU up, makes address spaces, attaches devices to them and serves their
 * faults. It meets the SMMU as a real driver does, by registers, structures in memory and interrupts.
 */
import { assert } from '../../assert.ts';
import type { Mmio } from '../../hw/bus.ts';
import type { InterruptController } from '../../hw/interrupts.ts';
import type { Memory } from '../../hw/memory.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Invariants } from '../../sim/invariants.ts';
import type { Log } from '../../sim/log.ts';
import type { Latency } from '../../sim/profile.ts';
import type { Scheduler, Steps } from '../../sim/task.ts';
import type {
  DomainOptions,
  FaultGroup,
  FaultResponse,
  GuestTables,
  IommuDevice,
  IommuDomain,
  NestingIommu,
} from '../core.ts';
import { Attachments } from './attachments.ts';
import { bringUp, type Machinery } from './bring-up.ts';
import { DriverCounters } from './counters.ts';
import { type DeviceOptions, SmmuDevice } from './device.ts';
import { ownDomain } from './domain.ts';
import { DomainFactory } from './domain-factory.ts';
import { GuestDomain } from './guest-domain.ts';
import { translateCommands } from './guest-invalidation.ts';
import { type Features, StallModel } from './probe.ts';
import type { TableMemory } from './table-memory.ts';

export interface SmmuDriverOptions {
  readonly mmio: Mmio;
  readonly memory: Memory;
  readonly tableMemory: TableMemory;
  readonly interrupts: InterruptController;
  /** Interrupt numbers: wired lines, or what MSIs write when `msiDoorbell` is given. */
  readonly irqs: { readonly event: number; readonly pageRequest: number; readonly globalError: number };
  /** Physical address that MSIs are written to. Used where the SMMU announces MSIs; else the wired lines are. */
  readonly msiDoorbell?: number;
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly latency: Latency;
  readonly log: Log;
  readonly invariants: Invariants;
  /** log2 of queue sizes, cut to what the SMMU announces. */
  readonly queueBits?: { readonly command?: number; readonly event?: number; readonly pageRequest?: number };
  /** StreamIDs that the stream table covers, cut to what the SMMU announces; 16 bits by default, as PCIe has them. */
  readonly streamIdBits?: number;
  /** A group without an answer for so long is answered INVALID; 10 s by default, 0 waits for ever. */
  readonly faultTimeoutNs?: number;
  /** A CMD_SYNC that takes longer means that the SMMU is dead; 120 s by default. PCIe gives an invalidation 60 s. */
  readonly syncTimeoutNs?: number;
  /** Grants page request credits beyond the size of the queue, so that it may overflow. */
  readonly overcommitPageRequests?: boolean;
}

export class SmmuDriver implements NestingIommu {
  readonly counters = new DriverCounters();
  readonly #options: SmmuDriverOptions;
  readonly #devices = new Map<number, SmmuDevice>();
  #parts: Machinery | null = null;
  #factory: DomainFactory | null = null;
  #attachments: Attachments | null = null;

  constructor(options: SmmuDriverOptions) {
    this.#options = options;
  }

  /**
   * Reads what the SMMU announces, brings it up and starts the driver's threads. To be run once, as a task.
   *
   * @throws ProbeError when this driver cannot drive it.
   */
  *probe(): Steps<Features> {
    assert(this.#parts === null, 'an SMMU is probed once');
    const parts = yield* bringUp(this.#options, {
      devices: this.#devices,
      counters: this.counters,
      isolate: (device) => this.block(device),
    });
    this.#parts = parts;
    const factory = new DomainFactory(parts, this.#options.tableMemory);
    this.#factory = factory;
    this.#attachments = new Attachments({
      parts,
      factory,
      counters: this.counters,
      log: this.#options.log,
      limitCredits: !(this.#options.overcommitPageRequests ?? false),
      invariants: this.#options.invariants,
    });
    return parts.features;
  }

  /** What the SMMU announces. */
  get features(): Features {
    return this.#running.features;
  }

  /**
   * Makes a function known: its stream has a valid entry from now on, which aborts until the device is attached.
   *
   * @throws RangeError for a StreamID that is taken or outside the stream table, or without memory.
   */
  addDevice(options: DeviceOptions): IommuDevice {
    const { features, streams, configuration } = this.#running;
    const { streamId, name } = options;
    if (!(streamId >= 0 && streamId < 2 ** streams.streamIdBits)) {
      throw new RangeError(
        `${name}: StreamID ${streamId} is beyond the ${streams.streamIdBits} bits of the stream table`,
      );
    }
    const taken = this.#devices.get(streamId);
    if (taken !== undefined) throw new RangeError(`${name}: StreamID ${streamId} belongs to ${taken.name}`);
    const forced = features.stallModel === StallModel.STALL;
    const device = new SmmuDevice(
      // Where no access may be terminated those of every device stall.
      forced ? { ...options, stall: true } : options,
      {
        stall: features.stallModel !== StallModel.TERMINATE,
        // An access that may not be terminated cannot be an ATS one: S2S and EATS exclude each other (§5.2).
        ats: features.ats && !forced,
        pri: features.pri && !forced,
        substreamIdBits: features.substreamIdBits,
      },
      this.#options.scheduler,
    );
    if (!configuration.introduce(device)) throw new RangeError(`${name}: no memory for its part of the stream table`);
    this.#devices.set(streamId, device);
    return device;
  }

  createDomain(options: DomainOptions): IommuDomain {
    assert(this.#factory !== null, 'the SMMU was probed');
    return this.#factory.create(options);
  }

  createGuestDomain(parent: IommuDomain, tables: GuestTables): IommuDomain {
    assert(this.#factory !== null, 'the SMMU was probed');
    return this.#factory.createGuest(parent, tables);
  }

  *invalidateGuest(
    domain: IommuDomain,
    commands: DataView,
    deviceOf: (streamId: number) => IommuDevice | null,
  ): Steps<number> {
    const { commands: queue, invalidation, features } = this.#running;
    const own = ownDomain(domain);
    assert(own instanceof GuestDomain, 'the commands of a guest are for what it translates');
    const batch = queue.batch();
    const count = translateCommands(batch, commands, own, features, (streamId) => {
      const device = deviceOf(streamId);
      return device === null ? null : ownDevice(device);
    });
    yield* invalidation.complete(batch, own);
    return count;
  }

  freeDomain(domain: IommuDomain): void {
    assert(this.#factory !== null, 'the SMMU was probed');
    this.#factory.free(ownDomain(domain));
  }

  *attach(domain: IommuDomain, device: IommuDevice): Steps<number> {
    return yield* this.#changes.attach(ownDomain(domain), ownDevice(device));
  }

  *detach(domain: IommuDomain, device: IommuDevice): Steps {
    yield* this.#changes.detach(ownDomain(domain), ownDevice(device));
  }

  *attachPasid(domain: IommuDomain, device: IommuDevice, pasid: number): Steps<number> {
    return yield* this.#changes.attachPasid(ownDomain(domain), ownDevice(device), pasid);
  }

  *detachPasid(device: IommuDevice, pasid: number): Steps {
    yield* this.#changes.detachPasid(ownDevice(device), pasid);
  }

  *enableFaults(device: IommuDevice, owner: object, mode: 'stall' | 'pri'): Steps<number> {
    return yield* this.#changes.enableFaults(ownDevice(device), owner, mode);
  }

  *disableFaults(device: IommuDevice, owner: object): Steps<number> {
    return yield* this.#changes.disableFaults(ownDevice(device), owner);
  }

  *block(device: IommuDevice): Steps {
    yield* this.#changes.block(ownDevice(device));
  }

  /**
   * To be called after a function-level reset: what the function had asked for is forgotten without an answer, and its
   * ATS, PRI and PASID enables, which the reset cleared, are set again.
   */
  *functionReset(device: IommuDevice): Steps {
    yield* this.#changes.functionReset(ownDevice(device));
  }

  respond(group: FaultGroup, response: FaultResponse): Steps {
    return this.#running.service.respond(group, response);
  }

  get #running(): Machinery {
    assert(this.#parts !== null, 'the SMMU was probed');
    return this.#parts;
  }

  get #changes(): Attachments {
    assert(this.#attachments !== null, 'the SMMU was probed');
    return this.#attachments;
  }
}

function ownDevice(device: IommuDevice): SmmuDevice {
  assert(device instanceof SmmuDevice, 'a device comes from addDevice');
  return device;
}
