/**
 * The host process that runs a virtual machine, as user space sees its kernel: system calls and its own memory. Results
 * are non-negative, or a negative errno.
 */
import type { Steps } from '../sim/task.ts';

export interface HostProcess {
  /** `/dev/vfio/vfio`, `/dev/vfio/GROUP`. A file descriptor. */
  open(path: string): Steps<number>;
  close(descriptor: number): Steps<number>;
  /** `argument` is the structure a pointer would name, or the plain number some requests take. */
  ioctl(descriptor: number, request: number, argument: DataView | number): Steps<number>;
  /** Reads a region of a device file; `offset` as VFIO_DEVICE_GET_REGION_INFO gave it, plus the place in the region. */
  pread(descriptor: number, target: DataView, offset: number): Steps<number>;
  pwrite(descriptor: number, source: DataView, offset: number): Steps<number>;
  /** Anonymous private memory of `length` bytes, readable and writable: its virtual address, page aligned. */
  mmap(length: number): Steps<number>;
  munmap(address: number, length: number): Steps<number>;
  /** CPU accesses to the process's own memory; missing pages are faulted in. -EFAULT outside any area. */
  load(address: number, target: Uint8Array): Steps<number>;
  store(address: number, source: Uint8Array): Steps<number>;
  /** An event descriptor for VFIO_DEVICE_SET_IRQS; `signalled` runs each time the kernel signals it. */
  eventfd(signalled: () => void): number;
}
