import { describe, expect, test } from 'vitest';
import { type PcieBoardOptions, pcieBoard, WINDOW } from '../../../test/support/pcie-board.ts';
import type { MemoryRequest } from '../pcie/tlp.ts';
import { IommuTestdev } from './iommu-testdev.ts';

const DEVFN = 8;
const PAGE = 4096;
const IOVA = 0x8060_4567_0000;

// Offsets and values as QEMU's users write them.
const [TRIGGER, LOW, HIGH, LENGTH, RESULT, DOORBELL, ATTRIBUTES, PA_LOW, PA_HIGH] = [
  0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20,
] as const;

function bench(options: PcieBoardOptions = {}) {
  const board = pcieBoard(options);
  const device = new IommuTestdev({ clock: board.clock, bus: board.bus });
  board.root.plug(DEVFN, device);
  board.write(board.config(DEVFN, 4), 2, 7);
  board.write32(board.config(DEVFN, 0x10), WINDOW);
  const write = (offset: number, value: number) => board.write32(WINDOW + offset, value);
  const read = (offset: number) => board.read32(WINDOW + offset);
  const arm = (iova: number, physical: number, length: number) => {
    write(LOW, iova >>> 0);
    write(HIGH, Math.floor(iova / 2 ** 32));
    write(PA_LOW, physical >>> 0);
    write(PA_HIGH, Math.floor(physical / 2 ** 32));
    write(LENGTH, length);
    write(DOORBELL, 1);
  };
  return { ...board, device, set: write, get: read, arm };
}

test('identity, BAR 0 and reset values', () => {
  const b = bench();
  expect(b.read32(b.config(DEVFN, 0))).toBe(0x0005_1b36);
  expect(b.read32(b.config(DEVFN, 8))).toBe(0x00ff_0000);
  expect(b.read32(b.config(DEVFN, 0x2c))).toBe(0x1100_1af4);
  expect(b.read(b.config(DEVFN, 4), 2)).toBe(7);
  expect(b.read(b.config(DEVFN, 0x34), 1)).toBe(0);
  b.write32(b.config(DEVFN, 0x10), 0xffff_ffff);
  expect(b.read32(b.config(DEVFN, 0x10))).toBe(0xffff_f000);
  b.write32(b.config(DEVFN, 0x10), WINDOW);
  expect([RESULT, ATTRIBUTES, LENGTH].map(b.get)).toEqual([0xffff_ffff, 2, 0]);
  expect(b.read(WINDOW + RESULT, 2)).toBe(0xffff);
});

describe('a trigger', () => {
  test.each([1, 3, 4, 4095, 4096, 10_001, 200_000])('writes %i bytes of the pattern and finds them', (length) => {
    const b = bench();
    const first = b.agent.map(IOVA / PAGE, true);
    for (let page = 1; page * PAGE < length; page++) b.agent.map(IOVA / PAGE + page, true, first + page);
    b.arm(IOVA, first * PAGE, length);
    expect(b.get(RESULT)).toBe(0xffff_fffe);
    expect(b.get(TRIGGER)).toBe(0);
    expect(b.get(RESULT)).toBe(0);
    const bytes = new Uint8Array(length + 1);
    b.memory.read(first * PAGE, bytes, 0, length + 1);
    const pattern = [0x78, 0x56, 0x34, 0x12];
    expect(bytes.subarray(0, length).every((byte, at) => byte === pattern[at % 4])).toBe(true);
    expect(bytes[length]).toBe(0);
    // One arming, one trigger.
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0005);
  });

  test('finds the pattern at an unaligned offset', () => {
    const b = bench();
    const to = b.agent.map(IOVA / PAGE, true);
    b.arm(IOVA + 0x10d, to * PAGE + 0x10d, 10);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0);
  });

  test('that is not armed, or disarmed, says so', () => {
    const b = bench();
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0005);
    b.arm(IOVA, 0, 4);
    b.set(DOORBELL, 0);
    expect(b.get(RESULT)).toBe(0xffff_ffff);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0005);
  });

  test('of no bytes', () => {
    const b = bench();
    b.arm(IOVA, 0, 0);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0001);
  });

  test('whose write fails', () => {
    const b = bench({ agent: { onFault: 'abort' } });
    b.arm(IOVA, 0x4000_0000, 4);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0002);
  });

  test('whose write fails in one page still writes the others', () => {
    const b = bench({ agent: { onFault: 'abort' } });
    const first = b.agent.map(IOVA / PAGE, true);
    const third = b.agent.map(IOVA / PAGE + 2, true);
    b.arm(IOVA, first * PAGE, 4 * PAGE);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0002);
    expect(b.agent.faults.map(({ page }) => page - IOVA / PAGE)).toEqual([1, 3]);
    expect(b.memory.read32(third * PAGE)).toBe(0x1234_5678);
  });

  test('a reset while its write stalls leaves it unarmed and usable', () => {
    const b = bench();
    b.agent.hold = true;
    b.arm(IOVA, 0x4800_0000, 4);
    b.get(TRIGGER);
    b.device.reset();
    b.write(b.config(DEVFN, 4), 2, 7);
    b.write32(b.config(DEVFN, 0x10), WINDOW);
    b.agent.hold = false;
    b.agent.release(b.agent.held[0] as MemoryRequest);
    b.run();
    expect(b.get(RESULT)).toBe(0xffff_ffff);
    b.arm(IOVA, b.agent.physical(IOVA / PAGE) * PAGE, 4);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0);
  });

  test.each([0x10_0000_0000_0000, 0x7000_0000])('whose physical address %i does not answer', (physical) => {
    const b = bench();
    b.agent.map(IOVA / PAGE, true);
    b.arm(IOVA, physical, 4);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0003);
  });

  test('that lands elsewhere', () => {
    const b = bench();
    const to = b.agent.map(IOVA / PAGE, true);
    b.arm(IOVA, (to + 1) * PAGE, 4);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xdead_0004);
  });

  test.each([
    [0b1001, 0],
    [0b1000, 0xdead_0006],
    [0b1010, 0],
    [0b1011, 0xdead_0006],
    [0b1100, 0],
    [0b1111, 0],
    [0b0001, 0],
  ])('with attributes %i ends as %i', (attributes, result) => {
    const b = bench();
    const to = b.agent.map(IOVA / PAGE, true);
    b.set(ATTRIBUTES, attributes);
    b.arm(IOVA, to * PAGE, 4);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(result);
  });

  test('that stalls stays armed until the stall ends, and takes no second trigger meanwhile', () => {
    const b = bench();
    b.agent.hold = true;
    b.arm(IOVA, 0x4800_0000, 3 * 0x1_0000);
    b.get(TRIGGER);
    b.get(TRIGGER);
    expect(b.get(RESULT)).toBe(0xffff_fffe);
    expect(b.agent.held).toHaveLength(1);
    b.agent.hold = false;
    for (let page = 0; page < 48; page++) b.agent.map(IOVA / PAGE + page, true, 0x4800_0000 / PAGE + page);
    b.agent.release(b.agent.held[0] as MemoryRequest);
    b.run();
    expect(b.get(RESULT)).toBe(0);
  });
});
