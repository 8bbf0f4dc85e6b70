/**
 * The guest kernel's IOMMU driver: one I/O address space for the guest's device, in which guest memory lies elsewhere
 * than in guest-physical space. Either all of it is mapped at once, or each page when the device first asks for it.
 */
import { assert } from '../assert.ts';
import { CD } from '../iommu/spec/cd.layout.ts';
import { ATC_INV, Opcode, SYNC, TLBI_NH_ALL } from '../iommu/spec/commands.layout.ts';
import { encode } from '../layout/struct.ts';
import type { Log } from '../sim/log.ts';
import { type Scheduler, type Steps, WaitQueue } from '../sim/task.ts';
import { GUEST_PAGE_BYTES, type GuestMemory } from './guest-memory.ts';
import { STAGE1_INPUT_BITS, Stage1Table } from './stage1-table.ts';
import type { GuestFault, VirtualIommu } from './virtual-iommu.ts';

/** Where guest memory begins in the device's address space: 256 GiB, so that blocks of 1 GiB fit. */
const IOVA_BASE = 0x40_0000_0000;
/** The first tables and the context descriptor: the largest page of any host, so that it can be pinned as such. */
const POOL_BYTES = 65_536;

const ASID = 1;
/** 48 bits (CD.IPS); memory attributes: 0 is Normal write-back (MAIR0). */
const IPS_48_BITS = 5;
const MAIR = 0xff;
const WRITE_BACK = 1;
const INNER_SHAREABLE = 3;
/** ATC_INV.Size that means everything. */
const ATC_WHOLE = 52;

/** Most guest memory that tables take when the device uses `bytes` adjacent bytes: one table for each 2 MiB. */
export function iommuTableBytes(bytes: number): number {
  return POOL_BYTES + (Math.ceil(bytes / 2 ** 21) + 2) * GUEST_PAGE_BYTES;
}

/** What the guest does when the device asks for a page that it has not mapped. */
export type GuestFaulting =
  /** Everything is mapped, nothing is asked for. */
  | 'none'
  /** The device's accesses wait. */
  | 'stall'
  /** The device asks by page requests. */
  | 'pri';

export interface IommuDriverOptions {
  readonly memory: GuestMemory;
  readonly iommu: VirtualIommu;
  readonly faulting: GuestFaulting;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Nanoseconds from the interrupt until the fault thread runs, for each group, and for each page mapped. */
  readonly wakeNs: number;
  readonly groupNs: number;
  readonly mapNs: number;
}

export class IommuDriver {
  readonly #options: IommuDriverOptions;
  readonly #table: Stage1Table;
  readonly #context: number;
  readonly #faulted: WaitQueue;
  #pool: number;
  readonly #poolEnd: number;
  #stopped = false;
  #pages = 0;

  private constructor(options: IommuDriverOptions) {
    const { memory, scheduler } = options;
    this.#options = options;
    this.#faulted = new WaitQueue(scheduler, 'a fault of the guest');
    this.#pool = memory.allocate(POOL_BYTES, 'translation tables');
    this.#poolEnd = this.#pool + POOL_BYTES;
    this.#context = this.#newPage();
    this.#table = new Stage1Table(memory, () => this.#newPage());
  }

  /** Sets the address space up and lets the device use it. @throws VmmError */
  static *start(options: IommuDriverOptions): Steps<IommuDriver> {
    const { memory, iommu, faulting, scheduler } = options;
    const driver = new IommuDriver(options);
    const fixed = { address: driver.#context, bytes: POOL_BYTES };
    const { doorbell } = iommu;
    yield* driver.#table.map(doorbell.address, doorbell.address, doorbell.bytes);
    if (faulting === 'none') yield* driver.#table.map(IOVA_BASE, memory.base, memory.size);
    yield* driver.#writeContext();
    const faulted = faulting === 'none' ? null : () => driver.#faulted.wakeAll();
    yield* iommu.attach({ contextTable: driver.#context, fixed, faulted });
    if (faulting !== 'none') scheduler.spawn('guest iommu', driver.#serve(), { daemon: true });
    return driver;
  }

  /** Pages that the guest mapped because the device asked for them. */
  get pages(): number {
    return this.#pages;
  }

  /** What the device must say to reach a guest-physical address. */
  dmaAddress(address: number): number {
    return address - this.#options.memory.base + IOVA_BASE;
  }

  /** The guest-physical address that the device reaches with one of its own: the inverse of {@link dmaAddress}. */
  guestAddress(dmaAddress: number): number {
    return dmaAddress - IOVA_BASE + this.#options.memory.base;
  }

  /** Maps guest memory that the device must never ask for, before it asks for anything: the tables are those of the pool. */
  *keepMapped(address: number, bytes: number): Steps {
    if (this.#options.faulting === 'none') return;
    const first = address - (address % GUEST_PAGE_BYTES);
    for (let page = first; page < address + bytes; page += GUEST_PAGE_BYTES) {
      const iova = this.dmaAddress(page);
      if (!this.#table.isMapped(iova)) yield* this.#table.map(iova, page, GUEST_PAGE_BYTES);
    }
    assert(this.#pool < this.#poolEnd, 'what must not fault is translated by pinned tables');
  }

  /** Takes the address space away from the device, which must be idle. */
  *stop(): Steps {
    const { iommu, log } = this.#options;
    yield* this.#table.clear();
    const commands = [
      encode(TLBI_NH_ALL, { Opcode: Opcode.TLBI_NH_ALL }),
      encode(SYNC, { Opcode: Opcode.SYNC }),
      encode(ATC_INV, { Opcode: Opcode.ATC_INV, Size: ATC_WHOLE }),
      encode(SYNC, { Opcode: Opcode.SYNC }),
    ];
    yield* iommu.invalidate(commands);
    this.#stopped = true;
    this.#faulted.wakeAll();
    yield* iommu.detach();
    log.info({ event: 'guest.unmapped', pages: this.#pages });
  }

  *#writeContext(): Steps {
    const { memory, faulting } = this.#options;
    const context = encode(CD, {
      V: 1,
      T0SZ: 64 - STAGE1_INPUT_BITS,
      IR0: WRITE_BACK,
      OR0: WRITE_BACK,
      SH0: INNER_SHAREABLE,
      EPD1: 1,
      IPS: IPS_48_BITS,
      AA64: 1,
      S: faulting === 'stall' ? 1 : 0,
      R: 1,
      A: 1,
      ASET: 1,
      ASID,
      TTB0: this.#table.rootAddress / 16,
      MAIR0: MAIR,
    });
    yield* memory.write(this.#context, new Uint8Array(context.buffer, context.byteOffset, context.byteLength));
  }

  /** The fault thread. */
  *#serve(): Steps {
    const { iommu, wakeNs } = this.#options;
    while (!this.#stopped) {
      const faults = yield* iommu.takeFaults();
      let good = true;
      for (const fault of faults) {
        good = (yield* this.#mapPage(fault)) && good;
        if (!fault.last) continue;
        yield* this.#answer(fault.cookie, good);
        good = true;
      }
      if (faults.length > 0 || this.#stopped) continue;
      yield this.#faulted;
      if (wakeNs > 0) yield wakeNs;
    }
  }

  *#answer(cookie: number, good: boolean): Steps {
    const { groupNs, iommu } = this.#options;
    if (groupNs > 0) yield groupNs;
    yield* iommu.respond(cookie, good);
  }

  /** Whether the device may use the page. */
  *#mapPage({ address, write }: GuestFault): Steps<boolean> {
    const { memory, log, mapNs } = this.#options;
    const iova = address - (address % GUEST_PAGE_BYTES);
    const offset = iova - IOVA_BASE;
    const known = offset >= 0 && offset < memory.size;
    const mapped = known && this.#table.isMapped(iova);
    log.debug({ event: 'guest.fault', address, write, known, mapped });
    if (!known || mapped) return known;
    this.#pages += 1;
    if (mapNs > 0) yield mapNs;
    yield* this.#table.map(iova, memory.base + offset, GUEST_PAGE_BYTES);
    return true;
  }

  /** A zeroed page for a table: of the pool first. */
  #newPage(): number {
    if (this.#pool === this.#poolEnd) return this.#options.memory.allocate(GUEST_PAGE_BYTES, 'translation tables');
    const page = this.#pool;
    this.#pool += GUEST_PAGE_BYTES;
    return page;
  }
}
