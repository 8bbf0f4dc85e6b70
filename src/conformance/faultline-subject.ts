/** Faultline's SMMUv3 as a subject of the suite. The only file of the suite that knows the silicon. */
import { pino } from 'pino';
import { AssertionError } from '../assert.ts';
import { type AccessSize, Bus, BusStatus, type MmioDevice } from '../hw/bus.ts';
import type { InterruptLine } from '../hw/interrupts.ts';
import { Memory } from '../hw/memory.ts';
import { FEATURE_PRESETS, type FeatureOptions, featuresOf } from '../iommu/smmuv3/features.ts';
import { Smmu } from '../iommu/smmuv3/smmu.ts';
import { Clock } from '../sim/clock.ts';
import { Invariants } from '../sim/invariants.ts';
import { latencyOf } from '../sim/profile.ts';
import { PROFILES } from '../sim/profiles.ts';
import { Random } from '../sim/random.ts';
import { Trace } from '../sim/trace.ts';
import { FAR, type FeatureValues, type InterruptSource, RAM, type Subject, type Unit, type World } from './subject.ts';

const ATC_TIMEOUT_NS = 1_000_000;
const SILENT = pino({ level: 'silent' });

function optionsOf(preset: string, changes: FeatureValues): FeatureOptions {
  return { preset, ...changes } as FeatureOptions;
}

export const faultlineSubject: Subject = {
  name: 'faultline',
  presets: Object.keys(FEATURE_PRESETS),

  features(preset, changes) {
    try {
      return featuresOf(optionsOf(preset, changes));
    } catch (error) {
      if (error instanceof AssertionError) return error.message;
      throw error;
    }
  },

  build(features, world) {
    const clock = new Clock();
    const memory = new Memory(RAM.base, RAM.size);
    const bus = new Bus(memory);
    bus.map(FAR.base, FAR.size, farDevice(world));
    const smmu = new Smmu({
      clock,
      bus,
      fabric: world.fabric,
      lines: {
        event: line(world, 'event'),
        priority: line(world, 'priority'),
        sync: line(world, 'sync'),
        globalError: line(world, 'globalError'),
      },
      latency: latencyOf(PROFILES['zero'] as (typeof PROFILES)[string]),
      invariants: new Invariants(),
      log: SILENT,
      trace: new Trace(clock, 0),
      // What reset leaves UNKNOWN is drawn, so that no row can lean on it.
      random: new Random('conformance'),
      features: optionsOf('full', features),
      atcInvalidateTimeoutNs: ATC_TIMEOUT_NS,
      sendEvent: () => world.wakeUp(),
      tlbEntries: 1024,
    });
    return unit(smmu, memory, clock);
  },
};

function unit(smmu: Smmu, memory: Memory, clock: Clock): Unit {
  const data = new DataView(new ArrayBuffer(8));
  return {
    port: smmu,
    atcTimeoutNs: ATC_TIMEOUT_NS,
    keepsCached: true,
    readRegister(offset, size) {
      data.setBigUint64(0, 0n);
      if (smmu.readRegister(offset, size, data) !== BusStatus.OK) return null;
      return BigInt.asUintN(size * 8, data.getBigUint64(0, true));
    },
    writeRegister(offset, size, value) {
      data.setBigUint64(0, value, true);
      smmu.writeRegister(offset, size, data);
    },
    readMemory(address, length) {
      const bytes = new Uint8Array(length);
      memory.read(address, bytes);
      return bytes;
    },
    writeMemory: (address, bytes) => memory.write(address, bytes),
    advance(ns) {
      const until = clock.now + ns;
      while (clock.fireNext(until));
      clock.advanceTo(until);
    },
  };
}

function line(world: World, source: InterruptSource): InterruptLine {
  return {
    set: (level) => {
      if (level) world.interrupt(source);
    },
    pulse: () => world.interrupt(source),
  };
}

/** Everything beyond RAM that answers. */
function farDevice(world: World): MmioDevice {
  return {
    name: 'far',
    readRegister(offset: number, size: AccessSize, data: DataView) {
      data.setBigUint64(0, world.readFar(FAR.base + offset, size), true);
      return BusStatus.OK;
    },
    writeRegister(offset: number, size: AccessSize, data: DataView) {
      world.writeFar(FAR.base + offset, size, BigInt.asUintN(size * 8, data.getBigUint64(0, true)));
      return BusStatus.OK;
    },
  };
}
