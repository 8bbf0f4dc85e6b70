/** Chapter 6: registers whose writes do more than store: CR0, IRQ_CTRL, GBPA, GERRORN, and what lies between registers. */
import type { Bench } from '../bench/bench.ts';
import { ALL_REGISTERS, holds, offsetOf, registerFact } from '../bench/registers.ts';
import { maskOf } from '../bits.ts';
import { equal, oneOf } from '../check.ts';
import { COMPONENT_REGISTERS } from '../facts/registers-component.ts';
import { type Row, row } from '../row.ts';

const PAGE_1 = 0x1_0000;
const ONES = 0xffff_ffffn;

/** Each field of CR0 and IRQ_CTRL is acknowledged by itself (§6.3.9, §6.3.16). */
function acknowledged(name: 'CR0' | 'IRQ_CTRL', acknowledge: 'CR0ACK' | 'IRQ_CTRLACK'): Row[] {
  const fact = registerFact(name);
  return fact.fields.map((field) => {
    const check = (b: Bench) => {
      b.start({ SMMUEN: 0, EVENTQEN: 0, CMDQEN: 0, PRIQEN: 0 });
      const mask = holds(field.present, b.features) ? maskOf(field.bits) : 0n;
      b.registers.write(name, maskOf(field.bits));
      b.settle();
      equal(`${name} after ${field.name} was set`, b.registers.read(name), mask);
      equal(`${acknowledge} after the update`, b.registers.read(acknowledge), mask);
      b.registers.write(name, 0);
      b.settle();
      equal(`${acknowledge} after ${field.name} was cleared`, b.registers.read(acknowledge), 0);
    };
    const needed = Object.entries(field.present ?? {}).filter(([, value]) => typeof value === 'number');
    const title = `${name}.${field.name}: ${acknowledge} follows, field by field`;
    const features = Object.fromEntries(needed) as Record<string, number>;
    return row(fact.section, `${name}.${field.name}-acknowledged`, title, check, { features, absent: check });
  });
}

const reservedControl: Row[] = (['CR0', 'IRQ_CTRL', 'GERRORN'] as const).map((name) => {
  const fact = registerFact(name);
  return row(fact.section, `${name}-res0`, `${name}: bits of no field read as zero`, (b) => {
    b.start({ SMMUEN: 0, EVENTQEN: 0, CMDQEN: 0, PRIQEN: 0 });
    const mask = fact.fields
      .filter((field) => holds(field.present, b.features))
      .reduce((bits, field) => bits | maskOf(field.bits), 0n);
    b.registers.write(name, ONES & ~mask);
    b.settle();
    equal(`${name} outside its fields`, b.registers.read(name) & ~mask, 0);
  });
});

const errorFields: Row[] = registerFact('GERRORN').fields.map((field) => {
  const check = (b: Bench) => {
    const mask = holds(field.present, b.features) ? maskOf(field.bits) : 0n;
    b.registers.write('GERRORN', maskOf(field.bits));
    equal(`GERRORN.${field.name}`, b.registers.read('GERRORN'), mask);
  };
  const features = (field.present ?? {}) as Record<string, number>;
  const title = `GERRORN.${field.name} keeps what was written`;
  return row('6.3.20', `GERRORN.${field.name}-stores`, title, check, { features, absent: check });
});

const bypassFields: Row[] = registerFact('GBPA')
  .fields.filter((field) => field.name !== 'Update')
  .map((field) =>
    row(
      '6.3.14.1',
      `GBPA.${field.name}`,
      `GBPA.${field.name}: written together with Update=1, which then clears`,
      (b) => {
        const kept = ['INSTCFG', 'PRIVCFG'].includes(field.name) ? 'ATTR_PERMS_OVR' : 'ATTR_TYPES_OVR';
        if (field.name !== 'ABORT') b.needs({ [kept]: 1 });
        for (const value of [(1n << BigInt(field.bits[0] - field.bits[1] + 1)) - 1n, 0n]) {
          b.registers.write('GBPA', (1n << 31n) | (value << BigInt(field.bits[1])));
          b.settle();
          equal(`GBPA.${field.name}`, b.registers.get('GBPA', field.name), value);
          equal('GBPA.Update', b.registers.get('GBPA', 'Update'), 0);
        }
      },
    ),
  );

const bypass: Row[] = [
  row('6.3.14.1', 'without-update', 'GBPA: a write without Update=1 is ignored', (b) => {
    b.needs({ ArchMinorRev: Math.max(2, b.feature('ArchMinorRev')) });
    const before = b.registers.read('GBPA');
    b.registers.write('GBPA', before ^ (1n << 20n));
    b.settle();
    equal('GBPA', b.registers.read('GBPA'), before);
  }),
  row('6.3.14', 'GBPA-res0', 'GBPA: bits of no field read as zero', (b) => {
    b.registers.write('GBPA', ONES);
    b.settle();
    const named = registerFact('GBPA').fields.reduce((bits, field) => bits | maskOf(field.bits), 0n);
    equal('GBPA outside its fields', b.registers.read('GBPA') & ~named, 0);
  }),
];

/** Words of a page, between `first` and `last`, that no register occupies. */
function gaps(page: 0 | 1, first: number, last: number): number[] {
  const taken = new Set<number>();
  for (const fact of ALL_REGISTERS.filter((entry) => entry.page === page)) {
    for (let at = 0; at < fact.width / 8; at += 4) taken.add(fact.offset + at);
  }
  if (page === 0) for (const fact of COMPONENT_REGISTERS) taken.add(fact.offset);
  // Registers that only Secure state, RME or the DPT have, and IMPLEMENTATION DEFINED space.
  for (let at = 0x200; at < 0x218; at += 4) taken.add(at);
  for (let at = 0xe00; at < 0xf00; at += 4) taken.add(at);
  const free: number[] = [];
  for (let at = first; at <= last; at += 4) if (!taken.has(at)) free.push(at);
  return free;
}

/** Page 0 offsets of registers that page 1 defines: RAZ/WI, or the page 1 register. */
const ALIASES = [0xa8, 0xac, 0xc8, 0xcc];

const between: Row[] = [
  ...[0x000, 0x100, 0x180, 0x220, 0xf00].map((first, index, all) => {
    const last = (all[index + 1] ?? 0x1000) - 4;
    const name = `0x${first.toString(16)}-0x${last.toString(16)}`;
    return row('6.2', `page-0-${name}`, `page 0, ${name}: locations without a register are RES0`, (b) => {
      for (const offset of gaps(0, first, last).filter((at) => !ALIASES.includes(at))) {
        b.registers.store(offset, 4, ONES);
        equal(`offset 0x${offset.toString(16)}`, b.registers.load(offset, 4), 0);
      }
    });
  }),
  row('6.2', 'page-1-gaps', 'page 1: locations without a register are RES0, or what page 0 has at the offset', (b) => {
    for (const offset of gaps(1, 0, 0x3fc)) {
      const there = b.registers.load(offset, 4);
      oneOf(`offset 0x1${offset.toString(16).padStart(4, '0')}`, b.registers.load(PAGE_1 + offset, 4), [0, there]);
    }
  }),
  row('6.2', 'secure-registers', 'without Secure state the Secure registers are RES0', (b) => {
    for (const offset of [0x8000, 0x8004, 0x8020, 0x8024, 0x8044, 0x8060, 0x8080, 0x8090, 0x80a0]) {
      b.registers.store(offset, 4, ONES);
      equal(`offset 0x${offset.toString(16)}`, b.registers.load(offset, 4), 0);
    }
  }),
  ...ALIASES.map((offset) => {
    const name = `0x${offset.toString(16)}`;
    return row('6.2', `page-0-alias-${name}`, `page 0, ${name}: RAZ/WI, or the page 1 register of that offset`, (b) => {
      if (offset >= 0xc8) b.needs({ PRI: 1 });
      b.start({ events: 3, ...(b.feature('PRI') === 1 ? { pages: 3, PRIQEN: 0 } : {}), EVENTQEN: 0 });
      b.registers.store(PAGE_1 + offset, 4, 5);
      oneOf(`offset ${name}`, b.registers.load(offset, 4), [0, b.registers.load(PAGE_1 + offset, 4)]);
      b.registers.store(offset, 4, 2);
      const stored = b.registers.load(PAGE_1 + offset, 4);
      oneOf('the page 1 register', stored, [5, 2]);
    });
  }),
];

/** Placement: a value written at the fact's offset is there and nowhere else. */
const placement: Row[] = ['EVENTQ_PROD', 'EVENTQ_CONS', 'PRIQ_PROD', 'PRIQ_CONS'].map((name) => {
  const fact = registerFact(name);
  const title = `${name} lies at 64 KiB + 0x${fact.offset.toString(16)}`;
  return row('6.2.2', `${name}-page`, title, (b) => {
    if (name.startsWith('PRIQ')) b.needs({ PRI: 1 });
    b.registers.write(`${name.slice(0, -5)}_BASE`, 4);
    // Bit 0 is an index bit of a queue of any size.
    for (const index of [1, 0]) {
      b.registers.store(offsetOf(fact), 4, index);
      equal(name, b.registers.load(PAGE_1 + fact.offset, 4), index);
    }
  });
});

/** What is no register access may do little: no exception, and read-only registers stay (§6.2). */
const illegal: Row[] = [
  ...([1, 2] as const).map((size) =>
    row(
      '6.2',
      `size-${size}`,
      `accesses of ${size} byte${size === 1 ? '' : 's'} leave read-only registers alone`,
      (b) => {
        const before = b.registers.read('IDR0');
        for (let at = 0; at < 8; at += size) {
          b.registers.store(at, size, 0xff);
          b.registers.load(at, size);
        }
        equal('IDR0', b.registers.read('IDR0'), before);
      },
    ),
  ),
  row('6.2', 'unaligned', 'unaligned accesses leave read-only registers alone', (b) => {
    const before = b.registers.read('IDR0');
    for (const at of [1, 2, 3, 5]) {
      b.registers.store(at, 4, ONES);
      b.registers.load(at, 4);
    }
    equal('IDR0', b.registers.read('IDR0'), before);
  }),
  row('6.2', 'adjacent', 'a 64-bit access to two 32-bit registers: RAZ/WI, an abort, one of them, or both', (b) => {
    const [low, high] = [b.registers.read('IDR0'), b.registers.read('IDR1')];
    const all = (1n << 64n) - 1n;
    oneOf('IDR0 and IDR1', b.registers.load(0, 8), [0n, all, low, high << 32n, low | (high << 32n)]);
  }),
];

export const controlRegisterRows: readonly Row[] = [
  ...acknowledged('CR0', 'CR0ACK'),
  ...acknowledged('IRQ_CTRL', 'IRQ_CTRLACK'),
  ...reservedControl,
  ...errorFields,
  ...bypassFields,
  ...bypass,
  ...between,
  ...placement,
  ...illegal,
];
