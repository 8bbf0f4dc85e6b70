/**
 * MSI-X of a passed-through function, emulated by the VMM: the guest's table never reaches the device, whose own vectors
 * signal event descriptors of the host.
 */
import { MsixCapability, MsixEntry } from '../hw/pcie/capabilities.layout.ts';
import type { Steps } from '../sim/task.ts';
import type { HostProcess } from './host-process.ts';
import type { VfioDevice } from './vfio-device.ts';
import { succeeded } from './vmm-error.ts';

const TWO_32 = 2 ** 32;
const ENTRY_BYTES = MsixEntry.$.byteLength;

export interface VirtualMsixOptions {
  readonly process: HostProcess;
  readonly device: VfioDevice;
  /** The device's MSI-X capability. */
  readonly capability: DataView;
  /** A message of the function: a 32-bit write to a guest-physical address. */
  readonly message: (address: number, data: number) => void;
}

export class VirtualMsix {
  readonly #device: VfioDevice;
  readonly #message: (address: number, data: number) => void;
  readonly #bar: number;
  readonly #tableOffset: number;
  readonly #pendingOffset: number;
  /** After reset every vector is masked. */
  readonly #table: DataView;
  /** One word per 32 vectors: raised while masked. */
  readonly #pending: Uint32Array;
  readonly #eventDescriptors: readonly number[];
  #enabled = false;
  #masked = false;

  constructor(options: VirtualMsixOptions) {
    const { process, device, capability } = options;
    this.#device = device;
    this.#message = options.message;
    this.#bar = MsixCapability.TableBIR.get(capability);
    this.#tableOffset = MsixCapability.TableOffset.get(capability) * 8;
    this.#pendingOffset = MsixCapability.PendingOffset.get(capability) * 8;
    const vectors = Math.min(MsixCapability.TableSize.get(capability) + 1, device.vectors);
    this.#table = new DataView(new ArrayBuffer(vectors * ENTRY_BYTES));
    for (let vector = 0; vector < vectors; vector++) MsixEntry.Masked.set(this.#table, vector * ENTRY_BYTES, 1);
    this.#pending = new Uint32Array(Math.ceil(vectors / 32));
    this.#eventDescriptors = Array.from({ length: vectors }, (_, vector) =>
      succeeded(
        process.eventfd(() => this.#signalled(vector)),
        'eventfd',
      ),
    );
  }

  /** The capability's first word as the guest sees it, from what the device's own says. */
  overlay(word: number): number {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, word, true);
    MsixCapability.Enable.set(view, 0, this.#enabled ? 1 : 0);
    MsixCapability.FunctionMask.set(view, 0, this.#masked ? 1 : 0);
    return view.getUint32(0, true);
  }

  /** The guest wrote the capability's first word. */
  *writeControl(word: number): Steps {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, word, true);
    const enabled = MsixCapability.Enable.get(view) === 1;
    this.#masked = MsixCapability.FunctionMask.get(view) === 1;
    if (enabled !== this.#enabled) {
      this.#enabled = enabled;
      yield* this.#device.setVectors(enabled ? this.#eventDescriptors : []);
    }
    this.#deliverPending();
  }

  /** A word of the table or of the pending bits; null elsewhere. */
  read(bar: number, offset: number): number | null {
    if (bar !== this.#bar) return null;
    const at = offset - this.#tableOffset;
    if (at >= 0 && at < this.#table.byteLength) return this.#table.getUint32(at, true);
    return this.#pending[(offset - this.#pendingOffset) / 4] ?? null;
  }

  /** Takes a write to the table or to the pending bits, which are read-only; false elsewhere. */
  write(bar: number, offset: number, word: number): boolean {
    if (this.read(bar, offset) === null) return false;
    const at = offset - this.#tableOffset;
    if (at >= 0 && at < this.#table.byteLength) this.#table.setUint32(at, word, true);
    this.#deliverPending();
    return true;
  }

  /** The kernel signalled the event descriptor of a vector. */
  #signalled(vector: number): void {
    if (!this.#enabled) return;
    const at = vector * ENTRY_BYTES;
    if (this.#masked || MsixEntry.Masked.get(this.#table, at) === 1) {
      const word = vector >>> 5;
      this.#pending[word] = (this.#pending[word] ?? 0) | (1 << (vector % 32));
      return;
    }
    const upper = MsixEntry.MessageUpperAddress.get(this.#table, at);
    const address = upper * TWO_32 + MsixEntry.MessageAddress.get(this.#table, at) * 4;
    this.#message(address, MsixEntry.MessageData.get(this.#table, at));
  }

  #deliverPending(): void {
    if (!this.#enabled || this.#masked) return;
    for (let vector = 0; vector < this.#eventDescriptors.length; vector++) {
      const word = vector >>> 5;
      const bit = 1 << (vector % 32);
      const pending = this.#pending[word] ?? 0;
      if ((pending & bit) === 0 || MsixEntry.Masked.get(this.#table, vector * ENTRY_BYTES) === 1) continue;
      this.#pending[word] = pending & ~bit;
      this.#signalled(vector);
    }
  }
}
