/** ATS, PRI and PASID switched by the kernel through configuration space (PCIe §10.5, §7.8.9). */
import type { Bus } from '../hw/bus.ts';
import { AtsCapability, PasidCapability, PriCapability } from '../hw/pcie/capabilities.layout.ts';
import { ExtendedCapabilityId } from '../hw/pcie/config.layout.ts';
import type { PciFunctionControl } from '../iommu/driver/function-control.ts';
import type { Field } from '../layout/field.ts';
import { ConfigAccess } from './config-access.ts';

/** What a function's capabilities say that it can do. */
export interface FunctionAbilities {
  readonly ats: boolean;
  readonly pri: boolean;
  /** Outstanding Page Request Capacity. */
  readonly pageRequests: number;
  readonly pasidBits: number;
  readonly responsePasid: boolean;
}

/** What a reset loses and software puts back. */
export interface FunctionState {
  readonly pasid: boolean;
  readonly ats: boolean;
  /** Outstanding page request allocation; 0 while the interface is disabled. */
  readonly credits: number;
}

export class FunctionControl implements PciFunctionControl {
  readonly abilities: FunctionAbilities;
  readonly #config: ConfigAccess;
  readonly #ats: number;
  readonly #pri: number;
  readonly #pasid: number;

  constructor(bus: Bus, devfn: number) {
    const config = new ConfigAccess(bus, devfn);
    this.#config = config;
    this.#ats = config.extendedCapability(ExtendedCapabilityId.ATS);
    this.#pri = config.extendedCapability(ExtendedCapabilityId.PRI);
    this.#pasid = config.extendedCapability(ExtendedCapabilityId.PASID);
    this.abilities = {
      ats: this.#ats !== 0,
      pri: this.#pri !== 0,
      pageRequests: this.#pri === 0 ? 0 : config.get(this.#pri, PriCapability.OutstandingPageRequestCapacity),
      pasidBits: this.#pasid === 0 ? 0 : config.get(this.#pasid, PasidCapability.MaxPasidWidth),
      responsePasid: this.#pri !== 0 && config.get(this.#pri, PriCapability.ResponsePasidRequired) === 1,
    };
  }

  enablePasid(): void {
    this.#config.setControl(this.#pasid, PasidCapability.Enable, 1);
  }

  disablePasid(): void {
    this.#config.setControl(this.#pasid, PasidCapability.Enable, 0);
  }

  enableAts(): void {
    this.#config.setControl(this.#ats, AtsCapability.Enable, 1);
  }

  disableAts(): void {
    this.#config.setControl(this.#ats, AtsCapability.Enable, 0);
  }

  enablePri(credits: number): boolean {
    if (this.#pri === 0) return false;
    const allocation = this.#pri + PriCapability.OutstandingPageRequestAllocation.lsb / 8;
    this.#config.write(allocation, 4, credits);
    this.#config.setControl(this.#pri, PriCapability.Enable, 1);
    return true;
  }

  disablePri(): void {
    if (this.#pri !== 0) this.#config.setControl(this.#pri, PriCapability.Enable, 0);
  }

  /** What is enabled now. */
  state(): FunctionState {
    const config = this.#config;
    const on = (at: number, field: Field) => at !== 0 && config.get(at, field) === 1;
    return {
      pasid: on(this.#pasid, PasidCapability.Enable),
      ats: on(this.#ats, AtsCapability.Enable),
      credits: on(this.#pri, PriCapability.Enable)
        ? config.get(this.#pri, PriCapability.OutstandingPageRequestAllocation)
        : 0,
    };
  }

  /** Enables again what was enabled before a reset: PASID, then PRI, then ATS, as the kernel's PCI core restores them. */
  restore(state: FunctionState): void {
    if (state.pasid) this.enablePasid();
    if (state.credits > 0) this.enablePri(state.credits);
    if (state.ats) this.enableAts();
  }

  priStopped(): boolean {
    return this.#pri === 0 || this.#config.get(this.#pri, PriCapability.Stopped) === 1;
  }
}
