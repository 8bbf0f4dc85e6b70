/**
 * What one SMMU implements, in the words of its ID registers (IHI 0070 §6.3.1 to §6.3.8). A feature is named as its IDR
 * field and has the field's value; the ID registers and every behaviour derive from the same record.
 */
import { assert } from '../../assert.ts';
import type { Field } from '../../layout/field.ts';
import { AIDR, IDR0, IDR1, IDR3, IDR5 } from '../spec/registers.layout.ts';

type FieldNames<R> = Exclude<keyof R, '$' | 'offset'>;

/** A feature: the name of a field of IDR0, IDR1, IDR3, IDR5 or AIDR. */
export type FeatureName =
  | FieldNames<typeof IDR0>
  | FieldNames<typeof IDR1>
  | FieldNames<typeof IDR3>
  | FieldNames<typeof IDR5>
  | FieldNames<typeof AIDR>;

export type Features = Readonly<Record<FeatureName, number>>;

/** The ID registers that announce features. */
const ANNOUNCED = [IDR0, IDR1, IDR3, IDR5, AIDR] as const;

const NONE = Object.fromEntries(
  ANNOUNCED.flatMap((layout) => layout.$.fields.map((field) => [field.name, 0])),
) as unknown as Features;

/** Everything that is modelled, with 48-bit addresses: the default. */
const full: Features = {
  ...NONE,
  ArchMinorRev: 3,
  S1P: 1,
  S2P: 1,
  TTF: 0b10,
  COHACC: 1,
  HTTU: 0b10,
  Hyp: 1,
  ATS: 1,
  ASID16: 1,
  MSI: 1,
  SEV: 1,
  ATOS: 1,
  PRI: 1,
  VMW: 1,
  VMID16: 1,
  CD2L: 1,
  TTENDIAN: 0b10,
  ATSRECERR: 1,
  ST_LEVEL: 1,
  SIDSIZE: 16,
  SSIDSIZE: 20,
  CMDQS: 16,
  EVENTQS: 16,
  PRIQS: 16,
  ATTR_PERMS_OVR: 1,
  HAD: 1,
  XNX: 1,
  FWB: 1,
  STT: 1,
  RIL: 1,
  BBML: 2,
  E0PD: 1,
  PTWNNC: 1,
  OAS: 5,
  GRAN4K: 1,
  GRAN16K: 1,
  GRAN64K: 1,
  STALL_MAX: 256,
};

/** Feature sets to start from. */
export const FEATURE_PRESETS = {
  full,
  /** As `full`, with 52-bit virtual and physical addresses for every granule. */
  wide: { ...full, OAS: 6, VAX: 1, DS: 1 },
  /** Stage 1 with 4 KiB pages and a linear stream table; faults terminate, interrupts are wired, no ATS. */
  minimal: {
    ...NONE,
    ArchMinorRev: 1,
    S1P: 1,
    TTF: 0b10,
    COHACC: 1,
    TTENDIAN: 0b10,
    STALL_MODEL: 0b01,
    SIDSIZE: 6,
    CMDQS: 8,
    EVENTQS: 7,
    HAD: 1,
    OAS: 2,
    GRAN4K: 1,
  },
} as const satisfies Record<string, Features>;
export type FeaturePreset = keyof typeof FEATURE_PRESETS;

/** Features to change in a preset. */
export type FeatureOptions = Partial<Features> & { readonly preset?: FeaturePreset };

/** Fields that only some values of other fields leave meaning to; without them they are RES0 (§6.3). */
const DEPENDENT: readonly (readonly [FeatureName, (features: Features) => boolean])[] = [
  ['VMW', (f) => f.S2P === 1],
  ['Hyp', (f) => f.S1P === 1 && f.S2P === 1],
  ['PRI', (f) => f.ATS === 1],
  ['NS1ATS', (f) => f.ATS === 1 && f.S1P === 1 && f.S2P === 1],
  ['ATSRECERR', (f) => f.ATS === 1],
  ['PPS', (f) => f.ATS === 1 && f.PRI === 1 && f.SSIDSIZE > 0],
  ['PASIDTT', (f) => f.ATS === 1 && f.SSIDSIZE > 0],
  ['PTWNNC', (f) => f.S2P === 1],
  ['PRIQS', (f) => f.ATS === 1 && f.PRI === 1],
  ['CD2L', (f) => f.S1P === 1],
  ['HAD', (f) => f.S1P === 1],
  ['DS', (f) => f.GRAN4K === 1 || f.GRAN16K === 1],
  ['STALL_MAX', (f) => f.STALL_MODEL !== 0b01],
];

/** Announcing one of these would promise what is not modelled. */
const ABSENT: readonly FeatureName[] = [
  'BTM',
  'DORMHINT',
  'VATOS',
  'RME_IMPL',
  // Memory types reach nobody here, so overriding them would be a promise without effect.
  'ATTR_TYPES_OVR',
  'REL',
  'QUEUES_PRESET',
  'TABLES_PRESET',
  'ECMDQ',
  'PBHA',
  'MPAM',
  'DPT',
  'S1PI',
  'S2PI',
  'S2PO',
  'THE',
  'MTEPERM',
  'AIE',
  'D128',
  'ArchMajorRev',
];

/** Bits of an address, by the encoding of IDR5.OAS, CD.IPS and STE.S2PS (§6.3.6). 56 bits are not modelled. */
export const ADDRESS_BITS = [32, 36, 40, 42, 44, 48, 52, 52] as const;

/**
 * A complete, consistent record of features.
 *
 * @throws AssertionError when a feature is unknown, does not fit its field, or is not modelled.
 */
export function featuresOf(options: FeatureOptions = {}): Features {
  const { preset = 'full', ...changes } = options;
  const base: Features | undefined = FEATURE_PRESETS[preset];
  assert(base !== undefined, `there is no feature preset ${preset}`);
  const features: Record<FeatureName, number> = { ...base, ...changes };
  for (const layout of ANNOUNCED) {
    for (const field of layout.$.fields) {
      const value = features[field.name as FeatureName];
      assert(
        Number.isInteger(value) && value >= 0 && value <= field.max,
        `${layout.$.title}.${field.name}: ${value} needs 0..${field.max}`,
      );
    }
  }
  for (const name of Object.keys(changes)) assert(name in NONE, `no ID register has a field ${name}`);
  for (const name of ABSENT) assert(features[name] === 0, `${name} is not modelled and cannot be announced`);
  for (const [name, present] of DEPENDENT) if (!present(features)) features[name] = 0;
  check(features);
  return Object.freeze(features);
}

function check(f: Features): void {
  assert(f.S1P === 1 || f.S2P === 1, 'an SMMU has stage 1, stage 2 or both');
  assert(f.TTF === 0b10, 'translation tables are VMSAv8-64: TTF is 0b10');
  assert(f.TTENDIAN !== 0b01, 'TTENDIAN=0b01 is reserved');
  assert(f.HTTU <= 0b10, 'HTTU of table descriptors is not modelled');
  assert(f.STALL_MODEL !== 0b11, 'STALL_MODEL=0b11 is reserved');
  assert(f.STALL_MODEL === 0b01 || f.STALL_MAX > 0, 'an SMMU that stalls has STALL_MAX above 0');
  assert(f.ST_LEVEL <= 1, 'ST_LEVEL above 1 is reserved');
  assert(f.SIDSIZE <= 32 && (f.SIDSIZE < 7 || f.ST_LEVEL === 1), 'SIDSIZE of 7 or more needs a 2-level stream table');
  assert(f.SSIDSIZE <= 20 && f.CMDQS <= 19 && f.EVENTQS <= 19 && f.PRIQS <= 19, 'SSIDSIZE and queue sizes (§6.3.2)');
  assert(f.OAS <= 6, 'OAS of 56 bits is not modelled');
  assert(f.VAX <= 1 && (f.DS === 0 || f.VAX === 1), 'DS needs VAX of 52 bits, and 56 bits are not modelled');
  assert((f.OAS < 6 && f.VAX === 0) || f.GRAN64K === 1 || f.DS === 1, '52-bit addresses need GRAN64K or DS (§6.3.6)');
  assert(f.BBML <= 2, 'BBML=0b11 is reserved');
  assert(f.GRAN4K + f.GRAN16K + f.GRAN64K > 0, 'an SMMU has a translation granule');
  assert(f.ArchMinorRev <= 4, 'ArchMinorRev above 4 is reserved');
}

/** The value that ID register `layout` reads for these features. */
export function identification(layout: (typeof ANNOUNCED)[number], features: Features): number {
  let word = 0;
  for (const field of layout.$.fields as readonly Field[]) word |= field.in32(features[field.name as FeatureName]);
  return word >>> 0;
}

/** IDR5.OAS in bits. */
export const outputAddressBits = (features: Features): number => ADDRESS_BITS[features.OAS] ?? 32;

/** Bits of the smallest granule: the STU that ATS endpoints are to use (§3.9.1). */
export function smallestGranuleBits(features: Features): number {
  if (features.GRAN4K === 1) return 12;
  return features.GRAN16K === 1 ? 14 : 16;
}

/** Whether translation tables may use the granule of `bits` (12, 14 or 16). */
export function granuleSupported(features: Features, bits: number): boolean {
  if (bits === 12) return features.GRAN4K === 1;
  return bits === 14 ? features.GRAN16K === 1 : features.GRAN64K === 1;
}
