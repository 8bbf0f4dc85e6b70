/**
 * VMSAv8-64 translation table descriptors with the bit numbers of DDI 0487 §D8.3, typed here and not taken from the
 * silicon or the driver, so that neither can agree with itself. Addresses are pages of 4 KiB; bits that an address does
 * not use at a level or granule stay zero in what the tables write.
 */
import { struct } from '../../src/layout/struct.ts';

export const TableDescriptor = struct('table descriptor', 'DDI 0487 §D8.3.1', 8, {
  VALID: 0,
  TABLE: 1,
  NEXT: [47, 12],
  PXNTable: 59,
  XNTable: 60,
  APTable: [62, 61],
  NSTable: 63,
});

export const Stage1Leaf = struct('stage 1 page or block descriptor', 'DDI 0487 §D8.3.1', 8, {
  VALID: 0,
  /** 1 in a page, 0 in a block. */
  PAGE: 1,
  AttrIndx: [4, 2],
  NS: 5,
  AP: [7, 6],
  SH: [9, 8],
  AF: 10,
  nG: 11,
  OUTPUT: [47, 12],
  GP: 50,
  DBM: 51,
  Contiguous: 52,
  PXN: 53,
  UXN: 54,
  SW: [58, 55],
});

export const Stage2Leaf = struct('stage 2 page or block descriptor', 'DDI 0487 §D8.3.1', 8, {
  VALID: 0,
  PAGE: 1,
  MemAttr: [5, 2],
  S2AP: [7, 6],
  SH: [9, 8],
  AF: 10,
  FnXS: 11,
  OUTPUT: [47, 12],
  DBM: 51,
  Contiguous: 52,
  XN: [54, 53],
  SW: [58, 55],
});

/** AP[2:1] (DDI 0487 §D8.4.1): bit 1 read-only, bit 0 also unprivileged. */
export const AP = { PRIVILEGED_RW: 0, RW: 1, PRIVILEGED_RO: 2, RO: 3 } as const;
/** S2AP (DDI 0487 §D8.4.2): bit 0 readable, bit 1 writable. */
export const S2AP = { NONE: 0, READ: 1, WRITE: 2, RW: 3 } as const;
