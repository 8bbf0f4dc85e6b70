/**
 * Performance monitor counter group, IHI 0070 G.b §10.5: one 4 KiB page of its own. Data only. Offsets count from the
 * start of that page; counter n's registers stand at an array's offset plus n times its stride.
 */
import { register } from '../../layout/register.ts';

/** Bytes of the page (§10.5). */
export const PMCG_BYTES = 0x1000;

/** Architected events (§10.3). */
export const PmcgEvent = {
  CYCLES: 0,
  TRANSACTION: 1,
  TLB_MISS: 2,
  CONFIG_CACHE_MISS: 3,
  TRANS_TABLE_WALK_ACCESS: 4,
  CONFIG_STRUCT_ACCESS: 5,
  PCIE_ATS_TRANS_RQ: 6,
  PCIE_ATS_TRANS_PASSED: 7,
} as const;
export type PmcgEvent = (typeof PmcgEvent)[keyof typeof PmcgEvent];

/** Bytes between EVCNTR<n> and EVCNTR<n+1>, and between SVR<n>: 8 where counters are wider than 32 bits. */
export const PMCG_COUNTER_STRIDE = 8;

/** The first of each array. */
export const PMCG_EVCNTR0 = register(
  'SMMU_PMCG_EVCNTR0',
  0x000,
  'IHI 0070 §10.5.2.1',
  { COUNTER_LOW: [31, 0], COUNTER_HIGH: [63, 32] },
  { width: 64 },
);
export const PMCG_EVTYPER0 = register('SMMU_PMCG_EVTYPER0', 0x400, 'IHI 0070 §10.5.2.2', {
  EVENT: [15, 0],
  FILTER_PARTID: 16,
  FILTER_PMG: 17,
  FILTER_MPAM_SP: [19, 18],
  FILTER_REALM_SID: 28,
  FILTER_SID_SPAN: 29,
  FILTER_SEC_SID: 30,
  OVFCAP: 31,
});
export const PMCG_SVR0 = register(
  'SMMU_PMCG_SVR0',
  0x600,
  'IHI 0070 §10.5.2.3',
  { SHADOW_LOW: [31, 0], SHADOW_HIGH: [63, 32] },
  { width: 64, access: 'read-only' },
);
export const PMCG_SMR0 = register('SMMU_PMCG_SMR0', 0xa00, 'IHI 0070 §10.5.2.4', { STREAMID: [31, 0] });

const BITMAP = { LOW: [31, 0], HIGH: [63, 32] } as const;
export const PMCG_CNTENSET0 = register('SMMU_PMCG_CNTENSET0', 0xc00, 'IHI 0070 §10.5.2.5', BITMAP, { width: 64 });
export const PMCG_CNTENCLR0 = register('SMMU_PMCG_CNTENCLR0', 0xc20, 'IHI 0070 §10.5.2.6', BITMAP, { width: 64 });
export const PMCG_INTENSET0 = register('SMMU_PMCG_INTENSET0', 0xc40, 'IHI 0070 §10.5.2.7', BITMAP, { width: 64 });
export const PMCG_INTENCLR0 = register('SMMU_PMCG_INTENCLR0', 0xc60, 'IHI 0070 §10.5.2.8', BITMAP, { width: 64 });
export const PMCG_OVSCLR0 = register('SMMU_PMCG_OVSCLR0', 0xc80, 'IHI 0070 §10.5.2.9', BITMAP, { width: 64 });
export const PMCG_OVSSET0 = register('SMMU_PMCG_OVSSET0', 0xcc0, 'IHI 0070 §10.5.2.10', BITMAP, { width: 64 });
export const PMCG_CAPR = register('SMMU_PMCG_CAPR', 0xd88, 'IHI 0070 §10.5.2.11', { CAPTURE: 0 });
export const PMCG_CFGR = register(
  'SMMU_PMCG_CFGR',
  0xe00,
  'IHI 0070 §10.5.2.13',
  {
    NCTR: [5, 0],
    SIZE: [13, 8],
    RELOC_CTRS: 20,
    MSI: 21,
    CAPTURE: 22,
    SID_FILTER_TYPE: 23,
    MPAM: 24,
    FILTER_PARTID_PMG: 25,
  },
  { access: 'read-only' },
);
export const PMCG_CR = register('SMMU_PMCG_CR', 0xe04, 'IHI 0070 §10.5.2.14', { E: 0 });
export const PMCG_IIDR = register(
  'SMMU_PMCG_IIDR',
  0xe08,
  'IHI 0070 §10.5.2.15',
  { Implementer: [11, 0], Revision: [15, 12], Variant: [19, 16], ProductID: [31, 20] },
  { access: 'read-only' },
);
export const PMCG_CEID0 = register('SMMU_PMCG_CEID0', 0xe20, 'IHI 0070 §10.5.2.16', BITMAP, {
  width: 64,
  access: 'read-only',
});
export const PMCG_CEID1 = register('SMMU_PMCG_CEID1', 0xe28, 'IHI 0070 §10.5.2.17', BITMAP, {
  width: 64,
  access: 'read-only',
});
export const PMCG_IRQ_CTRL = register('SMMU_PMCG_IRQ_CTRL', 0xe50, 'IHI 0070 §10.5.2.19', { IRQEN: 0 });
export const PMCG_IRQ_CTRLACK = register(
  'SMMU_PMCG_IRQ_CTRLACK',
  0xe54,
  'IHI 0070 §10.5.2.20',
  { IRQEN: 0 },
  { access: 'read-only' },
);
export const PMCG_IRQ_CFG0 = register(
  'SMMU_PMCG_IRQ_CFG0',
  0xe58,
  'IHI 0070 §10.5.2.21',
  { ADDR_LOW: [31, 2], ADDR_HIGH: [55, 32] },
  { width: 64 },
);
export const PMCG_IRQ_CFG1 = register('SMMU_PMCG_IRQ_CFG1', 0xe60, 'IHI 0070 §10.5.2.22', { DATA: [31, 0] });
export const PMCG_IRQ_CFG2 = register('SMMU_PMCG_IRQ_CFG2', 0xe64, 'IHI 0070 §10.5.2.23', {
  MEMATTR: [3, 0],
  SH: [5, 4],
});
export const PMCG_IRQ_STATUS = register(
  'SMMU_PMCG_IRQ_STATUS',
  0xe68,
  'IHI 0070 §10.5.2.24',
  { IRQ_ABT: 0 },
  { access: 'read-only' },
);
export const PMCG_AIDR = register(
  'SMMU_PMCG_AIDR',
  0xe70,
  'IHI 0070 §10.5.2.26',
  { ArchMinorRev: [3, 0], ArchMajorRev: [7, 4] },
  { access: 'read-only' },
);

/** Every register above but the arrays' further members, in offset order. */
export const PMCG_REGISTERS = [
  PMCG_EVCNTR0,
  PMCG_EVTYPER0,
  PMCG_SVR0,
  PMCG_SMR0,
  PMCG_CNTENSET0,
  PMCG_CNTENCLR0,
  PMCG_INTENSET0,
  PMCG_INTENCLR0,
  PMCG_OVSCLR0,
  PMCG_OVSSET0,
  PMCG_CAPR,
  PMCG_CFGR,
  PMCG_CR,
  PMCG_IIDR,
  PMCG_CEID0,
  PMCG_CEID1,
  PMCG_IRQ_CTRL,
  PMCG_IRQ_CTRLACK,
  PMCG_IRQ_CFG0,
  PMCG_IRQ_CFG1,
  PMCG_IRQ_CFG2,
  PMCG_IRQ_STATUS,
  PMCG_AIDR,
] as const;
