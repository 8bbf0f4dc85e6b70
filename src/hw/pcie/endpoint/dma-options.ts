/** What a DMA engine is made of, and how it behaves where the specification leaves it open. */
import type { Clock } from '../../../sim/clock.ts';
import type { Log } from '../../../sim/log.ts';
import type { AtsCapability } from '../capability/ats.ts';
import type { PasidCapability } from '../capability/pasid.ts';
import type { Completion } from '../tlp.ts';
import type { TranslationCache } from './atc.ts';
import type { AccessObserver } from './dma-transfer.ts';
import type { PageRequestUnit } from './page-request-unit.ts';

export interface DmaEngineOptions {
  readonly clock: Clock;
  /** Pages on their way at one time. */
  readonly lanes: number;
  /** ATS needs a cache and its capability; without them every request is untranslated. */
  readonly ats?: AtsCapability | undefined;
  readonly cache?: TranslationCache | undefined;
  readonly pasid?: PasidCapability | undefined;
  readonly pageRequests?: PageRequestUnit | undefined;
  /** Success responses without a translation after which an access gives up; defaults to 32. */
  readonly maxRetries?: number;
  /** Pause before a page is requested again, doubling up to 64 times this; defaults to 500 ns. */
  readonly retryPauseNs?: number;
  readonly observe?: AccessObserver | undefined;
  /** Told of completions that are not Success. */
  readonly noteAbort?: (status: Completion) => void;
  /** Whose engine it is, in the log. */
  readonly name?: string;
  readonly log?: Log | undefined;
}
