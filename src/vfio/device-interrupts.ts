/** VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS: MSI-X vectors, errors and requests signal event descriptors. */
import { Errno } from '../errno.ts';
import type { DeviceBackend } from './device-backend.ts';
import type { Caller, EventFile } from './files.ts';
import type { Type1 } from './type1.ts';
import { IrqInfo, IrqInfoFlags, IrqSet, IrqSetFlags, PciIrq } from './uapi.layout.ts';

const { DATA_NONE, DATA_BOOL, DATA_EVENTFD, DATA_TYPE_MASK, ACTION_TRIGGER, ACTION_TYPE_MASK } = IrqSetFlags;

export class DeviceInterrupts {
  readonly #backend: DeviceBackend;
  readonly #type1: Type1;
  /** Who is signalled, per MSI-X vector; null while MSI-X is off. */
  #vectors: (EventFile | null)[] | null = null;
  #error: EventFile | null = null;
  #request: EventFile | null = null;

  constructor(backend: DeviceBackend, type1: Type1) {
    this.#backend = backend;
    this.#type1 = type1;
  }

  info(view: DataView): number {
    if (IrqInfo.ARGSZ.get(view) < IrqInfo.$.byteLength) return Errno.EINVAL;
    const index = IrqInfo.INDEX.get(view);
    if (index >= PciIrq.COUNT) return Errno.EINVAL;
    const sizes = index === PciIrq.MSI || index === PciIrq.MSIX ? IrqInfoFlags.NORESIZE : 0;
    const pin = index === PciIrq.INTX ? IrqInfoFlags.MASKABLE | IrqInfoFlags.AUTOMASKED : 0;
    const single = index === PciIrq.ERR || index === PciIrq.REQ ? IrqInfoFlags.NORESIZE : 0;
    IrqInfo.FLAGS.set(view, 0, IrqInfoFlags.EVENTFD | sizes | pin | single);
    IrqInfo.COUNT.set(view, 0, this.#count(index));
    return Errno.OK;
  }

  /** The checks are those of vfio_set_irqs_validate_and_prepare. */
  set(caller: Caller, view: DataView): number {
    const argsz = IrqSet.ARGSZ.get(view);
    const flags = IrqSet.FLAGS.get(view);
    const index = IrqSet.INDEX.get(view);
    const start = IrqSet.START.get(view);
    const count = IrqSet.COUNT.get(view);
    if (argsz < IrqSet.$.byteLength || index >= PciIrq.COUNT || count >= 0xffff_ffff - start) return Errno.EINVAL;
    if ((flags & ~(DATA_TYPE_MASK | ACTION_TYPE_MASK)) !== 0) return Errno.EINVAL;
    const most = this.#count(index);
    if (start >= most || start + count > most) return Errno.EINVAL;
    const type = flags & DATA_TYPE_MASK;
    if (type !== DATA_NONE && type !== DATA_BOOL && type !== DATA_EVENTFD) return Errno.EINVAL;
    const bytes = count * (type === DATA_EVENTFD ? 4 : type === DATA_BOOL ? 1 : 0);
    if (argsz - IrqSet.$.byteLength < bytes) return Errno.EINVAL;
    if (view.byteLength < IrqSet.$.byteLength + bytes) return Errno.EFAULT;
    // Masking is for pins, which no function here has; no action, and two of them, are nobody's either.
    if ((flags & ACTION_TYPE_MASK) !== ACTION_TRIGGER) return Errno.ENOTTY;
    if (index === PciIrq.MSIX) return this.#setVectors(caller, view, type, start, count);
    return this.#setSingle(caller, view, index, type, count);
  }

  /** Takes all vectors away: the device file was closed, or the function reset. */
  disable(): void {
    this.#disableVectors();
    this.#error = null;
    this.#request = null;
  }

  /** Programs the enabled vectors again after a reset of the function. */
  restore(): void {
    for (const [vector, event] of (this.#vectors ?? []).entries()) if (event !== null) this.#connect(vector, event);
  }

  /** An access of the function failed for good: VFIO_PCI_ERR_IRQ_INDEX. */
  signalError(): void {
    this.#error?.signal();
  }

  #count(index: number): number {
    if (index === PciIrq.MSIX) return this.#backend.msix?.vectors ?? 0;
    return index === PciIrq.ERR || index === PciIrq.REQ ? 1 : 0;
  }

  #setVectors(caller: Caller, view: DataView, type: number, start: number, count: number): number {
    if (type === DATA_NONE && count === 0 && this.#vectors !== null) {
      this.#disableVectors();
      return Errno.OK;
    }
    if (type === DATA_EVENTFD) return this.#assign(caller, view, start, count);
    const vectors = this.#vectors;
    if (vectors === null || start + count > vectors.length) return Errno.EINVAL;
    for (let vector = start; vector < start + count; vector++) {
      if (type === DATA_NONE || view.getUint8(IrqSet.$.byteLength + vector - start) !== 0) vectors[vector]?.signal();
    }
    return Errno.OK;
  }

  /**
   * Gives vectors their event descriptors; a negative one takes it away. Enables MSI-X with as many vectors where it was
   * off. At a descriptor that is none, this vector and those before it are left without.
   */
  #assign(caller: Caller, view: DataView, start: number, count: number): number {
    const before = this.#vectors;
    if (before === null && start + count === 0) return Errno.ERANGE;
    if (start >= (before?.length ?? start + count) || start + count > (before?.length ?? start + count)) {
      return Errno.EINVAL;
    }
    const doorbell = this.#type1.enableMsi();
    if (doorbell < 0) return doorbell;
    const vectors = before ?? new Array<EventFile | null>(start + count).fill(null);
    this.#vectors = vectors;
    for (let vector = start; vector < start + count; vector++) {
      const descriptor = view.getInt32(IrqSet.$.byteLength + 4 * (vector - start), true);
      const event = descriptor < 0 ? null : caller.event(descriptor);
      if (typeof event === 'number') {
        for (let earlier = start; earlier <= vector; earlier++) this.#assignOne(vectors, earlier, null);
        if (before === null) this.#disableVectors();
        return event;
      }
      this.#assignOne(vectors, vector, event);
    }
    return Errno.OK;
  }

  #assignOne(vectors: (EventFile | null)[], vector: number, event: EventFile | null): void {
    vectors[vector] = event;
    this.#connect(vector, event);
  }

  #connect(vector: number, event: EventFile | null): void {
    const handler = event === null ? null : () => event.signal();
    this.#backend.connectVector(vector, handler, this.#type1.enableMsi());
  }

  #setSingle(caller: Caller, view: DataView, index: number, type: number, count: number): number {
    let event = index === PciIrq.ERR ? this.#error : this.#request;
    if (type === DATA_NONE) {
      if (event === null) return Errno.EINVAL;
      if (count > 0) event.signal();
      else event = null;
    } else if (count === 0) {
      return Errno.EINVAL;
    } else if (type === DATA_BOOL) {
      if (view.getUint8(IrqSet.$.byteLength) !== 0) event?.signal();
    } else {
      const descriptor = view.getInt32(IrqSet.$.byteLength, true);
      if (descriptor < -1) return Errno.OK;
      const named = descriptor < 0 ? null : caller.event(descriptor);
      if (typeof named === 'number') return named;
      event = named;
    }
    if (index === PciIrq.ERR) this.#error = event;
    else this.#request = event;
    return Errno.OK;
  }

  #disableVectors(): void {
    for (const [vector, event] of (this.#vectors ?? []).entries()) {
      if (event !== null) this.#backend.connectVector(vector, null, 0);
    }
    this.#vectors = null;
  }
}
