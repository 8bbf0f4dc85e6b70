/**
 * Random STEs, CDs, tables and accesses: decoding and translation against the architecture's pseudocode, to the last bit of
 * what is answered, of what the fault record says, and of what hardware update leaves in memory.
 */
import { expect, test } from 'vitest';
import { CHUNK_BYTES, Memory } from '../../src/hw/memory.ts';
import { contextCache, contextCircumstances } from '../../src/iommu/smmuv3/cd.ts';
import { ADDRESS_BITS, type Features, featuresOf, outputAddressBits } from '../../src/iommu/smmuv3/features.ts';
import { streamCache } from '../../src/iommu/smmuv3/ste.ts';
import { Outcome, Purpose } from '../../src/iommu/smmuv3/translation/outcome.ts';
import { Translator } from '../../src/iommu/smmuv3/translation/translator.ts';
import { Random } from '../../src/sim/random.ts';
import { Architecture, type ArchitectureAccess, type ArchitectureMemory } from '../support/architecture-model.ts';
import { type ArchitectureFeatures, stage1Of, stage2Of } from '../support/architecture-structures.ts';
import { accessOf, eventName, pageOf, RAM, RAM_BYTES } from '../support/translation.ts';

const POOL_BYTES = 16 * CHUNK_BYTES;
const POOL_PAGES = POOL_BYTES / 4096;
const E2H = 2;

/** Mostly on, as most of what there is to compare needs them; `OAS` mostly large. */
function randomFeatures(random: Random, big: boolean): Features {
  const on = () => (random.below(4) === 0 ? 0 : 1);
  const OAS = random.pick([0, 1, 2, 3, 4, 5, 5, 6, 6, 6]);
  const VAX = on();
  const DS = OAS === 6 ? VAX * on() : 0;
  return featuresOf({
    OAS,
    VAX,
    DS,
    STT: on(),
    HTTU: random.pick([0, 1, 2, 2, 2]),
    HAD: on(),
    E0PD: on(),
    EPAN: on(),
    FWB: on(),
    XNX: on(),
    BBML: random.below(3),
    TTENDIAN: random.pick([0, big ? 3 : 2]),
    GRAN16K: on(),
    GRAN64K: DS === 0 && (OAS === 6 || VAX === 1) ? 1 : on(),
  });
}

const architectureOf = (f: Features): ArchitectureFeatures => ({
  ...f,
  granules: [...(f.GRAN4K ? [12] : []), ...(f.GRAN16K ? [14] : []), ...(f.GRAN64K ? [16] : [])],
});

/** Fields by their bit positions, as the figures number them. */
class Words {
  value = 0n;
  put(lsb: number, value: number | bigint | boolean): this {
    this.value |= BigInt(value) << BigInt(lsb);
    return this;
  }
  get view(): DataView {
    const view = new DataView(new ArrayBuffer(64));
    for (let at = 0; at < 8; at++) view.setBigUint64(at * 8, BigInt.asUintN(64, this.value >> BigInt(64 * at)), true);
    return view;
  }
}

const flagOf = (value: bigint, position: number): boolean => ((value >> BigInt(position)) & 1n) === 1n;

/** A table base in the pool, seldom aligned, seldom out of range. */
const baseOf = (random: Random): bigint => {
  const base = BigInt(RAM) + BigInt(random.below(POOL_BYTES / 16)) * 16n;
  return (random.below(30) === 0 ? base | (1n << BigInt(32 + random.below(20))) : base) >> 4n;
};
const S2_START: Readonly<Record<number, readonly number[]>> = { 12: [2, 1, 0, 3], 14: [3, 2, 1, 0], 16: [3, 2, 1, 1] };

function randomSte(random: Random, f: Features, big: boolean): bigint {
  const flag = () => random.below(2);
  const granule = random.pick([12, 14, 16]);
  const TG = { 12: 0, 14: 2, 16: 1 }[granule] ?? 3;
  const ds = f.DS === 1 ? flag() : 0;
  const SL2 = ds === 1 && granule === 12 && random.below(4) === 0 ? 1 : 0;
  const SL0 = SL2 === 1 && random.below(8) > 0 ? 0 : random.below(random.below(8) === 0 ? 4 : 3);
  const level = SL2 === 1 ? -1 : (S2_START[granule]?.[SL0] ?? 3);
  // Mostly a size that fits the start level, and mostly one that the RAM fits in.
  const least = granule + (3 - level) * (granule - 3) + 1;
  const inputBits = Math.max(
    least + random.below(granule + 1),
    random.below(4) === 0 ? 0 : Math.min(33, least + granule),
  );
  const most = random.below(2) === 0 ? (ADDRESS_BITS[f.OAS] ?? 52) : 48;
  const T0SZ = random.below(20) === 0 ? random.below(64) : Math.max(0, 64 - Math.min(inputBits, most));
  const HA = f.HTTU > 0 ? random.below(4) > 0 : random.below(20) === 0;
  const HD = f.HTTU > 1 ? random.below(4) > 0 : random.below(20) === 0;
  const swapped = Number(big !== (f.TTENDIAN === 0 && random.below(20) === 0));
  return new Words()
    .put(0, 1)
    .put(89, flag())
    .put(128, 1)
    .put(160, T0SZ)
    .put(166, SL0)
    .put(172, flag() * 2 + flag())
    .put(174, random.below(40) === 0 ? 3 : TG)
    .put(176, random.pick([0, 2, 4, 5, 5, 6, 6, 7]))
    .put(179, random.below(40) !== 0)
    .put(180, random.below(40) === 0 ? 1 - swapped : swapped)
    .put(181, flag())
    .put(182, random.below(4) === 0)
    .put(183, HD)
    .put(184, HA)
    .put(186, 1)
    .put(194, SL2)
    .put(195, random.below(20) === 0 ? 1 : ds)
    .put(196, baseOf(random)).value;
}

function randomCd(random: Random, f: Features, big: boolean): bigint {
  const flag = () => random.below(2);
  const seldom = (n: number) => random.below(n) === 0;
  const ds = f.DS === 1 ? flag() : 0;
  const size = () => (seldom(12) ? random.below(64) : 12 + random.below(f.STT === 1 ? 36 : 28));
  const swapped = Number(big !== (f.TTENDIAN === 0 && random.below(20) === 0));
  const mair = () => random.pick([0xff, 0x44, 0xbb, 0x4f, 0x7e, random.below(256), random.below(16)]);
  const cd = new Words();
  for (let index = 0; index < 8; index++) cd.put(192 + index * 8, mair());
  return cd
    .put(0, size())
    .put(6, seldom(40) ? 3 : random.below(3))
    .put(12, random.below(4))
    .put(14, seldom(8))
    .put(15, seldom(40) ? 1 - swapped : swapped)
    .put(16, size())
    .put(22, seldom(40) ? 0 : 1 + random.below(3))
    .put(28, random.below(4))
    .put(30, seldom(4))
    .put(31, 1)
    .put(32, random.pick([0, 2, 4, 5, 5, 6, 6, 7]))
    .put(35, flag())
    .put(36, flag())
    .put(37, flag())
    .put(38, flag())
    .put(39, flag())
    .put(40, flag())
    .put(41, !seldom(40))
    .put(42, f.HTTU > 1 ? !seldom(4) : seldom(20))
    .put(43, f.HTTU > 0 ? !seldom(4) : seldom(20))
    .put(45, 1)
    .put(46, 1)
    .put(48, 1)
    .put(65, flag())
    .put(66, seldom(4))
    .put(68, baseOf(random))
    .put(123, flag())
    .put(129, flag())
    .put(130, seldom(4))
    .put(132, baseOf(random))
    .put(186, seldom(20) ? 1 : ds).value;
}

/** Descriptors that mostly lead into the pool. */
function fill(random: Random, big: boolean, contiguous: boolean, memories: readonly Memory[]): void {
  for (let at = 0; at < POOL_BYTES; at += 8) {
    const type = random.below(40) === 0 ? random.below(4) : random.below(5) === 0 ? 1 : 3;
    let word = BigInt(RAM + random.below(POOL_PAGES) * 4096) | BigInt(type) | (BigInt(random.next32()) & 0xbfcn);
    if (random.below(8) !== 0) word |= 0x400n;
    if (random.below(2) === 0) word |= 0xc0n;
    else if (random.below(3) !== 0) word |= 0x40n;
    if (random.below(3) !== 0) word |= 0x3cn;
    if (random.below(3) === 0) word |= 1n << 51n;
    if (contiguous && random.below(3) === 0) word |= 1n << 52n;
    if (random.below(4) === 0) word |= (BigInt(random.next32()) & 0xf860_0000n) << 32n;
    // Output bits above the RAM are errors, or in the other formats part of other fields.
    if (random.below(60) === 0) word |= BigInt(random.next32() & 0x3_ffff) << 32n;
    // Without them, DS would read its address bits 51:50 from the shareability.
    if (random.below(8) !== 0) word &= ~0x300n;
    // 64 KiB granules read address bits 51:48 from bits 15:12.
    if (random.below(4) !== 0) word &= ~0xf000n;
    for (const memory of memories) {
      memory.writeView(RAM + at).setBigUint64(at % CHUNK_BYTES, word, !big);
    }
  }
}

const load = (memory: Memory, address: bigint, swapped: boolean): bigint | undefined =>
  memory.contains(Number(address), 8)
    ? memory.readView(Number(address)).getBigUint64(Number(address) % CHUNK_BYTES, !swapped)
    : undefined;

/** Memory of the model, which remembers where it was looked at. */
class Watched implements ArchitectureMemory {
  readonly memory = new Memory(RAM, RAM_BYTES);
  readonly seen = new Set<bigint>();
  writes = 0;
  load(address: bigint, swapped: boolean): bigint | undefined {
    this.seen.add(address);
    return load(this.memory, address, swapped);
  }
  store(address: bigint, value: bigint, swapped: boolean): void {
    this.writes += 1;
    this.memory.writeView(Number(address)).setBigUint64(Number(address) % CHUNK_BYTES, value, !swapped);
  }
}

const ATTRIBUTES = [0xff, 0xff, 0xff, 0x44, 0x04, 0xee, 0x77, 0xdd, 0x4b];

function randomAccess(random: Random): ArchitectureAccess {
  const kind = random.below(4);
  return {
    read: kind !== 1,
    write: kind === 1 || kind === 2,
    fetch: kind === 3,
    privileged: random.below(2) === 0,
    ats: random.below(4) === 0 && kind !== 1,
    attributes: random.pick(ATTRIBUTES),
    shareability: random.pick([0, 2, 3]),
  };
}

/** An address in a range, or just outside of it, or anywhere. */
function randomInput(random: Random, inputBits: number, upper: boolean): bigint {
  const any = (BigInt(random.next32()) << 32n) | BigInt(random.next32());
  const kind = random.below(16);
  if (kind === 0) return any;
  const low = BigInt.asUintN(inputBits + (kind === 1 ? 1 : 0), any);
  const value = upper ? BigInt.asUintN(64, (~0n << BigInt(inputBits)) | low) : low;
  return kind === 2 ? BigInt.asUintN(56, value) | (any & (0xffn << 56n)) : value;
}

function run(seed: number, rounds: number, seen: Map<string, number>): void {
  const random = new Random(seed);
  const memory = new Memory(RAM, RAM_BYTES);
  let big = false;
  let contiguous = false;
  const watched = new Watched();
  for (let round = 0; round < rounds; round++) {
    if (round % 100 === 0) {
      big = random.below(3) === 0;
      contiguous = random.below(3) === 0;
      fill(random, big, contiguous, [memory, watched.memory]);
    }
    const features = randomFeatures(random, big);
    const f = architectureOf(features);
    // Claims of Contiguous that do not hold show in nested walks, which look up in the TLB what they put there.
    const config = random.pick(contiguous ? [5, 6] : [4, 5, 5, 5, 6, 6, 7, 7, 7, 7]);
    const world = config === 5 ? random.below(3) : 0;
    const ste = randomSte(random, features, big) | BigInt(config << 1) | (BigInt(world > 0 ? 2 : 0) << 94n);
    const cd = randomCd(random, features, big);
    const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);

    const streams = streamCache(1, features);
    streams.take(0, new Words().put(0, ste).view, 0, world === 2 ? E2H : 0, 0, 0, 1);
    const stream = streams.decoded(0);
    const second = (config & 2) !== 0 ? stage2Of(ste, f) : null;
    expect(stream.illegal, `STE of round ${round}`).toBe(second === undefined);
    count(second === undefined ? 'STE illegal' : 'STE legal');
    if (second === undefined) continue;
    let context = stream.withoutStage1;
    const first = (config & 1) !== 0 ? stage1Of(cd, world !== 1, f) : null;
    if ((config & 1) !== 0) {
      const contexts = contextCache(1, features);
      contexts.take(0, new Words().put(0, cd).view, 0, contextCircumstances(stream), 0, 0, 1);
      const descriptor = contexts.decoded(0);
      descriptor.reachThrough(stream);
      expect(descriptor.illegal, `CD of round ${round}`).toBe(first === undefined);
      count(first === undefined ? 'CD illegal' : 'CD legal');
      context = descriptor.context;
    }
    if (first === undefined) continue;
    const model = new Architecture(f, watched, first, second);
    const outputBits = outputAddressBits(features);
    for (let n = 0; n < 8; n++) {
      const translator = new Translator({
        memory,
        outputBits,
        XNX: features.XNX === 1,
        BBML: features.BBML as 0 | 1 | 2,
        DS: features.DS === 1,
        tlbEntries: 64,
      });
      const asked = randomAccess(random);
      const upper = first !== null && world !== 1 && random.below(2) === 0;
      const inputBits =
        first === null ? (second?.inputBits ?? outputBits) : ((upper ? first.upper : first.lower)?.inputBits ?? 48);
      const input = randomInput(random, inputBits, upper);
      const outcome = new Outcome();
      const access = accessOf({
        page: pageOf(input),
        read: asked.read,
        write: asked.write,
        instruction: asked.fetch,
        privileged: asked.privileged,
        purpose: asked.ats ? Purpose.ATS : Purpose.TRANSACTION,
        attributes: asked.attributes,
        shareability: asked.shareability,
      });
      // The second time the TLB may answer, and the answer is that of the memory as the first left it.
      // Below BBML 2 random tables, which claim Contiguous where they are not, may conflict then.
      for (const again of features.BBML === 2 ? [false, true] : [false]) {
        const where = `seed ${seed}, round ${round}, access ${n}${again ? ', again' : ''}`;
        watched.seen.clear();
        watched.writes = 0;
        const wanted = model.translate(input, asked);
        const event = eventName(translator.translate(context, access, outcome));
        count(`${wanted.event} ${config}${watched.writes > 0 ? ' updated' : ''}`);
        expect(event, where).toBe(wanted.event);
        for (const address of watched.seen) {
          const left = load(memory, address, false);
          const right = load(watched.memory, address, false);
          if (left !== right) expect(left, `${where}, memory ${address}`).toBe(right);
        }
        if (wanted.event !== 'ok') {
          const { stage2, faultClass } = outcome;
          expect({ stage2, faultClass }, where).toEqual({ stage2: wanted.stage2, faultClass: wanted.faultClass });
          expect(outcome.RnW, `${where}, RnW`).toBe(
            wanted.faultClass === 2 ? (wanted.RnW ?? !asked.write) : !asked.write,
          );
          if (wanted.ipa !== undefined) expect(BigInt(outcome.ipaPage), where).toBe(wanted.ipa >> 12n);
          if (wanted.fetchAddress !== undefined) expect(BigInt(outcome.fetchAddress), where).toBe(wanted.fetchAddress);
          if (wanted.event === 'F_PERMISSION' && wanted.faultClass === 1)
            expect(outcome.ttRnW, where).toBe(wanted.ttRnW);
          continue;
        }
        const need = (asked.read ? (asked.fetch ? 4 : 1) : 0) | (asked.write ? 2 : 0);
        const mask = asked.ats ? need : 7;
        expect(outcome.permissions & mask, `${where}, permissions`).toBe(wanted.permissions & mask);
        if ((wanted.permissions & need) === 0) continue;
        expect(BigInt(outcome.page), where).toBe(wanted.output >> 12n);
        expect(outcome.sizeBits, `${where}, size`).toBe(wanted.sizeBits);
        if (wanted.attributes < 0) continue;
        // Which hints a Write-Back has that is forced upon a stage 1 without hints is open (§13.4.2, D8.6.6).
        if (config === 7 && flagOf(ste, 89) && asked.attributes !== 0xff) continue;
        expect(outcome.attributes, `${where}, attributes`).toBe(wanted.attributes);
        expect(outcome.shareability, `${where}, shareability`).toBe(wanted.shareability);
      }
    }
  }
}

test('one translation after another is what the architecture makes of its STE, CD, tables and access', () => {
  const seen = new Map<string, number>();
  for (const seed of [1, 2, 3, 4]) run(seed, 350, seen);
  // Every kind of answer came up, or the comparison says little.
  for (const structure of ['STE', 'CD']) {
    for (const kind of ['legal', 'illegal']) expect(seen.get(`${structure} ${kind}`) ?? 0).toBeGreaterThan(100);
  }
  for (const event of ['ok', 'F_TRANSLATION', 'F_ADDR_SIZE', 'F_ACCESS', 'F_PERMISSION', 'F_WALK_EABT']) {
    for (const config of [5, 6, 7])
      expect(seen.get(`${event} ${config}`) ?? 0, `${event} ${config}`).toBeGreaterThan(10);
  }
  for (const config of [5, 6, 7])
    expect(seen.get(`ok ${config} updated`) ?? 0, `updates ${config}`).toBeGreaterThan(10);
});
