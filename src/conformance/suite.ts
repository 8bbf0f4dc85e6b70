/** The whole suite: every row, in the order of the chapters. */
import type { Row } from './row.ts';
import { accessFlagRows } from './rows/access-flag.ts';
import { atosRows } from './rows/atos.ts';
import { atosFaultRows } from './rows/atos-faults.ts';
import { atsInvalidationRows } from './rows/ats-invalidation.ts';
import { atsRequestRows } from './rows/ats-requests.ts';
import { atsTranslatedRows } from './rows/ats-translated.ts';
import { attributeRows } from './rows/attributes.ts';
import { blockSizeRows } from './rows/block-size.ts';
import { cdValidityRows } from './rows/cd-validity.ts';
import { commandQueueRows } from './rows/command-queue.ts';
import { configurationCacheRows } from './rows/configuration-cache.ts';
import { contextTableRows } from './rows/context-table.ts';
import { controlRegisterRows } from './rows/control-registers.ts';
import { eventQueueRows } from './rows/event-queue.ts';
import { eventRecordRows } from './rows/event-records.ts';
import { faultResponseRows } from './rows/fault-response.ts';
import { globalErrorRows } from './rows/global-errors.ts';
import { pageRequestRows } from './rows/page-requests.ts';
import { registerRows } from './rows/registers.ts';
import { smmuEnableRows } from './rows/smmu-enable.ts';
import { stallRows } from './rows/stalls.ts';
import { steValidityRows } from './rows/ste-validity.ts';
import { streamTableRows } from './rows/stream-table.ts';
import { tlbRows } from './rows/tlb.ts';
import { walkGeometryRows } from './rows/walk-geometry.ts';
import { walkPermissionRows } from './rows/walk-permissions.ts';

export const ROWS: readonly Row[] = [
  ...streamTableRows,
  ...contextTableRows,
  ...steValidityRows,
  ...cdValidityRows,
  ...registerRows,
  ...controlRegisterRows,
  ...smmuEnableRows,
  ...commandQueueRows,
  ...configurationCacheRows,
  ...tlbRows,
  ...blockSizeRows,
  ...eventRecordRows,
  ...faultResponseRows,
  ...stallRows,
  ...eventQueueRows,
  ...globalErrorRows,
  ...atsRequestRows,
  ...atsTranslatedRows,
  ...atsInvalidationRows,
  ...pageRequestRows,
  ...atosRows,
  ...atosFaultRows,
  ...attributeRows,
  ...walkGeometryRows,
  ...walkPermissionRows,
  ...accessFlagRows,
];
