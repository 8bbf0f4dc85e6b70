/**
 * The crypto accelerator's programming interface: what its data sheet would print. Data only; the device and the guest's
 * driver both read it. BAR 0 holds the registers, BAR 2 the MSI-X table and pending bits. All addresses are IOVAs.
 */
import { register } from '../../layout/register.ts';
import { struct } from '../../layout/struct.ts';

const SHEET = 'accelerator data sheet';

/** PCI identity (a local vendor number; class 0x0b4000 is a co-processor). */
export const ACCELERATOR_ID = { vendor: 0x1d0f, device: 0xfa17, classCode: 0x0b_4000, revision: 1 } as const;

export const BAR0_BYTES = 0x1000;
export const BAR2_BYTES = 0x1000;
export const MSIX_TABLE_OFFSET = 0;
export const MSIX_PBA_OFFSET = 0x800;
export const MSIX_VECTORS = 2;
/** Vector of completions. */
export const MSIX_COMPLETION = 0;
/** Vector of a ring error. */
export const MSIX_RING_ERROR = 1;

/** `IDENTITY` reads as the letters `FLAC`. */
export const IDENTITY_VALUE = 0x43414c46;

export const IDENTITY = register('IDENTITY', 0x00, SHEET, { VALUE: [31, 0] }, { access: 'read-only' });
/**
 * PINNED_RING: the device cannot wait for a page of its ring. It must be present whenever the device is enabled; where it is
 * not, that is a ring error.
 */
export const FEATURES = register('FEATURES', 0x04, SHEET, { PINNED_RING: 0 }, { access: 'read-only' });
/**
 * ENABLE lets the device fetch descriptors; without it, what is under way still ends. RESET returns every register to zero,
 * gives up what is under way (STATUS.IDLE says when the last of it has left the device) and reads as 0.
 */
export const CONTROL = register('CONTROL', 0x08, SHEET, { ENABLE: 0, RESET: 1 });
/**
 * RING_ERROR: the ring itself could not be read or written, or RING_TAIL went further than its size; the device gave
 * up what was under way and does nothing until RESET. IDLE: nothing is under way and no descriptor waits.
 */
export const STATUS = register('STATUS', 0x0c, SHEET, { ENABLED: 0, RING_ERROR: 1, IDLE: 2 }, { access: 'read-only' });
/** A multiple of 64. RING_BASE, RING_SIZE and PASID_CONTROL are fixed while ENABLED or not IDLE: writes are ignored. */
export const RING_BASE = register('RING_BASE', 0x10, SHEET, { OFFSET: [11, 0], PAGE: [63, 12] }, { width: 64 });
/** log2 of the number of descriptors, 0..15. */
export const RING_SIZE = register('RING_SIZE', 0x18, SHEET, { LOG2SIZE: [3, 0] });
/** Free-running index of the next descriptor that the driver fills; the write is the doorbell. */
export const RING_TAIL = register('RING_TAIL', 0x20, SHEET, { INDEX: [15, 0] });
/** Free-running index of the first descriptor that is not complete; completion is in order. */
export const RING_HEAD = register('RING_HEAD', 0x24, SHEET, { INDEX: [15, 0] }, { access: 'read-only' });
/** With ENABLE set, every access carries this PASID. */
export const PASID_CONTROL = register('PASID_CONTROL', 0x28, SHEET, { PASID: [19, 0], ENABLE: 31 });
/**
 * 32 key bytes from 0x40 and 16 bytes of initial counter block from 0x60, in memory order; they read as zero. A descriptor
 * uses what was there when the device fetched it.
 */
export const KEY_OFFSET = 0x40;
export const KEY_BYTES = 32;
export const IV_OFFSET = 0x60;
export const IV_BYTES = 16;

export const DESCRIPTOR_BYTES = 64;

/**
 * One operation: AES-256-CTR over LENGTH bytes. STREAM_OFFSET (bytes) places them in the key stream, so that any cut of a
 * stream gives the same bytes. Source and destination are the same or do not overlap. The device completes descriptors in
 * order: it writes STATUS and PROCESSED (bytes before the first fault), then moves RING_HEAD, then interrupts.
 */
export const Descriptor = struct('accelerator descriptor', SHEET, DESCRIPTOR_BYTES, {
  SOURCE_OFFSET: [11, 0],
  SOURCE_PAGE: [63, 12],
  DESTINATION_OFFSET: [75, 64],
  DESTINATION_PAGE: [127, 76],
  LENGTH: [159, 128],
  INTERRUPT: 160,
  STREAM_OFFSET_LOW: [223, 192],
  STREAM_OFFSET_HIGH: [255, 224],
  COOKIE: [287, 256],
  STATUS: [391, 384],
  PROCESSED: [447, 416],
});

/** Byte offset and length of what the device writes back into a descriptor: STATUS to the end. */
export const WRITEBACK_OFFSET = 48;
export const WRITEBACK_BYTES = 16;

export const DescriptorStatus = {
  PENDING: 0,
  DONE: 1,
  SOURCE_FAULT: 2,
  DESTINATION_FAULT: 3,
  /** LENGTH is 0, or the bytes reach beyond 2^64. */
  BAD_DESCRIPTOR: 4,
} as const;
