/** An accelerator on a PCIe board: the test plays the driver. */
import { createCipheriv } from 'node:crypto';
import * as sheet from '../../src/hw/devices/accelerator.layout.ts';
import { Accelerator, type AcceleratorOptions } from '../../src/hw/devices/accelerator.ts';
import { MsixCapability } from '../../src/hw/pcie/capabilities.layout.ts';
import { CapabilityId } from '../../src/hw/pcie/config.layout.ts';
import { encode } from '../../src/layout/struct.ts';
import { MSI, type PcieBoardOptions, pcieBoard } from './pcie-board.ts';

export const BAR0 = 0x1000_0000;
const BAR2 = 0x1001_0000;
export const DEVFN = 8;
export const PAGE = 4096;
export const KEY = Uint8Array.from({ length: 32 }, (_, index) => index * 7);
export const IV = Uint8Array.from({ length: 16 }, (_, index) => (index < 8 ? 255 - index : 0xff));
/** Where messages and the ring stand unless a test says otherwise: I/O virtual byte addresses. */
export const RING = 0x10_0000;
export const SOURCE = 0x1000_0000;
export const DESTINATION = 0x2000_0000;

export type Mode = 'static' | 'stall' | 'pri';

export interface BenchOptions extends PcieBoardOptions {
  readonly mode?: Mode;
  readonly device?: Partial<AcceleratorOptions>;
  readonly bytesPerSecond?: number;
  readonly setupNs?: number;
  readonly log2Size?: number;
}

export interface Message {
  readonly source: number;
  readonly destination: number;
  readonly length: number;
  readonly streamOffset?: number;
  readonly interrupt?: number;
}

/** The board of these tests, with an accelerator; the test plays the driver. */
export function acceleratorBench(options: BenchOptions = {}) {
  const { mode = 'static', log2Size = 4, bytesPerSecond = 0, setupNs = 0 } = options;
  const board = pcieBoard(options);
  const { agent, memory, write32, read32, config } = board;
  const device = new Accelerator({
    clock: board.clock,
    name: 'accelerator',
    latency: { deviceSetup: setupNs, acceleratorBytesPerSecond: bytesPerSecond },
    ...options.device,
  });
  board.root.plug(DEVFN, device);

  /** The host keeps the bytes of each I/O virtual page in a physical page of its own, mapped or not. */
  const homes = new Map<number, number>();
  const home = (page: number): number => {
    const known = homes.get(page) ?? memory.base / PAGE + 16 + homes.size;
    homes.set(page, known);
    return known;
  };
  const map = agent.map.bind(agent);
  agent.map = (page, write) => map(page, write, home(page));
  const eachPage = (iova: number, length: number, visit: (address: number, at: number, count: number) => void) => {
    for (let done = 0; done < length; ) {
      const offset = (iova + done) % PAGE;
      const count = Math.min(PAGE - offset, length - done);
      visit(home(Math.floor((iova + done) / PAGE)) * PAGE + offset, done, count);
      done += count;
    }
  };
  const store = (iova: number, bytes: Uint8Array) =>
    eachPage(iova, bytes.length, (address, at, count) => memory.write(address, bytes, at, count));
  const load = (iova: number, length: number) => {
    const bytes = new Uint8Array(length);
    eachPage(iova, length, (address, at, count) => memory.read(address, bytes, at, count));
    return bytes;
  };
  const pin = (iova: number, length: number, write: boolean) => {
    for (let page = Math.floor(iova / PAGE); page * PAGE < iova + length; page++) agent.map(page, write);
  };

  const seen = { completion: 0, error: 0 };
  board.interrupts.connect(80, () => {
    seen.completion += 1;
  });
  board.interrupts.connect(81, () => {
    seen.error += 1;
  });
  /** Everything between a reset of the function and CONTROL.ENABLE. */
  const setUp = (ring = RING) => {
    write32(config(DEVFN, 0x10), BAR0);
    write32(config(DEVFN, 0x14), 0);
    write32(config(DEVFN, 0x18), BAR2);
    write32(config(DEVFN, 0x1c), 0);
    board.enable(DEVFN, mode === 'pri' ? { ats: true, credits: 32 } : {});
    for (let vector = 0; vector < 2; vector++) {
      write32(BAR2 + 16 * vector, MSI + 0x40);
      write32(BAR2 + 16 * vector + 4, 0);
      write32(BAR2 + 16 * vector + 8, 80 + vector);
      write32(BAR2 + 16 * vector + 12, 0);
    }
    const msix = device.config.capability(CapabilityId.MSIX);
    write32(config(DEVFN, msix), MsixCapability.Enable.in32(1));
    setKey();
    write32(BAR0 + sheet.RING_BASE.offset, ring);
    write32(BAR0 + sheet.RING_BASE.offset + 4, Math.floor(ring / 2 ** 32));
    write32(BAR0 + sheet.RING_SIZE.offset, log2Size);
  };
  const setKey = () => {
    for (let at = 0; at < 32; at += 4) {
      write32(BAR0 + sheet.KEY_OFFSET + at, new DataView(KEY.buffer).getUint32(at, true));
    }
    for (let at = 0; at < 16; at += 4) {
      write32(BAR0 + sheet.IV_OFFSET + at, new DataView(IV.buffer).getUint32(at, true));
    }
  };
  const enable = () => write32(BAR0 + sheet.CONTROL.offset, 1);
  const place = (index: number, ring = RING) => ring + (index % 2 ** log2Size) * 64;
  const post = (index: number, message: Message, ring = RING) => {
    const descriptor = encode(sheet.Descriptor, {
      SOURCE_OFFSET: message.source % PAGE,
      SOURCE_PAGE: Math.floor(message.source / PAGE),
      DESTINATION_OFFSET: message.destination % PAGE,
      DESTINATION_PAGE: Math.floor(message.destination / PAGE),
      LENGTH: message.length,
      INTERRUPT: message.interrupt ?? 1,
      STREAM_OFFSET_LOW: (message.streamOffset ?? 0) >>> 0,
      STREAM_OFFSET_HIGH: Math.floor((message.streamOffset ?? 0) / 2 ** 32),
      COOKIE: index,
    });
    store(place(index, ring), new Uint8Array(descriptor.buffer));
  };
  const ring = (tail: number) => write32(BAR0 + sheet.RING_TAIL.offset, tail);
  const result = (index: number, at = RING) => {
    const view = new DataView(load(place(index, at), 64).buffer);
    return { status: sheet.Descriptor.STATUS.get(view), processed: sheet.Descriptor.PROCESSED.get(view) };
  };
  const status = () => read32(BAR0 + sheet.STATUS.offset);
  const head = () => read32(BAR0 + sheet.RING_HEAD.offset);
  return { ...board, board, device, store, load, pin, seen, setUp, setKey, enable, post, ring, result, status, head };
}

type Bench = ReturnType<typeof acceleratorBench>;

export const ENABLED = 1;
export const RING_ERROR = 2;
export const IDLE = 4;
export const { DONE, SOURCE_FAULT, DESTINATION_FAULT, BAD_DESCRIPTOR } = sheet.DescriptorStatus;

/** What node:crypto makes of `plain` at byte `offset` of the stream. */
export function expected(plain: Uint8Array, offset = 0): Buffer {
  const lead = Buffer.alloc(offset);
  return createCipheriv('aes-256-ctr', KEY, IV)
    .update(Buffer.concat([lead, plain]))
    .subarray(offset);
}

export function isExpected(b: Bench, destination: number, plain: Uint8Array, offset = 0): boolean {
  return Buffer.compare(b.load(destination, plain.length), expected(plain, offset)) === 0;
}

export const pagesOf = (start: number, length: number) =>
  Math.floor((start + length - 1) / PAGE) - Math.floor(start / PAGE) + 1;
