/** How users of an address space other than its CPUs (device mappings) learn that pages go away. */
import type { Steps } from '../sim/task.ts';

export interface SpaceNotifier {
  readonly name: string;
  /**
   * The pages of `[start, end)` are about to be freed, moved or made read-only. When this returns, nobody uses the old
   * pages any more. Faults on them wait inside mm until the change is done, so this must not wait for such faults.
   */
  invalidate(start: number, end: number): Steps;
}
