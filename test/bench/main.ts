/**
 * `npm run bench`: what the hot paths cost, each beside its budget, measured in the same run on one core. `--json` prints one
 * array of `{name, measuredNs, budgetNs, ratio}` on stdout, with `allocatedBytes` where a call must not allocate.
 */
import Table from 'cli-table3';
import { dmaLines } from './dma.ts';
import { faultLines } from './fault.ts';
import type { Line } from './measure.ts';
import { pageTableLines } from './page-table.ts';
import { scaleLines } from './scale.ts';
import { translationLines } from './translation.ts';

const GROUPS: readonly (() => Promise<Line[]>)[] = [translationLines, pageTableLines, dmaLines, faultLines, scaleLines];

async function main(): Promise<void> {
  const json = process.argv.includes('--json');
  const unknown = process.argv.slice(2).filter((argument) => argument !== '--json');
  if (unknown.length > 0) {
    process.stderr.write(`bench: unknown argument ${unknown[0]}; expected --json or nothing\n`);
    process.exitCode = 2;
    return;
  }
  const lines: Line[] = [];
  for (const group of GROUPS) lines.push(...(await group()));
  if (json) {
    process.stdout.write(`${JSON.stringify(lines, null, 2)}\n`);
    return;
  }
  const table = new Table({
    head: ['', 'measured', 'budget', 'ratio', 'heap per call'],
    style: { head: [], border: [] },
  });
  for (const { name, measuredNs, budgetNs, ratio, allocatedBytes } of lines) {
    const verdict = ratio <= 1 ? String(ratio) : `${ratio}  over budget`;
    const heap = allocatedBytes === undefined ? '' : `${allocatedBytes} B`;
    table.push([name, `${measuredNs} ns`, `${budgetNs} ns`, verdict, heap]);
  }
  process.stdout.write(`${table.toString()}\n`);
}

await main();
