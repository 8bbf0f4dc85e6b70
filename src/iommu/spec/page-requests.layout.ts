/** PRI queue record, IHI 0070 G.b chapter 8; positions as in Linux arm-smmu-v3.h (PRIQ_0_*, PRIQ_1_*). Data only. */
import { struct } from '../../layout/struct.ts';

/** Bytes of a PRI queue record (§8). */
export const PAGE_REQUEST_BYTES = 16;

export const PageRequestRecord = struct('page request record', 'IHI 0070 §8', 16, {
  StreamID: [31, 0],
  SubstreamID: [51, 32],
  Priv: 58,
  X: 59,
  R: 60,
  W: 61,
  Last: 62,
  SSV: 63,
  PRGIndex: [72, 64],
  PageAddress: [127, 76],
});
