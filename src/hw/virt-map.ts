/**
 * The physical address map of the board: that of QEMU's `virt` machine, so that tools and tests for one fit the other.
 * Addresses and sizes in bytes; interrupts are shared peripheral interrupt numbers.
 */
export const VIRT = {
  /** GICv2m doorbell frame for MSIs. */
  msiFrame: { base: 0x0802_0000, size: 0x1000 },
  /** SMMUv3 register pages 0 and 1. */
  smmu: { base: 0x0905_0000, size: 0x2_0000 },
  /** Performance monitor counter group of the SMMU: where `virt` has nothing. */
  smmuMonitor: { base: 0x090c_0000 },
  /** 32-bit PCIe memory window. */
  pcieWindow: { base: 0x1000_0000, size: 0x2eff_0000 },
  /** 64-bit PCIe memory window. */
  pcieHighWindow: { base: 0x80_0000_0000, size: 0x80_0000_0000 },
  /** PCIe configuration space: (bus << 20 | device and function << 12). */
  ecam: { base: 0x40_1000_0000, size: 0x1000_0000 },
  ram: { base: 0x4000_0000 },
  /** Wired interrupts of the SMMU. */
  smmuInterrupts: { event: 74, priority: 75, sync: 76, globalError: 77, monitor: 78 },
  /** First of the four inputs that INTA# to INTD# of the slots share. */
  firstPcieInterrupt: 3,
  /** First interrupt number that MSIs may use. */
  firstMsi: 80,
} as const;
