import { describe, expect, test } from 'vitest';
import { ECAM, pcieBoard } from '../../../test/support/pcie-board.ts';
import { Clock } from '../../sim/clock.ts';
import { BusStatus, type MmioDevice } from '../bus.ts';
import { Msix } from './capability/msix.ts';
import { Header } from './config.layout.ts';
import { EndpointFunction } from './endpoint/endpoint-function.ts';
import { PcieFunction } from './function.ts';

const IDENTITY = {
  vendor: 0x1234,
  device: 0x5678,
  classCode: 0x0b_4000,
  revision: 3,
  subsystemVendor: 7,
  subsystem: 9,
};

const zeros: MmioDevice = {
  name: 'zeros',
  readRegister: (_offset, _size, data) => {
    data.setBigUint64(0, 0n, true);
    return BusStatus.OK;
  },
  writeRegister: () => BusStatus.OK,
};

class Plain extends PcieFunction {
  constructor() {
    super('plain', IDENTITY);
    this.addBar({ index: 0, bytes: 0x1000, width: 32, device: zeros });
    this.addBar({ index: 2, bytes: 0x10_0000, width: 64, prefetchable: true, device: zeros });
  }
}

function endpoint() {
  return new EndpointFunction(IDENTITY, { clock: new Clock(), name: 'endpoint', lanes: 4 });
}

describe('the header', () => {
  // Offsets from linux/pci_regs.h: PCI_VENDOR_ID 0, PCI_DEVICE_ID 2, PCI_REVISION_ID 8, PCI_CLASS_PROG 9,
  // PCI_SUBSYSTEM_VENDOR_ID 0x2c, PCI_SUBSYSTEM_ID 0x2e.
  test('identity stands where pci_regs.h has it, in every access size', () => {
    const { config } = new Plain();
    expect(config.read(0, 4)).toBe(0x5678_1234);
    expect(config.read(2, 2)).toBe(0x5678);
    expect(config.read(3, 1)).toBe(0x56);
    expect(config.read(8, 4)).toBe(0x0b40_0003);
    expect(config.read(0x2c, 4)).toBe(0x0009_0007);
    expect(config.read(0x0e, 1)).toBe(0);
  });

  test('identity is read-only', () => {
    const { config } = new Plain();
    config.write(0, 4, 0xffff_ffff);
    config.write(8, 4, 0xffff_ffff);
    expect(config.read(0, 4)).toBe(0x5678_1234);
    expect(config.read(8, 4)).toBe(0x0b40_0003);
  });

  test('the command register keeps only its defined bits', () => {
    const { config } = new Plain();
    config.write(4, 2, 7);
    expect(config.read(4, 2)).toBe(7);
    config.write(4, 2, 0xffff);
    // IO, MEMORY, MASTER, PARITY 0x40, SERR 0x100, INTX_DISABLE 0x400.
    expect(config.read(4, 2)).toBe(0x547);
  });

  test('status errors are cleared by writing 1, and by nothing else', () => {
    const plain = new Plain();
    plain.noteAbort(1);
    plain.noteAbort(4);
    // PCI_STATUS_REC_MASTER_ABORT 0x2000, PCI_STATUS_REC_TARGET_ABORT 0x1000.
    expect(plain.config.read(6, 2)).toBe(0x3000);
    plain.config.write(6, 2, 0);
    expect(plain.config.read(6, 2)).toBe(0x3000);
    plain.config.write(6, 2, 0x2000);
    expect(plain.config.read(6, 2)).toBe(0x1000);
  });
});

describe('BARs', () => {
  test('all ones written read back the size', () => {
    const { config } = new Plain();
    for (const at of [0x10, 0x18, 0x1c]) config.write(at, 4, 0xffff_ffff);
    expect(config.read(0x10, 4)).toBe(0xffff_f000);
    // 64-bit (type 2) and prefetchable (bit 3).
    expect(config.read(0x18, 4)).toBe(0xfff0_000c);
    expect(config.read(0x1c, 4)).toBe(0xffff_ffff);
    expect(config.read(0x14, 4)).toBe(0);
  });

  test('they are where software put them', () => {
    const plain = new Plain();
    plain.config.write(0x10, 4, 0x1234_5678);
    plain.config.write(0x18, 4, 0x8010_0000);
    plain.config.write(0x1c, 4, 0x80);
    const [first, second] = plain.bars;
    expect(first && plain.barBase(first)).toBe(0x1234_5000);
    expect(second && plain.barBase(second)).toBe(0x80_8010_0000);
  });

  test('a BAR at an address beyond 2^52 is nowhere', () => {
    const plain = new Plain();
    plain.config.write(0x1c, 4, 0x10_0000);
    const second = plain.bars[1];
    expect(second && plain.barBase(second)).toBe(-1);
  });

  class Clash extends PcieFunction {
    constructor(index: number, bytes: number, width: 32 | 64 = 32) {
      super('clash', IDENTITY);
      this.addBar({ index: 2, bytes: 4096, width: 64, device: zeros });
      this.addBar({ index, bytes, width, device: zeros });
    }
  }
  test.each([
    [3, 4096, 32],
    [1, 4096, 64],
    [5, 4096, 64],
    [0, 100, 32],
    [0, 8, 32],
  ] as const)('BAR %i of %i bytes, %i bits, beside a 64-bit BAR 2 is refused', (index, bytes, width) => {
    expect(() => new Clash(index, bytes, width)).toThrow();
  });
});

describe('capabilities', () => {
  /** Walks the chain as a driver does. */
  function chain(read: (offset: number, size: 1 | 2 | 4) => number): [number, number][] {
    const found: [number, number][] = [];
    for (let at = read(0x34, 1); at !== 0; at = read(at + 1, 1)) found.push([at, read(at, 1)]);
    return found;
  }
  function extendedChain(read: (offset: number, size: 1 | 2 | 4) => number): [number, number, number][] {
    const found: [number, number, number][] = [];
    for (let at = 0x100; at !== 0; ) {
      const head = read(at, 4);
      found.push([at, head & 0xffff, (head >>> 16) & 0xf]);
      at = head >>> 20;
    }
    return found;
  }

  test('both chains hold what the function has', () => {
    const target = endpoint();
    new Msix(target, { vectors: 2, bar: 2, tableOffset: 0, pendingOffset: 0x800 });
    const read = (offset: number, size: 1 | 2 | 4) => target.config.read(offset, size);
    expect(read(6, 2) & 0x10).toBe(0x10);
    // PCI_CAP_ID_EXP 0x10 (60 bytes), then PCI_CAP_ID_MSIX 0x11.
    expect(chain(read)).toEqual([
      [0x40, 0x10],
      [0x7c, 0x11],
    ]);
    // PCI_EXT_CAP_ID_ATS 0x0f (8 bytes), _PRI 0x13 (16 bytes), _PASID 0x1b; each version 1.
    expect(extendedChain(read)).toEqual([
      [0x100, 0x0f, 1],
      [0x108, 0x13, 1],
      [0x118, 0x1b, 1],
    ]);
  });

  test('a function without capabilities has no chain', () => {
    const { config } = new Plain();
    expect(config.read(0x34, 1)).toBe(0);
    expect(config.read(6, 2) & 0x10).toBe(0);
    expect(config.read(0x100, 4)).toBe(0);
  });

  test('PCI Express: version 2, root complex integrated endpoint, FLR, role-based error reporting', () => {
    const { config } = endpoint();
    expect(config.read(0x40 + 2, 2)).toBe(0x0092);
    const capabilities = config.read(0x40 + 4, 4);
    expect(capabilities & 0x1000_0000).not.toBe(0); // PCI_EXP_DEVCAP_FLR
    expect(capabilities & 0x8000).not.toBe(0); // PCI_EXP_DEVCAP_RBER
    expect(config.read(0x40 + 0x24, 4) & 0x0020_0000).not.toBe(0); // PCI_EXP_DEVCAP2_EE_PREFIX
  });

  test('MSI-X: table size less one, BIR and offset in one word', () => {
    const target = endpoint();
    new Msix(target, { vectors: 2, bar: 2, tableOffset: 0, pendingOffset: 0x800 });
    const at = 0x7c;
    expect(target.config.read(at + 2, 2)).toBe(1);
    expect(target.config.read(at + 4, 4)).toBe(2);
    expect(target.config.read(at + 8, 4)).toBe(0x802);
    target.config.write(at + 2, 2, 0xffff);
    // PCI_MSIX_FLAGS_ENABLE 0x8000, PCI_MSIX_FLAGS_MASKALL 0x4000; the size is fixed.
    expect(target.config.read(at + 2, 2)).toBe(0xc001);
  });

  test('ATS: enable is bit 15, and the smallest translation unit is fixed while it is set', () => {
    const target = endpoint();
    const { config } = target;
    // PCI_ATS_CAP_PAGE_ALIGNED 0x20; a queue depth of 0 means 32.
    expect(config.read(0x104, 2) & 0x3f).toBe(0x20);
    config.write(0x106, 2, 0x0004);
    expect(target.ats?.smallestTranslationUnit).toBe(4);
    config.write(0x106, 2, 0x8004);
    expect(target.ats?.enabled).toBe(true);
    config.write(0x106, 2, 0x8001);
    expect(config.read(0x106, 2)).toBe(0x8004);
    config.write(0x106, 2, 0x0000);
    expect(target.ats?.enabled).toBe(false);
  });

  test('PRI: capacity, allocation within it, Stopped and PASID-required after reset', () => {
    const target = endpoint();
    const { config } = target;
    // PCI_PRI_STATUS_STOPPED 0x100, PCI_PRI_STATUS_PASID 0x8000.
    expect(config.read(0x10e, 2)).toBe(0x8100);
    expect(config.read(0x110, 4)).toBe(512);
    config.write(0x114, 4, 1000);
    expect(config.read(0x114, 4)).toBe(1000);
    expect(target.pri?.allocation).toBe(512);
    config.write(0x10c, 2, 1);
    expect(config.read(0x10e, 2)).toBe(0x8000);
    config.write(0x10c, 2, 0);
    expect(config.read(0x10e, 2)).toBe(0x8100);
  });

  test('PASID: width, and control frozen while ATS is on', () => {
    const target = endpoint();
    const { config } = target;
    expect(config.read(0x11c, 2)).toBe(0x1406);
    config.write(0x11e, 2, 0xffff);
    expect(config.read(0x11e, 2)).toBe(7);
    config.write(0x106, 2, 0x8000);
    config.write(0x11e, 2, 0);
    expect(config.read(0x11e, 2)).toBe(7);
    expect(target.pasid?.enabled).toBe(true);
  });

  test('a function level reset returns all but Max_Payload_Size, and its bit reads 0', () => {
    const target = endpoint();
    const { config } = target;
    config.write(4, 2, 6);
    config.write(0x48, 2, 0x2030);
    config.write(0x106, 2, 0x8000);
    config.write(0x10c, 2, 1);
    config.write(0x114, 4, 8);
    config.write(0x48, 2, 0x8000 | 0x2030);
    expect(target.resets).toBe(1);
    expect(config.read(0x48, 2)).toBe(0x2930);
    expect(config.read(4, 2)).toBe(0);
    expect(config.get(Header.BusMasterEnable)).toBe(0);
    expect(target.busMaster).toBe(false);
    expect(target.ats?.enabled).toBe(false);
    expect(target.pri?.enabled).toBe(false);
    expect(target.pri?.allocation).toBe(0);
    expect(config.read(0x10e, 2)).toBe(0x8100);
  });
});

test('ECAM: devfn << 12, absent functions read as all ones', () => {
  const board = pcieBoard();
  expect(board.read(ECAM, 4)).toBe(0x0008_1b36);
  board.root.plug(9, new Plain());
  expect(board.read32(ECAM + 0x9000)).toBe(0x5678_1234);
  expect(board.read(ECAM + 0x9002, 2)).toBe(0x5678);
  for (const devfn of [1, 8, 10, 255]) expect(board.read(board.config(devfn, 0), 2)).toBe(0xffff);
  // Bus 1 has nothing at all.
  expect(board.read32(ECAM + 0x10_0000)).toBe(0xffff_ffff);
  board.write32(ECAM + 0x8000, 1);
});
