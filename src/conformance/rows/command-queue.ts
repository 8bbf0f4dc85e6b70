/** The command queue: opcodes, errors, order, wrapping, CMD_SYNC (IHI 0070 §3.5, §4.1, §4.7.3, §6.3.26 to §6.3.28, §7.1). */
import type { Bench } from '../bench/bench.ts';
import { encodeCommand } from '../bench/queues.ts';
import { PLACE } from '../bench/ram.ts';
import { STREAM } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import {
  CERROR,
  COMMANDS,
  type CommandFact,
  type CommandName,
  IMPLEMENTATION_OPCODES,
  RESERVED_OPCODES,
} from '../facts/commands.ts';
import { type Row, row } from '../row.ts';
import { NOWHERE } from '../subject.ts';

const hex = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`;
const raw = (opcode: number): Uint8Array => Uint8Array.from([opcode, ...new Array<number>(15).fill(0)]);

/** The queue stopped at `index` with this error, and shows it (§7.1). */
function stopped(b: Bench, index: number, error: number): void {
  equal('CMDQ_CONS.ERR', b.commands.error, error);
  equal('CMDQ_CONS.RD', b.commands.cons, index);
}

/** Puts the command after a good one, and a third behind it. */
function between(b: Bench, command: Uint8Array): void {
  b.commands.submit(encodeCommand('SYNC'), command, encodeCommand('SYNC'));
}

const reserved: Row[] = RESERVED_OPCODES.flatMap(([first, last]) =>
  Array.from({ length: last - first + 1 }, (_, n) => first + n).map((opcode) =>
    row('4.1.3', `opcode-${hex(opcode)}`, `opcode ${hex(opcode)} is reserved: CERROR_ILL`, (b) => {
      b.start();
      between(b, raw(opcode));
      stopped(b, 1, CERROR.ILL);
    }),
  ),
);

const [firstOwn, lastOwn] = IMPLEMENTATION_OPCODES;
const own: Row[] = Array.from({ length: lastOwn - firstOwn + 1 }, (_, n) => firstOwn + n).map((opcode) =>
  row(
    '4.1.1',
    `opcode-${hex(opcode)}`,
    `opcode ${hex(opcode)} is IMPLEMENTATION DEFINED: consumed, or CERROR_ILL`,
    (b) => {
      b.start();
      b.commands.submit(raw(opcode));
      const { error } = b.commands;
      if (error === CERROR.NONE) equal('CMDQ_CONS.RD', b.commands.cons, 1);
      else stopped(b, 0, CERROR.ILL);
    },
  ),
);

const secure: Row[] = COMMANDS.filter((fact) => fact.secureOnly === true).map((fact) =>
  row(fact.section, `${fact.name}-secure`, `CMD_${fact.name} on the Non-secure queue: CERROR_ILL`, (b) => {
    b.start();
    between(b, raw(fact.opcode));
    stopped(b, 1, CERROR.ILL);
  }),
);

/** Operands that name nothing and harm nothing. */
const OPERANDS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  ATC_INV: { StreamID: STREAM, Size: 0 },
  PRI_RESP: { StreamID: STREAM, Resp: 0b10 },
  RESUME: { StreamID: STREAM, STAG: 0xffff },
};

const usable = COMMANDS.filter((fact) => fact.secureOnly !== true);

function stallModel(b: Bench, fact: CommandFact): void {
  if (fact.requiresStall === true) b.needs({ STALL_MODEL: b.feature('STALL_MODEL') === 2 ? 2 : 0 });
}

const accepted: Row[] = usable.map((fact) => {
  const name = fact.name as CommandName;
  const check = (b: Bench) => {
    stallModel(b, fact);
    b.start();
    b.commands.submit(encodeCommand('SYNC'), encodeCommand(name, OPERANDS[name] ?? {}), encodeCommand('SYNC'));
    equal('CMDQ_CONS.ERR', b.commands.error, CERROR.NONE);
    equal('CMDQ_CONS.RD', b.commands.cons, 3);
  };
  const absent = (b: Bench) => {
    b.start();
    equal('CMDQ_CONS.ERR', b.commands.attempt(name, OPERANDS[name] ?? {}), CERROR.ILL);
  };
  const features = (fact.requires ?? {}) as Record<string, number>;
  return row(fact.section, `${fact.name}-accepted`, `CMD_${fact.name} (${hex(fact.opcode)}) is consumed`, check, {
    features,
    ...(fact.requires === undefined ? {} : { absent }),
  });
});

/** Each feature switched off makes its commands CERROR_ILL. */
const unsupported: Row[] = usable.flatMap((fact) => {
  const [feature] = Object.keys(fact.requires ?? {});
  if (feature === undefined || ['MPAM', 'DPT'].includes(feature)) return [];
  const name = fact.name as CommandName;
  const off = feature === 'S1P' ? { S1P: 0, S2P: 1 } : { [feature]: 0 };
  return [
    row(
      fact.section,
      `${fact.name}-unsupported`,
      `CMD_${fact.name} without ${feature}: CERROR_ILL`,
      (b) => {
        b.start();
        b.commands.submit(encodeCommand('SYNC'), encodeCommand(name, OPERANDS[name] ?? {}));
        stopped(b, 1, CERROR.ILL);
      },
      { features: off },
    ),
  ];
});

const secureStream: Row[] = usable
  .filter((fact) => fact.fields.some((field) => field.name === 'SSec'))
  .map((fact) => {
    const name = fact.name as CommandName;
    return row(
      '4.1.6',
      `${fact.name}-ssec`,
      `CMD_${fact.name} with SSec=1 on the Non-secure queue: CERROR_ILL`,
      (b) => {
        stallModel(b, fact);
        b.start();
        equal('CMDQ_CONS.ERR', b.commands.attempt(name, { ...OPERANDS[name], SSec: 1 }), CERROR.ILL);
      },
      { features: (fact.requires ?? {}) as Record<string, number> },
    );
  });

const parameters: Row[] = [
  row('4.5.2', 'PRI_RESP-reserved', 'CMD_PRI_RESP with Resp=0b11: CERROR_ILL', (b) => {
    b.needs({ PRI: 1 });
    b.start();
    equal('CMDQ_CONS.ERR', b.commands.attempt('PRI_RESP', { StreamID: STREAM, Resp: 0b11 }), CERROR.ILL);
  }),
  row(
    '4.1.3',
    'illegal-before-ignored',
    'CERROR_ILL comes before a command is ignored: CMD_PRI_RESP, SMMUEN=0',
    (b) => {
      b.needs({ PRI: 1 });
      b.start({ SMMUEN: 0 });
      equal('CMDQ_CONS.ERR', b.commands.attempt('PRI_RESP', { StreamID: STREAM, Resp: 0b11 }), CERROR.ILL);
    },
  ),
  row('4.7.3', 'cs-reserved', 'CMD_SYNC with CS=0b11: CERROR_ILL', (b) => {
    b.start();
    equal('CMDQ_CONS.ERR', b.commands.attempt('SYNC', { CS: 0b11 }), CERROR.ILL);
  }),
  ...[53, 60, 63].map((Size) =>
    row('4.5.1', `size-${Size}`, `CMD_ATC_INV with Size=${Size}, beyond 52: CERROR_ILL or some span`, (b) => {
      b.needs({ ATS: 1 });
      b.start();
      const error = b.commands.attempt('ATC_INV', { StreamID: STREAM, Size });
      if (error !== CERROR.NONE) equal('CMDQ_CONS.ERR', error, CERROR.ILL);
    }),
  ),
  row('4.1.7', 'stream-out-of-range', 'a StreamID out of range is no error', (b) => {
    b.start();
    b.commands.run('CFGI_STE', { StreamID: 0xffff_ffff });
    b.commands.run('PREFETCH_CONFIG', { StreamID: 0xffff_ffff });
    b.commands.sync();
    b.noEvent();
  }),
];

const errors: Row[] = [
  row('7.1', 'abort', 'an abort on the fetch of a command: CERROR_ABT, RD stays', (b) => {
    b.start({ CMDQEN: 0 });
    b.registers.write('CMDQ_BASE', NOWHERE + b.commands.log2);
    b.control({ CMDQEN: 1 });
    b.registers.write('CMDQ_PROD', 1);
    b.settle();
    stopped(b, 0, CERROR.ABT);
  }),
  row('7.1', 'older-consumed', 'commands before the erroneous one are consumed', (b) => {
    b.start();
    b.commands.submit(encodeCommand('SYNC'), encodeCommand('SYNC'), raw(0));
    stopped(b, 2, CERROR.ILL);
  }),
  row('7.1', 'newer-without-effect', 'commands behind the erroneous one have no effect', (b) => {
    b.needs({ PRI: 1 });
    b.start();
    b.commands.submit(raw(0), encodeCommand('PRI_RESP', { StreamID: STREAM, Resp: 0b10 }));
    equal('responses', b.system.responses.length, 0);
    stopped(b, 0, CERROR.ILL);
  }),
  row('7.1', 'stopped', 'while CMDQ_ERR is active further writes of PROD consume nothing', (b) => {
    b.start();
    b.commands.submit(raw(0));
    b.commands.submit(encodeCommand('SYNC'));
    stopped(b, 0, CERROR.ILL);
  }),
  row('7.1', 'restart', 'acknowledging CMDQ_ERR restarts processing without a write of PROD', (b) => {
    b.start();
    b.commands.submit(raw(0), encodeCommand('SYNC'));
    b.commands.recover();
    equal('CMDQ_CONS.RD', b.commands.cons, 2);
    equal('CMDQ_CONS.ERR', b.commands.error, CERROR.NONE);
  }),
  row('7.1', 'refetch', 'the erroneous command is fetched again: a replaced one is carried out', (b) => {
    b.needs({ PRI: 1 });
    b.start();
    b.commands.submit(raw(0xff));
    b.ram.write(b.commands.addressOf(0), encodeCommand('PRI_RESP', { StreamID: STREAM, Resp: 0b10, PRGIndex: 3 }));
    b.commands.acknowledge();
    equal(
      'responses',
      b.system.responses.map(({ groupIndex }) => groupIndex),
      [3],
    );
  }),
  row('7.1', 'again', 'a command that is still bad after the acknowledgement stops the queue again', (b) => {
    b.start();
    b.commands.submit(raw(0));
    b.commands.acknowledge();
    stopped(b, 0, CERROR.ILL);
    equal('GERROR.CMDQ_ERR', b.registers.get('GERROR', 'CMDQ_ERR'), 0);
  }),
  row('7.1', 'move-back', 'while the error is active PROD may be moved back to CONS', (b) => {
    b.start();
    b.commands.submit(encodeCommand('SYNC'), raw(0), encodeCommand('SYNC'));
    b.registers.write('CMDQ_PROD', 1);
    b.commands.acknowledge();
    equal('CMDQ_CONS.ERR', b.commands.error, CERROR.NONE);
    equal('CMDQ_CONS.RD', b.commands.cons, 1);
  }),
  row('6.3.28', 'enable-keeps-error', 'CMDQEN 1 to 0 to 1 does not acknowledge CMDQ_ERR', (b) => {
    b.start();
    b.commands.submit(raw(0));
    b.control({ CMDQEN: 0 });
    b.control({ CMDQEN: 1 });
    stopped(b, 0, CERROR.ILL);
  }),
];

const ring: Row[] = [
  ...[0, 1, 4].map((log2) =>
    row('3.5.1', `command-size-${log2}`, `a command queue of 2^${log2} entries wraps with its flag`, (b) => {
      b.start({ commands: log2 });
      const entries = 2 ** log2;
      for (let n = 1; n <= 4 * entries; n++) {
        b.commands.run('SYNC');
        equal('CMDQ_CONS.RD', b.commands.cons, n % (2 * entries));
      }
    }),
  ),
  row('3.5.1', 'command-full', 'a full command queue is consumed entirely', (b) => {
    b.start({ commands: 3 });
    b.commands.submit(...Array.from({ length: 8 }, () => encodeCommand('SYNC')));
    equal('CMDQ_CONS.RD', b.commands.cons, 8);
  }),
  ...[0, 3, 7, 8, 12, 15].map((start) =>
    row(
      '3.5.1',
      `command-start-${start}`,
      `a queue of 8 commands that starts at index ${start} is consumed in order`,
      (b) => {
        b.needs({ PRI: 1 });
        b.start({ commands: 3, CMDQEN: 0 });
        b.registers.write('CMDQ_PROD', start);
        b.registers.write('CMDQ_CONS', start);
        b.control({ CMDQEN: 1 });
        const commands = [5, 6, 7].map((PRGIndex) =>
          encodeCommand('PRI_RESP', { StreamID: STREAM, Resp: 2, PRGIndex }),
        );
        b.commands.submit(...commands);
        equal(
          'responses',
          b.system.responses.map(({ groupIndex }) => groupIndex),
          [5, 6, 7],
        );
        equal('CMDQ_CONS.RD', b.commands.cons, (start + 3) % 16);
      },
    ),
  ),
  row(
    '6.3.26',
    'size-cap',
    'a LOG2SIZE above IDR1.CMDQS counts as CMDQS, and reads back as written',
    (b) => {
      b.start({ CMDQEN: 0 });
      b.registers.write('CMDQ_BASE', b.commands.base + 19);
      b.registers.write('CMDQ_PROD', 15);
      b.registers.write('CMDQ_CONS', 15);
      b.control({ CMDQEN: 1 });
      b.commands.log2 = 4;
      b.commands.submit(encodeCommand('SYNC'), encodeCommand('SYNC'));
      equal('LOG2SIZE', b.registers.get('CMDQ_BASE', 'LOG2SIZE'), 19);
      equal('CMDQ_CONS.RD', b.commands.cons, 17);
      equal('CMDQ_CONS.ERR', b.commands.error, CERROR.NONE);
    },
    { features: { CMDQS: 4 } },
  ),
  row('6.3.26', 'alignment', 'CMDQ_BASE is aligned down to the size of the queue', (b) => {
    b.start({ CMDQEN: 0, commands: 4 });
    b.registers.write('CMDQ_BASE', b.commands.base + 0x40 + 4);
    b.control({ CMDQEN: 1 });
    b.commands.run('SYNC');
  }),
];

const sync: Row[] = [
  row('4.7.3', 'none', 'CMD_SYNC with CS=SIG_NONE sends no signal', (b) => {
    b.start();
    const MSI = b.feature('MSI') === 1 ? { MSIAddress: PLACE.doorbell / 4, MSIData: 0x55 } : {};
    b.commands.run('SYNC', { CS: 0, ...MSI });
    equal('interrupts', b.system.takeInterrupts(), []);
    equal('wake-ups', b.system.wakeUps, 0);
    equal('message', b.ram.read32(PLACE.doorbell), 0);
  }),
  row('4.7.3', 'irq', 'CMD_SYNC with CS=SIG_IRQ raises its wired interrupt, whatever IRQ_CTRL says', (b) => {
    b.start();
    b.commands.run('SYNC', { CS: 1 });
    equal('interrupts', b.system.takeInterrupts(), ['sync']);
  }),
  row('4.7.3', 'irq-message', 'CMD_SYNC with CS=SIG_IRQ: a 32-bit write of MSIData to MSIAddress', (b) => {
    b.needs({ MSI: 1 });
    b.start();
    b.commands.run('SYNC', { CS: 1, MSIAddress: (PLACE.doorbell + 4) / 4, MSIData: 0xcafe_f00d });
    equal('message', b.ram.read64(PLACE.doorbell), 0xcafe_f00d_0000_0000n);
  }),
  row(
    '4.7.3',
    'irq-message-and-wire',
    'CMD_SYNC with CS=SIG_IRQ: the wired interrupt comes whatever MSIAddress is',
    (b) => {
      b.needs({ MSI: 1 });
      b.start();
      b.commands.run('SYNC', { CS: 1, MSIAddress: PLACE.doorbell / 4, MSIData: 1 });
      equal('interrupts', b.system.takeInterrupts(), ['sync']);
    },
  ),
  row('4.7.3', 'irq-no-message', 'CMD_SYNC with MSIAddress=0 sends no message', (b) => {
    b.needs({ MSI: 1 });
    b.start();
    b.commands.run('SYNC', { CS: 1, MSIAddress: 0, MSIData: 0x55 });
    equal('GERROR', b.registers.read('GERROR'), 0);
  }),
  row(
    '4.7.3',
    'irq-far',
    'CMD_SYNC: MSIAddress reaches beyond 32 bits',
    (b) => {
      b.start();
      b.commands.run('SYNC', { CS: 1, MSIAddress: 0xab_0000_0040 / 4, MSIData: 7 });
      equal('address', b.system.farWrites[0]?.address, 0xab_0000_0040);
    },
    { features: { MSI: 1, OAS: 5 } },
  ),
  row(
    '7.5',
    'sync-message-abort',
    'a CMD_SYNC message that aborts activates MSI_CMDQ_ABT_ERR; the command is consumed',
    (b) => {
      b.needs({ MSI: 1 });
      b.start();
      b.commands.run('SYNC', { CS: 1, MSIAddress: NOWHERE / 4, MSIData: 1 });
      equal('GERROR.MSI_CMDQ_ABT_ERR', b.registers.get('GERROR', 'MSI_CMDQ_ABT_ERR'), 1);
    },
  ),
  row(
    '4.7.3',
    'message-beyond-oas',
    'CMD_SYNC: an MSIAddress that is zero but for bits beyond the OAS sends a message, to the truncated address',
    (b) => {
      b.start();
      // Nothing answers at address 0.
      b.commands.run('SYNC', { CS: 1, MSIAddress: 2 ** 50 / 4, MSIData: 1 });
      equal('GERROR.MSI_CMDQ_ABT_ERR', b.registers.get('GERROR', 'MSI_CMDQ_ABT_ERR'), 1);
    },
    { features: { MSI: 1, OAS: 5 } },
  ),
  row(
    '4.7.3',
    'no-msi',
    'MSI=0: MSIAddress is ignored, the wired interrupt comes',
    (b) => {
      b.start();
      b.commands.run('SYNC', { CS: 1, MSIAddress: PLACE.doorbell / 4, MSIData: 0x55 });
      equal('message', b.ram.read32(PLACE.doorbell), 0);
      equal('interrupts', b.system.takeInterrupts(), ['sync']);
    },
    { features: { MSI: 0 } },
  ),
  row(
    '4.7.3',
    'sev',
    'CMD_SYNC with CS=SIG_SEV sends a wake-up event',
    (b) => {
      b.start();
      b.commands.run('SYNC', { CS: 2 });
      equal('wake-ups', b.system.wakeUps, 1);
      equal('interrupts', b.system.takeInterrupts(), []);
    },
    { features: { SEV: 1 } },
  ),
  row(
    '4.7.3',
    'no-sev',
    'SEV=0: CMD_SYNC with CS=SIG_SEV acts as SIG_NONE',
    (b) => {
      b.start();
      b.commands.run('SYNC', { CS: 2 });
      equal('wake-ups', b.system.wakeUps, 0);
    },
    { features: { SEV: 0 } },
  ),
  row('4.7.3', 'consumed-first', 'the consumption of CMD_SYNC is visible when its interrupt is', (b) => {
    b.start();
    let seen = -1;
    b.system.interrupt = () => {
      seen = b.commands.cons;
    };
    b.commands.run('SYNC', { CS: 1 });
    equal('CMDQ_CONS.RD at the interrupt', seen, 1);
  }),
  row('4.7.3', 'not-consumed-without-signal', 'a CMD_SYNC behind an error sends no signal', (b) => {
    b.start();
    b.commands.submit(raw(0), encodeCommand('SYNC', { CS: 1 }));
    equal('interrupts', b.system.takeInterrupts(), []);
  }),
  row(
    '4.1.2',
    'wake-up',
    'SEV=1: a full queue that is no longer full sends a wake-up event',
    (b) => {
      b.needs({ SEV: 1 });
      b.start({ commands: 1, CMDQEN: 0 });
      b.commands.submit(encodeCommand('SYNC'), encodeCommand('SYNC'));
      b.control({ CMDQEN: 1 });
      equal('wake-ups', b.system.wakeUps > 0, true);
    },
    { features: { SEV: 1 } },
  ),
];

export const commandQueueRows: readonly Row[] = [
  ...reserved,
  ...own,
  ...secure,
  ...accepted,
  ...unsupported,
  ...secureStream,
  ...parameters,
  ...errors,
  ...ring,
  ...sync,
];
