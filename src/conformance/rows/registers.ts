/** Chapter 6: every register by the fact tables: where it is, what its bits do, what guards it (IHI 0070 §6.2, §6.3). */
import type { Bench } from '../bench/bench.ts';
import { ALL_REGISTERS, addressBits, holds, offsetOf } from '../bench/registers.ts';
import { maskOf } from '../bits.ts';
import { equal } from '../check.ts';
import type { FeatureCondition } from '../facts/fact.ts';
import type { Guard, RegisterFact, RegisterFieldFact } from '../facts/register-fact.ts';
import { COMPONENT_REGISTERS } from '../facts/registers-component.ts';
import { ID_REGISTERS } from '../facts/registers-id.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

const ID_NAMES = new Set(ID_REGISTERS.map((fact) => fact.name));
const ONES: Readonly<Record<32 | 64, bigint>> = { 32: 0xffff_ffffn, 64: 0xffff_ffff_ffff_ffffn };

/** Registers whose value changes of itself, or whose writes do more than store. */
const EFFECTS = new Set(['CR0', 'GBPA', 'IRQ_CTRL', 'GERRORN', 'GATOS_CTRL']);

/** Bits of a register that exist with these features. */
function implemented(fact: RegisterFact, features: FeatureValues): bigint {
  if (!holds(fact.present, features)) return 0n;
  return fact.fields
    .filter((field) => holds(field.present, features))
    .reduce((mask, field) => mask | supported(field, features), 0n);
}

/** Address fields end at the OAS (§6.3.24, §6.3.21), identifiers of a look-up at their sizes (§6.3.38). */
function supported(field: RegisterFieldFact, features: FeatureValues): bigint {
  const [msb, lsb] = field.bits;
  const size = IDENTIFIERS[field.name];
  if (size !== undefined) return maskOf(field.bits) & ((1n << BigInt(lsb + (features[size] ?? 0))) - 1n);
  if (field.name !== 'ADDR' || msb !== 55) return maskOf(field.bits);
  return maskOf([addressBits(features) - 1, lsb]);
}

const IDENTIFIERS: Readonly<Record<string, string>> = { STREAMID: 'SIDSIZE', SUBSTREAMID: 'SSIDSIZE' };

/** Bits beyond the size of an identifier, which an SMMU may or may not store (§9.1.5). */
const beyond = (fact: RegisterFact, features: FeatureValues): bigint =>
  fact.fields
    .filter((field) => field.name in IDENTIFIERS)
    .reduce((mask, field) => mask | (maskOf(field.bits) & ~supported(field, features)), 0n);

/** All of the conditions. */
const allOf = (...conditions: readonly (FeatureCondition | undefined)[]): FeatureCondition =>
  Object.assign({}, ...conditions);

/** What software reads of a queue index: bits above the wrap flag are gone (§6.3.27 to §6.3.98). */
const QUEUE_OF: Readonly<Record<string, string>> = {
  CMDQ_PROD: 'CMDQ_BASE',
  CMDQ_CONS: 'CMDQ_BASE',
  EVENTQ_PROD: 'EVENTQ_BASE',
  EVENTQ_CONS: 'EVENTQ_BASE',
  PRIQ_PROD: 'PRIQ_BASE',
  PRIQ_CONS: 'PRIQ_BASE',
};
const MAX_LOG2: Readonly<Record<string, string>> = { CMDQ_BASE: 'CMDQS', EVENTQ_BASE: 'EVENTQS', PRIQ_BASE: 'PRIQS' };

/** Makes all index bits of a queue register readable that this SMMU can have. */
function widenQueue(b: Bench, fact: RegisterFact): bigint {
  const base = QUEUE_OF[fact.name];
  if (base === undefined) return ONES[64];
  const log2 = b.feature(MAX_LOG2[base] ?? '');
  b.registers.write(base, log2);
  // ERR may ignore a write while the queue is off (§6.3.28).
  const ignored = fact.name === 'CMDQ_CONS' ? maskOf([30, 24]) : 0n;
  return (ONES[32] & ~maskOf([19, 0]) & ~ignored) | (2n ** BigInt(log2 + 1) - 1n);
}

function reads(b: Bench, fact: RegisterFact): bigint {
  return b.registers.read(fact.name);
}

/** A read-only register keeps its value whatever is written to it. */
function readOnly(fact: RegisterFact): Row {
  return row(fact.section, `${fact.name}-read-only`, `${fact.name}: writes are ignored`, (b) => {
    const before = reads(b, fact);
    b.registers.write(fact.name, ONES[fact.width]);
    equal(`${fact.name} after a write of ones`, reads(b, fact), before);
    b.registers.write(fact.name, 0);
    equal(`${fact.name} after a write of zero`, reads(b, fact), before);
  });
}

function reserved(fact: RegisterFact): Row {
  return row(fact.section, `${fact.name}-res0`, `${fact.name}: bits of no field read as zero`, (b) => {
    const mask = implemented(fact, b.features) | beyond(fact, b.features);
    if (fact.access === 'RW') b.registers.write(fact.name, ONES[fact.width]);
    const fields = ID_NAMES.has(fact.name) && fact.fields.length === 0 ? ONES[fact.width] : mask;
    equal(`${fact.name} outside its fields`, reads(b, fact) & ~fields, 0);
  });
}

function storing(fact: RegisterFact): Row {
  const title = `${fact.name}: every implemented bit can be written and read`;
  const features = allOf(fact.present);
  const check = (b: Bench) => {
    const visible = widenQueue(b, fact) & ~beyond(fact, b.features);
    const mask = implemented(fact, b.features) & visible;
    for (const pattern of [0x5555_5555_5555_5555n, 0xaaaa_aaaa_aaaa_aaaan, 0n, ONES[64]]) {
      b.registers.write(fact.name, pattern & ONES[fact.width]);
      equal(
        `${fact.name} after ${pattern.toString(16)}`,
        reads(b, fact) & visible & ~ignoredBits(fact),
        pattern & mask,
      );
    }
  };
  return row(fact.section, `${fact.name}-stores`, title, check, { features });
}

const ignoredBits = (fact: RegisterFact): bigint => (fact.name === 'CMDQ_CONS' ? maskOf([30, 24]) : 0n);

/** One field by itself: its position, and that its neighbours stay apart. */
function fieldStores(fact: RegisterFact, field: RegisterFieldFact): Row {
  const features = allOf(fact.present, field.present);
  const name = `${fact.name}.${field.name}`;
  const [msb, lsb] = field.bits;
  const where = msb === lsb ? `bit ${msb}` : `bits [${msb}:${lsb}]`;
  const check = (b: Bench) => {
    const mask = maskOf(field.bits) & implemented(fact, b.features) & widenQueue(b, fact);
    b.registers.write(fact.name, 0);
    b.registers.write(fact.name, mask);
    equal(name, reads(b, fact) & ~(ignoredBits(fact) & ~mask), mask);
    b.registers.write(fact.name, 0);
    equal(`${name} after a write of zero`, reads(b, fact) & mask, 0);
  };
  const absent = (b: Bench) => {
    b.registers.write(fact.name, maskOf(field.bits));
    equal(`${name}, RES0`, reads(b, fact) & maskOf(field.bits), 0);
  };
  return row(fact.section, name, `${name} is ${where}`, check, { features, absent });
}

function resets(fact: RegisterFact, field: RegisterFieldFact): Row {
  const name = `${fact.name}.${field.name}`;
  const check = (b: Bench) => equal(name, b.registers.get(fact.name, field.name), field.reset ?? 0);
  return row(fact.section, `${name}-reset`, `${name} resets to ${field.reset}`, check, {
    features: allOf(fact.present, field.present),
    absent: check,
  });
}

/** A register that is not there is RES0. */
function absentRegister(fact: RegisterFact, without: FeatureValues): Row {
  const check = (b: Bench) => {
    b.registers.write(fact.name, ONES[fact.width]);
    equal(`${fact.name}, absent`, reads(b, fact), 0);
  };
  const what = Object.keys(fact.present ?? {}).join(' and ');
  return row(fact.section, `${fact.name}-absent`, `${fact.name} is RES0 without ${what}`, check, { features: without });
}

/** A 64-bit register takes 32-bit accesses to either half, and both ways agree (§6.2). */
function halves(fact: RegisterFact): Row {
  const check = (b: Bench) => {
    const mask = implemented(fact, b.features);
    const whole = () => b.registers.load(at, 8) & ~beyond(fact, b.features);
    const [low, high] = [0xdead_beefn, 0x0bad_cafen];
    const at = offsetOf(fact);
    b.registers.store(at, 8, 0);
    b.registers.store(at, 4, low);
    equal(`${fact.name} after a write of its low half`, whole(), low & mask);
    b.registers.store(at + 4, 4, high);
    equal(`${fact.name} after a write of its high half`, whole(), ((high << 32n) | low) & mask);
    equal('low half', b.registers.load(at, 4) & mask, low & mask);
    equal('high half', (b.registers.load(at + 4, 4) << 32n) & mask, (high << 32n) & mask);
  };
  const title = `${fact.name}: both halves by 32-bit accesses, the whole by a 64-bit one`;
  return row('6.2', `${fact.name}-halves`, title, check, { features: allOf(fact.present) });
}

/** How the bench closes a guard, and what it is called. */
function closeGuard(b: Bench, guard: Guard): void {
  switch (guard) {
    case 'QUEUES':
      b.registers.set('CR0', { EVENTQEN: 1 });
      break;
    case 'GBPA.Update':
    case 'GATOS_CTRL.RUN':
      return;
    default: {
      const [register = '', field = ''] = guard.split('.');
      b.registers.set(register, { [field]: 1 });
    }
  }
  b.settle();
}

const GUARDED: ReadonlySet<Guard> = new Set<Guard>([
  'CR0.SMMUEN',
  'CR0.CMDQEN',
  'CR0.EVENTQEN',
  'CR0.PRIQEN',
  'IRQ_CTRL.GERROR_IRQEN',
  'IRQ_CTRL.EVENTQ_IRQEN',
  'IRQ_CTRL.PRIQ_IRQEN',
  'QUEUES',
]);

function guarded(fact: RegisterFact, field: RegisterFieldFact, guard: Guard): Row {
  const name = `${fact.name}.${field.name}`;
  const what = guard === 'QUEUES' ? 'a queue is enabled' : `${guard}=1`;
  const check = (b: Bench) => {
    // Queues and tables lie in RAM, empty, so that enabling them has no effect of its own.
    b.start({ SMMUEN: 0, CMDQEN: 0, EVENTQEN: 0, PRIQEN: 0 });
    const before = reads(b, fact);
    closeGuard(b, guard);
    const mask = maskOf(field.bits) & implemented(fact, b.features);
    b.registers.write(fact.name, before ^ mask);
    equal(`${name} after a write while ${what}`, reads(b, fact) & mask, before & mask);
  };
  return row(fact.section, `${name}-guard`, `${name}: writes are ignored while ${what}`, check, {
    features: { ...allOf(fact.present, field.present), ArchMinorRev: 3 },
  });
}

/** Values of ID registers are those of the features, and never change (§6.2). */
function announces(fact: RegisterFact, field: RegisterFieldFact): Row {
  const name = `${fact.name}.${field.name}`;
  const check = (b: Bench) => {
    const expected = b.feature(field.name);
    equal(name, b.registers.get(fact.name, field.name), expected);
    b.start();
    equal(`${name} while enabled`, b.registers.get(fact.name, field.name), expected);
  };
  return row(fact.section, name, `${name} announces what the SMMU has, at any time`, check);
}

/** Fields of ID registers that are no features of the model: identification, and what follows from others. */
const IDENTITY = new Set(['IIDR', 'IDR2', 'IDR4', 'IDR6', 'MPAMIDR']);

function rowsOf(fact: RegisterFact): Row[] {
  const rows: Row[] = [];
  if (fact.access === 'RO') rows.push(readOnly(fact));
  if (!EFFECTS.has(fact.name)) rows.push(reserved(fact));
  if (fact.access === 'RW' && !EFFECTS.has(fact.name) && fact.fields.length > 0) rows.push(storing(fact));
  if (fact.width === 64 && fact.access === 'RW') rows.push(halves(fact));
  const switchable = Object.entries(fact.present ?? {}).find(([name]) => ['ATOS', 'MSI', 'PRI'].includes(name));
  if (switchable !== undefined) rows.push(absentRegister(fact, { [switchable[0]]: 0 }));
  else if (fact.present !== undefined) rows.push(absentRegister(fact, {}));
  for (const field of fact.fields) {
    if (ID_NAMES.has(fact.name) && !IDENTITY.has(fact.name)) rows.push(announces(fact, field));
    if (fact.access === 'RW' && !EFFECTS.has(fact.name)) rows.push(fieldStores(fact, field));
    if (field.reset !== undefined) rows.push(resets(fact, field));
    const guard = field.guard ?? fact.guard;
    if (guard !== undefined && GUARDED.has(guard)) rows.push(guarded(fact, field, guard));
  }
  return rows;
}

/** §6.3.170: the component identification block. */
const component: Row[] = COMPONENT_REGISTERS.map((fact) =>
  row('6.3.170', fact.name, `${fact.name} identifies the component and is read-only`, (b) => {
    const before = b.registers.load(fact.offset, 4);
    for (const { name, bits, value } of fact.fields) {
      if (value !== undefined) equal(`${fact.name}.${name}`, (before & maskOf(bits)) >> BigInt(bits[1]), value);
    }
    const named = fact.fields.reduce((mask, field) => mask | maskOf(field.bits), 0n);
    equal(`${fact.name} outside its fields`, before & ~named, 0);
    b.registers.store(fact.offset, 4, ONES[32]);
    equal(`${fact.name} after a write`, b.registers.load(fact.offset, 4), before);
  }),
);

export const registerRows: readonly Row[] = [...ALL_REGISTERS.flatMap(rowsOf), ...component];
