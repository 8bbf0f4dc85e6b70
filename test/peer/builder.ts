/** Writes programs: allocates memory, lays out tables and structures, and brings the SMMU up as a driver does. */
import { assert } from '../../src/assert.ts';
import { CR0, CR1, CR2, STRTAB_BASE_CFG } from '../../src/iommu/spec/registers.layout.ts';
import { registerValue } from '../../src/layout/register.ts';
import { COMMAND_QUEUE, EVENT_QUEUE, POOL_BASE, POOL_END, STREAM_TABLE } from './memory-map.ts';
import type { Command, CommandName, Fields, FieldsOf, Program, QueueSizes, Step, StructureName } from './program.ts';
import { type Granule, S2SL0, Tables, type TablesOptions, TG0, TG1 } from './tables.ts';

export const IOVA = 0x8060_4567_8000n;
const STE_BYTES = 64;

export interface EnableOptions {
  /** log2 of the number of streams. */
  readonly streams?: number;
  /** Two-level stream table with this split. */
  readonly split?: number;
  readonly CR0?: Partial<Record<keyof (typeof CR0)['$']['table'], number>>;
  readonly CR2?: number;
}

export class ProgramBuilder {
  readonly #name: string;
  readonly #steps: Step[] = [];
  readonly #queues: QueueSizes;
  #free = POOL_BASE;

  constructor(name: string, queues: Partial<QueueSizes> = {}) {
    this.#name = name;
    this.#queues = { commands: 8, events: 7, ...queues };
  }

  build(): Program {
    return { name: this.#name, queues: this.#queues, steps: this.#steps };
  }

  add(step: Step): this {
    this.#steps.push(step);
    return this;
  }

  /** `bytes` of memory (rounded up to a power of two and at least a page), aligned to themselves. */
  memory(bytes = 4096): number {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 4096)));
    const at = Math.ceil(this.#free / size) * size;
    this.#free = at + size;
    assert(this.#free <= POOL_END, `${this.#name} needs more memory than there is`);
    return at;
  }

  put<N extends StructureName>(structure: N, at: number, fields: FieldsOf<N> | Fields): this {
    return this.add({ op: 'put', structure, at, fields: fields as Fields });
  }

  word(at: number, value: bigint): this {
    return this.add({ op: 'word', at, value });
  }

  set(register: string, value: bigint | number): this {
    return this.add({ op: 'set', register, value: BigInt(value) });
  }

  get(...registers: readonly string[]): this {
    for (const register of registers) this.add({ op: 'get', register });
    return this;
  }

  command(name: CommandName, fields: Fields = {}, words?: Readonly<Record<number, number>>): this {
    return this.commands([{ name, fields, ...(words && { words }) }]);
  }

  commands(commands: readonly Command[]): this {
    return this.add({ op: 'commands', commands });
  }

  /** Forgets everything the SMMU may have cached, and waits. */
  invalidateAll(): this {
    return this.commands([
      { name: 'CFGI_STE_RANGE', fields: { Range: 31 } },
      { name: 'TLBI_NSNH_ALL' },
      { name: 'SYNC' },
    ]);
  }

  dma(iova: bigint, physical: number, options: { device?: number; length?: number; keepEvents?: boolean } = {}): this {
    const { device = 0, length = 4, keepEvents } = options;
    return this.add({ op: 'dma', device, iova, length, physical, ...(keepEvents && { keepEvents }) });
  }

  readDma(iova: bigint, length = 4): this {
    return this.add({ op: 'transfer', direction: 'from-memory', iova, length });
  }

  writeDma(iova: bigint, length = 4): this {
    return this.add({ op: 'transfer', direction: 'to-memory', iova, length });
  }

  events(): this {
    return this.add({ op: 'events' });
  }

  look(at: number, length = 8): this {
    return this.add({ op: 'look', at, length });
  }

  tables(options: TablesOptions): Tables {
    return new Tables(this, options);
  }

  stage1(granule: Granule = 12, inputBits = 48): Tables {
    return this.tables({ stage: 1, granule, inputBits });
  }

  stage2(granule: Granule = 12, inputBits = 44, startLevel?: number): Tables {
    return this.tables({ stage: 2, granule, inputBits, ...(startLevel !== undefined && { startLevel }) });
  }

  /** STE of `sid` in the linear stream table. */
  stream(sid: number, fields: FieldsOf<'STE'>): this {
    return this.put('STE', STREAM_TABLE + sid * STE_BYTES, { V: 1, ...fields });
  }

  /** Writes a CD that translates by `tables` (TTB0; TTB1 off) and gives its address. */
  context(tables: Tables | null, fields: FieldsOf<'CD'> = {}, at = this.memory()): number {
    this.put('CD', at, { ...contextFields(tables), ...fields });
    return at;
  }

  /** Stream 8 (the first device) through stage 1. Gives the CD's address. */
  throughStage1(tables: Tables, cd: FieldsOf<'CD'> = {}, ste: FieldsOf<'STE'> = {}, sid = 8): number {
    const at = this.context(tables, cd);
    this.stream(sid, { Config: 5, S1ContextPtr: at / 64, ...ste });
    return at;
  }

  throughStage2(tables: Tables, ste: FieldsOf<'STE'> = {}, sid = 8): this {
    return this.stream(sid, { Config: 6, ...stage2Fields(tables), ...ste });
  }

  throughBoth(
    first: Tables,
    second: Tables,
    cd: FieldsOf<'CD'> = {},
    ste: FieldsOf<'STE'> = {},
    sid = 8,
    at = this.memory(),
  ): number {
    this.context(first, cd, at);
    this.stream(sid, { Config: 7, S1ContextPtr: at / 64, ...stage2Fields(second), ...ste });
    return at;
  }

  /** Queues, stream table, CR1, then CR0 with the SMMU and its queues on. */
  enable(options: EnableOptions = {}): this {
    const { streams = 8, split } = options;
    const linear = split === undefined;
    this.set(
      'CR1',
      registerValue(CR1, { TABLE_SH: 3, TABLE_OC: 1, TABLE_IC: 1, QUEUE_SH: 3, QUEUE_OC: 1, QUEUE_IC: 1 }),
    );
    // Unless a program is about it, events for invalid StreamIDs are recorded.
    this.set('CR2', options.CR2 ?? registerValue(CR2, { RECINVSID: 1 }));
    this.set('STRTAB_BASE', STREAM_TABLE);
    this.set(
      'STRTAB_BASE_CFG',
      registerValue(STRTAB_BASE_CFG, linear ? { LOG2SIZE: streams } : { FMT: 1, SPLIT: split, LOG2SIZE: streams }),
    );
    this.set('CMDQ_BASE', COMMAND_QUEUE + this.#queues.commands)
      .set('CMDQ_PROD', 0)
      .set('CMDQ_CONS', 0);
    this.set('EVENTQ_BASE', EVENT_QUEUE + this.#queues.events).set('EVENTQ_PROD', 0);
    this.set('EVENTQ_CONS', 0);
    return this.set('CR0', registerValue(CR0, { SMMUEN: 1, EVENTQEN: 1, CMDQEN: 1, ...options.CR0 })).get('CR0ACK');
  }
}

/** What a valid AArch64 CD needs to translate by `tables`: aborting, recording, no stall. */
export function contextFields(tables: Tables | null): FieldsOf<'CD'> {
  const base: FieldsOf<'CD'> = { V: 1, AA64: 1, A: 1, R: 1, IPS: 4, EPD1: 1, ASID: 0x51 };
  if (tables === null) return { ...base, EPD0: 1 };
  return { ...base, T0SZ: 64 - tables.inputBits, TG0: TG0[tables.granule], TTB0: tables.root / 16 };
}

/** Fields of a CD that translate the upper half by `tables`. */
export function upperContextFields(tables: Tables): FieldsOf<'CD'> {
  return { EPD1: 0, T1SZ: 64 - tables.inputBits, TG1: TG1[tables.granule], TTB1: tables.root / 16 };
}

export function stage2Fields(tables: Tables): FieldsOf<'STE'> {
  return {
    S2T0SZ: 64 - tables.inputBits,
    S2SL0: S2SL0[tables.granule][tables.startLevel] ?? 3,
    S2TG: TG0[tables.granule],
    S2PS: 4,
    S2AA64: 1,
    S2R: 1,
    S2VMID: 7,
    S2TTB: tables.root / 16,
  };
}

/** A program by a function that fills it. */
export function program(name: string, fill: (builder: ProgramBuilder) => void, queues?: Partial<QueueSizes>): Program {
  const builder = new ProgramBuilder(name, queues);
  fill(builder);
  return builder.build();
}
