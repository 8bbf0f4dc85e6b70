/** The whole suite: every row, in the order of the chapters. */
import type { Row } from './row.ts';
import { contextTableRows } from './rows/context-table.ts';
import { controlRegisterRows } from './rows/control-registers.ts';
import { registerRows } from './rows/registers.ts';
import { smmuEnableRows } from './rows/smmu-enable.ts';
import { streamTableRows } from './rows/stream-table.ts';

export const ROWS: readonly Row[] = [
  ...streamTableRows,
  ...contextTableRows,
  ...registerRows,
  ...controlRegisterRows,
  ...smmuEnableRows,
];
