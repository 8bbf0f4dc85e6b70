/**
 * A performance monitor counter group (IHI 0070 chapter 10): counters of what the SMMU does, on a register page of their
 * own. Eight 48-bit counters, one StreamID filter each, capture, wired interrupt and MSI; Non-secure.
 */
import { type AccessSize, type Bus, BusStatus, type MmioDevice } from '../../hw/bus.ts';
import type { InterruptLine } from '../../hw/interrupts.ts';
import { registerValue } from '../../layout/register.ts';
import type { Clock, Timer } from '../../sim/clock.ts';
import {
  PMCG_AIDR,
  PMCG_CAPR,
  PMCG_CEID0,
  PMCG_CFGR,
  PMCG_CNTENCLR0,
  PMCG_CNTENSET0,
  PMCG_COUNTER_STRIDE,
  PMCG_CR,
  PMCG_EVCNTR0,
  PMCG_EVTYPER0,
  PMCG_IIDR,
  PMCG_INTENCLR0,
  PMCG_INTENSET0,
  PMCG_IRQ_CFG0,
  PMCG_IRQ_CFG1,
  PMCG_IRQ_CFG2,
  PMCG_IRQ_CTRL,
  PMCG_IRQ_CTRLACK,
  PMCG_IRQ_STATUS,
  PMCG_OVSCLR0,
  PMCG_OVSSET0,
  PMCG_SMR0,
  PMCG_SVR0,
  PmcgEvent,
} from '../spec/pmcg.layout.ts';
import { type Features, outputAddressBits } from './features.ts';

export interface PmcgOptions {
  readonly clock: Clock;
  readonly bus: Bus;
  readonly features: Features;
  /** The wired interrupt; without it there is only the MSI. */
  readonly line?: InterruptLine;
}

const COUNTERS = 8;
const COUNTER_BITS = 48;
const COUNTER_LIMIT = 2 ** COUNTER_BITS;
const ALL_COUNTERS = 2 ** COUNTERS - 1;

const CONFIGURATION = registerValue(PMCG_CFGR, {
  NCTR: COUNTERS - 1,
  SIZE: COUNTER_BITS - 1,
  MSI: 1,
  CAPTURE: 1,
});
const TYPE_BITS =
  (PMCG_EVTYPER0.EVENT.mask32 | PMCG_EVTYPER0.FILTER_SID_SPAN.mask32 | PMCG_EVTYPER0.OVFCAP.mask32) >>> 0;

/** Fresh state of all registers; what reset leaves UNKNOWN is 0. */
function initial() {
  return {
    values: new Float64Array(COUNTERS),
    shadows: new Float64Array(COUNTERS),
    types: new Uint32Array(COUNTERS),
    filters: new Uint32Array(COUNTERS),
    enabled: 0,
    interrupting: 0,
    overflowed: 0,
    control: 0,
    interrupts: 0,
    aborted: 0,
    /** IRQ_CFG0 (two words), CFG1 and CFG2. */
    message: new Uint32Array(4),
    /** Virtual time up to which cycle counters are right. */
    cyclesAtNs: 0,
  };
}

export class Pmcg implements MmioDevice {
  readonly name = 'smmuv3-pmcg';
  readonly #options: PmcgOptions;
  readonly #events: number;
  readonly #payload = new DataView(new ArrayBuffer(8));
  #state = initial();
  #cycleOverflow: Timer | null = null;
  /** Whether any event can count: the SMMU asks before it calls {@link count}. */
  active = false;

  constructor(options: PmcgOptions) {
    this.#options = options;
    const ats = 2 ** PmcgEvent.PCIE_ATS_TRANS_RQ + 2 ** PmcgEvent.PCIE_ATS_TRANS_PASSED;
    this.#events = options.features.ATS === 1 ? 0xff : 0xff - ats;
  }

  reset(): void {
    this.#state = initial();
    this.#state.cyclesAtNs = this.#options.clock.now;
    this.#rearm();
  }

  /** `times` events of a kind that a StreamID caused. */
  count(event: PmcgEvent, streamId: number, times: number): void {
    const state = this.#state;
    let overflowed = 0;
    for (let index = 0; index < COUNTERS; index++) {
      if (((state.enabled >>> index) & 1) === 0 || PMCG_EVTYPER0.EVENT.of(state.types[index] ?? 0) !== event) continue;
      // Event 0 belongs to no stream, so no filter applies to it (§10.3).
      if (event === PmcgEvent.CYCLES || this.#matches(index, streamId)) overflowed |= this.#add(index, times) << index;
    }
    // Every counter is right before one of them is captured.
    for (let index = 0; overflowed >>> index !== 0; index++)
      if (((overflowed >>> index) & 1) === 1) this.#overflow(index);
  }

  /**
   * A transaction or translation request: `fetches` configuration structures and `steps` translation table descriptors
   * were read for it, and `missed` says that the TLB did not have it.
   */
  countTranslation(streamId: number, fetches: number, steps: number, missed: boolean): void {
    this.count(PmcgEvent.TRANSACTION, streamId, 1);
    if (missed) this.count(PmcgEvent.TLB_MISS, streamId, 1);
    if (fetches > 0) this.count(PmcgEvent.CONFIG_CACHE_MISS, streamId, 1);
    this.countAccesses(streamId, fetches, steps);
  }

  /** Reads of configuration structures and of descriptors, which count whatever they are for (§10.3). */
  countAccesses(streamId: number, fetches: number, steps: number): void {
    if (steps > 0) this.count(PmcgEvent.TRANS_TABLE_WALK_ACCESS, streamId, steps);
    if (fetches > 0) this.count(PmcgEvent.CONFIG_STRUCT_ACCESS, streamId, fetches);
  }

  readRegister(offset: number, size: AccessSize, data: DataView): BusStatus {
    data.setUint32(0, 0, true);
    data.setUint32(4, 0, true);
    if (size < 4 || offset % size !== 0) return BusStatus.OK;
    this.#advanceCycles();
    data.setUint32(0, this.#read(offset), true);
    if (size === 8) data.setUint32(4, this.#read(offset + 4), true);
    return BusStatus.OK;
  }

  writeRegister(offset: number, size: AccessSize, data: DataView): BusStatus {
    if (size < 4 || offset % size !== 0) return BusStatus.OK;
    this.#advanceCycles();
    this.#write(offset, data.getUint32(0, true));
    if (size === 8) this.#write(offset + 4, data.getUint32(4, true));
    this.#rearm();
    return BusStatus.OK;
  }

  #read(offset: number): number {
    const state = this.#state;
    const counter = counterOf(offset, PMCG_EVCNTR0.offset, PMCG_COUNTER_STRIDE);
    if (counter >= 0) return half(state.values[counter] ?? 0, offset);
    const shadow = counterOf(offset, PMCG_SVR0.offset, PMCG_COUNTER_STRIDE);
    if (shadow >= 0) return half(state.shadows[shadow] ?? 0, offset);
    const type = counterOf(offset, PMCG_EVTYPER0.offset, 4);
    if (type >= 0) return state.types[type] ?? 0;
    const filter = counterOf(offset, PMCG_SMR0.offset, 4);
    if (filter >= 0) return state.filters[filter] ?? 0;
    switch (offset) {
      case PMCG_CNTENSET0.offset:
      case PMCG_CNTENCLR0.offset:
        return state.enabled;
      case PMCG_INTENSET0.offset:
      case PMCG_INTENCLR0.offset:
        return state.interrupting;
      case PMCG_OVSSET0.offset:
      case PMCG_OVSCLR0.offset:
        return state.overflowed;
      case PMCG_CFGR.offset:
        return CONFIGURATION;
      case PMCG_CR.offset:
        return state.control;
      case PMCG_IIDR.offset:
        return PMCG_IIDR.ProductID.in32(0xfa1);
      case PMCG_CEID0.offset:
        return this.#events;
      case PMCG_IRQ_CTRL.offset:
      case PMCG_IRQ_CTRLACK.offset:
        return state.interrupts;
      case PMCG_IRQ_CFG0.offset:
        return state.message[0] ?? 0;
      case PMCG_IRQ_CFG0.offset + 4:
        return state.message[1] ?? 0;
      case PMCG_IRQ_CFG1.offset:
        return state.message[2] ?? 0;
      case PMCG_IRQ_CFG2.offset:
        return state.message[3] ?? 0;
      case PMCG_IRQ_STATUS.offset:
        return state.aborted;
      case PMCG_AIDR.offset:
        return PMCG_AIDR.ArchMinorRev.in32(this.#options.features.ArchMinorRev);
      default:
        return 0;
    }
  }

  #write(offset: number, value: number): void {
    const state = this.#state;
    const counter = counterOf(offset, PMCG_EVCNTR0.offset, PMCG_COUNTER_STRIDE);
    if (counter >= 0) {
      const old = state.values[counter] ?? 0;
      const low = offset % 8 === 0 ? value : old % 2 ** 32;
      const high = offset % 8 === 0 ? Math.floor(old / 2 ** 32) : value % 2 ** (COUNTER_BITS - 32);
      state.values[counter] = high * 2 ** 32 + low;
      return;
    }
    const type = counterOf(offset, PMCG_EVTYPER0.offset, 4);
    if (type >= 0) {
      state.types[type] = value & TYPE_BITS;
      return;
    }
    const filter = counterOf(offset, PMCG_SMR0.offset, 4);
    if (filter >= 0) {
      state.filters[filter] = value % 2 ** this.#options.features.SIDSIZE;
      return;
    }
    this.#writeControl(offset, value);
  }

  #writeControl(offset: number, value: number): void {
    const state = this.#state;
    switch (offset) {
      case PMCG_CNTENSET0.offset:
        state.enabled |= value & ALL_COUNTERS;
        return;
      case PMCG_CNTENCLR0.offset:
        state.enabled &= ~value;
        return;
      case PMCG_INTENSET0.offset:
        state.interrupting |= value & ALL_COUNTERS;
        return;
      case PMCG_INTENCLR0.offset:
        state.interrupting &= ~value;
        return;
      case PMCG_OVSSET0.offset:
        // Whether this has the side effects of an overflow is ours to choose (§10.5.2.10): it has none.
        state.overflowed |= value & ALL_COUNTERS;
        return;
      case PMCG_OVSCLR0.offset:
        state.overflowed &= ~value;
        return;
      case PMCG_CAPR.offset:
        if (PMCG_CAPR.CAPTURE.of(value) === 1) this.#capture();
        return;
      case PMCG_CR.offset:
        state.control = value & PMCG_CR.E.mask32;
        return;
      case PMCG_IRQ_CTRL.offset:
        if (PMCG_IRQ_CTRL.IRQEN.rises(state.interrupts, value)) state.aborted = 0;
        state.interrupts = value & PMCG_IRQ_CTRL.IRQEN.mask32;
        return;
      default:
        if (state.interrupts === 0) this.#writeMessage(offset, value);
    }
  }

  /** IRQ_CFG0 to CFG2: writable while IRQEN=0 only. */
  #writeMessage(offset: number, value: number): void {
    const { message } = this.#state;
    const high = outputAddressBits(this.#options.features) - 32;
    if (offset === PMCG_IRQ_CFG0.offset) message[0] = value & PMCG_IRQ_CFG0.ADDR_LOW.mask32;
    else if (offset === PMCG_IRQ_CFG0.offset + 4) message[1] = value % 2 ** high;
    else if (offset === PMCG_IRQ_CFG1.offset) message[2] = value;
    else if (offset === PMCG_IRQ_CFG2.offset) message[3] = value & 0x3f;
  }

  /** §10.4: an exact StreamID, or one with its low bits ignored up to and including the lowest 0. */
  #matches(index: number, streamId: number): boolean {
    const filter = this.#state.filters[index] ?? 0;
    if (PMCG_EVTYPER0.FILTER_SID_SPAN.of(this.#state.types[index] ?? 0) === 0) return filter === streamId;
    const ignored = filter ^ (filter + 1);
    return ((filter ^ streamId) & ~ignored) === 0;
  }

  /** 1 if the counter overflowed. */
  #add(index: number, times: number): number {
    const state = this.#state;
    const sum = (state.values[index] ?? 0) + times;
    state.values[index] = sum % COUNTER_LIMIT;
    return sum >= COUNTER_LIMIT ? 1 : 0;
  }

  /** OVS, capture and interrupt, in the order in which software may see them (§10.2.1). */
  #overflow(index: number): void {
    const state = this.#state;
    state.overflowed |= 1 << index;
    if (PMCG_EVTYPER0.OVFCAP.of(state.types[index] ?? 0) === 1) this.#capture();
    if (state.interrupts === 0 || ((state.interrupting >>> index) & 1) === 0) return;
    const { line, bus, features } = this.#options;
    line?.pulse();
    const [low = 0, high = 0, data = 0] = state.message;
    if (low === 0 && high === 0) return;
    this.#payload.setUint32(0, data, true);
    const address = (high * 2 ** 32 + low) % 2 ** outputAddressBits(features);
    if (bus.writeSized(address, 4, this.#payload) !== BusStatus.OK) state.aborted = 1;
  }

  #capture(): void {
    this.#advanceCycles();
    this.#state.shadows.set(this.#state.values);
  }

  /** Event 0 counts virtual nanoseconds. They are added up when somebody looks. */
  #advanceCycles(): void {
    const { clock } = this.#options;
    const state = this.#state;
    const elapsed = clock.now - state.cyclesAtNs;
    state.cyclesAtNs = clock.now;
    if (state.control !== 0 && elapsed > 0) this.count(PmcgEvent.CYCLES, 0, elapsed);
  }

  /** After a change: what counts now, and when the next cycle counter overflows with somebody to tell. */
  #rearm(): void {
    const state = this.#state;
    this.active = state.control !== 0 && state.enabled !== 0;
    this.#cycleOverflow?.cancel();
    this.#cycleOverflow = null;
    if (!this.active) return;
    let soonest = Number.POSITIVE_INFINITY;
    for (let index = 0; index < COUNTERS; index++) {
      const type = state.types[index] ?? 0;
      const counts = ((state.enabled >>> index) & 1) === 1 && PMCG_EVTYPER0.EVENT.of(type) === PmcgEvent.CYCLES;
      const told = ((state.interrupting >>> index) & 1) === 1 || PMCG_EVTYPER0.OVFCAP.of(type) === 1;
      if (counts && told) soonest = Math.min(soonest, COUNTER_LIMIT - (state.values[index] ?? 0));
    }
    if (soonest === Number.POSITIVE_INFINITY) return;
    this.#cycleOverflow = this.#options.clock.after(soonest, () => {
      this.#advanceCycles();
      this.#rearm();
    });
  }
}

/** Which counter's register of an array stands at `offset`, or -1. */
function counterOf(offset: number, base: number, stride: number): number {
  const index = Math.floor((offset - base) / stride);
  return index >= 0 && index < COUNTERS ? index : -1;
}

/** The 32-bit half of a counter that `offset` names. */
function half(value: number, offset: number): number {
  return offset % 8 === 0 ? value % 2 ** 32 : Math.floor(value / 2 ** 32);
}
