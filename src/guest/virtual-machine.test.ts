import { describe, expect, test } from 'vitest';
import { silentLog } from '../../test/support/fake-process.ts';
import { FakeVfio, type FakeVfioOptions } from '../../test/support/fake-vfio.ts';
import { Errno } from '../errno.ts';
import { Clock } from '../sim/clock.ts';
import { Random } from '../sim/random.ts';
import { Scheduler, type Steps } from '../sim/task.ts';
import { AcceleratorDriver } from './accelerator-driver.ts';
import { GUEST_MSI_DOORBELL, GUEST_RAM_BASE } from './board.ts';
import { PciDriver } from './pci-driver.ts';
import type { FaultSettings } from './vfio-container.ts';
import { VirtualMachine } from './virtual-machine.ts';
import { sec } from './workloads/sec.ts';

const MEMORY = 1 << 20;
const FAULTS: FaultSettings = { mode: 2, policy: 1, premapPages: 16, residencyLimitBytes: 2 ** 33 + 4096, workers: 3 };

function bench(options: Partial<FakeVfioOptions> = {}) {
  const clock = new Clock();
  const scheduler = new Scheduler({ clock });
  const process = new FakeVfio({ clock, memoryBytes: MEMORY, ...options });
  const run = <T>(steps: Steps<T>): T => {
    const task = scheduler.spawn('test', steps);
    scheduler.run();
    return task.result;
  };
  const start = (faults: FaultSettings | null = null, groupNumber = 5) =>
    VirtualMachine.start({
      process,
      groupNumber,
      deviceName: '0000:01:00.0',
      memoryBytes: MEMORY,
      faults,
      log: silentLog(),
    });
  return { clock, scheduler, process, run, start };
}

describe('set-up', () => {
  test('opens container, group and device in the order the kernel asks for, and maps all memory', () => {
    const { process, run, start } = bench();
    run(start());
    expect(process.calls.slice(0, 8)).toEqual([
      'GET_API_VERSION',
      'CHECK_EXTENSION',
      'GROUP_GET_STATUS',
      'GROUP_SET_CONTAINER',
      'SET_IOMMU',
      'MAP_DMA',
      'GROUP_GET_DEVICE_FD',
      'DEVICE_GET_INFO',
    ]);
    expect(process.mapping).toEqual({ iova: GUEST_RAM_BASE, address: 0, size: MEMORY });
  });

  test('turns faulting on right after the IOMMU was set, before anything is mapped', () => {
    const { process, run, start } = bench();
    run(start(FAULTS));
    expect(process.calls.slice(4, 9)).toEqual([
      'SET_IOMMU',
      'CHECK_EXTENSION',
      'ENABLE_IOPF',
      'CONFIGURE_IOPF',
      'MAP_DMA',
    ]);
  });

  test('passes structures laid out as linux/vfio.h and docs/uapi.md have them', () => {
    const { process, run, start } = bench();
    run(PciDriver.probe(run(start(FAULTS))));
    expect(process.arguments.get('SET_IOMMU')).toBe(3);
    expect(process.arguments.get('ENABLE_IOPF')).toBe(2);
    expect(process.arguments.get('CONFIGURE_IOPF')).toEqual([32, 7, 1, 16, 4096, 2, 3, 0]);
    expect(process.arguments.get('MAP_DMA')).toEqual([32, 3, 0, 0, 0x4000_0000, 0, MEMORY, 0]);
    expect(process.arguments.get('GROUP_SET_CONTAINER')).toEqual([3]);
    expect(process.arguments.get('DEVICE_GET_IRQ_INFO')).toEqual([16, 0, 2, 0]);
  });

  test('the end gives back every descriptor, mapping and byte of memory', () => {
    const { process, run, start } = bench();
    run(run(start()).stop());
    expect([process.descriptors.size, process.mapping, process.mapped]).toEqual([0, null, 0]);
    expect(process.calls.at(-1)).toBe('UNMAP_DMA');
  });

  test.each([
    ['SET_IOMMU', Errno.EINVAL, 'VFIO_SET_IOMMU failed: EINVAL'],
    ['MAP_DMA', Errno.ENOMEM, 'VFIO_IOMMU_MAP_DMA of 1048576 bytes failed: ENOMEM'],
    ['GROUP_GET_DEVICE_FD', Errno.EBUSY, 'VFIO_GROUP_GET_DEVICE_FD 0000:01:00.0 failed: EBUSY'],
    ['DEVICE_GET_INFO', -4711, 'VFIO_DEVICE_GET_INFO failed: errno 4711'],
    ['ENABLE_IOPF', Errno.ENODEV, 'VFIO_IOMMU_ENABLE_IOPF failed: ENODEV'],
    ['GET_API_VERSION', 1, 'VFIO speaks version 1 of its interface, not 0'],
  ])('an error of %s is named, and what was done before is undone', (call, error, message) => {
    const { process, run, start } = bench({ errors: { [call]: error } });
    expect(() => run(start(FAULTS))).toThrow(message);
    expect([process.descriptors.size, process.mapping, process.mapped]).toEqual([0, null, 0]);
  });

  test('a group that does not exist is named', () => {
    const { process, run, start } = bench();
    expect(() => run(start(null, 6))).toThrow('open /dev/vfio/6 failed: ENOENT');
    expect(process.descriptors.size).toBe(0);
  });
});

describe('the function that the guest sees', () => {
  test('has BARs that size and move without the device knowing', () => {
    const { process, run, start } = bench();
    const board = run(start());
    run(board.writeConfig(0x10, 4, 0xffff_ffff));
    run(board.writeConfig(0x14, 4, 0xffff_ffff));
    expect(run(board.readConfig(0x10, 4))).toBe(0xffff_f004);
    expect(run(board.readConfig(0x14, 4))).toBe(0xffff_ffff);
    run(board.writeConfig(0x10, 4, 0x2000_0000));
    run(board.writeConfig(0x14, 4, 0x1));
    expect(run(board.readConfig(0x12, 2))).toBe(0x2000);
    expect(run(board.readMmio(0x1_2000_0000, 4))).toBe(0xffff_ffff);
    run(board.writeConfig(0x04, 2, 0x0002));
    expect(run(board.readMmio(0x1_2000_0000, 4))).toBe(0x4341_4c46);
    expect(run(board.readMmio(0x1_2000_1000, 4))).toBe(0xffff_ffff);
    expect(process.configWrites).toEqual([0x04]);
    expect(process.config.getUint32(0x10, true)).toBe(0x5000_0004);
  });

  test('has an MSI-X table of its own: masked vectors pend, unmasked ones reach the doorbell', () => {
    const { process, run, start } = bench();
    const board = run(start());
    const pci = run(PciDriver.probe(board));
    const seen: string[] = [];
    run(pci.enableMsix([() => seen.push('completion'), () => seen.push('error')]));
    expect(process.vectors).toEqual([1000, 1001]);
    expect(process.arguments.get('DEVICE_SET_IRQS')).toEqual([28, 0x24, 2, 0, 2, 1000, 1001]);
    process.signal(1);
    expect(seen).toEqual(['error']);
    run(pci.write(2, 12, 4, 1));
    process.signal(0);
    expect(seen).toEqual(['error']);
    expect(run(pci.read(2, 0x800, 4))).toBe(1);
    run(pci.write(2, 12, 4, 0));
    expect(seen).toEqual(['error', 'completion']);
    expect(run(pci.read(2, 0x800, 4))).toBe(0);
    run(board.writeConfig(0x52, 2, 0xc000));
    process.signal(0);
    process.signal(1);
    expect(run(board.readConfig(0x50, 4))).toBe(0xc001_0011);
    expect(seen).toHaveLength(2);
    run(board.writeConfig(0x52, 2, 0x8000));
    expect(seen.slice(2)).toEqual(['completion', 'error']);
    run(board.writeConfig(0x52, 2, 0x0000));
    expect(process.arguments.get('DEVICE_SET_IRQS')).toEqual([20, 0x21, 2, 0, 0]);
  });

  test('loses a message that does not go to the doorbell', () => {
    const { process, run, start } = bench();
    const board = run(start());
    const pci = run(PciDriver.probe(board));
    const seen: string[] = [];
    run(pci.enableMsix([() => seen.push('completion')]));
    run(pci.write(2, 0, 4, GUEST_MSI_DOORBELL + 4));
    process.signal(0);
    expect(seen).toEqual([]);
  });

  test('is refused by the driver when it is another device', () => {
    const { process, run, scheduler, start } = bench();
    const board = run(start());
    process.config.setUint16(0x02, 0x1234, true);
    const options = { board, scheduler, log: silentLog(), ringEntries: 8, operationNs: 0 };
    expect(() => run(AcceleratorDriver.start(options))).toThrow('no driver for PCI device 1d0f:1234');
  });
});

describe('the accelerator under its driver', () => {
  test.each([
    [0, 4],
    [700, 4],
    [700, 2],
  ])('does the workload: operations of %i ns, a ring of %i', (operationNs, ringEntries) => {
    const { run, process, scheduler, clock, start } = bench({ operationNs });
    const board = run(start(FAULTS));
    const result = run(
      (function* () {
        const device = yield* AcceleratorDriver.start({
          board,
          scheduler,
          log: silentLog(),
          ringEntries,
          operationNs: 100,
        });
        const options = { times: 70, messageLength: 777, buffers: 3, bufferOffset: 5, queueDepth: 3 };
        const context = { device, memory: board.memory, random: new Random(1), clock, log: silentLog() };
        const outcome = yield* sec(options).run(context);
        yield* device.stop();
        return outcome;
      })(),
    );
    expect(result).toMatchObject({ bytes: 70 * 777, failure: null, output: { verified: true } });
    expect(process.registers.getUint32(0x40, true)).toBe(Number.parseInt(swapped(result.output.keyHex), 16));
  });

  test('a ring error ends the run in words', () => {
    const { run, process, scheduler, clock, start } = bench({ operationNs: 50 });
    const board = run(start());
    const work = function* (): Steps {
      const options = { board, scheduler, log: silentLog(), ringEntries: 4, operationNs: 0 };
      const device = yield* AcceleratorDriver.start(options);
      yield* device.post({ source: GUEST_RAM_BASE, destination: GUEST_RAM_BASE, length: 1, streamOffset: 0 });
      yield* device.reap();
    };
    clock.after(10, () => process.signal(1));
    expect(() => run(work())).toThrow('the accelerator could not read or write its descriptor ring, and stopped');
  });
});

/** The first four bytes of a hexadecimal text as a little-endian word's digits. */
function swapped(hex: string): string {
  return (hex.slice(0, 8).match(/../g) ?? []).reverse().join('');
}
