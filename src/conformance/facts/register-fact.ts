/** The shape of register facts. `bits` counts from bit 0 of the register. */
import type { Bits, FeatureCondition } from './fact.ts';

export { POSITIVE } from './fact.ts';

/** The enable that must be 0 in both the register and its acknowledge copy for software to write (v3.2 behaviour). */
export type Guard =
  | 'CR0.SMMUEN'
  | 'CR0.CMDQEN'
  | 'CR0.EVENTQEN'
  | 'CR0.PRIQEN'
  | 'IRQ_CTRL.GERROR_IRQEN'
  | 'IRQ_CTRL.EVENTQ_IRQEN'
  | 'IRQ_CTRL.PRIQ_IRQEN'
  | 'GATOS_CTRL.RUN'
  | 'GBPA.Update'
  /** All of CMDQEN, EVENTQEN and PRIQEN. */
  | 'QUEUES';

export interface RegisterFieldFact {
  readonly name: string;
  readonly bits: Bits;
  /** Without it the reset value is UNKNOWN or IMPLEMENTATION DEFINED, or a constant for a feature field. */
  readonly reset?: number;
  /** Without these features the field is RES0. */
  readonly present?: FeatureCondition;
  readonly guard?: Guard;
  readonly meaning?: string;
}

export interface RegisterFact {
  readonly name: string;
  readonly page: 0 | 1;
  /** Bytes from the start of its page. */
  readonly offset: number;
  readonly width: 32 | 64;
  readonly access: 'RW' | 'RO';
  readonly section: string;
  /** Without these features the register is RES0. */
  readonly present?: FeatureCondition;
  readonly guard?: Guard;
  readonly fields: readonly RegisterFieldFact[];
}

export interface ComponentFact {
  readonly name: string;
  readonly offset: number;
  readonly fields: readonly { readonly name: string; readonly bits: Bits; readonly value?: number }[];
}
