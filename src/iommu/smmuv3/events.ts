/** Event records (IHI 0070 §7.3): each architected event with all its fields, from what the transaction met. */
import {
  C_BAD_STE,
  C_BAD_SUBSTREAMID,
  EventRecord,
  EventType,
  F_BAD_ATS_TREQ,
  F_STE_FETCH,
  F_STREAM_DISABLED,
  F_TRANSL_FORBIDDEN,
  F_WALK_EABT,
  FaultClass,
} from '../spec/events.layout.ts';
import type { Access, Outcome } from './translation/outcome.ts';

/** Fetch addresses are recorded as bits 55:3. */
const FETCH_UNIT = 8;

/** Absence of a SubstreamID, as in the PCIe requester's PASID. */
const NO_SUBSTREAM = -1;

/** Type and sender, which every record has; SSV only where the record has the field. */
function begin(view: DataView, type: EventType, streamId: number): void {
  EventRecord.EventNumber.set(view, 0, type);
  EventRecord.StreamID.set(view, 0, streamId);
}

function substream(view: DataView, pasid: number): void {
  if (pasid === NO_SUBSTREAM) return;
  EventRecord.SSV.set(view, 0, 1);
  EventRecord.SubstreamID.set(view, 0, pasid);
}

/** Input address and attributes after STE overrides; InD is 0 for writes (§7.3). */
function input(view: DataView, access: Access): void {
  EventRecord.RnW.set(view, 0, access.write ? 0 : 1);
  EventRecord.PnU.set(view, 0, access.privileged ? 1 : 0);
  EventRecord.InD.set(view, 0, access.instruction && !access.write ? 1 : 0);
  EventRecord.INPUT_OFFSET.set(view, 0, access.offset);
  EventRecord.INPUT_PAGE.set(view, 0, access.page);
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
  begin(view, type, streamId);
  switch (type) {
    case EventType.C_BAD_SUBSTREAMID:
      C_BAD_SUBSTREAMID.SubstreamID.set(view, 0, badSubstream);
      return;
    case EventType.F_STREAM_DISABLED:
      F_STREAM_DISABLED.StreamID.set(view, 0, streamId);
      return;
    case EventType.F_STE_FETCH:
    case EventType.F_CD_FETCH:
      substream(view, pasid);
      F_STE_FETCH.FetchAddr.set(view, 0, Math.floor(fetchAddress / FETCH_UNIT));
      return;
    default:
      // C_BAD_STREAMID, C_BAD_STE and C_BAD_CD have one shape.
      C_BAD_STE.StreamID.set(view, 0, streamId);
      substream(view, pasid);
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
  begin(view, type, streamId);
  substream(view, pasid);
  input(view, access);
  EventRecord.S2.set(view, 0, outcome.stage2 ? 1 : 0);
  if (type !== EventType.F_TLB_CONFLICT) EventRecord.CLASS.set(view, 0, outcome.faultClass);
  if (type === EventType.F_WALK_EABT) {
    F_WALK_EABT.FetchAddr.set(view, 0, Math.floor(outcome.fetchAddress / FETCH_UNIT));
  } else if (outcome.stage2) {
    EventRecord.IPA.set(view, 0, outcome.ipaPage);
  }
  if (type === EventType.F_PERMISSION && outcome.faultClass === FaultClass.TTD) {
    EventRecord.TTRnW.set(view, 0, outcome.ttRnW ? 1 : 0);
  }
}

/** Marks the record in `view` as that of a stalled transaction. */
export function markStalled(view: DataView, stag: number): void {
  EventRecord.Stall.set(view, 0, 1);
  EventRecord.STAG.set(view, 0, stag);
}

/** The input of a bypass is beyond the implemented size: a stage 1 fault of CLASS=IN (§3.4, §7.3.14). */
export function bypassSizeEvent(view: DataView, streamId: number, pasid: number, access: Access): void {
  begin(view, EventType.F_ADDR_SIZE, streamId);
  substream(view, pasid);
  input(view, access);
  EventRecord.CLASS.set(view, 0, FaultClass.IN);
}

/** F_TRANSL_FORBIDDEN: no SubstreamID and no attributes but RnW (§7.3.8). */
export function translatedForbidden(view: DataView, streamId: number, access: Access): void {
  begin(view, EventType.F_TRANSL_FORBIDDEN, streamId);
  F_TRANSL_FORBIDDEN.RnW.set(view, 0, access.write ? 0 : 1);
  F_TRANSL_FORBIDDEN.INPUT_OFFSET.set(view, 0, access.offset);
  F_TRANSL_FORBIDDEN.INPUT_PAGE.set(view, 0, access.page);
}

/** F_BAD_ATS_TREQ (§7.3.6); the positions of its Span, permissions and address are in no source at hand. */
export function translationRequestForbidden(view: DataView, streamId: number, pasid: number): void {
  begin(view, EventType.F_BAD_ATS_TREQ, streamId);
  F_BAD_ATS_TREQ.StreamID.set(view, 0, streamId);
  substream(view, pasid);
}
