/** `docs/qemu-differences.md`, made from the differences, so that it cannot be out of date unnoticed. */
import { DIFFERENCES, type Difference } from './difference-list.ts';
import { differencesOf } from './differences.ts';
import { WRITTEN } from './written/written.ts';

/** The version that the differences were seen with. */
const COMPARED = 'QEMU 11.1.3';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function programsOf(difference: Difference): string {
  const names = WRITTEN.filter(({ name }) => differencesOf(name).includes(difference)).map(({ name }) => name);
  const [first = '', ...others] = names;
  return others.length === 0 ? first : `${first}; ${others.length} more`;
}

export function differencesDocument(): string {
  const rows = DIFFERENCES.map((difference) => {
    const { id, about, qemu, ours, section, right } = difference;
    const cells = [`\`${id}\``, about, qemu, ours, section, right, programsOf(difference)];
    return `| ${cells.map(cell).join(' | ')} |`;
  });
  const open = DIFFERENCES.filter(({ right }) => right === 'either').length;
  return `# Where QEMU and Faultline differ

\`npm run test:peer\` runs the same ${WRITTEN.length} written programs, and random ones from a seed, against QEMU's SMMUv3 and ours
with the same features announced. They agree in every register read, DMA, byte moved, event record, command index and
error, but for the rows below. The specification decides each: in ${DIFFERENCES.length - open} of ${DIFFERENCES.length} it says what we do, in ${open} it leaves the
matter open. A row names the programs that show it; the test fails when one of them stops showing it.

Compared with ${COMPARED}. This page is generated: \`test/peer/differences.ts\` has the data.

| Name | What | QEMU | Faultline | Decided by | Right | Shown by |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`;
}
