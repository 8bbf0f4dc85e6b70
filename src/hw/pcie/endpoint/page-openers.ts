/** Which lanes bring a page, and who waits behind them: each page is asked for once, however many accesses want it. */
import { removeFrom } from '../../../sim/task.ts';
import { type Lane, Phase } from './dma-lane.ts';

export class PageOpeners {
  readonly #lanes: Lane[] = [];

  get count(): number {
    return this.#lanes.length;
  }

  /** `lane` brings its page from now on. */
  open(lane: Lane): void {
    lane.opener = true;
    this.#lanes.push(lane);
  }

  /** Puts `lane` behind the one that brings the same page; false when there is none. */
  follow(lane: Lane): boolean {
    for (const opener of this.#lanes) {
      if (opener.wantedPage !== lane.wantedPage || opener.space !== lane.space) continue;
      lane.phase = Phase.FOLLOW;
      lane.nextFollower = null;
      if (opener.followers === null) {
        opener.followers = lane;
        return true;
      }
      let last = opener.followers;
      while (last.nextFollower !== null) last = last.nextFollower;
      last.nextFollower = lane;
      return true;
    }
    return false;
  }

  /** `lane` brings its page no longer: the first of those who waited, chained by `nextFollower`. */
  close(lane: Lane): Lane | null {
    lane.opener = false;
    removeFrom(this.#lanes, lane);
    const { followers } = lane;
    lane.followers = null;
    return followers;
  }

  /** Forgets all; the lanes are released by their owner. */
  clear(): void {
    for (const lane of this.#lanes) {
      lane.opener = false;
      lane.followers = null;
    }
    this.#lanes.length = 0;
  }
}
