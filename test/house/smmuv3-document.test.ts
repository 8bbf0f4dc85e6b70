/** docs/smmuv3.md lists what each preset announces, field by field. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { FEATURE_PRESETS } from '../../src/iommu/smmuv3/features.ts';
import { ROOT } from './source-files.ts';

test('the table of announced features is that of the presets', () => {
  const document = readFileSync(path.join(ROOT, 'docs/smmuv3.md'), 'utf8');
  const rows = [...document.matchAll(/^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \|/gm)].map(
    ([, name = '', ...values]) => [name, values.map(Number)] as const,
  );
  const { full, wide, minimal } = FEATURE_PRESETS;
  const announced = Object.keys(full) as (keyof typeof full)[];
  const expected = announced
    .map((name) => [name, [full[name], wide[name], minimal[name]]] as const)
    .filter(([, values]) => values.some((value) => value !== 0));
  expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(expected));
});
