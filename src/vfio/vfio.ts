/** VFIO of one host: its groups, its containers, and what they counted. */
import { assert } from '../assert.ts';
import { Errno } from '../errno.ts';
import { Container } from './container.ts';
import { FaultCounters, Gauge } from './counters.ts';
import type { DeviceBackend } from './device-backend.ts';
import type { ContainerDefaults, Environment } from './environment.ts';
import type { VfioFile } from './files.ts';
import { Group } from './group.ts';
import { SpaceWatches } from './invalidation.ts';
import { premapNone } from './premap.ts';
import { DMA_ENTRY_LIMIT } from './uapi.layout.ts';

export type VfioOptions = Omit<Environment, 'watches' | 'pinned' | 'retired' | 'defaults'> & {
  readonly defaults?: Partial<ContainerDefaults>;
};

export class Vfio {
  /** Bytes pinned for devices, by all containers. */
  readonly pinned = new Gauge();
  readonly #environment: Environment;
  readonly #groups = new Map<number, Group>();
  /** Containers that are open or in use. */
  readonly #containers = new Set<Container>();
  #nextContainer = 0;

  constructor(options: VfioOptions) {
    const defaults: ContainerDefaults = {
      policy: () => premapNone,
      residencyLimitBytes: null,
      workers: 0,
      dmaEntryLimit: DMA_ENTRY_LIMIT,
      ...options.defaults,
    };
    const watches = new SpaceWatches();
    this.#environment = { ...options, defaults, watches, pinned: this.pinned, retired: new FaultCounters() };
  }

  /** Offers a group of functions to user space as `/dev/vfio/NUMBER`. */
  addGroup(number: number, devices: readonly DeviceBackend[]): void {
    assert(!this.#groups.has(number), `group ${number} exists`);
    this.#groups.set(number, new Group(this.#environment, number, devices));
  }

  /** Opens a file below `/dev/vfio/`, or an errno. */
  open(path: string): VfioFile | number {
    if (path === '/dev/vfio/vfio') {
      const name = `container ${this.#nextContainer++}`;
      const container = new Container(this.#environment, name, (gone) => this.#containers.delete(gone));
      this.#containers.add(container);
      return container;
    }
    const number = /^\/dev\/vfio\/(\d+)$/.exec(path)?.[1];
    const group = number === undefined ? undefined : this.#groups.get(Number(number));
    if (group === undefined) return Errno.ENOENT;
    const status = group.open();
    return status === Errno.OK ? group : status;
  }

  /** What all containers counted, those that are gone included. */
  get counters(): FaultCounters {
    const sum = new FaultCounters();
    sum.add(this.#environment.retired);
    for (const container of this.#containers) if (container.type1 !== null) sum.add(container.type1.io.counters);
    return sum;
  }

  get containers(): readonly Container[] {
    return [...this.#containers];
  }

  /** Checks that nothing is left: for the end of a run, when every descriptor is closed. */
  checkAtRest(): void {
    const { invariants, watches } = this.#environment;
    const open = this.#containers.size;
    invariants.check('balance', open === 0, () => `${open} containers are still in use`);
    invariants.check('balance', watches.count === 0, () => `${watches.count} notifiers are still registered`);
  }
}
