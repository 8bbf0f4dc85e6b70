import { expect, test } from 'vitest';
import { CommandBatch } from './command-batch.ts';

function words(batch: CommandBatch): number[][] {
  const view = new DataView(batch.bytes.buffer);
  return Array.from({ length: batch.count }, (_, index) =>
    [0, 4, 8, 12].map((offset) => view.getUint32(index * 16 + offset, true)),
  );
}

/** Bit positions typed from Linux arm-smmu-v3.h (CMDQ_0_*, CMDQ_TLBI_*, CMDQ_ATC_*, CMDQ_PRI_*, CMDQ_RESUME_*). */
test.each<[string, (batch: CommandBatch) => void, number[]]>([
  ['CFGI_STE leaf', (b) => b.configureStream(0x108, true), [0x03, 0x108, 1, 0]],
  ['CFGI_ALL', (b) => b.configureAll(), [0x04, 0, 31, 0]],
  ['CFGI_CD', (b) => b.configureContext(8, 5, true), [0x05 | (5 << 12), 8, 1, 0]],
  ['CFGI_CD_ALL', (b) => b.configureContexts(8), [0x06, 8, 0, 0]],
  ['TLBI_NH_ALL', (b) => b.invalidateVmStage1(7), [0x10, 7, 0, 0]],
  ['TLBI_NH_ASID', (b) => b.invalidateAsid(7, 9), [0x11, 0x9_0007, 0, 0]],
  ['TLBI_NH_VA', (b) => b.invalidateAddress(0, 9, 0x7f12345, true, 0, 0, 0, 0), [0x12, 0x9_0000, 0x1234_5001, 0x7f]],
  [
    'TLBI_NH_VA, range',
    (b) => b.invalidateAddress(0, 9, 0x12345, true, 1, 3, 4, 5),
    [0x12 | (5 << 12) | (4 << 20), 0x9_0000, 0x1234_5000 | (1 << 10) | (3 << 8) | 1, 0],
  ],
  ['TLBI_S12_VMALL', (b) => b.invalidateVm(3), [0x28, 3, 0, 0]],
  ['TLBI_S2_IPA', (b) => b.invalidateIpa(3, 0x40000, false, 0, 0, 0, 0), [0x2a, 3, 0x4000_0000, 0]],
  ['ATC_INV', (b) => b.invalidateAtc(8, -1, 0x40000, 9), [0x40, 8, 0x4000_0009, 0]],
  ['ATC_INV with PASID', (b) => b.invalidateAtc(8, 3, 0, 52), [0x40 | (1 << 11) | (3 << 12), 8, 52, 0]],
  ['ATC_INV global', (b) => b.invalidateAtc(8, 0, 0, 52, true), [0x40 | (1 << 11) | (1 << 9), 8, 52, 0]],
  ['PRI_RESP success', (b) => b.respondGroup(8, -1, 511, 2), [0x41, 8, 511 | (2 << 12), 0]],
  ['PRI_RESP with PASID', (b) => b.respondGroup(8, 1, 2, 1), [0x41 | (1 << 11) | (1 << 12), 8, 2 | (1 << 12), 0]],
  ['RESUME retry', (b) => b.resume(8, 0xbeef, true), [0x44 | (1 << 12), 8, 0xbeef, 0]],
  ['RESUME abort', (b) => b.resume(8, 0xbeef, false), [0x44 | (2 << 12), 8, 0xbeef, 0]],
  ['STALL_TERM', (b) => b.terminateStalls(8), [0x45, 8, 0, 0]],
  ['SYNC', (b) => b.sync(), [0x46, 0, 0, 0]],
])('%s', (_, encode, expected) => {
  const batch = new CommandBatch();
  encode(batch);
  expect(words(batch)).toEqual([expected]);
});

test('a batch grows, and a batch used again starts from zeroed commands', () => {
  const batch = new CommandBatch();
  for (let streamId = 0; streamId < 100; streamId++) batch.configureStream(streamId, false);
  expect(words(batch).map(([, streamId]) => streamId)).toEqual(Array.from({ length: 100 }, (_, id) => id));
  batch.reset();
  batch.sync();
  expect(words(batch)).toEqual([[0x46, 0, 0, 0]]);
});
