/** The three queues as software sees them: a ring in memory and two index registers each (IHI 0070 §3.5). */
import { encodeFields, readBits, type Word } from '../bits.ts';
import { equal } from '../check.ts';
import { CERROR, COMMANDS, type CommandName } from '../facts/commands.ts';
import { PAGE_REQUEST_FIELDS } from '../facts/page-requests.ts';
import type { Ram } from './ram.ts';
import type { Registers } from './registers.ts';

const COMMAND_BYTES = 16;
const EVENT_BYTES = 32;
const PAGE_REQUEST_BYTES = 16;

/** A wrapping index of a queue of 2^log2 entries. */
export const advance = (index: number, by: number, log2: number): number => (index + by) % 2 ** (log2 + 1);

export type Fields = Readonly<Record<string, Word>>;

/** The 16 bytes of a command. @throws RangeError for an unknown name or field. */
export function encodeCommand(name: CommandName, fields: Fields = {}): Uint8Array {
  const fact = COMMANDS.find((candidate) => candidate.name === name);
  if (fact === undefined) throw new RangeError(`no command ${name}`);
  return encodeFields(fact.fields, COMMAND_BYTES, { Opcode: fact.opcode, ...fields });
}

export class CommandPort {
  readonly #registers: Registers;
  readonly #ram: Ram;
  readonly #settle: () => void;
  base = 0;
  log2 = 0;

  constructor(registers: Registers, ram: Ram, settle: () => void) {
    this.#registers = registers;
    this.#ram = ram;
    this.#settle = settle;
  }

  /** Bytes of the entry that `index` names. */
  addressOf(index: number): number {
    return this.base + (index % 2 ** this.log2) * COMMAND_BYTES;
  }

  get prod(): number {
    return Number(this.#registers.read('CMDQ_PROD')) % 2 ** (this.log2 + 1);
  }

  get cons(): number {
    return this.#registers.get('CMDQ_CONS', 'RD');
  }

  /** Puts commands into the queue and tells the SMMU once. */
  submit(...commands: readonly Uint8Array[]): void {
    let { prod } = this;
    for (const command of commands) {
      this.#ram.write(this.addressOf(prod), command);
      prod = advance(prod, 1, this.log2);
    }
    this.#registers.write('CMDQ_PROD', prod);
    this.#settle();
  }

  /** CMDQ_CONS.ERR while CMDQ_ERR is active, else 0. */
  get error(): number {
    const active = this.#registers.get('GERROR', 'CMDQ_ERR') !== this.#registers.get('GERRORN', 'CMDQ_ERR');
    return active ? this.#registers.get('CMDQ_CONS', 'ERR') : CERROR.NONE;
  }

  /** Runs one command: the error code, or 0 when it was consumed. A failed command stays at CONS. */
  attempt(name: CommandName, fields: Fields = {}): number {
    this.submit(encodeCommand(name, fields));
    return this.error;
  }

  /** Runs one command that must succeed. */
  run(name: CommandName, fields: Fields = {}): void {
    equal(`CMD_${name}: CMDQ_CONS.ERR`, this.attempt(name, fields), CERROR.NONE);
    equal(`CMD_${name}: consumed, CMDQ_CONS.RD`, this.cons, this.prod);
  }

  sync(): void {
    this.run('SYNC');
  }

  /** Replaces the command at CONS by a CMD_SYNC and acknowledges the error. */
  recover(): void {
    this.#ram.write(this.addressOf(this.cons), encodeCommand('SYNC'));
    this.acknowledge();
  }

  /** Acknowledges CMDQ_ERR. */
  acknowledge(): void {
    const registers = this.#registers;
    registers.set('GERRORN', { CMDQ_ERR: registers.get('GERROR', 'CMDQ_ERR') });
    this.#settle();
  }
}

/** Reads what the SMMU writes: event records or page requests. */
export class RecordPort {
  readonly #registers: Registers;
  readonly #ram: Ram;
  readonly #name: 'EVENTQ' | 'PRIQ';
  readonly #entryBytes: number;
  readonly #settle: () => void;
  base = 0;
  log2 = 0;

  constructor(name: 'EVENTQ' | 'PRIQ', registers: Registers, ram: Ram, settle: () => void) {
    this.#registers = registers;
    this.#ram = ram;
    this.#name = name;
    this.#entryBytes = name === 'EVENTQ' ? EVENT_BYTES : PAGE_REQUEST_BYTES;
    this.#settle = settle;
  }

  get prod(): number {
    return this.#registers.get(`${this.#name}_PROD`, 'WR');
  }

  get cons(): number {
    return this.#registers.get(`${this.#name}_CONS`, 'RD');
  }

  get pending(): number {
    return (this.prod - this.cons + 2 ** (this.log2 + 1)) % 2 ** (this.log2 + 1);
  }

  addressOf(index: number): number {
    return this.base + (index % 2 ** this.log2) * this.#entryBytes;
  }

  /** Whether an overflow is unacknowledged. */
  get overflowed(): boolean {
    const { prod, cons } = { prod: `${this.#name}_PROD`, cons: `${this.#name}_CONS` };
    return this.#registers.get(prod, 'OVFLG') !== this.#registers.get(cons, 'OVACKFLG');
  }

  /** Records that wait, without consuming them. */
  peek(): Uint8Array[] {
    return Array.from({ length: this.pending }, (_, n) =>
      this.#ram.read(this.addressOf(advance(this.cons, n, this.log2)), this.#entryBytes),
    );
  }

  /** Consumes `count` records, all of them unless given; an overflow stays as it is. */
  consume(count = this.pending): void {
    this.#registers.set(`${this.#name}_CONS`, { RD: advance(this.cons, count, this.log2) });
    this.#settle();
  }

  take(): Uint8Array[] {
    const records = this.peek();
    if (records.length > 0) this.consume(records.length);
    return records;
  }

  acknowledgeOverflow(): void {
    this.#registers.set(`${this.#name}_CONS`, { OVACKFLG: this.#registers.get(`${this.#name}_PROD`, 'OVFLG') });
    this.#settle();
  }
}

/** One field of a page request record. */
export function pageRequestField(record: Uint8Array, name: string): number {
  const field = PAGE_REQUEST_FIELDS.find((candidate) => candidate.name === name);
  if (field === undefined) throw new RangeError(`no field ${name}`);
  return Number(readBits(record, field.bits));
}
