/** Invalidation commands of a guest, made the host's (IHI 0070 §4.3.7, §4.4): its VMID and its StreamIDs are ours to say. */
import { ATC_INV, CFGI_CD, COMMAND_BYTES, Command, Opcode, TLBI_NH_ASID, TLBI_NH_VA } from '../spec/commands.layout.ts';
import { ATC_WHOLE, type CommandBatch } from './command-batch.ts';
import type { SmmuDevice } from './device.ts';
import type { GuestDomain } from './guest-domain.ts';
import type { Features } from './probe.ts';

/** TG and TTL of a range of 16 KiB leaves at level 1, which are none (§4.4.1.1). */
const TG_16K = 2;
const LEVEL_1 = 1;

/** Adds the commands to `batch` up to the first that a guest may not issue; how many were added. */
export function translateCommands(
  batch: CommandBatch,
  commands: DataView,
  domain: GuestDomain,
  features: Features,
  deviceOf: (streamId: number) => SmmuDevice | null,
): number {
  const count = Math.floor(commands.byteLength / COMMAND_BYTES);
  for (let index = 0; index < count; index++) {
    if (!translate(batch, commands, index * COMMAND_BYTES, domain, features, deviceOf)) return index;
  }
  return count;
}

function translate(
  batch: CommandBatch,
  view: DataView,
  at: number,
  domain: GuestDomain,
  features: Features,
  deviceOf: (streamId: number) => SmmuDevice | null,
): boolean {
  const opcode = Command.Opcode.get(view, at);
  switch (opcode) {
    case Opcode.TLBI_NSNH_ALL:
    case Opcode.TLBI_NH_ALL:
      batch.invalidateVmStage1(domain.vmid);
      return true;
    case Opcode.TLBI_NH_ASID:
      batch.invalidateAsid(domain.vmid, TLBI_NH_ASID.ASID.get(view, at));
      return true;
    case Opcode.TLBI_NH_VA:
    case Opcode.TLBI_NH_VAA:
      return translateAddress(batch, view, at, opcode, domain, features);
    case Opcode.CFGI_CD:
    case Opcode.CFGI_CD_ALL:
    case Opcode.ATC_INV: {
      const device = deviceOf(CFGI_CD.StreamID.get(view, at));
      return device?.domain === domain && translateStream(batch, view, at, opcode, device);
    }
    case Opcode.SYNC:
      batch.sync();
      return true;
    default:
      return false;
  }
}

function translateAddress(
  batch: CommandBatch,
  view: DataView,
  at: number,
  opcode: number,
  domain: GuestDomain,
  features: Features,
): boolean {
  const granule = features.rangeInvalidation ? TLBI_NH_VA.TG.get(view, at) : 0;
  const level = TLBI_NH_VA.TTL.get(view, at);
  const scale = TLBI_NH_VA.SCALE.get(view, at);
  const num = TLBI_NH_VA.NUM.get(view, at);
  // What would stop the host's queue stops here.
  if (granule !== 0 && level === 0 && scale === 0 && num === 0) return false;
  if (granule === TG_16K && level === LEVEL_1) return false;
  if (scale > 31) return false;
  const page = TLBI_NH_VA.Address.get(view, at);
  const leaf = TLBI_NH_VA.Leaf.get(view, at) === 1;
  if (opcode === Opcode.TLBI_NH_VA) {
    const asid = TLBI_NH_VA.ASID.get(view, at);
    batch.invalidateAddress(domain.vmid, asid, page, leaf, granule, level, scale, num);
  } else {
    batch.invalidateAnyAsid(domain.vmid, page, leaf, granule, level, scale, num);
  }
  return true;
}

function translateStream(batch: CommandBatch, view: DataView, at: number, opcode: number, device: SmmuDevice): boolean {
  const { streamId } = device;
  if (opcode === Opcode.CFGI_CD) {
    batch.configureContext(streamId, CFGI_CD.SubstreamID.get(view, at), CFGI_CD.Leaf.get(view, at) === 1);
    return true;
  }
  if (opcode === Opcode.CFGI_CD_ALL) {
    batch.configureContexts(streamId);
    return true;
  }
  const size = ATC_INV.Size.get(view, at);
  if (size > ATC_WHOLE) return false;
  // A function without ATS enabled has nothing to forget.
  if (!device.atsEnabled) return true;
  const pasid = ATC_INV.SSV.get(view, at) === 1 ? ATC_INV.SubstreamID.get(view, at) : -1;
  batch.invalidateAtc(streamId, pasid, ATC_INV.Address.get(view, at), size, ATC_INV.Global.get(view, at) === 1);
  return true;
}
