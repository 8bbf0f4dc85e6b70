import { describe, expect, test } from 'vitest';
import { MSI, type PcieBoardOptions, pcieBoard, WINDOW } from '../../../test/support/pcie-board.ts';
import { Edu, type EduOptions } from './edu.ts';

const DEVFN = 8;
const MS = 1_000_000;

function bench(options: Partial<EduOptions> = {}, boardOptions: PcieBoardOptions = {}) {
  const board = pcieBoard(boardOptions);
  const levels: boolean[] = [];
  const device = new Edu({
    clock: board.clock,
    interrupt: { set: (level) => levels.push(level), pulse: () => {} },
    ...options,
  });
  board.root.plug(DEVFN, device);
  board.write(board.config(DEVFN, 4), 2, 7);
  board.write32(board.config(DEVFN, 0x10), WINDOW);
  levels.length = 0;
  const data = new DataView(new ArrayBuffer(8));
  const set = (offset: number, value: number) => board.write32(WINDOW + offset, value);
  const get = (offset: number) => board.read32(WINDOW + offset);
  const set64 = (offset: number, value: number) => {
    data.setUint32(0, value >>> 0, true);
    data.setUint32(4, Math.floor(value / 2 ** 32), true);
    board.bus.writeSized(WINDOW + offset, 8, data);
  };
  const level = () => levels.at(-1) ?? false;
  return { ...board, device, set, get, set64, level };
}

test('identity: 1234:11e8 revision 0x10, BAR 0 of 1 MiB, MSI at 0x40, INTA', () => {
  const b = bench();
  expect(b.read32(b.config(DEVFN, 0))).toBe(0x11e8_1234);
  expect(b.read(b.config(DEVFN, 8), 1)).toBe(0x10);
  expect(b.read(b.config(DEVFN, 0x3d), 1)).toBe(1);
  expect(b.read(b.config(DEVFN, 0x34), 1)).toBe(0x40);
  expect(b.read(b.config(DEVFN, 0x40), 1)).toBe(5);
  b.write32(b.config(DEVFN, 0x10), 0xffff_ffff);
  expect(b.read32(b.config(DEVFN, 0x10))).toBe(0xfff0_0000);
});

test('identity, complement and factorial registers', () => {
  const b = bench();
  expect(b.get(0)).toBe(0x0100_00ed);
  b.set(4, 0x1234_5678);
  expect(b.get(4)).toBe(0xedcb_a987);
  // 13! modulo 2^32, from the definition: 6227020800 - 4294967296.
  for (const [value, product] of [
    [0, 1],
    [1, 1],
    [5, 120],
    [12, 479_001_600],
    [13, 1_932_053_504],
    [34, 0],
    [0xffff_ffff, 0],
  ]) {
    b.set(8, value as number);
    expect(b.get(8)).toBe(product);
  }
  expect(b.get(0x20)).toBe(0);
});

test('accesses of other sizes, and other offsets, read as all ones', () => {
  const b = bench();
  expect(b.read(WINDOW, 2)).toBe(0xffff);
  expect(b.get(0x30)).toBe(0xffff_ffff);
  expect(b.get(0x84)).toBe(0xffff_ffff);
  expect(b.get(0x4_0000)).toBe(0xffff_ffff);
  const data = new DataView(new ArrayBuffer(8));
  b.bus.readSized(WINDOW, 8, data);
  expect(data.getUint32(0, true)).toBe(0xffff_ffff);
  b.set64(0x80, 0x12_3456_789a);
  b.bus.readSized(WINDOW + 0x80, 8, data);
  expect([data.getUint32(0, true), data.getUint32(4, true)]).toEqual([0x3456_789a, 0x12]);
  // A 32-bit write sets the whole register.
  b.set(0x80, 7);
  b.bus.readSized(WINDOW + 0x80, 8, data);
  expect([data.getUint32(0, true), data.getUint32(4, true)]).toEqual([7, 0]);
});

describe('interrupts', () => {
  test('INTA follows the status, is masked by the command register, and falls when acknowledged', () => {
    const b = bench();
    b.set(0x60, 0x11);
    expect([b.get(0x24), b.level()]).toEqual([0x11, true]);
    // PCI_STATUS_INTERRUPT 0x08, PCI_COMMAND_INTX_DISABLE 0x400.
    expect(b.read(b.config(DEVFN, 6), 2) & 8).toBe(8);
    b.write(b.config(DEVFN, 4), 2, 0x407);
    expect(b.level()).toBe(false);
    b.write(b.config(DEVFN, 4), 2, 7);
    expect(b.level()).toBe(true);
    b.set(0x64, 1);
    expect([b.get(0x24), b.level()]).toEqual([0x10, true]);
    b.set(0x64, 0x10);
    expect([b.get(0x24), b.level()]).toEqual([0, false]);
  });

  test('the factorial interrupts when asked to', () => {
    const b = bench();
    b.set(8, 3);
    expect(b.get(0x24)).toBe(0);
    b.set(0x20, 0x80);
    expect(b.get(0x20)).toBe(0x80);
    b.set(8, 3);
    expect([b.get(0x24), b.level()]).toEqual([1, true]);
  });

  test('with MSI on, a message is sent instead', () => {
    const b = bench();
    let messages = 0;
    b.interrupts.connect(90, () => {
      messages += 1;
    });
    b.write32(b.config(DEVFN, 0x44), MSI + 0x40);
    b.write32(b.config(DEVFN, 0x4c), 90);
    b.write(b.config(DEVFN, 0x42), 2, 1);
    b.set(0x60, 1);
    b.run();
    expect([messages, b.level()]).toEqual([1, false]);
  });
});

describe('DMA', () => {
  test('RAM to buffer and back, 100 ms each, with an interrupt at the end', () => {
    const b = bench();
    const to = b.agent.map(5, false);
    const other = b.agent.map(6, true);
    const bytes = Uint8Array.from({ length: 100 }, (_, index) => index + 1);
    b.memory.write(to * 4096 + 10, bytes);
    b.set64(0x80, 5 * 4096 + 10);
    b.set64(0x88, 0x4_0000 + 200);
    b.set64(0x90, 100);
    b.set64(0x98, 5);
    expect(b.get(0x98)).toBe(5);
    // Writes are ignored while it runs.
    b.set64(0x90, 7);
    expect(b.get(0x90)).toBe(100);
    b.run(100 * MS - 1);
    expect(b.get(0x24)).toBe(0);
    b.run(100 * MS);
    expect([b.get(0x98), b.get(0x24), b.level()]).toEqual([4, 0x100, true]);
    b.set(0x64, 0x100);
    b.set64(0x80, 0x4_0000 + 200);
    b.set64(0x88, 6 * 4096 + 4050);
    b.agent.map(7, true);
    b.set64(0x98, 3);
    b.run();
    expect(b.clock.now).toBe(200 * MS);
    const back = new Uint8Array(100);
    b.memory.read(other * 4096 + 4050, back, 0, 46);
    b.memory.read(b.agent.physical(7) * 4096, back, 46, 54);
    expect(back).toEqual(bytes);
    expect([b.get(0x98), b.get(0x24)]).toEqual([2, 0]);
  });

  test('what can not be read is zero, and the rest arrives', () => {
    const b = bench({}, { agent: { serve: (page) => page !== 5 } });
    const sixth = b.agent.map(6, true);
    b.memory.write(sixth * 4096, Uint8Array.of(9, 9));
    b.set64(0x80, 6 * 4096);
    b.set64(0x88, 0x4_0000);
    b.set64(0x90, 2);
    b.set64(0x98, 1);
    b.run();
    b.set64(0x80, 6 * 4096 - 2);
    b.set64(0x90, 4);
    b.set64(0x98, 1);
    b.run();
    b.set64(0x80, 0x4_0000);
    b.set64(0x88, 6 * 4096 + 100);
    b.set64(0x98, 3);
    b.run();
    expect(b.memory.read32(sixth * 4096 + 100)).toBe(0x0909_0000);
  });

  test('a command without RUN is ignored', () => {
    const b = bench();
    b.set64(0x98, 4);
    expect(b.get(0x98)).toBe(0);
    expect(b.clock.next).toBe(Number.POSITIVE_INFINITY);
  });

  test('time counts in whole milliseconds', () => {
    const b = bench();
    b.clock.advanceTo(2.5 * MS);
    b.set64(0x98, 1);
    b.run();
    expect(b.clock.now).toBe(102 * MS);
  });

  test.each([
    [undefined, 0x1_2800_5000, 0x8005],
    [20, 0x1_2000_5000, 0x5],
    [36, 0xff_2000_5000, 0xf2_0005],
    [64, 0xff_2000_5000, 0xff2_0005],
  ])('with %s address bits, address %i reaches page %i', (dmaBits, address, page) => {
    const b = bench(dmaBits === undefined ? {} : { dmaBits });
    b.agent.hold = true;
    b.set64(0x80, address);
    b.set64(0x88, 0x4_0000);
    b.set64(0x90, 4);
    b.set64(0x98, 1);
    b.run();
    expect(b.agent.faults).toEqual([{ page, write: false }]);
  });

  test.each([
    [0x3_ffff, 4],
    [0x4_0000, 4097],
    [0x4_0fff, 2],
    [0x1_0004_0000, 4],
    [0x4_0000, 2 ** 32],
  ])('a range at %i of %i bytes that leaves the buffer moves nothing', (device, count) => {
    const b = bench();
    b.set64(0x80, 0x5000);
    b.set64(0x88, device);
    b.set64(0x90, count);
    b.set64(0x98, 5);
    b.run();
    expect(b.agent.faults).toEqual([]);
    expect([b.get(0x98), b.get(0x24)]).toEqual([4, 0x100]);
  });
});
