/** What an event record must look like, field by field, and nothing where §7.3 draws RES0. */
import { maskOf, readBits, type Word, word64 } from '../bits.ts';
import { equal, Mismatch, show } from '../check.ts';
import { EVENTS, type EventFact, type EventName } from '../facts/events.ts';
import type { Transaction } from './traffic.ts';
import { split } from './traffic.ts';

export function eventFact(name: string): EventFact {
  const fact = EVENTS.find((candidate) => candidate.name === name);
  if (fact === undefined) throw new RangeError(`no event ${name}`);
  return fact;
}

/** The name of the event in `record`, or its number. */
export function eventName(record: Uint8Array): string {
  const number = record[0] ?? 0;
  return EVENTS.find((fact) => fact.number === number)?.name ?? show(number);
}

/** One field of a record. */
export function eventField(record: Uint8Array, name: string): bigint {
  const field = eventFact(eventName(record)).fields.find((candidate) => candidate.name === name);
  if (field === undefined) throw new RangeError(`${eventName(record)} has no field ${name}`);
  return readBits(record, field.bits);
}

/** Fields whose value another field makes UNKNOWN (§7.3). */
const UNKNOWN: Readonly<Record<string, (record: Uint8Array) => boolean>> = {
  Reason: () => true,
  SubstreamID: (record) => (record[0] ?? 0) !== 0x08 && readBits(record, [11, 11]) === 0n,
  STAG: (record) => readBits(record, [95, 95]) === 0n,
  IPA: (record) => readBits(record, [103, 103]) === 0n,
  TTRnW: (record) => readBits(record, [105, 104]) !== 1n,
};

/** What a record says of the transaction that caused it, unless a row says otherwise. */
export function fieldsOf(transaction: Transaction): Record<string, Word> {
  const { request, options } = transaction;
  return {
    StreamID: request.requesterId,
    SSV: request.pasid >= 0 ? 1 : 0,
    SubstreamID: Math.max(0, request.pasid),
    RnW: request.write ? 0 : 1,
    InD: request.execute && !request.write ? 1 : 0,
    PnU: request.privileged ? 1 : 0,
    InputAddr: split(options.va).whole,
  };
}

/**
 * Compares a whole record: fields that `expected` does not name are 0, bits of no field are 0, UNKNOWN ones are free.
 *
 * @throws Mismatch
 */
export function checkRecord(record: Uint8Array, name: EventName, expected: Readonly<Record<string, Word>>): void {
  const fact = eventFact(name);
  equal('event', eventName(record), name);
  for (const field of fact.fields) {
    if (field.name === 'EventNumber' || UNKNOWN[field.name]?.(record) === true) continue;
    equal(`${name}.${field.name}`, readBits(record, field.bits), expected[field.name] ?? 0);
  }
  for (const field of Object.keys(expected)) {
    const known = fact.fields.some((candidate) => candidate.name === field);
    if (!known && !COMMON.has(field)) throw new RangeError(`${name} has no field ${field}`);
  }
  // The positions of F_BAD_ATS_TREQ's own fields are lost: nothing can be said of the rest.
  if (name !== 'F_BAD_ATS_TREQ') checkReserved(record, fact);
}

const COMMON = new Set(['StreamID', 'SSV', 'SubstreamID', 'RnW', 'InD', 'PnU', 'InputAddr']);

function checkReserved(record: Uint8Array, fact: EventFact): void {
  const named = fact.fields.reduce((mask, field) => mask | maskOf(field.bits), 0n);
  let whole = 0n;
  for (let word = 3; word >= 0; word--) whole = (whole << 64n) | word64(record.subarray(word * 8, word * 8 + 8));
  const stray = whole & ~named;
  if (stray !== 0n) throw new Mismatch(`${fact.name}: bits outside its fields`, '0', show(stray));
}
