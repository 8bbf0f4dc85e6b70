/** A scenario file as YAML: its values, and the line each of them stands on. */
import { type Document, isMap, isNode, isScalar, LineCounter, parseAllDocuments, parseDocument, visit } from 'yaml';
import { InputError } from './input-error.ts';

export type Path = readonly (string | number)[];

/** A syntax error that the `yaml` library reported. */
interface YamlProblem {
  readonly code: string;
  readonly message: string;
  readonly pos: [number, number];
}

export class ScenarioDocument {
  readonly file: string;
  /** Plain values, not yet checked. */
  readonly value: unknown;
  readonly #document: Document;
  readonly #lines: LineCounter;

  /** @throws InputError for what is no YAML document. */
  constructor(file: string, text: string) {
    this.file = file;
    this.#lines = new LineCounter();
    const options = { lineCounter: this.#lines, prettyErrors: false, uniqueKeys: true, logLevel: 'error' } as const;
    this.#document = parseDocument(text, options);
    const problem = this.#document.errors[0] ?? this.#document.warnings[0];
    if (problem !== undefined) throw new InputError(this.#explain(problem, text));
    try {
      this.value = this.#document.toJS();
    } catch (error) {
      const line = this.#lineOfUnresolvedAlias();
      throw new InputError(
        `${file}${line === null ? '' : `:${line}`}: not usable YAML: ${(error as Error).message.split('\n')[0]}`,
      );
    }
  }

  /** The line of the value at `path`, or of the deepest part of it that exists; null for an empty document. */
  lineOf(path: Path): number | null {
    for (let depth = path.length; depth >= 0; depth--) {
      const line = this.#lineOfExactly(path.slice(0, depth));
      if (line !== null) return line;
    }
    return null;
  }

  has(path: Path): boolean {
    return this.#lineOfExactly(path) !== null;
  }

  /** A key counts as the place of its value: that is the line people look for. */
  #lineOfExactly(path: Path): number | null {
    const last = path.at(-1);
    const parent = path.length === 0 ? null : this.#document.getIn(path.slice(0, -1), true);
    const pair = isMap(parent)
      ? parent.items.find(({ key }) => isScalar(key) && String(key.value) === last)
      : undefined;
    const node = pair?.key ?? this.#document.getIn(path, true);
    const start = isNode(node) ? node.range?.[0] : undefined;
    return start === undefined ? null : this.#lines.linePos(start).line;
  }

  #lineOfUnresolvedAlias(): number | null {
    let start: number | undefined;
    visit(this.#document, {
      Alias: (_key, alias) => {
        if (alias.resolve(this.#document) !== undefined) return undefined;
        start = alias.range?.[0];
        return visit.BREAK;
      },
    });
    return start === undefined ? null : this.#lines.linePos(start).line;
  }

  #explain({ code, message, pos }: YamlProblem, text: string): string {
    const where = `${this.file}:${this.#lines.linePos(pos[0]).line}`;
    if (code === 'DUPLICATE_KEY') {
      const key = /^[\w.-]+/.exec(text.slice(pos[0], pos[0] + 80))?.[0] ?? '';
      return `${where}: key "${key}" appears twice; expected each key once`;
    }
    if (code === 'MULTIPLE_DOCS') return `${where}: a second YAML document starts here; expected one`;
    if (message.includes('call stack')) return `${where}: not usable YAML: nested too deeply`;
    return `${where}: not valid YAML: ${message.split('\n')[0]}`;
  }
}

/** One value, as it may follow `--set KEY=`. @throws InputError */
export function parseValue(text: string, label: string): unknown {
  const documents = parseAllDocuments(text, { prettyErrors: false, logLevel: 'silent' });
  const document = documents[0];
  if (document === undefined) return null;
  if (documents.length > 1 || document.errors.length + document.warnings.length > 0) {
    throw new InputError(`${label}: the value is not valid YAML`);
  }
  try {
    return document.toJS();
  } catch (error) {
    throw new InputError(`${label}: the value is not usable YAML: ${(error as Error).message}`);
  }
}
