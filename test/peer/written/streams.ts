/** Stream table: look-up, shapes, STE.V and Config, unreadable tables (§3.3.1, §5.1, §5.2, §7.3). */
import { contextFields, type ProgramBuilder, program } from '../builder.ts';
import { NOWHERE, STREAM_TABLE } from '../memory-map.ts';
import type { FieldsOf, Program } from '../program.ts';

/** STE of `sid` in a two-level table; `span` as L1STD has it. Gives the address of the level 1 descriptor. */
export function twoLevel(
  p: ProgramBuilder,
  sid: number,
  ste: FieldsOf<'STE'>,
  options: { split: number; span?: number; l2?: number },
): number {
  const { split, span = split + 1 } = options;
  const l1 = STREAM_TABLE + Math.floor(sid / 2 ** split) * 8;
  const l2 = options.l2 ?? p.memory(2 ** split * 64);
  p.put('L1STD', l1, { Span: span, L2Ptr: l2 / 64 });
  if (options.l2 === undefined) p.put('STE', l2 + (sid % 2 ** split) * 64, { V: 1, ...ste });
  return l1;
}

const BYPASS: FieldsOf<'STE'> = { Config: 4, SHCFG: 1 };

/** A DMA from both devices through an STE table that holds both streams. */
const both = (p: ProgramBuilder): void => {
  const target = p.memory();
  p.dma(BigInt(target), target).dma(BigInt(target), target, { device: 1 });
};

export const streams: readonly Program[] = [
  ...[0, 1, 2, 3].map((Config) =>
    program(`streams: Config ${Config} aborts without an event`, (p) => {
      p.stream(8, { Config }).enable();
      both(p);
    }),
  ),
  program('streams: Config 4 bypasses', (p) => {
    p.stream(8, BYPASS).stream(0xf5, BYPASS).enable();
    both(p);
  }),
  program('streams: V=0', (p) => {
    p.stream(8, { V: 0, Config: 4 }).enable();
    both(p);
  }),
  ...[5, 6, 7].map((Config) =>
    program(`streams: V=0 with Config ${Config}`, (p) => {
      p.stream(8, { V: 0, Config }).enable();
      both(p);
    }),
  ),
  ...[0, 3, 4, 7, 8].map((streams) =>
    program(`streams: linear table of 2^${streams} streams`, (p) => {
      p.stream(8, BYPASS).stream(0xf5, BYPASS).enable({ streams });
      both(p);
    }),
  ),
  ...[0, 2].map((CR2) =>
    program(`streams: StreamID beyond the table, CR2 ${CR2}`, (p) => {
      p.stream(8, BYPASS).enable({ streams: 5, CR2 });
      both(p);
    }),
  ),
  ...[6, 8, 10].map((split) =>
    program(`streams: two-level table, split ${split}`, (p) => {
      twoLevel(p, 8, BYPASS, { split });
      if (split === 6) twoLevel(p, 0xf5, BYPASS, { split });
      p.enable({ split, streams: 12 });
      both(p);
    }),
  ),
  program('streams: two-level table, Span 0', (p) => {
    twoLevel(p, 8, BYPASS, { split: 6, span: 0 });
    p.enable({ split: 6 });
    both(p);
  }),
  ...[3, 4, 5].map((span) =>
    program(`streams: two-level table, Span ${span} for index 8 (2^${span - 1} entries)`, (p) => {
      twoLevel(p, 8, BYPASS, { split: 6, span });
      p.enable({ split: 6 });
      both(p);
    }),
  ),
  program('streams: two-level table, Span beyond the split', (p) => {
    twoLevel(p, 8, BYPASS, { split: 6, span: 9 });
    p.enable({ split: 6 });
    both(p);
  }),
  program('streams: two-level table, StreamID beyond it', (p) => {
    twoLevel(p, 8, BYPASS, { split: 6 });
    p.enable({ split: 6, streams: 6 });
    both(p);
  }),
  program('streams: two-level table smaller than its split', (p) => {
    twoLevel(p, 8, BYPASS, { split: 8 });
    p.enable({ split: 8, streams: 5 });
    both(p);
  }),
  program('streams: level 2 table nowhere', (p) => {
    twoLevel(p, 8, BYPASS, { split: 6, l2: NOWHERE });
    p.enable({ split: 6 });
    both(p);
  }),
  program('streams: linear table nowhere', (p) => {
    p.enable({ CR0: { SMMUEN: 0 } })
      .set('STRTAB_BASE', NOWHERE)
      .set('CR0', 0xd);
    both(p);
  }),
  program('streams: level 1 table nowhere', (p) => {
    p.enable({ split: 6, CR0: { SMMUEN: 0 } })
      .set('STRTAB_BASE', NOWHERE)
      .set('CR0', 0xd);
    both(p);
  }),
  ...[0x40, 0x1000, 0x2fc0].map((offset) =>
    program(`streams: linear table base off its alignment by 0x${offset.toString(16)}`, (p) => {
      p.stream(8, BYPASS)
        .enable({ CR0: { SMMUEN: 0 } })
        .set('STRTAB_BASE', STREAM_TABLE + offset)
        .set('CR0', 0xd);
      both(p);
    }),
  ),
  program('streams: level 1 table base off its alignment', (p) => {
    twoLevel(p, 8, BYPASS, { split: 6 });
    p.enable({ split: 6, streams: 16, CR0: { SMMUEN: 0 } })
      .set('STRTAB_BASE', STREAM_TABLE + 0x1040)
      .set('CR0', 0xd);
    both(p);
  }),
  program('streams: STE bits that software may use', (p) => {
    p.stream(8, { ...BYPASS, SW_RESERVED: 15 }).enable();
    both(p);
  }),
  ...(
    [
      ['CONT', { CONT: 4 }],
      ['MEV', { MEV: 1 }],
      ['SHCFG incoming', { SHCFG: 1 }],
      ['MTCFG and MemAttr', { MTCFG: 1, MemAttr: 15 }],
      ['ALLOCCFG', { ALLOCCFG: 15 }],
      ['PRIVCFG', { PRIVCFG: 3 }],
      ['INSTCFG', { INSTCFG: 2 }],
      ['EATS without ATS', { EATS: 1 }],
      ['DCP', { DCP: 1 }],
      ['DRE', { DRE: 1 }],
    ] as [string, FieldsOf<'STE'>][]
  ).map(([name, fields]) =>
    program(`streams: bypass with ${name}`, (p) => {
      p.stream(8, { ...BYPASS, ...fields }).enable();
      both(p);
    }),
  ),
  program('streams: S1CDMax with SSIDSIZE 0', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(0x1000n, target);
    p.throughStage1(tables, {}, { S1CDMax: 1 });
    p.enable().dma(0x1000n, target);
  }),
  program('streams: S1STALLD without the stall model', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(0x1000n, target);
    p.throughStage1(tables, {}, { S1STALLD: 1 });
    p.enable().dma(0x1000n, target);
  }),
  ...[1, 2, 3].map((S1DSS) =>
    program(`streams: S1DSS ${S1DSS} with one CD`, (p) => {
      const tables = p.stage1();
      const target = p.memory();
      tables.map(0x1000n, target);
      p.throughStage1(tables, {}, { S1DSS });
      p.enable().dma(0x1000n, target);
    }),
  ),
  ...[1, 2, 3].map((STRW) =>
    program(`streams: STRW ${STRW} without Hyp`, (p) => {
      const tables = p.stage1();
      const target = p.memory();
      tables.map(0x1000n, target);
      p.throughStage1(tables, {}, { STRW });
      p.enable().dma(0x1000n, target);
    }),
  ),
  program('streams: context pointer nowhere', (p) => {
    p.stream(8, { Config: 5, S1ContextPtr: NOWHERE / 64 })
      .enable()
      .dma(0x1000n, p.memory());
  }),
  program('streams: context pointer beyond the output size', (p) => {
    p.stream(8, { Config: 5, S1ContextPtr: 2 ** 46 / 64 })
      .enable()
      .dma(0x1000n, p.memory());
  }),
  program('streams: two streams with one CD', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(0x1000n, target);
    const cd = p.context(tables);
    for (const sid of [8, 0xf5]) p.stream(sid, { Config: 5, S1ContextPtr: cd / 64 });
    p.enable().dma(0x1000n, target).dma(0x1000n, target, { device: 1 });
  }),
  program('streams: two streams, two address spaces, one address', (p) => {
    for (const [device, sid] of [8, 0xf5].entries()) {
      const tables = p.stage1();
      tables.map(0x1000n, p.memory());
      const cd = p.memory();
      p.put('CD', cd, { ...contextFields(tables), ASID: 100 + device });
      p.stream(sid, { Config: 5, S1ContextPtr: cd / 64 });
    }
    p.enable();
    const pages = [0, 1].map(() => p.memory());
    for (const [device, page] of pages.entries()) p.dma(0x1000n, page, { device });
  }),
  program('streams: two streams with one ASID share a translation until it is invalidated', (p) => {
    for (const sid of [8, 0xf5]) {
      const tables = p.stage1();
      tables.map(0x1000n, p.memory());
      p.throughStage1(tables, {}, {}, sid);
    }
    p.enable();
    const page = p.memory();
    p.dma(0x1000n, page).dma(0x1000n, page, { device: 1 });
  }),
];
