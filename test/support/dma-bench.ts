/** A DMA engine of an endpoint on a PCIe board. */
import { DmaTransfer } from '../../src/hw/pcie/endpoint/dma-transfer.ts';
import { EndpointFunction, type EndpointOptions } from '../../src/hw/pcie/endpoint/endpoint-function.ts';
import { type PcieBoardOptions, pcieBoard } from './pcie-board.ts';

export const IDENTITY = { vendor: 0x1234, device: 0x5678, classCode: 0, revision: 0 };
export const DEVFN = 8;
export const PAGE = 4096;

export interface Features {
  readonly ats?: boolean;
  readonly credits?: number;
  readonly pasid?: boolean;
}

export function dmaBench(features: Features, board: PcieBoardOptions = {}, endpoint: Partial<EndpointOptions> = {}) {
  const made = pcieBoard(board);
  const target = new EndpointFunction(IDENTITY, { clock: made.clock, name: 'endpoint', lanes: 8, ...endpoint });
  made.root.plug(DEVFN, target);
  made.enable(DEVFN, features);
  const finished: DmaTransfer[] = [];
  const transfer = () => new DmaTransfer((done) => finished.push(done));
  const load = (page: number, offset: number, length: number, changes: Partial<DmaTransfer> = {}) => {
    const made = Object.assign(transfer(), changes);
    target.dma.start(made.prepare(false, page, offset, new Uint8Array(length), 0, length));
    return made;
  };
  const store = (page: number, offset: number, bytes: Uint8Array, changes: Partial<DmaTransfer> = {}) => {
    const made = Object.assign(transfer(), changes);
    target.dma.start(made.prepare(true, page, offset, bytes, 0, bytes.length));
    return made;
  };
  return { ...made, target, dma: target.dma, finished, load, store };
}

type Bench = ReturnType<typeof dmaBench>;

/** The bytes that `length` bytes at I/O virtual page `page` and `offset` hold. */
export function contents(b: Bench, page: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const at = offset + done;
    const count = Math.min(PAGE - (at % PAGE), length - done);
    b.memory.read(b.agent.physical(page + Math.floor(at / PAGE)) * PAGE + (at % PAGE), bytes, done, count);
    done += count;
  }
  return bytes;
}
