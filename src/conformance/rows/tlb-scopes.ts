/** TLB invalidation: every command against every kind of entry, within its scope and beside it (IHI 0070 §3.17, §4.4). */
import { PAGE } from '../bench/bench.ts';
import type { Fields } from '../bench/queues.ts';
import {
  ASID,
  type Kind,
  NEEDS,
  OTHER_ASID,
  OTHER_PAGE,
  OTHER_VMID,
  PAGE_OF,
  stale,
  VMID,
} from '../bench/tlb-entries.ts';
import { COMMANDS, type CommandFact, type CommandName } from '../facts/commands.ts';
import { type Row, row } from '../row.ts';

interface Scope {
  readonly command: CommandName;
  readonly section: string;
  readonly fields: Fields;
  /** What the operands say, in words. */
  readonly what: string;
  readonly gone: readonly Kind[];
  readonly kept: readonly Kind[];
}

const EL1_ALL = ['EL1', 'EL1 global', 'nested'] as const;
const EL2_ALL = ['EL2', 'E2H', 'E2H global'] as const;

/** Required scopes (§4.4.2 to §4.4.4), and entries beside them. */
const SCOPES: readonly Scope[] = [
  {
    command: 'TLBI_NH_ALL',
    section: '4.4.2.1',
    fields: { VMID },
    what: 'the VMID',
    gone: EL1_ALL,
    kept: ['stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_ALL',
    section: '4.4.2.1',
    fields: { VMID: OTHER_VMID },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_ASID',
    section: '4.4.2.2',
    fields: { VMID, ASID },
    what: 'VMID and ASID',
    gone: ['EL1', 'nested'],
    kept: ['EL1 global', 'stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_ASID',
    section: '4.4.2.2',
    fields: { VMID, ASID: OTHER_ASID },
    what: 'another ASID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_ASID',
    section: '4.4.2.2',
    fields: { VMID: OTHER_VMID, ASID },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID, ...PAGE_OF },
    what: 'VMID, ASID, VA',
    gone: EL1_ALL,
    kept: ['stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID, ...PAGE_OF, Leaf: 1 },
    what: 'VMID, ASID, VA, Leaf',
    gone: EL1_ALL,
    kept: [],
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID: OTHER_ASID, ...PAGE_OF },
    what: 'another ASID',
    gone: ['EL1 global'],
    kept: ['EL1', 'nested'],
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID: OTHER_VMID, ASID, ...PAGE_OF },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VA',
    section: '4.4.2.4',
    fields: { VMID, ASID, Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID, ...PAGE_OF },
    what: 'VMID and VA',
    gone: EL1_ALL,
    kept: ['stage 2', ...EL2_ALL],
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID, ...PAGE_OF, Leaf: 1 },
    what: 'VMID, VA, Leaf',
    gone: EL1_ALL,
    kept: [],
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID: OTHER_VMID, ...PAGE_OF },
    what: 'another VMID',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_NH_VAA',
    section: '4.4.2.3',
    fields: { VMID, Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL1_ALL,
  },
  {
    command: 'TLBI_EL2_ALL',
    section: '4.4.2.7',
    fields: {},
    what: 'everything of EL2',
    gone: EL2_ALL,
    kept: ['EL1', 'EL1 global', 'stage 2', 'nested'],
  },
  {
    command: 'TLBI_EL2_ASID',
    section: '4.4.2.10',
    fields: { ASID },
    what: 'the ASID',
    gone: ['E2H'],
    kept: ['E2H global', 'EL1'],
  },
  {
    command: 'TLBI_EL2_ASID',
    section: '4.4.2.10',
    fields: { ASID: OTHER_ASID },
    what: 'another ASID',
    gone: [],
    kept: ['E2H', 'E2H global'],
  },
  {
    command: 'TLBI_EL2_VA',
    section: '4.4.2.8',
    fields: { ASID, ...PAGE_OF },
    what: 'ASID and VA',
    gone: EL2_ALL,
    kept: ['EL1', 'EL1 global', 'stage 2'],
  },
  {
    command: 'TLBI_EL2_VA',
    section: '4.4.2.8',
    fields: { ASID: OTHER_ASID, ...PAGE_OF },
    what: 'another ASID',
    gone: ['EL2', 'E2H global'],
    kept: ['E2H'],
  },
  {
    command: 'TLBI_EL2_VA',
    section: '4.4.2.8',
    fields: { ASID, Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL2_ALL,
  },
  {
    command: 'TLBI_EL2_VAA',
    section: '4.4.2.9',
    fields: PAGE_OF,
    what: 'the VA',
    gone: EL2_ALL,
    kept: ['EL1', 'stage 2'],
  },
  {
    command: 'TLBI_EL2_VAA',
    section: '4.4.2.9',
    fields: { Address: OTHER_PAGE / 4096 },
    what: 'another VA',
    gone: [],
    kept: EL2_ALL,
  },
  {
    command: 'TLBI_S12_VMALL',
    section: '4.4.3.2',
    fields: { VMID },
    what: 'the VMID',
    gone: [...EL1_ALL, 'nested stage 2', 'stage 2'],
    kept: EL2_ALL,
  },
  {
    command: 'TLBI_S12_VMALL',
    section: '4.4.3.2',
    fields: { VMID: OTHER_VMID },
    what: 'another VMID',
    gone: [],
    kept: [...EL1_ALL, 'stage 2'],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID, ...PAGE_OF },
    what: 'VMID and IPA',
    gone: ['stage 2'],
    kept: ['EL1', 'EL1 global', ...EL2_ALL],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID, ...PAGE_OF, Leaf: 1 },
    what: 'VMID, IPA, Leaf',
    gone: ['stage 2'],
    kept: [],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID: OTHER_VMID, ...PAGE_OF },
    what: 'another VMID',
    gone: [],
    kept: ['stage 2'],
  },
  {
    command: 'TLBI_S2_IPA',
    section: '4.4.3.1',
    fields: { VMID, Address: OTHER_PAGE / 4096 },
    what: 'another IPA',
    gone: [],
    kept: ['stage 2'],
  },
  {
    command: 'TLBI_NSNH_ALL',
    section: '4.4.4.1',
    fields: {},
    what: 'everything outside EL2',
    gone: [...EL1_ALL, 'nested stage 2', 'stage 2'],
    kept: EL2_ALL,
  },
];

/** A command as a fact: what it requires is narrower than its type says. */
const factOf = (name: CommandName): CommandFact | undefined => COMMANDS.find((command) => command.name === name);

const scopes: Row[] = SCOPES.flatMap(({ command, section, fields, what, gone, kept }) => {
  const name = `${command}-${what.replaceAll(/[ ,]+/g, '-')}`;
  return [
    ...gone.map((kind) =>
      row(
        section,
        `${name}-${kind}`,
        `CMD_${command} by ${what}: a stale ${kind} entry is gone`,
        (b) => {
          const entry = stale(b, kind);
          b.commands.run(command, fields);
          b.commands.sync();
          b.aborts(entry.access);
        },
        { features: NEEDS[kind] },
      ),
    ),
    ...kept.map((kind) =>
      row(
        section,
        `${name}-keeps-${kind}`,
        `CMD_${command} by ${what}: a ${kind} entry need not go`,
        (b) => {
          b.needs(factOf(command)?.requires ?? {});
          const entry = stale(b, kind);
          b.commands.run(command, fields);
          b.commands.sync();
          b.keeps(entry.access, PAGE);
        },
        { features: NEEDS[kind] },
      ),
    ),
  ];
});

export const tlbScopeRows: readonly Row[] = scopes;
