/**
 * QEMU's `iommu-testdev` as its users program it: 32-bit registers in BAR 0. It writes a pattern through the IOMMU, then
 * looks for it at a physical address. Data only.
 */
import { register } from '../../layout/register.ts';

const SHEET = 'QEMU iommu-testdev';

export const IOMMU_TESTDEV_ID = {
  vendor: 0x1b36,
  device: 0x0005,
  classCode: 0x00_ff00,
  revision: 0,
  subsystemVendor: 0x1af4,
  subsystem: 0x1100,
} as const;

export const BAR0_BYTES = 0x1000;

/** A read runs the armed DMA and returns 0. */
export const TRIGGER = register('TRIGGER', 0x00, SHEET, { VALUE: [31, 0] }, { access: 'read-only' });
/** Where the device writes: an I/O virtual address. */
export const IOVA_LOW = register('IOVA_LOW', 0x04, SHEET, { VALUE: [31, 0] });
export const IOVA_HIGH = register('IOVA_HIGH', 0x08, SHEET, { VALUE: [31, 0] });
export const LENGTH = register('LENGTH', 0x0c, SHEET, { VALUE: [31, 0] });
export const RESULT = register('RESULT', 0x10, SHEET, { VALUE: [31, 0] });
export const DOORBELL = register('DOORBELL', 0x14, SHEET, { ARM: 0 });
export const ATTRIBUTES = register('ATTRIBUTES', 0x18, SHEET, { SECURE: 0, SPACE: [2, 1], SPACE_VALID: 3 });
/** Where the device looks: a physical address. */
export const PHYSICAL_LOW = register('PHYSICAL_LOW', 0x1c, SHEET, { VALUE: [31, 0] });
export const PHYSICAL_HIGH = register('PHYSICAL_HIGH', 0x20, SHEET, { VALUE: [31, 0] });

/** Bytes 78 56 34 12, over and over. */
export const PATTERN = 0x1234_5678;

export const Space = { SECURE: 0, NON_SECURE: 1, ROOT: 2, REALM: 3 } as const;

export const Result = {
  GOOD: 0,
  IDLE: 0xffff_ffff,
  ARMED: 0xffff_fffe,
  ZERO_LENGTH: 0xdead_0001,
  WRITE_FAILED: 0xdead_0002,
  READ_FAILED: 0xdead_0003,
  MISMATCH: 0xdead_0004,
  NOT_ARMED: 0xdead_0005,
  INCONSISTENT_ATTRIBUTES: 0xdead_0006,
} as const;
