/** What a device asks of its DMA engine, and what became of it. */
import { assert } from '../../../assert.ts';
import { NO_PASID } from '../tlp.ts';

/** How a transfer, or a page of it, ended. */
export const DmaOutcome = {
  DONE: 0,
  /** The root complex or the translation agent refused it: Unsupported Request or Completer Abort. */
  REFUSED: 1,
  /** The translation does not permit it, and the function can not ask for the page. */
  DENIED: 2,
  /** Its page request was answered Invalid Request. */
  INVALID: 3,
  /** Its page request was answered Response Failure, or the page request interface is off. */
  FAILURE: 4,
  /** Page requests were answered Success too often without a translation to show for it. */
  RETRIES: 5,
  /** The function may not use the PASID. */
  NO_PASID: 6,
  /** The page is not there, and this access may not fault: see {@link DmaTransfer.mayFault}. */
  MISSING: 7,
} as const;
export type DmaOutcome = (typeof DmaOutcome)[keyof typeof DmaOutcome];

/** Names of the outcomes, for logs. */
export const DMA_OUTCOMES: readonly string[] = Object.keys(DmaOutcome);

/**
 * Sees each access at the instant it takes effect: the page that the device asked for, the page that its translated
 * request named (-1 for an untranslated request), and the bytes of the page that it touched.
 */
export type AccessObserver = (
  page: number,
  translatedPage: number,
  write: boolean,
  pasid: number,
  offset: number,
  length: number,
) => void;

/**
 * A read or write of any length at any address. The device owns the object, fills it with {@link prepare} and may use it
 * again once `completed` was called for it. Until then the engine owns the bytes it names.
 */
export class DmaTransfer {
  /** First page (address / 4096) and byte in it. */
  page = 0;
  offset = 0;
  length = 0;
  data: Uint8Array = new Uint8Array(0);
  dataOffset = 0;
  write = false;
  pasid: number = NO_PASID;
  /** The pages read will be written later: permission for both is asked for at once, so that each faults once. */
  forWrite = false;
  /** A page that fails does not keep the pages behind it from being sent. */
  pastFaults = false;
  /** Pages may be asked for; without it they have to be there, which only ATS can tell. */
  mayFault = true;
  /** Ask for execute permission, or for privileged mode; only with a PASID and as far as its capability allows. */
  execute = false;
  privileged = false;
  /** The first fault; DONE when there was none. */
  outcome: DmaOutcome = DmaOutcome.DONE;
  /** Bytes from the start that were transferred before the first fault. */
  transferred = 0;

  /** For the engine: bytes handed to lanes, lanes at work, next in line. */
  issued = 0;
  lanes = 0;
  next: DmaTransfer | null = null;
  busy = false;
  readonly #completed: (transfer: DmaTransfer) => void;

  constructor(completed: (transfer: DmaTransfer) => void) {
    this.#completed = completed;
  }

  /** Names the bytes: `length` of them at `page` and `offset` (any number below 2^53), and in `data` at `dataOffset`. */
  prepare(write: boolean, page: number, offset: number, data: Uint8Array, dataOffset: number, length: number): this {
    assert(!this.busy, 'a transfer is prepared when it is not under way');
    assert(dataOffset >= 0 && dataOffset + length <= data.length, 'a transfer stays inside its data');
    this.write = write;
    this.page = page;
    this.offset = offset;
    this.data = data;
    this.dataOffset = dataOffset;
    this.length = length;
    return this;
  }

  /** For the engine: tells the device. */
  finish(): void {
    this.busy = false;
    this.#completed(this);
  }
}
