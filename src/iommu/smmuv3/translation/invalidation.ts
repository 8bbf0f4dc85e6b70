/** Operands of the TLB invalidation commands, decoded (IHI 0070 §4.4). */
import { StreamWorld } from './context.ts';

/** Operands of CMD_TLBI_*_VA, *_VAA and S2_IPA. Reused by its owner. */
export class AddressRange {
  world: StreamWorld = StreamWorld.EL1;
  vmid = 0;
  /** -1 for *_VAA. */
  asid = -1;
  /** Address bits 63:12 (IPA: 51:12). */
  page = 0;
  leaf = false;
  /** 0: not a range command or IDR3.RIL=0; NUM, SCALE, TTL are then ignored. 1, 2, 3 are 4, 16, 64 KiB. */
  TG = 0;
  NUM = 0;
  SCALE = 0;
  TTL = 0;
}
