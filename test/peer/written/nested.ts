/** Both stages: faults of either, of the walk's own accesses and of the CD fetch, with CLASS and IPA (§3.3.2, §7.3). */
import { IOVA, type ProgramBuilder, program } from '../builder.ts';
import { NOWHERE, POOL_BASE } from '../memory-map.ts';
import type { Fields, FieldsOf, Program } from '../program.ts';
import { GRANULES, type Granule, granuleName, type Tables } from '../tables.ts';

/** Where stage 1 says the target is; stage 2 maps it to the target. */
const IPA = 0x1_2345_0000n;
const BLOCK = 2n ** 21n;

interface Case {
  readonly p: ProgramBuilder;
  readonly first: Tables;
  readonly second: Tables;
  readonly cd: number;
  readonly target: number;
}

/** Stage 2 maps the pool to itself, page by page where a case needs one of its own. */
function identity(second: Tables): void {
  const start = (BigInt(POOL_BASE) / BLOCK) * BLOCK;
  for (let block = 0n; block < 5n; block++) second.map(start + block * BLOCK, Number(start + block * BLOCK), {}, 2);
}

interface Options {
  readonly granule?: Granule;
  readonly cd?: FieldsOf<'CD'>;
  readonly ste?: FieldsOf<'STE'>;
  /** Leaf of stage 1 and stage 2 for the target. */
  readonly leaf1?: Fields;
  readonly leaf2?: Fields;
}

const nested = (name: string, options: Options = {}, fill: (c: Case) => void = () => {}, offset = 0): Program =>
  program(`nested: ${name}`, (p) => {
    const second = p.stage2(12, 44);
    identity(second);
    const first = p.stage1(options.granule ?? 12);
    const target = p.memory();
    first.map(IOVA & ~0xffffn, Number(IPA), options.leaf1);
    second.map(IPA, target, options.leaf2);
    const cd = p.memory();
    p.throughBoth(first, second, options.cd, options.ste, 8, cd);
    fill({ p, first, second, cd, target });
    p.enable().dma((IOVA & ~0xffffn) + BigInt(offset), target + offset);
  });

/** Remaps the page of the pool at `address` so that stage 2 has a descriptor of its own for it. */
const remap = ({ p, second }: Case, address: number, fields: Fields): void => {
  const start = (BigInt(address) / BLOCK) * BLOCK;
  const table = p.memory();
  for (let page = 0; page < 512; page++) {
    const ipa = Number(start) + page * 4096;
    const own = ipa === Math.floor(address / 4096) * 4096;
    p.put('Stage2Leaf', table + page * 8, {
      ...{ VALID: 1, PAGE: 1, AF: 1, MemAttr: 15, S2AP: 3, OUTPUT: ipa / 4096 },
      ...(own ? fields : {}),
    });
  }
  p.put('TableDescriptor', second.descriptor(start, 2), { VALID: 1, TABLE: 1, NEXT: table / 4096 });
};

const faults: readonly [string, Fields][] = [
  ['unmapped', { VALID: 0 }],
  ['AF=0', { AF: 0 }],
  ['not readable', { S2AP: 2 }],
  ['neither readable nor writable', { S2AP: 0 }],
  ['beyond S2PS', { OUTPUT: 2 ** 45 / 4096 }],
  ['nowhere', { OUTPUT: NOWHERE / 4096 }],
];

export const nestedCases: readonly Program[] = [
  nested('page in page'),
  ...GRANULES.map((granule) => nested(`stage 1 of ${granuleName(granule)} in stage 2 of 4 KiB`, { granule })),
  nested('stage 1 unmapped', { leaf1: { VALID: 0 } }),
  nested('stage 1 AF=0', { leaf1: { AF: 0 } }),
  nested('stage 1 read-only', { leaf1: { AP: 3 } }),
  nested('stage 1 output beyond IPS', { leaf1: { OUTPUT: 2 ** 33 / 4096 }, cd: { IPS: 0 } }),
  nested('stage 1 output beyond the stage 2 input', { leaf1: { OUTPUT: 2 ** 43 / 4096 }, ste: { S2T0SZ: 24 } }),
  ...faults.map(([name, leaf2]) => nested(`target ${name} at stage 2`, { leaf2 })),
  nested('unmapped, in the middle of a page', { leaf2: { VALID: 0 } }, () => {}, 0x4b8),
  nested('in the middle of a page', {}, () => {}, 0x4b8),
  nested('target not writable at stage 2', { leaf2: { S2AP: 1 } }),
  nested('both stages forbid: stage 1 speaks', { leaf1: { AP: 3 }, leaf2: { S2AP: 1 } }),
  nested('stage 1 AF=0 and stage 2 unmapped: stage 1 speaks', { leaf1: { AF: 0 }, leaf2: { VALID: 0 } }),
  nested('R=0, S2R=1: stage 1 fault', { leaf1: { VALID: 0 }, cd: { R: 0 } }),
  nested('R=0, S2R=1: stage 2 fault', { leaf2: { VALID: 0 }, cd: { R: 0 } }),
  nested('R=1, S2R=0: stage 1 fault', { leaf1: { VALID: 0 }, ste: { S2R: 0 } }),
  nested('R=1, S2R=0: stage 2 fault', { leaf2: { VALID: 0 }, ste: { S2R: 0 } }),
  ...[1, 2, 3].flatMap((level) =>
    faults.map(([name, fields]) =>
      nested(`stage 1 table of level ${level} ${name} at stage 2`, {}, (c) =>
        remap(c, c.first.descriptor(IOVA & ~0xffffn, level), fields),
      ),
    ),
  ),
  ...faults.map(([name, fields]) =>
    nested(`first stage 1 table ${name} at stage 2`, {}, (c) => remap(c, c.first.root, fields)),
  ),
  ...faults.map(([name, fields]) => nested(`CD ${name} at stage 2`, {}, (c) => remap(c, c.cd, fields))),
  ...faults.map(([name, fields]) =>
    nested(`CD ${name} at stage 2, S2R=0`, { ste: { S2R: 0 } }, (c) => remap(c, c.cd, fields)),
  ),
  program('nested: stage 1 table of 64 KiB unmapped at stage 2, an entry in its middle', (p) => {
    const second = p.stage2(12, 44);
    identity(second);
    const first = p.stage1(16, 42);
    p.throughBoth(first, second);
    // The second level table has an IPA that stage 2 does not map.
    p.word(first.descriptor(0n, 2), 0x1_0001_0003n);
    p.enable().dma(0x401_0000n, p.memory());
  }),
  nested('stage 1 table of level 2 unmapped at stage 2, S2R=0', { ste: { S2R: 0 } }, (c) =>
    remap(c, c.first.descriptor(IOVA & ~0xffffn, 2), { VALID: 0 }),
  ),
  nested('CD read-only at stage 2', {}, (c) => remap(c, c.cd, { S2AP: 1 })),
  ...[1, 2, 3].map((level) =>
    nested(`stage 1 table of level ${level} read-only at stage 2`, {}, (c) =>
      remap(c, c.first.descriptor(IOVA & ~0xffffn, level), { S2AP: 1 }),
    ),
  ),
  ...[0, 1].map((S2PTW) =>
    nested(`stage 1 tables in device memory at stage 2, S2PTW ${S2PTW}`, { ste: { S2PTW } }, (c) =>
      remap(c, c.first.root, { MemAttr: 0 }),
    ),
  ),
  nested('CD with V=0', { cd: { V: 0 } }),
  nested('CD with A=0', { cd: { A: 0 } }),
  nested('CD moved by stage 2', {}, (c) => {
    const elsewhere = c.p.memory();
    remap(c, c.cd, { OUTPUT: elsewhere / 4096 });
    const words = Math.floor(c.cd % 4096);
    c.p.put('CD', elsewhere + words, {
      ...{ V: 1, AA64: 1, A: 1, R: 1, IPS: 4, EPD1: 1, T0SZ: 16, TTB0: c.first.root / 16, ASID: 0x77 },
    });
    c.p.put('CD', c.cd, {});
  }),
  nested('TTB0 beyond the stage 2 input size', { cd: { TTB0: 2 ** 43 / 16 }, ste: { S2T0SZ: 24 } }),
  nested('S2AA64=0', { ste: { S2AA64: 0 } }),
  nested('S2TG reserved', { ste: { S2TG: 3 } }),
  nested('EPD0=1', { cd: { EPD0: 1 } }),
  program('nested: block of stage 1 over pages of stage 2', (p) => {
    const second = p.stage2(12, 44);
    identity(second);
    const first = p.stage1();
    const target = p.memory();
    const base = 0x1_4000_0000n;
    const iova = IOVA & ~0x1fffffn;
    first.map(iova, Number(base), {}, 2);
    second.map(base, target);
    second.map(base + 0x1000n, target);
    p.throughBoth(first, second);
    p.enable()
      .dma(iova, target)
      .dma(iova + 0x1000n, target)
      .dma(iova + 0x2000n, target);
  }),
];
