/** docs/review.md and the tests: every id in both, every test named, nothing skipped but what waits. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const FOLDER = 'test/review';

/** Rows of each section, by the letter of their ids. */
const SECTIONS: readonly [letter: string, rows: number][] = [
  ['C', 9],
  ['F', 4],
  ['H', 10],
  ['M', 7],
  ['P', 2],
  ['E', 11],
  ['S', 3],
  ['V', 3],
  ['N', 3],
  ['X', 15],
];
const IDS = SECTIONS.flatMap(([letter, rows]) => Array.from({ length: rows }, (_, row) => `${letter}${row + 1}`));
const WAITING = ['C1', 'C2', 'C6', 'C7', 'C8', 'E2', 'H5', 'X8', 'X9'];

interface Row {
  readonly id: string;
  readonly file: string;
  /** `H2 exhibit`, `H2 ours`; `H1` where there is one test of no kind. */
  readonly tests: readonly string[];
}

function documentRows(): Row[] {
  const rows: Row[] = [];
  let file = '';
  for (const line of readFileSync('docs/review.md', 'utf8').split('\n')) {
    file = /^\| id \|.*tests in `(.+)` \|$/.exec(line)?.[1] ?? file;
    const cells = line.split(' | ');
    const id = /^\| ([A-Z]\d+)$/.exec(cells[0] ?? '')?.[1];
    if (id === undefined) continue;
    expect(cells, line).toHaveLength(5);
    rows.push({ id, file, tests: (cells[4] ?? '').replace(/ \|$/, '').split(', ').sort() });
  }
  return rows;
}

interface Title {
  readonly file: string;
  readonly id: string;
  readonly name: string;
  readonly skipped: boolean;
}

/** Titles of tests: what follows `test(`, `test.skip(` or the values of `test.each`. */
function titles(): Title[] {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.test.ts') && file !== 'table.test.ts');
  return files.flatMap((file) => {
    const text = readFileSync(`${FOLDER}/${file}`, 'utf8');
    const found = text.matchAll(/(test|test\.skip|\))\(\s*(['"])([A-Z]\d+)(?: (exhibit|ours|waiting))?\b/g);
    return [...found].map(([, how, , id = '', kind]) => {
      return { file, id, name: kind === undefined ? id : `${id} ${kind}`, skipped: how === 'test.skip' };
    });
  });
}

const rows = documentRows();
const found = titles();

test('the table has every id once, in order', () => {
  expect(rows.map(({ id }) => id)).toEqual(IDS);
});

describe.each(IDS)('%s', (id) => {
  test('the tests that its row names are those that there are', () => {
    const row = rows.find((each) => each.id === id);
    const own = found.filter((title) => title.id === id);
    expect(new Set(own.map(({ file }) => file))).toEqual(new Set([row?.file]));
    expect([...new Set(own.map(({ name }) => name))].sort()).toEqual(row?.tests);
    // Something of it runs.
    expect(own.some(({ skipped }) => !skipped)).toBe(true);
  });
});

test('nothing is skipped but what waits, and that is all of it', () => {
  const skipped = found.filter((title) => title.skipped);
  expect(skipped.map(({ id }) => id).sort()).toEqual([...WAITING].sort());
  expect(skipped.every(({ name }) => name.endsWith(' waiting'))).toBe(true);
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.test.ts') && name !== 'table.test.ts')) {
    const text = readFileSync(`${FOLDER}/${file}`, 'utf8');
    expect(text, file).not.toMatch(/\.(only|todo|skipIf|runIf|fails)\b|describe\.skip/);
    expect([...text.matchAll(/\.skip\(/g)], file).toHaveLength(skipped.filter((title) => title.file === file).length);
  }
});
