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

/** What edu devices that stand in for test devices find in RAM: out of the way of programs. */
export const PATTERN_AT = 0x40f0_0000;

/** Device and function of the devices that programs use. The StreamID is the same. */
export const DEVICE_FUNCTIONS = [0x08, 0xf5, 0x18] as const;
export const EDU = 2;

const EDU_OPTIONS = 'dma_mask=0xffffffffffffffff';

/**
 * The machine's arguments: two devices that write a pattern, and an edu. A QEMU without iommu-testdev (before 11.1) has
 * three edus, and then so has the other side.
 */
export function machine(testDevice: boolean): string[] {
  const writer = (place: string) =>
    testDevice ? ['-device', `iommu-testdev,addr=${place}`] : ['-device', `edu,addr=${place},${EDU_OPTIONS}`];
  return [
    ...['-machine', 'virt,acpi=off,gic-version=3,iommu=smmuv3'],
    ...['-smp', '1', '-m', '512', '-cpu', 'max', '-net', 'none'],
    ...writer('01.0'),
    ...writer('1e.5'),
    ...['-device', `edu,addr=03.0,${EDU_OPTIONS}`],
  ];
}
