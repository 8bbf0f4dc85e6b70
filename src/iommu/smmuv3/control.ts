/** The switches that CR0 and CR2 hold, as the rest of the SMMU reads them (IHI 0070 §6.3.9, §6.3.12). */
import { CR0, CR2 } from '../spec/registers.layout.ts';
import type { RegisterFile } from './register-file.ts';

/** Kept up to date by the writes of CR0 and CR2; plain fields, because every transaction looks at them. */
export class Control {
  SMMUEN = false;
  /** The effective value: 0 while SMMUEN=0 (§6.3.9.5). */
  PRIQEN = false;
  EVENTQEN = false;
  CMDQEN = false;
  ATSCHK = false;
  VMW = 0;
  E2H = false;
  RECINVSID = false;
  REC_CFG_ATS = false;

  refresh(registers: RegisterFile): void {
    const cr0 = registers.get(CR0);
    const cr2 = registers.get(CR2);
    this.SMMUEN = CR0.SMMUEN.of(cr0) === 1;
    this.PRIQEN = this.SMMUEN && CR0.PRIQEN.of(cr0) === 1;
    this.EVENTQEN = CR0.EVENTQEN.of(cr0) === 1;
    this.CMDQEN = CR0.CMDQEN.of(cr0) === 1;
    this.ATSCHK = CR0.ATSCHK.of(cr0) === 1;
    this.VMW = CR0.VMW.of(cr0);
    this.E2H = CR2.E2H.of(cr2) === 1;
    this.RECINVSID = CR2.RECINVSID.of(cr2) === 1;
    this.REC_CFG_ATS = CR2.REC_CFG_ATS.of(cr2) === 1;
  }
}
