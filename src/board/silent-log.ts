/** A logger that is off at every level, for runs nobody logs: it spares the time that loading pino takes. */
import type { Log } from '../sim/log.ts';

const nothing = (): void => {};

export const SILENT: Log = {
  level: 'silent',
  isLevelEnabled: () => false,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
  child: () => SILENT,
} as unknown as Log;
