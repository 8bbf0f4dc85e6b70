/** Carries a program out on a board and writes down what was seen. */
import { COMMAND_BYTES, COMMANDS, Opcode } from '../../src/iommu/spec/commands.layout.ts';
import { EVENT_BYTES } from '../../src/iommu/spec/events.layout.ts';
import { CR0 } from '../../src/iommu/spec/registers.layout.ts';
import { encode, words } from '../../src/layout/struct.ts';
import { type Board, PATTERN, TestDevice } from './board.ts';
import { COMMAND_QUEUE, EDU, EVENT_QUEUE, POOL_END, RAM_BASE, RAM_BYTES, SMMU_BASE } from './memory-map.ts';
import { type Command, type Observation, type Program, STRUCTURES, type Step } from './program.ts';

const OVERFLOW = 0x8000_0000;
/** The result of a DMA that was not seen to succeed, by a device that has no result. */
export const RESULT_UNKNOWN = 0xdead_0000;
const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const WIDTHS = { 1: 'b', 2: 'w', 4: 'l', 8: 'q' } as const;

/** The 16 bytes of a command. */
export function commandBytes(command: Command): Uint8Array {
  const view =
    command.name === undefined
      ? new DataView(new ArrayBuffer(COMMAND_BYTES))
      : encode(COMMANDS[command.name], { Opcode: Opcode[command.name], ...command.fields });
  for (const [index, word] of Object.entries(command.words ?? {})) view.setUint32(Number(index) * 4, word, true);
  return new Uint8Array(view.buffer);
}

/** Index of a queue of `2 ** log2` entries, moved by `count`, with its wrap bit. */
const advance = (index: number, count: number, log2: number): number => (index + count) % 2 ** (log2 + 1);

class Execution {
  readonly #board: Board;
  readonly #program: Program;
  #produced = 0;

  constructor(board: Board, program: Program) {
    this.#board = board;
    this.#program = program;
  }

  async step(step: Step): Promise<Observation> {
    const board = this.#board;
    const { qtest } = board.server;
    switch (step.op) {
      case 'set':
        board.set(step.register, step.value);
        return { [step.register]: hex(await board.get(step.register)) };
      case 'get':
        return { [step.register]: hex(await board.get(step.register)) };
      case 'peek':
        return { value: hex(BigInt(await qtest.request(`read${WIDTHS[step.size]} ${hex(SMMU_BASE + step.offset)}`))) };
      case 'poke':
        qtest.post(`write${WIDTHS[step.size]} ${hex(SMMU_BASE + step.offset)} ${hex(step.value)}`);
        return {};
      case 'put':
        board.put(STRUCTURES[step.structure], step.at, step.fields);
        return {};
      case 'word':
        qtest.write64(step.at, step.value);
        return {};
      case 'fill':
        qtest.fill(step.at, step.length, step.value);
        return {};
      case 'look':
        return { bytes: (await qtest.readBytes(step.at, step.length)).toString('hex') };
      case 'commands':
        return this.#commands(step.commands);
      case 'restart':
        return this.#restart();
      case 'dma':
        return this.#dma(step);
      case 'transfer':
        return this.#transfer(step);
      case 'events':
        return this.#events();
    }
  }

  async #commands(commands: readonly Command[]): Promise<Observation> {
    const { qtest } = this.#board.server;
    const log2 = this.#program.queues.commands;
    for (const command of commands) {
      qtest.writeBytes(COMMAND_QUEUE + (this.#produced % 2 ** log2) * COMMAND_BYTES, commandBytes(command));
      this.#produced = advance(this.#produced, 1, log2);
    }
    this.#board.set('CMDQ_PROD', BigInt(this.#produced));
    const [consumed, errors] = await Promise.all([this.#board.get('CMDQ_CONS'), this.#board.get('GERROR')]);
    return { CMDQ_CONS: hex(consumed), GERROR: hex(errors) };
  }

  async #restart(): Promise<Observation> {
    const board = this.#board;
    const control = await board.get('CR0');
    board.set('CR0', control & ~BigInt(CR0.CMDQEN.mask32));
    board.set('GERRORN', await board.get('GERROR'));
    board.set('CMDQ_PROD', 0n);
    board.set('CMDQ_CONS', 0n);
    board.set('CR0', control);
    this.#produced = 0;
    const [consumed, errors] = await Promise.all([board.get('CMDQ_CONS'), board.get('GERROR')]);
    return { CMDQ_CONS: hex(consumed), GERROR: hex(errors) };
  }

  async #dma(step: Extract<Step, { op: 'dma' }>): Promise<Observation> {
    const { qtest } = this.#board.server;
    const { physical, length } = step;
    const inRam = physical >= RAM_BASE && physical + length <= RAM_BASE + RAM_BYTES;
    if (inRam) qtest.fill(physical, length, 0);
    const result = await (this.#board.testDevice ? this.#trigger(step) : this.#standIn(step));
    const moved = inRam ? await qtest.readBytes(physical, length) : Buffer.alloc(0);
    const events = step.keepEvents ? {} : await this.#events();
    const found = this.#board.testDevice || !moved.equals(PATTERN.subarray(0, length)) ? result : 0;
    return { result: hex(found), moved: moved.toString('hex'), ...events };
  }

  /** Lets a test device write; its result. */
  async #trigger(step: Extract<Step, { op: 'dma' }>): Promise<number> {
    const board = this.#board;
    const { qtest } = board.server;
    const write = (offset: number, value: number) => qtest.write32(board.bar(step.device, offset), value);
    write(TestDevice.IOVA_LOW, Number(step.iova & 0xffff_ffffn));
    write(TestDevice.IOVA_HIGH, Number(step.iova >> 32n));
    write(TestDevice.LENGTH, step.length);
    write(TestDevice.PHYSICAL_LOW, step.physical % 2 ** 32);
    write(TestDevice.PHYSICAL_HIGH, Math.floor(step.physical / 2 ** 32));
    write(TestDevice.DOORBELL, 1);
    qtest.post(`readl ${hex(board.bar(step.device, TestDevice.TRIGGER))}`);
    return qtest.read32(board.bar(step.device, TestDevice.RESULT));
  }

  /** Lets an edu write instead: it does not know what became of it. */
  async #standIn(step: Extract<Step, { op: 'dma' }>): Promise<number> {
    await this.#board.writePattern(step.device, step.iova, step.length);
    return RESULT_UNKNOWN;
  }

  async #transfer(step: Extract<Step, { op: 'transfer' }>): Promise<Observation> {
    await this.#board.transfer(EDU, step.direction === 'to-memory', 0, step.iova, step.length);
    return this.#events();
  }

  /** Every record between the indexes, as words; then the queue is empty and an overflow acknowledged. */
  async #events(): Promise<Observation> {
    const board = this.#board;
    const log2 = this.#program.queues.events;
    const [produced, consumed, errors] = await Promise.all(
      ['EVENTQ_PROD', 'EVENTQ_CONS', 'GERROR'].map((name) => board.get(name)),
    );
    const last = Number(produced ?? 0n) % OVERFLOW;
    const records: Promise<Buffer>[] = [];
    for (let index = Number(consumed ?? 0n) % OVERFLOW; index !== last; index = advance(index, 1, log2)) {
      if (records.length > 2 ** log2) break;
      records.push(board.server.qtest.readBytes(EVENT_QUEUE + (index % 2 ** log2) * EVENT_BYTES, EVENT_BYTES));
    }
    const seen: Record<string, string> = { EVENTQ_PROD: hex(produced ?? 0n), GERROR: hex(errors ?? 0n) };
    for (const [index, bytes] of (await Promise.all(records)).entries()) {
      seen[`event ${index}`] = words(new DataView(bytes.buffer, bytes.byteOffset, EVENT_BYTES))
        .map((word) => word.toString(16).padStart(8, '0'))
        .join(' ');
    }
    board.set('EVENTQ_CONS', produced ?? 0n);
    return seen;
  }
}

/** Resets the board, empties the memory that programs use, and runs `program`; `observe` gets one observation a step. */
export async function execute(
  board: Board,
  program: Program,
  observe: (observation: Observation) => void,
): Promise<void> {
  await board.reset();
  board.server.qtest.fill(COMMAND_QUEUE, POOL_END - COMMAND_QUEUE, 0);
  const execution = new Execution(board, program);
  for (const step of program.steps) observe(await execution.step(step));
  await board.server.qtest.settled();
}
