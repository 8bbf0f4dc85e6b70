/** Chapters 3 and 6: the switches of CR0, and what traffic meets while the SMMU is off (IHI 0070 §3.11, §6.3.9, §6.3.14). */
import { Completion } from '../../hw/pcie/tlp.ts';
import { type Bench, PAGE, VA } from '../bench/bench.ts';
import { addressBits } from '../bench/registers.ts';
import { CONFIG } from '../bench/streams.ts';
import { STREAM } from '../bench/traffic.ts';
import { equal } from '../check.ts';
import { type Row, row } from '../row.ts';

const GBPA_UPDATE = 1n << 31n;
const GBPA_ABORT = 1n << 20n;
/** SHCFG=use incoming. */
const GBPA_SHCFG = 1n << 12n;

function setBypass(b: Bench, abort: boolean): void {
  b.registers.write('GBPA', GBPA_UPDATE | GBPA_SHCFG | (abort ? GBPA_ABORT : 0n));
  b.settle();
}

const off: Row[] = [
  row(
    '6.3.9.6',
    'bypass',
    'SMMUEN=0, GBPA.ABORT=0: a transaction passes with its address, nothing is recorded',
    (b) => {
      b.start({ SMMUEN: 0 });
      setBypass(b, false);
      b.reaches({ va: PAGE + 0x123 * 8 }, PAGE + 0x123 * 8);
      b.reaches({ va: PAGE + 0x40, write: true }, PAGE + 0x40);
      b.noEvent();
    },
  ),
  row('6.3.9.6', 'bypass-substream', 'SMMUEN=0, GBPA.ABORT=0: a SubstreamID is allowed', (b) => {
    b.start({ SMMUEN: 0 });
    setBypass(b, false);
    b.reaches({ va: PAGE, pasid: 5, privileged: true, execute: true }, PAGE);
    b.noEvent();
  }),
  row('6.3.9.6', 'bypass-any-stream', 'SMMUEN=0: the stream table is not looked at', (b) => {
    b.start({ SMMUEN: 0 });
    setBypass(b, false);
    b.ste({ V: 1, Config: CONFIG.ABORT });
    b.reaches({ va: PAGE }, PAGE);
    b.reaches({ va: PAGE, sid: 2 ** b.feature('SIDSIZE') - 1 }, PAGE);
  }),
  row('6.3.14', 'abort', 'SMMUEN=0, GBPA.ABORT=1: reads and writes abort, nothing is recorded', (b) => {
    b.start({ SMMUEN: 0 });
    setBypass(b, true);
    b.aborts({ va: PAGE });
    b.ram.write64(PAGE, 0x55n);
    b.aborts({ va: PAGE, write: true });
    equal('memory after the write', b.ram.read64(PAGE), 0x55n);
    b.noEvent();
  }),
  row('6.3.14', 'abort-and-back', 'GBPA takes effect when its update is complete', (b) => {
    b.start({ SMMUEN: 0 });
    setBypass(b, true);
    b.aborts({ va: PAGE });
    setBypass(b, false);
    b.reaches({ va: PAGE }, PAGE);
  }),
  row('6.3.14', 'not-while-enabled', 'SMMUEN=1: GBPA has no effect on a translated stream', (b) => {
    setBypass(b, true);
    b.start();
    b.ste({ Config: CONFIG.BYPASS });
    b.reaches({ va: PAGE }, PAGE);
  }),
  row(
    '3.4',
    'bypass-beyond-oas',
    'SMMUEN=0: an address beyond the OAS is terminated with an abort, without a record',
    (b) => {
      b.start({ SMMUEN: 0 });
      setBypass(b, false);
      b.aborts({ va: 2n ** BigInt(addressBits(b.features)) });
      b.noEvent();
    },
  ),
  row('6.3.9.6', 'ats-request', 'SMMUEN=0: a Translation Request gets Unsupported Request', (b) => {
    b.needs({ ATS: 1 });
    b.start({ SMMUEN: 0 });
    equal('completion', b.translate({ va: VA }).status, Completion.UNSUPPORTED_REQUEST);
    const [record] = b.events.take();
    equal('event', record?.[0], 0x05);
  }),
  row('6.3.9.6', 'ats-translated', 'SMMUEN=0: an ATS Translated transaction is aborted, F_TRANSL_FORBIDDEN', (b) => {
    b.needs({ ATS: 1 });
    b.start({ SMMUEN: 0 });
    b.faults({ va: PAGE, translated: true }, 'F_TRANSL_FORBIDDEN');
  }),
  row('6.3.9.5', 'pri', 'SMMUEN=0: PRIQEN is effectively 0; a page request is answered with Response Failure', (b) => {
    b.needs({ PRI: 1 });
    b.start({ SMMUEN: 0 });
    b.requestPage({ group: 7 });
    equal('PRIQ_PROD', b.pages.pending, 0);
    equal(
      'responses',
      b.system.responses.map(({ code, groupIndex }) => code * 0x1000 + groupIndex),
      [0xf007],
    );
  }),
  row('6.3.9.5', 'priqen-acknowledged', 'CR0ACK.PRIQEN follows the actual PRIQEN, whatever SMMUEN is', (b) => {
    b.needs({ PRI: 1 });
    b.start({ SMMUEN: 0, PRIQEN: 1 });
    equal('CR0ACK.PRIQEN', b.registers.get('CR0ACK', 'PRIQEN'), 1);
  }),
  row('6.3.9.5', 'priq-guard', 'PRIQ_BASE is guarded by the actual PRIQEN, even while SMMUEN=0', (b) => {
    b.needs({ PRI: 1, ArchMinorRev: Math.max(2, b.feature('ArchMinorRev')) });
    b.start({ SMMUEN: 0, PRIQEN: 1 });
    const before = b.registers.read('PRIQ_BASE');
    b.registers.write('PRIQ_BASE', 0);
    equal('PRIQ_BASE', b.registers.read('PRIQ_BASE'), before);
  }),
  row('6.3.9.6', 'atc-inv', 'SMMUEN=0: CMD_ATC_INV is consumed and ignored', (b) => {
    b.needs({ ATS: 1 });
    b.start({ SMMUEN: 0 });
    b.commands.run('ATC_INV', { StreamID: STREAM, Size: 0 });
    b.commands.sync();
    equal('invalidations sent', b.system.invalidations.length, 0);
  }),
  row('6.3.9.6', 'pri-resp', 'SMMUEN=0: CMD_PRI_RESP is consumed and ignored', (b) => {
    b.needs({ PRI: 1 });
    b.start({ SMMUEN: 0 });
    b.commands.run('PRI_RESP', { StreamID: STREAM, Resp: 0b10 });
    equal('responses sent', b.system.responses.length, 0);
  }),
  row('6.3.9.6', 'prefetch', 'SMMUEN=0: prefetch commands are consumed; they fetch nothing and record nothing', (b) => {
    b.start({ SMMUEN: 0 });
    b.ste({ Config: CONFIG.BYPASS });
    b.commands.run('PREFETCH_CONFIG', { StreamID: STREAM });
    b.commands.run('PREFETCH_ADDR', { StreamID: STREAM, Addr: VA / 4096 });
    b.noEvent();
    // Had it cached the STE, this one would not be seen.
    b.ste({ Config: CONFIG.ABORT });
    b.control({ SMMUEN: 1 });
    b.aborts({ va: PAGE });
    b.noEvent();
  }),
  row('6.3.9.6', 'invalidation', 'SMMUEN=0: maintenance commands take effect', (b) => {
    b.start();
    b.ste({ Config: CONFIG.BYPASS });
    b.reaches({ va: PAGE }, PAGE);
    b.control({ SMMUEN: 0 });
    b.ste({ Config: CONFIG.ABORT });
    b.forget();
    b.control({ SMMUEN: 1 });
    b.aborts({ va: PAGE });
  }),
  row('6.3.9.6', 'commands-and-events', 'SMMUEN=0: commands and events follow CMDQEN and EVENTQEN', (b) => {
    b.start({ SMMUEN: 0 });
    b.commands.sync();
    equal('CMDQ_CONS', b.commands.cons, 1);
  }),
  row('6.3.9.6', 'stream-table-writable', 'SMMUEN=0: the stream table may be moved', (b) => {
    b.start();
    b.ste({ Config: CONFIG.ABORT });
    b.control({ SMMUEN: 0 });
    b.streamTable += 0x10_0000;
    b.registers.write('STRTAB_BASE', b.streamTable);
    b.ste({ Config: CONFIG.BYPASS });
    b.commands.run('CFGI_STE_RANGE', { Range: 31 });
    b.commands.sync();
    b.control({ SMMUEN: 1 });
    b.reaches({ va: PAGE }, PAGE);
  }),
];

const switches: Row[] = [
  row('6.3.9.3', 'off', 'CMDQEN=0: commands are not consumed', (b) => {
    b.start({ CMDQEN: 0 });
    b.commands.attempt('SYNC');
    equal('CMDQ_CONS.RD', b.commands.cons, 0);
  }),
  row('6.3.9.3', 'on', 'CMDQEN 0 to 1: a queue that is not empty is processed without a write of PROD', (b) => {
    b.start({ CMDQEN: 0 });
    b.commands.attempt('SYNC');
    b.control({ CMDQEN: 1 });
    equal('CMDQ_CONS.RD', b.commands.cons, 1);
  }),
  row('6.3.9.3', 'off-again', 'CMDQEN 1 to 0: processing stops, CONS shows the first command not consumed', (b) => {
    b.start();
    b.commands.sync();
    b.control({ CMDQEN: 0 });
    b.commands.attempt('SYNC');
    equal('CMDQ_CONS.RD', b.commands.cons, 1);
  }),
  row('6.3.9.4', 'off', 'EVENTQEN=0: events are not delivered, and that is no overflow', (b) => {
    b.start({ EVENTQEN: 0 });
    b.ste({ V: 0 });
    b.aborts({ va: VA });
    equal('EVENTQ_PROD.WR', b.events.prod, 0);
    equal('overflow', b.events.overflowed, false);
    b.control({ EVENTQEN: 1 });
    equal('EVENTQ_PROD.WR after EVENTQEN=1', b.events.prod, 0);
  }),
  row('6.3.9.4', 'on', 'EVENTQEN=1: events are delivered', (b) => {
    b.start();
    b.ste({ V: 0 });
    b.faults({ va: VA }, 'C_BAD_STE');
  }),
  row('6.3.9.5', 'off', 'PRIQEN=0: a page request is not queued but answered with Response Failure', (b) => {
    b.needs({ PRI: 1 });
    b.start({ PRIQEN: 0 });
    b.requestPage();
    equal('PRIQ_PROD', b.registers.get('PRIQ_PROD', 'WR'), 0);
    equal('response code', b.system.responses[0]?.code, 0b1111);
  }),
  row('6.3.9.5', 'on', 'PRIQEN=1: a page request is queued', (b) => {
    b.needs({ PRI: 1 });
    b.start();
    b.requestPage();
    equal('PRIQ_PROD', b.registers.get('PRIQ_PROD', 'WR'), 1);
    equal('responses', b.system.responses.length, 0);
  }),
  row('6.3.9.6', 'on', 'SMMUEN 0 to 1: new transactions follow their STE', (b) => {
    b.start({ SMMUEN: 0 });
    setBypass(b, false);
    b.ste({ Config: CONFIG.ABORT });
    b.reaches({ va: PAGE }, PAGE);
    b.control({ SMMUEN: 1 });
    b.aborts({ va: PAGE });
  }),
  row('6.3.9.6', 'stalls-end', 'SMMUEN 1 to 0: stalled transactions end with an abort', (b) => {
    b.needs({ STALL_MODEL: b.feature('STALL_MODEL') === 2 ? 2 : 0 });
    b.start();
    b.stage1({ cd: { S: 1 } });
    const held = b.stalls({ va: VA });
    b.control({ SMMUEN: 0 });
    equal('stalled transaction', held.ending, 'abort');
    equal('completions', held.answers, 1);
  }),
  row('6.3.9.6', 'tags-return', 'SMMUEN 1 to 0: STAGs of stalled transactions may be used again', (b) => {
    b.needs({ STALL_MODEL: b.feature('STALL_MODEL') === 2 ? 2 : 0 });
    b.start({ events: 6 });
    b.stage1({ cd: { S: 1 } });
    const most = b.feature('STALL_MAX');
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < Math.min(most, 32); n++) b.stalls({ va: VA + n * 4096 });
      equal('stall records', b.events.take().length, Math.min(most, 32));
      b.control({ SMMUEN: 0 });
      b.control({ SMMUEN: 1 });
    }
  }),
  row('6.3.9.1', 'tags-exact', 'VMW=0: TLB invalidation matches the VMID exactly', (b) => wildcard(b, 0, 0x11, false)),
  ...[1, 2, 3, 4].flatMap((vmw) => [
    row('6.3.9.1', `within-${vmw}`, `VMW=${vmw}: TLB invalidation ignores the low ${vmw} bit(s) of the VMID`, (b) =>
      wildcard(b, vmw, 0x10 ^ ((1 << vmw) - 1), true),
    ),
    row('6.3.9.1', `beyond-${vmw}`, `VMW=${vmw}: TLB invalidation still matches the bits above`, (b) =>
      wildcard(b, vmw, 0x10 ^ (1 << vmw), false),
    ),
  ]),
];

/** An entry of VMID 0x10 meets CMD_TLBI_S12_VMALL for another VMID. */
function wildcard(b: Bench, VMW: number, vmid: number, gone: boolean): void {
  b.needs({ VMW: 1, S2P: 1 });
  b.start({ VMW });
  const tables = b.stage2({ ste: { S2VMID: 0x10 } });
  tables.map(VA, PAGE);
  b.reaches({ va: VA }, PAGE);
  tables.set(VA, 3, 0n);
  b.commands.run('TLBI_S12_VMALL', { VMID: vmid });
  b.commands.sync();
  if (gone) b.aborts({ va: VA });
  else b.keeps({ va: VA }, PAGE);
}

export const smmuEnableRows: readonly Row[] = [...off, ...switches];
