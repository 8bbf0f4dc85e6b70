/** A host process with flat memory and no devices, for tests of what runs in it. */
import { type Logger, pino } from 'pino';
import { Errno } from '../../src/errno.ts';
import type { HostProcess } from '../../src/guest/host-process.ts';
import type { Steps } from '../../src/sim/task.ts';

export class FakeProcess implements HostProcess {
  readonly #memory: Uint8Array;
  /** Bytes of memory that were mapped. */
  mapped = 0;

  constructor(memoryBytes: number) {
    this.#memory = new Uint8Array(memoryBytes);
  }

  *open(_path: string): Steps<number> {
    return Errno.ENOENT;
  }

  *close(_descriptor: number): Steps<number> {
    return Errno.EBADF;
  }

  *ioctl(_descriptor: number, _request: number, _argument: DataView | number): Steps<number> {
    return Errno.EBADF;
  }

  *pread(_descriptor: number, _target: DataView, _offset: number): Steps<number> {
    return Errno.EBADF;
  }

  *pwrite(_descriptor: number, _source: DataView, _offset: number): Steps<number> {
    return Errno.EBADF;
  }

  *mmap(length: number): Steps<number> {
    const address = this.mapped;
    this.mapped += length;
    return this.mapped <= this.#memory.length ? address : Errno.ENOMEM;
  }

  *munmap(_address: number, length: number): Steps<number> {
    this.mapped -= length;
    return 0;
  }

  *load(address: number, target: Uint8Array): Steps<number> {
    if (address < 0 || address + target.length > this.#memory.length) return Errno.EFAULT;
    target.set(this.#memory.subarray(address, address + target.length));
    return 0;
  }

  *store(address: number, source: Uint8Array): Steps<number> {
    if (address < 0 || address + source.length > this.#memory.length) return Errno.EFAULT;
    this.#memory.set(source, address);
    return 0;
  }

  eventfd(_signalled: () => void): number {
    return 0;
  }
}

/** A logger with every level off. */
export const silentLog = (): Logger => pino({ level: 'silent' });
