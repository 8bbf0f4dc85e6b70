/** The SMMU alone: cached translation, walks, misses, and a fault record written and consumed. */
import { assert } from '../../src/assert.ts';
import { Mmio } from '../../src/hw/bus.ts';
import { EVENT_BYTES, EventType } from '../../src/iommu/spec/events.layout.ts';
import {
  CMDQ_BASE,
  CR0,
  CR2,
  EVENTQ_BASE,
  EVENTQ_CONS,
  EVENTQ_PROD,
  STRTAB_BASE,
  STRTAB_BASE_CFG,
} from '../../src/iommu/spec/registers.layout.ts';
import { Random } from '../../src/sim/random.ts';
import {
  COMMANDS,
  CONTEXTS,
  Dma,
  EVENTS,
  SMMU_BASE,
  SmmuBoard,
  STAGE_2_TABLES,
  STREAM_TABLE,
  TABLES,
} from '../support/smmu-board.ts';
import { type Line, line, nanoseconds } from './measure.ts';

/** More streams than the caches of STEs (256) and CDs (512) hold: each look-up in turn misses both. */
const LOG2_STREAMS = 10;
const STREAMS = 2 ** LOG2_STREAMS;
const EVENT_QUEUE_LOG2 = 10;
const EVENT_QUEUE_ENTRIES = 2 ** EVENT_QUEUE_LOG2;
/** Twice what the TLB holds (8192), so that every access in this order misses it. */
const COLD_PAGES = 2 ** 14;
const HOT_PAGES = 4096;
const FIRST_PAGE = 0x10_0000;
const TARGET_PAGE = 0x4_8000;
/** nG, AF, inner shareable, readable and writable at EL0, valid page (DDI 0487 D8.3): as drivers map for DMA. */
const LEAF = 0xf43;
/** Physical pages that the tables and structures of the nested streams lie in, mapped one to one at stage 2. */
const IDENTITY_FIRST = 0x4_0000;
const IDENTITY_PAGES = 0x1_0000;

/** Calls of the operation in one sample. */
const BATCH = 1024;
const RECORD_BUDGET_NS = 200;

/** Each stream has a CD and an ASID of its own; all share one table of 4 KiB pages. */
function board(nested: boolean): SmmuBoard {
  const result = new SmmuBoard();
  result.write(CR2, 0b1010);
  result.write64(STRTAB_BASE, STREAM_TABLE);
  result.write(STRTAB_BASE_CFG, LOG2_STREAMS);
  result.write64(CMDQ_BASE, COMMANDS + 4);
  result.write64(EVENTQ_BASE, EVENTS + EVENT_QUEUE_LOG2);
  for (let index = 0; index < COLD_PAGES; index++)
    result.map(TABLES, FIRST_PAGE + index, TARGET_PAGE + (index % 4096), LEAF);
  if (nested) result.identityStage2(IDENTITY_FIRST, IDENTITY_PAGES);
  for (let streamId = 0; streamId < STREAMS; streamId++) {
    const context = CONTEXTS + streamId * 64;
    result.context(context, { TTB0: TABLES / 16, ASID: streamId + 1 });
    const stage2 = nested ? { ...result.stage2(STAGE_2_TABLES), Config: 7 } : { Config: 5 };
    result.stream(streamId, { S1ContextPtr: context / 64, ...stage2 });
  }
  result.write(CR0, 0b01101);
  return result;
}

/** Pages in an order that no cache line or table locality helps. */
function shuffled(count: number): Float64Array {
  const random = new Random('bench');
  const pages = Float64Array.from({ length: count }, (_, index) => FIRST_PAGE + index);
  for (let last = count - 1; last > 0; last--) {
    const other = random.below(last + 1);
    const swap = pages[last] ?? 0;
    pages[last] = pages[other] ?? 0;
    pages[other] = swap;
  }
  return pages;
}

/**
 * Times reads of `pages` in turn, by one stream or by all of them in turn. Both numbers are powers of two, and what the
 * loop needs is ready: it costs two nanoseconds of its own.
 */
async function translations(
  name: string,
  smmu: SmmuBoard['smmu'],
  pages: Float64Array,
  streams: number,
  budgetNs: number,
) {
  const targets = pages.map((page) => TARGET_PAGE + ((page - FIRST_PAGE) % 4096));
  const streamIds = Int32Array.from(pages, (_, index) => index % streams);
  let next = 0;
  let wrong = 0;
  const run = (count: number) => {
    for (let index = 0; index < count; index++) {
      const page = pages[next] ?? 0;
      if (smmu.translateAccess(streamIds[next] ?? 0, -1, page, false) !== targets[next]) wrong += 1;
      next = (next + 1) & (pages.length - 1);
    }
  };
  run(2 * Math.max(pages.length, streams));
  const measured = (await nanoseconds(() => run(BATCH), budgetNs * BATCH)) / BATCH;
  assert(wrong === 0, `${name}: every page translates`);
  return line(name, measured, budgetNs, allocatedBytes(() => run(200_000)) / 200_000);
}

/** Bytes of heap that `operation` leaves behind, collected or not: garbage counts as long as no collection runs. */
function allocatedBytes(operation: () => void): number {
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  operation();
  return Math.max(0, process.memoryUsage().heapUsed - before);
}

/** Accesses that fault, and a driver that takes each record out of the queue. */
export async function recordLines(): Promise<Line[]> {
  const { smmu, memory, bus } = board(false);
  const registers = new Mmio(bus, SMMU_BASE);
  const access = new Dma(1, 0x7_0000_0000 / 4096, { length: 8 });
  let index = 0;
  let missing = 0;
  const run = () => {
    for (let count = 0; count < BATCH; count++) {
      smmu.memory(access);
      const record = EVENTS + (index & (EVENT_QUEUE_ENTRIES - 1)) * EVENT_BYTES;
      if ((memory.read32(record) & 0xff) !== EventType.F_TRANSLATION) missing += 1;
      // A record that is there is not there twice.
      memory.write32(record, 0);
      index = registers.read32(EVENTQ_PROD.offset);
      registers.write32(EVENTQ_CONS.offset, index);
    }
  };
  const measured = (await nanoseconds(run, RECORD_BUDGET_NS * BATCH)) / BATCH;
  assert(missing === 0, 'each access leaves its record');
  const allocated = allocatedBytes(() => {
    for (let batch = 0; batch < 100; batch++) run();
  });
  return [line('fault record written and consumed', measured, RECORD_BUDGET_NS, allocated / (100 * BATCH))];
}

export const cachedLines = async (): Promise<Line[]> => [
  await translations('translation, cached, 4096 hot pages', board(false).smmu, shuffled(HOT_PAGES), 1, 40),
];

export const walkLines = async (): Promise<Line[]> => [
  await translations(
    'translation, stage 1 walk, configuration cached',
    board(false).smmu,
    shuffled(COLD_PAGES),
    1,
    120,
  ),
];

export const fullMissLines = async (): Promise<Line[]> => [
  await translations(
    'translation, full miss: STE, CD, 4-level walk',
    board(false).smmu,
    shuffled(COLD_PAGES),
    STREAMS,
    300,
  ),
];

export const nestedLines = async (): Promise<Line[]> => [
  await translations('translation, nested full miss', board(true).smmu, shuffled(COLD_PAGES), STREAMS, 800),
];
