/**
 * The accelerator's engine: fetches descriptors, moves pages through the cipher, completes in order. One object lives from
 * one reset to the next; after `stop` nothing that was under way reaches the device any more.
 *
 * A slot carries one page of source from memory through the compute pipe to the destination. Slots go to the oldest
 * operation that has bytes left, so several operations are under way at the seams. The pipe is what bounds throughput.
 */
import type { Clock } from '../../sim/clock.ts';
import type { Log } from '../../sim/log.ts';
import type { DmaEngine } from '../pcie/endpoint/dma.ts';
import { DMA_OUTCOMES, DmaOutcome, DmaTransfer } from '../pcie/endpoint/dma-transfer.ts';
import {
  DESCRIPTOR_BYTES,
  Descriptor,
  DescriptorStatus,
  MSIX_COMPLETION,
  MSIX_RING_ERROR,
  WRITEBACK_BYTES,
  WRITEBACK_OFFSET,
} from './accelerator.layout.ts';
import { Operation, type RingSettings } from './accelerator-operation.ts';

const PAGE_BYTES = 4096;
const INDEXES = 2 ** 16;

export interface RingOptions {
  readonly clock: Clock;
  readonly dma: DmaEngine;
  readonly name: string;
  readonly log: Log | undefined;
  /** Slots. */
  readonly pagesInFlight: number;
  readonly descriptorsInFlight: number;
  /** The device can wait for pages of its ring. */
  readonly ringFaults: boolean;
  /** Nanoseconds from a descriptor's arrival until its data flows. */
  readonly setupNs: number;
  /** The compute pipe; 0 means unbounded. */
  readonly bytesPerSecond: number;
  readonly raise: (vector: number) => void;
}

/** Counts over the life of the device. */
export interface RingCounters {
  operations: number;
  bytes: number;
  sourceFaults: number;
  destinationFaults: number;
  badDescriptors: number;
  ringErrors: number;
}

/** A page on its way from source to destination. */
class Slot {
  operation: Operation | null = null;
  start = 0;
  length = 0;
  readonly data = new Uint8Array(PAGE_BYTES);
  readonly read: DmaTransfer;
  readonly write: DmaTransfer;
  readonly computed: () => void;

  constructor(ring: AcceleratorRing) {
    this.read = new DmaTransfer(() => ring.sourceRead(this));
    this.write = new DmaTransfer(() => ring.destinationWritten(this));
    this.computed = () => ring.computed(this);
  }
}

export class AcceleratorRing {
  readonly #options: RingOptions;
  readonly #settings: () => RingSettings;
  readonly #counters: RingCounters;
  readonly #nsPerByte: number;
  readonly #free: Slot[];
  readonly #operations: Operation[] = [];
  readonly #fetchData = new DataView(new ArrayBuffer(PAGE_BYTES));
  readonly #fetch = new DmaTransfer(() => this.#fetched());
  readonly #writebackData = new DataView(new ArrayBuffer(DESCRIPTOR_BYTES));
  readonly #writeback = new DmaTransfer(() => this.#writtenBack());
  #enabled = false;
  #stopped = false;
  #error = false;
  #tail = 0;
  #next = 0;
  #head = 0;
  #pipeFreeNs = 0;
  #pumping = false;
  #pumpAgain = false;

  constructor(options: RingOptions, settings: () => RingSettings, counters: RingCounters) {
    this.#options = options;
    this.#settings = settings;
    this.#counters = counters;
    this.#nsPerByte = options.bytesPerSecond === 0 ? 0 : 1e9 / options.bytesPerSecond;
    this.#fetch.mayFault = options.ringFaults;
    this.#writeback.mayFault = options.ringFaults;
    this.#free = Array.from({ length: options.pagesInFlight }, () => new Slot(this)).reverse();
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** The ring itself failed; nothing goes on until a reset. */
  get error(): boolean {
    return this.#error;
  }

  /** Nothing is under way and nothing waits. */
  get idle(): boolean {
    const work = this.#enabled && !this.#error && this.#next !== this.#tail;
    return !work && this.#operations.length === 0 && !this.#options.dma.busy;
  }

  get tail(): number {
    return this.#tail;
  }

  get head(): number {
    return this.#head;
  }

  /** Descriptors are fetched while enabled; what is under way ends either way. */
  enable(value: boolean): void {
    this.#enabled = value && !this.#error;
    this.#pump();
  }

  doorbell(tail: number): void {
    this.#tail = tail;
    this.#pump();
  }

  /** Forgets everything; late completions find nobody. */
  stop(): void {
    this.#stopped = true;
  }

  /** A slot's source bytes have come. */
  sourceRead(slot: Slot): void {
    const { operation, read } = slot;
    if (this.#error || operation === null) return;
    if (read.outcome !== DmaOutcome.DONE) {
      this.#faulted(slot, operation, DescriptorStatus.SOURCE_FAULT, read);
      return;
    }
    const now = this.#options.clock.now;
    this.#pipeFreeNs = Math.max(now, this.#pipeFreeNs) + slot.length * this.#nsPerByte;
    if (this.#pipeFreeNs === now) this.computed(slot);
    else this.#options.clock.after(this.#pipeFreeNs - now, slot.computed);
  }

  /** A slot's bytes have passed the pipe. */
  computed(slot: Slot): void {
    const { operation, start, length } = slot;
    if (this.#stopped || this.#error || operation === null) return;
    const source = length === PAGE_BYTES ? slot.data : slot.data.subarray(0, length);
    const low = operation.streamLow + start;
    const carry = Math.floor(low / 2 ** 32);
    const bytes = operation.stream.apply(low >>> 0, (operation.streamHigh + carry) >>> 0, source);
    const { write } = slot;
    write.pasid = operation.pasid;
    write.prepare(true, operation.destinationPage, operation.destinationOffset + start, bytes, 0, length);
    this.#options.dma.start(write);
  }

  destinationWritten(slot: Slot): void {
    const { operation, write } = slot;
    if (this.#error || operation === null) return;
    if (write.outcome !== DmaOutcome.DONE) {
      this.#faulted(slot, operation, DescriptorStatus.DESTINATION_FAULT, write);
      return;
    }
    this.#counters.bytes += slot.length;
    this.#release(slot, operation);
  }

  #faulted(slot: Slot, operation: Operation, status: number, transfer: DmaTransfer): void {
    const processed = slot.start + transfer.transferred;
    if (status === DescriptorStatus.SOURCE_FAULT) this.#counters.sourceFaults += 1;
    else this.#counters.destinationFaults += 1;
    this.#options.log?.info({
      event: 'accelerator.fault',
      device: this.#options.name,
      index: operation.index,
      cookie: operation.cookie,
      write: status === DescriptorStatus.DESTINATION_FAULT,
      page: transfer.page + Math.floor((transfer.offset + transfer.transferred) / PAGE_BYTES),
      outcome: DMA_OUTCOMES[transfer.outcome],
      processed,
    });
    operation.fault(status, processed);
    this.#release(slot, operation);
  }

  #release(slot: Slot, operation: Operation): void {
    slot.operation = null;
    operation.slots -= 1;
    this.#free.push(slot);
    this.#pump();
  }

  /** Everything that can go on does. Completions that come at once only ask for another turn: the stack stays flat. */
  #pump(): void {
    this.#pumpAgain = true;
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#pumpAgain && !this.#stopped) {
      this.#pumpAgain = false;
      if (this.#error) break;
      this.#fetchDescriptors();
      this.#feedSlots();
      this.#retire();
    }
    this.#pumping = false;
  }

  #fetchDescriptors(): void {
    if (!this.#enabled || this.#fetch.busy || this.#next === this.#tail) return;
    const settings = this.#settings();
    const size = 2 ** settings.log2Size;
    // A driver may see the status of the oldest descriptor, and use its place again, before the device moved RING_HEAD.
    if (distance(this.#head, this.#tail) > size + (this.#writeback.busy ? 1 : 0)) {
      this.#fail('tail', this.#tail);
      return;
    }
    const place = this.#next % size;
    const start = settings.offset + place * DESCRIPTOR_BYTES;
    const count = Math.min(
      distance(this.#next, this.#tail),
      size - place,
      (PAGE_BYTES - (start % PAGE_BYTES)) / DESCRIPTOR_BYTES,
      this.#options.descriptorsInFlight - this.#operations.length,
    );
    if (count <= 0) return;
    const fetch = this.#fetch;
    fetch.pasid = settings.pasid;
    // The same page takes the status later.
    fetch.forWrite = true;
    const target = new Uint8Array(this.#fetchData.buffer);
    this.#options.dma.start(fetch.prepare(false, settings.page, start, target, 0, count * DESCRIPTOR_BYTES));
  }

  #fetched(): void {
    const { clock, setupNs, log, name } = this.#options;
    if (this.#fetch.outcome !== DmaOutcome.DONE) {
      this.#fail('fetch', this.#next);
      return;
    }
    const settings = this.#settings();
    const arrived: Operation[] = [];
    for (let at = 0; at < this.#fetch.length; at += DESCRIPTOR_BYTES) {
      const operation = new Operation(this.#next, this.#fetchData, at, settings);
      if (operation.status === DescriptorStatus.BAD_DESCRIPTOR) this.#counters.badDescriptors += 1;
      log?.debug({
        event: 'accelerator.descriptor',
        device: name,
        index: operation.index,
        cookie: operation.cookie,
        length: operation.length,
      });
      arrived.push(operation);
      this.#operations.push(operation);
      this.#next = (this.#next + 1) % INDEXES;
    }
    const setUp = () => {
      for (const operation of arrived) operation.ready = true;
      this.#pump();
    };
    if (setupNs === 0) setUp();
    else clock.after(setupNs, setUp);
    this.#pump();
  }

  #feedSlots(): void {
    for (const operation of this.#operations) {
      // In order: a later operation does not begin before an earlier one was set up.
      if (!operation.ready) return;
      while (operation.hasWork) {
        const slot = this.#free.pop();
        if (slot === undefined) return;
        this.#readSource(slot, operation);
      }
    }
  }

  #readSource(slot: Slot, operation: Operation): void {
    const start = operation.issued;
    const at = operation.sourceOffset + start;
    const length = Math.min(PAGE_BYTES - (at % PAGE_BYTES), operation.length - start);
    slot.operation = operation;
    slot.start = start;
    slot.length = length;
    operation.issued += length;
    operation.slots += 1;
    const { read } = slot;
    read.pasid = operation.pasid;
    read.forWrite = operation.writes(operation.sourcePage + Math.floor(at / PAGE_BYTES));
    this.#options.dma.start(read.prepare(false, operation.sourcePage, at, slot.data, 0, length));
  }

  /** Writes the status of the oldest operation back once it is finished. */
  #retire(): void {
    const operation = this.#operations[0];
    if (operation === undefined || !operation.finished || this.#writeback.busy) return;
    const settings = this.#settings();
    const view = this.#writebackData;
    Descriptor.STATUS.set(view, 0, operation.status);
    Descriptor.PROCESSED.set(view, 0, operation.processed);
    const start = settings.offset + (operation.index % 2 ** settings.log2Size) * DESCRIPTOR_BYTES + WRITEBACK_OFFSET;
    const source = new Uint8Array(view.buffer);
    this.#writeback.pasid = operation.pasid;
    this.#options.dma.start(
      this.#writeback.prepare(true, settings.page, start, source, WRITEBACK_OFFSET, WRITEBACK_BYTES),
    );
  }

  #writtenBack(): void {
    const operation = this.#operations[0];
    if (operation === undefined) return;
    if (this.#writeback.outcome !== DmaOutcome.DONE) {
      this.#fail('writeback', operation.index);
      return;
    }
    this.#operations.shift();
    this.#head = (this.#head + 1) % INDEXES;
    this.#counters.operations += 1;
    if (operation.interrupt) this.#options.raise(MSIX_COMPLETION);
    this.#pump();
  }

  #fail(cause: 'tail' | 'fetch' | 'writeback', index: number): void {
    this.#error = true;
    this.#enabled = false;
    this.#operations.length = 0;
    this.#counters.ringErrors += 1;
    this.#options.log?.warn({ event: 'accelerator.ringError', device: this.#options.name, cause, index });
    this.#options.raise(MSIX_RING_ERROR);
  }
}

/** Steps from one free-running 16-bit index to another. */
function distance(from: number, to: number): number {
  return (to - from + INDEXES) % INDEXES;
}
