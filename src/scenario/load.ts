/** Loads a scenario: reads the file, applies what the command line overrides, checks every key. */
import path from 'node:path';
import { ScenarioDocument } from './document.ts';
import { explain } from './explain.ts';
import { InputError } from './input-error.ts';
import { apply, isPlainMap, type Override, Owners } from './overrides.ts';
import { readWhole } from './read-file.ts';
import { type Scenario, ScenarioSchema } from './schema.ts';

const FILE_BYTES_MAX = 2 ** 20;

/** @throws InputError naming file, line, key and what was expected. */
export function loadScenario(file: string, overrides: readonly Override[] = []): Scenario {
  const content = readWhole(file, file, FILE_BYTES_MAX);
  return parseScenario(textOf(content, file), file, overrides);
}

/** {@link loadScenario} for a text; `file` serves messages and the default name. */
export function parseScenario(text: string, file: string, overrides: readonly Override[] = []): Scenario {
  const document = new ScenarioDocument(file, text);
  if (document.value === null || document.value === undefined) {
    throw new InputError(`${file}: the file is empty; expected a map of keys, at least workload`);
  }
  const owners = new Owners();
  let value: unknown = document.value;
  // A file that is no map keeps its own error message: nothing is put into it.
  if (isPlainMap(value)) for (const override of overrides) value = apply(value, override, owners);
  const result = ScenarioSchema.safeParse(value);
  if (result.success) return { ...result.data, name: result.data.name ?? path.parse(file).name };
  throw new InputError(explain(result.error, value, document, owners));
}

function textOf(content: Buffer, file: string): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    throw new InputError(`${file}: not a text file; expected YAML`);
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
  if (/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text)) throw new InputError(`${file}: not a text file; expected YAML`);
  return text;
}
