/**
 * Command queue entries, IHI 0070 G.b chapter 4. Data only. One struct per command, named as the specification names
 * it without the `CMD_` prefix; `Opcode` lists every opcode that the Non-secure queue knows.
 */
import { struct } from '../../layout/struct.ts';

/** Bytes of a command (§4.1). */
export const COMMAND_BYTES = 16;

export const Opcode = {
  PREFETCH_CONFIG: 0x01,
  PREFETCH_ADDR: 0x02,
  CFGI_STE: 0x03,
  CFGI_STE_RANGE: 0x04,
  CFGI_CD: 0x05,
  CFGI_CD_ALL: 0x06,
  CFGI_VMS_PIDM: 0x07,
  TLBI_NH_ALL: 0x10,
  TLBI_NH_ASID: 0x11,
  TLBI_NH_VA: 0x12,
  TLBI_NH_VAA: 0x13,
  TLBI_EL3_ALL: 0x18,
  TLBI_EL3_VA: 0x1a,
  TLBI_EL2_ALL: 0x20,
  TLBI_EL2_ASID: 0x21,
  TLBI_EL2_VA: 0x22,
  TLBI_EL2_VAA: 0x23,
  TLBI_S12_VMALL: 0x28,
  TLBI_S2_IPA: 0x2a,
  TLBI_NSNH_ALL: 0x30,
  ATC_INV: 0x40,
  PRI_RESP: 0x41,
  RESUME: 0x44,
  STALL_TERM: 0x45,
  SYNC: 0x46,
  TLBI_S_EL2_ALL: 0x50,
  TLBI_S_EL2_ASID: 0x51,
  TLBI_S_EL2_VA: 0x52,
  TLBI_S_EL2_VAA: 0x53,
  TLBI_S_S12_VMALL: 0x58,
  TLBI_S_S2_IPA: 0x5a,
  TLBI_SNH_ALL: 0x60,
  DPTI_ALL: 0x70,
  DPTI_PA: 0x73,
} as const;

/** CMDQ_CONS.ERR (§7.1). */
export const CommandError = { NONE: 0, ILL: 1, ABT: 2, ATC_INV_SYNC: 3 } as const;
export type CommandError = (typeof CommandError)[keyof typeof CommandError];

/** CMD_SYNC.CS: how completion is signalled (§4.7.3). */
export const CompletionSignal = { NONE: 0, IRQ: 1, SEV: 2 } as const;

/** CMD_PRI_RESP.Resp (§4.5.2); the PCIe message uses other numbers for the same answers. */
export const PriResponse = { FAILURE: 0, INVALID: 1, SUCCESS: 2 } as const;

/** What every command has in common (§4.1.1). */
export const Command = struct('command', 'IHI 0070 §4.1.1', 16, { Opcode: [7, 0] });

export const PREFETCH_CONFIG = struct('CMD_PREFETCH_CONFIG', 'IHI 0070 §4.2.1', 16, {
  Opcode: [7, 0],
  SSec: 10,
  SSV: 11,
  SubstreamID: [31, 12],
  StreamID: [63, 32],
});
export const PREFETCH_ADDR = struct('CMD_PREFETCH_ADDR', 'IHI 0070 §4.2.2', 16, {
  Opcode: [7, 0],
  SSec: 10,
  SSV: 11,
  SubstreamID: [31, 12],
  StreamID: [63, 32],
  Size: [68, 64],
  Stride: [73, 69],
  Addr: [127, 76],
});
export const CFGI_STE = struct('CMD_CFGI_STE', 'IHI 0070 §4.3.1', 16, {
  Opcode: [7, 0],
  SSec: 10,
  StreamID: [63, 32],
  Leaf: 64,
});
export const CFGI_STE_RANGE = struct('CMD_CFGI_STE_RANGE', 'IHI 0070 §4.3.2', 16, {
  Opcode: [7, 0],
  SSec: 10,
  StreamID: [63, 32],
  Range: [68, 64],
});
export const CFGI_CD = struct('CMD_CFGI_CD', 'IHI 0070 §4.3.3', 16, {
  Opcode: [7, 0],
  SSec: 10,
  SubstreamID: [31, 12],
  StreamID: [63, 32],
  Leaf: 64,
});
export const CFGI_CD_ALL = struct('CMD_CFGI_CD_ALL', 'IHI 0070 §4.3.4', 16, {
  Opcode: [7, 0],
  SSec: 10,
  StreamID: [63, 32],
});
export const CFGI_VMS_PIDM = struct('CMD_CFGI_VMS_PIDM', 'IHI 0070 §4.3.5', 16, {
  Opcode: [7, 0],
  SSec: 10,
  VMID: [47, 32],
});
export const TLBI_NH_ALL = struct('CMD_TLBI_NH_ALL', 'IHI 0070 §4.4.2.1', 16, {
  Opcode: [7, 0],
  VMID: [47, 32],
});
export const TLBI_NH_ASID = struct('CMD_TLBI_NH_ASID', 'IHI 0070 §4.4.2.2', 16, {
  Opcode: [7, 0],
  VMID: [47, 32],
  ASID: [63, 48],
});
export const TLBI_NH_VA = struct('CMD_TLBI_NH_VA', 'IHI 0070 §4.4.2.4', 16, {
  Opcode: [7, 0],
  NUM: [16, 12],
  SCALE: [25, 20],
  VMID: [47, 32],
  ASID: [63, 48],
  Leaf: 64,
  TTL128: 71,
  TTL: [73, 72],
  TG: [75, 74],
  Address: [127, 76],
});
export const TLBI_NH_VAA = struct('CMD_TLBI_NH_VAA', 'IHI 0070 §4.4.2.3', 16, {
  Opcode: [7, 0],
  NUM: [16, 12],
  SCALE: [25, 20],
  VMID: [47, 32],
  Leaf: 64,
  TTL128: 71,
  TTL: [73, 72],
  TG: [75, 74],
  Address: [127, 76],
});
export const TLBI_EL3_ALL = struct('CMD_TLBI_EL3_ALL', 'IHI 0070 §4.4.2.5', 16, {
  Opcode: [7, 0],
});
export const TLBI_EL3_VA = struct('CMD_TLBI_EL3_VA', 'IHI 0070 §4.4.2.6', 16, {
  Opcode: [7, 0],
  Leaf: 64,
  Address: [127, 76],
});
export const TLBI_EL2_ALL = struct('CMD_TLBI_EL2_ALL', 'IHI 0070 §4.4.2.7', 16, {
  Opcode: [7, 0],
});
export const TLBI_EL2_ASID = struct('CMD_TLBI_EL2_ASID', 'IHI 0070 §4.4.2.10', 16, {
  Opcode: [7, 0],
  ASID: [63, 48],
});
export const TLBI_EL2_VA = struct('CMD_TLBI_EL2_VA', 'IHI 0070 §4.4.2.8', 16, {
  Opcode: [7, 0],
  NUM: [16, 12],
  SCALE: [25, 20],
  ASID: [63, 48],
  Leaf: 64,
  TTL128: 71,
  TTL: [73, 72],
  TG: [75, 74],
  Address: [127, 76],
});
export const TLBI_EL2_VAA = struct('CMD_TLBI_EL2_VAA', 'IHI 0070 §4.4.2.9', 16, {
  Opcode: [7, 0],
  NUM: [16, 12],
  SCALE: [25, 20],
  Leaf: 64,
  TTL128: 71,
  TTL: [73, 72],
  TG: [75, 74],
  Address: [127, 76],
});
export const TLBI_S12_VMALL = struct('CMD_TLBI_S12_VMALL', 'IHI 0070 §4.4.3.2', 16, {
  Opcode: [7, 0],
  VMID: [47, 32],
});
export const TLBI_S2_IPA = struct('CMD_TLBI_S2_IPA', 'IHI 0070 §4.4.3.1', 16, {
  Opcode: [7, 0],
  NUM: [16, 12],
  SCALE: [25, 20],
  VMID: [47, 32],
  Leaf: 64,
  TTL128: 71,
  TTL: [73, 72],
  TG: [75, 74],
  Address: [119, 76],
});
export const TLBI_NSNH_ALL = struct('CMD_TLBI_NSNH_ALL', 'IHI 0070 §4.4.4.1', 16, {
  Opcode: [7, 0],
});
export const ATC_INV = struct('CMD_ATC_INV', 'IHI 0070 §4.5.1', 16, {
  Opcode: [7, 0],
  Global: 9,
  SSV: 11,
  SubstreamID: [31, 12],
  StreamID: [63, 32],
  Size: [69, 64],
  Address: [127, 76],
});
export const PRI_RESP = struct('CMD_PRI_RESP', 'IHI 0070 §4.5.2', 16, {
  Opcode: [7, 0],
  SSV: 11,
  SubstreamID: [31, 12],
  StreamID: [63, 32],
  PRGIndex: [72, 64],
  Resp: [77, 76],
});
export const RESUME = struct('CMD_RESUME', 'IHI 0070 §4.7.1', 16, {
  Opcode: [7, 0],
  SSec: 10,
  Ac: 12,
  Ab: 13,
  StreamID: [63, 32],
  STAG: [79, 64],
});
export const STALL_TERM = struct('CMD_STALL_TERM', 'IHI 0070 §4.7.2', 16, {
  Opcode: [7, 0],
  SSec: 10,
  StreamID: [63, 32],
});
export const SYNC = struct('CMD_SYNC', 'IHI 0070 §4.7.3', 16, {
  Opcode: [7, 0],
  CS: [13, 12],
  MSH: [23, 22],
  MSIAttr: [27, 24],
  MSIData: [63, 32],
  MSIAddress_LOW: [95, 66],
  MSIAddress_HIGH: [119, 96],
});
export const TLBI_S_EL2_ALL = struct('CMD_TLBI_S_EL2_ALL', 'IHI 0070 §4.4.2.11', 16, {
  Opcode: [7, 0],
});
export const TLBI_S_EL2_ASID = struct('CMD_TLBI_S_EL2_ASID', 'IHI 0070 §4.4.2.14', 16, {
  Opcode: [7, 0],
});
export const TLBI_S_EL2_VA = struct('CMD_TLBI_S_EL2_VA', 'IHI 0070 §4.4.2.12', 16, {
  Opcode: [7, 0],
});
export const TLBI_S_EL2_VAA = struct('CMD_TLBI_S_EL2_VAA', 'IHI 0070 §4.4.2.13', 16, {
  Opcode: [7, 0],
});
export const TLBI_S_S12_VMALL = struct('CMD_TLBI_S_S12_VMALL', 'IHI 0070 §4.4.3.4', 16, {
  Opcode: [7, 0],
});
export const TLBI_S_S2_IPA = struct('CMD_TLBI_S_S2_IPA', 'IHI 0070 §4.4.3.3', 16, {
  Opcode: [7, 0],
});
export const TLBI_SNH_ALL = struct('CMD_TLBI_SNH_ALL', 'IHI 0070 §4.4.4.2', 16, {
  Opcode: [7, 0],
});
export const DPTI_ALL = struct('CMD_DPTI_ALL', 'IHI 0070 §4.6.1', 16, {
  Opcode: [7, 0],
});
export const DPTI_PA = struct('CMD_DPTI_PA', 'IHI 0070 §4.6.2', 16, {
  Opcode: [7, 0],
});

/** The struct of each opcode. */
export const COMMANDS = {
  PREFETCH_CONFIG,
  PREFETCH_ADDR,
  CFGI_STE,
  CFGI_STE_RANGE,
  CFGI_CD,
  CFGI_CD_ALL,
  CFGI_VMS_PIDM,
  TLBI_NH_ALL,
  TLBI_NH_ASID,
  TLBI_NH_VA,
  TLBI_NH_VAA,
  TLBI_EL3_ALL,
  TLBI_EL3_VA,
  TLBI_EL2_ALL,
  TLBI_EL2_ASID,
  TLBI_EL2_VA,
  TLBI_EL2_VAA,
  TLBI_S12_VMALL,
  TLBI_S2_IPA,
  TLBI_NSNH_ALL,
  ATC_INV,
  PRI_RESP,
  RESUME,
  STALL_TERM,
  SYNC,
  TLBI_S_EL2_ALL,
  TLBI_S_EL2_ASID,
  TLBI_S_EL2_VA,
  TLBI_S_EL2_VAA,
  TLBI_S_S12_VMALL,
  TLBI_S_S2_IPA,
  TLBI_SNH_ALL,
  DPTI_ALL,
  DPTI_PA,
} as const;
