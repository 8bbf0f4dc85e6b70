/**
 * How many DMAs a second a client gets out of each server, by the same client, in turn, on one processor. The client is
 * part of every figure, and the same in both.
 */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { COMMAND_BYTES } from '../../src/iommu/spec/commands.layout.ts';
import { REGISTERS } from '../../src/iommu/spec/registers.layout.ts';
import { Board, TestDevice } from './board.ts';
import { IOVA, program } from './builder.ts';
import { commandBytes, execute } from './execute.ts';
import { COMMAND_QUEUE, SMMU_BASE } from './memory-map.ts';
import { type Emulator, FAULTLINE, findQemu } from './server.ts';

const ROUNDS = 5;
const PAIRS = 4000;
const BATCH = 256;
const QUEUE_LOG2 = 8;
/** The last processor: the first has most interrupts. */
const PROCESSOR = 1;
/** From exec to the first answers, the best of some starts: `faultline qtest` is started for every test. */
const START_LIMIT_MS = 300;
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
  /** Runs about {@link PAIRS} DMAs; how many they were. */
  run(board: Board): Promise<number>;
}

const arm = (board: Board): string => `writel ${hex(board.bar(0, TestDevice.DOORBELL))} 1`;
const trigger = (board: Board): string => `readl ${hex(board.bar(0, TestDevice.TRIGGER))}`;

/** Invalidates the page before each DMA: two commands and the producer index. */
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
    async run(board) {
      const { qtest } = board.server;
      const [first, second] = [arm(board), trigger(board)];
      for (let pair = 0; pair < PAIRS; pair++) {
        await qtest.request(first);
        await qtest.request(second);
      }
      return PAIRS;
    },
  },
  {
    name: 'invalidate + arm + trigger',
    async run(board) {
      const { qtest } = board.server;
      const invalidate = invalidator(board);
      const [first, second] = [arm(board), trigger(board)];
      for (let pair = 0; pair < PAIRS; pair++) {
        await invalidate();
        await qtest.request(first);
        await qtest.request(second);
      }
      await board.set('CMDQ_PROD', 0n);
      return PAIRS;
    },
  },
  {
    name: `pipelined, ${BATCH} pairs a write`,
    async run(board) {
      const { qtest } = board.server;
      const [first, second] = [arm(board), trigger(board)];
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
    },
  },
];

/** DMAs a second, the best of the rounds so far. */
async function measure(emulator: Emulator, load: Load): Promise<number> {
  const board = await Board.start(emulator, { testDevice: true, processor: PROCESSOR });
  try {
    const seen: (string | undefined)[] = [];
    await execute(board, SETUP, ({ result }) => seen.push(result));
    expect(seen.at(-1)).toBe('0x0');
    // Both run themselves warm.
    await load.run(board);
    if (load.name.startsWith('invalidate')) await execute(board, SETUP, () => {});
    const began = performance.now();
    const pairs = await load.run(board);
    return (pairs / (performance.now() - began)) * 1000;
  } finally {
    await board.stop();
  }
}

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
  const [best, node] = [Math.min(...starts), Math.min(...bare)];
  console.log(
    `faultline qtest: ${best.toFixed(0)} ms from exec to the first answers; node alone ${node.toFixed(0)} ms`,
  );
  // A machine that has other work to do delays both.
  expect(best).toBeLessThan(Math.max(START_LIMIT_MS, START_LIMIT_MS * (node / QUIET_NODE_MS)));
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
      let [theirs, own] = [0, 0];
      for (let round = 0; round < ROUNDS; round++) {
        theirs = Math.max(theirs, await measure(found, load));
        own = Math.max(own, await measure(FAULTLINE, load));
      }
      const ratio = own / theirs;
      const figures = `QEMU ${theirs.toFixed(0)}/s, Faultline ${own.toFixed(0)}/s, ratio ${ratio.toFixed(2)}`;
      console.log(`${name}: ${figures}`);
      expect(ratio, figures).toBeGreaterThanOrEqual(1);
    } finally {
      if (all !== undefined) pin(all);
    }
  },
);
