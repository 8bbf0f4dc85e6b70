/** What the ID registers announce, and the refusal of what this driver cannot drive (IHI 0070 §6.3.1 to §6.3.8). */
import type { Mmio } from '../../hw/bus.ts';
import { AIDR, IDR0, IDR1, IDR3, IDR5 } from '../spec/registers.layout.ts';

/** The SMMU is not one that this driver can drive. */
export class ProbeError extends Error {
  override readonly name = 'ProbeError';
}

/** How the SMMU treats faulting transactions (IDR0.STALL_MODEL). */
export const StallModel = { BOTH: 0, TERMINATE: 1, STALL: 2 } as const;

/** Page sizes of translation tables. */
export type Granule = 4096 | 16384 | 65536;

/** The announced features, decoded. Sizes in bits are log2. */
export interface Features {
  readonly stage1: boolean;
  readonly stage2: boolean;
  readonly ats: boolean;
  readonly pri: boolean;
  readonly msi: boolean;
  readonly hyp: boolean;
  readonly coherentAccess: boolean;
  /** Hardware update of the access flag (1) and of dirty state (2); 0 is none. */
  readonly httu: number;
  readonly stallModel: number;
  readonly twoLevelStreamTable: boolean;
  readonly twoLevelContextTable: boolean;
  readonly atsRecordsErrors: boolean;
  readonly asidBits: 8 | 16;
  readonly vmidBits: 8 | 16;
  readonly streamIdBits: number;
  readonly substreamIdBits: number;
  /** log2 of the largest queue, in entries. */
  readonly commandQueueBits: number;
  readonly eventQueueBits: number;
  readonly pageRequestQueueBits: number;
  readonly rangeInvalidation: boolean;
  /** Whether a page request response always carries the PASID of its request (IDR3.PPS). */
  readonly pasidOnResponses: boolean;
  /** Block sizes may change without break-before-make: IDR3.BBML (§3.21.1.1). */
  readonly breakBeforeMakeLevel: number;
  /** Encoding of IDR5.OAS, as STE.S2PS and CD.IPS want it. */
  readonly outputSizeCode: number;
  readonly outputBits: number;
  readonly granules: readonly Granule[];
  /** 52-bit virtual addresses with the 64 KiB granule (IDR5.VAX). */
  readonly extendedVirtualAddresses: boolean;
  readonly minorRevision: number;
}

/** What hardware keeps in leaves. The driver's own updates of them are atomic to it only in coherent memory (§3.13, §3.15). */
export function hardwareState(features: Features): { readonly accessState: boolean; readonly dirtyState: boolean } {
  const { httu, coherentAccess } = features;
  return { accessState: coherentAccess && httu >= 1, dirtyState: coherentAccess && httu >= 2 };
}

const OUTPUT_BITS = [32, 36, 40, 42, 44, 48, 52, 56];

/** Reads the ID registers. @throws ProbeError naming the register and the field that this driver cannot work with. */
export function readFeatures(mmio: Mmio): Features {
  const idr0 = mmio.read32(IDR0.offset);
  const idr1 = mmio.read32(IDR1.offset);
  const idr3 = mmio.read32(IDR3.offset);
  const idr5 = mmio.read32(IDR5.offset);
  const aidr = mmio.read32(AIDR.offset);

  if (AIDR.ArchMajorRev.of(aidr) !== 0) refuse('AIDR.ArchMajorRev', AIDR.ArchMajorRev.of(aidr), '0 (SMMUv3)');
  const stage1 = IDR0.S1P.of(idr0) === 1;
  const stage2 = IDR0.S2P.of(idr0) === 1;
  if (!stage1 && !stage2)
    throw new ProbeError('SMMU_IDR0 announces neither stage 1 (S1P) nor stage 2 (S2P) translation');
  if ((IDR0.TTF.of(idr0) & 0b10) === 0) refuse('IDR0.TTF', IDR0.TTF.of(idr0), 'VMSAv8-64 tables (0b1x)');
  const endian = IDR0.TTENDIAN.of(idr0);
  if (endian !== 0 && endian !== 2) refuse('IDR0.TTENDIAN', endian, 'little-endian tables (0b00 or 0b10)');
  const streamLevels = IDR0.ST_LEVEL.of(idr0);
  if (streamLevels > 1) refuse('IDR0.ST_LEVEL', streamLevels, 'linear (0b00) or two-level (0b01) stream tables');
  const stallModel = IDR0.STALL_MODEL.of(idr0);
  if (stallModel > StallModel.STALL) refuse('IDR0.STALL_MODEL', stallModel, 'an assigned value');
  if (IDR1.TABLES_PRESET.of(idr1) === 1) refuse('IDR1.TABLES_PRESET', 1, 'a stream table base that software sets');
  if (IDR1.QUEUES_PRESET.of(idr1) === 1) refuse('IDR1.QUEUES_PRESET', 1, 'queue bases that software sets');
  const streamIdBits = IDR1.SIDSIZE.of(idr1);
  if (streamIdBits > 32) refuse('IDR1.SIDSIZE', streamIdBits, 'at most 32 bits');
  const substreamIdBits = IDR1.SSIDSIZE.of(idr1);
  if (substreamIdBits > 20) refuse('IDR1.SSIDSIZE', substreamIdBits, 'at most 20 bits');

  const outputSizeCode = IDR5.OAS.of(idr5);
  const outputBits = OUTPUT_BITS[outputSizeCode] ?? 0;
  // A 56-bit SMMU is driven with 52 bits: VMSAv8-64 descriptors reach no further.
  const usableCode = Math.min(outputSizeCode, 6);
  const granules: Granule[] = [];
  if (IDR5.GRAN4K.of(idr5) === 1) granules.push(4096);
  if (IDR5.GRAN16K.of(idr5) === 1) granules.push(16384);
  if (IDR5.GRAN64K.of(idr5) === 1) granules.push(65536);
  if (granules.length === 0)
    throw new ProbeError('SMMU_IDR5 announces no translation granule (GRAN4K, GRAN16K, GRAN64K)');

  return {
    stage1,
    stage2,
    ats: IDR0.ATS.of(idr0) === 1,
    pri: IDR0.ATS.of(idr0) === 1 && IDR0.PRI.of(idr0) === 1,
    msi: IDR0.MSI.of(idr0) === 1,
    hyp: IDR0.Hyp.of(idr0) === 1,
    coherentAccess: IDR0.COHACC.of(idr0) === 1,
    httu: IDR0.HTTU.of(idr0),
    stallModel,
    twoLevelStreamTable: streamLevels === 1,
    twoLevelContextTable: IDR0.CD2L.of(idr0) === 1,
    atsRecordsErrors: IDR0.ATSRECERR.of(idr0) === 1,
    asidBits: IDR0.ASID16.of(idr0) === 1 ? 16 : 8,
    vmidBits: IDR0.VMID16.of(idr0) === 1 ? 16 : 8,
    streamIdBits,
    substreamIdBits: stage1 ? substreamIdBits : 0,
    commandQueueBits: IDR1.CMDQS.of(idr1),
    eventQueueBits: IDR1.EVENTQS.of(idr1),
    pageRequestQueueBits: IDR1.PRIQS.of(idr1),
    rangeInvalidation: IDR3.RIL.of(idr3) === 1,
    pasidOnResponses: IDR3.PPS.of(idr3) === 1,
    breakBeforeMakeLevel: IDR3.BBML.of(idr3),
    outputSizeCode: usableCode,
    outputBits: Math.min(outputBits, 52),
    granules,
    extendedVirtualAddresses: IDR5.VAX.of(idr5) >= 1,
    minorRevision: AIDR.ArchMinorRev.of(aidr),
  };
}

function refuse(field: string, value: number, wanted: string): never {
  throw new ProbeError(`SMMU_${field} is ${value}; this driver needs ${wanted}`);
}
