/** Stage 2 alone: sizes, start levels, concatenated tables, permissions, faults (§3.4, §5.2, DDI 0487 §D8). */
import { type ProgramBuilder, program } from '../builder.ts';
import { NOWHERE } from '../memory-map.ts';
import type { Fields, FieldsOf, Program } from '../program.ts';
import { GRANULES, type Granule, granuleName, levelShift, type Tables } from '../tables.ts';
import { BLOCK_LEVELS } from './stage1.ts';

const IPA = 0x6_4567_8000n;

interface Case {
  readonly tables: Tables;
  readonly target: number;
  readonly p: ProgramBuilder;
}

const stage2 = (
  name: string,
  fill: (c: Case) => void,
  options: { granule?: Granule; bits?: number; start?: number; ste?: FieldsOf<'STE'>; ipa?: bigint } = {},
): Program =>
  program(`stage 2: ${name}`, (p) => {
    const { granule = 12, bits = 44, start, ste = {}, ipa = IPA } = options;
    const tables = p.stage2(granule, bits, start);
    const target = p.memory(2 ** granule);
    fill({ tables, target, p });
    p.throughStage2(tables, ste);
    p.enable().dma(ipa, target);
  });

const leaf = (name: string, fields: Fields, ste: FieldsOf<'STE'> = {}): Program =>
  stage2(name, ({ tables, target }) => tables.map(IPA, target, fields), { ste });

const page = ({ tables, target }: Case): unknown => tables.map(IPA, target);

/** Every start level that the granule allows for `bits`, with up to 16 tables side by side. */
function starts(granule: Granule, bits: number): number[] {
  return [0, 1, 2, 3].filter((level) => {
    const above = bits - levelShift(granule, level);
    return (
      above > 0 && above <= granule - 3 + 4 && !(granule === 12 && level === 3) && !(granule !== 12 && level === 0)
    );
  });
}

export const stage2Cases: readonly Program[] = [
  ...GRANULES.flatMap((granule) =>
    [32, 36, 40, 42, 44].flatMap((bits) =>
      starts(granule, bits).map((start) =>
        stage2(
          `${granuleName(granule)}, ${bits} bits from level ${start}`,
          ({ tables, target }) => tables.map((1n << BigInt(bits - 1)) + 0x1_0000n, target),
          { granule, bits, start, ipa: (1n << BigInt(bits - 1)) + 0x1_0000n },
        ),
      ),
    ),
  ),
  ...GRANULES.flatMap((granule) =>
    BLOCK_LEVELS[granule].map((level) =>
      program(`stage 2: ${granuleName(granule)} block at level ${level}`, (p) => {
        const size = 2 ** levelShift(granule, level);
        const tables = p.stage2(granule);
        const target = p.memory();
        const base = Math.floor(target / size) * size;
        const ipa = (IPA / BigInt(size)) * BigInt(size);
        tables.map(ipa, base, {}, level);
        p.throughStage2(tables);
        p.enable().dma(ipa + BigInt(target - base), target);
      }),
    ),
  ),
  ...[0, 1, 2, 3].map((level) =>
    stage2(`unmapped at level ${level}`, ({ tables, p }) => p.word(tables.descriptor(IPA, level), 0n)),
  ),
  ...[0, 1, 2].map((level) =>
    stage2(`table nowhere, found at level ${level}`, ({ tables, p }) =>
      p.word(tables.descriptor(IPA, level), BigInt(NOWHERE) | 3n),
    ),
  ),
  leaf('page with only bit 0', { PAGE: 0 }),
  leaf('AF=0', { AF: 0 }),
  leaf('AF=0 with S2AFFD', { AF: 0 }, { S2AFFD: 1 }),
  ...[0, 1, 2, 3].map((S2AP) => leaf(`S2AP ${S2AP}`, { S2AP })),
  ...[0, 1, 2, 3].map((XN) => leaf(`XN ${XN}`, { XN })),
  leaf('contiguous bit', { Contiguous: 1 }),
  leaf('output beyond S2PS', { OUTPUT: 2 ** 33 / 4096 }, { S2PS: 0 }),
  leaf('output beyond OAS', { OUTPUT: 2 ** 45 / 4096 }, { S2PS: 5 }),
  leaf('output beyond OAS and AF=0', { OUTPUT: 2 ** 45 / 4096, AF: 0 }),
  leaf('output beyond OAS and not writable', { OUTPUT: 2 ** 45 / 4096, S2AP: 1 }),
  leaf('AF=0 and not writable', { AF: 0, S2AP: 1 }),
  stage2('unmapped, in the middle of a page', ({ tables, p }) => p.word(tables.descriptor(IPA, 3), 0n), {
    ipa: IPA + 0x4b8n,
  }),
  leaf('output nowhere', { OUTPUT: NOWHERE / 4096 }),
  leaf('S2R=0 keeps a translation fault silent', { VALID: 0 }, { S2R: 0 }),
  leaf('S2R=0 keeps a permission fault silent', { S2AP: 1 }, { S2R: 0 }),
  leaf('S2R=0 keeps an access flag fault silent', { AF: 0 }, { S2R: 0 }),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((S2PS) => leaf(`S2PS ${S2PS}`, {}, { S2PS })),
  leaf('S2AA64=0', {}, { S2AA64: 0 }),
  leaf('S2ENDI=1', {}, { S2ENDI: 1 }),
  leaf('S2S=1 without the stall model', {}, { S2S: 1 }),
  leaf('S2HA without HTTU', {}, { S2HA: 1 }),
  leaf('S2HD without HTTU', {}, { S2HD: 1 }),
  leaf('S2TG reserved', {}, { S2TG: 3 }),
  leaf('S2SL0 reserved', {}, { S2SL0: 3 }),
  leaf('S2PTW', {}, { S2PTW: 1 }),
  leaf('S2VMID 0xffff', {}, { S2VMID: 0xffff }),
  leaf('stage 1 fields of the STE do not matter', {}, { S1ContextPtr: 2 ** 49, S1CDMax: 31, S1Fmt: 3, S1STALLD: 1 }),
  ...[0, 8, 15, 16, 19, 20, 21, 24, 25, 32, 33, 39, 40, 63].map((S2T0SZ) =>
    stage2(`S2T0SZ ${S2T0SZ} with a walk from level 1 of 40 bits`, page, { bits: 40, start: 1, ste: { S2T0SZ } }),
  ),
  ...[
    [12, 0, 40],
    [12, 1, 30],
    [12, 2, 34],
    [14, 1, 48],
    [14, 2, 24],
    [16, 1, 47],
    [16, 2, 48],
    [16, 3, 44],
  ].map(([granule, start, bits]) =>
    program(`stage 2: start level ${start} with ${bits} bits, ${2 ** ((granule ?? 12) - 10)} KiB`, (p) => {
      const tables = p.stage2(12, 40, 1);
      p.throughStage2(tables, {
        S2T0SZ: 64 - (bits ?? 0),
        S2TG: { 12: 0, 14: 2, 16: 1 }[granule ?? 12] ?? 0,
        S2SL0: (granule === 12 ? 2 : 3) - (start ?? 0),
      });
      p.enable().dma(IPA, p.memory());
    }),
  ),
  ...[32, 36, 40, 44].flatMap((bits) =>
    [-1n, 0n].map((above) =>
      program(`stage 2: ${bits} bits, ${above < 0n ? 'last address inside' : 'first address outside'}`, (p) => {
        const edge = 1n << BigInt(bits);
        const tables = p.stage2(12, bits);
        const target = p.memory();
        tables.map(edge - 0x1000n, target);
        p.throughStage2(tables);
        p.enable().dma(above < 0n ? edge - 0x1000n : edge, target);
      }),
    ),
  ),
  leaf('S2TTB beyond OAS', {}, { S2TTB: 2 ** 46 / 16 }),
  leaf('S2TTB nowhere', {}, { S2TTB: NOWHERE / 16 }),
  program('stage 2: S2TTB off the alignment of its tables', (p) => {
    const tables = p.stage2(12, 42, 1);
    const target = p.memory();
    tables.map(IPA, target);
    p.throughStage2(tables, { S2TTB: (tables.root + 0x1000) / 16 });
    p.enable().dma(IPA, target);
  }),
  program('stage 2: edu writes after a read, S2AP 1', (p) => {
    const tables = p.stage2();
    const target = p.memory();
    tables.map(IPA, target, { S2AP: 1 });
    p.throughStage2(tables, {}, 0x18);
    p.word(target, 0x1111n);
    p.enable().readDma(IPA).writeDma(IPA).look(target);
  }),
  program('stage 2: none, edu writes after a read, AP 3', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(IPA, target, { AP: 3 });
    p.throughStage1(tables, {}, {}, 0x18);
    p.word(target, 0x1111n);
    p.enable().readDma(IPA).writeDma(IPA).look(target);
  }),
  program('stage 2: edu reads after a write, S2AP 2', (p) => {
    const tables = p.stage2();
    tables.map(IPA, p.memory(), { S2AP: 2 });
    p.throughStage2(tables, {}, 0x18);
    p.enable().writeDma(IPA).readDma(IPA);
  }),
  ...(['from-memory', 'to-memory'] as const).flatMap((direction) =>
    [0, 1, 2, 3].map((S2AP) =>
      program(`stage 2: edu ${direction}, S2AP ${S2AP}`, (p) => {
        const tables = p.stage2();
        const source = p.memory();
        const out = p.memory();
        tables.map(IPA, source, { S2AP });
        tables.map(IPA + 0x1000n, out);
        p.throughStage2(tables, {}, 0x18);
        p.word(source, 0x0123_4567_89ab_cdefn).word(out, 0x1111n);
        p.enable().readDma(IPA + 0x1000n);
        p.add({ op: 'transfer', direction, iova: IPA, length: 4 });
        p.writeDma(IPA + 0x1000n)
          .look(source)
          .look(out);
      }),
    ),
  ),
];
