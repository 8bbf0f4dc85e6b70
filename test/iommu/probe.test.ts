/** What the driver makes of what an SMMU announces. */
import { describe, expect, test } from 'vitest';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { ProbeError } from '../../src/iommu/driver/probe.ts';
import type { FeatureOptions } from '../../src/iommu/smmuv3/features.ts';
import { DATA, DriverBoard, driverBoard, mapping } from './driver-board.ts';

const owner = {};
const probing = (features: FeatureOptions, driver = {}) => {
  const board = new DriverBoard({ smmu: { features }, driver });
  return () => board.run(board.driver.probe());
};

test.each<[string, FeatureOptions, RegExp]>([
  ['big-endian tables', { TTENDIAN: 0b11 }, /IDR0\.TTENDIAN is 3; this driver needs little-endian tables/],
])('%s: refused, with the register and what is needed', (_, features, message) => {
  expect(probing(features)).toThrow(ProbeError);
  expect(probing(features)).toThrow(message);
});

test('without memory for its tables', () => {
  const board = new DriverBoard();
  board.tables.budget = 1;
  expect(() => board.run(board.driver.probe())).toThrow(/no memory for/);
});

test('what was taken is given back, wherever memory ends', () => {
  for (let budget = 0; budget < 4; budget++) {
    const board = new DriverBoard();
    board.tables.budget = budget;
    expect(() => board.run(board.driver.probe())).toThrow(ProbeError);
    expect(board.tables.bytes).toBe(0);
  }
});

describe('with fewer features', () => {
  test.each<[string, FeatureOptions]>([
    ['the minimum', { preset: 'minimal' }],
    ['a linear stream table', { ST_LEVEL: 0, SIDSIZE: 6 }],
    ['8-bit ASIDs and VMIDs', { ASID16: 0, VMID16: 0 }],
    ['no range invalidation', { RIL: 0 }],
    ['no blocks that may be split', { BBML: 0, ArchMinorRev: 1 }],
    ['stage 1 only', { S2P: 0 }],
    ['32-bit output', { OAS: 0 }],
    ['36-bit output, 64 KiB only', { OAS: 1, GRAN4K: 0, GRAN16K: 0 }],
    ['52-bit everything', { preset: 'wide' }],
    ['wired interrupts only', { MSI: 0 }],
    ['faults that always stall', { STALL_MODEL: 2 }],
    ['no stalls', { STALL_MODEL: 1 }],
    ['queues of one entry (§6.3.26)', { CMDQS: 0, EVENTQS: 0, PRIQS: 0 }],
  ])('%s: maps, translates, forgets', (_, features) => {
    const board = driverBoard({ smmu: { features } });
    const fn = board.function(8, { ats: true, pri: true, stall: true });
    const { stage1, stage2 } = board.driver.features;
    for (const stage of [stage1 ? 1 : 2, stage2 ? 2 : 1] as const) {
      const domain = board.attached(fn, { stage });
      const size = 64 * 4096;
      expect(domain.map(0x100_0000, DATA, size, 3)).toBe(0);
      expect(fn.access(0x1000).status).toBe(Completion.SUCCESS);
      const gather = domain.newGather();
      expect(domain.protect(0x101_0000, 65536, 1, gather)).toBe(0);
      expect(domain.unmap(0x100_0000, 65536, gather)).toBe(65536);
      board.run(domain.flush(gather));
      expect(fn.access(0x1020, { write: true }).status).toBe(Completion.SUCCESS);
      const faults = [fn.access(0x1000), fn.access(0x1010, { write: true })];
      board.settle();
      for (const { status } of faults) expect(status).toBe(Completion.COMPLETER_ABORT);
      board.run(board.driver.detach(domain, fn.device));
      board.driver.freeDomain(domain);
    }
    expect(board.driver.counters.commandErrors).toBe(0);
  });

  test('stage 2 only', () => {
    const board = driverBoard({ smmu: { features: { S1P: 0 } } });
    const fn = board.function(8, { stall: true });
    expect(() => board.driver.createDomain({ stage: 1 })).toThrow(/no stage 1/);
    const domain = board.attached(fn, { stage: 2 });
    domain.setFaultHandler(mapping(board));
    board.run(board.driver.enableFaults(fn.device, owner, 'stall'));
    const access = fn.access(5);
    board.settle();
    expect(access.status).toBe(Completion.SUCCESS);
    board.run(board.driver.detach(domain, fn.device));
    expect(board.driver.counters.commandErrors).toBe(0);
  });

  test('a root of stage 2 that is leaf tables in a row (DDI 0487 §D8.2.2: 32 bits in 64 KiB)', () => {
    const board = driverBoard({ smmu: { features: { OAS: 0 } } });
    const fn = board.function(8);
    const domain = board.attached(fn, { stage: 2, granule: 65536 });
    const gather = domain.newGather();
    // The second table begins at 512 MiB.
    const iova = 0x1fff_0000;
    expect(domain.map(iova, DATA, 4 * 65536, 3)).toBe(0);
    expect(domain.map(0xffff_0000, DATA, 65536, 3)).toBe(0);
    const { dirty } = domain;
    expect(dirty?.enable(gather)).toBe(0);
    board.run(domain.flush(gather));
    for (const page of [0x1fff0, 0x20000, 0xffff0]) {
      expect(fn.access(page, { write: true }).status).toBe(Completion.SUCCESS);
    }
    const told: number[] = [];
    dirty?.readAndClear(0, 2 ** 32, { noteWritten: (at) => void told.push(at) }, gather);
    expect(told).toEqual([iova, 0x2000_0000, 0xffff_0000]);
    expect(domain.protect(iova, 3 * 65536, 1, gather)).toBe(0);
    expect(domain.unmap(0, 2 ** 32, gather)).toBe(5 * 65536);
    board.run(domain.flush(gather));
    expect(fn.access(0x20000).status).toBe(Completion.COMPLETER_ABORT);
  });

  test('where every fault stalls, those of any device do, and detaching ends them', () => {
    const board = driverBoard({ smmu: { features: { STALL_MODEL: 2 } }, driver: { queueBits: { event: 1 } } });
    const fn = board.function(8);
    const domain = board.attached(fn);
    const accesses = [1, 2, 3, 4].map((page) => fn.access(page));
    board.run(board.driver.detach(domain, fn.device));
    expect(board.smmu.outstandingStalls).toBe(0);
    for (const { status } of accesses) expect(status).toBe(Completion.COMPLETER_ABORT);
  });

  test('a granule or a stage that is not there is a RangeError', () => {
    const board = driverBoard({ smmu: { features: { preset: 'minimal' } } });
    expect(() => board.driver.createDomain({ stage: 2 })).toThrow(RangeError);
    expect(() => board.driver.createDomain({ stage: 1, granule: 65536 })).toThrow(/only 4096/);
    expect(() => board.function(64)).toThrow(/beyond the 6 bits/);
    expect(board.function(8, { ats: true, pri: true, stall: true, pasidBits: 20 }).device).toMatchObject({
      ats: false,
      pri: false,
      stall: false,
      pasidBits: 0,
    });
  });

  test('when ASIDs run out, a RangeError; freed ones serve again', () => {
    const board = driverBoard({ smmu: { features: { ASID16: 0 } } });
    const domains = Array.from({ length: 255 }, () => board.driver.createDomain({ stage: 1 }));
    expect(() => board.driver.createDomain({ stage: 1 })).toThrow(/all ASIDs/);
    board.driver.freeDomain(domains[7] as never);
    board.driver.createDomain({ stage: 1 });
  });
});

test('PASIDs beyond 10 bits have two-level tables; every one of them works', () => {
  for (const CD2L of [0, 1]) {
    const board = driverBoard({ smmu: { features: { CD2L } } });
    const fn = board.function(8, { pasidBits: 14 });
    const pasids = [1, 1023, 1024, 16383];
    for (const pasid of pasids) {
      const domain = board.driver.createDomain({ stage: 1 });
      domain.map(0x1000, DATA + (pasid % 256) * 4096, 4096, 1);
      board.memory.write32(DATA + (pasid % 256) * 4096, pasid % 256);
      expect(board.run(board.driver.attachPasid(domain, fn.device, pasid))).toBe(0);
    }
    for (const pasid of pasids) expect(fn.access(1, { pasid }).data[0]).toBe(pasid % 256);
    expect(fn.access(1).status).not.toBe(Completion.SUCCESS);
    const spare = board.driver.createDomain({ stage: 1 });
    expect(board.run(board.driver.attachPasid(spare, fn.device, 0))).toBe(-22);
    expect(board.run(board.driver.attachPasid(spare, fn.device, 16384))).toBe(-22);
    expect(board.run(board.driver.attachPasid(spare, fn.device, 1))).toBe(-16);
  }
});
