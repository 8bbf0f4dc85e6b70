/** From what was gathered to TLBI and ATC_INV commands (IHI 0070 §4.4, §4.5.1). */
import { assert } from '../../assert.ts';
import type { Log } from '../../sim/log.ts';
import { NO_STEPS, type Steps } from '../../sim/task.ts';
import { ATC_WHOLE, type CommandBatch } from './command-batch.ts';
import { type CommandQueue, Issued } from './command-queue.ts';
import type { DriverCounters } from './counters.ts';
import { type Geometry, TLBI_GRANULE_CODE } from './descriptors.ts';
import type { SmmuDevice } from './device.ts';
import type { SmmuDomain } from './domain.ts';
import type { DomainGather } from './gather.ts';
import type { PagedDomain } from './paged-domain.ts';

const PAGE = 4096;
/** Without range invalidation more leaves than this are forgotten with the whole address space. */
const MOST_SINGLE_LEAVES = 512;
const LARGEST_SCALE = 31;
const LARGEST_NUM = 32;

export interface InvalidationOptions {
  readonly queue: CommandQueue;
  readonly rangeInvalidation: boolean;
  readonly counters: DriverCounters;
  readonly log: Log;
  /** Makes a stream abort for good: its device does not answer invalidations. */
  readonly isolate: (device: SmmuDevice) => Steps;
  /** The SMMU does not complete commands any more: ends all translation. */
  readonly giveUp: () => void;
}

export class Invalidation {
  readonly #queue: CommandQueue;
  readonly #ranged: boolean;
  readonly #counters: DriverCounters;
  readonly #log: Log;
  readonly #isolate: (device: SmmuDevice) => Steps;
  readonly #giveUp: () => void;
  /** Marks the devices that a flush has seen to. */
  #round = 0;

  constructor(options: InvalidationOptions) {
    this.#queue = options.queue;
    this.#ranged = options.rangeInvalidation;
    this.#counters = options.counters;
    this.#log = options.log;
    this.#isolate = options.isolate;
    this.#giveUp = options.giveUp;
  }

  /**
   * Returns when no access can use what was gathered any more. One wait serves all: the TLBs are invalidated before the
   * ATCs by a CMD_SYNC between the two (§4.5.1), whose completion the last CMD_SYNC implies.
   */
  *flush(domain: PagedDomain, gather: DomainGather): Steps {
    if (gather.empty) return;
    // What no stream uses is in no TLB: the last detach saw to that.
    if (domain.mayBeCached) {
      const batch = this.#queue.batch();
      this.#invalidateTlbs(batch, domain, gather);
      const atcs = this.#invalidateAtcs(batch, domain, gather);
      this.#counters.flushes += 1;
      yield* this.complete(batch, atcs ? domain : null);
    }
    domain.table.release(gather.tables, gather.epoch);
    gather.reset();
  }

  /** Forgets everything that is cached of the domain, for the last detach. */
  *flushAll(domain: PagedDomain): Steps {
    const batch = this.#queue.batch();
    this.forgetTranslations(batch, domain);
    yield* this.complete(batch, null);
  }

  /** Issues a batch; `atcUser` names the domain whose devices were sent invalidations. */
  complete(batch: CommandBatch, atcUser: SmmuDomain | null): Steps {
    return this.begin(batch) ? NO_STEPS : this.end(batch, atcUser);
  }

  /** Issues a batch: whether it is complete already. If not, {@link end} is to follow. */
  begin(batch: CommandBatch): boolean {
    this.#counters.commands += batch.count + 1;
    return this.#queue.begin(batch);
  }

  /** Waits for what {@link begin} issued. */
  *end(batch: CommandBatch, atcUser: SmmuDomain | null): Steps {
    const issued = yield* this.#queue.end(batch);
    if (issued === Issued.TIMEOUT) {
      this.#counters.syncTimeouts += 1;
      this.#log.error({ event: 'smmu.syncTimeout' });
      this.#giveUp();
    } else if (issued === Issued.ATC_TIMEOUT && atcUser !== null) {
      for (const device of atsDevices(atcUser)) yield* this.invalidateAtc(device);
    }
  }

  /** Forgets what stage 1 of a guest made; `domain` is on top of the VM's stage 2. */
  *flushGuest(domain: SmmuDomain): Steps {
    const batch = this.#queue.batch();
    batch.invalidateVmStage1(domain.vmid);
    yield* this.complete(batch, null);
  }

  /** Empties the ATC of one device; a device that does not answer is isolated. */
  *invalidateAtc(device: SmmuDevice): Steps {
    const batch = this.#queue.batch();
    wholeAtc(batch, device);
    this.#counters.commands += batch.count + 1;
    const issued = yield* this.#queue.issue(batch);
    if (issued !== Issued.ATC_TIMEOUT) return;
    this.#counters.atcTimeouts += 1;
    this.#log.error({ event: 'smmu.atcTimeout', device: device.name, streamId: device.streamId });
    yield* this.#isolate(device);
  }

  /** Everything that TLBs hold by the domain's tag. */
  forgetTranslations(batch: CommandBatch, domain: PagedDomain): void {
    if (domain.stage === 1) batch.invalidateAsid(domain.vmid, domain.tag);
    else batch.invalidateVm(domain.vmid);
  }

  #invalidateTlbs(batch: CommandBatch, domain: PagedDomain, gather: DomainGather): void {
    // What stage 1 made of an IPA is cached with it: a change below a nested domain forgets the whole VM (§4.4.3.1).
    if (gather.everything || domain.children.size > 0 || this.#isTooMuch(gather)) {
      this.forgetTranslations(batch, domain);
      return;
    }
    // Emptied tables are cached by walks: then not only leaves are to be forgotten, and levels must not be hinted at.
    const leaf = gather.tables.length === 0;
    for (let index = 0; index < gather.count; index++) {
      const start = gather.starts[index] ?? 0;
      const size = gather.sizes[index] ?? 0;
      const leafSize = gather.leafSizes[index] ?? PAGE;
      if (this.#ranged) this.#range(batch, domain, start, size, leafSize, leaf);
      else this.#singles(batch, domain, start, size, leafSize, leaf);
    }
  }

  #isTooMuch(gather: DomainGather): boolean {
    if (this.#ranged) return false;
    let leaves = 0;
    for (let index = 0; index < gather.count; index++) {
      leaves += (gather.sizes[index] ?? 0) / (gather.leafSizes[index] ?? PAGE);
    }
    return leaves > MOST_SINGLE_LEAVES;
  }

  #singles(
    batch: CommandBatch,
    domain: PagedDomain,
    start: number,
    size: number,
    leafSize: number,
    leaf: boolean,
  ): void {
    for (let at = start; at < start + size; at += leafSize) this.#tlbi(batch, domain, at, leaf, 0, 0, 0, 1);
  }

  /** Few commands of (num + 1) * 2^scale granules each (§4.4.1.1), the smaller ones first. */
  #range(batch: CommandBatch, domain: PagedDomain, start: number, size: number, leafSize: number, leaf: boolean): void {
    const { shape } = domain.table;
    const tg = TLBI_GRANULE_CODE[shape.granule];
    const ttl = leaf ? leafLevel(shape, leafSize) : 0;
    let at = start;
    for (let left = size / shape.granule; left > 0; ) {
      let scale = 0;
      let units = left;
      while (units % 2 === 0 && scale < LARGEST_SCALE) {
        units /= 2;
        scale += 1;
      }
      const num = scale === LARGEST_SCALE ? Math.min(units, LARGEST_NUM) : units % LARGEST_NUM;
      // One granule without a level hint is reserved as a range: that is the plain command.
      const plain = num === 1 && scale === 0 && ttl === 0;
      this.#tlbi(batch, domain, at, leaf, plain ? 0 : tg, ttl, scale, num);
      const covered = num * 2 ** scale;
      at += covered * shape.granule;
      left -= covered;
    }
  }

  #tlbi(
    batch: CommandBatch,
    domain: PagedDomain,
    address: number,
    leaf: boolean,
    tg: number,
    ttl: number,
    scale: number,
    num: number,
  ): void {
    const page = Math.floor(address / PAGE);
    if (domain.stage === 1) {
      batch.invalidateAddress(domain.vmid, domain.tag, page, leaf, tg, ttl, scale, num - 1);
    } else {
      batch.invalidateIpa(domain.vmid, page, leaf, tg, ttl, scale, num - 1);
    }
  }

  /** Invalidations for every device that may have cached translations of the domain; whether there is any. */
  #invalidateAtcs(batch: CommandBatch, domain: PagedDomain, gather: DomainGather): boolean {
    let any = false;
    for (const { device, pasid } of domain.attachments) {
      if (!device.atsEnabled) continue;
      if (!any) batch.sync();
      any = true;
      if (gather.everything) {
        batch.invalidateAtc(device.streamId, pasid, 0, ATC_WHOLE);
        continue;
      }
      for (let index = 0; index < gather.count; index++) {
        const first = Math.floor((gather.starts[index] ?? 0) / PAGE);
        const last = first + (gather.sizes[index] ?? PAGE) / PAGE - 1;
        const size = coveringSize(first, last);
        batch.invalidateAtc(device.streamId, pasid, Math.floor(first / 2 ** size) * 2 ** size, size);
      }
    }
    // Which addresses the stage above gave to a page is not known here. A device may use several domains of it.
    this.#round += 1;
    for (const child of domain.children) {
      for (const { device } of child.attachments) {
        if (!device.atsEnabled || device.atcRound === this.#round) continue;
        device.atcRound = this.#round;
        if (!any) batch.sync();
        any = true;
        wholeAtc(batch, device);
      }
    }
    return any;
  }
}

function atsDevices(domain: SmmuDomain): Set<SmmuDevice> {
  const devices = new Set<SmmuDevice>();
  for (const user of [domain, ...domain.children]) {
    for (const { device } of user.attachments) if (device.atsEnabled) devices.add(device);
  }
  return devices;
}

function wholeAtc(batch: CommandBatch, device: SmmuDevice): void {
  batch.invalidateAtc(device.streamId, -1, 0, ATC_WHOLE);
  if (device.pasidBits > 0) batch.invalidateAtc(device.streamId, 0, 0, ATC_WHOLE, true);
}

/** log2 of the smallest aligned span of pages that holds both (§4.5.1: spans are powers of two). */
export function coveringSize(first: number, last: number): number {
  let size = 0;
  while (Math.floor(first / 2 ** size) !== Math.floor(last / 2 ** size)) size += 1;
  assert(size <= ATC_WHOLE, 'no span is larger than the address space');
  return size;
}

/** Level of the leaves of `leafSize` bytes. */
function leafLevel(shape: Geometry, leafSize: number): number {
  return 3 - (Math.log2(leafSize) - shape.granuleShift) / shape.indexBits;
}
