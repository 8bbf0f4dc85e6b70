/**
 * SMMUv3 Non-secure registers of page 0 and page 1, IHI 0070 G.b chapter 6. Data only.
 *
 * Offsets count from the start of the SMMU; page 1 begins at 0x10000 (§6.1). Addresses of 54 bits are declared as two
 * halves, because a field must be exact in a number. Fields of features that Faultline does not model are declared,
 * so that a dump can name them; `docs/smmuv3.md` says what is announced.
 */
import { register } from '../../layout/register.ts';

/** Byte offset of register page 1 (§6.1). */
export const PAGE_1 = 0x1_0000;
/** Bytes of the two register pages together (§6.1). */
export const REGISTER_BYTES = 0x2_0000;

export const IDR0 = register(
  'SMMU_IDR0',
  0x00000,
  'IHI 0070 §6.3.1',
  {
    S2P: 0,
    S1P: 1,
    TTF: [3, 2],
    COHACC: 4,
    BTM: 5,
    HTTU: [7, 6],
    DORMHINT: 8,
    Hyp: 9,
    ATS: 10,
    NS1ATS: 11,
    ASID16: 12,
    MSI: 13,
    SEV: 14,
    ATOS: 15,
    PRI: 16,
    VMW: 17,
    VMID16: 18,
    CD2L: 19,
    VATOS: 20,
    TTENDIAN: [22, 21],
    ATSRECERR: 23,
    STALL_MODEL: [25, 24],
    TERM_MODEL: 26,
    ST_LEVEL: [28, 27],
    RME_IMPL: 30,
  },
  { access: 'read-only' },
);
export const IDR1 = register(
  'SMMU_IDR1',
  0x00004,
  'IHI 0070 §6.3.2',
  {
    SIDSIZE: [5, 0],
    SSIDSIZE: [10, 6],
    PRIQS: [15, 11],
    EVENTQS: [20, 16],
    CMDQS: [25, 21],
    ATTR_PERMS_OVR: 26,
    ATTR_TYPES_OVR: 27,
    REL: 28,
    QUEUES_PRESET: 29,
    TABLES_PRESET: 30,
    ECMDQ: 31,
  },
  { access: 'read-only' },
);
export const IDR2 = register(
  'SMMU_IDR2',
  0x00008,
  'IHI 0070 §6.3.3',
  {
    BA_VATOS: [9, 0],
  },
  { access: 'read-only' },
);
export const IDR3 = register(
  'SMMU_IDR3',
  0x0000c,
  'IHI 0070 §6.3.4',
  {
    HAD: 2,
    PBHA: 3,
    XNX: 4,
    PPS: 5,
    MPAM: 7,
    FWB: 8,
    STT: 9,
    RIL: 10,
    BBML: [12, 11],
    E0PD: 13,
    PTWNNC: 14,
    DPT: 15,
    PASIDTT: 16,
    EPAN: 17,
    S1PI: 18,
    S2PI: 19,
    S2PO: 20,
    THE: 21,
    MTEPERM: 22,
    AIE: 23,
  },
  { access: 'read-only' },
);
export const IDR4 = register('SMMU_IDR4', 0x00010, 'IHI 0070 §6.3.5', {}, { access: 'read-only' });
export const IDR5 = register(
  'SMMU_IDR5',
  0x00014,
  'IHI 0070 §6.3.6',
  {
    OAS: [2, 0],
    GRAN4K: 4,
    GRAN16K: 5,
    GRAN64K: 6,
    DS: 7,
    D128: 8,
    VAX: [11, 10],
    STALL_MAX: [31, 16],
  },
  { access: 'read-only' },
);
export const IIDR = register(
  'SMMU_IIDR',
  0x00018,
  'IHI 0070 §6.3.7',
  {
    Implementer: [11, 0],
    Revision: [15, 12],
    Variant: [19, 16],
    ProductID: [31, 20],
  },
  { access: 'read-only' },
);
export const AIDR = register(
  'SMMU_AIDR',
  0x0001c,
  'IHI 0070 §6.3.8',
  {
    ArchMinorRev: [3, 0],
    ArchMajorRev: [7, 4],
  },
  { access: 'read-only' },
);
export const CR0 = register('SMMU_CR0', 0x00020, 'IHI 0070 §6.3.9', {
  SMMUEN: 0,
  PRIQEN: 1,
  EVENTQEN: 2,
  CMDQEN: 3,
  ATSCHK: 4,
  VMW: [8, 6],
  DPT_WALK_EN: 10,
});
export const CR0ACK = register(
  'SMMU_CR0ACK',
  0x00024,
  'IHI 0070 §6.3.10',
  {
    SMMUEN: 0,
    PRIQEN: 1,
    EVENTQEN: 2,
    CMDQEN: 3,
    ATSCHK: 4,
    VMW: [8, 6],
    DPT_WALK_EN: 10,
  },
  { access: 'read-only' },
);
export const CR1 = register('SMMU_CR1', 0x00028, 'IHI 0070 §6.3.11', {
  QUEUE_IC: [1, 0],
  QUEUE_OC: [3, 2],
  QUEUE_SH: [5, 4],
  TABLE_IC: [7, 6],
  TABLE_OC: [9, 8],
  TABLE_SH: [11, 10],
});
export const CR2 = register('SMMU_CR2', 0x0002c, 'IHI 0070 §6.3.12', {
  E2H: 0,
  RECINVSID: 1,
  PTM: 2,
  REC_CFG_ATS: 3,
});
export const S2PII = register(
  'SMMU_S2PII',
  0x00030,
  'IHI 0070 §6.3.17',
  {
    S2PII0: [3, 0],
    S2PII1: [7, 4],
    S2PII2: [11, 8],
    S2PII3: [15, 12],
    S2PII4: [19, 16],
    S2PII5: [23, 20],
    S2PII6: [27, 24],
    S2PII7: [31, 28],
    S2PII8: [35, 32],
    S2PII9: [39, 36],
    S2PII10: [43, 40],
    S2PII11: [47, 44],
    S2PII12: [51, 48],
    S2PII13: [55, 52],
    S2PII14: [59, 56],
    S2PII15: [63, 60],
  },
  { width: 64 },
);
export const STATUSR = register(
  'SMMU_STATUSR',
  0x00040,
  'IHI 0070 §6.3.13',
  {
    DORMANT: 0,
  },
  { access: 'read-only' },
);
export const GBPA = register('SMMU_GBPA', 0x00044, 'IHI 0070 §6.3.14', {
  MemAttr: [3, 0],
  MTCFG: 4,
  ALLOCCFG: [11, 8],
  SHCFG: [13, 12],
  PRIVCFG: [17, 16],
  INSTCFG: [19, 18],
  ABORT: 20,
  Update: 31,
});
export const AGBPA = register('SMMU_AGBPA', 0x00048, 'IHI 0070 §6.3.15', {});
export const IRQ_CTRL = register('SMMU_IRQ_CTRL', 0x00050, 'IHI 0070 §6.3.16', {
  GERROR_IRQEN: 0,
  PRIQ_IRQEN: 1,
  EVENTQ_IRQEN: 2,
});
export const IRQ_CTRLACK = register(
  'SMMU_IRQ_CTRLACK',
  0x00054,
  'IHI 0070 §6.3.18',
  {
    GERROR_IRQEN: 0,
    PRIQ_IRQEN: 1,
    EVENTQ_IRQEN: 2,
  },
  { access: 'read-only' },
);
export const GERROR = register(
  'SMMU_GERROR',
  0x00060,
  'IHI 0070 §6.3.19',
  {
    CMDQ_ERR: 0,
    EVENTQ_ABT_ERR: 2,
    PRIQ_ABT_ERR: 3,
    MSI_CMDQ_ABT_ERR: 4,
    MSI_EVENTQ_ABT_ERR: 5,
    MSI_PRIQ_ABT_ERR: 6,
    MSI_GERROR_ABT_ERR: 7,
    SFM_ERR: 8,
    CMDQP_ERR: 9,
    DPT_ERR: 10,
  },
  { access: 'read-only' },
);
export const GERRORN = register('SMMU_GERRORN', 0x00064, 'IHI 0070 §6.3.20', {
  CMDQ_ERR: 0,
  EVENTQ_ABT_ERR: 2,
  PRIQ_ABT_ERR: 3,
  MSI_CMDQ_ABT_ERR: 4,
  MSI_EVENTQ_ABT_ERR: 5,
  MSI_PRIQ_ABT_ERR: 6,
  MSI_GERROR_ABT_ERR: 7,
  SFM_ERR: 8,
  CMDQP_ERR: 9,
  DPT_ERR: 10,
});
export const GERROR_IRQ_CFG0 = register(
  'SMMU_GERROR_IRQ_CFG0',
  0x00068,
  'IHI 0070 §6.3.21',
  {
    ADDR_LOW: [31, 2],
    ADDR_HIGH: [55, 32],
  },
  { width: 64 },
);
export const GERROR_IRQ_CFG1 = register('SMMU_GERROR_IRQ_CFG1', 0x00070, 'IHI 0070 §6.3.22', {
  DATA: [31, 0],
});
export const GERROR_IRQ_CFG2 = register('SMMU_GERROR_IRQ_CFG2', 0x00074, 'IHI 0070 §6.3.23', {
  MemAttr: [3, 0],
  SH: [5, 4],
});
export const STRTAB_BASE = register(
  'SMMU_STRTAB_BASE',
  0x00080,
  'IHI 0070 §6.3.24',
  {
    ADDR: [55, 6],
    RA: 62,
  },
  { width: 64 },
);
export const STRTAB_BASE_CFG = register('SMMU_STRTAB_BASE_CFG', 0x00088, 'IHI 0070 §6.3.25', {
  LOG2SIZE: [5, 0],
  SPLIT: [10, 6],
  FMT: [17, 16],
});
export const CMDQ_BASE = register(
  'SMMU_CMDQ_BASE',
  0x00090,
  'IHI 0070 §6.3.26',
  {
    LOG2SIZE: [4, 0],
    ADDR: [55, 5],
    RA: 62,
  },
  { width: 64 },
);
export const CMDQ_PROD = register('SMMU_CMDQ_PROD', 0x00098, 'IHI 0070 §6.3.27', {
  WR: [19, 0],
});
export const CMDQ_CONS = register('SMMU_CMDQ_CONS', 0x0009c, 'IHI 0070 §6.3.28', {
  RD: [19, 0],
  ERR: [30, 24],
});
export const EVENTQ_BASE = register(
  'SMMU_EVENTQ_BASE',
  0x000a0,
  'IHI 0070 §6.3.29',
  {
    LOG2SIZE: [4, 0],
    ADDR: [55, 5],
    WA: 62,
  },
  { width: 64 },
);
export const EVENTQ_IRQ_CFG0 = register(
  'SMMU_EVENTQ_IRQ_CFG0',
  0x000b0,
  'IHI 0070 §6.3.30',
  {
    ADDR_LOW: [31, 2],
    ADDR_HIGH: [55, 32],
  },
  { width: 64 },
);
export const EVENTQ_IRQ_CFG1 = register('SMMU_EVENTQ_IRQ_CFG1', 0x000b8, 'IHI 0070 §6.3.31', {
  DATA: [31, 0],
});
export const EVENTQ_IRQ_CFG2 = register('SMMU_EVENTQ_IRQ_CFG2', 0x000bc, 'IHI 0070 §6.3.32', {
  MemAttr: [3, 0],
  SH: [5, 4],
});
export const PRIQ_BASE = register(
  'SMMU_PRIQ_BASE',
  0x000c0,
  'IHI 0070 §6.3.33',
  {
    LOG2SIZE: [4, 0],
    ADDR: [55, 5],
    WA: 62,
  },
  { width: 64 },
);
export const PRIQ_IRQ_CFG0 = register(
  'SMMU_PRIQ_IRQ_CFG0',
  0x000d0,
  'IHI 0070 §6.3.34',
  {
    ADDR_LOW: [31, 2],
    ADDR_HIGH: [55, 32],
  },
  { width: 64 },
);
export const PRIQ_IRQ_CFG1 = register('SMMU_PRIQ_IRQ_CFG1', 0x000d8, 'IHI 0070 §6.3.35', {
  DATA: [31, 0],
});
export const PRIQ_IRQ_CFG2 = register('SMMU_PRIQ_IRQ_CFG2', 0x000dc, 'IHI 0070 §6.3.36', {
  MemAttr: [3, 0],
  SH: [5, 4],
  LO: 31,
});
export const GATOS_CTRL = register('SMMU_GATOS_CTRL', 0x00100, 'IHI 0070 §6.3.37', {
  RUN: 0,
});
export const GATOS_SID = register(
  'SMMU_GATOS_SID',
  0x00108,
  'IHI 0070 §6.3.38',
  {
    STREAMID: [31, 0],
    SUBSTREAMID: [51, 32],
    SSID_VALID: 52,
  },
  { width: 64 },
);
export const GATOS_ADDR = register(
  'SMMU_GATOS_ADDR',
  0x00110,
  'IHI 0070 §6.3.39',
  {
    HTTUI: 6,
    InD: 7,
    RnW: 8,
    PnU: 9,
    TYPE: [11, 10],
    ADDR: [63, 12],
  },
  { width: 64 },
);
export const GATOS_PAR = register(
  'SMMU_GATOS_PAR',
  0x00118,
  'IHI 0070 §6.3.40',
  {
    FAULT: 0,
    SH: [9, 8],
    Size: 11,
    ADDR: [55, 12],
    ATTR: [63, 56],
  },
  { width: 64, access: 'read-only' },
);
/** {@link GATOS_PAR} when FAULT=1: the same register, read as a failure. */
export const GATOS_PAR_FAULT = register(
  'SMMU_GATOS_PAR (FAULT=1)',
  0x00118,
  'IHI 0070 §6.3.40',
  {
    FAULT: 0,
    REASON: [2, 1],
    FAULTCODE: [11, 4],
    FADDR: [55, 12],
  },
  { width: 64, access: 'read-only' },
);
export const MPAMIDR = register(
  'SMMU_MPAMIDR',
  0x00130,
  'IHI 0070 §6.3.41',
  {
    PARTID_MAX: [15, 0],
    PMG_MAX: [23, 16],
  },
  { access: 'read-only' },
);
export const GMPAM = register('SMMU_GMPAM', 0x00138, 'IHI 0070 §6.3.42', {
  SO_PARTID: [15, 0],
  SO_PMG: [23, 16],
  Update: 31,
});
export const GBPMPAM = register('SMMU_GBPMPAM', 0x0013c, 'IHI 0070 §6.3.43', {
  GBP_PARTID: [15, 0],
  GBP_PMG: [23, 16],
  Update: 31,
});
export const VATOS_SEL = register('SMMU_VATOS_SEL', 0x00180, 'IHI 0070 §6.3.44', {
  VMID: [15, 0],
});
export const IDR6 = register(
  'SMMU_IDR6',
  0x00190,
  'IHI 0070 §6.3.45',
  {
    CMDQ_CONTROL_PAGE_LOG2NUMQ: [19, 16],
    CMDQ_CONTROL_PAGE_LOG2NUMP: [27, 24],
  },
  { access: 'read-only' },
);
export const EVENTQ_PROD = register('SMMU_EVENTQ_PROD', 0x100a8, 'IHI 0070 §6.3.95', {
  WR: [19, 0],
  OVFLG: 31,
});
export const EVENTQ_CONS = register('SMMU_EVENTQ_CONS', 0x100ac, 'IHI 0070 §6.3.96', {
  RD: [19, 0],
  OVACKFLG: 31,
});
export const PRIQ_PROD = register('SMMU_PRIQ_PROD', 0x100c8, 'IHI 0070 §6.3.97', {
  WR: [19, 0],
  OVFLG: 31,
});
export const PRIQ_CONS = register('SMMU_PRIQ_CONS', 0x100cc, 'IHI 0070 §6.3.98', {
  RD: [19, 0],
  OVACKFLG: 31,
});
export const PIDR4 = register(
  'SMMU_PIDR4',
  0x00fd0,
  'IHI 0070 §6.3.170',
  {
    DES_2: [3, 0],
    SIZE: [7, 4],
  },
  { access: 'read-only' },
);
export const PIDR5 = register('SMMU_PIDR5', 0x00fd4, 'IHI 0070 §6.3.170', {}, { access: 'read-only' });
export const PIDR6 = register('SMMU_PIDR6', 0x00fd8, 'IHI 0070 §6.3.170', {}, { access: 'read-only' });
export const PIDR7 = register('SMMU_PIDR7', 0x00fdc, 'IHI 0070 §6.3.170', {}, { access: 'read-only' });
export const PIDR0 = register(
  'SMMU_PIDR0',
  0x00fe0,
  'IHI 0070 §6.3.170',
  {
    PART_0: [7, 0],
  },
  { access: 'read-only' },
);
export const PIDR1 = register(
  'SMMU_PIDR1',
  0x00fe4,
  'IHI 0070 §6.3.170',
  {
    PART_1: [3, 0],
    DES_0: [7, 4],
  },
  { access: 'read-only' },
);
export const PIDR2 = register(
  'SMMU_PIDR2',
  0x00fe8,
  'IHI 0070 §6.3.170',
  {
    DES_1: [2, 0],
    JEDEC: 3,
    REVISION: [7, 4],
  },
  { access: 'read-only' },
);
export const PIDR3 = register(
  'SMMU_PIDR3',
  0x00fec,
  'IHI 0070 §6.3.170',
  {
    CMOD: [3, 0],
    REVAND: [7, 4],
  },
  { access: 'read-only' },
);
export const CIDR0 = register(
  'SMMU_CIDR0',
  0x00ff0,
  'IHI 0070 §6.3.170',
  {
    PRMBL: [7, 0],
  },
  { access: 'read-only' },
);
export const CIDR1 = register(
  'SMMU_CIDR1',
  0x00ff4,
  'IHI 0070 §6.3.170',
  {
    PRMBL: [3, 0],
    CLASS: [7, 4],
  },
  { access: 'read-only' },
);
export const CIDR2 = register(
  'SMMU_CIDR2',
  0x00ff8,
  'IHI 0070 §6.3.170',
  {
    PRMBL: [7, 0],
  },
  { access: 'read-only' },
);
export const CIDR3 = register(
  'SMMU_CIDR3',
  0x00ffc,
  'IHI 0070 §6.3.170',
  {
    PRMBL: [7, 0],
  },
  { access: 'read-only' },
);

/** Every register above once, in offset order within its page. */
export const REGISTERS = [
  IDR0,
  IDR1,
  IDR2,
  IDR3,
  IDR4,
  IDR5,
  IIDR,
  AIDR,
  CR0,
  CR0ACK,
  CR1,
  CR2,
  S2PII,
  STATUSR,
  GBPA,
  AGBPA,
  IRQ_CTRL,
  IRQ_CTRLACK,
  GERROR,
  GERRORN,
  GERROR_IRQ_CFG0,
  GERROR_IRQ_CFG1,
  GERROR_IRQ_CFG2,
  STRTAB_BASE,
  STRTAB_BASE_CFG,
  CMDQ_BASE,
  CMDQ_PROD,
  CMDQ_CONS,
  EVENTQ_BASE,
  EVENTQ_IRQ_CFG0,
  EVENTQ_IRQ_CFG1,
  EVENTQ_IRQ_CFG2,
  PRIQ_BASE,
  PRIQ_IRQ_CFG0,
  PRIQ_IRQ_CFG1,
  PRIQ_IRQ_CFG2,
  GATOS_CTRL,
  GATOS_SID,
  GATOS_ADDR,
  GATOS_PAR,
  MPAMIDR,
  GMPAM,
  GBPMPAM,
  VATOS_SEL,
  IDR6,
  EVENTQ_PROD,
  EVENTQ_CONS,
  PRIQ_PROD,
  PRIQ_CONS,
  PIDR4,
  PIDR5,
  PIDR6,
  PIDR7,
  PIDR0,
  PIDR1,
  PIDR2,
  PIDR3,
  CIDR0,
  CIDR1,
  CIDR2,
  CIDR3,
] as const;
