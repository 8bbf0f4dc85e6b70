/** §7.3: the layout of every record, golden words typed from the figures, and the fields of every kind of fault. */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import {
  brokenNested,
  brokenStage1,
  brokenStage2,
  CLASS_VALUE,
  CLASSES,
  IPA,
  RELATED,
  stage2Fields,
} from '../bench/broken.ts';
import { eventFact, eventField } from '../bench/event-record.ts';
import { CONFIG } from '../bench/streams.ts';
import { BIT, LEAF_1 } from '../bench/tables.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

/** A stage 1 stream whose CD table gives SubstreamIDs below 16 one address space. */
function substreams(b: Bench, sid: number, cd = {}): void {
  b.needs({ SSIDSIZE: Math.max(b.feature('SSIDSIZE'), 4), S1P: 1 });
  const table = b.ram.allocate(16 * 64);
  const fields = { ...b.cdFields(b.tables(), null), ...cd };
  for (let index = 0; index < 16; index++) b.ram.write(table + index * 64, b.ram.read(b.newCd(fields), 64));
  b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: table / 64, S1CDMax: 4 }, sid);
}

/** Words typed from the figures of §7.3, lowest first. */
const golden: Row[] = [
  row('7.3.3', 'words', 'C_BAD_STREAMID: words 0x02, StreamID, and zeros', (b) => {
    b.needs({ SIDSIZE: Math.max(b.feature('SIDSIZE'), 6) });
    b.start({ streams: 4 });
    b.aborts({ va: 0x1234_5678, sid: 0x1b });
    b.eventWords([0x02, 0x1b, 0, 0, 0, 0, 0, 0]);
  }),
  row('7.3.3', 'words-substream', 'C_BAD_STREAMID with a SubstreamID: SSV is bit 11, SubstreamID bits [31:12]', (b) => {
    b.needs({ SSIDSIZE: 20 });
    b.start({ streams: 4 });
    b.aborts({ va: 0x1234_5678, sid: 0x1b, pasid: 0xabcde });
    b.eventWords([0xabcd_e802, 0x1b, 0, 0, 0, 0, 0, 0]);
  }),
  row('7.3.4', 'words', 'F_STE_FETCH: FetchAddr bits [55:3] are bits [247:195]', (b) => {
    b.streamTable = NOWHERE;
    b.start();
    b.aborts({ va: VA, sid: 0x11 });
    b.eventWords([0x03, 0x11, 0, 0, 0, 0, 0x8800_0440, 0]);
  }),
  row('7.3.5', 'words', 'C_BAD_STE: words 0x04, StreamID, and zeros', (b) => {
    b.start();
    b.ram.write(b.steAddress(0x2a), new Uint8Array(64));
    b.aborts({ va: VA, sid: 0x2a, write: true });
    b.eventWords([0x04, 0x2a, 0, 0, 0, 0, 0, 0]);
  }),
  row('7.3.7', 'words', 'F_STREAM_DISABLED: words 0x06, StreamID, and zeros', (b) => {
    b.start();
    substreams(b, 0x21);
    b.aborts({ va: VA, sid: 0x21 });
    b.eventWords([0x06, 0x21, 0, 0, 0, 0, 0, 0]);
  }),
  row('7.3.8', 'words-read', 'F_TRANSL_FORBIDDEN of a read: RnW is bit 99, InputAddr bits [191:128]', (b) => {
    b.needs({ ATS: 1 });
    b.start({ ATSCHK: 1 });
    b.ste({ Config: CONFIG.BYPASS }, 0x0c);
    b.aborts({ va: 0x6000_0008, sid: 0x0c, translated: true });
    b.eventWords([0x07, 0x0c, 0, 0x8, 0x6000_0008, 0, 0, 0]);
  }),
  row('7.3.8', 'words-write', 'F_TRANSL_FORBIDDEN of a write: RnW=0', (b) => {
    b.needs({ ATS: 1 });
    b.start({ ATSCHK: 1 });
    b.ste({ Config: CONFIG.BYPASS }, 0x0c);
    b.aborts({ va: 0xf_6000_0010, sid: 0x0c, translated: true, write: true });
    b.eventWords([0x07, 0x0c, 0, 0, 0x6000_0010, 0xf, 0, 0]);
  }),
  row('7.3.9', 'words', 'C_BAD_SUBSTREAMID: SubstreamID is bits [31:12], there is no SSV', (b) => {
    b.needs({ SSIDSIZE: 20 });
    b.start();
    b.ste({ Config: CONFIG.BYPASS }, 0x0d);
    b.aborts({ va: VA, sid: 0x0d, pasid: 0x12345 });
    b.eventWords([0x1234_5008, 0x0d, 0, 0, 0, 0, 0, 0]);
  }),
  row('7.3.10', 'words', 'F_CD_FETCH: FetchAddr bits [55:3] are bits [247:195]', (b) => {
    b.needs({ S1P: 1 });
    b.start();
    b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: (NOWHERE + 0x1c0) / 64 }, 0x0e);
    b.aborts({ va: VA, sid: 0x0e });
    b.eventWords([0x09, 0x0e, 0, 0, 0, 0, 0x8800_01c0, 0]);
  }),
  row('7.3.11', 'words', 'C_BAD_CD: words 0x0A, StreamID, and zeros', (b) => {
    b.start();
    b.stage1({ sid: 0x0f, cd: { V: 0 } });
    b.aborts({ va: VA, sid: 0x0f });
    b.eventWords([0x0a, 0x0f, 0, 0, 0, 0, 0, 0]);
  }),
  row('7.3.12', 'words', 'F_WALK_EABT of stage 1: CLASS=TT, S2=0, FetchAddr of the descriptor', (b) => {
    b.start();
    const { lower } = b.stage1({ sid: 0x10 });
    lower.set(0x7f12_3456_7000, 0, BigInt(NOWHERE) | 3n);
    b.aborts({ va: 0x7f12_3456_7890, sid: 0x10 });
    // Level 1 index of that address is 0x48: VA[38:30].
    b.eventWords([0x0b, 0x10, 0, 0x108, 0x3456_7890, 0x7f12, 0x8800_0240, 0]);
  }),
  row('7.3.13', 'words-read', 'F_TRANSLATION of a read: CLASS=IN, S2=0, RnW=1', (b) => {
    b.start();
    b.stage1({ sid: 0x12 });
    b.aborts({ va: 0x7f00_0000_1238, sid: 0x12 });
    b.eventWords([0x10, 0x12, 0, 0x208, 0x0000_1238, 0x7f00, 0, 0]);
  }),
  row('7.3.13', 'words-write', 'F_TRANSLATION of a write: RnW=0', (b) => {
    b.start();
    b.stage1({ sid: 0x12 });
    b.aborts({ va: 0x7f00_0000_1238, sid: 0x12, write: true });
    b.eventWords([0x10, 0x12, 0, 0x200, 0x0000_1238, 0x7f00, 0, 0]);
  }),
  row('7.3.13', 'words-substream', 'F_TRANSLATION of a privileged instruction read with a SubstreamID', (b) => {
    b.start();
    substreams(b, 0x13);
    b.aborts({ va: 0x7f00_0000_1000, sid: 0x13, pasid: 5, privileged: true, execute: true });
    b.eventWords([0x5810, 0x13, 0, 0x20e, 0x0000_1000, 0x7f00, 0, 0]);
  }),
  row('7.3.13', 'words-stall', 'F_TRANSLATION of a stalled read: Stall is bit 95, STAG bits [79:64]', (b) => {
    b.needs({ STALL_MODEL: 0 });
    b.start();
    b.stage1({ sid: 0x12, cd: { S: 1 } });
    b.stalls({ va: 0x7f00_0000_1238, sid: 0x12 });
    const tag = Number(eventField(b.events.peek()[0] ?? new Uint8Array(32), 'STAG'));
    b.eventWords([0x10, 0x12, 0x8000_0000 + tag, 0x208, 0x0000_1238, 0x7f00, 0, 0]);
  }),
  row(
    '7.3.13',
    'words-stage-2',
    'F_TRANSLATION of stage 2: S2 is bit 103, IPA bits [55:12] are bits [247:204]',
    (b) => {
      b.start();
      b.stage2({ sid: 0x14 });
      b.aborts({ va: 0x5_6789_a238, sid: 0x14 });
      b.eventWords([0x10, 0x14, 0, 0x288, 0x6789_a238, 0x5, 0x6789_a000, 0x5]);
    },
  ),
  row('7.3.13', 'words-class-cd', 'F_TRANSLATION of stage 2 on a CD fetch: CLASS=CD', (b) => {
    b.start();
    brokenNested(b, 'CD', 'F_TRANSLATION', {}, { sid: 0x15 });
    b.aborts({ va: VA, sid: 0x15 });
    b.eventWords([0x10, 0x15, 0, 0x088, 0x7000_0000, 0, 0x0000_0000, 0x1]);
  }),
  row('7.3.13', 'words-class-tt', 'F_TRANSLATION of stage 2 on a stage 1 walk: CLASS=TT', (b) => {
    b.start();
    brokenNested(b, 'TT', 'F_TRANSLATION', {}, { sid: 0x15 });
    b.aborts({ va: VA, sid: 0x15 });
    b.eventWords([0x10, 0x15, 0, 0x188, 0x7000_0000, 0, 0x0020_0000, 0x1]);
  }),
  row('7.3.14', 'words', 'F_ADDR_SIZE of stage 1', (b) => {
    b.start();
    brokenStage1(b, 'F_ADDR_SIZE', { sid: 0x16 });
    b.aborts({ va: VA + 0x18, sid: 0x16 });
    b.eventWords([0x11, 0x16, 0, 0x208, 0x7000_0018, 0, 0, 0]);
  }),
  row('7.3.14', 'words-bypass', 'F_ADDR_SIZE of a bypassed stage 1: CLASS=IN, S2=0', (b) => {
    b.start();
    b.ste({ Config: CONFIG.BYPASS }, 0x17);
    b.aborts({ va: 0x8000_0000_0000_1000n, sid: 0x17 });
    b.eventWords([0x11, 0x17, 0, 0x208, 0x0000_1000, 0x8000_0000, 0, 0]);
  }),
  row('7.3.15', 'words', 'F_ACCESS of stage 1', (b) => {
    b.start();
    brokenStage1(b, 'F_ACCESS', { sid: 0x18 });
    b.aborts({ va: VA + 0x20, sid: 0x18 });
    b.eventWords([0x12, 0x18, 0, 0x208, 0x7000_0020, 0, 0, 0]);
  }),
  row('7.3.16', 'words', 'F_PERMISSION of a write at stage 1', (b) => {
    b.start();
    b.stage1({ sid: 0x19 }).lower.map(VA, PAGE, LEAF_1 | BIT.AP2);
    b.aborts({ va: VA + 0x28, sid: 0x19, write: true });
    b.eventWords([0x13, 0x19, 0, 0x200, 0x7000_0028, 0, 0, 0]);
  }),
  row('7.3.16', 'words-tt', 'F_PERMISSION of stage 2 on a stage 1 walk: TTRnW is bit 108', (b) => {
    b.start();
    brokenNested(b, 'TT', 'F_PERMISSION', {}, { sid: 0x1a });
    b.aborts({ va: VA, sid: 0x1a, write: true });
    b.eventWords([0x13, 0x1a, 0, 0x1180, 0x7000_0000, 0, 0x0020_0000, 0x1]);
  }),
];

/** Attributes of the transaction, as each stage 1 fault shows them. */
const ATTRIBUTES = [
  { name: 'read', access: {} },
  { name: 'write', access: { write: true } },
] as const;

const stage1: Row[] = RELATED.flatMap((kind) =>
  ATTRIBUTES.map(({ name, access }) =>
    row(eventFact(kind).section, `stage-1-${name}`, `${kind} at stage 1 of a ${name}: every field`, (b) => {
      b.start();
      brokenStage1(b, kind);
      b.faults({ va: VA + 0x30, ...access }, kind, { CLASS: CLASS_VALUE.IN });
    }),
  ),
);

const stage2: Row[] = RELATED.flatMap((kind) => [
  ...ATTRIBUTES.map(({ name, access }) =>
    row(
      eventFact(kind).section,
      `stage-2-only-${name}`,
      `${kind} at stage 2 alone of a ${name}: IPA is the input`,
      (b) => {
        b.start();
        brokenStage2(b, kind);
        b.faults({ va: VA + 0x38, ...access }, kind, stage2Fields('IN', VA));
      },
    ),
  ),
  ...CLASSES.flatMap((where) =>
    ATTRIBUTES.map(({ name, access }) =>
      row(
        eventFact(kind).section,
        `nested-${where}-${name}`,
        `${kind} at stage 2, CLASS=${where}, of a ${name}: every field`,
        (b) => {
          b.start();
          const { ipa } = brokenNested(b, where, kind);
          const read = where === 'TT' && kind === 'F_PERMISSION' ? { TTRnW: 1 } : {};
          b.faults({ va: VA + 0x40, ...access }, kind, { ...stage2Fields(where, ipa), ...read });
        },
      ),
    ),
  ),
]);

/** InD and PnU are those after the overrides of the STE (§7.3); InD is 0 for a write. */
const overrides: Row[] = [
  { PRIVCFG: 0b11, expected: { PnU: 1 }, what: 'PRIVCFG=privileged' },
  { PRIVCFG: 0b10, access: { privileged: true }, expected: { PnU: 0 }, what: 'PRIVCFG=unprivileged' },
  { PRIVCFG: 0b01, access: { privileged: true }, expected: { PnU: 1 }, what: 'PRIVCFG=0b01, reserved: use incoming' },
  { INSTCFG: 0b11, expected: { InD: 1 }, what: 'INSTCFG=instruction, a read' },
  { INSTCFG: 0b11, access: { write: true }, expected: { InD: 0 }, what: 'INSTCFG=instruction, a write' },
  { INSTCFG: 0b10, access: { execute: true }, expected: { InD: 0 }, what: 'INSTCFG=data' },
  { INSTCFG: 0b01, access: { execute: true }, expected: { InD: 1 }, what: 'INSTCFG=0b01, reserved: use incoming' },
].map(({ what, access, expected, ...ste }, index) =>
  row('7.3', `override-${index}`, `InD and PnU after STE overrides: ${what}`, (b) => {
    b.needs({ ATTR_PERMS_OVR: 1 });
    b.start();
    b.stage1({ ste });
    b.aborts({ va: VA, ...access });
    b.fault('F_TRANSLATION', { CLASS: CLASS_VALUE.IN, ...expected });
  }),
);

const walkAborts: Row[] = [
  ...[0, 1, 2].map((level) =>
    row('7.3.12', `stage-1-level-${level + 1}`, `F_WALK_EABT on the level ${level + 1} descriptor of stage 1`, (b) => {
      b.start();
      const { lower } = b.stage1();
      lower.set(VA, level, BigInt(NOWHERE) | 3n);
      const shift = 12 + (3 - (level + 1)) * 9;
      const index = Math.floor(VA / 2 ** shift) % 512;
      b.faults({ va: VA }, 'F_WALK_EABT', { CLASS: CLASS_VALUE.TT, FetchAddr: NOWHERE / 8 + index });
    }),
  ),
  ...[1, 2].map((level) =>
    row(
      '7.3.12',
      `stage-2-level-${level + 1}`,
      `F_WALK_EABT on the level ${level + 1} descriptor of stage 2 alone`,
      (b) => {
        b.start();
        b.stage2().set(VA, level, BigInt(NOWHERE) | 3n);
        const shift = 12 + (3 - (level + 1)) * 9;
        const index = Math.floor(VA / 2 ** shift) % 512;
        const fields = { S2: 1, CLASS: CLASS_VALUE.IN, FetchAddr: NOWHERE / 8 + index };
        b.faults({ va: VA }, 'F_WALK_EABT', fields);
      },
    ),
  ),
  ...CLASSES.map((where) =>
    row('7.3.12', `nested-${where}`, `F_WALK_EABT on a stage 2 descriptor, CLASS=${where}`, (b) => {
      b.start();
      const { stage2: tables } = brokenNested(b, null, 'none');
      tables.set(IPA[where], 2, BigInt(NOWHERE) | 3n);
      b.faults({ va: VA }, 'F_WALK_EABT', { S2: 1, CLASS: CLASS_VALUE[where], FetchAddr: NOWHERE / 8 });
    }),
  ),
  row('7.3.12', 'nested-stage-1', 'F_WALK_EABT on a stage 1 descriptor after stage 2 translated its address', (b) => {
    b.start();
    const { stage2: tables } = brokenNested(b, null, 'none');
    tables.map(IPA.TT, NOWHERE);
    b.faults({ va: VA }, 'F_WALK_EABT', { CLASS: CLASS_VALUE.TT, FetchAddr: NOWHERE / 8 });
  }),
];

export const eventRecordRows: readonly Row[] = [...golden, ...stage1, ...stage2, ...overrides, ...walkAborts];
