/** Says in the last line of a run what was compared with what. */

import type { TestModule, TestRunEndReason } from 'vitest/node';
import type { Reporter } from 'vitest/reporters';
import { DIFFERENCES } from './difference-list.ts';
import { RUNS, SEED } from './random-runs.ts';
import { findQemu } from './server.ts';
import { WRITTEN } from './written/written.ts';

export default class VerdictReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[], reason: TestRunEndReason): void {
    const passed = reason === 'passed' && errors.length === 0 && modules.length > 0;
    // After the other reporters' summary.
    process.once('exit', () => process.stdout.write(`${verdict(passed)}\n`));
  }
}

function verdict(passed: boolean): string {
  const found = findQemu();
  if (found === null) {
    return 'peer: SKIPPED, no QEMU of version 10 or newer here: run scripts/get-qemu, or set FAULTLINE_QEMU';
  }
  const compared = `QEMU ${found.version}: ${WRITTEN.length} written and ${RUNS} random programs (seed ${SEED})`;
  return passed
    ? `peer: agrees with ${compared}, but for ${DIFFERENCES.length} documented differences`
    : `peer: FAILED against ${compared}`;
}
