/**
 * Commands on their way to the command queue (IHI 0070 chapter 4). A batch is encoded once, in place, and used again:
 * the invalidation path allocates nothing.
 */
import type { Field } from '../../layout/field.ts';
import {
  ATC_INV,
  CFGI_CD,
  CFGI_CD_ALL,
  CFGI_STE,
  CFGI_STE_RANGE,
  COMMAND_BYTES,
  Opcode,
  PRI_RESP,
  RESUME,
  STALL_TERM,
  SYNC,
  TLBI_NH_ALL,
  TLBI_NH_ASID,
  TLBI_NH_VA,
  TLBI_NH_VAA,
  TLBI_S2_IPA,
  TLBI_S12_VMALL,
} from '../spec/commands.layout.ts';

/** CMD_ATC_INV.Size of the whole address space (§4.5.1). */
export const ATC_WHOLE = 52;

const FIRST_CAPACITY = 32;

export class CommandBatch {
  #view = new DataView(new ArrayBuffer(FIRST_CAPACITY * COMMAND_BYTES));
  #bytes: Uint8Array = new Uint8Array(this.#view.buffer);
  #count = 0;
  /** For the queue: commands published, the position of the first of them, one past the last, and whether ATCs timed out. */
  published = 0;
  start = 0;
  end = Number.POSITIVE_INFINITY;
  atcTimedOut = false;

  /** Commands in the batch. */
  get count(): number {
    return this.#count;
  }

  /** The encoded commands; only the first {@link count} are meant. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Writes `count` commands from command `from` on to byte `at` of `target`. */
  copyTo(target: DataView, at: number, from: number, count: number): void {
    const start = from * COMMAND_BYTES;
    for (let byte = 0; byte < count * COMMAND_BYTES; byte += 4) {
      target.setUint32(at + byte, this.#view.getUint32(start + byte, true), true);
    }
  }

  reset(): void {
    this.#count = 0;
    this.published = 0;
    this.start = 0;
    this.end = Number.POSITIVE_INFINITY;
    this.atcTimedOut = false;
  }

  configureStream(streamId: number, leaf: boolean): void {
    const at = this.#begin(Opcode.CFGI_STE);
    this.#put(CFGI_STE.StreamID, at, streamId);
    this.#put(CFGI_STE.Leaf, at, leaf ? 1 : 0);
  }

  /** CMD_CFGI_ALL (§4.3.6). */
  configureAll(): void {
    this.#put(CFGI_STE_RANGE.Range, this.#begin(Opcode.CFGI_STE_RANGE), 31);
  }

  configureContext(streamId: number, substreamId: number, leaf: boolean): void {
    const at = this.#begin(Opcode.CFGI_CD);
    this.#put(CFGI_CD.StreamID, at, streamId);
    this.#put(CFGI_CD.SubstreamID, at, substreamId);
    this.#put(CFGI_CD.Leaf, at, leaf ? 1 : 0);
  }

  configureContexts(streamId: number): void {
    this.#put(CFGI_CD_ALL.StreamID, this.#begin(Opcode.CFGI_CD_ALL), streamId);
  }

  /** A command without operands: CMD_TLBI_NSNH_ALL, CMD_TLBI_EL2_ALL. */
  plain(opcode: number): void {
    this.#begin(opcode);
  }

  invalidateVmStage1(vmid: number): void {
    this.#put(TLBI_NH_ALL.VMID, this.#begin(Opcode.TLBI_NH_ALL), vmid);
  }

  invalidateAsid(vmid: number, asid: number): void {
    const at = this.#begin(Opcode.TLBI_NH_ASID);
    this.#put(TLBI_NH_ASID.VMID, at, vmid);
    this.#put(TLBI_NH_ASID.ASID, at, asid);
  }

  invalidateVm(vmid: number): void {
    this.#put(TLBI_S12_VMALL.VMID, this.#begin(Opcode.TLBI_S12_VMALL), vmid);
  }

  /**
   * CMD_TLBI_NH_VA. `page` counts 4 KiB; `tg` of 0 invalidates one entry, else `(num + 1) << scale` granules (§4.4.1.1)
   * at the level that `ttl` hints at.
   */
  invalidateAddress(
    vmid: number,
    asid: number,
    page: number,
    leaf: boolean,
    tg: number,
    ttl: number,
    scale: number,
    num: number,
  ): void {
    const at = this.#begin(Opcode.TLBI_NH_VA);
    this.#put(TLBI_NH_VA.VMID, at, vmid);
    this.#put(TLBI_NH_VA.ASID, at, asid);
    this.#putAddress(TLBI_NH_VA, at, page, leaf, tg, ttl, scale, num);
  }

  /** CMD_TLBI_NH_VAA, with operands as {@link invalidateAddress}. */
  invalidateAnyAsid(
    vmid: number,
    page: number,
    leaf: boolean,
    tg: number,
    ttl: number,
    scale: number,
    num: number,
  ): void {
    const at = this.#begin(Opcode.TLBI_NH_VAA);
    this.#put(TLBI_NH_VAA.VMID, at, vmid);
    this.#putAddress(TLBI_NH_VAA, at, page, leaf, tg, ttl, scale, num);
  }

  /** CMD_TLBI_S2_IPA, with operands as {@link invalidateAddress}. */
  invalidateIpa(vmid: number, page: number, leaf: boolean, tg: number, ttl: number, scale: number, num: number): void {
    const at = this.#begin(Opcode.TLBI_S2_IPA);
    this.#put(TLBI_S2_IPA.VMID, at, vmid);
    this.#putAddress(TLBI_S2_IPA, at, page, leaf, tg, ttl, scale, num);
  }

  /** CMD_ATC_INV of 2^`size` pages; `pasid` of -1 is none. `global` reaches every PASID. */
  invalidateAtc(streamId: number, pasid: number, page: number, size: number, global = false): void {
    const at = this.#begin(Opcode.ATC_INV);
    this.#put(ATC_INV.StreamID, at, streamId);
    this.#put(ATC_INV.Size, at, size);
    this.#put(ATC_INV.Address, at, size === ATC_WHOLE ? 0 : page);
    if (pasid < 0) return;
    this.#put(ATC_INV.SSV, at, 1);
    this.#put(ATC_INV.SubstreamID, at, pasid);
    this.#put(ATC_INV.Global, at, global ? 1 : 0);
  }

  /** CMD_PRI_RESP; `response` as §4.5.2 encodes it. */
  respondGroup(streamId: number, pasid: number, groupIndex: number, response: number): void {
    const at = this.#begin(Opcode.PRI_RESP);
    this.#put(PRI_RESP.StreamID, at, streamId);
    this.#put(PRI_RESP.PRGIndex, at, groupIndex);
    this.#put(PRI_RESP.Resp, at, response);
    if (pasid < 0) return;
    this.#put(PRI_RESP.SSV, at, 1);
    this.#put(PRI_RESP.SubstreamID, at, pasid);
  }

  /** CMD_RESUME: retry the stalled access, or terminate it with an abort. */
  resume(streamId: number, stag: number, retry: boolean): void {
    const at = this.#begin(Opcode.RESUME);
    this.#put(RESUME.StreamID, at, streamId);
    this.#put(RESUME.STAG, at, stag);
    this.#put(retry ? RESUME.Ac : RESUME.Ab, at, 1);
  }

  terminateStalls(streamId: number): void {
    this.#put(STALL_TERM.StreamID, this.#begin(Opcode.STALL_TERM), streamId);
  }

  /** CMD_SYNC that signals nothing: its completion is seen in CMDQ_CONS. */
  sync(): void {
    this.#put(SYNC.CS, this.#begin(Opcode.SYNC), 0);
  }

  #putAddress(
    layout: typeof TLBI_NH_VA | typeof TLBI_NH_VAA | typeof TLBI_S2_IPA,
    at: number,
    page: number,
    leaf: boolean,
    tg: number,
    ttl: number,
    scale: number,
    num: number,
  ): void {
    this.#put(layout.Address, at, page);
    this.#put(layout.Leaf, at, leaf ? 1 : 0);
    if (tg === 0) return;
    this.#put(layout.TG, at, tg);
    this.#put(layout.TTL, at, ttl);
    this.#put(layout.SCALE, at, scale);
    this.#put(layout.NUM, at, num);
  }

  #put(field: Field, at: number, value: number): void {
    field.set(this.#view, at, value);
  }

  #begin(opcode: number): number {
    const at = this.#count * COMMAND_BYTES;
    if (at === this.#view.byteLength) this.#grow();
    this.#view.setUint32(at, opcode, true);
    this.#view.setUint32(at + 4, 0, true);
    this.#view.setUint32(at + 8, 0, true);
    this.#view.setUint32(at + 12, 0, true);
    this.#count += 1;
    return at;
  }

  #grow(): void {
    const larger = new Uint8Array(this.#bytes.length * 2);
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}
