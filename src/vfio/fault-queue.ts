/**
 * A fault handler in user space: whole groups are read from a file, each with a cookie, and one answer per cookie is
 * written back. What is not answered when a device leaves or the file is closed is answered INVALID.
 */
import { Errno } from '../errno.ts';
import { type FaultGroup, type FaultHandler, FaultResponse, type IommuDevice } from '../iommu/core.ts';
import type { Steps } from '../sim/task.ts';
import type { EventFile, VfioFile } from './files.ts';
import type { IoAddressSpace } from './io-address-space.ts';
import { AnswerCode, FaultAnswer, FaultFlags, FaultPermission, FaultRecord } from './uapi-nesting.layout.ts';

const PAGE_BYTES = 4096;
const RECORD_BYTES = FaultRecord.$.byteLength;
const ANSWER_BYTES = FaultAnswer.$.byteLength;

export interface FaultQueueOptions {
  /** Whose devices fault here. */
  readonly io: IoAddressSpace;
  /** Signalled when a group comes in. */
  readonly event: EventFile | null;
}

export class FaultQueue implements FaultHandler, VfioFile {
  readonly name: string;
  readonly io: IoAddressSpace;
  readonly #event: EventFile | null;
  /** Groups that nobody has read. */
  readonly #waiting: FaultGroup[] = [];
  /** Groups that were read, by cookie. */
  readonly #read = new Map<number, FaultGroup>();
  readonly #leaving = new Set<IommuDevice>();
  #nextCookie = 1;
  #closed = false;

  constructor(options: FaultQueueOptions) {
    this.name = `fault queue of ${options.io.name}`;
    this.io = options.io;
    this.#event = options.event;
  }

  /** Groups without an answer. */
  get pending(): number {
    return this.#waiting.length + this.#read.size;
  }

  *handle(group: FaultGroup): Steps {
    if (this.#closed || this.#leaving.has(group.device)) {
      yield* this.#answer(group, FaultResponse.INVALID);
      return;
    }
    this.#waiting.push(group);
    this.#event?.signal();
  }

  *ioctl(): Steps<number> {
    return Errno.ENOTTY;
  }

  /** As many whole groups as there is room for: bytes. -EAGAIN without a group, -EINVAL where the first does not fit. */
  *pread(target: DataView): Steps<number> {
    if (this.#waiting.length === 0) return Errno.EAGAIN;
    let at = 0;
    for (let group = this.#waiting[0]; group !== undefined; group = this.#waiting[0]) {
      if (at + group.pages.length * RECORD_BYTES > target.byteLength) break;
      this.#waiting.shift();
      const cookie = this.#nextCookie;
      this.#nextCookie = cookie === 0xffff_ffff ? 1 : cookie + 1;
      this.#read.set(cookie, group);
      at = this.#write(target, at, group, cookie);
    }
    return at > 0 ? at : Errno.EINVAL;
  }

  /** Answers groups: bytes taken. -EINVAL where the first is no answer, or for a cookie that no pending group has. */
  *pwrite(source: DataView): Steps<number> {
    let at = 0;
    for (; at + ANSWER_BYTES <= source.byteLength; at += ANSWER_BYTES) {
      const cookie = FaultAnswer.COOKIE.get(source, at);
      const code = FaultAnswer.CODE.get(source, at);
      const group = this.#read.get(cookie);
      if (group === undefined || (code !== AnswerCode.SUCCESS && code !== AnswerCode.INVALID)) break;
      this.#read.delete(cookie);
      yield* this.#answer(group, code === AnswerCode.SUCCESS ? FaultResponse.SUCCESS : FaultResponse.INVALID);
    }
    return at > 0 ? at : Errno.EINVAL;
  }

  *release(): Steps {
    this.#closed = true;
    yield* this.#cancel(null);
  }

  /** A device is being detached: what it waits for is answered INVALID, now and until {@link left}. */
  *leaving(device: IommuDevice): Steps {
    this.#leaving.add(device);
    yield* this.#cancel(device);
  }

  /** The device has nothing in flight any more. */
  left(device: IommuDevice): void {
    this.#leaving.delete(device);
  }

  /** Answers the groups of a device, or of all. */
  *#cancel(device: IommuDevice | null): Steps {
    const concerns = (group: FaultGroup) => device === null || group.device === device;
    const groups = this.#waiting.filter(concerns);
    const kept = this.#waiting.filter((group) => !concerns(group));
    this.#waiting.splice(0, this.#waiting.length, ...kept);
    for (const [cookie, group] of this.#read) {
      if (!concerns(group)) continue;
      this.#read.delete(cookie);
      groups.push(group);
    }
    for (const group of groups) yield* this.#answer(group, FaultResponse.INVALID);
  }

  *#answer(group: FaultGroup, response: FaultResponse): Steps {
    const { log, iommu } = this.io;
    if (log.isLevelEnabled('debug')) {
      const { device, pasid, index, pages } = group;
      const count = pages.length;
      log.debug({ event: 'vfio.guestFault', device: device.name, pasid, index, pages: count, response });
    }
    yield* iommu.respond(group, response);
  }

  #write(target: DataView, start: number, group: FaultGroup, cookie: number): number {
    const { device, pasid, index, pages } = group;
    const number = this.io.devices.numberOf(device);
    let at = start;
    for (const [place, fault] of pages.entries()) {
      for (let byte = 0; byte < RECORD_BYTES; byte += 4) target.setUint32(at + byte, 0, true);
      const last = place === pages.length - 1 ? FaultFlags.LAST_PAGE : 0;
      FaultRecord.FLAGS.set(target, at, last | (pasid >= 0 ? FaultFlags.PASID_VALID : 0));
      FaultRecord.DEVICE.set(target, at, number);
      FaultRecord.PASID.set(target, at, Math.max(0, pasid));
      FaultRecord.GROUP.set(target, at, index);
      FaultRecord.PERMISSIONS.set(
        target,
        at,
        (fault.read ? FaultPermission.READ : 0) |
          (fault.write ? FaultPermission.WRITE : 0) |
          (fault.execute ? FaultPermission.EXECUTE : 0) |
          (fault.privileged ? FaultPermission.PRIVILEGED : 0),
      );
      FaultRecord.ADDRESS_LOW.set(target, at, (fault.page % 2 ** 20) * PAGE_BYTES);
      FaultRecord.ADDRESS_HIGH.set(target, at, Math.floor(fault.page / 2 ** 20));
      FaultRecord.LENGTH.set(target, at, PAGE_BYTES);
      FaultRecord.COOKIE.set(target, at, cookie);
      at += RECORD_BYTES;
    }
    return at;
  }
}
