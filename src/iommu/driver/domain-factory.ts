/** Makes and frees address spaces. */
import { assert } from '../../assert.ts';
import type { DomainOptions, GuestTables, IommuDomain } from '../core.ts';
import type { Machinery } from './bring-up.ts';
import { geometry } from './descriptors.ts';
import { ownDomain, type SmmuDomain } from './domain.ts';
import { GuestDomain } from './guest-domain.ts';
import { Identifiers } from './identifiers.ts';
import { NestedTableMemory } from './nested-tables.ts';
import { PageTable } from './page-table.ts';
import { PagedDomain } from './paged-domain.ts';
import { type Granule, hardwareState } from './probe.ts';
import { TableArena, type TableMemory } from './table-memory.ts';

/** From this BBML on a block may be split in place (§3.21.1.3); below, no blocks are made. */
const SPLITTABLE = 2;

export class DomainFactory {
  readonly #parts: Machinery;
  readonly #tableMemory: TableMemory;
  readonly #asids: Identifiers;
  readonly #vmids: Identifiers;
  readonly #nested = new Map<PagedDomain, NestedTableMemory>();
  #nextId = 1;

  constructor(parts: Machinery, tableMemory: TableMemory) {
    this.#parts = parts;
    this.#tableMemory = tableMemory;
    this.#asids = new Identifiers(1, 2 ** parts.features.asidBits - 1);
    // VMID 0 tags what only stage 1 translates.
    this.#vmids = new Identifiers(1, 2 ** parts.features.vmidBits - 1);
  }

  /** @throws RangeError for what the SMMU does not announce, or when ASIDs, VMIDs or memory run out. */
  create(options: DomainOptions): PagedDomain {
    const { stage } = options;
    const { features } = this.#parts;
    if (stage === 1 && !features.stage1) throw new RangeError('the SMMU has no stage 1 (SMMU_IDR0.S1P is 0)');
    if (stage === 2 && !features.stage2) throw new RangeError('the SMMU has no stage 2 (SMMU_IDR0.S2P is 0)');
    const parent = options.parent === undefined ? null : parentOf(options.parent);
    if (parent !== null && stage !== 1) throw new RangeError('what lies on a stage 2 domain is stage 1');
    if (parent !== null) refuseMixture(parent, false);
    const granule = this.#granule(options.granule);
    const arena =
      parent === null ? new TableArena(this.#parts.arena.memory, this.#tableMemory) : this.nestedArena(parent);
    const outputBits = granule === 65536 ? features.outputBits : Math.min(features.outputBits, 48);
    const blocks = features.breakBeforeMakeLevel >= SPLITTABLE;
    const wide = granule === 65536 && features.extendedVirtualAddresses;
    const inputBits = stage === 1 ? (wide ? 52 : 48) : outputBits;
    const ids = stage === 1 ? this.#asids : this.#vmids;
    const tag = ids.allocate();
    if (tag < 0) throw new RangeError(`all ${stage === 1 ? 'ASIDs' : 'VMIDs'} are in use`);
    const physicalBits = parent === null ? outputBits : parent.table.shape.inputBits;
    const { accessState, dirtyState } = hardwareState(features);
    let table: PageTable;
    try {
      table = new PageTable(geometry(stage, granule, inputBits, blocks), arena, physicalBits, dirtyState);
    } catch (error) {
      ids.free(tag);
      throw error;
    }
    const { invalidation } = this.#parts;
    const domain = new PagedDomain({
      id: this.#nextId++,
      table,
      arena,
      invalidation,
      tag,
      parent,
      accessState,
      dirtyState,
    });
    parent?.children.add(domain);
    return domain;
  }

  /** As `NestingIommu.createGuestDomain`. */
  createGuest(parentDomain: IommuDomain, tables: GuestTables): GuestDomain {
    const { features, arena, invalidation } = this.#parts;
    const parent = parentOf(parentDomain);
    refuseMixture(parent, true);
    const { contextTable, contextBits, contextFormat } = tables;
    if (contextBits > features.substreamIdBits)
      throw new RangeError(`PASIDs have ${features.substreamIdBits} bits here`);
    if (contextFormat !== 0 && !features.twoLevelContextTable)
      throw new RangeError('the SMMU has no two-level CD tables');
    if (contextTable % 64 !== 0 || contextTable < 0 || contextTable > parent.lastIova) {
      throw new RangeError(`no context descriptors at guest address 0x${contextTable.toString(16)}`);
    }
    const domain = new GuestDomain(this.#nextId++, parent, tables, arena, invalidation);
    parent.children.add(domain);
    return domain;
  }

  free(domain: SmmuDomain): void {
    assert(!domain.freed, `domain ${domain.id} is freed once`);
    assert(!domain.inUse && domain.children.size === 0, `domain ${domain.id} is freed when nothing uses it`);
    domain.freed = true;
    domain.handler = null;
    domain.parent?.children.delete(domain);
    if (!(domain instanceof PagedDomain)) return;
    domain.table.destroy();
    this.#nested.get(domain)?.destroy();
    this.#nested.delete(domain);
    (domain.stage === 1 ? this.#asids : this.#vmids).free(domain.tag);
  }

  /** Memory for tables that the SMMU reads through `parent`. */
  nestedArena(parent: PagedDomain): TableArena {
    let memory = this.#nested.get(parent);
    if (memory === undefined) {
      memory = new NestedTableMemory(this.#tableMemory, parent.table, hardwareState(this.#parts.features).accessState);
      this.#nested.set(parent, memory);
    }
    return new TableArena(this.#parts.arena.memory, memory, memory.offset);
  }

  #granule(wanted: Granule | undefined): Granule {
    const { granules } = this.#parts.features;
    const granule = wanted ?? granules[0];
    if (granule === undefined || !granules.includes(granule)) {
      throw new RangeError(`the SMMU has no ${(wanted ?? 0) / 1024} KiB granule, only ${granules.join(', ')} bytes`);
    }
    return granule;
  }
}

function parentOf(domain: IommuDomain): PagedDomain {
  const parent = ownDomain(domain);
  if (!(parent instanceof PagedDomain) || parent.stage !== 2) throw new RangeError('nesting needs a stage 2 domain');
  return parent;
}

/** ASIDs below one VMID are given out by the guest or by this driver, not by both. */
function refuseMixture(parent: PagedDomain, guest: boolean): void {
  for (const child of parent.children) {
    if (child.takesAllPasids !== guest) throw new RangeError('a guest and the host cannot share the ASIDs of one VM');
  }
}
