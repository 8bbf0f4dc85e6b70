/** Durations of one kind, all of them kept, with exact percentiles. */
import { assert } from '../../../assert.ts';

export interface LatencySummary {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export class LatencyRecorder {
  #samples = new Float64Array(64);
  #count = 0;
  #sum = 0;
  #sorted: Float64Array | null = null;

  get count(): number {
    return this.#count;
  }

  /** Every sample, in the order of recording. */
  get samples(): Float64Array {
    return this.#samples.slice(0, this.#count);
  }

  get meanNs(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count;
  }

  record(ns: number): void {
    if (this.#count === this.#samples.length) {
      const grown = new Float64Array(this.#count * 2);
      grown.set(this.#samples);
      this.#samples = grown;
    }
    this.#samples[this.#count] = ns;
    this.#count += 1;
    this.#sum += ns;
    this.#sorted = null;
  }

  /** The smallest sample that at least `fraction` (0..1) of all samples do not exceed; 0 without samples. */
  percentile(fraction: number): number {
    assert(fraction >= 0 && fraction <= 1, `a fraction, not ${fraction}`);
    this.#sorted ??= this.#samples.slice(0, this.#count).sort();
    const rank = Math.max(Math.ceil(fraction * this.#count), 1);
    return this.#sorted[rank - 1] ?? 0;
  }

  /** Nanoseconds. */
  summary(): LatencySummary {
    return { count: this.#count, p50: this.percentile(0.5), p99: this.percentile(0.99), max: this.percentile(1) };
  }
}
