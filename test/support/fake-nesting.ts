/** The IOMMU of fake-iommu.ts for guests that translate first. */
import { Errno } from '../../src/errno.ts';
import type { GuestTables, IommuDevice, IommuDomain, NestingIommu, Translation } from '../../src/iommu/core.ts';
import type { Steps } from '../../src/sim/task.ts';
import { FakeDomain, FakeIommu } from './fake-iommu.ts';

/** Commands of a guest that are known here (IHI 0070 §4.4, §4.5.1). */
const TLBI_NH_ALL = 0x10;
const ATC_INV = 0x40;
const COMMAND_BYTES = 16;

/** A guest's stage over a domain: the guest maps pages to guest pages of the same number, or it does not. */
export class FakeGuestDomain extends FakeDomain {
  readonly parent: FakeDomain;
  readonly guestPages = new Set<number>();

  constructor(id: number, parent: FakeDomain) {
    super(id, parent.scheduler, false);
    this.parent = parent;
  }

  override map(): number {
    return Errno.EOPNOTSUPP;
  }

  override translate(iova: number): Translation | null {
    return this.guestPages.has(Math.floor(iova / 4096)) ? this.parent.translate(iova) : null;
  }

  override faultsAt(page: number): FakeDomain {
    return this.guestPages.has(page) ? this.parent : this;
  }
}

/** One that lets a guest translate first. */
export class FakeNestingIommu extends FakeIommu implements NestingIommu {
  createGuestDomain(parent: IommuDomain, tables: GuestTables): IommuDomain {
    if (tables.contextTable % 64 !== 0) throw new RangeError('no context descriptors there');
    const domain = new FakeGuestDomain(this.number(), parent as FakeDomain);
    domain.parent.children.add(domain);
    this.domains.add(domain);
    return domain;
  }

  *invalidateGuest(
    domain: IommuDomain,
    commands: DataView,
    deviceOf: (streamId: number) => IommuDevice | null,
  ): Steps<number> {
    const { devices } = domain as FakeDomain;
    const count = commands.byteLength / COMMAND_BYTES;
    let done = 0;
    for (; done < count; done++) {
      const opcode = commands.getUint8(done * COMMAND_BYTES);
      if (opcode !== TLBI_NH_ALL && opcode !== ATC_INV) break;
      const streamId = commands.getUint32(done * COMMAND_BYTES + 4, true);
      if (opcode === ATC_INV && deviceOf(streamId) === null) break;
    }
    yield 100;
    if (!this.domains.has(domain as FakeDomain)) throw new Error('a domain goes while a guest invalidates');
    if (done > 0) for (const device of devices) device.cache.clear();
    return done;
  }
}
