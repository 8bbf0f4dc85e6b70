/** `faultline conformance`: puts the SMMUv3 to the conformance suite and prints what came of it. */
import { Command } from 'commander';
import { CHAPTERS, chapterOf, rowsWithin, titleOf, within } from '../conformance/chapters.ts';
import { faultlineSubject } from '../conformance/faultline-subject.ts';
import type { Row } from '../conformance/row.ts';
import { type Count, count, type RowResult, runRow, type Target } from '../conformance/run.ts';
import type { Subject } from '../conformance/subject.ts';
import { ROWS } from '../conformance/suite.ts';
import { describeValue, InputError, nearest } from '../scenario/input-error.ts';
import { NO_PROGRESS, type Progress, ROWS_OF_A_SUITE, terminalProgress } from './progress.ts';
import { formatColumns } from './table.ts';
import type { Terminal } from './terminal.ts';

/** The features that rows start from, each with what it needs besides. */
const DEFAULT_PRESET = 'full';

export interface ConformanceReport {
  /** The chapters of the suite, or the sections that were asked for. */
  readonly chapters: readonly (Count & { readonly chapter: string; readonly title: string })[];
  readonly total: Count;
  /** Present when a row failed. */
  readonly failures?: readonly Failure[];
}

export interface Failure {
  readonly id: string;
  readonly section: string;
  readonly title: string;
  readonly expected: string;
  readonly got: string;
}

interface Options {
  readonly chapter?: readonly string[];
  readonly features?: readonly string[];
  readonly list?: boolean;
  readonly json?: boolean;
}

/** `exit` is told the exit code. */
export function conformanceCommand(
  terminal: Terminal,
  exit: (code: number) => void,
  subject: Subject = faultlineSubject,
): Command {
  const presets = subject.presets.join(', ');
  return new Command('conformance')
    .description('put the SMMUv3 to the conformance suite (IHI 0070, DDI 0487)')
    .option('--chapter <section>', 'only the rows of a chapter or section, such as 7.3; several with commas', collect)
    .option(
      '--features <values>',
      `judge one SMMU as it is: a preset (${presets}), name=value, or both with commas; otherwise each row has what it needs`,
      collect,
    )
    .option('--list', 'print the rows instead of running them')
    .option('--json', 'print one JSON object instead of a table')
    .action((options: Options) => exit(conformance(options, terminal, subject)));
}

const collect = (value: string, earlier: readonly string[] = []): string[] => [
  ...earlier,
  ...value.split(',').map((word) => word.trim()),
];

function conformance(options: Options, terminal: Terminal, subject: Subject): number {
  const sections = options.chapter === undefined ? CHAPTERS : [...new Set(options.chapter.map(sectionOf))];
  const target = targetOf(options.features ?? [], subject);
  const rows = ROWS.filter((row) => sections.some((section) => within(row.section, section)));
  if (options.list === true) {
    terminal.out(options.json === true ? `${JSON.stringify(rows.map(listed), null, 2)}\n` : list(rows));
    return 0;
  }
  const bar = terminal.stderrIsTerminal ? terminalProgress(process.stderr, ROWS_OF_A_SUITE) : NO_PROGRESS;
  const results = runAll(rows, target, bar);
  const report = reportOf(sections, results);
  terminal.out(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : describe(report));
  return report.total.failed === 0 ? 0 : 1;
}

/** Chapters have numbers or capital letters. @throws InputError when the suite has no rows there. */
function sectionOf(word: string): string {
  const text = word.toUpperCase();
  if (rowsWithin(ROWS, text).length > 0) return text;
  const label = `--chapter ${word}`;
  const chapter = chapterOf(text);
  if (!CHAPTERS.includes(chapter)) {
    throw new InputError(
      `${label}: expected a chapter of ${CHAPTERS.join(', ')} or a section of one; found ${describeValue(word)}`,
    );
  }
  const sections = [...new Set(ROWS.map(({ section }) => section).filter((section) => within(section, chapter)))];
  const near = nearest(text, sections);
  throw new InputError(
    `${label}: no rows for this section of chapter ${chapter}${near === null ? '' : `; did you mean ${near}?`}`,
  );
}

/** @throws InputError */
function targetOf(words: readonly string[], subject: Subject): Target {
  const label = `--features ${words.join(',')}`;
  const presets = words.filter((word) => !word.includes('='));
  const [preset = DEFAULT_PRESET] = presets;
  if (presets.length > 1) throw new InputError(`${label}: one preset only; found ${presets.join(' and ')}`);
  if (!subject.presets.includes(preset)) {
    const near = nearest(preset, subject.presets);
    const hint = near === null ? '' : `; did you mean ${near}?`;
    throw new InputError(
      `${label}: expected a preset (${subject.presets.join(', ')}) or name=value; found ${describeValue(preset)}${hint}`,
    );
  }
  const known = subject.features(preset, {});
  const names = typeof known === 'string' ? [] : Object.keys(known);
  const given = words.filter((word) => word.includes('=')).map((word) => change(label, word, names));
  const twice = given.find(([name], index) => given.findIndex(([other]) => other === name) < index);
  if (twice !== undefined) throw new InputError(`${label}: expected one value of ${twice[0]}, found two`);
  const changes = Object.fromEntries(given);
  const refused = subject.features(preset, changes);
  if (typeof refused === 'string') throw new InputError(`${label}: ${refused}`);
  return { subject, preset, changes, fixed: words.length > 0 };
}

/** `ATS=0`, in decimal, hexadecimal or binary. @throws InputError */
function change(label: string, word: string, names: readonly string[]): [name: string, value: number] {
  const [name = '', text = ''] = word.split(/=(.*)/s);
  if (name === '') throw new InputError(`${label}: expected name=value, found ${describeValue(word)}`);
  if (!names.includes(name)) {
    const near = nearest(name, names);
    const hint = near === null ? '' : `; did you mean ${near}?`;
    throw new InputError(`${label}: no ID register has a field ${describeValue(name)}${hint}`);
  }
  if (!/^(?:\d+|0x[\da-f]+|0b[01]+)$/i.test(text)) {
    throw new InputError(`${label}: ${name}: expected a whole number; found ${describeValue(text)}`);
  }
  return [name, Number(text)];
}

function runAll(rows: readonly Row[], target: Target, bar: Progress): RowResult[] {
  try {
    return rows.map((row, index) => {
      bar.update('conformance', index, rows.length);
      return runRow(row, target);
    });
  } finally {
    bar.stop();
  }
}

function reportOf(sections: readonly string[], results: readonly RowResult[]): ConformanceReport {
  const failures = results.filter(({ verdict }) => verdict === 'failed').map(failureOf);
  return {
    chapters: sections.map((section) => ({
      chapter: section,
      title: titleOf(section),
      ...count(results.filter(({ row }) => within(row.section, section))),
    })),
    total: count(results),
    ...(failures.length === 0 ? {} : { failures }),
  };
}

const failureOf = ({ row: { id, section, title }, expected, got }: RowResult): Failure => ({
  id,
  section,
  title,
  expected,
  got,
});

function describe({ chapters, total, failures = [] }: ConformanceReport): string {
  const head = ['chapter', 'title', 'rows', 'passed', 'failed', 'not announced'];
  const lines = [...chapters, { chapter: 'all', title: '', ...total }].map((line) => [
    line.chapter,
    line.title,
    ...[line.rows, line.passed, line.failed, line.notAnnounced].map(String),
  ]);
  const table = formatColumns(head, lines, ['left', 'left', 'right', 'right', 'right', 'right']);
  return failures.length === 0 ? table : `${table}\n${failures.map(explain).join('\n')}`;
}

function explain({ id, section, title, expected, got }: Failure): string {
  const book = section.startsWith('D') ? 'DDI 0487' : 'IHI 0070';
  return `${id}\n  ${title} (${book} ${section})\n  expected ${expected}\n  got      ${got}\n`;
}

/** A row without its check. */
const listed = ({ id, section, title, features }: Row): Pick<Row, 'id' | 'section' | 'title' | 'features'> => ({
  id,
  section,
  title,
  features,
});

const list = (rows: readonly Row[]): string =>
  formatColumns(
    ['section', 'row', 'title'],
    rows.map(({ id, section, title }) => [section, id.slice(section.length + 1), title]),
    ['left', 'left', 'left'],
  );
