/** The written set: every program by its name. */

import type { Program } from '../program.ts';
import { bypass } from './bypass.ts';
import { commands } from './commands.ts';
import { contexts } from './contexts.ts';
import { events } from './events.ts';
import { invalidation } from './invalidation.ts';
import { nestedCases } from './nested.ts';
import { registers } from './registers.ts';
import { sharedTables } from './shared-tables.ts';
import { stage1Cases } from './stage1.ts';
import { stage2Cases } from './stage2.ts';
import { streams } from './streams.ts';

export const WRITTEN: readonly Program[] = [
  ...registers,
  ...bypass,
  ...streams,
  ...contexts,
  ...stage1Cases,
  ...stage2Cases,
  ...nestedCases,
  ...sharedTables,
  ...invalidation,
  ...commands,
  ...events,
];
