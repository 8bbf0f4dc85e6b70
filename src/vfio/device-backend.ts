/** What VFIO needs of a PCI function; the platform joins it to the hardware. */
import type { IommuDevice } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';

/** Where the function's MSI-X table lies, which user space must not reach. */
export interface MsixPlacement {
  readonly vectors: number;
  readonly tableBar: number;
  readonly tableOffset: number;
}

export interface DeviceBackend {
  /** Name for VFIO_GROUP_GET_DEVICE_FD, e.g. `0000:01:00.0`. */
  readonly name: string;
  readonly iommu: IommuDevice;
  /** 256 or 4096. */
  readonly configBytes: number;
  /** Bytes of BAR 0 to 5; 0 where there is none (or the upper half of a 64-bit one). */
  readonly barBytes: readonly number[];
  /** Null without MSI-X. */
  readonly msix: MsixPlacement | null;
  /** A read of 1, 2 or 4 bytes at a multiple of it. */
  readConfig(offset: number, size: 1 | 2 | 4): number;
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void;
  /** An access of 1, 2, 4 or 8 bytes at a multiple of it; data in the first bytes, little-endian. False: it aborted. */
  readBar(bar: number, offset: number, size: 1 | 2 | 4 | 8, data: DataView): boolean;
  writeBar(bar: number, offset: number, size: 1 | 2 | 4 | 8, data: DataView): boolean;
  /**
   * Programs an MSI-X vector so that the function writes its message through `doorbell` (an I/O virtual address) and
   * `handler` runs in interrupt context; null masks the vector again.
   */
  connectVector(index: number, handler: (() => void) | null, doorbell: number): void;
  /** Function-level reset: all state but the BARs' addresses is lost. */
  reset(): Steps;
}
