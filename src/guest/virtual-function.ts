/**
 * A passed-through PCI function as the VMM shows it to the guest. The VMM keeps BARs and MSI-X to itself, as every VMM
 * does: the guest's addresses and messages mean nothing to the host. All other accesses go to the device.
 */
import { MsixCapability } from '../hw/pcie/capabilities.layout.ts';
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
import type { Steps } from '../sim/task.ts';
import { PciRegion } from '../vfio/uapi.layout.ts';
import type { GuestAccessSize } from './board.ts';
import type { HostProcess } from './host-process.ts';
import type { VfioDevice } from './vfio-device.ts';
import { VirtualMsix } from './virtual-msix.ts';

const BAR_COUNT = 6;
/** Most capabilities that fit into 192 bytes; a longer chain is a loop. */
const CAPABILITIES_MAX = 48;
const TWO_32 = 2 ** 32;

/** A BAR as the guest programs it. */
interface VirtualBar {
  readonly index: number;
  readonly bytes: number;
  /** 64 bits wide: the next index holds the upper half. */
  readonly wide: boolean;
  /** Type bits, which no write changes. */
  readonly low: number;
  address: number;
}

export interface VirtualFunctionOptions {
  readonly process: HostProcess;
  readonly device: VfioDevice;
  /** A message of the function: a 32-bit write to a guest-physical address. */
  readonly message: (address: number, data: number) => void;
}

export class VirtualFunction {
  readonly #device: VfioDevice;
  readonly #bars: VirtualBar[] = [];
  #msix: VirtualMsix | null = null;
  #msixOffset = -1;
  #memorySpace = false;

  private constructor(device: VfioDevice) {
    this.#device = device;
  }

  /** Learns the device's BARs and its MSI-X capability. */
  static *create(options: VirtualFunctionOptions): Steps<VirtualFunction> {
    const shown = new VirtualFunction(options.device);
    yield* shown.#learnBars();
    yield* shown.#learnMsix(options);
    return shown;
  }

  *readConfig(offset: number, size: GuestAccessSize): Steps<number> {
    const byte = offset % 4;
    const word = offset - byte;
    const own = this.#barWord(word);
    if (own === null && word !== this.#msixOffset) return yield* this.#device.read(PciRegion.CONFIG, offset, size);
    const value = own ?? this.#msix?.overlay(yield* this.#device.read(PciRegion.CONFIG, word, 4)) ?? 0;
    return Math.floor(value / 2 ** (8 * byte)) % 2 ** (8 * size);
  }

  *writeConfig(offset: number, size: GuestAccessSize, value: number): Steps {
    const byte = offset % 4;
    if (this.#barWord(offset - byte) !== null) {
      // PCIe §7.5.1.2.1: software writes BARs whole.
      if (size === 4) this.#writeBar((offset - BAR_OFFSET) / 4, value);
    } else if (offset - byte === this.#msixOffset) {
      // Both writable bits of the word lie in its last byte.
      if (byte + size === 4 && this.#msix !== null) yield* this.#msix.writeControl((value * 2 ** (8 * byte)) % TWO_32);
    } else {
      yield* this.#device.write(PciRegion.CONFIG, offset, size, value);
      if (offset === COMMAND_OFFSET) this.#memorySpace = ((value >>> (Header.MemorySpaceEnable.lsb % 32)) & 1) === 1;
    }
  }

  /** A guest-physical address in one of the BARs, or nothing: then all ones. */
  *readMmio(address: number, size: GuestAccessSize): Steps<number> {
    const bar = this.#decode(address);
    if (bar === null) return 2 ** (8 * size) - 1;
    const offset = address - bar.address;
    const emulated = size === 4 ? (this.#msix?.read(bar.index, offset) ?? null) : null;
    return emulated ?? (yield* this.#device.read(bar.index, offset, size));
  }

  *writeMmio(address: number, size: GuestAccessSize, value: number): Steps {
    const bar = this.#decode(address);
    if (bar === null) return;
    const offset = address - bar.address;
    if (size === 4 && this.#msix?.write(bar.index, offset, value) === true) return;
    yield* this.#device.write(bar.index, offset, size, value);
  }

  *#learnBars(): Steps {
    for (let index = 0; index < BAR_COUNT; index++) {
      const bytes = this.#device.barBytes(index);
      if (bytes === 0) continue;
      const low = (yield* this.#device.read(PciRegion.CONFIG, BAR_OFFSET + index * 4, 4)) % 16;
      const view = new DataView(new ArrayBuffer(4));
      view.setUint32(0, low, true);
      const wide = MemoryBar.Type.get(view) === BarType.BITS_64;
      this.#bars.push({ index, bytes, wide, low, address: 0 });
      if (wide) index += 1;
    }
  }

  *#learnMsix(options: VirtualFunctionOptions): Steps {
    let at = (yield* this.#device.read(PciRegion.CONFIG, Header.CapabilitiesPointer.lsb / 8, 1)) & ~3;
    for (let hops = 0; at >= CAPABILITY_BASE && hops < CAPABILITIES_MAX; hops++) {
      const capability = new DataView(new ArrayBuffer(MsixCapability.$.byteLength));
      for (let word = 0; word < capability.byteLength; word += 4) {
        capability.setUint32(word, yield* this.#device.read(PciRegion.CONFIG, at + word, 4), true);
      }
      if (CapabilityHead.CapabilityID.get(capability) === CapabilityId.MSIX) {
        this.#msix = new VirtualMsix({ ...options, capability });
        this.#msixOffset = at;
        return;
      }
      at = CapabilityHead.NextCapabilityPointer.get(capability) & ~3;
    }
  }

  /** A word of the header's BARs, which the VMM answers itself; null for other words. */
  #barWord(offset: number): number | null {
    const index = (offset - BAR_OFFSET) / 4;
    if (index < 0 || index >= BAR_COUNT) return null;
    for (const bar of this.#bars) {
      if (bar.index === index) return (bar.address % TWO_32) + bar.low;
      if (bar.wide && bar.index + 1 === index) return Math.floor(bar.address / TWO_32);
    }
    return 0;
  }

  /** Address bits below the size stay zero: that is how a guest learns it. */
  #writeBar(index: number, value: number): void {
    for (const bar of this.#bars) {
      const lower = bar.address % TWO_32;
      if (bar.index === index) bar.address += value - (value % Math.max(bar.bytes, 16)) - lower;
      else if (bar.wide && bar.index + 1 === index) bar.address = value * TWO_32 + lower;
    }
  }

  #decode(address: number): VirtualBar | null {
    if (!this.#memorySpace) return null;
    return this.#bars.find((bar) => address >= bar.address && address < bar.address + bar.bytes) ?? null;
  }
}
