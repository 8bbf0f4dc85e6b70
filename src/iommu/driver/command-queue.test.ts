/** Producer side of the command queue against registers that a test plays (IHI 0070 §3.5, §7.1). */
import { describe, expect, test } from 'vitest';
import { Bus, BusStatus, Mmio, type MmioDevice } from '../../hw/bus.ts';
import { Memory } from '../../hw/memory.ts';
import { Clock } from '../../sim/clock.ts';
import { Scheduler, type Task } from '../../sim/task.ts';
import { CommandQueue, Issued } from './command-queue.ts';

const RAM = 0x4000_0000;
const BASE = 0x0905_0000;
const PROD = 0x98;
const CONS = 0x9c;

/** An SMMU that consumes when it is told to. */
class Registers implements MmioDevice {
  readonly name = 'registers';
  readonly values = new Map<number, number>();
  readonly doorbells: number[] = [];
  onDoorbell: () => void = () => {};

  readRegister(offset: number, _size: number, data: DataView): BusStatus {
    data.setUint32(0, this.values.get(offset) ?? 0, true);
    return BusStatus.OK;
  }

  writeRegister(offset: number, size: number, data: DataView): BusStatus {
    this.values.set(offset, data.getUint32(0, true));
    if (size === 8) this.values.set(offset + 4, data.getUint32(4, true));
    if (offset === PROD) {
      this.doorbells.push(data.getUint32(0, true));
      this.onDoorbell();
    }
    return BusStatus.OK;
  }

  get prod(): number {
    return this.values.get(PROD) ?? 0;
  }

  set cons(value: number) {
    this.values.set(CONS, value);
  }
}

function queue(sizeBits: number, syncNs = 0) {
  const clock = new Clock();
  const scheduler = new Scheduler({ clock });
  const memory = new Memory(RAM, 0x10_0000);
  const bus = new Bus(memory);
  const registers = new Registers();
  bus.map(BASE, 0x1000, registers);
  let checks = 0;
  const commands = new CommandQueue({
    mmio: new Mmio(bus, BASE),
    memory,
    base: RAM + 0x8000,
    sizeBits,
    syncNs,
    syncTimeoutNs: 1_000_000,
    checkErrors: () => {
      checks += 1;
    },
  });
  commands.program();
  registers.doorbells.length = 0;
  const word = (slot: number) => memory.read32(RAM + 0x8000 + slot * 16);
  /** Starts a batch of `count` CFGI_STE commands from stream `first` on. */
  const issue = (first: number, count: number): Task<Issued> => {
    const batch = commands.batch();
    for (let streamId = first; streamId < first + count; streamId++) batch.configureStream(streamId, true);
    return scheduler.spawn('test', commands.issue(batch));
  };
  const run = (limitNs = 0) => scheduler.run({ limitNs: clock.now + limitNs });
  return { clock, scheduler, memory, registers, commands, word, issue, run, checks: () => checks };
}

test('base, size and read-allocate are programmed as §6.3.26 lays them out', () => {
  const { registers } = queue(4);
  expect([registers.values.get(0x90), registers.values.get(0x94)]).toEqual([0x4000_8004, 0x4000_0000]);
});

test('a batch is published as one piece, its CMD_SYNC last', () => {
  const q = queue(3);
  const task = q.issue(8, 2);
  q.run();
  expect(q.registers.doorbells).toEqual([3]);
  expect([0, 1, 2].map(q.word)).toEqual([0x03, 0x03, 0x46]);
  expect(task.done).toBe(false);
  q.registers.cons = 3;
  q.run(1000);
  expect(task.result).toBe(Issued.DONE);
});

test('indexes carry the wrap bit around the ring', () => {
  const q = queue(2);
  q.registers.onDoorbell = () => {
    q.registers.cons = q.registers.prod;
  };
  for (let round = 0; round < 12; round++) q.issue(round, 2);
  q.run();
  expect(q.registers.doorbells).toEqual([3, 6, 1, 4, 7, 2, 5, 0, 3, 6, 1, 4]);
});

test('a batch that does not fit goes out in parts as room comes', () => {
  const q = queue(2);
  const task = q.issue(0, 8);
  q.run(100);
  expect(q.registers.doorbells).toEqual([4]);
  q.registers.cons = 2;
  q.run(1000);
  expect(q.registers.doorbells).toEqual([4, 6]);
  q.registers.cons = 6;
  q.run(1000);
  expect(q.registers.doorbells).toEqual([4, 6, 1]);
  q.registers.cons = 1;
  q.run(1000);
  expect(task.result).toBe(Issued.DONE);
});

test('the time of a CMD_SYNC is charged once, and nothing where it is zero', () => {
  for (const [syncNs, expected] of [
    [0, 0],
    [270, 270],
  ] as const) {
    const q = queue(3, syncNs);
    q.registers.onDoorbell = () => {
      q.registers.cons = q.registers.prod;
    };
    const task = q.issue(0, 1);
    q.scheduler.run();
    expect([task.done, q.clock.now]).toEqual([true, expected]);
  }
});

test('whoever waits looks at the errors; a CMD_SYNC that never completes is given up', () => {
  const q = queue(3);
  const task = q.issue(0, 1);
  q.scheduler.run();
  expect(task.result).toBe(Issued.TIMEOUT);
  expect(q.checks()).toBeGreaterThan(10);
  expect(q.checks()).toBeLessThan(1000);
});

describe('errors', () => {
  const failed = (error: number, at: number) => (error << 24) | at;

  test('an illegal command becomes a CMD_SYNC', () => {
    const q = queue(3);
    q.issue(8, 2);
    q.run();
    q.registers.cons = failed(1, 1);
    expect(q.commands.recover()).toEqual({ error: 1, opcode: 0x03 });
    expect([0, 1, 2].map(q.word)).toEqual([0x03, 0x46, 0x46]);
  });

  test('a timed out ATC invalidation fails the batch whose CMD_SYNC says so, and no other', () => {
    const q = queue(4);
    const [first, second] = [q.issue(0, 1), q.issue(8, 1)];
    q.run();
    q.registers.cons = failed(3, 1);
    expect(q.commands.recover()).toEqual({ error: 3, opcode: 0x46 });
    expect(q.word(1)).toBe(0x46);
    q.registers.cons = failed(3, 4);
    q.run(1000);
    expect([first.result, second.result]).toEqual([Issued.ATC_TIMEOUT, Issued.DONE]);
  });

  test('a queue that is abandoned keeps nobody waiting', () => {
    const q = queue(3);
    const tasks = [q.issue(0, 1), q.issue(0, 7)];
    q.run();
    q.commands.abandon();
    q.run(1000);
    expect(tasks.map((task) => task.result)).toEqual([Issued.TIMEOUT, Issued.TIMEOUT]);
    const late = q.issue(0, 1);
    q.run();
    expect(late.result).toBe(Issued.TIMEOUT);
  });
});
