/** `faultline conformance`: the report, its options, and how it refuses. */
import { describe, expect, test, vi } from 'vitest';
import { conformanceCommand } from '../../src/cli/conformance.ts';
import { faultline } from '../../src/cli/program.ts';
import type { Terminal } from '../../src/cli/terminal.ts';
import { faultlineSubject } from '../../src/conformance/faultline-subject.ts';
import type { Subject } from '../../src/conformance/subject.ts';
import { fakeMachines } from '../support/fake-machine.ts';

function run(...words: readonly string[]) {
  return collect((terminal) => faultline(['conformance', ...words], terminal, fakeMachines({})));
}

/** The command alone, on another SMMU. */
function judge(subject: Subject, ...words: readonly string[]) {
  return collect((terminal) => {
    let code = -1;
    const command = conformanceCommand(
      terminal,
      (result) => {
        code = result;
      },
      subject,
    );
    command.parse(words, { from: 'user' });
    return code;
  });
}

function collect(action: (terminal: Terminal) => number) {
  const text = { out: '', err: '' };
  const terminal = {
    out: (part: string) => {
      text.out += part;
    },
    err: (part: string) => {
      text.err += part;
    },
    stderrIsTerminal: false,
    colour: false,
  };
  const code = action(terminal);
  return { code, ...text };
}

const COUNTS = ['rows', 'passed', 'failed', 'notAnnounced'];

describe('the report', () => {
  test('has one JSON object with a line for every chapter, the sum, and nothing else while no row fails', () => {
    const { code, out, err } = run('--json');
    const report = JSON.parse(out);
    expect([code, err]).toEqual([0, '']);
    expect(Object.keys(report)).toEqual(['chapters', 'total']);
    expect(report.chapters.map((line: { chapter: string }) => line.chapter)).toEqual('3 4 5 6 7 8 9 13 D8'.split(' '));
    for (const line of report.chapters) {
      expect(Object.keys(line)).toEqual(['chapter', 'title', ...COUNTS]);
      expect(line.passed + line.failed + line.notAnnounced).toBe(line.rows);
      expect(line.rows).toBeGreaterThan(40);
    }
    for (const name of COUNTS) {
      expect(report.total[name]).toBe(
        report.chapters.reduce((sum: number, line: Record<string, number>) => sum + (line[name] ?? 0), 0),
      );
    }
    expect(report.total.failed).toBe(0);
    expect(report.total.rows).toBeGreaterThanOrEqual(700);
  });

  test('is a table for people, of the sections that were asked for', () => {
    const { code, out, err } = run('--chapter', '7.3,8');
    expect([code, err]).toEqual([0, '']);
    const lines = out.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^chapter +title +rows +passed +failed +not announced$/);
    expect(lines[1]).toMatch(/^7\.3 +Faults, errors and Event queue +(\d+) +\1 +0 +0$/);
    expect(lines[2]).toMatch(/^8 +Page request queue +(\d+) +\1 +0 +0$/);
    expect(lines).toHaveLength(4);
  });

  test('counts a section once, however often it is asked for', () => {
    const twice = JSON.parse(run('--json', '--chapter', '8', '--chapter', '8,8.1').out);
    const once = JSON.parse(run('--json', '--chapter', '8').out);
    expect(twice.total).toEqual(once.total);
    expect(twice.chapters).toHaveLength(2);
  });

  test('judges one SMMU as it is: what it does not announce is counted, and nothing fails', () => {
    const { code, out } = run('--json', '--features', 'minimal,SSIDSIZE=0b100');
    const { total } = JSON.parse(out);
    expect(code).toBe(0);
    expect(total.failed).toBe(0);
    expect(total.passed).toBeGreaterThan(700);
    expect(total.notAnnounced).toBeGreaterThan(1000);
  });

  test('lists rows instead of running them', () => {
    const { code, out } = run('--list', '--chapter', '7.3.13');
    expect(code).toBe(0);
    expect(out.split('\n')[0]).toMatch(/^section +row +title$/);
    expect(out).toMatch(/^7\.3\.13 +words-read +F_TRANSLATION of a read/m);
    const [first] = JSON.parse(run('--list', '--json', '--chapter', '7.3.13').out);
    expect(Object.keys(first)).toEqual(['id', 'section', 'title', 'features']);
  });
});

describe('a row that fails', () => {
  /** Never takes page requests, whatever it announces. */
  const deaf: Subject = {
    ...faultlineSubject,
    build: (features, world) => {
      const unit = faultlineSubject.build(features, world);
      const { port } = unit;
      vi.spyOn(port, 'pageRequest').mockReturnValue();
      return unit;
    },
  };

  test('is told with what was expected and what came, and ends with 1', () => {
    const { code, out } = judge(deaf, '--chapter', '8.1');
    expect(code).toBe(1);
    expect(out).toMatch(/^8\.1 +Page request queue +\d+ +\d+ +[1-9]\d* +0$/m);
    expect(out).toMatch(/^8\.1\S*\n {2}\S.* \(IHI 0070 8\.1\S*\)\n {2}expected .+\n {2}got {6}.+$/m);
  });

  test('is in the JSON object', () => {
    const { code, out } = judge(deaf, '--chapter', '8.1', '--json');
    const { total, failures } = JSON.parse(out);
    expect(code).toBe(1);
    expect(failures).toHaveLength(total.failed);
    expect(Object.keys(failures[0])).toEqual(['id', 'section', 'title', 'expected', 'got']);
  });
});

test('a section may be written in small letters and after a blank', () => {
  const sections = (text: string) =>
    new Set(
      JSON.parse(run('--list', '--json', '--chapter', text).out).map(
        ({ section }: { section: string }) => section.split('.')[0],
      ),
    );
  expect(sections('d8, 8')).toEqual(new Set(['D8', '8']));
});

describe('options that are refused with exit code 2', () => {
  test.each([
    [
      ['--chapter', '12'],
      '--chapter 12: expected a chapter of 3, 4, 5, 6, 7, 8, 9, 13, D8 or a section of one; found "12"',
    ],
    [
      ['--chapter', ''],
      '--chapter : expected a chapter of 3, 4, 5, 6, 7, 8, 9, 13, D8 or a section of one; found nothing',
    ],
    [['--chapter', '7.3.133'], '--chapter 7.3.133: no rows for this section of chapter 7; did you mean 7.3.13?'],
    [
      ['--features', 'ful'],
      '--features ful: expected a preset (full, wide, minimal) or name=value; found "ful"; did you mean full?',
    ],
    [['--features', 'full,wide'], '--features full,wide: one preset only; found full and wide'],
    [['--features', 'AST=1'], '--features AST=1: no ID register has a field "AST"; did you mean ATS?'],
    [['--features', '=1'], '--features =1: expected name=value, found "=1"'],
    [['--features', 'ATS=1,ATS=0'], '--features ATS=1,ATS=0: expected one value of ATS, found two'],
    [['--features', 'ATS='], '--features ATS=: ATS: expected a whole number; found nothing'],
    [['--features', 'ATS=yes'], '--features ATS=yes: ATS: expected a whole number; found "yes"'],
    [['--features', 'S1P=0,S2P=0'], '--features S1P=0,S2P=0: an SMMU has stage 1, stage 2 or both'],
    [['--features', 'DPT=1'], '--features DPT=1: DPT is not modelled and cannot be announced'],
  ])('%j', (words, message) => {
    expect(run(...words)).toEqual({ code: 2, out: '', err: `faultline: ${message}\n` });
  });

  test('an unknown option', () => {
    expect(run('--chapters')).toMatchObject({ code: 2, out: '' });
  });
});
