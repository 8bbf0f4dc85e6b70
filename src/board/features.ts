/** What the SMMU of the board announces: `-global arm-smmuv3.NAME=VALUE`. */
import type { FeatureOptions } from '../iommu/smmuv3/features.ts';

/** Feature sets by the name that `preset` takes. */
export const BOARD_PRESETS: Readonly<Record<string, FeatureOptions>> = {
  /** Everything that Faultline models. */
  full: {},
  /** 52-bit addresses besides. */
  wide: { preset: 'wide' },
  minimal: { preset: 'minimal' },
  /** What QEMU 11.1 announces: IDR0 0x0d44101b, IDR1 0x02730010, IDR3 0x1414, IDR5 0x74, AIDR 1. */
  qemu: {
    preset: 'minimal',
    S2P: 1,
    ASID16: 1,
    VMID16: 1,
    TERM_MODEL: 1,
    ST_LEVEL: 1,
    SIDSIZE: 16,
    CMDQS: 19,
    EVENTQS: 19,
    XNX: 1,
    RIL: 1,
    BBML: 2,
    OAS: 4,
    GRAN16K: 1,
    GRAN64K: 1,
  },
};

/** Values of QEMU's `stage` property. */
export const STAGES: Readonly<Record<string, FeatureOptions>> = {
  '1': { S1P: 1, S2P: 0 },
  '2': { S1P: 0, S2P: 1 },
  nested: { S1P: 1, S2P: 1 },
};
