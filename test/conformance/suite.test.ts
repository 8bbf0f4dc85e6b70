/** The rows of `faultline conformance`, one test each, against the SMMUv3 that announces what each row needs. */
import { describe, expect, test } from 'vitest';
import { CHAPTERS, rowsWithin, titleOf } from '../../src/conformance/chapters.ts';
import { faultlineSubject } from '../../src/conformance/faultline-subject.ts';
import { runRow, type Target } from '../../src/conformance/run.ts';
import { ROWS } from '../../src/conformance/suite.ts';

const TARGET: Target = { subject: faultlineSubject, preset: 'full', changes: {}, fixed: false };

for (const chapter of CHAPTERS) {
  describe(`${chapter} ${titleOf(chapter)}`, () => {
    for (const row of rowsWithin(ROWS, chapter)) {
      test(`${row.id}: ${row.title}`, ({ skip }) => {
        const { verdict, expected, got } = runRow(row, TARGET);
        if (verdict === 'failed') expect(got).toBe(expected);
        skip(verdict === 'not announced');
      });
    }
  });
}
