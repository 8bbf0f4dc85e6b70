import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InputError } from './input-error.ts';
import { loadScenario, parseScenario } from './load.ts';
import { parseSet } from './overrides.ts';

const GOOD = 'workload:\n  kind: sec\n';

/** The message with which a scenario text is refused. */
function refusal(text: string, ...sets: string[]): string {
  return messageOf(() => parseScenario(text, 's.yaml', sets.map(parseSet)));
}

function messageOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('a scenario', () => {
  test('that names its workload only is filled up with defaults', () => {
    const scenario = parseScenario(GOOD, 'dir/short.yaml');
    expect(scenario).toMatchObject({
      name: 'short',
      seed: 1,
      modes: ['static', 'stall', 'pri'],
      iommu: { stage: 1, granule: 4096 },
      vfio: { premapPages: 1, residencyLimit: null },
      workload: { kind: 'sec', times: 100, messageLength: 1_048_576, buffers: 2, bufferOffset: 0 },
    });
  });

  test('says sizes with units, durations with units, and no limit as none', () => {
    const text = `${GOOD}  messageLength: 1.5KiB\nguest: {memory: 0x1000000}\nvfio: {residencyLimit: 1MiB, dirtyLog: 1us}\nhost: {lockLimit: none}\ntimeLimit: 10ms\n`;
    const { workload, guest, vfio, host, timeLimit } = parseScenario(text, 's.yaml');
    expect([workload.messageLength, guest.memory, vfio.residencyLimit, host.lockLimit, timeLimit]).toEqual([
      1536,
      16_777_216,
      1_048_576,
      null,
      10_000_000,
    ]);
  });

  test('is overridden key by key, the last value winning, also where the file has no such section', () => {
    const sets = ['workload.times=7', 'vfio.premapPages=512', 'workload.times=8', 'modes=[pri]', 'iommu.granule=64KiB'];
    const scenario = parseScenario(GOOD, 's.yaml', sets.map(parseSet));
    expect(scenario.workload.times).toBe(8);
    expect(scenario.vfio.premapPages).toBe(512);
    expect(scenario.modes).toEqual(['pri']);
    expect(scenario.iommu.granule).toBe(65_536);
  });

  test.each(readdirSync('examples'))('examples/%s is good, and named for its file', (file) => {
    expect(loadScenario(`examples/${file}`).name).toBe(path.parse(file).name);
  });

  test('of the series is the experiment as measured', () => {
    expect(loadScenario('examples/sec.yaml')).toMatchObject({
      name: 'sec',
      profile: 'kunpeng920',
      vfio: { premapPages: 1 },
      workload: { times: 100, messageLength: 1_048_576, buffers: 2 },
    });
  });
});

describe('a broken scenario is refused with file, line, key and expectation', () => {
  test.each([
    ['an unknown key', `${GOOD}  tims: 3\n`, 's.yaml:3: unknown key "workload.tims"; did you mean "workload.times"?'],
    ['a key of another section', `${GOOD}times: 3\n`, 's.yaml:3: unknown key "times"; did you mean "workload.times"?'],
    [
      'a key like nothing known',
      `xyzzy: 1\n${GOOD}`,
      's.yaml:1: unknown key "xyzzy"; expected one of name, description, seed, profile, modes, timeLimit, host, guest, iommu, device, vfio, workload',
    ],
    [
      'a key of the prototype',
      `${GOOD}__proto__: {a: 1}\n`,
      's.yaml:3: unknown key "__proto__"; expected one of name, description, seed, profile, modes, timeLimit, host, guest, iommu, device, vfio, workload',
    ],
    [
      'words for a number',
      `${GOOD}\n  times: ten\n`,
      's.yaml:4: workload.times: expected an integer from 1 to 1000000, found "ten"',
    ],
    [
      'a fraction',
      `${GOOD}  times: 1.5\n`,
      's.yaml:3: workload.times: expected an integer from 1 to 1000000, found 1.5',
    ],
    [
      'a huge number',
      `${GOOD}  times: 1e300\n`,
      's.yaml:3: workload.times: expected an integer from 1 to 1000000, found 1e+300',
    ],
    [
      'infinity',
      `${GOOD}  times: .inf\n`,
      's.yaml:3: workload.times: expected an integer from 1 to 1000000, found Infinity',
    ],
    ['no value', `${GOOD}  times:\n`, 's.yaml:3: workload.times: expected an integer from 1 to 1000000, found nothing'],
    [
      'a negative size',
      `${GOOD}  messageLength: -4KiB\n`,
      's.yaml:3: workload.messageLength: expected a size from 1B to 1GiB (an integer, or with B, KiB, MiB, GiB), found "-4KiB"',
    ],
    [
      'a pause too short',
      `${GOOD}vfio: {dirtyLog: 999}\n`,
      's.yaml:3: vfio.dirtyLog: expected none, or a duration of 1us or more such as 500us or 10ms (an integer counts nanoseconds), found 999',
    ],
    [
      'an unknown unit',
      `${GOOD}guest: {memory: 64MB}\n`,
      's.yaml:3: guest.memory: expected a size from 1MiB to 64GiB, a multiple of 64KiB (an integer, or with B, KiB, MiB, GiB), found "64MB"',
    ],
    [
      'an unknown mode',
      `${GOOD}modes: [static, steal]\n`,
      's.yaml:3: modes[1]: expected one of static, stall, pri, sva, found "steal"',
    ],
    [
      'a mode twice',
      `${GOOD}modes: [pri, pri]\n`,
      's.yaml:3: modes: expected each mode at most once, found [pri, pri]',
    ],
    [
      'an unknown profile',
      `${GOOD}profile: slow\n`,
      's.yaml:3: profile: expected one of zero, kunpeng920, found "slow"',
    ],
    [
      'a granule that does not exist',
      `${GOOD}iommu: {granule: 8KiB}\n`,
      's.yaml:3: iommu.granule: expected 4KiB, 16KiB or 64KiB, found "8KiB"',
    ],
    [
      'no power of two',
      `${GOOD}device: {ringEntries: 48}\n`,
      's.yaml:3: device.ringEntries: expected a power of two from 2 to 32768, found 48',
    ],
    ['a section that is no map', `${GOOD}vfio: 3\n`, 's.yaml:3: vfio: expected a map of keys, found 3'],
    ['a list', '- a\n- b\n', 's.yaml:1: expected a map of keys, found [a, b]'],
    ['a list of lists', '- [a]\n', 's.yaml:1: expected a map of keys, found a list'],
    ['no modes', `${GOOD}modes: []\n`, 's.yaml:3: modes: expected at least one mode, found an empty list'],
    ['a plain text', 'hello\n', 's.yaml:1: expected a map of keys, found "hello"'],
    ['nothing', '', 's.yaml: the file is empty; expected a map of keys, at least workload'],
    ['a comment only', '# later\n', 's.yaml: the file is empty; expected a map of keys, at least workload'],
    ['no workload', 'seed: 1\n', 's.yaml:1: workload: expected a map of keys, found nothing'],
    ['a key twice', `${GOOD}  times: 1\n  times: 2\n`, 's.yaml:4: key "times" appears twice; expected each key once'],
    ['two documents', `${GOOD}---\n${GOOD}`, 's.yaml:3: a second YAML document starts here; expected one'],
    ['broken YAML', `${GOOD}  times: [1\n`, /^s\.yaml:[34]: not valid YAML: /],
    ['an unknown tag', `${GOOD}  times: !thing 3\n`, /^s\.yaml:3: not valid YAML: .*!thing/],
    ['an alias of nothing', `${GOOD}  times: *n\n`, /^s\.yaml:3: not usable YAML: Unresolved alias/],
    ['lists in lists without end', `a: ${'['.repeat(9000)}`, 's.yaml:1: not usable YAML: nested too deeply'],
    [
      'two lines for a name',
      `${GOOD}name: |\n  a\n  b\n`,
      /^s\.yaml:3: name: expected one line of text, .* found "a\\nb/,
    ],
    ["a terminal's escape in a name", `${GOOD}name: "a\\e[1m"\n`, /^s\.yaml:3: name: expected one line of text, /],
    [
      'a name of 201 letters',
      `${GOOD}name: ${'x'.repeat(201)}\n`,
      /^s\.yaml:3: name: expected one line of text, at most 200 characters, found /,
    ],
    [
      'more than the ring takes',
      `${GOOD}  queueDepth: 65\n`,
      's.yaml:3: workload.queueDepth: expected at most device.ringEntries (64), found 65',
    ],
    [
      'a misspelt section, named before what it leaves missing',
      'seed: 1\nwrkload: {kind: sec}\n',
      's.yaml:2: unknown key "wrkload"; did you mean "workload"? (and 1 more)',
    ],
    ['two mistakes', `sead: 1\n${GOOD}  times: 0\n`, 's.yaml:1: unknown key "sead"; did you mean "seed"? (and 1 more)'],
  ])('%s', (_what, text, message) => {
    if (typeof message === 'string') expect(refusal(text)).toBe(message);
    else expect(refusal(text)).toMatch(message);
  });

  test('a bomb of aliases does not go off', () => {
    const levels = Array.from(
      { length: 12 },
      (_, n) => `k${n}: &a${n} [${Array(9).fill(n === 0 ? 'x' : `*a${n - 1}`)}]`,
    );
    expect(refusal(levels.join('\n'))).toMatch(/^s\.yaml: not usable YAML: Excessive alias count/);
  });
});

describe('a broken --set is refused in the same words, and names itself', () => {
  test.each([
    [
      'workload.times=ten',
      '--set workload.times=ten: workload.times: expected an integer from 1 to 1000000, found "ten"',
    ],
    ['workload.times=', '--set workload.times=: workload.times: expected an integer from 1 to 1000000, found nothing'],
    ['workload.tims=1', '--set workload.tims=1: unknown key "workload.tims"; did you mean "workload.times"?'],
    ['wrkload.times=1', '--set wrkload.times=1: unknown key "wrkload"; did you mean "workload"?'],
    [
      '__proto__.seed=1',
      '--set __proto__.seed=1: unknown key "__proto__"; expected one of name, description, seed, profile, modes, timeLimit, host, guest, iommu, device, vfio, workload',
    ],
    ['seed.deep=1', '--set seed.deep=1: seed: expected an integer from 0 to 9007199254740991, found a map'],
    ['workload=5', '--set workload=5: workload: expected a map of keys, found 5'],
    ['workload.times', '--set workload.times: expected KEY=VALUE, such as workload.times=10'],
    ['=3', '--set =3: expected KEY=VALUE, such as workload.times=10'],
    ['a..b=3', '--set a..b=3: expected KEY=VALUE, such as workload.times=10'],
    [
      'device.ringEntries=1',
      '--set device.ringEntries=1: device.ringEntries: expected a power of two from 2 to 32768, found 1',
    ],
    ['modes=[pri, pri]', '--set modes=[pri, pri]: modes: expected each mode at most once, found [pri, pri]'],
    ['seed=[1', '--set seed=[1: the value is not valid YAML'],
  ])('%s', (set, message) => {
    expect(refusal(`${GOOD}seed: 3\n`, set)).toBe(message);
  });
});

describe('a file that cannot be read is named with the reason', () => {
  const folder = { path: '' };
  beforeAll(() => {
    folder.path = mkdtempSync(path.join(tmpdir(), 'scenario-'));
  });
  afterAll(() => rmSync(folder.path, { recursive: true }));

  test.each([
    ['missing.yaml', 'no such file'],
    ['.', 'is a directory'],
  ])('%s: %s', (name, reason) => {
    const file = path.join(folder.path, name);
    expect(messageOf(() => loadScenario(file))).toBe(`${file}: ${reason}`);
  });

  test.each([
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x80, 0x00, 0x17])],
    ['control characters', Buffer.from('a: \u0001\u0002\u0000\n')],
  ])('%s', (_what, content) => {
    const file = path.join(folder.path, 'garbage.yaml');
    writeFileSync(file, content);
    expect(messageOf(() => loadScenario(file))).toBe(`${file}: not a text file; expected YAML`);
  });

  test('no name', () => {
    expect(messageOf(() => loadScenario(''))).toBe('expected the name of a file, found nothing');
  });

  test('a device is no file', () => {
    expect(messageOf(() => loadScenario('/dev/zero'))).toBe('/dev/zero: is a device, not a file');
  });
});
