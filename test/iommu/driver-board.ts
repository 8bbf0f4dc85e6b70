/** The driver over an SMMU, with functions that a test plays by hand: no endpoint acts on its own here. */
import { pino } from 'pino';
import { assert } from '../../src/assert.ts';
import { Bus, Mmio } from '../../src/hw/bus.ts';
import { InterruptController, MSI_DOORBELL, MSI_FRAME_BYTES } from '../../src/hw/interrupts.ts';
import { Memory } from '../../src/hw/memory.ts';
import {
  AddressType,
  Completion,
  type InvalidateRequest,
  type MemoryRequest,
  NO_PASID,
  type PageGroupResponse,
  type TranslationCompletion,
} from '../../src/hw/pcie/tlp.ts';
import type { FaultGroup, FaultHandler, IommuDevice, IommuDomain, UnrecoverableFault } from '../../src/iommu/core.ts';
import type { DeviceOptions } from '../../src/iommu/driver/device.ts';
import type { PciFunctionControl } from '../../src/iommu/driver/function-control.ts';
import { SmmuDriver, type SmmuDriverOptions } from '../../src/iommu/driver/smmu-driver.ts';
import { Smmu, type SmmuOptions } from '../../src/iommu/smmuv3/smmu.ts';
import { Clock } from '../../src/sim/clock.ts';
import { Invariants } from '../../src/sim/invariants.ts';
import { latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { type Chooser, Scheduler, type Steps, type Task } from '../../src/sim/task.ts';
import { Trace } from '../../src/sim/trace.ts';

export const RAM = 0x4000_0000;
export const RAM_BYTES = 0x1000_0000;
export const SMMU_BASE = 0x0905_0000;
export const MSI_FRAME = 0x0802_0000;
/** Data pages of tests lie here; tables come from below. */
export const DATA = 0x4800_0000;
export const IRQS = { event: 74, pageRequest: 75, globalError: 77 } as const;

/** Gives out table memory upwards and keeps what was freed, by size. */
export class TestTables {
  readonly #memory: Memory;
  readonly #free = new Map<number, number[]>();
  #next = RAM;
  /** Allocations left before memory "runs out". */
  budget = Number.POSITIVE_INFINITY;
  bytes = 0;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  allocate(bytes: number, alignment: number): number {
    if (this.budget-- <= 0) return -1;
    const free = this.#free.get(bytes) ?? [];
    const ready = free.findIndex((physical) => physical % alignment === 0);
    this.bytes += bytes;
    if (ready >= 0) return free.splice(ready, 1)[0] ?? -1;
    const physical = Math.ceil(this.#next / alignment) * alignment;
    this.#next = physical + bytes;
    assert(this.#next <= DATA, 'table memory suffices');
    return physical;
  }

  free(physical: number, bytes: number): void {
    this.bytes -= bytes;
    // A walk of a freed table is to be noticed.
    this.#memory.fill(physical, bytes, 0xff);
    this.#free.set(bytes, [...(this.#free.get(bytes) ?? []), physical]);
  }
}

export interface DriverBoardOptions {
  readonly profile?: string;
  /** Which runnable task goes next; in order unless given. */
  readonly choose?: Chooser;
  /** Memory of {@link RAM_BYTES} at {@link RAM}, and the bus that leads to it. */
  readonly memory?: { readonly memory: Memory; readonly bus: Bus };
  readonly smmu?: Partial<SmmuOptions>;
  readonly driver?: Partial<SmmuDriverOptions>;
}

/** A line of the driver's log. */
export interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** An access that a test made; `status` is PENDING while it is stalled. */
export interface Access {
  status: Completion;
  readonly data: Uint8Array;
}

export class DriverBoard {
  readonly clock = new Clock();
  readonly scheduler: Scheduler;
  readonly memory: Memory;
  readonly bus: Bus;
  readonly tables: TestTables;
  readonly invariants = new Invariants();
  readonly logs: LogLine[] = [];
  readonly interrupts: InterruptController;
  readonly functions = new Map<number, TestFunction>();
  readonly smmu: Smmu;
  readonly driver: SmmuDriver;

  constructor(options: DriverBoardOptions = {}) {
    const profile = PROFILES[options.profile ?? 'zero'];
    assert(profile !== undefined, 'a profile that exists');
    const latency = latencyOf(profile);
    this.memory = options.memory?.memory ?? new Memory(RAM, RAM_BYTES);
    this.bus = options.memory?.bus ?? new Bus(this.memory);
    this.tables = new TestTables(this.memory);
    const { clock, memory, bus, invariants } = this;
    this.scheduler = new Scheduler({ clock, ...(options.choose === undefined ? {} : { choose: options.choose }) });
    const { scheduler } = this;
    const log = pino(
      { level: 'debug', base: null, timestamp: false },
      { write: (line: string) => void this.logs.push(JSON.parse(line) as LogLine) },
    );
    const interrupts = new InterruptController({ clock, latencyNs: latency.interrupt });
    this.interrupts = interrupts;
    this.smmu = new Smmu({
      clock,
      bus,
      invariants,
      latency,
      trace: new Trace(clock, 0),
      log: pino({ level: 'silent' }),
      lines: {
        event: interrupts.line(IRQS.event),
        priority: interrupts.line(IRQS.pageRequest),
        sync: interrupts.line(76),
        globalError: interrupts.line(IRQS.globalError),
      },
      fabric: {
        invalidate: (streamId, request, completed) =>
          this.functions.get(streamId)?.invalidate(request, completed) ?? false,
        pageGroupResponse: (streamId, response) => this.functions.get(streamId)?.respond(response) ?? false,
      },
      ...options.smmu,
    });
    bus.map(SMMU_BASE, 0x2_0000, this.smmu);
    bus.map(MSI_FRAME, MSI_FRAME_BYTES, interrupts.frame);
    this.driver = new SmmuDriver({
      mmio: new Mmio(bus, SMMU_BASE),
      memory,
      tableMemory: this.tables,
      interrupts,
      irqs: IRQS,
      scheduler,
      clock,
      latency,
      log,
      invariants,
      ...options.driver,
    });
  }

  /** Runs `steps` as a task, and the machine until it ends; its result. */
  run<T>(steps: Steps<T>, limitNs = Number.POSITIVE_INFINITY): T {
    const task = this.spawn(steps);
    this.scheduler.run({ until: () => task.done, limitNs });
    return task.result;
  }

  spawn<T>(steps: Steps<T>): Task<T> {
    return this.scheduler.spawn('test', steps);
  }

  /** Runs until nothing is left to do, or for `limitNs`. */
  settle(limitNs = Number.POSITIVE_INFINITY): void {
    this.scheduler.run({ limitNs: this.clock.now + limitNs });
  }

  events(name: string): LogLine[] {
    return this.logs.filter((line) => line.event === name);
  }

  function(streamId: number, options: Partial<DeviceOptions> = {}): TestFunction {
    const made = new TestFunction(this, streamId, options);
    this.functions.set(streamId, made);
    return made;
  }

  /** A domain with `device` attached. */
  attached(of: TestFunction, options: Parameters<SmmuDriver['createDomain']>[0] = { stage: 1 }): IommuDomain {
    const domain = this.driver.createDomain(options);
    assert(this.run(this.driver.attach(domain, of.device)) === 0, 'attached');
    return domain;
  }
}

export function driverBoard(options: DriverBoardOptions = {}): DriverBoard {
  const board = new DriverBoard(options);
  board.run(board.driver.probe());
  return board;
}

export const driverMsi = { msiDoorbell: MSI_FRAME + MSI_DOORBELL } as const;

/** A function that does what the test says, and its switches in configuration space. */
export class TestFunction {
  readonly #board: DriverBoard;
  readonly device: IommuDevice;
  readonly streamId: number;
  /** Switches in the order in which they were thrown. */
  readonly switches: string[] = [];
  readonly invalidations: InvalidateRequest[] = [];
  readonly responses: PageGroupResponse[] = [];
  /** Completes invalidations; a test that takes this away plays a broken function. */
  answersInvalidations = true;
  priRefused = false;
  priEnabled = false;
  /** Called with each page group response. */
  answered: (response: PageGroupResponse) => void = () => {};
  #outstanding = 0;

  constructor(board: DriverBoard, streamId: number, options: Partial<DeviceOptions>) {
    this.#board = board;
    this.streamId = streamId;
    const control: PciFunctionControl = {
      enablePasid: () => void this.switches.push('pasid+'),
      disablePasid: () => void this.switches.push('pasid-'),
      enableAts: () => void this.switches.push('ats+'),
      disableAts: () => void this.switches.push('ats-'),
      enablePri: (credits) => {
        if (this.priRefused) return false;
        this.switches.push(`pri+${credits}`);
        this.priEnabled = true;
        return true;
      },
      disablePri: () => {
        this.switches.push('pri-');
        this.priEnabled = false;
      },
      priStopped: () => this.#outstanding === 0,
    };
    this.device = board.driver.addDevice({ name: `function ${streamId}`, streamId, control, ...options });
  }

  /** Accesses 16 bytes of a page; `translated` is an access with an address from an ATC. */
  access(
    page: number,
    options: { readonly write?: boolean; readonly pasid?: number; readonly translated?: boolean } = {},
  ): Access {
    const data = new Uint8Array(16).fill(0x5a);
    const access: Access = { status: Completion.PENDING, data };
    const request: MemoryRequest = {
      requesterId: this.streamId,
      pasid: options.pasid ?? NO_PASID,
      execute: false,
      privileged: false,
      addressType: options.translated === true ? AddressType.TRANSLATED : AddressType.UNTRANSLATED,
      write: options.write ?? false,
      page,
      offset: 0,
      length: 16,
      data,
      dataOffset: 0,
      latencyNs: 0,
      completed: (status) => {
        access.status = status;
      },
    };
    const status = this.#board.smmu.memory(request);
    if (status !== Completion.PENDING) access.status = status;
    return access;
  }

  translate(
    page: number,
    options: { readonly noWrite?: boolean; readonly pasid?: number } = {},
  ): TranslationCompletion {
    const answer: TranslationCompletion = {
      status: Completion.PENDING,
      page: 0,
      pages: 0,
      read: false,
      write: false,
      execute: false,
      privileged: false,
      global: false,
      untranslatedOnly: false,
    };
    this.#board.smmu.translate({
      requesterId: this.streamId,
      pasid: options.pasid ?? NO_PASID,
      execute: false,
      privileged: false,
      page,
      length: 1,
      noWrite: options.noWrite ?? false,
      latencyNs: 0,
      answer,
    });
    return answer;
  }

  /** Sends a page request; by default the only one of its group. */
  request(
    page: number,
    options: {
      readonly index?: number;
      readonly last?: boolean;
      readonly read?: boolean;
      readonly write?: boolean;
      readonly pasid?: number;
    } = {},
  ): void {
    this.#outstanding += 1;
    this.#board.smmu.pageRequest({
      requesterId: this.streamId,
      pasid: options.pasid ?? NO_PASID,
      execute: false,
      privileged: false,
      page,
      read: options.read ?? true,
      write: options.write ?? false,
      last: options.last ?? true,
      groupIndex: options.index ?? 0,
    });
  }

  /** Forgets its outstanding requests, as a reset or a stop does. */
  forgetRequests(): void {
    this.#outstanding = 0;
  }

  invalidate(request: InvalidateRequest, completed: () => void): boolean {
    this.invalidations.push(request);
    if (this.answersInvalidations) completed();
    return true;
  }

  respond(response: PageGroupResponse): boolean {
    this.responses.push(response);
    this.#outstanding = 0;
    this.answered(response);
    return true;
  }
}

/** A handler that keeps what it was given, and answers by `serve` (nothing, unless given). */
export class TestHandler implements FaultHandler {
  readonly name = 'test';
  readonly groups: FaultGroup[] = [];
  readonly unrecoverableFaults: UnrecoverableFault[] = [];
  readonly #serve: (group: FaultGroup) => Steps;

  constructor(serve: (group: FaultGroup) => Steps = function* () {}) {
    this.#serve = serve;
  }

  *handle(group: FaultGroup): Steps {
    this.groups.push(group);
    yield* this.#serve(group);
  }

  unrecoverable(fault: UnrecoverableFault): void {
    this.unrecoverableFaults.push(fault);
  }
}

/** Maps each page of a group to the same page of {@link DATA} and answers success. */
export function mapping(board: DriverBoard, protection = 3): TestHandler {
  return new TestHandler(function* (group) {
    for (const { page } of group.pages) {
      group.domain.map(page * 4096, DATA + (page % 0x1000) * 4096, 4096, protection);
    }
    yield* board.driver.respond(group, 'success');
  });
}
