/**
 * How many DMAs a second a client gets out of each server, by the same client, in turn, on one processor. The client is
 * part of every figure, and the same in both.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { COMMAND_BYTES } from '../../src/iommu/spec/commands.layout.ts';
import { REGISTERS } from '../../src/iommu/spec/registers.layout.ts';
import { Board, TestDevice } from './board.ts';
import { IOVA, program } from './builder.ts';
import { commandBytes, execute } from './execute.ts';
import { COMMAND_QUEUE, SMMU_BASE } from './memory-map.ts';
import { type Emulator, FAULTLINE, findQemu } from './server.ts';

const ROUNDS = 4;
/** Runs before the one that counts. */
const WARM_ROUNDS = 3;
const PAIRS = 6000;
const BATCH = 256;
const QUEUE_LOG2 = 8;
/** The last processor: the first has most interrupts. */
const PROCESSOR = 1;
/** From exec to the first answers, the best of some starts: `faultline qtest` is started for every test. */
const START_LIMIT_MS = 300;
/** Of the counters in /proc. */
const TICKS_PER_SECOND = 100;
/** What Node itself takes on a small machine with nothing else to do. */
const QUIET_NODE_MS = 60;

const hex = (value: number): string => `0x${value.toString(16)}`;
const PRODUCER = SMMU_BASE + (REGISTERS.find(({ $ }) => $.title === 'SMMU_CMDQ_PROD')?.offset ?? 0);

/** Stage 1, one page mapped, one DMA done. */
const SETUP = program(
  'speed',
  (p) => {
    const tables = p.stage1();
    const target = p.memory();
    tables.map(IOVA, target);
    p.throughStage1(tables);
    p.enable().dma(IOVA, target);
  },
  { commands: QUEUE_LOG2 },
);

interface Load {
  readonly name: string;
  /** Gives what runs some DMAs, {@link PAIRS} or so, and says how many they were. */
  prepare(board: Board): () => Promise<number>;
}

const arm = (board: Board): string => `writel ${hex(board.bar(0, TestDevice.DOORBELL))} 1`;
const trigger = (board: Board): string => `readl ${hex(board.bar(0, TestDevice.TRIGGER))}`;

/** Invalidates the page: two commands and the producer index. */
function invalidator(board: Board): () => Promise<string> {
  const { qtest } = board.server;
  let index = 0;
  const invalidate = { name: 'TLBI_NH_VA', fields: { ASID: 0x51, Address: Number(IOVA / 4096n) } } as const;
  const pair = Buffer.concat([commandBytes(invalidate), commandBytes({ name: 'SYNC' })]).toString('hex');
  return () => {
    qtest.post(`write ${hex(COMMAND_QUEUE + (index % 2 ** QUEUE_LOG2) * COMMAND_BYTES)} 0x20 0x${pair}`);
    index = (index + 2) % 2 ** (QUEUE_LOG2 + 1);
    return qtest.request(`writel ${hex(PRODUCER)} ${hex(index)}`);
  };
}

const LOADS: readonly Load[] = [
  {
    name: 'arm + trigger',
    prepare(board) {
      const { qtest } = board.server;
      const [first, second] = [arm(board), trigger(board)];
      return async () => {
        for (let pair = 0; pair < PAIRS; pair++) {
          await qtest.request(first);
          await qtest.request(second);
        }
        return PAIRS;
      };
    },
  },
  {
    name: 'invalidate + arm + trigger',
    prepare(board) {
      const { qtest } = board.server;
      const invalidate = invalidator(board);
      const [first, second] = [arm(board), trigger(board)];
      return async () => {
        for (let pair = 0; pair < PAIRS; pair++) {
          await invalidate();
          await qtest.request(first);
          await qtest.request(second);
        }
        return PAIRS;
      };
    },
  },
  {
    name: `pipelined, ${BATCH} pairs a write`,
    prepare(board) {
      const { qtest } = board.server;
      const [first, second] = [arm(board), trigger(board)];
      return async () => {
        let pairs = 0;
        for (; pairs < 4 * PAIRS; pairs += BATCH) {
          let last: Promise<string> | null = null;
          for (let pair = 0; pair < BATCH; pair++) {
            qtest.post(first);
            last = qtest.request(second);
          }
          await last;
        }
        return pairs;
      };
    },
  },
];

interface Speed {
  /** DMAs a second, by the clock. */
  readonly perSecond: number;
  /** DMAs a second of processor time, client and server together: the same on a machine with nothing else to do. */
  readonly perProcessorSecond: number;
}

/** Seconds of processor time that a process has used. */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Once both ends have run themselves warm. */
async function measure(emulator: Emulator, load: Load): Promise<Speed> {
  const board = await Board.start(emulator, { testDevice: true, processor: PROCESSOR });
  try {
    const seen: (string | undefined)[] = [];
    await execute(board, SETUP, ({ result }) => seen.push(result));
    expect(seen.at(-1)).toBe('0x0');
    const run = load.prepare(board);
    for (let round = 0; round < WARM_ROUNDS; round++) await run();
    const used = () => processorSeconds(process.pid) + processorSeconds(board.server.pid);
    const [began, usedBefore] = [performance.now(), used()];
    const pairs = await run();
    const speed = {
      perSecond: (pairs / (performance.now() - began)) * 1000,
      perProcessorSecond: pairs / (used() - usedBefore),
    };
    expect(await board.server.qtest.read32(board.bar(0, TestDevice.RESULT))).toBe(0);
    expect(await board.get('GERROR')).toBe(0n);
    return speed;
  } finally {
    await board.stop();
  }
}

const best = (speeds: readonly Speed[], of: (speed: Speed) => number): number => Math.max(...speeds.map(of));

const pin = (processors: string): void => {
  spawnSync('taskset', ['-acp', processors, String(process.pid)]);
};

const found = findQemu();

test('starts in time', async () => {
  const starts: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const board = await Board.start(FAULTLINE, FAULTLINE);
    starts.push(board.server.startMs);
    await board.stop();
    const began = performance.now();
    spawnSync(process.execPath, ['-e', '0']);
    bare.push(performance.now() - began);
  }
  const [start, node] = [Math.min(...starts), Math.min(...bare)];
  console.log(
    `faultline qtest: ${start.toFixed(0)} ms from exec to the first answers; node alone ${node.toFixed(0)} ms`,
  );
  // A machine that has other work to do delays both.
  expect(start).toBeLessThan(Math.max(START_LIMIT_MS, START_LIMIT_MS * (node / QUIET_NODE_MS)));
});

test.skipIf(found?.testDevice !== true).each(LOADS.map((load) => [load.name, load] as const))(
  '%s',
  async (name, load) => {
    if (found === null) return;
    const all = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
      .stdout.split(': ')
      .at(-1)
      ?.trim();
    pin(String(PROCESSOR));
    try {
      const [theirs, own]: [Speed[], Speed[]] = [[], []];
      for (let round = 0; round < ROUNDS; round++) {
        theirs.push(await measure(found, load));
        own.push(await measure(FAULTLINE, load));
      }
      const ratioOf = (of: (speed: Speed) => number) => best(own, of) / best(theirs, of);
      const [ratio, processorRatio] = [ratioOf((s) => s.perSecond), ratioOf((s) => s.perProcessorSecond)];
      const rate = (speeds: readonly Speed[]) => `${best(speeds, (s) => s.perSecond).toFixed(0)}/s`;
      const figures =
        `QEMU ${rate(theirs)}, Faultline ${rate(own)}, ratio ${ratio.toFixed(2)} ` +
        `(by processor time ${processorRatio.toFixed(2)})`;
      console.log(`${name}: ${figures}`);
      expect(Math.max(ratio, processorRatio), figures).toBeGreaterThanOrEqual(1);
    } finally {
      if (all !== undefined) pin(all);
    }
  },
);
