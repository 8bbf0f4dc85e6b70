/** Turns what zod found wrong with a scenario into one sentence with file, line, key and expectation. */
import type { z } from 'zod';
import type { Path, ScenarioDocument } from './document.ts';
import { describeValue, nearest } from './input-error.ts';
import { scenarioKeys } from './keys.ts';
import type { Owners, PlainMap } from './overrides.ts';

interface Problem {
  readonly text: string;
  /** Place in the file; what is missing comes after what is there, problems of the command line come last. */
  readonly line: number;
}

/** The line of what is missing, which has none: beyond every line of a file. */
const MISSING_LINE = Number.MAX_SAFE_INTEGER;

/** The first problem in the order of the file, those of the command line last, and how many more there are. */
export function explain(error: z.ZodError, value: unknown, document: ScenarioDocument, owners: Owners): string {
  const problems = error.issues
    .flatMap((issue) => {
      const at = issue.path as Path;
      if (issue.code !== 'unrecognized_keys') return [valueProblem(issue, value, document, owners)];
      return issue.keys.map((key) => keyProblem([...at, key], document, owners));
    })
    .filter(({ text }, index, all) => all.findIndex((other) => other.text === text) === index)
    .sort((a, b) => a.line - b.line);
  const [first] = problems;
  if (first === undefined) return `${document.file}: not a scenario`;
  return problems.length === 1 ? first.text : `${first.text} (and ${problems.length - 1} more)`;
}

function valueProblem(issue: z.core.$ZodIssue, whole: unknown, file: ScenarioDocument, owners: Owners): Problem {
  const at = issue.path as Path;
  const value = at.reduce<unknown>((inner, key) => (inner as PlainMap | undefined)?.[key], whole);
  const text = `expected ${issue.message}, found ${describeValue(value)}`;
  const problem = place(at, at.length === 0 ? text : `${nameOf(at)}: ${text}`, file, owners);
  return value === undefined ? { ...problem, line: Math.max(problem.line, MISSING_LINE) } : problem;
}

function keyProblem(at: Path, file: ScenarioDocument, owners: Owners): Problem {
  const meant = suggestion(at);
  const expected = meant === null ? `expected one of ${siblingsOf(at).join(', ')}` : `did you mean "${meant}"?`;
  const text = `unknown key "${nameOf(at)}"; ${expected}`;
  return place(at, text, file, owners);
}

function place(at: Path, text: string, file: ScenarioDocument, owners: Owners): Problem {
  const owner = owners.of(at);
  if (owner !== null) return { text: `${owner.label}: ${text}`, line: Number.POSITIVE_INFINITY };
  const line = file.lineOf(at);
  return { text: line === null ? `${file.file}: ${text}` : `${file.file}:${line}: ${text}`, line: line ?? 0 };
}

const nameOf = (path: Path): string =>
  path.map((key, index) => (typeof key === 'number' ? `[${key}]` : index === 0 ? key : `.${key}`)).join('');

/** What stands before the last key of a path: `workload.`, or nothing. */
const prefixOf = (at: Path): string => nameOf([...at.slice(0, -1), '']);

/** The known keys of the map that a path leads into. */
function siblingsOf(at: Path): string[] {
  const prefix = prefixOf(at);
  const names = scenarioKeys().map((key) => key.name);
  const inside = names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  return [...new Set(inside.map((name) => name.split('.')[0] ?? ''))];
}

/** The known key that was probably meant: a near one of the same map, or the same word elsewhere. */
function suggestion(at: Path): string | null {
  const word = String(at.at(-1));
  const known = scenarioKeys().map((key) => key.name);
  const near = nearest(word, siblingsOf(at));
  if (near !== null) return `${prefixOf(at)}${near}`;
  return known.find((name) => name.endsWith(`.${word}`)) ?? nearest(nameOf(at), known);
}
