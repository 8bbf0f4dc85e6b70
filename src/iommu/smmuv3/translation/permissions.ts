/**
 * Permissions as six bits: read, write, execute for privileged accesses (bits 2:0) and for unprivileged ones (bits
 * 5:3). DDI 0487 D8.4; IHI 0070 §13.4.1.
 */

export const PRIVILEGED_READ = 1;
export const PRIVILEGED_WRITE = 2;
export const PRIVILEGED_EXECUTE = 4;
export const UNPRIVILEGED_READ = 8;
export const UNPRIVILEGED_WRITE = 16;
export const UNPRIVILEGED_EXECUTE = 32;
/** Both write permissions. */
export const WRITES = PRIVILEGED_WRITE | UNPRIVILEGED_WRITE;
/** Every permission. */
export const ALL = 63;

/** Bits of the index into a row: AP[1], AP[2], APTable[0], APTable[1], PXN, UXN or XN (after the tables' bits). */
const AP1 = 1;
const AP2 = 2;
const AP_TABLE_0 = 4;
const AP_TABLE_1 = 8;
const PXN = 16;
const UXN = 32;
const ROW = 64;

function twoRanges(index: number, WXN: boolean, PAN: boolean, EPAN: boolean): number {
  let granted = PRIVILEGED_READ | PRIVILEGED_WRITE | UNPRIVILEGED_READ | UNPRIVILEGED_WRITE;
  if ((index & AP1) === 0 || (index & AP_TABLE_0) !== 0) granted &= ~(UNPRIVILEGED_READ | UNPRIVILEGED_WRITE);
  if ((index & (AP2 | AP_TABLE_1)) !== 0) granted &= ~WRITES;
  const privilegedWrite = (granted & PRIVILEGED_WRITE) !== 0;
  const unprivilegedWrite = (granted & UNPRIVILEGED_WRITE) !== 0;
  if ((index & UXN) === 0 && !(WXN && unprivilegedWrite)) granted |= UNPRIVILEGED_EXECUTE;
  if ((index & PXN) === 0 && !unprivilegedWrite && !(WXN && privilegedWrite)) granted |= PRIVILEGED_EXECUTE;
  const reachable = UNPRIVILEGED_READ | UNPRIVILEGED_WRITE | (EPAN ? UNPRIVILEGED_EXECUTE : 0);
  if (PAN && (granted & reachable) !== 0) granted &= ~(PRIVILEGED_READ | PRIVILEGED_WRITE);
  return granted;
}

/** One privilege level: AP[1], APTable[0] and PXN mean nothing, and every access counts as privileged. */
function oneRange(index: number, WXN: boolean): number {
  const write = (index & (AP2 | AP_TABLE_1)) === 0;
  const execute = (index & UXN) === 0 && !(WXN && write);
  const granted = PRIVILEGED_READ | (write ? PRIVILEGED_WRITE : 0) | (execute ? PRIVILEGED_EXECUTE : 0);
  return granted | (granted << 3);
}

const STAGE_1 = new DataView(new ArrayBuffer(16 * ROW));
for (let at = 0; at < STAGE_1.byteLength; at++) {
  const index = at % ROW;
  const row = Math.floor(at / ROW);
  const WXN = (row & 2) !== 0;
  STAGE_1.setUint8(
    at,
    (row & 1) !== 0 ? twoRanges(index, WXN, (row & 4) !== 0, (row & 8) !== 0) : oneRange(index, WXN),
  );
}

/** The row of the table for a CD's controls, for {@link stage1Permissions}. */
export function stage1PermissionRow(ranges: boolean, WXN: boolean, PAN: boolean, EPAN: boolean): number {
  return ((ranges ? 1 : 0) | (WXN ? 2 : 0) | (PAN ? 4 : 0) | (EPAN ? 8 : 0)) * ROW;
}

/**
 * What a stage 1 leaf grants. `low` and `high` are its words; `hierarchy` has the upper words of the table descriptors
 * above it, ORed (0 with HAD); `dirty` reads the leaf as if AP[2] were 0.
 */
export function stage1Permissions(row: number, low: number, high: number, hierarchy: number, dirty: boolean): number {
  const access = (low >>> 6) & (dirty ? AP1 : AP1 | AP2);
  const table = (hierarchy >>> 27) & 0xc;
  // PXN and UXN are bits 53 and 54, PXNTable and UXNTable bits 59 and 60.
  const never = ((high >>> 21) | (hierarchy >>> 27)) & 3;
  return STAGE_1.getUint8(row + access + table + never * PXN);
}

/** Stage 2 data permissions by S2AP, then execution by XN[1:0] (Tables D8-76, D8-78). */
const STAGE_2_DATA = [
  0,
  PRIVILEGED_READ | UNPRIVILEGED_READ,
  WRITES,
  PRIVILEGED_READ | UNPRIVILEGED_READ | WRITES,
] as const;
const STAGE_2_EXECUTE = [
  PRIVILEGED_EXECUTE | UNPRIVILEGED_EXECUTE,
  UNPRIVILEGED_EXECUTE,
  0,
  PRIVILEGED_EXECUTE,
] as const;
const STAGE_2 = new DataView(new ArrayBuffer(16));
for (let at = 0; at < 16; at++) {
  STAGE_2.setUint8(at, (STAGE_2_DATA[at & 3] ?? 0) | (STAGE_2_EXECUTE[at >>> 2] ?? 0));
}

/** What a stage 2 leaf grants; without XNX only XN[1] counts (Table D8-77). */
export function stage2Permissions(low: number, high: number, XNX: boolean): number {
  const never = XNX ? (high >>> 21) & 3 : (high >>> 21) & 2;
  return STAGE_2.getUint8(((low >>> 6) & 3) | (never << 2));
}
