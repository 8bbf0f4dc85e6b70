/** How faults are written to an outcome; each function returns the event, so that a walk ends with it. */
import { EventType, FaultClass } from '../../spec/events.layout.ts';
import type { Outcome } from './outcome.ts';
import type { Walk } from './walk.ts';

/** A stage 1 fault of the input address (§7.3.13): CLASS=IN. */
export function stage1Fault(outcome: Outcome, event: EventType, level: number): EventType {
  outcome.event = event;
  outcome.stage2 = false;
  outcome.faultClass = FaultClass.IN;
  outcome.level = level;
  return event;
}

/** A stage 2 fault of an IPA that was translated for `faultClass`; `ttRnW` says whether that was a read. */
export function stage2Fault(
  outcome: Outcome,
  event: EventType,
  level: number,
  faultClass: number,
  ttRnW: boolean,
): EventType {
  outcome.event = event;
  outcome.stage2 = true;
  outcome.faultClass = faultClass;
  outcome.level = level;
  outcome.ttRnW = ttRnW;
  return event;
}

/** The fetch or update of a stage 1 descriptor met an external abort (§7.3.12): CLASS=TTD although S2=0. */
export function stage1Abort(outcome: Outcome, walk: Walk): EventType {
  outcome.fetchAddress = walk.physical;
  stage1Fault(outcome, EventType.F_WALK_EABT, walk.level);
  outcome.faultClass = FaultClass.TTD;
  return EventType.F_WALK_EABT;
}

/** The fetch of a stage 2 descriptor met an external abort. */
export function stage2Abort(outcome: Outcome, walk: Walk, faultClass: number): EventType {
  outcome.fetchAddress = walk.physical;
  return stage2Fault(outcome, EventType.F_WALK_EABT, walk.level, faultClass, true);
}
