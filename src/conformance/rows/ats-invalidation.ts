/** CMD_ATC_INV and the CMD_SYNC that waits for it (IHI 0070 §3.9.1.4, §3.9.1.5, §4.5.1, §4.7.3, §7.1). */
import type { Bench } from '../bench/bench.ts';
import { encodeCommand, type Fields } from '../bench/queues.ts';
import { STREAM } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { CERROR } from '../facts/commands.ts';
import { type Row, row } from '../row.ts';

const ATS = { ATS: 1 };
const ALL = 52;

/** What the fabric was asked for one command. */
function sent(b: Bench, fields: Fields) {
  b.commands.run('ATC_INV', { StreamID: STREAM, ...fields });
  b.commands.sync();
  equal('invalidations sent', b.system.invalidations.length, 1);
  const [request] = b.system.invalidations;
  if (request === undefined) throw new RangeError('nothing was sent');
  return request;
}

const requests: Row[] = [
  ...[0, 1, 4, 9, 18, 40].map((Size) =>
    row(
      '4.5.1',
      `span-${Size}`,
      `CMD_ATC_INV with Size=${Size}: ${2 ** Size} pages, the address aligned down to them`,
      (b) => {
        b.start();
        const page = 0x7_89ab_cdef;
        const request = sent(b, { Size, Address: page });
        equal('pages', request.pages, 2 ** Size);
        equal('page', request.page, page - (page % 2 ** Size));
        equal('PASID', request.pasid, -1);
        equal('StreamID', request.streamId, STREAM);
      },
      { features: ATS },
    ),
  ),
  row(
    '4.5.1',
    'all',
    'CMD_ATC_INV with Size=52 covers the whole address space',
    (b) => {
      b.start();
      const request = sent(b, { Size: ALL, Address: 0x1234 });
      equal('the whole', request.pages >= 2 ** 52, true);
      equal('page', request.page, 0);
    },
    { features: ATS },
  ),
  row(
    '4.5.1',
    'high-address',
    'CMD_ATC_INV conveys all bits of the address',
    (b) => {
      b.start();
      equal('page', sent(b, { Address: 0xffff_8765_4321_0n }).page, 0xffff_8765_4321_0);
    },
    { features: ATS },
  ),
  row(
    '4.5.1',
    'stream',
    'CMD_ATC_INV goes to the function of its StreamID',
    (b) => {
      b.start();
      equal('StreamID', sent(b, { StreamID: 0x123 }).streamId, 0x123);
    },
    { features: ATS },
  ),
  row(
    '4.5.1',
    'pasid',
    'CMD_ATC_INV with SSV=1 carries the SubstreamID as PASID',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      const request = sent(b, { SSV: 1, SubstreamID: 0x2b });
      equal('PASID', request.pasid, 0x2b);
      equal('Global', request.global, false);
    },
    { features: ATS },
  ),
  row(
    '4.5.1',
    'global',
    'CMD_ATC_INV with SSV=1, Global=1 sets Global Invalidate and keeps the PASID',
    (b) => {
      b.needs({ SSIDSIZE: 'positive' });
      b.start();
      const request = sent(b, { SSV: 1, SubstreamID: 0x2b, Global: 1 });
      equal('Global', request.global, true);
      equal('PASID', request.pasid, 0x2b);
    },
    { features: ATS },
  ),
  row(
    '4.5.1',
    'global-without-pasid',
    'CMD_ATC_INV with SSV=0: Global is ignored',
    (b) => {
      b.start();
      equal('Global', sent(b, { SSV: 0, Global: 1 }).global, false);
    },
    { features: ATS },
  ),
  row(
    '4.5.1',
    'no-substreams',
    'SSIDSIZE=0, SSV=1: as SSV=0, or no effect',
    (b) => {
      b.start();
      b.commands.run('ATC_INV', { StreamID: STREAM, SSV: 1, SubstreamID: 3 });
      b.commands.sync();
      const [request] = b.system.invalidations;
      if (request !== undefined) equal('PASID', request.pasid, -1);
    },
    { features: { ATS: 1, SSIDSIZE: 0 } },
  ),
  row(
    '4.5.1',
    'nobody',
    'CMD_ATC_INV for a function that is not there is ignored',
    (b) => {
      b.start();
      b.system.functionsAnswer = false;
      b.commands.run('ATC_INV', { StreamID: 0x99 });
      b.commands.sync();
    },
    { features: ATS },
  ),
];

/** Issues invalidations that stay unanswered, and a CMD_SYNC behind them. */
function waiting(b: Bench, count: number, CS = 0): void {
  b.start();
  b.system.completesInvalidations = false;
  const commands = Array.from({ length: count }, (_, n) => encodeCommand('ATC_INV', { StreamID: STREAM, Address: n }));
  b.commands.submit(...commands, encodeCommand('SYNC', { CS }));
}

const completion: Row[] = [
  row(
    '4.5.1',
    'consumed',
    'CMD_ATC_INV is consumed without its completion',
    (b) => {
      b.start();
      b.system.completesInvalidations = false;
      b.commands.run('ATC_INV', { StreamID: STREAM });
    },
    { features: ATS },
  ),
  row(
    '4.7.3',
    'sync-waits',
    'CMD_SYNC is not consumed before the invalidations ahead of it complete',
    (b) => {
      waiting(b, 1, 1);
      equal('CMDQ_CONS.RD', b.commands.cons, 1);
      equal('signals', b.system.takeInterrupts(), []);
      b.system.invalidations[0]?.complete();
      b.settle();
      equal('CMDQ_CONS.RD after completion', b.commands.cons, 2);
      equal('signals after completion', b.system.takeInterrupts(), ['sync']);
    },
    { features: ATS },
  ),
  row(
    '4.7.3',
    'sync-waits-for-all',
    'CMD_SYNC waits for all of them, in whatever order they complete',
    (b) => {
      waiting(b, 3);
      for (const [n, expected] of [
        [2, 3],
        [0, 3],
        [1, 4],
      ] as const) {
        b.system.invalidations[n]?.complete();
        b.settle();
        equal('CMDQ_CONS.RD', b.commands.cons, expected);
      }
    },
    { features: ATS },
  ),
  row(
    '4.7.3',
    'later-commands-wait',
    'commands behind the CMD_SYNC wait for it',
    (b) => {
      b.needs({ PRI: 1 });
      waiting(b, 1);
      b.commands.submit(encodeCommand('PRI_RESP', { StreamID: STREAM, Resp: 0b10 }));
      equal('responses', b.system.responses.length, 0);
      b.system.invalidations[0]?.complete();
      b.settle();
      equal('responses after completion', b.system.responses.length, 1);
    },
    { features: ATS },
  ),
  row(
    '6.3.9.3',
    'sync-waits-disabled',
    'CMDQEN=0 while a CMD_SYNC waits: it is not consumed before the queue is enabled again',
    (b) => {
      waiting(b, 1, 1);
      b.control({ CMDQEN: 0 });
      b.system.invalidations[0]?.complete();
      b.settle();
      equal('CMDQ_CONS.RD', b.commands.cons, 1);
      equal('signals', b.system.takeInterrupts(), []);
      b.control({ CMDQEN: 1 });
      equal('CMDQ_CONS.RD after CMDQEN=1', b.commands.cons, 2);
      equal('signals after CMDQEN=1', b.system.takeInterrupts(), ['sync']);
    },
    { features: ATS },
  ),
  row(
    '3.9.1.4',
    'timeout',
    'an invalidation that is never answered: CERROR_ATC_INV_SYNC, RD stays at the CMD_SYNC',
    (b) => {
      waiting(b, 1, 1);
      b.unit.advance(2 * b.unit.atcTimeoutNs);
      equal('CMDQ_CONS.ERR', b.commands.error, CERROR.ATC_INV_SYNC);
      equal('CMDQ_CONS.RD', b.commands.cons, 1);
      equal(
        'signals',
        b.system.takeInterrupts().filter((source) => source === 'sync'),
        [],
      );
    },
    { features: ATS },
  ),
  row(
    '3.9.1.4',
    'timeout-one-of-two',
    'one of two times out: CERROR_ATC_INV_SYNC',
    (b) => {
      waiting(b, 2);
      b.system.invalidations[0]?.complete();
      b.unit.advance(2 * b.unit.atcTimeoutNs);
      equal('CMDQ_CONS.ERR', b.commands.error, CERROR.ATC_INV_SYNC);
      equal('CMDQ_CONS.RD', b.commands.cons, 2);
    },
    { features: ATS },
  ),
  row(
    '3.9.1.4',
    'timeout-before-sync',
    'a time-out before the CMD_SYNC is issued is told by it',
    (b) => {
      b.start();
      b.system.completesInvalidations = false;
      b.commands.run('ATC_INV', { StreamID: STREAM });
      b.unit.advance(2 * b.unit.atcTimeoutNs);
      equal('CMDQ_CONS.ERR', b.commands.error, CERROR.NONE);
      equal('CMD_SYNC', b.commands.attempt('SYNC'), CERROR.ATC_INV_SYNC);
    },
    { features: ATS },
  ),
  row(
    '4.7.3',
    'after-timeout',
    'after CERROR_ATC_INV_SYNC is acknowledged the CMD_SYNC completes',
    (b) => {
      waiting(b, 1);
      b.unit.advance(2 * b.unit.atcTimeoutNs);
      b.commands.acknowledge();
      equal('CMDQ_CONS.ERR', b.commands.error, CERROR.NONE);
      equal('CMDQ_CONS.RD', b.commands.cons, 2);
    },
    { features: ATS },
  ),
  row(
    '3.9.1.4',
    'late-answer',
    'an answer after the time-out changes nothing',
    (b) => {
      waiting(b, 1);
      b.unit.advance(2 * b.unit.atcTimeoutNs);
      b.system.invalidations[0]?.complete();
      b.settle();
      equal('CMDQ_CONS.ERR', b.commands.error, CERROR.ATC_INV_SYNC);
      b.commands.acknowledge();
      b.system.completesInvalidations = true;
      b.commands.run('ATC_INV', { StreamID: STREAM });
      b.commands.sync();
    },
    { features: ATS },
  ),
];

export const atsInvalidationRows: readonly Row[] = [...requests, ...completion];
