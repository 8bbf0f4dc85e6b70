/** The devices of a container, each with a number that it keeps while it stays: by it a guest knows the device. */
import type { IommuDevice } from '../iommu/core.ts';

export class DeviceSet implements Iterable<IommuDevice> {
  /** By number; null where a device has left. */
  readonly #devices: (IommuDevice | null)[] = [];

  /** Takes a device in, under the lowest number that is free. */
  add(device: IommuDevice): void {
    if (this.has(device)) return;
    const free = this.#devices.indexOf(null);
    if (free < 0) this.#devices.push(device);
    else this.#devices[free] = device;
  }

  delete(device: IommuDevice): void {
    const number = this.numberOf(device);
    if (number >= 0) this.#devices[number] = null;
  }

  has(device: IommuDevice): boolean {
    return this.numberOf(device) >= 0;
  }

  /** The number of a device, or -1. */
  numberOf(device: IommuDevice): number {
    return this.#devices.indexOf(device);
  }

  /** The device of a number, or null. */
  at(number: number): IommuDevice | null {
    return this.#devices[number] ?? null;
  }

  /** By number; what leaves meanwhile is not met. */
  *[Symbol.iterator](): Iterator<IommuDevice> {
    for (const device of this.#devices) if (device !== null) yield device;
  }
}
