/**
 * Registers of iommu-testdev, a function that does one DMA write when told to: QEMU's device of that name
 * (`docs/specs/iommu-testdev.rst`), BAR 0. Data only.
 */
import { register } from '../../layout/register.ts';

export const IOMMU_TESTDEV_ID = { vendor: 0x1b36, device: 0x0005, classCode: 0xff_0000, revision: 0 } as const;
export const IOMMU_TESTDEV_BAR0_BYTES = 0x1000;

const SOURCE = 'QEMU docs/specs/iommu-testdev.rst';

/** A read carries out the DMA that is armed. Reads 0. */
export const TRIGGER = register('ITD_TRIGGER', 0x00, SOURCE, {}, { access: 'read-only' });
export const IOVA_LOW = register('ITD_IOVA_LOW', 0x04, SOURCE, { VALUE: [31, 0] });
export const IOVA_HIGH = register('ITD_IOVA_HIGH', 0x08, SOURCE, { VALUE: [31, 0] });
/** Bytes to write. */
export const LENGTH = register('ITD_LENGTH', 0x0c, SOURCE, { VALUE: [31, 0] });
export const RESULT = register('ITD_RESULT', 0x10, SOURCE, { VALUE: [31, 0] });
/** ARM=1 arms the next trigger, ARM=0 disarms. Reads 0. */
export const DOORBELL = register('ITD_DOORBELL', 0x14, SOURCE, { ARM: 0 });
export const ATTRIBUTES = register('ITD_ATTRIBUTES', 0x18, SOURCE, { SECURE: 0, SPACE: [2, 1], SPACE_VALID: 3 });
/** Where the device looks for the bytes, past the SMMU. */
export const PHYSICAL_LOW = register('ITD_PHYSICAL_LOW', 0x1c, SOURCE, { VALUE: [31, 0] });
export const PHYSICAL_HIGH = register('ITD_PHYSICAL_HIGH', 0x20, SOURCE, { VALUE: [31, 0] });

/** Values of RESULT. */
export const DmaResult = {
  GOOD: 0,
  IDLE: 0xffff_ffff,
  ARMED: 0xffff_fffe,
  ZERO_LENGTH: 0xdead_0001,
  WRITE_FAILED: 0xdead_0002,
  READ_FAILED: 0xdead_0003,
  MISMATCH: 0xdead_0004,
  NOT_ARMED: 0xdead_0005,
  BAD_ATTRIBUTES: 0xdead_0006,
} as const;

/** Security spaces of ATTRIBUTES.SPACE. */
export const Space = { SECURE: 0, NON_SECURE: 1, ROOT: 2, REALM: 3 } as const;

/** What is written, least significant byte first, again and again. */
export const DMA_PATTERN = 0x1234_5678;
