/** Scenarios at random in which everything is scarce: memory, queues, credits, caches. */
import fc from 'fast-check';

export const scarceScenarios = fc.record({
  seed: fc.nat(),
  profile: fc.constantFrom('zero', 'kunpeng920'),
  host: fc.record({ memory: fc.constantFrom('16MiB', '18MiB', '32MiB'), swap: fc.constant('64MiB') }),
  guest: fc.record({ memory: fc.constant('32MiB') }),
  iommu: fc.record({
    stage: fc.constantFrom(1, 2),
    nested: fc.boolean(),
    granule: fc.constantFrom('4KiB', '16KiB', '64KiB'),
    commandQueueEntries: fc.constantFrom(2, 4, 8, 256),
    eventQueueEntries: fc.constantFrom(2, 4, 16, 512),
    priQueueEntries: fc.constantFrom(2, 4, 16, 512),
    stalls: fc.constantFrom(1, 2, 5, 256),
  }),
  device: fc.record({
    ringEntries: fc.constantFrom(2, 4, 64),
    descriptorsInFlight: fc.constantFrom(1, 2, 16),
    pagesInFlight: fc.constantFrom(1, 3, 8, 40),
    atcEntries: fc.constantFrom(1, 2, 7, 1024),
    credits: fc.constantFrom(1, 2, 5, 512),
    groupPages: fc.constantFrom(1, 2, 32),
  }),
  vfio: fc.record({
    premapPages: fc.constantFrom(1, 2, 7, 64, 512),
    premapPolicy: fc.constantFrom('next', 'aligned', 'stride'),
    residencyLimit: fc.constantFrom('64KiB', '128KiB', '1MiB', 'none'),
    handling: fc.constantFrom('inline', 'workqueue'),
    workers: fc.constantFrom(1, 2, 7),
  }),
  workload: fc.record({
    kind: fc.constant('sec'),
    times: fc.integer({ min: 1, max: 12 }),
    messageLength: fc.integer({ min: 1, max: 300_000 }),
    buffers: fc.integer({ min: 1, max: 5 }),
    bufferOffset: fc.nat(4095),
    queueDepth: fc.constantFrom(1, 2),
  }),
});
