/**
 * Where QEMU and Faultline differ, and what the specification says: data, from which `docs/qemu-differences.md` is made.
 * A difference explains the disagreements of the programs that it names and of no others, and has to show in each.
 */
import { type Disagreement, isGone } from './compare.ts';
import { RESULT_UNKNOWN } from './execute.ts';
import type { Observation } from './program.ts';

export interface Difference {
  readonly id: string;
  /** What is done, in a few words. */
  readonly about: string;
  readonly qemu: string;
  readonly ours: string;
  /** Where it is decided. */
  readonly section: string;
  /** Who is right; `either` where the specification leaves it open. */
  readonly right: 'Faultline' | 'either';
  /** Names of written programs that show it. */
  readonly programs: readonly (string | RegExp)[];
  /** Whether a disagreement is this one. */
  explains(disagreement: Disagreement): boolean;
  /** What follows from it makes later steps disagree too. */
  readonly lasting?: true;
}

const number = (seen: Observation, name: string): bigint => BigInt(seen[name] ?? '0');

/** Words of the first event record that was seen; null for none. */
const event = (seen: Observation): number[] | null =>
  seen['event 0']?.split(' ').map((word) => Number.parseInt(word, 16)) ?? null;
const eventType = (seen: Observation): number => (event(seen)?.[0] ?? 0) & 0xff;

const done = (seen: Observation): boolean => seen.result === '0x0';
/** An edu that stands in for a test device cannot tell these two apart. */
const UNKNOWN = `0x${RESULT_UNKNOWN.toString(16)}`;
const aborted = (seen: Observation): boolean => seen.result === '0xdead0002' || seen.result === UNKNOWN;
/** The bytes went elsewhere than where they were looked for. */
const elsewhere = (seen: Observation): boolean => seen.result === '0xdead0004' || seen.result === UNKNOWN;

/** One server says event `qemu`, the other event `ours`; 0 for none. Nothing else of the outcome matters. */
const events =
  (qemu: number, ours: number) =>
  (d: Disagreement): boolean =>
    eventType(d.qemu) === qemu && eventType(d.ours) === ours;

/** QEMU reads bits that ours has not: all of ours are QEMU's too. */
const moreBits = (d: Disagreement): boolean => {
  const names = Object.keys(d.ours);
  return names.every((name) => (number(d.qemu, name) & number(d.ours, name)) === number(d.ours, name));
};

const readsRegister = (d: Disagreement): boolean => ['get', 'set', 'peek'].includes(d.step.op);

/** Records that differ in nothing but bits of word 3 (events are 8 words). */
const word3 =
  (mask: number) =>
  (d: Disagreement): boolean => {
    const [a, b] = [event(d.qemu), event(d.ours)];
    if (a === null || b === null || d.qemu.result !== d.ours.result) return false;
    return a.every((word, index) => (index === 3 ? ((word ^ (b[index] ?? 0)) & ~mask) === 0 : word === b[index]));
  };

/** One of them serves from a cache what the other fetched anew. */
const stale = (who: 'qemu' | 'ours') => (d: Disagreement) => {
  const [cached, fresh] = who === 'ours' ? [d.ours, d.qemu] : [d.qemu, d.ours];
  return (done(cached) && !done(fresh)) || (elsewhere(cached) && done(fresh));
};

const RNW = 0x8;
const S2 = 0x80;
const TTRNW = 0x1000;
const CLASS = 0x300;
const TTD = 0x100;

export const DIFFERENCES: readonly Difference[] = [
  {
    id: 'identification',
    about: 'IIDR and the peripheral ID registers',
    qemu: "Arm's, of an MMU-600",
    ours: 'our own',
    section: 'IHI 0070 §6.3.7, §6.3.170: IMPLEMENTATION DEFINED',
    right: 'either',
    programs: ['registers: IIDR with every bit written', /^registers: (IIDR|PIDR[0-4]) after reset$/],
    explains: readsRegister,
  },
  {
    id: 'queue-base-reset',
    about: 'CMDQ_BASE and EVENTQ_BASE after reset',
    qemu: 'LOG2SIZE is 19',
    ours: '0',
    section: 'IHI 0070 §6.3.26, §6.3.29: UNKNOWN',
    right: 'either',
    programs: ['registers: CMDQ_BASE after reset', 'registers: EVENTQ_BASE after reset'],
    explains: readsRegister,
  },
  {
    id: 'reserved-bits',
    about: 'reserved bits, and bits of features that are not announced, written with ones',
    qemu: 'read as written; CR0ACK and IRQ_CTRLACK acknowledge them',
    ours: 'read as zero',
    section: 'IHI 0070 §6.2',
    right: 'Faultline',
    programs: [
      /^registers: (CR1|CR2|IRQ_CTRL|GERRORN|GERROR_IRQ_CFG[012]|STRTAB_BASE|STRTAB_BASE_CFG) with every bit written$/,
      /^registers: (CMDQ|EVENTQ)_(BASE|PROD|CONS) with every bit written$/,
      'registers: STRTAB_BASE by halves',
      'registers: CR0.ATSCHK is acknowledged',
      'registers: CR0 without PRIQEN and VMW, which nothing announces',
      'registers: IRQ_CTRL 7 is acknowledged',
      'registers: event queue indexes while off',
    ],
    explains: (d) => readsRegister(d) && moreBits(d),
  },
  {
    id: 'guarded-writes',
    about: 'a write of a guarded register while its guard is on',
    qemu: 'taken, though not always used',
    ours: 'ignored',
    section: 'IHI 0070 §6.3.24, §6.3.26: CONSTRAINED UNPREDICTABLE up to SMMUv3.1, ignored from v3.2 on',
    right: 'either',
    programs: [
      /^registers: (CR2|STRTAB_BASE|STRTAB_BASE_CFG|CMDQ_BASE|EVENTQ_BASE|EVENTQ_PROD|CMDQ_CONS) is guarded while the SMMU is on$/,
    ],
    explains: readsRegister,
  },
  {
    id: 'page-1-alias',
    about: 'an offset of page 1 that has no register',
    qemu: 'is the register of page 0',
    ours: 'is RES0',
    section: 'IHI 0070 §6.2',
    right: 'either',
    programs: ['registers: offset 0x10000 is empty', 'registers: offset 0x100a0 is empty'],
    explains: readsRegister,
  },
  {
    id: 'recinvsid',
    about: 'a StreamID beyond the stream table with CR2.RECINVSID 0',
    qemu: 'records C_BAD_STREAMID',
    ours: 'records nothing',
    section: 'IHI 0070 §6.3.12, §6.3.25',
    right: 'Faultline',
    programs: ['streams: StreamID beyond the table, CR2 0'],
    explains: events(0x02, 0),
    lasting: true,
  },
  {
    id: 'span',
    about: 'a StreamID outside the level 2 table that L1STD.Span describes: 2^(Span-1) entries',
    qemu: 'takes twice as many entries for valid, and records C_BAD_STE beyond them',
    ours: 'records C_BAD_STREAMID',
    section: 'IHI 0070 §5.1',
    right: 'Faultline',
    programs: [/^streams: two-level table, Span [34] for index 8/],
    explains: (d) => eventType(d.ours) === 0x02 && (done(d.qemu) || eventType(d.qemu) === 0x04),
    lasting: true,
  },
  {
    id: 'bypass-address-size',
    about: 'an input address above the output size where stage 1 is bypassed',
    qemu: 'records nothing',
    ours: 'records a stage 1 F_ADDR_SIZE',
    section: 'IHI 0070 §3.4, §7.3.14',
    right: 'Faultline',
    programs: [
      'bypass: an address beyond the output size, by STE',
      'stage 2: 44 bits, first address outside',
      'invalidation: STE changed, to bypass, CFGI_STE',
    ],
    explains: (d) => aborted(d.qemu) && aborted(d.ours) && events(0, 0x11)(d),
    lasting: true,
  },
  {
    id: 'substreams-ignored',
    about: 'STE.S1CDMax above 0 with IDR1.SSIDSIZE 0, or with stage 1 off',
    qemu: 'C_BAD_STE',
    ours: 'translates: the field is IGNORED',
    section: 'IHI 0070 §5.2',
    right: 'Faultline',
    programs: ['streams: S1CDMax with SSIDSIZE 0', 'stage 2: stage 1 fields of the STE do not matter'],
    explains: (d) => done(d.ours) && eventType(d.qemu) === 0x04,
  },
  {
    id: 'cd-fetch-address',
    about: 'FetchAddr of F_CD_FETCH',
    qemu: 'stands in words 4 and 5',
    ours: 'stands in words 6 and 7',
    section: 'IHI 0070 §7.3.10',
    right: 'Faultline',
    programs: [
      'streams: context pointer nowhere',
      'nested: CD nowhere at stage 2',
      'nested: CD nowhere at stage 2, S2R=0',
    ],
    explains: (d) => {
      const [a, b] = [event(d.qemu), event(d.ours)];
      return a?.[0] === 0x09 && b?.[0] === 0x09 && a[4] === b[6] && a[5] === b[7] && b[4] === 0 && b[5] === 0;
    },
  },
  {
    id: 'context-pointer-range',
    about: 'STE.S1ContextPtr beyond the output size, stage 1 alone',
    qemu: 'F_CD_FETCH',
    ours: 'C_BAD_STE',
    section: 'IHI 0070 §3.4.3',
    right: 'Faultline',
    programs: ['streams: context pointer beyond the output size'],
    explains: events(0x09, 0x04),
  },
  {
    id: 'reserved-ips',
    about: 'CD.IPS 0b110 and 0b111',
    qemu: 'ends with a failed assertion',
    ours: 'takes the output size',
    section: 'IHI 0070 §5.4',
    right: 'Faultline',
    programs: ['contexts: IPS 6', 'contexts: IPS 7'],
    explains: (d) => isGone(d.qemu),
    lasting: true,
  },
  {
    id: 'stage-2-lpae',
    about: 'STE.S2AA64 0 with IDR0.TTF 0b10',
    qemu: 'ends with a failed assertion',
    ours: 'C_BAD_STE',
    section: 'IHI 0070 §5.2',
    right: 'Faultline',
    programs: ['stage 2: S2AA64=0', 'nested: S2AA64=0'],
    explains: (d) => isGone(d.qemu) && eventType(d.ours) === 0x04,
    lasting: true,
  },
  {
    id: 'tbi1',
    about: 'a tagged address of the upper half with CD.TBI1 1',
    qemu: 'F_TRANSLATION: looks at TBI0',
    ours: 'translates',
    section: 'IHI 0070 §3.4.1, §5.4',
    right: 'Faultline',
    programs: ['contexts: tagged upper address, TBI1 1'],
    explains: (d) => done(d.ours) && eventType(d.qemu) === 0x10,
  },
  {
    id: 'block-levels',
    about: 'a block descriptor at a level that has none',
    qemu: 'translates',
    ours: 'F_TRANSLATION',
    section: 'DDI 0487 §D8.3.1.2',
    right: 'Faultline',
    programs: [/^stage 1: .* block at level [01], reserved there$/],
    explains: (d) => done(d.qemu) && eventType(d.ours) === 0x10,
    lasting: true,
  },
  {
    id: 'unprivileged',
    about: 'an access without PASID to a page that only privileged software may use',
    qemu: 'takes every access for privileged',
    ours: 'F_PERMISSION',
    section: 'IHI 0070 §3.9, §13.7; DDI 0487 §D8.4.1',
    right: 'Faultline',
    programs: [
      'stage 1: AP 0, unprivileged write',
      'stage 1: APTable 1 at level 1',
      'stage 1: edu reads nothing that only privileged may',
    ],
    explains: (d) => eventType(d.ours) === 0x13 && eventType(d.qemu) === 0,
    lasting: true,
  },
  {
    id: 'table-address-size',
    about: 'a table descriptor whose next table lies beyond CD.IPS',
    qemu: 'fetches from there: F_WALK_EABT',
    ours: 'F_ADDR_SIZE',
    section: 'IHI 0070 §3.4.3, §7.3.14',
    right: 'Faultline',
    programs: [/^stage 1: table beyond IPS, found at level [012]$/],
    explains: events(0x0b, 0x11),
  },
  {
    id: 'concatenated-tables',
    about: 'stage 2 tables side by side at the first level',
    qemu: 'uses the first of them for every address',
    ours: 'uses the one that the address selects',
    section: 'DDI 0487 §D8.2.2',
    right: 'Faultline',
    programs: [
      /^stage 2: 4 KiB, (32 bits from level 2|4[02] bits from level 1)$/,
      'stage 2: 16 KiB, 40 bits from level 2',
      /^stage 2: 64 KiB, (32 bits from level 3|44 bits from level 2)$/,
    ],
    explains: (d) => done(d.ours) && eventType(d.qemu) === 0x10,
  },
  {
    id: 'input-above-s2ps',
    about: 'stage 2 with a larger input (S2T0SZ) than output (S2PS)',
    qemu: 'C_BAD_STE',
    ours: 'translates: S2T0SZ is measured by the IAS; the output is checked where it leaves stage 2',
    section: 'IHI 0070 §5.2, §3.4',
    right: 'Faultline',
    programs: [/^stage 2: S2PS [0-3]$/, 'stage 2: output beyond S2PS'],
    explains: (d) => eventType(d.qemu) === 0x04 && (done(d.ours) || eventType(d.ours) === 0x11),
  },
  {
    id: 'stage-2-httu',
    about: 'STE.S2HA or S2HD with IDR0.HTTU 0',
    qemu: 'translates',
    ours: 'C_BAD_STE',
    section: 'IHI 0070 §5.2',
    right: 'Faultline',
    programs: ['stage 2: S2HA without HTTU', 'stage 2: S2HD without HTTU'],
    explains: (d) => done(d.qemu) && eventType(d.ours) === 0x04,
  },
  {
    id: 'start-level',
    about: 'a stage 2 start level (S2SL0) that the input size does not reach',
    qemu: 'walks',
    ours: 'C_BAD_STE',
    section: 'IHI 0070 §5.2; DDI 0487 §D8.2.8.2',
    right: 'Faultline',
    programs: ['stage 2: S2T0SZ 39 with a walk from level 1 of 40 bits', 'stage 2: start level 1 with 30 bits, 4 KiB'],
    explains: events(0x10, 0x04),
  },
  {
    id: 'nested-fault-fields',
    about: 'a stage 2 fault of a fetch that nested translation makes: of a CD, or of a stage 1 table',
    qemu: 'RnW is 1 for the CD and the first table, S2 is 0 below it, TTRnW is 0',
    ours: "RnW is the transaction's, S2 is 1, TTRnW is that of the fetch",
    section: 'IHI 0070 §7.3.13, §7.3.16',
    right: 'Faultline',
    programs: [
      /^nested: stage 1 table of level [123] (unmapped|AF=0|not readable|neither readable nor writable|beyond S2PS) at stage 2$/,
      /^nested: first stage 1 table (unmapped|AF=0|not readable|neither readable nor writable|beyond S2PS) at stage 2$/,
      /^nested: CD (unmapped|AF=0|not readable|neither readable nor writable|beyond S2PS) at stage 2$/,
      'nested: TTB0 beyond the stage 2 input size',
    ],
    explains: word3(RNW | S2 | TTRNW),
  },
  {
    id: 'nested-fault-ipa',
    about: 'the IPA of a stage 2 fault of a stage 1 table, where the table is larger than a page',
    qemu: "the table's",
    ours: "the descriptor's",
    section: 'IHI 0070 §7.3.13',
    right: 'Faultline',
    programs: ['nested: stage 1 table of 64 KiB unmapped at stage 2, an entry in its middle'],
    explains: (d) => {
      const [a, b] = [event(d.qemu), event(d.ours)];
      return a !== null && b !== null && a[6] === 0x1_0000 && b[6] === 0x1_2000 && a[4] === b[4];
    },
  },
  {
    id: 'nested-fault-recording',
    about: 'a stage 2 fault of a stage 1 table below the first, STE.S2R 0 and CD.R 1',
    qemu: 'recorded, as if of stage 1',
    ours: 'not recorded',
    section: 'IHI 0070 §5.2, §5.5',
    right: 'Faultline',
    programs: ['nested: stage 1 table of level 2 unmapped at stage 2, S2R=0'],
    explains: events(0x10, 0),
    lasting: true,
  },
  {
    id: 'cached-read-permission',
    about: 'a read from a page that may only be written, after a write',
    qemu: 'reads: what is cached is checked for writes alone',
    ours: 'F_PERMISSION',
    section: 'IHI 0070 §7.3.16; DDI 0487 §D8.4.2',
    right: 'Faultline',
    programs: ['stage 2: edu reads after a write, S2AP 2'],
    explains: (d) => eventType(d.ours) === 0x13 && eventType(d.qemu) === 0,
    lasting: true,
  },
  {
    id: 'cached-write-permission',
    about: 'a write to a stage 2 page that may only be read, after a read',
    qemu: 'aborts, and records nothing',
    ours: 'F_PERMISSION',
    section: 'IHI 0070 §7.3.16',
    right: 'Faultline',
    programs: ['stage 2: edu writes after a read, S2AP 1'],
    explains: events(0, 0x13),
    lasting: true,
  },
  {
    id: 'ipa-offset',
    about: 'the IPA of a fault record',
    qemu: 'bits 11:0 of the address stand below it, in bits 203:192',
    ours: 'bits 203:192 are RES0',
    section: 'IHI 0070 §7.3, §7.3.13',
    right: 'Faultline',
    programs: [/^(stage 2|nested): unmapped, in the middle of a page$/],
    explains: (d) => {
      const [a, b] = [event(d.qemu), event(d.ours)];
      if (a === null || b === null || d.qemu.result !== d.ours.result) return false;
      return a.every((word, index) => {
        return index === 6 ? (word & 0xfff) !== 0 && word >>> 12 === (b[6] ?? 0) >>> 12 : word === b[index];
      });
    },
  },
  {
    id: 'address-size-first',
    about: 'a page that is out of range and may not be used either (AF 0, or no permission)',
    qemu: 'F_ACCESS or F_PERMISSION',
    ours: 'F_ADDR_SIZE',
    section: 'IHI 0070 §7.3.22',
    right: 'Faultline',
    programs: [/^stage [12]: output beyond OAS and (AF=0|read-only|not writable)$/],
    explains: (d) => eventType(d.ours) === 0x11 && [0x12, 0x13].includes(eventType(d.qemu)),
  },
  {
    id: 'aptable-first',
    about: 'APTable read-only above a page that faults for another reason',
    qemu: 'F_PERMISSION as soon as the table descriptor is met',
    ours: 'F_ACCESS or F_TRANSLATION; permissions come last',
    section: 'IHI 0070 §7.3.22',
    right: 'Faultline',
    programs: [/^stage 1: APTable read-only above /],
    explains: (d) => eventType(d.qemu) === 0x13 && [0x10, 0x11, 0x12].includes(eventType(d.ours)),
  },
  {
    id: 's2ptw',
    about: 'STE.S2PTW 1, a stage 1 table in Device memory',
    qemu: 'translates',
    ours: 'F_PERMISSION',
    section: 'IHI 0070 §5.2',
    right: 'Faultline',
    programs: ['nested: stage 1 tables in device memory at stage 2, S2PTW 1'],
    explains: (d) => done(d.qemu) && eventType(d.ours) === 0x13,
  },
  {
    id: 'global-pages',
    about: 'a global page that was cached under another ASID',
    qemu: 'is found by the ASID that it was cached under, and leaves with it',
    ours: 'is found by every ASID',
    section: 'IHI 0070 §4.4.2.2; DDI 0487 §D8.16.3.1: what is cached for how long is open',
    right: 'either',
    programs: [
      'invalidation: stage 1 page remapped, TLBI_NH_ASID, global page',
      'invalidation: a global page outlives its ASID',
    ],
    explains: stale('ours'),
  },
  {
    id: 'epd-with-cached-entries',
    about: 'CD.EPD0 set (CMD_CFGI_CD), the translations still cached',
    qemu: 'F_TRANSLATION',
    ours: 'translates: EPD0 disables walks, not hits',
    section: 'IHI 0070 §5.4',
    right: 'either',
    programs: ['invalidation: CD changed, EPD0=1, CFGI_CD'],
    explains: (d) => done(d.ours) && eventType(d.qemu) === 0x10,
    lasting: true,
  },
  {
    id: 'global-page-by-address',
    about: 'CMD_TLBI_NH_VA with another ASID on a global page',
    qemu: 'the entry stays',
    ours: 'the entry goes',
    section: 'IHI 0070 §4.4.2.4',
    right: 'Faultline',
    programs: ['invalidation: stage 1 page remapped, TLBI_NH_VA of another ASID, global page'],
    explains: stale('qemu'),
  },
  {
    id: 'wider-invalidation',
    about:
      'entries beyond what a TLBI or CFGI command names: another level than TTL, another granule than TG, stage 2 entries for CMD_TLBI_NH_*, the STE for CMD_CFGI_CD',
    qemu: 'go too',
    ours: 'stay',
    section: 'IHI 0070 §4.3, §4.4: over-invalidation is permitted',
    right: 'either',
    programs: [
      /^invalidation: stage 1 page remapped, TLBI_NH_VA with TG 4 KiB, TTL [12]$/,
      /^invalidation: stage 1 page remapped, range with TG (16|64) KiB over 4 KiB pages$/,
      'invalidation: stage 2 page remapped, TLBI_NH_VAA',
      /^invalidation: nested, stage 2 remapped, TLBI_NH_(VA|ASID|ALL)$/,
      'invalidation: STE changed, CFGI_CD',
    ],
    explains: stale('ours'),
  },
  {
    id: 'commands-without-their-feature',
    about: 'commands for EL2 (IDR0.Hyp 0), EL3, ATS, PRI or the stall model, none of them announced',
    qemu: 'consumed',
    ours: 'CERROR_ILL',
    section: 'IHI 0070 §4.4.2, §4.5.1, §4.5.2, §4.7.1, §4.7.2',
    right: 'Faultline',
    programs: [
      /^commands: CMD_(TLBI_EL3_ALL|TLBI_EL3_VA|TLBI_EL2_ALL|TLBI_EL2_ASID|TLBI_EL2_VA|TLBI_EL2_VAA) with zero operands$/,
      /^commands: CMD_(ATC_INV|PRI_RESP|RESUME|STALL_TERM) with zero operands$/,
    ],
    explains: (d) => d.qemu.CMDQ_CONS === '0x2' && d.ours.CMDQ_CONS === '0x1000000',
  },
  {
    id: 'reserved-range',
    about: 'CMD_TLBI with TG, but NUM, SCALE and TTL 0',
    qemu: 'invalidates one granule',
    ours: 'CERROR_ILL',
    section: 'IHI 0070 §4.4.1.1',
    right: 'Faultline',
    programs: [
      'invalidation: stage 1 page remapped, range of 1 x 2^0 pages from 0 units below',
      'invalidation: stage 1 page remapped, 2 MiB block, range over its last page',
      'commands: CMD_TLBI_NH_VA with TG:2,TTL:1,Address:0',
    ],
    explains: (d) => d.qemu.CMDQ_CONS === '0x2' && d.ours.CMDQ_CONS === '0x1000000',
    lasting: true,
  },
  {
    id: 'sync-reserved-signal',
    about: 'CMD_SYNC with CS 0b11',
    qemu: 'consumed',
    ours: 'CERROR_ILL',
    section: 'IHI 0070 §4.7.3',
    right: 'Faultline',
    programs: ['commands: CMD_SYNC with CS:3'],
    explains: (d) => d.qemu.CMDQ_CONS === '0x2' && d.ours.CMDQ_CONS === '0x1000000',
  },
  {
    id: 'queue-base-alignment',
    about: 'a queue base that is not aligned to the size of the queue',
    qemu: 'used as it is',
    ours: 'aligned down',
    section: 'IHI 0070 §6.3.26, §6.3.29',
    right: 'Faultline',
    programs: ['commands: a base off its alignment', 'events: a base off its alignment'],
    explains: (d) => d.step.op === 'commands' || d.step.op === 'look',
  },
  {
    id: 'event-overflow',
    about: 'an event record for a full queue',
    qemu: 'GERROR.EVENTQ_ABT_ERR',
    ours: 'EVENTQ_PROD.OVFLG',
    section: 'IHI 0070 §7.4',
    right: 'Faultline',
    programs: [/^events: a queue of [124] overflows$/, 'events: an overflow that nobody acknowledges'],
    explains: (d) => {
      const overflow = (name: string, bit: bigint, who: Observation) => (number(who, name) & bit) !== 0n;
      return (
        overflow('EVENTQ_PROD', 1n << 31n, d.ours) ||
        overflow('EVENTQ_CONS', 1n << 31n, d.ours) ||
        overflow('GERROR', 4n, d.qemu)
      );
    },
    lasting: true,
  },
];

const names = (difference: Difference, program: string): boolean =>
  difference.programs.some((name) => (typeof name === 'string' ? name === program : name.test(program)));

/** The differences that a written program shows. */
export const differencesOf = (program: string): Difference[] => DIFFERENCES.filter((d) => names(d, program));

const CD_FETCH_ADDRESS = DIFFERENCES.find(({ id }) => id === 'cd-fetch-address');

/**
 * Whether a disagreement is in the fields that `nested-fault-fields`, `nested-fault-ipa`, `ipa-offset` and `cd-fetch-address`
 * describe, and in no other: what they say of a record is exact, so random programs may show them too.
 */
function inKnownFields(d: Disagreement): boolean {
  if (CD_FETCH_ADDRESS?.explains(d) === true) return true;
  const [a, b] = [event(d.qemu), event(d.ours)];
  if (a === null || b === null || d.qemu.result !== d.ours.result) return false;
  return a.every((word, index) => {
    const other = b[index] ?? 0;
    if (index === 3) return ((word ^ other) & ~(RNW | S2 | TTRNW)) === 0;
    // `nested-fault-ipa`: the fetch of a table's entry has CLASS TTD.
    if (index === 6 && ((b[3] ?? 0) & CLASS) === TTD) return word >>> 16 === other >>> 16 && (other & 0xfff) === 0;
    return index === 6 ? word >>> 12 === other >>> 12 && (other & 0xfff) === 0 : word === other;
  });
}

/** The disagreements of a random program that no documented difference explains. */
export const unexplained = (disagreements: readonly Disagreement[]): Disagreement[] =>
  disagreements.filter((disagreement) => !inKnownFields(disagreement));

export interface Verdict {
  /** Disagreements that no difference explains. */
  readonly unexplained: readonly Disagreement[];
  /** Differences that explain nothing any more. */
  readonly vanished: readonly Difference[];
}

/** Holds the disagreements of a program against the differences that name it. */
export function judge(program: string, disagreements: readonly Disagreement[]): Verdict {
  const expected = differencesOf(program);
  const shown = new Set<Difference>();
  let lasting = false;
  const unexplained = disagreements.filter((disagreement) => {
    const found = expected.filter((difference) => difference.explains(disagreement));
    for (const difference of found) {
      shown.add(difference);
      if (difference.lasting) lasting = true;
    }
    return found.length === 0 && !lasting;
  });
  return { unexplained, vanished: expected.filter((difference) => !shown.has(difference)) };
}
