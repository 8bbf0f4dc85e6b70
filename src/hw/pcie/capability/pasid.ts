/** PASID extended capability (PCIe Base §7.8.9). */
import { PasidCapability as Layout } from '../capabilities.layout.ts';
import { ExtendedCapabilityId } from '../config.layout.ts';
import type { ConfigSpace } from '../config-space.ts';

/** What software set in the PASID Control register. */
export class PasidCapability {
  /** Requests may carry a PASID. Changes only while ATS is disabled (PCIe §10.5.1.3). */
  enabled = false;
  /** Requests with a PASID may ask for execute permission. */
  execute = false;
  /** Requests with a PASID may ask for privileged mode. */
  privileged = false;
  /** Largest PASID that fits the function's width. */
  readonly max: number;

  /** `bits` is 1..20; `frozen` says whether the control register may not change now. */
  constructor(config: ConfigSpace, bits: number, frozen: () => boolean) {
    this.max = 2 ** bits - 1;
    const at = config.addExtendedCapability(ExtendedCapabilityId.PASID, 1, Layout.$.byteLength);
    config.declare(Layout, at, {
      values: { ExecutePermissionSupported: 1, PrivilegedModeSupported: 1, MaxPasidWidth: bits },
      writable: ['Enable', 'ExecutePermissionEnable', 'PrivilegedModeEnable'],
    });
    config.onWrite(at + 6, 2, () => {
      if (frozen()) {
        config.set(Layout.Enable, at, this.enabled ? 1 : 0);
        config.set(Layout.ExecutePermissionEnable, at, this.execute ? 1 : 0);
        config.set(Layout.PrivilegedModeEnable, at, this.privileged ? 1 : 0);
      }
      this.enabled = config.get(Layout.Enable, at) === 1;
      this.execute = config.get(Layout.ExecutePermissionEnable, at) === 1;
      this.privileged = config.get(Layout.PrivilegedModeEnable, at) === 1;
    });
  }
}
