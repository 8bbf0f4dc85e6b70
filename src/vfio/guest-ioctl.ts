/** Requests for guests that translate first: see uapi-nesting.layout.ts. */
import { Errno } from '../errno.ts';
import type { GuestTables } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import { read64 } from './arguments.ts';
import { FaultQueue } from './fault-queue.ts';
import { type Caller, type IoctlArgument, structure } from './files.ts';
import type { Type1 } from './type1.ts';
import {
  FaultQueueAlloc,
  GUEST_COMMANDS_MAX,
  GuestInvalidation,
  GuestTable,
  WithoutPasid,
} from './uapi-nesting.layout.ts';

const COMMAND_BYTES = 16;
/** Addresses that a guest may name. */
const ADDRESS_END = 1n << 52n;

const WITHOUT_PASID = new Map<number, GuestTables['withoutPasid']>([
  [WithoutPasid.ABORT, 'abort'],
  [WithoutPasid.BYPASS, 'bypass'],
  [WithoutPasid.TRANSLATE, 'translate'],
]);

/** VFIO_IOMMU_ALLOC_FAULT_QUEUE: a descriptor, -EBADF or -EINVAL for an event that is none, -EMFILE. */
export function allocFaultQueue(type1: Type1, caller: Caller, argument: IoctlArgument): number {
  const view = structure(argument, FaultQueueAlloc.$.byteLength);
  if (view === null) return Errno.EFAULT;
  if (FaultQueueAlloc.ARGSZ.get(view) < FaultQueueAlloc.$.byteLength) return Errno.EINVAL;
  if (FaultQueueAlloc.FLAGS.get(view) !== 0) return Errno.EINVAL;
  const descriptor = signed(FaultQueueAlloc.EVENT_FD.get(view));
  const event = descriptor < 0 ? null : caller.event(descriptor);
  if (typeof event === 'number') return event;
  return caller.install(new FaultQueue({ io: type1.io, event }));
}

/** VFIO_IOMMU_BIND_GUEST_TABLE. -EBADF or -EINVAL where the fault queue is none. */
export function* bindGuestTable(type1: Type1, caller: Caller, argument: IoctlArgument): Steps<number> {
  const view = structure(argument, GuestTable.$.byteLength);
  if (view === null) return Errno.EFAULT;
  if (GuestTable.ARGSZ.get(view) < GuestTable.$.byteLength || GuestTable.FLAGS.get(view) !== 0) return Errno.EINVAL;
  const contextTable = read64(GuestTable.CONTEXT_TABLE_LOW, GuestTable.CONTEXT_TABLE_HIGH, view);
  const contextFormat = GuestTable.CONTEXT_FORMAT.get(view);
  const contextBits = GuestTable.CONTEXT_BITS.get(view);
  const withoutPasid = WITHOUT_PASID.get(GuestTable.WITHOUT_PASID.get(view));
  if (contextTable >= ADDRESS_END || contextBits > 20 || withoutPasid === undefined) return Errno.EINVAL;
  if (contextFormat !== 0 && contextFormat !== 1 && contextFormat !== 2) return Errno.EINVAL;
  const descriptor = signed(GuestTable.FAULT_QUEUE_FD.get(view));
  const queue = descriptor < 0 ? null : caller.file(descriptor);
  if (typeof queue === 'number') return queue;
  if (queue !== null && !(queue instanceof FaultQueue)) return Errno.EINVAL;
  const tables = { contextTable: Number(contextTable), contextBits, contextFormat, withoutPasid } as const;
  return yield* type1.exclusively(() => type1.guestTable.bind(tables, queue));
}

/** VFIO_IOMMU_UNBIND_GUEST_TABLE. */
export function* unbindGuestTable(type1: Type1): Steps<number> {
  return yield* type1.exclusively(() => type1.guestTable.unbind());
}

/** VFIO_IOMMU_INVALIDATE_GUEST. Commands after one that a guest may not issue are not carried out. */
export function* invalidateGuest(type1: Type1, argument: IoctlArgument): Steps<number> {
  const view = structure(argument, GuestInvalidation.$.byteLength);
  if (view === null) return Errno.EFAULT;
  const count = GuestInvalidation.COUNT.get(view);
  const bytes = GuestInvalidation.$.byteLength + count * COMMAND_BYTES;
  if (count > GUEST_COMMANDS_MAX || GuestInvalidation.FLAGS.get(view) !== 0) return Errno.EINVAL;
  if (GuestInvalidation.ARGSZ.get(view) < bytes) return Errno.EINVAL;
  if (view.byteLength < bytes) return Errno.EFAULT;
  // The kernel works on its own copy: what the process writes meanwhile is not looked at.
  const start = view.byteOffset + GuestInvalidation.$.byteLength;
  const commands = new DataView(view.buffer.slice(start, start + count * COMMAND_BYTES));
  return yield* type1.guestTable.invalidate(commands);
}

function signed(word: number): number {
  return word | 0;
}
