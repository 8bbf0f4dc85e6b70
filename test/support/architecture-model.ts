/**
 * One translation from the bits of an STE and a CD, after the pseudocode of DDI 0487 J1.1.4 and J1.3.5 and the text of
 * IHI 0070 §3.4, §3.13, §5.2, §5.4, §13.4. It shares nothing with the SMMU, its layouts included, and reaches what
 * reference-translation.ts does not: legality, decoding, hardware update, sizes, attributes. No caches.
 */

import {
  type Attributes,
  attributesOf,
  encodeAttributes,
  shareabilityOf,
  throughStage2,
  widerOf,
  withIncomingHints,
} from './architecture-attributes.ts';

import {
  type ArchitectureFeatures,
  field,
  flag,
  type Stage,
  type Stage1,
  type Stage2,
  sizeOf,
  slice,
} from './architecture-structures.ts';

export interface ArchitectureAccess {
  readonly read: boolean;
  readonly write: boolean;
  readonly fetch: boolean;
  readonly privileged: boolean;
  /** ATS translation request: what is lacking is no fault. */
  readonly ats: boolean;
  /** MAIR format and SH. */
  readonly attributes: number;
  readonly shareability: number;
}

/** Physical memory; undefined is an external abort. `swapped` is a big-endian descriptor. */
export interface ArchitectureMemory {
  load(address: bigint, swapped: boolean): bigint | undefined;
  store(address: bigint, value: bigint, swapped: boolean): void;
}

type FaultEvent = 'F_TRANSLATION' | 'F_ADDR_SIZE' | 'F_ACCESS' | 'F_PERMISSION' | 'F_WALK_EABT';

export interface ArchitectureFault {
  readonly event: FaultEvent;
  readonly stage2: boolean;
  /** 0 CD, 1 TT, 2 IN. */
  readonly faultClass: number;
  readonly ipa?: bigint;
  readonly fetchAddress?: bigint;
  readonly RnW?: boolean;
  readonly ttRnW?: boolean;
}

export interface ArchitectureAnswer {
  readonly event: 'ok';
  readonly output: bigint;
  readonly sizeBits: number;
  readonly permissions: number;
  readonly attributes: number;
  readonly shareability: number;
}

interface Leaf {
  readonly event: 'leaf';
  readonly descriptor: bigint;
  readonly at: bigint;
  readonly level: number;
  readonly shift: number;
  readonly output: bigint;
  readonly tables: readonly bigint[];
}

/** AArch64.S1Walk and S2Walk. `locate` gives the physical address of a descriptor, or the fault of stage 2. */
function walk(
  stage: Stage,
  input: bigint,
  memory: ArchitectureMemory,
  locate: (address: bigint) => bigint | ArchitectureFault,
  fault: (event: FaultEvent, fetchAddress?: bigint) => ArchitectureFault,
): Leaf | ArchitectureFault {
  const { granule, inputBits, outputBits } = stage;
  const stride = granule - 3;
  const tables: bigint[] = [];
  let base = stage.table;
  for (let level = stage.startLevel; ; level++) {
    const shift = granule + stride * (3 - level);
    const top = level === stage.startLevel ? inputBits - 1 : shift + stride - 1;
    const at = base | (slice(input, top, shift) << 3n);
    const physical = locate(at);
    if (typeof physical !== 'bigint') return physical;
    const descriptor = memory.load(physical, stage.big);
    if (descriptor === undefined) return fault('F_WALK_EABT', physical);
    const high = (address: bigint): bigint => {
      if (granule === 16) return stage.lpa ? address | (slice(descriptor, 15, 12) << 48n) : address;
      return stage.ds ? address | (slice(descriptor, 9, 8) << 50n) | (slice(descriptor, 49, 48) << 48n) : address;
    };
    const kind = field(descriptor, 1, 0);
    const isWide = granule === 16 ? stage.lpa : stage.ds;
    const firstBlock = (granule === 12 ? 1 : 2) - (isWide ? 1 : 0);
    const isLeaf = level === 3 ? kind === 3 : kind === 1 && level >= firstBlock;
    if (!isLeaf && (kind !== 3 || level === 3)) return fault('F_TRANSLATION');
    const low = isLeaf ? shift : granule;
    const output = high(low >= 48 ? 0n : slice(descriptor, 47, low) << BigInt(low));
    if (output >> BigInt(outputBits) !== 0n) return fault('F_ADDR_SIZE');
    if (isLeaf) {
      const translated = output | slice(input, shift - 1, 0);
      return { event: 'leaf', descriptor, at: physical, level, shift, output: translated, tables };
    }
    tables.push(descriptor);
    base = output;
  }
}

/** Table D8-104, where the group's own output lets it be one (D8.7.1.2). */
function leafBits(stage: Stage, leaf: Leaf, input: bigint, BBML: number): number {
  const { granule } = stage;
  const { level, shift } = leaf;
  if (!flag(leaf.descriptor, 52) || BBML === 1) return shift;
  const groups: Readonly<Record<string, number>> = {
    '12/1': 34,
    '12/2': 25,
    '12/3': 16,
    '14/2': 30,
    '14/3': 21,
    '16/2': 34,
    '16/3': 21,
  };
  const group = groups[`${granule}/${level}`] ?? shift;
  if (group > stage.outputBits) return shift;
  return slice(input ^ leaf.output, group - 1, 0) === 0n ? group : shift;
}

/** What a leaf grants: READ 1, WRITE 2, EXECUTE 4; `clean` when WRITE means an update first. */
interface Granted {
  readonly permissions: number;
  readonly clean: boolean;
}

/** AArch64.S1DirectBasePermissions. */
function stage1Grants(
  stage: Stage,
  leaf: Leaf,
  s1: Stage1,
  hpd: boolean,
  a: ArchitectureAccess,
  EPAN: boolean,
): Granted {
  const d = leaf.descriptor;
  const clean = flag(d, 51) && stage.HD && flag(d, 7);
  const readOnly = flag(d, 7) && !clean;
  const above = (bit: number): boolean => !hpd && leaf.tables.some((table) => flag(table, bit));
  const WXN = flag(s1.cd, 36);
  if (!s1.ranges) {
    const w = !readOnly && !above(62);
    const x = !(flag(d, 54) || above(60)) && !(WXN && w);
    return { permissions: 1 | (w ? 2 : 0) | (x ? 4 : 0), clean };
  }
  const pw = !readOnly && !above(62);
  const ur = flag(d, 6) && !above(61);
  const uw = ur && pw;
  const px = !(flag(d, 53) || above(59) || uw);
  const ux = !(flag(d, 54) || above(60));
  const pan = flag(s1.cd, 40) && (ur || uw || (EPAN && ux));
  const [r, w, x] = a.privileged ? [!pan, pw && !pan, px && !(WXN && pw)] : [ur, uw, ux && !(WXN && uw)];
  return { permissions: (r ? 1 : 0) | (w ? 2 : 0) | (x ? 4 : 0), clean };
}

/** AArch64.S2DirectBasePermissions. */
function stage2Grants(stage: Stage, d: bigint, XNX: boolean, privileged: boolean): Granted {
  const clean = flag(d, 51) && stage.HD && !flag(d, 7);
  const XN = field(d, 54, 53) & (XNX ? 3 : 2);
  const x = XN === 0 || XN === (privileged ? 3 : 1);
  return { permissions: (flag(d, 6) ? 1 : 0) | (flag(d, 7) || clean ? 2 : 0) | (x ? 4 : 0), clean };
}

const AF = 1n << 10n;
const BIT7 = 1n << 7n;
/** RnW of a permission fault: 1 for an atomic access that lacks the read alone (§13.1.1). */
const readOf = (lacking: number): boolean => (lacking & 2) === 0;

/** The answer of stage 2. */
interface Second {
  readonly event: 'second';
  readonly leaf: Leaf;
  readonly memAttr: number;
  /** Now, and with the updates that a write would make. */
  readonly permissions: number;
  readonly grantable: number;
  readonly bits: number;
  readonly sh: number;
}

export class Architecture {
  readonly #f: ArchitectureFeatures;
  readonly #memory: ArchitectureMemory;
  readonly #stage1: Stage1 | null;
  readonly #stage2: Stage2 | null;

  constructor(
    features: ArchitectureFeatures,
    memory: ArchitectureMemory,
    stage1: Stage1 | null,
    stage2: Stage2 | null,
  ) {
    this.#f = features;
    this.#memory = memory;
    this.#stage1 = stage1;
    this.#stage2 = stage2;
  }

  /** Stage 2 of `ipa` for what `need` says; undefined attributes are of reserved encodings. */
  #second(
    ipa: bigint,
    need: number,
    privileged: boolean,
    faultClass: number,
    probe: boolean,
  ): Second | ArchitectureFault {
    const stage = this.#stage2;
    if (stage === null || stage === undefined) throw new Error('stage 2 is off');
    const writes = (need & 2) !== 0;
    const fault = (event: FaultEvent, fetchAddress?: bigint): ArchitectureFault => ({
      event,
      stage2: true,
      faultClass,
      ipa,
      ...(fetchAddress === undefined ? {} : { fetchAddress }),
    });
    if (ipa >> BigInt(stage.inputBits) !== 0n) return fault('F_TRANSLATION');
    const leaf = walk(stage, ipa, this.#memory, (address) => address, fault);
    if (leaf.event !== 'leaf') return leaf;
    const { descriptor } = leaf;
    if ((descriptor & AF) === 0n && !stage.HA && !stage.AFFD) return fault('F_ACCESS');
    const granted = stage2Grants(stage, descriptor, this.#f.XNX === 1, privileged);
    const memAttr = field(descriptor, 5, 2);
    const lacking = need & ~granted.permissions;
    const isDevice = stage.FWB ? (memAttr & 4) === 0 || (memAttr & 3) === 0 : memAttr < 4 || (memAttr & 3) === 0;
    if (faultClass !== 2 && stage.PTW && isDevice) return { ...fault('F_PERMISSION'), ttRnW: !writes };
    if (lacking !== 0 && !probe) {
      return { ...fault('F_PERMISSION'), RnW: readOf(lacking), ttRnW: readOf(lacking) };
    }
    let update = descriptor;
    if ((need & granted.permissions) !== 0) {
      if (stage.HA) update |= AF;
      if (writes && granted.clean) update |= BIT7;
    }
    if (update !== descriptor) this.#memory.store(leaf.at, update, stage.big);
    return {
      event: 'second',
      leaf,
      memAttr,
      permissions: granted.permissions & (granted.clean && !writes ? 5 : 7),
      grantable: granted.permissions,
      bits: leafBits(stage, leaf, ipa, this.#f.BBML),
      sh: stage.ds ? stage.sh : field(descriptor, 9, 8),
    };
  }

  translate(input: bigint, a: ArchitectureAccess): ArchitectureAnswer | ArchitectureFault {
    const need = (a.read ? (a.fetch ? 4 : 1) : 0) | (a.write ? 2 : 0);
    const incoming = attributesOf(a.attributes);
    const outOfRange: ArchitectureFault = { event: 'F_ADDR_SIZE', stage2: false, faultClass: 2 };
    const s1 = this.#stage1;
    if (s1 === null) {
      const oas = sizeOf(this.#f.OAS);
      if (input >> BigInt(oas) !== 0n) return outOfRange;
      if (this.#stage2 === null) {
        const attributes = encodeAttributes(incoming);
        const shareability = shareabilityOf(incoming, a.shareability);
        return { event: 'ok', output: input, sizeBits: oas, permissions: 7, attributes, shareability };
      }
      const second = this.#second(input, need, a.privileged, 2, a.ats);
      if (second.event !== 'second') return second;
      return this.#through(second, incoming, a.shareability, 64, 7);
    }
    return this.#first(s1, input, need, a, incoming);
  }

  #first(
    s1: Stage1,
    input: bigint,
    need: number,
    a: ArchitectureAccess,
    incoming: Attributes,
  ): ArchitectureAnswer | ArchitectureFault {
    const fault = (event: FaultEvent): ArchitectureFault => ({ event, stage2: false, faultClass: 2 });
    const isUpper = s1.ranges && flag(input, 55);
    const stage = isUpper ? s1.upper : s1.lower;
    if (stage === null) return fault('F_TRANSLATION');
    const top = flag(s1.cd, isUpper ? 39 : 38) ? 55 : 63;
    const rest = slice(input, top, stage.inputBits);
    if (rest !== (isUpper ? slice(~0n, top, stage.inputBits) : 0n)) return fault('F_TRANSLATION');
    const E0PD = this.#f.E0PD === 1 && s1.ranges && flag(s1.cd, isUpper ? 130 : 66);
    if (E0PD && !a.privileged) return fault('F_TRANSLATION');
    let ipa = 0n;
    const locate = (address: bigint): bigint | ArchitectureFault => {
      ipa = address;
      if (this.#stage2 === null) return address;
      const second = this.#second(address, 1, true, 1, false);
      return second.event === 'second' ? second.leaf.output : second;
    };
    const leaf = walk(stage, slice(input, stage.inputBits - 1, 0), this.#memory, locate, (event, fetchAddress) =>
      fetchAddress === undefined ? fault(event) : { event, stage2: false, faultClass: 1, fetchAddress },
    );
    if (leaf.event !== 'leaf') return leaf;
    const { descriptor } = leaf;
    if ((descriptor & AF) === 0n && !stage.HA && !stage.AFFD) return fault('F_ACCESS');
    const hpd = this.#f.HAD === 1 && flag(s1.cd, isUpper ? 129 : 65);
    const granted = stage1Grants(stage, leaf, s1, hpd, a, this.#f.EPAN === 1 && flag(s1.cd, 123));
    const lacking = need & ~granted.permissions;
    if (lacking !== 0 && !a.ats) return { ...fault('F_PERMISSION'), RnW: readOf(lacking) };
    const wanted = need & granted.permissions;
    const nothing = { event: 'ok', output: 0n, sizeBits: 12, permissions: 0, attributes: 0, shareability: 0 } as const;
    if (wanted === 0) return nothing;
    let allowed = wanted;
    let second: Second | null = null;
    if (this.#stage2 !== null) {
      const answer = this.#second(leaf.output, wanted, a.privileged, 2, a.ats);
      if (answer.event !== 'second') return answer;
      second = answer;
      allowed &= second.grantable;
    }
    let update = descriptor;
    const dirties = (allowed & 2) !== 0 && granted.clean;
    if (allowed !== 0 && stage.HA) update |= AF;
    if (dirties) update &= ~BIT7;
    if (update !== descriptor) {
      if (this.#stage2 !== null) {
        const write = this.#second(ipa, 3, true, 1, false);
        if (write.event !== 'second') return write;
      }
      this.#memory.store(leaf.at, update, stage.big);
    }
    const index = field(descriptor, 4, 2);
    const mair = attributesOf(field(s1.cd, 192 + index * 8 + 7, 192 + index * 8));
    const attributes = withIncomingHints(mair, incoming);
    const sh = stage.ds ? stage.sh : field(descriptor, 9, 8);
    const permissions = granted.permissions & (granted.clean && !dirties ? 5 : 7);
    const own = leafBits(stage, leaf, input, this.#f.BBML);
    if (second !== null) return this.#through(second, attributes, sh, own, permissions);
    const shareability = shareabilityOf(attributes, sh);
    const output = leaf.output;
    return { event: 'ok', output, sizeBits: own, permissions, attributes: encodeAttributes(attributes), shareability };
  }

  /** The answer of stage 2 with what stage 1, or the requester, brings. Reserved encodings give attributes of -1. */
  #through(second: Second, first: Attributes, sh: number, bits: number, permissions: number): ArchitectureAnswer {
    const combined = throughStage2(first, second.memAttr, this.#stage2?.FWB === true);
    return {
      event: 'ok',
      output: second.leaf.output,
      sizeBits: Math.min(bits, second.bits),
      permissions: permissions & second.permissions,
      attributes: combined === undefined ? -1 : encodeAttributes(combined),
      shareability: combined === undefined ? -1 : shareabilityOf(combined, widerOf(sh, second.sh)),
    };
  }
}
