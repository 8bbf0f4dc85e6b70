/**
 * Random tables, random contexts, random accesses: the engine against the slow reference, and on garbage against its
 * own bounds. Tables point at each other and at themselves.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { referenceTranslation } from '../../../../test/support/reference-translation.ts';
import { accessOf, contextOf, eventName, pageOf, RAM, RAM_BYTES } from '../../../../test/support/translation.ts';
import { CHUNK_BYTES, Memory } from '../../../hw/memory.ts';
import { Random } from '../../../sim/random.ts';
import type { TranslationContext } from './context.ts';
import { stage2StartFits, stage2StartLevel } from './geometry.ts';
import { type Access, Outcome, Purpose } from './outcome.ts';
import { Translator } from './translator.ts';

const POOL_CHUNKS = 16;
const POOL_BYTES = POOL_CHUNKS * CHUNK_BYTES;

/** RAM whose first MiB is tables: mostly descriptors that lead somewhere, some garbage. */
function poolOf(random: Random, garbage: number): Memory {
  const memory = new Memory(RAM, RAM_BYTES);
  const word = () => random.below(2 ** 32);
  for (let at = 0; at < POOL_BYTES; at += 8) {
    const view = memory.writeView(RAM + at);
    const offset = at % CHUNK_BYTES;
    let low = word();
    let high = word();
    if (random.below(100) >= garbage) {
      // A descriptor into the pool: a table, page or block, accessed, with random permissions, output in reach.
      const type = random.below(8) === 0 ? 1 : 3;
      const accessed = random.below(16) === 0 ? 0 : 0x400;
      low = ((RAM + random.below(POOL_BYTES / 4096) * 4096) | (low & 0xfc) | accessed | type) >>> 0;
      if (random.below(2) === 0) low |= 0xc0;
      // Upper attributes rarely, so that most leaves permit something; no Contiguous bit, no DBM.
      high = random.below(4) === 0 ? high & 0xf860_0000 : 0;
    }
    view.setUint32(offset, low, true);
    view.setUint32(offset + 4, high & ~0x0018_0000, true);
  }
  return memory;
}

const baseOf = (page: number) => RAM + page * 4096;
const granule = fc.constantFrom(12, 14, 16);
const page = fc.nat(POOL_BYTES / 4096 - 1);

/** Fields of one stage 1 region that is not ILLEGAL. */
const region = fc
  .record({ granuleBits: granule, size: fc.nat(40), page, wide: fc.boolean(), flags: fc.nat(255) })
  .map(({ granuleBits, size, page: basePage, wide, flags }) => {
    const most = wide ? 52 : 48;
    const least = granuleBits === 16 ? 17 : 16;
    return {
      base: baseOf(basePage),
      granuleBits,
      inputBits: Math.max(least, most - size),
      wide,
      topByteIgnored: (flags & 1) !== 0,
      hierarchyDisabled: (flags & 2) !== 0,
      unprivilegedForbidden: (flags & 0x1c) === 0x1c,
      disabled: (flags & 0xe0) === 0xe0,
    };
  });

const stage2 = fc
  .record({
    granuleBits: granule,
    size: fc.nat(24),
    SL0: fc.nat(3),
    SL2: fc.nat(1),
    page,
    wide: fc.boolean(),
    flags: fc.nat(3),
  })
  .map(({ granuleBits, size, SL0, SL2, page: basePage, wide, flags }) => {
    const inputBits = Math.max(granuleBits === 16 ? 17 : 16, (wide ? 52 : 48) - size);
    const wanted = stage2StartLevel(granuleBits, SL0, SL2, wide, true);
    const levels = [wanted ?? 3, 3, 2, 1, 0, -1];
    const startLevel = levels.find((level) => stage2StartFits(granuleBits, inputBits, level)) ?? 3;
    return {
      tables: { base: baseOf(basePage), granuleBits, inputBits, wide, startLevel },
      accessFlagFaultDisabled: (flags & 1) !== 0,
      S2PTW: (flags & 2) !== 0,
    };
  });

const outputBits = fc.constantFrom(32, 36, 40, 44, 48, 48, 52, 52);

const configuration = fc
  .record({
    world: fc.constantFrom(0, 1, 2),
    stages: fc.constantFrom(1, 2, 3, 3, 3),
    lower: region,
    upper: region,
    stage2,
    outputBits1: outputBits,
    outputBits2: outputBits,
    flags: fc.nat(31),
  })
  .map(({ world, stages, lower, upper, stage2: second, outputBits1, outputBits2, flags }) =>
    contextOf({
      world: (stages & 2) !== 0 ? 0 : (world as 0 | 1 | 2),
      stage1Enabled: (stages & 1) !== 0,
      stage2Enabled: (stages & 2) !== 0,
      vmid: 1,
      asid: 1,
      stage1: {
        lower,
        upper,
        outputBits: outputBits1,
        WXN: (flags & 1) !== 0,
        PAN: (flags & 2) !== 0,
        EPAN: (flags & 4) !== 0,
        accessFlagFaultDisabled: (flags & 8) !== 0,
        MAIR0: 0xbb44_04ff,
        MAIR1: 0x0f12_eef0,
      },
      stage2: { ...second, outputBits: outputBits2 },
    }),
  );

/** What an input is made of: low bits, what is above them, and anything at all. */
const input = fc.tuple(fc.bigInt(0n, 2n ** 52n - 1n), fc.nat(19), fc.bigInt(0n, 2n ** 64n - 1n));
type Input = readonly [low: bigint, kind: number, any: bigint];

/** Mostly an address in a range of `context`, sometimes one just outside, sometimes anything. */
function addressOf(context: TranslationContext, [low, kind, any]: Input): bigint {
  if (kind === 0) return any;
  const isUpper = context.stage1Enabled && kind % 3 === 0;
  const { stage1, stage2: second } = context;
  const { inputBits } = !context.stage1Enabled ? second.tables : isUpper ? stage1.upper : stage1.lower;
  const value = low & ((1n << BigInt(inputBits + (kind === 1 ? 1 : 0))) - 1n);
  return isUpper ? ((~0n << BigInt(inputBits)) | value) & 0xffff_ffff_ffff_ffffn : value;
}

const access = fc.nat(15).map((kind) =>
  accessOf({
    read: (kind & 3) !== 1,
    write: (kind & 3) === 1 || (kind & 3) === 2,
    instruction: (kind & 3) === 3,
    privileged: (kind & 4) !== 0,
  }),
);

function compare(
  memory: Memory,
  translator: Translator,
  context: TranslationContext,
  address: bigint,
  asked: Access,
): string {
  const read = (at: bigint) =>
    memory.contains(Number(at), 8)
      ? memory.readView(Number(at)).getBigUint64(Number(at % BigInt(CHUNK_BYTES)), true)
      : undefined;
  const expected = referenceTranslation(context, 52, true, address, asked, read);
  asked.page = pageOf(address);
  const outcome = new Outcome();
  for (const hit of [false, true]) {
    const event = translator.translate(context, asked, outcome);
    expect(eventName(event)).toBe(expected.event);
    if (expected.event === 'ok') {
      expect(BigInt(outcome.page) << 12n).toBe(expected.output & ~0xfffn);
      expect(outcome.permissions).toBe(expected.permissions);
      expect(BigInt(outcome.ipaPage) << 12n).toBe(expected.ipa & ~0xfffn);
      if (context.stage1Enabled || context.stage2Enabled) expect(outcome.hit).toBe(hit);
    } else {
      const { stage2: isStage2, faultClass, level } = outcome;
      const seen = { event: eventName(event), stage2: isStage2, faultClass };
      expect(seen).toEqual({ event: expected.event, stage2: expected.stage2, faultClass: expected.faultClass });
      if (!hit) expect(level).toBe(expected.level);
      if (expected.ipa !== undefined) expect(BigInt(outcome.ipaPage) << 12n).toBe(expected.ipa);
      if (expected.fetchAddress !== undefined) expect(BigInt(outcome.fetchAddress)).toBe(expected.fetchAddress);
    }
  }
  return expected.event;
}

describe('against the reference', () => {
  test.each([1, 2])('random tables, seed %i', (seed) => {
    const memory = poolOf(new Random(seed), 10);
    const seen = new Map<string, number>();
    const stagesOf = (context: TranslationContext) => (context.stage1Enabled ? 1 : 0) + (context.stage2Enabled ? 2 : 0);
    fc.assert(
      fc.property(configuration, input, access, (context, from, asked) => {
        const address = addressOf(context, from);
        // BBML 0: nT means nothing, and overlapping entries, which static tables cannot make, would show.
        const translator = new Translator({ memory, outputBits: 52, XNX: true, BBML: 0, tlbEntries: 64 });
        const event = compare(memory, translator, context, address, asked);
        const name = `${event} ${stagesOf(context)}`;
        seen.set(name, (seen.get(name) ?? 0) + 1);
      }),
      { numRuns: 2000, seed },
    );
    // The pool must lead to every kind of answer, or the comparison says little.
    for (const event of ['ok', 'F_TRANSLATION', 'F_ADDR_SIZE', 'F_ACCESS', 'F_PERMISSION', 'F_WALK_EABT']) {
      for (const stages of [1, 2, 3])
        expect(seen.get(`${event} ${stages}`) ?? 0, `${event} ${stages}`).toBeGreaterThan(3);
    }
  });

  test('one TLB for many accesses of one context answers as no TLB would', () => {
    const memory = poolOf(new Random(4), 5);
    fc.assert(
      fc.property(configuration, fc.array(fc.tuple(input, access), { maxLength: 40 }), (context, accesses) => {
        const translator = new Translator({ memory, outputBits: 52, XNX: true, BBML: 0, tlbEntries: 16 });
        const fresh = new Translator({ memory, outputBits: 52, XNX: true, BBML: 0, tlbEntries: 16 });
        const warm = new Outcome();
        const cold = new Outcome();
        for (const [from, asked] of accesses) {
          const address = addressOf(context, from);
          asked.page = pageOf(address);
          fresh.invalidateAll();
          const event = translator.translate(context, asked, warm);
          expect(event).toBe(fresh.translate(context, asked, cold));
          if (event === 0) {
            const { page: output, permissions, attributes, shareability } = warm;
            expect([output, permissions, attributes, shareability]).toEqual([
              cold.page,
              cold.permissions,
              cold.attributes,
              cold.shareability,
            ]);
          }
        }
      }),
      { numRuns: 300, seed: 4 },
    );
  });
});

describe('garbage', () => {
  /** Five levels of stage 1, each with five of stage 2 and itself, and five for the output. */
  const MOST_STEPS = 5 * 6 + 5;

  test('descriptors of noise end in an architected outcome after a bounded walk, with hardware update on', () => {
    const pools = Array.from({ length: 4 }, (_, seed) => poolOf(new Random(seed), 60));
    fc.assert(
      fc.property(
        fc.nat(),
        configuration,
        fc.array(fc.tuple(input, access, fc.nat(3)), { maxLength: 30 }),
        (seed, context, asks) => {
          const memory = pools[seed % pools.length] ?? poolOf(new Random(seed), 60);
          for (const stage of [context.stage1, context.stage2]) {
            stage.hardwareAccess = true;
            stage.hardwareDirty = true;
          }
          context.derive();
          const translator = new Translator({
            memory,
            outputBits: 52,
            XNX: false,
            BBML: (seed % 3) as 0 | 1 | 2,
            tlbEntries: 16,
          });
          const outcome = new Outcome();
          for (const [from, asked, purpose] of asks) {
            const address = addressOf(context, from);
            asked.page = pageOf(address);
            asked.purpose = Object.values(Purpose)[purpose] ?? Purpose.TRANSACTION;
            const event = translator.translate(context, asked, outcome);
            expect([
              'ok',
              'F_TRANSLATION',
              'F_ADDR_SIZE',
              'F_ACCESS',
              'F_PERMISSION',
              'F_WALK_EABT',
              'F_TLB_CONFLICT',
            ]).toContain(eventName(event));
            // An update of a descriptor that stage 2 changed meanwhile walks once more.
            expect(outcome.steps).toBeLessThanOrEqual(MOST_STEPS * 3);
            expect(Number.isSafeInteger(outcome.page) && outcome.page >= 0 && outcome.page < 2 ** 40).toBe(true);
          }
        },
      ),
      { numRuns: 300, seed: 5 },
    );
  });

  test('tables that point at themselves end at level 3', () => {
    const memory = new Memory(RAM, RAM_BYTES);
    for (const granuleBits of [12, 14, 16]) {
      const view = memory.writeView(RAM);
      for (let at = 0; at < CHUNK_BYTES; at += 8) view.setBigUint64(at, BigInt(RAM) | 0x4c3n | (0xfn << 2n), true);
      const startLevel = granuleBits === 16 ? 1 : granuleBits === 14 ? 1 : 0;
      const inputBits = granuleBits === 14 ? 47 : 48;
      const tables = { base: RAM, granuleBits, inputBits, startLevel };
      const context = contextOf({
        stage1Enabled: true,
        stage2Enabled: true,
        stage1: { lower: tables, upper: { disabled: true }, MAIR0: 0xff },
        stage2: { tables },
      });
      const translator = new Translator({ memory, outputBits: 48, XNX: true, BBML: 2, tlbEntries: 16 });
      const outcome = new Outcome();
      expect(eventName(translator.translate(context, accessOf({ page: 0x1_2345 }), outcome))).toBe('ok');
      expect(outcome.page & ~((1 << (granuleBits - 12)) - 1)).toBe(RAM / 4096);
    }
  });
});
