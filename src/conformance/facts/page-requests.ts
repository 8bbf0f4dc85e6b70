/** PRI queue: records, automatic responses, response codes (IHI 0070 chapter 8). Record positions are those of the Linux header. */
import type { FieldFact } from './fact.ts';

export const PAGE_REQUEST_FIELDS: readonly FieldFact[] = [
  { name: 'StreamID', bits: [31, 0] },
  { name: 'SubstreamID', bits: [51, 32] },
  { name: 'Priv', bits: [58, 58] },
  { name: 'X', bits: [59, 59] },
  { name: 'R', bits: [60, 60] },
  { name: 'W', bits: [61, 61] },
  { name: 'Last', bits: [62, 62] },
  { name: 'SSV', bits: [63, 63] },
  { name: 'PRGIndex', bits: [72, 64] },
  { name: 'PageAddress', bits: [127, 76] },
];

export interface AutoResponseFact {
  readonly cause: 'overflow' | 'refused';
  readonly pasid: boolean | 'any';
  readonly PPS?: 0 | 1;
  readonly PPAR?: 0 | 1;
  /** Whether an STE can be found to look PPAR up in. */
  readonly ste?: boolean;
  /** PCIe Response Code. */
  readonly code: number;
  readonly responsePasid: boolean;
  readonly section: string;
}

/** §8.1, §8.2. A refused request met PRIQEN=0, SMMUEN=0 or an active PRIQ_ABT_ERR. */
export const AUTO_RESPONSES: readonly AutoResponseFact[] = [
  { cause: 'overflow', pasid: false, code: 0b0000, responsePasid: false, section: '8.1' },
  { cause: 'overflow', pasid: true, PPS: 1, code: 0b0000, responsePasid: true, section: '8.1' },
  { cause: 'overflow', pasid: true, PPS: 0, ste: true, PPAR: 1, code: 0b0000, responsePasid: true, section: '8.1' },
  { cause: 'overflow', pasid: true, PPS: 0, ste: true, PPAR: 0, code: 0b0000, responsePasid: false, section: '8.1' },
  { cause: 'overflow', pasid: true, PPS: 0, ste: false, code: 0b1111, responsePasid: false, section: '8.1' },
  { cause: 'refused', pasid: 'any', code: 0b1111, responsePasid: false, section: '8.2' },
];

/** CMD_PRI_RESP.Resp and the PCIe Response Code that it sends (§4.5.2, §8.3). */
export const RESPONSE_CODES = [
  { name: 'ResponseFailure', Resp: 0b00, code: 0b1111 },
  { name: 'InvalidRequest', Resp: 0b01, code: 0b0001 },
  { name: 'Success', Resp: 0b10, code: 0b0000 },
] as const;
