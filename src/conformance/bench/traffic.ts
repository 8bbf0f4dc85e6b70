/** What devices send to the SMMU, with everything defaulted that a row does not care about. */
import {
  AddressType,
  Completion,
  type MemoryRequest,
  NO_PASID,
  type PageRequestMessage,
  type TranslationCompletion,
  type TranslationRequest,
} from '../../hw/pcie/tlp.ts';
import type { Word } from '../bits.ts';

/** The StreamID of rows that need only one. */
export const STREAM = 8;

const FILL = 0xa5;

export interface Sender {
  readonly sid?: number;
  readonly pasid?: number;
  readonly privileged?: boolean;
  readonly execute?: boolean;
}

export interface AccessOptions extends Sender {
  readonly va: Word;
  readonly write?: boolean;
  readonly translated?: boolean;
  /** Bytes; 8 unless given. */
  readonly length?: number;
}

/** An input address in the two parts of a TLP. */
export function split(va: Word): { readonly page: number; readonly offset: number; readonly whole: bigint } {
  const whole = BigInt.asUintN(64, BigInt(va));
  return { page: Number(whole >> 12n), offset: Number(whole & 0xfffn), whole };
}

function requester(sender: Sender) {
  return {
    requesterId: sender.sid ?? STREAM,
    pasid: sender.pasid ?? NO_PASID,
    privileged: sender.privileged ?? false,
    execute: sender.execute ?? false,
  };
}

/** How a memory transaction ended. */
export type Ending = 'done' | 'zero' | 'abort' | 'stalled';

/** One memory transaction; `ending` changes when a stalled one is answered. */
export class Transaction {
  readonly options: AccessOptions;
  readonly request: MemoryRequest;
  #status: Completion = Completion.PENDING;
  #answers = 0;

  constructor(options: AccessOptions, payload: Uint8Array) {
    const { page, offset } = split(options.va);
    this.options = options;
    this.request = {
      ...requester(options),
      addressType: options.translated === true ? AddressType.TRANSLATED : AddressType.UNTRANSLATED,
      write: options.write ?? false,
      page,
      offset,
      length: options.length ?? 8,
      data: options.write === true ? payload : payload.fill(FILL),
      dataOffset: 0,
      latencyNs: 0,
      completed: (status) => this.complete(status),
    };
  }

  complete(status: Completion): void {
    if (status === Completion.PENDING) return;
    this.#answers += 1;
    this.#status = status;
  }

  /** Completions received: never more than one. */
  get answers(): number {
    return this.#answers;
  }

  /** `zero` is a read that returned zeros; a write that was ignored looks `done`. */
  get ending(): Ending {
    if (this.#status === Completion.PENDING) return 'stalled';
    if (this.#status !== Completion.SUCCESS) return 'abort';
    const zeros = !this.request.write && this.request.length > 0 && this.request.data.every((byte) => byte === 0);
    return zeros ? 'zero' : 'done';
  }
}

export interface TranslateOptions extends Sender {
  readonly va: Word;
  /** 4 KiB pages asked for; 1 unless given. */
  readonly length?: number;
  readonly noWrite?: boolean;
}

export function translationRequest(options: TranslateOptions): TranslationRequest {
  const answer: TranslationCompletion = {
    status: Completion.PENDING,
    page: -1,
    pages: -1,
    read: false,
    write: false,
    execute: false,
    privileged: false,
    global: false,
    untranslatedOnly: false,
  };
  return {
    ...requester(options),
    page: split(options.va).page,
    length: options.length ?? 1,
    noWrite: options.noWrite ?? false,
    latencyNs: 0,
    answer,
  };
}

export interface PageRequestOptions extends Sender {
  readonly va?: Word;
  readonly read?: boolean;
  readonly write?: boolean;
  readonly last?: boolean;
  readonly group?: number;
}

export function pageRequest(options: PageRequestOptions): PageRequestMessage {
  return {
    ...requester(options),
    page: split(options.va ?? 0x7000_0000).page,
    read: options.read ?? true,
    write: options.write ?? false,
    last: options.last ?? true,
    groupIndex: options.group ?? 0,
  };
}
