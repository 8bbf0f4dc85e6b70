/** The command queue: every opcode, illegal ones, errors and recovery, wrap, sizes, completion (§4, §3.5, §7.1). */
import { COMMANDS, Opcode } from '../../../src/iommu/spec/commands.layout.ts';
import { program } from '../builder.ts';
import { COMMAND_QUEUE, NOWHERE } from '../memory-map.ts';
import type { Command, CommandName, Program } from '../program.ts';

const names = Object.keys(COMMANDS) as CommandName[];
const taken = new Set<number>(Object.values(Opcode));
const SYNC: Command = { name: 'SYNC' };

/** One of each class of reserved opcodes (§4.1.3). */
const RESERVED = [0x00, 0x08, 0x0f, 0x14, 0x19, 0x2b, 0x31, 0x42, 0x47, 0x61, 0x6f, 0x7f, 0x80, 0xff].filter(
  (opcode) => !taken.has(opcode),
);

export const commands: readonly Program[] = [
  ...names.map((name) =>
    program(`commands: CMD_${name} with zero operands`, (p) => {
      p.enable().commands([{ name }, SYNC]);
    }),
  ),
  ...RESERVED.map((opcode) =>
    program(`commands: opcode 0x${opcode.toString(16)}`, (p) => {
      p.enable().commands([{ words: { 0: opcode } }, SYNC]);
    }),
  ),
  ...(
    [
      ['CFGI_STE', { SSec: 1 }],
      ['CFGI_CD', { SSec: 1 }],
      ['CFGI_STE_RANGE', { SSec: 1, Range: 31 }],
      ['CFGI_STE', { StreamID: 0xffff_ffff }],
      ['CFGI_CD', { StreamID: 0xffff_ffff }],
      ['CFGI_CD_ALL', { StreamID: 0xffff_ffff }],
      ['CFGI_STE', { StreamID: 0x100 }],
      ['CFGI_CD', { StreamID: 8, SubstreamID: 1 }],
      ['CFGI_CD', { StreamID: 8, SubstreamID: 0xf_ffff }],
      ['SYNC', { CS: 1 }],
      ['SYNC', { CS: 2 }],
      ['SYNC', { CS: 3 }],
      ['TLBI_NH_VA', { TG: 1, TTL: 1, Address: 0 }],
      ['TLBI_NH_VA', { TG: 2, TTL: 1, Address: 0 }],
      ['TLBI_NH_VA', { TG: 1, NUM: 3, SCALE: 32, Address: 0 }],
      ['TLBI_NH_VA', { Address: 2 ** 52 - 1 }],
    ] as [CommandName, Record<string, number>][]
  ).map(([name, fields]) =>
    program(`commands: CMD_${name} with ${JSON.stringify(fields).replace(/["{}]/g, '')}`, (p) => {
      p.enable().commands([{ name, fields }, SYNC]);
    }),
  ),
  program('commands: an error stops the queue; fixed and acknowledged, it goes on', (p) => {
    p.enable()
      .commands([SYNC, { words: { 0: 0xff } }, SYNC])
      .get('CMDQ_PROD', 'GERRORN');
    p.word(COMMAND_QUEUE + 16, 0x46n)
      .set('GERRORN', 1)
      .get('CMDQ_CONS', 'GERROR');
    p.commands([SYNC]);
  }),
  program('commands: an error stays until it is acknowledged', (p) => {
    p.enable()
      .commands([{ words: { 0: 0xff } }])
      .commands([SYNC, SYNC]);
    p.word(COMMAND_QUEUE, 0x46n).commands([SYNC]).set('GERRORN', 1).commands([SYNC]);
  }),
  program('commands: an error again at the same place', (p) => {
    p.enable()
      .commands([{ words: { 0: 0xff } }])
      .set('GERRORN', 1)
      .get('CMDQ_CONS', 'GERROR')
      .commands([SYNC]);
  }),
  program('commands: an error, the queue off and on', (p) => {
    p.enable().commands([{ words: { 0: 0xff } }, SYNC]);
    p.set('CR0', 5).set('GERRORN', 1).set('CMDQ_PROD', 0).set('CMDQ_CONS', 0).get('CMDQ_CONS').set('CR0', 0xd);
    p.get('CMDQ_CONS', 'GERROR');
  }),
  program('commands: nothing is consumed while the queue is off', (p) => {
    p.enable({ CR0: { CMDQEN: 0 } }).commands([SYNC, SYNC]);
    p.set('CR0', 0xd).get('CMDQ_CONS', 'GERROR');
  }),
  program('commands: the queue works with SMMUEN off', (p) => {
    p.enable({ CR0: { SMMUEN: 0 } }).commands([{ name: 'TLBI_NSNH_ALL' }, SYNC]);
  }),
  ...[0, 1, 2, 3].map((log2) =>
    program(
      `commands: a queue of ${2 ** log2}, round three times`,
      (p) => {
        p.enable();
        for (let round = 0; round < 3 * 2 ** log2; round++) p.commands([SYNC]);
        p.get('CMDQ_PROD');
      },
      { commands: log2 },
    ),
  ),
  program(
    'commands: a full queue in one write',
    (p) => {
      p.enable().commands(Array.from({ length: 8 }, () => SYNC));
      p.commands(Array.from({ length: 8 }, () => SYNC));
    },
    { commands: 3 },
  ),
  program(
    'commands: an error at the wrap',
    (p) => {
      p.enable().commands([SYNC, SYNC, SYNC]);
      p.commands([{ words: { 0: 0xff } }, SYNC]);
    },
    { commands: 2 },
  ),
  program('commands: a queue nowhere', (p) => {
    p.enable({ CR0: { CMDQEN: 0 } })
      .set('CMDQ_BASE', NOWHERE + 4)
      .set('CR0', 0xd);
    p.commands([SYNC]);
  }),
  program('commands: CMDQ_PROD and CMDQ_CONS keep their wrap bits', (p) => {
    p.enable({ CR0: { CMDQEN: 0 } })
      .set('CMDQ_PROD', 0x100)
      .set('CMDQ_CONS', 0x100)
      .set('CR0', 0xd)
      .get('CMDQ_CONS');
  }),
  program('commands: a base off its alignment', (p) => {
    p.enable({ CR0: { CMDQEN: 0 } })
      .set('CMDQ_BASE', COMMAND_QUEUE + 0x60 + 8)
      .set('CR0', 0xd)
      .commands([SYNC]);
  }),
  program('commands: size beyond CMDQS', (p) => p.set('CMDQ_BASE', COMMAND_QUEUE + 31)),
  program('commands: ten different ones at once', (p) => {
    p.enable().commands([
      { name: 'CFGI_STE', fields: { StreamID: 8, Leaf: 1 } },
      { name: 'CFGI_STE_RANGE', fields: { Range: 31 } },
      { name: 'CFGI_CD', fields: { StreamID: 8 } },
      { name: 'CFGI_CD_ALL', fields: { StreamID: 8 } },
      { name: 'TLBI_NH_ALL' },
      { name: 'TLBI_NH_ASID', fields: { ASID: 3 } },
      { name: 'TLBI_NH_VAA', fields: { Address: 5 } },
      { name: 'TLBI_S12_VMALL', fields: { VMID: 1 } },
      { name: 'TLBI_S2_IPA', fields: { VMID: 1, Address: 5 } },
      SYNC,
    ]);
  }),
];
