/** `/dev/vfio/vfio`: a container of groups that share one I/O address space. */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import { Mutex } from '../sim/locks.ts';
import type { Steps } from '../sim/task.ts';
import type { Environment } from './environment.ts';
import type { Caller, IoctlArgument, VfioFile } from './files.ts';
import type { Group } from './group.ts';
import { Type1 } from './type1.ts';
import { checkExtension, type1Ioctl } from './type1-ioctl.ts';
import { Extension, Ioctl, VFIO_API_VERSION } from './uapi.layout.ts';

export class Container implements VfioFile {
  readonly name: string;
  readonly #environment: Environment;
  readonly #groups = new Set<Group>();
  #type1: Type1 | null = null;
  #closed = false;
  /** One change of groups or IOMMU at a time. */
  readonly #changes: Mutex;
  readonly #released: (container: Container) => void;

  /** `released` runs once neither a descriptor nor a group refers to the container any more. */
  constructor(environment: Environment, name: string, released: (container: Container) => void) {
    this.name = name;
    this.#environment = environment;
    this.#released = released;
    this.#changes = new Mutex(environment.scheduler, `changes of ${name}`);
  }

  /** Null until VFIO_SET_IOMMU, and again when the last group left. */
  get type1(): Type1 | null {
    return this.#type1;
  }

  *ioctl(caller: Caller, request: number, argument: IoctlArgument): Steps<number> {
    switch (request) {
      case Ioctl.VFIO_GET_API_VERSION:
        return VFIO_API_VERSION;
      case Ioctl.VFIO_CHECK_EXTENSION:
        return typeof argument === 'number' ? checkExtension(this.#type1, argument) : 0;
      case Ioctl.VFIO_SET_IOMMU:
        return typeof argument === 'number' ? yield* this.#changing(() => this.#setIommu(argument)) : Errno.ENODEV;
      default:
        if (this.#type1 === null) return Errno.EINVAL;
        return yield* type1Ioctl(this.#type1, caller, request, argument);
    }
  }

  *release(): Steps {
    this.#closed = true;
    this.#settle();
  }

  /** VFIO_GROUP_SET_CONTAINER. 0, or what the IOMMU answered. */
  *attach(group: Group): Steps<number> {
    return yield* this.#changing(() => this.#attach(group));
  }

  /** VFIO_GROUP_UNSET_CONTAINER, or the end of the group's file. With the last group the IOMMU goes, and all mappings. */
  *detach(group: Group): Steps {
    yield* this.#changing(() => this.#detach(group));
  }

  *#changing<T>(steps: () => Steps<T>): Steps<T> {
    yield* this.#changes.lock();
    const result = yield* steps();
    this.#changes.unlock();
    return result;
  }

  *#attach(group: Group): Steps<number> {
    // Its descriptor was closed while this waited.
    if (this.#closed && this.#groups.size === 0) return Errno.EBADF;
    this.#groups.add(group);
    if (this.#type1 === null) return Errno.OK;
    const status = yield* this.#type1.attach(group.devices);
    if (status !== Errno.OK) this.#groups.delete(group);
    return status;
  }

  *#detach(group: Group): Steps {
    assert(this.#groups.delete(group), `${group.name} is in ${this.name}`);
    const type1 = this.#type1;
    if (type1 !== null) {
      yield* type1.detach(group.devices);
      if (this.#groups.size === 0) {
        this.#type1 = null;
        yield* type1.release();
      }
    }
    this.#settle();
  }

  *#setIommu(type: number): Steps<number> {
    if (this.#groups.size === 0 || this.#type1 !== null) return Errno.EINVAL;
    const { VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_NESTING_IOMMU } = Extension;
    if (type !== VFIO_TYPE1_IOMMU && type !== VFIO_TYPE1v2_IOMMU && type !== VFIO_TYPE1_NESTING_IOMMU) {
      // The kernel asks who knows the number, then that one whether it can be: other extensions get as far as this.
      return checkExtension(null, type) > 0 ? Errno.EINVAL : Errno.ENODEV;
    }
    const nesting = type === VFIO_TYPE1_NESTING_IOMMU;
    const environment = nesting
      ? { ...this.#environment, domain: { ...this.#environment.domain, stage: 2 as const } }
      : this.#environment;
    const type1 = newType1(environment, this.name, type !== VFIO_TYPE1_IOMMU, nesting);
    if (type1 === null) return Errno.EIO;
    this.#type1 = type1;
    const attached: Group[] = [];
    for (const group of this.#groups) {
      const status = yield* type1.attach(group.devices);
      if (status === Errno.OK) {
        attached.push(group);
        continue;
      }
      for (const earlier of attached.reverse()) yield* type1.detach(earlier.devices);
      yield* type1.release();
      this.#type1 = null;
      return status;
    }
    return Errno.OK;
  }

  #settle(): void {
    if (this.#closed && this.#groups.size === 0) this.#released(this);
  }
}

/** Null where the IOMMU has no address space of that kind to give. */
function newType1(environment: Environment, name: string, v2: boolean, nesting: boolean): Type1 | null {
  try {
    return new Type1(environment, name, v2, nesting);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
