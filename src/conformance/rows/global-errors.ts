/** Global errors, interrupts and messages (IHI 0070 §3.18, §6.3.16 to §6.3.23, §7.5). */
import { type Bench, VA } from '../bench/bench.ts';
import { PLACE } from '../bench/ram.ts';
import { STREAM } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';
import { type InterruptSource, NOWHERE } from '../subject.ts';

const RESERVED_COMMAND = new Uint8Array(16);
const MESSAGE = 0x1122_3344;

/** One thing that makes each source speak. */
const SOURCES: readonly {
  readonly source: InterruptSource;
  readonly name: 'EVENTQ' | 'PRIQ' | 'GERROR';
  readonly enable: string;
  readonly abort: string;
  readonly act: (b: Bench) => void;
}[] = [
  {
    source: 'event',
    name: 'EVENTQ',
    enable: 'EVENTQ_IRQEN',
    abort: 'MSI_EVENTQ_ABT_ERR',
    act: (b) => {
      b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
      b.aborts({ va: VA });
    },
  },
  { source: 'priority', name: 'PRIQ', enable: 'PRIQ_IRQEN', abort: 'MSI_PRIQ_ABT_ERR', act: (b) => b.requestPage() },
  {
    source: 'globalError',
    name: 'GERROR',
    enable: 'GERROR_IRQEN',
    abort: 'MSI_GERROR_ABT_ERR',
    act: (b) => b.commands.submit(RESERVED_COMMAND),
  },
];

function wanted(b: Bench, name: string): void {
  if (name === 'PRIQ') b.needs({ PRI: 1 });
}

/** Sets up the message of a source. */
function message(b: Bench, name: string, address: number): void {
  b.needs({ MSI: 1 });
  b.registers.write(`${name}_IRQ_CFG0`, address);
  b.registers.write(`${name}_IRQ_CFG1`, MESSAGE);
  b.registers.write(`${name}_IRQ_CFG2`, 0);
}

const enabled = (b: Bench, enable: string): void => {
  b.registers.set('IRQ_CTRL', { [enable]: 1 });
  b.settle();
};

const interrupts: Row[] = SOURCES.flatMap(({ source, name, enable, abort, act }) => [
  row('3.18.2', `${name}-wired`, `${name}: ${enable}=1 raises the wired interrupt`, (b) => {
    wanted(b, name);
    b.start();
    enabled(b, enable);
    act(b);
    equal(
      'interrupts',
      b.system.takeInterrupts().filter((entry) => entry === source),
      [source],
    );
  }),
  row('3.18.2', `${name}-disabled`, `${name}: ${enable}=0 raises nothing and sends nothing`, (b) => {
    wanted(b, name);
    b.start();
    if (b.feature('MSI') === 1) message(b, name, PLACE.doorbell);
    act(b);
    equal('interrupts', b.system.takeInterrupts(), []);
    equal('message', b.ram.read32(PLACE.doorbell), 0);
  }),
  row('3.18', `${name}-message`, `${name}: the MSI is a 32-bit write of DATA to ADDR`, (b) => {
    wanted(b, name);
    b.start();
    message(b, name, PLACE.doorbell + 4);
    enabled(b, enable);
    act(b);
    equal('message', b.ram.read64(PLACE.doorbell), BigInt(MESSAGE) << 32n);
    equal('beyond', b.ram.read32(PLACE.doorbell + 8), 0);
  }),
  row('3.18.2', `${name}-no-address`, `${name}: with ADDR=0 no MSI is sent; the wired interrupt is`, (b) => {
    wanted(b, name);
    b.start();
    message(b, name, 0);
    enabled(b, enable);
    act(b);
    equal(
      'interrupts',
      b.system.takeInterrupts().filter((entry) => entry === source),
      [source],
    );
    equal('GERROR', b.registers.get('GERROR', abort), 0);
  }),
  row('7.5', `${name}-message-abort`, `${name}: an MSI that aborts activates ${abort}`, (b) => {
    wanted(b, name);
    b.start();
    message(b, name, NOWHERE);
    enabled(b, enable);
    act(b);
    equal(`GERROR.${abort}`, b.registers.get('GERROR', abort), 1);
  }),
  row(
    '3.18.2',
    `${name}-far`,
    `${name}: ADDR reaches beyond 32 bits`,
    (b) => {
      wanted(b, name);
      b.start();
      message(b, name, 0xab_0000_0040);
      enabled(b, enable);
      act(b);
      equal(
        'message',
        b.system.farWrites.map(({ address, size, value }) => `${address} ${size} ${value}`),
        [`${0xab_0000_0040} 4 ${MESSAGE}`],
      );
    },
    { features: { MSI: 1, OAS: 5 } },
  ),
  row('6.3.16', `${name}-reenabled`, `${name}: after ${enable} was cleared and set, interrupts come again`, (b) => {
    wanted(b, name);
    b.start();
    enabled(b, enable);
    b.registers.set('IRQ_CTRL', { [enable]: 0 });
    b.settle();
    enabled(b, enable);
    act(b);
    equal(
      'interrupts',
      b.system.takeInterrupts().filter((entry) => entry === source),
      [source],
    );
  }),
]);

const triggers: Row[] = [
  row('3.18.2', 'event-not-again', 'event queue: a record into a queue that is not empty raises no interrupt', (b) => {
    b.start({ interrupts: { EVENTQ_IRQEN: 1 } });
    b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
    for (let n = 0; n < 3; n++) b.aborts({ va: VA });
    equal('interrupts', b.system.takeInterrupts(), ['event']);
  }),
  row('3.18.2', 'event-again', 'event queue: emptied and filled again, it raises another interrupt', (b) => {
    b.start({ interrupts: { EVENTQ_IRQEN: 1 } });
    b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
    for (let n = 0; n < 2; n++) {
      b.aborts({ va: VA });
      b.events.take();
    }
    equal('interrupts', b.system.takeInterrupts(), ['event', 'event']);
  }),
  row('3.18', 'record-first', 'the record is visible when the interrupt is', (b) => {
    b.start({ interrupts: { EVENTQ_IRQEN: 1 } });
    b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
    let seen = -1;
    const raise = b.system.interrupt.bind(b.system);
    b.system.interrupt = (source) => {
      seen = b.events.pending;
      raise(source);
    };
    b.aborts({ va: VA });
    equal('records at the interrupt', seen, 1);
  }),
  row('3.18', 'error-first', 'GERROR is visible when its interrupt is', (b) => {
    b.start({ interrupts: { GERROR_IRQEN: 1 } });
    let seen = -1;
    b.system.interrupt = () => {
      seen = b.commands.error;
    };
    b.commands.submit(RESERVED_COMMAND);
    equal('CMDQ_CONS.ERR at the interrupt', seen, 1);
  }),
];

/** The handshake of GERROR and GERRORN (§7.5). */
const handshake: Row[] = [
  row('7.5', 'toggle', 'an error toggles its GERROR flag: active while it differs from GERRORN', (b) => {
    b.start();
    for (const expected of [1, 0, 1]) {
      b.commands.submit(RESERVED_COMMAND);
      equal('GERROR.CMDQ_ERR', b.registers.get('GERROR', 'CMDQ_ERR'), expected);
      b.commands.recover();
      equal('GERRORN.CMDQ_ERR', b.registers.get('GERRORN', 'CMDQ_ERR'), expected);
    }
  }),
  row('7.5', 'no-second', 'an active error is not toggled by another of its kind', (b) => {
    b.needs({ MSI: 1 });
    b.start();
    message(b, 'EVENTQ', NOWHERE);
    enabled(b, 'EVENTQ_IRQEN');
    b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
    for (let n = 0; n < 2; n++) {
      b.aborts({ va: VA });
      b.events.take();
    }
    equal('GERROR.MSI_EVENTQ_ABT_ERR', b.registers.get('GERROR', 'MSI_EVENTQ_ABT_ERR'), 1);
  }),
  row('7.5', 'independent', 'errors are toggled one by one', (b) => {
    b.start();
    b.commands.submit(RESERVED_COMMAND);
    equal('GERROR', b.registers.read('GERROR'), 1);
  }),
  row('7.5', 'acknowledge-other', 'acknowledging one error leaves another active', (b) => {
    b.start({ EVENTQEN: 0 });
    b.registers.write('EVENTQ_BASE', NOWHERE + 4);
    b.control({ EVENTQEN: 1 });
    b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
    b.aborts({ va: VA });
    b.commands.submit(RESERVED_COMMAND);
    equal('GERROR', b.registers.read('GERROR'), 0b101);
    b.registers.set('GERRORN', { EVENTQ_ABT_ERR: 1 });
    equal('CMDQ_CONS.ERR', b.commands.error, 1);
  }),
  row('7.5.1', 'each-activation', 'each activation raises the interrupt once', (b) => {
    b.start({ interrupts: { GERROR_IRQEN: 1 } });
    for (let n = 0; n < 2; n++) {
      b.commands.submit(RESERVED_COMMAND);
      b.commands.recover();
    }
    equal('interrupts', b.system.takeInterrupts(), ['globalError', 'globalError']);
  }),
  row('7.5.1', 'message-of-its-own', 'MSI_GERROR_ABT_ERR raises no GERROR interrupt', (b) => {
    b.needs({ MSI: 1 });
    b.start();
    message(b, 'GERROR', NOWHERE);
    enabled(b, 'GERROR_IRQEN');
    b.commands.submit(RESERVED_COMMAND);
    equal('GERROR', b.registers.read('GERROR'), 0b1000_0001);
    equal('interrupts', b.system.takeInterrupts(), ['globalError']);
  }),
  row('7.5.1', 'message-abort-told', 'an aborted event queue MSI raises the GERROR interrupt', (b) => {
    b.needs({ MSI: 1 });
    b.start();
    message(b, 'EVENTQ', NOWHERE);
    b.registers.set('IRQ_CTRL', { EVENTQ_IRQEN: 1, GERROR_IRQEN: 1 });
    b.settle();
    b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
    b.aborts({ va: VA });
    equal(
      'interrupts',
      b.system.takeInterrupts().filter((entry) => entry === 'globalError'),
      ['globalError'],
    );
  }),
  row('7.5', 'future-messages', 'MSI_EVENTQ_ABT_ERR does not affect later MSIs', (b) => {
    b.needs({ MSI: 1 });
    b.start();
    message(b, 'EVENTQ', NOWHERE);
    enabled(b, 'EVENTQ_IRQEN');
    b.ram.write(b.steAddress(STREAM), new Uint8Array(64));
    b.aborts({ va: VA });
    b.events.take();
    b.registers.set('IRQ_CTRL', { EVENTQ_IRQEN: 0 });
    b.settle();
    message(b, 'EVENTQ', PLACE.doorbell);
    enabled(b, 'EVENTQ_IRQEN');
    b.aborts({ va: VA });
    equal('message', b.ram.read32(PLACE.doorbell), MESSAGE);
  }),
];

export const globalErrorRows: readonly Row[] = [...interrupts, ...triggers, ...handshake];
