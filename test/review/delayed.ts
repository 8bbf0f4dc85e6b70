import type { Steps } from '../../src/sim/task.ts';

/** `steps`, begun after `ns` nanoseconds. */
export function* delayed<T>(ns: number, steps: Steps<T>): Steps<T> {
  if (ns > 0) yield ns;
  return yield* steps;
}
