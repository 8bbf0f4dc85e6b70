import { expect, test } from 'vitest';
import { LatencyRecorder } from './latency-recorder.ts';

test('percentiles are samples by nearest rank', () => {
  const recorder = new LatencyRecorder();
  for (let ns = 1000; ns >= 1; ns--) recorder.record(ns);
  expect(recorder.summary()).toEqual({ count: 1000, p50: 500, p99: 990, max: 1000 });
  expect(recorder.percentile(0)).toBe(1);
  expect(recorder.meanNs).toBe(500.5);
  recorder.record(5000);
  expect(recorder.percentile(1)).toBe(5000);
});

test('one sample is every percentile; without samples all are 0', () => {
  const recorder = new LatencyRecorder();
  expect(recorder.summary()).toEqual({ count: 0, p50: 0, p99: 0, max: 0 });
  recorder.record(7);
  expect(recorder.summary()).toEqual({ count: 1, p50: 7, p99: 7, max: 7 });
});
