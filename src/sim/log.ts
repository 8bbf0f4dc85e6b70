/** Structured logs: one pino child per layer and device. `docs/logging.md` documents every event. */
import type { Logger } from 'pino';

export const LAYERS = ['sim', 'hw', 'iommu', 'vfio', 'sva', 'mm', 'guest'] as const;
export type Layer = (typeof LAYERS)[number];

/**
 * A layer's logger. Events are logged as `log.info({ event: 'vfio.fault', ... })`: numbers raw, no message text.
 * Guard work for a disabled level with `log.isLevelEnabled`.
 */
export type Log = Logger;

/** Gives each layer its logger. */
export type LogOf = (layer: Layer) => Log;
