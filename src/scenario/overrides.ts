/** Values from the command line that stand in for a scenario file's. */
import { type Path, parseValue } from './document.ts';
import { InputError } from './input-error.ts';

/** A value that stands in for the file's. `label` is how the user gave it, and opens error messages about it. */
export interface Override {
  readonly label: string;
  readonly path: Path;
  readonly value: unknown;
}

/** Reads one `--set KEY.KEY=VALUE`; the value is YAML. @throws InputError */
export function parseSet(text: string): Override {
  const label = `--set ${text}`;
  const equals = text.indexOf('=');
  const keys = text.slice(0, equals).split('.');
  if (equals < 0 || keys.some((key) => key.trim() === '')) {
    throw new InputError(`${label}: expected KEY=VALUE, such as workload.times=10`);
  }
  return { label, path: keys.map((key) => key.trim()), value: parseValue(text.slice(equals + 1), label) };
}

/** Which override made the value at a path; those that no override made are the file's. */
export class Owners {
  readonly #owners = new Map<string, Override>();

  set(path: Path, owner: Override): void {
    this.#owners.set(JSON.stringify(path), owner);
  }

  of(path: Path): Override | null {
    for (let depth = path.length; depth > 0; depth--) {
      const owner = this.#owners.get(JSON.stringify(path.slice(0, depth)));
      if (owner !== undefined) return owner;
    }
    return null;
  }
}

export type PlainMap = Record<string, unknown>;

export function isPlainMap(value: unknown): value is PlainMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A copy of `value` in which the override's path holds its value; maps on the way are made where there are none. */
export function apply(value: unknown, override: Override, owners: Owners, depth = 0): unknown {
  const key = override.path[depth];
  if (key === undefined) {
    owners.set(override.path, override);
    return override.value;
  }
  if (!isPlainMap(value)) owners.set(override.path.slice(0, depth), override);
  const entries = new Map(isPlainMap(value) ? Object.entries(value) : []);
  entries.set(String(key), apply(entries.get(String(key)), override, owners, depth + 1));
  return Object.fromEntries(entries);
}
