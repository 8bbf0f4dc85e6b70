/**
 * `npm run bench`: what the hot paths cost, each beside its budget, measured in the same run on one core. `--json` prints one
 * array of `{name, measuredNs, budgetNs, ratio}` on stdout, with `allocatedBytes` where a call must not allocate.
 *
 * Each group has a process of its own, one after the other: a process is one machine, and what the engine learns from
 * another one makes its code more general and slower.
 */
import { spawnSync } from 'node:child_process';
import Table from 'cli-table3';
import { assert } from '../../src/assert.ts';
import { dmaLines } from './dma.ts';
import { faultLines } from './fault.ts';
import type { Line } from './measure.ts';
import { pageTableLines } from './page-table.ts';
import { groupLines, mappingLines, threadLines } from './scale.ts';
import { cachedLines, fullMissLines, nestedLines, recordLines, walkLines } from './translation.ts';

const GROUPS: Readonly<Record<string, () => Line[] | Promise<Line[]>>> = {
  cached: cachedLines,
  walk: walkLines,
  miss: fullMissLines,
  nested: nestedLines,
  record: recordLines,
  table: pageTableLines,
  dma: dmaLines,
  stall: () => faultLines('stall'),
  pri: () => faultLines('pri'),
  threads: threadLines,
  groups: groupLines,
  mappings: mappingLines,
};
/** Of the process of a group. */
const GROUP = '--group';

function measured(group: string): Line[] {
  const { execPath, execArgv, argv } = process;
  const { status, stdout } = spawnSync(execPath, [...execArgv, argv[1] ?? '', GROUP, group], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  assert(status === 0, `bench: group ${group} ended with ${status}`);
  return JSON.parse(stdout);
}

function formatted(lines: readonly Line[]): string {
  const table = new Table({
    head: ['', 'measured', 'budget', 'ratio', 'heap per call'],
    style: { head: [], border: [] },
  });
  for (const { name, measuredNs, budgetNs, ratio, allocatedBytes } of lines) {
    const verdict = ratio <= 1 ? String(ratio) : `${ratio}  over budget`;
    const heap = allocatedBytes === undefined ? '' : `${allocatedBytes} B`;
    table.push([name, `${measuredNs} ns`, `${budgetNs} ns`, verdict, heap]);
  }
  return table.toString();
}

async function main(arguments_: readonly string[]): Promise<void> {
  const [option, name = ''] = arguments_;
  const group = GROUPS[name];
  if (option === GROUP && group !== undefined) {
    process.stdout.write(JSON.stringify(await group()));
    return;
  }
  const unknown = arguments_.find((argument) => argument !== '--json');
  if (unknown !== undefined) {
    process.stderr.write(`bench: unknown argument ${unknown}; expected --json or nothing\n`);
    process.exitCode = 2;
    return;
  }
  const lines = Object.keys(GROUPS).flatMap(measured);
  process.stdout.write(`${arguments_.includes('--json') ? JSON.stringify(lines, null, 2) : formatted(lines)}\n`);
}

await main(process.argv.slice(2));
