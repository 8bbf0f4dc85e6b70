/** PCI Express capability of an endpoint (PCIe Base §7.5.3), with Function Level Reset (§6.6.2). */
import { ExpressCapability, PortType } from '../capabilities.layout.ts';
import { CapabilityId } from '../config.layout.ts';
import type { ConfigSpace } from '../config-space.ts';

export interface ExpressOptions {
  /** Runs when software writes Initiate Function Level Reset. */
  readonly functionLevelReset: () => void;
  /** Whether the function waits for completions; shown as Transactions Pending. */
  readonly transactionsPending: () => boolean;
}

/**
 * Adds the capability. The functions sit on the root bus, so they are root complex integrated endpoints and have no
 * link registers.
 */
export function addExpress(config: ConfigSpace, options: ExpressOptions): void {
  const layout = ExpressCapability;
  const at = config.addCapability(CapabilityId.EXPRESS, layout.$.byteLength);
  config.declare(layout, at, {
    values: {
      CapabilityVersion: 2,
      DevicePortType: PortType.ROOT_COMPLEX_INTEGRATED_ENDPOINT,
      // 512 bytes: what the DMA engine's 4 KiB requests are cut into on a real link.
      MaxPayloadSizeSupported: 2,
      ExtendedTagSupported: 1,
      RoleBasedErrorReporting: 1,
      FunctionLevelResetCapability: 1,
      EnableRelaxedOrdering: 1,
      ExtendedTagEnable: 1,
      EnableNoSnoop: 1,
      MaxReadRequestSize: 2,
      CompletionTimeoutDisableSupported: 1,
      EndEndTlpPrefixSupported: 1,
    },
    writable: [
      'CorrectableErrorReportingEnable',
      'NonFatalErrorReportingEnable',
      'FatalErrorReportingEnable',
      'UnsupportedRequestReportingEnable',
      'EnableRelaxedOrdering',
      'MaxPayloadSize',
      'ExtendedTagEnable',
      'EnableNoSnoop',
      'MaxReadRequestSize',
      'InitiateFunctionLevelReset',
      'CompletionTimeoutDisable',
    ],
    clearable: [
      'CorrectableErrorDetected',
      'NonFatalErrorDetected',
      'FatalErrorDetected',
      'UnsupportedRequestDetected',
    ],
    sticky: ['MaxPayloadSize'],
  });
  config.onWrite(at + 8, 2, () => {
    if (config.get(layout.InitiateFunctionLevelReset, at) === 0) return;
    // The bit always reads as 0.
    config.set(layout.InitiateFunctionLevelReset, at, 0);
    options.functionLevelReset();
  });
  config.onRead(at + 10, 2, () => {
    config.set(layout.TransactionsPending, at, options.transactionsPending() ? 1 : 0);
  });
}
