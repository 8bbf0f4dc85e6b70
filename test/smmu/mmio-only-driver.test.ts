/**
 * A driver that knows the specification and nothing of Faultline's insides: registers, structures in memory, interrupts.
 * Numbers are those of IHI 0070 (registers §6.3, STE §5.2, CD §5.4, commands §4, events §7.3, page requests §8).
 */
import { expect, test } from 'vitest';
import {
  AddressType,
  Completion,
  faultlineSubject,
  type MemoryRequest,
  NO_PASID,
  type PageGroupResponse,
  ResponseCode,
  type Unit,
} from '../../src/index.ts';

const STREAM = 8;
const RAM = 0x4000_0000;
const [STREAM_TABLE, COMMANDS, EVENTS, REQUESTS, CONTEXT, TABLES, DATA] = [0, 1, 2, 3, 4, 0x10, 0x20].map(
  (chunk) => RAM + chunk * 0x1_0000,
) as [number, number, number, number, number, number, number];
const IOVA = 0x12_3456_7000;
const LOG2_QUEUE = 4;
const REQUESTER = { requesterId: STREAM, pasid: NO_PASID, execute: false, privileged: false };

class Driver {
  readonly smmu: Unit;
  readonly responses: PageGroupResponse[] = [];
  readonly interrupts: string[] = [];
  #commands = 0;

  constructor() {
    const features = faultlineSubject.features('full', {});
    if (typeof features === 'string') throw new Error(features);
    this.smmu = faultlineSubject.build(features, {
      fabric: {
        invalidate: () => true,
        pageGroupResponse: (_stream, response) => this.responses.push(response) > 0,
      },
      interrupt: (source) => this.interrupts.push(source),
      wakeUp: () => undefined,
      readFar: () => 0n,
      writeFar: () => undefined,
    });
  }

  write64(address: number, value: bigint): void {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setBigUint64(0, value, true);
    this.smmu.writeMemory(address, new Uint8Array(bytes.buffer));
  }

  words(address: number, count: number): number[] {
    const view = new DataView(this.smmu.readMemory(address, count * 4).buffer);
    return Array.from({ length: count }, (_, index) => view.getUint32(index * 4, true));
  }

  /** Queues, a linear stream table with one stage 1 stream, a CD with stalls, interrupts, everything enabled. */
  bringUp(): void {
    const { smmu } = this;
    const idr0 = Number(smmu.readRegister(0x0, 4));
    expect([(idr0 >> 1) & 1, (idr0 >> 10) & 1, (idr0 >> 16) & 1, (idr0 >> 24) & 3]).toEqual([1, 1, 1, 0]);
    smmu.writeRegister(0x80, 8, BigInt(STREAM_TABLE));
    smmu.writeRegister(0x88, 4, 8n);
    smmu.writeRegister(0x90, 8, BigInt(COMMANDS + LOG2_QUEUE));
    smmu.writeRegister(0xa0, 8, BigInt(EVENTS + LOG2_QUEUE));
    smmu.writeRegister(0xc0, 8, BigInt(REQUESTS + LOG2_QUEUE));
    for (const register of [0x98, 0x9c, 0x100a8, 0x100ac, 0x100c8, 0x100cc]) smmu.writeRegister(register, 4, 0n);
    // V, Config stage 1, S1ContextPtr; EATS off: untranslated accesses that may stall.
    this.write64(STREAM_TABLE + STREAM * 64, BigInt(CONTEXT) | (5n << 1n) | 1n);
    // T0SZ 25, 4 KiB, EPD1, V, 48-bit IPS, AA64, S, R, A, ASID 1; TTB0; MAIR0 normal memory.
    const flags = (5n << 32n) | (1n << 41n) | (1n << 44n) | (1n << 45n) | (1n << 46n) | (1n << 48n);
    this.write64(CONTEXT, 25n | (1n << 30n) | (1n << 31n) | flags);
    this.write64(CONTEXT + 8, BigInt(TABLES));
    this.write64(CONTEXT + 24, 0xffn);
    smmu.writeRegister(0x50, 4, 0b111n);
    smmu.writeRegister(0x20, 4, 0b1111n);
    expect(smmu.readRegister(0x24, 4)).toBe(0b1111n);
  }

  /** Maps one 4 KiB page: level 1, 2 and 3 tables of a 39-bit address. */
  map(iova: number, page: number): void {
    const index = (shift: number) => Math.floor(iova / 2 ** shift) % 512;
    this.write64(TABLES + index(30) * 8, BigInt(TABLES + 0x1000) | 3n);
    this.write64(TABLES + 0x1000 + index(21) * 8, BigInt(TABLES + 0x2000) | 3n);
    this.write64(TABLES + 0x2000 + index(12) * 8, BigInt(page) | 0x743n);
  }

  command(low: bigint, high: bigint): void {
    const slot = COMMANDS + (this.#commands % 2 ** LOG2_QUEUE) * 16;
    this.write64(slot, low);
    this.write64(slot + 8, high);
    this.#commands += 1;
    this.smmu.writeRegister(0x98, 4, BigInt(this.#commands));
    this.smmu.advance(1000);
    expect(this.smmu.readRegister(0x9c, 4)).toBe(BigInt(this.#commands));
  }
}

test('a stalled write is answered with CMD_RESUME', () => {
  const driver = new Driver();
  driver.bringUp();
  const statuses: Completion[] = [];
  const write: MemoryRequest = {
    ...REQUESTER,
    addressType: AddressType.UNTRANSLATED,
    write: true,
    page: IOVA / 4096,
    offset: 0x10,
    length: 4,
    data: Uint8Array.of(1, 2, 3, 4),
    dataOffset: 0,
    latencyNs: 0,
    completed: (status) => statuses.push(status),
  };
  expect(driver.smmu.port.memory(write)).toBe(Completion.PENDING);
  driver.smmu.advance(1000);
  expect([driver.interrupts, driver.smmu.readRegister(0x100a8, 4)]).toEqual([['event'], 1n]);
  const record = driver.words(EVENTS, 8);
  const stag = (record[2] ?? 0) & 0xffff;
  // F_TRANSLATION, StreamID, Stall and STAG, a write at class IN, the input address.
  expect(record).toEqual([0x10, STREAM, 0x8000_0000 + stag, 0x200, 0x3456_7010, 0x12, 0, 0]);
  driver.smmu.writeRegister(0x100ac, 4, 1n);
  driver.map(IOVA, DATA);
  driver.command(0x44n | (1n << 12n) | (BigInt(STREAM) << 32n), BigInt(stag));
  expect(statuses).toEqual([Completion.SUCCESS]);
  expect(driver.words(DATA + 0x10, 1)).toEqual([0x0403_0201]);
});

test('a page request is answered with CMD_PRI_RESP', () => {
  const driver = new Driver();
  driver.bringUp();
  driver.smmu.port.pageRequest({
    ...REQUESTER,
    page: IOVA / 4096,
    read: true,
    write: true,
    last: true,
    groupIndex: 7,
  });
  driver.smmu.advance(1000);
  expect([driver.interrupts, driver.smmu.readRegister(0x100c8, 4)]).toEqual([['priority'], 1n]);
  // StreamID; R, W, Last; the group index and the page address.
  expect(driver.words(REQUESTS, 4)).toEqual([STREAM, 0x7000_0000, 0x3456_7007, 0x12]);
  driver.smmu.writeRegister(0x100cc, 4, 1n);
  driver.command(0x41n | (BigInt(STREAM) << 32n), 7n | (2n << 12n));
  expect(driver.responses).toEqual([{ groupIndex: 7, code: ResponseCode.SUCCESS, pasid: NO_PASID }]);
});
