/** What ATS Translation Requests are granted: permissions, sizes, updated flags (IHI 0070 §13.6.3, §13.7, §3.13.7). */
import { answers, denied, maps, shown } from '../bench/ats-completion.ts';
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { brokenNested, IPA } from '../bench/broken.ts';
import { CONFIG, type SteValues } from '../bench/streams.ts';
import { BIT, LEAF_1, LEAF_2, type Tables } from '../bench/tables.ts';
import type { TranslateOptions } from '../bench/traffic.ts';
import { equal, Mismatch, oneOf } from '../check.ts';
import { GRANTS } from '../facts/ats.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

const EATS_FULL = { EATS: 0b01 };
const ATS: FeatureValues = { ATS: 1 };

/** AP[2:1] that gives the pair; the unprivileged execute-only page of the table has AP=0b00, UXN=0. */
const AP = { 'RW/RW': BIT.AP1, '-/RW': 0n, 'RO/RO': BIT.AP1 | BIT.AP2, '-/RO': BIT.AP2 } as const;

interface PermissionCase {
  readonly name: string;
  readonly ap: keyof typeof AP;
  readonly xn?: bigint;
  readonly request: Omit<TranslateOptions, 'va'>;
  readonly ste?: SteValues;
  /** Allowed answers. */
  readonly expected: readonly string[];
}

/** PASID 0 of a table of CDs, so that Exe and Priv mean something. */
const WITH_PASID = 1;
const UXN = BIT.UXN | BIT.PXN;

/** Unprivileged execute alone. */
const PERMISSIONS: readonly PermissionCase[] = [
  { name: 'rw', ap: 'RW/RW', request: {}, expected: ['Success RW'] },
  { name: 'rw-no-write', ap: 'RW/RW', request: { noWrite: true }, expected: ['Success R', 'Success RW'] },
  { name: 'ro', ap: 'RO/RO', request: {}, expected: ['Success R'] },
  { name: 'privileged-page', ap: '-/RW', xn: UXN, request: {}, expected: ['Success none'] },
  {
    name: 'privileged-request',
    ap: '-/RW',
    request: { pasid: WITH_PASID, privileged: true },
    expected: ['Success RW'],
  },
  { name: 'user-request', ap: '-/RW', xn: UXN, request: { pasid: WITH_PASID }, expected: ['Success none'] },
  { name: 'privileged-ro', ap: '-/RO', request: { pasid: WITH_PASID, privileged: true }, expected: ['Success R'] },
  { name: 'execute', ap: 'RO/RO', request: { pasid: WITH_PASID, execute: true }, expected: ['Success RX'] },
  {
    name: 'execute-never',
    ap: 'RO/RO',
    xn: UXN,
    request: { pasid: WITH_PASID, execute: true },
    expected: ['Success R'],
  },
  { name: 'execute-not-asked', ap: 'RO/RO', request: { pasid: WITH_PASID }, expected: ['Success R'] },
  { name: 'execute-only', ap: '-/RW', request: { pasid: WITH_PASID, execute: true }, expected: ['Success none'] },
  { name: 'execute-without-pasid', ap: 'RO/RO', request: { execute: true }, expected: ['Success R'] },
  { name: 'privileged-without-pasid', ap: '-/RW', xn: UXN, request: { privileged: true }, expected: ['Success none'] },
  { name: 'privileged-without-pasid-user-page', ap: 'RW/RW', request: { privileged: true }, expected: ['Success RW'] },
  { name: 'write-execute', ap: 'RW/RW', request: { pasid: WITH_PASID, execute: true }, expected: ['Success RWX'] },
  {
    name: 'privcfg-privileged',
    ap: '-/RW',
    request: { pasid: WITH_PASID },
    ste: { PRIVCFG: 0b11 },
    expected: ['Success RW'],
  },
  {
    name: 'privcfg-unprivileged',
    ap: '-/RW',
    xn: UXN,
    request: { pasid: WITH_PASID, privileged: true },
    ste: { PRIVCFG: 0b10 },
    expected: ['Success none'],
  },
  {
    name: 'instcfg-instruction-execute-only',
    ap: '-/RW',
    request: { pasid: WITH_PASID, execute: true, noWrite: true },
    ste: { INSTCFG: 0b11 },
    expected: ['Success RX'],
  },
  {
    name: 'instcfg-instruction-not-asked',
    ap: '-/RW',
    request: { pasid: WITH_PASID, noWrite: true },
    ste: { INSTCFG: 0b11 },
    expected: ['Success R'],
  },
  {
    name: 'instcfg-instruction-never',
    ap: 'RO/RO',
    xn: UXN,
    request: { pasid: WITH_PASID, execute: true, noWrite: true },
    ste: { INSTCFG: 0b11 },
    expected: ['Success none'],
  },
  {
    name: 'instcfg-data',
    ap: 'RO/RO',
    xn: UXN,
    request: { pasid: WITH_PASID, execute: true },
    ste: { INSTCFG: 0b10 },
    expected: ['Success RX'],
  },
];

const permissions: Row[] = PERMISSIONS.map(({ name, ap, xn = 0n, request, ste = {}, expected }) =>
  row(
    '13.7.1',
    name,
    `permissions granted: ${name.replaceAll('-', ' ')}: ${expected.join(' or ')}`,
    (b) => {
      b.needs({ SSIDSIZE: 'positive', ...('PRIVCFG' in ste || 'INSTCFG' in ste ? { ATTR_PERMS_OVR: 1 } : {}) });
      b.start();
      withPasid(b, ste, (LEAF_1 & ~BIT.AP1) | AP[ap] | xn);
      const answer = b.translate({ va: VA, ...request });
      oneOf('completion', shown(answer), expected);
      const pasid = (request.pasid ?? -1) >= 0;
      if (answer.read || answer.write) equal('Priv', answer.privileged, pasid && request.privileged === true);
    },
    { features: ATS },
  ),
);

/** One CD for requests without a PASID and one for PASID 1, with the same tables. */
function withPasid(b: Bench, ste: SteValues, leaf: bigint): void {
  const table = b.ram.allocate(2 * 64);
  const lower = b.tables().map(VA, PAGE, leaf);
  const cd = b.ram.read(b.newCd(b.cdFields(lower, null)), 64);
  for (const index of [0, 1]) b.ram.write(table + index * 64, cd);
  b.ste({ Config: CONFIG.STAGE_1, ...EATS_FULL, S1CDMax: 1, S1DSS: 0b10, S1ContextPtr: table / 64, ...ste });
}

/** The table of §13.7, but for pages that only privileged code may write and user code may read: VMSAv8-64 has none. */
const LEAVES: Readonly<Record<string, bigint>> = {
  'RO/RW': BIT.AP1 | BIT.AP2,
  'RW/RW': BIT.AP1,
  'X/RW': 0n,
};

const granted: Row[] = GRANTS.filter(({ user }) => user !== 'RO').map((fact, index) => {
  const request = `NW=${fact.NW} Exe=${fact.Exe} Priv=${fact.Priv}`;
  const page = `user ${fact.user}, privileged ${fact.priv}, XN=${fact.xn}`;
  return row(
    '13.7',
    `grant-${index}`,
    `${request}, page ${page}: R=${fact.R} W=${fact.W ?? 'any'} Exe=${fact.X}`,
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      const leaf = (LEAF_1 & ~BIT.AP1) | (LEAVES[`${fact.user}/${fact.priv}`] ?? 0n);
      withPasid(b, {}, leaf | (fact.xn === 1 ? UXN : 0n));
      const request_ = { noWrite: fact.NW === 1, execute: fact.Exe === 1, privileged: fact.Priv === 1 };
      const answer = b.translate({ va: VA, pasid: WITH_PASID, ...request_ });
      equal('R', answer.read, fact.R === 1);
      if (fact.W !== null) equal('W', answer.write, fact.W === 1);
      equal('Exe', answer.execute, fact.X === 1);
      equal('Priv', answer.privileged, fact.Priv === 1);
    },
    { features: ATS },
  );
});

/** Sizes: at most the overlap of the two stages; the bench asks for as much as there is. */
const sizes: Row[] = [
  row(
    '13.6.3',
    'size-page',
    'a 4 KiB page: one page',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE);
      // The second answer may come from what the first left in the TLB.
      for (const va of [VA, VA]) maps(answers(b, { va, length: 512 }, 'Success RW'), va, PAGE, 1);
    },
    { features: ATS },
  ),
  row(
    '13.6.3',
    'size-block',
    'a 2 MiB block: at most 512 pages, aligned',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE, LEAF_1, 2);
      for (const n of [5, 5, 7]) {
        const answer = answers(b, { va: VA + n * 4096, length: 512 }, 'Success RW');
        const sensible = answer.pages >= 1 && answer.pages <= 512 && Number.isInteger(Math.log2(answer.pages));
        if (!sensible) throw new Mismatch('size in pages', 'a power of two, at most 512', String(answer.pages));
        maps(answer, VA + n * 4096, PAGE + n * 4096, answer.pages);
      }
    },
    { features: ATS },
  ),
  row(
    '13.6.3',
    'size-overlap',
    'a block over pages of stage 2: no more than the smaller',
    (b) => {
      b.start();
      const { lower, stage2 } = b.nested({ ste: EATS_FULL });
      lower.map(VA, 0x1_0000_0000, LEAF_1, 2);
      stage2.map(0x1_0000_0000, PAGE);
      stage2.map(0x1_0000_1000, PAGE + 0x9000);
      maps(answers(b, { va: VA + 0x1000, length: 512 }, 'Success RW'), VA + 0x1000, PAGE + 0x9000, 1);
    },
    { features: ATS },
  ),
  row(
    '13.6.3',
    'size-overlap-stage-1',
    'a page over a block of stage 2: no more than the page',
    (b) => {
      b.start();
      const { lower } = b.nested({ ste: EATS_FULL });
      lower.map(VA, PAGE + 0x7000);
      maps(answers(b, { va: VA, length: 512 }, 'Success RW'), VA, PAGE + 0x7000, 1);
    },
    { features: ATS },
  ),
  row(
    '13.6.2.1',
    'n-and-global',
    'Global and U are never set',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE, LEAF_1 & ~BIT.nG);
      const answer = answers(b, { va: VA }, 'Success RW');
      equal('Global', answer.global, false);
      equal('U', answer.untranslatedOnly, false);
    },
    { features: ATS },
  ),
];

/** Flags in the tables (§3.13.7). */
const FLAGS = { HA: 1, HD: 1 };
const CLEAN = LEAF_1 | BIT.AP2 | BIT.DBM;

const flags: Row[] = [
  row(
    '3.13.7.1',
    'access',
    'HTTU: a request that is granted anything sets AF',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: { HA: 1 } });
      lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      answers(b, { va: VA, noWrite: true }, 'Success RW');
      equal('AF', (lower.get(VA, 3) & BIT.AF) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 1 } },
  ),
  row(
    '3.13.7.2',
    'access-off',
    'no HTTU: a request for a page with AF=0 is denied',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE, LEAF_1 & ~BIT.AF);
      denied(b, { va: VA });
    },
    { features: ATS },
  ),
  row(
    '3.13.7.1',
    'dirty',
    'HTTU: NW=0 to a writable-clean page makes it dirty and grants W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: FLAGS });
      lower.map(VA, PAGE, CLEAN);
      answers(b, { va: VA }, 'Success RW');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, false);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'no-write',
    'HTTU: NW=1 to a writable-clean page leaves it clean and grants no W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: FLAGS });
      lower.map(VA, PAGE, CLEAN);
      answers(b, { va: VA, noWrite: true }, 'Success R');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'access-only',
    'HTTU of the access flag alone: a writable-clean page grants no W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: { HA: 1 } });
      lower.map(VA, PAGE, CLEAN);
      answers(b, { va: VA }, 'Success R');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 1 } },
  ),
  row(
    '3.13.7.1',
    'read-only',
    'HTTU: a read-only page (DBM=0) stays so and grants no W',
    (b) => {
      b.start();
      const { lower } = b.stage1({ ste: EATS_FULL, cd: FLAGS });
      lower.map(VA, PAGE, LEAF_1 | BIT.AP2);
      answers(b, { va: VA }, 'Success R');
      equal('AP[2]', (lower.get(VA, 3) & BIT.AP2) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'stage-1-read-only',
    'stage 1 read-only: a writable-clean page of stage 2 stays clean',
    (b) => {
      b.start();
      const { lower, stage2 } = b.nested({ ste: { ...EATS_FULL, S2HA: 1, S2HD: 1 } });
      lower.map(VA, 0x1_0000_0000, LEAF_1 | BIT.AP2);
      stage2.map(0x1_0000_0000, PAGE, (LEAF_2 & ~0x80n) | BIT.DBM);
      answers(b, { va: VA }, 'Success R');
      equal('S2AP[1]', (stage2.get(0x1_0000_0000, 3) & 0x80n) !== 0n, false);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
  row(
    '3.13.7.1',
    'stage-2-dirty',
    'NW=0 through both stages makes a writable-clean page of stage 2 dirty',
    (b) => {
      b.start();
      const { lower, stage2 } = b.nested({ ste: { ...EATS_FULL, S2HA: 1, S2HD: 1 } });
      lower.map(VA, 0x1_0000_0000);
      stage2.map(0x1_0000_0000, PAGE, (LEAF_2 & ~0x80n) | BIT.DBM);
      answers(b, { va: VA }, 'Success RW');
      equal('S2AP[1]', (stage2.get(0x1_0000_0000, 3) & 0x80n) !== 0n, true);
    },
    { features: { ATS: 1, HTTU: 2 } },
  ),
];

/** A grant of any kind sets AF (§13.7, §3.13.7.1); what a request with NW=1 cannot use may be withheld. */
function accessedIfGranted(b: Bench, stage2: Tables, ipa: number): void {
  const completion = shown(b.translate({ va: VA, noWrite: true }));
  oneOf('completion', completion, ['Success none', 'Success W']);
  if (completion !== 'Success none') equal('AF', (stage2.get(ipa, 3) & BIT.AF) !== 0n, true);
}

const grantsAccess: Row[] = [
  row(
    '13.7',
    'execute-implies-read',
    'Exe=1 to a page of stage 2 that may be written and executed, not read: W alone',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      const { stage2 } = brokenNested(b, null, 'none', { ...EATS_FULL, S1CDMax: 1, S1DSS: 0b01 });
      stage2.map(IPA.IN, PAGE, LEAF_2 & ~0x40n);
      answers(b, { va: VA, pasid: 0, execute: true }, 'Success W');
    },
    { features: ATS },
  ),
  row(
    '3.9.1.2',
    'denied-block',
    'a 2 MiB block that grants nothing: Success, R=W=0, the size of the STU',
    (b) => {
      b.start();
      b.stage1({ ste: EATS_FULL }).lower.map(VA, PAGE, LEAF_1 & ~BIT.AP1, 2);
      denied(b, { va: VA });
      // The same from what a privileged access left in the TLB.
      b.reaches({ va: VA, privileged: true }, PAGE);
      denied(b, { va: VA });
    },
    { features: ATS },
  ),
  row(
    '13.7',
    'write-only-access',
    'NW=1 to a write-only page of stage 2 with AF=0: nothing is granted, or AF is set',
    (b) => {
      b.start();
      const stage2 = b.stage2({ ste: { ...EATS_FULL, S2HA: 1 } });
      stage2.map(VA, PAGE, LEAF_2 & ~0x40n & ~BIT.AF);
      accessedIfGranted(b, stage2, VA);
    },
    { features: { ATS: 1, HTTU: 1 } },
  ),
  row(
    '13.7',
    'never-executed-access',
    'INSTCFG=Instruction, NW=1 to an execute-never page of stage 2 with AF=0: nothing is granted, or AF is set',
    (b) => {
      b.start();
      const ipa = 0x1_0000_0000;
      const { lower, stage2 } = b.nested({ ste: { ...EATS_FULL, S2HA: 1, INSTCFG: 0b11 } });
      lower.map(VA, ipa);
      stage2.map(ipa, PAGE, (LEAF_2 & ~BIT.AF) | BIT.UXN);
      accessedIfGranted(b, stage2, ipa);
    },
    { features: { ATS: 1, HTTU: 1, ATTR_PERMS_OVR: 1 } },
  ),
];

export const atsPermissionRows: readonly Row[] = [...permissions, ...granted, ...sizes, ...flags, ...grantsAccess];
