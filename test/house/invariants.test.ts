/** Every invariant is checked by the source, not by tests alone. */
import { expect, test } from 'vitest';
import { INVARIANTS } from '../../src/sim/invariants.ts';
import { sourceFiles } from './source-files.ts';

test.each(Object.keys(INVARIANTS))('%s', (name) => {
  const checked = new RegExp(String.raw`\.check\(\s*'${name}'`);
  expect(sourceFiles('src').filter(({ text }) => checked.test(text))).not.toEqual([]);
});
