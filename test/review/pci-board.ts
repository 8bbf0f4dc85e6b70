/** Real endpoints behind a real root complex, SMMU and driver: what requests of functions become, without VFIO. */
import { pino } from 'pino';
import { assert } from '../../src/assert.ts';
import { Bus, Mmio } from '../../src/hw/bus.ts';
import { InterruptController, MSI_FRAME_BYTES } from '../../src/hw/interrupts.ts';
import { Memory } from '../../src/hw/memory.ts';
import { COMMAND_OFFSET } from '../../src/hw/pcie/config.layout.ts';
import { DmaOutcome, DmaTransfer } from '../../src/hw/pcie/endpoint/dma-transfer.ts';
import { EndpointFunction, type EndpointOptions } from '../../src/hw/pcie/endpoint/endpoint-function.ts';
import { RootComplex } from '../../src/hw/pcie/root-complex.ts';
import { VIRT } from '../../src/hw/virt-map.ts';
import type { IommuDevice } from '../../src/iommu/core.ts';
import { SmmuDriver, type SmmuDriverOptions } from '../../src/iommu/driver/smmu-driver.ts';
import { Smmu } from '../../src/iommu/smmuv3/smmu.ts';
import { FunctionControl } from '../../src/platform/function-control.ts';
import { Clock } from '../../src/sim/clock.ts';
import { Invariants } from '../../src/sim/invariants.ts';
import { latencyOf } from '../../src/sim/profile.ts';
import { PROFILES } from '../../src/sim/profiles.ts';
import { type Chooser, Scheduler, type Steps, type Task } from '../../src/sim/task.ts';
import { Trace } from '../../src/sim/trace.ts';
import { IRQS, type LogLine, MSI_FRAME, RAM, RAM_BYTES, TestTables } from '../iommu/driver-board.ts';

export interface PciBoardOptions {
  readonly profile?: string;
  readonly choose?: Chooser;
  readonly driver?: Partial<SmmuDriverOptions>;
}

/** A function with what the kernel and the driver know of it. */
export class RealFunction {
  readonly endpoint: EndpointFunction;
  readonly control: FunctionControl;
  readonly device: IommuDevice;
  readonly transfers: DmaTransfer[] = [];

  constructor(endpoint: EndpointFunction, control: FunctionControl, device: IommuDevice) {
    this.endpoint = endpoint;
    this.control = control;
    this.device = device;
  }

  /** Starts a DMA of 8 bytes at a page. */
  dma(page: number, options: { readonly write?: boolean; readonly pasid?: number } = {}): DmaTransfer {
    const transfer = new DmaTransfer(() => {});
    transfer.pasid = options.pasid ?? -1;
    transfer.prepare(options.write ?? true, page, 0, new Uint8Array(8), 0, 8);
    this.transfers.push(transfer);
    this.endpoint.dma.start(transfer);
    return transfer;
  }

  get outcomes(): number[] {
    return this.transfers.map((transfer) => (transfer.busy ? -1 : transfer.outcome));
  }
}

export { DmaOutcome };

export class PciBoard {
  readonly clock = new Clock();
  readonly scheduler: Scheduler;
  readonly memory = new Memory(RAM, RAM_BYTES);
  readonly bus = new Bus(this.memory);
  readonly invariants = new Invariants();
  readonly logs: LogLine[] = [];
  readonly root: RootComplex;
  readonly smmu: Smmu;
  readonly driver: SmmuDriver;

  constructor(options: PciBoardOptions = {}) {
    const profile = PROFILES[options.profile ?? 'kunpeng920'];
    assert(profile !== undefined, 'a profile that exists');
    const latency = latencyOf(profile);
    const { clock, bus, memory, invariants } = this;
    this.scheduler = new Scheduler({ clock, ...(options.choose === undefined ? {} : { choose: options.choose }) });
    const log = pino(
      { level: 'debug', base: null, timestamp: false },
      { write: (line: string) => void this.logs.push(JSON.parse(line) as LogLine) },
    );
    const interrupts = new InterruptController({ clock, latencyNs: latency.interrupt });
    bus.map(MSI_FRAME, MSI_FRAME_BYTES, interrupts.frame);
    const windows = [VIRT.pcieWindow];
    this.root = new RootComplex({ clock, bus, linkNs: latency.link, ecamBase: VIRT.ecam.base, windows });
    this.smmu = new Smmu({
      clock,
      bus,
      fabric: this.root,
      latency,
      invariants,
      trace: new Trace(clock, 0),
      log: pino({ level: 'silent' }),
      lines: {
        event: interrupts.line(IRQS.event),
        priority: interrupts.line(IRQS.pageRequest),
        sync: interrupts.line(76),
        globalError: interrupts.line(IRQS.globalError),
      },
    });
    bus.map(VIRT.smmu.base, VIRT.smmu.size, this.smmu);
    this.root.connect(this.smmu);
    this.driver = new SmmuDriver({
      mmio: new Mmio(bus, VIRT.smmu.base),
      memory,
      tableMemory: new TestTables(memory),
      interrupts,
      irqs: IRQS,
      scheduler: this.scheduler,
      clock,
      latency,
      log,
      invariants,
      ...options.driver,
    });
    this.run(this.driver.probe());
  }

  /** Plugs a function in, made known to the driver. `physical`: it is a virtual function of that one. */
  plug(
    devfn: number,
    options: Partial<EndpointOptions> & { readonly stall?: boolean } = {},
    physical: RealFunction | null = null,
  ): RealFunction {
    const { stall = false, ...rest } = options;
    const shared = physical?.endpoint.pageRequests;
    const endpoint = new EndpointFunction(
      { vendor: 0x1d0f, device: 1, classCode: 0, revision: 0 },
      {
        clock: this.clock,
        name: `function ${devfn}`,
        lanes: 16,
        invariants: this.invariants,
        pageRequestCapacity: 32,
        ...(shared === undefined || shared === null ? {} : { sharedPageRequests: shared }),
        ...rest,
      },
    );
    this.root.plug(devfn, endpoint);
    const control = new FunctionControl(this.bus, devfn, physical?.control ?? null);
    endpoint.config.write(COMMAND_OFFSET, 2, 0b110);
    const { ats, pri, pasidBits, pageRequests, responsePasid } = control.abilities;
    const device = this.driver.addDevice({
      name: endpoint.name,
      streamId: devfn,
      stall,
      ats: ats && !stall,
      pri: pri && !stall,
      pasidBits: Math.min(pasidBits, 8),
      pageRequests,
      responsePasid,
      control,
    });
    return new RealFunction(endpoint, control, device);
  }

  run<T>(steps: Steps<T>): T {
    const task = this.spawn(steps);
    this.scheduler.run({ until: () => task.done });
    return task.result;
  }

  spawn<T>(steps: Steps<T>): Task<T> {
    return this.scheduler.spawn('test', steps);
  }

  settle(limitNs = Number.POSITIVE_INFINITY): void {
    this.scheduler.run({ limitNs: this.clock.now + limitNs });
  }

  events(name: string): LogLine[] {
    return this.logs.filter((line) => line.event === name);
  }
}
