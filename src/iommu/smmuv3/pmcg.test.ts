/** The performance monitor: IHI 0070 chapter 10. */
import { describe, expect, test } from 'vitest';
import { DATA, Dma, SmmuBoard, TABLES, translationRequest } from '../../../test/support/smmu-board.ts';
import { AddressType, Completion } from '../../hw/pcie/tlp.ts';
import { PMCG_BYTES } from '../spec/pmcg.layout.ts';
import { GATOS_ADDR, GATOS_CTRL, GATOS_SID } from '../spec/registers.layout.ts';
import { Pmcg } from './pmcg.ts';

const PMCG = 0x0907_0000;
const DATA_PAGE = DATA / 4096;
const SPAN = 1 << 29;
const OVFCAP = 0x8000_0000;

class Monitored {
  readonly board: SmmuBoard;
  pulses = 0;

  constructor(profile = 'zero') {
    const wire = { set: () => {}, pulse: () => {} };
    const monitor = {
      set: () => {},
      pulse: () => {
        this.pulses += 1;
      },
    };
    this.board = new SmmuBoard({
      profile,
      lines: { event: wire, priority: wire, sync: wire, globalError: wire, monitor },
    });
    this.board.bus.map(PMCG, PMCG_BYTES, this.board.smmu.pmcg);
    for (const streamId of [8, 9]) this.board.stage1(streamId, TABLES, {}, { EATS: 1 });
    this.board.map(TABLES, 0x1234, DATA_PAGE, 0x743);
    this.board.enable();
  }

  read(offset: number): number {
    const data = new DataView(new ArrayBuffer(8));
    this.board.bus.readSized(PMCG + offset, 4, data);
    return data.getUint32(0, true);
  }

  write(offset: number, value: number): void {
    const data = new DataView(new ArrayBuffer(8));
    data.setUint32(0, value, true);
    this.board.bus.writeSized(PMCG + offset, 4, data);
  }

  /** Counter n counts event n of every stream. */
  countAll(): void {
    for (let n = 0; n < 8; n++) {
      this.write(0x400 + 4 * n, n | SPAN);
      this.write(0xa00 + 4 * n, 0xffff_ffff);
    }
    this.write(0xc00, 0xff);
    this.write(0xe04, 1);
  }

  get counters(): number[] {
    return Array.from({ length: 8 }, (_, n) => this.read(8 * n));
  }
}

test('says what it is', () => {
  const m = new Monitored();
  // 8 counters of 48 bits, MSI and capture; events 0 to 7; v3.3.
  expect([m.read(0xe00), m.read(0xe20), m.read(0xe24), m.read(0xe70)]).toEqual([0x0060_2f07, 0xff, 0, 3]);
  const bare = new SmmuBoard({ features: { ATS: 0 } });
  const data = new DataView(new ArrayBuffer(8));
  bare.smmu.pmcg.readRegister(0xe20, 4, data);
  expect(data.getUint32(0, true)).toBe(0x3f);
});

describe('events', () => {
  test('an access that misses everything, then hits', () => {
    const m = new Monitored();
    m.countAll();
    m.board.smmu.memory(new Dma(8, 0x1234));
    // 1 transaction, 1 TLB miss, 1 configuration miss, 4 descriptors, STE and CD.
    expect(m.counters).toEqual([0, 1, 1, 1, 4, 2, 0, 0]);
    m.board.smmu.memory(new Dma(8, 0x1234));
    expect(m.counters).toEqual([0, 2, 1, 1, 4, 2, 0, 0]);
  });

  test('what the TLB denies, or no table is asked for, is no TLB miss (§10.3)', () => {
    const m = new Monitored();
    m.board.map(TABLES, 0x1236, DATA_PAGE, 0x7c3);
    m.countAll();
    m.board.smmu.memory(new Dma(8, 0x1236));
    expect(m.board.smmu.memory(new Dma(8, 0x1236, { write: true }))).toBe(Completion.COMPLETER_ABORT);
    m.board.smmu.memory(new Dma(8, 2 ** 40));
    expect(m.counters).toEqual([0, 3, 1, 1, 4, 2, 0, 0]);
  });

  test('translation requests and translated transactions', () => {
    const m = new Monitored();
    m.countAll();
    m.board.smmu.translate(translationRequest(8, 0x1234));
    m.board.smmu.memory(new Dma(8, DATA_PAGE, { addressType: AddressType.TRANSLATED }));
    expect(m.counters).toEqual([0, 2, 1, 1, 4, 2, 1, 1]);
  });

  test('walks and fetches count whatever they are for: look-ups, prefetches, page requests (§10.3)', () => {
    const accesses = (act: (board: SmmuBoard) => void): number[] => {
      const m = new Monitored();
      m.countAll();
      act(m.board);
      return m.counters;
    };
    const lookUp = accesses((board) => {
      board.write32(GATOS_SID.offset, 8);
      board.write32(GATOS_ADDR.offset, 0x0123_4500);
      board.write(GATOS_CTRL, 1);
    });
    // Four descriptors, STE and CD; neither a transaction nor a miss of one.
    expect(lookUp).toEqual([0, 0, 0, 0, 4, 2, 0, 0]);
    const configuration = accesses((board) => board.command([0x01, 8, 0, 0]));
    expect(configuration).toEqual([0, 0, 0, 0, 0, 2, 0, 0]);
    const addresses = accesses((board) => board.command([0x02, 8, 0x0123_4000 | 1, 0]));
    expect(addresses).toEqual([0, 0, 0, 0, 8, 2, 0, 0]);
    // STE.PPAR of the stream of a request that the queue has no room for.
    const overflowing = accesses((board) => {
      for (let n = 0; n < 17; n++) board.pageRequest({ requesterId: 8, pasid: 5 });
    });
    expect(overflowing).toEqual([0, 0, 0, 0, 0, 1, 0, 0]);
  });

  test('cycles are virtual nanoseconds', () => {
    const m = new Monitored();
    m.countAll();
    m.board.clock.advanceTo(500);
    expect(m.read(0)).toBe(500);
    m.write(0xe04, 0);
    m.board.clock.advanceTo(600);
    expect(m.read(0)).toBe(500);
  });

  test('nothing counts while the counter or the group is off', () => {
    const m = new Monitored();
    m.countAll();
    m.write(0xc20, 0x02);
    m.board.smmu.memory(new Dma(8, 0x1234));
    expect(m.counters).toEqual([0, 0, 1, 1, 4, 2, 0, 0]);
    m.write(0xe04, 0);
    m.board.smmu.memory(new Dma(9, 0x1234));
    expect(m.counters).toEqual([0, 0, 1, 1, 4, 2, 0, 0]);
  });
});

// The examples of §10.4, cut to 16 bits of StreamID.
test.each([
  ['exact', 0, 0x0008, [8], [9, 0, 0xf008]],
  ['...0111 spans 16', SPAN, 0xf7f7, [0xf7f0, 0xf7ff], [0xf7e0, 0xf800]],
  ['...0110 spans 2', SPAN, 0xf7f6, [0xf7f6, 0xf7f7], [0xf7f4, 0xf7f8]],
  ['...1111 after 0 spans more', SPAN, 0xf5ff, [0xf400, 0xf7ff], [0xf3ff, 0xf800]],
  ['all ones match everything', SPAN, 0xffff, [0, 0xffff], []],
  ['all ones but the top match everything', SPAN, 0x7fff, [0, 0xffff], []],
])('StreamID filter: %s', (_name, span, filter, inside, outside) => {
  const m = new Monitored();
  m.write(0x400, 1 | span);
  m.write(0xa00, filter);
  m.write(0xc00, 1);
  m.write(0xe04, 1);
  for (const streamId of outside) m.board.smmu.pmcg.count(1, streamId, 1);
  expect(m.read(0)).toBe(0);
  for (const streamId of inside) m.board.smmu.pmcg.count(1, streamId, 1);
  expect(m.read(0)).toBe(inside.length);
});

describe('overflow', () => {
  test('wraps at 48 bits, sets OVS, captures, and interrupts where it is enabled', () => {
    const m = new Monitored();
    m.countAll();
    m.write(0x400 + 4, (1 | SPAN | OVFCAP) >>> 0);
    m.write(8, 0xffff_ffff);
    m.write(12, 0xffff_ffff);
    expect(m.read(12)).toBe(0xffff);
    m.write(0xc40, 0x02);
    m.write(0xe50, 1);
    m.board.smmu.memory(new Dma(8, 0x1234));
    expect([m.read(8), m.read(12), m.read(0xc80), m.pulses]).toEqual([0, 0, 2, 1]);
    expect([m.read(0x608), m.read(0x600 + 4 * 8)]).toEqual([0, 0]);
    m.write(0xc80, 2);
    expect(m.read(0xcc0)).toBe(0);
  });

  test('a cycle counter overflows at its instant', () => {
    const m = new Monitored();
    m.countAll();
    m.write(0, 0xffff_ff00);
    m.write(4, 0xffff);
    m.write(0xc40, 1);
    m.write(0xe50, 1);
    expect(m.board.clock.next).toBe(256);
    m.board.clock.fireNext();
    expect([m.pulses, m.read(0), m.read(0xc80)]).toEqual([1, 0, 1]);
  });

  test('an MSI that aborts shows in IRQ_STATUS until IRQEN rises again', () => {
    const m = new Monitored();
    m.countAll();
    m.write(0xe58, 0x1000_0000);
    m.write(0xe50, 1);
    m.write(0xe58, 0x2000_0000);
    expect(m.read(0xe58)).toBe(0x1000_0000);
    m.write(0xc40, 2);
    m.write(8, 0xffff_ffff);
    m.write(12, 0xffff);
    m.board.smmu.memory(new Dma(8, 0x1234));
    expect(m.read(0xe68)).toBe(1);
    m.write(0xe50, 0);
    m.write(0xe50, 1);
    expect(m.read(0xe68)).toBe(0);
  });
});

describe('a capture by overflow has every counter as it is at that instant (§10.2.1)', () => {
  /** Counters 0 and 2 count cycles; `overflowing` is one event short of its overflow. */
  function capturing(overflowing: number): Monitored {
    const m = new Monitored();
    m.countAll();
    m.write(0x400 + 8, SPAN);
    m.write(0x400 + 4 * overflowing, ((overflowing === 0 ? 0 : overflowing) | SPAN | OVFCAP) >>> 0);
    m.write(8 * overflowing, overflowing === 0 ? 0xffff_ff00 : 0xffff_ffff);
    m.write(8 * overflowing + 4, 0xffff);
    return m;
  }
  const shadow = (m: Monitored, n: number): number => m.read(0x600 + 8 * n);

  test('of a cycle counter, another one', () => {
    const m = capturing(0);
    m.board.clock.fireNext();
    expect(m.board.clock.now).toBe(256);
    expect([shadow(m, 0), shadow(m, 2)]).toEqual([0, 256]);
  });

  test('of a counter of transactions, the cycles', () => {
    const m = capturing(1);
    m.board.clock.advanceTo(700);
    m.board.smmu.memory(new Dma(8, 0x1234));
    m.board.clock.advanceTo(900);
    expect([shadow(m, 0), shadow(m, 1), m.read(0)]).toEqual([700, 0, 900]);
  });
});

test('CAPR copies every counter', () => {
  const m = new Monitored();
  m.countAll();
  m.board.smmu.memory(new Dma(8, 0x1234));
  m.write(0xd88, 1);
  expect(Array.from({ length: 8 }, (_, n) => m.read(0x600 + 8 * n))).toEqual([0, 1, 1, 1, 4, 2, 0, 0]);
  expect(m.read(0xd88)).toBe(0);
});

test('a group that nobody uses is not asked to count', () => {
  const m = new Monitored();
  expect(m.board.smmu.pmcg).toBeInstanceOf(Pmcg);
  expect(m.board.smmu.pmcg.active).toBe(false);
  m.countAll();
  expect(m.board.smmu.pmcg.active).toBe(true);
});
