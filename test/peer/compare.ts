/** Runs one program on both boards and says where they disagree. */
import type { Board } from './board.ts';
import { execute } from './execute.ts';
import type { Observation, Program, Step } from './program.ts';

export interface Disagreement {
  /** Index of the step. */
  readonly at: number;
  readonly step: Step;
  readonly qemu: Observation;
  readonly ours: Observation;
}

/** What is seen at the step at which a server ends. */
export const GONE: Observation = { gone: 'the server ended' };
export const isGone = (seen: Observation): boolean => seen === GONE;

/** A board that is started anew when its server ended. */
export class Restarting {
  readonly #start: () => Promise<Board>;
  #board: Board | null = null;

  constructor(start: () => Promise<Board>) {
    this.#start = start;
  }

  /** One observation per step; {@link GONE} from where the server ended. */
  async run(program: Program): Promise<Observation[]> {
    this.#board ??= await this.#start();
    const board = this.#board;
    const seen: Observation[] = [];
    try {
      await execute(board, program, (observation) => seen.push(observation));
    } catch (error) {
      if (!board.server.gone) throw error;
      await this.stop();
      while (seen.length < program.steps.length) seen.push(GONE);
    }
    return seen;
  }

  async stop(): Promise<void> {
    const board = this.#board;
    this.#board = null;
    await board?.stop();
  }
}

const same = (a: Observation, b: Observation): boolean => JSON.stringify(a) === JSON.stringify(b);

export async function compare(qemu: Restarting, ours: Restarting, program: Program): Promise<Disagreement[]> {
  const [theirs, own] = await Promise.all([qemu.run(program), ours.run(program)]);
  return program.steps.flatMap((step, at) => {
    const disagreement = { at, step, qemu: theirs[at] ?? GONE, ours: own[at] ?? GONE };
    return same(disagreement.qemu, disagreement.ours) ? [] : [disagreement];
  });
}

/** What kind of disagreement it is, whatever the addresses: so that cutting a program down does not end at another one. */
export function kindOf({ step, qemu, ours }: Disagreement): string {
  const kind = (seen: Observation) =>
    [seen.result, seen.CMDQ_CONS?.slice(0, -6), seen['event 0']?.slice(0, 8)].join(' ');
  return `${step.op}: ${kind(qemu)} / ${kind(ours)}`;
}

const bigints = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? `0x${value.toString(16)}` : value;

/** A step in one line. */
export const stepText = (step: Step): string => JSON.stringify(step, bigints);

const observationText = (seen: Observation): string =>
  Object.entries(seen)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');

/** Disagreements for a person, with the step of each. */
export function disagreementText(disagreements: readonly Disagreement[]): string {
  return disagreements
    .map(
      ({ at, step, qemu, ours }) =>
        `step ${at} ${stepText(step)}\n    QEMU ${observationText(qemu)}\n    ours ${observationText(ours)}`,
    )
    .join('\n');
}
