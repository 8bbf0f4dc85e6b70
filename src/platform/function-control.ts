/** ATS, PRI and PASID switched by the kernel through configuration space (PCIe §10.5, §7.8.9). */
import type { Bus } from '../hw/bus.ts';
import { AtsCapability, PasidCapability, PriCapability } from '../hw/pcie/capabilities.layout.ts';
import { ExtendedCapabilityId } from '../hw/pcie/config.layout.ts';
import type { PciFunctionControl } from '../iommu/driver/function-control.ts';
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

export class FunctionControl implements PciFunctionControl {
  readonly abilities: FunctionAbilities;
  readonly #config: ConfigAccess;
  readonly #ats: number;
  readonly #pri: number;
  readonly #pasid: number;
  readonly #physical: FunctionControl | null;

  /**
   * `physical`: of a virtual function, the physical function whose page request interface it shares (PCIe §10.5.2). A
   * virtual function has no such capability of its own.
   */
  constructor(bus: Bus, devfn: number, physical: FunctionControl | null = null) {
    const config = new ConfigAccess(bus, devfn);
    this.#config = config;
    this.#physical = physical;
    this.#ats = config.extendedCapability(ExtendedCapabilityId.ATS);
    this.#pri = config.extendedCapability(ExtendedCapabilityId.PRI);
    this.#pasid = config.extendedCapability(ExtendedCapabilityId.PASID);
    this.abilities = {
      ats: this.#ats !== 0,
      pri: this.#pri !== 0 || (physical?.abilities.pri ?? false),
      pageRequests:
        this.#pri === 0
          ? (physical?.abilities.pageRequests ?? 0)
          : config.get(this.#pri, PriCapability.OutstandingPageRequestCapacity),
      pasidBits: this.#pasid === 0 ? 0 : config.get(this.#pasid, PasidCapability.MaxPasidWidth),
      responsePasid:
        this.#pri === 0
          ? (physical?.abilities.responsePasid ?? false)
          : config.get(this.#pri, PriCapability.ResponsePasidRequired) === 1,
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
    // The physical function's driver allocates what all of them share; a virtual function finds it enabled or not.
    if (this.#pri === 0) return this.#physical?.priEnabled ?? false;
    const allocation = this.#pri + PriCapability.OutstandingPageRequestAllocation.lsb / 8;
    this.#config.write(allocation, 4, credits);
    this.#config.setControl(this.#pri, PriCapability.Enable, 1);
    return true;
  }

  disablePri(): void {
    if (this.#pri !== 0) this.#config.setControl(this.#pri, PriCapability.Enable, 0);
  }

  get priEnabled(): boolean {
    return this.#pri !== 0 && this.#config.get(this.#pri, PriCapability.Enable) === 1;
  }

  priStopped(): boolean {
    return this.#pri === 0 || this.#config.get(this.#pri, PriCapability.Stopped) === 1;
  }
}
