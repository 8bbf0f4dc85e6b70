/**
 * The guest kernel's PCI code for one function: finds it, sizes and places its BARs, enables memory space and bus
 * mastering, and sets up MSI-X vectors. Only configuration space and memory-mapped I/O are used.
 */
import { MsixCapability, MsixEntry } from '../hw/pcie/capabilities.layout.ts';
import {
  BAR_OFFSET,
  BarType,
  CAPABILITY_BASE,
  CapabilityHead,
  CapabilityId,
  COMMAND_OFFSET,
  Header,
  MemoryBar,
} from '../hw/pcie/config.layout.ts';
import { encode, type Layout, words } from '../layout/struct.ts';
import type { Steps } from '../sim/task.ts';
import {
  GUEST_MMIO_BASE,
  GUEST_MMIO_END,
  GUEST_MSI_DOORBELL,
  GUEST_MSI_FIRST,
  type GuestAccessSize,
  type GuestBoard,
} from './board.ts';
import { VmmError } from './vmm-error.ts';

const BAR_COUNT = 6;
const TWO_32 = 2 ** 32;

export interface PlacedBar {
  readonly address: number;
  readonly bytes: number;
}

export class PciDriver {
  readonly vendor: number;
  readonly device: number;
  readonly classCode: number;
  readonly #board: GuestBoard;
  readonly #bars = new Map<number, PlacedBar>();
  #msix: number | null = null;
  #nextAddress = GUEST_MMIO_BASE;

  private constructor(board: GuestBoard, header: DataView) {
    this.#board = board;
    this.vendor = Header.VendorID.get(header);
    this.device = Header.DeviceID.get(header);
    this.classCode = Header.ClassCode.get(header);
  }

  /** Finds the function, places its BARs and lets it decode memory and master the bus. @throws VmmError */
  static *probe(board: GuestBoard): Steps<PciDriver> {
    const header = yield* readStructure(board, 0, Header);
    if (Header.VendorID.get(header) === 0xffff) throw new VmmError('the guest finds no PCI function');
    const driver = new PciDriver(board, header);
    yield* driver.#placeBars();
    yield* driver.#enable();
    driver.#msix = yield* driver.#findCapability(CapabilityId.MSIX);
    return driver;
  }

  /** Where BAR `index` was placed. @throws VmmError when the function has no such BAR. */
  bar(index: number): PlacedBar {
    const bar = this.#bars.get(index);
    if (bar === undefined) throw new VmmError(`the function has no BAR ${index}`);
    return bar;
  }

  /** A register of BAR `index`. */
  *read(index: number, offset: number, size: GuestAccessSize): Steps<number> {
    return yield* this.#board.readMmio(this.bar(index).address + offset, size);
  }

  *write(index: number, offset: number, size: GuestAccessSize, value: number): Steps {
    yield* this.#board.writeMmio(this.bar(index).address + offset, size, value);
  }

  /** Points vectors 0, 1, ... at `handlers`, unmasks them and enables MSI-X. @throws VmmError with too few vectors. */
  *enableMsix(handlers: readonly (() => void)[]): Steps {
    const at = this.#msix;
    if (at === null) throw new VmmError('the function has no MSI-X capability');
    const capability = yield* readStructure(this.#board, at, MsixCapability);
    const vectors = MsixCapability.TableSize.get(capability) + 1;
    if (vectors < handlers.length) throw new VmmError(`the function has ${vectors} vectors of ${handlers.length}`);
    const bar = MsixCapability.TableBIR.get(capability);
    const table = MsixCapability.TableOffset.get(capability) * 8;
    for (const [vector, handler] of handlers.entries()) {
      const interrupt = GUEST_MSI_FIRST + vector;
      this.#board.connectInterrupt(interrupt, handler);
      const entry = encode(MsixEntry, { MessageAddress: GUEST_MSI_DOORBELL / 4, MessageData: interrupt, Masked: 0 });
      for (const [index, word] of words(entry).entries()) {
        yield* this.write(bar, table + vector * MsixEntry.$.byteLength + index * 4, 4, word);
      }
    }
    // Message Control is the upper half of the capability's first word.
    const control = new DataView(capability.buffer);
    MsixCapability.Enable.set(control, 0, 1);
    MsixCapability.FunctionMask.set(control, 0, 0);
    yield* this.#board.writeConfig(at + 2, 2, control.getUint16(2, true));
  }

  *#enable(): Steps {
    const command = new DataView(new ArrayBuffer(Header.$.byteLength));
    command.setUint16(COMMAND_OFFSET, yield* this.#board.readConfig(COMMAND_OFFSET, 2), true);
    Header.MemorySpaceEnable.set(command, 0, 1);
    Header.BusMasterEnable.set(command, 0, 1);
    Header.InterruptDisable.set(command, 0, 1);
    yield* this.#board.writeConfig(COMMAND_OFFSET, 2, command.getUint16(COMMAND_OFFSET, true));
  }

  /** PCIe §7.5.1.2.1: all ones written, the bits that stay zero give the size. */
  *#placeBars(): Steps {
    for (let index = 0; index < BAR_COUNT; index++) {
      const offset = BAR_OFFSET + index * 4;
      const original = yield* this.#board.readConfig(offset, 4);
      const low = yield* this.#probeBar(offset);
      if (low === 0) continue;
      const view = new DataView(new ArrayBuffer(MemoryBar.$.byteLength));
      view.setUint32(0, low, true);
      if (MemoryBar.IOSpace.get(view) === 1) continue;
      const wide = MemoryBar.Type.get(view) === BarType.BITS_64;
      const high = wide ? yield* this.#probeBar(offset + 4) : 0xffff_ffff;
      // The two's complement of what stayed set, in halves that are exact.
      const bytes = (0xffff_ffff - high) * TWO_32 + (TWO_32 - MemoryBar.Address.get(view) * 16);
      const address = this.#place(index, bytes);
      yield* this.#board.writeConfig(offset, 4, address + (original % 16));
      if (wide) yield* this.#board.writeConfig(offset + 4, 4, 0);
      if (wide) index += 1;
    }
  }

  *#probeBar(offset: number): Steps<number> {
    yield* this.#board.writeConfig(offset, 4, 0xffff_ffff);
    return yield* this.#board.readConfig(offset, 4);
  }

  /** The next free, naturally aligned range of the window. */
  #place(index: number, bytes: number): number {
    const address = Math.ceil(this.#nextAddress / bytes) * bytes;
    if (address + bytes > GUEST_MMIO_END) throw new VmmError(`no room for BAR ${index} of ${bytes} bytes`);
    this.#nextAddress = address + bytes;
    this.#bars.set(index, { address, bytes });
    return address;
  }

  /** Offset of a capability, or null. A chain can hold 48 at most; a longer one is a loop. */
  *#findCapability(id: number): Steps<number | null> {
    const header = yield* readStructure(this.#board, 0, Header);
    if (Header.CapabilitiesList.get(header) === 0) return null;
    let at = Header.CapabilitiesPointer.get(header) & ~3;
    for (let hops = 0; at >= CAPABILITY_BASE && hops < 48; hops++) {
      const head = yield* readStructure(this.#board, at, CapabilityHead);
      if (CapabilityHead.CapabilityID.get(head) === id) return at;
      at = CapabilityHead.NextCapabilityPointer.get(head) & ~3;
    }
    return null;
  }
}

/** A structure of configuration space, read word by word. */
function* readStructure(board: GuestBoard, offset: number, layout: Layout): Steps<DataView> {
  const view = new DataView(new ArrayBuffer(layout.$.byteLength));
  for (let at = 0; at < view.byteLength; at += 4) {
    view.setUint32(at, yield* board.readConfig(offset + at, 4), true);
  }
  return view;
}
