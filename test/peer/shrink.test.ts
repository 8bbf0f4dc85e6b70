import { expect, test } from 'vitest';
import { program } from './builder.ts';
import type { Program, Step } from './program.ts';
import { randomProgram } from './random-program.ts';
import { shrink } from './shrink.ts';

const looks = (steps: readonly Step[]) => steps.flatMap((step) => (step.op === 'look' ? [step.at] : []));

test('what does not matter is left out, step by step and field by field', async () => {
  const long = program('long', (p) => {
    p.enable();
    for (let at = 0; at < 40; at++) p.look(0x4120_0000 + at);
    p.stream(8, { Config: 5, S1ContextPtr: 99, MEV: 1, CONT: 3 });
    p.commands([{ name: 'SYNC' }, { name: 'TLBI_NSNH_ALL' }, { name: 'SYNC' }]);
  });
  let tried = 0;
  const fails = async ({ steps }: Program) => {
    tried += 1;
    const seen = looks(steps);
    const stream = steps.find((step) => step.op === 'put');
    const flush = steps.some(
      (step) => step.op === 'commands' && step.commands.some(({ name }) => name === 'TLBI_NSNH_ALL'),
    );
    return seen.includes(0x4120_0007) && seen.includes(0x4120_001b) && stream?.fields['MEV'] === 1 && flush;
  };
  const shortest = await shrink(long, fails);
  expect(looks(shortest.steps)).toEqual([0x4120_0007, 0x4120_001b]);
  expect(shortest.steps.find((step) => step.op === 'put')?.fields).toEqual({ V: 1, Config: 5, MEV: 1 });
  expect(shortest.steps.find((step) => step.op === 'commands')?.commands).toEqual([{ name: 'TLBI_NSNH_ALL' }]);
  // The writes that bring the SMMU up stay.
  expect(shortest.steps.filter((step) => step.op === 'set')).toEqual(long.steps.filter((step) => step.op === 'set'));
  expect(tried).toBeLessThan(300);
});

test('a seed gives one program, another seed another', () => {
  const text = (seed: string) =>
    JSON.stringify(randomProgram(seed), (_, value) => (typeof value === 'bigint' ? `${value}n` : value));
  expect(text('a/1')).toBe(text('a/1'));
  expect(text('a/1')).not.toBe(text('a/2'));
});

test('random programs reach every kind of step but the ones for single registers', () => {
  const kinds = new Set<string>();
  for (let n = 0; n < 60; n++) for (const { op } of randomProgram(`kinds/${n}`).steps) kinds.add(op);
  expect([...kinds].sort()).toEqual(
    ['commands', 'dma', 'get', 'look', 'put', 'restart', 'set', 'transfer', 'word'].sort(),
  );
});
