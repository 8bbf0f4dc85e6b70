/** Context descriptors: validity, sizes, granules, the two halves of the address space (§5.4). */
import { contextFields, IOVA, type ProgramBuilder, program, upperContextFields } from '../builder.ts';
import type { FieldsOf, Program } from '../program.ts';
import { GRANULES, granuleName } from '../tables.ts';

/** A page mapped at `iova`, then a DMA to it, with changes to the CD. */
const withCd = (name: string, cd: FieldsOf<'CD'>, iova = IOVA): Program =>
  program(`contexts: ${name}`, (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(iova, target);
    p.throughStage1(tables, cd);
    p.enable().dma(iova, target);
  });

/** TTB1 maps the top of the address space. */
const upper = (name: string, iova: bigint, cd: FieldsOf<'CD'> = {}, bits = 39): Program =>
  program(`contexts: ${name}`, (p) => {
    const low = p.stage1(12, 39);
    const high = p.stage1(12, bits);
    const targets: [number, number] = [p.memory(), p.memory()];
    low.map(0x1000n, targets[0]);
    high.map(iova, targets[1]);
    p.throughStage1(low, { ...upperContextFields(high), ...cd });
    p.enable().dma(0x1000n, targets[0]).dma(iova, targets[1]);
  });

/** An address with no mapping, for faults that come before any walk. */
const unmapped = (p: ProgramBuilder, iova: bigint): void => {
  p.enable().dma(iova, p.memory());
};

export const contexts: readonly Program[] = [
  withCd('the plain one', {}),
  withCd('V=0', { V: 0 }),
  withCd('AA64=0', { AA64: 0 }),
  withCd('A=0 with TERM_MODEL 1', { A: 0 }),
  withCd('S=1 with STALL_MODEL 1', { S: 1 }),
  withCd('HA=1 without HTTU', { HA: 1 }),
  withCd('HD=1 without HTTU', { HD: 1 }),
  withCd('HA=1 and HD=1 without HTTU', { HA: 1, HD: 1 }),
  withCd('ENDI=1', { ENDI: 1 }),
  withCd('AFFD=1', { AFFD: 1 }),
  withCd('WXN=1', { WXN: 1 }),
  withCd('UWXN=1', { UWXN: 1 }),
  withCd('PAN=1', { PAN: 1 }),
  withCd('ASET=1', { ASET: 1 }),
  withCd('ASID 0xffff', { ASID: 0xffff }),
  withCd('SH0 inner, cached', { SH0: 3, IR0: 1, OR0: 1 }),
  withCd('HAD0=1', { HAD0: 1 }),
  withCd('MAIR', { MAIR0: 0xff440c04, MAIR1: 0xffffffff }),
  withCd('NSCFG0=1', { NSCFG0: 1 }),
  withCd('EPD0=1', { EPD0: 1 }),
  withCd('EPD0=1 with an unusable TTB0 part', { EPD0: 1, T0SZ: 63, TG0: 3, TTB0: 2 ** 48 - 1 }),
  withCd('EPD1=0 with an unusable TTB1 part', { EPD1: 0, T1SZ: 63 }),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((IPS) => withCd(`IPS ${IPS}`, { IPS })),
  ...GRANULES.map((granule) =>
    program(`contexts: granule ${granuleName(granule)}`, (p) => {
      const tables = p.stage1(granule);
      const target = p.memory(2 ** granule);
      tables.map(IOVA, target);
      p.throughStage1(tables);
      p.enable().dma(IOVA & ~0xffffn, target);
    }),
  ),
  withCd('TG0 reserved', { TG0: 3 }),
  ...[0, 8, 15, 16, 17, 24, 25, 26, 32, 33, 38, 39, 40, 42, 48, 63].map((T0SZ) =>
    program(`contexts: T0SZ ${T0SZ}`, (p) => {
      const bits = Math.min(48, Math.max(25, 64 - T0SZ));
      const tables = p.stage1(12, bits);
      const target = p.memory();
      tables.map(0x1000n, target);
      p.throughStage1(tables, { T0SZ });
      p.enable().dma(0x1000n, target);
    }),
  ),
  ...[16, 25, 34, 39].flatMap((T0SZ) =>
    [-1n, 0n].map((above) =>
      program(`contexts: T0SZ ${T0SZ}, ${above < 0n ? 'last address inside' : 'first address outside'}`, (p) => {
        const edge = 1n << BigInt(64 - T0SZ);
        const tables = p.stage1(12, 64 - T0SZ);
        const target = p.memory();
        tables.map(edge - 0x1000n, target);
        p.throughStage1(tables);
        p.enable().dma(above < 0n ? edge - 0x1000n : edge, target);
      }),
    ),
  ),
  program('contexts: TTB0 beyond IPS', (p) => {
    p.stream(8, { Config: 5, S1ContextPtr: p.context(null, { EPD0: 0, T0SZ: 16, IPS: 0, TTB0: 2 ** 33 / 16 }) / 64 });
    unmapped(p, 0x1000n);
  }),
  program('contexts: TTB0 beyond OAS', (p) => {
    p.stream(8, { Config: 5, S1ContextPtr: p.context(null, { EPD0: 0, T0SZ: 16, IPS: 5, TTB0: 2 ** 46 / 16 }) / 64 });
    unmapped(p, 0x1000n);
  }),
  program('contexts: TTB0 nowhere', (p) => {
    p.stream(8, { Config: 5, S1ContextPtr: p.context(null, { EPD0: 0, T0SZ: 16, TTB0: 2 ** 33 / 16 }) / 64 });
    unmapped(p, 0x1000n);
  }),
  program('contexts: TTB0 off its alignment', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(IOVA, target);
    p.throughStage1(tables, { TTB0: tables.root / 16 + 4 });
    p.enable().dma(IOVA, target);
  }),
  upper('upper half', 0xffff_ffff_ffff_f000n),
  upper('upper half, 48 bits', 0xffff_8000_0000_0000n, {}, 48),
  upper('upper half, first address', 0xffff_ff80_0000_0000n),
  upper('below the upper half', 0xffff_ff7f_ffff_f000n),
  upper('between the halves', 0x0100_0000_0000n),
  upper('upper half disabled', 0xffff_ffff_ffff_f000n, { EPD1: 1 }),
  upper('upper half with TG1 reserved', 0xffff_ffff_ffff_f000n, { TG1: 0 }),
  ...[15, 16, 39, 40].map((T1SZ) => upper(`upper half with T1SZ ${T1SZ}`, 0xffff_ffff_ffff_f000n, { T1SZ })),
  upper('upper half with HAD1', 0xffff_ffff_ffff_f000n, { HAD1: 1 }),
  program('contexts: upper half in 64 KiB, lower in 4 KiB', (p) => {
    const low = p.stage1(12, 39);
    const high = p.stage1(16, 42);
    const targets: [number, number] = [p.memory(), p.memory(0x1_0000)];
    low.map(0x1000n, targets[0]);
    high.map(0xffff_ffff_ffff_0000n, targets[1]);
    p.throughStage1(low, upperContextFields(high));
    p.enable().dma(0x1000n, targets[0]).dma(0xffff_ffff_ffff_0000n, targets[1]);
  }),
  ...[0, 1].map((TBI0) =>
    program(`contexts: tagged address, TBI0 ${TBI0}`, (p) => {
      const tables = p.stage1(12, 39);
      const target = p.memory();
      tables.map(0x1000n, target);
      p.throughStage1(tables, { TBI0 });
      p.enable().dma(0x5a00_0000_0000_1000n, target);
    }),
  ),
  ...[0, 1].map((TBI1) => upper(`tagged upper address, TBI1 ${TBI1}`, 0xa5ff_ffff_ffff_f000n, { TBI1 })),
  program('contexts: a CD in the last 64 bytes of a page', (p) => {
    const tables = p.stage1();
    const target = p.memory();
    const cd = p.memory() + 4096 - 64;
    tables.map(IOVA, target);
    p.put('CD', cd, contextFields(tables));
    p.stream(8, { Config: 5, S1ContextPtr: cd / 64 })
      .enable()
      .dma(IOVA, target);
  }),
];
