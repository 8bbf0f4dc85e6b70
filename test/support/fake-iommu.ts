/**
 * An IOMMU in a few lines, for tests of VFIO alone: page tables are maps, devices keep stale translations until they are
 * flushed, faults go to the handler of the domain. Devices check that they reach live pages only.
 */
import { Errno } from '../../src/errno.ts';
import {
  type AccessTracking,
  type DirtyTracking,
  type DomainOptions,
  type FaultGroup,
  type FaultHandler,
  FaultResponse,
  type Gather,
  type Iommu,
  type IommuDevice,
  type IommuDomain,
  Protection,
  type Translation,
  type WrittenRanges,
} from '../../src/iommu/core.ts';
import { type Scheduler, type Steps, WaitQueue } from '../../src/sim/task.ts';

const SIZES = [4096, 2 ** 21, 2 ** 30] as const;

interface Leaf {
  physical: number;
  protection: number;
  /** Kept by hardware, where the IOMMU has that. */
  accessed: boolean;
  dirty: boolean;
}

/** What a device is granted; `later`: writing too, once hardware has made the page dirty. */
interface Grant {
  readonly physical: number;
  readonly protection: number;
  readonly later?: boolean;
}

class FakeGather implements Gather {
  readonly ranges: [number, number][] = [];

  get empty(): boolean {
    return this.ranges.length === 0;
  }

  add(iova: number, size: number): void {
    this.ranges.push([iova, iova + size]);
  }

  reset(): void {
    this.ranges.length = 0;
  }
}

export class FakeDomain implements IommuDomain {
  readonly id: number;
  readonly pageSizes: readonly number[];
  readonly lastIova = 2 ** 39 - 1;
  readonly tableBytes = 0;
  readonly scheduler: Scheduler;
  readonly devices = new Set<FakeDevice>();
  /** Guests' stages over this one. */
  readonly children = new Set<FakeDomain>();
  handler: FaultHandler | null = null;
  flushNs = 100;
  flushes = 0;
  gathers = 0;
  /** Entries that `unmap` pretends not to find, by page: for tests of what cannot be revoked. */
  readonly stuck = new Set<number>();
  readonly dirty: DirtyTracking | null;
  readonly access: AccessTracking | null;
  readonly #leaves = SIZES.map(() => new Map<number, Leaf>());
  #tracking = false;

  /** `hardware`: access and dirty state are kept as the SMMU does with HTTU. */
  constructor(id: number, scheduler: Scheduler, blocks: boolean, hardware = false) {
    this.id = id;
    this.scheduler = scheduler;
    this.pageSizes = blocks ? SIZES : [4096];
    this.dirty = hardware ? this.#dirtyTracking() : null;
    this.access = hardware ? { testAndClear: (iova, gather) => this.#testAndClear(iova, gather) } : null;
  }

  map(iova: number, physical: number, size: number, protection: number): number {
    if ((iova | physical | size) % 4096 !== 0 || iova + size - 1 > this.lastIova) return Errno.EINVAL;
    for (let at = iova; at < iova + size; at += 4096) if (this.#find(at) !== null) return Errno.EEXIST;
    for (let done = 0; done < size; ) {
      let level = this.#tracking ? 0 : this.pageSizes.length - 1;
      while (level > 0 && !fits(SIZES[level] ?? 0, iova + done, physical + done, size - done)) level--;
      const bytes = SIZES[level] ?? 4096;
      const leaf = { physical: physical + done, protection, accessed: true, dirty: !this.#tracking };
      this.#leaves[level]?.set((iova + done) / bytes, leaf);
      done += bytes;
    }
    return Errno.OK;
  }

  unmap(iova: number, size: number, gather: Gather, written?: WrittenRanges): number {
    let bytes = 0;
    for (let at = iova; at < iova + size; ) {
      const found = this.#find(at);
      if (found === null || this.stuck.has(at / 4096)) {
        at += 4096;
        continue;
      }
      this.#leaves[found.level]?.delete(found.index);
      const start = found.index * found.bytes;
      if (this.#tracking && isWritten(found.leaf)) written?.noteWritten(start, found.bytes);
      gather.add(start, found.bytes, found.bytes);
      bytes += found.bytes;
      at = start + found.bytes;
    }
    return bytes;
  }

  protect(iova: number, size: number, protection: number, gather: Gather): number {
    for (let at = iova; at < iova + size; at += 4096) {
      let found = this.#find(at);
      while (found !== null && found.level > 0) {
        this.#split(found.level, found.index);
        found = this.#find(at);
      }
      if (found === null) continue;
      if ((found.leaf.protection & Protection.WRITE) === 0) found.leaf.dirty = !this.#tracking;
      found.leaf.protection = protection;
    }
    gather.add(iova, size, 4096);
    return Errno.OK;
  }

  *flush(gather: Gather): Steps {
    this.flushes += 1;
    const ranges = [...(gather as FakeGather).ranges];
    if (this.flushNs > 0) yield this.flushNs;
    for (const device of this.devices) device.invalidate(ranges);
    // What they cache goes by the addresses of the guest, which nobody knows here.
    for (const child of this.children) for (const device of child.devices) device.cache.clear();
  }

  newGather(): Gather {
    this.gathers += 1;
    return new FakeGather();
  }

  translate(iova: number): Translation | null {
    const found = this.#find(iova);
    if (found === null) return null;
    const { leaf, bytes } = found;
    return { physical: leaf.physical + (iova % bytes), protection: leaf.protection, size: bytes };
  }

  /** What a device that accesses a page is granted, or null; hardware notes it. */
  reach(iova: number, write: boolean): Grant | null {
    if (this.translate(iova) === null) return null;
    return this.faultsAt(Math.floor(iova / 4096)).#grant(iova, write);
  }

  setFaultHandler(handler: FaultHandler | null): void {
    this.handler = handler;
  }

  /** Whose handler serves a fault on a page. */
  faultsAt(_page: number): FakeDomain {
    return this;
  }

  /** Blocks and pages in the table, by size. */
  leafCount(bytes: number): number {
    return this.#leaves[SIZES.indexOf(bytes as 4096)]?.size ?? 0;
  }

  #grant(iova: number, write: boolean): Grant | null {
    const found = this.#find(iova);
    if (found === null) return null;
    const { leaf, bytes } = found;
    leaf.accessed = true;
    if (write && (leaf.protection & Protection.WRITE) !== 0) leaf.dirty = true;
    const later = this.dirty !== null && !leaf.dirty;
    const protection = later ? leaf.protection & ~Protection.WRITE : leaf.protection;
    return { physical: leaf.physical + (iova % bytes), protection, later };
  }

  #dirtyTracking(): DirtyTracking {
    const isOn = () => this.#tracking;
    return {
      get enabled() {
        return isOn();
      },
      enable: (gather) => {
        for (const level of [2, 1])
          for (const index of [...(this.#leaves[level]?.keys() ?? [])]) this.#split(level, index);
        for (const leaf of this.#leaves[0]?.values() ?? []) leaf.dirty = false;
        this.#tracking = true;
        gather.add(0, this.lastIova + 1, 4096);
        return Errno.OK;
      },
      disable: () => {
        this.#tracking = false;
      },
      readAndClear: (iova, size, written, gather) => {
        if (!this.#tracking) return Errno.EINVAL;
        for (let at = iova; at < iova + size; at += 4096) {
          const leaf = this.#leaves[0]?.get(at / 4096);
          if (leaf === undefined || !isWritten(leaf)) continue;
          leaf.dirty = false;
          written.noteWritten(at, 4096);
          gather.add(at, 4096, 4096);
        }
        return Errno.OK;
      },
    };
  }

  #testAndClear(iova: number, gather: Gather): number {
    const found = this.#find(iova);
    if (found === null || !found.leaf.accessed) return 0;
    found.leaf.accessed = false;
    gather.add(found.index * found.bytes, found.bytes, found.bytes);
    return found.bytes;
  }

  #find(iova: number): { level: number; index: number; bytes: number; leaf: Leaf } | null {
    for (const [level, bytes] of SIZES.entries()) {
      const index = Math.floor(iova / bytes);
      const leaf = this.#leaves[level]?.get(index);
      if (leaf !== undefined) return { level, index, bytes, leaf };
    }
    return null;
  }

  #split(level: number, index: number): void {
    const leaf = this.#leaves[level]?.get(index);
    const ratio = (SIZES[level] ?? 0) / (SIZES[level - 1] ?? 1);
    if (leaf === undefined) return;
    this.#leaves[level]?.delete(index);
    for (let part = 0; part < ratio; part++) {
      const physical = leaf.physical + part * (SIZES[level - 1] ?? 0);
      this.#leaves[level - 1]?.set(index * ratio + part, { ...leaf, physical });
    }
  }
}

function isWritten(leaf: Leaf): boolean {
  return leaf.dirty && (leaf.protection & Protection.WRITE) !== 0;
}

function fits(bytes: number, iova: number, physical: number, size: number): boolean {
  return iova % bytes === 0 && physical % bytes === 0 && size >= bytes;
}

export class FakeDevice implements IommuDevice {
  readonly name: string;
  readonly streamId: number;
  readonly stall: boolean;
  readonly pri: boolean;
  readonly ats: boolean;
  readonly pasidBits = 0;
  domain: FakeDomain | null = null;
  faultsBy: object | null = null;
  blocked = false;
  readonly iommu: FakeIommu;
  /** Translations by page, stale until invalidated. */
  readonly cache = new Map<number, Grant>();
  /** Pages this device wrote. */
  readonly written = new Set<number>();

  constructor(iommu: FakeIommu, name: string, options: { stall?: boolean; pri?: boolean } = {}) {
    const { stall = true, pri = true } = options;
    this.iommu = iommu;
    this.name = name;
    this.streamId = iommu.devices.length + 1;
    this.stall = stall;
    this.pri = pri;
    this.ats = pri;
    iommu.devices.push(this);
  }

  invalidate(ranges: readonly [number, number][]): void {
    for (const page of this.cache.keys()) {
      if (ranges.some(([start, end]) => page * 4096 >= start && page * 4096 < end)) this.cache.delete(page);
    }
  }

  /** The physical address behind a page once it may be accessed, faulting where it must; or why not. */
  *access(page: number, write: boolean): Steps<number | 'aborted' | FaultResponse> {
    const needed = write ? Protection.WRITE : Protection.READ;
    for (let tries = 0; tries < 1000; tries++) {
      if (this.blocked || this.domain === null) return 'aborted';
      let grant = this.cache.get(page) ?? null;
      if (grant === null || ((grant.protection & needed) === 0 && grant.later === true)) {
        grant = this.domain.reach(page * 4096, write);
        if (grant !== null) this.cache.set(page, grant);
      }
      if (grant !== null && (grant.protection & needed) !== 0) {
        this.iommu.checkLive(grant.physical, this, page);
        if (write) this.written.add(page);
        return grant.physical;
      }
      if (this.faultsBy === null) return 'aborted';
      const response = yield* this.iommu.fault(this, page, write);
      if (response !== FaultResponse.SUCCESS) return response;
    }
    throw new Error(`page ${page} faults for ever`);
  }
}

export class FakeIommu implements Iommu {
  readonly scheduler: Scheduler;
  readonly devices: FakeDevice[] = [];
  readonly domains = new Set<FakeDomain>();
  readonly blocks: boolean;
  readonly hardware: boolean;
  readonly responses: { group: FaultGroup; response: FaultResponse }[] = [];
  readonly #pending = new Map<FaultGroup, FaultResponse | null>();
  readonly #answered: WaitQueue;
  readonly #isLive: (physicalPage: number) => boolean;
  refuseFaults: FakeDevice | null = null;
  refuseAttach: FakeDevice | null = null;
  #next = 1;

  constructor(scheduler: Scheduler, isLive: (physicalPage: number) => boolean, blocks = true, hardware = false) {
    this.scheduler = scheduler;
    this.blocks = blocks;
    this.hardware = hardware;
    this.#isLive = isLive;
    this.#answered = new WaitQueue(scheduler, 'an answered fault');
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** One that nobody has. */
  protected number(): number {
    return this.#next++;
  }

  checkLive(physical: number, device: FakeDevice, page: number): void {
    if (!this.#isLive(physical / 4096)) throw new Error(`${device.name} reaches a freed page through page ${page}`);
  }

  /** Delivers a group of faults as the driver would, and waits for the answer. */
  *fault(device: FakeDevice, page: number, write: boolean, more: readonly number[] = []): Steps<FaultResponse> {
    const domain = device.domain?.faultsAt(page);
    if (domain?.handler == null) return FaultResponse.INVALID;
    const pages = [page, ...more].map((each) => ({
      page: each,
      read: !write,
      write,
      execute: false,
      privileged: false,
    }));
    const receivedNs = this.scheduler.clock.now;
    const group: FaultGroup = { device, domain, pasid: -1, origin: 'pri', index: this.#next++, pages, receivedNs };
    this.#pending.set(group, null);
    yield* domain.handler.handle(group);
    for (;;) {
      const response = this.#pending.get(group) ?? null;
      if (response !== null) {
        this.#pending.delete(group);
        this.#answered.wakeAll();
        return response;
      }
      yield this.#answered;
    }
  }

  createDomain(_options: DomainOptions): FakeDomain {
    const domain = new FakeDomain(this.#next++, this.scheduler, this.blocks, this.hardware);
    this.domains.add(domain);
    return domain;
  }

  freeDomain(domain: IommuDomain): void {
    const fake = domain as FakeDomain;
    if (!this.domains.has(fake)) throw new Error('a domain is freed twice');
    if (fake.devices.size + fake.children.size > 0) throw new Error('a domain in use is freed');
    if (SIZES.some((bytes) => fake.leafCount(bytes) > 0)) throw new Error('a domain with mappings is freed');
    this.domains.delete(fake);
    for (const other of this.domains) other.children.delete(fake);
  }

  *attach(domain: IommuDomain, device: IommuDevice): Steps<number> {
    const fake = device as FakeDevice;
    yield 10;
    if (this.refuseAttach === fake) return Errno.ENODEV;
    if (fake.domain !== null) return Errno.EBUSY;
    fake.domain = domain as FakeDomain;
    fake.domain.devices.add(fake);
    return Errno.OK;
  }

  *detach(_domain: IommuDomain, device: IommuDevice): Steps {
    const fake = device as FakeDevice;
    const domain = fake.domain;
    fake.domain = null;
    while ([...this.#pending].some(([group, response]) => group.device === fake && response === null)) {
      yield this.#answered;
    }
    yield 10;
    fake.cache.clear();
    domain?.devices.delete(fake);
  }

  *attachPasid(): Steps<number> {
    return Errno.EINVAL;
  }

  *detachPasid(): Steps {}

  *enableFaults(device: IommuDevice, owner: object, _mode: 'stall' | 'pri'): Steps<number> {
    const fake = device as FakeDevice;
    yield 10;
    if (this.refuseFaults === fake) return Errno.EIO;
    if (fake.faultsBy !== null && fake.faultsBy !== owner) return Errno.EBUSY;
    fake.faultsBy = owner;
    return Errno.OK;
  }

  *disableFaults(device: IommuDevice, owner: object): Steps<number> {
    const fake = device as FakeDevice;
    yield 10;
    if (fake.faultsBy === owner) fake.faultsBy = null;
    return Errno.OK;
  }

  *block(device: IommuDevice): Steps {
    (device as FakeDevice).blocked = true;
    (device as FakeDevice).cache.clear();
    yield 10;
  }

  *respond(group: FaultGroup, response: FaultResponse): Steps {
    yield 10;
    this.responses.push({ group, response });
    if (this.#pending.has(group)) this.#pending.set(group, response);
    this.#answered.wakeAll();
  }
}
