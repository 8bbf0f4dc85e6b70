/** A machine as a command line describes it: the board, and what the two protocols need of it. */

import { VIRT } from '../hw/virt-map.ts';
import type { FeatureOptions } from '../iommu/smmuv3/features.ts';
import { AIDR, IDR0, IDR1, IDR3, IDR5 } from '../iommu/spec/registers.layout.ts';
import { latencyOf } from '../sim/profile.ts';
import { PROFILES } from '../sim/profiles.ts';
import { type CommandLine, CommandLineError } from './command-line.ts';
import { DEVICE_TYPES, plugDevices } from './devices.ts';
import { BOARD_PRESETS, STAGES } from './features.ts';
import { PINS } from './interrupt-pins.ts';
import { GIC_PATH, ObjectTree, SMMU_PATH } from './object-tree.ts';
import type { QmpTarget } from './qmp-session.ts';
import type { QtestTarget } from './qtest-session.ts';
import { SILENT } from './silent-log.ts';
import { VirtBoard, type VirtBoardOptions } from './virt-board.ts';

const FIELDS = new Map(
  [IDR0, IDR1, IDR3, IDR5, AIDR].flatMap((layout) => layout.$.fields.map((field) => [field.name, field] as const)),
);

/** The name of an output of the SMMU, as QEMU has it: its wired interrupts in the order of the board's inputs. */
const OUTPUTS = 'sysbus-irq';
const UNNAMED = 'unnamed-gpio-in';

interface Settings {
  readonly features: FeatureOptions;
  readonly latency: string;
}

/** `-global arm-smmuv3...`; other drivers are not here, and QEMU does not mind either. */
function settingsOf(globals: CommandLine['globals']): Settings {
  let features: FeatureOptions = {};
  let latency = 'zero';
  for (const { driver, property, value } of globals) {
    if (driver !== 'arm-smmuv3') continue;
    const wrong = (expected: string) =>
      new CommandLineError(`-global arm-smmuv3.${property}=${value}: ${expected} is expected`);
    if (property === 'preset') {
      const preset = BOARD_PRESETS[value];
      if (preset === undefined) throw wrong(Object.keys(BOARD_PRESETS).join(', '));
      features = { ...features, ...preset };
    } else if (property === 'stage') {
      const stage = STAGES[value];
      if (stage === undefined) throw wrong(Object.keys(STAGES).join(', '));
      features = { ...features, ...stage };
    } else if (property === 'latency') {
      if (PROFILES[value] === undefined) throw wrong(Object.keys(PROFILES).join(', '));
      latency = value;
    } else {
      const field = FIELDS.get(property);
      if (field === undefined) throw new CommandLineError(`Property 'arm-smmuv3.${property}' not found`);
      const number = Number(value);
      if (!Number.isInteger(number) || number < 0 || number > field.max) throw wrong(`0..${field.max}`);
      features = { ...features, [property]: number };
    }
  }
  return { features, latency };
}

export interface MachineHooks {
  /** An intercepted line changed. */
  interrupt(line: number, level: boolean): void;
  quit(): void;
}

export interface Machine {
  readonly qtest: QtestTarget;
  readonly qmp: QmpTarget;
}

/**
 * Builds the machine of a command line.
 *
 * @throws CommandLineError for devices and properties that are not there.
 */
export async function createMachine(commandLine: CommandLine, version: string, hooks: MachineHooks): Promise<Machine> {
  const { features, latency } = settingsOf(commandLine.globals);
  const profile = PROFILES[latency];
  if (profile === undefined) throw new CommandLineError(`there is no latency profile ${latency}`);
  const virt = commandLine.machine === 'virt';
  if (!virt && commandLine.devices.length > 0) {
    throw new CommandLineError(`-device ${commandLine.devices[0]?.type}: No 'PCI' bus found for device`);
  }
  const devices = await plugDevices(commandLine.devices);
  const board = buildBoard(commandLine, devices, features, latencyOf(profile));
  const tree = new ObjectTree({ smmu: virt && commandLine.iommu, gicVersion: 3, devices: commandLine.devices });

  let intercepted: string | null = null;
  const intercept: QtestTarget['intercept'] = (direction, path, name) => {
    const whole = tree.resolve(path);
    if (whole === null) return 'Unknown device';
    if (intercepted !== null) return intercepted === whole ? null : 'IRQ intercept already enabled';
    if (direction === 'in' && whole === GIC_PATH) board.watchPins((pin, level) => hooks.interrupt(pin, level));
    else if (direction === 'out' && whole === SMMU_PATH && (name === '' || name === OUTPUTS)) {
      const first = VIRT.smmuInterrupts.event;
      const last = VIRT.smmuInterrupts.globalError;
      board.watchPins((pin, level) => {
        if (pin >= first && pin <= last) hooks.interrupt(pin - first, level);
      });
    }
    intercepted = whole;
    return null;
  };
  const setInput: QtestTarget['setInput'] = (path, name, line, level) => {
    const whole = tree.resolve(path);
    if (whole === null) return 'Unknown device';
    if (whole !== GIC_PATH || name !== UNNAMED || line >= PINS) return `No input ${name}[${line}]`;
    board.pins.set(line, level !== 0);
    return null;
  };

  return {
    qtest: {
      get now() {
        return board.now;
      },
      get nextTimer() {
        return board.nextTimer;
      },
      settle: () => board.settle(),
      advance: (instant) => board.advance(instant),
      readSized: (address, size, data) => board.readSized(address, size, data),
      writeSized: (address, size, data) => board.writeSized(address, size, data),
      read: (address, target, length) => board.read(address, target, length),
      write: (address, source, length) => board.write(address, source, length),
      fill: (address, length, value) => board.fill(address, length, value),
      intercept,
      setInput,
    },
    qmp: {
      version,
      deviceTypes: DEVICE_TYPES,
      children: (path) => tree.children(path),
      reset: () => board.reset(),
      quit: hooks.quit,
    },
  };
}

function buildBoard(
  commandLine: CommandLine,
  devices: VirtBoardOptions['devices'],
  features: FeatureOptions,
  latency: VirtBoardOptions['latency'],
): VirtBoard {
  try {
    const smmu = commandLine.iommu ? features : null;
    return new VirtBoard({ ramBytes: commandLine.ramBytes, smmu, devices, latency, log: SILENT });
  } catch (error) {
    // Features that contradict each other.
    if (!(error instanceof Error)) throw error;
    throw new CommandLineError(`-global arm-smmuv3: ${error.message}`);
  }
}
