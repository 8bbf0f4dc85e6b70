/**
 * How each register behaves beyond its layout: when it and its fields exist, what resets, and what guards its writes
 * (IHI 0070 §6.3). Data only; `register-file.ts` carries it out.
 */
import type { RegisterLayout } from '../../layout/register.ts';
import {
  AGBPA,
  AIDR,
  CIDR0,
  CIDR1,
  CIDR2,
  CIDR3,
  CMDQ_BASE,
  CMDQ_CONS,
  CMDQ_PROD,
  CR0,
  CR0ACK,
  CR1,
  CR2,
  EVENTQ_BASE,
  EVENTQ_CONS,
  EVENTQ_IRQ_CFG0,
  EVENTQ_IRQ_CFG1,
  EVENTQ_IRQ_CFG2,
  EVENTQ_PROD,
  GATOS_ADDR,
  GATOS_CTRL,
  GATOS_PAR,
  GATOS_SID,
  GBPA,
  GBPMPAM,
  GERROR,
  GERROR_IRQ_CFG0,
  GERROR_IRQ_CFG1,
  GERROR_IRQ_CFG2,
  GERRORN,
  GMPAM,
  IDR0,
  IDR1,
  IDR3,
  IDR5,
  IDR6,
  IIDR,
  IRQ_CTRL,
  IRQ_CTRLACK,
  MPAMIDR,
  PIDR2,
  PRIQ_BASE,
  PRIQ_CONS,
  PRIQ_IRQ_CFG0,
  PRIQ_IRQ_CFG1,
  PRIQ_IRQ_CFG2,
  PRIQ_PROD,
  S2PII,
  STRTAB_BASE,
  STRTAB_BASE_CFG,
  VATOS_SEL,
} from '../spec/registers.layout.ts';
import { type Features, identification } from './features.ts';

/** What a guard may look at: the low word of a register. */
export interface RegisterReader {
  get(register: RegisterLayout): number;
}

type Present = (features: Features) => boolean;
type Open = (registers: RegisterReader) => boolean;

/** Writes to `fields` (all of them by default) are ignored while `open` is false (the v3.2 behaviour). */
export interface Guard {
  readonly fields?: readonly string[];
  readonly open: Open;
}

export interface RegisterRule {
  readonly register: RegisterLayout;
  /** Without it the register exists. An absent register is RES0. */
  readonly present?: Present;
  /** Fields that exist only with a feature; otherwise they are RES0. */
  readonly fields?: Readonly<Record<string, Present>>;
  /** The low word after reset. Without it the reset value is UNKNOWN if software can write the register, else 0. */
  readonly reset?: (features: Features) => number;
  readonly guards?: readonly Guard[];
  /** The highest address bit is IDR5.OAS - 1: bits above are RES0. */
  readonly address?: true;
  /** Takes a write of the low word only if this holds of the word written. */
  readonly accepts?: (registers: RegisterReader, word: number) => boolean;
}

const zero = (): number => 0;
const never: Present = () => false;
const withPri: Present = (f) => f.PRI === 1;
const withMsi: Present = (f) => f.MSI === 1;
const withMsiAndPri: Present = (f) => f.MSI === 1 && f.PRI === 1;
const withAtos: Present = (f) => f.ATOS === 1;

/** An enable is 0 in CR0 and in CR0ACK, or in IRQ_CTRL and in IRQ_CTRLACK. */
const disabled =
  (enable: { of(word: number): number }): Open =>
  (registers) =>
    enable.of(registers.get(CR0)) === 0 && enable.of(registers.get(CR0ACK)) === 0;
const quiet =
  (enable: { of(word: number): number }): Open =>
  (registers) =>
    enable.of(registers.get(IRQ_CTRL)) === 0 && enable.of(registers.get(IRQ_CTRLACK)) === 0;

const smmuDisabled = disabled(CR0.SMMUEN);
const commandsDisabled = disabled(CR0.CMDQEN);
const eventsDisabled = disabled(CR0.EVENTQEN);
const pagesDisabled = disabled(CR0.PRIQEN);
const queuesDisabled: Open = (r) => commandsDisabled(r) && eventsDisabled(r) && pagesDisabled(r);
const atosIdle: Open = (registers) => GATOS_CTRL.RUN.of(registers.get(GATOS_CTRL)) === 0;

const CONTROL_FIELDS = {
  PRIQEN: withPri,
  ATSCHK: (f: Features) => f.ATS === 1,
  VMW: (f: Features) => f.VMW === 1,
  DPT_WALK_EN: never,
};
const ERROR_FIELDS = {
  PRIQ_ABT_ERR: withPri,
  MSI_CMDQ_ABT_ERR: withMsi,
  MSI_EVENTQ_ABT_ERR: withMsi,
  MSI_PRIQ_ABT_ERR: withMsiAndPri,
  MSI_GERROR_ABT_ERR: withMsi,
  SFM_ERR: () => true,
  CMDQP_ERR: never,
  DPT_ERR: never,
};

/** GBPA resets to bypass with the incoming attributes: SHCFG=use incoming (§6.3.14). */
const GBPA_RESET = GBPA.SHCFG.in32(1);

export const REGISTER_RULES: readonly RegisterRule[] = [
  { register: IDR0, reset: (f) => identification(IDR0, f) },
  { register: IDR1, reset: (f) => identification(IDR1, f) },
  { register: IDR3, reset: (f) => identification(IDR3, f) },
  { register: IDR5, reset: (f) => identification(IDR5, f) },
  { register: IDR6, present: never },
  // No JEP106 code is ours: implementer 0, product 0xFA1 (§6.3.7).
  { register: IIDR, reset: () => IIDR.ProductID.in32(0xfa1) },
  { register: AIDR, reset: (f) => identification(AIDR, f) },
  { register: CR0, fields: CONTROL_FIELDS, reset: zero },
  { register: CR0ACK, fields: CONTROL_FIELDS, reset: zero },
  {
    register: CR1,
    guards: [
      { fields: ['TABLE_SH', 'TABLE_OC', 'TABLE_IC'], open: smmuDisabled },
      { fields: ['QUEUE_SH', 'QUEUE_OC', 'QUEUE_IC'], open: queuesDisabled },
    ],
  },
  {
    register: CR2,
    fields: {
      E2H: (f) => f.Hyp === 1,
      PTM: (f) => f.BTM === 1,
      REC_CFG_ATS: (f) => f.ATSRECERR === 1,
    },
    guards: [{ open: smmuDisabled }],
  },
  { register: S2PII, present: never },
  {
    register: GBPA,
    reset: () => GBPA_RESET,
    accepts: (registers, word) => GBPA.Update.of(registers.get(GBPA)) === 0 && GBPA.Update.of(word) === 1,
  },
  { register: AGBPA, present: never },
  { register: IRQ_CTRL, fields: { PRIQ_IRQEN: withPri }, reset: zero },
  { register: IRQ_CTRLACK, fields: { PRIQ_IRQEN: withPri }, reset: zero },
  { register: GERROR, fields: ERROR_FIELDS, reset: zero },
  { register: GERRORN, fields: ERROR_FIELDS, reset: zero },
  {
    register: GERROR_IRQ_CFG0,
    present: withMsi,
    address: true,
    guards: [{ open: quiet(IRQ_CTRL.GERROR_IRQEN) }],
  },
  { register: GERROR_IRQ_CFG1, present: withMsi, guards: [{ open: quiet(IRQ_CTRL.GERROR_IRQEN) }] },
  { register: GERROR_IRQ_CFG2, present: withMsi, guards: [{ open: quiet(IRQ_CTRL.GERROR_IRQEN) }] },
  { register: STRTAB_BASE, address: true, guards: [{ open: smmuDisabled }] },
  {
    register: STRTAB_BASE_CFG,
    fields: { FMT: (f) => f.ST_LEVEL > 0, SPLIT: (f) => f.ST_LEVEL > 0 },
    guards: [{ open: smmuDisabled }],
  },
  { register: CMDQ_BASE, address: true, guards: [{ open: commandsDisabled }] },
  { register: CMDQ_PROD },
  { register: CMDQ_CONS, guards: [{ open: commandsDisabled }] },
  { register: EVENTQ_BASE, address: true, guards: [{ open: eventsDisabled }] },
  {
    register: EVENTQ_IRQ_CFG0,
    present: withMsi,
    address: true,
    guards: [{ open: quiet(IRQ_CTRL.EVENTQ_IRQEN) }],
  },
  { register: EVENTQ_IRQ_CFG1, present: withMsi, guards: [{ open: quiet(IRQ_CTRL.EVENTQ_IRQEN) }] },
  { register: EVENTQ_IRQ_CFG2, present: withMsi, guards: [{ open: quiet(IRQ_CTRL.EVENTQ_IRQEN) }] },
  { register: PRIQ_BASE, present: withPri, address: true, guards: [{ open: pagesDisabled }] },
  {
    register: PRIQ_IRQ_CFG0,
    present: withMsiAndPri,
    address: true,
    guards: [{ open: quiet(IRQ_CTRL.PRIQ_IRQEN) }],
  },
  { register: PRIQ_IRQ_CFG1, present: withMsiAndPri, guards: [{ open: quiet(IRQ_CTRL.PRIQ_IRQEN) }] },
  {
    register: PRIQ_IRQ_CFG2,
    present: withMsiAndPri,
    guards: [{ open: quiet(IRQ_CTRL.PRIQ_IRQEN) }],
  },
  {
    register: GATOS_CTRL,
    present: withAtos,
    reset: zero,
    guards: [{ open: (r) => CR0.SMMUEN.of(r.get(CR0)) === 1 && atosIdle(r) }],
  },
  {
    register: GATOS_SID,
    present: withAtos,
    fields: { SSID_VALID: (f) => f.SSIDSIZE > 0, SUBSTREAMID: (f) => f.SSIDSIZE > 0 },
    guards: [{ open: atosIdle }],
  },
  { register: GATOS_ADDR, present: withAtos, guards: [{ open: atosIdle }] },
  { register: GATOS_PAR, present: withAtos, reset: zero },
  { register: MPAMIDR, present: never },
  { register: GMPAM, present: never },
  { register: GBPMPAM, present: never },
  { register: VATOS_SEL, present: never },
  { register: EVENTQ_PROD, guards: [{ open: eventsDisabled }] },
  { register: EVENTQ_CONS },
  { register: PRIQ_PROD, present: withPri, reset: zero, guards: [{ open: pagesDisabled }] },
  { register: PRIQ_CONS, present: withPri },
  // JEDEC=1 and the component class of §6.3.170.
  { register: PIDR2, reset: () => PIDR2.JEDEC.in32(1) },
  { register: CIDR0, reset: () => 0x0d },
  { register: CIDR1, reset: () => 0xf0 },
  { register: CIDR2, reset: () => 0x05 },
  { register: CIDR3, reset: () => 0xb1 },
];
