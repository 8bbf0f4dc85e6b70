/** The producer side of the command queue (IHI 0070 §3.5, §4, §7.1). */
import { assert } from '../../assert.ts';
import type { Mmio } from '../../hw/bus.ts';
import { CHUNK_BYTES, CHUNK_OFFSET, type Memory } from '../../hw/memory.ts';
import { removeFrom, type Steps } from '../../sim/task.ts';
import { COMMAND_BYTES, Command, CommandError, Opcode } from '../spec/commands.layout.ts';
import { CMDQ_BASE, CMDQ_CONS, CMDQ_PROD } from '../spec/registers.layout.ts';
import { CommandBatch } from './command-batch.ts';

/** How the commands of a batch ended. */
export const Issued = { DONE: 0, ATC_TIMEOUT: 1, TIMEOUT: 2 } as const;
export type Issued = (typeof Issued)[keyof typeof Issued];

/** A command that the SMMU refused, and what became of it. */
export interface CommandFailure {
  readonly error: CommandError;
  readonly opcode: number;
}

export interface CommandQueueOptions {
  readonly mmio: Mmio;
  readonly memory: Memory;
  /** Physical address, aligned to the queue's size. */
  readonly base: number;
  /** log2 of the number of commands, 0..19. */
  readonly sizeBits: number;
  /** From issue of a CMD_SYNC to its observed completion when nothing is outstanding. */
  readonly syncNs: number;
  /** After so long a CMD_SYNC is given up: the SMMU is not working any more. */
  readonly syncTimeoutNs: number;
  /** Looks at GERROR: whoever polls must, or an error would make it wait for ever (§7.1). */
  readonly checkErrors: () => void;
}

/** A queue is aligned to its size, so that pieces of so many commands lie in one chunk of memory. */
const COMMANDS_PER_CHUNK = CHUNK_BYTES / COMMAND_BYTES;
/** First and longest pause between two looks at CMDQ_CONS; in between it grows with the time already waited. */
const POLL_NS = 50;
const LONGEST_POLL_NS = 10_000_000;
const POLLS_PER_WAIT = 8;

/**
 * Positions count commands over all time; the index registers show their low bits (with the wrap bit, §3.5.1). A batch is
 * published as one piece when it fits, so commands of two tasks never mix within what each other's CMD_SYNC covers.
 */
export class CommandQueue {
  readonly #mmio: Mmio;
  readonly #memory: Memory;
  readonly #base: number;
  readonly #entries: number;
  readonly #indexMask: number;
  readonly #sizeBits: number;
  readonly #syncNs: number;
  readonly #syncTimeoutNs: number;
  readonly #checkErrors: () => void;
  /** Batches that wait for their CMD_SYNC. */
  readonly #waiting: CommandBatch[] = [];
  readonly #pool: CommandBatch[] = [];
  #produced = 0;
  #consumed = 0;
  /** The SMMU consumes nothing any more: nobody waits for it. */
  #abandoned = false;

  constructor(options: CommandQueueOptions) {
    assert(options.base % (COMMAND_BYTES << options.sizeBits) === 0, 'a queue is aligned to its size');
    this.#mmio = options.mmio;
    this.#memory = options.memory;
    this.#base = options.base;
    this.#sizeBits = options.sizeBits;
    this.#entries = 2 ** options.sizeBits;
    this.#indexMask = this.#entries * 2 - 1;
    this.#syncNs = options.syncNs;
    this.#syncTimeoutNs = options.syncTimeoutNs;
    this.#checkErrors = options.checkErrors;
  }

  /** Programs base and indexes; the queue is disabled (§6.3.26: CMDQEN is 0). */
  program(): void {
    const data = new DataView(new ArrayBuffer(8));
    CMDQ_BASE.ADDR.set(data, 0, this.#base / 32);
    CMDQ_BASE.RA.set(data, 0, 1);
    CMDQ_BASE.LOG2SIZE.set(data, 0, this.#sizeBits);
    this.#mmio.write64(CMDQ_BASE.offset, data);
    this.#mmio.write32(CMDQ_PROD.offset, 0);
    this.#mmio.write32(CMDQ_CONS.offset, 0);
    this.#produced = 0;
    this.#consumed = 0;
  }

  /** Ends every wait, now and from now on, with `TIMEOUT`. */
  abandon(): void {
    this.#abandoned = true;
  }

  /** An empty batch; {@link issue} takes it back. */
  batch(): CommandBatch {
    const batch = this.#pool.pop() ?? new CommandBatch();
    batch.reset();
    return batch;
  }

  /** Appends a CMD_SYNC, publishes the batch, and waits until that CMD_SYNC was consumed. */
  *issue(batch: CommandBatch): Steps<Issued> {
    return this.begin(batch) ? Issued.DONE : yield* this.end(batch);
  }

  /** As {@link issue}, without a wait: whether the CMD_SYNC was consumed at once. If not, {@link end} is to follow. */
  begin(batch: CommandBatch): boolean {
    batch.sync();
    batch.start = this.#produced;
    this.#waiting.push(batch);
    this.#publish(batch);
    if (batch.published < batch.count) return false;
    batch.end = this.#produced;
    if (this.#syncNs > 0 || this.#abandoned) return false;
    this.#noteConsumed(this.#mmio.read32(CMDQ_CONS.offset));
    if (this.#consumed < batch.end || batch.atcTimedOut) return false;
    this.#retire(batch);
    return true;
  }

  /** Waits for the CMD_SYNC of a batch that {@link begin} did not see the end of. */
  *end(batch: CommandBatch): Steps<Issued> {
    while (batch.published < batch.count) {
      if (!(yield* this.#reach(this.#produced - this.#entries + 1))) break;
      this.#publish(batch);
    }
    batch.end = this.#produced;
    if (this.#syncNs > 0) yield this.#syncNs;
    const finished = yield* this.#reach(batch.end);
    const { atcTimedOut } = batch;
    this.#retire(batch);
    if (!finished) return Issued.TIMEOUT;
    return atcTimedOut ? Issued.ATC_TIMEOUT : Issued.DONE;
  }

  /**
   * Makes the queue go on after a command error (§7.1): the bad command becomes a CMD_SYNC, which is harmless. After
   * CERROR_ATC_INV_SYNC the CMD_SYNC itself is left to run again, and every batch it may speak of learns of the failure.
   * A queue that cannot be read (CERROR_ABT) is beyond repair. The caller acknowledges GERROR afterwards.
   */
  recover(): CommandFailure {
    const cons = this.#mmio.read32(CMDQ_CONS.offset);
    const error = CMDQ_CONS.ERR.of(cons) as CommandError;
    this.#noteConsumed(cons);
    const at = this.#base + (this.#consumed % this.#entries) * COMMAND_BYTES;
    const opcode = Command.Opcode.of(this.#memory.read32(at));
    if (error === CommandError.ATC_INV_SYNC) {
      for (const batch of this.#waiting) {
        if (batch.start <= this.#consumed && this.#consumed < batch.end) batch.atcTimedOut = true;
      }
    } else if (error !== CommandError.ABT) {
      this.#memory.fill(at, COMMAND_BYTES, 0);
      this.#memory.write32(at, Opcode.SYNC);
    }
    return { error, opcode };
  }

  /** Copies as much of the rest of the batch as fits and rings the doorbell. */
  #publish(batch: CommandBatch): void {
    const from = batch.published;
    let space = this.#space();
    if (space < batch.count - from) {
      this.#noteConsumed(this.#mmio.read32(CMDQ_CONS.offset));
      space = this.#space();
    }
    const count = Math.min(space, batch.count - from);
    for (let copied = 0; copied < count; ) {
      const index = (this.#produced + copied) % this.#entries;
      const run = Math.min(count - copied, this.#entries - index, COMMANDS_PER_CHUNK - (index % COMMANDS_PER_CHUNK));
      const at = this.#base + index * COMMAND_BYTES;
      batch.copyTo(this.#memory.writeView(at), at & CHUNK_OFFSET, from + copied, run);
      copied += run;
    }
    if (count === 0) return;
    batch.published += count;
    this.#produced += count;
    this.#mmio.write32(CMDQ_PROD.offset, this.#produced & this.#indexMask);
  }

  /** The batch waits no longer and may be used again. */
  #retire(batch: CommandBatch): void {
    removeFrom(this.#waiting, batch);
    this.#pool.push(batch);
  }

  #space(): number {
    return this.#entries - (this.#produced - this.#consumed);
  }

  /** Looks at CMDQ_CONS until it has reached `position`; false when the time limit has passed. */
  *#reach(position: number): Steps<boolean> {
    if (this.#abandoned) return false;
    this.#noteConsumed(this.#mmio.read32(CMDQ_CONS.offset));
    let pauseNs = 0;
    for (let waitedNs = 0; this.#consumed < position; waitedNs += pauseNs) {
      this.#checkErrors();
      if (this.#abandoned || waitedNs > this.#syncTimeoutNs) return false;
      yield pauseNs;
      pauseNs = Math.min(Math.max(POLL_NS, Math.ceil(waitedNs / POLLS_PER_WAIT)), LONGEST_POLL_NS);
      this.#noteConsumed(this.#mmio.read32(CMDQ_CONS.offset));
    }
    return true;
  }

  /** Moves the consumed position forward to what CMDQ_CONS shows. */
  #noteConsumed(cons: number): void {
    const shown = CMDQ_CONS.RD.of(cons) & this.#indexMask;
    this.#consumed += (shown - (this.#consumed & this.#indexMask)) & this.#indexMask;
    assert(this.#consumed <= this.#produced, 'no command is consumed before it was produced');
  }
}
