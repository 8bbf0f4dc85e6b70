/**
 * The one file that knows every layer: it builds a machine from a scenario and joins silicon, kernel and process by the
 * interfaces that the layers declared.
 */
import { assert } from './assert.ts';
import { Mmio } from './hw/bus.ts';
import { MSI_DOORBELL } from './hw/interrupts.ts';
import { VIRT } from './hw/virt-map.ts';
import type { IommuDevice } from './iommu/core.ts';
import { SmmuDriver } from './iommu/driver/smmu-driver.ts';
import type { DeviceWrites, Machine, MachineCounters, MachineFactory, MachineOptions, SharedBoard } from './machine.ts';
import { HostMemory } from './mm/host-memory.ts';
import { PciBackend } from './platform/device-backend.ts';
import { FunctionControl } from './platform/function-control.ts';
import { ACCELERATOR_DEVFN, Hardware } from './platform/hardware.ts';
import { HostBoard } from './platform/host-board.ts';
import { WrittenPages } from './platform/written-pages.ts';
import { Clock } from './sim/clock.ts';
import { Invariants } from './sim/invariants.ts';
import type { LogOf } from './sim/log.ts';
import { type Latency, latencyOf } from './sim/profile.ts';
import { PROFILES } from './sim/profiles.ts';
import { Random } from './sim/random.ts';
import { Scheduler, type Steps } from './sim/task.ts';
import { Trace } from './sim/trace.ts';
import { Sva } from './sva/sva.ts';
import { Process } from './vfio/process.ts';
import { Vfio } from './vfio/vfio.ts';

const DEVICE_NAME = '0000:00:01.0';
const GROUP_NUMBER = 1;
const ACCELERATOR_INTERRUPT = VIRT.firstMsi + 16;

/** A machine that has just come out of reset, its SMMU probed. */
export class Platform implements Machine {
  readonly clock = new Clock();
  readonly scheduler = new Scheduler({ clock: this.clock });
  readonly invariants = new Invariants();
  readonly latency: Latency;
  readonly logOf: LogOf;
  readonly groupNumber = GROUP_NUMBER;
  readonly deviceName = DEVICE_NAME;
  readonly trace: Trace;
  readonly deviceWrites: DeviceWrites | null;
  readonly hardware: Hardware;
  readonly host: HostMemory;
  readonly driver: SmmuDriver;
  readonly vfio: Vfio;
  readonly process: Process;
  readonly #scenario: MachineOptions['scenario'];
  readonly #control: FunctionControl;
  readonly #device: IommuDevice;
  /** Null where the device is given to user space by VFIO. */
  readonly #sva: Sva | null;

  constructor(options: MachineOptions) {
    const { scenario, mode } = options;
    this.#scenario = scenario;
    const { clock, scheduler, invariants } = this;
    const profile = PROFILES[scenario.profile];
    assert(profile !== undefined, `profile ${scenario.profile} exists`);
    const latency = latencyOf(profile);
    this.latency = latency;
    this.logOf = options.logs(clock);
    this.trace = new Trace(clock, options.traceEntries ?? 0);
    const written = scenario.vfio.dirtyLog === null || mode === 'sva' ? null : new WrittenPages();
    this.hardware = new Hardware({
      scenario,
      clock,
      invariants,
      latency,
      logOf: this.logOf,
      random: new Random(scenario.seed),
      trace: this.trace,
      observe: (page, write) => this.#checkPage(page, write),
      written: written === null ? null : (page) => written.add(page),
    });
    this.deviceWrites = written?.of(this.hardware.accelerator.dma) ?? null;
    const { memory, bus, interrupts } = this.hardware;
    this.host = new HostMemory({
      scheduler,
      memory,
      pageBytes: scenario.iommu.granule,
      swapBytes: scenario.host.swap,
      latency,
      log: this.logOf('mm'),
      invariants,
    });
    this.driver = new SmmuDriver({
      mmio: new Mmio(bus, VIRT.smmu.base),
      memory,
      tableMemory: this.host.allocator,
      interrupts,
      irqs: {
        event: VIRT.smmuInterrupts.event,
        pageRequest: VIRT.smmuInterrupts.priority,
        globalError: VIRT.smmuInterrupts.globalError,
      },
      scheduler,
      clock,
      latency,
      log: this.logOf('iommu'),
      invariants,
      queueBits: {
        command: Math.log2(scenario.iommu.commandQueueEntries),
        event: Math.log2(scenario.iommu.eventQueueEntries),
        pageRequest: Math.log2(scenario.iommu.priQueueEntries),
      },
    });
    this.#boot();
    this.vfio = new Vfio({
      scheduler,
      iommu: this.driver,
      host: this.host,
      latency,
      log: this.logOf('vfio'),
      invariants,
      domain: { stage: scenario.iommu.stage, granule: scenario.iommu.granule },
      msiDoorbell: VIRT.msiFrame.base + MSI_DOORBELL,
    });
    this.#control = new FunctionControl(bus, ACCELERATOR_DEVFN);
    this.#device = this.#addAccelerator(mode);
    this.#sva = mode === 'sva' ? this.#newSva() : null;
    if (this.#sva === null) this.vfio.addGroup(GROUP_NUMBER, [this.#backend()]);
    const space = this.host.createSpace({ name: 'vmm', lockLimitBytes: scenario.host.lockLimit });
    this.process = new Process({ vfio: this.vfio, space, latency });
  }

  counters(): MachineCounters {
    const { pinned } = this.vfio;
    const { counters, faultLatency } = this.hardware.accelerator.dma;
    return {
      faults: this.#sva?.counters ?? this.vfio.counters,
      retries: { repeated: counters.retries, exhausted: counters.retriesExhausted },
      faultLatenciesNs: faultLatency.samples,
      pinnedBytesPeak: pinned.peak,
      residentBytesPeak: this.process.space.residentBytesPeak,
    };
  }

  checkAtRest(): void {
    this.vfio.checkAtRest();
    this.#sva?.checkAtRest();
    this.host.checkAtRest();
    this.invariants.check(
      'stall-ends',
      this.hardware.smmu.outstandingStalls === 0,
      () => `${this.hardware.smmu.outstandingStalls} accesses are still stalled`,
    );
  }

  *shareDevice(memoryBytes: number): Steps<SharedBoard> {
    const { latency, process, driver: iommu } = this;
    const { bus, interrupts } = this.hardware;
    assert(this.#sva !== null, 'the host has the device for itself');
    return yield* HostBoard.start({
      process,
      memoryBytes,
      sva: this.#sva,
      iommu,
      device: this.#device,
      devfn: ACCELERATOR_DEVFN,
      granule: this.#scenario.iommu.granule,
      bus,
      interrupts,
      latency,
      log: this.logOf('guest'),
    });
  }

  /** Makes the accelerator known to the IOMMU driver, with what its capabilities and the mode let it do. */
  #addAccelerator(mode: MachineOptions['mode']): IommuDevice {
    const control = this.#control;
    const { ats, pri, pasidBits, pageRequests, responsePasid } = control.abilities;
    return this.driver.addDevice({
      name: DEVICE_NAME,
      streamId: ACCELERATOR_DEVFN,
      // The board's firmware describes the endpoint either as one that may stall or as a plain PCIe function.
      stall: mode === 'stall' || mode === 'sva',
      ats: ats && mode === 'pri',
      pri: pri && mode === 'pri',
      pasidBits,
      pageRequests,
      responsePasid,
      control,
    });
  }

  #backend(): PciBackend {
    const { bus, interrupts } = this.hardware;
    return new PciBackend({
      name: DEVICE_NAME,
      devfn: ACCELERATOR_DEVFN,
      iommu: this.#device,
      afterReset: () => this.driver.functionReset(this.#device),
      bus,
      interrupts,
      firstInterrupt: ACCELERATOR_INTERRUPT,
      window: VIRT.pcieWindow,
    });
  }

  #newSva(): Sva {
    const { scheduler, latency, invariants, driver: iommu } = this;
    const { vfio, iommu: tables } = this.#scenario;
    return new Sva({
      scheduler,
      iommu,
      latency,
      log: this.logOf('sva'),
      invariants,
      granule: tables.granule,
      workers: vfio.handling === 'inline' ? 0 : vfio.workers,
    });
  }

  /** No DMA may reach a frame that nobody owns. */
  #checkPage(page: number, write: boolean): void {
    this.invariants.check(
      'no-stale-dma',
      this.host.allocator.isPageLive(page),
      () => `${write ? 'write to' : 'read of'} the freed page 0x${page.toString(16)}000`,
    );
  }

  #boot(): void {
    const { scheduler } = this;
    const probe = scheduler.spawn('probe', this.driver.probe());
    assert(scheduler.run({ until: () => probe.done }), 'the SMMU is probed');
  }
}

export const createPlatform: MachineFactory = (options) => new Platform(options);
