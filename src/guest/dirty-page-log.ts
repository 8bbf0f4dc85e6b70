/**
 * Pre-copy as a virtual machine monitor does it, without the copy: the log of pages that the device writes is switched on,
 * read again and again by a task of its own while the device works, and once more when the device has stopped.
 */
import { high32, low32 } from '../layout/field.ts';
import { encodeInto } from '../layout/struct.ts';
import type { Log } from '../sim/log.ts';
import { type Scheduler, type Steps, type Task, WaitQueue } from '../sim/task.ts';
import {
  CapMigration,
  DirtyBitmap,
  DirtyBitmapGet,
  DirtyPages,
  DirtyPagesFlags,
  Ioctl,
  IommuInfoCap,
} from '../vfio/uapi.layout.ts';
import type { GuestMemory } from './guest-memory.ts';
import type { HostProcess } from './host-process.ts';
import type { VfioContainer } from './vfio-container.ts';
import { succeeded, VmmError } from './vmm-error.ts';

const TWO_32 = 2 ** 32;
const WORD_BITS = 64;
const WORD_BYTES = 8;

/** Sees when the log is asked and what it says. */
export interface DirtyLogWitness {
  /** The log is on: what it reports was written after it was asked for. */
  started(): void;
  asking(): void;
  /** The answer is there, in the bitmap in memory. */
  answered(): void;
  /** Bit n, lowest of a byte first, is page n of guest memory. `atRest`: the device had stopped before. */
  reported(bits: Uint8Array, pageBytes: number, atRest: boolean): void;
}

export interface DirtyLogOptions {
  /** Nanoseconds from the end of one round to the start of the next. */
  readonly intervalNs: number;
  readonly scheduler: Scheduler;
  readonly witness?: DirtyLogWitness;
}

export interface DirtyLogEnvironment {
  readonly process: HostProcess;
  readonly container: VfioContainer;
  readonly memory: GuestMemory;
  readonly log: Log;
}

export class DirtyPageLog {
  readonly #options: DirtyLogOptions;
  readonly #environment: DirtyLogEnvironment;
  readonly #pageBytes: number;
  readonly #bits: Uint8Array;
  readonly #bitmapAt: number;
  readonly #stopped: WaitQueue;
  #task: Task | null = null;
  #failure: VmmError | null = null;
  #rounds = 0;
  #pages = 0;
  #lastPages = 0;

  private constructor(
    options: DirtyLogOptions,
    environment: DirtyLogEnvironment,
    pageBytes: number,
    bits: Uint8Array,
    bitmapAt: number,
  ) {
    this.#options = options;
    this.#environment = environment;
    this.#pageBytes = pageBytes;
    this.#bits = bits;
    this.#bitmapAt = bitmapAt;
    this.#stopped = new WaitQueue(options.scheduler, 'the end of pre-copy');
  }

  /** Switches the log on and starts to read it. @throws VmmError */
  static *start(options: DirtyLogOptions, environment: DirtyLogEnvironment): Steps<DirtyPageLog> {
    const { process, container, memory, log } = environment;
    const found = yield* container.capability(IommuInfoCap.MIGRATION);
    if (found === null) throw new VmmError('this kernel has no dirty log for VFIO');
    const { info, at } = found;
    const pageBytes = lowestBit(CapMigration.PGSIZE_BITMAP_LOW.get(info, at));
    const bits = new Uint8Array(Math.ceil(memory.size / pageBytes / WORD_BITS) * WORD_BYTES);
    const most =
      CapMigration.MAX_DIRTY_BITMAP_SIZE_HIGH.get(info, at) * TWO_32 +
      CapMigration.MAX_DIRTY_BITMAP_SIZE_LOW.get(info, at);
    if (bits.length > most) throw new VmmError(`the dirty bitmap takes ${bits.length} bytes, the kernel gives ${most}`);
    const bitmapAt = succeeded(yield* process.mmap(bits.length), `mmap of ${bits.length} bytes of dirty bitmap`);
    const started = new DirtyPageLog(options, environment, pageBytes, bits, bitmapAt);
    try {
      yield* started.#flag('START', DirtyPagesFlags.START);
    } catch (error) {
      yield* started.release();
      throw error;
    }
    options.witness?.started();
    log.info({ event: 'guest.dirtyLog', enabled: true, pageBytes, rounds: 0, pages: 0 });
    started.#task = options.scheduler.spawn('pre-copy', started.#readOnAndOn());
    return started;
  }

  /** How often the log was read, how many pages it reported in all, and how many the last time. */
  get figures(): { readonly rounds: number; readonly pages: number; readonly lastPages: number } {
    return { rounds: this.#rounds, pages: this.#pages, lastPages: this.#lastPages };
  }

  /** The last round, and the end of the log. The device has stopped. @throws VmmError */
  *finish(): Steps {
    yield* this.#endTask();
    if (this.#failure !== null) throw this.#failure;
    yield* this.#round(true);
    yield* this.#flag('STOP', DirtyPagesFlags.STOP);
    const { log } = this.#environment;
    const { rounds, pages } = this.figures;
    log.info({ event: 'guest.dirtyLog', enabled: false, pageBytes: this.#pageBytes, rounds, pages });
  }

  /** Stops reading and frees the bitmap, whatever came before. */
  *release(): Steps {
    yield* this.#endTask();
    yield* this.#environment.process.munmap(this.#bitmapAt, this.#bits.length);
  }

  *#endTask(): Steps {
    const task = this.#task;
    this.#task = null;
    this.#stopped.wakeAll();
    if (task !== null) yield* task.join();
  }

  *#readOnAndOn(): Steps {
    const { intervalNs, scheduler } = this.#options;
    try {
      while (this.#task !== null) {
        if (yield* this.#stopped.sleepFor(intervalNs)) return;
        // With nothing else ever to come there is nothing to read: time must not go on for this alone.
        if (scheduler.clock.next === Number.POSITIVE_INFINITY) yield this.#stopped;
        else yield* this.#round(false);
      }
    } catch (error) {
      if (!(error instanceof VmmError)) throw error;
      this.#failure = error;
    }
  }

  *#round(atRest: boolean): Steps {
    const { process, container, memory, log } = this.#environment;
    const { witness } = this.#options;
    const argument = this.#getBitmap(memory.base, memory.size);
    witness?.asking();
    const status = yield* process.ioctl(container.descriptor, Ioctl.VFIO_IOMMU_DIRTY_PAGES, argument);
    witness?.answered();
    succeeded(status, 'VFIO_IOMMU_DIRTY_PAGES GET_BITMAP');
    succeeded(yield* process.load(this.#bitmapAt, this.#bits), 'load of the dirty bitmap');
    this.#rounds += 1;
    this.#lastPages = countBits(this.#bits);
    this.#pages += this.#lastPages;
    log.debug({ event: 'guest.dirtyRound', round: this.#rounds, pages: this.#lastPages, atRest });
    witness?.reported(this.#bits, this.#pageBytes, atRest);
  }

  *#flag(name: string, flag: number): Steps {
    const { process, container } = this.#environment;
    const argument = new DataView(new ArrayBuffer(DirtyPages.$.byteLength));
    encodeInto(DirtyPages, argument, 0, { ARGSZ: argument.byteLength, FLAGS: flag });
    const status = yield* process.ioctl(container.descriptor, Ioctl.VFIO_IOMMU_DIRTY_PAGES, argument);
    succeeded(status, `VFIO_IOMMU_DIRTY_PAGES ${name}`);
  }

  #getBitmap(iova: number, size: number): DataView {
    const range = DirtyPages.$.byteLength;
    const bitmap = range + DirtyBitmapGet.$.byteLength - DirtyBitmap.$.byteLength;
    const argument = new DataView(new ArrayBuffer(range + DirtyBitmapGet.$.byteLength));
    encodeInto(DirtyPages, argument, 0, { ARGSZ: argument.byteLength, FLAGS: DirtyPagesFlags.GET_BITMAP });
    encodeInto(DirtyBitmapGet, argument, range, {
      IOVA_LOW: low32(iova),
      IOVA_HIGH: high32(iova),
      SIZE_LOW: low32(size),
      SIZE_HIGH: high32(size),
    });
    encodeInto(DirtyBitmap, argument, bitmap, {
      PGSIZE_LOW: this.#pageBytes,
      SIZE_LOW: low32(this.#bits.length),
      DATA_LOW: low32(this.#bitmapAt),
      DATA_HIGH: high32(this.#bitmapAt),
    });
    return argument;
  }
}

/** The lowest bit that is set, as a number. */
function lowestBit(bits: number): number {
  return (bits & -bits) >>> 0;
}

function countBits(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) for (let rest = byte; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
