/** Joins VFIO to a PCI function: configuration space through ECAM, BARs and MSI-X through the bus, as vfio-pci does. */
import { assert } from '../assert.ts';
import { type AccessSize, type Bus, BusStatus } from '../hw/bus.ts';
import type { InterruptController } from '../hw/interrupts.ts';
import { ExpressCapability, MsixCapability, MsixEntry } from '../hw/pcie/capabilities.layout.ts';
import { BAR_OFFSET, CapabilityId, COMMAND_OFFSET } from '../hw/pcie/config.layout.ts';
import type { IommuDevice } from '../iommu/core.ts';
import { high32, low32 } from '../layout/field.ts';
import { encode } from '../layout/struct.ts';
import type { Steps } from '../sim/task.ts';
import type { DeviceBackend, MsixPlacement } from '../vfio/device-backend.ts';
import { ConfigAccess } from './config-access.ts';

const BAR_COUNT = 6;
const CONFIG_BYTES = 4096;
/** Command register: memory space and bus master enable (PCIe §7.5.1.1.3). */
const MEMORY_SPACE = 1 << 1;

export interface PciBackendOptions {
  readonly name: string;
  readonly devfn: number;
  readonly iommu: IommuDevice;
  /** The IOMMU driver's part of a reset: what was under way is forgotten, ATS, PRI and PASID are enabled again. */
  readonly afterReset: () => Steps;
  readonly bus: Bus;
  readonly interrupts: InterruptController;
  /** First interrupt number for this function's vectors. */
  readonly firstInterrupt: number;
  /** Where BARs are placed, from this CPU address up. */
  readonly window: { readonly base: number; readonly size: number };
}

interface Bar {
  readonly bytes: number;
  readonly base: number;
  /** What the BAR registers hold. */
  readonly low: number;
  readonly high: number | null;
}

/** Sizes the BARs, places them and enables memory space, as firmware and the kernel's PCI core do. */
export class PciBackend implements DeviceBackend {
  readonly name: string;
  readonly iommu: IommuDevice;
  readonly configBytes = CONFIG_BYTES;
  readonly barBytes: readonly number[];
  readonly msix: MsixPlacement | null;
  readonly #config: ConfigAccess;
  readonly #bus: Bus;
  readonly #interrupts: InterruptController;
  readonly #firstInterrupt: number;
  readonly #afterReset: () => Steps;
  readonly #bars: readonly (Bar | null)[];
  readonly #msixAt: number;
  readonly #connected = new Set<number>();

  constructor(options: PciBackendOptions) {
    this.name = options.name;
    this.iommu = options.iommu;
    this.#bus = options.bus;
    this.#afterReset = options.afterReset;
    this.#interrupts = options.interrupts;
    this.#firstInterrupt = options.firstInterrupt;
    this.#config = new ConfigAccess(options.bus, options.devfn);
    this.#bars = this.#placeBars(options.window);
    this.barBytes = this.#bars.map((bar) => bar?.bytes ?? 0);
    this.#msixAt = this.#config.capability(CapabilityId.MSIX);
    this.msix = this.#msixPlacement();
    this.#config.write(COMMAND_OFFSET, 2, MEMORY_SPACE);
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    return this.#config.read(offset, size);
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#config.write(offset, size, value);
  }

  readBar(bar: number, offset: number, size: AccessSize, data: DataView): boolean {
    const base = this.#bars[bar]?.base;
    return base !== undefined && this.#bus.readSized(base + offset, size, data) === BusStatus.OK;
  }

  writeBar(bar: number, offset: number, size: AccessSize, data: DataView): boolean {
    const base = this.#bars[bar]?.base;
    return base !== undefined && this.#bus.writeSized(base + offset, size, data) === BusStatus.OK;
  }

  connectVector(index: number, handler: (() => void) | null, doorbell: number): void {
    assert(this.msix !== null && index < this.msix.vectors, `${this.name} has no vector ${index}`);
    const interrupt = this.#firstInterrupt + index;
    if (this.#connected.delete(index)) this.#interrupts.disconnect(interrupt);
    if (handler !== null) {
      this.#interrupts.connect(interrupt, handler);
      this.#connected.add(index);
    }
    // A vector is masked while its address and data change (PCIe §6.1.4.2).
    const entry = this.msix.tableOffset + index * MsixEntry.$.byteLength;
    this.#writeTable(entry, encode(MsixEntry, { Masked: 1 }), 12);
    const message = encode(MsixEntry, {
      MessageAddress: handler === null ? 0 : low32(doorbell) >>> 2,
      MessageUpperAddress: handler === null ? 0 : high32(doorbell),
      MessageData: handler === null ? 0 : interrupt,
      Masked: handler === null ? 1 : 0,
    });
    for (const offset of [0, 4, 8, 12]) this.#writeTable(entry, message, offset);
    this.#config.setControl(this.#msixAt, MsixCapability.Enable, this.#connected.size > 0 ? 1 : 0);
  }

  *reset(): Steps {
    for (const index of [...this.#connected]) this.connectVector(index, null, 0);
    const express = this.#config.capability(CapabilityId.EXPRESS);
    this.#config.setControl(express, ExpressCapability.InitiateFunctionLevelReset, 1);
    for (const [index, bar] of this.#bars.entries()) {
      if (bar === null) continue;
      this.#config.write(BAR_OFFSET + 4 * index, 4, bar.low);
      if (bar.high !== null) this.#config.write(BAR_OFFSET + 4 * index + 4, 4, bar.high);
    }
    this.#config.write(COMMAND_OFFSET, 2, MEMORY_SPACE);
    yield* this.#afterReset();
  }

  #placeBars(window: PciBackendOptions['window']): (Bar | null)[] {
    const bars = new Array<Bar | null>(BAR_COUNT).fill(null);
    let next = window.base;
    for (let index = 0; index < BAR_COUNT; index++) {
      const at = BAR_OFFSET + 4 * index;
      const type = this.#config.read(at, 4) & 0xf;
      this.#config.write(at, 4, 0xffff_ffff);
      const mask = (this.#config.read(at, 4) & ~0xf) >>> 0;
      if (mask === 0) continue;
      const bytes = (-mask >>> 0) % 2 ** 32;
      const base = Math.ceil(next / bytes) * bytes;
      assert(base + bytes <= window.base + window.size, `${this.name}: BAR ${index} of ${bytes} bytes does not fit`);
      next = base + bytes;
      const wide = (type & 0b110) === 0b100;
      this.#config.write(at, 4, low32(base));
      if (wide) this.#config.write(at + 4, 4, high32(base));
      bars[index] = { bytes, base, low: low32(base), high: wide ? high32(base) : null };
      if (wide) index += 1;
    }
    return bars;
  }

  #msixPlacement(): MsixPlacement | null {
    if (this.#msixAt === 0) return null;
    return {
      vectors: this.#config.get(this.#msixAt, MsixCapability.TableSize) + 1,
      tableBar: this.#config.get(this.#msixAt, MsixCapability.TableBIR),
      tableOffset: this.#config.get(this.#msixAt, MsixCapability.TableOffset) * 8,
    };
  }

  #writeTable(entry: number, message: DataView, offset: number): void {
    const bar = this.msix?.tableBar ?? 0;
    const word = new DataView(message.buffer, offset, 4);
    assert(this.writeBar(bar, entry + offset, 4, word), `${this.name}: its MSI-X table answers`);
  }
}
