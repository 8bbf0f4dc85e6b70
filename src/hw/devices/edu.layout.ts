/** QEMU's educational device as its users program it: registers and a buffer in BAR 0. Data only. */
import { register } from '../../layout/register.ts';

const SHEET = 'QEMU docs/specs/edu';

export const EDU_ID = {
  vendor: 0x1234,
  device: 0x11e8,
  classCode: 0x00_ff00,
  revision: 0x10,
  subsystemVendor: 0x1af4,
  subsystem: 0x1100,
  interruptPin: 1,
} as const;

export const BAR0_BYTES = 0x10_0000;

/** Reads 0x010000ed: version 1.0 of "edu". */
export const IDENTITY = register('IDENTITY', 0x00, SHEET, { VALUE: [31, 0] }, { access: 'read-only' });
export const IDENTITY_VALUE = 0x0100_00ed;
/** Reads the complement of what was written. */
export const LIVENESS = register('LIVENESS', 0x04, SHEET, { VALUE: [31, 0] });
/** A write computes the factorial of the value, modulo 2^32. */
export const FACTORIAL = register('FACTORIAL', 0x08, SHEET, { VALUE: [31, 0] });
export const STATUS = register('STATUS', 0x20, SHEET, { COMPUTING: 0, FACTORIAL_INTERRUPT: 7 });
export const INTERRUPT_STATUS = register('INTERRUPT_STATUS', 0x24, SHEET, { VALUE: [31, 0] }, { access: 'read-only' });
export const INTERRUPT_RAISE = register('INTERRUPT_RAISE', 0x60, SHEET, { VALUE: [31, 0] });
export const INTERRUPT_ACKNOWLEDGE = register('INTERRUPT_ACKNOWLEDGE', 0x64, SHEET, { VALUE: [31, 0] });
/** The DMA registers take 4 or 8 bytes; while RUN is set, writes are ignored. */
export const DMA_SOURCE = register('DMA_SOURCE', 0x80, SHEET, { LOW: [31, 0], HIGH: [63, 32] }, { width: 64 });
export const DMA_DESTINATION = register(
  'DMA_DESTINATION',
  0x88,
  SHEET,
  { LOW: [31, 0], HIGH: [63, 32] },
  { width: 64 },
);
export const DMA_COUNT = register('DMA_COUNT', 0x90, SHEET, { LOW: [31, 0], HIGH: [63, 32] }, { width: 64 });
export const DMA_COMMAND = register('DMA_COMMAND', 0x98, SHEET, { RUN: 0, TO_RAM: 1, INTERRUPT: 2 }, { width: 64 });

/** Bits of INTERRUPT_STATUS that the device sets itself. */
export const Interrupt = { FACTORIAL: 0x001, DMA: 0x100 } as const;

/** Where the device's buffer is, as its DMA registers name it. */
export const BUFFER_OFFSET = 0x4_0000;
export const BUFFER_BYTES = 4096;

/** A DMA takes this long. */
export const DMA_MS = 100;
/** Low bits of a DMA address that reach the bus, unless the board says otherwise. */
export const DMA_BITS = 28;
