/** docs/logging.md lists every event that the source logs and every transaction that it records, and no other. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { TRANSACTIONS } from '../../src/sim/trace.ts';
import { ROOT, sourceFiles } from './source-files.ts';

/** In a log call, or handed to the function of a VFIO file that makes it. */
const EVENT = /\bevent: '([\w.]+)'|'(vfio\.\w+)'/g;

test('every event is documented, and every documented event exists', () => {
  const code = sourceFiles('src').map(({ text }) => text.replace(/\/\*[\s\S]*?\*\//g, ''));
  const logged = code.flatMap((text) => [...text.matchAll(EVENT)].map(([, a, b]) => a ?? b ?? ''));
  const document = readFileSync(path.join(ROOT, 'docs/logging.md'), 'utf8');
  const documented = [...document.matchAll(/^\| `(\w+\.\w+)` \|/gm)].map(([, name]) => name ?? '');
  expect(logged.length).toBeGreaterThan(40);
  expect(documented.sort()).toEqual([...new Set(logged)].sort());
});

test('every transaction of a trace is documented', () => {
  const document = readFileSync(path.join(ROOT, 'docs/logging.md'), 'utf8');
  const rows = [...document.slice(document.indexOf('## Transactions')).matchAll(/^\| ((?:\w+\.\w+(?:, )?)+) \|/gm)];
  const documented = rows.flatMap(([, names = '']) => names.split(', '));
  expect(documented.sort()).toEqual(Object.keys(TRANSACTIONS).sort());
});
