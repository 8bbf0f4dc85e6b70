/** Event records (IHI 0070 §7.3): each architected event with all its fields, from what the transaction met. */
import type { Field } from '../../layout/field.ts';
import {
  C_BAD_SUBSTREAMID,
  EventRecord,
  EventType,
  F_STE_FETCH,
  F_WALK_EABT,
  FaultClass,
} from '../spec/events.layout.ts';
import type { Access, Outcome } from './translation/outcome.ts';

/** Fetch addresses are recorded as bits 55:3. */
const FETCH_UNIT = 8;

/** Absence of a SubstreamID, as in the PCIe requester's PASID. */
const NO_SUBSTREAM = -1;

/** Value 1 at a field's place in the 32-bit word that holds it. */
const unit = (field: Field): number => 1 << (field.lsb & 31);

// Records are written a word at a time; every position still comes from the layout.
const SSV = unit(EventRecord.SSV);
const SUBSTREAM_SHIFT = EventRecord.SubstreamID.lsb;
const RNW = unit(EventRecord.RnW);
const PNU = unit(EventRecord.PnU);
const IND = unit(EventRecord.InD);
const STAGE_2 = unit(EventRecord.S2);
const CLASS_SHIFT = EventRecord.CLASS.lsb & 31;
const TTRNW = unit(EventRecord.TTRnW);
const STALL = unit(EventRecord.Stall);
const STALL_WORD = Math.floor(EventRecord.Stall.lsb / 32) * 4;
const { IPA } = EventRecord;
const { FetchAddr } = F_WALK_EABT;

/** Byte offsets of the words that hold the flags and the two halves of the input address. */
const FLAGS = Math.floor(EventRecord.RnW.lsb / 32) * 4;
const INPUT_LOW = Math.floor(EventRecord.INPUT_OFFSET.lsb / 32) * 4;
const TWO_20 = 2 ** 20;

/** Starts a record: type, sender, and zeros. SSV and SubstreamID are there unless `pasid` is {@link NO_SUBSTREAM}. */
function begin(view: DataView, type: EventType, streamId: number, pasid: number): void {
  view.setInt32(0, pasid === NO_SUBSTREAM ? type : type | SSV | (pasid << SUBSTREAM_SHIFT), true);
  view.setInt32(4, streamId, true);
  // Not in a loop, which would cost more than the writes.
  view.setInt32(8, 0, true);
  view.setInt32(12, 0, true);
  view.setInt32(16, 0, true);
  view.setInt32(20, 0, true);
  view.setInt32(24, 0, true);
  view.setInt32(28, 0, true);
}

/** Attributes of the access after STE overrides; InD is 0 for writes (§7.3). */
function flagsOf(access: Access): number {
  // Booleans of objects are compared with true, which the engine does in one step.
  const privileged = access.privileged === true ? PNU : 0;
  if (access.write === true) return privileged;
  return RNW | privileged | (access.instruction === true ? IND : 0);
}

/** The input address, unmodified. */
function input(view: DataView, access: Access): void {
  view.setInt32(INPUT_LOW, (access.page << 12) | access.offset, true);
  view.setInt32(INPUT_LOW + 4, (access.page / TWO_20) | 0, true);
}

/** A configuration error. `fetchAddress` goes into the fetch events, `badSubstream` into C_BAD_SUBSTREAMID. */
export function configurationEvent(
  view: DataView,
  type: EventType,
  streamId: number,
  pasid: number,
  fetchAddress: number,
  badSubstream: number,
): void {
  // C_BAD_SUBSTREAMID has no SSV, F_STREAM_DISABLED no SubstreamID at all (§7.3.7, §7.3.9).
  const unqualified = type === EventType.C_BAD_SUBSTREAMID || type === EventType.F_STREAM_DISABLED;
  begin(view, type, streamId, unqualified ? NO_SUBSTREAM : pasid);
  if (type === EventType.C_BAD_SUBSTREAMID) C_BAD_SUBSTREAMID.SubstreamID.set(view, 0, badSubstream);
  if (type === EventType.F_STE_FETCH || type === EventType.F_CD_FETCH) {
    F_STE_FETCH.FetchAddr.set(view, 0, Math.floor(fetchAddress / FETCH_UNIT));
  }
}

/** A fault of translation: F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION, F_WALK_EABT or F_TLB_CONFLICT. */
export function translationEvent(
  view: DataView,
  type: EventType,
  streamId: number,
  pasid: number,
  access: Access,
  outcome: Outcome,
): void {
  begin(view, type, streamId, pasid);
  input(view, access);
  let flags = flagsOf(access);
  const stage2 = outcome.stage2 === true;
  if (stage2) flags |= STAGE_2;
  if (type !== EventType.F_TLB_CONFLICT) flags |= outcome.faultClass << CLASS_SHIFT;
  if (type === EventType.F_PERMISSION && outcome.faultClass === FaultClass.TTD && outcome.ttRnW) flags |= TTRNW;
  view.setInt32(FLAGS, flags, true);
  if (type === EventType.F_WALK_EABT) FetchAddr.set(view, 0, Math.floor(outcome.fetchAddress / FETCH_UNIT));
  else if (stage2) IPA.set(view, 0, outcome.ipaPage);
}

/** Whether the record in `view` is that of a stalled transaction. */
export const isStalled = (view: DataView): boolean => (view.getInt32(STALL_WORD, true) & STALL) !== 0;

/** Marks the record in `view` as that of a stalled transaction. */
export function markStalled(view: DataView, stag: number): void {
  EventRecord.Stall.set(view, 0, 1);
  EventRecord.STAG.set(view, 0, stag);
}

/** The input of a bypass is beyond the implemented size: a stage 1 fault of CLASS=IN (§3.4, §7.3.14). */
export function bypassSizeEvent(view: DataView, streamId: number, pasid: number, access: Access): void {
  begin(view, EventType.F_ADDR_SIZE, streamId, pasid);
  input(view, access);
  view.setInt32(FLAGS, flagsOf(access) | (FaultClass.IN << CLASS_SHIFT), true);
}

/** F_TRANSL_FORBIDDEN: no SubstreamID and no attributes but RnW (§7.3.8). */
export function translatedForbidden(view: DataView, streamId: number, access: Access): void {
  begin(view, EventType.F_TRANSL_FORBIDDEN, streamId, NO_SUBSTREAM);
  input(view, access);
  view.setInt32(FLAGS, access.write ? 0 : RNW, true);
}

/** F_BAD_ATS_TREQ (§7.3.6); the positions of its Span, permissions and address are in no source at hand. */
export function translationRequestForbidden(view: DataView, streamId: number, pasid: number): void {
  begin(view, EventType.F_BAD_ATS_TREQ, streamId, pasid);
}
