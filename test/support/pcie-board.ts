/** A root complex over RAM with an interrupt frame and a {@link PagedAgent}: what tests of functions stand on. */
import { Bus } from '../../src/hw/bus.ts';
import { InterruptController, MSI_FRAME_BYTES } from '../../src/hw/interrupts.ts';
import { Memory } from '../../src/hw/memory.ts';
import { ExtendedCapabilityId } from '../../src/hw/pcie/config.layout.ts';
import type { PcieFunction } from '../../src/hw/pcie/function.ts';
import { RootComplex } from '../../src/hw/pcie/root-complex.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';
import { Clock } from '../../src/sim/clock.ts';
import { PagedAgent, type PagedAgentOptions } from './paged-agent.ts';

export const ECAM = 0x40_1000_0000;
export const WINDOW = 0x1000_0000;
export const MSI = 0x0802_0000;

export interface PcieBoardOptions {
  readonly agent?: Partial<PagedAgentOptions>;
  readonly linkNs?: number;
}

export function pcieBoard(options: PcieBoardOptions = {}) {
  const clock = new Clock();
  const memory = new Memory(0x4000_0000, 0x1000_0000);
  const bus = new Bus(memory);
  const interrupts = new InterruptController({ clock, latencyNs: 0 });
  bus.map(MSI, MSI_FRAME_BYTES, interrupts.frame);
  const agent = new PagedAgent({ clock, memory, ...options.agent });
  const root = new RootComplex({
    clock,
    bus,
    linkNs: options.linkNs ?? 0,
    ecamBase: ECAM,
    windows: [{ base: WINDOW, size: 0x100_0000 }],
  });
  agent.fabric = root;
  // Messages for the doorbell go past the page table.
  root.connect({
    memory: (request) => {
      if (request.page !== MSI / 4096) return agent.memory(request);
      bus.write(MSI + request.offset, request.data, 0, request.length);
      return Completion.SUCCESS;
    },
    translate: (request) => agent.translate(request),
    pageRequest: (message) => agent.pageRequest(message),
  });
  const data = new DataView(new ArrayBuffer(8));

  function write(address: number, size: 1 | 2 | 4, value: number): void {
    data.setUint32(0, value, true);
    bus.writeSized(address, size, data);
  }
  function read(address: number, size: 1 | 2 | 4): number {
    data.setUint32(0, 0, true);
    bus.readSized(address, size, data);
    return data.getUint32(0, true);
  }
  const write32 = (address: number, value: number) => write(address, 4, value);
  const read32 = (address: number) => read(address, 4);
  /** Runs the clock until nothing is due, or up to `limitNs`. */
  function run(limitNs = Number.POSITIVE_INFINITY): void {
    while (clock.fireNext(limitNs));
  }
  const config = (devfn: number, offset: number) => ECAM + devfn * 4096 + offset;

  /** Lets a function master the bus, and turns on what is asked for, PASID before ATS. */
  function enable(devfn: number, features: { ats?: boolean; credits?: number; pasid?: boolean } = {}): void {
    const target = root.function(devfn) as PcieFunction;
    write(config(devfn, 4), 2, 6);
    const at = (id: number) => target.config.extendedCapability(id);
    if (features.pasid === true) write(config(devfn, at(ExtendedCapabilityId.PASID) + 6), 2, 7);
    if (features.credits !== undefined) {
      write(config(devfn, at(ExtendedCapabilityId.PRI) + 12), 4, features.credits);
      write(config(devfn, at(ExtendedCapabilityId.PRI) + 4), 2, 1);
    }
    if (features.ats === true) write(config(devfn, at(ExtendedCapabilityId.ATS) + 6), 2, 0x8000);
  }

  return { clock, memory, bus, interrupts, agent, root, write, read, write32, read32, run, config, enable };
}

export type PcieBoard = ReturnType<typeof pcieBoard>;
