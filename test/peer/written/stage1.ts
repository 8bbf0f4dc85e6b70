/** Stage 1 translation: levels, blocks, invalid and reserved descriptors, sizes, permissions (§3.4, DDI 0487 §D8). */
import { IOVA, type ProgramBuilder, program } from '../builder.ts';
import { NOWHERE } from '../memory-map.ts';
import type { Fields, FieldsOf, Program } from '../program.ts';
import { GRANULES, type Granule, granuleName, levelShift, naturalStart, type Tables } from '../tables.ts';

/** Block levels of each granule without 52-bit addresses (DDI 0487 §D8.3.1). */
export const BLOCK_LEVELS: Readonly<Record<Granule, readonly number[]>> = { 12: [1, 2], 14: [2], 16: [2] };

interface Case {
  readonly tables: Tables;
  readonly target: number;
  readonly p: ProgramBuilder;
}

const stage1 = (
  name: string,
  fill: (c: Case) => void,
  options: { granule?: Granule; bits?: number; cd?: FieldsOf<'CD'>; iova?: bigint } = {},
): Program =>
  program(`stage 1: ${name}`, (p) => {
    const { granule = 12, bits = 48, cd = {}, iova = IOVA } = options;
    const tables = p.stage1(granule, bits);
    const target = p.memory(2 ** granule);
    fill({ tables, target, p });
    p.throughStage1(tables, cd);
    p.enable().dma(iova, target);
  });

const leaf = (name: string, fields: Fields, cd: FieldsOf<'CD'> = {}): Program =>
  stage1(name, ({ tables, target }) => tables.map(IOVA, target, fields), { cd });

export const stage1Cases: readonly Program[] = [
  ...GRANULES.flatMap((granule) =>
    [25, 31, 36, 39, 42, 47, 48].map((bits) =>
      stage1(
        `${granuleName(granule)} page, ${bits} bits, walk from level ${naturalStart(granule, bits)}`,
        ({ tables, target }) => tables.map((1n << BigInt(bits - 1)) + 0x1_0000n, target),
        { granule, bits, iova: (1n << BigInt(bits - 1)) + 0x1_0000n },
      ),
    ),
  ),
  ...GRANULES.flatMap((granule) =>
    [0, 1, 2].flatMap((level) => {
      if (level < naturalStart(granule, 48)) return [];
      const legal = BLOCK_LEVELS[granule].includes(level);
      const size = 2 ** levelShift(granule, level);
      const name = `${granuleName(granule)} block at level ${level}${legal ? '' : ', reserved there'}`;
      return [
        program(`stage 1: ${name}`, (p) => {
          const tables = p.stage1(granule);
          const target = p.memory();
          const base = Math.floor(target / size) * size;
          const iova = (IOVA / BigInt(size)) * BigInt(size);
          tables.map(iova, base, {}, level);
          p.throughStage1(tables);
          p.enable()
            .dma(iova + BigInt(target - base), target)
            .dma(iova + BigInt(target - base) + 0xff8n, target + 0xff8);
        }),
      ];
    }),
  ),
  ...[0, 1, 2, 3].map((level) =>
    stage1(`unmapped at level ${level}`, ({ tables, p }) => p.word(tables.descriptor(IOVA, level), 0n)),
  ),
  ...[0, 1, 2].map((level) =>
    stage1(`level ${level} descriptor with only bit 1`, ({ tables, p }) =>
      p.word(tables.descriptor(IOVA, level), 0x4130_0002n),
    ),
  ),
  leaf('page with only bit 0, reserved at level 3', { PAGE: 0 }),
  leaf('AF=0', { AF: 0 }),
  leaf('AF=0 with AFFD', { AF: 0 }, { AFFD: 1 }),
  leaf('AF=0 in a read-only page', { AF: 0, AP: 3 }),
  ...[0, 1, 2, 3].map((AP) => leaf(`AP ${AP}, unprivileged write`, { AP })),
  ...[0, 1, 2, 3].map((APTable) =>
    stage1(`APTable ${APTable} at level 1`, ({ tables, target, p }) => {
      tables.map(IOVA, target);
      const at = tables.descriptor(IOVA, 1);
      const next = tables.descriptor(IOVA, 2);
      p.put('TableDescriptor', at, { VALID: 1, TABLE: 1, NEXT: Math.floor(next / 4096), APTable });
    }),
  ),
  ...[0, 1].map((HAD0) =>
    stage1(
      `APTable read-only at level 2, HAD0 ${HAD0}`,
      ({ tables, target }) => tables.map(IOVA, target, {}, 3, { APTable: 2 }),
      { cd: { HAD0 } },
    ),
  ),
  ...(
    [
      ['AF=0', { AF: 0 }],
      ['an unmapped page', { VALID: 0 }],
      ['an output beyond OAS', { OUTPUT: 2 ** 45 / 4096 }],
    ] as const
  ).map(([name, fields]) =>
    stage1(`APTable read-only above ${name}`, ({ tables, target }) =>
      tables.map(IOVA, target, fields, 3, { APTable: 2 }),
    ),
  ),
  leaf('execute never', { UXN: 1, PXN: 1 }),
  leaf('not global', { nG: 1 }),
  leaf('contiguous bit in one page', { Contiguous: 1 }),
  leaf('software bits', { SW: 15 }),
  leaf('NS bit', { NS: 1 }),
  leaf('DBM without HTTU, read-only', { DBM: 1, AP: 3 }),
  leaf('output beyond IPS', { OUTPUT: 2 ** 33 / 4096 }, { IPS: 0 }),
  leaf('output beyond OAS', { OUTPUT: 2 ** 45 / 4096 }, { IPS: 5 }),
  leaf('output beyond OAS and AF=0', { OUTPUT: 2 ** 45 / 4096, AF: 0 }, { IPS: 5 }),
  leaf('output beyond OAS and read-only', { OUTPUT: 2 ** 45 / 4096, AP: 3 }, { IPS: 5 }),
  leaf('output beyond OAS and invalid', { OUTPUT: 2 ** 45 / 4096, VALID: 0 }, { IPS: 5 }),
  leaf('AF=0 and read-only', { AF: 0, AP: 3 }),
  leaf('output nowhere', { OUTPUT: NOWHERE / 4096 }),
  leaf('R=0 keeps a translation fault silent', { VALID: 0 }, { R: 0 }),
  leaf('R=0 keeps a permission fault silent', { AP: 3 }, { R: 0 }),
  leaf('R=0 keeps an access flag fault silent', { AF: 0 }, { R: 0 }),
  leaf('R=0 keeps an address size fault silent', { OUTPUT: 2 ** 33 / 4096 }, { IPS: 0, R: 0 }),
  ...[0, 1, 2].map((level) =>
    stage1(
      `table beyond IPS, found at level ${level}`,
      ({ tables, p }) => {
        p.word(tables.descriptor(IOVA, level), BigInt(2 ** 33) | 3n);
      },
      { cd: { IPS: 0 } },
    ),
  ),
  ...[0, 1, 2].map((level) =>
    stage1(`table nowhere, found at level ${level}`, ({ tables, p }) => {
      p.word(tables.descriptor(IOVA, level), BigInt(NOWHERE) | 3n);
    }),
  ),
  stage1('table nowhere, R=0', ({ tables, p }) => p.word(tables.descriptor(IOVA, 1), BigInt(NOWHERE) | 3n), {
    cd: { R: 0 },
  }),
  ...GRANULES.map((granule) =>
    program(`stage 1: ${granuleName(granule)}, neighbours stay unmapped`, (p) => {
      const tables = p.stage1(granule);
      const target = p.memory(2 ** granule);
      const size = BigInt(2 ** granule);
      const iova = (IOVA / size) * size;
      tables.map(iova, target);
      p.throughStage1(tables);
      p.enable()
        .dma(iova, target)
        .dma(iova + size - 8n, target + 2 ** granule - 8)
        .dma(iova + size, target)
        .dma(iova - 8n, target);
    }),
  ),
  ...[1, 4, 64, 4096].map((length) =>
    program(`stage 1: ${length} bytes within a page`, (p) => {
      const tables = p.stage1();
      const target = p.memory();
      tables.map(IOVA, target);
      p.throughStage1(tables);
      p.enable().dma(IOVA, target, { length });
    }),
  ),
  program('stage 1: 16 KiB over four pages next to each other', (p) => {
    const tables = p.stage1();
    const target = p.memory(0x4000);
    for (let page = 0; page < 4; page++) tables.map(IOVA + BigInt(page * 4096), target + page * 4096);
    p.throughStage1(tables);
    p.enable().dma(IOVA, target, { length: 0x4000 });
  }),
  program('stage 1: two faults in a row', (p) => {
    const tables = p.stage1();
    p.throughStage1(tables);
    p.enable().dma(IOVA, p.memory()).dma(IOVA, p.memory());
  }),
  ...GRANULES.map((granule) =>
    program(`stage 1: ${granuleName(granule)} contiguous run`, (p) => {
      const tables = p.stage1(granule);
      const count = { 12: 16, 14: 128, 16: 32 }[granule];
      const size = 2 ** granule;
      const target = p.memory(size * count);
      const iova = (IOVA / BigInt(size * count)) * BigInt(size * count);
      for (let page = 0; page < count; page++)
        tables.map(iova + BigInt(page * size), target + page * size, { Contiguous: 1 });
      p.throughStage1(tables);
      p.enable()
        .dma(iova, target)
        .dma(iova + BigInt(size * (count - 1)), target + size * (count - 1))
        .dma(iova + BigInt(size), target + size);
    }),
  ),
  ...(
    [
      ['reads what may be read', { AP: 3 }, 'from-memory'],
      ['may not write what may only be read', { AP: 3 }, 'to-memory'],
      ['reads nothing that only privileged may', { AP: 0 }, 'from-memory'],
      ['writes what may be written', { AP: 1 }, 'to-memory'],
      ['faults on a read of an unmapped page', { VALID: 0 }, 'from-memory'],
      ['faults on a read with AF=0', { AF: 0 }, 'from-memory'],
    ] as const
  ).map(([name, fields, direction]) =>
    program(`stage 1: edu ${name}`, (p) => {
      const tables = p.stage1();
      const page = p.memory();
      const out = p.memory();
      tables.map(IOVA, page, fields);
      tables.map(IOVA + 0x1000n, out);
      p.throughStage1(tables, {}, {}, 0x18);
      p.word(page, 0x0123_4567_89ab_cdefn).word(out, 0x1111n);
      p.enable().readDma(IOVA + 0x1000n);
      p.add({ op: 'transfer', direction, iova: IOVA, length: 4 });
      p.writeDma(IOVA + 0x1000n)
        .look(page)
        .look(out);
    }),
  ),
];
