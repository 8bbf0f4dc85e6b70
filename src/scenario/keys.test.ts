import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { scenarioKeys, scenarioReference } from './keys.ts';
import { parseScenario } from './load.ts';

test('every key has a meaning and an expectation', () => {
  for (const key of scenarioKeys()) {
    expect(key.description, key.name).toMatch(/^[A-Z].*\.$/);
    expect(key.expectation, key.name).not.toBe('');
  }
});

test('every default is a value that the key itself takes', () => {
  const written = scenarioKeys().filter(({ fallback }) => fallback !== null);
  expect(written.length).toBeGreaterThan(25);
  const sections = new Map<string, string[]>([['workload', ['kind: sec']]]);
  const lines: string[] = [];
  for (const { name, fallback } of written) {
    const [first = '', second] = name.split('.');
    if (second === undefined) lines.push(`${first}: ${fallback}`);
    else sections.set(first, [...(sections.get(first) ?? []), `${second}: ${fallback}`]);
  }
  for (const [section, keys] of sections) lines.push(`${section}: {${keys.join(', ')}}`);
  expect(parseScenario(lines.join('\n'), 's.yaml')).toEqual(parseScenario('workload: {kind: sec}', 's.yaml'));
});

test('docs/scenarios.md has the keys as they are', () => {
  expect(readFileSync('docs/scenarios.md', 'utf8')).toContain(`\n${scenarioReference()}\n`);
});
