/** Who serves which pages of a group. */
import type { PageFault } from '../core.ts';
import { DeliveredGroup, type PendingGroup } from './fault-groups.ts';

/**
 * Parts a group: pages for the handlers of domains, each in its domain's address space. No part at all where nobody serves
 * it: there is no domain, or the device was not let fault this way.
 */
export function share(whole: PendingGroup): void {
  const { device, origin, pasid, pages, stage } = whole;
  const domain = device.domainOf(pasid);
  if (domain === null) return;
  if (origin === 'stall') {
    const serving = stage === 2 && domain.stage === 1 ? domain.parent : domain;
    // A guest lets its own stage stall by its own context descriptors.
    const guest = domain.takesAllPasids && stage === 1;
    if (serving !== null && (guest || device.faults?.mode === 'stall')) {
      whole.parts = [new DeliveredGroup(whole, serving, pages)];
    }
    return;
  }
  if (device.faults?.mode !== 'pri') return;
  const { parent } = domain;
  if (parent === null) {
    whole.parts = [new DeliveredGroup(whole, domain, pages)];
    return;
  }
  const first: PageFault[] = [];
  const second: PageFault[] = [];
  for (const page of pages) {
    const output = domain.output(pasid, page);
    if (output === null) first.push(page);
    else second.push(output);
  }
  const parts: DeliveredGroup[] = [];
  if (second.length > 0) parts.push(new DeliveredGroup(whole, parent, second));
  if (first.length > 0) parts.push(new DeliveredGroup(whole, domain, first));
  whole.parts = parts;
}
