/**
 * Assertions that stay on. They guard what cannot happen inside Faultline itself; what a guest, a device or a
 * scenario does wrong becomes an architected event, an errno or an error message instead.
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws {@link AssertionError} unless `condition` holds. `what` states the rule that was broken. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new AssertionError(what);
}
