/**
 * Faultline as a library: load a scenario, run it in a mode, read the report.
 *
 * ```ts
 * const scenario = loadScenario('examples/sec.yaml', [parseSet('workload.times=1')]);
 * const { report, failure } = runScenario(scenario, 'pri', { createMachine: createPlatform, logs: NO_LOGS.logs('pri') });
 * ```
 */
export { type LogSink, NO_LOGS, openLogSink, parseLevels } from './cli/log.ts';
export { formatTable } from './cli/table.ts';
export type { FaultCounters, Machine, MachineCounters, MachineFactory, MachineOptions } from './machine.ts';
export { createPlatform } from './platform.ts';
export { InputError } from './scenario/input-error.ts';
export { type ScenarioKey, scenarioKeys } from './scenario/keys.ts';
export { loadScenario, parseScenario } from './scenario/load.ts';
export { type Override, parseSet } from './scenario/overrides.ts';
export {
  type LatencySummary,
  type OutputReport,
  type RunReport,
  type ScenarioReport,
  withSlowdown,
} from './scenario/report.ts';
export { checkMemory, type RunOptions, type RunOutcome, runScenario } from './scenario/run.ts';
export { MODES, type Mode, type Scenario } from './scenario/schema.ts';
export type { LatencyProfile } from './sim/profile.ts';
export { PROFILES } from './sim/profiles.ts';
