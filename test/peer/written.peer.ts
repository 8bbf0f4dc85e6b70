/** Every written program on QEMU and on Faultline: they agree, or the difference is a documented one. */
import { afterAll, expect, test } from 'vitest';
import { Board } from './board.ts';
import { compare, disagreementText, Restarting } from './compare.ts';
import { judge } from './differences.ts';
import { FAULTLINE, findQemu } from './server.ts';
import { WRITTEN } from './written/written.ts';

const found = findQemu();

if (found === null) test.skip('no QEMU of version 10 or newer', () => {});
else {
  const qemu = new Restarting(() => Board.start(found, found));
  const ours = new Restarting(() => Board.start(FAULTLINE, found));
  afterAll(() => Promise.all([qemu.stop(), ours.stop()]));

  test.each(WRITTEN.map((program) => [program.name, program] as const))('%s', async (name, program) => {
    const disagreements = await compare(qemu, ours, program);
    const { unexplained, vanished } = judge(name, disagreements);
    expect(unexplained.length, disagreementText(unexplained)).toBe(0);
    expect(
      vanished.map(({ id }) => id),
      'documented differences that are gone',
    ).toEqual([]);
  });
}
