/** MSI-X (PCIe Base §7.7.2, §6.1.4): capability, table and pending bits. */
import { assert } from '../../../assert.ts';
import { type AccessSize, BusStatus, type MmioDevice } from '../../bus.ts';
import { MsixCapability, MsixEntry } from '../capabilities.layout.ts';
import { CapabilityId } from '../config.layout.ts';
import type { PcieFunction } from '../function.ts';
import { MessageWriter } from './message-writer.ts';

export interface MsixOptions {
  /** 1..2048. */
  readonly vectors: number;
  /** BAR and byte offsets of the table and of the pending bits; the offsets are multiples of 8. */
  readonly bar: number;
  readonly tableOffset: number;
  readonly pendingOffset: number;
}

/** The vectors of a function. The device places {@link registers} into its BAR and calls {@link raise}. */
export class Msix {
  readonly #options: MsixOptions;
  readonly #table: DataView;
  readonly #pending: Uint8Array;
  readonly #writer: MessageWriter;
  #enabled = false;
  #functionMask = false;

  constructor(target: PcieFunction, options: MsixOptions) {
    const { vectors, bar, tableOffset, pendingOffset } = options;
    assert(vectors >= 1 && vectors <= 2048, `MSI-X has 1 to 2048 vectors, not ${vectors}`);
    assert(tableOffset % 8 === 0 && pendingOffset % 8 === 0, 'MSI-X table and pending bits are aligned to 8');
    this.#options = options;
    this.#table = new DataView(new ArrayBuffer(vectors * MsixEntry.$.byteLength));
    this.#pending = new Uint8Array(Math.ceil(vectors / 64) * 8);
    this.#writer = new MessageWriter(target);
    this.reset();
    const { config } = target;
    const at = config.addCapability(CapabilityId.MSIX, MsixCapability.$.byteLength);
    config.declare(MsixCapability, at, {
      values: {
        TableSize: vectors - 1,
        TableBIR: bar,
        TableOffset: tableOffset / 8,
        PendingBIR: bar,
        PendingOffset: pendingOffset / 8,
      },
      writable: ['FunctionMask', 'Enable'],
    });
    config.onWrite(at + 2, 2, () => {
      this.#enabled = config.get(MsixCapability.Enable, at) === 1;
      this.#functionMask = config.get(MsixCapability.FunctionMask, at) === 1;
      for (let vector = 0; vector < vectors; vector++) this.#deliver(vector);
    });
  }

  /** Messages that could not be written: nobody received them. */
  get lost(): number {
    return this.#writer.lost;
  }

  /** Signals `vector`: a message now, or a pending bit while it is masked. Without MSI-X enabled nothing happens. */
  raise(vector: number): void {
    if (!this.#enabled) return;
    this.#setPending(vector, true);
    this.#deliver(vector);
  }

  /** All vectors masked, nothing pending. */
  reset(): void {
    this.#pending.fill(0);
    for (let vector = 0; vector < this.#options.vectors; vector++) {
      const at = vector * MsixEntry.$.byteLength;
      for (let byte = 0; byte < 12; byte += 4) this.#table.setUint32(at + byte, 0, true);
      this.#table.setUint32(at + 12, 1, true);
    }
  }

  /** Table and pending bits as registers of the BAR; other offsets read as zero. Accesses of 4 and 8 bytes. */
  readonly registers: MmioDevice = {
    name: 'msi-x',
    readRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size < 4) return BusStatus.ABORT;
      for (let byte = 0; byte < size; byte += 4) data.setUint32(byte, this.#read32(offset + byte), true);
      return BusStatus.OK;
    },
    writeRegister: (offset: number, size: AccessSize, data: DataView) => {
      if (size < 4) return BusStatus.ABORT;
      for (let byte = 0; byte < size; byte += 4) this.#write32(offset + byte, data.getUint32(byte, true));
      return BusStatus.OK;
    },
  };

  #read32(offset: number): number {
    const inTable = offset - this.#options.tableOffset;
    if (inTable >= 0 && inTable < this.#table.byteLength) return this.#table.getUint32(inTable, true);
    const inPending = offset - this.#options.pendingOffset;
    if (inPending < 0 || inPending >= this.#pending.length) return 0;
    let word = 0;
    for (let byte = 3; byte >= 0; byte--) word = ((word << 8) | (this.#pending[inPending + byte] ?? 0)) >>> 0;
    return word;
  }

  #write32(offset: number, value: number): void {
    const at = offset - this.#options.tableOffset;
    if (at < 0 || at >= this.#table.byteLength) return;
    const within = at % MsixEntry.$.byteLength;
    // Address bits 1:0 and the reserved bits of Vector Control stay zero.
    this.#table.setUint32(at, within === 0 ? value & ~3 : within === 12 ? value & 1 : value, true);
    this.#deliver((at - within) / MsixEntry.$.byteLength);
  }

  #setPending(vector: number, value: boolean): void {
    const byte = vector >> 3;
    const bit = 1 << (vector & 7);
    const previous = this.#pending[byte] ?? 0;
    this.#pending[byte] = value ? previous | bit : previous & ~bit;
  }

  #deliver(vector: number): void {
    if (((this.#pending[vector >> 3] ?? 0) & (1 << (vector & 7))) === 0) return;
    const at = vector * MsixEntry.$.byteLength;
    if (!this.#enabled || this.#functionMask || MsixEntry.Masked.get(this.#table, at) === 1) return;
    this.#setPending(vector, false);
    const low = this.#table.getUint32(at, true);
    const high = MsixEntry.MessageUpperAddress.get(this.#table, at);
    this.#writer.send(low, high, MsixEntry.MessageData.get(this.#table, at));
  }
}
