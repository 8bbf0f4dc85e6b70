/**
 * Memory attributes in MAIR format and their combination (DDI 0487 D8.6; IHI 0070 §13.1). Reserved MAIR encodings behave
 * as §5.4 MAIR0 says. Reserved encodings of stage 2 descriptors, which are left open, behave as Device-nGnRnE.
 */

const WRITE_BACK = 0xff;
const NON_CACHEABLE = 0x44;

export const MemoryAttribute = {
  /** Normal Write-Back, read and write allocate, at both levels: what a device without attributes sends (§13.1.3). */
  WRITE_BACK,
  /** Normal Non-cacheable at both levels. */
  NON_CACHEABLE,
} as const;

const OUTER_SHAREABLE = 2;
const INNER_SHAREABLE = 3;

const NC = 0b0100;

/** MAIR Device attributes keep the type in bits 3:2, stage 2 ones in bits 1:0; smaller is stronger. */
const device = (type: number): number => type << 2;
const isDevice = (attributes: number): boolean => attributes < 0x10;

/** A level that caches: what hints it carries, RA in bit 1, WA in bit 0 and non-transient in bit 2. */
const cacheable = (level: number): boolean => level !== NC && level !== 0;
const writeBack = (level: number): boolean => (level & 0b0100) !== 0;
const transient = (level: number): boolean => (level & 0b1000) === 0;

/** A level of policy `back` (Write-Back or Write-Through) with the hints of `from`. No allocation is not transient. */
function level(back: boolean, from: number): number {
  const hints = cacheable(from) ? from & 3 : 3;
  const permanent = !cacheable(from) || !transient(from) || hints === 0;
  return (permanent ? 0b1000 : 0) | (back ? 0b0100 : 0) | hints;
}

/** Write-Through, transient, read and write allocate: what the reserved inner level 0 of Normal memory is (§5.4 MAIR0). */
const RESERVED_INNER = 0b0011;

/** An attribute without reserved encodings: Device ones lose bits 1:0, Tagged and XS are not for an SMMU (§5.4 MAIR0). */
function normalize(attributes: number): number {
  if (isDevice(attributes)) return device(attributes >>> 2);
  const inner = attributes & 15;
  return (normalizeLevel(attributes >>> 4) << 4) | (inner === 0 ? RESERVED_INNER : normalizeLevel(inner));
}

const normalizeLevel = (value: number): number => (cacheable(value) ? level(writeBack(value), value) : NC);

/** Stage 2 levels: 1 Non-cacheable, 2 Write-Through, 3 Write-Back. */
function combineLevel(first: number, second: number): number {
  if (!cacheable(first) || second === 1) return NC;
  return level(writeBack(first) && second === 3, first);
}

/** Device in one stage or both: the strongest type (Table D8-97). */
function combineDevice(first: number, second: number): number {
  return device(isDevice(first) ? Math.min(first >>> 2, second) : second);
}

/** Stage 1 attributes combined with stage 2 MemAttr[3:0] (Tables D8-97, D8-98). */
function combine(first: number, memAttr: number): number {
  const outer = memAttr >>> 2;
  const inner = memAttr & 3;
  if (outer === 0) return combineDevice(first, inner);
  if (inner === 0) return device(0);
  if (isDevice(first)) return first;
  return (combineLevel(first >>> 4, outer) << 4) | combineLevel(first & 15, inner);
}

/** The same with STE.S2FWB=1 (Tables D8-100, D8-101). */
function combineForced(first: number, memAttr: number): number {
  const choice = memAttr & 3;
  if ((memAttr & 4) === 0) return combineDevice(first, choice);
  if (choice === 0) return device(0);
  if (choice === 3) return first;
  if (choice === 1) return isDevice(first) ? first : NON_CACHEABLE;
  if (isDevice(first)) return WRITE_BACK;
  return (level(true, first >>> 4) << 4) | level(true, first & 15);
}

/** By stage 2 MemAttr (bits 11:8), S2FWB (bit 12) and stage 1 attributes (bits 7:0). */
const COMBINED = new DataView(new ArrayBuffer(0x2000));
const NORMALIZED = new DataView(new ArrayBuffer(256));
for (let attributes = 0; attributes < 256; attributes++) NORMALIZED.setUint8(attributes, normalize(attributes));
/** Whether a stage 2 MemAttr (with S2FWB in bit 4) makes a Normal access a Device access. */
let deviceMemory = 0;
for (let memAttr = 0; memAttr < 32; memAttr++) {
  const forced = (memAttr & 16) !== 0;
  for (let first = 0; first < 256; first++) {
    const normal = normalize(first);
    const combined = forced ? combineForced(normal, memAttr & 15) : combine(normal, memAttr);
    COMBINED.setUint8((memAttr << 8) | first, combined);
  }
  if (isDevice(COMBINED.getUint8((memAttr << 8) | WRITE_BACK))) deviceMemory |= 1 << memAttr;
}
const STAGE_2_DEVICE = deviceMemory;

/** MAIR attributes without reserved encodings. */
export const normalizeAttributes = (attributes: number): number => NORMALIZED.getUint8(attributes);

/** MAIR attributes through a stage 2 leaf: `memAttr` is MemAttr[3:0], with S2FWB in bit 4. */
export const combineAttributes = (first: number, memAttr: number): number => COMBINED.getUint8((memAttr << 8) | first);

/** Whether a table or CD fetch meets Device memory at stage 2. */
export const isStage2Device = (memAttr: number): boolean => ((STAGE_2_DEVICE >>> memAttr) & 1) !== 0;

/** Shareability through both stages, for cacheable memory (Table D8-103). Encoding 1 is reserved and counts as 0. */
export function combineShareability(first: number, second: number): number {
  if (first === OUTER_SHAREABLE || second === OUTER_SHAREABLE) return OUTER_SHAREABLE;
  return first === INNER_SHAREABLE || second === INNER_SHAREABLE ? INNER_SHAREABLE : 0;
}

/** The shareability that goes with `attributes`: Device and Non-cacheable are Outer Shareable (§13.1.7). */
export function consistentShareability(attributes: number, shareability: number): number {
  if (isDevice(attributes) || attributes === NON_CACHEABLE) return OUTER_SHAREABLE;
  return shareability === 1 ? 0 : shareability;
}

/**
 * Stage 1 attributes with the allocation hints of the incoming access (§13.4.2): no-allocate and transient are the
 * stronger values. An incoming type that is not cacheable carries no hints.
 */
export function combineHints(attributes: number, incoming: number): number {
  if (isDevice(attributes) || isDevice(incoming)) return attributes;
  const outer = combineLevelHints(attributes >>> 4, incoming >>> 4);
  return (outer << 4) | combineLevelHints(attributes & 15, incoming & 15);
}

function combineLevelHints(own: number, incoming: number): number {
  if (!cacheable(own) || !cacheable(incoming)) return own;
  const hints = own & incoming & 3;
  const permanent = hints === 0 || (!transient(own) && !transient(incoming));
  return (permanent ? 0b1000 : 0) | (own & 0b0100) | hints;
}
