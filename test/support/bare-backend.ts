/** A PCI function with nothing in it: for tests in which only its IOMMU side acts. */
import type { IommuDevice } from '../../src/iommu/core.ts';
import type { Steps } from '../../src/sim/task.ts';
import type { DeviceBackend } from '../../src/vfio/device-backend.ts';

export function bareBackend(name: string, iommu: IommuDevice): DeviceBackend {
  return {
    name,
    iommu,
    configBytes: 4096,
    barBytes: [0, 0, 0, 0, 0, 0],
    msix: null,
    readConfig: () => 0,
    writeConfig: () => undefined,
    readBar: () => true,
    writeBar: () => true,
    connectVector: () => undefined,
    *reset(): Steps {},
  };
}
