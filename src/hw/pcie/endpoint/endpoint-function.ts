/** A PCIe endpoint with DMA: the capabilities, cache, page request unit and engine of this folder, wired together. */
import type { Clock } from '../../../sim/clock.ts';
import type { Invariants } from '../../../sim/invariants.ts';
import type { Log } from '../../../sim/log.ts';
import { AtsCapability } from '../capability/ats.ts';
import { addExpress } from '../capability/express.ts';
import { PasidCapability } from '../capability/pasid.ts';
import { PriCapability } from '../capability/pri.ts';
import { type Identity, type Link, PcieFunction } from '../function.ts';
import type { InvalidateRequest, PageGroupResponse } from '../tlp.ts';
import { TranslationCache, type TranslationCacheOptions } from './atc.ts';
import { DmaEngine } from './dma.ts';
import type { AccessObserver } from './dma-transfer.ts';
import { PageRequestUnit } from './page-request-unit.ts';

export interface EndpointOptions {
  readonly clock: Clock;
  readonly name: string;
  /** Pages on their way at one time. */
  readonly lanes: number;
  /** Address translation cache; null leaves ATS (and with it PRI) out of the function. */
  readonly cache?: TranslationCacheOptions | null;
  /** Outstanding Page Request Capacity; 0 leaves PRI out. Defaults to 512. */
  readonly pageRequestCapacity?: number;
  /**
   * The page request unit of the physical function, for a virtual function that shares it (PCIe §10.5.2): the function
   * then has no Page Request capability of its own.
   */
  readonly sharedPageRequests?: PageRequestUnit | undefined;
  /** Most pages in one page request group; defaults to 32. */
  readonly maxGroupPages?: number;
  /** Width of PASIDs, 0 for none; defaults to 20. */
  readonly pasidBits?: number;
  readonly maxRetries?: number;
  readonly retryPauseNs?: number;
  /** Sees each DMA access as it takes effect. */
  readonly observe?: AccessObserver | undefined;
  readonly invariants?: Invariants | undefined;
  readonly log?: Log | undefined;
}

export class EndpointFunction extends PcieFunction {
  readonly clock: Clock;
  readonly dma: DmaEngine;
  readonly cache: TranslationCache | null;
  readonly pageRequests: PageRequestUnit | null;
  readonly ats: AtsCapability | null;
  readonly pri: PriCapability | null;
  readonly pasid: PasidCapability | null;
  protected readonly log: Log | undefined;
  readonly #ownsPageRequests: boolean;
  #resets = 0;

  constructor(identity: Identity, options: EndpointOptions) {
    super(options.name, identity);
    const { config } = this;
    const { cache = { capacity: 1024 }, pageRequestCapacity = 512, pasidBits = 20 } = options;
    this.clock = options.clock;
    this.log = options.log;
    addExpress(config, {
      functionLevelReset: () => this.reset(),
      transactionsPending: () => this.dma.busy,
    });
    this.cache = cache === null ? null : new TranslationCache(cache);
    this.ats = cache === null ? null : new AtsCapability(config, (enabled) => this.#atsChanged(enabled));
    this.#ownsPageRequests = options.sharedPageRequests === undefined && cache !== null && pageRequestCapacity > 0;
    this.pri = this.#ownsPageRequests ? new PriCapability(config, pageRequestCapacity) : null;
    this.pasid = pasidBits === 0 ? null : new PasidCapability(config, pasidBits, () => this.ats?.enabled === true);
    this.pageRequests =
      this.pri === null
        ? (options.sharedPageRequests ?? null)
        : new PageRequestUnit({
            clock: options.clock,
            registers: this.pri,
            maxGroupPages: options.maxGroupPages ?? 32,
            invariants: options.invariants,
            log: options.log,
          });
    this.dma = new DmaEngine({
      clock: options.clock,
      lanes: options.lanes,
      ats: this.ats ?? undefined,
      cache: this.cache ?? undefined,
      pasid: this.pasid ?? undefined,
      pageRequests: this.pageRequests ?? undefined,
      maxRetries: options.maxRetries ?? 32,
      retryPauseNs: options.retryPauseNs ?? 500,
      observe: options.observe,
      noteAbort: (status) => this.noteAbort(status),
      name: options.name,
      log: options.log,
    });
  }

  /** Function level resets so far. */
  get resets(): number {
    return this.#resets;
  }

  protected override plugged(link: Link): void {
    this.dma.attach(link);
    this.pageRequests?.attach(link.requesterId, link.upstream);
  }

  override reset(): void {
    this.#resets += 1;
    this.log?.info({ event: 'device.reset', device: this.name, busy: this.dma.busy });
    // The engine first: nobody is left to be told when the page request unit forgets its groups.
    this.dma.abandon();
    // What a virtual function has outstanding ends with its responses: the unit belongs to the physical function.
    if (this.#ownsPageRequests) this.pageRequests?.reset();
    super.reset();
    this.cache?.clear();
  }

  override invalidate(request: InvalidateRequest, completed: () => void): void {
    this.dma.invalidate(request, completed);
    if (this.log?.isLevelEnabled('debug') === true) {
      const { page, pasid, global } = request;
      const pages = Number.isFinite(request.pages) ? request.pages : -1;
      this.log.debug({
        event: 'atc.invalidate',
        device: this.name,
        page,
        pages,
        pasid,
        global,
        cached: this.cache?.size,
      });
    }
  }

  override pageGroupResponse(response: PageGroupResponse): void {
    this.pageRequests?.respond(this.link.requesterId, response);
  }

  #atsChanged(enabled: boolean): void {
    if (!enabled) this.dma.forgetTranslations();
  }
}
