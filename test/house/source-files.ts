/** The project's own source files, for the tests that hold the house rules. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

export interface SourceFile {
  /** Path from the root, with `/`. */
  readonly file: string;
  readonly text: string;
  /** What it imports from the project (paths from the root) or from packages (bare names). */
  readonly imports: readonly string[];
}

const IMPORT = /^\s*(?:import|export)\b[^'"]*?\bfrom\s+'([^']+)'|^\s*import\s+'([^']+)'|\bimport\('([^']+)'\)/gm;

/** Every TypeScript file under `folder`, tests left out unless asked for. */
export function sourceFiles(folder: string, options: { readonly tests?: boolean } = {}): SourceFile[] {
  return readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => path.posix.join(folder, name.split(path.sep).join('/')))
    .filter((file) => /\.ts$/.test(file) && !/\.d\.ts$/.test(file))
    .filter((file) => options.tests === true || !/\.test\.ts$/.test(file))
    .map((file) => {
      const text = readFileSync(path.join(ROOT, file), 'utf8');
      const imports = [...text.matchAll(IMPORT)].map(([, a, b, c]) => {
        const target = a ?? b ?? c ?? '';
        return target.startsWith('.') ? path.posix.join(path.posix.dirname(file), target) : target;
      });
      return { file, text, imports };
    });
}
