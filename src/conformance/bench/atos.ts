/** Address translation operations: look-ups through the GATOS registers (IHI 0070 chapter 9). */
import type { Word } from '../bits.ts';
import { equal, Mismatch, show } from '../check.ts';
import { type Row, row } from '../row.ts';
import type { FeatureValues } from '../subject.ts';
import { type Bench, VA } from './bench.ts';
import type { FaultClass } from './broken.ts';
import { type Sender, STREAM, split } from './traffic.ts';

/** GATOS_ADDR.TYPE. */
export const TYPE = { STAGE_1: 1, STAGE_2: 2, BOTH: 3 } as const;

/** GATOS_PAR.FAULTCODE (§9.1.5). */
export const CODE = {
  C_BAD_STREAMID: 0x02,
  F_STE_FETCH: 0x03,
  C_BAD_STE: 0x04,
  F_STREAM_DISABLED: 0x06,
  C_BAD_SUBSTREAMID: 0x08,
  F_CD_FETCH: 0x09,
  C_BAD_CD: 0x0a,
  F_WALK_EABT: 0x0b,
  F_TRANSLATION: 0x10,
  F_ADDR_SIZE: 0x11,
  F_ACCESS: 0x12,
  F_PERMISSION: 0x13,
  INV_STAGE: 0xfe,
  INV_REQ: 0xff,
} as const;

/** GATOS_PAR.REASON of a stage 2 fault, by what stage 2 was asked for (§6.3.40). */
export const REASON: Readonly<Record<FaultClass, number>> = { CD: 1, TT: 2, IN: 3 };

/** What rows need announced. */
export const STAGE_1_ALONE = { ATOS: 1, S1P: 1 } as const;
export const STAGE_2_ALONE = { ATOS: 1, S2P: 1 } as const;
export const BOTH_STAGES = { ATOS: 1, S1P: 1, S2P: 1 } as const;
export const SUBSTREAMS = { ...BOTH_STAGES, SSIDSIZE: 20 } as const;

export interface LookUpOptions extends Sender {
  readonly va: Word;
  readonly type: number;
  readonly write?: boolean;
  /** HTTUI: leaves descriptors as they are. */
  readonly inhibit?: boolean;
}

const request =
  (type: number) =>
  (va: Word = VA): LookUpOptions => ({ va, type });

/** Look-ups of one type. */
export const stage1Of = request(TYPE.STAGE_1);
export const stage2Of = request(TYPE.STAGE_2);
export const bothOf = request(TYPE.BOTH);

/** A row whose SMMU is up. */
export function atosRow(
  section: string,
  name: string,
  title: string,
  check: (b: Bench) => void,
  features: FeatureValues = BOTH_STAGES,
): Row {
  return row(section, name, title, (b) => check(b.start()), { features });
}

const FAULT = 1n;
const PAGE_BYTES = 0x1000n;

/** GATOS_PAR of a look-up that has come to its end. @throws Mismatch when it never does. */
export function lookUp(b: Bench, options: LookUpOptions): bigint {
  b.needs({ ATOS: 1 });
  b.presentable(options);
  const { registers } = b;
  if (options.pasid !== undefined) b.needs({ SSIDSIZE: 'positive' });
  const substream = options.pasid === undefined ? 0n : (1n << 52n) | (BigInt(options.pasid) << 32n);
  registers.write('GATOS_SID', BigInt(options.sid ?? STREAM) | substream);
  registers.write('GATOS_ADDR', 0);
  registers.set('GATOS_ADDR', {
    ADDR: split(options.va).page,
    TYPE: options.type,
    PnU: options.privileged === true ? 1 : 0,
    RnW: options.write === true ? 0 : 1,
    InD: options.execute === true ? 1 : 0,
    HTTUI: options.inhibit === true ? 1 : 0,
  });
  registers.write('GATOS_CTRL', 1);
  b.settle();
  equal('GATOS_CTRL.RUN', registers.get('GATOS_CTRL', 'RUN'), 0);
  return registers.read('GATOS_PAR');
}

export interface LookUpResult {
  /** Bytes of the translation: 4 KiB unless given. */
  readonly bytes?: number;
  readonly ATTR?: number;
  readonly SH?: number;
}

/** The look-up finds `address`. @throws Mismatch */
export function finds(b: Bench, options: LookUpOptions, address: number, wanted: LookUpResult = {}): void {
  const word = lookUp(b, options);
  if ((word & FAULT) !== 0n) throw new Mismatch('GATOS_PAR', `an address, ${show(address)}`, failure(b));
  const bytes = BigInt(wanted.bytes ?? 0x1000);
  const start = BigInt(address) - (BigInt(address) % bytes);
  // Above 4 KiB, bit N set says 2^(N+1) bytes (§6.3.40).
  const coded = bytes > PAGE_BYTES ? start | (bytes >> 1n) : start;
  equal('GATOS_PAR.ADDR, in bytes', BigInt(b.registers.get('GATOS_PAR', 'ADDR')) * PAGE_BYTES, coded);
  equal('GATOS_PAR.Size', b.registers.get('GATOS_PAR', 'Size'), bytes > PAGE_BYTES ? 1 : 0);
  equal('reserved bits of GATOS_PAR', word & 0x4ffn & ~FAULT, 0n);
  for (const field of ['ATTR', 'SH'] as const) {
    const value = wanted[field];
    if (value !== undefined) equal(`GATOS_PAR.${field}`, b.registers.get('GATOS_PAR', field), value);
  }
}

/** The look-up fails with `code`, and nothing is recorded. @throws Mismatch */
export function fails(b: Bench, options: LookUpOptions, code: number, reason = 0, faultAddress = 0): void {
  const word = lookUp(b, options);
  if ((word & FAULT) === 0n) throw new Mismatch('GATOS_PAR', `FAULTCODE ${show(code)}`, `an address, ${show(word)}`);
  equal('GATOS_PAR.FAULTCODE', b.registers.get('GATOS_PAR', 'FAULTCODE'), code);
  equal('GATOS_PAR.REASON', b.registers.get('GATOS_PAR', 'REASON'), reason);
  equal('GATOS_PAR.FADDR, in bytes', BigInt(b.registers.get('GATOS_PAR', 'FADDR')) * PAGE_BYTES, BigInt(faultAddress));
  equal('reserved bits of GATOS_PAR', word & ((0xfn << 56n) | 0x8n), 0n);
  b.noEvent();
}

const failure = (b: Bench): string => `FAULTCODE ${show(b.registers.get('GATOS_PAR', 'FAULTCODE'))}`;
