/** `faultline run SCENARIO`: runs a scenario in one mode or several, and prints what came of it. */
import { Command } from 'commander';
import type { MachineFactory } from '../machine.ts';
import { describeValue, InputError, nearest } from '../scenario/input-error.ts';
import { loadScenario } from '../scenario/load.ts';
import { type Override, parseSet } from '../scenario/overrides.ts';
import { readWhole } from '../scenario/read-file.ts';
import { type RunReport, type ScenarioReport, succeeded, withSlowdown } from '../scenario/report.ts';
import { checkMemory, runScenario } from '../scenario/run.ts';
import { MODES, type Mode, type Scenario } from '../scenario/schema.ts';
import { type LogSink, NO_LOGS, openLogSink, parseLevels, refuseToReplace } from './log.ts';
import { NO_PROGRESS, terminalProgress } from './progress.ts';
import { formatBytes, formatDirtyLogs, formatNs, formatTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { formatTrace, parseTraceEntries } from './trace.ts';

const INPUT_BYTES_MAX = 2 ** 30;

interface Options {
  readonly mode?: string;
  readonly set?: readonly string[];
  readonly seed?: string;
  readonly input?: string;
  readonly json?: boolean;
  readonly log?: string;
  readonly logFile?: string;
  readonly trace?: string;
}

/** `exit` is told the exit code. */
export function runCommand(terminal: Terminal, createMachine: MachineFactory, exit: (code: number) => void): Command {
  return new Command('run')
    .description('run a scenario and check its output byte for byte')
    .argument('<scenario>', 'a YAML file, such as examples/sec.yaml')
    .option('--mode <mode>', `${MODES.join(', ')} or all; several with commas (default: what the scenario says)`)
    .option('--set <key=value>', 'override a key of the scenario, such as workload.times=10; repeatable', collect)
    .option('--seed <n>', "override the scenario's seed")
    .option('--input <file>', 'encrypt this file instead of data from the seed')
    .option('--json', 'print one JSON object instead of a table')
    .option('--log <levels>', 'a level, or levels by layer: info, iommu=debug,vfio=info')
    .option('--log-file <file>', 'write the log as NDJSON to a file (default level: info)')
    .option('--trace <n>', 'print the last n transactions of each run on standard error')
    .action((file: string, options: Options) => exit(run(file, options, terminal, createMachine)));
}

const collect = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value];

function run(file: string, options: Options, terminal: Terminal, createMachine: MachineFactory): number {
  const scenario = loadScenario(file, overrides(options));
  const input = options.input === undefined ? undefined : readInput(options.input);
  const traceEntries = options.trace === undefined ? 0 : parseTraceEntries(options.trace);
  checkMemory(scenario, input);
  const sink = openLogs(file, options, terminal);
  const bar = terminal.stderrIsTerminal && !logsToTerminal(options) ? terminalProgress(process.stderr) : NO_PROGRESS;
  const runs: RunReport[] = [];
  const failures: string[] = [];
  const traces: string[] = [];
  try {
    for (const mode of scenario.modes) {
      const outcome = runScenario(scenario, mode, {
        createMachine,
        logs: sink.logs(mode),
        progress: (done, total) => bar.update(mode, done, total),
        ...(input === undefined ? {} : { input }),
        traceEntries,
      });
      runs.push(outcome.report);
      if (traceEntries > 0) traces.push(`${mode}\n${formatTrace(outcome.trace)}`);
      if (outcome.failure !== null) failures.push(`${mode}: ${outcome.failure}`);
    }
  } finally {
    bar.stop();
    const lost = sink.close();
    if (lost !== null) failures.push(lost);
  }
  const report: ScenarioReport = { scenario: scenario.name, seed: scenario.seed, runs: withSlowdown(runs) };
  terminal.out(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : describe(scenario, report, input));
  for (const trace of traces) terminal.err(`\n${trace}`);
  for (const failure of failures) terminal.err(`faultline: ${failure}\n`);
  return succeeded(runs) && failures.length === 0 ? 0 : 1;
}

function overrides(options: Options): Override[] {
  const sets = (options.set ?? []).map(parseSet);
  if (options.seed !== undefined) sets.push(seedOverride(options.seed));
  if (options.mode !== undefined) sets.push(modeOverride(options.mode));
  return sets;
}

function seedOverride(text: string): Override {
  return {
    label: `--seed ${text}`,
    path: ['seed'],
    value: /^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : text,
  };
}

/** @throws InputError */
function modeOverride(text: string): Override {
  const label = `--mode ${text}`;
  if (text === 'all') return { label, path: ['modes'], value: [...MODES] };
  const names = text.split(',');
  const unknown = names.find((name) => !MODES.includes(name as Mode));
  if (unknown === 'all') throw new InputError(`${label}: all stands for every mode; expected it alone`);
  if (unknown !== undefined) {
    const near = nearest(unknown, MODES);
    const hint = near === null ? '' : `; did you mean ${near}?`;
    throw new InputError(`${label}: expected one of ${MODES.join(', ')}, all; found ${describeValue(unknown)}${hint}`);
  }
  return { label, path: ['modes'], value: names };
}

/** @throws InputError */
function readInput(file: string): Uint8Array {
  const label = `--input ${file}`;
  const content = readWhole(file, label, INPUT_BYTES_MAX);
  if (content.length === 0) throw new InputError(`${label}: the file is empty; expected at least one byte`);
  return content;
}

const logsToTerminal = (options: Options): boolean => options.log !== undefined && options.logFile === undefined;

/** @throws InputError */
function openLogs(scenarioFile: string, options: Options, terminal: Terminal): LogSink {
  if (options.log === undefined && options.logFile === undefined) return NO_LOGS;
  if (options.logFile !== undefined) {
    refuseToReplace(options.logFile, { scenario: scenarioFile, input: options.input });
  }
  const pretty = options.logFile === undefined && terminal.stderrIsTerminal;
  return openLogSink({
    levels: parseLevels(options.log ?? 'info'),
    file: options.logFile ?? null,
    pretty,
    colour: pretty && terminal.colour,
  });
}

function describe(scenario: Scenario, report: ScenarioReport, input: Uint8Array | undefined): string {
  const { workload, guest, iommu, vfio } = scenario;
  const work =
    input === undefined
      ? `${workload.times} x ${formatBytes(workload.messageLength)}`
      : `${formatBytes(input.length)} of input x ${workload.times}, by ${formatBytes(workload.messageLength)}`;
  const facts = [
    work,
    plural(workload.buffers, 'buffer pair'),
    `${workload.queueDepth} in flight`,
    vfio.premapPages === 1 ? 'no pre-mapping' : `${vfio.premapPages} pages mapped per fault`,
    vfio.residencyLimit === null ? null : `at most ${formatBytes(vfio.residencyLimit)} resident for the device`,
    vfio.dirtyLog === null ? null : `dirty log read every ${formatNs(vfio.dirtyLog)}`,
    `guest ${formatBytes(guest.memory)}`,
    `${iommu.nested ? 'nested' : `stage ${iommu.stage}`}, ${formatBytes(iommu.granule)} pages`,
    `profile ${scenario.profile}`,
    `seed ${scenario.seed}`,
  ].filter((fact) => fact !== null);
  const title = scenario.description === '' ? scenario.name : `${scenario.name}: ${scenario.description}`;
  const output = report.runs.find((entry) => entry.output.keyHex !== null)?.output;
  const key = output === undefined ? '' : `\nAES-256-CTR key ${output.keyHex}\n             iv ${output.ivHex}\n`;
  return `${title}\n${facts.join(', ')}\n\n${formatTable(report)}${formatDirtyLogs(report)}${key}`;
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
