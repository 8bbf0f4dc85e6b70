/** DDI 0487 D8.4, D8.7 and IHI 0070 §13.4, §5.4: what each page permits, by stage, privilege and kind of access. */
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { CLASS_VALUE } from '../bench/broken.ts';
import type { CdValues, SteValues } from '../bench/streams.ts';
import { BIT, LEAF_1, LEAF_2, type Tables } from '../bench/tables.ts';
import type { AccessOptions } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { PERMISSIONS, S2AP, S2XN } from '../facts/descriptors.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

const ACCESSES = { R: {}, W: { write: true }, X: { execute: true } } as const;

type Letter = keyof typeof ACCESSES;

/** Every kind of access by both privileges; what the page permits, as `privileged/unprivileged`. */
function permitted(b: Bench, va: number): string {
  const side = (privileged: boolean): string =>
    (Object.keys(ACCESSES) as Letter[])
      .filter((letter) => {
        const options: AccessOptions = { va, privileged, ...ACCESSES[letter] };
        const { ending } = b.access(options);
        b.events.take();
        return ending === 'done';
      })
      .join('');
  return `${side(true)}/${side(false)}`;
}

/** A leaf that permits what AP, UXN and PXN say. */
const leafOf = (AP: number, UXN = 0, PXN = 0): bigint =>
  (LEAF_1 & ~BIT.AP1) |
  ((AP & 1) !== 0 ? BIT.AP1 : 0n) |
  ((AP & 2) !== 0 ? BIT.AP2 : 0n) |
  (UXN === 1 ? BIT.UXN : 0n) |
  (PXN === 1 ? BIT.PXN : 0n);

const binary = (value: number, digits = 2): string => `0b${value.toString(2).padStart(digits, '0')}`;

function check(b: Bench, tables: Tables, leaf: bigint, expected: string): void {
  tables.map(VA, PAGE, leaf);
  b.ram.write64(PAGE, 0x1234n);
  equal('privileged/unprivileged', permitted(b, VA), expected);
}

/** Table D8-65, each row. */
const table: Row[] = PERMISSIONS.flatMap(({ UXN, PXN, AP, WXN, privileged, unprivileged }) =>
  (WXN === null ? [0, 1] : [WXN]).map((wxn) => {
    const title = `UXN=${UXN} PXN=${PXN} AP[2:1]=${binary(AP)} WXN=${wxn}: privileged ${privileged || 'none'}, unprivileged ${unprivileged || 'none'}`;
    return row('D8.4.1.2', `ap-${AP}-uxn-${UXN}-pxn-${PXN}-wxn-${wxn}`, title, (b) => {
      b.start();
      const { lower } = b.stage1({ cd: { WXN: wxn } });
      check(b, lower, leafOf(AP, UXN, PXN), `${privileged}/${unprivileged}`);
    });
  }),
);

/** StreamWorld EL2 has one privilege level: AP[1] counts as 1, PXN plays no part (§13.4.1, Table D8-62). */
const EL2 = [
  { AP: 0b00, XN: 0, WXN: 0, all: 'RWX' },
  { AP: 0b01, XN: 0, WXN: 0, all: 'RWX' },
  { AP: 0b10, XN: 0, WXN: 0, all: 'RX' },
  { AP: 0b11, XN: 0, WXN: 0, all: 'RX' },
  { AP: 0b01, XN: 1, WXN: 0, all: 'RW' },
  { AP: 0b11, XN: 1, WXN: 0, all: 'R' },
  { AP: 0b01, XN: 0, WXN: 1, all: 'RW' },
  { AP: 0b11, XN: 0, WXN: 1, all: 'RX' },
] as const;

const oneLevel: Row[] = EL2.map(({ AP, XN, WXN, all }) =>
  row(
    'D8.4.1.2',
    `el2-ap-${AP}-xn-${XN}-wxn-${WXN}`,
    `StreamWorld EL2: AP[2:1]=${binary(AP)} XN=${XN} WXN=${WXN}: ${all}`,
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: { STRW: 2 }, cd: { WXN } });
      check(b, lower, leafOf(AP, XN), `${all}/${all}`);
    },
    { features: { Hyp: 1 } },
  ),
);

/** Table descriptors limit what lies below (Table D8-64, D8.4.1.2), unless HAD says otherwise. */
interface Hierarchy {
  readonly name: string;
  readonly bits: bigint;
  readonly what: string;
  readonly leaf: bigint;
  readonly without: string;
  readonly expected: string;
}

const HIERARCHY: readonly Hierarchy[] = [
  { name: 'aptable-0', bits: 0n, what: 'APTable=0b00', leaf: leafOf(0b01, 1, 1), without: 'RW/RW', expected: 'RW/RW' },
  {
    name: 'aptable-1',
    bits: BIT.APTable_NO_USER,
    what: 'APTable=0b01',
    leaf: leafOf(0b01, 1, 1),
    without: 'RW/RW',
    expected: 'RW/',
  },
  {
    name: 'aptable-2',
    bits: BIT.APTable_NO_WRITE,
    what: 'APTable=0b10',
    leaf: leafOf(0b01, 1, 1),
    without: 'RW/RW',
    expected: 'R/R',
  },
  {
    name: 'aptable-3',
    bits: BIT.APTable_NO_USER | BIT.APTable_NO_WRITE,
    what: 'APTable=0b11',
    leaf: leafOf(0b01, 1, 1),
    without: 'RW/RW',
    expected: 'R/',
  },
  { name: 'uxntable', bits: BIT.UXNTable, what: 'UXNTable=1', leaf: leafOf(0b11), without: 'RX/RX', expected: 'RX/R' },
  { name: 'pxntable', bits: BIT.PXNTable, what: 'PXNTable=1', leaf: leafOf(0b11), without: 'RX/RX', expected: 'R/RX' },
  {
    name: 'both-xntable',
    bits: BIT.UXNTable | BIT.PXNTable,
    what: 'UXNTable=PXNTable=1',
    leaf: leafOf(0b11),
    without: 'RX/RX',
    expected: 'R/R',
  },
];

const hierarchy: Row[] = HIERARCHY.flatMap(({ name, bits, what, leaf, without, expected }) => [
  ...[0, 1, 2].map((level) =>
    row('D8.4.1.2', `${name}-level-${level}`, `${what} in the level ${level} table descriptor: ${expected}`, (b) => {
      b.start();
      const { lower } = b.stage1();
      lower.map(VA, PAGE, leaf);
      lower.set(VA, level, lower.get(VA, level) | bits);
      check(b, lower, leaf, expected);
    }),
  ),
  row(
    'D8.4.1.2',
    `${name}-had`,
    `${what} with HAD0=1: ignored, ${without}`,
    (b) => {
      b.start();
      const { lower } = b.stage1({ cd: { HAD0: 1 } });
      lower.map(VA, PAGE, leaf);
      lower.set(VA, 1, lower.get(VA, 1) | bits);
      check(b, lower, leaf, without);
    },
    { features: { HAD: 1 } },
  ),
]);

const hadHalves: Row[] = [
  row(
    '5.4',
    'had-upper',
    'HAD1 is for TTB1 alone',
    (b) => {
      b.start();
      const high = 0xffff_0000_7000_0000n;
      const { lower, upper } = b.stage1({ upper: true, cd: { HAD1: 1 } });
      for (const [tables, va] of [
        [lower, BigInt(VA)],
        [upper, high],
      ] as const) {
        tables.map(va, PAGE);
        tables.set(va, 1, tables.get(va, 1) | BIT.APTable_NO_USER);
      }
      b.ram.write64(PAGE, 1n);
      b.aborts({ va: VA });
      b.events.take();
      b.reaches({ va: high }, PAGE);
    },
    { features: { HAD: 1 } },
  ),
  row(
    '5.4',
    'had-absent',
    'HAD=0: CD.HAD0 is ignored, the hierarchy counts',
    (b) => {
      b.start();
      const { lower } = b.stage1({ cd: { HAD0: 1 } });
      lower.map(VA, PAGE);
      lower.set(VA, 1, lower.get(VA, 1) | BIT.APTable_NO_USER);
      b.aborts({ va: VA });
    },
    { features: { HAD: 0 } },
  ),
];

/** PAN and E0PD (§5.4). */
interface Switch {
  readonly name: string;
  readonly cd: CdValues;
  readonly leaf: bigint;
  readonly expected: string;
  readonly title: string;
  readonly features?: FeatureValues;
  readonly ste?: SteValues;
  readonly section?: string;
}

const SWITCHES: readonly Switch[] = [
  {
    name: 'pan-user-page',
    cd: { PAN: 1 },
    leaf: leafOf(0b01, 1, 1),
    expected: '/RW',
    title: 'PAN=1: no privileged data access to a page that users reach',
  },
  {
    name: 'pan-user-ro',
    cd: { PAN: 1 },
    leaf: leafOf(0b11, 1, 1),
    expected: '/R',
    title: 'PAN=1: the same for a read-only page',
  },
  {
    name: 'pan-privileged-page',
    cd: { PAN: 1 },
    leaf: leafOf(0b00, 1, 1),
    expected: 'RW/',
    title: 'PAN=1: a privileged page is not affected',
  },
  {
    name: 'pan-execute',
    cd: { PAN: 1 },
    leaf: leafOf(0b11),
    expected: 'X/RX',
    title: 'PAN=1: instruction reads are not affected',
  },
  { name: 'pan-off', cd: { PAN: 0 }, leaf: leafOf(0b01, 1, 1), expected: 'RW/RW', title: 'PAN=0: no effect' },
  {
    name: 'epan',
    cd: { PAN: 1, EPAN: 1 },
    leaf: leafOf(0b00, 0, 1),
    expected: '/X',
    title: 'PAN=1, EPAN=1: no privileged data access to a page that users execute',
    features: { EPAN: 1 },
  },
  {
    name: 'epan-absent',
    cd: { PAN: 1, EPAN: 1 },
    leaf: leafOf(0b00, 0, 1),
    expected: 'RW/X',
    title: 'EPAN=0 in IDR3: CD.EPAN is RES0',
    features: { EPAN: 0 },
  },
  {
    name: 'pan-el2',
    cd: { PAN: 1 },
    leaf: leafOf(0b01, 1),
    expected: 'RW/RW',
    title: 'StreamWorld EL2: PAN is ignored',
    ste: { STRW: 2 },
    features: { Hyp: 1 },
  },
  {
    name: 'e0pd-absent',
    cd: { E0PD0: 1 },
    leaf: leafOf(0b01, 1, 1),
    expected: 'RW/RW',
    title: 'E0PD=0 in IDR3: CD.E0PD0 is RES0',
    features: { E0PD: 0 },
  },
  {
    name: 'e0pd1-lower',
    cd: { E0PD1: 1 },
    leaf: leafOf(0b01, 1, 1),
    expected: 'RW/RW',
    title: 'E0PD1 is for TTB1 alone',
    features: { E0PD: 1 },
  },
  {
    name: 'e0pd0',
    cd: { E0PD0: 1 },
    leaf: leafOf(0b01, 1, 1),
    expected: 'RW/',
    title: 'E0PD0=1: no unprivileged access through TTB0',
    features: { E0PD: 1 },
  },
  {
    name: 'uwxn',
    cd: { UWXN: 1 },
    leaf: leafOf(0b01, 0, 0),
    expected: 'RW/RWX',
    title: 'UWXN is ignored with VMSAv8-64 tables',
  },
];

const switches: Row[] = SWITCHES.map(({ name, cd, leaf, expected, title, features, ste }) =>
  row(
    '5.4',
    name,
    `${title}: ${expected}`,
    (b) => {
      b.start();
      const { lower } = b.stage1({ cd, ste: ste ?? {} });
      check(b, lower, leaf, expected);
    },
    features === undefined ? {} : { features },
  ),
);

const e0pd: Row[] = [
  row(
    '7.3.13',
    'e0pd',
    'E0PD0=1: an unprivileged access is F_TRANSLATION, and nothing is walked',
    (b) => {
      b.start();
      b.stage1({ cd: { E0PD0: 1 } }).lower.map(VA, PAGE);
      b.faults({ va: VA }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
    },
    { features: { E0PD: 1 } },
  ),
  row(
    '5.4',
    'e0pd1',
    'E0PD1=1: an unprivileged access through TTB1 is F_TRANSLATION',
    (b) => {
      b.start();
      const high = 0xffff_0000_7000_0000n;
      b.stage1({ upper: true, cd: { E0PD1: 1 } }).upper.map(high, PAGE, leafOf(0b01, 1, 1));
      b.faults({ va: high }, 'F_TRANSLATION', { CLASS: CLASS_VALUE.IN });
      b.reaches({ va: high, privileged: true }, PAGE);
    },
    { features: { E0PD: 1 } },
  ),
];

/** Stage 2 (Tables D8-76, D8-78). Data access knows no privilege. */
const stage2Leaf = (s2ap: number, xn = 0b10): bigint => (LEAF_2 & ~0xc0n) | (BigInt(s2ap) << 6n) | (BigInt(xn) << 53n);

const stage2: Row[] = [
  ...S2AP.map(({ value, access }) =>
    row('D8.4.2', `s2ap-${value}`, `S2AP=${binary(value)}: ${access || 'no'} data access by either privilege`, (b) => {
      b.start();
      check(b, b.stage2(), stage2Leaf(value), `${access}/${access}`);
    }),
  ),
  ...S2XN.map(({ value, privileged, unprivileged }) =>
    row(
      'D8.4.2',
      `xnx-${value}`,
      `XNX: XN[1:0]=${binary(value)}`,
      (b) => {
        b.start();
        check(b, b.stage2(), stage2Leaf(0b11, value), `RW${privileged ? 'X' : ''}/RW${unprivileged ? 'X' : ''}`);
      },
      { features: { XNX: 1, S2P: 1 } },
    ),
  ),
  ...[0, 1].map((xn) =>
    row(
      'D8.4.2',
      `xn-${xn}`,
      `without XNX: XN=${xn}, bit 53 is RES0`,
      (b) => {
        b.start();
        const all = xn === 0 ? 'RWX' : 'RW';
        check(b, b.stage2(), stage2Leaf(0b11, (xn << 1) | 0), `${all}/${all}`);
      },
      { features: { XNX: 0, S2P: 1 } },
    ),
  ),
  row('D8.4.2', 'execute-only', 'S2AP=0b00, XN=0: execute-only', (b) => {
    b.start();
    check(b, b.stage2(), stage2Leaf(0b00, 0), 'X/X');
  }),
];

/** Both stages: what both permit, and the record of the stage that refused. */
const BOTH = [
  { name: 'stage-1-ro', leaf: leafOf(0b11, 1, 1), s2: stage2Leaf(0b11), expected: 'R/R' },
  { name: 'stage-2-ro', leaf: leafOf(0b01, 1, 1), s2: stage2Leaf(0b01), expected: 'R/R' },
  { name: 'stage-2-wo', leaf: leafOf(0b01, 1, 1), s2: stage2Leaf(0b10), expected: 'W/W' },
  { name: 'disjoint', leaf: leafOf(0b11, 1, 1), s2: stage2Leaf(0b10), expected: '/' },
  { name: 'stage-2-xn', leaf: leafOf(0b11), s2: stage2Leaf(0b11, 0b10), expected: 'R/R' },
  { name: 'stage-1-xn', leaf: leafOf(0b11, 1, 1), s2: stage2Leaf(0b11, 0), expected: 'R/R' },
  { name: 'both', leaf: leafOf(0b11), s2: stage2Leaf(0b11, 0), expected: 'RX/RX' },
] as const;

const both: Row[] = [
  ...BOTH.map(({ name, leaf, s2, expected }) =>
    row('D8.4', `nested-${name}`, `nested, ${name.replaceAll('-', ' ')}: ${expected}`, (b) => {
      b.start();
      const { lower, stage2: tables } = b.nested();
      tables.map(0x1_0000_0000, PAGE, s2);
      lower.map(VA, 0x1_0000_0000, leaf);
      b.ram.write64(PAGE, 0x1234n);
      equal('privileged/unprivileged', permitted(b, VA), expected);
    }),
  ),
  row('7.3.16', 'stage-2-refuses', 'stage 1 permits, stage 2 refuses: S2=1, CLASS=IN, the IPA', (b) => {
    b.start();
    const { lower, stage2: tables } = b.nested();
    tables.map(0x1_0000_0000, PAGE, stage2Leaf(0b01));
    lower.map(VA, 0x1_0000_0000);
    b.faults({ va: VA, write: true }, 'F_PERMISSION', { S2: 1, CLASS: CLASS_VALUE.IN, IPA: 0x10_0000 });
  }),
];

/** PRIVCFG and INSTCFG decide which permissions count (§13.1.2, §5.2). */
const overrides: Row[] = [
  { name: 'privileged', ste: { PRIVCFG: 0b11 }, leaf: leafOf(0b00, 1, 1), expected: 'RW/RW' },
  { name: 'unprivileged', ste: { PRIVCFG: 0b10 }, leaf: leafOf(0b00, 1, 1), expected: '/' },
  { name: 'instruction', ste: { INSTCFG: 0b11 }, leaf: leafOf(0b11, 1, 1), expected: '/' },
  { name: 'instruction-write', ste: { INSTCFG: 0b11 }, leaf: leafOf(0b01, 0, 0), expected: 'W/RWX' },
  { name: 'data', ste: { INSTCFG: 0b10 }, leaf: leafOf(0b11, 1, 1), expected: 'RX/RX' },
].map(({ name, ste, leaf, expected }) =>
  row(
    '13.1.2',
    name,
    `STE override ${name}: ${expected}`,
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste });
      check(b, lower, leaf, expected);
    },
    { features: { ATTR_PERMS_OVR: 1 } },
  ),
);

const noOverrides: Row[] = [
  row(
    '13.1.2',
    'no-override',
    'ATTR_PERMS_OVR=0: PRIVCFG and INSTCFG are RES0',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: { PRIVCFG: 0b11, INSTCFG: 0b11 } });
      check(b, lower, leafOf(0b00, 1, 1), 'RW/');
    },
    { features: { ATTR_PERMS_OVR: 0 } },
  ),
];

/** Stage 1 walks and CD fetches to Device memory of stage 2: S2PTW (§5.2). */
const DEVICE = LEAF_2 & ~0x3cn;

const walks: Row[] = [
  ...[
    { S2PTW: 0, ending: 'done' },
    { S2PTW: 1, ending: 'fault' },
  ].flatMap(({ S2PTW, ending }) =>
    (['CD', 'TT'] as const).map((where) =>
      row(
        '5.2',
        `s2ptw-${S2PTW}-${where}`,
        `S2PTW=${S2PTW}: a ${where === 'CD' ? 'CD fetch' : 'stage 1 walk'} from a Device page of stage 2 ${ending === 'done' ? 'is allowed' : 'is F_PERMISSION'}`,
        (b) => {
          b.start();
          const { tables, fields } = b.stage2Tables();
          b.identity(tables);
          const lower = b.tables().map(VA, PAGE);
          const cdPage = b.ram.allocate(4096);
          const TTB0 = (where === 'TT' ? 0x1_0000_0000 : lower.base) / 16;
          b.ram.write(cdPage, b.ram.read(b.newCd({ ...b.cdFields(lower, null), TTB0 }), 64));
          tables.map(0x1_0000_0000, where === 'TT' ? lower.base : cdPage, DEVICE);
          const S1ContextPtr = (where === 'CD' ? 0x1_0000_0000 : cdPage) / 64;
          b.ste({ Config: 0b111, ...fields, S2PTW, S1ContextPtr });
          if (ending === 'done') {
            b.reaches({ va: VA }, PAGE);
            return;
          }
          const read = where === 'TT' ? { TTRnW: 1 } : {};
          b.faults({ va: VA }, 'F_PERMISSION', { S2: 1, CLASS: CLASS_VALUE[where], IPA: 0x10_0000, ...read });
        },
      ),
    ),
  ),
];

export const walkPermissionRows: readonly Row[] = [
  ...table,
  ...oneLevel,
  ...hierarchy,
  ...hadHalves,
  ...switches,
  ...e0pd,
  ...stage2,
  ...both,
  ...overrides,
  ...noOverrides,
  ...walks,
];
