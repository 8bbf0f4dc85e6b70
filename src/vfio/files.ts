/** What VFIO's file descriptors have in common, and what a system call may ask of the process that makes it. */
import type { AddressSpace } from '../mm/address-space.ts';
import type { Steps } from '../sim/task.ts';

/** The argument of an ioctl: the structure a pointer names, or a number. */
export type IoctlArgument = DataView | number;

/** An open file. Calls return a non-negative number or a negative errno. */
export interface VfioFile {
  readonly name: string;
  ioctl(caller: Caller, request: number, argument: IoctlArgument): Steps<number>;
  pread?(target: DataView, offset: number): Steps<number>;
  pwrite?(source: DataView, offset: number): Steps<number>;
  /** The last descriptor was closed. */
  release(): Steps;
}

/** Something the kernel can signal. */
export interface EventFile {
  signal(): void;
}

/** The process that makes a system call. */
export interface Caller {
  readonly space: AddressSpace;
  /** The VFIO file behind a descriptor; -EBADF where nothing is open, -EINVAL where it is something else. */
  file(descriptor: number): VfioFile | number;
  /** The event behind a descriptor; -EBADF or -EINVAL as for {@link file}. */
  event(descriptor: number): EventFile | number;
  /** A new descriptor for `file`, or -EMFILE. */
  install(file: VfioFile): number;
}

/** The structure an ioctl's argument points to, or null where it is no pointer or names fewer than `bytes`. */
export function structure(argument: IoctlArgument, bytes: number): DataView | null {
  return typeof argument === 'number' || argument.byteLength < bytes ? null : argument;
}
