/** What the faults of shared address spaces came to. */

export class SvaCounters {
  /** Answered groups. */
  groups = 0;
  /** Pages that a device asked for and got. */
  pages = 0;
  /** Pages that another request had asked for before and whose answer was still on its way. */
  duplicate = 0;
  /** Pages that were mapped before the device asked: its cached translation was older. */
  stale = 0;
  /** Read-only pages that a write made writable. */
  upgrade = 0;
  /** Groups answered INVALID: no memory of the process there, or not for this use. */
  invalid = 0;
  /** Groups answered FAILURE: the host had no memory. */
  failed = 0;
  /** Pages taken away from devices because the process or its host took them back. */
  invalidated = 0;
}
