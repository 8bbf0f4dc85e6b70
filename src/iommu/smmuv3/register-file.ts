/**
 * The two register pages (IHI 0070 §6.1, §6.2) as words, masks and handlers. All rules are data in
 * `register-rules.ts`: the table masks, the handler gets the word before and after.
 */
import { assert } from '../../assert.ts';
import type { AccessSize } from '../../hw/bus.ts';
import type { Field } from '../../layout/field.ts';
import type { RegisterLayout } from '../../layout/register.ts';
import type { Random } from '../../sim/random.ts';
import { PAGE_1, REGISTERS } from '../spec/registers.layout.ts';
import { type Features, outputAddressBits } from './features.ts';
import { type Guard, REGISTER_RULES, type RegisterReader, type RegisterRule } from './register-rules.ts';

/** Both pages define registers in their first 4 KiB only. */
const PAGE_BYTES = 0x1000;
const WORDS = (2 * PAGE_BYTES) / 4;

/** Sees a word that software wrote: reserved, read-only and guarded bits are already settled. */
export type WriteHandler = (next: number, previous: number) => void;

/** What the bits of one word are allowed to do; a word without a rule is RES0. Masks are signed, which the engine keeps as integers. */
interface Word {
  /** Bits that exist. */
  readonly implemented: number;
  /** Bits that software can write when no guard forbids it. */
  readonly writable: number;
  readonly guards: readonly { readonly mask: number; readonly open: Guard['open'] }[];
  readonly accepts: RegisterRule['accepts'] | undefined;
}

export interface RegisterFileOptions {
  readonly features: Features;
  /** Draws the bits that reset leaves UNKNOWN; without it they are 0. */
  readonly random?: Random;
}

/** Index of the word at `offset`, or -1 where no register can be. */
function wordAt(offset: number): number {
  if (offset < PAGE_BYTES) return offset >>> 2;
  return offset >= PAGE_1 && offset < PAGE_1 + PAGE_BYTES ? (PAGE_BYTES + offset - PAGE_1) >>> 2 : -1;
}

export class RegisterFile implements RegisterReader {
  readonly #features: Features;
  readonly #random: Random | undefined;
  readonly #words: readonly (Word | undefined)[];
  readonly #handlers: (WriteHandler | undefined)[] = new Array(WORDS).fill(undefined);
  readonly #readMasks = new Int32Array(WORDS).fill(-1);
  #values: DataView;

  constructor(options: RegisterFileOptions) {
    this.#features = options.features;
    this.#random = options.random;
    this.#words = wordsOf(options.features);
    this.#values = this.#resetValues();
  }

  /** Every word back to its reset value. */
  reset(): void {
    this.#values = this.#resetValues();
    this.#readMasks.fill(-1);
  }

  /** The register's value; of a 64-bit register, bits 31:0. */
  get(register: RegisterLayout): number {
    return this.#values.getUint32(wordAt(register.offset) * 4, true);
  }

  /**
   * Where the register is, for {@link at} and {@link setAt}. Layouts are objects of many shapes, so that looking into one
   * costs more than the access itself: what every transaction or record touches is looked up once.
   */
  place(register: RegisterLayout): number {
    return wordAt(register.offset) * 4;
  }

  /** As {@link get}, of the register at `place`. */
  at(place: number): number {
    return this.#values.getUint32(place, true);
  }

  /** As {@link set}, of the register at `place`. */
  setAt(place: number, value: number): void {
    this.#values.setUint32(place, value, true);
  }

  /** One field, of a register of either width. */
  field(register: RegisterLayout, field: Field): number {
    return field.get(this.#values, wordAt(register.offset) * 4);
  }

  /** Sets the register, or bits 31:0 of it, as hardware does: without guards and handlers. */
  set(register: RegisterLayout, value: number): void {
    this.#values.setUint32(wordAt(register.offset) * 4, value, true);
  }

  /** Sets one field, as hardware does. */
  setField(register: RegisterLayout, field: Field, value: number): void {
    field.set(this.#values, wordAt(register.offset) * 4, value);
  }

  /** Sets all of a 64-bit register. */
  set64(register: RegisterLayout, low: number, high: number): void {
    const at = wordAt(register.offset) * 4;
    this.#values.setUint32(at, low, true);
    this.#values.setUint32(at + 4, high, true);
  }

  /** Calls `handler` after each write of the register by software (of a 64-bit register, of bits 31:0). */
  onWrite(register: RegisterLayout, handler: WriteHandler): void {
    const index = wordAt(register.offset);
    assert(this.#handlers[index] === undefined, `${register.$.title} has one handler`);
    this.#handlers[index] = handler;
  }

  /** From now on software reads the register's other bits as 0. */
  setReadMask(register: RegisterLayout, mask: number): void {
    this.#readMasks[wordAt(register.offset)] = mask;
  }

  /** A read by software. Sizes and alignments that are no register access read as zero (§6.2). */
  read(offset: number, size: AccessSize, data: DataView): void {
    const aligned = size >= 4 && (offset & (size - 1)) === 0;
    data.setInt32(0, aligned ? this.#readWord(wordAt(offset)) : 0, true);
    if (size === 8) data.setInt32(4, aligned ? this.#readWord(wordAt(offset + 4)) : 0, true);
  }

  /** A write by software; what is no register access is ignored (§6.2). A 64-bit access is two 32-bit ones. */
  write(offset: number, size: AccessSize, data: DataView): void {
    if (size < 4 || (offset & (size - 1)) !== 0) return;
    this.#writeWord(wordAt(offset), data.getUint32(0, true));
    if (size === 8) this.#writeWord(wordAt(offset + 4), data.getUint32(4, true));
  }

  #readWord(index: number): number {
    if (index < 0 || this.#words[index] === undefined) return 0;
    return this.#values.getInt32(index << 2, true) & (this.#readMasks[index] ?? 0);
  }

  #writeWord(index: number, value: number): void {
    const word = index < 0 ? undefined : this.#words[index];
    if (word === undefined || word.writable === 0) return;
    if (word.accepts !== undefined && !word.accepts(this, value)) return;
    let mask = word.writable;
    if (word.guards.length > 0) {
      for (const guard of word.guards) if (!guard.open(this)) mask &= ~guard.mask;
    }
    if (mask === 0) return;
    const previous = this.#values.getUint32(index << 2, true);
    const next = ((previous & ~mask) | (value & mask)) >>> 0;
    this.#values.setUint32(index << 2, next, true);
    this.#handlers[index]?.(next, previous);
  }

  /** A fresh set of values; built in one place, so that no register can be forgotten. */
  #resetValues(): DataView {
    const values = new DataView(new ArrayBuffer(WORDS * 4));
    const known = new Map(REGISTER_RULES.map((rule) => [rule.register.offset, rule.reset]));
    for (const register of REGISTERS) {
      const reset = known.get(register.offset);
      for (let half = 0; half < register.$.width / 32; half++) {
        const index = wordAt(register.offset) + half;
        const word = this.#words[index];
        if (word === undefined) continue;
        if (reset !== undefined)
          values.setInt32(index * 4, half === 0 ? reset(this.#features) & word.implemented : 0, true);
        else if (this.#random !== undefined) values.setInt32(index * 4, this.#random.next32() & word.writable, true);
      }
    }
    return values;
  }
}

/** The words that exist with these features. */
function wordsOf(features: Features): (Word | undefined)[] {
  const words: (Word | undefined)[] = new Array(WORDS).fill(undefined);
  const rules = new Map(REGISTER_RULES.map((rule) => [rule.register.offset, rule]));
  for (const register of REGISTERS) {
    const rule: RegisterRule = rules.get(register.offset) ?? { register };
    if (rule.present !== undefined && !rule.present(features)) continue;
    for (let half = 0; half < register.$.width / 32; half++) {
      words[wordAt(register.offset) + half] = wordOf(rule, half, features);
    }
  }
  return words;
}

function wordOf(rule: RegisterRule, half: number, features: Features): Word {
  const { register } = rule;
  const present = register.$.fields.filter((field) => rule.fields?.[field.name]?.(features) ?? true);
  let implemented = bits(present, half);
  if (rule.address === true) implemented &= belowAddress(register, half, features);
  const guards = (rule.guards ?? []).map(({ fields, open }) => ({
    mask:
      fields === undefined
        ? -1
        : bits(
            present.filter((field) => fields.includes(field.name)),
            half,
          ),
    open,
  }));
  return {
    implemented,
    writable: register.$.access === 'read-only' ? 0 : implemented,
    guards,
    accepts: half === 0 ? rule.accepts : undefined,
  };
}

/** The bits of `fields` that lie in one 32-bit half of a register. */
function bits(fields: readonly Field[], half: number): number {
  let mask = 0;
  for (const field of fields) {
    const lsb = Math.max(field.lsb - half * 32, 0);
    const msb = Math.min(field.msb - half * 32, 31);
    if (msb >= lsb) mask |= ((2 ** (msb - lsb + 1) - 1) * 2 ** lsb) | 0;
  }
  return mask;
}

/** Clears address bits at and above IDR5.OAS; the hint in bit 62 stays. */
function belowAddress(register: RegisterLayout, half: number, features: Features): number {
  if (half === 0) return -1;
  const hints = register.$.fields.filter((field) => field.lsb >= 56);
  const addressBits = 2 ** Math.max(outputAddressBits(features) - 32, 0) - 1;
  return addressBits | bits(hints, half);
}
