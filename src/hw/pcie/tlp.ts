/**
 * What crosses the link between an endpoint and the root complex, as typed transactions (PCIe Base chapters 2 and 10).
 * An address is a page (address / 4096, below 2^52) and a byte offset into it, so that all 64 bits are exact.
 */

/** Absence of a PASID prefix. */
export const NO_PASID = -1;

/** AT field of a request (PCIe §10.2). */
export const AddressType = { UNTRANSLATED: 0, TRANSLATION_REQUEST: 1, TRANSLATED: 2 } as const;
export type AddressType = (typeof AddressType)[keyof typeof AddressType];

/** Completion status (PCIe §2.2.9), and PENDING for a request whose completion comes later. */
export const Completion = { SUCCESS: 0, UNSUPPORTED_REQUEST: 1, COMPLETER_ABORT: 4, PENDING: 8 } as const;
export type Completion = (typeof Completion)[keyof typeof Completion];

/** What every upstream request says of its sender. */
export interface Requester {
  /** Bus, device and function: the StreamID at the SMMU. */
  readonly requesterId: number;
  /** 0..2^20-1, or {@link NO_PASID}. */
  readonly pasid: number;
  /** Execute Requested of the PASID prefix; false without one. */
  readonly execute: boolean;
  /** Privileged Mode Requested of the PASID prefix; false without one. */
  readonly privileged: boolean;
}

/**
 * A memory read or write that stays within one 4 KiB page (PCIe §2.2.7). The requester owns the object and may use it
 * again once it completed, so that no transaction allocates.
 */
export interface MemoryRequest extends Requester {
  readonly addressType: typeof AddressType.UNTRANSLATED | typeof AddressType.TRANSLATED;
  readonly write: boolean;
  readonly page: number;
  readonly offset: number;
  /** 1..4096 bytes; 0 has no byte enabled: a read that only flushes, or a write that only asks for permission. */
  readonly length: number;
  /** Source of a write, target of a read, at `dataOffset`. */
  readonly data: Uint8Array;
  readonly dataOffset: number;
  /**
   * Nanoseconds that this request took on its way; each stage adds its own. The requester sets it to 0 when `memory`
   * answered PENDING: from then on it counts what the retry costs.
   */
  latencyNs: number;
  /** Called once, later, when `memory` answered PENDING. */
  completed(status: Completion): void;
}

/** A translation request for `length` consecutive pages from `page` (PCIe §10.2.2); the answer is filled in place. */
export interface TranslationRequest extends Requester {
  readonly page: number;
  /** Pages asked for: 1 or more; the answer covers at least the first. */
  readonly length: number;
  /** No Write: asks for read permission only (PCIe §10.2.2). */
  readonly noWrite: boolean;
  latencyNs: number;
  readonly answer: TranslationCompletion;
}

/** A translation completion (PCIe §10.2.3). R = W = 0 means: not mapped, ask by page request. */
export interface TranslationCompletion {
  status: Completion;
  /** Translated page. */
  page: number;
  /** Pages covered, a power of two; both `page` and the request's page lie in an aligned block of that many pages. */
  pages: number;
  read: boolean;
  write: boolean;
  execute: boolean;
  privileged: boolean;
  /** The entry may be used for every PASID of the function. */
  global: boolean;
  /** Untranslated access only: do not use the translation. */
  untranslatedOnly: boolean;
}

/** A page request message (PCIe §10.4.1). A stop marker is `last` with neither read nor write. */
export interface PageRequestMessage extends Requester {
  readonly page: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly last: boolean;
  /** Page request group index, 0..511. */
  readonly groupIndex: number;
}

/** Response code of a page request group response (PCIe §10.4.2.2). */
export const ResponseCode = { SUCCESS: 0, INVALID_REQUEST: 1, RESPONSE_FAILURE: 15 } as const;
export type ResponseCode = (typeof ResponseCode)[keyof typeof ResponseCode];

/** A page request group response message, sent down to the function (PCIe §10.4.2.2). */
export interface PageGroupResponse {
  readonly groupIndex: number;
  readonly code: ResponseCode;
  readonly pasid: number;
}

/** An invalidate request message, sent down to the function (PCIe §10.3.1). */
export interface InvalidateRequest {
  readonly page: number;
  /** Pages, a power of two; `page` is a multiple of it. Infinity: the whole address space. */
  readonly pages: number;
  readonly pasid: number;
  /** Applies to every PASID (PCIe §10.3.8). */
  readonly global: boolean;
}

/** What an endpoint can send up; the root complex implements it for each function. */
export interface Upstream {
  /** PENDING: `request.completed` is called later. */
  memory(request: MemoryRequest): Completion;
  translate(request: TranslationRequest): void;
  pageRequest(message: PageRequestMessage): void;
}

/** What a function can be sent by the translation agent; the function implements it. */
export interface Downstream {
  /** `completed` is called once no DMA uses the invalidated translations any more (PCIe §10.3.3). */
  invalidate(request: InvalidateRequest, completed: () => void): void;
  pageGroupResponse(response: PageGroupResponse): void;
}

/** The translation agent behind the root complex (an SMMU); StreamID is the requester id. */
export type TranslationAgent = Upstream;

/** How the translation agent reaches functions; false when no such function answers. */
export interface Fabric {
  invalidate(streamId: number, request: InvalidateRequest, completed: () => void): boolean;
  pageGroupResponse(streamId: number, response: PageGroupResponse): boolean;
}
