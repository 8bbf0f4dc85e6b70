/**
 * A translation agent for tests of endpoints: a page table as a map, faults by stall or page request, one serving thread.
 * It checks what an agent may expect of a function.
 */
import { assert } from '../../src/assert.ts';
import type { Memory } from '../../src/hw/memory.ts';
import {
  AddressType,
  Completion,
  type Fabric,
  type MemoryRequest,
  type PageRequestMessage,
  ResponseCode,
  type TranslationAgent,
  type TranslationRequest,
} from '../../src/hw/pcie/tlp.ts';
import type { Clock } from '../../src/sim/clock.ts';

export interface Mapping {
  /** Physical page. */
  readonly to: number;
  readonly write: boolean;
}

export interface PagedAgentOptions {
  readonly clock: Clock;
  readonly memory: Memory;
  /** What a fault of an untranslated request does; defaults to stall. */
  readonly onFault?: 'stall' | 'abort';
  /** Nanoseconds that the serving thread takes for a page. */
  readonly serviceNs?: number;
  /** Nanoseconds of a memory access, and of a translation. */
  readonly memoryNs?: number;
  readonly translateNs?: number;
  /** Whether a page may be brought in; defaults to yes. */
  readonly serve?: (page: number, write: boolean) => boolean;
}

export class PagedAgent implements TranslationAgent {
  readonly #options: PagedAgentOptions;
  readonly #table = new Map<number, Mapping>();
  readonly #groups = new Map<number, PageRequestMessage[]>();
  fabric: Fabric | null = null;
  /** Every fault, in order: page and whether for writing. */
  readonly faults: { page: number; write: boolean }[] = [];
  readonly messages: PageRequestMessage[] = [];
  readonly translations: { page: number; noWrite: boolean; pasid: number }[] = [];
  /** Answers groups itself; otherwise the test does. */
  automatic = true;
  /** Stalled requests that nobody serves while this is set. */
  hold = false;
  readonly held: MemoryRequest[] = [];
  #threadFreeNs = 0;
  #nextPhysical: number;

  constructor(options: PagedAgentOptions) {
    this.#options = options;
    this.#nextPhysical = options.memory.base / 4096 + options.memory.size / 8192;
  }

  /** Maps `page` to `to`, or to a fresh page. */
  map(page: number, write: boolean, to = this.#table.get(page)?.to ?? this.#nextPhysical++): number {
    this.#table.set(page, { to, write });
    return to;
  }

  unmap(page: number): void {
    this.#table.delete(page);
  }

  /** Physical page that `page` is mapped to. */
  physical(page: number): number {
    const mapping = this.#table.get(page);
    assert(mapping !== undefined, `page ${page} is mapped`);
    return mapping.to;
  }

  memory(request: MemoryRequest): Completion {
    const { memoryNs = 0, onFault = 'stall' } = this.#options;
    if (request.addressType === AddressType.TRANSLATED) {
      request.latencyNs += memoryNs;
      this.#move(request, request.page);
      return Completion.SUCCESS;
    }
    const mapping = this.#table.get(request.page);
    if (mapping !== undefined && (mapping.write || !request.write)) {
      request.latencyNs += memoryNs;
      this.#move(request, mapping.to);
      return Completion.SUCCESS;
    }
    this.faults.push({ page: request.page, write: request.write });
    if (onFault === 'abort') return Completion.COMPLETER_ABORT;
    if (this.hold) this.held.push(request);
    else this.#serve(() => this.release(request));
    return Completion.PENDING;
  }

  /** Ends a stalled request: brings its page in and retries, or aborts. */
  release(request: MemoryRequest): void {
    const { memoryNs = 0 } = this.#options;
    if (!this.#bringIn(request.page, request.write)) {
      request.completed(Completion.COMPLETER_ABORT);
      return;
    }
    request.latencyNs += memoryNs;
    this.#move(request, this.physical(request.page));
    request.completed(Completion.SUCCESS);
  }

  translate(request: TranslationRequest): void {
    const { answer, page } = request;
    this.translations.push({ page, noWrite: request.noWrite, pasid: request.pasid });
    request.latencyNs += this.#options.translateNs ?? 0;
    const mapping = this.#table.get(page);
    answer.status = Completion.SUCCESS;
    answer.page = mapping?.to ?? 0;
    answer.pages = 1;
    answer.read = mapping !== undefined;
    answer.write = mapping?.write === true;
    answer.execute = false;
    answer.privileged = false;
    answer.global = false;
    answer.untranslatedOnly = false;
  }

  pageRequest(message: PageRequestMessage): void {
    this.messages.push(message);
    if (message.last && !message.read && !message.write) return;
    const group = this.#groups.get(message.groupIndex) ?? [];
    assert(
      group.every((other) => other.pasid === message.pasid && other.requesterId === message.requesterId),
      'a group has one requester and one PASID',
    );
    group.push(message);
    this.#groups.set(message.groupIndex, group);
    this.faults.push({ page: message.page, write: message.write });
    if (!message.last) return;
    this.#groups.delete(message.groupIndex);
    if (this.automatic) this.#serveGroup(group);
  }

  respond(message: PageRequestMessage, code: ResponseCode): void {
    const { groupIndex, pasid, requesterId } = message;
    this.fabric?.pageGroupResponse(requesterId, { groupIndex, code, pasid });
  }

  #serveGroup(group: readonly PageRequestMessage[]): void {
    let code: ResponseCode = ResponseCode.SUCCESS;
    for (const [index, message] of group.entries()) {
      this.#serve(() => {
        if (!this.#bringIn(message.page, message.write)) code = ResponseCode.INVALID_REQUEST;
        if (index === group.length - 1) this.respond(message, code);
      });
    }
  }

  #bringIn(page: number, write: boolean): boolean {
    if (this.#options.serve?.(page, write) === false) return false;
    this.map(page, write || this.#table.get(page)?.write === true);
    return true;
  }

  /** One thread: jobs one after the other. */
  #serve(job: () => void): void {
    const { clock, serviceNs = 0 } = this.#options;
    this.#threadFreeNs = Math.max(clock.now, this.#threadFreeNs) + serviceNs;
    clock.after(this.#threadFreeNs - clock.now, job);
  }

  #move(request: MemoryRequest, page: number): void {
    const { memory } = this.#options;
    const address = page * 4096 + request.offset;
    assert(request.offset + request.length <= 4096, 'a request stays within a page');
    if (request.write) memory.write(address, request.data, request.dataOffset, request.length);
    else memory.read(address, request.data, request.dataOffset, request.length);
  }
}
