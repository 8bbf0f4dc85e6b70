/** A machine with one SMMU under test: registers, queues, power-up, and the events that come out. */
import { type Word, words32 } from '../bits.ts';
import { equal, Mismatch, NotAnnounced } from '../check.ts';
import type { EventName } from '../facts/events.ts';
import type { FeatureCondition } from '../facts/fact.ts';
import type { FeatureValues, Subject, Unit } from '../subject.ts';
import { checkRecord, eventName } from './event-record.ts';
import { CommandPort, RecordPort } from './queues.ts';
import { PLACE, Ram } from './ram.ts';
import { holds, Registers } from './registers.ts';
import { System } from './system.ts';

/** Longer than any step of the SMMU, shorter than an ATC invalidation may take. */
const STEP_NS = 10_000;
const QUEUE_LOG2 = 4;
/** What a row that gives no size may count on. */
const LEAST_QUEUE_LOG2 = 3;
const STREAMS_LOG2 = 6;

type Bit = 0 | 1;

export interface StartOptions {
  /** Everything that exists is enabled unless given, but ATSCHK. */
  readonly SMMUEN?: Bit;
  readonly EVENTQEN?: Bit;
  readonly CMDQEN?: Bit;
  readonly PRIQEN?: Bit;
  readonly ATSCHK?: Bit;
  readonly VMW?: number;
  /** Recorded unless given. */
  readonly RECINVSID?: Bit;
  readonly REC_CFG_ATS?: Bit;
  readonly E2H?: Bit;
  /** log2 of queue entries: 4, or 3 where that is the largest, unless given. */
  readonly commands?: number;
  readonly events?: number;
  readonly pages?: number;
  /** log2 of StreamIDs: 6 unless given. */
  readonly streams?: number;
  /** A two-level stream table with this SPLIT. */
  readonly split?: number;
  /** IRQ_CTRL: none unless given. */
  readonly interrupts?: { readonly GERROR_IRQEN?: Bit; readonly EVENTQ_IRQEN?: Bit; readonly PRIQ_IRQEN?: Bit };
}

export class Machine {
  readonly unit: Unit;
  readonly system = new System();
  readonly ram: Ram;
  readonly registers: Registers;
  readonly commands: CommandPort;
  readonly events: RecordPort;
  readonly pages: RecordPort;
  /** What was asked of the SMMU; whether its ID registers say so is the business of §6.3.1 to §6.3.8. */
  readonly features: FeatureValues;
  streamTable: number = PLACE.streamTable;

  constructor(subject: Subject, features: FeatureValues) {
    this.features = features;
    this.unit = subject.build(features, this.system);
    this.ram = new Ram(this.unit);
    this.registers = new Registers(this.unit);
    const settle = () => this.settle();
    this.commands = new CommandPort(this.registers, this.ram, settle);
    this.events = new RecordPort('EVENTQ', this.registers, this.ram, settle);
    this.pages = new RecordPort('PRIQ', this.registers, this.ram, settle);
  }

  /** A feature's value. */
  feature(name: string): number {
    return this.features[name] ?? 0;
  }

  /** @throws NotAnnounced unless the condition holds. */
  needs(condition: FeatureCondition): void {
    if (holds(condition, this.features)) return;
    const wanted = Object.entries(condition).map(([name, value]) => `${name}=${value}`);
    throw new NotAnnounced(wanted.join(', '));
  }

  /** Lets everything that is under way come to its end. */
  settle(): void {
    this.unit.advance(STEP_NS);
  }

  /** Brings the SMMU up: queues, stream table, CR2, CR0. */
  start(options: StartOptions = {}): this {
    const { registers } = this;
    const pri = this.feature('PRI') === 1;
    this.#queues(options, pri);
    this.#streams(options);
    registers.write('CR1', 0);
    registers.write('CR2', 0);
    registers.set('CR2', {
      RECINVSID: options.RECINVSID ?? 1,
      ...this.#optional('REC_CFG_ATS', options.REC_CFG_ATS, 'ATSRECERR'),
      ...this.#optional('E2H', options.E2H, 'Hyp'),
    });
    registers.set('GERRORN', this.#inactiveErrors());
    registers.set('IRQ_CTRL', { GERROR_IRQEN: 0, EVENTQ_IRQEN: 0, PRIQ_IRQEN: 0, ...options.interrupts });
    this.control({
      SMMUEN: options.SMMUEN ?? 1,
      EVENTQEN: options.EVENTQEN ?? 1,
      CMDQEN: options.CMDQEN ?? 1,
      ...(pri ? { PRIQEN: options.PRIQEN ?? 1 } : {}),
      ...this.#optional('ATSCHK', options.ATSCHK, 'ATS'),
      ...this.#optional('VMW', options.VMW, 'VMW'),
    });
    return this;
  }

  /** Changes CR0 and waits for CR0ACK. */
  control(values: Readonly<Record<string, Word>>): void {
    this.registers.set('CR0', values);
    this.settle();
    equal('CR0ACK after a write of CR0', this.registers.read('CR0ACK'), this.registers.read('CR0'));
  }

  /** Takes all event records; exactly one must be there, of the given kind. @throws Mismatch */
  event(name: EventName, fields: Readonly<Record<string, Word>>): void {
    const records = this.events.take();
    const [first] = records;
    if (records.length !== 1 || first === undefined) {
      throw new Mismatch('event records', `one ${name}`, records.length === 0 ? 'none' : records.map(eventName).join());
    }
    checkRecord(first, name, fields);
  }

  /** Takes all event records; exactly one must be there, and these its words, lowest first. @throws Mismatch */
  eventWords(words: readonly number[]): void {
    const records = this.events.take();
    equal('event records', records.length, 1);
    equal('words of the record', words32(records[0] ?? new Uint8Array()), words);
  }

  /** @throws Mismatch when anything was recorded. */
  noEvent(): void {
    const records = this.events.take();
    if (records.length > 0) throw new Mismatch('event records', 'none', records.map(eventName).join());
  }

  #optional(field: string, value: Word | undefined, feature: string): Readonly<Record<string, Word>> {
    if (value === undefined || BigInt(value) === 0n) return {};
    this.needs({ [feature]: 'positive' });
    return { [field]: value };
  }

  #inactiveErrors(): Record<string, Word> {
    return { CMDQ_ERR: this.registers.get('GERROR', 'CMDQ_ERR') };
  }

  #queues(options: StartOptions, pri: boolean): void {
    const { registers } = this;
    this.#queue(this.commands, 'CMDQ', PLACE.commandQueue, options.commands);
    this.#queue(this.events, 'EVENTQ', PLACE.eventQueue, options.events);
    if (pri) this.#queue(this.pages, 'PRIQ', PLACE.pageQueue, options.pages);
    else if (options.pages !== undefined) this.needs({ PRI: 1 });
    if (pri) registers.write('PRIQ_IRQ_CFG2', 0);
    for (const source of ['GERROR', 'EVENTQ', ...(pri ? ['PRIQ'] : [])]) registers.write(`${source}_IRQ_CFG0`, 0);
  }

  #queue(port: CommandPort | RecordPort, name: 'CMDQ' | 'EVENTQ' | 'PRIQ', base: number, given?: number): void {
    const largest = this.feature(`${name}S`);
    const least = given ?? LEAST_QUEUE_LOG2;
    if (largest < least) throw new NotAnnounced(`${name}S of at least ${least}`);
    const log2 = given ?? Math.min(QUEUE_LOG2, largest);
    port.base = base;
    port.log2 = log2;
    this.registers.write(`${name}_BASE`, base + log2);
    this.registers.write(`${name}_PROD`, 0);
    this.registers.write(`${name}_CONS`, 0);
  }

  #streams(options: StartOptions): void {
    const { registers } = this;
    const log2 = options.streams ?? Math.min(STREAMS_LOG2, this.feature('SIDSIZE'));
    registers.write('STRTAB_BASE', this.streamTable);
    registers.write('STRTAB_BASE_CFG', 0);
    registers.set('STRTAB_BASE_CFG', { LOG2SIZE: log2 });
    if (options.split === undefined) return;
    this.needs({ ST_LEVEL: 1 });
    registers.set('STRTAB_BASE_CFG', { FMT: 1, SPLIT: options.split });
  }
}
