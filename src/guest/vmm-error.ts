/** Ends a virtual machine: the host refused a system call, the guest ran out of memory, or the device is not usable. */
import { Errno } from '../errno.ts';

export class VmmError extends Error {
  override readonly name = 'VmmError';
}

/** The result of a system call that must succeed. @throws VmmError naming the call and the error. */
export function succeeded(result: number, call: string): number {
  if (result >= 0) return result;
  const name = Object.entries(Errno).find(([, value]) => value === result)?.[0] ?? `errno ${-result}`;
  throw new VmmError(`${call} failed: ${name}`);
}
