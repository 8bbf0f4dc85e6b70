/** The whole machine with a process that holds the accelerator through VFIO, and DMA at any address it likes. */
import { NO_LOGS } from '../../src/cli/log.ts';
import { COMMAND_OFFSET } from '../../src/hw/pcie/config.layout.ts';
import { DmaOutcome, DmaTransfer } from '../../src/hw/pcie/endpoint/dma-transfer.ts';
import { encode } from '../../src/layout/struct.ts';
import { Platform } from '../../src/platform.ts';
import { parseScenario } from '../../src/scenario/load.ts';
import { type Steps, WaitQueue } from '../../src/sim/task.ts';
import type { IoAddressSpace } from '../../src/vfio/io-address-space.ts';
import type { Type1 } from '../../src/vfio/type1.ts';
import { Extension, Ioctl, PciRegion, REGION_STRIDE } from '../../src/vfio/uapi.layout.ts';
import { DmaRange } from '../../src/vfio/uapi-extensions.layout.ts';
import { PAGE } from '../support/host.ts';
import { dmaMap, dmaUnmap, int32 } from '../support/vfio.ts';
import { IOVA } from './exhibit/board.ts';

export interface MachineOptions {
  readonly mode?: 'static' | 'stall' | 'pri';
  readonly profile?: 'zero' | 'kunpeng920';
  /** Sections of the scenario beside its workload. */
  readonly scenario?: Record<string, unknown>;
  readonly iommuType?: number;
}

/** How one access of the device ended: a name of {@link DmaOutcome}. */
export type Ending = keyof typeof DmaOutcome;

export function machine(options: MachineOptions = {}) {
  const { mode = 'pri', profile = 'zero', iommuType = Extension.VFIO_TYPE1v2_IOMMU } = options;
  const host = { memory: '32MiB', swap: '32MiB' };
  const text = { profile, host, guest: { memory: '4MiB' }, workload: { kind: 'sec' }, ...options.scenario };
  const scenario = parseScenario(JSON.stringify(text), 'review.yaml');
  const platform = new Platform({ scenario, mode, logs: NO_LOGS.logs(mode) });
  const { process, scheduler, hardware } = platform;
  const { accelerator } = hardware;
  const ended = new WaitQueue(scheduler, 'a transfer to end');

  function run<T>(steps: Steps<T>): T {
    const task = scheduler.spawn('test', steps);
    scheduler.run();
    if (!task.done)
      throw new Error(`stuck: ${scheduler.stuck().map((each) => `${each.name} on ${each.waitingOn?.name}`)}`);
    return task.result;
  }

  /** Runs a task to its end and nothing beyond: time-outs of what is left open do not come. */
  function call<T>(steps: Steps<T>): T {
    const task = scheduler.spawn('test', steps);
    if (!scheduler.run({ until: () => task.done })) throw new Error('stuck');
    return task.result;
  }

  /** Opens container, group and device, and lets the device master the bus. */
  function* open(): Steps<{ container: number; group: number; device: number }> {
    const container = yield* process.open('/dev/vfio/vfio');
    const group = yield* process.open(`/dev/vfio/${platform.groupNumber}`);
    yield* process.ioctl(group, Ioctl.VFIO_GROUP_SET_CONTAINER, int32(container));
    yield* process.ioctl(container, Ioctl.VFIO_SET_IOMMU, iommuType);
    const name = new TextEncoder().encode(`${platform.deviceName}\0`);
    const device = yield* process.ioctl(group, Ioctl.VFIO_GROUP_GET_DEVICE_FD, new DataView(name.buffer));
    if (device < 0) throw new Error(`VFIO_GROUP_GET_DEVICE_FD: ${device}`);
    yield* process.pwrite(device, master(), PciRegion.CONFIG * REGION_STRIDE + COMMAND_OFFSET);
    return { container, group, device };
  }

  const descriptors = run(open());
  const { container } = descriptors;
  const type1 = (): Type1 => {
    const found = platform.vfio.containers[0]?.type1;
    if (found === undefined || found === null) throw new Error('no IOMMU is set');
    return found;
  };
  const io: IoAddressSpace = type1().io;

  return {
    platform,
    process,
    scheduler,
    hardware,
    accelerator,
    space: process.space,
    host: platform.host,
    clock: platform.clock,
    ...descriptors,
    type1,
    io,
    run,
    call,
    ioctl: (request: number, argument: DataView | number): number => run(process.ioctl(container, request, argument)),
    enableIopf: (kind = 0): number => run(process.ioctl(container, Ioctl.VFIO_IOMMU_ENABLE_IOPF, kind)),
    range(request: number, iova: number, size: number, flags = 0): number {
      const argument = encode(DmaRange, { ARGSZ: 24, FLAGS: flags, IOVA_LOW: iova, SIZE_LOW: size });
      return run(process.ioctl(container, request, argument));
    },
    /** `count` pages of new memory at {@link IOVA}: where they are in the process. */
    memory(count: number, flags = 3, iova = IOVA): number {
      const at = process.space.mmap(count * PAGE);
      const status = run(process.ioctl(container, Ioctl.VFIO_IOMMU_MAP_DMA, dmaMap(at, iova, count * PAGE, flags)));
      if (status !== 0) throw new Error(`VFIO_IOMMU_MAP_DMA: ${status}`);
      return at;
    },
    unmap: (iova: number, size: number): Steps<number> =>
      process.ioctl(container, Ioctl.VFIO_IOMMU_UNMAP_DMA, dmaUnmap(iova, size)),
    /** Moves 8 bytes to or from the start of a page, or `count` pages. */
    *dma(page: number, write: boolean, count = 1, data = new Uint8Array(count * PAGE)): Steps<Ending> {
      let done = false;
      const transfer = new DmaTransfer(() => {
        done = true;
        ended.wakeAll();
      });
      transfer.prepare(write, page, 0, data, 0, count === 1 ? Math.min(8, data.length) : data.length);
      accelerator.dma.start(transfer);
      while (!done) yield ended;
      const [name] = Object.entries(DmaOutcome).find(([, outcome]) => outcome === transfer.outcome) ?? ['DONE'];
      return name as Ending;
    },
    /** Ends the process and checks that nothing is left. */
    tearDown(): void {
      run(process.exit());
      platform.checkAtRest();
      if (scheduler.stuck().length > 0) throw new Error('a task is stuck');
    },
  };
}

/** The command register with memory space and bus master enabled. */
function master(): DataView {
  const value = new DataView(new ArrayBuffer(2));
  value.setUint16(0, 0b110, true);
  return value;
}
