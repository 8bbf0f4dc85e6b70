/** The driver's page tables: what static pinning of a guest's memory pays per page. */
import { assert } from '../../src/assert.ts';
import { Memory } from '../../src/hw/memory.ts';
import { geometry } from '../../src/iommu/driver/descriptors.ts';
import { DomainGather } from '../../src/iommu/driver/gather.ts';
import { PageTable } from '../../src/iommu/driver/page-table.ts';
import { TableArena } from '../../src/iommu/driver/table-memory.ts';
import { type Line, line, nanoseconds } from './measure.ts';

const RAM = 0x4000_0000;
const RAM_BYTES = 0x10_0000_0000;
const PAGE = 4096;
/** Pages of one sample: whole tables, so that each sample costs the same. */
const PAGES = 4096;
const READ_WRITE = 3;
const ALONE_BUDGET_NS = 150;
const RANGE_BUDGET_NS = 75;

export async function pageTableLines(): Promise<Line[]> {
  const memory = new Memory(RAM, RAM_BYTES);
  const free: number[] = [];
  let next = RAM;
  const arena = new TableArena(memory, {
    allocate: (bytes) => {
      const ready = bytes === PAGE ? free.pop() : undefined;
      if (ready !== undefined) return ready;
      next += bytes;
      return next - bytes;
    },
    free: (physical, bytes) => {
      if (bytes === PAGE) free.push(physical);
    },
  });
  const table = new PageTable(geometry(1, PAGE, 48, true), arena, 48);
  let epoch = 0;
  const gather = new DomainGather(() => ++epoch);
  const forget = (): void => {
    table.release(gather.tables, gather.epoch);
    gather.reset();
  };
  // Neighbours are not contiguous, as pages of a running host are not: no block fits.
  const both = await nanoseconds(() => {
    for (let page = 0; page < PAGES; page++) table.map(page * PAGE, RAM + page * 2 * PAGE, PAGE, READ_WRITE);
    assert(table.unmap(0, PAGES * PAGE, gather) === PAGES * PAGE, 'everything was mapped');
    forget();
  }, ALONE_BUDGET_NS * PAGES);
  const range = await nanoseconds(() => {
    table.map(0, RAM + PAGE, PAGES * PAGE, READ_WRITE);
    table.unmap(0, PAGES * PAGE, gather);
    forget();
  }, RANGE_BUDGET_NS * PAGES);
  return [
    line('page mapped alone, and unmapped with its range', both / PAGES, ALONE_BUDGET_NS),
    line('page mapped and unmapped within a range', range / PAGES, RANGE_BUDGET_NS),
  ];
}
