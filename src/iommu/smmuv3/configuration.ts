/**
 * From a StreamID and SubstreamID to the configuration of a transaction: stream table, CD tables, and the caches of both
 * (IHI 0070 §3.3, §4.3, §5.1, §5.3). Every structure that was fetched is cached in whatever state it was, and stays until
 * it is invalidated or another takes its slot: a driver that forgets an invalidation meets the old one.
 */
import { type Bus, BusStatus } from '../../hw/bus.ts';
import { CHUNK_OFFSET } from '../../hw/memory.ts';
import { powerOfTwo } from '../../layout/power-of-two.ts';
import { L1CD } from '../spec/cd.layout.ts';
import { EventType } from '../spec/events.layout.ts';
import { STRTAB_BASE, STRTAB_BASE_CFG } from '../spec/registers.layout.ts';
import { L1STD, S1Dss, S1Fmt } from '../spec/ste.layout.ts';
import { type ContextDescriptor, contextCache, contextCircumstances } from './cd.ts';
import type { Control } from './control.ts';
import { type Features, outputAddressBits } from './features.ts';
import type { RegisterFile } from './register-file.ts';
import { type StreamConfiguration, streamCache, streamCircumstances } from './ste.ts';
import type { StructureCache } from './structure-cache.ts';
import type { TranslationContext } from './translation/context.ts';
import { Outcome } from './translation/outcome.ts';
import type { Translator } from './translation/translator.ts';

const STE_BYTES = 64;
const CD_BYTES = 64;
const L1_BYTES = 8;
/** Units of the pointers in level 1 descriptors. */
const STREAM_POINTER_UNIT = 2 ** L1STD.L2Ptr.lsb;
const CONTEXT_POINTER_UNIT = 2 ** L1CD.L2Ptr.lsb;
const NO_SUBSTREAM = -1;
/** No StreamID. */
const NOTHING = -2;
/** In the place of a CD's index: stage 1 takes no part, the configuration is that of the STE alone. */
const NO_STAGE_1 = -0x1_0000;

/** Slots of each cache; powers of two. */
const STREAM_SLOTS = 256;
const CONTEXT_SLOTS = 512;
const LEVEL_1_SLOTS = 64;

export interface ConfigurationOptions {
  readonly registers: RegisterFile;
  readonly control: Control;
  readonly features: Features;
  readonly bus: Bus;
  readonly translator: Translator;
}

const streamSlot = (streamId: number): number => streamId & (STREAM_SLOTS - 1);
const contextSlot = (streamId: number, index: number): number => (streamId * 37 + index) & (CONTEXT_SLOTS - 1);

/** A level 1 descriptor of a stream table or CD table. */
class Level1Entry {
  streamId = -1;
  index = 0;
  /** Of a stream table: how many StreamIDs it is for, by the SPLIT that it was fetched with. */
  streams = 0;
  epoch = 0;
  /** L1STD.Span, or L1CD.V. */
  valid = 0;
  /** L2Ptr in bytes. */
  pointer = 0;
}

/**
 * Looks configuration up. The answer of the last look-up is in the public fields, which the next one overwrites; a
 * transaction reads what it needs of them before anything else can happen.
 */
export class Configuration {
  readonly #registers: RegisterFile;
  readonly #control: Control;
  readonly #features: Features;
  readonly #bus: Bus;
  readonly #translator: Translator;
  readonly #addressLimit: number;
  readonly #streams: StructureCache<StreamConfiguration>;
  readonly #contexts: StructureCache<ContextDescriptor>;
  readonly #streamTables: Level1Entry[] = [];
  readonly #contextTables: Level1Entry[] = [];
  readonly #bytes = new Uint8Array(CD_BYTES);
  readonly #scratch = new DataView(this.#bytes.buffer);
  #epoch = 0;
  /** Whose STE {@link stream} is. */
  #streamId = 0;
  #streamEpoch = 0;
  /** What the public fields answer at once, as long as no look-up and no invalidation came since. */
  #knownStream = NOTHING;
  #knownSubstream = NO_SUBSTREAM;
  #tableBase = 0;
  #streamCount = 1;
  /** Two-level tables: log2 of the StreamIDs of one level 1 entry, and their number. 0 and 1 for a linear table. */
  #split = 0;
  #leafStreams = 1;
  /** Where the structure that {@link #fetch} found begins: in memory itself, or in the scratch copy. */
  #view: DataView = this.#scratch;
  #at = 0;

  /** The STE; only {@link findStream} and {@link find} set it. */
  stream: StreamConfiguration;
  /** The CD, or null where stage 1 is not used. */
  descriptor: ContextDescriptor | null = null;
  /** What translation needs: both stages off is bypass. */
  context: TranslationContext;
  /** Physical address of a fetch that aborted. */
  fetchAddress = 0;
  /** SubstreamID of a C_BAD_SUBSTREAMID record. */
  badSubstream = 0;
  /** The stage 2 fault of a CD fetch, when a look-up answers with a translation event. */
  readonly stage2Fault = new Outcome();
  /** Whether stage 2 may set access flags for CD fetches; false only for ATOS with HTTUI=1 (§9). */
  hardwareUpdate = true;
  /** Structures fetched by the last look-up, and descriptors of stage 2 walked for them: for latency and counters. */
  fetches = 0;
  walkSteps = 0;

  constructor(options: ConfigurationOptions) {
    this.#registers = options.registers;
    this.#control = options.control;
    this.#features = options.features;
    this.#bus = options.bus;
    this.#translator = options.translator;
    this.#addressLimit = 2 ** outputAddressBits(options.features);
    this.#streams = streamCache(STREAM_SLOTS, options.features);
    this.#contexts = contextCache(CONTEXT_SLOTS, options.features);
    this.stream = this.#streams.decoded(0);
    this.context = this.stream.withoutStage1;
    for (let slot = 0; slot < LEVEL_1_SLOTS; slot++) this.#streamTables.push(new Level1Entry());
    for (let slot = 0; slot < LEVEL_1_SLOTS; slot++) this.#contextTables.push(new Level1Entry());
  }

  /** Takes the shape of the stream table from its registers: call when SMMUEN rises, which freezes them (§6.3.24). */
  configure(): void {
    this.#knownStream = NOTHING;
    const registers = this.#registers;
    const shape = registers.get(STRTAB_BASE_CFG);
    const log2 = STRTAB_BASE_CFG.LOG2SIZE.of(shape);
    this.#streamCount = 2 ** Math.min(log2, this.#features.SIDSIZE);
    const twoLevel = STRTAB_BASE_CFG.FMT.of(shape) === 1;
    const split = STRTAB_BASE_CFG.SPLIT.of(shape);
    this.#split = twoLevel ? (split === 8 || split === 10 ? split : 6) : 0;
    this.#leafStreams = 2 ** this.#split;
    const base = registers.field(STRTAB_BASE, STRTAB_BASE.ADDR) * 2 ** STRTAB_BASE.ADDR.lsb;
    // The base is aligned down to the size of the table, or of its first level, which SIDSIZE does not limit (§6.3.24).
    const bytes = twoLevel ? Math.max(64, 2 ** (log2 - this.#split) * L1_BYTES) : 2 ** log2 * STE_BYTES;
    this.#tableBase = base - (base % bytes);
  }

  /**
   * The whole configuration of a transaction: STE, then the CD if stage 1 takes part. Returns 0 or the event; events in
   * the order of §7.3.22. `substream` is -1 without a SubstreamID. A stage 2 fault of the CD fetch returns its event and
   * fills {@link stage2Fault}.
   */
  find(streamId: number, substream: number): EventType | 0 {
    if (streamId === this.#knownStream && substream === this.#knownSubstream) {
      this.fetches = 0;
      this.walkSteps = 0;
      return 0;
    }
    return this.#load(streamId, substream);
  }

  /** The STE alone. */
  findStream(streamId: number): EventType | 0 {
    const event = this.#loadStream(streamId);
    return event === 0 ? this.#withoutContext(this.stream, NO_STAGE_1) : event;
  }

  /** The CD that `substream` selects; {@link findStream} found the STE. */
  findContext(substream: number): EventType | 0 {
    const stream = this.stream;
    const index = this.#contextIndex(stream, substream);
    return index >= 0 ? this.#loadContext(stream, index) : this.#withoutContext(stream, index);
  }

  /** Whether `substream` may be used with the STE found, without looking at a CD: 0, or the event. */
  checkSubstream(substream: number): EventType | 0 {
    const index = this.#contextIndex(this.stream, substream);
    return index < 0 && index !== NO_STAGE_1 ? (-index as EventType) : 0;
  }

  /** CMD_CFGI_STE; `leaf` keeps level 1 descriptors (§4.3.1). CDs go with their STE. */
  forgetStream(streamId: number, leaf: boolean): void {
    this.#knownStream = NOTHING;
    const slot = streamSlot(streamId);
    if (this.#streams.owner(slot) === streamId) this.#streams.setEpoch(slot, 0);
    if (!leaf) this.#forgetStreamTables(streamId, 1);
  }

  /** CMD_CFGI_STE_RANGE: `count` StreamIDs from `first` (§4.3.2). */
  forgetStreams(first: number, count: number): void {
    this.#knownStream = NOTHING;
    const streams = this.#streams;
    for (let slot = 0; slot < STREAM_SLOTS; slot++) {
      const streamId = streams.owner(slot);
      if (streamId >= first && streamId < first + count) streams.setEpoch(slot, 0);
    }
    this.#forgetStreamTables(first, count);
  }

  /** CMD_CFGI_CD; `leaf` keeps the level 1 CD (§4.3.3). */
  forgetContext(streamId: number, index: number, leaf: boolean): void {
    this.#knownStream = NOTHING;
    const contexts = this.#contexts;
    const slot = contextSlot(streamId, index);
    if (contexts.holds(slot, streamId, index, contexts.epoch(slot))) contexts.setEpoch(slot, 0);
    if (leaf) return;
    // A level 1 CD covers 64 or 1024 CDs; the format is not known here, so both are dropped.
    for (const entry of this.#contextTables) {
      const covers = entry.index === Math.floor(index / 64) || entry.index === Math.floor(index / 1024);
      if (entry.streamId === streamId && covers) entry.streamId = -1;
    }
  }

  /** CMD_CFGI_CD_ALL (§4.3.4): what was cached through the STE no longer belongs to it. */
  forgetContexts(streamId: number): void {
    this.#knownStream = NOTHING;
    const streams = this.#streams;
    const slot = streamSlot(streamId);
    if (streams.epoch(slot) !== 0 && streams.owner(slot) === streamId) streams.setEpoch(slot, ++this.#epoch);
  }

  /** Everything, as at reset. */
  forgetAll(): void {
    this.#knownStream = NOTHING;
    for (let slot = 0; slot < STREAM_SLOTS; slot++) this.#streams.setEpoch(slot, 0);
    for (const entry of this.#streamTables) entry.streamId = -1;
  }

  /** {@link find}, when it is not what was asked for last: apart, so that the common case is small enough to inline. */
  #load(streamId: number, substream: number): EventType | 0 {
    const streamEvent = this.#loadStream(streamId);
    if (streamEvent !== 0) return streamEvent;
    const stream = this.stream;
    const index = stream.aborts ? NO_STAGE_1 : this.#contextIndex(stream, substream);
    const event = index >= 0 ? this.#loadContext(stream, index) : this.#withoutContext(stream, index);
    if (event !== 0 || stream.aborts) return event;
    this.#knownStream = streamId;
    this.#knownSubstream = substream;
    return 0;
  }

  #loadStream(streamId: number): EventType | 0 {
    this.#knownStream = NOTHING;
    this.fetches = 0;
    this.walkSteps = 0;
    const streams = this.#streams;
    const slot = streamSlot(streamId);
    let epoch = streams.epoch(slot);
    if (epoch === 0 || !streams.holds(slot, streamId, 0, epoch)) {
      const event = this.#fetchStream(streamId, slot);
      if (event !== 0) return event;
      epoch = this.#epoch;
    }
    this.#streamId = streamId;
    this.#streamEpoch = epoch;
    const stream = streams.decoded(slot);
    // Mostly it is the same object: writing a reference costs more than comparing it.
    if (this.stream !== stream) this.stream = stream;
    return stream.illegal ? EventType.C_BAD_STE : 0;
  }

  /** The CD `index` of the STE found. */
  #loadContext(stream: StreamConfiguration, index: number): EventType | 0 {
    const contexts = this.#contexts;
    const slot = contextSlot(this.#streamId, index);
    if (!contexts.holds(slot, this.#streamId, index, this.#streamEpoch)) {
      const event = this.#fetchContext(stream, index, slot);
      if (event !== 0) return event;
    }
    const descriptor = contexts.decoded(slot);
    descriptor.reachThrough(stream);
    if (this.descriptor !== descriptor) {
      this.descriptor = descriptor;
      this.context = descriptor.context;
    }
    return descriptor.illegal ? EventType.C_BAD_CD : 0;
  }

  /** Leaves it at the STE: `index` is {@link NO_STAGE_1}, or an event negated. */
  #withoutContext(stream: StreamConfiguration, index: number): EventType | 0 {
    this.descriptor = null;
    this.context = stream.withoutStage1;
    return index === NO_STAGE_1 ? 0 : (-index as EventType);
  }

  /** Index of the CD, {@link NO_STAGE_1}, or the event negated (§5.2 S1CDMax and S1DSS, §7.3.7, §7.3.9). */
  #contextIndex(stream: StreamConfiguration, substream: number): number {
    if (substream === NO_SUBSTREAM) {
      if (!stream.stage1) return NO_STAGE_1;
      if (stream.S1CDMax === 0 || stream.S1DSS === S1Dss.SUBSTREAM_0) return 0;
      return stream.S1DSS === S1Dss.BYPASS ? NO_STAGE_1 : -EventType.F_STREAM_DISABLED;
    }
    if (!stream.stage1 || stream.S1CDMax === 0 || substream >= powerOfTwo(stream.S1CDMax)) {
      this.badSubstream = substream;
      return -EventType.C_BAD_SUBSTREAMID;
    }
    return substream === 0 && stream.S1DSS === S1Dss.SUBSTREAM_0 ? -EventType.F_STREAM_DISABLED : substream;
  }

  #fetchStream(streamId: number, slot: number): EventType | 0 {
    if (streamId >= this.#streamCount) return EventType.C_BAD_STREAMID;
    let address = this.#tableBase + streamId * STE_BYTES;
    if (this.#split > 0) {
      const index = Math.floor(streamId / this.#leafStreams);
      const entry = this.#streamTables[index & (LEVEL_1_SLOTS - 1)] as Level1Entry;
      if (entry.streamId < 0 || entry.index !== index || entry.streams !== this.#leafStreams) {
        const event = this.#fetchLevel1(entry, this.#tableBase + index * L1_BYTES);
        if (event !== 0) return event;
        entry.streamId = index * this.#leafStreams;
        entry.index = index;
        entry.streams = this.#leafStreams;
      }
      const within = streamId % this.#leafStreams;
      const { valid: span } = entry;
      // Span 0, 12 to 31, or beyond the split leads nowhere (§5.1.1).
      if (span === 0 || span > 11 || span > this.#split + 1 || within >= powerOfTwo(span - 1)) {
        return EventType.C_BAD_STREAMID;
      }
      const bytes = STE_BYTES * powerOfTwo(span - 1);
      address = entry.pointer - (entry.pointer % bytes) + within * STE_BYTES;
    }
    if (!this.#fetch(this.#truncate(address), STE_BYTES)) return EventType.F_STE_FETCH;
    this.#epoch += 1;
    this.#streams.take(slot, this.#view, this.#at, streamCircumstances(this.#control), streamId, 0, this.#epoch);
    return 0;
  }

  #fetchLevel1(entry: Level1Entry, address: number): EventType | 0 {
    entry.streamId = -1;
    if (!this.#fetch(this.#truncate(address), L1_BYTES)) return EventType.F_STE_FETCH;
    entry.valid = L1STD.Span.get(this.#view, this.#at);
    // L2Ptr bits above the OAS are RES0: what software put there is not kept (§5.1).
    entry.pointer = (L1STD.L2Ptr.get(this.#view, this.#at) * STREAM_POINTER_UNIT) % this.#addressLimit;
    return 0;
  }

  #fetchContext(stream: StreamConfiguration, index: number, slot: number): EventType | 0 {
    let address = stream.contextTable + index * CD_BYTES;
    if (stream.S1Fmt !== S1Fmt.LINEAR) {
      const leaf = stream.S1Fmt === S1Fmt.TWO_LEVEL_4K ? 64 : 1024;
      const table = Math.floor(index / leaf);
      const entry = this.#contextTables[(this.#streamId * 7 + table) & (LEVEL_1_SLOTS - 1)] as Level1Entry;
      if (entry.streamId !== this.#streamId || entry.index !== table || entry.epoch !== this.#streamEpoch) {
        const event = this.#fetchContextTable(stream, table, leaf, entry);
        if (event !== 0) return event;
      }
      // The pointer is the problem of whoever asked for this CD (§7.3.9).
      this.badSubstream = index;
      if (entry.valid === 0) return EventType.C_BAD_SUBSTREAMID;
      address = entry.pointer + (index % leaf) * CD_BYTES;
      if (address >= this.#addressLimit) return EventType.C_BAD_SUBSTREAMID;
    } else if (address >= this.#addressLimit) {
      return EventType.C_BAD_STE;
    }
    const event = this.#fetchThroughStage2(stream, address, CD_BYTES);
    if (event !== 0) return event;
    const circumstances = contextCircumstances(stream);
    this.#contexts.take(slot, this.#view, this.#at, circumstances, this.#streamId, index, this.#streamEpoch);
    return 0;
  }

  #fetchContextTable(stream: StreamConfiguration, table: number, leaf: number, entry: Level1Entry): EventType | 0 {
    entry.streamId = -1;
    const address = stream.contextTable + table * L1_BYTES;
    if (address >= this.#addressLimit) return EventType.C_BAD_STE;
    const event = this.#fetchThroughStage2(stream, address, L1_BYTES);
    if (event !== 0) return event;
    entry.streamId = this.#streamId;
    entry.index = table;
    entry.epoch = this.#streamEpoch;
    entry.valid = L1CD.V.get(this.#view, this.#at);
    // Leaves are aligned: bits 15:12 are RES0 for those of 64 KiB (§5.2 S1Fmt).
    const pointer = L1CD.L2Ptr.get(this.#view, this.#at) * CONTEXT_POINTER_UNIT;
    entry.pointer = pointer - (pointer % (leaf * CD_BYTES));
    return 0;
  }

  /** Reads a CD or level 1 CD, at an IPA where stage 2 is on (§5.4.1). */
  #fetchThroughStage2(stream: StreamConfiguration, address: number, length: number): EventType | 0 {
    let physical = address;
    if (stream.stage2) {
      const outcome = this.stage2Fault;
      const event = this.#translator.translateDescriptorAddress(
        stream.withoutStage1,
        Math.floor(address / 4096),
        outcome,
        this.hardwareUpdate,
      );
      this.walkSteps += outcome.steps;
      if (event !== 0) return event;
      physical = outcome.page * 4096 + (address & 0xfff);
    }
    return this.#fetch(physical, length) ? 0 : EventType.F_CD_FETCH;
  }

  /** An address beyond the OAS is truncated (§3.4.3 note 5). The remainder of numbers this large is slow. */
  #truncate(address: number): number {
    return address < this.#addressLimit ? address : address % this.#addressLimit;
  }

  /** Points {@link #view} and {@link #at} at `length` bytes; false on an external abort. */
  #fetch(address: number, length: number): boolean {
    this.fetches += 1;
    const memory = this.#bus.memory;
    if (memory.contains(address, length)) {
      this.#view = memory.readView(address);
      this.#at = address & CHUNK_OFFSET;
      return true;
    }
    this.#view = this.#scratch;
    this.#at = 0;
    this.fetchAddress = address;
    return this.#bus.read(address, this.#bytes, 0, length) === BusStatus.OK;
  }

  #forgetStreamTables(first: number, count: number): void {
    for (const entry of this.#streamTables) {
      if (entry.streamId < first + count && entry.streamId + entry.streams > first) entry.streamId = -1;
    }
  }
}
