/**
 * Translation the slow way, with bigints, after the order of DDI 0487 D8.15.5: what the engine's answers are compared
 * with. It knows no caches, no hardware update, no contiguous groups and no attributes.
 */
import type { TableRegion, TranslationContext } from '../../src/iommu/smmuv3/translation/context.ts';
import { StreamWorld } from '../../src/iommu/smmuv3/translation/context.ts';
import type { Access } from '../../src/iommu/smmuv3/translation/outcome.ts';

/** Reads the descriptor at a physical address; undefined is an external abort. */
export type ReadDescriptor = (address: bigint) => bigint | undefined;

export interface ReferenceFault {
  readonly event: 'F_TRANSLATION' | 'F_ADDR_SIZE' | 'F_ACCESS' | 'F_PERMISSION' | 'F_WALK_EABT';
  readonly stage2: boolean;
  readonly faultClass: number;
  readonly level: number;
  readonly ipa?: bigint;
  readonly fetchAddress?: bigint;
}

export interface ReferenceAnswer {
  readonly event: 'ok';
  readonly output: bigint;
  readonly ipa: bigint;
  /** Permissions of the privilege of the access: READ 1, WRITE 2, EXECUTE 4. */
  readonly permissions: number;
}

interface Leaf {
  readonly event: 'leaf';
  readonly descriptor: bigint;
  readonly tables: readonly bigint[];
  readonly level: number;
  readonly output: bigint;
}

const CLASS = { CD: 0, TT: 1, IN: 2 };
const bits = (value: bigint, msb: number, lsb: number): bigint =>
  (value >> BigInt(lsb)) & ((1n << BigInt(msb - lsb + 1)) - 1n);

/** Bits 51:48 and 47:low of an address in a descriptor. */
function addressIn(descriptor: bigint, low: number, region: TableRegion): bigint {
  const main = bits(descriptor, 47, low) << BigInt(low);
  if (!region.wide) return main;
  if (region.granuleBits === 16) return main | (bits(descriptor, 15, 12) << 48n);
  return main | (bits(descriptor, 49, 48) << 48n) | (bits(descriptor, 9, 8) << 50n);
}

function walk(
  region: TableRegion,
  outputBits: number,
  startLevel: number,
  input: bigint,
  fetch: (address: bigint) => bigint | ReferenceFault | undefined,
  fault: (event: ReferenceFault['event'], level: number, fetchAddress?: bigint) => ReferenceFault,
): Leaf | ReferenceFault {
  const { granuleBits, inputBits } = region;
  const stride = granuleBits - 3;
  const shiftOf = (level: number) => granuleBits + stride * (3 - level);
  const firstSize = 8n << BigInt(inputBits - shiftOf(startLevel));
  const align = outputBits === 52 && firstSize < 64n ? 64n : firstSize;
  let table = (BigInt(region.base) / align) * align;
  const tables: bigint[] = [];
  for (let level = startLevel; ; level++) {
    const shift = shiftOf(level);
    const top = level === startLevel ? inputBits - 1 : shift + stride - 1;
    const address = table + bits(input, top, shift) * 8n;
    const descriptor = fetch(address);
    if (descriptor === undefined) return fault('F_WALK_EABT', level, address);
    if (typeof descriptor !== 'bigint') return descriptor;
    const type = Number(descriptor & 3n);
    const hasBlocks = granuleBits === 12 ? level >= (region.wide ? 0 : 1) : level >= (region.wide ? 1 : 2);
    const isLeaf = level === 3 ? type === 3 : type === 1 && hasBlocks;
    const isTable = level < 3 && type === 3;
    if (!isLeaf && !isTable) return fault('F_TRANSLATION', level);
    const output = addressIn(descriptor, isLeaf ? shift : granuleBits, region);
    const masked = isLeaf ? (output >> BigInt(shift)) << BigInt(shift) : output;
    if (masked >> BigInt(outputBits) !== 0n) return fault('F_ADDR_SIZE', level);
    if (isLeaf) {
      return { event: 'leaf', descriptor, tables, level, output: masked | bits(input, shift - 1, 0) };
    }
    tables.push(descriptor);
    table = output;
  }
}

/** Translates the IPA `input` for what `faultClass` says; `wants` is what a permission fault is checked against. */
function stage2(
  context: TranslationContext,
  XNX: boolean,
  input: bigint,
  wants: number,
  privileged: boolean,
  faultClass: number,
  read: ReadDescriptor,
): ReferenceAnswer | ReferenceFault {
  const { tables, outputBits, accessFlagFaultDisabled } = context.stage2;
  const fault = (event: ReferenceFault['event'], level: number, fetchAddress?: bigint): ReferenceFault => ({
    event,
    stage2: true,
    faultClass,
    level,
    ipa: input & ~0xfffn,
    ...(fetchAddress === undefined ? {} : { fetchAddress }),
  });
  if (input >> BigInt(tables.inputBits) !== 0n) return fault('F_TRANSLATION', 0);
  const leaf = walk(tables, outputBits, tables.startLevel, input, read, fault);
  if (leaf.event !== 'leaf') return leaf;
  const { descriptor, level, output } = leaf;
  if (bits(descriptor, 10, 10) === 0n && !accessFlagFaultDisabled) return fault('F_ACCESS', level);
  const XN = Number(bits(descriptor, 54, 53)) & (XNX ? 3 : 2);
  const mayExecute = XN === 0 || (XN === 1 && !privileged) || (XN === 3 && privileged);
  const permissions = Number(bits(descriptor, 7, 6)) | (mayExecute ? 4 : 0);
  const isDevice = bits(descriptor, 5, 4) === 0n || bits(descriptor, 3, 2) === 0n;
  if ((wants & ~permissions) !== 0 || (context.stage2.S2PTW && faultClass !== CLASS.IN && isDevice)) {
    return fault('F_PERMISSION', level);
  }
  return { event: 'ok', output, ipa: input, permissions };
}

/** What DDI 0487 D8.4.1.2 grants, for the privilege of the access. */
function stage1Permissions(context: TranslationContext, region: TableRegion, leaf: Leaf, privileged: boolean): number {
  const { WXN, PAN, EPAN } = context.stage1;
  const tables = region.hierarchyDisabled ? [] : leaf.tables;
  const any = (position: number) => bits(leaf.descriptor, position, position) === 1n;
  const above = (position: number) => tables.some((table) => bits(table, position, position) === 1n);
  const readOnly = any(7) || above(62);
  if (context.world === StreamWorld.EL2) {
    const execute = !(any(54) || above(60)) && !(WXN && !readOnly);
    return 1 | (readOnly ? 0 : 2) | (execute ? 4 : 0);
  }
  const userData = any(6) && !above(61);
  const userWrite = userData && !readOnly;
  const userExecute = !(any(54) || above(60)) && !(WXN && userWrite);
  if (!privileged) return (userData ? 1 : 0) | (userWrite ? 2 : 0) | (userExecute ? 4 : 0);
  const execute = !(any(53) || above(59)) && !userWrite && !(WXN && !readOnly);
  const isDenied = PAN && (userData || (EPAN && userExecute));
  return (isDenied ? 0 : 1 | (readOnly ? 0 : 2)) | (execute ? 4 : 0);
}

/** Translates `input` (64 bits) as a transaction. */
export function referenceTranslation(
  context: TranslationContext,
  physicalBits: number,
  XNX: boolean,
  input: bigint,
  access: Access,
  read: ReadDescriptor,
): ReferenceAnswer | ReferenceFault {
  const { privileged } = access;
  const wants = (access.read ? (access.instruction ? 4 : 1) : 0) | (access.write ? 2 : 0);
  const fault1 = (event: ReferenceFault['event'], level: number): ReferenceFault => ({
    event,
    stage2: false,
    faultClass: CLASS.IN,
    level,
  });
  if (!context.stage1Enabled) {
    if (input >> BigInt(physicalBits) !== 0n) return fault1('F_ADDR_SIZE', 0);
    if (!context.stage2Enabled) return { event: 'ok', output: input, ipa: input, permissions: 7 };
    return stage2(context, XNX, input, wants, privileged, CLASS.IN, read);
  }
  const isUpper = context.world !== StreamWorld.EL2 && bits(input, 55, 55) === 1n;
  const region = isUpper ? context.stage1.upper : context.stage1.lower;
  const top = region.topByteIgnored ? 55 : 63;
  const outside = bits(input, top, region.inputBits);
  const expected = isUpper ? (1n << BigInt(top - region.inputBits + 1)) - 1n : 0n;
  if (outside !== expected || region.disabled || (region.unprivilegedForbidden && !privileged))
    return fault1('F_TRANSLATION', 0);
  const { outputBits } = context.stage1;
  const stride = region.granuleBits - 3;
  const startLevel = 4 - Math.max(1, Math.ceil((region.inputBits - region.granuleBits) / stride));
  let physical = 0n;
  const fetch = (address: bigint) => {
    physical = address;
    if (context.stage2Enabled) {
      const through = stage2(context, XNX, address, 1, true, CLASS.TT, read);
      if (through.event !== 'ok') return through;
      physical = through.output;
    }
    return read(physical);
  };
  const leaf = walk(region, outputBits, startLevel, bits(input, region.inputBits - 1, 0), fetch, (event, level) => ({
    ...fault1(event, level),
    ...(event === 'F_WALK_EABT' ? { faultClass: CLASS.TT, fetchAddress: physical } : {}),
  }));
  if (leaf.event !== 'leaf') return leaf;
  if (bits(leaf.descriptor, 10, 10) === 0n && !context.stage1.accessFlagFaultDisabled)
    return fault1('F_ACCESS', leaf.level);
  const permissions = stage1Permissions(context, region, leaf, privileged);
  if ((wants & ~permissions) !== 0) return fault1('F_PERMISSION', leaf.level);
  if (!context.stage2Enabled) return { event: 'ok', output: leaf.output, ipa: leaf.output, permissions };
  const through = stage2(context, XNX, leaf.output, wants, privileged, CLASS.IN, read);
  return through.event === 'ok' ? { ...through, permissions: permissions & through.permissions } : through;
}
