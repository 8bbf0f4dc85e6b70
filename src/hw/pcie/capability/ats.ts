/** ATS extended capability (PCIe Base §10.5.1). */
import { AtsCapability as Layout } from '../capabilities.layout.ts';
import { ExtendedCapabilityId } from '../config.layout.ts';
import type { ConfigSpace } from '../config-space.ts';

/** What software set in the ATS Control register. */
export class AtsCapability {
  /** The function may send translation requests and translated requests. */
  enabled = false;
  /** Smallest translation unit: 2^(12 + value) bytes. Changes only while ATS is disabled. */
  smallestTranslationUnit = 0;

  /** `changed` runs when the enable bit changed. */
  constructor(config: ConfigSpace, changed: (enabled: boolean) => void) {
    const at = config.addExtendedCapability(ExtendedCapabilityId.ATS, 1, Layout.$.byteLength);
    config.declare(Layout, at, {
      // A depth of 0 says 32: as many invalidations as there are tags.
      values: { InvalidateQueueDepth: 0, PageAlignedRequest: 1, GlobalInvalidateSupported: 1 },
      writable: ['SmallestTranslationUnit', 'Enable'],
    });
    config.onWrite(at + 6, 2, () => {
      const enabled = config.get(Layout.Enable, at) === 1;
      if (this.enabled) config.set(Layout.SmallestTranslationUnit, at, this.smallestTranslationUnit);
      this.smallestTranslationUnit = config.get(Layout.SmallestTranslationUnit, at);
      if (enabled === this.enabled) return;
      this.enabled = enabled;
      changed(enabled);
    });
  }
}
