/** Address translation operations: results, flags, control (IHI 0070 chapter 9, §6.3.37 to §6.3.40). */
import {
  atosRow,
  BOTH_STAGES,
  bothOf,
  CODE,
  fails,
  finds,
  lookUp,
  REASON,
  STAGE_1_ALONE,
  STAGE_2_ALONE,
  SUBSTREAMS,
  stage1Of,
  stage2Of,
} from '../bench/atos.ts';
import { PAGE, VA } from '../bench/bench.ts';
import { brokenNested, IPA } from '../bench/broken.ts';
import { CONFIG } from '../bench/streams.ts';
import { BIT, LEAF_1, LEAF_2, levelShift } from '../bench/tables.ts';
import { equal } from '../check.ts';
import type { Row } from '../row.ts';

/** Translations that succeed, for each type of request. */
const results: Row[] = [
  atosRow(
    '9.1.3',
    'stage-1',
    'TYPE=0b01 on a stage 1 stream: VA to PA',
    (b) => {
      b.stage1().lower.map(VA, PAGE);
      finds(b, stage1Of(), PAGE);
      b.noEvent();
    },
    STAGE_1_ALONE,
  ),
  atosRow('9.1.3', 'stage-1-nested', 'TYPE=0b01 on a nested stream: VA to IPA, which stage 2 need not map', (b) => {
    b.nested().lower.map(VA, IPA.IN);
    finds(b, stage1Of(), IPA.IN);
  }),
  atosRow(
    '9.1.3',
    'stage-2',
    'TYPE=0b10 on a stage 2 stream: IPA to PA',
    (b) => {
      b.stage2().map(VA, PAGE);
      finds(b, stage2Of(), PAGE);
    },
    STAGE_2_ALONE,
  ),
  atosRow('9.1.3', 'stage-2-nested', 'TYPE=0b10 on a nested stream: IPA to PA, whatever stage 1 maps', (b) => {
    b.nested().stage2.map(IPA.IN, PAGE);
    finds(b, stage2Of(IPA.IN), PAGE);
  }),
  atosRow('9.1.3', 'both', 'TYPE=0b11: VA to PA', (b) => {
    brokenNested(b, null, 'none');
    finds(b, bothOf(), PAGE);
  }),
  atosRow(
    '9.1.3',
    'substream',
    'SSID_VALID=1: the CD of the SubstreamID',
    (b) => {
      const own = b.tables().map(VA, PAGE + 0x3000);
      const { cd, lower } = b.stage1({ ste: { S1CDMax: 1, S1DSS: 0b10 } });
      lower.map(VA, PAGE);
      // The two CDs lie next to each other, in memory of their own.
      const table = b.ram.allocate(128);
      b.ram.write(table, b.ram.read(cd, 64));
      b.ram.write(table + 64, b.ram.read(b.newCd(b.cdFields(own, null)), 64));
      b.ste({ Config: CONFIG.STAGE_1, S1ContextPtr: table / 64, S1CDMax: 1, S1DSS: 0b10 });
      finds(b, { ...stage1Of(), pasid: 1 }, PAGE + 0x3000);
      finds(b, stage1Of(), PAGE);
    },
    { ...STAGE_1_ALONE, SSIDSIZE: 20 },
  ),
  atosRow(
    '9.1.3',
    's1dss-bypass-stage-1',
    'S1DSS=0b01 without SubstreamID, TYPE=0b01: the address itself',
    (b) => {
      b.stage1({ ste: { S1CDMax: 1, S1DSS: 0b01 } });
      const word = lookUp(b, stage1Of(PAGE));
      equal('GATOS_PAR.FAULT', word & 1n, 0n);
      // Any size is allowed (§9.1.3): the address is right from the size upwards.
      const size = b.registers.get('GATOS_PAR', 'Size') === 0 ? 0x1000n : lowestBit(word & 0xff_ffff_ffff_f000n) << 1n;
      equal('GATOS_PAR.ADDR above the size', word & 0xff_ffff_ffff_f000n & ~(size - 1n), BigInt(PAGE) & ~(size - 1n));
    },
    SUBSTREAMS,
  ),
  atosRow(
    '9.1.3',
    's1dss-bypass-both',
    'S1DSS=0b01 without SubstreamID, TYPE=0b11: stage 2 of the address',
    (b) => {
      b.nested({ ste: { S1CDMax: 1, S1DSS: 0b01 } }).stage2.map(IPA.IN, PAGE);
      finds(b, bothOf(IPA.IN), PAGE);
    },
    SUBSTREAMS,
  ),
  atosRow(
    '9.1.3',
    's1dss-bypass-fault',
    'S1DSS=0b01 without SubstreamID, TYPE=0b11: a stage 2 fault',
    (b) => {
      b.nested({ ste: { S1CDMax: 1, S1DSS: 0b01 } });
      fails(b, bothOf(IPA.IN), CODE.F_TRANSLATION, REASON.IN, IPA.IN);
    },
    SUBSTREAMS,
  ),
  atosRow(
    '9',
    'upper-half',
    'an address of the upper half is translated by TTB1',
    (b) => {
      b.stage1({ upper: true }).upper.map(0xffff_0000_7000_0000n, PAGE);
      finds(b, stage1Of(0xffff_0000_7000_0000n), PAGE);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9',
    'top-byte',
    'TBI0=1: the top byte of the address is ignored',
    (b) => {
      b.stage1({ cd: { TBI0: 1 } }).lower.map(VA, PAGE);
      finds(b, stage1Of(BigInt(VA) | (0xa5n << 56n)), PAGE);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9',
    'top-byte-counts',
    'TBI0=0: an address with a top byte is F_TRANSLATION',
    (b) => {
      b.stage1().lower.map(VA, PAGE);
      fails(b, stage1Of(BigInt(VA) | (0xa5n << 56n)), CODE.F_TRANSLATION);
    },
    STAGE_1_ALONE,
  ),
];

const lowestBit = (word: bigint): bigint => word & -word;

/** Size and the coded address (§6.3.40). */
const BLOCKS = [
  { granule: '4KB', level: 3 },
  { granule: '4KB', level: 2 },
  { granule: '4KB', level: 1 },
  { granule: '16KB', level: 3 },
  { granule: '16KB', level: 2 },
  { granule: '64KB', level: 3 },
  { granule: '64KB', level: 2 },
] as const;

const FAR_PA = 0x80_0000_0000;

const sizes: Row[] = BLOCKS.flatMap(({ granule, level }) => {
  const bytes = 2 ** levelShift(granule, level);
  const features = { ...BOTH_STAGES, [`GRAN${granule.slice(0, -1)}`]: 1, GRAN4K: 1, OAS: 5 };
  return [
    atosRow(
      '6.3.40',
      `size-1-${granule}-${level}`,
      `${granule} granule, level ${level} of stage 1: ADDR and Size of ${bytes} bytes`,
      (b) => {
        const va = Math.floor(VA / bytes) * bytes;
        b.stage1({ granule }).lower.map(va, FAR_PA, LEAF_1, level);
        finds(b, stage1Of(va + bytes - 0x1000), FAR_PA, { bytes });
      },
      features,
    ),
    atosRow(
      '6.3.40',
      `size-2-${granule}-${level}`,
      `${granule} granule, level ${level} of stage 2: ADDR and Size of ${bytes} bytes`,
      (b) => {
        const at = Math.floor(0x1_0000_0000 / bytes) * bytes;
        b.stage2({ granule }).map(at, FAR_PA, LEAF_2, level);
        finds(b, stage2Of(at + bytes - 0x1000), FAR_PA, { bytes });
      },
      features,
    ),
  ];
});

const smaller: Row[] = [
  atosRow('6.3.40', 'size-smaller-stage-2', 'a block of stage 1 in pages of stage 2: 4 KiB, and the right one', (b) => {
    const { lower, stage2 } = b.nested();
    lower.map(VA, IPA.IN, LEAF_1, 2);
    stage2.map(IPA.IN + 0x5000, PAGE);
    finds(b, bothOf(VA + 0x5000), PAGE);
  }),
  atosRow(
    '6.3.40',
    'size-smaller-stage-1',
    'a page of stage 1 in a block of stage 2: 4 KiB, and the right one',
    (b) => {
      const { lower, stage2 } = b.nested();
      lower.map(VA, IPA.IN + 0x7000);
      stage2.map(IPA.IN, PAGE, LEAF_2, 2);
      finds(b, bothOf(), PAGE + 0x7000);
    },
  ),
];

/** RnW, PnU and InD choose the permissions; the STE's overrides do not (§9.1.3, Table 13.4). */
const permissions: Row[] = [
  atosRow(
    '6.3.39',
    'write',
    'RnW=0 to a read-only page is F_PERMISSION',
    (b) => {
      b.stage1().lower.map(VA, PAGE, LEAF_1 | BIT.AP2);
      fails(b, { ...stage1Of(), write: true }, CODE.F_PERMISSION);
      finds(b, stage1Of(), PAGE);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '6.3.39',
    'privileged',
    'PnU=0 to a privileged page is F_PERMISSION',
    (b) => {
      b.stage1().lower.map(VA, PAGE, LEAF_1 & ~BIT.AP1);
      fails(b, stage1Of(), CODE.F_PERMISSION);
      finds(b, { ...stage1Of(), privileged: true }, PAGE);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '6.3.39',
    'instruction',
    'InD=1 to an execute-never page is F_PERMISSION; for writes InD is ignored',
    (b) => {
      b.stage1().lower.map(VA, PAGE, LEAF_1 | BIT.UXN);
      fails(b, { ...stage1Of(), execute: true }, CODE.F_PERMISSION);
      finds(b, { ...stage1Of(), execute: true, write: true }, PAGE);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '6.3.39',
    'stage-2-write',
    'RnW=0 to a page that is read-only at stage 2 is F_PERMISSION',
    (b) => {
      b.stage2().map(VA, PAGE, LEAF_2 & ~(1n << 7n));
      fails(b, { ...stage2Of(), write: true }, CODE.F_PERMISSION, REASON.IN);
      finds(b, stage2Of(), PAGE);
    },
    STAGE_2_ALONE,
  ),
  atosRow(
    '13.1.4',
    'atos-privcfg',
    'STE.PRIVCFG does not override PnU',
    (b) => {
      b.stage1({ ste: { PRIVCFG: 0b11 } }).lower.map(VA, PAGE, LEAF_1 & ~BIT.AP1);
      fails(b, stage1Of(), CODE.F_PERMISSION);
    },
    { ...STAGE_1_ALONE, ATTR_PERMS_OVR: 1 },
  ),
  atosRow(
    '13.1.4',
    'atos-instcfg',
    'STE.INSTCFG does not override InD',
    (b) => {
      b.stage1({ ste: { INSTCFG: 0b11 } }).lower.map(VA, PAGE, LEAF_1 | BIT.UXN);
      finds(b, stage1Of(), PAGE);
    },
    { ...STAGE_1_ALONE, ATTR_PERMS_OVR: 1 },
  ),
  atosRow('9', 'stage-2-no-cd-permissions', 'TYPE=0b10: CD.PAN and WXN play no part', (b) => {
    b.nested({ cd: { PAN: 1, WXN: 1 } }).stage2.map(IPA.IN, PAGE);
    finds(b, { ...stage2Of(IPA.IN), execute: true, privileged: true }, PAGE);
  }),
];

const S2AP1 = 1n << 7n;
const UPDATES = { ...BOTH_STAGES, HTTU: 2 } as const;
const ON = { cd: { HA: 1, HD: 1 }, ste: { S2HA: 1, S2HD: 1 } } as const;

/** Hardware update of flags, and HTTUI (chapter 9). */
const flags: Row[] = [
  atosRow(
    '9',
    'httu-access',
    'HTTUI=0, HA=1: the look-up sets AF',
    (b) => {
      const { lower } = b.stage1({ cd: { HA: 1 } });
      lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      finds(b, stage1Of(), PAGE);
      equal('AF', (lower.get(VA, 3) & BIT.AF) !== 0n, true);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httu-dirty',
    'HTTUI=0, HD=1: a look-up for a write makes the page dirty',
    (b) => {
      const { lower } = b.stage1({ cd: ON.cd });
      lower.map(VA, PAGE, LEAF_1 | BIT.AP2 | BIT.DBM);
      finds(b, { ...stage1Of(), write: true }, PAGE);
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, false);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httu-clean',
    'HTTUI=0, HD=1: a look-up for a read leaves the page clean',
    (b) => {
      const { lower } = b.stage1({ cd: ON.cd });
      lower.map(VA, PAGE, LEAF_1 | BIT.AP2 | BIT.DBM);
      finds(b, stage1Of(), PAGE);
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httu-stage-2',
    'HTTUI=0, S2HD=1: a look-up for a write makes the page dirty at stage 2',
    (b) => {
      const tables = b.stage2({ ste: ON.ste });
      tables.map(VA, PAGE, (LEAF_2 & ~S2AP1) | BIT.DBM);
      finds(b, { ...stage2Of(), write: true }, PAGE);
      equal('S2AP[1]', (tables.get(VA, 3) & S2AP1) !== 0n, true);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httu-stage-1-only',
    'HTTUI=0, TYPE=0b01 on a nested stream: the page of the IPA stays clean at stage 2',
    (b) => {
      const { lower, stage2 } = b.nested(ON);
      lower.map(VA, IPA.IN, LEAF_1 | BIT.AP2 | BIT.DBM);
      stage2.map(IPA.IN, PAGE, (LEAF_2 & ~S2AP1) | BIT.DBM);
      finds(b, { ...stage1Of(), write: true }, IPA.IN);
      equal('S2AP[1]', (stage2.get(IPA.IN, 3) & S2AP1) !== 0n, false);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httui-access',
    'HTTUI=1, HA=1: AF=0 counts as 1',
    (b) => {
      b.stage1({ cd: { HA: 1 } }).lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      finds(b, { ...stage1Of(), inhibit: true }, PAGE);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httui-access-off',
    'HTTUI=1 without HA: AF=0 is F_ACCESS',
    (b) => {
      b.stage1().lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      fails(b, { ...stage1Of(), inhibit: true }, CODE.F_ACCESS);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9',
    'httui-dirty',
    'HTTUI=1, HD=1: a writable-clean page is writable and stays clean',
    (b) => {
      const { lower } = b.stage1({ cd: ON.cd });
      lower.map(VA, PAGE, LEAF_1 | BIT.AP2 | BIT.DBM);
      finds(b, { ...stage1Of(), write: true, inhibit: true }, PAGE);
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httui-dirty-stage-2',
    'HTTUI=1, S2HD=1: a writable-clean page is writable and stays clean',
    (b) => {
      const tables = b.stage2({ ste: ON.ste });
      tables.map(VA, PAGE, (LEAF_2 & ~S2AP1) | BIT.DBM);
      finds(b, { ...stage2Of(), write: true, inhibit: true }, PAGE);
      equal('S2AP[1]', (tables.get(VA, 3) & S2AP1) !== 0n, false);
    },
    UPDATES,
  ),
  atosRow(
    '9',
    'httui-no-tlb',
    'HTTUI=1: a later write still makes the page accessed and dirty',
    (b) => {
      const { lower } = b.stage1({ cd: ON.cd });
      lower.map(VA, PAGE, (LEAF_1 & ~BIT.AF) | BIT.AP2 | BIT.DBM);
      finds(b, { ...stage1Of(), write: true, inhibit: true }, PAGE);
      b.reaches({ va: VA, write: true }, PAGE);
      equal('AF and AP[2]', lower.get(VA, 3) & (BIT.AF | BIT.AP2), BIT.AF);
    },
    UPDATES,
  ),
];

/** RUN and SMMUEN (§6.3.37), and caches (chapter 9). */
const control: Row[] = [
  atosRow(
    '6.3.37',
    'run-disabled',
    'SMMUEN=0: a write of RUN is ignored',
    (b) => {
      b.stage1().lower.map(VA, PAGE);
      b.control({ SMMUEN: 0 });
      const before = b.registers.read('GATOS_PAR');
      b.registers.write('GATOS_CTRL', 1);
      b.settle();
      equal('GATOS_CTRL', b.registers.read('GATOS_CTRL'), 0n);
      equal('GATOS_PAR', b.registers.read('GATOS_PAR'), before);
    },
    { ...STAGE_1_ALONE, ArchMinorRev: 3 },
  ),
  atosRow(
    '6.3.37',
    'run-zero',
    'writing RUN=0 starts nothing',
    (b) => {
      b.stage1().lower.map(VA, PAGE);
      finds(b, stage1Of(), PAGE);
      b.registers.set('GATOS_ADDR', { ADDR: 0 });
      b.registers.write('GATOS_CTRL', 0);
      b.settle();
      equal('GATOS_PAR.ADDR', b.registers.get('GATOS_PAR', 'ADDR'), PAGE / 4096);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '6.3.40',
    'read-only',
    'GATOS_PAR cannot be written',
    (b) => {
      b.stage1().lower.map(VA, PAGE);
      finds(b, stage1Of(), PAGE);
      const before = b.registers.read('GATOS_PAR');
      b.registers.write('GATOS_PAR', ~before & ((1n << 64n) - 1n));
      equal('GATOS_PAR', b.registers.read('GATOS_PAR'), before);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9',
    'after-tlbi',
    'a look-up after an invalidation sees the new mapping',
    (b) => {
      const { lower } = b.stage1();
      lower.map(VA, PAGE);
      finds(b, stage1Of(), PAGE);
      lower.map(VA, PAGE + 0x9000);
      b.commands.run('TLBI_NSNH_ALL', {});
      b.commands.sync();
      finds(b, stage1Of(), PAGE + 0x9000);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9',
    'after-cfgi',
    'a look-up after CFGI_STE sees the new STE',
    (b) => {
      b.stage1().lower.map(VA, PAGE);
      finds(b, stage1Of(), PAGE);
      b.stage1({ cd: { ASID: 2 } }).lower.map(VA, PAGE + 0xa000);
      b.forget();
      finds(b, stage1Of(), PAGE + 0xa000);
    },
    STAGE_1_ALONE,
  ),
  atosRow(
    '9',
    'beside-traffic',
    'a look-up changes nothing for the transactions of its stream',
    (b) => {
      b.stage1().lower.map(VA, PAGE, LEAF_1 | BIT.AP2);
      fails(b, { ...stage1Of(), write: true }, CODE.F_PERMISSION);
      b.reaches({ va: VA }, PAGE);
      b.faults({ va: VA, write: true }, 'F_PERMISSION', { CLASS: 0b10 });
    },
    STAGE_1_ALONE,
  ),
];

export const atosRows: readonly Row[] = [...results, ...sizes, ...smaller, ...permissions, ...flags, ...control];
