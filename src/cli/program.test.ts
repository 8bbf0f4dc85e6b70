import { createCipheriv, createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FakeMachineOptions, fakeMachines } from '../../test/support/fake-machine.ts';
import { Errno } from '../errno.ts';
import { WaitQueue } from '../sim/task.ts';
import { faultline } from './program.ts';

const SCENARIO = `name: tiny
profile: kunpeng920
guest: {memory: 1MiB}
workload:
  kind: sec
  times: 5
  messageLength: 5000
`;

let folder = '';
const scenario = () => path.join(folder, 'tiny.yaml');
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'cli-'));
});
beforeEach(() => writeFileSync(scenario(), SCENARIO));
afterAll(() => rmSync(folder, { recursive: true }));

function run(arguments_: readonly string[], machines: FakeMachineOptions = {}) {
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
  const code = faultline(arguments_, terminal, fakeMachines(machines));
  return { code, ...text };
}

describe('faultline run', () => {
  test('prints a title, the facts, one row per mode, key and iv, and ends with 0', () => {
    const { code, out, err } = run(['run', scenario()]);
    expect([code, err]).toEqual([0, '']);
    const lines = out.split('\n');
    expect(lines[0]).toBe('tiny');
    expect(lines[1]).toBe(
      '5 x 4.883 KiB, 2 buffer pairs, 2 in flight, no pre-mapping, guest 1 MiB, stage 1, 4 KiB pages, profile kunpeng920, seed 1',
    );
    expect(lines.slice(3, 7).map((line) => line.split(/ +/)[0])).toEqual(['mode', 'static', 'stall', 'pri']);
    expect(lines[8]).toMatch(/^AES-256-CTR key [0-9a-f]{64}$/);
    expect(lines[9]).toMatch(/^ {13}iv [0-9a-f]{32}$/);
  });

  test('prints with --trace the last transactions of each run on standard error', () => {
    const { code, out, err } = run(['run', scenario(), '--mode', 'stall,pri', '--trace', '1', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out).runs).toHaveLength(2);
    const table = (mode: string) =>
      `\n${mode}\nns  transaction  stream   page\n 0  dma.write         8  0x701  bytes 4096\n`;
    expect(err).toBe(`${table('stall')}${table('pri')}`);
  });

  test.each(['0', '-1', 'all', '1000001', '2.5', ''])('refuses --trace %j', (entries) => {
    const { code, err } = run(['run', scenario(), '--trace', entries]);
    expect(code).toBe(2);
    expect(err).toMatch(/^faultline: --trace .*: expected an integer from 1 to 1000000, found /);
  });

  test('prints with --json exactly one object with the documented members', () => {
    const { code, out } = run(['run', scenario(), '--json', '--seed', '9']);
    expect(code).toBe(0);
    const report = JSON.parse(out);
    expect(Object.keys(report)).toEqual(['scenario', 'seed', 'runs']);
    expect([report.scenario, report.seed]).toEqual(['tiny', 9]);
    for (const entry of report.runs) {
      expect(Object.keys(entry)).toEqual([
        'mode',
        'virtualNs',
        'readyNs',
        'bytes',
        'throughputMBps',
        'slowdown',
        'faults',
        'retries',
        'faultLatencyNs',
        'pinnedBytesPeak',
        'residentBytesPeak',
        'guestFaults',
        'dirtyLog',
        'output',
        'invariants',
      ]);
      expect(Object.keys(entry.faults)).toEqual([
        'groups',
        'pages',
        'duplicate',
        'stale',
        'upgrade',
        'invalid',
        'failed',
      ]);
      expect(Object.keys(entry.output)).toEqual(['sha256', 'keyHex', 'ivHex', 'verified']);
      expect(entry).toMatchObject({
        bytes: 25_000,
        slowdown: 0,
        output: { verified: true },
        invariants: { violated: 0 },
      });
    }
  });

  test.each([
    ['static', ['static']],
    ['all', ['static', 'stall', 'pri', 'sva']],
    ['pri,static', ['pri', 'static']],
  ])('runs the modes of --mode %s', (mode, expected) => {
    const { out } = run(['run', scenario(), '--json', '--mode', mode]);
    expect(JSON.parse(out).runs.map((entry: { mode: string }) => entry.mode)).toEqual(expected);
  });

  test('encrypts a file to what the cipher makes of it', () => {
    const input = path.join(folder, 'input.bin');
    const data = Buffer.from(Array.from({ length: 12_345 }, (_, index) => (index * 7) & 0xff));
    writeFileSync(input, data);
    const { code, out } = run(['run', scenario(), '--json', '--input', input, '--set', 'workload.times=1']);
    expect(code).toBe(0);
    for (const { output, bytes } of JSON.parse(out).runs) {
      const key = Buffer.from(output.keyHex, 'hex');
      const cipher = createCipheriv('aes-256-ctr', key, Buffer.from(output.ivHex, 'hex')).update(data);
      expect(output.sha256).toBe(createHash('sha256').update(cipher).digest('hex'));
      expect(bytes).toBe(12_345);
    }
  });

  test('gives the same bytes on stdout and in the log for the same seed, and others for another', () => {
    const log = path.join(folder, 'run.log');
    const once = (seed: string) => {
      const { out } = run(['run', scenario(), '--json', '--seed', seed, '--log', 'debug', '--log-file', log]);
      return [out, readFileSync(log, 'utf8')];
    };
    const first = once('4');
    expect(once('4')).toEqual(first);
    expect(once('5')[0]).not.toBe(first[0]);
    const lines = (first[1] ?? '').trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(30);
    for (const line of lines) {
      expect(JSON.parse(line)).toEqual(
        expect.objectContaining({
          t: expect.any(Number),
          level: expect.any(String),
          mode: expect.stringMatching(/^(static|stall|pri)$/),
          layer: expect.any(String),
          event: expect.stringMatching(/^[a-z]+\.[a-zA-Z]+$/),
        }),
      );
    }
  });
});

describe('a log does not replace what the run reads', () => {
  test.each([
    ['scenario', []],
    ['input', ['--input', 'I']],
  ])('the %s, under another name', (what, more) => {
    const input = path.join(folder, 'input.txt');
    writeFileSync(input, 'text');
    const link = path.join(folder, `link-to-${what}`);
    symlinkSync(what === 'input' ? input : scenario(), link);
    const { code, err } = run([
      'run',
      scenario(),
      ...more.map((word) => (word === 'I' ? input : word)),
      '--log-file',
      link,
    ]);
    expect(code).toBe(2);
    expect(err).toBe(
      `faultline: --log-file ${link}: is the ${what}, which the log would replace; expected another file\n`,
    );
    expect(readFileSync(input, 'utf8')).toBe('text');
    expect(readFileSync(scenario(), 'utf8')).toBe(SCENARIO);
  });
});

describe('a run that fails ends with 1 and says why on stderr, and still reports', () => {
  test('when the kernel refuses: the other modes run on', () => {
    const { code, out, err } = run(['run', scenario(), '--json'], {
      vfio: (mode) => (mode === 'static' ? { errors: { MAP_DMA: Errno.ENOMEM } } : {}),
    });
    expect(code).toBe(1);
    expect(err).toBe('faultline: static: VFIO_IOMMU_MAP_DMA of 1048576 bytes failed: ENOMEM\n');
    const [first, second] = JSON.parse(out).runs;
    expect(first.output).toEqual({ sha256: null, keyHex: null, ivHex: null, verified: false });
    expect(second.output.verified).toBe(true);
    expect(second.slowdown).toBeNull();
  });

  test('when an invariant breaks', () => {
    const { code, out, err } = run(['run', scenario(), '--json', '--mode', 'pri'], {
      built: ({ clock, invariants }) => {
        clock.after(5, () => invariants.check('credits', false, () => '33 of 32'));
      },
    });
    expect(code).toBe(1);
    expect(err).toBe('faultline: pri: invariant broken: outstanding page requests stay within the credits: 33 of 32\n');
    expect(JSON.parse(out).runs[0].invariants.violated).toBe(1);
  });

  test('when a task waits for ever, naming it', () => {
    const { code, err } = run(['run', scenario(), '--mode', 'pri'], {
      built: ({ scheduler }) => {
        const never = new WaitQueue(scheduler, 'an answer');
        scheduler.spawn(
          'asker',
          (function* () {
            yield never;
          })(),
        );
      },
    });
    expect(code).toBe(1);
    expect(err).toMatch(/no task ends with a lock or waits for ever: at \d+ ns, asker waits for an answer\n$/);
  });

  test('when virtual time runs past the limit', () => {
    const { code, err } = run(['run', scenario(), '--mode', 'pri', '--set', 'timeLimit=1us']);
    expect(code).toBe(1);
    expect(err).toMatch(/^faultline: pri: not done when timeLimit passed: at \d+ ns, vmm waits/);
  });
});

describe('bad input ends with 2 and one message on stderr', () => {
  test.each([
    ['no command', [], /Usage: faultline/],
    ['an unknown command', ['walk'], /^faultline: unknown command 'walk'\n\(faultline --help lists the commands\)\n$/],
    ['a scenario without a name', ['run', ''], /^faultline: expected the name of a file, found nothing\n$/],
    ['no scenario', ['run'], /^faultline: missing required argument 'scenario'\n$/],
    ['two scenarios', ['run', 'S', 'T'], /^faultline: too many arguments/],
    ['an unknown option', ['run', 'S', '--sed', '3'], /^faultline: unknown option '--sed'\n\(Did you mean .*--se/],
    ['an option without its value', ['run', 'S', '--seed'], /^faultline: option '--seed <n>' argument missing\n$/],
    ['a missing scenario', ['run', '/no/such.yaml'], /^faultline: \/no\/such\.yaml: no such file\n$/],
    [
      'a bad mode',
      ['run', 'S', '--mode', 'fast'],
      /^faultline: --mode fast: expected one of static, stall, pri, sva, all; found "fast"\n$/,
    ],
    [
      'a misspelt mode',
      ['run', 'S', '--mode', 'pri,stal'],
      /^faultline: --mode pri,stal: expected one of .*; found "stal"; did you mean stall\?\n$/,
    ],
    [
      'all and another mode',
      ['run', 'S', '--mode', 'all,pri'],
      /^faultline: --mode all,pri: all stands for every mode; expected it alone\n$/,
    ],
    [
      'a mode twice',
      ['run', 'S', '--mode', 'pri,pri'],
      /^faultline: --mode pri,pri: modes: expected each mode at most once/,
    ],
    [
      'a bad seed',
      ['run', 'S', '--seed', 'x'],
      /^faultline: --seed x: seed: expected an integer from 0 to 9007199254740991, found "x"\n$/,
    ],
    ['a negative seed', ['run', 'S', '--seed=-1'], /^faultline: --seed -1: seed: expected an integer from 0/],
    [
      'a huge seed',
      ['run', 'S', '--seed', '9'.repeat(40)],
      /^faultline: --seed 9+: seed: expected an integer from 0 to \d+, found "9+"\n$/,
    ],
    [
      'a bad --set',
      ['run', 'S', '--set', 'workload.times=ten'],
      /^faultline: --set workload\.times=ten: workload\.times: expected an integer from 1 to 1000000, found "ten"\n$/,
    ],
    [
      'buffers that guest memory cannot hold',
      ['run', 'S', '--set', 'workload.messageLength=300KiB'],
      /^faultline: guest\.memory: 1MiB cannot hold the ring of 64 descriptors and 2 buffer pairs of 300KiB; expected at least 1204KiB\n$/,
    ],
    ['a missing input', ['run', 'S', '--input', '/no/such'], /^faultline: --input \/no\/such: no such file\n$/],
    ['a folder as input', ['run', 'S', '--input', '/'], /^faultline: --input \/: is a directory\n$/],
    [
      'an empty input',
      ['run', 'S', '--input', 'EMPTY'],
      /^faultline: --input .*: the file is empty; expected at least one byte\n$/,
    ],
    ['a bad level', ['run', 'S', '--log', 'loud'], /^faultline: --log loud: expected a level, one of /],
    [
      'a log file in no folder',
      ['run', 'S', '--log-file', '/no/such/log'],
      /^faultline: --log-file \/no\/such\/log: there is no such folder\n$/,
    ],
    [
      'a log file without a name',
      ['run', 'S', '--log-file', ''],
      /^faultline: --log-file : expected the name of a file, found nothing\n$/,
    ],
    ['a folder as log file', ['run', 'S', '--log-file', '/'], /^faultline: --log-file \/: is a directory\n$/],
  ])('%s', (_what, arguments_, message) => {
    const empty = path.join(folder, 'empty.bin');
    writeFileSync(empty, '');
    const given = arguments_.map((word) => (word === 'S' ? scenario() : word === 'EMPTY' ? empty : word));
    const { code, out, err } = run(given);
    expect(err).toMatch(message);
    expect([code, out]).toEqual([2, '']);
    expect(err).not.toMatch(/\n\s+at /);
  });
});

test('--help and --version end with 0', () => {
  for (const command of ['run', 'conformance']) expect(run([command, '--help']).out).not.toMatch(/\[\]/);
  expect(run(['--help'])).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/run .*<scenario>/) });
  expect(run(['run', '--help'])).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/--log-file <file>/) });
  expect(run(['--version'])).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
});
