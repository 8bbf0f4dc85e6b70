/** What a DMA engine did, counted since it was made. */
export class DmaCounters {
  transfers = 0;
  /** Accesses that reached memory, and their bytes. */
  reads = 0;
  writes = 0;
  bytesRead = 0;
  bytesWritten = 0;
  cacheHits = 0;
  translationRequests = 0;
  /** Translations asked for again because an invalidation met the request. */
  staleTranslations = 0;
  /** Waits that began: page requests, and accesses that stalled. */
  pageRequests = 0;
  stalls = 0;
  /** Translation requests after a Success response that still found no translation. */
  retries = 0;
  /** Accesses that waited for another one to bring the same page. */
  coalesced = 0;
  /** Accesses given up, and those of them that ran out of retries. */
  aborted = 0;
  retriesExhausted = 0;
  invalidations = 0;
  /** Invalidations that had to wait for accesses under way. */
  invalidationsWaited = 0;
}
