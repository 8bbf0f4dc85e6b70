/** The dirty log of a run: read by the virtual machine's process, checked against what the device wrote. */
import type { DirtyPageLog } from '../guest/dirty-page-log.ts';
import type { IommuDriver } from '../guest/iommu-driver.ts';
import type { VirtualMachine } from '../guest/virtual-machine.ts';
import type { Machine } from '../machine.ts';
import type { Steps } from '../sim/task.ts';
import { DirtyCheck } from './dirty-check.ts';
import type { Mode, Scenario } from './schema.ts';

/** Null where the scenario has none. `iommu`: the guest's own stage, if any. @throws VmmError */
export function* startDirtyLog(
  scenario: Scenario,
  mode: Mode,
  machine: Machine,
  guest: VirtualMachine,
  iommu: IommuDriver | null,
): Steps<DirtyPageLog | null> {
  const { scheduler, invariants, deviceWrites: writes } = machine;
  const intervalNs = scenario.vfio.dirtyLog;
  if (intervalNs === null) return null;
  if (writes === null) return yield* guest.logDirtyPages({ intervalNs, scheduler });
  const witness = new DirtyCheck({
    writes,
    invariants,
    base: guest.memory.base,
    guestAddress: (address) => iommu?.guestAddress(address) ?? address,
    watched: (address) => isWatched(scenario, mode, guest, address),
  });
  return yield* guest.logDirtyPages({ intervalNs, scheduler, witness });
}

/** Write faults tell nothing of what cannot fault. */
function isWatched(scenario: Scenario, mode: Mode, guest: VirtualMachine, address: number): boolean {
  if (scenario.iommu.httu === 'dirty') return true;
  if (mode === 'static') return false;
  return guest.pinned.every((range) => address < range.address || address >= range.address + range.bytes);
}
