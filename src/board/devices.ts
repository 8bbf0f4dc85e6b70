/** What `-device` can plug in. */
import { Accelerator } from '../hw/devices/accelerator.ts';
import { Edu } from '../hw/devices/edu.ts';
import { IommuTestdev } from '../hw/devices/iommu-testdev.ts';
import { CommandLineError, type DeviceRequest } from './command-line.ts';
import type { DeviceFactory } from './virt-board.ts';

interface DeviceType {
  /** Properties beside those of every device. */
  readonly properties: readonly string[];
  readonly create: (request: DeviceRequest) => DeviceFactory;
}

/** How many low bits a mask of QEMU's type uint64 has. */
function maskBits(request: DeviceRequest, property: string): number | undefined {
  const text = request.properties[property];
  if (text === undefined) return undefined;
  const value = /^(0[xX][0-9a-fA-F]+|\d+)$/.test(text) ? BigInt(text) : -1n;
  const bits = value.toString(2).length;
  if (value !== 2n ** BigInt(bits) - 1n || bits > 64) {
    throw new CommandLineError(`-device ${request.type}: ${property}=${text}: a mask of 1 to 64 low bits is expected`);
  }
  return bits;
}

const TYPES: Readonly<Record<string, DeviceType>> = {
  'iommu-testdev': {
    properties: [],
    create:
      () =>
      ({ clock, bus }) =>
        new IommuTestdev({ clock, bus }),
  },
  edu: {
    properties: ['dma_mask'],
    create: (request) => {
      const dmaBits = maskBits(request, 'dma_mask');
      return ({ clock, interrupt }) => new Edu({ clock, interrupt, ...(dmaBits !== undefined && { dmaBits }) });
    },
  },
  'faultline-accelerator': {
    properties: [],
    create:
      () =>
      ({ clock, latency, invariants, log }) =>
        new Accelerator({ clock, name: 'accelerator', latency, invariants, log }),
  },
};

export const DEVICE_TYPES: readonly string[] = Object.keys(TYPES);

/**
 * The devices of a command line at their places: those without an address take the next free slot from 01.0 on.
 *
 * @throws CommandLineError for an unknown type or property, or a place that is taken.
 */
export function plugDevices(
  requests: readonly DeviceRequest[],
): { readonly devfn: number; readonly create: DeviceFactory }[] {
  const taken = new Set<number>([0, ...requests.flatMap(({ devfn }) => (devfn === undefined ? [] : [devfn]))]);
  const placed = new Set<number>([0]);
  return requests.map((request) => {
    const type = TYPES[request.type];
    if (type === undefined) throw new CommandLineError(`'${request.type}' is not a valid device model name`);
    for (const property of Object.keys(request.properties)) {
      if (type.properties.includes(property)) continue;
      throw new CommandLineError(`-device ${request.type}: Property '${request.type}.${property}' not found`);
    }
    const devfn = request.devfn ?? freeSlot(taken);
    if (placed.has(devfn)) {
      const place = `${(devfn >> 3).toString(16)}.${devfn & 7}`;
      throw new CommandLineError(`-device ${request.type}: PCI: slot ${place} is not free`);
    }
    taken.add(devfn);
    placed.add(devfn);
    return { devfn, create: type.create(request) };
  });
}

function freeSlot(taken: ReadonlySet<number>): number {
  for (let devfn = 8; devfn < 256; devfn += 8) if (!taken.has(devfn)) return devfn;
  throw new CommandLineError('-device: no slot is free');
}
