/** `/dev/vfio/N`: the functions that the IOMMU cannot tell apart, which are given to user space together. */
import { Errno } from '../errno.ts';
import { Mutex } from '../sim/locks.ts';
import type { Steps } from '../sim/task.ts';
import { Container } from './container.ts';
import { Device } from './device.ts';
import type { DeviceBackend } from './device-backend.ts';
import type { Environment } from './environment.ts';
import { type Caller, type IoctlArgument, structure, type VfioFile } from './files.ts';
import { GroupFlags, GroupStatus, Ioctl } from './uapi.layout.ts';

/** Longest device name that VFIO_GROUP_GET_DEVICE_FD looks at, its end included. */
const NAME_BYTES_MAX = 4096;

export class Group implements VfioFile {
  readonly name: string;
  readonly number: number;
  readonly devices: readonly DeviceBackend[];
  readonly #environment: Environment;
  #container: Container | null = null;
  readonly #open = new Set<Device>();
  /** The group's own descriptors and those of its devices: the container is left when all are closed. */
  #users = 0;
  /** One change of container or opening of a device at a time. */
  readonly #changes: Mutex;

  constructor(environment: Environment, number: number, devices: readonly DeviceBackend[]) {
    this.name = `group ${number}`;
    this.number = number;
    this.devices = devices;
    this.#environment = environment;
    this.#changes = new Mutex(environment.scheduler, `changes of ${this.name}`);
  }

  /** Opens the group's file. 0, or -EBUSY: one user at a time. */
  open(): number {
    if (this.#users > 0) return Errno.EBUSY;
    this.#users = 1;
    return Errno.OK;
  }

  get container(): Container | null {
    return this.#container;
  }

  *ioctl(caller: Caller, request: number, argument: IoctlArgument): Steps<number> {
    switch (request) {
      case Ioctl.VFIO_GROUP_GET_STATUS:
        return this.#status(argument);
      case Ioctl.VFIO_GROUP_SET_CONTAINER:
        return yield* this.#changing(() => this.#setContainer(caller, argument));
      case Ioctl.VFIO_GROUP_UNSET_CONTAINER:
        return yield* this.#changing(() => this.#unsetContainer());
      case Ioctl.VFIO_GROUP_GET_DEVICE_FD:
        return yield* this.#getDevice(caller, argument);
      default:
        return Errno.ENOTTY;
    }
  }

  *release(): Steps {
    yield* this.#drop();
  }

  /** A device's last descriptor was closed. */
  *deviceReleased(device: Device): Steps {
    this.#open.delete(device);
    yield* this.#drop();
  }

  *#changing<T>(steps: () => Steps<T>): Steps<T> {
    yield* this.#changes.lock();
    const result = yield* steps();
    this.#changes.unlock();
    return result;
  }

  *#drop(): Steps {
    yield* this.#changes.lock();
    this.#users -= 1;
    const container = this.#container;
    if (this.#users === 0 && container !== null) {
      this.#container = null;
      yield* container.detach(this);
    }
    this.#changes.unlock();
  }

  #status(argument: IoctlArgument): number {
    const view = structure(argument, GroupStatus.$.byteLength);
    if (view === null) return Errno.EFAULT;
    if (GroupStatus.ARGSZ.get(view) < GroupStatus.$.byteLength) return Errno.EINVAL;
    // Every function of a group is bound to VFIO here, so a group is always viable.
    GroupStatus.FLAGS.set(view, 0, GroupFlags.VIABLE | (this.#container === null ? 0 : GroupFlags.CONTAINER_SET));
    return Errno.OK;
  }

  *#setContainer(caller: Caller, argument: IoctlArgument): Steps<number> {
    const view = structure(argument, 4);
    if (view === null) return Errno.EFAULT;
    const descriptor = view.getInt32(0, true);
    const file = caller.file(descriptor);
    if (file === Errno.EBADF) return file;
    if (this.#container !== null || !(file instanceof Container)) return Errno.EINVAL;
    this.#container = file;
    const status = yield* file.attach(this);
    if (status !== Errno.OK) this.#container = null;
    return status;
  }

  *#unsetContainer(): Steps<number> {
    const container = this.#container;
    if (container === null) return Errno.EINVAL;
    if (this.#open.size > 0) return Errno.EBUSY;
    this.#container = null;
    yield* container.detach(this);
    return Errno.OK;
  }

  *#getDevice(caller: Caller, argument: IoctlArgument): Steps<number> {
    if (typeof argument === 'number') return Errno.EFAULT;
    const name = textOf(argument);
    if (name === null) return argument.byteLength < NAME_BYTES_MAX ? Errno.EFAULT : Errno.EINVAL;
    const device = yield* this.#changing(() => this.#openDevice(name));
    if (typeof device === 'number') return device;
    const descriptor = caller.install(device);
    if (descriptor < 0) yield* device.release();
    return descriptor;
  }

  /** The device of that name with one more descriptor to come, or an errno. */
  *#openDevice(name: string): Steps<Device | number> {
    const backend = this.devices.find((candidate) => candidate.name === name);
    if (backend === undefined) return Errno.ENODEV;
    const type1 = this.#container?.type1 ?? null;
    if (type1 === null) return Errno.EINVAL;
    const shared = [...this.#open].find((device) => device.backend === backend);
    if (shared !== undefined) {
      shared.openedAgain();
      return shared;
    }
    const device = new Device(this.#environment, backend, this, type1);
    this.#open.add(device);
    this.#users += 1;
    yield* device.opened();
    return device;
  }
}

/** A NUL-terminated string, or null without its end. */
function textOf(view: DataView): string | null {
  let text = '';
  for (let index = 0; index < Math.min(view.byteLength, NAME_BYTES_MAX); index++) {
    const byte = view.getUint8(index);
    if (byte === 0) return text;
    text += String.fromCharCode(byte);
  }
  return null;
}
