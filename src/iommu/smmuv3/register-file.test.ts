import { describe, expect, test } from 'vitest';
import { SmmuBoard } from '../../../test/support/smmu-board.ts';
import { AssertionError } from '../../assert.ts';
import { Random } from '../../sim/random.ts';
import {
  AIDR,
  CMDQ_BASE,
  CMDQ_CONS,
  CMDQ_PROD,
  CR0,
  CR0ACK,
  CR1,
  CR2,
  EVENTQ_BASE,
  EVENTQ_IRQ_CFG0,
  EVENTQ_PROD,
  GATOS_CTRL,
  GBPA,
  GERROR,
  GERRORN,
  IDR0,
  IDR1,
  IDR3,
  IDR5,
  IRQ_CTRL,
  IRQ_CTRLACK,
  PRIQ_BASE,
  STRTAB_BASE,
  STRTAB_BASE_CFG,
} from '../spec/registers.layout.ts';
import { featuresOf } from './features.ts';

const bare = (features = {}) => new SmmuBoard({ features });

describe('identification', () => {
  test('ID registers announce the default features as §6.3.1 to §6.3.8 place them', () => {
    const board = bare();
    // S1P, S2P, TTF=2, COHACC, HTTU=2, Hyp, ATS, ASID16, MSI, SEV, ATOS, PRI, VMW, VMID16, CD2L, TTENDIAN=2, ATSRECERR, ST_LEVEL=1
    expect(board.read(IDR0)).toBe(0x08cf_f69b);
    // SIDSIZE=16, SSIDSIZE=20, PRIQS=EVENTQS=CMDQS=16, ATTR_PERMS_OVR
    expect(board.read(IDR1)).toBe(0x0610_8510);
    // HAD, XNX, FWB, STT, RIL, BBML=2, E0PD, PTWNNC
    expect(board.read(IDR3)).toBe(0x0000_7714);
    expect(board.read(IDR5)).toBe(0x0100_0075);
    expect(board.read(AIDR)).toBe(3);
  });

  test('component identification is that of §6.3.170', () => {
    const board = bare();
    expect([0xff0, 0xff4, 0xff8, 0xffc].map((offset) => board.read32(offset))).toEqual([0x0d, 0xf0, 0x05, 0xb1]);
    expect(board.read32(0xfe8) & 8).toBe(8);
  });

  test('a feature that needs an absent one is not announced', () => {
    const features = featuresOf({ ATS: 0 });
    expect([features.PRI, features.ATSRECERR, features.PRIQS]).toEqual([0, 0, 0]);
    expect(featuresOf({ S1P: 0 }).HAD).toBe(0);
    expect(featuresOf({ preset: 'wide', GRAN4K: 0, GRAN16K: 0 }).DS).toBe(0);
  });

  test.each([
    ['an unmodelled feature', { MPAM: 1 }],
    ['a value wider than its field', { SIDSIZE: 64 }],
    ['a linear table with many streams', { ST_LEVEL: 0, SIDSIZE: 8 }],
    ['no stage at all', { S1P: 0, S2P: 0 }],
    ['52-bit output addresses that no granule has', { preset: 'minimal', OAS: 6 } as const],
    ['52-bit virtual addresses that no granule has', { preset: 'minimal', VAX: 1 } as const],
    ['an unknown name', { NOPE: 1 } as object],
  ])('%s is refused at construction', (_name, options) => {
    expect(() => featuresOf(options)).toThrow(AssertionError);
  });
});

describe('accesses', () => {
  test('ID registers ignore writes', () => {
    const board = bare();
    board.write(IDR0, 0);
    expect(board.read(IDR0)).toBe(0x08cf_f69b);
  });

  test('a 64-bit register takes one 64-bit or two 32-bit accesses', () => {
    const board = bare();
    board.write64(STRTAB_BASE, 0x7fff_4010_0000);
    expect([board.read32(0x80), board.read32(0x84)]).toEqual([0x4010_0000, 0x7fff]);
    board.write32(0x84, 0x4000_0001);
    expect([board.read32(0x80), board.read32(0x84)]).toEqual([0x4010_0000, 0x4000_0001]);
  });

  test('address bits from IDR5.OAS up are RES0; the hint in bit 62 is not', () => {
    const board = bare({ OAS: 2 });
    board.write32(0x84, 0xffff_ffff);
    expect(board.read32(0x84)).toBe(0x4000_00ff);
  });

  test.each([1, 2] as const)('an access of %i bytes is RAZ/WI', (size) => {
    const board = bare();
    const data = new DataView(new ArrayBuffer(8));
    data.setUint32(0, 0xffff_ffff, true);
    board.smmu.writeRegister(CR0.offset, size, data);
    expect(board.read(CR0)).toBe(0);
    board.smmu.readRegister(IDR0.offset, size, data);
    expect(data.getUint32(0, true)).toBe(0);
  });

  test('what no register defines reads as zero, on page 1 and in the page 0 holes too', () => {
    const board = bare();
    for (const offset of [0x0a8, 0x0ac, 0x0c8, 0x0cc, 0x034, 0x200, 0x8000, 0xfffc, 0x1_0000, 0x1_0020, 0x1_fffc]) {
      board.write32(offset, 0xffff_ffff);
      expect(board.read32(offset), offset.toString(16)).toBe(0);
    }
  });

  test('reserved bits do not stick', () => {
    const board = bare();
    board.write(CR1, 0xffff_ffff);
    expect(board.read(CR1)).toBe(0xfff);
    board.write(IRQ_CTRL, 0xffff_ffff);
    expect(board.read(IRQ_CTRL)).toBe(0b111);
  });

  test('PTM needs BTM, which is not there; the other CR2 bits are', () => {
    const board = bare();
    board.write(CR2, 0xffff_ffff);
    expect(board.read(CR2)).toBe(0b1011);
  });
});

describe('handshakes', () => {
  test('CR0ACK and IRQ_CTRLACK follow, without reserved bits', () => {
    const board = bare();
    board.write(CR0, 0xffff_ffff);
    expect([board.read(CR0), board.read(CR0ACK)]).toEqual([0x1df, 0x1df]);
    board.write(IRQ_CTRL, 0b101);
    expect(board.read(IRQ_CTRLACK)).toBe(0b101);
  });

  test('GBPA takes a write only with Update set, and clears it', () => {
    const board = bare();
    expect(board.read(GBPA)).toBe(0x1000);
    board.write(GBPA, 0x0010_0000);
    expect(board.read(GBPA)).toBe(0x1000);
    board.write(GBPA, 0x8010_0000);
    expect(board.read(GBPA)).toBe(0x0010_0000);
  });

  test('GERRORN keeps what was written; GERROR does not move', () => {
    const board = bare();
    board.write(GERRORN, 0xffff_ffff);
    expect([board.read(GERRORN), board.read(GERROR)]).toEqual([0x1fd, 0]);
  });
});

describe('guards', () => {
  test('what SMMUEN guards cannot change while it is on', () => {
    const board = bare();
    board.write(CR2, 0b10);
    board.write(CR0, 1);
    for (const register of [STRTAB_BASE_CFG, CR2]) {
      const before = board.read(register);
      board.write(register, 0xffff_ffff);
      expect(board.read(register), register.$.title).toBe(before);
    }
    board.write64(STRTAB_BASE, 0x4010_0000);
    expect(board.read32(0x80)).toBe(0);
    board.write(CR1, 0xfff);
    expect(board.read(CR1)).toBe(0x03f);
  });

  test('each queue guards its own registers', () => {
    const board = bare();
    board.write(CR0, 0b1000);
    board.write64(CMDQ_BASE, 0x4020_0004);
    board.write(CMDQ_CONS, 5);
    expect([board.read32(0x90), board.read(CMDQ_CONS)]).toEqual([0, 0]);
    board.write64(EVENTQ_BASE, 0x4021_0004);
    expect(board.read32(0xa0)).toBe(0x4021_0004);
    board.write(EVENTQ_PROD, 3);
    expect(board.read(EVENTQ_PROD)).toBe(3);
    board.write(CR0, 0b0100);
    board.write(EVENTQ_PROD, 7);
    expect(board.read(EVENTQ_PROD)).toBe(3);
    board.write(CR1, 0xfff);
    expect(board.read(CR1)).toBe(0xfc0);
  });

  test('an enabled interrupt freezes its message', () => {
    const board = bare();
    board.write64(EVENTQ_IRQ_CFG0, 0x0800_0040);
    board.write(IRQ_CTRL, 0b100);
    board.write64(EVENTQ_IRQ_CFG0, 0x1234_5678);
    expect(board.read32(0xb0)).toBe(0x0800_0040);
  });

  test('index bits above the queue size read as zero', () => {
    const board = bare();
    board.write64(CMDQ_BASE, 0x4020_0004);
    board.write(CMDQ_PROD, 0xf_ffff);
    expect(board.read(CMDQ_PROD)).toBe(0x1f);
  });

  test('LOG2SIZE above IDR1 reads back and counts as the maximum', () => {
    const board = bare({ CMDQS: 3 });
    board.write64(CMDQ_BASE, 0x4020_001f);
    expect(board.read32(0x90)).toBe(0x4020_001f);
    board.write(CMDQ_PROD, 0xf_ffff);
    expect(board.read(CMDQ_PROD)).toBe(0xf);
  });
});

describe('absent features', () => {
  test('without PRI its registers and enables are RES0', () => {
    const board = bare({ PRI: 0 });
    board.write64(PRIQ_BASE, 0x4022_0004);
    board.write(CR0, 0b10);
    board.write(IRQ_CTRL, 0b10);
    board.write32(0x1_00cc, 5);
    board.write32(0xdc, 0xffff_ffff);
    expect([board.read32(0xc0), board.read(CR0), board.read(IRQ_CTRL)]).toEqual([0, 0, 0]);
    expect([board.read32(0x1_00cc), board.read32(0xdc)]).toEqual([0, 0]);
  });

  test('without MSI the message registers are RES0', () => {
    const board = bare({ MSI: 0 });
    board.write64(EVENTQ_IRQ_CFG0, 0x0800_0040);
    expect(board.read32(0xb0)).toBe(0);
    board.write32(0xdc, 0xffff_ffff);
    expect(board.read32(0xdc)).toBe(0);
  });

  test('without ATOS its registers are RES0', () => {
    const board = bare({ ATOS: 0 });
    board.write(GATOS_CTRL, 1);
    board.write32(0x108, 7);
    expect([board.read(GATOS_CTRL), board.read32(0x108)]).toEqual([0, 0]);
  });
});

test('reset brings every register back', () => {
  const board = bare();
  const before = Array.from({ length: 0x200 / 4 }, (_, index) => board.read32(index * 4));
  board.enable();
  board.write(GBPA, 0x8010_0000);
  board.smmu.reset();
  expect(Array.from({ length: 0x200 / 4 }, (_, index) => board.read32(index * 4))).toEqual(before);
});

test('bits that reset leaves UNKNOWN come from the random stream, the others do not', () => {
  const board = new SmmuBoard({ random: new Random(7) });
  expect(board.read(CR0)).toBe(0);
  expect(board.read32(0x80)).not.toBe(0);
  expect(board.read32(0x80) & 0x3f).toBe(0);
});
