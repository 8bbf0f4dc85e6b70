/** Tables for the documentation, derived from layouts. */
import type { Layout } from './struct.ts';

/** A Markdown table of the structure's fields: bits as the specification prints them, and names. */
export function markdownTable(layout: Layout): string {
  const rows = [...layout.$.fields]
    .sort((a, b) => a.lsb - b.lsb)
    .map((field) => `| ${field.width === 1 ? field.lsb : `${field.msb}:${field.lsb}`} | ${field.name} |`);
  return [
    `**${layout.$.title}** (${layout.$.source}, ${layout.$.byteLength} bytes)`,
    '',
    '| bits | field |',
    '|---|---|',
    ...rows,
    '',
  ].join('\n');
}
