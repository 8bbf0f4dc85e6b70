/**
 * Registers of edu, QEMU's educational device (`docs/specs/edu.rst`), BAR 0: a factorial, an interrupt, and a DMA engine
 * with a buffer of its own. Data only.
 */
import { register } from '../../layout/register.ts';

export const EDU_ID = { vendor: 0x1234, device: 0x11e8, classCode: 0xff_0000, revision: 0x10 } as const;
export const EDU_BAR0_BYTES = 0x10_0000;

const SOURCE = 'QEMU docs/specs/edu.rst';

export const IDENTIFICATION = register('EDU_ID', 0x00, SOURCE, { VALUE: [31, 0] }, { access: 'read-only' });
/** Reads the complement of what was written. */
export const LIVENESS = register('EDU_LIVENESS', 0x04, SOURCE, { VALUE: [31, 0] });
/** Replaced by its factorial, modulo 2^32. */
export const FACTORIAL = register('EDU_FACTORIAL', 0x08, SOURCE, { VALUE: [31, 0] });
export const STATUS = register('EDU_STATUS', 0x20, SOURCE, { COMPUTING: 0, RAISE_AFTER: 7 });
export const INTERRUPT_STATUS = register('EDU_INTERRUPT_STATUS', 0x24, SOURCE, { VALUE: [31, 0] });
export const INTERRUPT_RAISE = register('EDU_INTERRUPT_RAISE', 0x60, SOURCE, { VALUE: [31, 0] });
export const INTERRUPT_ACKNOWLEDGE = register('EDU_INTERRUPT_ACKNOWLEDGE', 0x64, SOURCE, { VALUE: [31, 0] });
const ADDRESS = { LOW: [31, 0], HIGH: [63, 32] } as const;
export const DMA_SOURCE = register('EDU_DMA_SOURCE', 0x80, SOURCE, ADDRESS, { width: 64 });
export const DMA_DESTINATION = register('EDU_DMA_DESTINATION', 0x88, SOURCE, ADDRESS, { width: 64 });
export const DMA_COUNT = register('EDU_DMA_COUNT', 0x90, SOURCE, ADDRESS, { width: 64 });
export const DMA_COMMAND = register(
  'EDU_DMA_COMMAND',
  0x98,
  SOURCE,
  { RUN: 0, TO_RAM: 1, INTERRUPT: 2 },
  { width: 64 },
);

/** What IDENTIFICATION reads: version 1.0 of the device. */
export const EDU_IDENTIFICATION = 0x0100_00ed;
/** Bits of the interrupt status that the device itself sets. */
export const EduInterrupt = { FACTORIAL: 0x1, DMA: 0x100 } as const;
/** The DMA buffer, in the device's own addresses. */
export const EDU_BUFFER = 0x4_0000;
export const EDU_BUFFER_BYTES = 4096;
/** Nanoseconds from the command to the transfer. */
export const EDU_DMA_NS = 100_000_000;
/** Address bits that a DMA can have, unless the board says otherwise: 28. */
export const EDU_DMA_MASK = 0xfff_ffffn;
