import { describe, expect, test } from 'vitest';
import { type AccessSize, Bus, BusStatus, Mmio, type MmioDevice } from './bus.ts';
import { CHUNK_BYTES, Memory } from './memory.ts';

const RAM = 0x4000_0000;
const BASE = 0x0900_0000;

/** Registers that note each access, and refuse offset 0x80. */
function bench() {
  const bus = new Bus(new Memory(RAM, 2 * CHUNK_BYTES));
  const bytes = new Uint8Array(0x100);
  const seen: [string, number, AccessSize][] = [];
  const device: MmioDevice = {
    name: 'registers',
    readRegister: (offset, size, data) => {
      seen.push(['read', offset, size]);
      for (let byte = 0; byte < size; byte++) data.setUint8(byte, bytes[offset + byte] ?? 0);
      return offset === 0x80 ? BusStatus.ABORT : BusStatus.OK;
    },
    writeRegister: (offset, size, data) => {
      seen.push(['write', offset, size]);
      for (let byte = 0; byte < size; byte++) bytes[offset + byte] = data.getUint8(byte);
      return offset === 0x80 ? BusStatus.ABORT : BusStatus.OK;
    },
  };
  bus.map(BASE, 0x100, device);
  return { bus, device, bytes, seen };
}

describe('a block access', () => {
  test('to RAM moves bytes, across chunks', () => {
    const { bus } = bench();
    const bytes = Uint8Array.from({ length: 100 }, (_, index) => index);
    expect(bus.write(RAM + CHUNK_BYTES - 50, bytes, 0, 100)).toBe(BusStatus.OK);
    const back = new Uint8Array(100);
    expect(bus.read(RAM + CHUNK_BYTES - 50, back, 0, 100)).toBe(BusStatus.OK);
    expect(back).toEqual(bytes);
  });

  test('to registers is made of the largest aligned accesses', () => {
    const { bus, bytes, seen } = bench();
    bus.write(
      BASE + 1,
      Uint8Array.from({ length: 22 }, (_, index) => index + 1),
      0,
      22,
    );
    expect(seen).toEqual([
      ['write', 1, 1],
      ['write', 2, 2],
      ['write', 4, 4],
      ['write', 8, 8],
      ['write', 16, 4],
      ['write', 20, 2],
      ['write', 22, 1],
    ]);
    expect([...bytes.subarray(0, 24)]).toEqual([0, ...Array.from({ length: 22 }, (_, index) => index + 1), 0]);
    const back = new Uint8Array(24);
    bus.read(BASE, back, 1, 23);
    expect([...back]).toEqual([0, ...bytes.subarray(0, 23)]);
  });

  test.each([
    ['where nothing is', 0x0100_0000, 4],
    ['beyond RAM', RAM + 2 * CHUNK_BYTES - 2, 4],
    ['beyond the device', BASE + 0xfc, 8],
    ['that the device refuses', BASE + 0x7c, 8],
  ])('%s aborts', (_where, address, length) => {
    const { bus } = bench();
    expect(bus.read(address, new Uint8Array(8), 0, length)).toBe(BusStatus.ABORT);
    expect(bus.write(address, new Uint8Array(8), 0, length)).toBe(BusStatus.ABORT);
  });
});

describe('a single access', () => {
  test.each<AccessSize>([1, 2, 4, 8])('of %i bytes reaches RAM and registers alike', (size) => {
    const { bus, seen } = bench();
    const data = new DataView(new ArrayBuffer(8));
    for (const address of [RAM + 0x18, BASE + 0x18]) {
      data.setBigUint64(0, 0x8877_6655_4433_2211n, true);
      expect(bus.writeSized(address, size, data)).toBe(BusStatus.OK);
      data.setBigUint64(0, 0n, true);
      expect(bus.readSized(address, size, data)).toBe(BusStatus.OK);
      expect(data.getBigUint64(0, true)).toBe(0x8877_6655_4433_2211n % 2n ** BigInt(8 * size));
    }
    expect(seen).toEqual([
      ['write', 0x18, size],
      ['read', 0x18, size],
    ]);
    expect(bus.readSized(0x100, size, data)).toBe(BusStatus.ABORT);
    expect(bus.writeSized(0x100, size, data)).toBe(BusStatus.ABORT);
  });

  test('as a CPU makes it: values, and an assertion where nothing answers', () => {
    const { bus } = bench();
    const registers = new Mmio(bus, BASE);
    registers.write32(0x10, 0xdead_beef);
    expect(registers.read32(0x10)).toBe(0xdead_beef);
    const value = new DataView(new ArrayBuffer(8));
    value.setUint32(4, 7, true);
    registers.write64(0x20, value);
    registers.read64(0x20, value);
    expect(value.getUint32(4, true)).toBe(7);
    expect(() => registers.read32(0x80)).toThrow();
    expect(() => registers.write32(0x1000, 0)).toThrow();
  });
});

test('regions do not overlap each other or RAM, and can be taken away', () => {
  const { bus, device } = bench();
  expect(() => bus.map(BASE + 0xfc, 0x100, device)).toThrow('overlaps registers');
  expect(() => bus.map(RAM - 0x10, 0x20, device)).toThrow('overlaps RAM');
  bus.map(BASE + 0x100, 0x100, { ...device, name: 'next' });
  bus.unmap(device);
  expect(bus.readSized(BASE, 4, new DataView(new ArrayBuffer(8)))).toBe(BusStatus.ABORT);
  bus.map(BASE, 0x100, device);
});
