/** The document of differences is that of the harness. `UPDATE_DOCS=1` writes it. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../house/source-files.ts';
import { DIFFERENCES } from './difference-list.ts';
import { differencesOf } from './differences.ts';
import { differencesDocument } from './differences-document.ts';
import { WRITTEN } from './written/written.ts';

const FILE = path.join(ROOT, 'docs/qemu-differences.md');

test('docs/qemu-differences.md is up to date', () => {
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(FILE, differencesDocument());
  expect(readFileSync(FILE, 'utf8')).toBe(differencesDocument());
});

test('a difference cites a section and has a program', () => {
  for (const difference of DIFFERENCES) {
    expect(difference.section, difference.id).toMatch(/§/);
    expect(
      WRITTEN.some(({ name }) => differencesOf(name).includes(difference)),
      difference.id,
    ).toBe(true);
  }
});

test('every written program has a name of its own, and there are 250 at least', () => {
  expect(WRITTEN.length).toBeGreaterThanOrEqual(250);
  expect(new Set(WRITTEN.map(({ name }) => name)).size).toBe(WRITTEN.length);
});
