/** Chapters and sections of the two specifications, as far as rows cite them. */
import type { Row } from './row.ts';

const TITLES: Readonly<Record<string, string>> = {
  '3': 'Operation',
  '4': 'Commands',
  '5': 'Data structure formats',
  '6': 'Memory map and registers',
  '7': 'Faults, errors and Event queue',
  '8': 'Page request queue',
  '9': 'Address Translation Operations',
  '13': 'Attribute Transformation',
  D8: 'Translation table and descriptor formats (DDI 0487)',
};

/** Chapter titles, in the order of the report. */
export const CHAPTERS: readonly string[] = ['3', '4', '5', '6', '7', '8', '9', '13', 'D8'];

/** `7` of `7.3.13`. */
export const chapterOf = (section: string): string => section.split('.')[0] ?? section;

/** The title of a chapter; a section has that of its chapter. */
export const titleOf = (section: string): string => TITLES[chapterOf(section)] ?? section;

/** Whether `section` is `prefix` or below it: `7.3` holds `7.3.13`, not `7.30`. */
export const within = (section: string, prefix: string): boolean =>
  section === prefix || section.startsWith(`${prefix}.`);

/** The rows of a chapter or section. */
export const rowsWithin = (rows: readonly Row[], prefix: string): readonly Row[] =>
  rows.filter((entry) => within(entry.section, prefix));
