/** Who serves which pages of a group. */
import type { PageFault } from '../core.ts';
import type { SmmuDomain } from './domain.ts';
import type { PendingGroup } from './fault-groups.ts';

/** Pages for the handler of one domain, in that domain's address space. */
export interface Share {
  readonly domain: SmmuDomain;
  readonly pages: readonly PageFault[];
}

/** Nobody, where the list is empty: no domain, or a device that was not let fault this way. */
export function sharesOf(whole: PendingGroup): readonly Share[] {
  const { device, origin, pasid, pages, stage } = whole;
  const domain = device.domainOf(pasid);
  if (domain === null) return [];
  if (origin === 'stall') {
    const serving = stage === 2 && domain.stage === 1 ? domain.parent : domain;
    // A guest lets its own stage stall by its own context descriptors.
    const guest = domain.takesAllPasids && stage === 1;
    return serving !== null && (guest || device.faults?.mode === 'stall') ? [{ domain: serving, pages }] : [];
  }
  if (device.faults?.mode !== 'pri') return [];
  const { parent } = domain;
  if (parent === null) return [{ domain, pages }];
  const first: PageFault[] = [];
  const second: PageFault[] = [];
  for (const page of pages) {
    const output = domain.output(pasid, page);
    if (output === null) first.push(page);
    else second.push(output);
  }
  const shares: Share[] = [];
  if (second.length > 0) shares.push({ domain: parent, pages: second });
  if (first.length > 0) shares.push({ domain, pages: first });
  return shares;
}
