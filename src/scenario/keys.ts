/** Every key that a scenario may have, read off the schema: for suggestions and for the reference in `docs/`. */
import { z } from 'zod';
import { ScenarioSchema } from './schema.ts';

export interface ScenarioKey {
  /** Dotted path, as `--set` takes it. */
  readonly name: string;
  /** What a value must be, in the words of error messages. */
  readonly expectation: string;
  /** As it would be written; null for a key that must be given or may be left out. */
  readonly fallback: string | null;
  readonly description: string;
}

/** In the order of the schema; sections themselves are left out. */
export function scenarioKeys(): ScenarioKey[] {
  return keysOf(ScenarioSchema, '');
}

function keysOf(schema: z.ZodObject, prefix: string): ScenarioKey[] {
  return Object.entries(schema.shape).flatMap(([key, inner]) => {
    const section = sectionIn(inner);
    return section === null ? [keyOf(inner as z.ZodType, `${prefix}${key}`)] : keysOf(section, `${prefix}${key}.`);
  });
}

function sectionIn(schema: unknown): z.ZodObject | null {
  if (schema instanceof z.ZodObject) return schema;
  return schema instanceof z.ZodPrefault ? sectionIn(schema.unwrap()) : null;
}

function keyOf(schema: z.ZodType, name: string): ScenarioKey {
  // No key accepts a symbol, so its refusal says what it does accept.
  const expectation = schema.safeParse(Symbol.iterator).error?.issues[0]?.message ?? '';
  return { name, expectation, fallback: fallbackOf(schema), description: schema.description ?? '' };
}

function fallbackOf(schema: z.ZodType): string | null {
  if (!(schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault)) return null;
  const value: unknown = schema.def.defaultValue;
  if (Array.isArray(value)) return `[${value.join(', ')}]`;
  return value === '' ? null : String(value);
}

/** The keys as a Markdown table. */
export function scenarioReference(): string {
  const rows = scenarioKeys().map(({ name, expectation, fallback, description }) => {
    return `| \`${name}\` | ${description} | ${expectation} | ${fallback === null ? '' : `\`${fallback}\``} |`;
  });
  return ['| Key | Meaning | Value | Default |', '|---|---|---|---|', ...rows].join('\n');
}
