/**
 * The silicon of the board behind a protocol: RAM, SMMU, root complex with its devices, interrupt inputs. No driver
 * runs; whoever speaks the protocol is the driver. A reset builds everything anew around the same RAM and time.
 */
import { type AccessSize, Bus, BusStatus } from '../hw/bus.ts';
import type { InterruptLine } from '../hw/interrupts.ts';
import { Memory } from '../hw/memory.ts';
import { DirectMemory } from '../hw/pcie/direct-memory.ts';
import type { PcieFunction } from '../hw/pcie/function.ts';
import { RootComplex } from '../hw/pcie/root-complex.ts';
import { VIRT } from '../hw/virt-map.ts';
import type { FeatureOptions } from '../iommu/smmuv3/features.ts';
import { Smmu } from '../iommu/smmuv3/smmu.ts';
import { Clock } from '../sim/clock.ts';
import { Invariants } from '../sim/invariants.ts';
import type { Log } from '../sim/log.ts';
import type { Latency } from '../sim/profile.ts';
import { Trace } from '../sim/trace.ts';
import { InterruptPins, type PinObserver } from './interrupt-pins.ts';

/** Makes a device for a board; called again at each reset. */
export type DeviceFactory = (parts: BoardParts) => PcieFunction;

/** What a device of the board is built from. */
export interface BoardParts {
  readonly clock: Clock;
  readonly bus: Bus;
  readonly latency: Latency;
  readonly invariants: Invariants;
  readonly log: Log;
  /** INTA# of the device's slot. */
  readonly interrupt: InterruptLine;
}

export interface VirtBoardOptions {
  readonly ramBytes: number;
  /** What the SMMU announces; null for a board without one. */
  readonly smmu: FeatureOptions | null;
  /** Devices by device and function. */
  readonly devices: readonly { readonly devfn: number; readonly create: DeviceFactory }[];
  readonly latency: Latency;
  readonly log: Log;
}

/** All that a reset replaces. */
interface Silicon {
  readonly clock: Clock;
  readonly bus: Bus;
}

export class VirtBoard {
  readonly pins = new InterruptPins();
  readonly #options: VirtBoardOptions;
  readonly #memory: Memory;
  #silicon: Silicon;

  constructor(options: VirtBoardOptions) {
    this.#options = options;
    this.#memory = new Memory(VIRT.ram.base, options.ramBytes);
    this.#silicon = this.#build(0);
  }

  get now(): number {
    return this.#silicon.clock.now;
  }

  get nextTimer(): number {
    return this.#silicon.clock.next;
  }

  /** Everything but RAM and time as after power-on. */
  reset(): void {
    this.pins.reset();
    this.#silicon = this.#build(this.now);
  }

  settle(): void {
    const { clock } = this.#silicon;
    const { now } = clock;
    while (clock.next <= now) clock.fireNext(now);
  }

  advance(instantNs: number): void {
    const { clock } = this.#silicon;
    while (clock.next <= instantNs) clock.fireNext(instantNs);
    clock.advanceTo(instantNs);
  }

  readSized(address: number, size: AccessSize, data: DataView): void {
    // Devices take aligned accesses; memory takes any.
    if (address % size !== 0) {
      this.#readBytes(address, size, data);
      return;
    }
    if (this.#silicon.bus.readSized(address, size, data) !== BusStatus.OK) data.setBigUint64(0, 0n);
  }

  writeSized(address: number, size: AccessSize, data: DataView): void {
    if (address % size === 0) this.#silicon.bus.writeSized(address, size, data);
    else if (this.#memory.contains(address, size)) {
      this.#memory.write(address, new Uint8Array(data.buffer, data.byteOffset, size));
    }
  }

  read(address: number, target: Uint8Array, length: number): void {
    if (this.#memory.contains(address, length)) {
      this.#memory.read(address, target, 0, length);
      return;
    }
    this.#pieces(address, length, (at, offset, count) => {
      if (this.#silicon.bus.read(at, target, offset, count) !== BusStatus.OK) target.fill(0, offset, offset + count);
    });
  }

  write(address: number, source: Uint8Array, length: number): void {
    if (this.#memory.contains(address, length)) {
      this.#memory.write(address, source, 0, length);
      return;
    }
    this.#pieces(address, length, (at, offset, count) => {
      this.#silicon.bus.write(at, source, offset, count);
    });
  }

  fill(address: number, length: number, value: number): void {
    if (this.#memory.contains(address, length)) this.#memory.fill(address, length, value);
    else this.write(address, new Uint8Array(length).fill(value), length);
  }

  /** Shows each change of an interrupt input. */
  watchPins(observer: PinObserver | null): void {
    this.pins.watch(observer);
  }

  #readBytes(address: number, size: AccessSize, data: DataView): void {
    if (!this.#memory.contains(address, size)) return;
    this.#memory.read(address, new Uint8Array(data.buffer, data.byteOffset, size));
  }

  /** A block as the part in RAM and the parts around it: what nobody answers does not spoil the rest. */
  #pieces(address: number, length: number, access: (at: number, offset: number, length: number) => void): void {
    const { base, size } = this.#memory;
    const end = address + length;
    const edges = [base, base + size].filter((edge) => edge > address && edge < end);
    let at = address;
    for (const edge of [...edges, end]) {
      if (this.#memory.contains(at, edge - at)) access(at, at - address, edge - at);
      else for (; at < edge; at += 8 - (at % 8)) access(at, at - address, Math.min(8 - (at % 8), edge - at));
      at = edge;
    }
  }

  #build(now: number): Silicon {
    const { smmu, devices, latency, log } = this.#options;
    const clock = new Clock();
    clock.advanceTo(now);
    const bus = new Bus(this.#memory);
    const invariants = new Invariants();
    const rootComplex = new RootComplex({
      clock,
      bus,
      linkNs: latency.link,
      ecamBase: VIRT.ecam.base,
      windows: [VIRT.pcieWindow, VIRT.pcieHighWindow],
    });
    bus.map(VIRT.msiFrame.base, VIRT.msiFrame.size, this.pins.frame);
    if (smmu === null) rootComplex.connect(new DirectMemory(bus, latency.memoryAccess));
    else {
      const { event, priority, sync, globalError } = VIRT.smmuInterrupts;
      const agent = new Smmu({
        clock,
        bus,
        fabric: rootComplex,
        lines: {
          event: this.pins.line(event),
          priority: this.pins.line(priority),
          sync: this.pins.line(sync),
          globalError: this.pins.line(globalError),
        },
        latency,
        invariants,
        log,
        trace: new Trace(clock, 0),
        features: smmu,
        // Virtual time stands still between requests: everything would be within one merging window.
        eventMergeWindowNs: 0,
      });
      bus.map(VIRT.smmu.base, VIRT.smmu.size, agent);
      rootComplex.connect(agent);
    }
    for (const { devfn, create } of devices) {
      // The pins of the slots take turns at the four inputs.
      const interrupt = this.pins.sharedLine(VIRT.firstPcieInterrupt + (Math.floor(devfn / 8) % 4));
      rootComplex.plug(devfn, create({ clock, bus, latency, invariants, log, interrupt }));
    }
    return { clock, bus };
  }
}
