/**
 * Commands of the Non-secure queue: opcodes, fields, what they need (IHI 0070 chapter 4). The text we have lost its command
 * figures; positions are those that Linux, QEMU and gem5 agree on.
 */
import type { FeatureCondition, FieldFact } from './fact.ts';

export interface CommandFact {
  /** Without the `CMD_` prefix. */
  readonly name: string;
  readonly opcode: number;
  readonly section: string;
  /** Without these features the opcode is CERROR_ILL. */
  readonly requires?: FeatureCondition;
  /** CERROR_ILL when IDR0.STALL_MODEL=0b01. */
  readonly requiresStall?: true;
  /** CERROR_ILL on the Non-secure queue, whatever the features. */
  readonly secureOnly?: true;
  readonly effect: string;
  readonly fields: readonly FieldFact[];
}

const FACTS = [
  {
    name: 'PREFETCH_CONFIG',
    opcode: 0x01,
    section: '4.2.1',
    effect: 'may fetch the configuration of the stream; faults are silent',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'SSV', bits: [11, 11] },
      { name: 'SubstreamID', bits: [31, 12] },
      { name: 'StreamID', bits: [63, 32] },
    ],
  },
  {
    name: 'PREFETCH_ADDR',
    opcode: 0x02,
    section: '4.2.2',
    effect: 'may prefetch translations; faults are silent',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'SSV', bits: [11, 11] },
      { name: 'SubstreamID', bits: [31, 12] },
      { name: 'StreamID', bits: [63, 32] },
      { name: 'Size', bits: [68, 64] },
      { name: 'Addr', bits: [127, 76] },
    ],
  },
  {
    name: 'CFGI_STE',
    opcode: 0x03,
    section: '4.3.1',
    effect: 'drop the cached STE and every CD and L1CD cached through it',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'StreamID', bits: [63, 32] },
      { name: 'Leaf', bits: [64, 64] },
    ],
  },
  {
    name: 'CFGI_STE_RANGE',
    opcode: 0x04,
    section: '4.3.2',
    effect: 'drop STEs, L1STDs, CDs and L1CDs of the StreamID range',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'StreamID', bits: [63, 32] },
      { name: 'Range', bits: [68, 64] },
    ],
  },
  {
    name: 'CFGI_CD',
    opcode: 0x05,
    section: '4.3.3',
    requires: { S1P: 1 },
    effect: 'drop the cached CD at table index SubstreamID of this stream',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'SubstreamID', bits: [31, 12] },
      { name: 'StreamID', bits: [63, 32] },
      { name: 'Leaf', bits: [64, 64] },
    ],
  },
  {
    name: 'CFGI_CD_ALL',
    opcode: 0x06,
    section: '4.3.4',
    requires: { S1P: 1 },
    effect: 'drop every CD and L1CD of the stream',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'StreamID', bits: [63, 32] },
    ],
  },
  {
    name: 'CFGI_VMS_PIDM',
    opcode: 0x07,
    section: '4.3.5',
    requires: { MPAM: 1 },
    effect: 'drop cached PARTID maps of the VMID',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'VMID', bits: [47, 32] },
    ],
  },
  {
    name: 'TLBI_NH_ALL',
    opcode: 0x10,
    section: '4.4.2.1',
    requires: { S1P: 1 },
    effect: 'stage 1 NS-EL1 entries of VMID, global included (VMALLE1)',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'VMID', bits: [47, 32] },
    ],
  },
  {
    name: 'TLBI_NH_ASID',
    opcode: 0x11,
    section: '4.4.2.2',
    requires: { S1P: 1 },
    effect: 'stage 1 NS-EL1 non-global entries of VMID and ASID (ASIDE1)',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'VMID', bits: [47, 32] },
      { name: 'ASID', bits: [63, 48] },
    ],
  },
  {
    name: 'TLBI_NH_VA',
    opcode: 0x12,
    section: '4.4.2.4',
    requires: { S1P: 1 },
    effect: 'NS-EL1 entries of VMID and VA, with matching ASID or global (VA{L}E1)',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'NUM', bits: [16, 12] },
      { name: 'SCALE', bits: [25, 20] },
      { name: 'VMID', bits: [47, 32] },
      { name: 'ASID', bits: [63, 48] },
      { name: 'Leaf', bits: [64, 64] },
      { name: 'TTL128', bits: [71, 71] },
      { name: 'TTL', bits: [73, 72] },
      { name: 'TG', bits: [75, 74] },
      { name: 'Address', bits: [127, 76] },
    ],
  },
  {
    name: 'TLBI_NH_VAA',
    opcode: 0x13,
    section: '4.4.2.3',
    requires: { S1P: 1 },
    effect: 'NS-EL1 entries of VMID and VA, any ASID (VAA{L}E1)',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'NUM', bits: [16, 12] },
      { name: 'SCALE', bits: [25, 20] },
      { name: 'VMID', bits: [47, 32] },
      { name: 'Leaf', bits: [64, 64] },
      { name: 'TTL128', bits: [71, 71] },
      { name: 'TTL', bits: [73, 72] },
      { name: 'TG', bits: [75, 74] },
      { name: 'Address', bits: [127, 76] },
    ],
  },
  {
    name: 'TLBI_EL3_ALL',
    opcode: 0x18,
    section: '4.4.2.5',
    secureOnly: true,
    effect: 'EL3 entries',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_EL3_VA',
    opcode: 0x1a,
    section: '4.4.2.6',
    secureOnly: true,
    effect: 'EL3 entries by VA',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'Leaf', bits: [64, 64] },
      { name: 'Address', bits: [127, 76] },
    ],
  },
  {
    name: 'TLBI_EL2_ALL',
    opcode: 0x20,
    section: '4.4.2.7',
    requires: { Hyp: 1 },
    effect: 'all stage 1 NS-EL2 and NS-EL2-E2H entries (ALLE2)',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_EL2_ASID',
    opcode: 0x21,
    section: '4.4.2.10',
    requires: { Hyp: 1 },
    effect: 'NS-EL2-E2H non-global entries of ASID',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'ASID', bits: [63, 48] },
    ],
  },
  {
    name: 'TLBI_EL2_VA',
    opcode: 0x22,
    section: '4.4.2.8',
    requires: { Hyp: 1 },
    effect: 'entries by VA; CR2.E2H=1: E2H entries with ASID match or global; CR2.E2H=0: EL2 entries, ASID not used',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'NUM', bits: [16, 12] },
      { name: 'SCALE', bits: [25, 20] },
      { name: 'ASID', bits: [63, 48] },
      { name: 'Leaf', bits: [64, 64] },
      { name: 'TTL128', bits: [71, 71] },
      { name: 'TTL', bits: [73, 72] },
      { name: 'TG', bits: [75, 74] },
      { name: 'Address', bits: [127, 76] },
    ],
  },
  {
    name: 'TLBI_EL2_VAA',
    opcode: 0x23,
    section: '4.4.2.9',
    requires: { Hyp: 1 },
    effect: 'entries by VA, any ASID, regime picked by CR2.E2H',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'NUM', bits: [16, 12] },
      { name: 'SCALE', bits: [25, 20] },
      { name: 'Leaf', bits: [64, 64] },
      { name: 'TTL128', bits: [71, 71] },
      { name: 'TTL', bits: [73, 72] },
      { name: 'TG', bits: [75, 74] },
      { name: 'Address', bits: [127, 76] },
    ],
  },
  {
    name: 'TLBI_S12_VMALL',
    opcode: 0x28,
    section: '4.4.3.2',
    requires: { S2P: 1 },
    effect: 'all Non-secure EL1 entries of VMID, every stage (VMALLS12E1)',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'VMID', bits: [47, 32] },
    ],
  },
  {
    name: 'TLBI_S2_IPA',
    opcode: 0x2a,
    section: '4.4.3.1',
    requires: { S2P: 1 },
    effect: 'stage 2 entries of VMID and IPA (IPAS2{L}E1); combined stage 1+2 entries need not go',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'NUM', bits: [16, 12] },
      { name: 'SCALE', bits: [25, 20] },
      { name: 'VMID', bits: [47, 32] },
      { name: 'Leaf', bits: [64, 64] },
      { name: 'TTL128', bits: [71, 71] },
      { name: 'TTL', bits: [73, 72] },
      { name: 'TG', bits: [75, 74] },
      { name: 'Address', bits: [119, 76] },
    ],
  },
  {
    name: 'TLBI_NSNH_ALL',
    opcode: 0x30,
    section: '4.4.4.1',
    effect: 'all Non-secure entries outside EL2, every stage (ALLE1)',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'ATC_INV',
    opcode: 0x40,
    section: '4.5.1',
    requires: { ATS: 1 },
    effect: 'send an ATS Invalidate Request',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'Global', bits: [9, 9] },
      { name: 'SSV', bits: [11, 11] },
      { name: 'SubstreamID', bits: [31, 12] },
      { name: 'StreamID', bits: [63, 32] },
      { name: 'Size', bits: [69, 64] },
      { name: 'Address', bits: [127, 76] },
    ],
  },
  {
    name: 'PRI_RESP',
    opcode: 0x41,
    section: '4.5.2',
    requires: { PRI: 1 },
    effect: 'send a PRG Response; PASID included when SSV=1',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSV', bits: [11, 11] },
      { name: 'SubstreamID', bits: [31, 12] },
      { name: 'StreamID', bits: [63, 32] },
      { name: 'PRGIndex', bits: [72, 64] },
      { name: 'Resp', bits: [77, 76] },
    ],
  },
  {
    name: 'RESUME',
    opcode: 0x44,
    section: '4.7.1',
    requiresStall: true,
    effect: 'retry or terminate one stalled transaction',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'Ac', bits: [12, 12] },
      { name: 'Ab', bits: [13, 13] },
      { name: 'StreamID', bits: [63, 32] },
      { name: 'STAG', bits: [79, 64] },
    ],
  },
  {
    name: 'STALL_TERM',
    opcode: 0x45,
    section: '4.7.2',
    requiresStall: true,
    effect: 'mark every stalled transaction of the stream for termination with abort',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'SSec', bits: [10, 10] },
      { name: 'StreamID', bits: [63, 32] },
    ],
  },
  {
    name: 'SYNC',
    opcode: 0x46,
    section: '4.7.3',
    effect: 'wait for earlier commands of the same queue',
    fields: [
      { name: 'Opcode', bits: [7, 0] },
      { name: 'CS', bits: [13, 12] },
      { name: 'MSH', bits: [23, 22] },
      { name: 'MSIAttr', bits: [27, 24] },
      { name: 'MSIData', bits: [63, 32] },
      { name: 'MSIAddress', bits: [119, 66] },
    ],
  },
  {
    name: 'TLBI_S_EL2_ALL',
    opcode: 0x50,
    section: '4.4.2.11',
    secureOnly: true,
    effect: 'Secure counterpart; fields not listed here',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_S_EL2_ASID',
    opcode: 0x51,
    section: '4.4.2.14',
    secureOnly: true,
    effect: 'Secure counterpart; fields not listed here',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_S_EL2_VA',
    opcode: 0x52,
    section: '4.4.2.12',
    secureOnly: true,
    effect: 'Secure counterpart; fields not listed here',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_S_EL2_VAA',
    opcode: 0x53,
    section: '4.4.2.13',
    secureOnly: true,
    effect: 'Secure counterpart; fields not listed here',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_S_S12_VMALL',
    opcode: 0x58,
    section: '4.4.3.4',
    secureOnly: true,
    effect: 'Secure counterpart; fields not listed here',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_S_S2_IPA',
    opcode: 0x5a,
    section: '4.4.3.3',
    secureOnly: true,
    effect: 'Secure counterpart; fields not listed here',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'TLBI_SNH_ALL',
    opcode: 0x60,
    section: '4.4.4.2',
    secureOnly: true,
    effect: 'Secure counterpart; fields not listed here',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'DPTI_ALL',
    opcode: 0x70,
    section: '4.6.1',
    requires: { DPT: 1 },
    effect: 'drop cached DPT information',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
  {
    name: 'DPTI_PA',
    opcode: 0x73,
    section: '4.6.2',
    requires: { DPT: 1 },
    effect: 'drop cached DPT information of a region',
    fields: [{ name: 'Opcode', bits: [7, 0] }],
  },
] as const satisfies readonly CommandFact[];

export type CommandName = (typeof FACTS)[number]['name'];
export const COMMANDS: readonly CommandFact[] = FACTS;

/** First and last opcode of each reserved range (§4.1.1); 0x0b to 0x0f are in no row of the table and count as reserved. */
export const RESERVED_OPCODES: readonly (readonly [first: number, last: number])[] = [
  [0x00, 0x00],
  [0x08, 0x0f],
  [0x14, 0x17],
  [0x19, 0x19],
  [0x1b, 0x1f],
  [0x24, 0x27],
  [0x29, 0x29],
  [0x2b, 0x2f],
  [0x31, 0x3f],
  [0x42, 0x43],
  [0x47, 0x4f],
  [0x54, 0x57],
  [0x59, 0x59],
  [0x5b, 0x5f],
  [0x61, 0x6f],
  [0x71, 0x72],
  [0x74, 0x7f],
  [0x90, 0xff],
];

/** IMPLEMENTATION DEFINED opcodes (§4.1.1): unknown ones are CERROR_ILL. */
export const IMPLEMENTATION_OPCODES = [0x80, 0x8f] as const;

/** CMDQ_CONS.ERR (§7.1). */
export const CERROR = { NONE: 0, ILL: 1, ABT: 2, ATC_INV_SYNC: 3 } as const;
