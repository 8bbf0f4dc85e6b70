/**
 * The command queue (IHI 0070 §4.1, §4.7.3, §7.1): consumes commands in order, stops at the first error, waits at a
 * CMD_SYNC for what is under way, and tells software that it completed.
 */
import { assert } from '../../assert.ts';
import { BusStatus } from '../../hw/bus.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Log } from '../../sim/log.ts';
import { COMMAND_BYTES, Command, CommandError, CompletionSignal, Opcode, SYNC } from '../spec/commands.layout.ts';
import { CMDQ_CONS, GERROR } from '../spec/registers.layout.ts';
import type { AtcInvalidations } from './atc-invalidations.ts';
import type { Commands } from './commands.ts';
import type { Control } from './control.ts';
import { type Features, outputAddressBits } from './features.ts';
import type { Interrupts } from './interrupts.ts';
import { advance, type Queue } from './queue.ts';
import type { RegisterFile } from './register-file.ts';

export interface CommandQueueOptions {
  readonly clock: Clock;
  readonly features: Features;
  readonly registers: RegisterFile;
  readonly control: Control;
  readonly interrupts: Interrupts;
  readonly queue: Queue;
  readonly commands: Commands;
  readonly invalidations: AtcInvalidations;
  readonly log: Log;
  /** Fetch and execution of one command. 0: a write of CMDQ_PROD consumes everything before it returns. */
  readonly commandNs: number;
  /** A WFE wake-up event for the CPUs, for CMD_SYNC with CS=SIG_SEV where IDR0.SEV=1. */
  readonly sendEvent: () => void;
}

/** IDLE until kicked; FETCHING while a command's time runs; WAITING at a CMD_SYNC. */
const State = { IDLE: 0, RUNNING: 1, FETCHING: 2, WAITING: 3 } as const;
type State = (typeof State)[keyof typeof State];

export class CommandQueue {
  readonly #options: CommandQueueOptions;
  readonly #view = new DataView(new ArrayBuffer(COMMAND_BYTES));
  readonly #addressLimit: number;
  #state: State = State.IDLE;
  /** A command's time that began before a reset means nothing after it. */
  #generation = 0;
  #consumed = 0;

  constructor(options: CommandQueueOptions) {
    this.#options = options;
    this.#addressLimit = 2 ** outputAddressBits(options.features);
  }

  /** Commands consumed since reset. */
  get consumed(): number {
    return this.#consumed;
  }

  reset(): void {
    this.#state = State.IDLE;
    this.#generation += 1;
    this.#consumed = 0;
  }

  /** CMDQ_PROD was written, the queue was enabled, or an error was acknowledged: considers the queue (§4.1.2). */
  kick(): void {
    if (this.#state === State.IDLE) this.#run();
  }

  /** CMDQEN went to 0. A CMD_SYNC that waits is fetched again when the queue is enabled (§6.3.9.3). */
  disable(): void {
    if (this.#state === State.WAITING) this.#state = State.IDLE;
  }

  /** The last ATS invalidation ended: a CMD_SYNC that waits for it goes on. */
  invalidationsSettled(): void {
    if (this.#state !== State.WAITING) return;
    this.#state = State.RUNNING;
    this.#sync();
    this.#run();
  }

  get #ready(): boolean {
    const { control, queue, interrupts } = this.#options;
    return control.CMDQEN && !queue.empty && !interrupts.active(GERROR.CMDQ_ERR);
  }

  #run(): void {
    const { clock, commandNs } = this.#options;
    if (this.#state !== State.WAITING) this.#state = State.RUNNING;
    while (this.#state === State.RUNNING) {
      if (!this.#ready) {
        this.#state = State.IDLE;
      } else if (commandNs === 0) {
        this.#step();
      } else {
        this.#state = State.FETCHING;
        const generation = this.#generation;
        clock.after(commandNs, () => {
          if (generation === this.#generation) this.#fetched();
        });
      }
    }
  }

  #fetched(): void {
    assert(this.#state === State.FETCHING, 'one command is fetched at a time');
    this.#state = State.RUNNING;
    if (this.#ready) this.#step();
    this.#run();
  }

  /** Fetches and carries out the command at CONS. */
  #step(): void {
    const { queue, commands } = this.#options;
    if (queue.read(queue.cons, this.#view) !== BusStatus.OK) {
      this.#stop(CommandError.ABT);
      return;
    }
    if (Command.Opcode.get(this.#view) === Opcode.SYNC) {
      this.#sync();
      return;
    }
    const error = commands.execute(this.#view, 0);
    if (error === CommandError.NONE) this.#consume();
    else this.#stop(error);
  }

  #sync(): void {
    const { invalidations } = this.#options;
    const signal = SYNC.CS.get(this.#view);
    if (signal > CompletionSignal.SEV) {
      this.#stop(CommandError.ILL);
    } else if (invalidations.outstanding > 0) {
      this.#state = State.WAITING;
    } else if (invalidations.takeLost()) {
      this.#stop(CommandError.ATC_INV_SYNC);
    } else {
      // Its consumption is visible before its signal is (§4.7.3).
      this.#consume();
      this.#signal(signal);
    }
  }

  #signal(signal: number): void {
    const { features, interrupts, sendEvent } = this.#options;
    if (signal === CompletionSignal.SEV && features.SEV === 1) sendEvent();
    if (signal !== CompletionSignal.IRQ) return;
    const high = SYNC.MSIAddress_HIGH.get(this.#view);
    const low = SYNC.MSIAddress_LOW.get(this.#view);
    // The whole field decides whether there is a message, though the address is truncated to the OAS.
    const given = high !== 0 || low !== 0;
    const address = (high % (this.#addressLimit / 2 ** 32)) * 2 ** 32 + low * 4;
    interrupts.sync(given, address, SYNC.MSIData.get(this.#view));
  }

  #consume(): void {
    const { queue, features, sendEvent } = this.#options;
    this.#consumed += 1;
    const wasFull = queue.full;
    queue.cons = advance(queue.cons, queue.log2);
    // Whoever waits for room in WFE may look again (§4.1.2).
    if (wasFull && features.SEV === 1) sendEvent();
  }

  /** CONS stays at the command; ERR is there before the error is (§7.1). */
  #stop(error: CommandError): void {
    const { registers, interrupts, queue, log } = this.#options;
    registers.setField(CMDQ_CONS, CMDQ_CONS.ERR, error);
    log.warn({ event: 'smmuv3.commandError', error, index: queue.cons, opcode: Command.Opcode.get(this.#view) });
    interrupts.raise(GERROR.CMDQ_ERR);
  }
}
