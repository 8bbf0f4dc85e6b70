/** What `-device` can plug in. A device is loaded when a command line asks for it: servers are started often. */
import { CommandLineError, type DeviceRequest } from './command-line.ts';
import type { DeviceFactory } from './virt-board.ts';

interface DeviceType {
  /** Properties beside those of every device. */
  readonly properties: readonly string[];
  readonly create: (request: DeviceRequest) => Promise<DeviceFactory>;
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
    create: async () => {
      const { IommuTestdev } = await import('../hw/devices/iommu-testdev.ts');
      return ({ clock, bus }) => new IommuTestdev({ clock, bus });
    },
  },
  edu: {
    properties: ['dma_mask'],
    create: async (request) => {
      const dmaBits = maskBits(request, 'dma_mask');
      const { Edu } = await import('../hw/devices/edu.ts');
      return ({ clock, interrupt }) => new Edu({ clock, interrupt, ...(dmaBits !== undefined && { dmaBits }) });
    },
  },
  'faultline-accelerator': {
    properties: [],
    create: async () => {
      const { Accelerator } = await import('../hw/devices/accelerator.ts');
      return ({ clock, latency, invariants, log }) =>
        new Accelerator({ clock, name: 'accelerator', latency, invariants, log });
    },
  },
};

export const DEVICE_TYPES: readonly string[] = Object.keys(TYPES);

/**
 * The devices of a command line at their places: those without an address take the next free slot from 01.0 on.
 *
 * @throws CommandLineError for an unknown type or property, or a place that is taken.
 */
export async function plugDevices(
  requests: readonly DeviceRequest[],
): Promise<{ readonly devfn: number; readonly create: DeviceFactory }[]> {
  const taken = new Set<number>([0, ...requests.flatMap(({ devfn }) => (devfn === undefined ? [] : [devfn]))]);
  const placed = new Set<number>([0]);
  const plugged = requests.map((request) => {
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
    return type.create(request).then((create) => ({ devfn, create }));
  });
  return Promise.all(plugged);
}

function freeSlot(taken: ReadonlySet<number>): number {
  for (let devfn = 8; devfn < 256; devfn += 8) if (!taken.has(devfn)) return devfn;
  throw new CommandLineError('-device: no slot is free');
}
