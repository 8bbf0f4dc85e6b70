/**
 * Faultline as a library: load a scenario, run it in a mode, read the report.
 *
 * ```ts
 * const scenario = loadScenario('examples/sec.yaml', [parseSet('workload.times=1')]);
 * const { report, failure } = runScenario(scenario, 'pri', { createMachine: createPlatform, logs: NO_LOGS.logs('pri') });
 * // failure: null when every byte was right; report: what `--json` prints of one mode, `slowdown` apart (`withSlowdown`)
 * ```
 *
 * Or as silicon: an SMMUv3 by its registers, its memory and its transactions, with nothing of ours on the other side.
 * `world` is yours: a `World`, which hears of interrupts and is asked for memory.
 *
 * ```ts
 * const features = faultlineSubject.features('full', { ATS: 0 });
 * if (typeof features === 'string') throw new Error(features);
 * const smmu = faultlineSubject.build(features, world);
 * smmu.writeRegister(0x20, 4, 0b1101n); // SMMU_CR0
 * ```
 */
export { type LayerLevels, type LogSink, type LogSinkOptions, NO_LOGS, openLogSink, parseLevels } from './cli/log.ts';
export { formatTable } from './cli/table.ts';
export { faultlineSubject } from './conformance/faultline-subject.ts';
export {
  FAR,
  type FeatureValues,
  type InterruptSource,
  NOWHERE,
  RAM,
  type Subject,
  type Unit,
  type World,
} from './conformance/subject.ts';
export {
  AddressType,
  Completion,
  type Fabric,
  type MemoryRequest,
  NO_PASID,
  type PageGroupResponse,
  type PageRequestMessage,
  ResponseCode,
  type TranslationRequest,
  type Upstream,
} from './hw/pcie/tlp.ts';
export type {
  DeviceWrites,
  FaultCounters,
  Machine,
  MachineCounters,
  MachineFactory,
  MachineOptions,
  RetryCounters,
} from './machine.ts';
export { createPlatform } from './platform.ts';
export { InputError } from './scenario/input-error.ts';
export { type ScenarioKey, scenarioKeys } from './scenario/keys.ts';
export { loadScenario, parseScenario } from './scenario/load.ts';
export { type Override, parseSet } from './scenario/overrides.ts';
export {
  type DirtyLogReport,
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
export { TRANSACTIONS, type TraceEntry, type Transaction } from './sim/trace.ts';
