/** What the suite covers: every fact of the tables has its rows, every row its citation. */
import { describe, expect, test } from 'vitest';
import { ALL_REGISTERS } from '../../src/conformance/bench/registers.ts';
import { CHAPTERS, chapterOf, rowsWithin, within } from '../../src/conformance/chapters.ts';
import { COMMANDS, RESERVED_OPCODES } from '../../src/conformance/facts/commands.ts';
import { EVENTS } from '../../src/conformance/facts/events.ts';
import { CD_FACTS_WITHOUT_ROWS } from '../../src/conformance/rows/cd-validity.ts';
import { STE_FACTS_WITHOUT_ROWS } from '../../src/conformance/rows/ste-validity.ts';
import { ROWS } from '../../src/conformance/suite.ts';

const REQUIRED_CHAPTERS = ['3', '4', '5', '6', '7', '8', '13', 'D8'];

/** Events of no SMMU here: for the implementation to define or to detect, hints to hypervisors, MPAM. */
const NEVER = ['F_UUT', 'F_CFG_CONFLICT', 'E_PAGE_REQUEST', 'F_VMS_FETCH'];

describe('rows', () => {
  test('have ids of their own, which name the section', () => {
    const ids = ROWS.map(({ id }) => id);
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
    expect(ROWS.filter(({ id, section }) => !id.startsWith(`${section}/`) || / /.test(id))).toEqual([]);
  });

  test('cite a section of a chapter that the report knows, and say what they check', () => {
    expect(ROWS.filter(({ section }) => !/^(?:\d+|D8)(?:\.\d+)*$/.test(section))).toEqual([]);
    expect(ROWS.filter(({ section }) => !CHAPTERS.includes(chapterOf(section)))).toEqual([]);
    expect(ROWS.filter(({ title }) => title.length < 10)).toEqual([]);
  });

  test('are at least 700, and some in every chapter', () => {
    expect(ROWS.length).toBeGreaterThanOrEqual(700);
    for (const chapter of REQUIRED_CHAPTERS) expect(rowsWithin(ROWS, chapter).length).toBeGreaterThan(40);
    expect(CHAPTERS.flatMap((chapter) => rowsWithin(ROWS, chapter))).toHaveLength(ROWS.length);
  });

  test('of a section are not those of a section whose number starts alike', () => {
    expect([within('7.3.13', '7.3'), within('7.3', '7.3'), within('7.30', '7.3'), within('73', '7')]).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});

describe('facts', () => {
  const mentioned = (text: string) => ROWS.filter(({ id }) => id.includes(text)).length;

  test('that make an STE or a CD illegal all have a row', () => {
    expect([...STE_FACTS_WITHOUT_ROWS, ...CD_FACTS_WITHOUT_ROWS]).toEqual([]);
  });

  test('of registers: each register has rows, and each field that software writes', () => {
    const missing = ALL_REGISTERS.flatMap(({ name, fields, access }) =>
      [name, ...(access === 'RW' ? fields : []).map((field) => `${name}.${field.name}`)].filter(
        (text) => mentioned(text) === 0,
      ),
    );
    expect(missing).toEqual([]);
  });

  test('of commands: each command is run, and each opcode from 0 to 255 is either a command or a row of its own', () => {
    expect(COMMANDS.filter(({ name }) => mentioned(name) === 0).map(({ name }) => name)).toEqual([]);
    const opcodes = new Set(COMMANDS.map(({ opcode }) => opcode));
    const left = Array.from({ length: 256 }, (_, opcode) => opcode).filter(
      (opcode) =>
        !opcodes.has(opcode) &&
        !(opcode >= 0x80 && opcode <= 0x8f) &&
        !RESERVED_OPCODES.some(([first, last]) => opcode >= first && opcode <= last),
    );
    expect(left).toEqual([]);
  });

  test('of events: each that the model can record has rows', () => {
    const titles = ROWS.map(({ id, title }) => `${id} ${title}`).join('\n');
    expect(EVENTS.map(({ name }) => name).filter((name) => !NEVER.includes(name) && !titles.includes(name))).toEqual(
      [],
    );
  });
});
