/** The host bridge at 00.0: an identity, nothing more. */
import { PcieFunction } from './function.ts';

export class HostBridge extends PcieFunction {
  constructor() {
    super('host-bridge', {
      vendor: 0x1b36,
      device: 0x0008,
      classCode: 0x06_0000,
      revision: 0,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
    });
  }
}
