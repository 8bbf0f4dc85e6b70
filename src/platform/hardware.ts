/** The silicon of a platform: memory, bus, interrupt controller, root complex, SMMU and accelerator, wired together. */
import type { Bus } from '../hw/bus.ts';
import { Accelerator } from '../hw/devices/accelerator.ts';
import { InterruptController } from '../hw/interrupts.ts';
import { CHUNK_BYTES, Memory } from '../hw/memory.ts';
import type { AccessObserver } from '../hw/pcie/endpoint/dma-transfer.ts';
import { RootComplex } from '../hw/pcie/root-complex.ts';
import { VIRT } from '../hw/virt-map.ts';
import { Smmu } from '../iommu/smmuv3/smmu.ts';
import { PMCG_BYTES } from '../iommu/spec/pmcg.layout.ts';
import { HTTU, type Scenario } from '../scenario/schema.ts';
import type { Clock } from '../sim/clock.ts';
import type { Invariants } from '../sim/invariants.ts';
import type { LogOf } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import type { Random } from '../sim/random.ts';
import type { Trace } from '../sim/trace.ts';
import { ObservedBus, type PageObserver } from './observed-bus.ts';

/** Where the accelerator is plugged in: device 1, function 0 of bus 0, so StreamID 8. */
export const ACCELERATOR_DEVFN = 8;

export interface HardwareOptions {
  readonly scenario: Scenario;
  readonly clock: Clock;
  readonly invariants: Invariants;
  readonly latency: Latency;
  readonly logOf: LogOf;
  readonly random: Random;
  readonly trace: Trace;
  /** Sees each page that a block transfer (DMA, in the main) touches. */
  readonly observe: PageObserver;
  /** Told of each page that the accelerator writes, as the write takes effect: an I/O virtual address divided by 4096. */
  readonly written: ((page: number) => void) | null;
}

export class Hardware {
  readonly memory: Memory;
  readonly bus: Bus;
  readonly interrupts: InterruptController;
  readonly rootComplex: RootComplex;
  readonly smmu: Smmu;
  readonly accelerator: Accelerator;

  constructor(options: HardwareOptions) {
    const { scenario, clock, latency, invariants, logOf, random, trace } = options;
    const { host, iommu, device } = scenario;
    this.memory = new Memory(VIRT.ram.base, Math.ceil(host.memory / CHUNK_BYTES) * CHUNK_BYTES);
    this.bus = new ObservedBus(this.memory, options.observe);
    this.interrupts = new InterruptController({ clock, latencyNs: latency.interrupt });
    this.bus.map(VIRT.msiFrame.base, VIRT.msiFrame.size, this.interrupts.frame);
    this.rootComplex = new RootComplex({
      clock,
      bus: this.bus,
      linkNs: latency.link,
      ecamBase: VIRT.ecam.base,
      windows: [VIRT.pcieWindow],
    });
    const { event, priority, sync, globalError, monitor } = VIRT.smmuInterrupts;
    this.smmu = new Smmu({
      clock,
      bus: this.bus,
      fabric: this.rootComplex,
      lines: {
        event: this.interrupts.line(event),
        priority: this.interrupts.line(priority),
        sync: this.interrupts.line(sync),
        globalError: this.interrupts.line(globalError),
        monitor: this.interrupts.line(monitor),
      },
      latency,
      invariants,
      log: logOf('iommu'),
      trace,
      random: random.fork('smmu'),
      features: { STALL_MAX: iommu.stalls, HTTU: HTTU.indexOf(iommu.httu) },
    });
    this.bus.map(VIRT.smmu.base, VIRT.smmu.size, this.smmu);
    this.bus.map(VIRT.smmuMonitor.base, PMCG_BYTES, this.smmu.pmcg);
    this.rootComplex.connect(this.smmu);
    this.accelerator = new Accelerator({
      clock,
      name: 'accelerator',
      latency,
      cache: { capacity: device.atcEntries },
      pageRequestCapacity: device.credits,
      maxGroupPages: device.groupPages,
      ringFaults: device.ringFaults,
      pagesInFlight: device.pagesInFlight,
      descriptorsInFlight: device.descriptorsInFlight,
      invariants,
      log: logOf('hw'),
      observe: observer(options),
    });
    this.rootComplex.plug(ACCELERATOR_DEVFN, this.accelerator);
  }
}

/** Undefined where nobody looks: then an access costs nothing more. */
function observer({ trace, written }: HardwareOptions): AccessObserver | undefined {
  if (!trace.active && written === null) return undefined;
  return (page, _translated, write, _pasid, _offset, length) => {
    trace.record(write ? 'dma.write' : 'dma.read', ACCELERATOR_DEVFN, page, length);
    if (write) written?.(page);
  };
}
