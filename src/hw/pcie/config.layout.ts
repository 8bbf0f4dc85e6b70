/** PCI configuration space: the type 0 header and the heads of capabilities (PCIe Base §7.5). Data only. */
import { struct } from '../../layout/struct.ts';

/** Bytes of one function's configuration space (PCIe §7.2). */
export const CONFIG_BYTES = 4096;
/** Extended capabilities begin here (PCIe §7.6). */
export const EXTENDED_BASE = 0x100;
/** Capabilities begin after the header. */
export const CAPABILITY_BASE = 0x40;

export const Header = struct('type 0 configuration header', 'PCIe §7.5.1', 64, {
  VendorID: [15, 0],
  DeviceID: [31, 16],
  IOSpaceEnable: 32,
  MemorySpaceEnable: 33,
  BusMasterEnable: 34,
  ParityErrorResponse: 38,
  SERREnable: 40,
  InterruptDisable: 42,
  InterruptStatus: 51,
  CapabilitiesList: 52,
  MasterDataParityError: 56,
  SignaledTargetAbort: 59,
  ReceivedTargetAbort: 60,
  ReceivedMasterAbort: 61,
  SignaledSystemError: 62,
  DetectedParityError: 63,
  RevisionID: [71, 64],
  ClassCode: [95, 72],
  CacheLineSize: [103, 96],
  LatencyTimer: [111, 104],
  HeaderLayout: [118, 112],
  MultiFunctionDevice: 119,
  BIST: [127, 120],
  BAR0: [159, 128],
  BAR1: [191, 160],
  BAR2: [223, 192],
  BAR3: [255, 224],
  BAR4: [287, 256],
  BAR5: [319, 288],
  SubsystemVendorID: [367, 352],
  SubsystemID: [383, 368],
  ExpansionROM: [415, 384],
  CapabilitiesPointer: [423, 416],
  InterruptLine: [487, 480],
  InterruptPin: [495, 488],
});

/** Byte offsets of registers that are accessed whole. */
export const COMMAND_OFFSET = 0x04;
export const STATUS_OFFSET = 0x06;
export const BAR_OFFSET = 0x10;

/** Low bits of a memory BAR (PCIe §7.5.1.2.1). */
export const MemoryBar = struct('memory base address register', 'PCIe §7.5.1.2.1', 4, {
  IOSpace: 0,
  Type: [2, 1],
  Prefetchable: 3,
  Address: [31, 4],
});
export const BarType = { BITS_32: 0, BITS_64: 2 } as const;

export const CapabilityHead = struct('capability head', 'PCIe §7.5.3', 4, {
  CapabilityID: [7, 0],
  NextCapabilityPointer: [15, 8],
});

export const ExtendedCapabilityHead = struct('extended capability head', 'PCIe §7.6.3', 4, {
  CapabilityID: [15, 0],
  CapabilityVersion: [19, 16],
  NextCapabilityOffset: [31, 20],
});

/** Capability numbers (linux/pci_regs.h, PCI_CAP_ID_*). */
export const CapabilityId = { MSI: 0x05, EXPRESS: 0x10, MSIX: 0x11 } as const;
/** Extended capability numbers (linux/pci_regs.h, PCI_EXT_CAP_ID_*). */
export const ExtendedCapabilityId = { ATS: 0x0f, PRI: 0x13, PASID: 0x1b } as const;
