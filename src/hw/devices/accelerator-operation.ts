/** One descriptor of the accelerator under way: what it asks, how far it is, what went wrong. */
import { Descriptor, DescriptorStatus } from './accelerator.layout.ts';
import { CtrStream } from './ctr-stream.ts';

const PAGE_BYTES = 4096;
const PAGES = 2 ** 52;

/** What the registers say; read when an operation begins. */
export interface RingSettings {
  readonly page: number;
  readonly offset: number;
  readonly log2Size: number;
  readonly pasid: number;
  readonly key: Uint8Array;
  readonly initialCounter: Uint8Array;
}

export class Operation {
  readonly index: number;
  readonly cookie: number;
  readonly sourcePage: number;
  readonly sourceOffset: number;
  readonly destinationPage: number;
  readonly destinationOffset: number;
  readonly length: number;
  readonly interrupt: boolean;
  readonly streamLow: number;
  readonly streamHigh: number;
  readonly pasid: number;
  readonly stream: CtrStream;
  /** The descriptor's setup is over. */
  ready = false;
  /** Bytes given to slots, and slots at work. */
  issued = 0;
  slots = 0;
  status: number = DescriptorStatus.DONE;
  /** Bytes before the first fault. */
  processed: number;

  constructor(index: number, view: DataView, at: number, settings: RingSettings) {
    this.index = index;
    this.cookie = Descriptor.COOKIE.get(view, at);
    this.sourcePage = Descriptor.SOURCE_PAGE.get(view, at);
    this.sourceOffset = Descriptor.SOURCE_OFFSET.get(view, at);
    this.destinationPage = Descriptor.DESTINATION_PAGE.get(view, at);
    this.destinationOffset = Descriptor.DESTINATION_OFFSET.get(view, at);
    this.length = Descriptor.LENGTH.get(view, at);
    this.interrupt = Descriptor.INTERRUPT.get(view, at) === 1;
    this.streamLow = Descriptor.STREAM_OFFSET_LOW.get(view, at);
    this.streamHigh = Descriptor.STREAM_OFFSET_HIGH.get(view, at);
    this.pasid = settings.pasid;
    this.stream = new CtrStream(settings.key, settings.initialCounter);
    this.processed = this.length;
    if (this.length === 0 || this.#end(this.sourcePage, this.sourceOffset) > PAGES) this.#bad();
    else if (this.#end(this.destinationPage, this.destinationOffset) > PAGES) this.#bad();
  }

  /** Whether bytes are left to begin with. */
  get hasWork(): boolean {
    return this.issued < this.length && this.status === DescriptorStatus.DONE;
  }

  get finished(): boolean {
    return this.ready && !this.hasWork && this.slots === 0;
  }

  /** Whether the destination takes up `page`. */
  writes(page: number): boolean {
    return page >= this.destinationPage && page < this.#end(this.destinationPage, this.destinationOffset);
  }

  /** Notes a fault after `processed` bytes; the one nearest to the start counts. */
  fault(status: number, processed: number): void {
    if (this.status !== DescriptorStatus.DONE && processed >= this.processed) return;
    this.status = status;
    this.processed = processed;
  }

  #bad(): void {
    this.status = DescriptorStatus.BAD_DESCRIPTOR;
    this.processed = 0;
  }

  #end(page: number, offset: number): number {
    return page + Math.ceil((offset + this.length) / PAGE_BYTES);
  }
}
