/** Turns what zod found wrong with a scenario into one sentence with file, line, key and expectation. */
import { z } from 'zod';
import type { Path, ScenarioDocument } from './document.ts';
import { describeValue, nearest } from './input-error.ts';
import type { Owners, PlainMap } from './overrides.ts';
import { ScenarioSchema } from './schema.ts';

interface Problem {
  readonly text: string;
  /** Place in the file; problems of the command line come last. */
  readonly line: number;
}

/** The first problem in the order of the file, those of the command line last, and how many more there are. */
export function explain(error: z.ZodError, value: unknown, document: ScenarioDocument, owners: Owners): string {
  const problems = error.issues
    .flatMap((issue) => {
      const at = issue.path as Path;
      if (issue.code !== 'unrecognized_keys') return [valueProblem(at, issue.message, value, document, owners)];
      return issue.keys.map((key) => keyProblem([...at, key], document, owners));
    })
    .filter(({ text }, index, all) => all.findIndex((other) => other.text === text) === index)
    .sort((a, b) => a.line - b.line);
  const [first] = problems;
  if (first === undefined) return `${document.file}: not a scenario`;
  return problems.length === 1 ? first.text : `${first.text} (and ${problems.length - 1} more)`;
}

function valueProblem(at: Path, expected: string, whole: unknown, file: ScenarioDocument, owners: Owners): Problem {
  const value = at.reduce<unknown>((inner, key) => (inner as PlainMap | undefined)?.[key], whole);
  const text = `expected ${expected}, found ${describeValue(value)}`;
  return place(at, at.length === 0 ? text : `${nameOf(at)}: ${text}`, file, owners);
}

function keyProblem(at: Path, file: ScenarioDocument, owners: Owners): Problem {
  const meant = suggestion(at);
  const text = `unknown key "${nameOf(at)}"${meant === null ? '' : `; did you mean "${meant}"?`}`;
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

/** The known key that was probably meant: a near one of the same map, or the same word elsewhere. */
function suggestion(at: Path): string | null {
  const parent = at.slice(0, -1);
  const word = String(at.at(-1));
  const near = nearest(word, keysOf(ScenarioSchema, parent));
  if (near !== null) return nameOf([...parent, near]);
  const elsewhere = knownKeys(ScenarioSchema).find((known) => known.endsWith(`.${word}`));
  return elsewhere ?? nearest(nameOf(at), knownKeys(ScenarioSchema));
}

/** The object schema inside defaults and refinements; null for other schemas. */
function objectIn(schema: unknown): z.ZodObject | null {
  if (schema instanceof z.ZodObject) return schema;
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault) return objectIn(schema.unwrap());
  return null;
}

function keysOf(schema: unknown, path: Path): string[] {
  const object = objectIn(schema);
  const [key, ...rest] = path;
  if (object === null) return [];
  return key === undefined ? Object.keys(object.shape) : keysOf(object.shape[String(key)], rest);
}

function knownKeys(schema: unknown, prefix = ''): string[] {
  const shape = objectIn(schema)?.shape ?? {};
  return Object.entries(shape).flatMap(([key, inner]) => [`${prefix}${key}`, ...knownKeys(inner, `${prefix}${key}.`)]);
}
