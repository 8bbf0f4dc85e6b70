/**
 * The driver's software walk of a guest's stage 1 against the SMMU's own: random context descriptors and tables in guest
 * memory, and for every access the two must agree on whether, and where, it comes out.
 */
import { expect, test } from 'vitest';
import type { IommuDomain, PageFault } from '../../src/iommu/core.ts';
import { GuestDomain } from '../../src/iommu/driver/guest-domain.ts';
import { CD, L1CD } from '../../src/iommu/spec/cd.layout.ts';
import { encodeInto } from '../../src/layout/struct.ts';
import { Random } from '../../src/sim/random.ts';
import { DATA, type DriverBoard, driverBoard, type TestFunction } from './driver-board.ts';

/** Guest memory: 1 MiB at this guest physical address; the first 64 KiB hold context descriptors. */
const GUEST = 0x8000_0000;
const BYTES = 0x10_0000;
const GRANULES = [12, 14, 16] as const;
const TG0 = { 12: 0, 14: 2, 16: 1 } as const;
const TG1 = { 12: 2, 14: 1, 16: 3 } as const;

class Guest {
  readonly board: DriverBoard;
  readonly fn: TestFunction;
  readonly below: IommuDomain;
  readonly domain: GuestDomain;

  constructor(format: 0 | 1 | 2, withoutPasid: 'abort' | 'bypass' | 'translate') {
    const board = driverBoard();
    this.board = board;
    this.fn = board.function(8, { pasidBits: 11 });
    this.below = board.driver.createDomain({ stage: 2 });
    this.below.map(GUEST, DATA, BYTES, 7);
    const domain = board.driver.createGuestDomain(this.below, {
      // What lies below the size of a table plays no part; the two entries of format 2 fill no 64 bytes.
      contextTable: format === 2 ? GUEST : GUEST + 64 * 3,
      contextBits: format === 0 ? 5 : 11,
      contextFormat: format,
      withoutPasid,
    });
    if (!(domain instanceof GuestDomain)) throw new Error('a guest domain');
    this.domain = domain;
    expect(board.run(board.driver.attach(domain, this.fn.device))).toBe(0);
  }

  write(ipa: number, low: number, high: number): void {
    this.board.memory.write32(DATA + ipa - GUEST, low >>> 0);
    this.board.memory.write32(DATA + ipa - GUEST + 4, high >>> 0);
  }

  put(ipa: number, view: DataView): void {
    for (let at = 0; at < view.byteLength; at += 8) {
      this.write(ipa + at, view.getUint32(at, true), view.getUint32(at + 4, true));
    }
  }

  /** Where the SMMU sends an access, and where the driver thinks that it goes: host pages, or -1. */
  both(pasid: number, page: number, write: boolean): [smmu: number, driver: number] {
    const fault: PageFault = { page, read: !write, write, execute: false, privileged: false };
    // A walk that ends at a table stage 2 does not have names that page; the access does not get through.
    const output = this.domain.output(pasid, fault);
    const found = output === null ? null : this.below.translate(output.page * 4096);
    const driver = found === null || (write && output?.write === false) ? -1 : found.physical / 4096;
    const smmu = this.board.smmu.translateAccess(this.fn.streamId, pasid, page, write);
    return [smmu, driver];
  }

  forget(): void {
    const commands = new DataView(new ArrayBuffer(32));
    for (const [index, word] of [0x06, 8, 0, 0, 0x10, 0, 0, 0].entries()) commands.setUint32(index * 4, word, true);
    const done = this.board.run(this.board.driver.invalidateGuest(this.domain, commands, () => this.fn.device));
    expect(done).toBe(2);
  }
}

/** Each context descriptor has an ASID of its own: with one for two, the TLB would rightly answer for both. */
function randomContext(random: Random, shift: (typeof GRANULES)[number], asid: number): DataView {
  const cd = new DataView(new ArrayBuffer(64));
  const table = () => (GUEST + 0x1_0000 * (1 + random.below(13))) / 16 + (random.chance(0.3) ? random.below(256) : 0);
  encodeInto(CD, cd, 0, {
    V: random.chance(0.95) ? 1 : 0,
    T0SZ: 16 + random.below(24),
    TG0: random.chance(0.95) ? TG0[shift] : random.below(3),
    EPD0: random.chance(0.1) ? 1 : 0,
    T1SZ: 16 + random.below(24),
    TG1: random.chance(0.95) ? TG1[shift] : 1 + random.below(3),
    EPD1: random.chance(0.1) ? 1 : 0,
    IPS: random.pick([0, 1, 2, 5]),
    TBI0: random.below(2),
    TBI1: random.below(2),
    AA64: 1,
    AFFD: random.chance(0.2) ? 1 : 0,
    HA: random.chance(0.3) ? 1 : 0,
    HD: random.chance(0.3) ? 1 : 0,
    R: 1,
    A: 1,
    HAD0: random.chance(0.3) ? 1 : 0,
    HAD1: random.chance(0.3) ? 1 : 0,
    ASID: asid,
    TTB0: table(),
    TTB1: table(),
    MAIR0: 0xff,
  });
  return cd;
}

/** A descriptor that often leads on: to a table, a page or a block of guest memory, or nowhere. */
function randomDescriptor(random: Random): [low: number, high: number] {
  if (random.chance(0.1)) return [random.next32() & ~1, random.next32()];
  const target = random.chance(0.95) ? GUEST + 0x1_0000 * random.below(BYTES / 0x1_0000) : GUEST + 4 * BYTES;
  const type = random.chance(0.85) ? 3 : 1;
  const permissions = (random.chance(0.8) ? 1 << 6 : 0) | (random.chance(0.3) ? 1 << 7 : 0);
  const accessed = random.chance(0.85) ? 1 << 10 : 0;
  const modifier = random.chance(0.3) ? 1 << (51 - 32) : 0;
  const tables = random.chance(0.1) ? random.below(32) << (59 - 32) : 0;
  // Not global: a global entry would rightly answer for every ASID.
  return [target | type | permissions | accessed | (3 << 8) | (1 << 11), (modifier | tables) >>> 0];
}

/** Pages around the places where something changes, in both halves of the address space. */
function randomPage(random: Random): number {
  const bits = random.below(37);
  const page = random.below(2 ** bits) + (random.chance(0.3) ? 0 : random.below(4));
  if (random.chance(0.6)) return page;
  const upper = 2 ** 52 - 1 - page;
  return random.chance(0.8) ? upper : upper % 2 ** 44;
}

test.each([
  [0, 'translate'],
  [1, 'bypass'],
  [2, 'abort'],
] as const)('context format %i, without PASID: %s', (format, withoutPasid) => {
  const random = new Random(`guest walk ${format}`);
  const guest = new Guest(format, withoutPasid);
  let through = 0;
  let compared = 0;
  for (let round = 0; round < 40; round++) {
    const shift = random.pick(GRANULES);
    const pasid = random.pick(format === 0 ? [0, 1, 31] : [0, 1, 63, 64, 1023, 1024, 2047]);
    const leafBits = format === 1 ? 6 : 10;
    if (format === 0) {
      guest.put(GUEST + pasid * 64, randomContext(random, shift, pasid + 1));
    } else {
      const leaf = GUEST + 0x1_0000 * (format === 1 ? 14 : 15);
      const first = new DataView(new ArrayBuffer(8));
      encodeInto(L1CD, first, 0, {
        V: random.chance(0.9) ? 1 : 0,
        L2Ptr: leaf / 4096 + (format === 2 ? random.below(16) : 0),
      });
      guest.put(GUEST + Math.floor(pasid / 2 ** leafBits) * 8, first);
      guest.put(leaf + (pasid % 2 ** leafBits) * 64, randomContext(random, shift, pasid + 1));
    }
    // Tables: all of guest memory from the second 64 KiB on, but for what holds context descriptors.
    for (let at = 0x1_0000; at < 0xe_0000; at += 8 * (1 + random.below(4)))
      guest.write(GUEST + at, ...randomDescriptor(random));
    guest.forget();
    for (let access = 0; access < 300; access++) {
      const used = random.chance(0.9) ? pasid : -1;
      const page = randomPage(random);
      const write = random.chance(0.4);
      const [smmu, driver] = guest.both(used, page, write);
      compared += 1;
      if (smmu >= 0) through += 1;
      if (driver === smmu) continue;
      expect(driver, `round ${round}, PASID ${used}, page 0x${page.toString(16)}, ${write ? 'write' : 'read'}`).toBe(
        smmu,
      );
    }
  }
  // Worth something only if both outcomes happen.
  expect(through).toBeGreaterThan(100);
  expect(compared - through).toBeGreaterThan(100);
});
