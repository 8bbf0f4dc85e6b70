/** STEs that look ILLEGAL and are not: fields that are ignored or RES0 where they stand (IHI 0070 §5.2, §5.2.2). */
import { PAGE, VA } from '../bench/bench.ts';
import { eventName } from '../bench/event-record.ts';
import { accepted, type Base, baseOf, ILLEGAL_SID, NO_STALLS, STALLS } from '../bench/ste-cases.ts';
import { CONFIG, type SteValues } from '../bench/streams.ts';
import { Mismatch } from '../check.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';

const legalCase = (
  name: string,
  title: string,
  base: Base,
  ste: SteValues,
  features: FeatureValues = {},
  section = '5.2.2',
): Row =>
  row(
    section,
    `legal-${name}`,
    title,
    (b) => {
      b.start();
      b.ste({ ...baseOf(b, { base, ste: {} }), ...ste });
      accepted(b, ILLEGAL_SID);
    },
    { features },
  );

const ALL_STAGE_1: SteValues = {
  S1Fmt: 1,
  S1ContextPtr: 2n ** 50n - 1n,
  S1CDMax: 31,
  S1DSS: 3,
  S1STALLD: 1,
};

const ALL_STAGE_2: SteValues = {
  S2T0SZ: 63,
  S2SL0: 3,
  S2TG: 3,
  S2PS: 7,
  S2ENDI: 1,
  S2HA: 1,
  S2HD: 1,
  S2TTB: 2n ** 48n - 1n,
};

const legal: Row[] = [
  ...[0, 1, 2, 3].map((Config) =>
    row(
      '5.2',
      `config-${Config}`,
      `Config=0b${Config.toString(2).padStart(3, '0')}: abort, no record, nothing else is looked at`,
      (b) => {
        b.start();
        b.ste({ ...ALL_STAGE_1, ...ALL_STAGE_2, Config, STRW: 3, EATS: 2, S2VMID: 0xffff });
        b.aborts({ va: VA });
        b.aborts({ va: VA, write: true });
        b.noEvent();
      },
    ),
  ),
  legalCase(
    's1fmt-3',
    'S1Fmt=0b11 acts as 0b00: legal without CD2L',
    'stage 1',
    { S1CDMax: 4, S1Fmt: 3 },
    { CD2L: 0, SSIDSIZE: 8 },
  ),
  legalCase('s1fmt-s1cdmax-0', 'S1Fmt is ignored while S1CDMax=0', 'stage 1', { S1Fmt: 1 }, { CD2L: 0 }),
  legalCase('s1cdmax-no-ssid', 'S1CDMax is ignored while SSIDSIZE=0', 'stage 1', { S1CDMax: 31 }, { SSIDSIZE: 0 }),
  legalCase('s2ps-cap', 'S2PS greater than the OAS is capped', 'stage 2', { S2PS: 0b110 }, { OAS: 2 }),
  legalCase('s2ps-111', 'S2PS=0b111 is legal', 'stage 2', { S2PS: 0b111 }),
  legalCase('s2-ignored', 'Config=0b101: S2 fields other than S2VMID are ignored', 'stage 1', ALL_STAGE_2),
  legalCase(
    's2-ignored-bypass',
    'Config=0b100: S2 fields are ignored',
    'bypass',
    { ...ALL_STAGE_2, S2S: 1, S2VMID: 0xffff },
    { VMID16: 0 },
  ),
  legalCase('s1-ignored-bypass', 'Config=0b100: S1 fields are ignored', 'bypass', ALL_STAGE_1),
  legalCase('s1-ignored-stage-2', 'Config=0b110: S1 fields are ignored', 'stage 2', ALL_STAGE_1),
  legalCase('eats-bypass-2', 'Config=0b100: EATS=0b10 is ignored', 'bypass', { EATS: 2 }, { ATS: 1 }),
  legalCase('eats-bypass-3', 'Config=0b100: EATS=0b11 is ignored', 'bypass', { EATS: 3 }, { ATS: 1 }),
  legalCase('eats-no-ats', 'ATS=0: EATS=0b10 is ignored', 'stage 1', { EATS: 2 }, { ATS: 0 }),
  legalCase(
    'eats-no-ats-s2s',
    'ATS=0: EATS=0b01 with S2S=1 is legal',
    'stage 2',
    { EATS: 1, S2S: 1 },
    { ATS: 0, ...STALLS },
  ),
  legalCase(
    'eats-full-s2s-stage-1',
    'EATS=0b01 with S2S=1 is legal while stage 2 is off',
    'stage 1',
    { EATS: 1, S2S: 1 },
    { ATS: 1, ...STALLS },
  ),
  legalCase('strw-no-hyp', 'Hyp=0: STRW is RES0 and not looked at', 'stage 1', { STRW: 3 }, { Hyp: 0 }),
  legalCase('strw-stage-2', 'Config=0b110: STRW is ignored', 'stage 2', { STRW: 3 }),
  legalCase('strw-nested', 'Config=0b111: STRW is ignored', 'nested', { STRW: 1 }),
  legalCase('strw-bypass', 'Config=0b100: STRW is ignored', 'bypass', { STRW: 3 }),
  legalCase('vmid-8bit', 'VMID16=0: an S2VMID of 8 bits is legal', 'stage 2', { S2VMID: 0xff }, { VMID16: 0 }),
  legalCase(
    'vmid-el2',
    'VMID16=0: S2VMID is ignored in StreamWorld EL2',
    'stage 1',
    { S2VMID: 0xffff, STRW: 2 },
    { VMID16: 0, Hyp: 1 },
  ),
  legalCase('vmid-no-s2', 'S2P=0: S2VMID is ignored', 'stage 1', { S2VMID: 0xffff }, { VMID16: 0, S2P: 0 }),
  legalCase('s1stalld', 'STALL_MODEL=0b00: S1STALLD=1 is legal', 'stage 1', { S1STALLD: 1 }, STALLS),
  legalCase('s1stalld-stage-2', 'Config=0b110: S1STALLD is ignored', 'stage 2', { S1STALLD: 1 }, NO_STALLS),
  legalCase('s2hd-alone', 'HTTU=0b10: S2HD without S2HA is legal', 'stage 2', { S2HD: 1 }, { HTTU: 2 }),
  legalCase('s2endi-mixed', 'TTENDIAN=0b00: either endianness is legal', 'stage 2', { S2ENDI: 1 }, { TTENDIAN: 0 }),
  legalCase('software', 'software fields and hints are ignored', 'bypass', {
    SW_RESERVED: 15,
    CONT: 0,
    DRE: 1,
    DCP: 1,
    MEV: 1,
  }),
  legalCase('secure-fields', 'fields of Secure STEs are ignored', 'stage 2', {
    S2NSW: 1,
    S2NSA: 1,
    S2SW: 1,
    S2SA: 1,
    S_S2T0SZ: 63,
    S_S2SL0: 3,
    S_S2TG: 3,
    S_S2TTB: 2n ** 52n - 1n,
  }),
  row(
    '3.4.3',
    's1ctxptr-ipa',
    'Config=0b111, S1ContextPtr beyond the IAS: C_BAD_STE, or a stage 2 fault with CLASS=CD',
    (b) => {
      b.start();
      const base = baseOf(b, { base: 'nested', ste: {} });
      b.ste({ ...base, S1ContextPtr: 2n ** 44n });
      b.aborts({ va: VA });
      const [record] = b.events.take();
      const name = record === undefined ? 'nothing' : eventName(record);
      if (name !== 'C_BAD_STE' && name !== 'F_TRANSLATION') {
        throw new Mismatch('event', 'C_BAD_STE or F_TRANSLATION', name);
      }
    },
    { features: { OAS: 5 } },
  ),
  row('5.2', 'config-bypass', 'Config=0b100: reads and writes pass with their address', (b) => {
    b.start();
    b.ste({ Config: CONFIG.BYPASS });
    b.reaches({ va: PAGE + 0x80 }, PAGE + 0x80);
    b.reaches({ va: PAGE + 0x88, write: true }, PAGE + 0x88);
    b.noEvent();
  }),
  row('5.2', 'config-stage-1', 'Config=0b101: stage 1 translates, stage 2 is bypassed', (b) => {
    b.start();
    b.stage1({ ste: ALL_STAGE_2 }).lower.map(VA, PAGE);
    b.reaches({ va: VA + 0x10 }, PAGE + 0x10);
  }),
  row('5.2', 'config-stage-2', 'Config=0b110: stage 2 translates, stage 1 is bypassed', (b) => {
    b.start();
    b.stage2({ ste: ALL_STAGE_1 }).map(VA, PAGE);
    b.reaches({ va: VA + 0x18 }, PAGE + 0x18);
  }),
  row('5.2', 'config-nested', 'Config=0b111: stage 1 translates to an IPA, stage 2 to a PA', (b) => {
    b.start();
    const { lower, stage2 } = b.nested();
    lower.map(0x1234_5000, 0x1_2345_6000);
    stage2.map(0x1_2345_6000, PAGE);
    b.reaches({ va: 0x1234_5020 }, PAGE + 0x20);
    b.reaches({ va: 0x1234_5028, write: true }, PAGE + 0x28);
  }),
];

export const steLegalityRows: readonly Row[] = legal;
