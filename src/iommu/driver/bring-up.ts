/** From a reset SMMU to one that translates (IHI 0070 §6.3.9, §3.11; the order is that of §6.3.9.6 and §4.3.6). */
import { assert } from '../../assert.ts';
import type { Steps } from '../../sim/task.ts';
import { COMMAND_BYTES, Opcode } from '../spec/commands.layout.ts';
import { EVENT_BYTES } from '../spec/events.layout.ts';
import { PAGE_REQUEST_BYTES } from '../spec/page-requests.layout.ts';
import {
  CR0,
  CR1,
  CR2,
  EVENTQ_BASE,
  EVENTQ_CONS,
  EVENTQ_IRQ_CFG0,
  EVENTQ_PROD,
  GERROR,
  GERROR_IRQ_CFG0,
  GERRORN,
  IRQ_CTRL,
  PRIQ_BASE,
  PRIQ_CONS,
  PRIQ_IRQ_CFG0,
  PRIQ_PROD,
} from '../spec/registers.layout.ts';
import { CommandQueue, Issued } from './command-queue.ts';
import { abortWhenDisabled, writeControl, writeInterruptControl } from './control-registers.ts';
import type { DriverCounters } from './counters.ts';
import type { SmmuDevice } from './device.ts';
import { EventSink } from './event-sink.ts';
import type { PendingGroup } from './fault-groups.ts';
import { FaultService } from './fault-service.ts';
import { GlobalErrors } from './global-errors.ts';
import { Invalidation } from './invalidation.ts';
import { PageRequestSink } from './page-request-sink.ts';
import { type Features, ProbeError, readFeatures } from './probe.ts';
import { RecordQueue } from './record-queue.ts';
import type { SmmuDriverOptions } from './smmu-driver.ts';
import { StallRecovery } from './stall-recovery.ts';
import { StreamConfiguration } from './stream-configuration.ts';
import { StreamTable } from './stream-table.ts';
import { TableArena } from './table-memory.ts';

const DEFAULT_QUEUE_BITS = { command: 8, event: 7, pageRequest: 9 } as const;
const DEFAULT_STREAM_ID_BITS = 16;
const SECOND_NS = 1_000_000_000;
/** CR1: tables and queues in inner shareable write-back memory (§6.3.11). */
const CR1_COHERENT = { QUEUE_IC: 1, QUEUE_OC: 1, QUEUE_SH: 3, TABLE_IC: 1, TABLE_OC: 1, TABLE_SH: 3 } as const;

/** The parts of a running driver. */
export interface Machinery {
  readonly features: Features;
  readonly arena: TableArena;
  readonly streams: StreamTable;
  readonly commands: CommandQueue;
  readonly invalidation: Invalidation;
  readonly configuration: StreamConfiguration;
  readonly service: FaultService;
  readonly events: RecordQueue<PendingGroup>;
  /** Null where the SMMU has no PRI. */
  readonly pageRequests: RecordQueue<unknown> | null;
  readonly errors: GlobalErrors;
}

/** What the parts share with the driver object. */
export interface Shared {
  readonly devices: ReadonlyMap<number, SmmuDevice>;
  readonly counters: DriverCounters;
  readonly isolate: (device: SmmuDevice) => Steps;
}

/** Brings the SMMU up. @throws ProbeError for an SMMU that this driver cannot drive, or that does not follow. */
export function* bringUp(options: SmmuDriverOptions, shared: Shared): Steps<Machinery> {
  const { mmio } = options;
  const features = readFeatures(mmio);
  yield* abortWhenDisabled(mmio);
  yield* writeControl(mmio, 0);
  yield* writeInterruptControl(mmio, 0);
  const parts = build(options, features, shared);
  program(options, parts);

  let control = CR0.CMDQEN.in32(1);
  yield* writeControl(mmio, control);
  yield* forgetEverything(parts, shared.counters);
  control |= CR0.EVENTQEN.in32(1);
  yield* writeControl(mmio, control);
  if (parts.pageRequests !== null) control |= CR0.PRIQEN.in32(1);
  // Translated accesses are to be checked: a stream that is blocked must be blocked for them too (§3.9).
  if (features.ats) control |= CR0.ATSCHK.in32(1);
  yield* writeControl(mmio, control);
  yield* connectInterrupts(options, parts);
  yield* writeControl(mmio, control | CR0.SMMUEN.in32(1));
  startThreads(options, parts);
  announce(options, parts);
  return parts;
}

function build(options: SmmuDriverOptions, features: Features, shared: Shared): Machinery {
  const { mmio, memory, clock, scheduler, invariants, latency, log } = options;
  const { counters, devices, isolate } = shared;
  const arena = new TableArena(memory, options.tableMemory);
  const bits = options.queueBits ?? {};
  const commandBits = Math.min(bits.command ?? DEFAULT_QUEUE_BITS.command, features.commandQueueBits);
  const eventBits = Math.min(bits.event ?? DEFAULT_QUEUE_BITS.event, features.eventQueueBits);
  const requestBits = Math.min(bits.pageRequest ?? DEFAULT_QUEUE_BITS.pageRequest, features.pageRequestQueueBits);
  const taken: { readonly address: number; readonly bytes: number }[] = [];
  const giveBack = (): void => {
    for (const { address, bytes } of taken) arena.free(address, bytes);
  };
  const queueMemory = (name: string, recordBytes: number, sizeBits: number): number => {
    const bytes = Math.max(32, recordBytes * 2 ** sizeBits);
    const address = arena.allocate(bytes);
    if (address < 0) {
      giveBack();
      throw new ProbeError(`no memory for the ${name} (${bytes} bytes)`);
    }
    taken.push({ address, bytes });
    return address;
  };

  // Disabled, the SMMU aborts everything: GBPA.ABORT was set before it was enabled.
  const giveUp = (): void => {
    mmio.write32(CR0.offset, 0);
    commands.abandon();
  };
  const commands: CommandQueue = new CommandQueue({
    mmio,
    memory,
    base: queueMemory('command queue', COMMAND_BYTES, commandBits),
    sizeBits: commandBits,
    syncNs: latency.commandSync,
    syncTimeoutNs: options.syncTimeoutNs ?? 120 * SECOND_NS,
    checkErrors: () => errors.check(),
  });
  const errors = new GlobalErrors({
    mmio,
    counters,
    log,
    recoverCommands: () => commands.recover(),
    eventsLost: () => events.noteAborted(),
    pageRequestsLost: () => pageRequests?.noteAborted(),
    eventInterruptLost: () => events.interrupt(),
    pageRequestInterruptLost: () => pageRequests?.interrupt(),
    giveUp,
  });
  const invalidation = new Invalidation({
    queue: commands,
    rangeInvalidation: features.rangeInvalidation,
    counters,
    log,
    isolate,
    giveUp,
  });
  const timeoutNs = options.faultTimeoutNs ?? 10 * SECOND_NS;
  const service = new FaultService({
    clock,
    scheduler,
    queue: commands,
    invalidation,
    invariants,
    counters,
    log,
    timeoutNs,
  });
  const requestSink = new PageRequestSink({ devices, service, counters, log });
  const endStalls = (): void => {
    for (const device of devices.values()) {
      if (device.stall && device.attached) scheduler.spawn('smmu stalls ending', recovery.run(device));
    }
  };
  const eventSink = new EventSink({ devices, service, counters, log, endStalls });
  const common = { mmio, memory, scheduler, threadWakeNs: latency.threadWake, mmioReadNs: latency.mmioRead };
  const events = new RecordQueue({
    ...common,
    name: 'event queue',
    registers: { base: EVENTQ_BASE.offset, producer: EVENTQ_PROD.offset, consumer: EVENTQ_CONS.offset },
    address: queueMemory('event queue', EVENT_BYTES, eventBits),
    recordBytes: EVENT_BYTES,
    sizeBits: eventBits,
    sink: eventSink,
    acknowledge: 'at once',
  });
  const pageRequests = !features.pri
    ? null
    : new RecordQueue({
        ...common,
        name: 'PRI queue',
        registers: { base: PRIQ_BASE.offset, producer: PRIQ_PROD.offset, consumer: PRIQ_CONS.offset },
        address: queueMemory('PRI queue', PAGE_REQUEST_BYTES, requestBits),
        recordBytes: PAGE_REQUEST_BYTES,
        sizeBits: requestBits,
        sink: requestSink,
        acknowledge: 'when empty',
      });
  const streams = makeStreamTable(arena, features, options.streamIdBits ?? DEFAULT_STREAM_ID_BITS, giveBack);
  const configuration = new StreamConfiguration({ memory, features, streams, queue: commands, invalidation });
  const recovery = new StallRecovery({ configuration, events, service, queue: commands, invalidation });
  return {
    features,
    arena,
    streams,
    commands,
    invalidation,
    configuration,
    service,
    errors,
    events,
    pageRequests,
  };
}

function makeStreamTable(arena: TableArena, features: Features, wantedBits: number, giveBack: () => void): StreamTable {
  try {
    return new StreamTable(arena, Math.min(wantedBits, features.streamIdBits), features.twoLevelStreamTable);
  } catch (error) {
    assert(error instanceof RangeError, 'a stream table fails only for want of memory');
    giveBack();
    throw new ProbeError(error.message);
  }
}

function program(options: SmmuDriverOptions, parts: Machinery): void {
  const { mmio } = options;
  let cr1 = 0;
  for (const [name, value] of Object.entries(CR1_COHERENT)) cr1 |= CR1[name as keyof typeof CR1_COHERENT].in32(value);
  mmio.write32(CR1.offset, cr1);
  // Unknown streams are recorded; TLB maintenance by broadcast is not ours; faulty ATS requests are recorded if possible.
  const recordAts = parts.features.atsRecordsErrors ? CR2.REC_CFG_ATS.in32(1) : 0;
  mmio.write32(CR2.offset, CR2.RECINVSID.in32(1) | CR2.PTM.in32(1) | recordAts);
  parts.streams.program(mmio);
  parts.commands.program();
  parts.events.program();
  parts.pageRequests?.program();
  // What was raised before us is nobody's error any more.
  mmio.write32(GERRORN.offset, mmio.read32(GERROR.offset));
}

/** After reset, caches hold anything (§3.11). Configuration first: a walk with an old one could fill a TLB (§4.3.6). */
function* forgetEverything(parts: Machinery, counters: DriverCounters): Steps {
  const batch = parts.commands.batch();
  batch.configureAll();
  if (parts.features.hyp) batch.plain(Opcode.TLBI_EL2_ALL);
  batch.plain(Opcode.TLBI_NSNH_ALL);
  counters.commands += batch.count + 1;
  const issued = yield* parts.commands.issue(batch);
  if (issued !== Issued.DONE) throw new ProbeError('the SMMU does not complete commands');
}

function* connectInterrupts(options: SmmuDriverOptions, parts: Machinery): Steps {
  const { mmio, interrupts, irqs, msiDoorbell } = options;
  const sources = [
    { interrupt: irqs.event, config: EVENTQ_IRQ_CFG0.offset, handler: parts.events.interrupt },
    { interrupt: irqs.globalError, config: GERROR_IRQ_CFG0.offset, handler: parts.errors.check },
  ];
  let enable = IRQ_CTRL.EVENTQ_IRQEN.in32(1) | IRQ_CTRL.GERROR_IRQEN.in32(1);
  if (parts.pageRequests !== null) {
    const handler = parts.pageRequests.interrupt;
    sources.push({ interrupt: irqs.pageRequest, config: PRIQ_IRQ_CFG0.offset, handler });
    enable |= IRQ_CTRL.PRIQ_IRQEN.in32(1);
  }
  const address = new DataView(new ArrayBuffer(8));
  if (parts.features.msi && msiDoorbell !== undefined) {
    EVENTQ_IRQ_CFG0.ADDR_LOW.set(address, 0, (msiDoorbell % 2 ** 32) / 4);
    EVENTQ_IRQ_CFG0.ADDR_HIGH.set(address, 0, Math.floor(msiDoorbell / 2 ** 32));
  }
  for (const { interrupt, config, handler } of sources) {
    interrupts.connect(interrupt, handler);
    if (!parts.features.msi) continue;
    // An address of 0 selects the wired line (§6.3.30). CFG1 is the data, CFG2 the attributes of the write.
    mmio.write64(config, address);
    mmio.write32(config + 8, msiDoorbell === undefined ? 0 : interrupt);
    mmio.write32(config + 12, 0);
  }
  yield* writeInterruptControl(mmio, enable);
}

function startThreads(options: SmmuDriverOptions, parts: Machinery): void {
  const { scheduler } = options;
  scheduler.spawn('smmu event thread', parts.events.thread(), { daemon: true });
  if (parts.pageRequests !== null) {
    scheduler.spawn('smmu page request thread', parts.pageRequests.thread(), { daemon: true });
  }
  scheduler.spawn('smmu fault time-outs', parts.service.timeoutThread(), { daemon: true });
}

function announce(options: SmmuDriverOptions, parts: Machinery): void {
  const { features, streams } = parts;
  options.log.info({
    event: 'smmu.probe',
    stage1: features.stage1,
    stage2: features.stage2,
    ats: features.ats,
    pri: features.pri,
    stallModel: features.stallModel,
    httu: features.httu,
    granules: features.granules,
    outputBits: features.outputBits,
    streamIdBits: streams.streamIdBits,
    substreamIdBits: features.substreamIdBits,
    rangeInvalidation: features.rangeInvalidation,
    breakBeforeMakeLevel: features.breakBeforeMakeLevel,
    eventQueueEntries: parts.events.entries,
    pageRequestQueueEntries: parts.pageRequests?.entries ?? 0,
  });
}
