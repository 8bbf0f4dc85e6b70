/**
 * What the suite needs of an SMMUv3, all of it outside: register accesses, the memory that holds its structures, the
 * transactions it takes and what comes out. One binding implements it for Faultline's own; another SMMU needs another.
 */
import type { Fabric, Upstream } from '../hw/pcie/tlp.ts';

/** Fields of ID registers by name (`ATS`, `STALL_MODEL`, `OAS`, ...) and the values they are to hold. */
export type FeatureValues = Readonly<Record<string, number>>;

/**
 * The physical address map that a subject provides. RAM is readable and writable; nothing answers in the holes, so that
 * accesses there end in an external abort; every other address belongs to the {@link World}.
 */
export const RAM = { base: 0x4000_0000, size: 0x4000_0000 } as const;
export const FAR = { base: 0x1_0000_0000, size: 2 ** 52 - 0x1_0000_0000 } as const;
/** In a hole: an external abort. */
export const NOWHERE = 0x8800_0000;

export type InterruptSource = 'event' | 'priority' | 'sync' | 'globalError';

/** The system around the SMMU, as the suite plays it. */
export interface World {
  /** ATS invalidations and page group responses that the SMMU sends. */
  readonly fabric: Fabric;
  /** A wired interrupt was raised. */
  interrupt(source: InterruptSource): void;
  /** A WFE wake-up event was sent. */
  wakeUp(): void;
  /** Accesses of 1, 2, 4 or 8 bytes in {@link FAR}; `value` is little-endian. */
  readFar(address: number, size: number): bigint;
  writeFar(address: number, size: number, value: bigint): void;
}

/** One SMMU after reset. */
export interface Unit {
  /** A register access at a byte offset from the SMMU's base; null when it ended in an abort. */
  readRegister(offset: number, size: 1 | 2 | 4 | 8): bigint | null;
  writeRegister(offset: number, size: 1 | 2 | 4 | 8, value: bigint): void;
  /** The contents of RAM, as the SMMU sees it. */
  readMemory(address: number, length: number): Uint8Array;
  writeMemory(address: number, bytes: Uint8Array): void;
  /** Where its upstream port takes transactions; StreamID is the requester id. */
  readonly port: Upstream;
  /** Lets `ns` of its time pass. */
  advance(ns: number): void;
  /** How long an ATS invalidation may stay unanswered. */
  readonly atcTimeoutNs: number;
  /**
   * Whether cached structures and translations stay until an invalidation covers them. The architecture lets an SMMU drop
   * any of them at any time; where this is promised, rows hold it.
   */
  readonly keepsCached: boolean;
}

export interface Subject {
  readonly name: string;
  /** Names of feature sets to start from. */
  readonly presets: readonly string[];
  /** The features of `preset` with `changes`, complete; a message when no such SMMU can be built. */
  features(preset: string, changes: FeatureValues): FeatureValues | string;
  /** An SMMU that announces exactly `features`. */
  build(features: FeatureValues, world: World): Unit;
}
