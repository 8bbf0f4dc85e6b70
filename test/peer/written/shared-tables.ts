/**
 * Both stages through the same four tables, with bits set that have to be ignored, S2PS above the output size, read-only
 * stage 2 leaves over the tables and the CD, and an address in the middle of a page: the shape of QEMU's own SMMUv3 test.
 */
import { type ProgramBuilder, program } from '../builder.ts';
import type { Program } from '../program.ts';

const MASK = 0x0000_ffff_ffff_f000n;
/** A table descriptor with NSTable; a page with SW and NS bits, readable and writable at stage 1, or at stage 2. */
const TABLE = 0x8000_0000_0000_0003n;
const WRITABLE = 0x0400_0000_0000_0763n;
const WRITABLE_STAGE_2 = 0x0400_0000_0000_07e3n;

class SharedTables {
  readonly #p: ProgramBuilder;
  readonly root: number;
  readonly #next: readonly bigint[];

  constructor(p: ProgramBuilder) {
    this.#p = p;
    this.root = p.memory();
    this.#next = [p.memory(), p.memory(), p.memory()].map(BigInt);
  }

  /** Writes the walk of `input` down to a level 3 descriptor. */
  walk(input: bigint, leaf: bigint): void {
    const tables = [BigInt(this.root), ...this.#next];
    for (const [level, table] of tables.entries()) {
      const slot = Number(table + ((input >> BigInt(39 - 9 * level)) & 0x1ffn) * 8n);
      this.#p.word(slot, level === 3 ? leaf : (this.#next[level] ?? 0n) | TABLE);
    }
  }

  /** Addresses of the tables, for stage 2 to map. */
  get pages(): readonly bigint[] {
    return [BigInt(this.root), ...this.#next];
  }
}

const shared = (config: 5 | 6 | 7, iova: bigint, S2PS: number): Program =>
  program(`shared tables: Config ${config}, 0x${iova.toString(16)}, S2PS ${S2PS}`, (p) => {
    const tables = new SharedTables(p);
    const page = p.memory();
    const cd = p.memory() + 4096 - 64;
    const target = page + Number(iova & 0xfffn);
    if (config === 6) tables.walk(iova, BigInt(page) | WRITABLE_STAGE_2);
    else {
      tables.walk(iova, BigInt(page) | WRITABLE);
      if (config === 7) {
        for (const table of [...tables.pages, BigInt(cd)]) tables.walk(table, (table & MASK) | WRITABLE);
        tables.walk(BigInt(page), BigInt(page) | WRITABLE_STAGE_2);
      }
      p.put('CD', cd, {
        ...{ V: 1, AA64: 1, A: 1, R: 1, IPS: 4, EPD1: 1, T0SZ: 16, ASID: 0x1e20, NSCFG0: 1, NSCFG1: 1 },
        TTB0: tables.root / 16,
      });
    }
    p.stream(8, {
      Config: config,
      S1ContextPtr: cd / 64,
      ...{ S2T0SZ: 20, S2SL0: 2, S2PS, S2AA64: 1, S2TTB: tables.root / 16 },
    });
    p.enable({ streams: 5 }).dma(iova, target).get('EVENTQ_PROD', 'GERROR');
  });

export const sharedTables: readonly Program[] = ([5, 6, 7] as const).flatMap((config) =>
  [0x80_8070_4567n, 0x12_3456_7ff8n].flatMap((iova) => [4, 5].map((S2PS) => shared(config, iova, S2PS))),
);
