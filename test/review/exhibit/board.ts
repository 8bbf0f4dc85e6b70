/** The exhibit on a host with the IOMMU that VFIO's own tests use: containers, devices, and what becomes of tasks. */
import type { IommuDevice } from '../../../src/iommu/core.ts';
import type { Steps, Task } from '../../../src/sim/task.ts';
import { FakeDevice, type FakeDomain, FakeIommu } from '../../support/fake-iommu.ts';
import { type HostFixtureOptions, hostFixture, PAGE } from '../../support/host.ts';
import { RfcContainer, type RfcOptions } from './container.ts';
import { FaultReporting } from './fault-reporting.ts';
import { GroupList } from './group-list.ts';
import type { RfcMapping } from './mapping.ts';

export const IOVA = 0x4000_0000;
/** The page of {@link IOVA}. */
export const FIRST = IOVA / PAGE;

export interface ExhibitOptions extends HostFixtureOptions, Partial<Omit<RfcOptions, 'domain' | 'detachDevice'>> {
  /** Groups of one device each, from number 1 on, attached to the container. */
  readonly groups?: number;
  readonly blocks?: boolean;
  /** Nanoseconds that the list of groups takes for each node. */
  readonly visitNs?: number;
  /** The driver's detach waits for faults in flight, as a later kernel's does. */
  readonly detachDrains?: boolean;
}

export function exhibit(options: ExhibitOptions = {}) {
  const fixture = hostFixture(options);
  const { scheduler, host, latency } = fixture;
  const iommu = new FakeIommu(scheduler, (page) => host.allocator.isPageLive(page), options.blocks ?? true);
  const reporting = new FaultReporting(scheduler, iommu);
  const groups = new GroupList(scheduler, options.visitNs ?? 0);
  const rfcHost = { scheduler, latency, iommu, reporting, groups };
  const space = host.createSpace({ name: 'vmm' });
  const { patches, premapPages = 1, nested, transfer } = options;
  const run = <T>(steps: Steps<T>): T => fixture.run(steps);

  function* detachDevice(device: IommuDevice): Steps {
    if (!(device instanceof FakeDevice)) return;
    if (options.detachDrains === true && device.domain !== null) yield* iommu.detach(device.domain, device);
    device.domain?.devices.delete(device);
    device.domain = null;
  }

  /** A container with its own domain and `count` groups in it. */
  function newContainer(count: number): { container: RfcContainer; domain: FakeDomain; devices: FakeDevice[] } {
    const domain = iommu.createDomain({ stage: 1 });
    domain.setFaultHandler(reporting);
    const container = new RfcContainer(rfcHost, {
      domain,
      premapPages,
      detachDevice,
      ...(patches === undefined ? {} : { patches }),
      ...(nested === undefined ? {} : { nested }),
      ...(transfer === undefined ? {} : { transfer }),
    });
    const devices: FakeDevice[] = [];
    for (let group = 0; group < count; group++) {
      const device = new FakeDevice(iommu, `device ${iommu.devices.length + 1}`);
      devices.push(device);
      run(container.attachGroup(device.streamId, [device]));
    }
    return { container, domain, devices };
  }

  const { container, domain, devices } = newContainer(options.groups ?? 1);
  const [device] = devices;
  if (device === undefined) throw new Error('an exhibit has a device');
  return {
    ...fixture,
    run,
    iommu,
    reporting,
    groupList: groups,
    space,
    newContainer,
    container,
    domain,
    devices,
    device,
    /** IOPF on, and `pages` pages of new memory at {@link IOVA}: where they are in the process. */
    demand(pages: number, protection = 3): number {
      run(container.enableIopf(space));
      return this.memory(pages, protection);
    },
    memory(pages: number, protection = 3): number {
      const at = space.mmap(pages * PAGE);
      run(container.map(space, at, IOVA, pages * PAGE, protection));
      return at;
    },
    mapping(): RfcMapping {
      const [mapping] = container.mappings;
      if (mapping === undefined) throw new Error('nothing is mapped');
      return mapping;
    },
    /** Runs `steps` until nothing moves any more: the task, which may wait for ever. */
    settle<T>(steps: Steps<T>): Task<T> {
      const task = scheduler.spawn('exhibit', steps);
      scheduler.run();
      return task;
    },
  };
}
