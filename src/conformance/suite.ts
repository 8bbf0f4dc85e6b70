/** The whole suite: every row, in the order of the chapters. */
import type { Row } from './row.ts';
import { accessFlagRows } from './rows/access-flag.ts';
import { atosRows } from './rows/atos.ts';
import { atosFaultRows } from './rows/atos-faults.ts';
import { atsInvalidationRows } from './rows/ats-invalidation.ts';
import { atsPermissionRows } from './rows/ats-permissions.ts';
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
import { pageResponseRows } from './rows/page-responses.ts';
import { registerRows } from './rows/registers.ts';
import { smmuEnableRows } from './rows/smmu-enable.ts';
import { stallRecordRows } from './rows/stall-records.ts';
import { stallRows } from './rows/stalls.ts';
import { steLegalityRows } from './rows/ste-legality.ts';
import { steValidityRows } from './rows/ste-validity.ts';
import { streamTableRows } from './rows/stream-table.ts';
import { tlbEntryRows } from './rows/tlb-entries.ts';
import { tlbRangeRows } from './rows/tlb-ranges.ts';
import { tlbScopeRows } from './rows/tlb-scopes.ts';
import { walkAddressRows } from './rows/walk-addresses.ts';
import { walkLevelRows } from './rows/walk-levels.ts';
import { walkPermissionRows } from './rows/walk-permissions.ts';

export const ROWS: readonly Row[] = [
  ...streamTableRows,
  ...contextTableRows,
  ...steValidityRows,
  ...steLegalityRows,
  ...cdValidityRows,
  ...registerRows,
  ...controlRegisterRows,
  ...smmuEnableRows,
  ...commandQueueRows,
  ...configurationCacheRows,
  ...tlbScopeRows,
  ...tlbRangeRows,
  ...tlbEntryRows,
  ...blockSizeRows,
  ...eventRecordRows,
  ...faultResponseRows,
  ...stallRows,
  ...stallRecordRows,
  ...eventQueueRows,
  ...globalErrorRows,
  ...atsRequestRows,
  ...atsPermissionRows,
  ...atsTranslatedRows,
  ...atsInvalidationRows,
  ...pageRequestRows,
  ...pageResponseRows,
  ...atosRows,
  ...atosFaultRows,
  ...attributeRows,
  ...walkLevelRows,
  ...walkAddressRows,
  ...walkPermissionRows,
  ...accessFlagRows,
];
