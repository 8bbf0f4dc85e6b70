/**
 * Event queue records, IHI 0070 G.b §7.3. Data only. `EventRecord` holds the fields that share a position in every record
 * that has them; one struct per event adds what is its own. A page is an address divided by 4096.
 */
import { struct } from '../../layout/struct.ts';

/** Bytes of an event record (§7.3). */
export const EVENT_BYTES = 32;

export const EventType = {
  F_UUT: 0x01,
  C_BAD_STREAMID: 0x02,
  F_STE_FETCH: 0x03,
  C_BAD_STE: 0x04,
  F_BAD_ATS_TREQ: 0x05,
  F_STREAM_DISABLED: 0x06,
  F_TRANSL_FORBIDDEN: 0x07,
  C_BAD_SUBSTREAMID: 0x08,
  F_CD_FETCH: 0x09,
  C_BAD_CD: 0x0a,
  F_WALK_EABT: 0x0b,
  F_TRANSLATION: 0x10,
  F_ADDR_SIZE: 0x11,
  F_ACCESS: 0x12,
  F_PERMISSION: 0x13,
  F_TLB_CONFLICT: 0x20,
  F_CFG_CONFLICT: 0x21,
  E_PAGE_REQUEST: 0x24,
  F_VMS_FETCH: 0x25,
} as const;
export type EventType = (typeof EventType)[keyof typeof EventType];

/** CLASS: what the SMMU was doing when a stage 2 or walk fault struck (§7.3). */
export const FaultClass = { CD: 0, TTD: 1, IN: 2 } as const;

// Parts that records share. Each stands where the figure of every record that has it puts it.
const SENDER = { EventNumber: [7, 0], SSV: 11, SubstreamID: [31, 12], StreamID: [63, 32] } as const;
const ACCESS = { PnU: 97, InD: 98, RnW: 99 } as const;
const INPUT = { INPUT_OFFSET: [139, 128], INPUT_PAGE: [191, 140] } as const;
const FETCH = { Reason: [79, 64], GPCF: 80, FetchAddr: [247, 195] } as const;

/** The common shape of fault records (§7.3.13 to §7.3.16) and of what they share with the others. */
export const EventRecord = struct('event record', 'IHI 0070 §7.3', 32, {
  ...SENDER,
  STAG: [79, 64],
  Stall: 95,
  ...ACCESS,
  NSIPA: 102,
  S2: 103,
  CLASS: [105, 104],
  TTRnW: 108,
  ...INPUT,
  IPA: [247, 204],
});

export const F_UUT = struct('F_UUT', 'IHI 0070 §7.3.2', 32, {
  ...SENDER,
  Reason: [79, 64],
  ...ACCESS,
  ...INPUT,
});
export const C_BAD_STREAMID = struct('C_BAD_STREAMID', 'IHI 0070 §7.3.3', 32, {
  ...SENDER,
});
export const F_STE_FETCH = struct('F_STE_FETCH', 'IHI 0070 §7.3.4', 32, {
  ...SENDER,
  ...FETCH,
});
export const C_BAD_STE = struct('C_BAD_STE', 'IHI 0070 §7.3.5', 32, {
  ...SENDER,
});
export const F_BAD_ATS_TREQ = struct('F_BAD_ATS_TREQ', 'IHI 0070 §7.3.6', 32, {
  ...SENDER,
});
export const F_STREAM_DISABLED = struct('F_STREAM_DISABLED', 'IHI 0070 §7.3.7', 32, {
  EventNumber: [7, 0],
  StreamID: [63, 32],
});
export const F_TRANSL_FORBIDDEN = struct('F_TRANSL_FORBIDDEN', 'IHI 0070 §7.3.8', 32, {
  EventNumber: [7, 0],
  StreamID: [63, 32],
  RnW: 99,
  ...INPUT,
});
export const C_BAD_SUBSTREAMID = struct('C_BAD_SUBSTREAMID', 'IHI 0070 §7.3.9', 32, {
  EventNumber: [7, 0],
  SubstreamID: [31, 12],
  StreamID: [63, 32],
});
export const F_CD_FETCH = struct('F_CD_FETCH', 'IHI 0070 §7.3.10', 32, {
  ...SENDER,
  ...FETCH,
});
export const C_BAD_CD = struct('C_BAD_CD', 'IHI 0070 §7.3.11', 32, {
  ...SENDER,
});
export const F_WALK_EABT = struct('F_WALK_EABT', 'IHI 0070 §7.3.12', 32, {
  ...SENDER,
  Reason: [79, 64],
  GPCF: 80,
  ...ACCESS,
  NSIPA: 102,
  S2: 103,
  CLASS: [105, 104],
  ...INPUT,
  FetchAddr: [247, 195],
});
export const F_TRANSLATION = struct('F_TRANSLATION', 'IHI 0070 §7.3.13', 32, {
  ...SENDER,
  STAG: [79, 64],
  Stall: 95,
  ...ACCESS,
  NSIPA: 102,
  S2: 103,
  CLASS: [105, 104],
  ...INPUT,
  IPA: [247, 204],
});
export const F_ADDR_SIZE = struct('F_ADDR_SIZE', 'IHI 0070 §7.3.14', 32, F_TRANSLATION.$.table);
export const F_ACCESS = struct('F_ACCESS', 'IHI 0070 §7.3.15', 32, F_TRANSLATION.$.table);
export const F_PERMISSION = struct('F_PERMISSION', 'IHI 0070 §7.3.16', 32, {
  ...SENDER,
  STAG: [79, 64],
  Stall: 95,
  ...ACCESS,
  NSIPA: 102,
  S2: 103,
  CLASS: [105, 104],
  TTRnW: 108,
  ...INPUT,
  IPA: [247, 204],
});
export const F_TLB_CONFLICT = struct('F_TLB_CONFLICT', 'IHI 0070 §7.3.17', 32, {
  ...SENDER,
  Reason: [79, 64],
  ...ACCESS,
  S2: 103,
  ...INPUT,
  IPA: [247, 204],
});
export const F_CFG_CONFLICT = struct('F_CFG_CONFLICT', 'IHI 0070 §7.3.18', 32, {
  ...SENDER,
  Reason: [79, 64],
});
export const E_PAGE_REQUEST = struct('E_PAGE_REQUEST', 'IHI 0070 §7.3.19', 32, {
  ...SENDER,
  uX: 97,
  uW: 98,
  uR: 99,
  pX: 101,
  pW: 102,
  pR: 103,
  Span: [115, 108],
  InputAddr: [191, 140],
});
export const F_VMS_FETCH = struct('F_VMS_FETCH', 'IHI 0070 §7.3.20', 32, {
  ...SENDER,
  ...FETCH,
});

/** The struct of each event. */
export const EVENTS = {
  F_UUT,
  C_BAD_STREAMID,
  F_STE_FETCH,
  C_BAD_STE,
  F_BAD_ATS_TREQ,
  F_STREAM_DISABLED,
  F_TRANSL_FORBIDDEN,
  C_BAD_SUBSTREAMID,
  F_CD_FETCH,
  C_BAD_CD,
  F_WALK_EABT,
  F_TRANSLATION,
  F_ADDR_SIZE,
  F_ACCESS,
  F_PERMISSION,
  F_TLB_CONFLICT,
  F_CFG_CONFLICT,
  E_PAGE_REQUEST,
  F_VMS_FETCH,
} as const;
