/**
 * The latency profiles that ship with Faultline.
 *
 * `kunpeng920` takes its anchors from the measurements published with and around the 2021 series: fault handler 1.6 µs;
 * about 2.9 to 10.5 µs per fault end to end, depending on overlap; host SVA fault about 10 µs; CMD_SYNC 240 to 300 ns
 * on the local node; 8.66 GB/s accelerator throughput at saturation. Costs that were not measured one by one are split
 * so that the anchors come out; each says so.
 */
import { COSTS, type Cost, type CostValue, type LatencyProfile } from './profile.ts';

const MEASURED = 'measured with the series';
const SPLIT = 'estimate; chosen so that the measured end-to-end figures come out';

const zero: LatencyProfile = {
  name: 'zero',
  description: 'Nothing takes time: for functional tests.',
  costs: Object.fromEntries(
    Object.keys(COSTS).map((cost) => [cost, { ns: 0, source: 'by definition' }]),
  ) as unknown as Record<Cost, CostValue>,
  acceleratorBytesPerSecond: 0,
};

const kunpeng920: LatencyProfile = {
  name: 'kunpeng920',
  description: "HiSilicon Kunpeng 920 with its crypto accelerator, as in the series' experiment.",
  costs: {
    link: { ns: 100, source: 'estimate: an integrated endpoint, one way' },
    mmioRead: { ns: 300, source: 'estimate: uncached read of a device register' },
    mmioWrite: { ns: 60, source: 'estimate: posted write leaving the core' },
    memoryAccess: { ns: 90, source: 'estimate: local DRAM' },
    tlbHit: { ns: 5, source: 'estimate' },
    configurationFetch: { ns: 90, source: 'one local DRAM access' },
    walkStep: { ns: 45, source: 'estimate: half of the table accesses hit the system cache' },
    recordWrite: { ns: 90, source: 'one local DRAM access' },
    commandFetch: { ns: 40, source: 'estimate' },
    commandSync: { ns: 270, source: `${MEASURED}: 240 to 300 ns on the local node` },
    interrupt: { ns: 350, source: SPLIT },
    threadWake: { ns: 500, source: SPLIT },
    faultHandler: { ns: 1000, source: `${MEASURED}: 1.6 µs for the handler, less page allocation and mapping below` },
    svaFaultHandler: {
      ns: 4700,
      source: `${MEASURED}: host SVA fault about 10 µs, two at a time, less the other steps`,
    },
    pageAllocate: { ns: 450, source: `${MEASURED}: part of the 1.6 µs; a zeroed 4 KiB page` },
    pagePin: { ns: 60, source: 'estimate: fast GUP of a present page' },
    pageMap: { ns: 150, source: `${MEASURED}: part of the 1.6 µs` },
    pageUnmap: { ns: 120, source: 'estimate' },
    pageAge: { ns: 15, source: 'estimate: an atomic update; eight entries share a cache line' },
    swapIn: { ns: 25_000, source: 'estimate: NVMe read of 4 KiB' },
    swapOut: { ns: 8_000, source: 'estimate: NVMe write of 4 KiB, queued' },
    cpuFault: { ns: 700, source: 'estimate: host page fault on guest memory, without the allocation' },
    systemCall: { ns: 250, source: 'estimate' },
    deviceSetup: { ns: 1500, source: SPLIT },
    guestOperation: { ns: 900, source: 'estimate: descriptor write, doorbell, reaping' },
  },
  acceleratorBytesPerSecond: 8_660_000_000,
};

export const PROFILES: Readonly<Record<string, LatencyProfile>> = { zero, kunpeng920 };
