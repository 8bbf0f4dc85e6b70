/** Register accesses by the names and positions of the fact tables. */
import { maskOf, type Word } from '../bits.ts';
import type { FeatureCondition } from '../facts/fact.ts';
import type { RegisterFact } from '../facts/register-fact.ts';
import { CONTROL_REGISTERS } from '../facts/registers-control.ts';
import { ID_REGISTERS } from '../facts/registers-id.ts';
import { QUEUE_REGISTERS } from '../facts/registers-queues.ts';
import type { FeatureValues, Unit } from '../subject.ts';

export const ALL_REGISTERS: readonly RegisterFact[] = [...ID_REGISTERS, ...CONTROL_REGISTERS, ...QUEUE_REGISTERS];

const PAGE_BYTES = 0x1_0000;

/** The register of this name. @throws RangeError when there is none. */
export function registerFact(name: string): RegisterFact {
  const fact = ALL_REGISTERS.find((candidate) => candidate.name === name);
  if (fact === undefined) throw new RangeError(`no register ${name}`);
  return fact;
}

/** Bytes from the start of the SMMU. */
export const offsetOf = (fact: RegisterFact): number => fact.page * PAGE_BYTES + fact.offset;

/** Whether `condition` holds of `features`. */
export function holds(condition: FeatureCondition | undefined, features: FeatureValues): boolean {
  return Object.entries(condition ?? {}).every(([name, wanted]) =>
    wanted === 'positive' ? (features[name] ?? 0) > 0 : features[name] === wanted,
  );
}

/** IDR5.OAS in bits. */
export const addressBits = (features: FeatureValues): number =>
  [32, 36, 40, 42, 44, 48, 52, 56][features['OAS'] ?? 0] ?? 56;

export class Registers {
  readonly #unit: Unit;

  constructor(unit: Unit) {
    this.#unit = unit;
  }

  read(name: string): bigint {
    const fact = registerFact(name);
    return this.load(offsetOf(fact), fact.width === 64 ? 8 : 4);
  }

  write(name: string, value: Word): void {
    const fact = registerFact(name);
    this.store(offsetOf(fact), fact.width === 64 ? 8 : 4, value);
  }

  /** One field. */
  get(name: string, field: string): number {
    return Number((this.read(name) >> BigInt(this.#field(name, field).bits[1])) & this.#ones(name, field));
  }

  /** Changes the given fields, all others keep their value. */
  set(name: string, values: Readonly<Record<string, Word>>): void {
    let word = this.read(name);
    for (const [field, value] of Object.entries(values)) {
      const { bits } = this.#field(name, field);
      word = (word & ~maskOf(bits)) | (BigInt(value) << BigInt(bits[1]));
    }
    this.write(name, word);
  }

  /** A read at an offset from the start of the SMMU; an abort reads as all ones here, as a CPU would not get a value. */
  load(offset: number, size: 1 | 2 | 4 | 8): bigint {
    return this.#unit.readRegister(offset, size) ?? (1n << BigInt(size * 8)) - 1n;
  }

  store(offset: number, size: 1 | 2 | 4 | 8, value: Word): void {
    this.#unit.writeRegister(offset, size, BigInt(value));
  }

  #field(name: string, field: string): RegisterFact['fields'][number] {
    const found = registerFact(name).fields.find((candidate) => candidate.name === field);
    if (found === undefined) throw new RangeError(`no field ${name}.${field}`);
    return found;
  }

  #ones(name: string, field: string): bigint {
    const { bits } = this.#field(name, field);
    return (1n << BigInt(bits[0] - bits[1] + 1)) - 1n;
  }
}
