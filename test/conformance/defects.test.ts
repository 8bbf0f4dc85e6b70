/** The suite tells a wrong SMMU from a right one: SMMUs with one defect each, and the section that has to notice. */
import { describe, expect, test } from 'vitest';
import { within } from '../../src/conformance/chapters.ts';
import { faultlineSubject } from '../../src/conformance/faultline-subject.ts';
import { runRow, type Target } from '../../src/conformance/run.ts';
import type { FeatureValues, Subject, Unit, World } from '../../src/conformance/subject.ts';
import { ROWS } from '../../src/conformance/suite.ts';
import { Completion } from '../../src/hw/pcie/tlp.ts';

const target = (subject: Subject): Target => ({ subject, preset: 'full', changes: {}, fixed: false });

/** Ids of rows below `section`, or of all, that fail: at most one. Rows are taken from all over it. */
function noticed(subject: Subject, section: string): string[] {
  const rows = ROWS.filter((row) => section === '' || within(row.section, section));
  const order = rows.map((row, index) => [(index * 7919) % rows.length, row] as const).sort(([a], [b]) => a - b);
  for (const [, row] of order) {
    if (runRow(row, target(subject)).verdict === 'failed') return [row.id];
  }
  return [];
}

/** An SMMU whose ID registers promise what it does not do. */
function pretends(actual: FeatureValues): Subject {
  return {
    ...faultlineSubject,
    build(features, world) {
      const honest = faultlineSubject.build(features, world);
      const unit = faultlineSubject.build({ ...features, ...actual }, world);
      const readRegister: Unit['readRegister'] = (offset, size) =>
        (offset < 0x20 ? honest : unit).readRegister(offset, size);
      return { ...wrap(unit), readRegister };
    },
  };
}

/** The unit's members as own properties, so that some can be replaced. */
function wrap(unit: Unit): Unit {
  return {
    readRegister: (offset, size) => unit.readRegister(offset, size),
    writeRegister: (offset, size, value) => unit.writeRegister(offset, size, value),
    readMemory: (address, length) => unit.readMemory(address, length),
    writeMemory: (address, bytes) => unit.writeMemory(address, bytes),
    port: unit.port,
    advance: (ns) => unit.advance(ns),
    atcTimeoutNs: unit.atcTimeoutNs,
    keepsCached: unit.keepsCached,
  };
}

describe('an SMMU that announces a feature and does without', () => {
  test.each([
    ['ATS', '3.9'],
    ['PRI', '8'],
    ['HTTU', '3.13'],
    ['CD2L', '5'],
    ['S2P', '5'],
    ['Hyp', '4'],
    ['VMW', '6.3.9'],
    ['SEV', '4'],
    ['MSI', '3.18'],
    ['RIL', '4.4'],
    ['HAD', '5.4'],
    ['E0PD', '5.4'],
    ['XNX', 'D8'],
    ['FWB', '13'],
    ['STT', '5'],
    ['BBML', '3.21.1'],
    ['ATTR_PERMS_OVR', '13'],
    ['SSIDSIZE', '5'],
    ['GRAN16K', 'D8'],
    ['GRAN64K', 'D8'],
    ['ATOS', '9'],
    ['ASID16', '3.17'],
    ['VMID16', '3.17'],
    ['ATSRECERR', '3.9'],
  ])('%s: a row of %s fails', (feature, section) => {
    expect(noticed(pretends({ [feature]: 0 }), section)).toHaveLength(1);
  });

  test.each([
    ['an output size of 44 bits', { OAS: 4 }, '3.4'],
    ['tables of 48 bits only', { DS: 0, VAX: 0, OAS: 5 }, 'D8'],
    ['no big-endian tables', { TTENDIAN: 0b10 }, '5.4'],
    ['stalls', { STALL_MODEL: 0b01 }, '3.12'],
    ['no termination of faults', { STALL_MODEL: 0b10 }, '5.5'],
    ['hardware update of AF alone', { HTTU: 1 }, '3.13'],
    ['linear stream tables only', { ST_LEVEL: 0, SIDSIZE: 6 }, '5'],
  ] satisfies [string, FeatureValues, string][])('%s: a row fails', (_name, actual, section) => {
    expect(noticed(pretends(actual), section)).toHaveLength(1);
  });
});

interface Defect {
  readonly name: string;
  readonly section: string;
  readonly unit?: (unit: Unit) => Partial<Unit>;
  readonly world?: (world: World) => Partial<World>;
}

const COMMAND_CONS = 0x9c;
const EVENT_QUEUE = 0x4200_0000;
const PAGE_QUEUE = 0x4300_0000;

/** One bit of what lies in a queue is another. */
const flips = (queue: number, byte: number, bit: number) => (unit: Unit) => ({
  readMemory: (address: number, length: number) => {
    const bytes = unit.readMemory(address, length);
    if (address >= queue && address < queue + 0x10_0000 && byte < length) bytes[byte] = (bytes[byte] ?? 0) ^ bit;
    return bytes;
  },
});

const DEFECTS: readonly Defect[] = [
  {
    name: 'aborts look like successes',
    section: '5.5',
    unit: ({ port }) => ({
      port: {
        memory: (request) => {
          const status = port.memory(request);
          return status === Completion.PENDING ? status : Completion.SUCCESS;
        },
        translate: (request) => port.translate(request),
        pageRequest: (message) => port.pageRequest(message),
      },
    }),
  },
  { name: 'RnW is inverted in event records', section: '7.3', unit: flips(EVENT_QUEUE, 12, 1 << 3) },
  { name: 'S2 is inverted in event records', section: '7.3', unit: flips(EVENT_QUEUE, 12, 1 << 7) },
  { name: 'Stall is inverted in event records', section: '3.12', unit: flips(EVENT_QUEUE, 11, 1 << 7) },
  { name: 'the StreamID of event records is another', section: '7.3', unit: flips(EVENT_QUEUE, 4, 1) },
  { name: 'Last is inverted in page requests', section: '8', unit: flips(PAGE_QUEUE, 7, 1 << 6) },
  { name: 'the group index of page requests is another', section: '8', unit: flips(PAGE_QUEUE, 8, 1) },
  {
    name: 'CMDQ_CONS.ERR always reads as 0',
    section: '4',
    unit: (unit) => ({
      readRegister: (offset, size) => {
        const value = unit.readRegister(offset, size);
        return offset === COMMAND_CONS && value !== null ? value & ~(0x7fn << 24n) : value;
      },
    }),
  },
  {
    name: 'page 1 mirrors nothing',
    section: '6',
    unit: (unit) => ({
      readRegister: (offset, size) => (offset >= 0x10000 ? 0n : unit.readRegister(offset, size)),
    }),
  },
  {
    name: '64-bit registers take no 32-bit writes to their upper half',
    section: '6.2',
    unit: (unit) => ({
      writeRegister: (offset, size, value) => {
        if (size !== 4 || offset % 8 === 0 || offset < 0x80) unit.writeRegister(offset, size, value);
      },
    }),
  },
  {
    name: 'responses say failure for success',
    section: '8',
    world: ({ fabric }) => ({
      fabric: {
        invalidate: (stream, request, completed) => fabric.invalidate(stream, request, completed),
        pageGroupResponse: (stream, response) =>
          fabric.pageGroupResponse(stream, { ...response, code: response.code === 0 ? 1 : 0 }),
      },
    }),
  },
  {
    name: 'ATC invalidations never leave',
    section: '4.5',
    world: ({ fabric }) => ({
      fabric: {
        invalidate: (_stream, _request, completed) => {
          completed();
          return true;
        },
        pageGroupResponse: (stream, response) => fabric.pageGroupResponse(stream, response),
      },
    }),
  },
  { name: 'no wired interrupt arrives', section: '3.18', world: () => ({ interrupt: () => undefined }) },
  { name: 'no wake-up event is sent', section: '4', world: () => ({ wakeUp: () => undefined }) },
  { name: 'MSIs are lost', section: '3.18', world: () => ({ writeFar: () => undefined }) },
  { name: 'time stands still', section: '', unit: () => ({ advance: () => undefined }) },
];

function defective({ unit: change, world: surroundings }: Defect): Subject {
  return {
    ...faultlineSubject,
    build(features, world) {
      const around: World = {
        fabric: world.fabric,
        interrupt: (source) => world.interrupt(source),
        wakeUp: () => world.wakeUp(),
        readFar: (address, size) => world.readFar(address, size),
        writeFar: (address, size, value) => world.writeFar(address, size, value),
        ...surroundings?.(world),
      };
      const unit = faultlineSubject.build(features, around);
      return { ...wrap(unit), ...change?.(unit) };
    },
  };
}

describe('an SMMU with a defect', () => {
  test.each(DEFECTS)('$name: a row of $section fails', (defect) => {
    expect(noticed(defective(defect), defect.section)).toHaveLength(1);
  });

  test('none, wrapped all the same: no row fails', () => {
    expect(noticed(defective({ name: 'none', section: '' }), '8')).toEqual([]);
  });
});
