/** Registers (§6.3): reset values, which bits hold, guards, acknowledgements, access sizes. */
import { CR0, GBPA, REGISTERS } from '../../../src/iommu/spec/registers.layout.ts';
import { definedBits } from '../../../src/layout/register.ts';
import { program } from '../builder.ts';
import { COMMAND_QUEUE, EVENT_QUEUE, STREAM_TABLE } from '../memory-map.ts';
import type { Program } from '../program.ts';

const nameOf = (title: string): string => title.replace(/^SMMU_/, '');
const BASES = ['STRTAB_BASE', 'CMDQ_BASE', 'EVENTQ_BASE'];
const all = REGISTERS.map((layout) => ({ name: nameOf(layout.$.title), width: layout.$.width }));
/** Registers whose fields are all there whatever is announced. */
const HARMLESS = /_(CR1|STRTAB_BASE_CFG)$/;
const ones = (width: number): bigint => (1n << BigInt(width)) - 1n;

/** Registers of features that the compared machine does not announce have no defined behaviour to agree on. */
const ANNOUNCED = all.filter(({ name }) => !/^(S2PII|AGBPA|MPAMIDR|GMPAM|GBPMPAM|VATOS_SEL|IDR6|STATUSR)$/.test(name));

export const registers: readonly Program[] = [
  ...ANNOUNCED.map(({ name }) => program(`registers: ${name} after reset`, (p) => p.get(name))),
  ...ANNOUNCED.filter(({ name }) => !/^(CR0|GBPA|PIDR\d|CIDR\d)$/.test(name)).map(({ name, width }) =>
    program(`registers: ${name} with every bit written`, (p) => p.set(name, ones(width)).set(name, 0)),
  ),
  ...REGISTERS.filter(({ $ }) => HARMLESS.test($.title)).map((layout) => {
    const name = nameOf(layout.$.title);
    return program(`registers: ${name} with its fields written`, (p) => {
      p.set(name, definedBits(layout)).set(name, 0);
    });
  }),
  ...(
    [
      ['CR1', 0xd75],
      ['CR2', 7],
      ['STRTAB_BASE', STREAM_TABLE + 0x10000],
      ['STRTAB_BASE_CFG', 0x1_0208],
      ['CMDQ_BASE', COMMAND_QUEUE + 0x1000 + 5],
      ['EVENTQ_BASE', EVENT_QUEUE + 0x1000 + 5],
      ['EVENTQ_PROD', 3],
      ['CMDQ_CONS', 3],
    ] as const
  ).map(([name, value]) =>
    program(`registers: ${name} is guarded while the SMMU is on`, (p) => {
      p.enable().get(name).set(name, value);
    }),
  ),
  ...BASES.map((name) =>
    program(`registers: ${name} by halves`, (p) => {
      const offset = REGISTERS.find((layout) => nameOf(layout.$.title) === name)?.offset ?? 0;
      p.add({ op: 'poke', offset, size: 4, value: 0x4120_0004n }).get(name);
      p.add({ op: 'poke', offset: offset + 4, size: 4, value: 0x4000_0001n }).get(name);
      p.add({ op: 'peek', offset, size: 4 }).add({ op: 'peek', offset: offset + 4, size: 4 });
    }),
  ),
  ...CR0.$.fields
    .filter(({ name }) => !/^(VMW|DPT_WALK_EN|PRIQEN)$/.test(name))
    .map((field) =>
      program(`registers: CR0.${field.name} is acknowledged`, (p) => {
        p.set('CR0', field.mask32).get('CR0ACK').set('CR0', 0).get('CR0ACK');
      }),
    ),
  program('registers: CR0 without PRIQEN and VMW, which nothing announces', (p) => {
    p.set('CR0', 0x1c2).get('CR0ACK');
  }),
  ...[0, 1, 4, 5, 7].map((value) =>
    program(`registers: IRQ_CTRL ${value} is acknowledged`, (p) => {
      p.set('IRQ_CTRL', value).get('IRQ_CTRLACK');
    }),
  ),
  program('registers: GBPA takes a value with Update', (p) => {
    p.set('GBPA', GBPA.Update.mask32 + GBPA.ABORT.mask32);
  }),
  program('registers: GBPA keeps its value without Update', (p) => {
    p.set('GBPA', GBPA.ABORT.mask32).get('GBPA');
  }),
  program('registers: GBPA back to bypass', (p) => {
    p.set('GBPA', GBPA.Update.mask32 + GBPA.ABORT.mask32).set('GBPA', GBPA.Update.mask32);
  }),
  program('registers: GBPA attributes', (p) => {
    p.set('GBPA', GBPA.Update.mask32 + 0xf1f);
  }),
  program('registers: read-only registers ignore writes', (p) => {
    for (const name of ['IDR0', 'IDR1', 'IDR3', 'IDR5', 'CR0ACK', 'GERROR', 'IRQ_CTRLACK', 'AIDR']) p.set(name, 0);
  }),
  program('registers: GERRORN without a pending error', (p) => {
    p.set('GERRORN', 1).get('GERROR').set('GERRORN', 0).get('GERROR');
  }),
  program('registers: event queue indexes while off', (p) => {
    p.set('EVENTQ_PROD', 0x8000_0015).set('EVENTQ_CONS', 0x8000_0015);
  }),
  ...[0x1000, 0x8000, 0xe00, 0x1_0000, 0x1_00a0, 0x1_8000].map((offset) =>
    program(`registers: offset 0x${offset.toString(16)} is empty`, (p) => {
      p.add({ op: 'poke', offset, size: 4, value: 0xffff_ffffn }).add({ op: 'peek', offset, size: 4 });
    }),
  ),
];
