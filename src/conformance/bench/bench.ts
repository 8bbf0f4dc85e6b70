/** The fixture of every row: streams that translate, traffic through them, and what must come of it. */
import type { TranslationCompletion } from '../../hw/pcie/tlp.ts';
import { bytes64, type Word } from '../bits.ts';
import { equal, Mismatch, NotAnnounced, show } from '../check.ts';
import type { EventName } from '../facts/events.ts';
import { eventField, eventName, fieldsOf } from './event-record.ts';
import { Machine } from './machine.ts';
import { PLACE } from './ram.ts';
import { addressBits } from './registers.ts';
import {
  CD_BYTES,
  CD_DEFAULTS,
  type CdValues,
  CONFIG,
  encodeCd,
  encodeSte,
  SL0,
  STAGE_2_DEFAULTS,
  STAGE_2_SHAPE,
  STE_BYTES,
  type SteValues,
  TG0,
  TG1,
  ttb,
} from './streams.ts';
import { type Granule, LEAF_1, LEAF_2, levelShift, Tables } from './tables.ts';
import {
  type AccessOptions,
  type PageRequestOptions,
  pageRequest,
  type Sender,
  STREAM,
  Transaction,
  type TranslateOptions,
  translationRequest,
} from './traffic.ts';

export interface RegionOptions {
  readonly granule?: Granule;
  readonly inputBits?: number;
  readonly startLevel?: number;
  /** 52-bit descriptors. */
  readonly wide?: boolean;
}

export interface StreamOptions extends RegionOptions {
  readonly sid?: number;
  readonly ste?: SteValues;
}

export interface Stage1Options extends StreamOptions {
  readonly cd?: CdValues;
  /** Translates the upper half too, through TTB1. */
  readonly upper?: boolean;
}

export interface NestedOptions extends Stage1Options {
  /** Shape of stage 2; the other options are stage 1's. */
  readonly stage2?: RegionOptions;
}

/** Stage 1 of a stream: its CD and its tables. */
export interface Stage1 {
  readonly cd: number;
  readonly lower: Tables;
  readonly upper: Tables;
}

/** A page of memory that devices may reach; a multiple of every granule and of most blocks. */
export const PAGE: number = PLACE.data;
/** An input address that no structure of the bench uses. */
export const VA = 0x7000_0000;

/** Faults that stall with S=1 (§3.12.2). */
const MAY_STALL: ReadonlySet<EventName> = new Set<EventName>([
  'F_TRANSLATION',
  'F_ADDR_SIZE',
  'F_ACCESS',
  'F_PERMISSION',
]);

export class Bench extends Machine {
  #last: Transaction | null = null;
  #payload = 0x1122_3344_5566_7700n;

  /** Where the STE of a linear stream table lies. */
  steAddress(sid = STREAM): number {
    return this.streamTable + sid * STE_BYTES;
  }

  /** Writes an STE; V=1 unless given. Cached copies stay as they are. */
  ste(values: SteValues, sid = STREAM): void {
    // Faults of stage 2 that always stall exclude ATS (§5.2, EATS).
    if (this.#mustStall === 1 && values.S2S === 1 && (values.EATS ?? 0) !== 0) this.needs({ STALL_MODEL: 0 });
    this.ram.write(this.steAddress(sid), encodeSte(values));
  }

  /** A CD in memory of its own. */
  newCd(values: CdValues): number {
    const address = this.ram.allocate(CD_BYTES);
    this.ram.write(address, encodeCd(values));
    return address;
  }

  /** Tables of stage 1. */
  tables(options: RegionOptions = {}): Tables {
    this.needs({ S1P: 1 });
    return new Tables(this.ram, { inputBits: 48, leaf: LEAF_1, ...options, ...this.#build(options) });
  }

  /** The fields of a CD that translates through `lower` and, with `upper`, through both halves. */
  cdFields(lower: Tables, upper: Tables | null): CdValues {
    this.needs({ S1P: 1 });
    const halves: CdValues = {
      ...CD_DEFAULTS,
      S: this.#mustStall,
      ENDI: lower.bigEndian ? 1 : 0,
      T0SZ: 64 - lower.inputBits,
      TG0: TG0[lower.granule],
      TTB0: ttb(lower.base),
    };
    if (upper === null) return halves;
    const top = { EPD1: 0, T1SZ: 64 - upper.inputBits, TG1: TG1[upper.granule], TTB1: ttb(upper.base), SH1: 3 };
    return { ...halves, ...top };
  }

  /** Config=0b101: stage 1 alone. */
  stage1(options: Stage1Options = {}): Stage1 {
    this.needs({ S1P: 1 });
    return this.#withStage1(options, { Config: CONFIG.STAGE_1 });
  }

  /** Config=0b110: stage 2 alone; nothing is mapped. */
  stage2(options: StreamOptions = {}): Tables {
    const { tables, fields } = this.stage2Tables(options);
    this.ste({ Config: CONFIG.STAGE_2, ...fields, ...options.ste }, options.sid);
    return tables;
  }

  /** Config=0b111: stage 2 maps RAM to itself, so that stage 1 structures are where they are. */
  nested(options: NestedOptions = {}): Stage1 & { readonly stage2: Tables } {
    this.needs({ S1P: 1, S2P: 1 });
    const { tables, fields } = this.stage2Tables(options.stage2 ?? {});
    this.identity(tables);
    const stage1 = this.#withStage1(options, { Config: CONFIG.NESTED, ...fields });
    return { ...stage1, stage2: tables };
  }

  /** Tables of stage 2, and the STE fields that name them. */
  stage2Tables(options: RegionOptions = {}): { readonly tables: Tables; readonly fields: SteValues } {
    this.needs({ S2P: 1 });
    const { granule, bigEndian } = this.#build(options);
    const shape = { ...STAGE_2_SHAPE[granule], leaf: LEAF_2, ...options, granule, bigEndian };
    // An IPA has no more bits than the SMMU's addresses (DDI 0487 D8.2).
    if (shape.inputBits > addressBits(this.features)) throw new NotAnnounced(`OAS of ${shape.inputBits} bits`);
    const tables = new Tables(this.ram, shape);
    const fields: SteValues = {
      ...STAGE_2_DEFAULTS,
      S2S: this.#mustStall,
      S2ENDI: bigEndian ? 1 : 0,
      S2T0SZ: 64 - tables.inputBits,
      S2TG: TG0[granule],
      S2SL0: SL0[granule][tables.startLevel] ?? 0,
      S2TTB: ttb(tables.base),
    };
    return { tables, fields };
  }

  /** Maps all of RAM to itself with the largest blocks that every granule has there. */
  identity(tables: Tables): void {
    const level = tables.granule === '4KB' && tables.startLevel <= 1 ? 1 : 2;
    const bytes = 2 ** levelShift(tables.granule, level);
    for (let at = 0x4000_0000; at < 0x8000_0000; at += bytes) tables.map(at, at, LEAF_2, level);
  }

  /** Drops every cached copy of the stream's STE and of its CDs. */
  forget(sid = STREAM): void {
    this.commands.run('CFGI_STE', { StreamID: sid });
    this.commands.sync();
  }

  access(options: AccessOptions): Transaction {
    this.#payload += 1n;
    const payload = new Uint8Array(options.length ?? 8);
    payload.set(bytes64(this.#payload).subarray(0, payload.length));
    this.presentable(options);
    const transaction = new Transaction(options, payload);
    this.#last = transaction;
    transaction.complete(this.unit.port.memory(transaction.request));
    this.settle();
    return transaction;
  }

  /** The access reaches physical address `pa`. @throws Mismatch */
  reaches(options: AccessOptions, pa: number): Transaction {
    const marker = BigInt.asUintN(64, BigInt(pa) * 0x9e37_79b9_7f4a_7c15n) | 1n;
    const inRam = this.ram.contains(pa);
    if (inRam) this.ram.write64(pa, marker);
    this.system.farWrites.length = 0;
    const transaction = this.access(options);
    equal(describe(options), transaction.ending, 'done');
    this.#arrived(transaction, pa, inRam ? marker : BigInt(pa));
    return transaction;
  }

  /** The access ends so. @throws Mismatch */
  ends(options: AccessOptions, ending: Transaction['ending']): Transaction {
    const transaction = this.access(options);
    if (ending === 'abort' && transaction.ending === 'stalled') this.#rightlyStalls();
    equal(describe(options), transaction.ending, ending);
    return transaction;
  }

  aborts(options: AccessOptions): Transaction {
    return this.ends(options, 'abort');
  }

  stalls(options: AccessOptions): Transaction {
    return this.ends(options, 'stalled');
  }

  /** A stale copy of what `options` needs is still in use, or was dropped of the SMMU's own accord where it may. */
  keeps(options: AccessOptions, pa: number): void {
    if (this.unit.keepsCached) this.reaches(options, pa);
    else this.access(options);
    this.events.take();
  }

  /** The access aborts and leaves one record, whose fields follow from it unless given; it stalls where it has to. */
  faults(options: AccessOptions, name: EventName, fields: Readonly<Record<string, Word>> = {}): void {
    if (this.#mustStall === 1 && MAY_STALL.has(name)) {
      this.stalls(options);
      const [record] = this.events.peek();
      this.fault(name, { Stall: 1, STAG: record === undefined ? 0 : eventField(record, 'STAG'), ...fields });
      return;
    }
    this.aborts(options);
    this.fault(name, fields);
  }

  /** The last access left one record, whose fields follow from it unless given. @throws Mismatch */
  fault(name: EventName, fields: Readonly<Record<string, Word>> = {}): void {
    const last = this.#last;
    this.event(name, { ...(last === null ? {} : fieldsOf(last)), ...fields });
  }

  /** Sends an ATS Translation Request. */
  translate(options: TranslateOptions): TranslationCompletion {
    this.needs({ ATS: 1 });
    this.presentable(options);
    const request = translationRequest(options);
    this.unit.port.translate(request);
    this.settle();
    return request.answer;
  }

  /** Sends a page request message. */
  requestPage(options: PageRequestOptions = {}): void {
    this.presentable(options);
    this.unit.port.pageRequest(pageRequest(options));
    this.settle();
  }

  /** @throws NotAnnounced for a StreamID that the SMMU cannot be presented with (§6.3.2). */
  presentable({ sid = STREAM }: Sender): void {
    const bits = this.feature('SIDSIZE');
    if (sid >= 2 ** bits) throw new NotAnnounced(`StreamID ${sid} with SIDSIZE=${bits}`);
  }

  /** S and S2S of an SMMU whose faults always stall. */
  get #mustStall(): 0 | 1 {
    return this.feature('STALL_MODEL') === 0b10 ? 1 : 0;
  }

  /** What a row wants terminated stalls where faults always stall: such an SMMU is not what the row is about. */
  #rightlyStalls(): void {
    if (this.#mustStall === 0) return;
    const [record] = this.events.peek();
    if (record !== undefined && MAY_STALL.has(eventName(record) as EventName)) this.needs({ STALL_MODEL: 0 });
  }

  /** Granule and endianness of tables. */
  #build(options: RegionOptions): { readonly granule: Granule; readonly bigEndian: boolean } {
    const granule = options.granule ?? '4KB';
    this.needs({ [`GRAN${granule.slice(0, -1)}`]: 1 });
    return { granule, bigEndian: this.feature('TTENDIAN') === 0b11 };
  }

  #withStage1(options: Stage1Options, config: SteValues): Stage1 {
    const lower = this.tables(regionOf(options));
    const upper = this.tables(regionOf(options));
    const cd = this.newCd({ ...this.cdFields(lower, options.upper === true ? upper : null), ...options.cd });
    this.ste({ ...config, S1ContextPtr: cd / 64, ...options.ste }, options.sid);
    return { cd, lower, upper };
  }

  #arrived(transaction: Transaction, pa: number, marker: bigint): void {
    const { request, options } = transaction;
    const what = `${describe(options)}: arrives at`;
    if (!request.write) {
      const got = new DataView(request.data.buffer).getBigUint64(0, true);
      if (got !== marker) throw new Mismatch(what, show(pa), this.ram.contains(pa) ? 'another page' : show(got));
    } else if (this.ram.contains(pa)) {
      const there = this.ram.read(pa, request.length);
      if (there.some((byte, at) => byte !== request.data[at])) throw new Mismatch(what, show(pa), 'another page');
    } else {
      equal(what, this.system.farWrites[0]?.address, pa);
    }
  }
}

function regionOf({ granule, inputBits, startLevel, wide }: Stage1Options): RegionOptions {
  return {
    ...(granule === undefined ? {} : { granule }),
    ...(inputBits === undefined ? {} : { inputBits }),
    ...(startLevel === undefined ? {} : { startLevel }),
    ...(wide === undefined ? {} : { wide }),
  };
}

function describe(options: AccessOptions): string {
  return `${options.translated === true ? 'translated ' : ''}${options.write === true ? 'write' : 'read'} at ${show(options.va)}`;
}
