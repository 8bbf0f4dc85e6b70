/** The event queue: order, wrap, overflow and its acknowledgement, an unwritable queue (§3.5.3, §7.2, §7.4). */
import { type ProgramBuilder, program } from '../builder.ts';
import { EVENT_QUEUE, NOWHERE } from '../memory-map.ts';
import type { Program } from '../program.ts';

/** `count` DMAs that fault, each at its own page, with the records left in the queue. */
function faults(p: ProgramBuilder, count: number, from = 0): void {
  const target = 0x41bf_0000;
  for (let n = 0; n < count; n++) p.dma(BigInt((from + n + 1) * 0x1000), target, { keepEvents: true });
}

const faulting = (p: ProgramBuilder): void => {
  p.throughStage1(p.stage1());
  p.enable();
};

export const events: readonly Program[] = [
  ...[0, 1, 2].map((log2) =>
    program(
      `events: a queue of ${2 ** log2} overflows`,
      (p) => {
        faulting(p);
        faults(p, 2 ** log2 + 2);
        p.get('EVENTQ_PROD', 'EVENTQ_CONS', 'GERROR').events().get('EVENTQ_PROD', 'EVENTQ_CONS');
        faults(p, 1, 20);
        p.events();
      },
      { events: log2 },
    ),
  ),
  program(
    'events: an overflow that nobody acknowledges',
    (p) => {
      faulting(p);
      faults(p, 4);
      p.get('EVENTQ_PROD').set('EVENTQ_CONS', 1);
      faults(p, 2, 10);
      p.get('EVENTQ_PROD', 'GERROR').look(EVENT_QUEUE, 64);
    },
    { events: 1 },
  ),
  program(
    'events: round the queue three times',
    (p) => {
      faulting(p);
      for (let n = 0; n < 13; n++) p.dma(BigInt((n + 1) * 0x1000), 0x41bf_0000);
    },
    { events: 2 },
  ),
  program('events: five in a row, in order', (p) => {
    faulting(p);
    faults(p, 5);
    p.events();
  }),
  program('events: the queue off, then on', (p) => {
    p.throughStage1(p.stage1());
    p.enable({ CR0: { EVENTQEN: 0 } });
    faults(p, 1);
    p.get('EVENTQ_PROD').set('CR0', 0xd);
    faults(p, 1, 5);
    p.events();
  }),
  program('events: a queue nowhere', (p) => {
    p.throughStage1(p.stage1());
    p.enable({ CR0: { EVENTQEN: 0 } })
      .set('EVENTQ_BASE', NOWHERE + 4)
      .set('CR0', 0xd);
    faults(p, 1);
    p.get('EVENTQ_PROD', 'GERROR').set('GERRORN', 4).get('GERROR');
    faults(p, 1, 5);
    p.get('EVENTQ_PROD', 'GERROR');
  }),
  program('events: a base off its alignment', (p) => {
    p.throughStage1(p.stage1());
    p.enable({ CR0: { EVENTQEN: 0 } })
      .set('EVENTQ_BASE', EVENT_QUEUE + 0x60 + 4)
      .set('CR0', 0xd);
    faults(p, 1);
    p.get('EVENTQ_PROD').look(EVENT_QUEUE, 96);
  }),
  program('events: size beyond EVENTQS', (p) => p.set('EVENTQ_BASE', EVENT_QUEUE + 31)),
  program('events: wrap bits set from the start', (p) => {
    p.throughStage1(p.stage1());
    p.enable({ CR0: { EVENTQEN: 0 } })
      .set('EVENTQ_PROD', 0x80)
      .set('EVENTQ_CONS', 0x80)
      .set('CR0', 0xd);
    faults(p, 2);
    p.events();
  }),
  program('events: faults of two devices', (p) => {
    p.throughStage1(p.stage1());
    p.throughStage1(p.stage1(), {}, {}, 0xf5);
    p.enable();
    for (const device of [0, 1, 1, 0]) p.dma(BigInt(0x1000 * (device + 1)), 0x41bf_0000, { device, keepEvents: true });
    p.events();
  }),
];
