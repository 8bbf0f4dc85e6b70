/** One page of a transfer on its way: the requests it sends, and what it waits for. */
import type { PasidCapability } from '../capability/pasid.ts';
import {
  AddressType,
  Completion,
  type MemoryRequest,
  NO_PASID,
  type ResponseCode,
  type TranslationCompletion,
  type TranslationRequest,
} from '../tlp.ts';
import { Permission } from './atc.ts';
import { DmaOutcome, type DmaTransfer } from './dma-transfer.ts';
import type { PageWait } from './page-request-unit.ts';

/** What a lane waits for. */
export const Phase = {
  IDLE: 0,
  /** The latency of a translation request, or of a memory request. */
  TRANSLATION: 1,
  ACCESS: 2,
  /** A memory request that stalls at the translation agent. */
  STALL: 3,
  /** A page request group response. */
  PAGE: 4,
  /** A pause before the next translation request. */
  PAUSE: 5,
  /** Another lane that brings the same page. */
  FOLLOW: 6,
} as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

/** An invalidation that waits for accesses under way. */
export interface Drain {
  remaining: number;
  readonly completed: () => void;
}

/** What a lane tells its engine. */
export interface LaneOwner {
  /** The latency that the lane waited for is over. */
  laneDue(lane: Lane): void;
  stallEnded(lane: Lane, status: Completion): void;
  pageAnswered(lane: Lane, code: ResponseCode): void;
}

const PAGE_BYTES = 4096;
/** Pages of the 64-bit address space; a transfer wraps there. */
const PAGES = 2 ** 52;
const NO_BYTES = new Uint8Array(0);

/** A translation request for one page, used again and again. */
class PageTranslation implements TranslationRequest {
  requesterId = 0;
  pasid: number = NO_PASID;
  execute = false;
  privileged = false;
  page = 0;
  readonly length = 1;
  noWrite = false;
  latencyNs = 0;
  readonly answer: TranslationCompletion = {
    status: Completion.SUCCESS,
    page: 0,
    pages: 1,
    read: false,
    write: false,
    execute: false,
    privileged: false,
    global: false,
    untranslatedOnly: false,
  };
}

export class Lane implements MemoryRequest, PageWait {
  // The memory request.
  requesterId = 0;
  pasid: number = NO_PASID;
  execute = false;
  privileged = false;
  addressType: typeof AddressType.UNTRANSLATED | typeof AddressType.TRANSLATED = AddressType.UNTRANSLATED;
  write = false;
  page = 0;
  offset = 0;
  length = 0;
  data: Uint8Array = NO_BYTES;
  dataOffset = 0;
  latencyNs = 0;
  // The page wanted, before translation.
  wantedPage = 0;
  wantsRead = false;
  wantsWrite = false;
  /** PASID of the transfer; a translated request itself carries none. */
  space: number = NO_PASID;
  /** Permission bits that the access needs of a translation, which must be for its privilege (see {@link grants}). */
  need = 0;
  /** Bytes of the access, and where it begins in its transfer. */
  bytes = 0;
  start = 0;
  transfer: DmaTransfer | null = null;
  phase: Phase = Phase.IDLE;
  /** How the memory request ended, while its latency runs. */
  status: Completion = Completion.SUCCESS;
  outcome: DmaOutcome = DmaOutcome.DONE;
  /** It may ask for its page. */
  mayFault = true;
  /** A write of no bytes goes first, to fault the page in for writing. */
  claim = false;
  /** An invalidation met the translation request under way: its answer is void. */
  stale = false;
  /** This lane brings a page that others may wait for. */
  opener = false;
  followers: Lane | null = null;
  nextFollower: Lane | null = null;
  /** Page requests answered Success so far. */
  attempts = 0;
  /** When the wait for the page began; -1 when there was none. */
  waitSinceNs = -1;
  readonly drains: Drain[] = [];
  readonly ask = new PageTranslation();
  readonly due: () => void;
  readonly #owner: LaneOwner;

  constructor(owner: LaneOwner) {
    this.#owner = owner;
    this.due = () => this.#owner.laneDue(this);
  }

  /** Takes the next piece of `transfer`: as far as its page goes. `capability` says what a PASID may ask for. */
  take(transfer: DmaTransfer, requesterId: number, capability: PasidCapability | null): void {
    const at = transfer.offset + transfer.issued;
    const pages = Math.floor(at / PAGE_BYTES);
    const offset = at - pages * PAGE_BYTES;
    const bytes = Math.min(PAGE_BYTES - offset, transfer.length - transfer.issued);
    const { write, pasid } = transfer;
    this.transfer = transfer;
    const page = transfer.page + pages;
    this.wantedPage = page < PAGES ? page : page - PAGES;
    this.offset = offset;
    this.bytes = bytes;
    this.start = transfer.issued;
    this.data = transfer.data;
    this.dataOffset = transfer.dataOffset + transfer.issued;
    this.space = pasid;
    this.claim = transfer.forWrite && !write;
    this.mayFault = transfer.mayFault;
    this.wantsWrite = write || transfer.forWrite;
    this.wantsRead = !write;
    this.execute = pasid !== NO_PASID && transfer.execute && capability?.execute === true;
    this.privileged = pasid !== NO_PASID && transfer.privileged && capability?.privileged === true;
    this.need =
      (this.wantsRead ? Permission.READ : 0) |
      (this.wantsWrite ? Permission.WRITE : 0) |
      (this.execute ? Permission.EXECUTE : 0) |
      (this.privileged ? Permission.PRIVILEGED : 0);
    this.stale = false;
    this.attempts = 0;
    this.waitSinceNs = -1;
    this.requesterId = requesterId;
    transfer.issued += bytes;
    transfer.lanes += 1;
  }

  /** Lets go of its piece. */
  clear(): void {
    this.phase = Phase.IDLE;
    this.transfer = null;
    this.outcome = DmaOutcome.DONE;
    this.data = NO_BYTES;
  }

  completed(status: Completion): void {
    this.#owner.stallEnded(this, status);
  }

  pageRequestDone(code: ResponseCode): void {
    this.#owner.pageAnswered(this, code);
  }
}
