/** Registers whose writes take effect later and are acknowledged (IHI 0070 §6.3.10, §6.3.18, §6.3.14). */
import type { Mmio } from '../../hw/bus.ts';
import type { Steps } from '../../sim/task.ts';
import { CR0, CR0ACK, GBPA, IRQ_CTRL, IRQ_CTRLACK } from '../spec/registers.layout.ts';
import { ProbeError } from './probe.ts';

const POLL_NS = 100;
/** The time Linux gives a control register. */
const LIMIT_NS = 1_000_000_000;

/** Writes CR0 and waits for CR0ACK. @throws ProbeError when the SMMU never acknowledges. */
export function* writeControl(mmio: Mmio, value: number): Steps {
  mmio.write32(CR0.offset, value);
  yield* acknowledged(mmio, CR0ACK.offset, value, 'SMMU_CR0ACK');
}

/** Writes IRQ_CTRL and waits for IRQ_CTRLACK. @throws ProbeError as {@link writeControl}. */
export function* writeInterruptControl(mmio: Mmio, value: number): Steps {
  mmio.write32(IRQ_CTRL.offset, value);
  yield* acknowledged(mmio, IRQ_CTRLACK.offset, value, 'SMMU_IRQ_CTRLACK');
}

/** Makes transactions abort while the SMMU is disabled (§6.3.14: written together with Update, which then clears). */
export function* abortWhenDisabled(mmio: Mmio): Steps {
  yield* settles(() => GBPA.Update.of(mmio.read32(GBPA.offset)) === 0, 'SMMU_GBPA.Update');
  mmio.write32(GBPA.offset, (mmio.read32(GBPA.offset) | GBPA.Update.in32(1) | GBPA.ABORT.in32(1)) >>> 0);
  yield* settles(() => GBPA.Update.of(mmio.read32(GBPA.offset)) === 0, 'SMMU_GBPA.Update');
}

function acknowledged(mmio: Mmio, offset: number, value: number, name: string): Steps {
  return settles(() => mmio.read32(offset) === value, name);
}

function* settles(reached: () => boolean, name: string): Steps {
  for (let waitedNs = 0; !reached(); waitedNs += POLL_NS) {
    if (waitedNs > LIMIT_NS) throw new ProbeError(`${name} does not follow what was written within 1 s`);
    yield POLL_NS;
  }
}
