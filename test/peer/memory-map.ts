/** Where programs keep what: QEMU's `virt` map, and the part of its RAM that programs use. */

export const SMMU_BASE = 0x0905_0000;
export const ECAM_BASE = 0x40_1000_0000;
/** 32-bit PCI window. BAR 0 of the n-th device goes to `BAR_BASE + n * BAR_STRIDE`. */
export const BAR_BASE = 0x1000_0000;
export const BAR_STRIDE = 0x10_0000;
export const RAM_BASE = 0x4000_0000;
export const RAM_BYTES = 0x2000_0000;

/** QEMU keeps its device tree at the start of RAM: programs begin above it. */
export const COMMAND_QUEUE = 0x4100_0000;
export const EVENT_QUEUE = 0x4108_0000;
export const STREAM_TABLE = 0x4110_0000;
/** Pages that programs allocate: tables, descriptors, targets of DMA. */
export const POOL_BASE = 0x4120_0000;
export const POOL_END = 0x41c0_0000;
/** No RAM, no device. */
export const NOWHERE = 0x3_0000_0000;

/** Devices that programs use: two test devices and an edu. The StreamID is device and function. */
export const MACHINE = [
  ...['-machine', 'virt,acpi=off,gic-version=3,iommu=smmuv3'],
  ...['-smp', '1', '-m', '512', '-cpu', 'max', '-net', 'none'],
  ...['-device', 'iommu-testdev,addr=01.0'],
  ...['-device', 'iommu-testdev,addr=1e.5'],
  ...['-device', 'edu,addr=03.0,dma_mask=0xffffffffffffffff'],
] as const;
export const DEVICE_FUNCTIONS = [0x08, 0xf5, 0x18] as const;
export const EDU = 2;
