/**
 * A host process as its kernel serves it: file descriptors, system calls, its own memory. It has the shape that the guest
 * expects of its host process. Results are non-negative, or a negative errno.
 */
import { Errno } from '../errno.ts';
import type { AddressSpace } from '../mm/address-space.ts';
import type { Latency } from '../sim/profile.ts';
import type { Steps } from '../sim/task.ts';
import type { Caller, EventFile, IoctlArgument, VfioFile } from './files.ts';
import type { Vfio } from './vfio.ts';

/** Descriptors of a process, standard streams included. */
const DESCRIPTOR_LIMIT = 1024;
const FIRST_DESCRIPTOR = 3;

export interface ProcessOptions {
  readonly vfio: Vfio;
  readonly space: AddressSpace;
  readonly latency: Latency;
}

/** An entry of the descriptor table. A file is released when its descriptor is closed and no call uses it any more. */
interface Descriptor {
  readonly vfio: VfioFile | null;
  readonly event: EventFile | null;
  calls: number;
  closed: boolean;
}

export class Process implements Caller {
  readonly space: AddressSpace;
  readonly #vfio: Vfio;
  readonly #latency: Latency;
  readonly #files = new Map<number, Descriptor>();

  constructor(options: ProcessOptions) {
    this.space = options.space;
    this.#vfio = options.vfio;
    this.#latency = options.latency;
  }

  /** Open descriptors. */
  get descriptorCount(): number {
    return this.#files.size;
  }

  *open(path: string): Steps<number> {
    yield* this.#enter();
    if (this.#free() < 0) return Errno.EMFILE;
    const file = this.#vfio.open(path);
    return typeof file === 'number' ? file : this.install(file);
  }

  *close(descriptor: number): Steps<number> {
    yield* this.#enter();
    const file = this.#files.get(descriptor);
    if (file === undefined) return Errno.EBADF;
    this.#files.delete(descriptor);
    file.closed = true;
    if (file.calls === 0) yield* file.vfio?.release() ?? nothing();
    return Errno.OK;
  }

  *ioctl(descriptor: number, request: number, argument: IoctlArgument): Steps<number> {
    return yield* this.#call(descriptor, (file) => file.ioctl(this, request, argument));
  }

  *pread(descriptor: number, target: DataView, offset: number): Steps<number> {
    return yield* this.#call(descriptor, (file) => file.pread?.(target, offset) ?? constant(Errno.EINVAL));
  }

  *pwrite(descriptor: number, source: DataView, offset: number): Steps<number> {
    return yield* this.#call(descriptor, (file) => file.pwrite?.(source, offset) ?? constant(Errno.EINVAL));
  }

  *mmap(length: number): Steps<number> {
    yield* this.#enter();
    return this.space.mmap(length);
  }

  *munmap(address: number, length: number): Steps<number> {
    yield* this.#enter();
    return yield* this.space.munmap(address, length);
  }

  *load(address: number, target: Uint8Array): Steps<number> {
    return yield* this.space.load(address, target);
  }

  *store(address: number, source: Uint8Array): Steps<number> {
    return yield* this.space.store(address, source);
  }

  /** An event descriptor; `signalled` runs each time the kernel signals it. */
  eventfd(signalled: () => void): number {
    return this.#add(null, { signal: signalled });
  }

  /** Ends the process as the kernel does: its memory goes first, then its files are closed. */
  *exit(): Steps {
    yield* this.space.exit();
    for (const descriptor of [...this.#files.keys()]) yield* this.close(descriptor);
  }

  file(descriptor: number): VfioFile | number {
    const file = this.#files.get(descriptor);
    return file === undefined ? Errno.EBADF : (file.vfio ?? Errno.EINVAL);
  }

  event(descriptor: number): EventFile | number {
    const file = this.#files.get(descriptor);
    return file === undefined ? Errno.EBADF : (file.event ?? Errno.EINVAL);
  }

  install(file: VfioFile): number {
    return this.#add(file, null);
  }

  #add(vfio: VfioFile | null, event: EventFile | null): number {
    const descriptor = this.#free();
    if (descriptor >= 0) this.#files.set(descriptor, { vfio, event, calls: 0, closed: false });
    return descriptor;
  }

  /** A call on a VFIO file, which stays until the call is over. */
  *#call(descriptor: number, act: (file: VfioFile) => Steps<number>): Steps<number> {
    yield* this.#enter();
    const file = this.#files.get(descriptor);
    if (file === undefined) return Errno.EBADF;
    if (file.vfio === null) return Errno.ENOTTY;
    file.calls += 1;
    const result = yield* act(file.vfio);
    file.calls -= 1;
    if (file.closed && file.calls === 0) yield* file.vfio.release();
    return result;
  }

  /** The lowest descriptor that is not in use, or -EMFILE. */
  #free(): number {
    for (let descriptor = FIRST_DESCRIPTOR; descriptor < DESCRIPTOR_LIMIT; descriptor++) {
      if (!this.#files.has(descriptor)) return descriptor;
    }
    return Errno.EMFILE;
  }

  *#enter(): Steps {
    if (this.#latency.systemCall > 0) yield this.#latency.systemCall;
  }
}

function* constant(result: number): Steps<number> {
  return result;
}

function* nothing(): Steps {}
