import { describe, expect, test } from 'vitest';
import { MSI, pcieBoard, WINDOW } from '../../../test/support/pcie-board.ts';
import { BusStatus, type MmioDevice } from '../bus.ts';
import { Msi } from './capability/msi.ts';
import { Msix } from './capability/msix.ts';
import { PcieFunction } from './function.ts';
import {
  AddressType,
  Completion,
  type InvalidateRequest,
  type MemoryRequest,
  NO_PASID,
  type PageGroupResponse,
  ResponseCode,
} from './tlp.ts';

const IDENTITY = { vendor: 0x1234, device: 0x5678, classCode: 0, revision: 0 };

/** A function with one register file of 4 KiB, two vectors and a record of its messages. */
class Probe extends PcieFunction {
  readonly bytes = new DataView(new ArrayBuffer(0x1000));
  readonly msix: Msix;
  readonly responses: PageGroupResponse[] = [];
  readonly invalidations: [InvalidateRequest, () => void][] = [];

  constructor(name = 'probe') {
    super(name, IDENTITY);
    const device: MmioDevice = {
      name,
      readRegister: (offset, size, data) => {
        if (size === 1) return BusStatus.ABORT;
        for (let byte = 0; byte < size; byte++) data.setUint8(byte, this.bytes.getUint8(offset + byte));
        return BusStatus.OK;
      },
      writeRegister: (offset, size, data) => {
        if (size === 1) return BusStatus.ABORT;
        for (let byte = 0; byte < size; byte++) this.bytes.setUint8(offset + byte, data.getUint8(byte));
        return BusStatus.OK;
      },
    };
    this.addBar({ index: 0, bytes: 0x1000, width: 32, device });
    this.msix = new Msix(this, { vectors: 2, bar: 2, tableOffset: 0, pendingOffset: 0x800 });
    this.addBar({ index: 2, bytes: 0x1000, width: 32, device: this.msix.registers });
  }

  override invalidate(request: InvalidateRequest, completed: () => void): void {
    this.invalidations.push([request, completed]);
  }

  override pageGroupResponse(response: PageGroupResponse): void {
    this.responses.push(response);
  }
}

function request(requesterId: number, page: number, write: boolean): MemoryRequest & { ended: Completion[] } {
  const ended: Completion[] = [];
  return {
    requesterId,
    pasid: NO_PASID,
    execute: false,
    privileged: false,
    addressType: AddressType.UNTRANSLATED,
    write,
    page,
    offset: 0,
    length: 4,
    data: Uint8Array.of(1, 2, 3, 4),
    dataOffset: 0,
    latencyNs: 0,
    completed: (status) => ended.push(status),
    ended,
  };
}

describe('CPU accesses to BARs', () => {
  test('reach the function while memory space is enabled, and follow a BAR that moves', () => {
    const board = pcieBoard();
    const probe = new Probe();
    board.root.plug(8, probe);
    probe.bytes.setUint32(0x10, 0xcafe_f00d, true);
    board.write32(board.config(8, 0x10), WINDOW + 0x5000);
    expect(board.read32(WINDOW + 0x5010)).toBe(0xffff_ffff);
    board.write(board.config(8, 4), 2, 2);
    expect(board.read32(WINDOW + 0x5010)).toBe(0xcafe_f00d);
    board.write32(board.config(8, 0x10), WINDOW + 0x9000);
    expect(board.read32(WINDOW + 0x5010)).toBe(0xffff_ffff);
    expect(board.read32(WINDOW + 0x9010)).toBe(0xcafe_f00d);
    board.write(board.config(8, 4), 2, 0);
    expect(board.read32(WINDOW + 0x9010)).toBe(0xffff_ffff);
    board.write32(WINDOW + 0x9010, 1);
    expect(probe.bytes.getUint32(0x10, true)).toBe(0xcafe_f00d);
  });

  test('what the function refuses reads as all ones and never aborts', () => {
    const board = pcieBoard();
    board.root.plug(8, new Probe());
    board.write32(board.config(8, 0x10), WINDOW);
    board.write(board.config(8, 4), 2, 2);
    const data = new DataView(new ArrayBuffer(8));
    expect(board.bus.readSized(WINDOW, 1, data)).toBe(BusStatus.OK);
    expect(data.getUint8(0)).toBe(0xff);
    expect(board.bus.writeSized(WINDOW, 1, data)).toBe(BusStatus.OK);
  });
});

describe('requests from functions', () => {
  test('need bus master enable, and the name of their own function', () => {
    const board = pcieBoard();
    const probe = new Probe();
    board.root.plug(8, probe);
    board.root.plug(16, new Probe('peer'));
    board.agent.map(5, true);
    const { upstream } = probe.link;
    expect(upstream.memory(request(8, 5, true))).toBe(Completion.UNSUPPORTED_REQUEST);
    board.write(board.config(8, 4), 2, 4);
    expect(upstream.memory(request(8, 5, true))).toBe(Completion.SUCCESS);
    expect(upstream.memory(request(16, 5, true))).toBe(Completion.UNSUPPORTED_REQUEST);
    board.write(board.config(8, 4), 2, 0);
    expect(upstream.memory(request(8, 5, true))).toBe(Completion.UNSUPPORTED_REQUEST);
  });

  test('carry the latency of the link: a write once, a read there and back', () => {
    const board = pcieBoard({ linkNs: 100, agent: { memoryNs: 30 } });
    const probe = new Probe();
    board.root.plug(8, probe);
    board.enable(8);
    board.agent.map(5, true);
    const write = request(8, 5, true);
    const read = request(8, 5, false);
    const stalled = request(8, 6, false);
    probe.link.upstream.memory(write);
    probe.link.upstream.memory(read);
    expect(probe.link.upstream.memory(stalled)).toBe(Completion.PENDING);
    expect([write.latencyNs, read.latencyNs, stalled.latencyNs]).toEqual([130, 230, 100]);
  });

  test('there is one agent', () => {
    const board = pcieBoard();
    expect(() => board.root.connect(board.agent)).toThrow('one translation agent');
  });
});

describe('messages', () => {
  test('arrive after the link, and reach only the function they name', () => {
    const board = pcieBoard({ linkNs: 100 });
    const probe = new Probe();
    const peer = new Probe('peer');
    board.root.plug(8, probe);
    board.root.plug(16, peer);
    const response = { groupIndex: 3, code: ResponseCode.SUCCESS, pasid: NO_PASID };
    expect(board.root.pageGroupResponse(8, response)).toBe(true);
    // The sender may use its object again at once.
    response.groupIndex = 4;
    board.run(99);
    expect(probe.responses).toEqual([]);
    board.run();
    expect(probe.responses).toEqual([{ groupIndex: 3, code: ResponseCode.SUCCESS, pasid: NO_PASID }]);
    expect(peer.responses).toEqual([]);
    expect(board.root.pageGroupResponse(24, response)).toBe(false);
  });

  test('an invalidation is complete one link after the function said so', () => {
    const board = pcieBoard({ linkNs: 100 });
    const probe = new Probe();
    board.root.plug(8, probe);
    let doneAt = -1;
    const sent = { page: 16, pages: 16, pasid: NO_PASID, global: false };
    expect(
      board.root.invalidate(8, sent, () => {
        doneAt = board.clock.now;
      }),
    ).toBe(true);
    board.run();
    expect(probe.invalidations.map(([message]) => message)).toEqual([sent]);
    expect(doneAt).toBe(-1);
    board.clock.after(50, () => probe.invalidations[0]?.[1]());
    board.run();
    expect(doneAt).toBe(250);
    expect(board.root.invalidate(24, sent, () => {})).toBe(false);
  });

  test('a page request is sent in the name of its own function only', () => {
    const board = pcieBoard({ linkNs: 100 });
    const probe = new Probe();
    board.root.plug(8, probe);
    const message = {
      requesterId: 8,
      pasid: NO_PASID,
      execute: false,
      privileged: false,
      page: 1,
      read: true,
      write: false,
      last: true,
      groupIndex: 0,
    };
    board.agent.automatic = false;
    probe.link.upstream.pageRequest(message);
    probe.link.upstream.pageRequest({ ...message, requesterId: 9 });
    board.run(99);
    expect(board.agent.messages).toEqual([]);
    board.run();
    expect(board.agent.messages).toEqual([message]);
  });
});

describe('a device with several functions', () => {
  test.each([[[8, 9]], [[9, 8]]])('plugged in order %o says so in function 0 (header type bit 7)', (order) => {
    const board = pcieBoard();
    for (const devfn of order) board.root.plug(devfn, new Probe());
    expect(board.read(board.config(8, 0x0e), 1)).toBe(0x80);
    expect(board.read(board.config(9, 0x0e), 1)).toBe(0);
  });

  test('a place is taken once', () => {
    const board = pcieBoard();
    board.root.plug(8, new Probe());
    expect(() => board.root.plug(8, new Probe())).toThrow('taken');
    expect(() => board.root.plug(256, new Probe())).toThrow();
  });
});

describe('MSI-X', () => {
  function vectors() {
    const board = pcieBoard();
    const probe = new Probe();
    board.root.plug(8, probe);
    board.write32(board.config(8, 0x18), WINDOW + 0x1000);
    board.enable(8);
    const raised: number[] = [];
    for (const interrupt of [90, 91]) board.interrupts.connect(interrupt, () => raised.push(interrupt));
    const entry = (vector: number, masked: number) => {
      const at = WINDOW + 0x1000 + 16 * vector;
      board.write32(at, MSI + 0x40);
      board.write32(at + 4, 0);
      board.write32(at + 8, 90 + vector);
      board.write32(at + 12, masked);
    };
    const control = (value: number) => board.write(board.config(8, 0x42), 2, value);
    const pending = () => board.read32(WINDOW + 0x1800);
    return { board, probe, raised, entry, control, pending };
  }

  test('a raised vector is a write of its data to its address', () => {
    const { board, probe, raised, entry, control } = vectors();
    entry(0, 0);
    entry(1, 0);
    control(0x8000);
    probe.msix.raise(1);
    probe.msix.raise(0);
    board.run();
    expect(raised).toEqual([91, 90]);
  });

  test('without Enable nothing is sent and nothing stays pending', () => {
    const { board, probe, raised, entry, control, pending } = vectors();
    entry(0, 0);
    probe.msix.raise(0);
    control(0x8000);
    board.run();
    expect(raised).toEqual([]);
    expect(pending()).toBe(0);
  });

  test('a masked vector is pending, and is sent once when it is unmasked', () => {
    const { board, probe, raised, entry, control, pending } = vectors();
    entry(1, 1);
    control(0x8000);
    probe.msix.raise(1);
    probe.msix.raise(1);
    board.run();
    expect(raised).toEqual([]);
    expect(pending()).toBe(2);
    board.write32(WINDOW + 0x101c, 0);
    board.run();
    expect(raised).toEqual([91]);
    expect(pending()).toBe(0);
  });

  test('the function mask holds back every vector', () => {
    const { board, probe, raised, entry, control, pending } = vectors();
    entry(0, 0);
    entry(1, 0);
    control(0xc000);
    probe.msix.raise(0);
    probe.msix.raise(1);
    board.run();
    expect(pending()).toBe(3);
    control(0x8000);
    board.run();
    expect(raised).toEqual([90, 91]);
  });

  test('all vectors are masked after reset, and reserved bits stay zero', () => {
    const { board } = vectors();
    expect(board.read32(WINDOW + 0x100c)).toBe(1);
    board.write32(WINDOW + 0x100c, 0xffff_ffff);
    board.write32(WINDOW + 0x1000, 0xffff_ffff);
    expect(board.read32(WINDOW + 0x100c)).toBe(1);
    expect(board.read32(WINDOW + 0x1000)).toBe(0xffff_fffc);
    // The pending bits are read-only.
    board.write32(WINDOW + 0x1800, 3);
    expect(board.read32(WINDOW + 0x1800)).toBe(0);
  });

  test('a message that the agent refuses is counted and shown in the status register', () => {
    const { board, probe, entry, control } = vectors();
    entry(0, 0);
    control(0x8000);
    board.write(board.config(8, 4), 2, 2);
    probe.msix.raise(0);
    expect(probe.msix.lost).toBe(1);
    expect(board.read(board.config(8, 6), 2) & 0x2000).toBe(0x2000);
  });

  test('a message that stalls is sent once its page is there', () => {
    const { board, probe, entry, control } = vectors();
    board.write32(WINDOW + 0x1000, 0x7000);
    board.write32(WINDOW + 0x1008, 0xabcd);
    board.write32(WINDOW + 0x100c, 0);
    control(0x8000);
    probe.msix.raise(0);
    probe.msix.raise(0);
    entry(1, 0);
    board.run();
    expect(probe.msix.lost).toBe(0);
    expect(board.memory.read32(board.agent.physical(7) * 4096)).toBe(0xabcd);
  });
});

test('MSI: a 64-bit address and 16 bits of data, sent while enabled', () => {
  class WithMsi extends PcieFunction {
    readonly msi: Msi;
    constructor() {
      super('msi', IDENTITY);
      this.msi = new Msi(this);
    }
  }
  const board = pcieBoard();
  const target = new WithMsi();
  board.root.plug(8, target);
  board.enable(8);
  const raised: number[] = [];
  board.interrupts.connect(99, () => raised.push(99));
  expect(target.msi.raise()).toBe(false);
  // PCI_MSI_FLAGS_64BIT 0x80; address at 4, upper address at 8, data at 0xc.
  expect(board.read(board.config(8, 0x42), 2)).toBe(0x80);
  board.write32(board.config(8, 0x44), MSI + 0x40);
  board.write32(board.config(8, 0x4c), 99);
  board.write(board.config(8, 0x42), 2, 1);
  expect(target.msi.raise()).toBe(true);
  board.run();
  expect(raised).toEqual([99]);
});
