/** A started server seen as the board: registers by name, structures by layout, the devices on its bus. */
import { encodeInto, type Layout } from '../../src/layout/struct.ts';
import { BAR_BASE, BAR_STRIDE, DEVICE_FUNCTIONS, ECAM_BASE, machine, PATTERN_AT, SMMU_BASE } from './memory-map.ts';
import { registerCalled } from './program.ts';
import { type Emulator, PeerServer } from './server.ts';

/** Registers of iommu-testdev (QEMU's `docs/specs/iommu-testdev.rst`). */
export const TestDevice = {
  TRIGGER: 0x00,
  IOVA_LOW: 0x04,
  IOVA_HIGH: 0x08,
  LENGTH: 0x0c,
  RESULT: 0x10,
  DOORBELL: 0x14,
  ATTRIBUTES: 0x18,
  PHYSICAL_LOW: 0x1c,
  PHYSICAL_HIGH: 0x20,
} as const;

/** Registers of edu (QEMU's `docs/specs/edu.rst`). */
export const EduDevice = { SOURCE: 0x80, DESTINATION: 0x88, COUNT: 0x90, COMMAND: 0x98, BUFFER: 0x4_0000 } as const;
/** Virtual time that an edu transfer takes. */
export const EDU_TRANSFER_NS = 100_000_000;

const COMMAND_REGISTER = 0x04;
const BAR_0 = 0x10;
/** I/O, memory and bus master enable. */
const ENABLE_ALL = 7;

/** Where the stand-in has the pattern in its buffer, and how much of it. */
const PATTERN_OFFSET = 0x800;
export const PATTERN_BYTES = 0x800;
/** What a test device writes, again and again, as memory has it; also when an edu stands in for it. */
export const PATTERN = Buffer.alloc(PATTERN_BYTES, Uint8Array.of(0x78, 0x56, 0x34, 0x12));

export interface BoardOptions {
  /** Whether the machine has test devices; otherwise edus stand in for them. */
  readonly testDevice: boolean;
  readonly processor?: number;
}

export class Board {
  readonly server: PeerServer;
  readonly testDevice: boolean;

  private constructor(server: PeerServer, testDevice: boolean) {
    this.server = server;
    this.testDevice = testDevice;
  }

  static async start(emulator: Emulator, { testDevice, processor }: BoardOptions): Promise<Board> {
    const server = await PeerServer.start(emulator, {
      arguments: [
        ...machine(testDevice),
        ...(emulator.name === 'faultline' ? ['-global', 'arm-smmuv3.preset=qemu'] : []),
      ],
      ...(processor !== undefined && { processor }),
    });
    const board = new Board(server, testDevice);
    await board.#placeDevices();
    return board;
  }

  /** Power-on state for all but RAM. */
  async reset(): Promise<void> {
    await this.server.qmp.systemReset();
    await this.#placeDevices();
  }

  /** A transfer by an edu between byte `offset` of its buffer and `iova`, to its end. */
  async transfer(device: number, toMemory: boolean, offset: number, iova: bigint, length: number): Promise<void> {
    const { qtest } = this.server;
    const write = (register: number, value: bigint) => qtest.write64(this.bar(device, register), value);
    const buffer = BigInt(EduDevice.BUFFER + offset);
    write(EduDevice.SOURCE, toMemory ? buffer : iova);
    write(EduDevice.DESTINATION, toMemory ? iova : buffer);
    write(EduDevice.COUNT, BigInt(length));
    write(EduDevice.COMMAND, toMemory ? 3n : 1n);
    await qtest.clockStep(EDU_TRANSFER_NS + 1);
  }

  /** A DMA write of the pattern by an edu. */
  async writePattern(device: number, iova: bigint, length: number): Promise<void> {
    for (let done = 0; done < length; done += PATTERN_BYTES) {
      const count = Math.min(length - done, PATTERN_BYTES);
      await this.transfer(device, true, PATTERN_OFFSET, iova + BigInt(done), count);
    }
  }

  /** MMIO address of register `offset` of the n-th device. */
  bar(device: number, offset: number): number {
    return BAR_BASE + device * BAR_STRIDE + offset;
  }

  /** Reads a register by its name, 32 or 64 bits at once. */
  async get(register: string): Promise<bigint> {
    const { offset, $ } = registerCalled(register);
    if ($.width === 64) return this.server.qtest.read64(SMMU_BASE + offset);
    return BigInt(await this.server.qtest.read32(SMMU_BASE + offset));
  }

  set(register: string, value: bigint): void {
    const { offset, $ } = registerCalled(register);
    if ($.width === 64) this.server.qtest.write64(SMMU_BASE + offset, value);
    else this.server.qtest.write32(SMMU_BASE + offset, Number(value));
  }

  /** Writes a structure to memory, fields by name. */
  put(layout: Layout, at: number, fields: Readonly<Record<string, number>>): void {
    const bytes = new Uint8Array(layout.$.byteLength);
    encodeInto(layout, new DataView(bytes.buffer), 0, fields);
    this.server.qtest.writeBytes(at, bytes);
  }

  stop(): ReturnType<PeerServer['stop']> {
    return this.server.stop();
  }

  async #placeDevices(): Promise<void> {
    const { qtest } = this.server;
    for (const [device, devfn] of DEVICE_FUNCTIONS.entries()) {
      qtest.write32(ECAM_BASE + devfn * 0x1000 + BAR_0, this.bar(device, 0));
      qtest.write32(ECAM_BASE + devfn * 0x1000 + COMMAND_REGISTER, ENABLE_ALL);
    }
    await qtest.settled();
    if (this.testDevice) return;
    qtest.writeBytes(PATTERN_AT, PATTERN);
    for (const device of DEVICE_FUNCTIONS.keys()) {
      await this.transfer(device, false, PATTERN_OFFSET, BigInt(PATTERN_AT), PATTERN_BYTES);
    }
  }
}
