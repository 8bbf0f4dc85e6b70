/** With the SMMU off, GBPA decides (§6.3.14); with it on, the STE does. */
import { GBPA } from '../../../src/iommu/spec/registers.layout.ts';
import { program } from '../builder.ts';
import { NOWHERE } from '../memory-map.ts';
import type { Program } from '../program.ts';

const UPDATE = GBPA.Update.mask32;
const ABORT = GBPA.ABORT.mask32;

export const bypass: readonly Program[] = [
  program('bypass: off after reset, transactions pass', (p) => {
    const target = p.memory();
    p.dma(BigInt(target), target);
  }),
  program('bypass: off, GBPA.ABORT', (p) => {
    const target = p.memory();
    p.set('GBPA', UPDATE + ABORT).dma(BigInt(target), target);
  }),
  program('bypass: off, GBPA.ABORT and back', (p) => {
    const target = p.memory();
    p.set('GBPA', UPDATE + ABORT)
      .dma(BigInt(target), target)
      .set('GBPA', UPDATE)
      .dma(BigInt(target), target);
  }),
  program('bypass: ABORT without Update changes nothing', (p) => {
    const target = p.memory();
    p.set('GBPA', ABORT).dma(BigInt(target), target);
  }),
  program('bypass: SMMUEN on, off and on again', (p) => {
    const target = p.memory();
    p.stream(8, { Config: 0 })
      .enable()
      .dma(BigInt(target), target)
      .set('CR0', 0xc)
      .dma(BigInt(target), target)
      .set('CR0', 0xd)
      .dma(BigInt(target), target);
  }),
  program('bypass: GBPA.ABORT does not matter while on', (p) => {
    const target = p.memory();
    p.set('GBPA', UPDATE + ABORT)
      .stream(8, { Config: 4, SHCFG: 1 })
      .enable()
      .dma(BigInt(target), target);
  }),
  program('bypass: an address nobody answers', (p) => {
    p.dma(BigInt(NOWHERE), NOWHERE);
  }),
  program('bypass: an address beyond the output size', (p) => {
    p.dma(2n ** 46n, 2 ** 46);
  }),
  program('bypass: an address beyond the output size, by STE', (p) => {
    p.stream(8, { Config: 4, SHCFG: 1 })
      .enable()
      .dma(2n ** 46n, 2 ** 46);
  }),
  program('bypass: an address nobody answers, by STE', (p) => {
    p.stream(8, { Config: 4, SHCFG: 1 }).enable().dma(BigInt(NOWHERE), NOWHERE);
  }),
  ...[0, 0xc].map((queues) =>
    program(`bypass: CR0 0x${queues.toString(16)} with SMMUEN off passes whatever the STE says`, (p) => {
      const target = p.memory();
      p.stream(8, { Config: 0 }).enable().set('CR0', queues).dma(BigInt(target), target);
    }),
  ),
  program('bypass: the event queue off, faults abort and leave nothing', (p) => {
    const tables = p.stage1();
    p.throughStage1(tables);
    p.enable({ CR0: { EVENTQEN: 0 } }).dma(0x1000n, p.memory());
  }),
];
