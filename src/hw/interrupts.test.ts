import { expect, test } from 'vitest';
import { Clock } from '../sim/clock.ts';
import { InterruptController, MSI_DOORBELL } from './interrupts.ts';

function bench(latencyNs = 100) {
  const clock = new Clock();
  const edges: [number, boolean][] = [];
  const controller = new InterruptController({
    clock,
    latencyNs,
    observe: (interrupt, level) => edges.push([interrupt, level]),
  });
  const taken: [number, number][] = [];
  controller.connect(5, () => taken.push([5, clock.now]));
  const run = () => {
    while (clock.fireNext());
  };
  return { clock, controller, edges, taken, run };
}

test('a handler runs once for each rise, after the latency', () => {
  const { controller, taken, run, edges } = bench();
  const line = controller.line(5);
  line.set(true);
  line.set(true);
  run();
  line.set(false);
  line.set(true);
  run();
  expect(taken).toEqual([
    [5, 100],
    [5, 200],
  ]);
  expect(edges).toEqual([
    [5, true],
    [5, false],
    [5, true],
  ]);
});

test('a pulse is a rise and a fall', () => {
  const { controller, taken, run, edges } = bench(0);
  controller.line(5).pulse();
  run();
  expect(taken).toEqual([[5, 0]]);
  expect(edges).toEqual([
    [5, true],
    [5, false],
  ]);
});

test('a 32-bit write to the doorbell raises the interrupt that it names; nothing else does', () => {
  const { controller, taken, run } = bench();
  const data = new DataView(new ArrayBuffer(8));
  data.setUint32(0, 5, true);
  controller.frame.writeRegister(MSI_DOORBELL, 8, data);
  controller.frame.writeRegister(MSI_DOORBELL + 4, 4, data);
  run();
  expect(taken).toEqual([]);
  controller.frame.writeRegister(MSI_DOORBELL, 4, data);
  run();
  expect(taken).toEqual([[5, 100]]);
});

test('what nobody is connected to is counted, and a handler that left in the meantime is not run', () => {
  const { controller, taken, run } = bench();
  controller.line(6).pulse();
  expect(controller.unhandled).toBe(1);
  controller.line(5).pulse();
  controller.disconnect(5);
  run();
  expect(taken).toEqual([]);
  controller.connect(5, () => {});
  expect(() => controller.connect(5, () => {})).toThrow('has a handler');
});
