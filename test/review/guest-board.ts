/** A guest that translates first: its context descriptor and tables in its own memory, on a stage 2 of the host. */
import { assert } from '../../src/assert.ts';
import type { IommuDomain } from '../../src/iommu/core.ts';
import type { DeviceOptions } from '../../src/iommu/driver/device.ts';
import { DATA, type DriverBoard, driverBoard, type TestFunction } from '../iommu/driver-board.ts';

/** Guest physical address of its memory: 16 pages, the first four with the descriptor and three levels of tables. */
export const GUEST = 0x8000_0000;

export interface GuestBoard {
  readonly GUEST: number;
  readonly board: DriverBoard;
  readonly fn: TestFunction;
  readonly below: IommuDomain;
  readonly domain: IommuDomain;
  /** Maps a page of the guest's first 2 MiB to a guest physical address; read-only unless `write`. */
  map(page: number, ipa: number, write?: boolean): void;
}

/** Words typed from IHI 0070 §5.4 and DDI 0487 §D8.3: T0SZ 25, 4 KiB tables. `stalls` is the guest's own CD.S. */
export function guestBoard(device: Partial<DeviceOptions>, stalls = false): GuestBoard {
  const board = driverBoard();
  const fn = board.function(8, { ...device, ats: device.pri ?? false });
  const below = board.driver.createDomain({ stage: 2 });
  below.map(GUEST, DATA, 16 * 4096, 3);
  const poke = (ipa: number, low: number, high = 0): void => {
    board.memory.write32(DATA + ipa - GUEST, low >>> 0);
    board.memory.write32(DATA + ipa - GUEST + 4, high);
  };
  // CD: T0SZ 25, EPD1, V; IPS 48 bits, AA64, S, R, A, ASID 5; TTB0; MAIR.
  poke(GUEST, 25 | (1 << 30) | (1 << 31), 5 | (1 << 9) | ((stalls ? 1 : 0) << 12) | (1 << 13) | (1 << 14) | (5 << 16));
  poke(GUEST + 8, GUEST + 0x1000);
  poke(GUEST + 24, 0x44ff);
  poke(GUEST + 0x1000, (GUEST + 0x2000) | 3);
  poke(GUEST + 0x2000, (GUEST + 0x3000) | 3);
  const map = (page: number, ipa: number, write = false): void => {
    // AF, inner shareable, unprivileged, read-only unless `write`, page.
    poke(GUEST + 0x3000 + page * 8, ipa | 0x400 | 0x300 | (write ? 0x40 : 0xc0) | 3);
  };
  const domain = board.driver.createGuestDomain(below, {
    contextTable: GUEST,
    contextBits: 0,
    contextFormat: 0,
    withoutPasid: 'translate',
  });
  assert(board.run(board.driver.attach(domain, fn.device)) === 0, 'attached');
  return { GUEST, board, fn, below, domain, map };
}
