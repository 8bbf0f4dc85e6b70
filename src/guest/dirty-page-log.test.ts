import { describe, expect, test } from 'vitest';
import { silentLog } from '../../test/support/fake-process.ts';
import { FakeVfio, type FakeVfioOptions } from '../../test/support/fake-vfio.ts';
import { Errno } from '../errno.ts';
import { Clock } from '../sim/clock.ts';
import { Scheduler, type Steps, WaitQueue } from '../sim/task.ts';
import { GUEST_RAM_BASE } from './board.ts';
import type { DirtyLogWitness } from './dirty-page-log.ts';
import { VirtualMachine } from './virtual-machine.ts';

const MEMORY = 256 * 1024;
const INTERVAL = 1000;

function bench(options: Partial<FakeVfioOptions> = {}) {
  const clock = new Clock();
  const scheduler = new Scheduler({ clock });
  const process = new FakeVfio({ clock, memoryBytes: 2 * MEMORY, dirtyLog: true, ...options });
  const seen: string[] = [];
  const witness: DirtyLogWitness = {
    started: () => seen.push('started'),
    asking: () => seen.push(`asking at ${clock.now}`),
    answered: () => seen.push('answered'),
    reported: (bits, pageBytes, atRest) => seen.push(`${[...bits]} of ${pageBytes}${atRest ? ', at rest' : ''}`),
  };
  function run(body: (machine: VirtualMachine) => Steps): void {
    function* whole(): Steps {
      const options = { process, groupNumber: 5, deviceName: '0000:01:00.0', memoryBytes: MEMORY, faults: null };
      const machine = yield* VirtualMachine.start({ ...options, log: silentLog() });
      yield* body(machine);
      yield* machine.stop();
    }
    const task = scheduler.spawn('test', whole());
    scheduler.run();
    expect(task.done).toBe(true);
    expect(scheduler.stuck()).toEqual([]);
    expect([process.descriptors.size, process.mapping, process.mapped]).toEqual([0, null, 0]);
  }
  return { clock, process, seen, run, log: { intervalNs: INTERVAL, scheduler, witness } };
}

describe('the dirty log', () => {
  test('is read at each interval while something happens, and once more at the end', () => {
    const { clock, process, seen, run, log } = bench();
    run(function* (machine) {
      const dirty = yield* machine.logDirtyPages(log);
      process.dirty = [0, 9];
      yield INTERVAL + 1;
      process.dirty = [63];
      yield INTERVAL;
      yield* dirty.finish();
      expect(dirty.figures).toEqual({ rounds: 3, pages: 3, lastPages: 0 });
    });
    expect(seen).toEqual([
      'started',
      ...['asking at 1000', 'answered', '1,2,0,0,0,0,0,0 of 4096'],
      ...['asking at 2000', 'answered', '0,0,0,0,0,0,0,128 of 4096'],
      ...['asking at 2001', 'answered', '0,0,0,0,0,0,0,0 of 4096, at rest'],
    ]);
    expect(clock.now).toBeLessThan(3 * INTERVAL);
  });

  test('is asked for as linux/vfio.h has it', () => {
    const { process, run, log } = bench();
    run(function* (machine) {
      const dirty = yield* machine.logDirtyPages(log);
      expect(process.calls.slice(-2)).toEqual(['IOMMU_GET_INFO', 'DIRTY_PAGES']);
      expect(process.arguments.get('DIRTY_PAGES')).toEqual([8, 1]);
      yield INTERVAL + 1;
      const bitmapAt = MEMORY;
      const bitmap = [0x1000, 0, 8, 0, bitmapAt, 0];
      expect(process.arguments.get('DIRTY_PAGES')).toEqual([48, 4, GUEST_RAM_BASE, 0, MEMORY, 0, ...bitmap]);
      yield* dirty.finish();
      expect(process.arguments.get('DIRTY_PAGES')).toEqual([8, 2]);
    });
  });

  test('keeps no time going by itself: where nothing else is to come, it waits', () => {
    const { clock, process, log } = bench();
    function* forEver(): Steps {
      const options = { process, groupNumber: 5, deviceName: '0000:01:00.0', memoryBytes: MEMORY, faults: null };
      const machine = yield* VirtualMachine.start({ ...options, log: silentLog() });
      yield* machine.logDirtyPages(log);
      // As a workload does whose interrupt never comes.
      yield new WaitQueue(log.scheduler, 'an interrupt');
    }
    log.scheduler.spawn('guest', forEver());
    expect(log.scheduler.run()).toBe(true);
    expect(clock.now).toBe(INTERVAL);
    expect(log.scheduler.stuck().map((task) => task.name)).toEqual(['guest', 'pre-copy']);
  });

  test('ends with the machine where nobody finished it', () => {
    const { process, seen, run, log } = bench();
    run(function* (machine) {
      yield* machine.logDirtyPages(log);
      yield INTERVAL / 2;
    });
    expect(seen).toEqual(['started']);
    expect(process.calls.at(-1)).toBe('UNMAP_DMA');
  });

  test.each([
    ['IOMMU_GET_INFO', Errno.EFAULT, 'VFIO_IOMMU_GET_INFO failed: EFAULT'],
    ['DIRTY_PAGES', Errno.ENOMEM, 'VFIO_IOMMU_DIRTY_PAGES START failed: ENOMEM'],
  ])('an error of %s is named, and what was done before is undone', (call, error, message) => {
    const { seen, run, log } = bench({ errors: { [call]: error } });
    run(function* (machine) {
      let failure = '';
      try {
        yield* machine.logDirtyPages(log);
      } catch (thrown) {
        failure = (thrown as Error).message;
      }
      expect(failure).toBe(message);
    });
    expect(seen).toEqual([]);
  });

  test('a kernel without one is named', () => {
    const { run, log } = bench({ dirtyLog: false });
    expect(() => run((machine) => started(machine))).toThrow('this kernel has no dirty log for VFIO');
    function* started(machine: VirtualMachine): Steps {
      yield* machine.logDirtyPages(log);
    }
  });

  test('an error while the device works is told at the end', () => {
    const errors: Record<string, number> = {};
    const { run, log } = bench({ errors });
    run(function* (machine) {
      const dirty = yield* machine.logDirtyPages(log);
      errors['DIRTY_PAGES'] = Errno.EFAULT;
      yield 10 * INTERVAL;
      delete errors['DIRTY_PAGES'];
      let failure = '';
      try {
        yield* dirty.finish();
      } catch (thrown) {
        failure = (thrown as Error).message;
      }
      expect(failure).toBe('VFIO_IOMMU_DIRTY_PAGES GET_BITMAP failed: EFAULT');
    });
  });
});
