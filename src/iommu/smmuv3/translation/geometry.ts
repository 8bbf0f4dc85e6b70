/**
 * The arithmetic of VMSAv8-64 tables: levels, index bits, blocks and contiguous groups (DDI 0487 D8.2, D8.7.1). Sizes
 * are in bits: a granule of 12, 14 or 16, a range of 2^inputBits bytes.
 */

/** Descriptors are 8 bytes: a full table resolves this many bits. */
const bitsPerLevel = (granuleBits: number): number => granuleBits - 3;

/** Lowest input address bit that a table at `level` resolves. */
export function levelShift(granuleBits: number, level: number): number {
  return granuleBits + bitsPerLevel(granuleBits) * (3 - level);
}

/** Level of the first look-up of stage 1 (Tables D8-18, D8-28, D8-37). */
export function stage1StartLevel(granuleBits: number, inputBits: number): number {
  const bits = bitsPerLevel(granuleBits);
  const levels = ((inputBits - granuleBits + bits - 1) / bits) | 0;
  return 4 - (levels > 0 ? levels : 1);
}

/** First level at which block descriptors exist; `wide` is DS, or 52-bit output addresses with 64 KiB (D8.3.1.2). */
export function firstBlockLevel(granuleBits: number, wide: boolean): number {
  if (granuleBits === 12) return wide ? 0 : 1;
  return wide ? 1 : 2;
}

/**
 * Bits of the range that a leaf with the Contiguous bit set may be cached for, at `level` (Table D8-104). The bit is
 * RES0 in the largest blocks, which then keep their own size.
 */
export function contiguousBits(granuleBits: number, level: number): number {
  const size = levelShift(granuleBits, level);
  if (granuleBits === 12) return level >= 1 ? size + 4 : size;
  if (level < 2) return size;
  return size + (granuleBits === 14 && level === 3 ? 7 : 5);
}

/**
 * Level of the first look-up of stage 2, from STE.S2SL0 and S2SL0_2 (Tables D8-19, D8-29, D8-38); undefined for a
 * reserved encoding. S2SL0_2 counts only with 4 KiB granules and S2DS. Level 3 with 4 KiB needs IDR3.STT.
 */
export function stage2StartLevel(
  granuleBits: number,
  S2SL0: number,
  S2SL0_2: number,
  S2DS: boolean,
  STT: boolean,
): number | undefined {
  if (granuleBits === 12) {
    if (S2DS && S2SL0_2 === 1) return S2SL0 === 0 ? -1 : undefined;
    if (S2SL0 === 3) return STT ? 3 : undefined;
    return 2 - S2SL0;
  }
  if (S2SL0 === 3) return granuleBits === 14 && S2DS ? 0 : undefined;
  return 3 - S2SL0;
}

/**
 * Whether stage 2 may start at `level` for an input of `inputBits`: the first look-up resolves at least one bit, and at
 * most what 16 concatenated tables do (D8.2.2, Tables D8-20 to D8-24, D8-30 to D8-33, D8-39 to D8-41).
 */
export function stage2StartFits(granuleBits: number, inputBits: number, level: number): boolean {
  const resolved = inputBits - levelShift(granuleBits, level);
  const full = bitsPerLevel(granuleBits);
  // Nothing concatenates at the level that only 52-bit input reaches: no further level above would be saved.
  const top = (granuleBits === 12 && level === -1) || (granuleBits !== 12 && level === (granuleBits === 14 ? 0 : 1));
  return resolved >= 1 && resolved <= (top ? full : full + 4);
}
