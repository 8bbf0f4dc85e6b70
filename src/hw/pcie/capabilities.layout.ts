/**
 * Capability structures of a PCIe endpoint, bit numbers counted from the capability's first byte. Positions as in
 * linux/pci_regs.h (PCI_EXP_*, PCI_MSI_*, PCI_MSIX_*, PCI_ATS_*, PCI_PRI_*, PCI_PASID_*). Data only.
 */
import { struct } from '../../layout/struct.ts';

/** Version 2 of the PCI Express capability, as far as an endpoint without a link of its own has it. */
export const ExpressCapability = struct('PCI Express capability', 'PCIe §7.5.3', 60, {
  CapabilityID: [7, 0],
  NextCapabilityPointer: [15, 8],
  CapabilityVersion: [19, 16],
  DevicePortType: [23, 20],
  SlotImplemented: 24,
  InterruptMessageNumber: [29, 25],
  MaxPayloadSizeSupported: [34, 32],
  PhantomFunctionsSupported: [36, 35],
  ExtendedTagSupported: 37,
  RoleBasedErrorReporting: 47,
  FunctionLevelResetCapability: 60,
  CorrectableErrorReportingEnable: 64,
  NonFatalErrorReportingEnable: 65,
  FatalErrorReportingEnable: 66,
  UnsupportedRequestReportingEnable: 67,
  EnableRelaxedOrdering: 68,
  MaxPayloadSize: [71, 69],
  ExtendedTagEnable: 72,
  EnableNoSnoop: 75,
  MaxReadRequestSize: [78, 76],
  InitiateFunctionLevelReset: 79,
  CorrectableErrorDetected: 80,
  NonFatalErrorDetected: 81,
  FatalErrorDetected: 82,
  UnsupportedRequestDetected: 83,
  AuxPowerDetected: 84,
  TransactionsPending: 85,
  CompletionTimeoutDisableSupported: 292,
  EndEndTlpPrefixSupported: 309,
  CompletionTimeoutDisable: 324,
});
/** Device/Port Type (PCIe §7.5.3.2). */
export const PortType = { ENDPOINT: 0, ROOT_COMPLEX_INTEGRATED_ENDPOINT: 9 } as const;

/** MSI with 64-bit addresses and no per-vector mask; the structure proper ends after 14 bytes. */
export const MsiCapability = struct('MSI capability', 'PCIe §7.7.1', 16, {
  CapabilityID: [7, 0],
  NextCapabilityPointer: [15, 8],
  Enable: 16,
  MultipleMessageCapable: [19, 17],
  MultipleMessageEnable: [22, 20],
  AddressCapable64: 23,
  PerVectorMaskingCapable: 24,
  MessageAddress: [63, 34],
  MessageUpperAddress: [95, 64],
  MessageData: [111, 96],
});

export const MsixCapability = struct('MSI-X capability', 'PCIe §7.7.2', 12, {
  CapabilityID: [7, 0],
  NextCapabilityPointer: [15, 8],
  TableSize: [26, 16],
  FunctionMask: 30,
  Enable: 31,
  TableBIR: [34, 32],
  TableOffset: [63, 35],
  PendingBIR: [66, 64],
  PendingOffset: [95, 67],
});

export const MsixEntry = struct('MSI-X table entry', 'PCIe §7.7.2.6', 16, {
  MessageAddress: [31, 2],
  MessageUpperAddress: [63, 32],
  MessageData: [95, 64],
  Masked: 96,
});

export const AtsCapability = struct('ATS extended capability', 'PCIe §10.5.1', 8, {
  CapabilityID: [15, 0],
  CapabilityVersion: [19, 16],
  NextCapabilityOffset: [31, 20],
  InvalidateQueueDepth: [36, 32],
  PageAlignedRequest: 37,
  GlobalInvalidateSupported: 38,
  SmallestTranslationUnit: [52, 48],
  Enable: 63,
});

export const PriCapability = struct('Page Request extended capability', 'PCIe §10.5.2', 16, {
  CapabilityID: [15, 0],
  CapabilityVersion: [19, 16],
  NextCapabilityOffset: [31, 20],
  Enable: 32,
  Reset: 33,
  ResponseFailure: 48,
  UnexpectedPageRequestGroupIndex: 49,
  Stopped: 56,
  ResponsePasidRequired: 63,
  OutstandingPageRequestCapacity: [95, 64],
  OutstandingPageRequestAllocation: [127, 96],
});

export const PasidCapability = struct('PASID extended capability', 'PCIe §7.8.9', 8, {
  CapabilityID: [15, 0],
  CapabilityVersion: [19, 16],
  NextCapabilityOffset: [31, 20],
  ExecutePermissionSupported: 33,
  PrivilegedModeSupported: 34,
  MaxPasidWidth: [44, 40],
  Enable: 48,
  ExecutePermissionEnable: 49,
  PrivilegedModeEnable: 50,
});
