/**
 * Random programs on QEMU and on Faultline. `FAULTLINE_PEER_SEED` chooses them (a new one every day otherwise),
 * `FAULTLINE_PEER_RUNS` how many.
 */
import { afterAll, expect, test } from 'vitest';
import { Board } from './board.ts';
import { compare, disagreementText, kindOf, Restarting, stepText } from './compare.ts';
import { unexplained } from './differences.ts';
import { randomProgram } from './random-program.ts';
import { RUNS, SEED } from './random-runs.ts';
import { FAULTLINE, findQemu } from './server.ts';
import { shrink } from './shrink.ts';

const BATCH = 100;
const found = findQemu();

if (found === null) test.skip('no QEMU of version 10 or newer', () => {});
else {
  const qemu = new Restarting(() => Board.start(found, found));
  const ours = new Restarting(() => Board.start(FAULTLINE, found));
  afterAll(() => Promise.all([qemu.stop(), ours.stop()]));

  const batches = Array.from({ length: Math.ceil(RUNS / BATCH) }, (_, index) => index * BATCH);
  test.each(batches)(`seed ${SEED}, programs from %i on`, async (first) => {
    for (let index = first; index < Math.min(first + BATCH, RUNS); index++) {
      const program = randomProgram(`${SEED}/${index}`);
      const left = unexplained(await compare(qemu, ours, program));
      if (left.length === 0) continue;
      const kind = left.map(kindOf)[0];
      const shortest = await shrink(program, async (candidate) => {
        return unexplained(await compare(qemu, ours, candidate)).map(kindOf)[0] === kind;
      });
      const shown = unexplained(await compare(qemu, ours, shortest));
      const steps = shortest.steps.map((step, at) => `  ${at} ${stepText(step)}`).join('\n');
      expect.fail(
        `seed ${SEED}/${index}, cut from ${program.steps.length} steps to ${shortest.steps.length}:\n` +
          `${steps}\n${disagreementText(shown)}`,
      );
    }
  });
}
