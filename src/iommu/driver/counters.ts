/** What the driver counts, for reports. Plain numbers that only grow. */

export class DriverCounters {
  /** Whole groups delivered to handlers, and the pages in them. */
  groups = 0;
  pages = 0;
  /** Page requests taken from the PRI queue, stop markers included; stalled accesses taken from the event queue. */
  pageRequests = 0;
  stalls = 0;
  stopMarkers = 0;
  /** Answers given, by kind. */
  succeeded = 0;
  invalid = 0;
  failed = 0;
  /** Groups that nobody would serve: no domain, no handler, or the device was being detached. */
  unclaimed = 0;
  /** Groups answered INVALID because their handler took too long; answers that came after that. */
  timedOut = 0;
  late = 0;
  /** Incomplete groups thrown away, and the requests in them. */
  partialGroupsDiscarded = 0;
  partialRequestsDiscarded = 0;
  /** Groups of a function that was reset: nobody waits for an answer. */
  cancelled = 0;
  /** Requests that broke the rules of page request groups. */
  violations = 0;
  /** Overflows of the two queues: each stands for one or more lost records. */
  eventQueueOverflows = 0;
  pageRequestQueueOverflows = 0;
  /** Events that no answer can repair. */
  unrecoverable = 0;
  globalErrors = 0;
  commandErrors = 0;
  atcTimeouts = 0;
  syncTimeouts = 0;
  /** Streams made to abort because their accesses could not be revoked otherwise. */
  blocked = 0;
  flushes = 0;
  commands = 0;
}
